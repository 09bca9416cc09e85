//! Attempts across edges: begins them, hears of them, helps them, and goes on elsewhere when one fails.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::ByteCount;

use super::{Init, Session};
use crate::action::{Action, AttemptSpec, CancelReason};
use crate::edge::{Remedy, remedy};
use crate::event::{DecisionKind, Event, SessionError, seconds};
use crate::fetch::{Attempt, Fetch, FetchState, Handover, Late, Phase, RACE_BYTES, Role, Verdict};
use crate::input::{AttemptId, EdgeId, Failure, FetchId, TransportEvent};
use crate::schedule::Buffered;

/// Between two tries when no edge can be asked.
const WAIT_MAX: Duration = Duration::from_secs(2);
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest rest while no edge can be asked.
const REST_ALL_DOWN: Duration = Duration::from_secs(4);
/// A comparison of two edges holds for this long.
const LINE_SLOW: Duration = Duration::from_secs(20);
/// Failures of the player itself, for one object.
const INTERNAL_MAX: u32 = 3;
/// Two edges that differ are one wrong edge; more are a title that differs everywhere.
const MISMATCHES_MAX: u32 = 2;

impl Session {
    /// Begins an object: on the edge in use, or, the first time, as a race.
    pub(super) fn begin_fetch(
        &mut self,
        object: ObjectKey,
        track: Option<TrackKind>,
        planned: ByteCount,
    ) -> FetchId {
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        let mut fetch = Fetch::new(id, object, track, planned, self.now);
        if let Some(suspects) = self.suspects.get(&object) {
            fetch.avoid.clone_from(suspects);
        }
        self.recorder.fetch_begins(&fetch, self.timeline.as_ref());
        if object == ObjectKey::Manifest {
            self.race_manifest(&mut fetch);
        } else {
            self.go_on(&mut fetch);
            if matches!(object, ObjectKey::Media(..))
                && track == Some(TrackKind::Video)
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
    pub(super) fn begin_probe(&mut self, edge: EdgeId, object: ObjectKey, bytes: u64) {
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        let mut fetch = Fetch::new(id, object, None, ByteCount::new(bytes), self.now);
        self.recorder.probe_begins(&fetch);
        self.extra += ByteCount::new(bytes);
        self.start_attempt(&mut fetch, edge, Role::Probe, 0, Some(bytes), 0);
        self.fetches.push(fetch);
    }

    /// The first edges by the backend's order all bring the manifest: the probe is useful work.
    fn race_manifest(&mut self, fetch: &mut Fetch) {
        let width = self.config.race_width.max(1);
        let racers: Vec<EdgeId> = self.ranked(fetch).into_iter().take(width).collect();
        if racers.len() < 2 {
            return self.go_on(fetch);
        }
        let names = racers
            .iter()
            .map(|id| self.edges.name(*id))
            .collect::<Vec<_>>()
            .join(", ");
        self.decide(
            DecisionKind::Race,
            names,
            "first of the backend's order race for the manifest",
            &[],
        );
        for edge in racers {
            self.start_attempt(fetch, edge, Role::Racer, 0, None, 0);
        }
    }

    /// Beside the winner, edges that answered nearly as soon show how fast they bring the first bytes.
    fn race_media(&mut self, fetch: &mut Fetch) {
        let Some(primary) = fetch.attempts.first().map(|attempt| attempt.edge) else {
            return;
        };
        let mut rivals = self.ranked(fetch);
        rivals.retain(|id| {
            *id != primary
                && self
                    .edges
                    .get(*id)
                    .is_some_and(|edge| edge.measured_at.is_some())
        });
        for edge in rivals
            .into_iter()
            .take(self.config.race_width.saturating_sub(1))
        {
            let cost = ByteCount::new(RACE_BYTES);
            if fetch.planned.get() > 2 * RACE_BYTES && self.extra_allowed(cost) {
                self.extra += cost;
                self.start_attempt(fetch, edge, Role::Racer, 0, Some(RACE_BYTES), 0);
            }
        }
    }

    fn ranked(&self, fetch: &Fetch) -> Vec<EdgeId> {
        let mut usable: Vec<(u32, EdgeId)> = self
            .edges
            .usable(self.now, fetch.object, &fetch.avoid)
            .map(|(id, edge)| (edge.rank, id))
            .collect();
        usable.sort_unstable();
        usable.into_iter().map(|(_, id)| id).collect()
    }

    /// Asks the best edge for what is still missing; waits where none can be asked.
    fn go_on(&mut self, fetch: &mut Fetch) {
        let not = fetch.edges_tried();
        let (from, overlap) = fetch.resume_point();
        if let Some(choice) = self
            .edges
            .choose(self.now, fetch.object, fetch.rest(), &not)
        {
            fetch.state = FetchState::Active;
            if choice.changed {
                let name = self.edges.name(choice.edge).to_string();
                let inputs = [("expected_s", seconds(choice.expected))];
                self.decide(DecisionKind::Edge, name, choice.why, &inputs);
            }
            if let Some(handover) = fetch.handover {
                self.announce_handover(fetch, handover, choice.edge);
            }
            self.start_attempt(fetch, choice.edge, Role::Primary, from, None, overlap);
            return;
        }
        let none_left = self
            .edges
            .usable(self.now, fetch.object, &[])
            .next()
            .is_none();
        let wait = if none_left {
            // All down at once is the line more often than the edges: nobody rests for long.
            self.edges.shorten_rests(self.now + REST_ALL_DOWN);
            let rested = self.edges.rested_at(fetch.object);
            rested.map_or(WAIT_MAX, |at| at.since(self.now))
        } else if fetch.rejected.is_empty() {
            // Everybody is suspect: suspicion against all is of no use.
            fetch.avoid.clear();
            WAIT_MIN
        } else {
            // New tokens are on their way, and end the wait.
            fetch.avoid.clear();
            fetch.rejected.clear();
            WAIT_MAX
        };
        let until = self.now + wait.clamp(WAIT_MIN, WAIT_MAX);
        fetch.state = FetchState::Waiting { until };
        if none_left && !self.edges_down && !self.edges.all_lack(fetch.object) {
            self.edges_down = true;
            self.events.push_back(Event::AllEdgesDown);
            self.decide(
                DecisionKind::Edge,
                "none".into(),
                "no edge answers; they are tried again with back-off",
                &[],
            );
        }
    }

    fn start_attempt(
        &mut self,
        fetch: &mut Fetch,
        edge: EdgeId,
        role: Role,
        from: u64,
        to: Option<u64>,
        overlap: u64,
    ) {
        let attempt = self.new_attempt_id();
        // What the line is known to carry is expected of every edge.
        let own = self.edges.get(edge).and_then(crate::edge::Edge::rate);
        let expected = own.max(self.edges.line_rate(self.now));
        fetch.attempts.push(Attempt::new(
            attempt, edge, role, from, to, self.now, expected,
        ));
        self.actions.push_back(Action::StartAttempt(AttemptSpec {
            attempt,
            fetch: fetch.id,
            object: fetch.object,
            edge,
            from,
            to,
            overlap,
            probe: role == Role::Probe,
        }));
    }

    pub(super) fn transport(&mut self, id: AttemptId, event: TransportEvent) {
        // An attempt that was cancelled may still be heard of.
        let Some(index) = self
            .fetches
            .iter()
            .position(|fetch| fetch.attempts.iter().any(|one| one.id == id))
        else {
            return;
        };
        let mut fetch = self.fetches.swap_remove(index);
        let keep = self.transport_event(&mut fetch, id, event);
        if keep {
            self.fetches.push(fetch);
        }
    }

    /// Returns whether the fetch is still on its way.
    fn transport_event(&mut self, fetch: &mut Fetch, id: AttemptId, event: TransportEvent) -> bool {
        let now = self.now;
        let Some(attempt) = fetch.attempt_mut(id) else {
            return true;
        };
        let edge_id = attempt.edge;
        match event {
            TransportEvent::Resolved => true,
            TransportEvent::Connected {
                cold,
                protocol,
                rtt,
            } => {
                attempt.cold = cold;
                attempt.protocol = Some(protocol);
                let took = now.since(attempt.started_at);
                attempt.phase = Phase::Waiting { since: now };
                if let Some(edge) = self.edges.get_mut(edge_id) {
                    edge.connected(rtt.map_or(took, |rtt| took.max(rtt)), cold, protocol);
                }
                true
            }
            TransportEvent::RequestSent => {
                attempt.phase = Phase::Waiting { since: now };
                true
            }
            TransportEvent::Headers {
                status,
                from,
                validators,
                retry_after,
            } => {
                let waited = now.since(attempt.quiet_since());
                attempt.phase = Phase::Body { last_byte_at: now };
                let success = (200..300).contains(&status);
                if let Some(edge) = self.edges.get_mut(edge_id) {
                    // A refusal is quick and says nothing about how soon media comes.
                    if success {
                        edge.answered(now, waited);
                    }
                    edge.body_begins();
                }
                if !success {
                    return self.attempt_failed(
                        fetch,
                        id,
                        &Failure::Http {
                            status,
                            retry_after,
                        },
                    );
                }
                if let Some(attempt) = fetch.attempt_mut(id) {
                    attempt.next = from;
                }
                let probe = fetch.is_probe();
                if !probe && fetch.identify(&validators).is_err() {
                    self.cancel_connection(id, false);
                    return self.attempt_failed(fetch, id, &Failure::SizeChanged);
                }
                true
            }
            TransportEvent::Progress { from, to } => {
                // More than there is, is another object.
                if fetch.total.is_some_and(|total| to > total) && !fetch.is_probe() {
                    self.cancel_connection(id, false);
                    return self.attempt_failed(fetch, id, &Failure::SizeChanged);
                }
                self.progress(fetch, id, edge_id, from, to);
                true
            }
            TransportEvent::Complete => self.attempt_complete(fetch, id),
            TransportEvent::Failed(failure) => self.attempt_failed(fetch, id, &failure),
        }
    }

    fn progress(&mut self, fetch: &mut Fetch, id: AttemptId, edge_id: EdgeId, from: u64, to: u64) {
        let new = fetch.progress(self.now, id, from, to);
        let bytes = ByteCount::new(to.saturating_sub(from));
        self.progress_at = self.now;
        if let Some(edge) = self.edges.get_mut(edge_id) {
            edge.body_progress(self.now, bytes);
        }
        if fetch.is_probe() {
            return;
        }
        self.useful += new;
        if fetch
            .attempts
            .iter()
            .any(|one| one.id == id && one.role == Role::Helper)
        {
            self.extra += bytes - new;
        }
        if self.edges_down && new > ByteCount::ZERO {
            self.edges_down = false;
            self.events.push_back(Event::EdgesBack);
        }
        if let Some(handover) = fetch.handover
            && handover.from != edge_id
            && new > ByteCount::ZERO
        {
            fetch.handover = None;
            self.recorder.handed_over(self.now, fetch.id, &handover);
        }
        if fetch.is_complete() {
            return;
        }
        self.settle_race(fetch, id);
    }

    /// Ends the race for the first media segment when somebody has brought its share.
    fn settle_race(&mut self, fetch: &mut Fetch, id: AttemptId) {
        let racing = fetch
            .attempts
            .iter()
            .any(|one| one.role == Role::Racer && one.to.is_some());
        let Some(leader) = fetch.attempts.iter().find(|one| one.id == id) else {
            return;
        };
        if !racing || leader.bytes.get() < RACE_BYTES || leader.role != Role::Primary {
            return;
        }
        let losers: Vec<AttemptId> = fetch
            .attempts
            .iter()
            .filter(|one| one.role == Role::Racer)
            .map(|one| one.id)
            .collect();
        let winner = leader.edge;
        for loser in losers {
            self.cancel(fetch, loser, CancelReason::LostRace);
        }
        let name = self.edges.name(winner).to_string();
        self.decide(
            DecisionKind::Race,
            name,
            "brought the first bytes of media first",
            &[],
        );
    }

    fn attempt_complete(&mut self, fetch: &mut Fetch, id: AttemptId) -> bool {
        let Some(attempt) = fetch.attempts.iter().find(|one| one.id == id) else {
            return true;
        };
        let (role, edge, limit) = (attempt.role, attempt.edge, attempt.to);
        if fetch.total.is_none() && limit.is_none() {
            fetch.total = Some(fetch.received);
        }
        if role == Role::Probe {
            self.close_attempt(fetch, id, "ok", None);
            self.edge_served(edge);
            return false;
        }
        if !fetch.is_complete() {
            if limit.is_none() {
                return self.attempt_failed(fetch, id, &Failure::Truncated);
            }
            // A rival brought its share of the race before the primary did.
            self.close_attempt(fetch, id, "ok", None);
            return self.rival_finished(fetch, edge);
        }
        self.close_attempt(fetch, id, "ok", None);
        self.edge_served(edge);
        if fetch.object == ObjectKey::Manifest && role == Role::Racer {
            self.edges.use_from_now(self.now, edge);
            let name = self.edges.name(edge).to_string();
            self.decide(DecisionKind::Race, name, "brought the manifest first", &[]);
        }
        self.finish_transfer(fetch)
    }

    /// A rival brought its share: it is the better edge unless who brings the whole has half of that.
    fn rival_finished(&mut self, fetch: &mut Fetch, rival: EdgeId) -> bool {
        let far = |one: &Attempt| one.to.is_none() && one.next >= RACE_BYTES / 2;
        if fetch.attempts.iter().any(far) {
            return true;
        }
        let losers: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
        for loser in losers {
            self.cancel(fetch, loser, CancelReason::LostRace);
        }
        self.edges.use_from_now(self.now, rival);
        let name = self.edges.name(rival).to_string();
        let why = "brought the first bytes of media clearly sooner";
        self.decide(DecisionKind::Race, name, why, &[]);
        if let Some(handover) = fetch.handover {
            self.announce_handover(fetch, handover, rival);
        }
        fetch.state = FetchState::Active;
        let (from, overlap) = fetch.resume_point();
        self.start_attempt(fetch, rival, Role::Primary, from, None, overlap);
        true
    }

    /// All bytes are there: ends what else runs for them, and compares where a digest is known.
    fn finish_transfer(&mut self, fetch: &mut Fetch) -> bool {
        let left: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
        for id in left {
            let Some(attempt) = fetch.attempts.iter().find(|one| one.id == id) else {
                continue;
            };
            let silent = self
                .edges
                .get(attempt.edge)
                .is_some_and(|edge| attempt.silent(self.now, edge));
            let reason = match attempt.role {
                Role::Racer => CancelReason::LostRace,
                Role::Primary if silent => CancelReason::Silent,
                Role::Primary | Role::Helper | Role::Probe => CancelReason::NotNeeded,
            };
            self.cancel(fetch, id, reason);
        }
        if let Some(digest) = fetch.digest.clone() {
            fetch.state = FetchState::Verifying;
            self.actions.push_back(Action::Verify {
                fetch: fetch.id,
                digest,
            });
            return true;
        }
        self.deliver(fetch);
        false
    }

    pub(super) fn verified(&mut self, id: FetchId, intact: bool) {
        let Some(index) = self
            .fetches
            .iter()
            .position(|one| one.id == id && one.state == FetchState::Verifying)
        else {
            return;
        };
        let mut fetch = self.fetches.swap_remove(index);
        self.progress_at = self.now;
        if intact {
            self.deliver(&fetch);
            return;
        }
        self.fetch_again(&mut fetch, &Failure::Corrupt);
    }

    /// What came is wrong: forget it, suspect who gave it, and begin again elsewhere.
    fn fetch_again(&mut self, fetch: &mut Fetch, failure: &Failure) {
        let live: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
        for id in live {
            self.cancel(fetch, id, CancelReason::Abandoned);
        }
        let alone = fetch.contributors.len() == 1;
        let suspects = self.suspects.entry(fetch.object).or_default();
        for giver in &fetch.contributors {
            if !suspects.contains(giver) {
                suspects.push(*giver);
            }
        }
        let givers = fetch.contributors.clone();
        for giver in givers {
            if alone {
                self.edges.fail(self.now, giver, Duration::ZERO);
                self.edge_state_changed(giver);
            }
        }
        self.note_failure(failure, fetch.contributors.first().copied());
        if self.broken_too_often(fetch.object) {
            let what = super::control::object_name(fetch.object);
            let message = alloc::format!(
                "the {what} is damaged wherever it is fetched from; the title must be packaged again"
            );
            self.give_up(fetch, failure, message);
            return;
        }
        self.recorder.wasted_fetch(fetch.id);
        self.decide(
            DecisionKind::Failover,
            super::control::object_name(fetch.object).to_string(),
            "the bytes are not what they should be: fetched again from another edge",
            &[],
        );
        self.actions.push_back(Action::Release { fetch: fetch.id });
        let again = self.begin_fetch(fetch.object, fetch.track, fetch.planned);
        self.rename(fetch.id, again);
    }

    /// A fetch was begun again under another name.
    fn rename(&mut self, old: FetchId, new: FetchId) {
        for track in &mut self.tracks {
            if let Some(fetching) = &mut track.fetching
                && fetching.fetch == old
            {
                fetching.fetch = new;
            }
        }
    }

    fn attempt_failed(&mut self, fetch: &mut Fetch, id: AttemptId, failure: &Failure) -> bool {
        let Some(attempt) = self.close_attempt(fetch, id, "failed", Some(failure.code())) else {
            return true;
        };
        let edge = attempt.edge;
        if attempt.role == Role::Probe {
            if matches!(remedy(failure), Remedy::OtherEdge { .. }) {
                self.edges.fail(self.now, edge, Duration::ZERO);
                self.edge_state_changed(edge);
            }
            return false;
        }
        fetch.failures += 1;
        self.note_failure(failure, Some(edge));
        match remedy(failure) {
            Remedy::OtherEdge { rest_min } => {
                self.edges.fail(self.now, edge, rest_min);
                self.edge_state_changed(edge);
            }
            Remedy::OtherEdgeForObject => {
                if let Some(edge) = self.edges.get_mut(edge) {
                    edge.lacks(fetch.object);
                }
                if self.edges.all_lack(fetch.object) {
                    return self.object_missing(fetch, failure);
                }
            }
            Remedy::AskBackend => {
                fetch.rejections += 1;
                // Without a backend, or with new tokens that are not accepted either, it is the edge.
                if self.token_rejected() && fetch.rejections <= REJECTIONS_MAX {
                    fetch.rejected.push(edge);
                } else {
                    self.edges.fail(self.now, edge, Duration::ZERO);
                    self.edge_state_changed(edge);
                }
            }
            Remedy::FetchAgain => {
                fetch.mismatches += 1;
                fetch.avoid.push(edge);
                if fetch.mismatches >= MISMATCHES_MAX {
                    self.fetch_again(fetch, failure);
                    return false;
                }
            }
            Remedy::Tell => {
                // Out of files for a moment is no reason to end; a few times in a row is.
                if fetch.failures >= INTERNAL_MAX {
                    let what = super::control::object_name(fetch.object);
                    let message = alloc::format!("the {what} cannot be fetched by this player");
                    return self.give_up(fetch, failure, message);
                }
            }
        }
        if !fetch.failed_on.contains(&edge) {
            fetch.failed_on.push(edge);
        }
        // A helper that failed hands nothing over: the attempt it was to help goes on, and may ask again.
        let helped =
            attempt.role == Role::Helper && fetch.attempts.iter().any(|one| one.to.is_none());
        if helped {
            for one in &mut fetch.attempts {
                one.ask_again();
            }
            return true;
        }
        if attempt.role != Role::Racer {
            self.hand_over(fetch, &attempt, failure.code());
        }
        // Another attempt already brings the rest.
        if let Some(next) = fetch.attempts.iter_mut().find(|one| one.to.is_none()) {
            if next.role == Role::Helper {
                next.role = Role::Primary;
            }
            let to = next.edge;
            let began = next.first_byte_at.is_some();
            self.take_over(fetch, to, began);
            return true;
        }
        if self.hopeless(fetch, failure) {
            return false;
        }
        self.go_on(fetch);
        true
    }

    /// Before the first frame, a failure that no waiting cures ends the session at once when every edge
    /// shows it.
    fn hopeless(&mut self, fetch: &Fetch, failure: &Failure) -> bool {
        let lasting = matches!(failure, Failure::TlsCertificate)
            || matches!(
                failure,
                Failure::Http {
                    status: 400..=499,
                    ..
                }
            ) && remedy(failure)
                == Remedy::OtherEdge {
                    rest_min: Duration::ZERO,
                };
        let everywhere = self
            .edges
            .iter()
            .filter(|(_, edge)| edge.offered)
            .all(|(id, _)| fetch.failed_on.contains(&id));
        if !lasting || !everywhere || self.recorder.startup_at().is_some() {
            return false;
        }
        if let Some(error) = self.last_failure.clone() {
            self.fail(error);
        }
        true
    }

    /// No edge has the object.
    fn object_missing(&mut self, fetch: &mut Fetch, failure: &Failure) -> bool {
        let live: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
        for id in live {
            self.cancel(fetch, id, CancelReason::Abandoned);
        }
        let what = super::control::object_name(fetch.object);
        let names: Vec<&str> = self
            .edges
            .iter()
            .map(|(_, edge)| edge.name.as_str())
            .collect();
        let message = alloc::format!(
            "no edge has the {what} (edges asked: {}); check the title or address",
            names.join(", ")
        );
        self.give_up(fetch, failure, message)
    }

    /// Nobody gives the object as it should be. Returns that the fetch does not go on.
    fn give_up(&mut self, fetch: &Fetch, failure: &Failure, message: String) -> bool {
        self.recorder.wasted_fetch(fetch.id);
        self.actions.push_back(Action::Release { fetch: fetch.id });
        for track in &mut self.tracks {
            if let Some(fetching) = track.fetching.take_if(|one| one.fetch == fetch.id) {
                track.next = fetching.start;
            }
        }
        let code = failure.code().into();
        self.do_without(fetch.object, SessionError { code, message });
        false
    }

    fn note_failure(&mut self, failure: &Failure, edge: Option<EdgeId>) {
        let place = edge.map_or("an edge", |edge| self.edges.name(edge));
        self.last_failure = Some(SessionError {
            code: failure.code().into(),
            message: alloc::format!("{place}: {}", describe(failure)),
        });
    }

    /// An attempt left the rest of its object to others.
    fn hand_over(&mut self, fetch: &mut Fetch, attempt: &Attempt, reason: &'static str) {
        fetch.handover.get_or_insert(Handover {
            from: attempt.edge,
            at: attempt.last_byte_at(),
            detected_at: self.now,
            reason,
            wasted: attempt.wasted,
        });
    }

    /// An attempt that runs already takes over.
    fn take_over(&mut self, fetch: &mut Fetch, to: EdgeId, delivering: bool) {
        let Some(handover) = fetch.handover else {
            return;
        };
        self.edges.use_from_now(self.now, to);
        self.announce_handover(fetch, handover, to);
        if delivering {
            fetch.handover = None;
            self.recorder.handed_over(self.now, fetch.id, &handover);
        }
    }

    fn announce_handover(&mut self, fetch: &Fetch, handover: Handover, to: EdgeId) {
        if handover.from == to {
            return;
        }
        self.recorder.handover_begins(
            fetch,
            &handover,
            self.edges.name(handover.from),
            self.edges.name(to),
        );
        self.events.push_back(Event::FailedOver {
            fetch: fetch.id,
            track: fetch.track,
            from: handover.from,
            to,
            reason: handover.reason.into(),
            offset: fetch.received,
        });
        let chosen = alloc::format!(
            "{} to {}",
            self.edges.name(handover.from),
            self.edges.name(to)
        );
        let inputs = [
            ("offset", offset(fetch.received)),
            (
                "detected_s",
                seconds(handover.detected_at.since(handover.at)),
            ),
        ];
        self.decide(DecisionKind::Failover, chosen, handover.reason, &inputs);
    }

    /// An edge gave what it was asked for: it is in use again if it was not.
    fn edge_served(&mut self, id: EdgeId) {
        let Some(edge) = self.edges.get_mut(id) else {
            return;
        };
        let was = edge.state(self.now);
        edge.served();
        if was != crate::edge::BreakerState::Closed {
            self.edge_state_changed(id);
        }
    }

    fn edge_state_changed(&mut self, edge: EdgeId) {
        if let Some(state) = self.edges.get(edge).map(|one| one.state(self.now)) {
            self.events.push_back(Event::EdgeState { edge, state });
        }
    }

    /// Takes an attempt out of its fetch and writes it down.
    fn close_attempt(
        &mut self,
        fetch: &mut Fetch,
        id: AttemptId,
        result: &str,
        code: Option<&str>,
    ) -> Option<Attempt> {
        let attempt = fetch.take_attempt(id)?;
        if let Some(edge) = self.edges.get_mut(attempt.edge)
            && matches!(attempt.phase, Phase::Body { .. })
        {
            edge.body_ends(self.now);
        }
        self.recorder.attempt_ended(
            self.now,
            fetch,
            &attempt,
            self.edges.name(attempt.edge),
            result,
            code,
        );
        Some(attempt)
    }

    fn cancel_connection(&mut self, attempt: AttemptId, drop_connections: bool) {
        self.actions.push_back(Action::CancelAttempt {
            attempt,
            drop_connections,
        });
    }

    fn cancel(&mut self, fetch: &mut Fetch, id: AttemptId, reason: CancelReason) {
        let suspect = matches!(reason, CancelReason::Silent);
        self.cancel_connection(id, suspect);
        let Some(attempt) = self.close_attempt(fetch, id, "cancelled", Some(reason.code())) else {
            return;
        };
        if attempt.role == Role::Helper && fetch.attempts.iter().any(|one| one.to.is_none()) {
            if reason == CancelReason::Silent {
                self.edges.fail(self.now, attempt.edge, Duration::ZERO);
                self.edge_state_changed(attempt.edge);
            }
            return;
        }
        if matches!(reason, CancelReason::Silent | CancelReason::Slow) {
            self.edges.fail(self.now, attempt.edge, Duration::ZERO);
            self.edge_state_changed(attempt.edge);
            self.hand_over(fetch, &attempt, reason.code());
            if let Some(next) = fetch.attempts.iter_mut().find(|one| one.to.is_none()) {
                next.role = Role::Primary;
                let (to, began) = (next.edge, next.first_byte_at.is_some());
                self.take_over(fetch, to, began);
            }
        }
    }

    /// Gives a whole fetch up; what came is forgotten.
    pub(super) fn abandon(&mut self, id: FetchId, reason: CancelReason) {
        if let Some(index) = self.fetches.iter().position(|fetch| fetch.id == id) {
            let fetch = self.fetches.swap_remove(index);
            self.end_fetch(fetch, reason);
        }
    }

    pub(super) fn end_fetch(&mut self, mut fetch: Fetch, reason: CancelReason) {
        let live: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
        for id in live {
            self.cancel_connection(id, false);
            self.close_attempt(&mut fetch, id, "cancelled", Some(reason.code()));
        }
        self.recorder.wasted_fetch(fetch.id);
        self.actions.push_back(Action::Release { fetch: fetch.id });
    }

    /// Every attempt that is under way begins again on fresh connections.
    pub(super) fn restart_fetches(&mut self, reason: CancelReason) {
        let mut fetches = core::mem::take(&mut self.fetches);
        for probe in fetches.extract_if(.., |fetch| fetch.is_probe()) {
            self.end_fetch(probe, CancelReason::Abandoned);
        }
        for fetch in &mut fetches {
            if fetch.state == FetchState::Verifying {
                continue;
            }
            let live: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
            for id in live {
                self.cancel_connection(id, true);
                self.close_attempt(fetch, id, "cancelled", Some(reason.code()));
            }
            fetch.avoid.clear();
            self.go_on(fetch);
        }
        self.fetches.append(&mut fetches);
    }

    /// The device is on another network: nothing learnt and no connection holds any more.
    pub(super) fn network_changed(&mut self) {
        self.edges.network_changed();
        self.actions.push_back(Action::ResetNetwork);
        self.decide(
            DecisionKind::Edge,
            "measure anew".into(),
            "the network changed",
            &[],
        );
        self.restart_fetches(CancelReason::NetworkChanged);
    }

    /// Looks at every fetch until nothing more is to be done now.
    pub(super) fn review_fetches(&mut self) {
        let mut pending = core::mem::take(&mut self.fetches);
        let mut index = 0;
        while index < pending.len() && !self.is_over() {
            let Some(fetch) = pending.get_mut(index) else {
                break;
            };
            if self.review(fetch) {
                index += 1;
            } else {
                pending.swap_remove(index);
            }
        }
        self.fetches.append(&mut pending);
    }

    /// Returns whether the fetch goes on.
    fn review(&mut self, fetch: &mut Fetch) -> bool {
        if let FetchState::Waiting { until } = fetch.state {
            if self.now >= until {
                self.go_on(fetch);
            }
            return true;
        }
        // Each verdict ends or begins an attempt, of which there are few.
        for _ in 0..8 {
            match fetch.review(self.now, &self.edges) {
                None => break,
                Some(Verdict::Cancel { attempt, reason }) => {
                    if reason == CancelReason::NotNeeded {
                        self.line_slow_until = self.now + LINE_SLOW;
                    }
                    self.cancel(fetch, attempt, reason);
                }
                Some(Verdict::GiveUp { attempt }) => {
                    self.cancel_connection(attempt, true);
                    if !self.attempt_failed(fetch, attempt, &Failure::Stalled) {
                        return false;
                    }
                }
                Some(Verdict::Help { attempt, late }) => self.help(fetch, attempt, late),
            }
        }
        true
    }

    /// Asks another edge for the rest of what a late attempt was to bring.
    fn help(&mut self, fetch: &mut Fetch, id: AttemptId, late: Late) {
        let Some(attempt) = fetch.attempt_mut(id) else {
            return;
        };
        attempt.helped(self.now);
        let late_edge = attempt.edge;
        let not = fetch.edges_tried();
        let Some(helper) = self
            .edges
            .choose_helper(self.now, fetch.object, fetch.rest(), &not)
        else {
            return;
        };
        if late == Late::Slow && self.now < self.line_slow_until {
            return;
        }
        // Help against slowness is a guess and must be paid for; help against silence is not.
        if late == Late::Slow && !self.extra_allowed(ByteCount::new(RACE_BYTES)) {
            let name = self.edges.name(late_edge).to_string();
            self.decide(
                DecisionKind::Hedge,
                name,
                "slow, but the budget for help is used up",
                &[],
            );
            return;
        }
        let (from, overlap) = fetch.resume_point();
        let chosen = alloc::format!(
            "{} helps {}",
            self.edges.name(helper),
            self.edges.name(late_edge)
        );
        self.decide(
            DecisionKind::Hedge,
            chosen,
            late.why(),
            &[("offset", offset(fetch.received))],
        );
        self.start_attempt(fetch, helper, Role::Helper, from, None, overlap);
    }

    /// All bytes of an object are there and right.
    fn deliver(&mut self, fetch: &Fetch) {
        self.recorder
            .fetch_done(self.now, fetch, self.timeline.as_ref());
        self.progress_at = self.now;
        self.last_failure = None;
        match fetch.object {
            ObjectKey::Manifest | ObjectKey::Index(_) => {
                self.parsing.push(fetch.object);
                self.actions.push_back(Action::Parse {
                    fetch: fetch.id,
                    object: fetch.object,
                });
                self.actions.push_back(Action::Release { fetch: fetch.id });
            }
            ObjectKey::Init(key) => {
                self.inits.insert(key, Init::Ready(fetch.id));
            }
            ObjectKey::Media(key, index) => {
                let Some(kind) = fetch.track else { return };
                let track = self.track_mut(kind);
                let Some(fetching) = track
                    .fetching
                    .take_if(|fetching| fetching.fetch == fetch.id)
                else {
                    self.actions.push_back(Action::Release { fetch: fetch.id });
                    return;
                };
                track.buffered.push_back(Buffered {
                    fetch: fetch.id,
                    key,
                    index,
                    start: fetching.start,
                    end: fetching.end,
                    bytes: ByteCount::new(fetch.received),
                    handed_on: false,
                });
            }
            ObjectKey::Probe => {}
        }
    }
}

/// More rejected tokens than this are not about tokens.
const REJECTIONS_MAX: u32 = 4;

fn offset(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// What a failure means, for people.
fn describe(failure: &Failure) -> String {
    let text = match failure {
        Failure::Dns => "its name cannot be resolved; check the address and the network",
        Failure::Refused => "the connection was refused; is the server running?",
        Failure::ConnectTimeout => "no connection in time; check the network",
        Failure::Unreachable => "there is no way to its address; check the network",
        Failure::TlsCertificate => {
            "its certificate is not trusted, expired, or for another name; give its authority with --ca, or accept any with --insecure"
        }
        Failure::TlsHandshake => "the TLS handshake failed",
        Failure::Reset => "the connection was reset",
        Failure::Truncated => "the answer ended too early",
        Failure::Stalled => "nothing came for a long time",
        Failure::Protocol => "the answer is not HTTP",
        Failure::WrongRange => "it sent another range than asked",
        Failure::RedirectLoop => "it redirects without end",
        Failure::Proxy => "the proxy refused",
        Failure::Http { status, .. } => {
            return alloc::format!("it answered with HTTP status {status}");
        }
        Failure::Mismatch => "its bytes differ from another edge's",
        Failure::Corrupt => "its bytes are damaged",
        Failure::SizeChanged => "the object has another size there",
        Failure::Internal => "the player cannot fetch this object",
    };
    text.to_string()
}
