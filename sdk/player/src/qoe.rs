//! Which of what happens the backend hears of, and in which words.

use std::collections::BTreeMap;
use std::time::Duration;

use nearcast_core::PlayState;
use nearcast_protocol::manifest::TrackKind;
use nearcast_protocol::telemetry::{QoeEvent, QoeEventKind};

use crate::event::{EventKind, PlayerEvent};

/// Returns the telemetry of an event; `None` when the backend need not know. `was` is the state before.
pub(crate) fn qoe_event(event: &PlayerEvent, was: &PlayState) -> Option<QoeEvent> {
    let mut fields = BTreeMap::new();
    let mut field = |name: &str, value: String| {
        fields.insert(name.to_owned(), value);
    };
    let kind = match &event.kind {
        EventKind::State(state) => match state {
            PlayState::Playing if matches!(was, PlayState::Stalled(_)) => QoeEventKind::Resumed,
            PlayState::Playing if *was == PlayState::Starting => QoeEventKind::Started,
            PlayState::Playing => QoeEventKind::Playing,
            PlayState::Paused => QoeEventKind::Paused,
            PlayState::Seeking => QoeEventKind::Seeking,
            PlayState::Stalled(cause) => {
                field("cause", cause.code().to_owned());
                QoeEventKind::Stalled
            }
            PlayState::Ended => QoeEventKind::Ended,
            PlayState::Failed(error) => {
                field("code", error.code.clone());
                QoeEventKind::Failed
            }
            PlayState::Stopped => QoeEventKind::Stopped,
            PlayState::Idle | PlayState::Starting => return None,
        },
        EventKind::RepresentationSwitched {
            track: TrackKind::Video,
            from: Some(from),
            to,
            ..
        } => {
            field("from", from.clone());
            field("to", to.clone());
            QoeEventKind::RungSwitched
        }
        EventKind::FailedOver {
            from,
            to,
            reason,
            offset_bytes,
            ..
        } => {
            field("from", from.clone());
            field("to", to.clone());
            field("reason", reason.clone());
            field("offset_bytes", offset_bytes.to_string());
            QoeEventKind::FailedOver
        }
        EventKind::AllEdgesDown => QoeEventKind::AllEdgesDown,
        EventKind::EdgesBack => QoeEventKind::EdgesBack,
        EventKind::NotDecoded { code, .. } | EventKind::TrackRefused { code, .. } => {
            field("code", code.clone());
            QoeEventKind::NotDecoded
        }
        EventKind::RepresentationSwitched { .. }
        | EventKind::Granted { .. }
        | EventKind::GrantFailed { .. }
        | EventKind::TracksKnown
        | EventKind::EdgeState { .. }
        | EventKind::Decision(_)
        | EventKind::InsecureTls
        | EventKind::RecordingFailed { .. }
        | EventKind::Missed { .. } => return None,
    };
    Some(QoeEvent {
        at_ms: milliseconds(event.at),
        position_ms: u64::try_from(event.position.as_micros() / 1000).unwrap_or(0),
        kind,
        fields,
    })
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
