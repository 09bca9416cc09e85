//! What becomes of the attempts that sessions start: connection, request, answer, and what goes wrong with each.

use std::time::Duration;

use nearcast_core::{AttemptSpec, Failure, Protocol, TransportEvent, Validators};
use nearcast_link::{Arrival, FlowId, LinkState, TransferId, Transport};
use nearcast_protocol::fault::Fault;
use nearcast_units::{ByteCount, Instant};

use super::{Attempt, Got, Heard, World, share_of};

#[derive(Debug)]
pub(super) struct AttemptModel {
    spec: AttemptSpec,
    edge: usize,
    flow: Option<FlowId>,
    transfer: Option<TransferId>,
    /// Offset of the next byte.
    next: u64,
    end: u64,
    total: u64,
    answered: bool,
    /// The answer was held back once.
    delayed: bool,
    /// The body ends before it should, in this way, at this offset.
    cut: Option<(u64, Failure)>,
}

/// A step of an attempt that happens at its own time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Connected,
    Requested,
    Refused,
    /// With a status that is no success, and `Retry-After`.
    Answered(u16, Option<u32>),
}

/// Handshakes of a new connection: TCP and TLS 1.3.
const HANDSHAKE_ROUND_TRIPS: u32 = 2;

impl World {
    pub(crate) fn start(
        &mut self,
        now: Instant,
        client: usize,
        edge: usize,
        spec: AttemptSpec,
        total: ByteCount,
    ) {
        let total = total.get();
        let end = spec.to.unwrap_or(total).min(total);
        let id = (client, spec.attempt);
        let rtt = self.network.round_trip(&self.route(client, edge));
        let warm = self.clients[client].idle[edge].pop();
        if let Some(flow) = warm {
            self.flows.insert(flow, id);
        }
        self.attempts.insert(
            id,
            AttemptModel {
                next: spec.from,
                spec,
                edge,
                flow: warm,
                transfer: None,
                end,
                total,
                answered: false,
                delayed: false,
                cut: None,
            },
        );
        let connected = if warm.is_some() {
            now
        } else {
            now + rtt * HANDSHAKE_ROUND_TRIPS
        };
        self.due.add(connected, (id, Step::Connected));
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
            Step::Connected => self.connected(now, id, heard),
            Step::Requested => self.requested(now, id),
            Step::Refused => {
                if self.attempts.remove(&id).is_some() {
                    heard.push((id, TransportEvent::Failed(Failure::Refused)));
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
                LinkState::Killed => return self.due.add(now, (id, Step::Refused)),
                LinkState::Up => {}
            }
            let Ok(flow) = self.network.open_flow(now, &route, Transport::Tcp) else {
                return self.due.add(now, (id, Step::Refused));
            };
            self.flows.insert(flow, id);
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.flow = Some(flow);
            }
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

    /// The request reached the appliance.
    fn requested(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let (edge, from) = (attempt.edge, attempt.next);
        if self.state(edge) != LinkState::Up {
            return; // A stopped appliance is silent; a killed one has reset the flow, which arrives by itself.
        }
        let length = attempt.end.saturating_sub(from);
        let one_way = self.network.round_trip(&self.route(id.0, edge)) / 2;
        let faulty = &self.edges[edge];
        let fault = faulty.fault.as_ref();
        let cut = match fault.filter(|_| (faulty.on)(attempt.spec.object)) {
            Some(Fault::Status {
                status,
                retry_after_s,
            }) => {
                let answer = Step::Answered(*status, *retry_after_s);
                return self.due.add(now + one_way, (id, answer));
            }
            Some(Fault::LateFirstByte { delay_ms }) if !attempt.delayed => {
                let later = now + Duration::from_millis(*delay_ms);
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    attempt.delayed = true;
                }
                return self.due.add(later, (id, Step::Requested));
            }
            Some(Fault::Corrupt) => {
                self.corrupt.insert(id);
                None
            }
            Some(Fault::Reset { after }) => Some((from + share_of(*after, length), Failure::Reset)),
            Some(Fault::Truncate { after }) => {
                Some((from + share_of(*after, length), Failure::Truncated))
            }
            Some(
                Fault::LateFirstByte { .. }
                | Fault::Kill
                | Fault::Stop
                | Fault::Rate { .. }
                | Fault::Trickle { .. }
                | Fault::Delay { .. },
            )
            | None => None,
        };
        let (Some(flow), Some(attempt)) = (attempt.flow, self.attempts.get_mut(&id)) else {
            return;
        };
        attempt.cut = cut;
        let transfer = self.network.send(now, flow, ByteCount::new(length));
        attempt.transfer = Some(transfer);
        self.transfers.insert(transfer, id);
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
        if !attempt.answered {
            attempt.answered = true;
            let answer = TransportEvent::Headers {
                status: 200,
                from: attempt.spec.from,
                validators: Validators {
                    total: Some(attempt.total),
                    etag: None,
                    digest,
                },
                retry_after: None,
            };
            heard.push((id, answer));
        }
        let from = attempt.next;
        let to = from + bytes.get();
        if let Some((at, failure)) = attempt.cut.clone()
            && to >= at
        {
            if at > from {
                heard.push((id, TransportEvent::Progress { from, to: at }));
            }
            heard.push((id, TransportEvent::Failed(failure)));
            self.count(now, id.0, edge, bytes);
            self.cancel(now, id, false);
            return;
        }
        attempt.next = to;
        let got = Got {
            object: attempt.spec.object,
            offset: to,
            total: attempt.total,
        };
        let serves = !attempt.spec.probe;
        self.count(now, id.0, edge, bytes);
        heard.push((id, TransportEvent::Progress { from, to }));
        if last {
            heard.push((id, TransportEvent::Complete));
            self.transfers.remove(&transfer);
            self.finished(id);
        }
        if serves && !self.traps.is_empty() {
            self.spring(now, id.0, edge, got);
        }
    }
}
