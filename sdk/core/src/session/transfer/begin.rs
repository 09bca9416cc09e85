//! Begins objects and attempts: on the edge in use, or on the best that is left.

use alloc::string::ToString;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::ByteCount;

use crate::action::{Action, AttemptSpec};
use crate::event::{DecisionKind, Event, seconds};
use crate::fetch::{Attempt, Fetch, FetchState, Role};
use crate::input::{AttemptId, EdgeId, FetchId};
use crate::session::Session;
use crate::session::transfer::fail::REJECTED_MAX;

/// Between two tries when no edge can be asked.
const WAIT_MAX: Duration = Duration::from_secs(2);
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest rest while no edge can be asked.
const REST_ALL_DOWN: Duration = Duration::from_secs(4);

impl Session {
    /// Begins an object: on the edge in use, or, the first time, as a race.
    pub(in crate::session) fn begin_fetch(
        &mut self,
        object: ObjectKey,
        track: Option<TrackKind>,
        planned: ByteCount,
    ) -> FetchId {
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        let mut fetch = Fetch::new(id, object, track, planned, self.now);
        self.wrongs.fetched_again(&mut fetch, &self.edges);
        self.recorder.fetch_begins(&fetch, self.timeline.as_ref());
        // Where one edge gave nonsense, the next is asked for the same.
        if object == ObjectKey::Manifest && fetch.handover.is_none() {
            self.race_manifest(&mut fetch);
        } else {
            self.go_on(&mut fetch);
            if matches!(object, ObjectKey::Media(..))
                && track == Some(TrackKind::Video)
                && !fetch.attempts.is_empty()
                && !self.raced
            {
                self.raced = true;
                self.race_media(&mut fetch);
            }
        }
        self.fetches.push(fetch);
        id
    }

    /// Begins a probe of an edge with the first bytes of an object; what comes is only counted.
    pub(in crate::session) fn begin_probe(
        &mut self,
        edge: EdgeId,
        object: ObjectKey,
        bytes: u64,
    ) -> AttemptId {
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        let mut fetch = Fetch::new(id, object, None, ByteCount::new(bytes), self.now);
        self.recorder.probe_begins(&fetch, self.timeline.as_ref());
        let attempt = self.start_attempt(&mut fetch, edge, Role::Probe, 0, Some(bytes));
        self.fetches.push(fetch);
        attempt
    }

    /// Asks the best edge for what is still missing; waits where none can be asked.
    pub(super) fn go_on(&mut self, fetch: &mut Fetch) {
        // The next edge would not accept the token either.
        if fetch.rejected.len() >= REJECTED_MAX && self.is_asking() {
            fetch.state = FetchState::Waiting {
                until: self.now + WAIT_MAX,
            };
            return;
        }
        let not = fetch.edges_tried();
        let from = fetch.resume_point();
        if let Some(choice) = self
            .edges
            .choose(self.now, fetch.object, fetch.rest(), &not)
        {
            fetch.state = FetchState::Active;
            if choice.changed {
                let name = self.edges.name(choice.edge).to_string();
                let inputs = [("expected_s", seconds(choice.expected))];
                let scores = self.scores_of(&choice.candidates);
                self.decide_among(DecisionKind::Edge, name, choice.why, &inputs, scores);
            }
            if let Some(handover) = fetch.handover {
                self.announce_handover(fetch, handover, choice.edge);
            }
            self.start_attempt(fetch, choice.edge, Role::Primary, from, None);
            return;
        }
        let none_left = self
            .edges
            .usable(self.now, fetch.object, &[])
            .next()
            .is_none();
        let all_down = none_left && self.edges.all_rest(self.now);
        let doubt = self.wrongs.doubt(fetch.object);
        let wait = if self.given_by_nobody(fetch) {
            WAIT_MIN
        } else if none_left {
            // All down at once is the line more often than the edges: nobody rests for long.
            if all_down {
                self.edges.shorten_rests(self.now + REST_ALL_DOWN);
            }
            let rested = self.edges.rested_at(fetch.object, &[]);
            rested.map_or(WAIT_MAX, |at| at.since(self.now))
        } else if fetch.rejected.is_empty() {
            // Those that are left are suspect. Others that rest are waited for while playback can do without the
            // object; then suspicion against everybody is of no use.
            let rested = self.edges.rested_at(fetch.object, &fetch.avoid);
            match rested.map(|at| at.since(self.now)) {
                Some(wait) if wait <= doubt.max(self.spare(fetch) / 2) => wait,
                others => {
                    fetch.avoid.clear();
                    if others.is_some() { doubt } else { WAIT_MIN }
                }
            }
        } else {
            // New tokens are on their way, and end the wait.
            fetch.avoid.clear();
            fetch.rejected.clear();
            WAIT_MAX
        };
        let until = self.now + wait.clamp(WAIT_MIN, doubt.max(WAIT_MAX));
        fetch.state = FetchState::Waiting { until };
        if all_down && !self.edges_down {
            self.edges_down = true;
            let last = self.last_failure.clone();
            self.events.push_back(Event::AllEdgesDown { last });
            self.decide(
                DecisionKind::Edge,
                "none".into(),
                "no edge answers; they are tried again with back-off",
                &[],
            );
        }
    }

    pub(super) fn start_attempt(
        &mut self,
        fetch: &mut Fetch,
        edge: EdgeId,
        role: Role,
        from: u64,
        to: Option<u64>,
    ) -> AttemptId {
        let attempt = self.new_attempt_id();
        let expected = self.edges.expected_rate(self.now, edge);
        let mut begun = Attempt::new(attempt, edge, role, from, to, self.now, expected);
        begun.grant = self.grant_number;
        begun.usual = self.edges.forecast_of(self.now, edge);
        fetch.attempts.push(begun);
        self.actions.push_back(Action::StartAttempt(AttemptSpec {
            attempt,
            fetch: fetch.id,
            object: fetch.object,
            edge,
            from,
            to,
            probe: role == Role::Probe,
        }));
        attempt
    }
}
