//! Races at start-up: several edges bring the same, and the first bytes decide.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::ByteCount;

use crate::action::CancelReason;
use crate::event::DecisionKind;
use crate::fetch::{Attempt, Fetch, FetchState, RACE_BYTES, Role};
use crate::input::{AttemptId, EdgeId};
use crate::session::Session;

/// How long the others have before one more edge joins a race: a round trip to an edge nearby, and its handshakes.
const JOIN_EVERY: Duration = Duration::from_millis(50);

impl Session {
    /// The first edges by the backend's order all bring the manifest: the probe is useful work.
    pub(super) fn race_manifest(&mut self, fetch: &mut Fetch) {
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
        fetch.joins_at = Some(self.now + JOIN_EVERY);
    }

    /// Where nobody has brought anything yet one more edge joins the race for the manifest: the backend's order may
    /// say nothing about this viewer. As with addresses (RFC 8305), but for a handshake nothing is spent on the others.
    pub(super) fn join_race(&mut self, fetch: &mut Fetch) {
        if fetch.joins_at.is_none_or(|at| self.now < at) {
            return;
        }
        fetch.joins_at = None;
        let racing = fetch.attempts.iter().any(|one| one.role == Role::Racer);
        if !racing || fetch.received > 0 || fetch.state != FetchState::Active {
            return;
        }
        let tried = fetch.edges_tried();
        let fresh = |id: &EdgeId| !tried.contains(id) && !fetch.failed_on.contains(id);
        let Some(edge) = self.ranked(fetch).into_iter().find(fresh) else {
            return;
        };
        let name = self.edges.name(edge).to_string();
        let why = "nobody has brought anything yet: one more joins the race";
        self.decide(DecisionKind::Race, name, why, &[]);
        self.start_attempt(fetch, edge, Role::Racer, 0, None, 0);
        fetch.joins_at = Some(self.now + JOIN_EVERY);
    }

    /// Beside the winner, edges that answered nearly as soon show how fast they bring the first bytes.
    pub(super) fn race_media(&mut self, fetch: &mut Fetch) {
        let Some(primary) = fetch.attempts.first().map(|attempt| attempt.edge) else {
            return;
        };
        let mut rivals = self.ranked(fetch);
        // Those that answered soonest, then the backend's order.
        let edges = &self.edges;
        rivals.sort_by_key(|id| {
            edges
                .get(*id)
                .map(|edge| edge.answers_in().unwrap_or(Duration::MAX))
        });
        // Those that were connected to in the race for the manifest cost no handshake.
        rivals.retain(|id| {
            *id != primary
                && self
                    .edges
                    .get(*id)
                    .is_some_and(|edge| edge.protocol.is_some())
        });
        for edge in rivals
            .into_iter()
            .take(self.config.race_width.saturating_sub(1))
        {
            let cost = ByteCount::new(RACE_BYTES) + reserved(fetch);
            if fetch.planned.get() > 2 * RACE_BYTES && self.extra_allowed(cost) {
                self.start_attempt(fetch, edge, Role::Racer, 0, Some(RACE_BYTES), 0);
            }
        }
    }

    /// A long manifest is not fetched three times over: whoever has brought this much of it goes on alone.
    pub(super) fn settle_manifest_race(&mut self, fetch: &mut Fetch, id: AttemptId) {
        let leads = |one: &Attempt| one.id == id && one.bytes.get() >= RACE_BYTES;
        if fetch.object != ObjectKey::Manifest || !fetch.attempts.iter().any(leads) {
            return;
        }
        let losers: Vec<AttemptId> = fetch
            .attempts
            .iter()
            .filter(|one| one.id != id && one.role == Role::Racer)
            .map(|one| one.id)
            .collect();
        for loser in losers {
            self.cancel(fetch, loser, CancelReason::LostRace);
        }
    }

    pub(super) fn ranked(&self, fetch: &Fetch) -> Vec<EdgeId> {
        let mut usable: Vec<(u32, EdgeId)> = self
            .edges
            .usable(self.now, fetch.object, &fetch.avoid)
            .map(|(id, edge)| (edge.rank, id))
            .collect();
        usable.sort_unstable();
        usable.into_iter().map(|(_, id)| id).collect()
    }

    /// Ends the race for the first media segment when somebody has brought its share.
    pub(super) fn settle_race(&mut self, fetch: &mut Fetch, id: AttemptId) {
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

    /// A rival brought its share: it is the better edge unless who brings the whole has three quarters of that.
    pub(super) fn rival_finished(&mut self, fetch: &mut Fetch, rival: EdgeId) -> bool {
        let far = |one: &Attempt| one.to.is_none() && one.next >= RACE_BYTES * 3 / 4;
        if fetch.attempts.iter().any(far) {
            return true;
        }
        self.cancel_all(fetch, CancelReason::LostRace);
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
}

/// What rivals of the race may still cost.
fn reserved(fetch: &Fetch) -> ByteCount {
    let shares = fetch.attempts.iter().filter_map(|one| {
        let share = one.to?.saturating_sub(one.from);
        Some(ByteCount::new(share) - one.bytes)
    });
    shares.sum()
}
