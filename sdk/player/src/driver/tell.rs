//! Tells the application, and the backend where it cares.

use std::time::Duration;

use nearcast_core::{Event, PlayState};
use nearcast_protocol::manifest::{RepresentationKey, TrackKind};
use nearcast_units::Instant;

use super::Driver;
use crate::event::{EventKind, PlayerEvent};

impl Driver {
    pub(super) fn tell_session_event(&mut self, event: Event) {
        let kind = match event {
            Event::State(state) => EventKind::State(state),
            Event::TracksKnown => {
                let position = self.session.snapshot(self.clock.now()).position;
                self.playhead.place(position);
                self.pump.begin(position);
                self.tell_refused();
                self.miss_pictures();
                EventKind::TracksKnown
            }
            Event::RepresentationSwitched {
                track,
                from,
                to,
                at,
            } => EventKind::RepresentationSwitched {
                track,
                from: from.map(|key| self.representation_id(key)),
                to: self.representation_id(to),
                from_position: at,
            },
            Event::FailedOver {
                track,
                from,
                to,
                reason,
                offset,
                ..
            } => EventKind::FailedOver {
                track,
                from: self.book.name(from).to_owned(),
                to: self.book.name(to).to_owned(),
                reason,
                offset_bytes: offset,
            },
            Event::EdgeState {
                edge,
                state,
                reason,
            } => EventKind::EdgeState {
                edge: self.book.name(edge).to_owned(),
                state,
                reason,
            },
            Event::AllEdgesDown { last } => EventKind::AllEdgesDown { last },
            Event::EdgesBack => EventKind::EdgesBack,
            Event::Decision(decision) => EventKind::Decision(decision),
        };
        self.stale = true;
        self.tell(kind);
    }

    /// Tells of tracks that cannot be played, of the manifest that is.
    fn tell_refused(&mut self) {
        let refused = self.manifest.iter().flat_map(|one| &one.refused);
        let told = refused.map(|one| EventKind::TrackRefused {
            track: one.kind,
            code: one.error.code().to_owned(),
            message: one.error.to_string(),
        });
        for kind in told.collect::<Vec<_>>() {
            self.tell(kind);
        }
    }

    /// Says once that this build shows no pictures, to whoever hears sound. Headless nobody would see any, and a
    /// sink for samples decodes them itself.
    fn miss_pictures(&mut self) {
        let outputs = self.pump.outputs();
        let heard_only = outputs.audio.is_some() && outputs.samples.is_none();
        let mut tracks = self
            .manifest
            .iter()
            .flat_map(|manifest| &manifest.outline.periods)
            .flat_map(|period| &period.tracks);
        if cfg!(feature = "video")
            || !heard_only
            || self.failed.contains(&TrackKind::Video)
            || !tracks.any(|track| track.kind == TrackKind::Video)
        {
            return;
        }
        self.failed.push(TrackKind::Video);
        let message = "this build decodes no pictures (feature `video`): sound only".to_owned();
        self.not_decoded(TrackKind::Video, "unsupported.codec", message);
    }

    pub(super) fn tell(&mut self, kind: EventKind) {
        let now = self.clock.now();
        let event = PlayerEvent {
            at: since_load(now),
            position: self.playhead.position_at(now),
            kind,
        };
        trace(&event);
        if let Some(event) = self.qoe.hear(&event) {
            self.telemetry.push(event);
        }
        // Without a listener nobody misses it.
        self.events.send(event).ok();
    }

    pub(super) fn audio_language(&self) -> Option<String> {
        let snapshot = self.session.snapshot(self.clock.now());
        snapshot
            .audio_tracks
            .into_iter()
            .find(|track| track.chosen)?
            .language
    }

    fn representation_id(&self, key: RepresentationKey) -> String {
        let known = self
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.outline.representation(key));
        known.map_or_else(|| "unknown".to_owned(), |one| one.id.clone())
    }
}

fn since_load(now: Instant) -> Duration {
    now.since(Instant::ZERO)
}

/// One line per event at the level its reader needs.
fn trace(event: &PlayerEvent) {
    let at_ms = u64::try_from(event.at.as_millis()).unwrap_or(u64::MAX);
    match &event.kind {
        EventKind::State(PlayState::Failed(error)) => {
            tracing::error!(
                at_ms,
                code = error.code,
                message = error.message,
                "playback failed"
            );
        }
        EventKind::State(PlayState::Stalled(cause)) => {
            tracing::warn!(at_ms, cause = cause.code(), "playback stalled");
        }
        EventKind::State(state) => tracing::info!(at_ms, ?state, "playback changed state"),
        EventKind::FailedOver {
            from,
            to,
            reason,
            offset_bytes,
            ..
        } => {
            tracing::warn!(
                at_ms,
                from,
                to,
                reason,
                offset_bytes,
                "another edge took over"
            );
        }
        EventKind::AllEdgesDown { last } => {
            let last = last.as_ref().map(ToString::to_string);
            tracing::warn!(at_ms, last, "no edge answers");
        }
        EventKind::InsecureTls => tracing::warn!("any certificate is accepted"),
        EventKind::GrantFailed { code, .. } => {
            tracing::warn!(at_ms, code, "the backend gave no grant")
        }
        EventKind::Decision(decision) => {
            tracing::debug!(
                at_ms,
                kind = decision.kind.name(),
                chosen = decision.chosen,
                why = decision.why,
                inputs = ?decision.inputs,
                "decided"
            );
        }
        EventKind::RepresentationSwitched {
            track: TrackKind::Video,
            to,
            ..
        } => {
            tracing::debug!(at_ms, rung = to, "another rung comes");
        }
        EventKind::RepresentationSwitched { .. }
        | EventKind::Granted { .. }
        | EventKind::TracksKnown
        | EventKind::TrackRefused { .. }
        | EventKind::EdgeState { .. }
        | EventKind::EdgesBack
        | EventKind::NotDecoded { .. }
        | EventKind::RecordingFailed { .. }
        | EventKind::Missed { .. } => {
            tracing::debug!(at_ms, kind = event.kind.name(), "something happened")
        }
    }
}
