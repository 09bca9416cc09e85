//! Which of what happens the backend hears of, and in which words.

use std::collections::BTreeMap;
use std::time::Duration;

use nearcast_core::PlayState;
use nearcast_protocol::manifest::TrackKind;
use nearcast_protocol::telemetry::{QoeEvent, QoeEventKind};

use crate::event::{EventKind, PlayerEvent};

/// What happened before decides what some events are called.
#[derive(Debug)]
pub(crate) struct Qoe {
    state: PlayState,
    started: bool,
}

impl Default for Qoe {
    fn default() -> Self {
        Self {
            state: PlayState::Idle,
            started: false,
        }
    }
}

impl Qoe {
    /// Returns the state of playback that was told last.
    pub(crate) const fn state(&self) -> &PlayState {
        &self.state
    }

    /// Returns the telemetry of an event; `None` when the backend need not know.
    pub(crate) fn hear(&mut self, event: &PlayerEvent) -> Option<QoeEvent> {
        let told = qoe_event(event, self);
        if let EventKind::State(state) = &event.kind {
            self.started |= *state == PlayState::Playing;
            self.state = state.clone();
        }
        told
    }
}

fn qoe_event(event: &PlayerEvent, before: &Qoe) -> Option<QoeEvent> {
    let mut fields = BTreeMap::new();
    let mut field = |name: &str, value: String| {
        fields.insert(name.to_owned(), value);
    };
    let kind = match &event.kind {
        EventKind::State(state) => match state {
            PlayState::Playing if !before.started => QoeEventKind::Started,
            PlayState::Playing if matches!(before.state, PlayState::Stalled(_)) => {
                QoeEventKind::Resumed
            }
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
        EventKind::AllEdgesDown { .. } => QoeEventKind::AllEdgesDown,
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

#[cfg(test)]
mod tests {
    use nearcast_core::StallCause;
    use nearcast_units::MediaTime;

    use super::*;

    fn told(states: &[PlayState]) -> Vec<QoeEventKind> {
        let mut qoe = Qoe::default();
        let events = states.iter().filter_map(|state| {
            qoe.hear(&PlayerEvent {
                at: Duration::ZERO,
                position: MediaTime::ZERO,
                kind: EventKind::State(state.clone()),
            })
        });
        events.map(|event| event.kind).collect()
    }

    #[test]
    fn playback_starts_once_whatever_came_before() {
        use PlayState::{Paused, Playing, Seeking, Stalled, Starting};
        let stalled = Stalled(StallCause::Sink);
        assert_eq!(
            told(&[Starting, Paused, Playing, Paused, Playing]),
            [
                QoeEventKind::Paused,
                QoeEventKind::Started,
                QoeEventKind::Paused,
                QoeEventKind::Playing
            ]
        );
        assert_eq!(
            told(&[Starting, Seeking, Playing, stalled, Playing]),
            [
                QoeEventKind::Seeking,
                QoeEventKind::Started,
                QoeEventKind::Stalled,
                QoeEventKind::Resumed
            ]
        );
    }
}
