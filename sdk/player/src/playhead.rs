//! The playhead: which media time is shown now, for sinks and for the application.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nearcast_core::Epoch;
use nearcast_units::{Instant, MediaTime};

use crate::clock::Clock;

/// Where playback is. Cheap to clone; every clone follows the same playback.
#[derive(Clone, Debug)]
pub struct Playhead {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Held {
        position: MediaTime,
    },
    Running {
        epoch: Epoch,
        since: Instant,
        position: MediaTime,
        rate: f64,
    },
}

impl Playhead {
    pub(crate) fn new(clock: Clock, position: MediaTime) -> Self {
        Self {
            clock,
            state: Arc::new(Mutex::new(State::Held { position })),
        }
    }

    /// Returns the media time shown now.
    #[must_use]
    pub fn position(&self) -> MediaTime {
        self.position_at(self.clock.now())
    }

    /// Returns whether media time passes.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(*self.lock(), State::Running { .. })
    }

    /// Returns how long it takes until `target` is shown: zero when it was, `None` while time stands still.
    #[must_use]
    pub fn time_until(&self, target: MediaTime) -> Option<Duration> {
        let state = *self.lock();
        match state {
            State::Running { rate, .. } if rate > 0.0 => {
                Some(target.since(self.position()).div_f64(rate))
            }
            State::Running { .. } | State::Held { .. } => None,
        }
    }

    pub(crate) fn position_at(&self, now: Instant) -> MediaTime {
        match *self.lock() {
            State::Held { position } => position,
            State::Running {
                since,
                position,
                rate,
                ..
            } => {
                let passed = now.since(since).mul_f64(rate);
                position + passed - since.since(now).mul_f64(rate)
            }
        }
    }

    pub(crate) fn start(&self, now: Instant, epoch: Epoch, position: MediaTime, rate: f64) {
        *self.lock() = State::Running {
            epoch,
            since: now,
            position,
            rate,
        };
    }

    /// Belongs to this epoch from now on: something was flushed while it ran on.
    pub(crate) fn enter(&self, now: Epoch) {
        if let State::Running { epoch, .. } = &mut *self.lock() {
            *epoch = now;
        }
    }

    /// Stands still from now on.
    pub(crate) fn hold(&self, now: Instant) {
        let position = self.position_at(now);
        *self.lock() = State::Held { position };
    }

    /// Takes the session's word for where a playhead that stands still is (a seek, say).
    pub(crate) fn place(&self, place: MediaTime) {
        if let State::Held { position } = &mut *self.lock() {
            *position = place;
        }
    }

    /// Takes the audio device's word for where a running playhead was at a moment; what belongs to another
    /// epoch is from before a seek, and old.
    pub(crate) fn anchor(&self, at: Instant, of: Epoch, place: MediaTime) {
        if let State::Running {
            epoch,
            since,
            position,
            ..
        } = &mut *self.lock()
            && *epoch == of
        {
            *since = at;
            *position = place;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only ever assigned whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: i64) -> MediaTime {
        MediaTime::from_micros(ms * 1000)
    }

    #[tokio::test(start_paused = true)]
    async fn the_playhead_moves_while_it_runs_and_follows_anchors() {
        let clock = Clock::start();
        let playhead = Playhead::new(clock, at_ms(500));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(playhead.position(), at_ms(500));
        assert_eq!(playhead.time_until(at_ms(900)), None);
        playhead.start(clock.now(), Epoch(3), at_ms(500), 1.0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(playhead.position(), at_ms(1500));
        assert_eq!(
            playhead.time_until(at_ms(1900)),
            Some(Duration::from_millis(400))
        );
        playhead.anchor(clock.now(), Epoch(3), at_ms(1480));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(playhead.position(), at_ms(1580));
        let a_moment_ago = clock.now();
        tokio::time::advance(Duration::from_millis(20)).await;
        playhead.anchor(a_moment_ago, Epoch(3), at_ms(1540));
        assert_eq!(
            playhead.position(),
            at_ms(1560),
            "told late, and still right"
        );
        playhead.anchor(clock.now(), Epoch(2), at_ms(9999));
        assert_eq!(playhead.position(), at_ms(1560), "from before a seek");
        playhead.enter(Epoch(4));
        playhead.anchor(clock.now(), Epoch(4), at_ms(1600));
        assert_eq!(
            playhead.position(),
            at_ms(1600),
            "after a flush that did not stop it"
        );
        playhead.hold(clock.now());
        playhead.place(at_ms(9000));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(playhead.position(), at_ms(9000));
    }
}
