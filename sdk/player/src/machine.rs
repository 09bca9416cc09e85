//! What the process costs the machine, and whether the machine was too busy for timings to be trusted.

use std::time::Duration;

use nearcast_units::Instant;

/// Returns the processor time of this process so far; `None` where the system does not say.
pub(crate) fn cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeVal;
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let span = |time: TimeVal| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
            Duration::from_secs(seconds) + Duration::from_micros(micros)
        };
        Some(span(usage.user_time()) + span(usage.system_time()))
    }
    #[cfg(not(unix))]
    None
}

/// Returns the largest resident memory of this process so far; `None` where the system does not say.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    // Linux hands `ru_maxrss` on from the parent through fork and exec; the status file does not.
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }
    #[cfg(target_vendor = "apple")]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()
    }
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    None
}

/// Notices a machine that is too busy by how late the driver is woken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lateness {
    wakes: u32,
    late: u32,
    longest: Duration,
}

impl Lateness {
    /// Records that a wake due at `due` came at `now`.
    pub(crate) fn record(&mut self, due: Instant, now: Instant) {
        self.wakes = self.wakes.saturating_add(1);
        self.longest = self.longest.max(now.since(due));
        if now.since(due) > LATE {
            self.late = self.late.saturating_add(1);
        }
    }

    /// Returns whether a wake was so late, or so many were, that timings are not to be trusted.
    pub(crate) fn busy(self) -> bool {
        let often =
            self.late >= LATE_WAKES_MIN && self.late.saturating_mul(LATE_SHARE) > self.wakes;
        often || self.longest > STANDSTILL
    }
}

/// A wake this late moves a failover by a visible part of its one second.
const LATE: Duration = Duration::from_millis(100);
/// Nothing that is promised in seconds can be measured on a machine that stood still for so long.
const STANDSTILL: Duration = Duration::from_secs(1);
/// One late wake in so many makes a busy machine...
const LATE_SHARE: u32 = 50;
/// ...but a single hiccup does not.
const LATE_WAKES_MIN: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_busy_when_wakes_come_late_again_and_again() {
        let mut lateness = Lateness::default();
        let due = Instant::from_nanos(1_000_000_000);
        for _ in 0..100 {
            lateness.record(due, due + Duration::from_millis(3));
        }
        lateness.record(due, due + Duration::from_secs(1));
        assert!(!lateness.busy(), "one hiccup");
        for _ in 0..4 {
            lateness.record(due, due + Duration::from_millis(150));
        }
        assert!(lateness.busy());
    }

    #[test]
    fn a_machine_that_stood_still_once_is_busy() {
        let mut lateness = Lateness::default();
        let due = Instant::from_nanos(1_000_000_000);
        for _ in 0..1000 {
            lateness.record(due, due);
        }
        lateness.record(due, due + Duration::from_millis(1001));
        assert!(lateness.busy());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_time_and_memory() {
        assert!(cpu_time().is_some());
        assert!(peak_rss_bytes().unwrap() > 1 << 20);
    }
}
