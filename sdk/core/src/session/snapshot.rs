//! What can be seen of a session at one moment: for screens and statistics, never for decisions.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};
use nearcast_units::{BitRate, ByteCount, Instant, MediaTime};

use super::Session;
use crate::edge::BreakerState;
use crate::event::{PlayState, SessionError};
use crate::input::{EdgeId, Protocol};

/// A session at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// State of playback.
    pub state: PlayState,
    /// What went wrong last and was not made good since.
    pub trouble: Option<SessionError>,
    /// Presentation time shown now.
    pub position: MediaTime,
    /// Length of the presentation; `None` while unknown.
    pub duration: Option<Duration>,
    /// Video buffer level.
    pub video_level: Duration,
    /// Audio buffer level.
    pub audio_level: Duration,
    /// Encoded bytes held.
    pub held: ByteCount,
    /// Video rungs by ascending bit rate.
    pub ladder: Vec<RungSnapshot>,
    /// Rung of the segment under the playhead.
    pub rung_shown: Option<usize>,
    /// Rung of the segment decided on last.
    pub rung_next: Option<usize>,
    /// Rung the viewer locked.
    pub rung_locked: Option<usize>,
    /// Audio tracks of the current period.
    pub audio_tracks: Vec<TrackSnapshot>,
    /// Subtitle tracks of the current period.
    pub text_tracks: Vec<TrackSnapshot>,
    /// Edges in the order they became known.
    pub edges: Vec<EdgeSnapshot>,
    /// Objects on their way, each with the edge that brings it.
    pub transfers: Vec<TransferSnapshot>,
    /// Rate that the next transfer is planned with.
    pub rate: Option<BitRate>,
    /// Stalls so far.
    pub stalls: usize,
    /// Hand-overs so far.
    pub failovers: usize,
}

/// One object on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferSnapshot {
    /// What it is.
    pub object: ObjectKey,
    /// Whose; `None` for manifests and probes.
    pub track: Option<TrackKind>,
    /// The edge asked first of those that are asked.
    pub edge: EdgeId,
    /// Bytes that are here.
    pub received: ByteCount,
    /// Size of the object; `None` before headers tell.
    pub total: Option<ByteCount>,
    /// Whether it is a better picture of a segment that is buffered: nobody waits for it.
    pub replaces: bool,
}

/// One rung of the video ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RungSnapshot {
    /// Identifier in the manifest.
    pub id: String,
    /// Declared bit rate.
    pub bitrate: BitRate,
    /// Picture width and height in pixels.
    pub resolution: Option<(u32, u32)>,
}

/// One track that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackSnapshot {
    /// Language (BCP 47).
    pub language: Option<String>,
    /// Name for people.
    pub label: Option<String>,
    /// Whether it is the chosen one.
    pub chosen: bool,
}

/// One edge.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeSnapshot {
    /// Its id in this session.
    pub id: EdgeId,
    /// Its name.
    pub name: String,
    /// The backend's order.
    pub rank: u32,
    /// Breaker.
    pub state: BreakerState,
    /// Whether the next object will be asked of it.
    pub in_use: bool,
    /// What it spoke last.
    pub protocol: Option<Protocol>,
    /// Median time to first byte.
    pub ttfb: Option<Duration>,
    /// Estimated rate.
    pub rate: Option<BitRate>,
    /// Body bytes received from it.
    pub bytes: ByteCount,
    /// Attempts that failed.
    pub failures: u64,
}

impl Session {
    /// Returns what can be seen at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let position = self.clock.position(now.max(self.now));
        let video = self.track(TrackKind::Video);
        let shown = video
            .buffered
            .iter()
            .find(|segment| segment.start <= position && position < segment.end);
        let rung = |key: RepresentationKey| usize::from(key.representation);
        let period = self
            .timeline
            .as_ref()
            .map_or(0, |timeline| timeline.period_at(position));
        let ladder = self
            .timeline
            .as_ref()
            .zip(video.chosen)
            .map(|(timeline, track)| timeline.ladder(period, track))
            .unwrap_or_default();
        Snapshot {
            state: self.state.clone(),
            trouble: self.last_failure.clone(),
            position,
            duration: self
                .timeline
                .as_ref()
                .and_then(crate::timeline::Timeline::duration),
            video_level: video.level(position),
            audio_level: self.track(TrackKind::Audio).level(position),
            held: self
                .tracks
                .iter()
                .map(crate::schedule::TrackState::bytes)
                .sum(),
            ladder: ladder
                .iter()
                .map(|one| RungSnapshot {
                    id: one.id.clone(),
                    bitrate: one.bitrate,
                    resolution: one.resolution,
                })
                .collect(),
            rung_shown: shown.map(|segment| rung(segment.key)),
            rung_next: video.last.map(rung),
            rung_locked: self.lock.map(usize::from),
            audio_tracks: self.track_list(TrackKind::Audio, period),
            text_tracks: self.track_list(TrackKind::Text, period),
            edges: self.edge_list(now),
            transfers: self.transfer_list(),
            rate: self.rate_for_plan(),
            stalls: self.recorder.stall_count(),
            failovers: self.recorder.failover_count(),
        }
    }

    fn transfer_list(&self) -> Vec<TransferSnapshot> {
        let transfer = |fetch: &crate::fetch::Fetch| {
            Some(TransferSnapshot {
                object: fetch.object,
                track: fetch.track,
                edge: fetch.attempts.first()?.edge,
                received: ByteCount::new(fetch.received),
                total: fetch.total.map(ByteCount::new),
                replaces: self.is_replacement(fetch.id),
            })
        };
        self.fetches.iter().filter_map(transfer).collect()
    }

    fn track_list(&self, kind: TrackKind, period: u16) -> Vec<TrackSnapshot> {
        let chosen = self.track(kind).chosen;
        self.timeline
            .iter()
            .flat_map(|timeline| timeline.tracks(period, kind))
            .map(|(index, track)| TrackSnapshot {
                language: track.language.clone(),
                label: track.label.clone(),
                chosen: chosen == Some(index),
            })
            .collect()
    }

    fn edge_list(&self, now: Instant) -> Vec<EdgeSnapshot> {
        self.edges
            .iter()
            .map(|(id, edge)| EdgeSnapshot {
                id,
                name: edge.name.to_string(),
                rank: edge.rank,
                state: edge.state(now),
                in_use: self.edges.current() == Some(id),
                protocol: edge.protocol,
                ttfb: edge.ttfb(50),
                rate: edge.rate(),
                bytes: edge.bytes,
                failures: edge.failures,
            })
            .collect()
    }
}

/// What the report is built from.
impl Session {
    pub(crate) const fn recorder(&self) -> &crate::qoe::Recorder {
        &self.recorder
    }

    pub(crate) const fn known_edges(&self) -> &crate::edge::Edges {
        &self.edges
    }

    pub(crate) fn live_fetches(&self) -> &[crate::fetch::Fetch] {
        &self.fetches
    }

    /// Video segments (audio when there is no video) that the playhead has reached and not left.
    pub(crate) fn shown_so_far(&self, playhead: MediaTime) -> Vec<(f64, Duration)> {
        let video = self.track(TrackKind::Video);
        let track = if video.chosen.is_some() {
            video
        } else {
            self.track(TrackKind::Audio)
        };
        track
            .buffered
            .iter()
            .filter(|segment| segment.start < playhead)
            .filter_map(|segment| {
                let bitrate = self.timeline.as_ref()?.representation(segment.key)?.bitrate;
                Some((bitrate.as_f64(), segment.end.since(segment.start)))
            })
            .collect()
    }

    pub(crate) fn error_report(&self) -> Option<nearcast_protocol::report::ErrorReport> {
        let PlayState::Failed(error) = &self.state else {
            return None;
        };
        Some(nearcast_protocol::report::ErrorReport {
            code: error.code.clone(),
            message: error.message.clone(),
        })
    }
}
