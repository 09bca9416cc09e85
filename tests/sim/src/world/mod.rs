//! Appliances and links, and how they change: faults, traps, schedules. What becomes of attempts is in `attempt`, of their answers in
//! `answer`.

mod answer;
mod attempt;
mod backend;
mod congestion;
mod impair;

use std::collections::BTreeMap;

use nearcast_appliance::fault::{FaultOrder, FaultReceipt};
use nearcast_appliance::{
    self as appliance, Appliance, ApplianceConfig, LinkChange, Moment, OrderError,
};
use nearcast_core::{AttemptId, TransportEvent};
use nearcast_link::{FlowId, LinkConfig, LinkId, LinkState, Network, SlowStart, TransferId};
use nearcast_protocol::appliance::{ApplianceReport, ReportReceipt};
use nearcast_protocol::manifest::ObjectKey;
use nearcast_protocol::play::HttpProtocol;
use nearcast_scenario::{InUse, Place, Told};
use nearcast_units::{BitRate, ByteCount, Instant, Ratio, Rng, Seed};

use crate::agenda::Agenda;
use crate::setup::{Change, ClientSetup, EdgeSetup, Impairment, LinkName, Trap, WorldSetup};
use crate::title::FILES;
pub(crate) use attempt::Asked;
use attempt::{AttemptModel, Step};
pub(crate) use backend::Answered;
use backend::{Asking, BackendModel, Held};
use congestion::Congestion;

/// An attempt of one of the clients.
pub(crate) type Attempt = (usize, AttemptId);

/// What a client is to hear.
pub(crate) type Heard = (Attempt, TransportEvent);

/// What is wrong with what an attempt brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Its bytes: nobody can read them.
    Bytes,
    /// A manifest of an older edition.
    Edition,
}

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
    due: Agenda<Due>,
    /// Attempts that bring something else than they should.
    wrong: BTreeMap<Attempt, Wrong>,
    digests: bool,
    backend: Option<BackendModel>,
    /// What it said, and whom, that nobody has heard yet.
    answered: Vec<(usize, Answered)>,
    /// Links that lose packets or take longer now and then.
    impaired: BTreeMap<LinkId, Impairment>,
    /// Of those that lose them in bursts: whether one goes on.
    in_burst: BTreeMap<LinkId, bool>,
    /// Where packets are lost.
    congested: BTreeMap<FlowId, Congestion>,
    chance: Rng,
    in_use: InUse,
    /// Orders that could not be carried out, of those that follow from what clients do.
    problems: Vec<OrderError>,
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
    http3: bool,
    clock_skew_ms: i64,
    /// When it is woken next.
    wakes: Option<Instant>,
}

impl EdgeModel {
    /// Returns a time on both clocks of the appliance.
    fn moment(&self, now: Instant) -> Moment {
        let Moment { at, unix_ms } = moment(now);
        Moment {
            at,
            unix_ms: unix_ms.saturating_add_signed(self.clock_skew_ms),
        }
    }
}

/// What happens at its own time.
#[derive(Debug)]
enum Due {
    Attempt(Attempt, Step),
    Round(FlowId),
    /// An appliance has something to do.
    Wake(usize),
    /// An appliance's report reaches the backend.
    Report(usize, Box<ApplianceReport>),
    /// The backend's answer to it reaches the appliance.
    Receipt(usize, ReportReceipt),
    /// Somebody has waited for the backend for long enough.
    Unanswered,
}

/// What leads from the appliances to one client.
#[derive(Debug)]
struct ClientPaths {
    /// What appliances know it by.
    name: String,
    /// What it may do, once the backend has answered.
    held: Option<Held>,
    last_mile: LinkId,
    /// Connections without a request, by appliance.
    idle: Vec<Vec<FlowId>>,
    /// How late what has come is read.
    reads: Rng,
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
        let has_backend = setup.backend.is_some();
        let edges: Vec<EdgeModel> = setup
            .edges
            .iter()
            .map(|edge| EdgeModel {
                name: edge.name.clone(),
                link: network.add_link(edge.link),
                appliance: appliance(edge, has_backend, setup.seed),
                http3: edge.http3,
                clock_skew_ms: edge.clock_skew_ms,
                wakes: None,
            })
            .collect();
        let reads = setup.seed.split("reads");
        let paths = |(nth, client): (u64, &ClientSetup)| ClientPaths {
            name: client.name.clone(),
            held: None,
            last_mile: last_miles[client.last_mile],
            idle: vec![Vec::new(); edges.len()],
            bytes: vec![ByteCount::ZERO; edges.len()],
            reads: reads.split_index(nth).rng(),
        };
        let impaired = setup.impairments.iter().map(|(link, impairment)| {
            let link = match link {
                LinkName::Edge(edge) => edges[*edge].link,
                LinkName::LastMile(last_mile) => last_miles[*last_mile],
            };
            (link, *impairment)
        });
        let names: Vec<String> = setup.clients.iter().map(|one| one.name.clone()).collect();
        let backend = setup.backend.as_ref();
        let mut world = Self {
            backend: backend.map(|backend| BackendModel::new(backend, &names, setup.seed)),
            answered: Vec::new(),
            impaired: impaired.collect(),
            in_burst: BTreeMap::new(),
            congested: BTreeMap::new(),
            chance: setup.seed.split("links").rng(),
            in_use: InUse::default(),
            problems: Vec::new(),
            clients: (0..).zip(&setup.clients).map(paths).collect(),
            network,
            last_miles,
            edges,
            attempts: BTreeMap::new(),
            transfers: BTreeMap::new(),
            flows: BTreeMap::new(),
            due: Agenda::default(),
            wrong: BTreeMap::new(),
            digests: setup.digests,
            traps: setup.traps.clone(),
            sprung: Vec::new(),
            load: Vec::new(),
        };
        if has_backend {
            world.introduce(setup);
        }
        world
    }

    /// Appliances were there before anybody plays: the backend knows them.
    fn introduce(&mut self, setup: &WorldSetup) {
        let now = Instant::ZERO;
        for (edge, setup) in setup.edges.iter().enumerate() {
            let files = setup.stores_title.then(|| FILES.to_owned());
            let model = &mut self.edges[edge];
            let moment = model.moment(now);
            let appliance = &mut model.appliance;
            appliance.handle_files(moment, files.into_iter().collect());
            while appliance.poll_action().is_some() {}
            let report = appliance.report(moment);
            if let Some(backend) = &mut self.backend
                && let Some(receipt) = backend.report(now, &model.name, &report)
            {
                appliance.handle_receipt(moment, receipt);
            }
            self.wake_later(edge);
        }
    }

    /// Sees to it that an appliance is woken when it has something to do.
    fn wake_later(&mut self, edge: usize) {
        let model = &mut self.edges[edge];
        if let Some(at) = model.appliance.next_deadline()
            && model.wakes.is_none_or(|wakes| at < wakes)
        {
            model.wakes = Some(at);
            self.due.add(at, Due::Wake(edge));
        }
    }

    /// Returns an appliance's name.
    pub(crate) fn name(&self, edge: usize) -> &str {
        &self.edges[edge].name
    }

    /// Returns the appliance of this name.
    pub(crate) fn edge(&self, name: &str) -> Option<usize> {
        self.edges.iter().position(|edge| edge.name == name)
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
        while let Some(due) = self.due.pop(now) {
            match due {
                Due::Attempt(attempt, step) => self.step(now, attempt, step, &mut heard),
                Due::Round(flow) => self.round_ends(now, flow),
                Due::Wake(edge) => {
                    let model = &mut self.edges[edge];
                    if model.wakes.is_some_and(|at| at <= now) {
                        model.wakes = None;
                    }
                    let moment = model.moment(now);
                    model.appliance.handle_timeout(moment);
                    self.follow(now, edge);
                }
                Due::Report(edge, report) => {
                    let name = &self.edges[edge].name;
                    if let Some(backend) = &mut self.backend
                        && let Some(receipt) = backend.report(now, name, &report)
                    {
                        let at = now + backend.delay();
                        self.due.add(at, Due::Receipt(edge, receipt));
                    }
                }
                Due::Receipt(edge, receipt) => {
                    let model = &mut self.edges[edge];
                    let moment = model.moment(now);
                    model.appliance.handle_receipt(moment, receipt);
                    self.wake_later(edge);
                }
                Due::Unanswered => self.backend_answers(now),
            }
        }
        heard
    }

    /// Returns the orders that could not be carried out since this was asked, of those that nobody gave by [`tell`](Self::tell).
    pub(crate) fn take_problems(&mut self) -> Vec<OrderError> {
        std::mem::take(&mut self.problems)
    }

    /// Asks the backend for a client; what it is to hear, and after how long, is among [`answered`](Self::take_answered)
    /// now or later. Returns whether there is a backend.
    pub(crate) fn ask(&mut self, now: Instant, client: usize, refresh: bool) -> bool {
        let Some(backend) = &mut self.backend else {
            return false;
        };
        match backend.ask(now, client, refresh) {
            Asking::Answered(answered, held) => self.is_answered(client, answered, held),
            Asking::Waits(until) => self.due.add(until, Due::Unanswered),
        }
        true
    }

    /// Who waited for the backend hears of it.
    fn backend_answers(&mut self, now: Instant) {
        let answers = self
            .backend
            .as_mut()
            .map(|backend| backend.take_answers(now));
        for (client, answered, held) in answers.into_iter().flatten() {
            self.is_answered(client, answered, held);
        }
    }

    fn is_answered(&mut self, client: usize, answered: Answered, held: Option<Held>) {
        if held.is_some() {
            self.clients[client].held = held;
        }
        self.answered.push((client, answered));
    }

    /// Returns what the backend answered since this was asked, and whom.
    pub(crate) fn take_answered(&mut self) -> Vec<(usize, Answered)> {
        std::mem::take(&mut self.answered)
    }

    /// Tells somebody what goes wrong.
    pub(crate) fn tell(
        &mut self,
        now: Instant,
        place: Place,
        order: FaultOrder,
    ) -> Result<(), OrderError> {
        match place {
            Place::Edge(edge) => self.order(now, edge, order),
            Place::All => self.tell_all(now, &order, None),
            Place::Backend => {
                if let Some(backend) = &mut self.backend {
                    backend.order(now, order)?;
                }
                self.backend_answers(now);
                Ok(())
            }
            Place::InUse => {
                let told = self.in_use.orders(self.edges.len(), order);
                self.tell_in_turn(now, told)
            }
        }
    }

    fn close(&mut self, now: Instant, flow: FlowId) {
        self.network.close_flow(now, flow);
        self.congested.remove(&flow);
    }

    fn tell_in_turn(&mut self, now: Instant, told: Vec<Told>) -> Result<(), OrderError> {
        for told in told {
            let edge = told.edge;
            let order = self.in_use.still(told);
            self.order(now, edge, order)?;
        }
        Ok(())
    }

    /// Something of an attempt came: where it is the first client's picture, its edge is the one in use.
    fn plays_from(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get(&id).filter(|_| id.0 == 0) else {
            return;
        };
        let is_picture = matches!(attempt.spec.object, ObjectKey::Media(key, _) if key.track == 0);
        if is_picture && !attempt.spec.probe {
            let told = self.in_use.plays_from(attempt.edge, self.edges.len());
            let told = self.tell_in_turn(now, told);
            self.problems.extend(told.err());
        }
    }

    fn tell_all(
        &mut self,
        now: Instant,
        order: &FaultOrder,
        but: Option<usize>,
    ) -> Result<(), OrderError> {
        for edge in (0..self.edges.len()).filter(|edge| Some(*edge) != but) {
            self.order(now, edge, order.clone())?;
        }
        Ok(())
    }

    /// A rule that waited stays with the edge where it hit somebody first.
    fn settle(&mut self, now: Instant, edge: usize, used: &[String]) {
        if let Some(order) = self.in_use.settle(used.iter().map(String::as_str)) {
            let told = self.tell_all(now, &order, Some(edge));
            self.problems.extend(told.err());
        }
    }

    /// An address translator gives a client's connections other ports: those that stand are silent from now on.
    pub(crate) fn rebind(&mut self, now: Instant, client: usize) {
        let of_client = self
            .attempts
            .iter()
            .filter(|((whose, _), _)| *whose == client);
        let ids: Vec<Attempt> = of_client.map(|(id, _)| *id).collect();
        for id in ids {
            self.falls_silent(now, id);
        }
        let idle = self.clients[client].idle.clone();
        for flow in idle.into_iter().flatten() {
            self.close(now, flow);
        }
    }

    /// Returns what went wrong, in order: with which edge (`None` is the backend), and when.
    pub(crate) fn receipts(&self) -> Vec<(Option<usize>, Instant, FaultReceipt)> {
        let at = |unix_ms: u64, skew_ms: i64| {
            let ms = unix_ms
                .saturating_sub(WALL_MS)
                .saturating_add_signed(-skew_ms);
            Instant::from_nanos(ms.saturating_mul(1_000_000))
        };
        let of_edges = self.edges.iter().enumerate().flat_map(|(edge, model)| {
            let receipts = model.appliance.receipts();
            receipts.map(move |one| {
                let at = at(one.at_unix_ms, model.clock_skew_ms);
                (Some(edge), at, one.clone())
            })
        });
        let of_backend = self.backend.iter().flat_map(BackendModel::receipts);
        let of_backend = of_backend.map(|one| (None, at(one.at_unix_ms, 0), one.clone()));
        let mut all: Vec<_> = of_edges.chain(of_backend).collect();
        all.sort_by_key(|(_, at, _)| *at);
        all
    }

    /// Changes a link for good, or until it is changed again. What a fault makes of an appliance's stays on top.
    pub(crate) fn set_link(&mut self, now: Instant, link: LinkName, config: LinkConfig) {
        match link {
            LinkName::Edge(edge) => {
                self.edges[edge]
                    .appliance
                    .set_link(config.rate, config.delay);
                self.follow(now, edge);
            }
            LinkName::LastMile(last_mile) => {
                let link = self.last_miles[last_mile];
                self.network.set_rate(now, link, config.rate);
                self.network.set_delay(now, link, config.delay);
            }
        }
    }

    /// Tells an appliance what goes wrong; bodies under way hear of it, too.
    pub(crate) fn order(
        &mut self,
        now: Instant,
        edge: usize,
        order: FaultOrder,
    ) -> Result<(), OrderError> {
        let model = &mut self.edges[edge];
        let moment = model.moment(now);
        model.appliance.handle_order(moment, order)?;
        self.follow(now, edge);
        self.revise(now, edge);
        Ok(())
    }

    /// Does to the link what its appliance wants.
    fn follow(&mut self, now: Instant, edge: usize) {
        let link = self.edges[edge].link;
        while let Some(action) = self.edges[edge].appliance.poll_action() {
            match action {
                appliance::Action::Report => {
                    let model = &self.edges[edge];
                    let report = model.appliance.report(model.moment(now));
                    if let Some(backend) = &self.backend {
                        let at = now + backend.delay();
                        self.due.add(at, Due::Report(edge, Box::new(report)));
                    }
                }
                appliance::Action::Link(LinkChange::Restore { rate, delay }) => {
                    self.network.restore(now, link);
                    self.network.set_rate(now, link, rate);
                    self.network.set_delay(now, link, delay);
                }
                appliance::Action::Link(LinkChange::Rate(rate)) => {
                    self.network.set_rate(now, link, rate);
                }
                // An answer is late by both ways of the link.
                appliance::Action::Link(LinkChange::Delay(delay)) => {
                    self.network.set_delay(now, link, delay / 2);
                }
                appliance::Action::Link(LinkChange::Stop) => self.network.stop(now, link),
                appliance::Action::Link(LinkChange::Kill) => {
                    self.network.kill(now, link);
                    // Nobody hears of the death of a QUIC connection that is idle.
                    if !self.edges[edge].http3 {
                        for client in &mut self.clients {
                            client.idle[edge].clear();
                        }
                    }
                }
            }
        }
        self.wake_later(edge);
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
                    let told = self.order(now, edge, FaultOrder::add([rule]));
                    self.problems.extend(told.err());
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
        if self.backend.is_some() {
            let model = &mut self.edges[edge];
            let moment = model.moment(now);
            model.appliance.handle_bytes(moment, bytes);
        }
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

    /// Returns what is wrong with what an attempt brings.
    pub(crate) fn wrong(&self, attempt: Attempt) -> Option<Wrong> {
        self.wrong.get(&attempt).copied()
    }
}

/// One minute of arc is a nautical mile.
const KM_PER_DEGREE: f64 = 1.852 * 60.0;

fn appliance(edge: &EdgeSetup, has_backend: bool, seed: Seed) -> Appliance {
    Appliance::new(
        moment(Instant::ZERO),
        ApplianceConfig {
            rate: edge.link.rate,
            delay: edge.link.delay,
            // East of the clients, who are where the equator and the meridian of Greenwich meet.
            position_deg: (0.0, edge.distance_km / KM_PER_DEGREE),
            base_url: format!("https://{}.example/", edge.name),
            protocols: vec![HttpProtocol::H2],
            prefixes: edge.prefixes.clone(),
            capacity: edge.capacity,
            has_backend,
            seed: seed.split(&edge.name),
            ..ApplianceConfig::named(&edge.name)
        },
    )
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
