//! Measures edges with spare time: when, and at what cost. Which one is `edge/choice.rs`'s to say.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::ByteCount;

use super::Session;
use crate::action::CancelReason;
use crate::edge::{BreakerState, Worth};
use crate::event::{DecisionKind, PlayState};
use crate::input::{EdgeId, Failure, FetchId};
use crate::schedule::Buffered;

/// Past the first flight of a fresh connection and long enough to be a sample of the rate, little enough to be
/// paid for.
const PROBE_BYTES: u64 = 80 << 10;
/// Between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(8);

impl Session {
    /// Measures an edge that may be better than the one in use, or may be back, while nothing else is to be done.
    pub(super) fn plan_probe(&mut self) {
        if self.now < self.probe_at || self.state != PlayState::Playing || self.hidden {
            return;
        }
        self.end_overdue_probes();
        let last = self.probe_object();
        let owed = last.is_some_and(|last| {
            let object = ObjectKey::Media(last.key, last.index);
            self.edges.owes_probe(self.now, object)
        });
        let busy = !owed && self.fetches.iter().any(|fetch| !fetch.attempts.is_empty());
        let rich = self.track(TrackKind::Video).level(self.playhead()) * 2
            >= self.config.buffer_goal
            || !self.track(TrackKind::Video).counts();
        self.probe_at = self.now
            + if busy || !rich {
                Duration::from_millis(500)
            } else {
                PROBE_EVERY
            };
        let (false, true, Some(last)) = (busy, rich, last) else {
            return;
        };
        let object = ObjectKey::Media(last.key, last.index);
        let plays = last.end.since(last.start);
        let Some((edge, worth)) = self
            .edges
            .worth_measuring(self.now, object, last.bytes, plays)
        else {
            return;
        };
        // Half of the budget is kept for late transfers and for edges that may be back.
        let cost = ByteCount::new(PROBE_BYTES);
        let reserve = match worth {
            Worth::Trial => ByteCount::ZERO,
            Worth::Fades | Worth::Hope => self.extra + cost,
        };
        if !self.extra_allowed(cost + reserve) {
            return;
        }
        let why = match worth {
            Worth::Trial => "its rest is over: is it back?",
            Worth::Fades => "it was clearly better: is it still?",
            Worth::Hope => "spare time: by what is known it may be clearly better",
        };
        let name = self.edges.name(edge).to_string();
        let expected = self.edges.expectations(self.now, object, last.bytes, &[]);
        let scores = self.scores_of(&expected);
        self.decide_among(DecisionKind::Probe, name, why, &[], scores);
        self.begin_probe(edge, object, PROBE_BYTES);
    }

    /// By the time for the next one a probe has shown what it can: one that trickles must not keep others from being measured.
    fn end_overdue_probes(&mut self) {
        let probes = self.fetches.iter().filter(|fetch| fetch.is_probe());
        let attempts = probes.flat_map(|probe| probe.attempts.iter().map(|one| (probe.id, one)));
        let overdue: Vec<(FetchId, EdgeId)> = attempts
            .filter(|(_, one)| self.now.since(one.started_at) >= PROBE_EVERY)
            .map(|(probe, one)| (probe, one.edge))
            .collect();
        for (probe, edge) in overdue {
            self.abandon(probe, CancelReason::Slow);
            // A trial decides, or the edge would be tried over and over before any other is measured.
            let state = self.edges.get(edge).map(|one| one.state(self.now));
            if state == Some(BreakerState::HalfOpen) {
                self.edge_failed(edge, Duration::ZERO, Failure::Stalled.code());
            }
        }
    }

    /// A probe brought what it was asked for: its edge may be gone back to.
    pub(super) fn probed(&mut self, edge: EdgeId) {
        if let Some(last) = self.probe_object() {
            self.edges.measured_beside(self.now, edge, last.bytes);
        }
    }

    /// What to ask for in a probe: the segment that came last.
    fn probe_object(&self) -> Option<Buffered> {
        let track = if self.track(TrackKind::Video).counts() {
            self.track(TrackKind::Video)
        } else {
            self.track(TrackKind::Audio)
        };
        track.buffered.back().copied()
    }
}
