//! Which edge to use: the one in use as long as no other is clearly better; whom to ask for help; who is worth measuring.
//!
//! What is planned with is the mean of what is believed of each edge. Chance has two places. With spare time an edge is
//! measured whose draw from what is believed of it beats the edge in use (Thompson, Biometrika 1933): the less is known, the
//! wider the draws. And after a death all clients that knew the same edge look for another at once: they spread over those
//! that are not clearly worse than the best, in proportion to what each is expected to deliver.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{ByteCount, Instant};

use super::all::Edges;
use super::breaker::BreakerState;
use super::model::Edge;
use crate::input::EdgeId;

/// At most one edge change in this time unless something fails.
pub(super) const DWELL: Duration = Duration::from_secs(30);
/// An edge must promise to be this much sooner to be worth a change.
pub(super) const BETTER: f64 = 0.7;
/// Who brings a segment in this share of what it plays is quick enough: rungs lie less than a factor of two apart, so that
/// only the highest is brought so soon for long, and nobody could be better.
const QUICK_ENOUGH: f64 = 0.4;

/// Whoever is chosen for one object is in use for the next ones too: what it takes for so much decides.
pub(super) const LONG_RUN: ByteCount = ByteCount::new(1_000_000);

/// What an edge is expected to take, whether it has to show first that it is well, its rank, and which it is.
type Candidate = (Duration, bool, u32, EdgeId);

/// A trial waits no longer than this for an idle moment.
const TRIAL_OWED: Duration = Duration::from_secs(10);

/// Why an edge is worth measuring, the most urgent reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// Its rest is over: it may be back.
    Trial,
    /// It waits to be used again, and how much better it was would be forgotten.
    Fades,
    /// Its draw beats the edge in use by most.
    Hope,
}

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

    /// What those that may be asked are expected to take for so much.
    pub(crate) fn expectations(
        &self,
        now: Instant,
        object: ObjectKey,
        size: ByteCount,
        not: &[EdgeId],
    ) -> Vec<(EdgeId, Duration)> {
        let candidates = self.candidates(now, object, size, not);
        let expected = candidates.iter().map(|&(expected, .., id)| (id, expected));
        expected.collect()
    }

    /// Those that may be asked: edges on trial, those that keep failing, and those that were slow when they were left, come last, then the sooner,
    /// then the backend's order.
    pub(super) fn candidates(
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
                let slow = edge.slow && !self.has_recovered(now, id);
                let trial = edge.is_on_trial(now) || slow;
                (expected, trial, edge.rank, id)
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

    /// Whether an edge that has an object is to be measured even on a line that is never idle.
    pub(crate) fn owes_probe(&self, now: Instant, object: ObjectKey) -> bool {
        let waits = |edge: &Edge| {
            let rested_at = edge.rested_at();
            edge.state(now) == BreakerState::HalfOpen
                && rested_at.is_some_and(|at| now.since(at) >= TRIAL_OWED)
        };
        self.usable(now, object, &[]).any(|(_, edge)| waits(edge))
            || self.fades(now, object).is_some()
    }

    fn fades(&self, now: Instant, object: ObjectKey) -> Option<EdgeId> {
        let in_use = self.current();
        let mut others = self.usable(now, object, in_use.as_slice());
        others.find(|(_, edge)| edge.fades(now)).map(|(id, _)| id)
    }

    /// Returns the edge that is worth measuring, and why. `size` and `plays` are the next segment's.
    pub(crate) fn worth_measuring(
        &mut self,
        now: Instant,
        object: ObjectKey,
        size: ByteCount,
        plays: Duration,
    ) -> Option<(EdgeId, Worth)> {
        let trial = self
            .usable(now, object, &[])
            .filter(|(_, edge)| edge.state(now) == BreakerState::HalfOpen)
            .min_by_key(|(_, edge)| (edge.measured_at, edge.rank));
        if let Some((trial, _)) = trial {
            return Some((trial, Worth::Trial));
        }
        let line = self.line_rate(now);
        let current = self.current()?;
        let held = self.get(current)?.expected(now, size, line);
        if held < plays.mul_f64(QUICK_ENOUGH) {
            return None;
        }
        if let Some(fades) = self.fades(now, object) {
            return Some((fades, Worth::Fades));
        }
        let mut rng = self.rng.clone();
        let drawn = self
            .usable(now, object, &[current])
            .map(|(id, edge)| (edge.drawn(now, size, line, &mut rng), id))
            .min();
        self.rng = rng;
        let (drawn, id) = drawn?;
        (drawn < held.mul_f64(BETTER)).then_some((id, Worth::Hope))
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
