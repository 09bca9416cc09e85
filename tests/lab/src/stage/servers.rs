//! The servers of a run: a backend, edges, what goes wrong with them and when.

use std::collections::BTreeSet;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nearcast_appliance::fault::{Fault, FaultOrder};
use nearcast_backend_server::{
    Account, Backend, BackendConfig, BackendHandle, LOOPBACK_SECRET, ModelConfig, Network, Plan,
};
use nearcast_edge_server::{Authority, EdgeConfig, EdgeHandle, EdgeServer, LastMile};
use nearcast_lab::relay::{Relay, RelayConfig};
use nearcast_link::LinkConfig;
use nearcast_protocol::play::HttpProtocol;
use nearcast_scenario::{Doing, InUse, Place, Scenario, Told};
use tempfile::TempDir;
use tokio::io::{BufReader, stdin, stdout};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::line::{self, FromServers, Served, ToServers};
use super::load::load;
use super::names::Names;
use super::schedule::{Schedule, Step};
use super::title::{self, FOLDER};
use super::{Run, account, conduct};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: Run,
    /// A folder with the title, as long as the scenario has it
    #[arg(long)]
    root: PathBuf,
    /// One address for each edge in turn, and the backend's: links are somebody else's affair. Left out, all are on
    /// 127.0.0.1, behind links of the servers' own
    #[arg(long)]
    address: Vec<Ipv4Addr>,
}

/// Serves until standard input ends, then tells what was done.
pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let mut scenario = arguments.run.scenario()?;
    // Without packets, links are those of bodies.
    if arguments.address.is_empty() {
        scenario = scenario.of_bodies();
    }
    let mut out = stdout();
    let mut servers = Servers::start(&scenario, arguments).await?;
    let mut schedule = Schedule::new(&scenario, arguments.run.seed, servers.has_links());
    // What is wrong from the beginning is so before anybody plays.
    while let Some(step) = schedule.next_by(Duration::ZERO) {
        servers.take(step).await;
    }
    let ready = line::Backend {
        url: servers.backend.url().to_owned(),
        ca_pem: servers.backend.ca_pem().to_owned(),
        nameserver: servers.names.as_ref().map(Names::address),
    };
    line::write(&mut out, &FromServers::Ready(ready)).await?;
    let mut told = lines();
    let mut began: Option<(Instant, u64)> = None;
    loop {
        let due = async {
            match (&began, schedule.due()) {
                (Some((at, _)), Some(due)) => sleep_until(*at + due).await,
                _ => pending().await,
            }
        };
        tokio::select! {
            biased;
            edge = servers.hit() => servers.settle(edge).await,
            told = told.recv() => match told {
                None => break,
                Some(ToServers::Begin) => began = Some((Instant::now(), conduct::unix_ms())),
                Some(ToServers::Uses(name)) => {
                    let named = scenario.edges.iter().position(|edge| edge.name == name);
                    if let Some(edge) = named {
                        servers.plays_from(edge).await;
                    }
                }
                Some(ToServers::Rebind) => servers.rebind().await,
            },
            () = due => {
                if let Some(step) = schedule.next() {
                    servers.take(step).await;
                }
            }
        }
    }
    let began_unix_ms = began.map_or_else(conduct::unix_ms, |(_, at)| at);
    let served = servers.served(began_unix_ms);
    line::write(&mut out, &FromServers::Ended(served)).await
}

/// Reads standard input on a task of its own: half a line must not be lost to another thing that happens.
fn lines() -> mpsc::Receiver<ToServers> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut input = BufReader::new(stdin());
        while let Ok(Some(told)) = line::read(&mut input).await {
            if sender.send(told).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Everything that serves.
struct Servers {
    backend: BackendHandle,
    edges: Vec<EdgeHandle>,
    /// By edge: how many of its receipts were looked at.
    looked_at: Vec<watch::Receiver<usize>>,
    settled: Vec<usize>,
    /// In front of each edge, where somebody wants other ports.
    relays: Vec<Relay>,
    /// `None` where links are somebody else's.
    last_mile: Option<LastMile>,
    /// Each edge's own link, and the delay of the last mile.
    links: Vec<LinkConfig>,
    last_mile_delay: Duration,
    in_use: InUse,
    /// Where something goes wrong with them.
    names: Option<Names>,
    problems: Vec<String>,
    _keys: TempDir,
}

impl Servers {
    async fn start(scenario: &Scenario, arguments: &Arguments) -> Result<Self> {
        let addresses = &arguments.address;
        ensure!(
            addresses.is_empty() || addresses.len() > scenario.edges.len(),
            "there are too few addresses for the edges and the backend"
        );
        let at = |place: usize| {
            let address = addresses.get(place).copied();
            SocketAddr::new(IpAddr::V4(address.unwrap_or(Ipv4Addr::LOCALHOST)), 0)
        };
        let keys = tempfile::tempdir().context("making a folder for keys")?;
        let authority = Authority::load_or_create(keys.path())?;
        let backend = Backend::start(BackendConfig {
            listen: at(scenario.edges.len()),
            sealed_listen: Some(at(scenario.edges.len())),
            ca_dir: Some(keys.path().to_owned()),
            model: model(scenario),
            ..BackendConfig::loopback(catalogue(scenario, arguments.run.seed))
        })
        .await?;
        let has_links = addresses.is_empty();
        let last_mile = has_links.then(|| LastMile::new(scenario.last_mile.first().rate));
        let rebinds = scenario
            .actions
            .iter()
            .any(|action| action.doing == Doing::Rebind);
        let last_mile_delay = scenario.last_mile.first().delay;
        let names = Names::start(scenario)?;
        let (mut edges, mut relays) = (Vec::new(), Vec::new());
        for (place, edge) in scenario.edges.iter().enumerate() {
            let mut config = EdgeConfig::new(&edge.name, &arguments.root);
            config.listen = at(place);
            config.host = names.as_ref().map(|names| names.host(place).to_owned());
            config.stores = Some(match edge.stores_title {
                true => vec![format!("{FOLDER}/")],
                false => Vec::new(),
            });
            if !edge.http3 {
                config
                    .protocols
                    .retain(|protocol| *protocol != HttpProtocol::H3);
            }
            config.authority = Some(authority.clone());
            config.backend = Some(nearcast_edge_server::Backend {
                url: backend.url().to_owned(),
                secret: LOOPBACK_SECRET.to_owned(),
            });
            config.site.clone_from(&edge.site);
            // East of the viewers, who are where the equator and the meridian of Greenwich meet.
            config.position_deg = (0.0, edge.distance_km / KM_PER_DEGREE);
            config.prefixes = edge
                .prefixes
                .iter()
                .map(|one| here(one, has_links))
                .collect();
            config.capacity = edge.capacity;
            if has_links {
                let link = edge.link.first();
                config.rate = link.rate;
                config.delay = round_trip(link.delay, last_mile_delay);
                config.last_mile.clone_from(&last_mile);
            }
            if rebinds && has_links {
                config.listen.set_port(free_port()?);
                let relay = Relay::start(RelayConfig::tcp_and_udp(config.listen))?;
                config.public_port = Some(relay.address().port());
                relays.push(relay);
            }
            edges.push(EdgeServer::start(config).await?);
        }
        let servers = Self {
            looked_at: edges.iter().map(EdgeHandle::receipt_count).collect(),
            settled: vec![0; edges.len()],
            relays,
            last_mile,
            links: scenario
                .edges
                .iter()
                .map(|edge| edge.link.first())
                .collect(),
            last_mile_delay,
            in_use: InUse::default(),
            names,
            problems: Vec::new(),
            backend,
            edges,
            _keys: keys,
        };
        servers.reported().await?;
        Ok(servers)
    }

    /// Waits until the backend knows all edges.
    async fn reported(&self) -> Result<()> {
        let known = async {
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            while self.backend.appliances() < self.edges.len() {
                looks.tick().await;
            }
        };
        let waited = tokio::time::timeout(REPORTS_MAX, known).await;
        waited.context("the edges did not report to the backend: is this machine very busy?")
    }

    const fn has_links(&self) -> bool {
        self.last_mile.is_some()
    }

    /// Carries out a step; what cannot be is told in the end.
    async fn take(&mut self, step: Step) {
        let problem = match step {
            Step::Order(place, order) => self.order(place, order).await.err(),
            Step::Edge(edge, link) => {
                self.links[edge] = link;
                self.set_link(edge);
                None
            }
            Step::LastMile(link) => {
                if let Some(last_mile) = &self.last_mile {
                    last_mile.set_rate(link.rate);
                }
                if std::mem::replace(&mut self.last_mile_delay, link.delay) != link.delay {
                    (0..self.edges.len()).for_each(|edge| self.set_link(edge));
                }
                None
            }
        };
        self.problems
            .extend(problem.map(|error| format!("{error:#}")));
    }

    fn set_link(&self, edge: usize) {
        let link = self.links[edge];
        let delay = round_trip(link.delay, self.last_mile_delay);
        self.edges[edge].set_link(link.rate, delay);
    }

    async fn order(&mut self, place: Place, order: FaultOrder) -> Result<()> {
        match place {
            Place::Edge(edge) => {
                let order = self.order_names(edge, order)?;
                self.tell(edge, order).await
            }
            Place::All => {
                let mut rest = order.clone();
                for edge in 0..self.edges.len() {
                    rest = self.order_names(edge, order.clone())?;
                }
                self.tell_all(&rest, None).await
            }
            Place::Backend => {
                let told = self.backend.apply(order).await;
                told.context("the backend cannot do what it was ordered to")
            }
            Place::InUse => {
                let told = self.in_use.orders(self.edges.len(), order);
                self.tell_in_turn(told).await
            }
        }
    }

    /// Does what an order says of an edge's name; returns the rest of it.
    fn order_names(&mut self, edge: usize, order: FaultOrder) -> Result<FaultOrder> {
        let Some(names) = &mut self.names else {
            return Ok(order);
        };
        let url = self.edges[edge].base_url().trim_end_matches('/');
        let port = url.rsplit(':').next().map(str::parse);
        let port = port.context("an edge's URL has no port")??;
        names.order(edge, port, order)
    }

    async fn tell_in_turn(&mut self, told: Vec<Told>) -> Result<()> {
        for told in told {
            let edge = told.edge;
            let order = self.in_use.still(told);
            self.tell(edge, order).await?;
            self.settle(edge).await;
        }
        Ok(())
    }

    /// The first viewer plays from this edge now.
    async fn plays_from(&mut self, edge: usize) {
        let told = self.in_use.plays_from(edge, self.edges.len());
        let problem = self.tell_in_turn(told).await.err();
        self.problems
            .extend(problem.map(|error| format!("{error:#}")));
    }

    async fn tell(&self, edge: usize, mut order: FaultOrder) -> Result<()> {
        let last_mile = self.has_links().then_some(self.last_mile_delay);
        for rule in &mut order.faults {
            if let Fault::Delay { delay_ms } = &mut rule.fault {
                *delay_ms = waits(*delay_ms, self.links[edge].delay, last_mile);
            }
        }
        let edge = &self.edges[edge];
        let told = edge.apply(order).await;
        told.with_context(|| format!("the edge {} cannot do what it was ordered to", edge.id()))
    }

    async fn tell_all(&self, order: &FaultOrder, but: Option<usize>) -> Result<()> {
        let others = (0..self.edges.len()).filter(|edge| Some(*edge) != but);
        let told = others.map(|edge| self.tell(edge, order.clone()));
        futures_util::future::try_join_all(told).await.map(drop)
    }

    /// Waits until something goes wrong at an edge; returns which.
    async fn hit(&mut self) -> usize {
        let waits = self
            .looked_at
            .iter_mut()
            .map(|count| Box::pin(count.changed()));
        let (changed, edge, _) = futures_util::future::select_all(waits).await;
        if changed.is_err() {
            return pending().await;
        }
        edge
    }

    /// A rule that waited stays with the edge where it hit somebody first.
    async fn settle(&mut self, edge: usize) {
        let count = *self.looked_at[edge].borrow_and_update();
        let new = count - std::mem::replace(&mut self.settled[edge], count);
        let used = self.edges[edge].receipts().into_iter().rev().take(new);
        let used: BTreeSet<String> = used.filter_map(|receipt| receipt.id).collect();
        if let Some(order) = self.in_use.settle(used.iter().map(String::as_str)) {
            let problem = self.tell_all(&order, Some(edge)).await.err();
            self.problems
                .extend(problem.map(|error| format!("{error:#}")));
        }
    }

    async fn rebind(&mut self) {
        for relay in &self.relays {
            let problem = relay.rebind().await.err();
            self.problems.extend(problem.map(|error| error.to_string()));
        }
    }

    fn served(self, began_unix_ms: u64) -> Served {
        let of_edges = self.edges.iter().enumerate().flat_map(|(place, edge)| {
            let receipts = edge.receipts().into_iter();
            receipts.map(move |receipt| (Some(place), receipt))
        });
        let of_backend = self.backend.receipts().into_iter();
        let of_names = self.names.iter().flat_map(Names::receipts);
        let mut receipts: Vec<_> = of_edges
            .chain(of_backend.map(|receipt| (None, receipt)))
            .chain(of_names)
            .collect();
        receipts.sort_by_key(|(_, receipt)| receipt.at_unix_ms);
        Served {
            began_unix_ms,
            receipts,
            load: load(&self.edges, began_unix_ms),
            problems: self.problems,
        }
    }
}

/// One minute of arc is a nautical mile.
const KM_PER_DEGREE: f64 = 1.852 * 60.0;

/// Appliances report when they start; this is a slow machine's allowance.
const REPORTS_MAX: Duration = Duration::from_secs(20);

/// Viewers are 10.0.0.1 and so on in a scenario, and 127.0.0.1 where all is on one machine.
fn here(prefix: &str, is_one_machine: bool) -> String {
    match prefix.strip_prefix("10.").filter(|_| is_one_machine) {
        Some(rest) => format!("127.{rest}"),
        None => prefix.to_owned(),
    }
}

/// What an edge waits before it answers is all that its answers are late by: both ways of both links.
fn round_trip(link: Duration, last_mile: Duration) -> Duration {
    (link + last_mile) * 2
}

/// What an edge waits where its link is to delay answers by so much, in milliseconds: all of the way where links are its own, and what is
/// missing of that where packets are late by themselves.
fn waits(delay_ms: u64, link: Duration, last_mile: Option<Duration>) -> u64 {
    let millis = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    match last_mile {
        Some(last_mile) => delay_ms.saturating_add(millis(last_mile * 2)),
        None => delay_ms.saturating_sub(millis(link * 2)),
    }
}

/// Returns a port that an edge can have: something in front of it has to know.
fn free_port() -> Result<u16> {
    for _ in 0..PORTS_TRIED {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
        let port = tcp.local_addr().context("looking for a port")?;
        if UdpSocket::bind(port).is_ok() {
            return Ok(port.port());
        }
    }
    anyhow::bail!("no port is free for TCP and UDP")
}

const PORTS_TRIED: usize = 16;

fn model(scenario: &Scenario) -> ModelConfig {
    let usual = ModelConfig::default();
    ModelConfig {
        token_ttl: scenario.token_ttl,
        refresh_after: scenario.refresh_after,
        slot_ttl: scenario.refresh_after * 2 + usual.slot_ttl,
        ..usual
    }
}

fn catalogue(scenario: &Scenario, seed: u64) -> nearcast_backend_server::Catalogue {
    let mut catalogue = title::catalogue(scenario.duration);
    catalogue.plans = vec![Plan {
        id: "all".to_owned(),
        streams_max: 4,
    }];
    catalogue.accounts = (0..scenario.viewers(seed).len())
        .map(|session| Account {
            id: account(session),
            plan: "all".to_owned(),
            country: "SE".to_owned(),
            maturity: 18,
        })
        .collect();
    // Who comes from this machine is where the scenario's viewers are.
    catalogue.networks = ["127.0.0.0/8", "10.0.0.0/8"]
        .map(|prefix| Network {
            prefix: prefix.to_owned(),
            country: None,
            position_deg: Some((0.0, 0.0)),
        })
        .to_vec();
    catalogue
}

#[cfg(test)]
mod tests {
    use nearcast_appliance::fault::{FaultRule, FaultSelector, ObjectKind, TlsProblem};
    use nearcast_player::{BackendOptions, NetworkOptions};
    use nearcast_protocol::play::{Capabilities, Intent, PlayRequest};
    use nearcast_units::Ratio;

    use super::*;

    /// A backend with a fault, and a player's client of it.
    async fn wrong(fault: Fault, on: FaultSelector) -> (BackendHandle, nearcast_player::Backend) {
        let catalogue = title::catalogue(Duration::from_secs(60));
        let backend = Backend::start(BackendConfig::loopback(catalogue)).await;
        let backend = backend.unwrap();
        let rule = FaultRule {
            id: None,
            fault,
            on,
        };
        backend.apply(FaultOrder::add([rule])).await.unwrap();
        let network = nearcast_player::Network::new(NetworkOptions {
            extra_ca_pem: vec![backend.ca_pem().as_bytes().to_vec()],
            ..NetworkOptions::default()
        });
        let mut options = BackendOptions::new(backend.url());
        options.account = "demo".to_owned();
        let client = nearcast_player::Backend::new(options, &network.unwrap()).unwrap();
        (backend, client)
    }

    fn request() -> PlayRequest {
        PlayRequest {
            title: title::NAME.to_owned(),
            capabilities: Capabilities::default(),
            intent: Intent::Play,
            request_id: None,
        }
    }

    #[tokio::test]
    async fn a_player_does_not_unpack_what_its_backend_answers() {
        let (backend, client) = wrong(Fault::GzipBomb, FaultSelector::EVERYTHING).await;
        let refused = client.play(&request()).await.unwrap_err();
        assert_eq!(refused.code(), "backend.bad_answer", "{refused}");
        let refused = client.refresh("p1").await.unwrap_err();
        assert_eq!(refused.code(), "backend.bad_answer", "{refused}");
        // Each was asked for over TLS at last, since a seal brought nothing.
        assert!(backend.receipts().len() >= 3);
    }

    #[tokio::test]
    async fn what_a_player_makes_of_its_backend_is_told_by_codes() {
        let half = FaultSelector {
            object: Some(ObjectKind::Play),
            after: Ratio::new(0.5).ok(),
            ..FaultSelector::EVERYTHING
        };
        let play = FaultSelector {
            after: None,
            ..half.clone()
        };
        let once = FaultSelector {
            count: Some(1),
            ..FaultSelector::EVERYTHING
        };
        let status = |status| Fault::Status {
            status,
            retry_after_s: None,
        };
        let tls = |problem| Fault::Tls { problem };
        for (fault, on, code, is_final) in [
            // Who sends something else can be reached; whose connection is lost cannot.
            (Fault::Longer, &play, "backend.bad_answer", false),
            (Fault::Truncate, &half, "backend.bad_answer", false),
            (Fault::RedirectLoop, &play, "backend.bad_answer", false),
            (Fault::Reset, &half, "backend.unreachable", false),
            (Fault::Refuse, &once, "backend.unreachable", false),
            (tls(TlsProblem::Expired), &once, "backend.tls", false),
            (tls(TlsProblem::WrongName), &once, "backend.tls", false),
            (tls(TlsProblem::Stall), &once, "backend.timeout", false),
            (Fault::TokenExpired, &play, "play.session_expired", true),
            (status(401), &play, "backend.problem", true),
            (status(404), &play, "backend.problem", true),
            (status(429), &play, "backend.problem", false),
        ] {
            let (backend, client) = wrong(fault.clone(), on.clone()).await;
            let error = client.play(&request()).await.unwrap_err();
            assert_eq!(error.code(), code, "{fault:?}: {error}");
            assert_eq!(error.is_final(), is_final, "{fault:?}");
            assert!(!backend.receipts().is_empty(), "{fault:?}");
        }
    }

    #[test]
    fn an_answer_is_late_by_the_fault_and_by_the_last_mile() {
        let ms = Duration::from_millis;
        assert_eq!(waits(200, ms(5), Some(ms(10))), 220, "links of its own");
        assert_eq!(
            waits(200, ms(5), None),
            190,
            "packets take 10 by themselves"
        );
        assert_eq!(waits(5, ms(5), None), 0);
    }
}
