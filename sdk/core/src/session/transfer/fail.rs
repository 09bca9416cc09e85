//! What follows from a failure: who is at fault, what is tried next, who is told.

use alloc::string::{String, ToString};
use core::time::Duration;

use nearcast_protocol::manifest::TrackKind;

use crate::action::CancelReason;
use crate::edge::{Edge, Remedy, remedy};
use crate::event::{Event, SessionError};
use crate::fetch::{Attempt, Fetch, FetchState, Role};
use crate::input::{AttemptId, CertificateProblem, EdgeId, Failure};
use crate::session::Session;
use crate::session::control::Token;

/// Failures of the player itself, for one object.
const INTERNAL_MAX: u32 = 3;
/// What the player lacks for a moment may be there after this.
const INTERNAL_WAIT: Duration = Duration::from_millis(500);
/// An edge that rests for longer than this is taken for dead where subtitles are concerned.
const CUES_WAIT: Duration = Duration::from_secs(12);
/// The same where another rung can take the object's place.
const REPLACE_WAIT: Duration = Duration::from_secs(2);
/// Two edges that differ are one wrong edge; more are a title that differs everywhere.
const MISMATCHES_MAX: u32 = 2;
/// So many edges do not accept a token before the fetch waits for a new one.
pub(super) const REJECTED_MAX: usize = 2;

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
            self.probe_failed(fetch, &attempt, failure);
            return false;
        }
        fetch.failures += 1;
        self.note_failure(failure, Some(edge));
        // A token is asked for as for anything else.
        let gives_up = remedy(failure) != Remedy::AskBackend && fetch.attempts.is_empty();
        if gives_up && self.is_replacement(fetch.id) {
            return self.replacement_failed(fetch, edge, failure);
        }
        match remedy(failure) {
            Remedy::OtherEdge { rest_min } => {
                self.edge_failed(edge, rest_min, failure.code());
                if is_server_error(failure) {
                    fetch.refused_at.get_or_insert(self.now);
                    if !fetch.refused_by.contains(&edge) {
                        fetch.refused_by.push(edge);
                    }
                    if self.refused_everywhere(fetch) {
                        return self.object_missing(fetch, failure);
                    }
                }
            }
            Remedy::OtherEdgeForObject => {
                fetch.avoid.push(edge);
                if let Some(edge) = self.edges.get_mut(edge) {
                    edge.lacks(fetch.object);
                }
                if self.edges.all_lack(fetch.object) {
                    return self.object_missing(fetch, failure);
                }
            }
            Remedy::AskBackend => match self.token_rejected(attempt.grant) {
                Token::Replaced => {}
                Token::Coming => fetch.rejected.push(edge),
                Token::Refused(error) => {
                    self.cancel_all(fetch, CancelReason::Stopped);
                    self.fail(error);
                    return false;
                }
                Token::AtFault => self.edge_failed(edge, Duration::ZERO, failure.code()),
            },
            Remedy::FetchAgain => {
                fetch.mismatches += 1;
                fetch.avoid.push(edge);
                if fetch.mismatches >= MISMATCHES_MAX {
                    self.fetch_again(fetch, failure);
                    return false;
                }
            }
            Remedy::Tell => {
                // Out of files for a moment is no reason to end; again and again is.
                fetch.internals += 1;
                if fetch.internals >= INTERNAL_MAX {
                    let what = crate::session::control::object_name(fetch.object);
                    let message = alloc::format!("the {what} cannot be fetched by this player");
                    return self.give_up(fetch, failure, message);
                }
                if fetch.attempts.is_empty() {
                    fetch.state = FetchState::Waiting {
                        until: self.now + INTERNAL_WAIT,
                    };
                    return true;
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
            next.role = Role::Primary;
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

    /// What is buffered is good enough: no other edge is asked for something better. Returns that the fetch does not go on.
    fn replacement_failed(&mut self, fetch: &mut Fetch, edge: EdgeId, failure: &Failure) -> bool {
        match remedy(failure) {
            Remedy::OtherEdge { .. } if is_server_error(failure) => {
                self.wrongs.do_not_ask(fetch.object);
            }
            Remedy::OtherEdge { rest_min } => self.edge_failed(edge, rest_min, failure.code()),
            Remedy::OtherEdgeForObject => {
                if let Some(edge) = self.edges.get_mut(edge) {
                    edge.lacks(fetch.object);
                }
                self.wrongs.do_not_ask(fetch.object);
            }
            Remedy::AskBackend | Remedy::FetchAgain | Remedy::Tell => {}
        }
        self.drop_replacement(fetch.id);
        false
    }

    /// Before the first frame, a failure that no waiting cures ends the session at once when every edge
    /// shows it.
    pub(super) fn hopeless(&mut self, fetch: &Fetch, failure: &Failure) -> bool {
        let lasting = matches!(failure, Failure::TlsCertificate(_))
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

    /// A probe answers one question, whether the edge may be used; any answer over HTTP ends a trial.
    fn probe_failed(&mut self, fetch: &Fetch, attempt: &Attempt, failure: &Failure) {
        match remedy(failure) {
            Remedy::OtherEdge { rest_min } => {
                self.edge_failed(attempt.edge, rest_min, failure.code())
            }
            Remedy::OtherEdgeForObject => {
                if let Some(edge) = self.edges.get_mut(attempt.edge) {
                    edge.lacks(fetch.object);
                }
                self.edge_gave(attempt.edge);
            }
            Remedy::AskBackend => match self.token_rejected(attempt.grant) {
                Token::Replaced | Token::Coming | Token::Refused(_) => {
                    self.edge_gave(attempt.edge);
                }
                Token::AtFault => self.edge_failed(attempt.edge, Duration::ZERO, failure.code()),
            },
            Remedy::FetchAgain | Remedy::Tell => {}
        }
    }

    /// Whether no edge gives the object, as far as one can know: all that answer lack it or give it wrong, and those
    /// that rest do so for longer than it can be done without. Where nothing can take the object's place, they are
    /// waited for.
    pub(super) fn given_by_nobody(&self, fetch: &Fetch) -> bool {
        let object = fetch.object;
        if self.edges.all_lack(object) {
            return true;
        }
        let bad = |id: EdgeId, edge: &Edge| {
            edge.is_without(object) || self.wrongs.is_convicted(object, id)
        };
        let bad: alloc::vec::Vec<EdgeId> = self
            .edges
            .iter()
            .filter(|(id, edge)| edge.offered && bad(*id, edge))
            .map(|(id, _)| id)
            .collect();
        if bad.is_empty()
            || self.edges.usable(self.now, object, &bad).next().is_some()
            || !self.is_replaceable(object)
        {
            return false;
        }
        // Nothing waits for subtitles; a picture that waits for its edge sinks lower than it would elsewhere.
        let patience = match fetch.track {
            Some(TrackKind::Text) => CUES_WAIT,
            Some(TrackKind::Video | TrackKind::Audio) | None => {
                (self.spare(fetch) / 2).min(REPLACE_WAIT)
            }
        };
        let rested = self.edges.rested_at(object, &bad);
        rested.is_none_or(|at| at.since(self.now) > patience)
    }

    /// Every edge answered with an error for this object, and one of them has served another since: the object is
    /// at fault, and the edges need not rest.
    fn refused_everywhere(&mut self, fetch: &Fetch) -> bool {
        let serves = |id: &EdgeId| {
            let edge = self.edges.get(*id);
            edge.is_some_and(|edge| edge.served_at > fetch.refused_at)
        };
        let everywhere = self
            .edges
            .iter()
            .filter(|(_, edge)| edge.offered)
            .all(|(id, _)| fetch.refused_by.contains(&id));
        if !everywhere || !fetch.refused_by.iter().any(serves) {
            return false;
        }
        for edge in fetch.refused_by.clone() {
            self.edge_served(edge);
        }
        true
    }

    /// The edge is at fault, for the reason of this code: it rests.
    pub(in crate::session) fn edge_failed(
        &mut self,
        edge: EdgeId,
        rest_min: Duration,
        why: &'static str,
    ) {
        self.edges.fail(self.now, edge, rest_min, why);
        self.edge_state_changed(edge, Some(why));
    }

    pub(in crate::session) fn note_failure(&mut self, failure: &Failure, edge: Option<EdgeId>) {
        let place = edge.map_or("an edge", |edge| self.edges.name(edge));
        self.last_failure = Some(SessionError {
            code: failure.code().into(),
            message: alloc::format!("{place}: {}", describe(failure)),
        });
    }

    pub(in crate::session) fn edge_state_changed(&mut self, edge: EdgeId, why: Option<&str>) {
        if let Some(state) = self.edges.get(edge).map(|one| one.state(self.now)) {
            let reason = why.map(ToString::to_string);
            self.events.push_back(Event::EdgeState {
                edge,
                state,
                reason,
            });
        }
    }
}

/// An answer that says something about the object or the server behind the edge; 503 is about time.
const fn is_server_error(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Http {
            status: 500..=599,
            ..
        }
    ) && !matches!(failure, Failure::Http { status: 503, .. })
}

/// What a failure means, for people.
fn describe(failure: &Failure) -> String {
    let text = match failure {
        Failure::Dns => "its name cannot be resolved; check the address and the network",
        Failure::Refused => "the connection was refused; is the server running?",
        Failure::ConnectTimeout => "no connection in time; check the network",
        Failure::Unreachable => "there is no way to its address; check the network",
        Failure::TlsCertificate(problem) => match problem {
            CertificateProblem::UnknownIssuer => {
                "its certificate is not trusted: its issuer is unknown"
            }
            CertificateProblem::WrongName => "its certificate is for another name",
            CertificateProblem::Expired => "its certificate has expired",
            CertificateProblem::NotYetValid => {
                "its certificate is not valid yet; is the clock of this device right?"
            }
            CertificateProblem::Revoked => "its certificate was revoked",
            CertificateProblem::Other => "its certificate is unusable",
        },
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
