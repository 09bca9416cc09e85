//! The only reader of clocks in this crate.

use std::time::{Duration, SystemTime};

use nearcast_appliance::Moment;
use nearcast_units::Instant;

/// A monotonic clock that starts at zero, and wall time beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Instant {
        let nanos = self.origin.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(crate) fn moment(self) -> Moment {
        let since = wall_time()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Moment {
            at: self.now(),
            unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Waits until a point on this clock; one beyond some years is never reached.
    pub(crate) async fn sleep_until(self, at: Instant) {
        let span = at.since(Instant::ZERO);
        match self.origin.checked_add(span) {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}

/// Milliseconds with three decimals: so few digits are the same when they are read back.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds below 2^53 are exact for 285 years"
)]
pub(crate) const fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}

/// Wall time, for certificates and logs.
#[expect(
    clippy::disallowed_methods,
    reason = "a real server stamps its certificates, tokens and log lines with the time of day"
)]
pub(crate) fn wall_time() -> SystemTime {
    SystemTime::now()
}
