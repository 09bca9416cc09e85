//! QoE events that clients send to the backend: `POST /v1/events`.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// A batch of events of one playback, answered with 202 at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventBatch {
    /// The playback they belong to.
    pub playback_id: String,
    /// Counts batches of this playback, so that a repeated one is not counted twice.
    pub sequence: u64,
    /// Events the client had to drop since the last batch, because its queue was full.
    pub dropped: u64,
    /// In the order they happened.
    pub events: Vec<QoeEvent>,
}

/// Something that happened during playback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QoeEvent {
    /// Since the play intent.
    pub at_ms: u64,
    /// Where on the timeline.
    pub position_ms: u64,
    /// What happened.
    pub kind: QoeEventKind,
    /// What more there is to say, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// What a [`QoeEvent`] says that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QoeEventKind {
    /// The first frame is shown.
    Started,
    /// Playback stopped for want of media.
    Stalled,
    /// It goes on after that.
    Resumed,
    /// It goes on after a pause or a seek.
    Playing,
    /// The viewer paused.
    Paused,
    /// The viewer seeks.
    Seeking,
    /// The video is of another rung now.
    RungSwitched,
    /// A transfer went on from another edge.
    FailedOver,
    /// No edge answers.
    AllEdgesDown,
    /// An edge answers again.
    EdgesBack,
    /// A track is not played.
    NotDecoded,
    /// Playback is over: the title was played to its end.
    Ended,
    /// Playback is over: it cannot go on.
    Failed,
    /// Playback is over: the viewer left.
    Stopped,
    /// One this version does not know.
    #[serde(untagged)]
    Other(String),
}

impl QoeEventKind {
    /// Whether nothing is played after it, so that the stream's place is free.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        match self {
            Self::Ended | Self::Failed | Self::Stopped => true,
            Self::Started
            | Self::Stalled
            | Self::Resumed
            | Self::Playing
            | Self::Paused
            | Self::Seeking
            | Self::RungSwitched
            | Self::FailedOver
            | Self::AllEdgesDown
            | Self::EdgesBack
            | Self::NotDecoded
            | Self::Other(_) => false,
        }
    }
}

/// `GET /v1/events/count?playback_id=`: what the backend has stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCount {
    /// Batches, each counted once however often it was sent.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Events the client says it had to drop.
    pub dropped: u64,
}
