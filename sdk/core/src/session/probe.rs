//! Measures edges with spare time: which, when, and at what cost.

use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::ByteCount;

use super::Session;
use crate::edge::BreakerState;
use crate::event::{DecisionKind, PlayState};

/// Past the first flight of a fresh connection and long enough to be a sample of the rate, little enough to be
/// paid for.
const PROBE_BYTES: u64 = 80 << 10;
/// Between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(8);
/// A trial waits no longer than this for an idle moment.
const TRIAL_OWED: Duration = Duration::from_secs(10);
/// What was measured longer ago is worth measuring again.
const PROBE_AFTER: Duration = Duration::from_secs(40);

impl Session {
    /// Measures an edge that was not measured for long, while nothing else is to be done.
    pub(super) fn plan_probe(&mut self) {
        if self.now < self.probe_at || self.state != PlayState::Playing || self.hidden {
            return;
        }
        // A line that is never idle still owes an edge that may be back its trial.
        let owed = self.edges.iter().any(|(_, edge)| {
            edge.offered
                && edge.state(self.now) == BreakerState::HalfOpen
                && edge
                    .rested_at()
                    .is_some_and(|at| self.now.since(at) >= TRIAL_OWED)
        });
        let busy = !owed && self.fetches.iter().any(|fetch| !fetch.attempts.is_empty());
        let rich = self.track(TrackKind::Video).level(self.playhead()) * 2
            >= self.config.buffer_goal
            || !self.track(TrackKind::Video).counts();
        let object = self.probe_object();
        self.probe_at = self.now
            + if busy || !rich {
                Duration::from_millis(500)
            } else {
                PROBE_EVERY
            };
        let (false, true, Some(object)) = (busy, rich, object) else {
            return;
        };
        let current = self.edges.current();
        let candidate = self
            .edges
            .usable(self.now, object, &[])
            .filter(|(id, edge)| {
                Some(*id) != current
                    && (edge.state(self.now) == BreakerState::HalfOpen
                        || edge
                            .measured_at
                            .is_none_or(|at| self.now.since(at) >= PROBE_AFTER))
            })
            .min_by_key(|(_, edge)| {
                let trial = edge.state(self.now) == BreakerState::HalfOpen;
                (!trial, edge.measured_at, edge.rank)
            })
            .map(|(id, edge)| {
                let trial = edge.state(self.now) == BreakerState::HalfOpen;
                (id, edge.name.clone(), trial)
            });
        let Some((edge, name, trial)) = candidate else {
            return;
        };
        // Half of the budget is kept for late transfers and for edges that may be back.
        let cost = ByteCount::new(PROBE_BYTES);
        let reserve = if trial {
            ByteCount::ZERO
        } else {
            self.extra + cost
        };
        if !self.extra_allowed(cost + reserve) {
            return;
        }
        let why = if trial {
            "its rest is over: is it back?"
        } else {
            "spare time: not measured for long"
        };
        self.decide(DecisionKind::Probe, name, why, &[]);
        self.begin_probe(edge, object, PROBE_BYTES);
    }

    /// What to ask for in a probe: the segment that comes next, or the one just shown.
    fn probe_object(&self) -> Option<ObjectKey> {
        let track = if self.track(TrackKind::Video).counts() {
            self.track(TrackKind::Video)
        } else {
            self.track(TrackKind::Audio)
        };
        track
            .buffered
            .back()
            .map(|last| ObjectKey::Media(last.key, last.index))
    }
}
