//! Takes one edge out of rotation after a failure, and lets it back in by a trial.

use core::time::Duration;

use nearcast_units::{Instant, Rng};
use serde::{Deserialize, Serialize};

/// What a breaker says of its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// In use.
    Closed,
    /// Rests.
    Open,
    /// The rest is over: one trial decides.
    HalfOpen,
}

impl BreakerState {
    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// One edge's breaker.
#[derive(Clone, Debug)]
pub(crate) struct EdgeBreaker {
    config: BreakerConfig,
    state: State,
    /// Failures since the edge last served.
    failures: u32,
    /// The server asked not to be asked before.
    named: Instant,
}

/// How long an edge rests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerConfig {
    /// After the first failure; doubled by each further one.
    pub(crate) rest: Duration,
    /// At most this long: a recovered edge is to be in use again within 60 s.
    pub(crate) rest_max: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Instant },
}

impl EdgeBreaker {
    pub(crate) const fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: State::Closed,
            failures: 0,
            named: Instant::ZERO,
        }
    }

    /// Another rest, from the next failure on (a session with one edge cannot wait as long).
    pub(crate) const fn set_config(&mut self, config: BreakerConfig) {
        self.config = config;
    }

    /// The edge gave bytes that were wanted.
    pub(crate) const fn handle_served(&mut self) {
        self.state = State::Closed;
        self.failures = 0;
    }

    /// The edge failed; rests at least `rest_min`, jittered by up to a quarter so that many clients do
    /// not come back at once.
    pub(crate) fn handle_failure(&mut self, now: Instant, rest_min: Duration, rng: &mut Rng) {
        self.named = self.named.max(now + rest_min);
        // Several transfers that end by one event are one failure.
        if let State::Open { until } = self.state
            && now < until
        {
            self.state = State::Open {
                until: until.max(now + rest_min),
            };
            return;
        }
        let doubled = self
            .config
            .rest
            .saturating_mul(1 << self.failures.min(16))
            .min(self.config.rest_max);
        self.failures += 1;
        let rest = doubled.max(rest_min).mul_f64(0.75 + 0.5 * rng.next_f64());
        self.state = State::Open {
            until: now + rest.max(rest_min),
        };
    }

    /// Rests no longer than until `latest`, unless the server named a time.
    pub(crate) fn shorten_rest(&mut self, latest: Instant) {
        if let State::Open { until } = &mut self.state {
            *until = (*until).min(latest.max(self.named));
        }
    }

    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns when the rest is over; `None` when the edge is in use.
    pub(crate) const fn rested_at(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearcast_units::Seed;

    const CONFIG: BreakerConfig = BreakerConfig {
        rest: Duration::from_secs(2),
        rest_max: Duration::from_secs(30),
    };

    #[test]
    fn an_edge_rests_after_a_failure_and_is_tried_when_the_rest_is_over() {
        let mut breaker = EdgeBreaker::new(CONFIG);
        let mut rng = Seed::new(1).rng();
        breaker.handle_failure(Instant::ZERO, Duration::ZERO, &mut rng);
        assert_eq!(
            breaker.state(Instant::ZERO + Duration::from_secs(1)),
            BreakerState::Open
        );
        let over = breaker.rested_at().unwrap();
        assert_eq!(breaker.state(over), BreakerState::HalfOpen);
        breaker.handle_served();
        assert_eq!(breaker.state(over), BreakerState::Closed);
    }

    #[test]
    fn rests_grow_and_stay_bounded() {
        let mut breaker = EdgeBreaker::new(CONFIG);
        let mut rng = Seed::new(2).rng();
        let mut now = Instant::ZERO;
        for _ in 0..40 {
            breaker.handle_failure(now, Duration::ZERO, &mut rng);
            // A second failure by the same event is the same failure.
            let once = breaker.rested_at();
            breaker.handle_failure(now, Duration::ZERO, &mut rng);
            assert_eq!(breaker.rested_at(), once);
            now = breaker.rested_at().unwrap();
        }
        breaker.handle_failure(now, Duration::ZERO, &mut rng);
        let rest = breaker.rested_at().unwrap().since(now);
        assert!(
            rest > Duration::from_secs(20) && rest < Duration::from_secs(40),
            "{rest:?}"
        );
    }

    #[test]
    fn a_server_that_names_a_time_is_not_asked_before() {
        let mut breaker = EdgeBreaker::new(CONFIG);
        let mut rng = Seed::new(3).rng();
        let named = Duration::from_secs(45);
        breaker.handle_failure(Instant::ZERO, named, &mut rng);
        assert!(breaker.rested_at().unwrap() >= Instant::ZERO + named);
        breaker.shorten_rest(Instant::ZERO);
        assert!(breaker.rested_at().unwrap() >= Instant::ZERO + named);
    }
}
