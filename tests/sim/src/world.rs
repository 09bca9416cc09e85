//! Appliances behind links: what becomes of the attempts that a session starts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nearcast_core::{
    AttemptId, AttemptSpec, EdgeId, Failure, Protocol, TransportEvent, Validators,
};
use nearcast_link::{
    Arrival, FlowId, LinkConfig, LinkId, LinkState, Network, SlowStart, TransferId, Transport,
};
use nearcast_protocol::fault::Fault;
use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount, Instant};

use crate::setup::Setup;
use crate::title::SimTitle;

/// All links, appliances and attempts of one simulation.
#[derive(Debug)]
pub(crate) struct World {
    network: Network,
    last_mile: LinkId,
    edges: Vec<EdgeModel>,
    attempts: BTreeMap<AttemptId, AttemptModel>,
    transfers: BTreeMap<TransferId, AttemptId>,
    /// What is due later, in the order `(when, since when known)`.
    due: BTreeMap<(Instant, u64), Step>,
    sequence: u64,
    pub(crate) bytes_sent: Vec<ByteCount>,
    /// Attempts that bring wrong bytes.
    corrupt: BTreeSet<AttemptId>,
    digests: bool,
}

#[derive(Debug)]
struct EdgeModel {
    link: LinkId,
    idle: Vec<FlowId>,
    fault: Option<Fault>,
    /// Objects that the fault concerns.
    on: fn(ObjectKey) -> bool,
}

#[derive(Debug)]
struct AttemptModel {
    spec: AttemptSpec,
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
enum Step {
    Connected(AttemptId),
    Requested(AttemptId),
    Refused(AttemptId),
    /// With a status that is no success, and `Retry-After`.
    Answered(AttemptId, u16, Option<u32>),
}

/// Handshakes of a new connection: TCP and TLS 1.3.
const HANDSHAKE_ROUND_TRIPS: u32 = 2;

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let mut network = Network::new(Some(SlowStart::default()));
        let last_mile = network.add_link(setup.last_mile);
        let edges: Vec<EdgeModel> = setup
            .edges
            .iter()
            .map(|edge| EdgeModel {
                link: network.add_link(edge.link),
                idle: Vec::new(),
                fault: None,
                on: |_| true,
            })
            .collect();
        let bytes_sent = vec![ByteCount::ZERO; edges.len()];
        Self {
            network,
            last_mile,
            edges,
            attempts: BTreeMap::new(),
            transfers: BTreeMap::new(),
            due: BTreeMap::new(),
            sequence: 0,
            bytes_sent,
            corrupt: BTreeSet::new(),
            digests: setup.digests,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let step = self.due.first_key_value().map(|((at, _), _)| *at);
        step.into_iter().chain(self.network.next_deadline()).min()
    }

    fn at(&mut self, when: Instant, step: Step) {
        self.sequence += 1;
        self.due.insert((when, self.sequence), step);
    }

    fn route(&self, edge: EdgeId) -> [LinkId; 2] {
        [self.edges[usize::from(edge.0)].link, self.last_mile]
    }

    fn state(&self, edge: EdgeId) -> LinkState {
        self.network.state(self.edges[usize::from(edge.0)].link)
    }

    /// Changes an appliance; `None` restores it.
    pub(crate) fn fault(
        &mut self,
        now: Instant,
        edge: usize,
        (fault, on): (Option<Fault>, fn(ObjectKey) -> bool),
        healthy: LinkConfig,
    ) {
        let Some(link) = self.edges.get(edge).map(|edge| edge.link) else {
            if let Some(Fault::Rate { rate_bps }) = fault {
                let rate = rate_bps.map(BitRate::from_bps);
                self.network.set_rate(now, self.last_mile, rate);
            }
            return;
        };
        match &fault {
            None => {
                self.network.restore(now, link);
                self.network.set_rate(now, link, healthy.rate);
                self.network.set_delay(now, link, healthy.delay);
            }
            Some(Fault::Kill) => self.network.kill(now, link),
            Some(Fault::Stop) => self.network.stop(now, link),
            Some(Fault::Rate { rate_bps }) => {
                self.network
                    .set_rate(now, link, rate_bps.map(BitRate::from_bps))
            }
            Some(Fault::Trickle { rate_bps }) => {
                self.network
                    .set_rate(now, link, Some(BitRate::from_bps(*rate_bps)))
            }
            Some(Fault::Delay { delay_ms }) => {
                self.network
                    .set_delay(now, link, Duration::from_millis(*delay_ms))
            }
            Some(
                Fault::Reset { .. }
                | Fault::Truncate { .. }
                | Fault::Corrupt
                | Fault::Status { .. }
                | Fault::LateFirstByte { .. },
            ) => {}
        }
        if matches!(fault, Some(Fault::Kill)) {
            self.edges[edge].idle.clear();
        }
        self.edges[edge].fault = fault;
        self.edges[edge].on = on;
    }

    /// Whether what an attempt brings is wrong.
    pub(crate) fn is_corrupt(&self, attempt: AttemptId) -> bool {
        self.corrupt.contains(&attempt)
    }

    pub(crate) fn start(&mut self, now: Instant, spec: AttemptSpec, title: &SimTitle) {
        let total = title.size(spec.object).get();
        let end = spec.to.unwrap_or(total).min(total);
        let edge = spec.edge;
        let id = spec.attempt;
        let rtt = self.network.round_trip(&self.route(edge));
        let warm = self.edges[usize::from(edge.0)].idle.pop();
        self.attempts.insert(
            id,
            AttemptModel {
                next: spec.from,
                spec,
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
        self.at(connected, Step::Connected(id));
    }

    pub(crate) fn cancel(&mut self, now: Instant, id: AttemptId, drop_connections: bool) {
        let Some(attempt) = self.attempts.remove(&id) else {
            return;
        };
        if let Some(transfer) = attempt.transfer {
            self.network.cancel(now, transfer);
            self.transfers.remove(&transfer);
        }
        if let Some(flow) = attempt.flow {
            self.network.close_flow(now, flow);
        }
        if drop_connections {
            for flow in std::mem::take(&mut self.edges[usize::from(attempt.spec.edge.0)].idle) {
                self.network.close_flow(now, flow);
            }
        }
    }

    pub(crate) fn reset(&mut self, now: Instant) {
        for edge in 0..self.edges.len() {
            for flow in std::mem::take(&mut self.edges[edge].idle) {
                self.network.close_flow(now, flow);
            }
        }
    }

    /// Moves time forward and returns what the session is to hear.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<(AttemptId, TransportEvent)> {
        let mut heard = Vec::new();
        self.network.handle_timeout(now);
        while let Some(arrival) = self.network.poll_arrival() {
            self.arrival(now, arrival, &mut heard);
        }
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let step = entry.remove();
            self.step(now, step, &mut heard);
        }
        heard
    }

    fn step(&mut self, now: Instant, step: Step, heard: &mut Vec<(AttemptId, TransportEvent)>) {
        match step {
            Step::Connected(id) => self.connected(now, id, heard),
            Step::Requested(id) => self.requested(now, id),
            Step::Refused(id) => {
                if self.attempts.remove(&id).is_some() {
                    heard.push((id, TransportEvent::Failed(Failure::Refused)));
                }
            }
            Step::Answered(id, status, retry_after_s) => {
                if let Some(attempt) = self.attempts.remove(&id) {
                    if let Some(flow) = attempt.flow {
                        self.edges[usize::from(attempt.spec.edge.0)].idle.push(flow);
                    }
                    let validators = Validators::default();
                    heard.push((
                        id,
                        TransportEvent::Headers {
                            status,
                            from: 0,
                            validators,
                            retry_after: retry_after_s
                                .map(|seconds| Duration::from_secs(u64::from(seconds))),
                        },
                    ));
                }
            }
        }
    }

    fn connected(
        &mut self,
        now: Instant,
        id: AttemptId,
        heard: &mut Vec<(AttemptId, TransportEvent)>,
    ) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let edge = attempt.spec.edge;
        let route = self.route(edge);
        let rtt = self.network.round_trip(&route);
        let cold = attempt.flow.is_none();
        if cold {
            match self.state(edge) {
                LinkState::Stopped => return,
                LinkState::Killed => return self.at(now, Step::Refused(id)),
                LinkState::Up => {}
            }
            let Ok(flow) = self.network.open_flow(now, &route, Transport::Tcp) else {
                return self.at(now, Step::Refused(id));
            };
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.flow = Some(flow);
            }
        }
        heard.push((
            id,
            TransportEvent::Connected {
                cold,
                protocol: Protocol::H2,
                rtt: Some(rtt),
            },
        ));
        heard.push((id, TransportEvent::RequestSent));
        self.at(now + rtt / 2, Step::Requested(id));
    }

    /// The request reached the appliance.
    fn requested(&mut self, now: Instant, id: AttemptId) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let edge = attempt.spec.edge;
        if self.state(edge) != LinkState::Up {
            return; // A stopped appliance is silent; a killed one has reset the flow, which arrives by itself.
        }
        let length = attempt.end.saturating_sub(attempt.next);
        let one_way = self.network.round_trip(&self.route(edge)) / 2;
        let share = |after: f64| {
            (0..=length).nth(
                usize::try_from(length)
                    .unwrap_or(0)
                    .min(percent(after, length)),
            )
        };
        let faulty = &self.edges[usize::from(edge.0)];
        let fault = faulty
            .fault
            .as_ref()
            .filter(|_| (faulty.on)(attempt.spec.object));
        let cut = match fault {
            Some(Fault::Status {
                status,
                retry_after_s,
            }) => {
                let answer = Step::Answered(id, *status, *retry_after_s);
                return self.at(now + one_way, answer);
            }
            Some(Fault::LateFirstByte { delay_ms }) if !attempt.delayed => {
                let later = now + Duration::from_millis(*delay_ms);
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    attempt.delayed = true;
                }
                return self.at(later, Step::Requested(id));
            }
            Some(Fault::Corrupt) => {
                self.corrupt.insert(id);
                None
            }
            Some(Fault::Reset { after }) => {
                share(after.get()).map(|at| (attempt.next + at, Failure::Reset))
            }
            Some(Fault::Truncate { after }) => {
                share(after.get()).map(|at| (attempt.next + at, Failure::Truncated))
            }
            _ => None,
        };
        let (Some(flow), Some(attempt)) = (attempt.flow, self.attempts.get_mut(&id)) else {
            return;
        };
        attempt.cut = cut;
        let transfer = self.network.send(now, flow, ByteCount::new(length));
        attempt.transfer = Some(transfer);
        self.transfers.insert(transfer, id);
    }

    fn arrival(
        &mut self,
        now: Instant,
        arrival: Arrival,
        heard: &mut Vec<(AttemptId, TransportEvent)>,
    ) {
        match arrival {
            Arrival::Bytes {
                transfer,
                bytes,
                last,
                ..
            } => self.bytes(now, transfer, bytes, last, heard),
            Arrival::Reset { flow, .. } => {
                let lost: Vec<AttemptId> = self
                    .attempts
                    .iter()
                    .filter(|(_, one)| one.flow == Some(flow))
                    .map(|(id, _)| *id)
                    .collect();
                for id in lost {
                    self.attempts.remove(&id);
                    heard.push((id, TransportEvent::Failed(Failure::Reset)));
                }
                for edge in &mut self.edges {
                    edge.idle.retain(|idle| *idle != flow);
                }
            }
        }
    }

    fn bytes(
        &mut self,
        now: Instant,
        transfer: TransferId,
        bytes: ByteCount,
        last: bool,
        heard: &mut Vec<(AttemptId, TransportEvent)>,
    ) {
        let Some(&id) = self.transfers.get(&transfer) else {
            return;
        };
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        self.bytes_sent[usize::from(attempt.spec.edge.0)] += bytes;
        if !attempt.answered {
            attempt.answered = true;
            let validators = Validators {
                total: Some(attempt.total),
                etag: None,
                digest: self.digests.then(|| "sha-256".to_owned()),
            };
            heard.push((
                id,
                TransportEvent::Headers {
                    status: 200,
                    from: attempt.spec.from,
                    validators,
                    retry_after: None,
                },
            ));
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
            self.cancel(now, id, false);
            return;
        }
        attempt.next = to;
        heard.push((id, TransportEvent::Progress { from, to }));
        if last {
            heard.push((id, TransportEvent::Complete));
            self.transfers.remove(&transfer);
            if let Some(done) = self.attempts.remove(&id)
                && let Some(flow) = done.flow
            {
                self.edges[usize::from(done.spec.edge.0)].idle.push(flow);
            }
        }
    }
}

/// A share of a length, in whole bytes.
fn percent(share: f64, length: u64) -> usize {
    let part = BitRate::from_bps(length).scaled(share).as_bps();
    usize::try_from(part).unwrap_or(usize::MAX)
}
