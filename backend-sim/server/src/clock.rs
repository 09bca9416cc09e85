//! The one place where the backend reads a clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nearcast_units::Instant;

/// Wall time as nanoseconds since the Unix epoch. It never goes back: while the system's clock is set back,
/// time stands still, so that nothing ends twice. Wall time and not a monotonic clock, because tokens end
/// by the clocks of other machines.
#[derive(Debug, Default)]
pub(crate) struct WallClock {
    latest_ns: AtomicU64,
}

impl WallClock {
    pub(crate) fn now(&self) -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "the backend's only look at the time; everything else takes it as an argument"
        )]
        let now = SystemTime::now();
        let ns = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        let earlier = self.latest_ns.fetch_max(ns, Ordering::AcqRel);
        Instant::from_nanos(ns.max(earlier))
    }
}

/// Milliseconds since the Unix epoch, as they cross the wire.
pub(crate) const fn unix_ms(time: Instant) -> u64 {
    time.as_nanos() / 1_000_000
}
