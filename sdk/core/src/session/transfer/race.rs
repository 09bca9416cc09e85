//! Races at start-up: several edges bring the same, and whoever is expected to bring first what is needed goes on.
//!
//! Who answers the short manifest first is near, and may be slow all the same: a second race, for the first segment,
//! shows who is fast. A copy takes the line from the winner. So only those run that may still be first: by the round trip
//! that their connection showed, and, until their first bytes tell, at a rate that would be a good one. Each leaves the race
//! once it is expected behind another.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::{BitRate, ByteCount, Instant};

use crate::action::CancelReason;
use crate::edge::{BreakerState, Edge};
use crate::event::DecisionKind;
use crate::fetch::{Attempt, FIRST_FLIGHT, Fetch, FetchState, Phase, Role};
use crate::input::{AttemptId, EdgeId};
use crate::session::Session;
use crate::session::playback::START_LEVEL;

/// How long the others have before one more edge joins the race for the manifest. The backend's order may be the wrong way
/// round: then the best of ten joins last, and what it is late by is lost. Whoever has near edges connects before all ten are asked.
const JOIN_EVERY: Duration = Duration::from_millis(5);
/// Whoever has brought so much, or could have for so long, shows how fast it is.
const ENOUGH: ByteCount = ByteCount::new(4_000);
const SHOWS_AFTER: Duration = Duration::from_millis(10);
/// What comes later is no beginning any more.
const BEGINNING: ByteCount = ByteCount::new(256 << 10);
/// Who has not shown it yet may be as fast as this; with more, playback begins hardly sooner.
const HOPED_FOR: BitRate = BitRate::from_kbps(20_000);
/// A body is taken to have lasted at least this long: its first bytes may come all at once.
const BODY_MIN: Duration = Duration::from_millis(5);
/// A first connection and the first byte over it: TCP, TLS 1.3, the request.
const COLD_ROUND_TRIPS: u32 = 3;
/// Slow start is over after fewer rounds.
const ROUNDS_MAX: u32 = 16;
/// Longer than this is never.
const NEVER: Duration = Duration::from_secs(600);

impl Session {
    /// The first edges by the backend's order, or those that were near when this network was used last, all bring the manifest:
    /// the probe is useful work.
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
        let remembered = racers.iter().filter_map(|id| self.edges.get(*id));
        let why = if remembered.clone().any(Edge::is_recalled) {
            "those race for the manifest that this network is remembered to be near to"
        } else {
            "first of the backend's order race for the manifest"
        };
        self.decide(DecisionKind::Race, names, why, &[]);
        for edge in racers {
            self.start_attempt(fetch, edge, Role::Racer, 0, None);
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
        if !self.extra_allowed(FIRST_FLIGHT) {
            return;
        }
        let Some(edge) = self.fresh(fetch).first().copied() else {
            return;
        };
        let name = self.edges.name(edge).to_string();
        let why = "nobody is connected yet: one more joins the race";
        self.decide(DecisionKind::Race, name, why, &[]);
        self.start_attempt(fetch, edge, Role::Racer, 0, None);
        fetch.joins_at = Some(self.now + JOIN_EVERY);
    }

    /// Beside the edge in use, others that may bring the start sooner show whether they do: those that promise it soonest.
    pub(super) fn race_media(&mut self, fetch: &mut Fetch) {
        let rivals = self.config.race_width;
        let rivals_most = u64::try_from(rivals).unwrap_or(u64::MAX);
        let costs = FIRST_FLIGHT.get().saturating_mul(rivals_most);
        // Of what is no longer than that, nothing would be left for the winner.
        let short = fetch.planned.get() <= 2 * ENOUGH.get();
        let Some(in_use) = fetch.attempts.first().map(|one| one.edge) else {
            return;
        };
        if rivals < 2 || short || !self.extra_allowed(ByteCount::new(costs)) {
            return;
        }
        let needed = self.needed(fetch);
        // It brings the sound, too.
        let own = self.promises(in_use, needed + self.sound_needed());
        let fresh = self.fresh(fetch).into_iter();
        let mut sooner: Vec<(Duration, EdgeId)> = fresh
            .map(|edge| (self.promises(edge, needed), edge))
            .filter(|(promised, _)| *promised < own)
            .collect();
        sooner.sort_by_key(|(promised, _)| *promised);
        for (_, edge) in sooner.into_iter().take(rivals) {
            self.start_attempt(fetch, edge, Role::Racer, 0, None);
        }
    }

    /// Returns how soon an edge may bring so much at best.
    fn promises(&self, id: EdgeId, needed: u64) -> Duration {
        let Some(edge) = self.edges.get(id) else {
            return NEVER;
        };
        let rate = edge.first_rate().unwrap_or(HOPED_FOR);
        let (round_trip, trips) = match edge.round_trip().or_else(|| edge.ttfb(50)) {
            Some(round_trip) => (round_trip, 1),
            None => (edge.usual_ttfb(), COLD_ROUND_TRIPS),
        };
        round_trip * trips + takes(needed, rate, round_trip)
    }

    /// Returns how much of an object is needed before playback begins.
    fn needed(&self, fetch: &Fetch) -> u64 {
        let size = fetch.size();
        let ObjectKey::Media(key, index) = fetch.object else {
            return size;
        };
        let timeline = self.timeline.as_ref();
        let segment = timeline.and_then(|timeline| timeline.segment(key, index));
        let Some(segment) = segment else {
            return size;
        };
        // Playback may begin in the middle of it.
        let level = self.playhead().since(segment.start) + START_LEVEL;
        let rate = ByteCount::new(size).rate_over(segment.duration);
        rate.map_or(size, |rate| size.min(rate.bytes_in(level).get()))
    }

    /// Returns how much of the sound is needed before playback begins, at the least.
    fn sound_needed(&self) -> u64 {
        let track = self.track(TrackKind::Audio);
        let (Some(timeline), Some(chosen)) = (&self.timeline, track.chosen) else {
            return 0;
        };
        let lowest = timeline.ladder(track.period, chosen).first();
        lowest.map_or(0, |one| one.bitrate.bytes_in(START_LEVEL).get())
    }

    /// Edges that have not been asked for an object, the nearest as far as is known first.
    fn fresh(&self, fetch: &Fetch) -> Vec<EdgeId> {
        let tried = fetch.edges_tried();
        let mut fresh = self.ranked(fetch);
        fresh.retain(|id| !tried.contains(id) && !fetch.failed_on.contains(id));
        fresh
    }

    fn ranked(&self, fetch: &Fetch) -> Vec<EdgeId> {
        let mut usable: Vec<(Duration, u32, EdgeId)> = self
            .edges
            .usable(self.now, fetch.object, &fetch.avoid)
            .map(|(id, edge)| (edge.usual_ttfb(), edge.rank, id))
            .collect();
        usable.sort_unstable();
        usable.into_iter().map(|(.., id)| id).collect()
    }

    /// Takes those out of a race that are expected behind another. The last one goes on as if it had been asked alone.
    pub(super) fn settle_race(&mut self, fetch: &mut Fetch) {
        if !fetch.attempts.iter().any(|one| one.role == Role::Racer) {
            return;
        }
        let needed = self.needed(fetch);
        let expected = |one: &Attempt| self.brings_at(one, needed);
        let shown = fetch.attempts.iter().filter(|one| self.shows_rate(one));
        let first = shown.map(|one| (expected(one), one.id, one.edge)).min();
        let Some((at, winner, edge)) = first else {
            return;
        };
        let manifest = fetch.object == ObjectKey::Manifest;
        let loses = |one: &&Attempt| {
            // A connection costs nothing more, and tells how near its edge is.
            let connects = matches!(one.phase, Phase::Connecting { .. });
            one.id != winner && !(manifest && connects) && expected(one) >= at
        };
        let losers: Vec<AttemptId> = fetch
            .attempts
            .iter()
            .filter(loses)
            .map(|one| one.id)
            .collect();
        let left = |one: &Attempt| (one.edge, expected(one).since(self.now));
        let promised: Vec<(EdgeId, Duration)> = fetch.attempts.iter().map(left).collect();
        for loser in losers {
            self.cancel(fetch, loser, CancelReason::LostRace);
        }
        if let [last] = &mut fetch.attempts[..] {
            last.role = Role::Primary;
            let why = "expected to bring first what playback begins with";
            self.race_won(edge, why, &promised);
        }
    }

    /// Whether an attempt has shown how fast its edge is.
    fn shows_rate(&self, one: &Attempt) -> bool {
        let begun = one.bytes > ByteCount::ZERO;
        begun && (one.bytes >= ENOUGH || self.now.since(one.body_due_at()) >= SHOWS_AFTER)
    }

    /// What the beginning of a body shows of its edge.
    pub(super) fn learn_first_rate(&mut self, one: &Attempt) {
        if self.shows_rate(one)
            && one.bytes <= BEGINNING
            && let Some(edge) = self.edges.get_mut(one.edge)
        {
            let rate = one
                .bytes
                .rate_over(self.now.since(one.body_due_at()).max(BODY_MIN));
            edge.gave_at_first(rate.unwrap_or_default());
        }
    }

    /// Returns when an attempt will have brought so much: as it goes on, or at best where it has not shown that yet.
    fn brings_at(&self, one: &Attempt, needed: u64) -> Instant {
        let round_trip = self.edges.get(one.edge).and_then(Edge::round_trip);
        if !self.shows_rate(one) {
            // A connection that takes so long has a round trip of half of that at least.
            let lasts = self.now.since(one.started_at);
            let round_trip = round_trip.unwrap_or(lasts / 2);
            let answers_at = one
                .answers_at
                .unwrap_or(one.started_at + round_trip * COLD_ROUND_TRIPS);
            return answers_at.max(self.now) + takes(needed, HOPED_FOR, round_trip);
        }
        let rate = |bytes: ByteCount, until: Instant, began: Instant| {
            let rate = bytes.rate_over(until.since(began).max(BODY_MIN));
            rate.unwrap_or_default()
        };
        // What its edge brings beside it, of the sound, shows how fast it is as well, and is needed as well.
        let (mut bytes, mut rest) = (one.bytes.get(), needed.saturating_sub(one.next));
        let (mut began, mut last) = (one.body_due_at(), one.last_byte_at());
        for fetch in self.fetches.iter().filter(|fetch| !fetch.is_probe()) {
            for other in fetch.attempts.iter().filter(|other| other.edge == one.edge) {
                bytes = bytes.saturating_add(other.bytes.get());
                let needed = self.needed(fetch).saturating_sub(other.next);
                rest = rest.saturating_add(needed);
                if other.bytes > ByteCount::ZERO {
                    began = began.min(other.body_due_at());
                    last = last.max(other.last_byte_at());
                }
            }
        }
        let all = ByteCount::new(bytes);
        let first_rate = self.edges.get(one.edge).and_then(Edge::first_rate);
        let pace = rate(all, last, began).max(first_rate.unwrap_or_default());
        let expected = began
            + takes(
                bytes.saturating_add(rest),
                pace,
                round_trip.unwrap_or_default(),
            );
        if expected >= self.now || rest == 0 {
            return expected;
        }
        // It should have been here by now, and is slower than it looked.
        let takes = rate(all, self.now, began).time_for(ByteCount::new(rest));
        self.now + takes.unwrap_or(NEVER)
    }

    /// An edge is in use because it won, unless it failed with something else meanwhile; `promised` is what all that raced to the end were
    /// expected to take yet.
    pub(super) fn race_won(
        &mut self,
        edge: EdgeId,
        why: &'static str,
        promised: &[(EdgeId, Duration)],
    ) {
        let is_well = |edge: &Edge| edge.state(self.now) == BreakerState::Closed;
        if self.edges.get(edge).is_some_and(is_well) {
            self.edges.use_from_now(self.now, edge);
        }
        let name = self.edges.name(edge).to_string();
        let scores = self.scores_of(promised);
        self.decide_among(DecisionKind::Race, name, why, &[], scores);
    }
}

/// How long so much takes from its first byte on: a flight each round trip, each twice as large as the one before, until
/// flights take longer than that.
fn takes(bytes: u64, rate: BitRate, round_trip: Duration) -> Duration {
    let span = |bytes: u64| rate.time_for(ByteCount::new(bytes)).unwrap_or(NEVER);
    let (mut left, mut flight) = (bytes, FIRST_FLIGHT.get());
    let mut waits = Duration::ZERO;
    for _ in 0..ROUNDS_MAX {
        if left <= flight || span(flight) >= round_trip {
            break;
        }
        waits += round_trip;
        left -= flight;
        flight *= 2;
    }
    (waits + span(left).min(NEVER)).min(NEVER)
}
