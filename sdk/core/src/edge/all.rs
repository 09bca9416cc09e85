//! All edges of a session, and which of them may be asked.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, Instant, Rng};

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
    pub(super) current: Option<(EdgeId, Instant)>,
    /// When an edge that had been in use was last gone back to, unless the one in use had failed.
    pub(super) returned_at: Option<Instant>,
    /// What the line was known to carry when the edge in use turned out to be slow, and since when it is not.
    pub(super) carried: Option<(Instant, Forecast)>,
    /// When a comparison told that the line is what limits, and what it carried then.
    pub(super) line_told: Option<(Instant, BitRate)>,
    pub(super) recalled: Recalled,
    pub(super) rng: Rng,
}

/// More edges than this are ignored (a grant names at most ten; refreshes may bring others).
const EDGES_MAX: usize = 64;

impl Edges {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            all: Vec::new(),
            current: None,
            returned_at: None,
            carried: None,
            line_told: None,
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
        self.returned_at = None;
        (self.carried, self.line_told) = (None, None);
        self.recall(remembered);
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
}
