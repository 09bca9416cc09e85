//! A session that is told whatever bytes say keeps its invariants:
//!
//! ```text
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz session -- -max_len=4096 -max_total_time=600
//! ```
//!
//! What breaks one is kept in `tests/fuzz/artifacts/session` and replayed with its path in place of the options. Made smaller (`cargo fuzz
//! tmin`) and told in words it becomes a test beside the code that was wrong.

#![no_main]
#![expect(
    clippy::print_stderr,
    clippy::panic,
    reason = "a fuzz target tells by panicking"
)]

use libfuzzer_sys::fuzz_target;
use nearcast_sim::hostile::{run, run_and_tell};

fuzz_target!(|bytes: &[u8]| {
    if let Err(broken) = run(bytes) {
        // The same again, told line by line.
        let told = run_and_tell(bytes, &mut |line| eprintln!("{line}"));
        panic!("{broken} {told:?}");
    }
});
