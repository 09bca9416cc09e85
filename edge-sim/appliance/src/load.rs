//! How busy an appliance is, and how often it fails.

use nearcast_protocol::appliance::Health;
use nearcast_units::{BitRate, ByteCount, Instant, Ratio};

/// How a request ended, for the error rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well, or by the client's doing.
    Good,
    /// By the appliance's own fault.
    Failed,
}

/// Counts per second, for the last minute.
#[derive(Clone, Debug)]
pub(crate) struct LoadMeter {
    capacity: BitRate,
    seconds: [Second; SECONDS],
}

const SECONDS: usize = 60;
/// The rate is the mean of this many whole seconds: long enough to even out segments fetched in bursts,
/// short enough to notice a crowd before the next report.
const RATE_SECONDS: u64 = 5;

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Which second since the origin, so that old counts are told from new ones.
    of: u64,
    bytes: ByteCount,
    requests: u32,
    failed: u32,
}

impl LoadMeter {
    pub(crate) fn new(capacity: BitRate) -> Self {
        Self {
            capacity,
            seconds: [Second::default(); SECONDS],
        }
    }

    pub(crate) fn handle_bytes(&mut self, now: Instant, bytes: ByteCount) {
        self.second(now).bytes += bytes;
    }

    pub(crate) fn handle_end(&mut self, now: Instant, outcome: Outcome) {
        let second = self.second(now);
        second.requests = second.requests.saturating_add(1);
        if outcome == Outcome::Failed {
            second.failed = second.failed.saturating_add(1);
        }
    }

    pub(crate) fn health(&self, now: Instant) -> Health {
        let current = second_of(now);
        let recent = |span: u64| {
            self.seconds.iter().filter(move |second| {
                let age = current.saturating_sub(second.of);
                second.of <= current && age < span
            })
        };
        let bytes: ByteCount = recent(RATE_SECONDS).map(|second| second.bytes).sum();
        let used = bytes
            .rate_over(core::time::Duration::from_secs(RATE_SECONDS))
            .unwrap_or_default();
        let (requests, failed) = recent(60).fold((0_u32, 0_u32), |(requests, failed), second| {
            (
                requests.saturating_add(second.requests),
                failed.saturating_add(second.failed),
            )
        });
        Health {
            load: share(used.as_f64(), self.capacity.as_f64()),
            free_capacity_bps: self.capacity.as_bps().saturating_sub(used.as_bps()),
            error_rate: share(f64::from(failed), f64::from(requests)),
        }
    }

    fn second(&mut self, now: Instant) -> &mut Second {
        let of = second_of(now);
        let index = usize::try_from(of % 60).unwrap_or(0);
        let second = &mut self.seconds[index];
        if second.of != of {
            *second = Second {
                of,
                ..Second::default()
            };
        }
        second
    }
}

const fn second_of(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000_000
}

/// Nothing of nothing is nothing; more than all is all.
fn share(part: f64, whole: f64) -> Ratio {
    if part <= 0.0 {
        return Ratio::ZERO;
    }
    Ratio::new(part / whole).unwrap_or(Ratio::ONE)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const T0: Instant = Instant::from_nanos(90_000_000_000);

    #[test]
    fn load_is_the_rate_of_the_last_seconds_and_is_forgotten() {
        let mut meter = LoadMeter::new(BitRate::from_kbps(8_000));
        meter.handle_bytes(T0, ByteCount::new(2_500_000));
        let health = meter.health(T0);
        assert_eq!(health.load, Ratio::new(0.5).unwrap());
        assert_eq!(health.free_capacity_bps, 4_000_000);
        let health = meter.health(T0 + Duration::from_secs(5));
        assert_eq!(health.load, Ratio::ZERO);
        // A minute later the slot is used again.
        meter.handle_bytes(T0 + Duration::from_secs(60), ByteCount::new(1));
        let health = meter.health(T0 + Duration::from_secs(60));
        assert_eq!(health.free_capacity_bps, 7_999_999);
    }

    #[test]
    fn more_than_all_is_all() {
        let mut meter = LoadMeter::new(BitRate::from_kbps(1));
        meter.handle_bytes(T0, ByteCount::new(1_000_000));
        assert_eq!(meter.health(T0).load, Ratio::ONE);
        assert_eq!(meter.health(T0).free_capacity_bps, 0);
    }

    #[test]
    fn failures_count_for_a_minute() {
        let mut meter = LoadMeter::new(BitRate::from_kbps(1));
        assert_eq!(meter.health(T0).error_rate, Ratio::ZERO);
        meter.handle_end(T0, Outcome::Failed);
        for _ in 0..3 {
            meter.handle_end(T0 + Duration::from_secs(30), Outcome::Good);
        }
        let error_rate = |after| meter.health(T0 + Duration::from_secs(after)).error_rate;
        assert_eq!(error_rate(59), Ratio::new(0.25).unwrap());
        assert_eq!(error_rate(60), Ratio::ZERO);
    }
}
