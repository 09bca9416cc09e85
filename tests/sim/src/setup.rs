//! What a simulated world is made of.

use std::time::Duration;

use nearcast_core::{Command, Config};
use nearcast_link::LinkConfig;
use nearcast_protocol::fault::Fault;
use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::BitRate;

use crate::title::SimTitle;

/// A world and what happens in it.
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
    pub faults: Vec<TimedFault>,
    /// What the viewer does, and when.
    pub commands: Vec<TimedCommand>,
    /// The run ends here if the session has not.
    pub limit: Duration,
}

/// One appliance.
#[derive(Clone, Debug)]
pub struct EdgeSetup {
    /// Its name.
    pub name: String,
    /// Its own link.
    pub link: LinkConfig,
}

/// Something that goes wrong at a time since the play intent.
#[derive(Clone, Debug)]
pub struct TimedFault {
    /// When.
    pub at: Duration,
    /// Index of the appliance; the number of appliances stands for the last mile, whose rate may change.
    pub edge: usize,
    /// What; `None` restores the appliance.
    pub fault: Option<Fault>,
    /// Which objects; faults of the link concern all.
    pub on: fn(ObjectKey) -> bool,
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
                .map(|n| EdgeSetup {
                    name: format!("edge-{n}"),
                    link: LinkConfig {
                        rate: Some(BitRate::from_kbps(40_000)),
                        delay: Duration::from_micros(5_000 + 2_500 * u64::from(n)),
                    },
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

    /// Adds a fault.
    #[must_use]
    pub fn fault(self, at_s: f64, edge: usize, fault: Option<Fault>) -> Self {
        self.fault_on(at_s, edge, fault, |_| true)
    }

    /// Adds a fault of some objects.
    #[must_use]
    pub fn fault_on(
        mut self,
        at_s: f64,
        edge: usize,
        fault: Option<Fault>,
        on: fn(ObjectKey) -> bool,
    ) -> Self {
        self.faults.push(TimedFault {
            at: Duration::from_secs_f64(at_s),
            edge,
            fault,
            on,
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
}
