//! The buffer and what was played from it.

use crate::trace::session::{Played, Setup};
use crate::trace::{Profile, View};

/// A stall no longer than this is what rounding leaves where a buffer just suffices.
const ROUNDING_MS: f64 = 1e-6;

/// Rungs of all segments that came, and how far they were played.
pub(super) struct Playback {
    segment_ms: f64,
    /// All segments so far, in order.
    rungs: Vec<usize>,
    /// The one being played, or the one that playback waits for.
    head: usize,
    /// How much of it was played.
    played_ms: f64,
    pub(super) startup_ms: f64,
    pub(super) stall_ms: f64,
    pub(super) stalls: usize,
    pub(super) abandoned: usize,
    pub(super) replaced: usize,
    pub(super) wasted_bits: f64,
}

impl Playback {
    pub(super) fn new(setup: &Setup<'_>) -> Self {
        Self {
            segment_ms: setup.movie.segment_ms(),
            rungs: Vec::with_capacity(setup.segments),
            head: 0,
            played_ms: 0.0,
            startup_ms: 0.0,
            stall_ms: 0.0,
            stalls: 0,
            abandoned: 0,
            replaced: 0,
            wasted_bits: 0.0,
        }
    }

    /// Returns how many segments came.
    pub(super) fn len(&self) -> usize {
        self.rungs.len()
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
    pub(super) fn buffer_ms(&self) -> f64 {
        (self.rungs.len() - self.head) as f64 * self.segment_ms - self.played_ms
    }

    /// Takes a segment in.
    pub(super) fn push(&mut self, rung: usize) {
        self.rungs.push(rung);
    }

    /// Returns the rung of a segment in the buffer, unless it is being played or over.
    pub(super) fn replaceable(&self, segment: usize) -> Option<usize> {
        let begun = segment < self.head || (segment == self.head && self.played_ms > 0.0);
        self.rungs.get(segment).copied().filter(|_| !begun)
    }

    pub(super) fn replace(&mut self, segment: usize, rung: usize) {
        self.rungs[segment] = rung;
        self.replaced += 1;
    }

    /// Plays for so long, or stands still where the buffer ends.
    pub(super) fn pass(&mut self, ms: f64) {
        let something = self.head < self.rungs.len();
        let mut rest = ms;
        while self.head < self.rungs.len() {
            let left = self.segment_ms - self.played_ms;
            if rest < left {
                self.played_ms += rest;
                return;
            }
            rest -= left;
            self.head += 1;
            self.played_ms = 0.0;
        }
        self.stall_ms += rest;
        if something && rest > ROUNDING_MS {
            self.stalls += 1;
        }
    }

    /// Returns what the rule sees, `ahead_ms` later than what was passed on so far.
    pub(super) fn view<'a>(&'a self, setup: &Setup<'a>, now_ms: f64, ahead_ms: f64) -> View<'a> {
        let mut head = self.head;
        let mut played_ms = self.played_ms + ahead_ms;
        while head < self.rungs.len() && played_ms >= self.segment_ms {
            played_ms -= self.segment_ms;
            head += 1;
        }
        let buffered = &self.rungs[head..];
        View {
            movie: setup.movie,
            segments: setup.segments,
            index: self.rungs.len(),
            now_ms: now_ms + ahead_ms,
            buffer_ms: (self.buffer_ms() - ahead_ms).max(0.0),
            cap_ms: setup.cap_ms,
            buffered,
            played_ms: if buffered.is_empty() { 0.0 } else { played_ms },
            last: self.rungs.last().copied(),
            mu: setup.mu,
        }
    }

    /// Ends the session: the rest of the buffer is played.
    #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
    pub(super) fn end(self, setup: &Setup<'_>, profile: Profile) -> Played {
        let ladder = setup.movie.bitrates_kbps();
        Played {
            profile,
            bitrates_kbps: self.rungs.iter().map(|rung| ladder[*rung]).collect(),
            startup_ms: self.startup_ms,
            stall_ms: self.stall_ms,
            stalls: self.stalls,
            total_ms: self.startup_ms + self.stall_ms + self.rungs.len() as f64 * self.segment_ms,
            abandoned: self.abandoned,
            replaced: self.replaced,
            wasted_bits: self.wasted_bits,
            rungs: self.rungs,
        }
    }
}
