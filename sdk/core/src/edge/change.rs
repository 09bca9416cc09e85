//! Leaving one edge for another, and coming back without flapping.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount, Instant};

use super::all::Edges;
use super::choice::{BETTER, DWELL, LONG_RUN};
use crate::input::EdgeId;
use crate::throughput::Forecast;

/// At most one return to an edge that was in use before in this time, unless something fails or is slow.
pub(super) const FLAP_EVERY: Duration = Duration::from_secs(600);
/// The same where the edge in use is slow: two that are so by turns are not to be changed for each other all the time, and
/// none is to be kept for long that is.
const SLOW_FLAP_EVERY: Duration = Duration::from_secs(60);

impl Edges {
    /// The edge was found slow by comparison with `other`, which is used from now on, or another one where that fell lately or would be one
    /// return too many; the line still carries `usual`. Returns whether it is no longer in use.
    pub(crate) fn blame(
        &mut self,
        now: Instant,
        (id, rate): (EdgeId, BitRate),
        other: EdgeId,
        usual: Option<Forecast>,
    ) -> bool {
        if let Some(edge) = self.get_mut(id) {
            edge.slowed(now, rate);
        }
        if self.current() != Some(id) {
            self.carried = usual.map(|usual| (now, usual));
            return true;
        }
        let Some(to) = self.trusted_instead(now, id, other) else {
            return false;
        };
        self.carried = usual.map(|usual| (now, usual));
        if let Some(edge) = self.get_mut(id) {
            edge.fell(now);
        }
        self.leave_for(now, to);
        true
    }

    /// Returns `other` or, where it is on trial, or would be one return too many, the best of those of which
    /// neither is true; `other` after all where there is none and it is only on trial.
    fn trusted_instead(&self, now: Instant, than: EdgeId, other: EdgeId) -> Option<EdgeId> {
        let returns = |id: EdgeId| {
            self.get(id).is_some_and(|edge| edge.used) && self.returned_within(now, SLOW_FLAP_EVERY)
        };
        let candidates = self.candidates(now, ObjectKey::Probe, LONG_RUN, &[than]);
        let there = candidates.iter().any(|(.., id)| *id == other);
        let trusted = self.get(other).is_some_and(|edge| !edge.is_on_trial(now));
        if there && trusted && !returns(other) {
            return Some(other);
        }
        let mut others = candidates.iter().filter(|(_, trial, ..)| !trial);
        let best = others.find(|(.., id)| !returns(*id)).map(|(.., id)| *id);
        best.or_else(|| (there && !returns(other)).then_some(other))
    }

    /// An edge was measured beside the one in use: who was left must be clearly better several times in a row.
    pub(crate) fn measured_beside(&mut self, now: Instant, id: EdgeId, size: ByteCount) {
        let line = self.line_rate(now);
        let in_use = self.current().and_then(|current| self.get(current));
        let Some(held) = in_use.map(|edge| edge.expected(now, size, line)) else {
            return;
        };
        if let Some(edge) = self.get_mut(id) {
            let expected = edge.expected(now, size, line);
            let better = expected < held.mul_f64(BETTER);
            edge.better = if better { edge.better + 1 } else { 0 };
            // Who is not clearly worse is slow no more.
            edge.slow &= expected.mul_f64(BETTER) > held;
        }
    }

    /// Whether an edge may be used again that was in use before, when nothing forces to.
    pub(super) fn may_return(&self, now: Instant, id: EdgeId) -> bool {
        let used = self.get(id).is_some_and(|edge| edge.used);
        !used || self.has_recovered(now, id) && !self.returned_within(now, FLAP_EVERY)
    }

    /// Whether an edge that was left without being forced to has been measured clearly better more often than it was left, after a time that
    /// doubles with each; others have nothing to recover from.
    pub(super) fn has_recovered(&self, now: Instant, id: EdgeId) -> bool {
        let edge = self.get(id);
        let Some((edge, left_at)) = edge.and_then(|edge| Some((edge, edge.left_at?))) else {
            return true;
        };
        let rest = DWELL.saturating_mul(1 << edge.left.min(8));
        edge.better > edge.left && now.since(left_at) >= rest
    }

    /// Whether an edge was gone back to within a short time.
    fn returned_within(&self, now: Instant, span: Duration) -> bool {
        (self.returned_at).is_some_and(|at| now.since(at) < span)
    }

    /// Edges that were left and may not be gone back to yet.
    pub(crate) fn left(&self, now: Instant) -> Vec<EdgeId> {
        let all = self.iter().map(|(id, _)| id);
        all.filter(|id| !self.may_return(now, *id)).collect()
    }

    /// Changes to another edge without being forced to.
    pub(super) fn leave_for(&mut self, now: Instant, to: EdgeId) {
        let from = self.current();
        if let Some(edge) = from.and_then(|id| self.get_mut(id)) {
            edge.left += 1;
            edge.left_at = Some(now);
            edge.better = 0;
        }
        if self.get(to).is_some_and(|edge| edge.used) {
            self.returned_at = Some(now);
        }
        self.put_in_use(now, to);
    }

    /// Uses this edge from now on: it won.
    pub(crate) fn use_from_now(&mut self, now: Instant, id: EdgeId) {
        if self.current() != Some(id) {
            self.put_in_use(now, id);
        }
    }

    fn put_in_use(&mut self, now: Instant, id: EdgeId) {
        self.current = Some((id, now));
        if let Some(edge) = self.get_mut(id) {
            edge.used = true;
        }
    }
}
