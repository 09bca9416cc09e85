//! Bytes that are wrong and objects that nobody has: who is to blame, where they come from instead, and what takes
//! their place where nobody gives them. Whether a digest, a parser or a decoder found out makes no difference here.

mod account;
mod cues;
mod edition;

pub(super) use account::Wrongs;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};
use nearcast_units::MediaTime;

use account::Given;

use super::control::object_name;
use super::{Init, Session, slot};
use crate::action::{Action, CancelReason};
use crate::event::{DecisionKind, SessionError};
use crate::fetch::Fetch;
use crate::input::{Epoch, Failure, FetchId};
use crate::timeline::Place;

/// So many edges giving the same nonsense means that the title is broken, not the edges.
const PARSE_TRIES: usize = 2;

impl Session {
    /// What came is wrong: forgets it, and begins again elsewhere.
    pub(in crate::session) fn fetch_again(&mut self, fetch: &mut Fetch, failure: &Failure) {
        self.cancel_all(fetch, CancelReason::Superseded);
        let mut given = Given::of(fetch, self.now);
        if given.edges.is_empty() {
            // Others say that it is another object than the one who told about it first does.
            given.edges.extend(fetch.identified_by);
        }
        self.note_failure(failure, given.edges.first().copied());
        if self.blame(&given, failure.code()) {
            self.acquit(fetch.object);
            let what = object_name(fetch.object);
            let message = alloc::format!(
                "the {what} is damaged wherever it is fetched from; the title must be packaged again"
            );
            self.give_up(fetch, failure, message);
            return;
        }
        self.recorder.wasted_fetch(fetch.id);
        self.take_back(fetch.id);
        self.decide(
            DecisionKind::Failover,
            object_name(fetch.object).to_string(),
            "the bytes are not what they should be: fetched again from another edge",
            &[],
        );
        self.actions.push_back(Action::Release { fetch: fetch.id });
        let again = self.begin_fetch(fetch.object, fetch.track, fetch.planned);
        self.rename(fetch.id, again);
    }

    /// What was handed on of an object while it arrived is forgotten by the sinks.
    fn take_back(&mut self, fetch: FetchId) {
        let mut tracks = self.tracks.iter();
        let shown = tracks.find_map(|track| {
            let fetching = track.fetching.filter(|one| one.fetch == fetch)?;
            fetching.part.map(|_| (track.kind, fetching.start))
        });
        if let Some((kind, from)) = shown {
            self.flush(Some(kind), from);
        }
    }

    /// A manifest or index that one edge gives and nobody can read may be good on another edge.
    pub(in crate::session) fn parse_failed(&mut self, object: ObjectKey, error: SessionError) {
        // An answer that was taken for lost is about what was fetched again since.
        if !self.is_parsing(object) {
            return;
        }
        self.parsing.retain(|one| one.object != object);
        let giver = self.giver(object);
        let everywhere = self.blame_unless_ours(object, giver, &error.code);
        // What several edges gave together says nothing about each of them. Those that rest are waited for, as long
        // as that is worth it.
        let convicted = self.wrongs.convicted(object);
        let nobody_left = !self.edges.others(object, convicted);
        let tried = convicted.len() >= PARSE_TRIES;
        if everywhere || nobody_left || tried {
            self.acquit(object);
            return self.do_without(object, error);
        }
        self.decide(
            DecisionKind::Failover,
            object_name(object).to_string(),
            "what came cannot be parsed: another edge is asked",
            &[],
        );
        self.last_failure = Some(error);
    }

    /// What was handed on cannot be used: the same object from another edge, unless it is broken everywhere.
    /// What is buffered behind it stays.
    pub(in crate::session) fn undecodable(&mut self, epoch: Epoch, object: ObjectKey, code: &str) {
        let Some(kind) = object.representation().and_then(|key| self.kind_of(key)) else {
            return;
        };
        let giver = self.giver(object);
        if epoch > self.epoch || !self.take_out(kind, epoch, object) {
            return;
        }
        if self.blame_unless_ours(object, giver, code) {
            self.acquit(object);
            let message = "the same piece of media is broken wherever it is fetched from; the title must be packaged again";
            let error = SessionError {
                code: code.into(),
                message: message.into(),
            };
            return self.do_without(object, error);
        }
        self.decide(
            DecisionKind::Failover,
            object_name(object).to_string(),
            "what came cannot be decoded: another edge is asked",
            &[("from_s", self.track(kind).next.as_secs_f64())],
        );
    }

    /// Takes a broken object out of what was handed on; returns whether it was there. What came in its place since is
    /// not what was broken.
    fn take_out(&mut self, kind: TrackKind, epoch: Epoch, object: ObjectKey) -> bool {
        match object {
            ObjectKey::Init(key) => {
                // One that is on its way again already is not the one that was broken.
                let Some(&Init::Ready { fetch, since }) = self.inits.get(&key) else {
                    return false;
                };
                if epoch < since {
                    return false;
                }
                self.inits.remove(&key);
                self.recorder.wasted_fetch(fetch);
                self.actions.push_back(Action::Release { fetch });
                let track = self.track(kind);
                let mut buffered = track.buffered.iter();
                let arriving = track.fetching.filter(|one| one.part.is_some());
                let from = buffered
                    .find(|one| one.key == key)
                    .map(|one| one.start)
                    .or(arriving.filter(|one| one.key == key).map(|one| one.start));
                match from {
                    Some(from) => self.flush(Some(kind), from),
                    None => self.handed_init[slot(kind)] = None,
                }
                true
            }
            ObjectKey::Media(key, index) => {
                if let Some(arriving) = self.track_mut(kind).fetching.take_if(|one| {
                    let part = one.part.filter(|part| epoch >= part.since);
                    (one.key, one.index) == (key, index) && part.is_some()
                }) {
                    self.abandon(arriving.fetch, CancelReason::Superseded);
                    self.track_mut(kind)
                        .go_back_to(arriving.start, arriving.key);
                    self.flush(Some(kind), arriving.start);
                    return true;
                }
                // What was shown by now is not shown again.
                let playhead = self.playhead();
                let taken = self.track_mut(kind).take_out(epoch, key, index, playhead);
                let Some(broken) = taken else {
                    return false;
                };
                self.recorder.wasted_fetch(broken.fetch);
                self.actions.push_back(Action::Release {
                    fetch: broken.fetch,
                });
                // What is on its way may be needed later than what takes the broken piece's place.
                if let Some(later) = self
                    .track_mut(kind)
                    .fetching
                    .take_if(|one| one.start > broken.start)
                {
                    self.abandon(later.fetch, CancelReason::Superseded);
                }
                self.flush(Some(kind), broken.start);
                true
            }
            ObjectKey::Manifest | ObjectKey::Index(_) | ObjectKey::Probe => false,
        }
    }

    /// No edge has the object, or every edge refuses it.
    pub(in crate::session) fn object_missing(
        &mut self,
        fetch: &mut Fetch,
        failure: &Failure,
    ) -> bool {
        let what = object_name(fetch.object);
        let names: Vec<&str> = self
            .edges
            .iter()
            .filter(|(_, edge)| edge.offered)
            .map(|(_, edge)| edge.name.as_str())
            .collect();
        let refused = matches!(
            failure,
            Failure::Http {
                status: 500..=599,
                ..
            }
        );
        let nobody = if refused {
            "every edge refuses the"
        } else {
            "no edge has the"
        };
        let message = alloc::format!(
            "{nobody} {what} (edges asked: {}); check the title or address",
            names.join(", ")
        );
        self.give_up(fetch, failure, message)
    }

    /// Nobody gives the object as it should be. Returns that the fetch does not go on.
    pub(in crate::session) fn give_up(
        &mut self,
        fetch: &mut Fetch,
        failure: &Failure,
        message: String,
    ) -> bool {
        self.cancel_all(fetch, CancelReason::Superseded);
        self.recorder.wasted_fetch(fetch.id);
        self.take_back(fetch.id);
        self.actions.push_back(Action::Release { fetch: fetch.id });
        for track in &mut self.tracks {
            if let Some(fetching) = track.fetching.take_if(|one| one.fetch == fetch.id) {
                track.go_back_to(fetching.start, fetching.key);
            }
            track.replacing.take_if(|by| by.fetch == fetch.id);
        }
        let code = failure.code().into();
        self.do_without(fetch.object, SessionError { code, message });
        false
    }

    /// Goes on without an object that no edge has or nobody can read; `error` ends playback where nothing
    /// can take its place.
    pub(in crate::session) fn do_without(&mut self, object: ObjectKey, error: SessionError) {
        let Some(key) = object.representation() else {
            if object != ObjectKey::Manifest || !self.believe_doubted() {
                self.fail(error);
            }
            return;
        };
        let Some(kind) = self.kind_of(key) else {
            return self.fail(error);
        };
        // The segment is to be placed again from where it began.
        if let Some(fetching) = self.track(kind).fetching
            && fetching.key == key
        {
            self.take_back(fetching.fetch);
            let track = self.track_mut(kind);
            track.fetching = None;
            track.go_back_to(fetching.start, fetching.key);
            self.abandon(fetching.fetch, CancelReason::Superseded);
        }
        if let ObjectKey::Init(_) = object {
            self.forget_init(kind, key);
        }
        self.wrongs.miss(object, self.now);
        // What the viewer has left since is nothing to end playback for, nor to change the choice.
        let track = self.track(kind);
        if (key.period, Some(key.track)) != (track.period, track.chosen) {
            return;
        }
        if kind == TrackKind::Text {
            return self.go_on_without_cues(object, &error);
        }
        if !self.has_other_rung(key, self.needed_at(kind, object)) {
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

    /// Without its init nothing of a representation can be shown: what waits for it is fetched again elsewhere.
    fn forget_init(&mut self, kind: TrackKind, key: RepresentationKey) {
        if let Some(Init::Ready { fetch, .. }) = self.inits.remove(&key) {
            self.actions.push_back(Action::Release { fetch });
        }
        let waiting = self
            .track(kind)
            .buffered
            .iter()
            .find(|segment| segment.key == key && !segment.handed_on);
        if let Some(from) = waiting.map(|segment| segment.start) {
            self.drop_from(kind, from, CancelReason::Superseded);
        }
    }

    /// Whether a representation lacks what is needed next of a track.
    pub(in crate::session) fn is_missing(&self, kind: TrackKind, key: RepresentationKey) -> bool {
        self.is_missing_at(key, self.track(kind).next)
    }

    /// Whether another representation is to be taken while there is one: it lacks what is needed at a time, or lacked
    /// segment after segment lately.
    pub(in crate::session) fn is_doubtful(&self, key: RepresentationKey, at: MediaTime) -> bool {
        self.wrongs.has_holes(key, self.now) || self.is_missing_at(key, at)
    }

    pub(in crate::session) fn is_missing_at(&self, key: RepresentationKey, at: MediaTime) -> bool {
        let place = self
            .timeline
            .as_ref()
            .map(|timeline| timeline.place(key, at));
        self.wrongs.missing.iter().any(|object| match *object {
            ObjectKey::Init(of) | ObjectKey::Index(of) => of == key,
            ObjectKey::Media(of, index) => {
                of == key && matches!(place, Some(Place::Segment { index: at, .. }) if at == index)
            }
            ObjectKey::Manifest | ObjectKey::Probe => false,
        })
    }

    /// Whether something can take an object's place: another rung, or nothing where it is subtitles.
    pub(in crate::session) fn is_replaceable(&self, object: ObjectKey) -> bool {
        let Some(key) = object.representation() else {
            return false;
        };
        let Some(kind) = self.kind_of(key) else {
            return false;
        };
        kind == TrackKind::Text || self.has_other_rung(key, self.needed_at(kind, object))
    }

    /// Returns from when on an object is needed: a segment from its start, what is about a whole rung from the first
    /// segment that waits for it.
    fn needed_at(&self, kind: TrackKind, object: ObjectKey) -> MediaTime {
        if let (ObjectKey::Media(key, index), Some(timeline)) = (object, &self.timeline)
            && let Some(segment) = timeline.segment(key, index)
        {
            return segment.start;
        }
        let track = self.track(kind);
        let waiting = track
            .buffered
            .iter()
            .filter(|one| Some(one.key) == object.representation() && !one.handed_on)
            .map(|one| one.start);
        let fetching = track.fetching.map(|one| one.start);
        waiting.chain(fetching).fold(track.next, MediaTime::min)
    }

    /// Whether another representation of the track can give what is needed at a time.
    fn has_other_rung(&self, key: RepresentationKey, at: MediaTime) -> bool {
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
                representation != key.representation && !self.is_missing_at(other, at)
            })
    }
}
