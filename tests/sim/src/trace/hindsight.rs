//! What is still to be had from any state of a session, for who knows the whole network: the optimum's value, where
//! `optimum` finds its path from the first state alone.
//!
//! Backward induction over (segment, lateness, buffer, rung), along the same links as there. Buffer and lateness have
//! levels, between which values are interpolated: near enough to compare choices with, not to quote as a limit.

use super::optimum::{Label, Link};
use super::{PENSIEVE_RTT_MS, Played, Profile, Setup};

/// A session before the decision on its next segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State {
    /// The next segment; all before it are there.
    pub segment: usize,
    /// How long nothing was played since the session began: start-up and stalls.
    pub late_ms: f64,
    /// What can be played before playback stops.
    pub buffer_ms: f64,
    /// Rung of the segment before.
    pub last: usize,
}

impl State {
    /// Returns the state after the last segment of a session.
    ///
    /// # Panics
    /// When nothing was played.
    #[must_use]
    pub fn end(played: &Played) -> Self {
        Self {
            segment: played.rungs.len(),
            late_ms: played.startup_ms + played.stall_ms,
            buffer_ms: 0.0,
            last: *played.rungs.last().expect("a session has segments"),
        }
    }
}

/// Values of all states of one session.
#[derive(Clone, Debug)]
pub struct Hindsight<'a> {
    setup: Setup<'a>,
    /// Lateness of the session's first decision: further lateness is what has levels.
    since_ms: f64,
    levels: usize,
    /// By segment, lateness, buffer and last rung.
    values: Vec<f64>,
}

/// Further lateness: fine where stalls are short.
const LATE_MS: [f64; 9] = [0.0, 500.0, 1e3, 2e3, 4e3, 8e3, 16e3, 40e3, 100e3];
/// Between two levels of buffer.
const BUFFER_MS: f64 = 1_000.0;

impl<'a> Hindsight<'a> {
    /// Looks back from the session's end to a state.
    #[must_use]
    pub fn new(setup: &Setup<'a>, first: &State) -> Self {
        let most_ms = setup.cap_ms + setup.movie.segment_ms();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a buffer holds minutes"
        )]
        let levels = (most_ms / BUFFER_MS) as usize + 2;
        let rungs = setup.movie.rungs();
        let states = (setup.segments + 1) * LATE_MS.len() * levels * rungs;
        let mut all = Self {
            setup: *setup,
            since_ms: first.late_ms,
            levels,
            values: vec![0.0; states],
        };
        let link = Link::new(setup);
        let mut reached = Vec::with_capacity(rungs);
        for segment in (first.segment..setup.segments).rev() {
            for late in 0..LATE_MS.len() {
                for level in 0..levels {
                    all.fill(&link, (segment, late, level), &mut reached);
                }
            }
        }
        all
    }

    /// Finds the values of one segment, lateness and level of buffer.
    #[expect(clippy::cast_precision_loss, reason = "counts of segments and seconds")]
    fn fill(
        &mut self,
        link: &Link<'_>,
        (segment, late, level): (usize, usize, usize),
        reached: &mut Vec<Label>,
    ) {
        let ladder = self.setup.movie.bitrates_kbps();
        let late_ms = self.since_ms + LATE_MS[late];
        let buffer_ms = level as f64 * BUFFER_MS;
        let played_ms = segment as f64 * self.setup.movie.segment_ms() - buffer_ms;
        // The network's own clock.
        let beside_ms = match self.setup.profile {
            Profile::Sabre => 0.0,
            Profile::Pensieve => PENSIEVE_RTT_MS * segment as f64,
        };
        let mut label = Label {
            ready_ms: (late_ms + played_ms - beside_ms).max(0.0),
            stall_ms: 0.0,
            gain: 0.0,
            buffer_ms,
            rung: 0,
            path: usize::MAX,
        };
        link.settle(&mut label);
        reached.clear();
        link.extend(&label, segment, reached);
        let change = |from: usize, to: usize| (ladder[to] - ladder[from]).abs() / 1e3;
        // Worth of each rung, without the change to it.
        for next in reached.iter_mut() {
            let then = State {
                segment: segment + 1,
                late_ms: late_ms + next.stall_ms,
                buffer_ms: next.buffer_ms,
                last: next.rung,
            };
            next.gain += change(0, next.rung) - self.setup.mu * next.stall_ms / 1e3;
            next.gain += self.value(&then);
        }
        for last in 0..ladder.len() {
            let of_rungs = reached
                .iter()
                .map(|next| next.gain - change(last, next.rung));
            let best = of_rungs.fold(f64::NEG_INFINITY, f64::max);
            let place = self.place(segment, late, level) + last;
            self.values[place] = best;
        }
    }

    /// Returns what is still to be had from a state on: bitrates in Mbit/s, minus changes and stalls.
    /// Of states from the one on that it looked back to; where they are less late than that one, as if they were as late.
    #[must_use]
    pub fn value(&self, state: &State) -> f64 {
        if state.segment >= self.setup.segments {
            return 0.0;
        }
        let late_ms = (state.late_ms - self.since_ms).clamp(0.0, LATE_MS[LATE_MS.len() - 1]);
        let late = LATE_MS.partition_point(|level| *level <= late_ms);
        let late = late.clamp(1, LATE_MS.len() - 1) - 1;
        let later = (late_ms - LATE_MS[late]) / (LATE_MS[late + 1] - LATE_MS[late]);
        #[expect(clippy::cast_precision_loss, reason = "a count of seconds")]
        let level = (state.buffer_ms / BUFFER_MS).clamp(0.0, (self.levels - 1) as f64);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a buffer holds minutes"
        )]
        let below = (level as usize).min(self.levels - 2);
        #[expect(clippy::cast_precision_loss, reason = "a count of seconds")]
        let above = level - below as f64;
        let at = |late: usize| {
            let low = self.values[self.place(state.segment, late, below) + state.last];
            let high = self.values[self.place(state.segment, late, below + 1) + state.last];
            low + (high - low) * above
        };
        at(late) + (at(late + 1) - at(late)) * later
    }

    /// Returns what a session gained between two of its states.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
    pub fn gained(&self, from: &State, to: &State) -> f64 {
        let ladder = self.setup.movie.bitrates_kbps();
        let (before, after) = (ladder[from.last] / 1e3, ladder[to.last] / 1e3);
        let segments = to.segment.saturating_sub(from.segment) as f64;
        let stalled_s = (to.late_ms - from.late_ms).max(0.0) / 1e3;
        segments * after - (after - before).abs() - self.setup.mu * stalled_s
    }

    /// Returns what was lost between two states against the best that could have been done from the first one on.
    #[must_use]
    pub fn lost(&self, from: &State, to: &State) -> f64 {
        self.value(from) - self.gained(from, to) - self.value(to)
    }

    fn place(&self, segment: usize, late: usize, level: usize) -> usize {
        ((segment * LATE_MS.len() + late) * self.levels + level) * self.setup.movie.rungs()
    }
}
