//! Appliances and links, and how they change: faults, traps, schedules. What becomes of attempts is in `attempt`.

mod attempt;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nearcast_core::{AttemptId, TransportEvent};
use nearcast_link::{FlowId, LinkConfig, LinkId, LinkState, Network, SlowStart, TransferId};
use nearcast_protocol::fault::Fault;
use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount, Instant, Ratio};

use crate::agenda::Agenda;
use crate::setup::{Change, EdgeSetup, LinkName, Trap, WorldSetup};
use attempt::{AttemptModel, Step};

/// An attempt of one of the clients.
pub(crate) type Attempt = (usize, AttemptId);

/// What a client is to hear.
pub(crate) type Heard = (Attempt, TransportEvent);

/// All links, appliances and attempts of one simulation.
#[derive(Debug)]
pub(crate) struct World {
    network: Network,
    last_miles: Vec<LinkId>,
    edges: Vec<EdgeModel>,
    setups: Vec<EdgeSetup>,
    clients: Vec<ClientPaths>,
    attempts: BTreeMap<Attempt, AttemptModel>,
    transfers: BTreeMap<TransferId, Attempt>,
    flows: BTreeMap<FlowId, Attempt>,
    due: Agenda<(Attempt, Step)>,
    /// Attempts that bring wrong bytes.
    corrupt: BTreeSet<Attempt>,
    digests: bool,
    traps: Vec<Trap>,
    sprung: Vec<Sprung>,
    /// Bytes that arrived in each second, by appliance.
    load: Vec<Vec<u64>>,
}

#[derive(Debug)]
struct EdgeModel {
    link: LinkId,
    fault: Option<Fault>,
    /// Objects that the fault concerns.
    on: fn(ObjectKey) -> bool,
}

/// What leads from the appliances to one client.
#[derive(Debug)]
struct ClientPaths {
    last_mile: LinkId,
    /// Connections without a request, by appliance.
    idle: Vec<Vec<FlowId>>,
    /// Body bytes that arrived, by appliance.
    bytes: Vec<ByteCount>,
}

/// Something went wrong as a trap had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sprung {
    /// When.
    pub at: Instant,
    /// Whose segment it was.
    pub client: usize,
    /// The appliance that brought it.
    pub edge: usize,
    /// The segment.
    pub object: ObjectKey,
    /// How much of it had come.
    pub offset: u64,
}

impl World {
    pub(crate) fn new(setup: &WorldSetup) -> Self {
        let mut network = Network::new(Some(SlowStart::default()));
        let last_miles: Vec<LinkId> = setup
            .last_miles
            .iter()
            .map(|link| network.add_link(*link))
            .collect();
        let edges: Vec<EdgeModel> = setup
            .edges
            .iter()
            .map(|edge| EdgeModel {
                link: network.add_link(edge.link),
                fault: None,
                on: |_| true,
            })
            .collect();
        let paths = |last_mile: usize| ClientPaths {
            last_mile: last_miles[last_mile],
            idle: vec![Vec::new(); edges.len()],
            bytes: vec![ByteCount::ZERO; edges.len()],
        };
        Self {
            clients: setup
                .clients
                .iter()
                .map(|client| paths(client.last_mile))
                .collect(),
            network,
            last_miles,
            edges,
            setups: setup.edges.clone(),
            attempts: BTreeMap::new(),
            transfers: BTreeMap::new(),
            flows: BTreeMap::new(),
            due: Agenda::default(),
            corrupt: BTreeSet::new(),
            digests: setup.digests,
            traps: setup.traps.clone(),
            sprung: Vec::new(),
            load: Vec::new(),
        }
    }

    pub(crate) fn edges(&self) -> &[EdgeSetup] {
        &self.setups
    }

    /// Returns the bytes that a client got, by appliance.
    pub(crate) fn bytes(&self, client: usize) -> &[ByteCount] {
        &self.clients[client].bytes
    }

    /// Returns which traps sprang, and the bytes of each second by appliance.
    pub(crate) fn into_records(self) -> (Vec<Sprung>, Vec<Vec<u64>>) {
        (self.sprung, self.load)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let network = self.network.next_deadline();
        self.due.next().into_iter().chain(network).min()
    }

    /// Moves time forward and returns what clients are to hear.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Heard> {
        let mut heard = Vec::new();
        self.network.handle_timeout(now);
        while let Some(arrival) = self.network.poll_arrival() {
            self.arrival(now, arrival, &mut heard);
        }
        while let Some((attempt, step)) = self.due.pop(now) {
            self.step(now, attempt, step, &mut heard);
        }
        heard
    }

    /// Changes a link for good, or until it is changed again.
    pub(crate) fn set_link(&mut self, now: Instant, link: LinkName, config: LinkConfig) {
        let link = match link {
            LinkName::Edge(edge) => self.edges[edge].link,
            LinkName::LastMile(last_mile) => self.last_miles[last_mile],
        };
        self.network.set_rate(now, link, config.rate);
        self.network.set_delay(now, link, config.delay);
    }

    /// Changes an appliance; `None` restores it.
    pub(crate) fn fault(
        &mut self,
        now: Instant,
        edge: usize,
        fault: Option<Fault>,
        on: fn(ObjectKey) -> bool,
    ) {
        let link = self.edges[edge].link;
        match &fault {
            None => {
                self.network.restore(now, link);
                self.set_link(now, LinkName::Edge(edge), self.setups[edge].link);
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
            for client in &mut self.clients {
                client.idle[edge].clear();
            }
        }
        self.edges[edge].fault = fault;
        self.edges[edge].on = on;
    }

    /// Springs the traps that a client's progress sets off.
    fn spring(&mut self, now: Instant, client: usize, edge: usize, got: Got) {
        let ObjectKey::Media(key, _) = got.object else {
            return;
        };
        let is_due = |trap: &Trap| {
            trap.client == client
                && now >= Instant::ZERO + trap.after
                && key.track == 0
                && got.offset >= share_of(trap.share, got.total)
        };
        while let Some(place) = self.traps.iter().position(is_due) {
            let trap = self.traps.remove(place);
            self.sprung.push(Sprung {
                at: now,
                client,
                edge,
                object: got.object,
                offset: got.offset,
            });
            match trap.change {
                Change::Edge(fault) => self.fault(now, edge, Some(fault), |_| true),
                Change::EdgeRate(share) => self.slow(now, self.edges[edge].link, share),
                Change::LastMileRate(share) => {
                    self.slow(now, self.clients[client].last_mile, share);
                }
            }
        }
    }

    fn slow(&mut self, now: Instant, link: LinkId, share: Ratio) {
        let rate = self.network.config(link).rate;
        let slower = rate.map(|rate| rate.scaled(share.get()));
        self.network.set_rate(now, link, slower);
    }

    fn count(&mut self, now: Instant, client: usize, edge: usize, bytes: ByteCount) {
        self.clients[client].bytes[edge] += bytes;
        let second = usize::try_from(now.since(Instant::ZERO).as_secs()).unwrap_or(usize::MAX);
        while self.load.len() <= second {
            self.load.push(vec![0; self.edges.len()]);
        }
        self.load[second][edge] += bytes.get();
    }

    fn route(&self, client: usize, edge: usize) -> [LinkId; 2] {
        [self.edges[edge].link, self.clients[client].last_mile]
    }

    fn state(&self, edge: usize) -> LinkState {
        self.network.state(self.edges[edge].link)
    }

    /// Whether what an attempt brings is wrong.
    pub(crate) fn is_corrupt(&self, attempt: Attempt) -> bool {
        self.corrupt.contains(&attempt)
    }
}

/// So much of an object is here.
#[derive(Clone, Copy, Debug)]
struct Got {
    object: ObjectKey,
    offset: u64,
    total: u64,
}

/// A share of a length, in whole bytes.
fn share_of(share: Ratio, length: u64) -> u64 {
    BitRate::from_bps(length).scaled(share.get()).as_bps()
}
