//! What can be seen of a player at one moment.

use nearcast_core::Snapshot;
use nearcast_media::Cue;
use nearcast_protocol::report::FrameReport;

/// A player at one moment, for screens and statistics; made anew four times a second and when something
/// happens.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerSnapshot {
    /// The session: state, position, buffers, rungs, tracks, edges.
    pub session: Snapshot,
    /// Subtitles to be seen now.
    pub cues: Vec<Cue>,
    /// Counts of decoded frames; zeros when nothing is decoded.
    pub frames: FrameReport,
    /// Encoded bytes in memory, those in flight included.
    pub stored_bytes: u64,
    /// Telemetry events dropped for want of room.
    pub telemetry_dropped: u64,
    /// Names the playback at the backend; `None` without one.
    pub playback_id: Option<String>,
    /// The title's name for people; `None` without a backend.
    pub title: Option<String>,
}
