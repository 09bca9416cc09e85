//! What a policy may look at, and what it may answer.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};
use serde::{Deserialize, Serialize};

use super::objective::Weights;
use crate::throughput::Forecast;

/// Segments that a policy can look ahead at most. More than eight are worth planning only where the title ends within them.
pub const LOOK_AHEAD: usize = 24;

/// Everything that a decision about the next segment rests on. One is kept by the session and filled anew each time,
/// so that deciding allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AbrContext {
    /// When it is asked.
    pub now: Instant,
    /// Media playable after the playhead, less the 0.3 s that a segment has to be here before it is shown.
    pub buffer: Duration,
    /// Media kept ahead at most: a segment that would go beyond waits until there is room.
    pub buffer_max: Duration,
    /// Whether media time passes, or would if there were media: not before the first frame, not while paused.
    pub playing: bool,
    /// The rungs, by ascending bit rate, already cut to what the viewer allows; never empty.
    pub ladder: Vec<Rung>,
    /// Rung of the segment before; `None` where playback begins.
    pub last: Option<usize>,
    /// The segments to come, the next one first, at most [`LOOK_AHEAD`].
    pub ahead: Vec<SegmentAhead>,
    /// How many segments are left, those in `ahead` included; `None` when that is not known (live).
    pub left: Option<u32>,
    /// Segments that are buffered and can still be replaced, the earliest first.
    pub buffered: Vec<SegmentBuffered>,
    /// Sizes: a row for each segment of `ahead`, then one for each of `buffered`, a column for each rung.
    pub sizes: Vec<ByteCount>,
    /// What the edge in use is expected to deliver.
    pub forecast: Forecast,
    /// What is to be gained and lost.
    pub weights: Weights,
}

/// One rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// The rate that the manifest declares.
    pub bitrate: BitRate,
    /// What a segment at this rung is worth to the viewer, in units of the objective (Mbit/s by default).
    pub value: f64,
}

/// A segment to come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentAhead {
    /// How long it plays.
    pub duration: Duration,
}

/// A buffered segment that could be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentBuffered {
    /// The rung that is there.
    pub rung: usize,
    /// How much longer it can be replaced: until it begins, or a little before that.
    pub open_for: Duration,
    /// How long it plays.
    pub duration: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbrDecision {
    /// Fetch the next segment at a rung.
    Next {
        /// Index into the ladder.
        rung: usize,
    },
    /// Fetch nothing for a while; asked again when it is over, or when something changes.
    Wait {
        /// How long.
        span: Duration,
    },
    /// Fetch a buffered segment again at a higher rung.
    Replace {
        /// Index into [`AbrContext::buffered`].
        segment: usize,
        /// Index into the ladder.
        rung: usize,
    },
}

/// A decision and the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbrChoice {
    /// What to do.
    pub decision: AbrDecision,
    /// Why, in words.
    pub why: &'static str,
}

impl AbrChoice {
    /// Returns the choice of a rung for the next segment.
    #[must_use]
    pub const fn next(rung: usize, why: &'static str) -> Self {
        Self {
            decision: AbrDecision::Next { rung },
            why,
        }
    }
}

/// A transfer of a media segment that ended well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// How much it brought.
    pub bytes: ByteCount,
    /// From the request to the first byte.
    pub ttfb: Duration,
    /// From the first byte to the last.
    pub body: Duration,
}

/// A transfer that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnderWay {
    /// The rung that is fetched.
    pub rung: usize,
    /// What is here.
    pub received: ByteCount,
    /// The size of all of it.
    pub total: ByteCount,
    /// Time since the request.
    pub elapsed: Duration,
}

impl AbrContext {
    /// Returns the size of a segment to come, 0 being the next one. Beyond what is known: 0 bytes.
    #[must_use]
    pub fn size_ahead(&self, segment: usize, rung: usize) -> ByteCount {
        self.size(segment, rung)
    }

    /// Returns the size that a buffered segment has at a rung.
    #[must_use]
    pub fn size_buffered(&self, segment: usize, rung: usize) -> ByteCount {
        self.size(self.ahead.len() + segment, rung)
    }

    fn size(&self, row: usize, rung: usize) -> ByteCount {
        let place = row * self.ladder.len() + rung;
        self.sizes.get(place).copied().unwrap_or(ByteCount::ZERO)
    }

    /// Returns the highest value of a rung; 1 where none is above zero, which values need not be.
    #[must_use]
    pub fn top_value(&self) -> f64 {
        let top = self.ladder.iter().map(|one| one.value).fold(0.0, f64::max);
        if top > 0.0 { top } else { 1.0 }
    }

    /// Returns the highest rung whose declared rate is at most `rate`; the lowest when there is none.
    #[must_use]
    pub fn sustained(&self, rate: BitRate) -> usize {
        self.ladder
            .partition_point(|one| one.bitrate <= rate)
            .saturating_sub(1)
    }
}
