//! Looks at attempts that say nothing, or too little: helps them, compares them, gives them up.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::ByteCount;

use super::offset;
use crate::action::CancelReason;
use crate::event::DecisionKind;
use crate::fetch::{Attempt, BEFORE, Fetch, FetchState, Late, Role, TRICKLES, Verdict};
use crate::input::{AttemptId, EdgeId, Failure, FetchId};
use crate::session::Session;
use crate::session::control::object_name;

/// While nothing is shown, a transfer that takes longer than this in all is helped if it disappoints.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// Help against slowness is judged at the latest when this part of an object has come twice.
const GUESS_SHARE: u64 = 16;
/// Where this part would have come twice by the time that the helper has caught up, one of the two ends at once.
const TWICE_SHARE: u64 = 12;
/// Before that a helper shows who is faster by what came for so long, and so much of it.
const SHOWS_AFTER: Duration = Duration::from_millis(150);
const SHOWS_FROM: ByteCount = ByteCount::new(48 << 10);
/// What help is taken to cost at least: past slow start on most lines.
const HELP_COSTS_MIN: ByteCount = ByteCount::new(64 << 10);
/// Help is judged after about this long.
const HELP_LASTS: Duration = Duration::from_millis(500);

impl Session {
    /// Looks at every fetch until nothing more is to be done now.
    pub(in crate::session) fn review_fetches(&mut self) {
        self.settle_comparison();
        let ids: Vec<FetchId> = self.fetches.iter().map(|fetch| fetch.id).collect();
        for id in ids {
            if self.is_over() {
                return;
            }
            // One that was looked at before may have ended others.
            let Some(index) = self.fetches.iter().position(|fetch| fetch.id == id) else {
                continue;
            };
            let mut fetch = self.fetches.swap_remove(index);
            if self.review(&mut fetch) {
                self.fetches.push(fetch);
            }
        }
    }

    /// Returns whether the fetch goes on.
    pub(super) fn review(&mut self, fetch: &mut Fetch) -> bool {
        if let FetchState::Verifying { until } = fetch.state
            && self.now >= until
        {
            // The player lost the answer, or is very slow: no edge is at fault.
            let what = object_name(fetch.object).to_string();
            let why = "the comparison with its digest never ended: it is taken as it is";
            self.decide(DecisionKind::Watchdog, what, why, &[]);
            self.deliver(fetch);
            return false;
        }
        if let FetchState::Waiting { until } = fetch.state {
            if self.now >= until {
                if self.given_by_nobody(fetch) {
                    let failure = Failure::Http {
                        status: 404,
                        retry_after: None,
                    };
                    return self.object_missing(fetch, &failure);
                }
                self.go_on(fetch);
            }
            return true;
        }
        self.join_race(fetch);
        self.end_guess(fetch);
        // Each verdict ends or begins an attempt, of which there are few.
        for _ in 0..8 {
            match fetch.review(self.now, &self.edges, self.spare(fetch)) {
                None => break,
                Some(Verdict::Cancel { attempt, reason }) => {
                    self.end_one(fetch, attempt, reason);
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
        self.doubt_edge(fetch);
        true
    }

    /// Help against slowness ends with its budget, or when so much of the object came twice, whether or not it is clear
    /// by then who is faster; and as soon as it is clear where the helper could not go on alone later without as much.
    fn end_guess(&mut self, fetch: &mut Fetch) {
        let most = guess_costs_most(fetch);
        if !self.extra_allowed(ByteCount::ZERO) || fetch.twice >= most {
            match fetch.judge_guess(self.now, &self.edges) {
                Some((attempt, CancelReason::NotNeeded)) => {
                    let why = "help has cost enough";
                    self.decide(DecisionKind::Hedge, "alone".to_string(), why, &[]);
                    self.cancel(fetch, attempt, CancelReason::NotNeeded);
                }
                Some((attempt, reason)) => self.end_one(fetch, attempt, reason),
                None => {}
            }
            return;
        }
        let Some(helper) = fetch.guess().filter(|_| fetch.twice_by_helper() >= most) else {
            return;
        };
        let shown = helper.bytes >= SHOWS_FROM
            && (helper.first_byte_at).is_some_and(|at| self.now.since(at) >= SHOWS_AFTER);
        let (id, begun) = (helper.id, helper.first_byte_at.is_some());
        if shown
            && let Some((attempt, reason)) = fetch.judge_guess(self.now, &self.edges)
            && reason != CancelReason::NotNeeded
        {
            return self.end_one(fetch, attempt, reason);
        }
        if fetch.twice_by_helper().get() <= fetch.size() / TWICE_SHARE {
            return;
        }
        let Some(slow) = fetch.attempts.iter().find(|one| one.id != id) else {
            return;
        };
        let slow = slow.id;
        if begun && !self.ends_in_time(fetch, slow) {
            // Playback would come to wait for it: whatever is slow, the helper is what is left.
            self.cancel(fetch, slow, CancelReason::Slow);
        } else {
            self.go_alone(fetch, id);
        }
    }

    /// One of several attempts at the same bytes need not go on.
    fn end_one(&mut self, fetch: &mut Fetch, attempt: AttemptId, reason: CancelReason) {
        if reason == CancelReason::Silent {
            return self.end_silent(fetch, attempt);
        }
        if reason == CancelReason::NotNeeded {
            self.help_ends(fetch, attempt);
        } else if reason == CancelReason::Slow {
            self.helper_is_faster(fetch, attempt);
            // The slow one brought so much beside the helper that much would come twice.
            let much = fetch.twice_by_helper().get() > fetch.size() / TWICE_SHARE;
            let helper = fetch.helper().filter(|one| one.next < fetch.received);
            if let Some(helper) = helper.map(|one| one.id)
                && much
                && self.ends_in_time(fetch, attempt)
            {
                return self.go_alone(fetch, helper);
            }
        }
        self.cancel(fetch, attempt, reason);
    }

    /// Whether a slow attempt brings all of its object before playback needs it.
    fn ends_in_time(&self, fetch: &Fetch, slow: AttemptId) -> bool {
        let slow = fetch.attempts.iter().find(|one| one.id == slow);
        let needs = slow.and_then(|slow| {
            let rest = fetch.size().saturating_sub(slow.next);
            slow.recent.rate(self.now)?.time_for(ByteCount::new(rest))
        });
        needs.is_some_and(|needs| needs < self.spare(fetch))
    }

    /// The helper comes too late to be worth what would come twice: the slow attempt ends its object by itself, or a lower rung takes
    /// its place.
    fn go_alone(&mut self, fetch: &mut Fetch, helper: AttemptId) {
        let why = "help came too late: much would come twice";
        self.decide(DecisionKind::Hedge, "alone".to_string(), why, &[]);
        fetch.goes_alone = true;
        self.cancel(fetch, helper, CancelReason::NotNeeded);
    }

    /// Returns how long playback can do without an object.
    pub(super) fn spare(&self, fetch: &Fetch) -> Duration {
        match fetch.track {
            Some(kind) if self.clock.is_running() => self.slack(kind),
            // Nothing is shown yet: the viewer waits for everything.
            Some(_) | None => (fetch.started_at + START_PATIENCE).since(self.now),
        }
    }

    /// Asks another edge for the rest of what a late attempt was to bring.
    pub(super) fn help(&mut self, fetch: &mut Fetch, id: AttemptId, late: Late) {
        let now = self.now;
        let Some(attempt) = fetch.attempt_mut(id) else {
            return;
        };
        attempt.helped(now, late);
        let late_edge = attempt.edge;
        if self.is_known(fetch, id, late) {
            return;
        }
        if !late.is_dead() && !self.time_is_short(fetch, id) {
            return self.compare(fetch, id);
        }
        let Some(helper) = self.helper_against(fetch, late_edge) else {
            return;
        };
        // Help against slowness is a guess and must be paid for; help against silence is not.
        let costs = help_costs(fetch, id);
        let first = fetch.twice < HELP_COSTS_MIN;
        let bearable = first || fetch.twice + costs <= guess_costs_most(fetch);
        let paid = self.extra_allowed(costs) && bearable && !fetch.goes_alone;
        if !late.is_dead() && !paid {
            let name = self.edges.name(late_edge).to_string();
            self.decide(
                DecisionKind::Hedge,
                name,
                "slow, but help has cost enough, or would",
                &[],
            );
            return;
        }
        let from = fetch.resume_point();
        let before = self.arriving.rate_over(self.now, BEFORE);
        let chosen = alloc::format!(
            "{} helps {}",
            self.edges.name(helper),
            self.edges.name(late_edge)
        );
        let (object, rest) = (fetch.object, fetch.rest());
        let expected = self
            .edges
            .expectations(now, object, rest, &fetch.edges_tried());
        let scores = self.scores_of(&expected);
        let inputs = [("offset", offset(fetch.received))];
        let soonest = expected.iter().min_by_key(|(_, takes)| *takes);
        let whom = if soonest.is_some_and(|(id, _)| *id == helper) {
            "the soonest helps"
        } else if self.edges.current() == Some(helper) {
            "the edge in use helps"
        } else {
            "one that is not clearly worse than the best helps, which spreads the load"
        };
        let why = alloc::format!("{}: {whom}", late.why());
        self.decide_among(DecisionKind::Hedge, chosen, &why, &inputs, scores);
        for attempt in &mut fetch.attempts {
            attempt.wasted_before_help = attempt.wasted;
        }
        self.start_attempt(fetch, helper, Role::Helper, from, None);
        if let Some(begun) = fetch.attempts.last_mut() {
            begun.helps_against = Some(late);
            begun.before = before;
        }
    }

    /// Whom to ask instead of a late edge: who brings or helps other objects that it was to bring, so that one failure is one change.
    fn helper_against(&mut self, fetch: &Fetch, late: EdgeId) -> Option<EdgeId> {
        let (now, object, not) = (self.now, fetch.object, fetch.edges_tried());
        let others = self.fetches.iter().filter(|one| !one.is_probe());
        let beside = others
            .filter(|one| one.attempts.iter().any(|at| at.edge == late))
            .filter_map(|one| one.attempts.iter().rfind(|at| at.role == Role::Helper))
            .map(|helper| helper.edge);
        let trusted = |id: &EdgeId| {
            let mut usable = self.edges.usable(now, object, &not);
            let mut attempts = self.fetches.iter().flat_map(|one| &one.attempts);
            usable.any(|(one, edge)| {
                let silent = |at: &Attempt| at.edge == one && at.silent(now, edge);
                one == *id && !edge.is_on_trial(now) && !attempts.any(silent)
            })
        };
        let known = self.edges.current().into_iter().chain(beside).find(trusted);
        known.or_else(|| self.edges.choose_helper(now, object, fetch.rest(), &not))
    }

    /// That the line is slow was said when it was found out, unless hardly anything of that comes.
    fn is_known(&self, fetch: &Fetch, id: AttemptId, late: Late) -> bool {
        if late.is_silence() || self.now >= self.line_slow_until {
            return false;
        }
        let attempt = fetch.attempts.iter().find(|one| one.id == id);
        let rate = attempt.and_then(|one| one.recent.rate(self.now));
        let of_line = self.line_slow_rate.map(|line| line.scaled(TRICKLES));
        !late.is_dead() || rate.zip(of_line).is_some_and(|(rate, line)| rate >= line)
    }
}

/// What help against slowness may bring twice of an object.
fn guess_costs_most(fetch: &Fetch) -> ByteCount {
    ByteCount::new(fetch.size() / GUESS_SHARE).max(HELP_COSTS_MIN)
}

/// What help may bring twice before it is judged: as much as the slow body brings meanwhile.
fn help_costs(fetch: &Fetch, id: AttemptId) -> ByteCount {
    let slow = fetch.attempts.iter().find(|one| one.id == id);
    let rate = slow.and_then(|one| one.recent.rate_over(one.last_byte_at(), HELP_LASTS));
    let twice = rate.map_or(ByteCount::ZERO, |rate| rate.bytes_in(HELP_LASTS));
    twice.max(HELP_COSTS_MIN)
}
