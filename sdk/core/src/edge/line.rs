//! What the line that all edges are behind is known to carry, and what is expected of an edge behind it.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{BitRate, Instant};

use super::all::Edges;
use super::model::Edge;
use crate::input::EdgeId;
use crate::throughput::Forecast;

/// What the line carried over an edge that has become slow is believed for so long, where nothing else is known.
pub(super) const CARRIED_FOR: Duration = Duration::from_secs(60);

/// What a comparison told of the line, or of who is no faster, is not asked again for so long.
const TOLD_FOR: Duration = Duration::from_secs(300);
/// What told nothing is asked again after this long: others come first.
const ASKED_AGAIN: Duration = Duration::from_secs(30);
/// A line that brings so much more than it was told to carry is another one.
const ANOTHER_LINE: f64 = 2.0;

impl Edges {
    /// Two edges together brought no more than one did alone: this is what the line carries.
    pub(crate) const fn line_limits(&mut self, now: Instant, rate: BitRate) {
        self.line_told = Some((now, rate));
    }

    /// Whether it is known that an edge that brings so much brings what the line carries.
    pub(crate) fn line_is_known_to_limit(&self, now: Instant, rate: BitRate) -> bool {
        self.line_told
            .is_some_and(|(at, told)| now.since(at) < TOLD_FOR && rate <= told.scaled(ANOTHER_LINE))
    }

    /// An edge was asked whether it is faster than the one in use: it is not, or nothing can be said yet.
    pub(crate) fn was_asked(&mut self, now: Instant, id: EdgeId, told: bool) {
        if let Some(edge) = self.get_mut(id) {
            edge.asked_until = now + if told { TOLD_FOR } else { ASKED_AGAIN };
        }
    }

    /// Returns the edges that need not be asked whether they are faster than the one in use: they were, or may not take its
    /// place.
    pub(crate) fn not_to_ask(&self, now: Instant) -> Vec<EdgeId> {
        let known = |edge: &Edge| now < edge.asked_until || edge.slow || edge.is_on_trial(now);
        let all = self.iter();
        all.filter(|(id, edge)| known(edge) || !self.may_return(now, *id))
            .map(|(id, _)| id)
            .collect()
    }

    /// The line was found slow by comparison of two edges: what all but the slow one were known for came over another line. Who was asked beside
    /// it brought too little to have shown what it can over this one.
    pub(crate) fn line_slowed(&mut self, now: Instant, slow: EdgeId) {
        self.carried = None;
        for (index, edge) in self.all.iter_mut().enumerate() {
            if usize::from(slow.0) != index {
                edge.line_slowed(now);
            }
        }
    }

    /// What the line carried over an edge that became slow since, while that is believed.
    fn carried(&self, now: Instant) -> Option<Forecast> {
        let (since, forecast) = self.carried?;
        (now.since(since) < CARRIED_FOR).then_some(forecast)
    }

    /// The edge that shows what the line carries: the fastest of those measured in the last while, else the one measured
    /// last.
    fn line(&self, now: Instant) -> Option<&Edge> {
        let measured = || self.all.iter().filter(|edge| edge.rate().is_some());
        measured()
            .filter(|edge| edge.is_fresh(now))
            .max_by_key(|edge| edge.rate())
            .or_else(|| measured().max_by_key(|edge| edge.fresh_until()))
    }

    /// Returns what the line is known to carry.
    pub(crate) fn line_rate(&self, now: Instant) -> Option<BitRate> {
        let carried = self.carried(now).and_then(|forecast| forecast.sustained);
        self.line(now).and_then(Edge::rate).max(carried)
    }

    /// Returns the same as a forecast.
    fn line_forecast(&self, now: Instant) -> Option<Forecast> {
        let line = self.line(now).and_then(Edge::own_forecast);
        let carried = self.carried(now);
        let rate = |forecast: &Forecast| forecast.sustained;
        let measured = if carried.as_ref().and_then(rate) > line.as_ref().and_then(rate) {
            carried
        } else {
            line
        };
        self.with_recalled(measured)
    }

    /// Returns what is expected of the edge in use; where it was not measured, of the line. `None` where nothing was measured
    /// or is remembered.
    pub(crate) fn forecast(&self, now: Instant) -> Option<Forecast> {
        match self.current() {
            Some(current) => self.forecast_of(now, current),
            None => self.line_forecast(now),
        }
    }

    /// Returns the same of one edge.
    pub(crate) fn forecast_of(&self, now: Instant, id: EdgeId) -> Option<Forecast> {
        let line = self.line_forecast(now)?;
        let edge = self.get(id);
        Some(match edge.and_then(Edge::own_forecast) {
            Some(own) if own == line => own,
            Some(_) => edge.and_then(|edge| edge.forecast(now, &line))?,
            None => line,
        })
    }

    /// Returns the rate that an edge is held to.
    pub(crate) fn expected_rate(&self, now: Instant, id: EdgeId) -> Option<BitRate> {
        let line = self.line_rate(now)?;
        let edge = self.get(id)?;
        // A fall that began with the segment before has moved the newest measurements already.
        let usual = edge.usual_rate().filter(|_| edge.is_fresh(now));
        let usual = usual.unwrap_or_default();
        Some(edge.expected_rate(now, Some(line)).max(usual))
    }
}
