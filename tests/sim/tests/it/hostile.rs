//! Whatever a session is told, in whatever order.

use std::collections::BTreeMap;

use nearcast_sim::hostile::{run, run_and_tell};
use nearcast_units::Seed;

/// Each takes a millisecond. `tests/fuzz` looks for longer.
const RUNS: u64 = 3_000;
/// So many lines before the end say how it came to that.
const TOLD: usize = 40;

/// Few bytes, or many.
fn bytes(number: u64) -> Vec<u8> {
    let mut rng = Seed::new(number).split("told").rng();
    let length = 16 << rng.below(8);
    (0..length)
        .map(|_| rng.next_u64().to_be_bytes()[0])
        .collect()
}

/// Says which run it was that panicked.
struct Running(u64);

impl Drop for Running {
    #[expect(
        clippy::print_stderr,
        reason = "a helper of tests may print as tests do"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in run {}", self.0);
        }
    }
}

/// The end of a run's story.
fn story(bytes: &[u8]) -> String {
    let mut lines = Vec::new();
    let result = run_and_tell(bytes, &mut |line| lines.push(line.to_string()));
    let from = lines.len().saturating_sub(TOLD);
    format!("{}\n{result:?}", lines[from..].join("\n"))
}

#[test]
fn whatever_a_session_is_told_it_keeps_its_invariants() {
    let mut happened: BTreeMap<&str, usize> = BTreeMap::new();
    for number in 0..RUNS {
        let _running = Running(number);
        let told = bytes(number);
        let Ok(once) = run(&told) else {
            panic!("{}", story(&told));
        };
        for (what, times) in &once.happened {
            *happened.entry(what).or_default() += times;
        }
        // The same bytes, the same decisions.
        if number % 8 == 0 {
            assert_eq!(run(&told), Ok(once));
        }
    }
    // Runs that come to nothing show nothing.
    for what in [
        "playing", "stalled", "seeking", "ended", "failed", "race", "failover", "hedge", "probe",
        "replace", "watchdog",
    ] {
        let times = happened.get(what).copied().unwrap_or_default();
        assert!(times > 10, "{what} only {times} times: {happened:?}");
    }
}
