//! What becomes of the attempts that sessions start: connection, request, answer, and what goes wrong with each.

use std::time::Duration;

use nearcast_appliance::fault::{DnsProblem, Fault, TlsProblem};
use nearcast_appliance::{
    self as appliance, Answer, BodyEnd, Disposition, Effect, Spoil, StatusFault, Target,
};
use nearcast_core::{
    AttemptSpec, CertificateProblem, Failure, Protocol, TransportEvent, Validators,
};
use nearcast_link::{Arrival, FlowId, LinkState, TransferId, Transport};
use nearcast_units::{BitRate, ByteCount, Instant};

use super::{Attempt, Got, Heard, World, moment};
use crate::title::Label;

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
    spec: AttemptSpec,
    label: Label,
    edge: usize,
    flow: Option<FlowId>,
    transfer: Option<TransferId>,
    /// Offset of the first byte of the answer, and of the next one that arrives.
    first: u64,
    next: u64,
    end: u64,
    total: u64,
    phase: Phase,
    /// What goes wrong with its answer, and which orders were known when that was decided.
    decided: Disposition,
    known: appliance::Asked,
    /// What its body is held back to.
    held: Option<BitRate>,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
    /// The name is resolved, and the handshake begins.
    Connects,
    Connected,
    Requested,
    /// What was to be late has been.
    Begins,
    Fails(Failure),
    /// With a status that is no success, and `Retry-After`.
    Answered(u16, Option<u32>),
}

/// Handshakes of a new connection: TCP and TLS 1.3.
const HANDSHAKE_ROUND_TRIPS: u32 = 2;
/// What a resolver takes that is slow.
const SLOW_DNS: Duration = Duration::from_secs(3);
/// How long the player waits for QUIC before it asks over TCP.
const QUIC_ALONE: Duration = Duration::from_millis(300);
/// Redirects that the player follows.
const REDIRECTS_MAX: u32 = 5;
/// A captive portal's page.
const PORTAL_BYTES: u64 = 300;

impl World {
    pub(crate) fn start(&mut self, now: Instant, client: usize, edge: usize, asked: Asked) {
        let Asked { spec, label, total } = asked;
        let total = total.get();
        let end = spec.to.unwrap_or(total).min(total);
        let id = (client, spec.attempt);
        let warm = self.clients[client].idle[edge].pop();
        if let Some(flow) = warm {
            self.flows.insert(flow, id);
        }
        self.attempts.insert(
            id,
            AttemptModel {
                first: spec.from,
                next: spec.from,
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
            },
        );
        if warm.is_some() {
            self.due.add(now, (id, Step::Connected));
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
        let stands = now + rtt * HANDSHAKE_ROUND_TRIPS;
        let client = &self.clients[id.0].name;
        let fault = self.edges[edge].appliance.connect(moment(now), client);
        let (at, step) = match fault {
            None => (stands, Step::Connected),
            Some(Fault::Refuse) => (now + rtt, Step::Fails(Failure::Refused)),
            Some(Fault::UdpBlocked) => (stands + QUIC_ALONE, Step::Connected),
            Some(Fault::Dns { problem }) => match problem {
                DnsProblem::Fails => (now + rtt, Step::Fails(Failure::Dns)),
                DnsProblem::Slow => (now + SLOW_DNS, Step::Connects),
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
        self.due.add(at, (id, step));
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
            self.network.close_flow(now, flow);
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
            self.network.close_flow(now, flow);
        }
    }

    /// Forgets an attempt whose connection serves another.
    fn finished(&mut self, id: Attempt) -> Option<AttemptModel> {
        let attempt = self.attempts.remove(&id)?;
        if let Some(flow) = attempt.flow {
            self.flows.remove(&flow);
            self.clients[id.0].idle[attempt.edge].push(flow);
        }
        Some(attempt)
    }

    pub(super) fn step(&mut self, now: Instant, id: Attempt, step: Step, heard: &mut Vec<Heard>) {
        match step {
            Step::Connects => {
                let Some(attempt) = self.attempts.get(&id) else {
                    return;
                };
                let route = self.route(id.0, attempt.edge);
                let stands = now + self.network.round_trip(&route) * HANDSHAKE_ROUND_TRIPS;
                self.due.add(stands, (id, Step::Connected));
            }
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
                if self.finished(id).is_some() {
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
        if cold {
            match self.state(edge) {
                LinkState::Stopped => return,
                LinkState::Killed => return self.fails(now, id, Failure::Refused),
                LinkState::Up => {}
            }
            let Ok(flow) = self.network.open_flow(now, &route, Transport::Tcp) else {
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
            protocol: Protocol::H2,
            rtt: Some(rtt),
        };
        heard.push((id, connected));
        heard.push((id, TransportEvent::RequestSent));
        self.due.add(now + rtt / 2, (id, Step::Requested));
    }

    fn fails(&mut self, at: Instant, id: Attempt, failure: Failure) {
        self.due.add(at, (id, Step::Fails(failure)));
    }

    /// The request reached the appliance.
    fn requested(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let edge = attempt.edge;
        if self.network.state(self.edges[edge].link) != LinkState::Up {
            return; // A stopped appliance is silent; a killed one has reset the flow, which arrives by itself.
        }
        let target = attempt.target(&self.clients[id.0].name);
        let appliance = &mut self.edges[edge].appliance;
        let decided = appliance.decide(moment(now), target);
        let late = decided.late;
        if !late.is_zero() {
            appliance.handle_effect(moment(now), target, &decided, Effect::Late);
        }
        attempt.known = appliance.asked();
        attempt.decided = decided;
        if late.is_zero() {
            return self.begins(now, id);
        }
        attempt.phase = Phase::Late;
        self.due.add(now + late, (id, Step::Begins));
    }

    /// The answer begins, if there is to be one.
    fn begins(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let edge = attempt.edge;
        if self.network.state(self.edges[edge].link) != LinkState::Up {
            return;
        }
        if matches!(
            attempt.phase,
            Phase::Answering | Phase::Answered | Phase::Hanging
        ) {
            return; // It was let go before its time.
        }
        attempt.phase = Phase::Answering;
        let answer = attempt.decided.answer;
        let rtt = self.network.round_trip(&self.route(id.0, edge));
        let arrives = now + rtt / 2;
        match answer {
            Answer::Good => {}
            Answer::Status(StatusFault {
                status,
                retry_after_s,
            }) => {
                return self
                    .due
                    .add(arrives, (id, Step::Answered(status, retry_after_s)));
            }
            Answer::TokenExpired => return self.due.add(arrives, (id, Step::Answered(403, None))),
            Answer::RedirectLoop => {
                let at = arrives + rtt * REDIRECTS_MAX;
                return self.fails(at, id, Failure::RedirectLoop);
            }
            Answer::WrongRange => return self.fails(arrives, id, Failure::WrongRange),
            // The player takes nothing that is compressed.
            Answer::GzipBomb => return self.fails(arrives, id, Failure::Protocol),
            Answer::Portal => {
                self.corrupt.insert(id);
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    (attempt.first, attempt.next) = (0, 0);
                    (attempt.end, attempt.total) = (PORTAL_BYTES, PORTAL_BYTES);
                }
            }
            // Of a part both its range and its length are said, and they do not fit.
            Answer::Longer if self.is_part(id) => {
                return self.fails(arrives, id, Failure::WrongRange);
            }
            // HTTP/2 ends the stream where there is more than was said, with the word that it has for less.
            Answer::Longer => {
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    let half = attempt.first + (attempt.end - attempt.first) / 2;
                    attempt.total = attempt.total.min(half);
                }
            }
        }
        self.sends(now, id);
    }

    fn is_part(&self, id: Attempt) -> bool {
        let attempt = self.attempts.get(&id);
        attempt.is_some_and(|one| one.spec.from > 0 || one.spec.to.is_some())
    }

    /// Sends what is left of a body.
    fn sends(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let Some(flow) = attempt.flow else {
            return;
        };
        let length = ByteCount::new(attempt.end.saturating_sub(attempt.next));
        let transfer = self.network.send(now, flow, length);
        attempt.transfer = Some(transfer);
        attempt.held = None;
        self.transfers.insert(transfer, id);
        self.holds_back(now, id);
    }

    /// Holds a body back, or lets it go, as its faults have it by now.
    fn holds_back(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let at = attempt.next - attempt.first;
        let slowed = attempt.decided.slowed.filter(|slowed| at >= slowed.after);
        let rate = slowed.map(|slowed| slowed.rate);
        let (Some(transfer), true) = (attempt.transfer, attempt.held != rate) else {
            return;
        };
        attempt.held = rate;
        self.network.limit(now, transfer, rate);
        if rate.is_some() {
            self.takes_effect(now, id, Effect::Slowed { at });
        }
    }

    fn takes_effect(&mut self, now: Instant, id: Attempt, effect: Effect) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let edge = attempt.edge;
        let target = attempt.target(&self.clients[id.0].name);
        let appliance = &mut self.edges[edge].appliance;
        appliance.handle_effect(moment(now), target, &attempt.decided, effect);
        self.follow(now, edge);
    }

    /// Answers under way hear of new orders.
    pub(super) fn revise(&mut self, now: Instant, edge: usize) {
        let of_edge = self.attempts.iter().filter(|(_, one)| one.edge == edge);
        let ids: Vec<Attempt> = of_edge.map(|(id, _)| *id).collect();
        for id in ids {
            let appliance = &mut self.edges[edge].appliance;
            let Some(attempt) = self.attempts.get_mut(&id) else {
                continue;
            };
            let is_asked = !matches!(attempt.phase, Phase::Connecting | Phase::Asking);
            if !is_asked || attempt.known == appliance.asked() {
                continue;
            }
            let before = std::mem::take(&mut attempt.decided);
            let sent = attempt.next - attempt.first;
            let target = attempt.target(&self.clients[id.0].name);
            let decided = appliance.revise(target, sent, before, attempt.known);
            attempt.known = appliance.asked();
            attempt.decided = decided;
            match attempt.phase {
                Phase::Late if attempt.decided.late.is_zero() => self.begins(now, id),
                Phase::Hanging if !matches!(attempt.decided.end, BodyEnd::Hang { .. }) => {
                    attempt.phase = Phase::Answered;
                    self.sends(now, id);
                }
                Phase::Answering | Phase::Answered => self.holds_back(now, id),
                Phase::Connecting | Phase::Asking | Phase::Late | Phase::Hanging => {}
            }
        }
    }

    pub(super) fn arrival(&mut self, now: Instant, arrival: Arrival, heard: &mut Vec<Heard>) {
        match arrival {
            Arrival::Bytes {
                transfer,
                bytes,
                last,
                ..
            } => self.bytes_arrived(now, transfer, bytes, last, heard),
            Arrival::Reset { flow, .. } => {
                if let Some(id) = self.flows.remove(&flow)
                    && let Some(lost) = self.attempts.remove(&id)
                {
                    if let Some(transfer) = lost.transfer {
                        self.transfers.remove(&transfer);
                    }
                    heard.push((id, TransportEvent::Failed(Failure::Reset)));
                }
            }
        }
    }

    fn bytes_arrived(
        &mut self,
        now: Instant,
        transfer: TransferId,
        bytes: ByteCount,
        last: bool,
        heard: &mut Vec<Heard>,
    ) {
        let Some(&id) = self.transfers.get(&transfer) else {
            return;
        };
        let digest = self.digests.then(|| "sha-256".to_owned());
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let edge = attempt.edge;
        if attempt.phase == Phase::Answering {
            attempt.phase = Phase::Answered;
            let answer = TransportEvent::Headers {
                status: 200,
                from: attempt.first,
                validators: Validators {
                    total: Some(attempt.total),
                    etag: None,
                    digest,
                },
                retry_after: None,
            };
            heard.push((id, answer));
        }
        let (first, from) = (attempt.first, attempt.next);
        let to = from + bytes.get();
        let wrong_from = attempt.decided.spoilt.map(|spoilt| {
            let flips = spoilt.how == Spoil::Flipped;
            let length = attempt.end.saturating_sub(first + spoilt.after);
            spoilt.after + if flips { (length / 2).min(500) } else { 0 }
        });
        let too_much = attempt.decided.answer == Answer::Longer && to > attempt.total;
        let (end, total) = (attempt.decided.end, attempt.total);
        self.count(now, id.0, edge, bytes);
        if let Some(at) = wrong_from
            && to > first + at
            && self.corrupt.insert(id)
        {
            self.takes_effect(now, id, Effect::Spoilt { at });
        }
        let cut = match end {
            _ if too_much => Some((total, Some(Failure::Truncated))),
            BodyEnd::Reset { after } => Some((first + after, Some(Failure::Reset))),
            BodyEnd::Truncate { after } => Some((first + after, Some(Failure::Truncated))),
            BodyEnd::Hang { after } => Some((first + after, None)),
            BodyEnd::Complete | BodyEnd::Link { .. } => None,
        };
        if let Some((at, failure)) = cut.filter(|(at, _)| to >= *at) {
            if at > from {
                heard.push((id, TransportEvent::Progress { from, to: at }));
            }
            self.takes_effect(now, id, Effect::Cut);
            return match failure {
                Some(failure) => {
                    heard.push((id, TransportEvent::Failed(failure)));
                    self.cancel(now, id, false);
                }
                None => self.hangs(now, id, at.max(from)),
            };
        }
        if let BodyEnd::Link { after, .. } = end
            && to >= first + after
        {
            self.takes_effect(now, id, Effect::Cut);
        }
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if matches!(end, BodyEnd::Link { after, .. } if to >= first + after) {
            attempt.decided.end = BodyEnd::Complete;
        }
        attempt.next = to;
        let got = Got {
            object: attempt.spec.object,
            offset: to,
            total: attempt.total,
        };
        let serves = !attempt.spec.probe;
        heard.push((id, TransportEvent::Progress { from, to }));
        if last {
            heard.push((id, TransportEvent::Complete));
            self.transfers.remove(&transfer);
            self.finished(id);
        } else {
            self.holds_back(now, id);
        }
        if serves && !self.traps.is_empty() {
            self.spring(now, id.0, edge, got);
        }
    }

    /// Nothing more of a body comes.
    fn hangs(&mut self, now: Instant, id: Attempt, at: u64) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        attempt.next = at;
        attempt.phase = Phase::Hanging;
        if let Some(transfer) = attempt.transfer.take() {
            self.network.cancel(now, transfer);
            self.transfers.remove(&transfer);
        }
    }
}

impl AttemptModel {
    fn target<'a>(&'a self, client: &'a str) -> Target<'a> {
        let length = self.end.saturating_sub(self.first);
        self.label.target(client, self.first, length)
    }
}
