//! Which edge to use.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount, Instant, Rng};

use super::breaker::{BreakerConfig, BreakerState};
use super::model::{Edge, FRESH};
use crate::input::{EdgeId, EdgeOffer};
use crate::throughput::Forecast;

/// All edges of a session; an [`EdgeId`] is a place in it and never changes its meaning.
#[derive(Clone, Debug)]
pub(crate) struct Edges {
    all: Vec<Edge>,
    current: Option<(EdgeId, Instant)>,
    rng: Rng,
}

/// More edges than this are ignored (a grant names at most ten; refreshes may bring others).
const EDGES_MAX: usize = 64;
/// At most one edge change in this time unless something fails.
const DWELL: Duration = Duration::from_secs(30);
/// An edge must promise to be this much sooner to be worth a change.
const BETTER: f64 = 0.7;

/// What an edge is expected to take, whether it is on trial, its rank, and which it is.
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
    pub(crate) const fn new(rng: Rng) -> Self {
        Self {
            all: Vec::new(),
            current: None,
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
                self.all.push(Edge::new(offer, rests));
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
    pub(crate) fn fail(&mut self, now: Instant, id: EdgeId, rest_min: Duration) {
        let rng = &mut self.rng;
        if let Some(edge) = self.all.get_mut(usize::from(id.0)) {
            edge.failed(now, rest_min, rng);
        }
        if self.current() == Some(id) {
            self.current = None;
        }
    }

    /// No edge rests longer than until `latest`, unless it named a time itself.
    pub(crate) fn shorten_rests(&mut self, latest: Instant) {
        for edge in &mut self.all {
            edge.shorten_rest(latest);
        }
    }

    /// Forgets what belonged to another network.
    pub(crate) fn network_changed(&mut self) {
        for edge in &mut self.all {
            edge.forget();
        }
        self.current = None;
    }

    /// Returns what the line is known to carry: the highest rate among the edges measured in the last
    /// while, else the newest known.
    pub(crate) fn line_rate(&self, now: Instant) -> Option<BitRate> {
        let fresh = self
            .all
            .iter()
            .filter(|edge| edge.measured_at.is_some_and(|at| now.since(at) < FRESH));
        let newest = || {
            self.all
                .iter()
                .filter(|edge| edge.rate().is_some())
                .max_by_key(|edge| edge.measured_at)
        };
        fresh
            .filter_map(Edge::rate)
            .max()
            .or_else(|| newest().and_then(Edge::rate))
    }

    /// Returns the forecast of the edge whose rate [`Self::line_rate`] is.
    pub(crate) fn line_forecast(&self, now: Instant) -> Option<Forecast> {
        let rate = self.line_rate(now)?;
        self.all
            .iter()
            .filter(|edge| edge.rate() == Some(rate))
            .find_map(Edge::forecast)
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
        let line = self.line_rate(now);
        let mut candidates: Vec<Candidate> = self
            .usable(now, object, not)
            .map(|(id, edge)| {
                (
                    edge.expected(now, size, line),
                    edge.state(now) == BreakerState::HalfOpen,
                    edge.rank,
                    id,
                )
            })
            .collect();
        // Edges on trial come last, then the sooner, then the backend's order.
        candidates.sort_by_key(|&(expected, trial, rank, _)| (trial, expected, rank));
        let &(expected, trial, _, best) = candidates.first()?;
        if let Some((current, since)) = self.current
            && let Some(&(held, _, _, _)) = candidates.iter().find(|(.., id)| *id == current)
        {
            let clearly = expected.as_secs_f64() < held.as_secs_f64() * BETTER
                && expected + Duration::from_millis(50) < held;
            if best == current || !clearly || now.since(since) < DWELL {
                return Some(EdgeChoice {
                    edge: current,
                    why: "still the best, or not clearly worse",
                    changed: false,
                    expected: held,
                    candidates: Vec::new(),
                });
            }
            let why = "promises to deliver clearly sooner";
            return Some(self.change(now, &candidates, best, why));
        }
        // The one in use stays so: what keeps it from this object says nothing about others.
        let in_use = self.current().and_then(|id| self.get(id));
        if in_use.is_some_and(|edge| edge.offered && edge.state(now) != BreakerState::Open) {
            return Some(EdgeChoice {
                edge: best,
                why: "the edge in use cannot give this object",
                changed: false,
                expected,
                candidates: Vec::new(),
            });
        }
        // Nothing in use: of two nearly equal edges chance decides, so that many clients that lost the
        // same edge spread (power of two choices; Mitzenmacher, 2001).
        if let Some(&(second, false, _, other)) = candidates.get(1)
            && !trial
            && second.as_secs_f64() * 0.8 <= expected.as_secs_f64()
            && self
                .get(other)
                .is_some_and(|edge| edge.measured_at.is_some())
            && self.rng.below(2) == 1
        {
            let why = "as good as the best; chance spreads the load";
            return Some(self.change(now, &candidates, other, why));
        }
        let why = if trial {
            "only edges on trial are left"
        } else {
            "expected to deliver first"
        };
        Some(self.change(now, &candidates, best, why))
    }

    /// Chooses a helper for one object without changing the edge in use.
    pub(crate) fn choose_helper(
        &self,
        now: Instant,
        object: ObjectKey,
        size: ByteCount,
        not: &[EdgeId],
    ) -> Option<EdgeId> {
        let line = self.line_rate(now);
        self.usable(now, object, not)
            .min_by_key(|(_, edge)| {
                (
                    edge.state(now) == BreakerState::HalfOpen,
                    edge.expected(now, size, line),
                    edge.rank,
                )
            })
            .map(|(id, _)| id)
    }

    /// Uses this edge from now on: it won.
    pub(crate) fn use_from_now(&mut self, now: Instant, id: EdgeId) {
        if self.current() != Some(id) {
            self.current = Some((id, now));
        }
    }

    fn change(
        &mut self,
        now: Instant,
        candidates: &[Candidate],
        edge: EdgeId,
        why: &'static str,
    ) -> EdgeChoice {
        self.current = Some((edge, now));
        let candidates: Vec<(EdgeId, Duration)> = candidates
            .iter()
            .map(|&(expected, _, _, id)| (id, expected))
            .collect();
        let expected = candidates.iter().find(|(id, _)| *id == edge);
        EdgeChoice {
            edge,
            why,
            changed: true,
            expected: expected.map_or(Duration::ZERO, |(_, expected)| *expected),
            candidates,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use nearcast_units::Seed;

    const OBJECT: ObjectKey = ObjectKey::Manifest;
    const SIZE: ByteCount = ByteCount::new(1_000_000);

    fn edges(count: u32) -> Edges {
        let mut edges = Edges::new(Seed::new(1).rng());
        let offers: Vec<EdgeOffer> = (0..count)
            .map(|n| EdgeOffer {
                name: format!("e{n}"),
                rank: n,
            })
            .collect();
        edges.offer(&offers);
        edges
    }

    fn measure(edges: &mut Edges, id: u16, mbps: u64) {
        let edge = edges.get_mut(EdgeId(id)).unwrap();
        edge.answered(Instant::ZERO, Duration::from_millis(20));
        edge.body_begins();
        for n in 0..=10 {
            edge.body_progress(
                Instant::ZERO + Duration::from_millis(n * 100),
                ByteCount::new(mbps * 12_500),
            );
        }
        edge.body_ends(Instant::ZERO + Duration::from_secs(1));
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
        edges.fail(Instant::ZERO, EdgeId(0), Duration::ZERO);
        assert_eq!(
            edges.choose(Instant::ZERO, OBJECT, SIZE, &[]).unwrap().edge,
            EdgeId(1)
        );
        let rested = edges.rested_at(OBJECT, &[]).unwrap();
        assert_eq!(edges.usable(rested, OBJECT, &[]).count(), 2);
    }

    #[test]
    fn a_better_edge_is_used_after_the_dwell_and_a_little_better_one_never() {
        let mut edges = edges(2);
        measure(&mut edges, 0, 4);
        measure(&mut edges, 1, 5);
        edges.use_from_now(Instant::ZERO, EdgeId(0));
        let later = Instant::ZERO + DWELL;
        assert_eq!(
            edges.choose(later, OBJECT, SIZE, &[]).unwrap().edge,
            EdgeId(0)
        );
        for id in [0, 1] {
            edges.get_mut(EdgeId(id)).unwrap().measured_at = Some(later);
        }
        let mut quick = edges.get(EdgeId(1)).unwrap().clone();
        for n in 0..=100 {
            quick.body_progress(
                later + Duration::from_millis(n * 100),
                ByteCount::new(500_000),
            );
        }
        *edges.get_mut(EdgeId(1)).unwrap() = quick;
        assert_eq!(
            edges
                .choose(later - Duration::from_secs(1), OBJECT, SIZE, &[])
                .unwrap()
                .edge,
            EdgeId(0)
        );
        assert_eq!(
            edges.choose(later, OBJECT, SIZE, &[]).unwrap().edge,
            EdgeId(1)
        );
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
