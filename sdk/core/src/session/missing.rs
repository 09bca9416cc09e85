//! What cannot be had from anybody: another representation takes its place, subtitles are left out, and only
//! where nothing can, playback ends.

use alloc::string::ToString;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};

use super::control::object_name;
use super::{Init, Session};
use crate::action::{Action, CancelReason};
use crate::event::{DecisionKind, SessionError};
use crate::timeline::Place;

impl Session {
    /// Goes on without an object that no edge has or nobody can read; `error` ends playback where nothing
    /// can take its place.
    pub(super) fn do_without(&mut self, object: ObjectKey, error: SessionError) {
        let Some(key) = object.representation() else {
            return self.fail(error);
        };
        let Some(kind) = self.kind_of(key) else {
            return self.fail(error);
        };
        if kind == TrackKind::Text {
            self.drop_subtitles(&error);
            return;
        }
        // The segment is to be placed again from where it began.
        if let Some(fetching) = self.track(kind).fetching
            && fetching.key == key
        {
            self.track_mut(kind).fetching = None;
            self.track_mut(kind).next = fetching.start;
            self.abandon(fetching.fetch, CancelReason::Abandoned);
        }
        if let ObjectKey::Init(_) = object {
            self.forget_init(kind, key);
        }
        self.missing.push(object);
        if !self.has_other_rung(kind, key) {
            return self.fail(error);
        }
        let why = "nobody has it, or nobody can read it: another representation is taken";
        self.decide(
            DecisionKind::Failover,
            object_name(object).to_string(),
            why,
            &[],
        );
        self.last_failure = Some(error);
    }

    fn drop_subtitles(&mut self, error: &SessionError) {
        let track = self.track_mut(TrackKind::Text);
        track.chosen = None;
        track.over = true;
        if let Some(fetching) = track.fetching.take() {
            self.abandon(fetching.fetch, CancelReason::Abandoned);
        }
        let why = "they cannot be had: playback goes on without them";
        self.decide(
            DecisionKind::Failover,
            alloc::format!("no subtitles ({})", error.code),
            why,
            &[],
        );
    }

    /// Without its init nothing of a representation can be shown: what waits for it is fetched again elsewhere.
    fn forget_init(&mut self, kind: TrackKind, key: RepresentationKey) {
        if let Some(Init::Ready(fetch)) = self.inits.remove(&key) {
            self.actions.push_back(Action::Release { fetch });
        }
        let waiting = self
            .track(kind)
            .buffered
            .iter()
            .find(|segment| segment.key == key && !segment.handed_on);
        if let Some(from) = waiting.map(|segment| segment.start) {
            self.drop_from(kind, from);
        }
    }

    /// Whether a representation lacks what is needed next of a track.
    pub(super) fn is_missing(&self, kind: TrackKind, key: RepresentationKey) -> bool {
        let next = self.track(kind).next;
        let place = self
            .timeline
            .as_ref()
            .map(|timeline| timeline.place(key, next));
        self.missing.iter().any(|object| match *object {
            ObjectKey::Init(of) | ObjectKey::Index(of) => of == key,
            ObjectKey::Media(of, index) => {
                of == key && matches!(place, Some(Place::Segment { index: at, .. }) if at == index)
            }
            ObjectKey::Manifest | ObjectKey::Probe => false,
        })
    }

    /// Whether another representation of the track can give what is needed next.
    fn has_other_rung(&self, kind: TrackKind, key: RepresentationKey) -> bool {
        let rungs = self
            .timeline
            .as_ref()
            .map_or(0, |timeline| timeline.ladder(key.period, key.track).len());
        (0..rungs)
            .filter_map(|rung| u16::try_from(rung).ok())
            .any(|representation| {
                let other = RepresentationKey {
                    representation,
                    ..key
                };
                representation != key.representation && !self.is_missing(kind, other)
            })
    }
}
