//! Looks at attempts that say nothing, or too little: helps them, compares them, gives them up.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::ByteCount;

use super::offset;
use crate::action::CancelReason;
use crate::event::DecisionKind;
use crate::fetch::{Fetch, FetchState, Late, RACE_BYTES, Role, Verdict};
use crate::input::{AttemptId, Failure, FetchId};
use crate::session::Session;
use crate::session::control::object_name;

/// While nothing is shown, a transfer that takes longer than this in all is helped if it disappoints.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// A comparison of two edges holds for this long.
const LINE_SLOW: Duration = Duration::from_secs(20);

impl Session {
    /// Looks at every fetch until nothing more is to be done now.
    pub(in crate::session) fn review_fetches(&mut self) {
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
        // Each verdict ends or begins an attempt, of which there are few.
        for _ in 0..8 {
            match fetch.review(self.now, &self.edges, self.spare(fetch)) {
                None => break,
                Some(Verdict::Cancel { attempt, reason }) => {
                    if reason == CancelReason::NotNeeded {
                        self.help_ends(fetch, attempt);
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

    /// Returns how long playback can do without an object.
    pub(super) fn spare(&self, fetch: &Fetch) -> Duration {
        match fetch.track {
            Some(kind) if self.clock.is_running() => self.slack(kind),
            // Nothing is shown yet: the viewer waits for everything.
            Some(_) | None => (fetch.started_at + START_PATIENCE).since(self.now),
        }
    }

    /// A helper is not faster: where it was to help against slowness, the line is slow and not the edge.
    fn help_ends(&mut self, fetch: &Fetch, helper: AttemptId) {
        let Some(helper) = fetch.attempts.iter().find(|one| one.id == helper) else {
            return;
        };
        let slow = helper.helps_against.is_some_and(|late| !late.is_silence());
        let why = if slow {
            self.line_slow_until = self.now + LINE_SLOW;
            "another edge is no faster: the line is slow"
        } else {
            "the edge in use came back"
        };
        let name = self.edges.name(helper.edge).to_string();
        let chosen = alloc::format!("without {name}");
        self.decide(DecisionKind::Hedge, chosen, why, &[]);
    }

    /// Asks another edge for the rest of what a late attempt was to bring.
    pub(super) fn help(&mut self, fetch: &mut Fetch, id: AttemptId, late: Late) {
        let Some(attempt) = fetch.attempt_mut(id) else {
            return;
        };
        attempt.helped(self.now, late);
        let late_edge = attempt.edge;
        let not = fetch.edges_tried();
        let Some(helper) = self
            .edges
            .choose_helper(self.now, fetch.object, fetch.rest(), &not)
        else {
            return;
        };
        // That the line is slow was said when it was found out.
        if !late.is_silence() && self.now < self.line_slow_until {
            return;
        }
        // Help against slowness is a guess and must be paid for; help against silence is not.
        if !late.is_silence() && !self.extra_allowed(ByteCount::new(RACE_BYTES)) {
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
        for attempt in &mut fetch.attempts {
            attempt.wasted_before_help = attempt.wasted;
        }
        self.start_attempt(fetch, helper, Role::Helper, from, None, overlap);
        if let Some(begun) = fetch.attempts.last_mut() {
            begun.helps_against = Some(late);
        }
    }
}
