//! What went wrong with one edge, by kind; old failures count for less and less.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::Instant;

/// Failures of one edge.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Kind, how many of it still count, and when that was so. There are as many kinds as codes.
    kinds: Vec<(&'static str, f64, Instant)>,
}

/// A failure counts half after this long.
const HALF_LIFE_S: f64 = 60.0;
/// What a failure costs: silence is waited for, the rest is told at once.
const SILENCE_COSTS: Duration = Duration::from_secs(1);
const WORD_COSTS: Duration = Duration::from_millis(300);
/// However often it failed, it is not written off: the breaker does that.
const COST_MAX: Duration = Duration::from_secs(2);

impl Faults {
    pub(super) fn add(&mut self, now: Instant, kind: &'static str) {
        let count = self.count(now, kind) + 1.0;
        self.kinds.retain(|(one, ..)| *one != kind);
        self.kinds.push((kind, count, now));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// How many failures of a kind still count.
    pub(super) fn count(&self, now: Instant, kind: &str) -> f64 {
        let known = self.kinds.iter().find(|(one, ..)| *one == kind);
        known.map_or(0.0, |(_, count, at)| count * fades(now, *at))
    }

    /// What using the edge is expected to cost on top because of them.
    pub(super) fn cost(&self, now: Instant) -> Duration {
        let costs = self.kinds.iter().map(|(kind, count, at)| {
            let one = if matches!(*kind, "edge_silent" | "net.stalled" | "net.connect_timeout") {
                SILENCE_COSTS
            } else {
                WORD_COSTS
            };
            one.mul_f64(count * fades(now, *at))
        });
        costs.sum::<Duration>().min(COST_MAX)
    }
}

fn fades(now: Instant, since: Instant) -> f64 {
    libm::exp2(-now.since(since).as_secs_f64() / HALF_LIFE_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_fade_and_silence_weighs_most() {
        let later = Instant::ZERO + Duration::from_secs(60);
        let after = |kind| {
            let mut faults = Faults::default();
            faults.add(Instant::ZERO, kind);
            faults
        };
        let silent = after("edge_silent");
        assert_eq!(silent.cost(Instant::ZERO), Duration::from_secs(1));
        assert_eq!(silent.cost(later), Duration::from_millis(500));
        assert!(after("net.reset").cost(later) < silent.cost(later));
        let mut often = silent;
        for _ in 0..50 {
            often.add(later, "edge_silent");
        }
        assert!((often.count(later, "edge_silent") - 50.5).abs() < 1e-9);
        assert_eq!(often.cost(later), COST_MAX);
    }
}
