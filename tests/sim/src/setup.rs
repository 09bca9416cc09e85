//! What a simulated world is made of.

use std::sync::Arc;
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultOrder, FaultRule};
use nearcast_core::{Command, Config, Memory};
use nearcast_link::{LinkConfig, LossBursts};
use nearcast_scenario::Place;
use nearcast_units::{BitRate, Ratio, Seed};

use crate::title::SimTitle;

/// A world with one client, and what happens in it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The session's settings, its seed among them.
    pub config: Config,
    /// What is played.
    pub title: SimTitle,
    /// Appliances, best first.
    pub edges: Vec<EdgeSetup>,
    /// The link that all answers cross.
    pub last_mile: LinkConfig,
    /// Whether appliances say the digest of what they give.
    pub digests: bool,
    /// When a grant has to be refreshed; `None` is never.
    pub refresh_after: Option<Duration>,
    /// How many appliances the first grant names, and which the later ones do; `None` is all of them, always.
    pub grants: Option<(usize, Vec<usize>)>,
    /// What goes wrong, and when.
    pub faults: Vec<TimedOrder>,
    /// What the viewer does, and when.
    pub commands: Vec<TimedCommand>,
    /// The run ends here if the session has not.
    pub limit: Duration,
}

/// A world with any number of clients. Appliances serve all of them.
#[derive(Clone, Debug, Default)]
pub struct WorldSetup {
    /// Appliances.
    pub edges: Vec<EdgeSetup>,
    /// Links that clients are behind, each alone or several together.
    pub last_miles: Vec<LinkConfig>,
    /// Who plays.
    pub clients: Vec<ClientSetup>,
    /// Whether appliances say the digest of what they give.
    pub digests: bool,
    /// Who says which appliances are there; without a backend each client's list does, and nobody needs a token.
    pub backend: Option<BackendSetup>,
    /// Where the world's own chance comes from: jitter, loss, faults that strike with some probability.
    pub seed: Seed,
    /// What goes wrong, and when.
    pub faults: Vec<TimedOrder>,
    /// What goes wrong once a client is in the middle of a segment.
    pub traps: Vec<Trap>,
    /// How links change.
    pub schedules: Vec<LinkSchedule>,
    /// What links do beside their rate and delay.
    pub impairments: Vec<(LinkName, Impairment)>,
    /// The run ends here for sessions that have not ended.
    pub limit: Duration,
    /// What is watched beside the sessions' own reports.
    pub watch: Watch,
}

/// The backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendSetup {
    /// How long a token is good.
    pub token_ttl: Duration,
    /// When clients are to ask for another one.
    pub refresh_after: Duration,
    /// How long a call takes, each way.
    pub delay: Duration,
    /// How long the title is.
    pub duration_ms: u64,
}

/// One session and its viewer.
#[derive(Clone, Debug)]
pub struct ClientSetup {
    /// What appliances and reports call it.
    pub name: String,
    /// The session's settings, its seed among them.
    pub config: Config,
    /// What is played.
    pub title: Arc<SimTitle>,
    /// Which of the world's last miles it is behind.
    pub last_mile: usize,
    /// When it begins to play.
    pub arrives: Duration,
    /// Appliances that its first grant names, best first.
    pub edges: Vec<usize>,
    /// Those that later grants name.
    pub later_edges: Vec<usize>,
    /// When a grant has to be refreshed; `None` is never.
    pub refresh_after: Option<Duration>,
    /// What the viewer does, and when.
    pub commands: Vec<TimedCommand>,
    /// When an address translator gives all its connections other ports, and nobody is told.
    pub rebinds: Vec<Duration>,
}

/// What costs more than deciding does: on for tests, off where many sessions are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Write every input and event down.
    pub log: bool,
    /// Check invariants after each step.
    pub invariants: bool,
}

impl Watch {
    /// Everything.
    pub const ALL: Self = Self {
        log: true,
        invariants: true,
    };
}

/// One appliance.
#[derive(Clone, Debug)]
pub struct EdgeSetup {
    /// Its name.
    pub name: String,
    /// Its own link.
    pub link: LinkConfig,
    /// Client prefixes it serves, in CIDR notation.
    pub prefixes: Vec<String>,
    /// How far from the clients it is.
    pub distance_km: f64,
    /// What counts as full load.
    pub capacity: BitRate,
    /// Whether it has the title's files.
    pub stores_title: bool,
    /// Whether it speaks HTTP/3, and not HTTP/2: a connection stands after one round trip, and a death is silence.
    pub http3: bool,
    /// By how much its clock is ahead.
    pub clock_skew_ms: i64,
}

impl EdgeSetup {
    /// Makes one of this name behind this link, that has all files and serves everybody.
    #[must_use]
    pub fn new(name: impl Into<String>, link: LinkConfig) -> Self {
        Self {
            name: name.into(),
            link,
            prefixes: vec!["10.0.0.0/8".to_owned()],
            distance_km: 0.0,
            capacity: BitRate::from_kbps(10_000_000),
            stores_title: true,
            http3: false,
            clock_skew_ms: 0,
        }
    }
}

/// What somebody is told at a time since the world began.
#[derive(Clone, Debug)]
pub struct TimedOrder {
    /// When.
    pub at: Duration,
    /// Who.
    pub place: Place,
    /// What goes wrong from then on, or does no more.
    pub order: FaultOrder,
}

/// Something that goes wrong once, when a client has got so much of a video segment.
#[derive(Clone, Debug)]
pub struct Trap {
    /// Which client.
    pub client: usize,
    /// Not before this time since the world began.
    pub after: Duration,
    /// The share of the segment that it has got.
    pub share: Ratio,
    /// What goes wrong.
    pub change: Change,
}

/// What goes wrong with what a client uses.
#[derive(Clone, Debug)]
pub enum Change {
    /// With the appliance that brings the segment.
    Edge(FaultRule),
    /// The appliance that brings the segment has only this share of its rate.
    EdgeRate(Ratio),
    /// The client's last mile has only this share of its rate.
    LastMileRate(Ratio),
}

/// Names a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkName {
    /// An appliance's own.
    Edge(usize),
    /// One that clients are behind.
    LastMile(usize),
}

/// What a link does to packets, as far as a fluid link can have it: see [`crate`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// How much longer than its delay a request may take.
    pub jitter: Duration,
    /// The share of packets that are lost, over a long time.
    pub loss: Ratio,
    /// Which of them are lost in bursts; `None` is that each is lost for itself.
    pub bursts: Option<Bursts>,
}

/// Loss in bursts (the model of Gilbert and Elliott).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// When they begin and end, and what is lost within them.
    pub within: LossBursts,
    /// The share of packets that are lost outside of them.
    pub outside: Ratio,
}

/// How a link changes.
#[derive(Clone, Debug)]
pub struct LinkSchedule {
    /// Which link.
    pub link: LinkName,
    /// One after the other, from the beginning of the world on.
    pub steps: Vec<LinkStep>,
    /// Whether the first step follows the last, as recorded networks are repeated; else the last one stays.
    pub repeats: bool,
}

/// A stretch of time in which a link does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStep {
    /// How long it lasts.
    pub lasts: Duration,
    /// What the link is like.
    pub link: LinkConfig,
}

/// Something the viewer does at a time since the play intent.
#[derive(Clone, Debug)]
pub struct TimedCommand {
    /// When.
    pub at: Duration,
    /// What.
    pub command: Command,
}

impl Setup {
    /// Makes a quiet world: `edges` equal appliances of 40 Mbit/s behind a last mile of 20 Mbit/s, round
    /// trips from 20 ms on, 5 ms more for each further appliance.
    #[must_use]
    pub fn quiet(title: SimTitle, edges: u32) -> Self {
        let limit = title.duration() * 2 + Duration::from_secs(60);
        Self {
            config: Config::default(),
            title,
            edges: (0..edges)
                .map(|n| {
                    let link = LinkConfig {
                        rate: Some(BitRate::from_kbps(40_000)),
                        delay: Duration::from_micros(5_000 + 2_500 * u64::from(n)),
                    };
                    EdgeSetup::new(format!("edge-{n}"), link)
                })
                .collect(),
            last_mile: LinkConfig {
                rate: Some(BitRate::from_kbps(20_000)),
                delay: Duration::from_millis(5),
            },
            digests: false,
            refresh_after: None,
            grants: None,
            faults: Vec::new(),
            commands: Vec::new(),
            limit,
        }
    }

    /// Begins on a network of this name with what earlier sessions learnt, at so many seconds since the Unix epoch.
    #[must_use]
    pub fn on_network(mut self, name: &str, memory: Memory, began_s: u64) -> Self {
        self.config.network = Some(name.to_owned());
        self.config.memory = memory;
        self.config.began_s = began_s;
        self
    }

    /// Adds a fault of everything that an appliance does; `None` restores it.
    #[must_use]
    pub fn fault(self, at_s: f64, edge: usize, fault: Option<Fault>) -> Self {
        let order = match fault {
            Some(fault) => FaultOrder::add([FaultRule::everywhere(fault)]),
            None => FaultOrder::clear(),
        };
        self.order(at_s, edge, order)
    }

    /// Adds a fault of some requests.
    #[must_use]
    pub fn fault_on(self, at_s: f64, edge: usize, rule: FaultRule) -> Self {
        self.order(at_s, edge, FaultOrder::add([rule]))
    }

    fn order(mut self, at_s: f64, edge: usize, order: FaultOrder) -> Self {
        self.faults.push(TimedOrder {
            at: Duration::from_secs_f64(at_s),
            place: Place::Edge(edge),
            order,
        });
        self
    }

    /// Adds something the viewer does.
    #[must_use]
    pub fn command(mut self, at_s: f64, command: Command) -> Self {
        self.commands.push(TimedCommand {
            at: Duration::from_secs_f64(at_s),
            command,
        });
        self
    }

    /// Returns the same world as one that may have more clients.
    #[must_use]
    pub fn world(self, watch: Watch) -> WorldSetup {
        let all: Vec<usize> = (0..self.edges.len()).collect();
        let (edges, later_edges) = match self.grants {
            Some((first, later)) => (all.into_iter().take(first).collect(), later),
            None => (all.clone(), all),
        };
        WorldSetup {
            edges: self.edges,
            last_miles: vec![self.last_mile],
            clients: vec![ClientSetup {
                name: "player".to_owned(),
                config: self.config,
                title: Arc::new(self.title),
                last_mile: 0,
                arrives: Duration::ZERO,
                edges,
                later_edges,
                refresh_after: self.refresh_after,
                commands: self.commands,
                rebinds: Vec::new(),
            }],
            digests: self.digests,
            backend: None,
            seed: Seed::default(),
            faults: self.faults,
            traps: Vec::new(),
            schedules: Vec::new(),
            impairments: Vec::new(),
            limit: self.limit,
            watch,
        }
    }
}
