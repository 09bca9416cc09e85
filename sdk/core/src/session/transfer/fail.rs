//! What follows from a failure: who is at fault, what is tried next, who is told.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::action::{Action, CancelReason};
use crate::edge::{Remedy, remedy};
use crate::event::{Event, SessionError};
use crate::fetch::{Fetch, Role};
use crate::input::{AttemptId, EdgeId, Failure};
use crate::session::Session;

/// Failures of the player itself, for one object.
const INTERNAL_MAX: u32 = 3;
/// Two edges that differ are one wrong edge; more are a title that differs everywhere.
const MISMATCHES_MAX: u32 = 2;
/// More rejected tokens than this are not about tokens.
const REJECTIONS_MAX: u32 = 4;

impl Session {
    pub(super) fn attempt_failed(
        &mut self,
        fetch: &mut Fetch,
        id: AttemptId,
        failure: &Failure,
    ) -> bool {
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
                    let what = crate::session::control::object_name(fetch.object);
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
    pub(super) fn hopeless(&mut self, fetch: &Fetch, failure: &Failure) -> bool {
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
    pub(super) fn object_missing(&mut self, fetch: &mut Fetch, failure: &Failure) -> bool {
        let live: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
        for id in live {
            self.cancel(fetch, id, CancelReason::Abandoned);
        }
        let what = crate::session::control::object_name(fetch.object);
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
    pub(super) fn give_up(&mut self, fetch: &Fetch, failure: &Failure, message: String) -> bool {
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

    pub(super) fn note_failure(&mut self, failure: &Failure, edge: Option<EdgeId>) {
        let place = edge.map_or("an edge", |edge| self.edges.name(edge));
        self.last_failure = Some(SessionError {
            code: failure.code().into(),
            message: alloc::format!("{place}: {}", describe(failure)),
        });
    }

    pub(super) fn edge_state_changed(&mut self, edge: EdgeId) {
        if let Some(state) = self.edges.get(edge).map(|one| one.state(self.now)) {
            self.events.push_back(Event::EdgeState { edge, state });
        }
    }
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
