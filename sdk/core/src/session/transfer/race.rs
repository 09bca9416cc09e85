//! Races at start-up: several edges bring the same, and the first bytes decide.
//!
//! Who answers the short manifest first is near, and may be slow all the same: a second race, for the first segment,
//! shows who is fast. Its rivals need no connection from the first race: one without is late by its handshake only, which
//! takes about as long as the manifest did.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{ByteCount, Instant};

use crate::action::CancelReason;
use crate::edge::Edge;
use crate::event::DecisionKind;
use crate::fetch::{Attempt, Fetch, FetchState, Phase, Role};
use crate::input::{AttemptId, EdgeId};
use crate::session::Session;

/// How long the others have before one more edge joins the race for the manifest. The backend's order may be the wrong way
/// round: then the best of ten joins last, and what it is late by is lost. Sooner would ask all ten of almost everybody.
const JOIN_EVERY: Duration = Duration::from_millis(15);
/// Whoever has brought so much shows how fast it is. More would tell more, and take the line from the winner for longer.
const ENOUGH: ByteCount = ByteCount::new(20_000);
/// Where nobody has brought so much in this time the line is slow, or all are: rivals only share it.
const RACE_LASTS: Duration = Duration::from_millis(70);
/// What playback needs of the first segment to begin, about: who brings this first is the best edge to start with.
const FOR_START: ByteCount = ByteCount::new(48_000);
/// A body is taken to have lasted at least this long: its first bytes may come all at once.
const BODY_MIN: Duration = Duration::from_millis(10);

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

    /// Where nobody is connected yet one more edge joins the race for the manifest: the backend's order may say nothing
    /// about this viewer. As with addresses (RFC 8305), but for a handshake nothing is spent on the others.
    pub(super) fn join_race(&mut self, fetch: &mut Fetch) {
        if fetch.joins_at.is_none_or(|at| self.now < at) {
            return;
        }
        fetch.joins_at = None;
        let racing = fetch.attempts.iter().any(|one| one.role == Role::Racer);
        let connects = |one: &Attempt| matches!(one.phase, Phase::Connecting { .. });
        if !racing || !fetch.attempts.iter().all(connects) || fetch.state != FetchState::Active {
            return;
        }
        let Some(edge) = self.fresh(fetch).first().copied() else {
            return;
        };
        let name = self.edges.name(edge).to_string();
        let why = "nobody is connected yet: one more joins the race";
        self.decide(DecisionKind::Race, name, why, &[]);
        self.start_attempt(fetch, edge, Role::Racer, 0, None, 0);
        fetch.joins_at = Some(self.now + JOIN_EVERY);
    }

    /// Beside the winner, others show how fast they bring the first bytes: by turns one that was never asked, which may
    /// be better than all that were, and one that answered nearly as soon.
    pub(super) fn race_media(&mut self, fetch: &mut Fetch) {
        let rivals = self.config.race_width;
        let costs = ENOUGH.get() * u64::try_from(rivals).unwrap_or(u64::MAX);
        // Of what is no longer than that, nothing would be left for the winner.
        let short = fetch.planned.get() <= 2 * ENOUGH.get();
        if rivals < 2 || short || !self.extra_allowed(ByteCount::new(costs)) {
            return;
        }
        for unknown in [true, false].into_iter().cycle().take(rivals) {
            let edges = &self.edges;
            let comes_first = |id: &EdgeId| {
                let edge = edges.get(*id);
                let answers_in = edge.and_then(Edge::answers_in);
                let known = edge.is_some_and(Edge::was_asked);
                (unknown && known, answers_in.unwrap_or(Duration::MAX))
            };
            let Some(edge) = self.fresh(fetch).into_iter().min_by_key(comes_first) else {
                return;
            };
            self.start_attempt(fetch, edge, Role::Racer, 0, None, 0);
        }
    }

    /// Edges that have not been asked for an object, by rank.
    fn fresh(&self, fetch: &Fetch) -> Vec<EdgeId> {
        let tried = fetch.edges_tried();
        let mut fresh = self.ranked(fetch);
        fresh.retain(|id| !tried.contains(id) && !fetch.failed_on.contains(id));
        fresh
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

    /// Ends a race once somebody has brought enough: whoever is expected to bring first what playback begins with goes on
    /// alone.
    pub(super) fn settle_race(&mut self, fetch: &mut Fetch) {
        let racing = fetch.attempts.iter().any(|one| one.role == Role::Racer);
        let lasts = |one: &Attempt| {
            one.first_byte_at
                .map_or(Duration::ZERO, |at| self.now.since(at))
        };
        let open = |one: &Attempt| one.bytes < ENOUGH && lasts(one) < RACE_LASTS;
        if !racing || fetch.attempts.iter().all(open) {
            return;
        }
        let needed = if fetch.object == ObjectKey::Manifest {
            fetch.size()
        } else {
            FOR_START.get()
        };
        let begun = |one: &&Attempt| one.bytes > ByteCount::ZERO;
        let delivering = fetch.attempts.iter().filter(begun);
        let first = delivering.min_by_key(|one| self.brings_at(one, needed));
        let Some((winner, edge)) = first.map(|one| (one.id, one.edge)) else {
            return;
        };
        let all = fetch.attempts.iter().map(|one| one.id);
        let losers: Vec<AttemptId> = all.filter(|id| *id != winner).collect();
        for loser in losers {
            self.cancel(fetch, loser, CancelReason::LostRace);
        }
        if let Some(winner) = fetch.attempt_mut(winner) {
            winner.role = Role::Primary;
        }
        let why = "expected to bring first what playback begins with";
        self.race_won(edge, why);
    }

    /// Returns when an attempt will have brought so much. What its edge brings beside it, of the sound, shows how fast it is
    /// as well: without that it would be taken for slower than a rival that brings nothing else.
    fn brings_at(&self, one: &Attempt, needed: u64) -> Instant {
        let fetches = self.fetches.iter().filter(|fetch| !fetch.is_probe());
        let others = fetches.flat_map(|fetch| &fetch.attempts);
        let beside = others.filter(|other| other.edge == one.edge && other.first_byte_at.is_some());
        let all = beside.chain([one]);
        let bytes: ByteCount = all.clone().map(|one| one.bytes).sum();
        let begins = |one: &Attempt| {
            let began = one.answers_at.or(one.first_byte_at);
            began.unwrap_or(one.started_at)
        };
        let began = all.clone().map(begins).min().unwrap_or_default();
        let last = all.map(Attempt::last_byte_at).max().unwrap_or_default();
        let rest = ByteCount::new(needed.saturating_sub(one.bytes.get()));
        let takes = |until: Instant| {
            let took = until.since(began).max(BODY_MIN);
            let rate = bytes.rate_over(took).unwrap_or_default();
            rate.time_for(rest).unwrap_or(Duration::MAX)
        };
        let expected = one.last_byte_at() + takes(last);
        if expected >= self.now || rest == ByteCount::ZERO {
            return expected;
        }
        // It should have been here by now, and is slower than it looked.
        self.now + takes(self.now)
    }

    /// An edge that lost a race before it was connected was asked, and may not be near.
    pub(super) fn lost_race(&mut self, attempt: &Attempt) {
        if matches!(attempt.phase, Phase::Connecting { .. })
            && let Some(edge) = self.edges.get_mut(attempt.edge)
        {
            edge.outrun();
        }
    }

    pub(super) fn race_won(&mut self, edge: EdgeId, why: &'static str) {
        self.edges.use_from_now(self.now, edge);
        let name = self.edges.name(edge).to_string();
        self.decide(DecisionKind::Race, name, why, &[]);
    }
}
