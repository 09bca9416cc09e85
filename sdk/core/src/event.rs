//! What a session tells the application.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

use nearcast_protocol::manifest::{RepresentationKey, TrackKind};
use nearcast_units::MediaTime;
use serde::{Deserialize, Serialize};

use crate::edge::BreakerState;
use crate::input::{EdgeId, FetchId};

/// Something the application may want to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Playback is in another state.
    State(PlayState),
    /// The tracks of the title are known: see [`crate::Session::snapshot`].
    TracksKnown,
    /// Another representation will be seen or heard from this time on.
    RepresentationSwitched {
        /// Which track.
        track: TrackKind,
        /// What it was.
        from: Option<RepresentationKey>,
        /// What it is.
        to: RepresentationKey,
        /// From when on.
        at: MediaTime,
    },
    /// Another edge took over an object.
    FailedOver {
        /// Which fetch.
        fetch: FetchId,
        /// Which track, if any.
        track: Option<TrackKind>,
        /// The failing edge.
        from: EdgeId,
        /// The edge that goes on.
        to: EdgeId,
        /// What was wrong, as a code.
        reason: String,
        /// Offset in the object at which it goes on.
        offset: u64,
    },
    /// An edge's breaker changed.
    EdgeState {
        /// Which edge.
        edge: EdgeId,
        /// What it is now.
        state: BreakerState,
        /// Why it rests, as a code.
        reason: Option<String>,
    },
    /// No edge answers; they are tried again with back-off.
    AllEdgesDown {
        /// What was wrong last, as far as something was told.
        last: Option<SessionError>,
    },
    /// An edge answers again.
    EdgesBack,
    /// Something was decided.
    Decision(Decision),
}

/// The state of playback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlayState {
    /// Nothing was loaded yet.
    Idle,
    /// On the way to the first frame.
    Starting,
    /// Media time passes.
    Playing,
    /// Held by the viewer.
    Paused,
    /// Held for want of media after a seek.
    Seeking,
    /// Held for want of media.
    Stalled(StallCause),
    /// The end was shown.
    Ended,
    /// Ended by an error.
    Failed(SessionError),
    /// Ended by the application.
    Stopped,
}

/// Why playback stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StallCause {
    /// The line is slower than the lowest rung, or dropped too fast.
    Throughput,
    /// The edge in use fell silent or failed and no other took over in time.
    Edge,
    /// No edge answers at all.
    AllEdgesDown,
    /// The sink ran dry although media was there.
    Sink,
}

impl StallCause {
    /// Returns the stable code for reports.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Edge => "edge_silent",
            Self::AllEdgesDown => "all_edges_down",
            Self::Sink => "sink",
        }
    }
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct SessionError {
    /// Stable code.
    pub code: String,
    /// What happened, where, and what to do.
    pub message: String,
}

/// A decision and its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What kind.
    pub kind: DecisionKind,
    /// What was chosen.
    pub chosen: String,
    /// The reason in words.
    pub why: String,
    /// The numbers it rests on, by name.
    pub inputs: BTreeMap<String, f64>,
    /// What each candidate was held to be worth, by name; empty where nothing was compared. Of rungs in the unit of the
    /// objective over the highest rung's value, of edges the seconds they are expected to take.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
}

/// What was decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Which edges race at start-up, and who won.
    Race,
    /// Which representation comes next.
    Rung,
    /// A buffered segment is fetched again at another rung.
    Replace,
    /// Who chooses the rung: the application's policy was late, or answered what cannot be done.
    Policy,
    /// Which language, or which subtitles.
    Track,
    /// Which edge is used from now on.
    Edge,
    /// What to do after a failure.
    Failover,
    /// A second edge helps an attempt that is late, or help ended.
    Hedge,
    /// Whether a slow body is the edge's fault or the line's.
    Blame,
    /// A transfer was given up for a lower rung.
    Abandon,
    /// An edge is measured with spare time.
    Probe,
    /// The grant is refreshed.
    Refresh,
    /// Playback starts, stalls or goes on.
    Playback,
    /// The session helped itself out of a standstill.
    Watchdog,
}

impl DecisionKind {
    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Race => "race",
            Self::Rung => "rung",
            Self::Replace => "replace",
            Self::Policy => "policy",
            Self::Track => "track",
            Self::Edge => "edge",
            Self::Failover => "failover",
            Self::Hedge => "hedge",
            Self::Blame => "blame",
            Self::Abandon => "abandon",
            Self::Probe => "probe",
            Self::Refresh => "refresh",
            Self::Playback => "playback",
            Self::Watchdog => "watchdog",
        }
    }
}

/// How long something took, for decisions' inputs.
pub(crate) fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}
