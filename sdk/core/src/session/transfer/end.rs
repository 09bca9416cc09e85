//! Ends attempts and fetches that are not wanted any more.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::action::{Action, CancelReason};
use crate::event::DecisionKind;
use crate::fetch::{Attempt, Fetch, FetchState, Phase, Role};
use crate::input::{AttemptId, FetchId};
use crate::session::Session;

impl Session {
    /// Takes an attempt out of its fetch and writes it down.
    pub(super) fn close_attempt(
        &mut self,
        fetch: &mut Fetch,
        id: AttemptId,
        result: &str,
        code: Option<&str>,
    ) -> Option<Attempt> {
        let attempt = fetch.take_attempt(id)?;
        if let Some(comparison) = &mut self.comparison {
            comparison.ended(id);
        }
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

    pub(super) fn cancel_connection(&mut self, attempt: AttemptId, drop_connections: bool) {
        self.actions.push_back(Action::CancelAttempt {
            attempt,
            drop_connections,
        });
    }

    pub(in crate::session) fn cancel(
        &mut self,
        fetch: &mut Fetch,
        id: AttemptId,
        reason: CancelReason,
    ) {
        let suspect = reason == CancelReason::Silent;
        self.cancel_connection(id, suspect);
        let Some(attempt) = self.close_attempt(fetch, id, "cancelled", Some(reason.code())) else {
            return;
        };
        if attempt.role == Role::Helper && fetch.attempts.iter().any(|one| one.to.is_none()) {
            if reason == CancelReason::Silent {
                self.edge_failed(attempt.edge, Duration::ZERO, reason.code());
            }
            return;
        }
        if matches!(reason, CancelReason::Silent | CancelReason::Slow) {
            // A slow edge is left, and need not rest: it serves.
            if reason == CancelReason::Silent {
                self.edge_failed(attempt.edge, Duration::ZERO, reason.code());
            }
            self.hand_over(fetch, &attempt, reason.code());
            if let Some(next) = fetch.attempts.iter_mut().find(|one| one.to.is_none()) {
                next.role = Role::Primary;
                let (to, began) = (next.edge, next.first_byte_at.is_some());
                self.take_over(fetch, to, began);
            }
        }
    }

    /// Ends every attempt of a fetch.
    pub(in crate::session) fn cancel_all(&mut self, fetch: &mut Fetch, reason: CancelReason) {
        let live: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
        for id in live {
            self.cancel(fetch, id, reason);
        }
    }

    /// Gives a whole fetch up; what came is forgotten.
    pub(in crate::session) fn abandon(&mut self, id: FetchId, reason: CancelReason) {
        if let Some(index) = self.fetches.iter().position(|fetch| fetch.id == id) {
            let fetch = self.fetches.swap_remove(index);
            self.end_fetch(fetch, reason);
        }
    }

    pub(in crate::session) fn end_fetch(&mut self, mut fetch: Fetch, reason: CancelReason) {
        let live: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
        for id in live {
            self.cancel_connection(id, false);
            self.close_attempt(&mut fetch, id, "cancelled", Some(reason.code()));
        }
        // What the viewer left was asked for once and would have been shown: nobody wasted it.
        if !matches!(reason, CancelReason::Stopped | CancelReason::Abandoned) {
            self.recorder.wasted_fetch(fetch.id);
        }
        self.actions.push_back(Action::Release { fetch: fetch.id });
    }

    /// Every attempt that is under way begins again on fresh connections.
    pub(in crate::session) fn restart_fetches(&mut self, reason: CancelReason) {
        let mut fetches = core::mem::take(&mut self.fetches);
        for probe in fetches.extract_if(.., |fetch| fetch.is_probe()) {
            self.end_fetch(probe, CancelReason::Abandoned);
        }
        for fetch in &mut fetches {
            if matches!(fetch.state, FetchState::Verifying { .. }) {
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

    /// The device is on another network: nothing learnt and no connection holds any more. What was learnt is remembered, and
    /// what is remembered of the new network taken up.
    pub(in crate::session) fn network_changed(&mut self, network: Option<String>) {
        self.config.memory = self.memory();
        self.config.network = network;
        let network = self.config.network.as_deref();
        let remembered = self.config.memory.recall(network, self.time_s());
        self.edges.network_changed(remembered);
        // What was compared, and found, was so over the old one.
        self.comparison = None;
        (self.compare_at, self.untold) = (self.now, 0);
        self.line_slow_until = self.now;
        self.line_slow_rate = None;
        let why = if self.edges.recalls() {
            "the network changed to one that is remembered"
        } else {
            "the network changed"
        };
        self.ask_soon();
        self.actions.push_back(Action::ResetNetwork);
        self.decide(DecisionKind::Edge, "measure anew".into(), why, &[]);
        self.restart_fetches(CancelReason::NetworkChanged);
    }
}
