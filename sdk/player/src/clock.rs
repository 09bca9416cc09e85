//! The only reader of time under `sdk/`.
//!
//! It reads tokio's clock, so that a test with paused time controls everything; the rest of the crate sees
//! [`Instant`]s since the play intent.

use std::time::Duration;

use nearcast_units::Instant;

/// The session's monotonic clock: nanoseconds since the play intent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    /// Starts at zero now.
    pub(crate) fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + tokio::time::Instant::now().saturating_duration_since(self.origin)
    }

    /// Returns the runtime's name for an instant, to sleep until it.
    pub(crate) fn at(&self, instant: Instant) -> tokio::time::Instant {
        let span = instant.since(Instant::ZERO);
        self.origin
            .checked_add(span)
            .unwrap_or_else(|| self.origin + FAR)
    }
}

/// Returns the time of day, in seconds since the Unix epoch; 0 where the device's clock stands before that.
#[expect(
    clippy::disallowed_methods,
    reason = "what is remembered of a network is as old as it is by the calendar, sessions apart"
)]
pub(crate) fn time_of_day_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Returns the runtime's name for `span` from now.
pub(crate) fn after(span: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + span
}

/// A deadline beyond what the runtime can hold is as good as this one.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_counts_from_the_start_and_follows_the_runtime() {
        let clock = Clock::start();
        assert_eq!(clock.now(), Instant::ZERO);
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.now(), Instant::ZERO + Duration::from_millis(1500));
        let later = clock.now() + Duration::from_secs(2);
        tokio::time::sleep_until(clock.at(later)).await;
        assert_eq!(clock.now(), later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_beyond_all_time_does_not_overflow() {
        let clock = Clock::start();
        assert!(clock.at(Instant::from_nanos(u64::MAX)) > tokio::time::Instant::now());
    }
}
