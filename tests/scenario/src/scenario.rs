//! A scenario that can be run: what was written, checked once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultSelector, ObjectKind};
use nearcast_units::{BitRate, ByteCount, MediaTime};

use crate::check::Checker;
use crate::error::{self, ScenarioError, Source};
use crate::expect::Expectation;
use crate::link::Link;
use crate::spec::{AbrName, Mode, ScenarioSpec};

/// A scenario that can be run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What is tried, and why.
    pub about: String,
    /// Its file.
    pub file: PathBuf,
    /// No more seeds than this make sense; `None` is no limit.
    pub seeds_max: Option<u32>,
    /// Where it can be run.
    pub modes: Vec<Mode>,
    /// The run ends here for players that have not.
    pub limit: Duration,
    /// How long the title is.
    pub duration: Duration,
    /// Whether appliances say digests.
    pub digests: bool,
    /// Appliances.
    pub edges: Vec<Edge>,
    /// The link before each player.
    pub last_mile: Link,
    /// How long a token is good.
    pub token_ttl: Duration,
    /// When players are to ask for another one.
    pub refresh_after: Duration,
    /// How long a call to the backend takes, each way.
    pub backend_delay: Duration,
    /// Who plays.
    pub players: Vec<Player>,
    /// What viewers do.
    pub actions: Vec<Action>,
    /// What goes wrong.
    pub faults: Vec<FaultPlan>,
    /// What must hold.
    pub expectations: Vec<Expectation>,
    /// Which cell of a matrix it is.
    pub cell: Option<Cell>,
}

/// An appliance.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub site: String,
    /// Client prefixes it serves.
    pub prefixes: Vec<String>,
    /// How far from the players.
    pub distance_km: f64,
    /// What counts as full load.
    pub capacity: BitRate,
    /// Whether it has the files.
    pub stores_title: bool,
    /// Whether it speaks HTTP/3 beside HTTP/2.
    pub http3: bool,
    /// By how much its clock is ahead.
    pub clock_skew_ms: i64,
    /// Its link.
    pub link: Link,
}

/// A player, or many alike.
#[derive(Clone, Debug)]
pub struct Player {
    /// Its name.
    pub name: String,
    /// How many there are.
    pub count: u32,
    /// When the first begins.
    pub starts: Duration,
    /// Over how long they are spread.
    pub spread: Duration,
    /// Its rule.
    pub abr: AbrName,
    /// Media kept ahead.
    pub buffer_goal: Duration,
    /// Where it begins.
    pub start_at: MediaTime,
    /// No rung above this.
    pub cap: Option<BitRate>,
    /// Gives up after stalling for so long.
    pub give_up: Option<Duration>,
    /// All media in memory stays below this.
    pub memory_cap: ByteCount,
    /// How many edges race at the start.
    pub race_width: usize,
}

impl Player {
    /// Returns what a session of it is called: as the player, with a number where there are many.
    pub(crate) fn session(&self, number: u32) -> String {
        if self.count > 1 {
            format!("{}-{number}", self.name)
        } else {
            self.name.clone()
        }
    }

    /// Whether a session of this name is one of it.
    pub(crate) fn is_called(&self, session: &str) -> bool {
        let number = session
            .rsplit_once('-')
            .and_then(|(_, number)| number.parse().ok());
        session == self.session(number.unwrap_or(0))
    }
}

/// Something that a viewer does.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// When, since the player began.
    pub at: Duration,
    /// Drawn within so much later.
    pub within: Duration,
    /// Index of the player; `None` is all.
    pub player: Option<usize>,
    /// What.
    pub doing: Doing,
}

/// What a viewer does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doing {
    /// Goes elsewhere on the timeline.
    Seek(MediaTime),
    /// Holds the picture.
    Pause,
    /// Plays on.
    Play,
    /// Takes no rung above this.
    Cap(Option<BitRate>),
    /// Takes one rung only, or any again.
    LockRung(Option<u16>),
    /// Listens to another track.
    Audio(u16),
    /// Reads other subtitles, or none.
    Subtitles(Option<u16>),
    /// Goes to another network.
    NetworkChange,
    /// Gets other ports at the address translator.
    Rebind,
    /// Ends playback.
    Stop,
}

/// As a scenario's file says it.
impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seek(to) => write!(f, "seek to {} s", to.as_secs_f64()),
            Self::Pause => f.write_str("pause"),
            Self::Play => f.write_str("play"),
            Self::Cap(Some(rate)) => write!(f, "cap at {} kbit/s", rate.as_f64() / 1e3),
            Self::Cap(None) => f.write_str("cap lifted"),
            Self::LockRung(Some(rung)) => write!(f, "lock_rung {rung}"),
            Self::LockRung(None) => f.write_str("lock_rung lifted"),
            Self::Audio(track) => write!(f, "audio {track}"),
            Self::Subtitles(Some(track)) => write!(f, "subtitles {track}"),
            Self::Subtitles(None) => f.write_str("subtitles off"),
            Self::NetworkChange => f.write_str("network_change"),
            Self::Rebind => f.write_str("rebind"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// Its name in reports.
    pub id: String,
    /// From when on.
    pub at: Duration,
    /// Drawn within so much later.
    pub within: Duration,
    /// How long; `None` is to the end.
    pub lasts: Option<Duration>,
    /// How often it comes again.
    pub every: Option<Duration>,
    /// With what.
    pub place: Place,
    /// What.
    pub fault: Fault,
    /// Which requests.
    pub on: FaultSelector,
    /// Whether it may never take effect.
    pub may_miss: bool,
}

impl FaultPlan {
    /// Whether it must take effect in each run: what hits by chance may miss in one.
    pub(crate) fn must_hit(&self) -> bool {
        !self.may_miss && self.on.probability.is_none()
    }

    /// Says that it never took effect, and why where its object alone tells.
    pub(crate) fn missed(&self) -> String {
        let why = match self.on.object {
            Some(ObjectKind::Steering) => {
                ": other players ask for steering documents, this one gets steering's ranking with each `refresh`"
            }
            Some(ObjectKind::Key) => ": the title is not encrypted, and nobody asks for keys",
            Some(ObjectKind::Event) => {
                " (in virtual time nobody sends events: they need `--mode app`)"
            }
            _ => "",
        };
        format!(
            "the fault `{}` never took effect: nothing asked for what it selects while it was there{why}",
            self.id
        )
    }
}

/// With what something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One edge, by its index.
    Edge(usize),
    /// Every edge.
    All,
    /// The edge that the first player plays from when a request comes that is selected; while nothing plays, the one that answers first,
    /// or for faults of all that an edge does, the first that is listed.
    InUse,
    /// The backend.
    Backend,
}

/// A cell of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The shape of failure.
    pub shape: String,
    /// What it hits.
    pub object: String,
    /// At which place of the body; `None` is the whole answer.
    pub after: Option<f64>,
}

impl Scenario {
    /// Returns the scenario for whom links pass bodies alone, not packets.
    #[must_use]
    pub fn of_bodies(&self) -> Self {
        let mut scenario = self.clone();
        scenario.last_mile = scenario.last_mile.of_bodies();
        for edge in &mut scenario.edges {
            edge.link = edge.link.of_bodies();
        }
        scenario
    }

    /// Reads a file: one scenario, or as many as its matrix makes.
    ///
    /// # Errors
    /// With file, line, what is wrong and what would be right.
    pub fn read(file: &Path) -> Result<Vec<Self>, ScenarioError> {
        Self::parse(file, &error::read(file)?)
    }

    /// Reads the text of a file; traces are read beside it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(file: &Path, text: &str) -> Result<Vec<Self>, ScenarioError> {
        let source = Source { file, text };
        let spec: ScenarioSpec = toml::from_str(text).map_err(|error| source.toml(&error))?;
        if *spec.version.get_ref() != VERSION {
            let found = spec.version.get_ref();
            return Err(source.error(
                spec.version.span(),
                format!("version {found} of the format is not known here"),
                Some(format!("write `version = {VERSION}`")),
            ));
        }
        let checked = Checker { source }.scenario(&spec)?;
        match &spec.matrix {
            None => Ok(vec![checked]),
            Some(matrix) => {
                let matrix = (matrix.get_ref(), matrix.span());
                crate::matrix::expand(source, &checked, matrix)
            }
        }
    }

    /// Returns the names of the edges.
    #[must_use]
    pub fn edge_names(&self) -> Vec<&str> {
        self.edges.iter().map(|edge| edge.name.as_str()).collect()
    }

    /// Returns what is wrong with so many runs together: chance that never struck in any of them. `receipts` is how often each fault
    /// took effect in all, by its name.
    #[must_use]
    pub fn never_struck(&self, runs: u64, receipts: &BTreeMap<String, u64>) -> Vec<String> {
        // One run says nothing of chance.
        let by_chance = self
            .faults
            .iter()
            .filter(|fault| runs > 1 && !fault.may_miss && fault.on.probability.is_some());
        let never = by_chance.filter(|fault| !receipts.contains_key(&fault.id));
        let told = never.map(|fault| {
            format!(
                "the fault `{}` took effect with none of {runs} seeds: raise `probability` or run more seeds; where nothing asks for what \
                 it selects, neither helps",
                fault.id
            )
        });
        told.collect()
    }

    /// Returns how many sessions one run has.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.players
            .iter()
            .map(|player| u64::from(player.count))
            .sum()
    }
}

/// The version of the format that is read.
pub(crate) const VERSION: u32 = 1;
