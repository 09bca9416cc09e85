//! The presentation clock: which media time is shown now.

use core::time::Duration;

use nearcast_units::{Instant, MediaTime};

/// Extrapolates the playhead between the anchors that a sink reports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PlayClock {
    /// Stands still.
    Held { position: MediaTime },
    /// Runs from an anchor on.
    Running {
        since: Instant,
        position: MediaTime,
        rate: f64,
    },
}

impl PlayClock {
    pub(crate) const fn held(position: MediaTime) -> Self {
        Self::Held { position }
    }

    pub(crate) fn position(&self, now: Instant) -> MediaTime {
        match *self {
            Self::Held { position } => position,
            Self::Running {
                since,
                position,
                rate,
            } => position + now.since(since).mul_f64(rate),
        }
    }

    pub(crate) const fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    pub(crate) fn start(&mut self, now: Instant, rate: f64) {
        *self = Self::Running {
            since: now,
            position: self.position(now),
            rate,
        };
    }

    pub(crate) fn hold(&mut self, now: Instant) {
        *self = Self::Held {
            position: self.position(now),
        };
    }

    /// Takes the sink's word; anchors while held are late news and change nothing.
    pub(crate) fn anchor(&mut self, now: Instant, at: MediaTime) {
        if let Self::Running {
            since, position, ..
        } = self
        {
            *since = now;
            *position = at;
        }
    }

    /// Returns when the playhead will reach `target`, if it moves; `now` when it is past it.
    pub(crate) fn reaches(&self, now: Instant, target: MediaTime) -> Option<Instant> {
        match *self {
            Self::Held { .. } => None,
            Self::Running { rate, .. } => {
                Some(now + scaled(target.since(self.position(now)), rate))
            }
        }
    }
}

/// Wall time that a span of media takes; rounded up, so that a deadline is never early.
fn scaled(media: Duration, rate: f64) -> Duration {
    if rate > 0.0 {
        media.div_f64(rate) + Duration::from_micros(1)
    } else {
        Duration::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_playhead_moves_only_while_the_clock_runs() {
        let second = Duration::from_secs(1);
        let mut clock = PlayClock::held(MediaTime::from_micros(500_000));
        let t0 = Instant::ZERO;
        assert_eq!(clock.position(t0 + second), MediaTime::from_micros(500_000));
        clock.start(t0 + second, 1.0);
        assert_eq!(
            clock.position(t0 + second * 3),
            MediaTime::from_micros(2_500_000)
        );
        clock.hold(t0 + second * 3);
        assert_eq!(
            clock.position(t0 + second * 9),
            MediaTime::from_micros(2_500_000)
        );
    }

    #[test]
    fn a_deadline_is_not_before_the_playhead_is_there() {
        let mut clock = PlayClock::held(MediaTime::ZERO);
        clock.start(Instant::ZERO, 1.0);
        let target = MediaTime::from_micros(1_234_567);
        let due = clock.reaches(Instant::ZERO, target).unwrap();
        assert!(clock.position(due) >= target);
    }
}
