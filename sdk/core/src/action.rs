//! What a session asks its driver to do.

use alloc::boxed::Box;
use alloc::vec::Vec;

use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::{Instant, MediaTime};

use crate::abr::{AbrContext, Transfer};
use crate::input::{AskId, AttemptId, EdgeId, Epoch, FetchId};

/// Something the driver must do, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the backend for a grant; answer with `Granted` or `GrantFailed`.
    RequestGrant {
        /// Whether a grant is held already and is to be refreshed.
        refresh: bool,
    },
    /// Begin an attempt.
    StartAttempt(AttemptSpec),
    /// End an attempt; nothing more is said about it.
    CancelAttempt {
        /// Which.
        attempt: AttemptId,
        /// Whether connections to its edge are suspect and must not be used again.
        drop_connections: bool,
    },
    /// Compare a completed fetch with its digest (base64 SHA-256); answer with `Verified`.
    Verify {
        /// Which.
        fetch: FetchId,
        /// The digest an edge promised.
        digest: alloc::string::String,
    },
    /// Parse a completed manifest or index; answer with `ManifestParsed`, `IndexParsed` or `ParseFailed`.
    Parse {
        /// Where the bytes are.
        fetch: FetchId,
        /// What they are.
        object: ObjectKey,
    },
    /// A completed init or media segment is ready to be demultiplexed and shown, in this order per track.
    HandOn {
        /// The epoch it belongs to.
        epoch: Epoch,
        /// Where the bytes are.
        fetch: FetchId,
        /// What they are.
        object: ObjectKey,
        /// Whose sink they are for.
        track: TrackKind,
    },
    /// A media segment may be shown as far as it has come: follow it, and say with `Playable` how far that is.
    /// `HandOn` comes for it too, once it is complete and right; `Flush` takes it back.
    HandOnPart {
        /// The epoch it belongs to.
        epoch: Epoch,
        /// Where the bytes are, and where more of them will be.
        fetch: FetchId,
        /// What they are.
        object: ObjectKey,
        /// Whose sink they are for.
        track: TrackKind,
    },
    /// The bytes of a fetch are not needed any more.
    Release {
        /// Which.
        fetch: FetchId,
    },
    /// Forget samples that were handed on and not shown.
    Flush {
        /// From now on this epoch is current.
        epoch: Epoch,
        /// Whose; `None` for all.
        track: Option<TrackKind>,
        /// Samples from this presentation time on are forgotten; earlier ones still play.
        from: MediaTime,
    },
    /// No more samples will come for this track (until a flush).
    EndOfTrack {
        /// The epoch it belongs to.
        epoch: Epoch,
        /// Whose.
        track: TrackKind,
    },
    /// Playback is about to start or go on: answer with `Prepared` once what is shown at the playhead is
    /// decoded, so that sound and picture begin together. The session does not wait for ever.
    Prepare {
        /// The current epoch.
        epoch: Epoch,
    },
    /// Ask the application's policy; answer with `PolicyAnswered`. After `until` the session decides without it.
    AskPolicy {
        /// The question.
        ask: AskId,
        /// What it may look at.
        context: Box<AbrContext>,
        /// Segments that have arrived since the last question.
        transfers: Vec<Transfer>,
        /// When its answer comes too late.
        until: Instant,
    },
    /// Start or hold the presentation clock.
    Clock(ClockOrder),
    /// All connections belong to a network that is gone.
    ResetNetwork,
}

/// What the presentation clock is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClockOrder {
    /// Show from here on.
    Start {
        /// The current epoch.
        epoch: Epoch,
        /// Presentation time to show now.
        at: MediaTime,
        /// Media seconds per second; 1.0 is normal.
        rate: f64,
    },
    /// Stop where it is.
    Hold,
}

/// One try at an object on one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptSpec {
    /// Its name.
    pub attempt: AttemptId,
    /// The fetch it serves: bytes go there, at absolute offsets; the first writer of a byte wins.
    pub fetch: FetchId,
    /// What is fetched.
    pub object: ObjectKey,
    /// Where from.
    pub edge: EdgeId,
    /// First byte wanted, within the object. Bytes that are there already must match; if not, the attempt
    /// has failed with [`crate::Failure::Mismatch`].
    pub from: u64,
    /// Offset after the last byte wanted; `None` is to the end. With `from` 0 the object is asked for
    /// whole, without a range.
    pub to: Option<u64>,
    /// Whether bytes are only counted, not kept.
    pub probe: bool,
}

/// Why an attempt was cancelled, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// Another edge won the race.
    LostRace,
    /// Another edge took over: this one was silent.
    Silent,
    /// It was slow: another edge took over, or a probe had shown as much.
    Slow,
    /// The helper was not needed: the first edge came back or the line itself is slow.
    NotNeeded,
    /// The viewer went elsewhere.
    Abandoned,
    /// A lower rung is fetched instead.
    LowerRung,
    /// Something else is needed first, or takes its place: it was wrong, or lay behind what was.
    Superseded,
    /// The device is on another network.
    NetworkChanged,
    /// Nothing had moved for long.
    Watchdog,
    /// The session ended.
    Stopped,
}

impl CancelReason {
    /// Returns the stable code for reports.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::LostRace => "lost_race",
            Self::Silent => "edge_silent",
            Self::Slow => "edge_slow",
            Self::NotNeeded => "not_needed",
            Self::Abandoned => "abandoned",
            Self::LowerRung => "lower_rung",
            Self::Superseded => "superseded",
            Self::NetworkChanged => "network_changed",
            Self::Watchdog => "watchdog",
            Self::Stopped => "stopped",
        }
    }
}
