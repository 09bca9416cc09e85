//! Appliances and links, and how they change: faults, traps, schedules. What becomes of attempts is in `attempt`.

mod attempt;

use std::collections::{BTreeMap, BTreeSet};

use nearcast_appliance::fault::FaultOrder;
use nearcast_appliance::{
    self as appliance, Appliance, ApplianceConfig, LinkChange, Moment, OrderError,
};
use nearcast_core::{AttemptId, TransportEvent};
use nearcast_link::{FlowId, LinkConfig, LinkId, LinkState, Network, SlowStart, TransferId};
use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount, Instant, Ratio};

use crate::agenda::Agenda;
use crate::setup::{Change, ClientSetup, LinkName, Trap, WorldSetup};
pub(crate) use attempt::Asked;
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
    name: String,
    link: LinkId,
    appliance: Appliance,
}

/// What leads from the appliances to one client.
#[derive(Debug)]
struct ClientPaths {
    /// What appliances know it by.
    name: String,
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
                name: edge.name.clone(),
                link: network.add_link(edge.link),
                appliance: Appliance::new(
                    moment(Instant::ZERO),
                    ApplianceConfig {
                        rate: edge.link.rate,
                        delay: edge.link.delay,
                        ..ApplianceConfig::named(&edge.name)
                    },
                ),
            })
            .collect();
        let paths = |(index, client): (usize, &ClientSetup)| ClientPaths {
            name: format!("player-{index}"),
            last_mile: last_miles[client.last_mile],
            idle: vec![Vec::new(); edges.len()],
            bytes: vec![ByteCount::ZERO; edges.len()],
        };
        Self {
            clients: setup.clients.iter().enumerate().map(paths).collect(),
            network,
            last_miles,
            edges,
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

    /// Returns an appliance's name.
    pub(crate) fn name(&self, edge: usize) -> &str {
        &self.edges[edge].name
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

    /// Tells an appliance what goes wrong; bodies under way hear of it, too.
    pub(crate) fn order(
        &mut self,
        now: Instant,
        edge: usize,
        order: FaultOrder,
    ) -> Result<(), OrderError> {
        let appliance = &mut self.edges[edge].appliance;
        appliance.handle_order(moment(now), order)?;
        self.follow(now, edge);
        self.revise(now, edge);
        Ok(())
    }

    /// Does to the link what its appliance wants.
    fn follow(&mut self, now: Instant, edge: usize) {
        let link = self.edges[edge].link;
        while let Some(action) = self.edges[edge].appliance.poll_action() {
            match action {
                // There is no backend here to report to.
                appliance::Action::Report => {}
                appliance::Action::Link(LinkChange::Restore { rate, delay }) => {
                    self.network.restore(now, link);
                    self.set_link(now, LinkName::Edge(edge), LinkConfig { rate, delay });
                }
                appliance::Action::Link(LinkChange::Rate(rate)) => {
                    self.network.set_rate(now, link, rate);
                }
                appliance::Action::Link(LinkChange::Delay(delay)) => {
                    self.network.set_delay(now, link, delay);
                }
                appliance::Action::Link(LinkChange::Stop) => self.network.stop(now, link),
                appliance::Action::Link(LinkChange::Kill) => {
                    self.network.kill(now, link);
                    for client in &mut self.clients {
                        client.idle[edge].clear();
                    }
                }
            }
        }
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
                Change::Edge(rule) => {
                    // One rule more than an appliance keeps would be one trap too many.
                    let told = self.order(now, edge, FaultOrder::add([rule]));
                    debug_assert!(told.is_ok(), "{told:?}");
                }
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

/// Wall time at the origin of the clock, in milliseconds since the Unix epoch: any time will do that is not 0.
const WALL_MS: u64 = 1_700_000_000_000;

/// Returns a time on both clocks of an appliance.
fn moment(now: Instant) -> Moment {
    Moment {
        at: now,
        unix_ms: WALL_MS + now.as_nanos() / 1_000_000,
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
