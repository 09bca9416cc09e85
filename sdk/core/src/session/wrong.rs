//! Bytes that are wrong and objects that nobody has: who is to blame, where they come from instead, and what takes
//! their place where nobody gives them. Whether a digest, a parser or a decoder found out makes no difference here.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};
use nearcast_units::{ByteCount, Instant, MediaTime};

use super::control::object_name;
use super::{Init, Session, slot};
use crate::action::{Action, CancelReason};
use crate::edge::Edges;
use crate::event::{DecisionKind, SessionError};
use crate::fetch::{Fetch, Handover};
use crate::input::{EdgeId, Epoch, Failure, FetchId};
use crate::timeline::Place;

/// What turned out to be wrong, or cannot be had.
#[derive(Debug, Default)]
pub(super) struct Wrongs {
    /// Who gave wrong bytes of an object, for when it is fetched again.
    suspects: BTreeMap<ObjectKey, Suspects>,
    /// Objects that no edge has, or nobody can read.
    missing: Vec<ObjectKey>,
    /// Objects that may still turn out to be wrong, newest last.
    given: VecDeque<Given>,
    /// Told when the object is fetched again.
    handovers: BTreeMap<ObjectKey, Handover>,
}

/// Edges that gave wrong bytes of an object.
#[derive(Clone, Debug, Default)]
struct Suspects {
    /// Alone or with others.
    all: Vec<EdgeId>,
    /// Alone, so that nobody else was at fault.
    alone: Vec<EdgeId>,
    /// How often the object was wrong, in halves: what several edges gave together proves little.
    halves: u32,
}

impl Suspects {
    fn add(&mut self, edges: &[EdgeId]) {
        let lists = [
            Some(&mut self.all),
            Some(&mut self.alone).filter(|_| edges.len() == 1),
        ];
        for list in lists.into_iter().flatten() {
            list.extend(edges);
            list.sort_unstable();
            list.dedup();
        }
    }

    /// Returns whom not to ask: all of them, or where nobody else is left those that are at fault for certain.
    fn avoided(&self, object: ObjectKey, edges: &Edges) -> &[EdgeId] {
        if edges.others(object, &self.all) {
            &self.all
        } else {
            &self.alone
        }
    }
}

/// Who gave an object, and when it was complete.
#[derive(Clone, Debug)]
struct Given {
    object: ObjectKey,
    edges: Vec<EdgeId>,
    at: Instant,
    bytes: ByteCount,
}

impl Given {
    fn of(fetch: &Fetch, at: Instant) -> Self {
        Self {
            object: fetch.object,
            edges: fetch.contributors.clone(),
            at,
            bytes: ByteCount::new(fetch.received),
        }
    }
}

/// Only what is buffered can still turn out to be wrong: a few hundred objects at most.
const GIVEN_MAX: usize = 512;
/// An object that is wrong this often, in halves, is wrong at its source.
const WRONG_MAX: u32 = 6;
/// What is fetched again later than this is not fetched because of what was wrong.
const HANDOVER_AGE: Duration = Duration::from_secs(10);
/// Subtitles that lack more pieces than this are no subtitles.
const TEXT_HOLES_MAX: usize = 3;
/// So many edges giving the same nonsense means that the title is broken, not the edges.
const PARSE_TRIES: usize = 2;

impl Wrongs {
    /// Notes who gave an object.
    pub(super) fn given(&mut self, fetch: &Fetch, at: Instant) {
        if self.given.len() >= GIVEN_MAX {
            self.given.pop_front();
        }
        self.given.push_back(Given::of(fetch, at));
    }

    /// Takes note of an object that is fetched: whom not to ask, and what it takes over from.
    pub(super) fn fetched_again(&mut self, fetch: &mut Fetch, edges: &Edges) {
        if let Some(suspects) = self.suspects.get(&fetch.object) {
            fetch.avoid = suspects.avoided(fetch.object, edges).to_vec();
        }
        // One that another rung took the place of since is an old story.
        fetch.handover = self
            .handovers
            .remove(&fetch.object)
            .filter(|handover| fetch.started_at.since(handover.detected_at) < HANDOVER_AGE);
    }

    /// Other edges, or files that were added: what nobody had may be there now.
    pub(super) fn look_again(&mut self) {
        self.missing.clear();
    }

    fn pieces_missing(&self, key: RepresentationKey) -> usize {
        let of = |object: &&ObjectKey| matches!(object, ObjectKey::Media(one, _) if *one == key);
        self.missing.iter().filter(of).count()
    }

    fn suspects_mut(&mut self, object: ObjectKey) -> &mut Suspects {
        // A title that is wrong everywhere must not fill memory.
        if self.suspects.len() >= GIVEN_MAX && !self.suspects.contains_key(&object) {
            self.suspects.pop_first();
        }
        self.suspects.entry(object).or_default()
    }

    /// Counts that the object was wrong once more; returns whether that is too often.
    fn count(&mut self, object: ObjectKey, halves: u32) -> bool {
        let suspects = self.suspects_mut(object);
        suspects.halves += halves;
        suspects.halves >= WRONG_MAX
    }

    /// Whether an edge gave the object wrong, and nobody else was at fault.
    pub(super) fn is_convicted(&self, object: ObjectKey, edge: EdgeId) -> bool {
        let suspects = self.suspects.get(&object);
        suspects.is_some_and(|suspects| suspects.alone.contains(&edge))
    }
}

impl Session {
    /// Returns who gave an object, or gives it just now.
    fn giver(&self, object: ObjectKey) -> Option<Given> {
        let arriving = self
            .fetches
            .iter()
            .find(|fetch| fetch.object == object && !fetch.is_probe() && fetch.received > 0);
        let given = &self.wrongs.given;
        arriving
            .map(|fetch| Given::of(fetch, self.now))
            .or_else(|| {
                given
                    .iter()
                    .rev()
                    .find(|given| given.object == object)
                    .cloned()
            })
    }

    /// Suspects who gave wrong bytes; one that alone gave them, and is not the only one left, also rests. Returns
    /// whether the object is wrong so often that it is so at its source.
    fn blame(&mut self, given: &Given, reason: &'static str) -> bool {
        let suspects = self.wrongs.suspects_mut(given.object);
        let known = given.edges.iter().all(|edge| suspects.alone.contains(edge));
        suspects.add(&given.edges);
        let suspects = suspects.clone();
        let avoided = suspects.avoided(given.object, &self.edges);
        if let [edge] = given.edges.as_slice()
            && self
                .edges
                .usable(self.now, given.object, avoided)
                .next()
                .is_some()
        {
            self.edge_failed(*edge, Duration::ZERO, reason);
        }
        if let Some(from) = given.edges.first() {
            let handover = Handover {
                from: *from,
                at: given.at,
                detected_at: self.now,
                reason,
                wasted: given.bytes,
                offset: 0,
            };
            self.wrongs.handovers.insert(given.object, handover);
        }
        // That an edge gives the same again says nothing about others that rest.
        let halves = match given.edges.len() {
            1 if known && self.edges.others(given.object, &suspects.alone) => 0,
            0 | 1 => 2,
            _ => 1,
        };
        self.wrongs.count(given.object, halves)
    }

    /// The object is wrong wherever it comes from: who gave it is not at fault.
    fn acquit(&mut self, object: ObjectKey) {
        self.wrongs.handovers.remove(&object);
        for edge in self.wrongs.suspects.remove(&object).unwrap_or_default().all {
            self.edge_served(edge);
        }
    }

    /// What came is wrong: forgets it, and begins again elsewhere.
    pub(super) fn fetch_again(&mut self, fetch: &mut Fetch, failure: &Failure) {
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
    pub(super) fn parse_failed(&mut self, object: ObjectKey, error: SessionError) {
        self.parsing.retain(|one| one.object != object);
        let giver = self.giver(object);
        let everywhere = self.blame_unless_ours(object, giver, &error.code);
        let suspects = self.wrongs.suspects.get(&object);
        let suspects = suspects.map_or(&[][..], |suspects| &suspects.all);
        // Those that rest are waited for, where nothing can take its place.
        let nobody_left = if self.is_replaceable(object) {
            let mut usable = self.edges.usable(self.now, object, suspects);
            usable.next().is_none()
        } else {
            !self.edges.others(object, suspects)
        };
        let tried = suspects.len() >= PARSE_TRIES;
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
    pub(super) fn undecodable(&mut self, epoch: Epoch, object: ObjectKey, code: &str) {
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

    /// What the player itself lost, or cannot do, says nothing about the edge.
    fn blame_unless_ours(&mut self, object: ObjectKey, giver: Option<Given>, code: &str) -> bool {
        match giver.filter(|_| code != Failure::Internal.code()) {
            Some(given) => self.blame(&given, Failure::Corrupt.code()),
            None => self.wrongs.count(object, 2),
        }
    }

    /// Takes a broken object out of what was handed on; returns whether it was there. What came in its place since is
    /// not what was broken.
    fn take_out(&mut self, kind: TrackKind, epoch: Epoch, object: ObjectKey) -> bool {
        match object {
            ObjectKey::Init(key) => {
                // One that is on its way again already is not the one that was broken.
                let Some(&Init::Ready(fetch)) = self.inits.get(&key) else {
                    return false;
                };
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
                let Some(broken) = self.track_mut(kind).take_out(epoch, key, index) else {
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
    pub(super) fn object_missing(&mut self, fetch: &mut Fetch, failure: &Failure) -> bool {
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
    pub(super) fn give_up(
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
        }
        let code = failure.code().into();
        self.do_without(fetch.object, SessionError { code, message });
        false
    }

    /// Goes on without an object that no edge has or nobody can read; `error` ends playback where nothing
    /// can take its place.
    pub(super) fn do_without(&mut self, object: ObjectKey, error: SessionError) {
        let Some(key) = object.representation() else {
            return self.fail(error);
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
        self.wrongs.missing.push(object);
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

    /// A piece of the subtitles is left out; when too many are, or they cannot be read at all, the period has none.
    fn go_on_without_cues(&mut self, object: ObjectKey, error: &SessionError) {
        if let ObjectKey::Media(key, _) = object
            && self.wrongs.pieces_missing(key) <= TEXT_HOLES_MAX
        {
            let chosen = alloc::format!("without a piece of the subtitles ({})", error.code);
            let why = "it cannot be had";
            return self.decide(DecisionKind::Failover, chosen, why, &[]);
        }
        if let Some(fetching) = self.track_mut(TrackKind::Text).fetching.take() {
            self.abandon(fetching.fetch, CancelReason::Superseded);
        }
        // What was not handed on will not be.
        while let Some(last) = self.track(TrackKind::Text).buffered.back().copied()
            && !last.handed_on
        {
            self.drop_from(TrackKind::Text, last.start, CancelReason::Superseded);
        }
        self.track_mut(TrackKind::Text).chosen = None;
        let why = "they cannot be had: playback goes on without them";
        self.decide(
            DecisionKind::Failover,
            alloc::format!("no subtitles ({})", error.code),
            why,
            &[],
        );
    }

    /// Steps over a piece of the subtitles that nobody has, or leaves the track where nothing of it can be read.
    pub(super) fn step_over_missing_cues(&mut self) {
        let track = self.track(TrackKind::Text);
        let (Some(timeline), Some(chosen)) = (&self.timeline, track.chosen) else {
            return;
        };
        let key = RepresentationKey {
            period: track.period,
            track: chosen,
            representation: 0,
        };
        if let Place::Segment { index, segment } = timeline.place(key, track.next)
            && self.wrongs.missing.contains(&ObjectKey::Media(key, index))
        {
            self.track_mut(TrackKind::Text).next = segment.start + segment.duration;
            return;
        }
        self.track_mut(TrackKind::Text).chosen = None;
        let why = "they could not be had before: playback goes on without them";
        self.decide(DecisionKind::Failover, "no subtitles".into(), why, &[]);
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
            self.drop_from(kind, from, CancelReason::Superseded);
        }
    }

    /// Whether a representation lacks what is needed next of a track.
    pub(super) fn is_missing(&self, kind: TrackKind, key: RepresentationKey) -> bool {
        self.is_missing_at(key, self.track(kind).next)
    }

    fn is_missing_at(&self, key: RepresentationKey, at: MediaTime) -> bool {
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
    pub(super) fn is_replaceable(&self, object: ObjectKey) -> bool {
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
