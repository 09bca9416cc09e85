//! The only reader of the clock in this module.

use nearcast_units::Instant;

/// A monotonic clock that starts at zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }

    pub(super) fn now(self) -> Instant {
        let nanos = self.origin.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Waits until a point on this clock; `None`, or one beyond some years, is never reached.
    pub(super) async fn sleep_until(self, at: Option<Instant>) {
        let deadline = at.and_then(|at| self.origin.checked_add(at.since(Instant::ZERO)));
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}
