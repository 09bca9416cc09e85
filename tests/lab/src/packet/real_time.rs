//! Real-time scheduling.

use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::thread::gettid;

use super::namespace::run;

/// Above all ordinary threads, below those that a system's own health hangs on.
const PRIORITY: &str = "10";

/// Puts the calling thread under real-time scheduling: it runs as soon as it has something to do, whatever else runs.
///
/// # Errors
/// Where that is not allowed (it needs `CAP_SYS_NICE`, or a limit on the priority that lets it), and without `chrt`.
pub(super) fn become_real_time() -> Result<()> {
    let thread = gettid().as_raw_nonzero().to_string();
    run(Command::new("chrt").args(["--fifo", "--pid", PRIORITY, &thread])).context(
        "to allow it, run this as root, or add the line `YOUR-NAME - rtprio 10` to /etc/security/limits.conf and log in anew",
    )
}
