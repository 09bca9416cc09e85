//! What the sinks get: complete segments in order, each with its init segment before it, and where nothing else is there
//! to be shown, or soon will be, the one that still arrives.

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};

use super::ask::READY_BEFORE;
use super::{Init, Session, slot};
use crate::action::Action;
use crate::event::PlayState;
use crate::schedule::{GAP, Part};
use crate::timeline::needs_init;

impl Session {
    /// Hands on what is complete, in order, each with its init segment before it.
    pub(super) fn hand_on(&mut self, kind: TrackKind) {
        let epoch = self.epoch;
        while let Some(next) = self
            .track(kind)
            .buffered
            .iter()
            .position(|segment| !segment.handed_on)
        {
            let Some(segment) = self.track(kind).buffered.get(next).copied() else {
                return;
            };
            if !self.track(kind).is_next_in_line(&segment) {
                return;
            }
            if !self.hand_on_init(kind, segment.key) {
                return;
            }
            let object = ObjectKey::Media(segment.key, segment.index);
            self.actions.push_back(Action::HandOn {
                epoch,
                fetch: segment.fetch,
                object,
                track: kind,
            });
            if let Some(segment) = self.track_mut(kind).buffered.get_mut(next) {
                segment.handed_on = true;
            }
        }
        self.hand_on_part(kind);
        let track = self.track(kind);
        if track.complete()
            && !track.end_said
            && (track.chosen.is_some() || !track.buffered.is_empty())
        {
            self.track_mut(kind).end_said = true;
            self.actions
                .push_back(Action::EndOfTrack { epoch, track: kind });
        }
    }

    /// Where nothing is shown for want of media, or soon would be, what comes is handed on as it comes.
    fn hand_on_part(&mut self, kind: TrackKind) {
        let playhead = self.playhead();
        let track = self.track(kind);
        let Some(fetching) = track.fetching.filter(|one| one.part.is_none()) else {
            return;
        };
        let dry = match self.state {
            PlayState::Starting | PlayState::Seeking | PlayState::Stalled(_) => {
                track.level(playhead).is_zero()
            }
            PlayState::Playing => {
                let end = track.buffered_end(playhead);
                end.since(playhead) <= READY_BEFORE && fetching.start <= end + GAP
            }
            PlayState::Idle
            | PlayState::Paused
            | PlayState::Ended
            | PlayState::Failed(_)
            | PlayState::Stopped => false,
        };
        let all_handed_on = track.buffered.iter().all(|segment| segment.handed_on);
        let comes = self
            .fetches
            .iter()
            .any(|fetch| fetch.id == fetching.fetch && fetch.received > 0);
        if !dry || !all_handed_on || !comes || kind == TrackKind::Text {
            return;
        }
        if !self.hand_on_init(kind, fetching.key) {
            return;
        }
        self.actions.push_back(Action::HandOnPart {
            epoch: self.epoch,
            fetch: fetching.fetch,
            object: ObjectKey::Media(fetching.key, fetching.index),
            track: kind,
        });
        let since = self.epoch;
        if let Some(fetching) = &mut self.track_mut(kind).fetching {
            fetching.part = Some(Part {
                since,
                until: fetching.start,
            });
        }
    }

    /// Hands on the init segment that a representation needs, if it was not the last; returns whether it is there.
    fn hand_on_init(&mut self, kind: TrackKind, key: RepresentationKey) -> bool {
        let wanted = self
            .timeline
            .as_ref()
            .and_then(|timeline| timeline.representation(key))
            .is_some_and(needs_init);
        if !wanted || self.handed_init[slot(kind)] == Some(key) {
            return true;
        }
        let Some(Init::Ready { fetch, .. }) = self.inits.get(&key).copied() else {
            return false;
        };
        self.actions.push_back(Action::HandOn {
            epoch: self.epoch,
            fetch,
            object: ObjectKey::Init(key),
            track: kind,
        });
        self.handed_init[slot(kind)] = Some(key);
        true
    }
}
