//! What the application hears of, and how.

use std::time::Duration;

use nearcast_core::{BreakerState, Decision, PlayState, SessionError};
use nearcast_protocol::manifest::TrackKind;
use nearcast_units::MediaTime;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::backend::GrantPath;

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerEvent {
    /// Since the play intent.
    pub at: Duration,
    /// Where on the timeline.
    pub position: MediaTime,
    /// What.
    pub kind: EventKind,
}

/// What happened. [`EVENTS`](crate::EVENTS) explains each kind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// Playback is in another state.
    State(PlayState),
    /// The backend granted playback, or granted it anew.
    Granted {
        /// Names the playback at the backend; empty when none was asked.
        playback_id: String,
        /// The title's name for people; empty when none was asked.
        title: String,
        /// Edges by name, best first.
        edges: Vec<String>,
        /// How the grant came; `None` when no backend was asked.
        path: Option<GrantPath>,
    },
    /// The backend refused or failed; the session decides what that means.
    GrantFailed {
        /// Stable code.
        code: String,
        /// What happened.
        message: String,
    },
    /// The tracks of the title are known: the snapshot lists them.
    TracksKnown,
    /// Media of the title was left out because it is not supported.
    TrackRefused {
        /// What it carries.
        track: TrackKind,
        /// Stable code.
        code: String,
        /// What is not supported.
        message: String,
    },
    /// Another representation will be seen or heard from a time on.
    RepresentationSwitched {
        /// Which track.
        track: TrackKind,
        /// Identifier of the one before; `None` for the first.
        from: Option<String>,
        /// Identifier of the new one.
        to: String,
        /// From when on.
        from_position: MediaTime,
    },
    /// Another edge took over an object in the middle.
    FailedOver {
        /// Which track; `None` for a manifest.
        track: Option<TrackKind>,
        /// The failing edge.
        from: String,
        /// The edge that goes on.
        to: String,
        /// What was wrong, as a code.
        reason: String,
        /// Offset in the object at which it goes on.
        offset_bytes: u64,
    },
    /// An edge's breaker changed.
    EdgeState {
        /// Which edge.
        edge: String,
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
    /// Something was decided, and why.
    Decision(Decision),
    /// A track cannot be decoded here; playback goes on without it.
    NotDecoded {
        /// Which track.
        track: TrackKind,
        /// Stable code.
        code: String,
        /// What is missing.
        message: String,
    },
    /// Any certificate is accepted, because the application asked for that.
    InsecureTls,
    /// The recording could not be written on; playback goes on without it.
    RecordingFailed {
        /// What the system said.
        message: String,
    },
    /// The application fell behind: so many events were dropped here.
    Missed {
        /// How many.
        count: u64,
    },
}

impl EventKind {
    /// Returns the stable name that telemetry, logs and bindings depend on.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::State(_) => "state",
            Self::Granted { .. } => "granted",
            Self::GrantFailed { .. } => "grant_failed",
            Self::TracksKnown => "tracks_known",
            Self::TrackRefused { .. } => "track_refused",
            Self::RepresentationSwitched { .. } => "representation_switched",
            Self::FailedOver { .. } => "failed_over",
            Self::EdgeState { .. } => "edge_state",
            Self::AllEdgesDown { .. } => "all_edges_down",
            Self::EdgesBack => "edges_back",
            Self::Decision(_) => "decision",
            Self::NotDecoded { .. } => "not_decoded",
            Self::InsecureTls => "insecure_tls",
            Self::RecordingFailed { .. } => "recording_failed",
            Self::Missed { .. } => "missed",
        }
    }
}

/// Returns the stable name of a state of playback.
#[must_use]
pub const fn state_name(state: &PlayState) -> &'static str {
    match state {
        PlayState::Idle => "idle",
        PlayState::Starting => "starting",
        PlayState::Playing => "playing",
        PlayState::Paused => "paused",
        PlayState::Seeking => "seeking",
        PlayState::Stalled(_) => "stalled",
        PlayState::Ended => "ended",
        PlayState::Failed(_) => "failed",
        PlayState::Stopped => "stopped",
    }
}

/// Events wait here for a slow application; the latest are kept. A minute of a lively session.
pub(crate) const EVENTS_MAX: usize = 512;

/// Events as they happen, from the moment this was made.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<PlayerEvent>,
    last: (Duration, MediaTime),
}

impl Events {
    pub(crate) const fn new(receiver: broadcast::Receiver<PlayerEvent>) -> Self {
        Self {
            receiver,
            last: (Duration::ZERO, MediaTime::ZERO),
        }
    }

    /// Returns the next event; `None` when the player has ended and all events were returned.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<PlayerEvent> {
        match self.receiver.recv().await {
            Ok(event) => {
                self.last = (event.at, event.position);
                Some(event)
            }
            Err(RecvError::Lagged(count)) => {
                let (at, position) = self.last;
                Some(PlayerEvent {
                    at,
                    position,
                    kind: EventKind::Missed { count },
                })
            }
            Err(RecvError::Closed) => None,
        }
    }
}
