//! Two edges at the same time: is the edge slow, or the line?
//!
//! Where the line is the bottleneck, two bodies get as much together as one got alone, and share it more or less evenly.
//! Where an edge is, a body from another one gets what the slow one leaves, which is most of the line.

mod overlap;
#[cfg(test)]
mod tests;

use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

use crate::input::{AttemptId, EdgeId};
use crate::throughput::{Forecast, RecentRate, Told};

use overlap::{LATE, Overlap, Rates};

/// A slow body and another edge's beside it.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// The attempt whose body is slow, and its edge.
    pub(crate) slow: (AttemptId, EdgeId),
    /// The attempt beside it, and its edge.
    pub(crate) other: (AttemptId, EdgeId),
    /// What the edge gave before.
    pub(crate) usual: Option<Forecast>,
    pub(crate) held_to: HeldTo,
    /// All that came before the other body began: others share the line with the slow one.
    alone: RecentRate,
    overlap: Option<Overlap>,
    ended: bool,
}

/// What a slow body is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldTo {
    /// What its edge gave before: it has become slow.
    Usual(BitRate),
    /// What playback could use: it may have been slow from the beginning. The line is known to carry so much.
    Wanted { rate: BitRate, line: BitRate },
}

impl HeldTo {
    pub(crate) const fn rate(self) -> BitRate {
        match self {
            Self::Usual(rate) | Self::Wanted { rate, .. } => rate,
        }
    }

    /// The same as an input of a decision.
    pub(crate) fn input(self) -> (&'static str, f64) {
        let name = match self {
            Self::Usual(_) => "usual_bps",
            Self::Wanted { .. } => "wanted_bps",
        };
        (name, self.rate().as_f64())
    }
}

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The edge whose body is slow.
    Edge,
    /// The line: another edge only took away from the slow body.
    Line,
    /// The line had room, but the other edge is no faster.
    Both,
    /// One of the two ended too soon to tell, the slow one is as fast as ever again, or the line gets more.
    Nobody,
}

/// What a comparison showed, with the rates in bit/s that it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) blame: Blame,
    pub(crate) before: f64,
    pub(crate) slow: f64,
    pub(crate) other: f64,
}

/// The slow body's rate before the other's begins is taken over so long: less would be noise, more would reach back to
/// the time when it was not slow.
pub(crate) const BEFORE: Duration = Duration::from_millis(350);
/// After so long both have shown what they can.
const LONG_ENOUGH: Duration = Duration::from_millis(1_500);
/// The other edge must be this much faster to be called better.
const FASTER: f64 = 1.5;
/// And this much where its body still gets faster.
const FASTER_YET: f64 = 1.2;
/// Both together must carry this much more than the slow body did alone to show that the line had room; and this much
/// where the other edge's body may still get faster.
const ROOM: f64 = 1.2;
pub(super) const MUCH_ROOM: f64 = 1.35;
/// A body that may still be in slow start has shown nothing where it brings less than this share of the slow one: a queue makes
/// round trips long, too (seen at 0.41 behind packet links, where the line had fallen; `bench edges` is the same with it and without).
const STARTS: f64 = 0.7;
/// It need not go on to its end where the other body is this much faster than the slow one, or after these.
const CLEAR: f64 = 3.0;
const ENOUGH: u64 = 48 << 10;
const EDGE_TOLD_AFTER: Duration = Duration::from_millis(300);
const LINE_TOLD_AFTER: Duration = Duration::from_millis(500);
/// A body that brings this share of what it is held to is slow no more.
const CAME_BACK: f64 = 0.7;

impl Comparison {
    pub(crate) const fn new(
        slow: (AttemptId, EdgeId),
        other: (AttemptId, EdgeId),
        (usual, held_to): (Option<Forecast>, HeldTo),
        alone: RecentRate,
    ) -> Self {
        Self {
            slow,
            other,
            usual,
            held_to,
            alone,
            overlap: None,
            ended: false,
        }
    }

    /// So much of another edge's body shows whether it is faster than a slow one: its window has opened far enough by then, for which
    /// twice as much is sent as is on its way in the end (slow start, RFC 5681, section 3.1), and it was looked at once more.
    pub(crate) fn shows_after(slow: BitRate, others_round_trip: Duration) -> ByteCount {
        slow.scaled(FASTER).bytes_in(others_round_trip * 2 + LATE)
    }

    /// The other edge's body begins, which was asked for at `asked_at`.
    pub(crate) fn body_begins(&mut self, now: Instant, id: AttemptId, asked_at: Instant) {
        if id == self.other.0 && self.overlap.is_none() {
            // Until its last slice: what has come since is not known.
            let last = self.alone.last_at().unwrap_or(now);
            let before = self.alone.rate_over(last, BEFORE);
            let known = match self.held_to {
                HeldTo::Usual(_) => None,
                HeldTo::Wanted { line, .. } => Some(line),
            };
            let before = before.max(known);
            let before = before.map_or(0.0, BitRate::as_f64);
            self.overlap = Some(Overlap::begins(now, asked_at, before));
        }
    }

    /// Bytes of some body came.
    pub(crate) fn progress(&mut self, told: Told, (id, edge): (AttemptId, EdgeId), bytes: u64) {
        if self.ended {
            return;
        }
        let now = told.now;
        match &mut self.overlap {
            Some(overlap) if id == self.other.0 => overlap.other_came(told, bytes),
            // Sound shares with the picture what their edge gives.
            Some(overlap) if edge == self.slow.1 => overlap.slow_came(told, bytes),
            Some(overlap) => overlap.beside_came(bytes),
            None if id == self.other.0 => {}
            None => self.alone.progress(now, bytes),
        }
    }

    pub(crate) fn ended(&mut self, id: AttemptId) {
        self.ended |= id == self.slow.0 || id == self.other.0;
    }

    /// Returns what it showed, once it can be told.
    pub(crate) fn finding(&self, now: Instant) -> Option<Finding> {
        let Some(overlap) = &self.overlap else {
            return self.ended.then_some(Finding::NOTHING);
        };
        let lasts = overlap.lasts(now);
        let over = self.ended || lasts >= LONG_ENOUGH;
        let Some(rates) = overlap.rates(now) else {
            return over.then_some(Finding::NOTHING);
        };
        // Too little of the other body tells nothing.
        if self.ended && overlap.other_bytes() < ENOUGH / 2 {
            return Some(Finding::NOTHING);
        }
        let Rates {
            before,
            slow,
            other,
            ..
        } = rates;
        let blame = rates.blame(self.held_to);
        let steady = overlap.is_steady();
        let seen = overlap.other_bytes() >= ENOUGH;
        let told = match blame {
            Blame::Edge if other > before * CLEAR => seen,
            Blame::Edge => steady && lasts >= EDGE_TOLD_AFTER && other > slow * FASTER,
            Blame::Line => steady && lasts >= LINE_TOLD_AFTER && seen,
            Blame::Both | Blame::Nobody => false,
        };
        (over || told).then_some(Finding {
            blame,
            before,
            slow,
            other,
        })
    }
}

impl Rates {
    fn blame(&self, held_to: HeldTo) -> Blame {
        if self.slow > held_to.rate().as_f64() * CAME_BACK {
            return Blame::Nobody;
        }
        if self.slow + self.other + self.beside <= self.before * ROOM {
            return Blame::Line;
        }
        if self.other_is_faster() {
            return Blame::Edge;
        }
        if !self.other_may_get_faster() {
            return Blame::Both;
        }
        match held_to {
            _ if self.line_gets_more() => Blame::Nobody,
            HeldTo::Usual(_) => Blame::Edge,
            HeldTo::Wanted { .. } if self.other > self.slow * FASTER_YET => Blame::Edge,
            // That the line has room does not say that anybody is faster.
            HeldTo::Wanted { .. } => Blame::Nobody,
        }
    }

    /// Of what a line has just got more, the one that was told of later has had more: so it must be faster at the same time, too.
    fn other_is_faster(&self) -> bool {
        let (slow, other) = self.same_time;
        self.other > self.slow * FASTER && other > slow * FASTER
    }

    fn other_may_get_faster(&self) -> bool {
        let (slow, other) = self.same_time;
        let together = (slow + other).min(self.slow + self.other) + self.beside;
        self.starts
            && self.other.min(other) > self.slow * STARTS
            && together > self.before * MUCH_ROOM
    }

    /// Whether the newest that the slow one brings is more than it brought alone, or since the other one comes: its edge does not
    /// hold it back.
    fn line_gets_more(&self) -> bool {
        self.slow_newest > self.slow.min(self.before) * ROOM
    }
}

impl Finding {
    /// What both brought together.
    pub(crate) fn together(&self) -> BitRate {
        BitRate::from_bps(1).scaled(self.slow + self.other)
    }

    const NOTHING: Self = Self {
        blame: Blame::Nobody,
        before: 0.0,
        slow: 0.0,
        other: 0.0,
    };
}
