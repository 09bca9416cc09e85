//! Which edge to use: the one in use as long as no other is clearly better; whom to ask for help; who is worth measuring.
//!
//! What is planned with is the mean of what is believed of each edge. Chance has two places. With spare time an edge is
//! measured whose draw from what is believed of it beats the edge in use (Thompson, Biometrika 1933): the less is known, the
//! wider the draws. And after a death all clients that knew the same edge look for another at once: they spread over those
//! that are not clearly worse than the best, in proportion to what each is expected to deliver.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount, Instant, Rng};

use super::breaker::{BreakerConfig, BreakerState};
use super::model::Edge;
use super::recall::Recalled;
use crate::input::{EdgeId, EdgeOffer};
use crate::memory::NetworkMemory;
use crate::throughput::Forecast;

/// All edges of a session; an [`EdgeId`] is a place in it and never changes its meaning.
#[derive(Clone, Debug)]
pub(crate) struct Edges {
    pub(super) all: Vec<Edge>,
    current: Option<(EdgeId, Instant)>,
    /// The edge in use before, if it was left without being forced to.
    before: Option<EdgeId>,
    /// When an edge was last gone back to without being forced to.
    returned_at: Option<Instant>,
    /// What the line was known to carry when the edge in use turned out to be slow, and since when it is not.
    pub(super) carried: Option<(Instant, Forecast)>,
    pub(super) recalled: Recalled,
    rng: Rng,
}

/// More edges than this are ignored (a grant names at most ten; refreshes may bring others).
const EDGES_MAX: usize = 64;
/// At most one edge change in this time unless something fails.
const DWELL: Duration = Duration::from_secs(30);
/// At most one return to the edge before in this time unless something fails.
const FLAP_EVERY: Duration = Duration::from_secs(600);
/// An edge must promise to be this much sooner to be worth a change.
const BETTER: f64 = 0.7;
/// Who brings a segment in this share of what it plays is quick enough: rungs lie less than a factor of two apart, so that
/// only the highest is brought so soon for long, and nobody could be better.
const QUICK_ENOUGH: f64 = 0.4;

/// Whoever is chosen for one object is in use for the next ones too: what it takes for so much decides.
const LONG_RUN: ByteCount = ByteCount::new(1_000_000);

/// What an edge is expected to take, whether it has to show first that it is well, its rank, and which it is.
type Candidate = (Duration, bool, u32, EdgeId);

/// What a choice of edge rests on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EdgeChoice {
    pub(crate) edge: EdgeId,
    pub(crate) why: &'static str,
    pub(crate) changed: bool,
    pub(crate) expected: Duration,
    /// All that were compared, with what each was expected to take.
    pub(crate) candidates: Vec<(EdgeId, Duration)>,
}

impl Edges {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            all: Vec::new(),
            current: None,
            before: None,
            returned_at: None,
            carried: None,
            recalled: Recalled::default(),
            rng,
        }
    }

    /// Takes the edges of a grant: known names keep what was learnt about them.
    pub(crate) fn offer(&mut self, offers: &[EdgeOffer]) {
        for edge in &mut self.all {
            edge.offered = false;
        }
        let alone = offers.len() == 1;
        let rests = BreakerConfig {
            rest: if alone {
                Duration::from_millis(250)
            } else {
                Duration::from_secs(2)
            },
            rest_max: if alone {
                Duration::from_secs(4)
            } else {
                Duration::from_secs(30)
            },
        };
        for offer in offers {
            if let Some(edge) = self.all.iter_mut().find(|edge| edge.name == offer.name) {
                edge.offered_again(offer, rests);
            } else if self.all.len() < EDGES_MAX {
                let prior = self.recalled.of_edge(&offer.name);
                self.all.push(Edge::new(offer, rests, prior));
            }
        }
        if self
            .current
            .is_some_and(|(id, _)| !self.get(id).is_some_and(|edge| edge.offered))
        {
            self.current = None;
        }
    }

    pub(crate) fn get(&self, id: EdgeId) -> Option<&Edge> {
        self.all.get(usize::from(id.0))
    }

    pub(crate) fn get_mut(&mut self, id: EdgeId) -> Option<&mut Edge> {
        self.all.get_mut(usize::from(id.0))
    }

    pub(crate) fn name(&self, id: EdgeId) -> &str {
        self.get(id).map_or("?", |edge| edge.name.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (EdgeId, &Edge)> {
        self.all
            .iter()
            .enumerate()
            .filter_map(|(index, edge)| Some((EdgeId(u16::try_from(index).ok()?), edge)))
    }

    pub(crate) fn current(&self) -> Option<EdgeId> {
        self.current.map(|(id, _)| id)
    }

    /// The edge is at fault: it rests, and is no longer the one in use.
    pub(crate) fn fail(
        &mut self,
        now: Instant,
        id: EdgeId,
        rest_min: Duration,
        kind: &'static str,
    ) {
        let rng = &mut self.rng;
        if let Some(edge) = self.all.get_mut(usize::from(id.0)) {
            edge.failed(now, rest_min, kind, rng);
        }
        if self.current() == Some(id) {
            self.current = None;
            if let Some(edge) = self.get_mut(id) {
                edge.fell(now);
            }
        }
    }

    /// No edge rests longer than until `latest`, unless it named a time itself.
    pub(crate) fn shorten_rests(&mut self, latest: Instant) {
        for edge in &mut self.all {
            edge.shorten_rest(latest);
        }
    }

    /// Forgets what belonged to another network, and takes up what is remembered of this one.
    pub(crate) fn network_changed(&mut self, remembered: NetworkMemory) {
        for edge in &mut self.all {
            edge.forget();
        }
        self.current = None;
        self.before = None;
        self.carried = None;
        self.recall(remembered);
    }

    /// The edge was found slow by comparison with `other`, which is used from now on, or another one where that fell lately,
    /// unless that would be one return too many; the line still carries `usual`.
    pub(crate) fn blame(
        &mut self,
        now: Instant,
        (id, rate): (EdgeId, BitRate),
        other: EdgeId,
        usual: Option<Forecast>,
    ) {
        if let Some(edge) = self.get_mut(id) {
            edge.slowed(now, rate);
        }
        self.carried = usual.map(|usual| (now, usual));
        let to = self.trusted_instead(now, id, other);
        if self.current() == Some(id) && !self.would_flap(now, to) {
            if let Some(edge) = self.get_mut(id) {
                edge.fell(now);
            }
            self.leave_for(now, to);
        }
    }

    /// Returns `other` or, where it is on trial or fell lately and was only asked beside, the best of those of which neither is
    /// true, if there is one.
    fn trusted_instead(&self, now: Instant, than: EdgeId, other: EdgeId) -> EdgeId {
        if self.get(other).is_some_and(|edge| !edge.is_on_trial(now)) {
            return other;
        }
        let candidates = self.candidates(now, ObjectKey::Probe, LONG_RUN, &[than]);
        let best = candidates.first().filter(|(_, trial, ..)| !trial);
        best.map_or(other, |&(.., id)| id)
    }

    /// Returns the edges that may be asked for an object now, by rank.
    pub(crate) fn usable<'a>(
        &'a self,
        now: Instant,
        object: ObjectKey,
        not: &'a [EdgeId],
    ) -> impl Iterator<Item = (EdgeId, &'a Edge)> {
        self.iter().filter(move |(id, edge)| {
            edge.offered
                && edge.state(now) != BreakerState::Open
                && !edge.is_without(object)
                && !not.contains(id)
        })
    }

    /// Whether there are edges beside these that may have the object, whether or not they rest.
    pub(crate) fn others(&self, object: ObjectKey, than: &[EdgeId]) -> bool {
        self.iter()
            .any(|(id, edge)| edge.offered && !edge.is_without(object) && !than.contains(&id))
    }

    /// Returns when an edge that rests may be tried again, the soonest of those that have the object and are not
    /// left out.
    pub(crate) fn rested_at(&self, object: ObjectKey, not: &[EdgeId]) -> Option<Instant> {
        self.iter()
            .filter(|(id, edge)| edge.offered && !edge.is_without(object) && !not.contains(id))
            .filter_map(|(_, edge)| edge.rested_at())
            .min()
    }

    /// Whether no edge may be asked for anything now.
    pub(crate) fn all_rest(&self, now: Instant) -> bool {
        self.all
            .iter()
            .filter(|edge| edge.offered)
            .all(|edge| edge.state(now) == BreakerState::Open)
    }

    /// Whether every edge lacks the object.
    pub(crate) fn all_lack(&self, object: ObjectKey) -> bool {
        let mut offered = self.all.iter().filter(|edge| edge.offered).peekable();
        offered.peek().is_some() && offered.all(|edge| edge.is_without(object))
    }

    /// Chooses an edge for an object of about `size`; keeps to the one in use unless another promises
    /// clearly more. Edges in `not` are left out.
    pub(crate) fn choose(
        &mut self,
        now: Instant,
        object: ObjectKey,
        size: ByteCount,
        not: &[EdgeId],
    ) -> Option<EdgeChoice> {
        let candidates = self.candidates(now, object, size, not);
        let &(soonest, trial, _, best) = candidates.first()?;
        if let Some((current, since)) = self.current
            && let Some(&(held, ..)) = candidates.iter().find(|(.., id)| *id == current)
        {
            let better = candidates.iter().find(|(expected, trial, _, id)| {
                !trial
                    && expected.as_secs_f64() < held.as_secs_f64() * BETTER
                    && *expected + Duration::from_millis(50) < held
                    && self.get(*id).is_some_and(|edge| edge.is_fresh(now))
                    && self.may_return(now, *id)
            });
            if let Some(&(expected, .., better)) = better
                && now.since(since) >= DWELL
            {
                self.leave_for(now, better);
                let why = "promises to deliver clearly sooner";
                return Some(changed(&candidates, (expected, better), why));
            }
            return Some(EdgeChoice {
                edge: current,
                why: "still the best, or not clearly worse",
                changed: false,
                expected: held,
                candidates: Vec::new(),
            });
        }
        // The one in use stays so: what keeps it from this object says nothing about others.
        let in_use = self.current().and_then(|id| self.get(id));
        if in_use.is_some_and(|edge| edge.offered && edge.state(now) != BreakerState::Open) {
            return Some(EdgeChoice {
                edge: best,
                why: "the edge in use cannot give this object",
                changed: false,
                expected: soonest,
                candidates: Vec::new(),
            });
        }
        // While an edge rests others may have lost it, too.
        let rests = |edge: &Edge| edge.offered && edge.state(now) != BreakerState::Closed;
        let chosen = if self.all.iter().any(rests) {
            self.spread(now, &candidates)?
        } else {
            (soonest, best)
        };
        let why = if trial {
            "only edges that rested or relapsed are left"
        } else if chosen.1 == best && self.get(best).is_some_and(Edge::is_recalled) {
            "expected to deliver first, as this network is remembered"
        } else if chosen.1 == best {
            "expected to deliver first"
        } else {
            "not clearly worse than the best; chance spreads the load"
        };
        self.use_from_now(now, chosen.1);
        Some(changed(&candidates, chosen, why))
    }

    /// Chooses a helper for one object without changing the edge in use: others may need one against the same edge.
    pub(crate) fn choose_helper(
        &mut self,
        now: Instant,
        object: ObjectKey,
        size: ByteCount,
        not: &[EdgeId],
    ) -> Option<EdgeId> {
        let candidates = self.candidates(now, object, size, not);
        self.spread(now, &candidates).map(|(_, id)| id)
    }

    /// Those that may be asked: edges on trial, and those that keep failing, come last, then the sooner, then the backend's order.
    fn candidates(
        &self,
        now: Instant,
        object: ObjectKey,
        size: ByteCount,
        not: &[EdgeId],
    ) -> Vec<Candidate> {
        let line = self.line_rate(now);
        // Who brings a few bytes sooner need not bring a segment sooner.
        let size = size.max(LONG_RUN);
        let mut candidates: Vec<Candidate> = self
            .usable(now, object, not)
            .map(|(id, edge)| {
                let expected = edge.expected(now, size, line);
                (expected, edge.is_on_trial(now), edge.rank, id)
            })
            .collect();
        candidates.sort_by_key(|&(expected, trial, rank, _)| (trial, expected, rank));
        candidates
    }

    /// Chooses one of those that are not clearly worse than the best, with a probability in proportion to how fast it is
    /// expected to be. Many clients that lost the same edge, and know the same of the others, would kill the best of these
    /// next.
    fn spread(&mut self, now: Instant, candidates: &[Candidate]) -> Option<(Duration, EdgeId)> {
        let &(soonest, trial, _, best) = candidates.first()?;
        // Where no rate is known yet the backend's order is all there is.
        if trial || self.line_rate(now).is_none() {
            return Some((soonest, best));
        }
        let near: Vec<(Duration, EdgeId)> = candidates
            .iter()
            .filter(|(expected, trial, ..)| {
                !trial && expected.as_secs_f64() * BETTER <= soonest.as_secs_f64()
            })
            .map(|&(expected, .., id)| (expected, id))
            .collect();
        let goodput = |expected: Duration| 1.0 / expected.as_secs_f64().max(1e-6);
        let all: f64 = near.iter().map(|(expected, _)| goodput(*expected)).sum();
        let mut point = all * self.rng.next_f64();
        let hit = near.iter().find(|(expected, _)| {
            point -= goodput(*expected);
            point < 0.0
        });
        hit.or(near.last()).copied()
    }

    /// Returns the edge that is worth measuring with spare time: one that may be back, else the one whose draw beats the
    /// edge in use by most. `size` and `plays` are the next segment's. With it comes whether it is a trial.
    pub(crate) fn worth_measuring(
        &mut self,
        now: Instant,
        object: ObjectKey,
        size: ByteCount,
        plays: Duration,
    ) -> Option<(EdgeId, bool)> {
        let trial = self
            .usable(now, object, &[])
            .filter(|(_, edge)| edge.state(now) == BreakerState::HalfOpen)
            .min_by_key(|(_, edge)| (edge.measured_at, edge.rank));
        if let Some((trial, _)) = trial {
            return Some((trial, true));
        }
        let line = self.line_rate(now);
        let current = self.current()?;
        let held = self.get(current)?.expected(now, size, line);
        if held < plays.mul_f64(QUICK_ENOUGH) {
            return None;
        }
        let mut rng = self.rng.clone();
        let drawn = self
            .usable(now, object, &[current])
            .map(|(id, edge)| (edge.drawn(now, size, line, &mut rng), id))
            .min();
        self.rng = rng;
        let (drawn, id) = drawn?;
        (drawn < held.mul_f64(BETTER)).then_some((id, false))
    }

    /// An edge was measured beside the one in use: who was left must be clearly better several times in a row.
    pub(crate) fn measured_beside(&mut self, now: Instant, id: EdgeId, size: ByteCount) {
        let line = self.line_rate(now);
        let in_use = self.current().and_then(|current| self.get(current));
        let Some(held) = in_use.map(|edge| edge.expected(now, size, line)) else {
            return;
        };
        if let Some(edge) = self.get_mut(id) {
            let better = edge.expected(now, size, line) < held.mul_f64(BETTER);
            edge.better = if better { edge.better + 1 } else { 0 };
        }
    }

    /// Whether an edge may be used again that was left without being forced to: measured clearly better more often than
    /// it was left, after a time that doubles with each.
    fn may_return(&self, now: Instant, id: EdgeId) -> bool {
        let Some((edge, left_at)) = self.get(id).and_then(|edge| Some((edge, edge.left_at?)))
        else {
            return true;
        };
        let rest = DWELL.saturating_mul(1 << edge.left.min(8));
        edge.better > edge.left && now.since(left_at) >= rest && !self.would_flap(now, id)
    }

    /// Whether to use this edge would be to go back to the one before, and once more so within a short time.
    fn would_flap(&self, now: Instant, id: EdgeId) -> bool {
        self.before == Some(id) && (self.returned_at).is_some_and(|at| now.since(at) < FLAP_EVERY)
    }

    /// Edges that were left and may not be gone back to yet.
    pub(crate) fn left(&self, now: Instant) -> Vec<EdgeId> {
        let all = self.iter().map(|(id, _)| id);
        all.filter(|id| !self.may_return(now, *id)).collect()
    }

    /// Changes to another edge without being forced to.
    fn leave_for(&mut self, now: Instant, to: EdgeId) {
        let from = self.current();
        if let Some(edge) = from.and_then(|id| self.get_mut(id)) {
            edge.left += 1;
            edge.left_at = Some(now);
            edge.better = 0;
        }
        if self.before == Some(to) {
            self.returned_at = Some(now);
        }
        self.current = Some((to, now));
        self.before = from;
    }

    /// Uses this edge from now on: it won.
    pub(crate) fn use_from_now(&mut self, now: Instant, id: EdgeId) {
        if self.current() != Some(id) {
            self.current = Some((id, now));
            self.before = None;
        }
    }
}

/// An edge was chosen that was not in use.
fn changed(
    candidates: &[Candidate],
    (expected, edge): (Duration, EdgeId),
    why: &'static str,
) -> EdgeChoice {
    EdgeChoice {
        edge,
        why,
        changed: true,
        expected,
        candidates: candidates
            .iter()
            .map(|&(expected, .., id)| (id, expected))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::line::CARRIED_FOR;
    use alloc::format;
    use nearcast_units::Seed;

    const OBJECT: ObjectKey = ObjectKey::Manifest;
    const SIZE: ByteCount = ByteCount::new(1_000_000);
    const MEASURED: Duration = Duration::from_secs(2);

    fn edges(count: u32) -> Edges {
        let mut edges = Edges::new(Seed::new(1).rng());
        edges.offer(&offers(count));
        edges
    }

    fn offers(count: u32) -> Vec<EdgeOffer> {
        let offer = |n| EdgeOffer {
            name: format!("e{n}"),
            rank: n,
        };
        (0..count).map(offer).collect()
    }

    fn measure(edges: &mut Edges, id: u16, mbps: u64) {
        measure_at(edges, Instant::ZERO, id, mbps);
    }

    /// A body of two seconds.
    fn measure_at(edges: &mut Edges, at: Instant, id: u16, mbps: u64) {
        measure_for(edges, at, (id, mbps), 20);
    }

    fn measure_long(edges: &mut Edges, id: u16, mbps: u64) {
        measure_for(edges, Instant::ZERO, (id, mbps), 100);
    }

    fn measure_for(edges: &mut Edges, at: Instant, (id, mbps): (u16, u64), slices: u64) {
        let edge = edges.get_mut(EdgeId(id)).unwrap();
        edge.answered(at, Duration::from_millis(20));
        edge.body_begins(at);
        for n in 0..=slices {
            edge.body_progress(
                at + Duration::from_millis(n * 100),
                ByteCount::new(mbps * 12_500),
            );
        }
        edge.body_ends(at + Duration::from_millis(slices * 100));
    }

    #[test]
    fn the_backends_order_decides_while_nothing_is_known() {
        let choice = edges(3).choose(Instant::ZERO, OBJECT, SIZE, &[]).unwrap();
        assert_eq!(choice.edge, EdgeId(0));
    }

    #[test]
    fn a_failed_edge_is_left_at_once_and_comes_back_after_its_rest() {
        let mut edges = edges(2);
        assert_eq!(
            edges.choose(Instant::ZERO, OBJECT, SIZE, &[]).unwrap().edge,
            EdgeId(0)
        );
        edges.fail(Instant::ZERO, EdgeId(0), Duration::ZERO, "net.reset");
        assert_eq!(
            edges.choose(Instant::ZERO, OBJECT, SIZE, &[]).unwrap().edge,
            EdgeId(1)
        );
        let rested = edges.rested_at(OBJECT, &[]).unwrap();
        assert_eq!(edges.usable(rested, OBJECT, &[]).count(), 2);
    }

    #[test]
    fn a_better_edge_is_used_after_the_dwell_and_a_little_better_one_never() {
        for (mbps, left) in [(5, false), (20, true)] {
            let mut edges = edges(2);
            edges.use_from_now(Instant::ZERO, EdgeId(0));
            for (at, dwells) in [(DWELL / 2, true), (DWELL, false)] {
                let at = Instant::ZERO + (at - MEASURED);
                measure_at(&mut edges, at, 0, 4);
                measure_at(&mut edges, at, 1, mbps);
                let chosen = edges.choose(at + MEASURED, OBJECT, SIZE, &[]).unwrap().edge;
                assert_eq!(chosen == EdgeId(1), left && !dwells, "{mbps}");
            }
        }
    }

    #[test]
    fn an_edge_that_relapses_is_gone_back_to_later_each_time_unless_nobody_else_is_left() {
        let second = |n: u64| Instant::ZERO + Duration::from_secs(n);
        let mut edges = edges(2);
        edges.use_from_now(second(0), EdgeId(0));
        let mut used = Vec::new();
        // Every minute the better one is well again, and when it is used it fails.
        for n in 1..120 {
            let now = second(n * 60);
            for (id, mbps) in [(0, 20), (1, 2)] {
                measure_at(&mut edges, now, id, mbps);
                edges.get_mut(EdgeId(id)).unwrap().served(now);
            }
            let now = now + MEASURED;
            if edges.choose(now, OBJECT, SIZE, &[]).unwrap().edge == EdgeId(0) {
                used.push(n);
                edges.fail(now, EdgeId(0), Duration::ZERO, "net.reset");
                assert_eq!(
                    edges.choose(now, OBJECT, SIZE, &[]).unwrap().edge,
                    EdgeId(1)
                );
            }
        }
        let gaps: Vec<u64> = used.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [1, 10, 20, 40], "{used:?}");
        // Better than none.
        edges.fail(second(7_200), EdgeId(1), Duration::ZERO, "net.reset");
        let choice = edges.choose(second(7_200), OBJECT, SIZE, &[]).unwrap();
        assert_eq!(choice.edge, EdgeId(0));
    }

    #[test]
    fn who_fell_lately_takes_over_from_a_slow_edge_only_where_nobody_else_can() {
        let now = Instant::ZERO + DWELL;
        for others in [1, 2] {
            let mut edges = edges(1 + others);
            edges.use_from_now(Instant::ZERO, EdgeId(0));
            for id in 0..=others {
                measure_at(&mut edges, now, u16::try_from(id).unwrap(), 10);
            }
            let back = edges.get_mut(EdgeId(1)).unwrap();
            back.fell(Instant::ZERO);
            edges.blame(now, (EdgeId(0), BitRate::from_kbps(100)), EdgeId(1), None);
            let in_use = if others == 1 { EdgeId(1) } else { EdgeId(2) };
            assert_eq!(edges.current(), Some(in_use));
        }
    }

    #[test]
    fn an_edge_that_only_answers_sooner_is_no_reason_to_change() {
        let mut edges = edges(2);
        let now = Instant::ZERO + DWELL;
        edges.use_from_now(Instant::ZERO, EdgeId(0));
        for (id, answers_ms) in [(0, 150), (1, 20)] {
            measure_at(&mut edges, now, id, 4);
            let edge = edges.get_mut(EdgeId(id)).unwrap();
            for _ in 0..16 {
                edge.answered(now, Duration::from_millis(answers_ms));
            }
        }
        let few = ByteCount::new(1_000);
        let choice = edges.choose(now + MEASURED, OBJECT, few, &[]).unwrap();
        assert_eq!((choice.edge, choice.changed), (EdgeId(0), false));
    }

    /// An edge in use that becomes slow, and is slow no more.
    #[test]
    fn an_edge_that_was_left_is_gone_back_to_when_it_was_better_again_and_again() {
        let second = |n: u64| Instant::ZERO + Duration::from_secs(n);
        let mut edges = edges(2);
        edges.use_from_now(second(0), EdgeId(0));
        measure_at(&mut edges, second(1), 0, 20);
        let slow = (EdgeId(0), BitRate::from_kbps(2_000));
        edges.blame(second(5), slow, EdgeId(1), None);
        assert_eq!(edges.current(), Some(EdgeId(1)), "at once");
        let mut returns = Vec::new();
        for n in 1..200 {
            let now = second(n * 10);
            // The one in use is always the worse one: whoever trusts one measurement swings.
            let current = edges.current().unwrap();
            let other = EdgeId(1 - current.0);
            measure_at(&mut edges, now, current.0, 2);
            measure_at(&mut edges, now + Duration::from_secs(2), other.0, 20);
            edges.measured_beside(now + Duration::from_secs(4), other, SIZE);
            let now = now + Duration::from_secs(5);
            if edges.choose(now, OBJECT, SIZE, &[]).unwrap().changed {
                returns.push(now);
            }
        }
        assert!(returns.len() > 1, "{returns:?}");
        let gaps = returns.windows(2).map(|pair| pair[1].since(pair[0]));
        assert!(gaps.clone().all(|gap| gap >= FLAP_EVERY), "{returns:?}");
    }

    #[test]
    fn a_slow_edge_leaves_the_line_what_it_is() {
        let mut edges = edges(2);
        edges.use_from_now(Instant::ZERO, EdgeId(0));
        measure(&mut edges, 0, 20);
        let now = Instant::ZERO + Duration::from_secs(5);
        let usual = edges.forecast(now);
        let slow = (EdgeId(0), BitRate::from_kbps(2_000));
        edges.blame(now, slow, EdgeId(1), usual);
        assert_eq!(edges.forecast(now), usual, "of an edge never measured");
        let rate = edges.line_rate(now + CARRIED_FOR).unwrap();
        assert!(rate < BitRate::from_kbps(3_000), "not for ever: {rate:?}");
        // Where the line is slow, what others gave before is no reason to look for them.
        let mut edges = self::edges(3);
        edges.use_from_now(Instant::ZERO, EdgeId(0));
        for id in 0..3 {
            measure(&mut edges, id, 20);
        }
        edges.line_slowed(now, [EdgeId(0), EdgeId(1)]);
        for id in 0..2 {
            measure_at(&mut edges, now, id, 2);
        }
        let later = now + Duration::from_secs(20);
        let third = edges.expected_rate(later, EdgeId(2)).unwrap();
        let line = edges.line_rate(later).unwrap();
        assert!(
            third <= line.scaled(1.2),
            "{third:?} over a line of {line:?}"
        );
    }

    #[test]
    fn spare_time_measures_who_may_be_better_and_nobody_where_nobody_could_be() {
        let mut edges = edges(4);
        let now = Instant::ZERO + Duration::from_secs(2);
        let plays = Duration::from_secs(4);
        measure(&mut edges, 0, 4);
        edges.use_from_now(now, EdgeId(0));
        for _ in 0..100 {
            let quick = edges.worth_measuring(now, OBJECT, ByteCount::new(200_000), plays);
            assert_eq!(quick, None, "a tenth of what it plays");
        }
        let large = ByteCount::new(1_500_000);
        let drawn = |edges: &mut Edges| {
            let draws = (0..300).filter_map(|_| edges.worth_measuring(now, OBJECT, large, plays));
            let mut count = [0; 4];
            for (id, trial) in draws {
                assert!(!trial);
                count[usize::from(id.0)] += 1;
            }
            count
        };
        let count = drawn(&mut edges);
        assert_eq!(count[0], 0, "the one in use");
        assert!(count[1..].iter().all(|count| *count > 20), "{count:?}");
        // One that is known to be worse is drawn no more.
        measure_long(&mut edges, 1, 2);
        let count = drawn(&mut edges);
        assert!(count[1] < 3 && count[2] > 20, "{count:?}");
    }

    #[test]
    fn after_a_death_many_clients_spread_over_all_that_are_about_as_good() {
        // All edges were measured, or the three that raced at the start, by each client a little differently.
        for (measured, silent) in [(10, false), (3, false), (3, true)] {
            let mut load = [0_u32; 10];
            for client in 0..1_000 {
                let mut edges = Edges::new(Seed::new(client).rng());
                edges.offer(&offers(10));
                let mut noise = Seed::new(client).split("noise").rng();
                for id in 0..measured {
                    measure(&mut edges, id, 18 + noise.below(5));
                }
                edges.use_from_now(Instant::ZERO, EdgeId(0));
                let now = Instant::ZERO + Duration::from_secs(3);
                // Whatever was on its way.
                let size = ByteCount::new(if client % 3 == 0 { 3_000_000 } else { 50_000 });
                let chosen = if silent {
                    edges
                        .choose_helper(now, OBJECT, size, &[EdgeId(0)])
                        .unwrap()
                } else {
                    edges.fail(now, EdgeId(0), Duration::ZERO, "net.reset");
                    edges.choose(now, OBJECT, size, &[]).unwrap().edge
                };
                load[usize::from(chosen.0)] += 1;
            }
            let fair = 1_000.0 / 9.0;
            let most = load.iter().copied().max().map_or(0.0, f64::from);
            assert!(load[0] == 0 && most <= fair * 1.3, "{load:?}");
        }
    }

    #[test]
    fn an_edge_that_lacks_one_object_serves_the_others() {
        let mut edges = edges(1);
        edges.get_mut(EdgeId(0)).unwrap().lacks(OBJECT);
        assert!(edges.choose(Instant::ZERO, OBJECT, SIZE, &[]).is_none());
        assert!(edges.all_lack(OBJECT));
        assert!(
            edges
                .choose(Instant::ZERO, ObjectKey::Probe, SIZE, &[])
                .is_some()
        );
    }

    #[test]
    fn a_refresh_keeps_what_was_learnt_and_drops_who_is_gone() {
        let mut edges = edges(2);
        measure(&mut edges, 1, 5);
        edges.use_from_now(Instant::ZERO, EdgeId(0));
        edges.offer(&[EdgeOffer {
            name: "e1".into(),
            rank: 0,
        }]);
        assert_eq!(edges.current(), None);
        let choice = edges.choose(Instant::ZERO, OBJECT, SIZE, &[]).unwrap();
        assert_eq!(choice.edge, EdgeId(1));
        assert!(edges.get(EdgeId(1)).unwrap().rate().is_some());
    }
}
