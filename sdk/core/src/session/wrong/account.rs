//! The account of wrong bytes: who gave what, who is suspected, who rests for it, and whether it is the title's own
//! fault.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey};
use nearcast_units::{ByteCount, Instant};

use super::edition::Doubted;
use crate::edge::{BreakerState, Edges};
use crate::fetch::{Fetch, Handover};
use crate::input::{EdgeId, Failure};
use crate::session::Session;

/// What turned out to be wrong, or cannot be had.
#[derive(Debug, Default)]
pub(in crate::session) struct Wrongs {
    /// A manifest that may be of another edition: better than none.
    pub(super) doubted: Option<Doubted>,
    /// Who gave wrong bytes of an object, for when it is fetched again.
    pub(super) suspects: BTreeMap<ObjectKey, Suspects>,
    /// Objects that no edge has, or nobody can read, and those of which what one edge said is enough.
    pub(super) missing: Vec<ObjectKey>,
    /// Segments that no edge gave, oldest first, and when that was known.
    holes: VecDeque<Hole>,
    /// Objects that may still turn out to be wrong, newest last.
    given: VecDeque<Given>,
    /// Told when the object is fetched again.
    handovers: BTreeMap<ObjectKey, Handover>,
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    key: RepresentationKey,
    segment: u32,
    at: Instant,
}

/// Edges that gave wrong bytes of an object.
#[derive(Clone, Debug)]
pub(super) struct Suspects {
    /// Alone or with others.
    all: Vec<EdgeId>,
    /// Alone, so that nobody else was at fault.
    alone: Vec<EdgeId>,
    /// How often the object was wrong, in halves: what several edges gave together proves little.
    halves: u32,
    /// Edges that rest for it, and how often each had failed by then: one that has failed since rests for that too.
    rest: Vec<(EdgeId, u64)>,
    /// How often an edge that is known to gave it wrong again.
    again: u32,
    /// When the last of this was found out.
    at: Instant,
}

impl Suspects {
    const fn new(at: Instant) -> Self {
        Self {
            all: Vec::new(),
            alone: Vec::new(),
            halves: 0,
            rest: Vec::new(),
            again: 0,
            at,
        }
    }

    fn add(&mut self, edges: &[EdgeId]) {
        note(&mut self.all, edges);
        if edges.len() == 1 {
            note(&mut self.alone, edges);
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

fn note(list: &mut Vec<EdgeId>, edges: &[EdgeId]) {
    list.extend(edges);
    list.sort_unstable();
    list.dedup();
}

/// Who gave an object, and when it was complete.
#[derive(Clone, Debug)]
pub(super) struct Given {
    object: ObjectKey,
    pub(super) edges: Vec<EdgeId>,
    at: Instant,
    bytes: ByteCount,
}

impl Given {
    pub(super) fn of(fetch: &Fetch, at: Instant) -> Self {
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
/// Who gave something wrong will do so again, most of the time.
const WAIT_SUSPECT: Duration = Duration::from_millis(700);
/// Times that this is doubled: who is paused does not mind, and who waits is helped by the watchdog.
const AGAIN_MAX: u32 = 3;
/// A representation that so many segments were missing of lately has holes.
const HOLES: usize = 2;
/// So many of all representations are remembered.
const HOLES_MAX: usize = 32;
/// So far apart may they have been found.
const HOLES_WITHIN: Duration = Duration::from_mins(2);
/// One with holes is tried again so long after the last of them.
const HOLES_REST: Duration = Duration::from_secs(30);
/// What is fetched again later than this is not fetched because of what was wrong.
const HANDOVER_AGE: Duration = Duration::from_secs(10);
impl Wrongs {
    /// Notes who gave an object.
    pub(in crate::session) fn given(&mut self, fetch: &Fetch, at: Instant) {
        if self.given.len() >= GIVEN_MAX {
            self.given.pop_front();
        }
        self.given.push_back(Given::of(fetch, at));
    }

    /// Takes note of an object that is fetched: whom not to ask, and what it takes over from.
    pub(in crate::session) fn fetched_again(&mut self, fetch: &mut Fetch, edges: &Edges) {
        if let Some(suspects) = self.suspects.get(&fetch.object) {
            fetch.avoid = suspects.avoided(fetch.object, edges).to_vec();
        }
        // One that another rung took the place of since is an old story.
        fetch.handover = self
            .handovers
            .remove(&fetch.object)
            .filter(|handover| fetch.started_at.since(handover.detected_at) < HANDOVER_AGE);
    }

    /// An edge serves again: what nobody had may be there. A rung with holes is left alone all the same: its edges may have
    /// rested for nothing but that.
    pub(in crate::session) fn look_again(&mut self) {
        self.missing.clear();
    }

    /// Others are asked from now on.
    pub(in crate::session) fn other_edges(&mut self) {
        self.missing.clear();
        self.holes.clear();
    }

    /// Looks again for what one track lacks; returns whether anything of it was missing.
    pub(in crate::session) fn look_again_for(&mut self, period: u16, track: u16) -> bool {
        let of = |object: &mut ObjectKey| {
            let key = object.representation();
            key.is_some_and(|key| (key.period, key.track) == (period, track))
        };
        self.missing.extract_if(.., of).count() > 0
    }

    /// It came after all.
    pub(in crate::session) fn found(&mut self, object: ObjectKey) {
        self.missing.retain(|one| *one != object);
        if let ObjectKey::Media(key, _) = object {
            self.holes.retain(|one| one.key != key);
        }
    }

    pub(super) fn pieces_missing(&self, key: RepresentationKey) -> usize {
        let of = |object: &&ObjectKey| matches!(object, ObjectKey::Media(one, _) if *one == key);
        self.missing.iter().filter(of).count()
    }

    /// Whether segment after segment of a representation could not be had: others will not be there either, and each
    /// of them is asked of every edge before that is known.
    pub(in crate::session) fn has_holes(&self, key: RepresentationKey, now: Instant) -> bool {
        let of_it = self.holes.iter().rev().filter(|one| one.key == key);
        let mut ages = of_it.map(|one| now.since(one.at));
        ages.next().is_some_and(|age| age < HOLES_REST)
            && ages.nth(HOLES - 2).is_some_and(|age| age < HOLES_WITHIN)
    }

    fn suspects_mut(&mut self, object: ObjectKey, now: Instant) -> &mut Suspects {
        // A title that is wrong everywhere must not fill memory.
        if self.suspects.len() >= GIVEN_MAX && !self.suspects.contains_key(&object) {
            let oldest = self.suspects.iter().min_by_key(|(_, one)| one.at);
            if let Some(oldest) = oldest.map(|(object, _)| *object) {
                self.suspects.remove(&oldest);
            }
        }
        let suspects = self
            .suspects
            .entry(object)
            .or_insert_with(|| Suspects::new(now));
        suspects.at = now;
        suspects
    }

    /// Counts that the object was wrong once more; returns whether that is too often.
    fn count(&mut self, object: ObjectKey, halves: u32, now: Instant) -> bool {
        let suspects = self.suspects_mut(object, now);
        suspects.halves += halves;
        suspects.halves >= WRONG_MAX
    }

    /// How long to wait before an edge that gave the object wrong is asked for it again.
    pub(in crate::session) fn doubt(&self, object: ObjectKey) -> Duration {
        let again = self.suspects.get(&object).map_or(0, |one| one.again);
        WAIT_SUSPECT * (1 << again.min(AGAIN_MAX))
    }

    /// Nobody has the object, or can read it.
    pub(super) fn miss(&mut self, object: ObjectKey, now: Instant) {
        self.do_not_ask(object);
        if let ObjectKey::Media(key, segment) = object {
            self.holes
                .retain(|one| (one.key, one.segment) != (key, segment));
            if self.holes.len() >= HOLES_MAX {
                self.holes.pop_front();
            }
            self.holes.push_back(Hole {
                key,
                segment,
                at: now,
            });
        }
    }

    /// An edge does not give the object, and it is not worth asking the others.
    pub(in crate::session) fn do_not_ask(&mut self, object: ObjectKey) {
        if self.missing.contains(&object) {
            return;
        }
        if self.missing.len() >= GIVEN_MAX {
            self.missing.remove(0);
        }
        self.missing.push(object);
    }

    /// Suspects who gave an object, of which nothing else is known yet: nobody of them is asked for it.
    pub(super) fn suspect(&mut self, object: ObjectKey, given: Option<&Given>, now: Instant) {
        let edges = given.map_or(&[][..], |given| &given.edges);
        note(&mut self.suspects_mut(object, now).all, edges);
    }

    /// Returns whom an object is not asked of.
    pub(super) fn suspected(&self, object: ObjectKey) -> &[EdgeId] {
        let suspects = self.suspects.get(&object);
        suspects.map_or(&[][..], |suspects| &suspects.all)
    }

    /// Who fetches an object again takes over from whoever gave it.
    pub(super) fn hands_over(&mut self, given: &Given, reason: &'static str, now: Instant) {
        let Some(from) = given.edges.first() else {
            return;
        };
        let handover = Handover {
            from: *from,
            at: given.at,
            detected_at: now,
            reason,
            wasted: given.bytes,
            offset: 0,
        };
        self.handovers
            .retain(|_, one| now.since(one.detected_at) < HANDOVER_AGE);
        self.handovers.insert(given.object, handover);
    }

    /// Returns who gave the object wrong, with nobody else at fault.
    pub(super) fn convicted(&self, object: ObjectKey) -> &[EdgeId] {
        let suspects = self.suspects.get(&object);
        suspects.map_or(&[][..], |suspects| &suspects.alone)
    }

    /// Whether an edge gave the object wrong, and nobody else was at fault.
    pub(in crate::session) fn is_convicted(&self, object: ObjectKey, edge: EdgeId) -> bool {
        self.convicted(object).contains(&edge)
    }
}

impl Session {
    /// Returns who gave an object, or gives it just now.
    pub(super) fn giver(&self, object: ObjectKey) -> Option<Given> {
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
    pub(super) fn blame(&mut self, given: &Given, reason: &'static str) -> bool {
        let suspects = self.wrongs.suspects_mut(given.object, self.now);
        let known = given.edges.iter().all(|edge| suspects.alone.contains(edge));
        suspects.add(&given.edges);
        suspects.again += u32::from(known);
        let suspects = suspects.clone();
        let avoided = suspects.avoided(given.object, &self.edges);
        let others = self
            .edges
            .usable(self.now, given.object, avoided)
            .next()
            .is_some();
        if let [edge] = given.edges.as_slice()
            && others
        {
            self.edge_failed(*edge, Duration::ZERO, reason);
            let failures = self.edges.get(*edge).map_or(0, |one| one.failures);
            let suspects = self.wrongs.suspects_mut(given.object, self.now);
            suspects.rest.retain(|(one, _)| one != edge);
            suspects.rest.push((*edge, failures));
        }
        self.wrongs.hands_over(given, reason, self.now);
        // That an edge gives the same again says nothing about others that rest.
        let halves = match given.edges.len() {
            1 if known && self.edges.others(given.object, &suspects.alone) => 0,
            0 | 1 => 2,
            _ => 1,
        };
        self.wrongs.count(given.object, halves, self.now)
    }

    /// The object is wrong wherever it comes from: who rests for it need not.
    pub(super) fn acquit(&mut self, object: ObjectKey) {
        self.wrongs.handovers.remove(&object);
        let suspects = self.wrongs.suspects.remove(&object);
        for (id, failures) in suspects.into_iter().flat_map(|one| one.rest) {
            let now = self.now;
            let Some(edge) = self.edges.get_mut(id) else {
                continue;
            };
            if edge.failures == failures && edge.state(now) != BreakerState::Closed {
                edge.acquitted();
                self.edge_state_changed(id, None);
            }
        }
    }

    /// What the player itself lost, or cannot do, says nothing about the edge.
    pub(super) fn blame_unless_ours(
        &mut self,
        object: ObjectKey,
        giver: Option<Given>,
        code: &str,
    ) -> bool {
        match giver.filter(|_| code != Failure::Internal.code()) {
            Some(given) => self.blame(&given, Failure::Corrupt.code()),
            None => self.wrongs.count(object, 2, self.now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RepresentationKey = RepresentationKey {
        period: 0,
        track: 0,
        representation: 3,
    };

    /// Segments that are missing (`true`) or come, and when in seconds; whether the rung has holes then.
    type Case<'a> = (&'a [(u64, u32, bool)], u64, bool);

    #[test]
    fn a_rung_has_holes_when_segment_after_segment_is_missing() {
        let cases: [Case<'_>; 7] = [
            (&[(0, 5, true)], 1, false),
            (&[(0, 5, true), (4, 6, true)], 5, true),
            (&[(0, 5, true), (4, 6, true)], 35, false),
            (&[(0, 5, true), (115, 6, true)], 116, true),
            (&[(0, 5, true), (125, 6, true)], 126, false),
            (&[(0, 5, true), (2, 6, false), (4, 7, true)], 5, false),
            (&[(0, 5, true), (4, 5, true)], 5, false),
        ];
        let second = |at| Instant::ZERO + Duration::from_secs(at);
        for (segments, then, holes) in cases {
            let mut wrongs = Wrongs::default();
            for &(at, index, missing) in segments {
                let object = ObjectKey::Media(KEY, index);
                if missing {
                    wrongs.miss(object, second(at));
                } else {
                    wrongs.found(object);
                }
            }
            let then = second(then);
            assert_eq!(wrongs.has_holes(KEY, then), holes, "{segments:?}");
            wrongs.look_again();
            assert_eq!(wrongs.has_holes(KEY, then), holes, "{segments:?}");
            wrongs.other_edges();
            assert!(!wrongs.has_holes(KEY, then));
        }
    }
}
