//! What becomes of the attempts that sessions start: connection and request, and what goes wrong with each.

use std::time::Duration;

use nearcast_appliance::fault::{DnsProblem, Fault, TlsProblem};
use nearcast_appliance::token::Claims;
use nearcast_appliance::{self as appliance, Disposition, Effect, Outcome, Target};
use nearcast_core::{
    AttemptSpec, CertificateProblem, Failure, Protocol, TransportEvent, Validators,
};
use nearcast_link::{FlowId, LinkState, TransferId, Transport};
use nearcast_units::{BitRate, ByteCount, Instant};

use super::answer::TurnedAway;
use super::{Attempt, Due, Heard, World, moment};
use crate::title::{FILES, Label};

/// What is asked of an appliance.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) spec: AttemptSpec,
    /// What the appliance calls it.
    pub(crate) label: Label,
    /// The object's size.
    pub(crate) total: ByteCount,
}

#[derive(Debug)]
pub(super) struct AttemptModel {
    pub(super) spec: AttemptSpec,
    pub(super) label: Label,
    pub(super) edge: usize,
    pub(super) flow: Option<FlowId>,
    pub(super) transfer: Option<TransferId>,
    /// Offset of the first byte of the answer, and of the next one that arrives.
    pub(super) first: u64,
    pub(super) next: u64,
    /// Offset of the next one that its session is told of.
    pub(super) told: u64,
    pub(super) end: u64,
    pub(super) total: u64,
    pub(super) phase: Phase,
    /// What goes wrong with its answer, and which orders were known when that was decided.
    pub(super) decided: Disposition,
    pub(super) known: appliance::Asked,
    /// What its body is held back to.
    pub(super) held: Option<BitRate>,
    pub(super) token: Option<Claims>,
    /// The appliance does not want to serve it: that is known before anything goes wrong with the answer.
    pub(super) turned_away: Option<TurnedAway>,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Asking,
    /// The answer is held back.
    Late,
    Answering,
    Answered,
    /// Nothing more of the body comes, until the appliance is told otherwise.
    Hanging,
}

/// A step of an attempt that happens at its own time.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Connected,
    Requested,
    /// What was to be late has been.
    Begins,
    Fails(Failure),
    /// With a status that is no success, and `Retry-After`.
    Answered(u16, Option<u32>),
}

/// Handshakes of a new connection: TCP and TLS 1.3, or QUIC.
const fn handshake_round_trips(http3: bool) -> u32 {
    if http3 { 1 } else { 2 }
}

/// When the player's resolver gives up, which asks twice for a second each: slow answers come later.
const NAMES_GIVEN_UP: Duration = Duration::from_secs(2);
/// How long the player waits for QUIC before it asks over TCP.
const QUIC_ALONE: Duration = Duration::from_millis(300);

impl World {
    pub(crate) fn start(&mut self, now: Instant, client: usize, edge: usize, asked: Asked) {
        let Asked { spec, label, total } = asked;
        let total = total.get();
        let end = spec.to.unwrap_or(total).min(total);
        let id = (client, spec.attempt);
        let warm = self.clients[client].idle[edge].pop();
        let held = self.clients[client].held.as_ref();
        let token = held.map(|held| Claims {
            playback_id: held.playback_id.clone(),
            path_prefix: FILES.to_owned(),
            expires_at_unix_ms: moment(held.token_expires).unix_ms,
            // Nobody signs anything here.
            key_id: String::new(),
        });
        if let Some(flow) = warm {
            self.flows.insert(flow, id);
        }
        self.attempts.insert(
            id,
            AttemptModel {
                first: spec.from,
                next: spec.from,
                told: spec.from,
                spec,
                label,
                edge,
                flow: warm,
                transfer: None,
                end,
                total,
                phase: Phase::Connecting,
                decided: Disposition::default(),
                known: appliance::Asked::default(),
                held: None,
                token,
                turned_away: None,
            },
        );
        if warm.is_some() {
            self.due.add(now, Due::Attempt(id, Step::Connected));
        } else {
            self.connect(now, id);
        }
    }

    /// Begins a connection, in which much can go wrong.
    fn connect(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let edge = attempt.edge;
        let rtt = self.network.round_trip(&self.route(id.0, edge));
        let http3 = self.edges[edge].http3;
        let round_trips = handshake_round_trips(http3);
        let again = self.handshake_again(id.0, edge, round_trips);
        let stands = now + rtt * round_trips + again;
        let model = &mut self.edges[edge];
        let moment = model.moment(now);
        let can_happen = |fault: &Fault| http3 || *fault != Fault::UdpBlocked;
        let client = &self.clients[id.0].name;
        let fault = model.appliance.connect_where(moment, client, can_happen);
        if fault.is_some() {
            let receipt = model.appliance.receipts().last();
            let used: Vec<String> = receipt.and_then(|one| one.id.clone()).into_iter().collect();
            self.settle(now, edge, &used);
        }
        let (at, step) = match fault {
            None => (stands, Step::Connected),
            Some(Fault::Refuse) => (now + rtt, Step::Fails(Failure::Refused)),
            Some(Fault::UdpBlocked) => (stands + QUIC_ALONE, Step::Connected),
            Some(Fault::Dns { problem }) => match problem {
                DnsProblem::Fails => (now + rtt, Step::Fails(Failure::Dns)),
                DnsProblem::Slow => (now + NAMES_GIVEN_UP, Step::Fails(Failure::Dns)),
                // Nobody answers there.
                DnsProblem::WrongAddress => return,
            },
            Some(Fault::Tls { problem }) => {
                let wrong = match problem {
                    TlsProblem::Expired => CertificateProblem::Expired,
                    TlsProblem::WrongName => CertificateProblem::WrongName,
                    TlsProblem::Stall => return,
                };
                (stands, Step::Fails(Failure::TlsCertificate(wrong)))
            }
            Some(_) => return,
        };
        self.due.add(at, Due::Attempt(id, step));
    }

    pub(crate) fn cancel(&mut self, now: Instant, id: Attempt, drop_connections: bool) {
        let Some(attempt) = self.attempts.remove(&id) else {
            return;
        };
        if let Some(transfer) = attempt.transfer {
            self.network.cancel(now, transfer);
            self.transfers.remove(&transfer);
        }
        if let Some(flow) = attempt.flow {
            self.flows.remove(&flow);
            self.close(now, flow);
        }
        if drop_connections {
            self.drop_idle(now, id.0, attempt.edge);
        }
    }

    /// Ends all connections that a client has and does not use.
    pub(crate) fn reset(&mut self, now: Instant, client: usize) {
        for edge in 0..self.edges.len() {
            self.drop_idle(now, client, edge);
        }
    }

    fn drop_idle(&mut self, now: Instant, client: usize, edge: usize) {
        for flow in std::mem::take(&mut self.clients[client].idle[edge]) {
            self.close(now, flow);
        }
    }

    /// Forgets an attempt whose connection serves another.
    pub(super) fn finished(&mut self, id: Attempt) -> Option<AttemptModel> {
        let attempt = self.attempts.remove(&id)?;
        if let Some(flow) = attempt.flow {
            self.flows.remove(&flow);
            self.clients[id.0].idle[attempt.edge].push(flow);
        }
        Some(attempt)
    }

    pub(super) fn step(&mut self, now: Instant, id: Attempt, step: Step, heard: &mut Vec<Heard>) {
        match step {
            Step::Connected => self.connected(now, id, heard),
            Step::Requested => self.requested(now, id),
            Step::Begins => self.begins(now, id),
            Step::Fails(failure) => {
                if self.attempts.contains_key(&id) {
                    self.cancel(now, id, false);
                    heard.push((id, TransportEvent::Failed(failure)));
                }
            }
            Step::Answered(status, retry_after_s) => {
                if let Some(attempt) = self.finished(id) {
                    let outcome = if status >= 500 {
                        Outcome::Failed
                    } else {
                        Outcome::Good
                    };
                    self.served(now, attempt.edge, outcome);
                    let answer = TransportEvent::Headers {
                        status,
                        from: 0,
                        validators: Validators::default(),
                        retry_after: retry_after_s
                            .map(|seconds| Duration::from_secs(u64::from(seconds))),
                    };
                    heard.push((id, answer));
                }
            }
        }
    }

    fn connected(&mut self, now: Instant, id: Attempt, heard: &mut Vec<Heard>) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let edge = attempt.edge;
        let route = self.route(id.0, edge);
        let rtt = self.network.round_trip(&route);
        let cold = attempt.flow.is_none();
        let (transport, protocol) = if self.edges[edge].http3 {
            (Transport::Quic, Protocol::H3)
        } else {
            (Transport::Tcp, Protocol::H2)
        };
        if cold {
            match self.state(edge) {
                LinkState::Stopped => return,
                LinkState::Killed => return self.fails(now, id, Failure::Refused),
                LinkState::Up => {}
            }
            let Ok(flow) = self.network.open_flow(now, &route, transport) else {
                return self.fails(now, id, Failure::Refused);
            };
            self.flows.insert(flow, id);
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.flow = Some(flow);
            }
        }
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.phase = Phase::Asking;
        }
        let connected = TransportEvent::Connected {
            cold,
            protocol,
            rtt: Some(rtt),
        };
        heard.push((id, connected));
        heard.push((id, TransportEvent::RequestSent));
        let arrives = now + rtt / 2 + self.request_again(id.0, edge) + self.jitter(id.0, edge);
        self.due.add(arrives, Due::Attempt(id, Step::Requested));
    }

    pub(super) fn fails(&mut self, at: Instant, id: Attempt, failure: Failure) {
        self.due.add(at, Due::Attempt(id, Step::Fails(failure)));
    }

    /// The request reached the appliance.
    fn requested(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let edge = attempt.edge;
        if self.network.state(self.edges[edge].link) != LinkState::Up {
            return; // A stopped appliance is silent; a killed one has reset the flow, which arrives by itself.
        }
        let turned_away = self.turns_away(now, id);
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        attempt.turned_away = turned_away;
        let model = &mut self.edges[edge];
        let moment = model.moment(now);
        let target = attempt.target(&self.clients[id.0].name);
        let decided = model.appliance.decide(moment, target);
        let late = decided.late;
        if !late.is_zero() {
            model
                .appliance
                .handle_effect(moment, target, &decided, Effect::Late);
        }
        attempt.known = model.appliance.asked();
        let used: Vec<String> = decided.rules().map(str::to_owned).collect();
        attempt.decided = decided;
        self.settle(now, edge, &used);
        if late.is_zero() {
            return self.begins(now, id);
        }
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.phase = Phase::Late;
        }
        self.due.add(now + late, Due::Attempt(id, Step::Begins));
    }
}

impl AttemptModel {
    pub(super) fn target<'a>(&'a self, client: &'a str) -> Target<'a> {
        // Who is turned away gets no body, and nothing goes wrong with it.
        let is_served = self.turned_away.is_none();
        let length = self.end.saturating_sub(self.first) * u64::from(is_served);
        self.label.target(client, self.first, length)
    }
}
