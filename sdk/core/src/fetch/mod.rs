//! One object's life across edges: attempts, deadlines, continuation, help. Decides nothing about what
//! is fetched next or at which rung: that is `session/plan.rs` and `session/rung.rs`.

mod attempt;
mod compare;

#[cfg(test)]
mod tests;

pub(crate) use attempt::{Attempt, FIRST_FLIGHT, Late, Phase, Role, TRICKLES};
pub(crate) use compare::{BEFORE, Blame, Comparison, Finding, HeldTo};

use compare::MUCH_ROOM;

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::{BitRate, ByteCount, Instant};

use crate::action::CancelReason;
use crate::edge::Edges;
use crate::input::{AttemptId, EdgeId, Failure, FetchId, Validators};

/// An object on its way.
///
/// Every attempt begins at or before the end of what is there, so that what is there is always one
/// prefix: its length is all there is to know.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) id: FetchId,
    pub(crate) object: ObjectKey,
    pub(crate) track: Option<TrackKind>,
    /// Size that the plan assumes, until headers tell.
    pub(crate) planned: ByteCount,
    pub(crate) total: Option<u64>,
    pub(crate) received: u64,
    pub(crate) first_byte_at: Option<Instant>,
    pub(crate) started_at: Instant,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) state: FetchState,
    /// Edges that gave bytes of it.
    pub(crate) contributors: Vec<EdgeId>,
    /// Edges that gave wrong bytes, or none.
    pub(crate) avoid: Vec<EdgeId>,
    /// Edges that did not accept the token, until the next grant.
    pub(crate) rejected: Vec<EdgeId>,
    /// Attempts that failed.
    pub(crate) failures: u32,
    /// Of these, those that the player itself was to blame for.
    pub(crate) internals: u32,
    pub(crate) mismatches: u32,
    /// Edges that answered with a server error.
    pub(crate) refused_by: Vec<EdgeId>,
    /// When the first of them did.
    pub(crate) refused_at: Option<Instant>,
    /// Edges that failed it in whatever way.
    pub(crate) failed_on: Vec<EdgeId>,
    pub(crate) digest: Option<alloc::string::String>,
    /// Who told first what object it is.
    pub(crate) identified_by: Option<EdgeId>,
    /// When one more edge joins the race for it, if none is connected by then.
    pub(crate) joins_at: Option<Instant>,
    /// A hand-over whose first byte is awaited.
    pub(crate) handover: Option<Handover>,
    /// How much of it came twice, apart from a race.
    pub(crate) twice: ByteCount,
    /// Help against slowness came too late for it: it ends by itself.
    pub(crate) goes_alone: bool,
}

/// Whether bytes are still on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchState {
    /// Attempts run, or one waits to be made.
    Active,
    /// No edge can be asked before this time.
    Waiting { until: Instant },
    /// All bytes are there and are compared with their digest; after this time the answer was lost.
    Verifying { until: Instant },
}

/// An edge failed while the object was on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handover {
    pub(crate) from: EdgeId,
    /// The last byte from it, or the start of the attempt.
    pub(crate) at: Instant,
    pub(crate) detected_at: Instant,
    pub(crate) reason: &'static str,
    pub(crate) wasted: ByteCount,
    /// How far it had come: a helper may have brought more by the time that the hand-over is told.
    pub(crate) offset: u64,
}

/// What a review of the attempts asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This attempt is late: another edge should be asked for the rest.
    Help { attempt: AttemptId, late: Late },
    /// This attempt is not needed any more.
    Cancel {
        attempt: AttemptId,
        reason: CancelReason,
    },
    /// This attempt has been silent for so long that it is given up even without another edge.
    GiveUp { attempt: AttemptId },
}

/// Several edges answering at once for one object: the primary and two helpers.
const LIVE_MAX: usize = 3;
/// Bytes that a continuation asks for again, to see that both edges hold the same; of a small object this part of it.
const OVERLAP: u64 = 4096;
const OVERLAP_SHARE: u64 = 16;
/// A helper is judged after this long.
const JUDGE_AFTER: Duration = Duration::from_millis(350);
/// A helper must be this much faster to show that the edge, not the line, is slow.
const HELPER_FASTER: f64 = 1.5;

impl Fetch {
    pub(crate) const fn new(
        id: FetchId,
        object: ObjectKey,
        track: Option<TrackKind>,
        planned: ByteCount,
        now: Instant,
    ) -> Self {
        Self {
            id,
            object,
            track,
            planned,
            total: None,
            received: 0,
            first_byte_at: None,
            started_at: now,
            attempts: Vec::new(),
            state: FetchState::Active,
            contributors: Vec::new(),
            avoid: Vec::new(),
            rejected: Vec::new(),
            failures: 0,
            mismatches: 0,
            internals: 0,
            refused_by: Vec::new(),
            refused_at: None,
            failed_on: Vec::new(),
            digest: None,
            identified_by: None,
            joins_at: None,
            handover: None,
            twice: ByteCount::ZERO,
            goes_alone: false,
        }
    }

    pub(crate) fn attempt_mut(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| attempt.id == id)
    }

    pub(crate) fn take_attempt(&mut self, id: AttemptId) -> Option<Attempt> {
        let index = self.attempts.iter().position(|attempt| attempt.id == id)?;
        Some(self.attempts.remove(index))
    }

    pub(crate) fn is_probe(&self) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.role == Role::Probe)
    }

    /// Returns where a continuation begins: its first bytes are there already, and must match.
    pub(crate) fn resume_point(&self) -> u64 {
        let overlap = OVERLAP.min(self.size() / OVERLAP_SHARE);
        self.received.saturating_sub(overlap)
    }

    /// Returns how much is still to come, by the best knowledge.
    pub(crate) fn rest(&self) -> ByteCount {
        ByteCount::new(
            self.total
                .unwrap_or(self.planned.get().max(self.received + 1))
                .saturating_sub(self.received),
        )
    }

    /// Returns how large the object is, by the best knowledge.
    pub(crate) fn size(&self) -> u64 {
        self.received + self.rest().get()
    }

    /// Returns how much will have come twice where the helper goes on alone: all that the other brought since it began.
    pub(crate) fn twice_by_helper(&self) -> ByteCount {
        let again = |helper: &Attempt| self.received.saturating_sub(helper.next);
        self.twice + ByteCount::new(self.helper().map_or(0, again))
    }

    pub(crate) fn edges_tried(&self) -> Vec<EdgeId> {
        let live = self.attempts.iter().map(|attempt| attempt.edge);
        self.avoid
            .iter()
            .chain(&self.rejected)
            .copied()
            .chain(live)
            .collect()
    }

    fn races(&self) -> bool {
        self.attempts.iter().any(|one| one.role == Role::Racer)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.total.is_some_and(|total| self.received >= total)
    }

    /// Takes what an answer says about the object.
    ///
    /// # Errors
    ///
    /// Returns what is wrong when it is another object than before.
    pub(crate) fn identify(
        &mut self,
        edge: EdgeId,
        validators: &Validators,
    ) -> Result<(), Failure> {
        if let (Some(known), Some(said)) = (self.total, validators.total)
            && known != said
        {
            return Err(Failure::SizeChanged);
        }
        if validators.total.is_some_and(|said| said < self.received) {
            return Err(Failure::SizeChanged);
        }
        if let (Some(known), Some(said)) = (&self.digest, &validators.digest)
            && known != said
        {
            return Err(Failure::Mismatch);
        }
        let tells = self.total.is_none() && validators.total.is_some()
            || self.digest.is_none() && validators.digest.is_some();
        if tells {
            self.identified_by.get_or_insert(edge);
        }
        self.total = self.total.or(validators.total);
        if self.digest.is_none() {
            self.digest.clone_from(&validators.digest);
        }
        Ok(())
    }

    /// Notes bytes `from..to` of an attempt; returns how many of them are new.
    pub(crate) fn progress(
        &mut self,
        now: Instant,
        id: AttemptId,
        from: u64,
        to: u64,
    ) -> ByteCount {
        let bytes = to.saturating_sub(from);
        let new = if from <= self.received {
            to.saturating_sub(self.received)
        } else {
            0
        };
        let races = self.races();
        let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.id == id) else {
            return ByteCount::ZERO;
        };
        let again = ByteCount::new(bytes - new);
        attempt.next = to;
        attempt.bytes += ByteCount::new(bytes);
        attempt.wasted += again;
        if !races {
            self.twice += again;
        }
        attempt.progress(now, bytes);
        let edge = attempt.edge;
        if new > 0 {
            self.received += new;
            self.first_byte_at = self.first_byte_at.or(Some(now));
            if !self.contributors.contains(&edge) {
                self.contributors.push(edge);
            }
        }
        ByteCount::new(new)
    }

    /// Returns when a review is due.
    pub(crate) fn next_review(&self, now: Instant, edges: &Edges) -> Option<Instant> {
        if let FetchState::Waiting { until } | FetchState::Verifying { until } = self.state {
            return Some(until);
        }
        // A deadline that has passed was acted upon, or nothing could be done about it: what is left is the
        // end of patience.
        let due = self.attempts.iter().filter_map(|attempt| {
            let due = attempt.due(edges.get(attempt.edge)?);
            let patience = attempt.patience_ends();
            Some(if due > now {
                due.min(patience)
            } else {
                patience
            })
        });
        let judge = self.helper_judged_at().filter(|at| *at > now);
        let joins = self.joins_at.filter(|_| self.received == 0);
        due.chain(judge).chain(joins).min()
    }

    fn helper_judged_at(&self) -> Option<Instant> {
        let helper = self
            .attempts
            .iter()
            .find(|attempt| attempt.role == Role::Helper)?;
        (self.attempts.len() > 1)
            .then(|| judged_from(helper))
            .flatten()
    }

    /// Looks at all attempts; call until `None`. `spare` is the time until playback needs the object.
    pub(crate) fn review(&self, now: Instant, edges: &Edges, spare: Duration) -> Option<Verdict> {
        if self.state != FetchState::Active {
            return None;
        }
        let silent = |attempt: &Attempt| {
            edges
                .get(attempt.edge)
                .is_none_or(|edge| attempt.silent(now, edge))
        };
        let delivering = |attempt: &Attempt| attempt.first_byte_at.is_some() && !silent(attempt);
        let working = self.attempts.iter().any(delivering);

        // Silence beside an attempt that delivers: the edge is at fault, not the line.
        if working && let Some(quiet) = self.attempts.iter().find(|attempt| silent(attempt)) {
            let reason = if self.races() {
                CancelReason::LostRace
            } else {
                CancelReason::Silent
            };
            return Some(Verdict::Cancel {
                attempt: quiet.id,
                reason,
            });
        }
        if let Some(verdict) = self.judge_helper(now, edges) {
            return Some(verdict);
        }
        if let Some(lost) = self
            .attempts
            .iter()
            .find(|attempt| now >= attempt.patience_ends())
        {
            return Some(Verdict::GiveUp { attempt: lost.id });
        }
        let racing = self
            .attempts
            .iter()
            .filter(|attempt| attempt.role == Role::Racer)
            .count();
        if racing > 0 && working {
            return None;
        }
        if self.attempts.len() >= LIVE_MAX + racing {
            // All that were asked are silent: the first of them makes room for another.
            let newest_silent = self.attempts.last().is_some_and(silent);
            let oldest = self.attempts.iter().find(|attempt| silent(attempt));
            return oldest
                .filter(|_| newest_silent && !working)
                .map(|attempt| Verdict::GiveUp {
                    attempt: attempt.id,
                });
        }
        // Help once for all: the newest attempt is the one whose lateness asks for another.
        let newest = self.attempts.last()?;
        let edge = edges.get(newest.edge)?;
        // Without a length from the server, the planned size has to do.
        let total = self
            .total
            .or(Some(self.planned.get().max(self.received + 1)));
        let late = newest.late(now, edge, total, spare)?;
        if newest.role == Role::Probe {
            return None;
        }
        if self.attempts.len() > 1 && !late.is_dead() {
            return None;
        }
        Some(Verdict::Help {
            attempt: newest.id,
            late,
        })
    }

    /// Compares a helper with the attempt that it helps, once both have had time.
    fn judge_helper(&self, now: Instant, edges: &Edges) -> Option<Verdict> {
        let helper = self.helper()?;
        if let Some(attempt) = self.overtaken_by(helper) {
            let reason = CancelReason::Silent;
            return Some(Verdict::Cancel { attempt, reason });
        }
        if now < judged_from(helper)? {
            return None;
        }
        let (attempt, reason) = self.judge(now, helper, edges)?;
        Some(Verdict::Cancel { attempt, reason })
    }

    /// Of an attempt that brings as good as nothing, the rest is needless as soon as its helper is ahead: all of it would come twice.
    fn overtaken_by(&self, helper: &Attempt) -> Option<AttemptId> {
        let dead = helper.helps_against.is_some_and(Late::is_dead);
        let helped = self.helped_by(helper)?;
        let is_ahead = helper.first_byte_at.is_some() && helper.next > helped.next;
        (dead && is_ahead).then_some(helped.id)
    }

    pub(crate) fn helper(&self) -> Option<&Attempt> {
        let mut helpers = self.attempts.iter();
        helpers.find(|attempt| attempt.role == Role::Helper)
    }

    fn helped_by(&self, helper: &Attempt) -> Option<&Attempt> {
        let mut attempts = self.attempts.iter();
        attempts.find(|attempt| attempt.id != helper.id && attempt.role == Role::Primary)
    }

    /// Returns which of the two need not go on, and why.
    fn judge(
        &self,
        now: Instant,
        helper: &Attempt,
        edges: &Edges,
    ) -> Option<(AttemptId, CancelReason)> {
        let helped = self.helped_by(helper)?;
        let rate = |attempt: &Attempt| attempt.recent.rate(now).map_or(0.0, |rate| rate.as_f64());
        // One that brings as much on top of what came before shows that the line has room.
        let newest = |attempt: &Attempt| {
            let rate = attempt.recent.rate_over(now, JUDGE_AFTER);
            rate.map_or(0.0, BitRate::as_f64)
        };
        let room = helper.before.is_some_and(|before| {
            newest(helper) >= newest(helped)
                && newest(helper) + newest(helped) > before.as_f64() * MUCH_ROOM
        });
        let faster = rate(helper) > rate(helped) * HELPER_FASTER || room;
        let trickles = |one: &Attempt| {
            let edge = edges.get(one.edge);
            edge.is_some_and(|edge| one.trickles(now, edge))
        };
        let silent = helped.first_byte_at.is_none() || faster && trickles(helped);
        Some(if silent {
            (helped.id, CancelReason::Silent)
        } else if faster {
            (helped.id, CancelReason::Slow)
        } else {
            (helper.id, CancelReason::NotNeeded)
        })
    }

    /// The same at once, for help against slowness, which is a guess: it may cost no more.
    pub(crate) fn judge_guess(
        &self,
        now: Instant,
        edges: &Edges,
    ) -> Option<(AttemptId, CancelReason)> {
        self.judge(now, self.guess()?, edges)
    }

    /// A helper against slowness.
    pub(crate) fn guess(&self) -> Option<&Attempt> {
        let against = |helper: &&Attempt| helper.helps_against.is_some_and(|late| !late.is_dead());
        self.helper().filter(against)
    }
}

/// A helper has got somewhere in slow start after a few round trips.
fn judged_from(helper: &Attempt) -> Option<Instant> {
    let first = helper.first_byte_at?;
    Some(first + JUDGE_AFTER.max(helper.round_trip() * 4))
}
