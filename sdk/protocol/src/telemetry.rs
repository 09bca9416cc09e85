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
    /// What happened: `started`, `stalled`, `resumed`, `rung_switched`, `failed_over`, `ended`, `failed`…
    pub kind: String,
    /// What more there is to say, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
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
