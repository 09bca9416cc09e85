//! A scenario that can be run: what was written, checked once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultSelector, ObjectKind, Scope};
use nearcast_units::{BitRate, ByteCount, MediaTime, Ratio};
use toml::Spanned;

use crate::error::{ScenarioError, Source, nearest};
use crate::expect::Expectation;
use crate::link::{Link, LinkSpec, beside};
use crate::spec::{AbrName, ActionSpec, EdgeSpec, FaultSpec, Mode, PlayerSpec, ScenarioSpec, What};

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

/// With what something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One edge, by its index.
    Edge(usize),
    /// Every edge.
    All,
    /// The edge that the first player plays from when a request comes that is selected; while nothing plays, the one that answers first.
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
        let text = fs::read_to_string(file).map_err(|error| ScenarioError {
            file: file.to_owned(),
            line: None,
            text: String::new(),
            what: format!("cannot be read: {error}"),
            hint: None,
        })?;
        Self::parse(file, &text)
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
            Some(matrix) => crate::matrix::expand(source, &checked, matrix),
        }
    }

    /// Returns the names of the edges.
    #[must_use]
    pub fn edge_names(&self) -> Vec<&str> {
        self.edges.iter().map(|edge| edge.name.as_str()).collect()
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
const CAPACITY: BitRate = BitRate::from_kbps(10_000_000);
/// More sessions than this in one world are a typing error.
const PLAYERS_MAX: u32 = 100_000;

/// Checks what TOML cannot.
#[derive(Clone, Copy)]
pub(crate) struct Checker<'a> {
    pub(crate) source: Source<'a>,
}

impl Checker<'_> {
    fn scenario(self, spec: &ScenarioSpec) -> Result<Scenario, ScenarioError> {
        let stem = self.source.file.file_stem();
        let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
        if spec.edges.is_empty() {
            return Err(self.source.whole(
                "there is no edge to play from",
                Some("add `[[edges]]`".to_owned()),
            ));
        }
        let edges: Vec<Edge> = spec
            .edges
            .iter()
            .map(|edge| self.edge(edge))
            .collect::<Result<_, _>>()?;
        for (index, edge) in spec.edges.iter().enumerate() {
            let before = &spec.edges[..index];
            if before
                .iter()
                .any(|other| other.name.get_ref() == edge.name.get_ref())
            {
                let what = format!("there are two edges `{}`", edge.name.get_ref());
                return Err(self.source.error(edge.name.span(), what, None));
            }
        }
        let names: Vec<&str> = edges.iter().map(|edge| edge.name.as_str()).collect();
        let players = self.players(&spec.players)?;
        let duration = Duration::from(spec.title.duration_s);
        if duration.is_zero() {
            return Err(self.source.whole(
                "the title has no length",
                Some("write `duration_s = 120` under `[title]`".to_owned()),
            ));
        }
        Ok(Scenario {
            name: spec
                .name
                .clone()
                .or(stem)
                .unwrap_or_else(|| "scenario".to_owned()),
            about: spec.about.trim().to_owned(),
            file: self.source.file.to_owned(),
            seeds_max: spec.seeds_max,
            modes: spec.modes.clone(),
            limit: spec
                .limit_s
                .map_or(duration * 2 + Duration::from_secs(60), Duration::from),
            duration,
            digests: spec.title.digests,
            last_mile: self.link(spec.last_mile.as_ref())?,
            token_ttl: spec.backend.token_ttl_s.into(),
            refresh_after: spec.backend.refresh_after_s.into(),
            backend_delay: spec.backend.delay_ms.into(),
            actions: spec
                .actions
                .iter()
                .map(|action| self.action(action, &players))
                .collect::<Result<_, _>>()?,
            faults: spec
                .faults
                .iter()
                .map(|fault| self.fault(fault, &names))
                .collect::<Result<_, _>>()?,
            expectations: self.expectations(&spec.expect, &names)?,
            players,
            edges,
            cell: None,
        })
    }

    fn edge(self, spec: &EdgeSpec) -> Result<Edge, ScenarioError> {
        let name = spec.name.get_ref();
        let is_name = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_name || RESERVED.contains(&name.as_str()) {
            let what = format!("`{name}` is no name for an edge");
            let hint = format!(
                "letters, digits and `-`, at most 64 of them, and none of: {}",
                RESERVED.join(", ")
            );
            return Err(self.source.error(spec.name.span(), what, Some(hint)));
        }
        if !(0.0..=20_100.0).contains(&spec.distance_km) {
            let what = format!("`{name}` is {} km away", spec.distance_km);
            return Err(self.source.error(
                spec.name.span(),
                what,
                Some("from 0 to 20100 km is on this planet".to_owned()),
            ));
        }
        Ok(Edge {
            name: name.clone(),
            site: spec.site.clone(),
            prefixes: spec.prefixes.clone(),
            distance_km: spec.distance_km,
            capacity: spec.capacity_kbps.map_or(CAPACITY, BitRate::from),
            stores_title: spec.stores_title,
            http3: spec.http3,
            clock_skew_ms: millis(spec.clock_skew_s),
            link: self.link(spec.link.as_ref())?,
        })
    }

    fn link(self, spec: Option<&Spanned<LinkSpec>>) -> Result<Link, ScenarioError> {
        let Some(spec) = spec else {
            return Link::new(LinkSpec::default(), |_| Err(String::new()))
                .map_err(|what| self.source.whole(what, None));
        };
        Link::new(spec.get_ref().clone(), beside(self.source.file))
            .map_err(|what| self.source.error(spec.span(), what, None))
    }

    fn players(self, specs: &[PlayerSpec]) -> Result<Vec<Player>, ScenarioError> {
        let alone = [PlayerSpec::default()];
        let specs = if specs.is_empty() { &alone } else { specs };
        let mut players: Vec<Player> = Vec::new();
        for spec in specs {
            let name = spec.name.get_ref();
            let wrong = |what: String, hint: &str| {
                Err(self
                    .source
                    .error(spec.name.span(), what, Some(hint.to_owned())))
            };
            if players.iter().any(|other| other.name == *name) {
                return wrong(
                    format!("there are two players `{name}`"),
                    "give each a `name`",
                );
            }
            if !(1..=PLAYERS_MAX).contains(&spec.count) {
                return wrong(
                    format!("`{name}`: there are {} of it", spec.count),
                    "from 1 to 100000 would be right",
                );
            }
            if spec.race_width == 0 {
                return wrong(
                    format!("`{name}` begins with no edge"),
                    "`race_width` from 1 on; with 1 there is no race",
                );
            }
            players.push(Player {
                name: name.clone(),
                count: spec.count,
                starts: spec.starts_s.into(),
                spread: spec.spread_s.into(),
                abr: spec.abr,
                buffer_goal: spec.buffer_goal_s.into(),
                start_at: MediaTime::from_duration(spec.start_at_s.into()),
                cap: spec.cap_kbps.map(BitRate::from),
                give_up: spec.give_up_s.map(Duration::from),
                memory_cap: spec.memory_cap_bytes.into(),
                race_width: usize::try_from(spec.race_width).unwrap_or(usize::MAX),
            });
        }
        Ok(players)
    }

    fn action(self, spec: &ActionSpec, players: &[Player]) -> Result<Action, ScenarioError> {
        let player = match &spec.player {
            None => None,
            Some(name) => {
                let names: Vec<&str> = players.iter().map(|player| player.name.as_str()).collect();
                Some(self.place_of(name, &names, "player")?)
            }
        };
        let wrong = |what: &str, hint: &str| {
            let hint = Some(hint.to_owned());
            Err(self.source.error(spec.what.span(), what, hint))
        };
        let doing = match (*spec.what.get_ref(), spec.to_s, spec.track) {
            (What::Seek, Some(to), _) => Doing::Seek(MediaTime::from_duration(to.into())),
            (What::Seek, None, _) => return wrong("a `seek` goes nowhere", "add `to_s`"),
            (What::Audio, _, Some(track)) => Doing::Audio(track),
            (What::Audio, _, None) => {
                return wrong("`audio` of which track?", "add `track`, counted from 0");
            }
            (What::Subtitles, _, track) => Doing::Subtitles(track),
            (What::LockRung, _, rung) => Doing::LockRung(rung),
            (What::Pause, ..) => Doing::Pause,
            (What::Play, ..) => Doing::Play,
            (What::Cap, ..) => Doing::Cap(spec.rate_kbps.map(BitRate::from)),
            (What::NetworkChange, ..) => Doing::NetworkChange,
            (What::Rebind, ..) => Doing::Rebind,
            (What::Stop, ..) => Doing::Stop,
        };
        Ok(Action {
            at: spec.at_s.into(),
            within: spec.within_s.into(),
            player,
            doing,
        })
    }

    fn fault(self, spec: &FaultSpec, edges: &[&str]) -> Result<FaultPlan, ScenarioError> {
        let place = self.place(&spec.edge, edges)?;
        self.check_fault(spec.edge.span(), place, &spec.fault, &spec.on)?;
        let (lasts, every) = (
            spec.lasts_s.map(Duration::from),
            spec.every_s.map(Duration::from),
        );
        if every.is_some_and(|every| lasts.is_none_or(|lasts| lasts >= every)) {
            let what = "it comes again before it is over";
            let hint = "`lasts_s` below `every_s` would be right".to_owned();
            return Err(self.source.error(spec.edge.span(), what, Some(hint)));
        }
        Ok(FaultPlan {
            id: spec
                .id
                .clone()
                .unwrap_or_else(|| spec.fault.name().to_owned()),
            at: spec.at_s.into(),
            within: spec.within_s.into(),
            lasts,
            every,
            place,
            fault: spec.fault.clone(),
            on: spec.on.clone(),
            may_miss: spec.may_miss || spec.on.probability.is_some(),
        })
    }

    /// Refuses what can never take effect.
    pub(crate) fn check_fault(
        self,
        span: std::ops::Range<usize>,
        place: Place,
        fault: &Fault,
        on: &FaultSelector,
    ) -> Result<(), ScenarioError> {
        let wrong = |what: String, hint: &str| {
            Err(self.source.error(span.clone(), what, Some(hint.to_owned())))
        };
        let kind = fault.name();
        if let Fault::Status { status, .. } = fault
            && !(400..=599).contains(status)
        {
            return wrong(
                format!("status {status} is no error"),
                "from 400 to 599 would be right",
            );
        }
        if on
            .segment_from
            .zip(on.segment_to)
            .is_some_and(|(from, to)| from > to)
        {
            return wrong(
                "no segment is selected".to_owned(),
                "`segment_to` from `segment_from` on would be right",
            );
        }
        if on.count == Some(0) {
            return wrong(
                "it is to happen no time at all".to_owned(),
                "`count` from 1 on, or none",
            );
        }
        let has_place_in_body = on.after.is_some_and(|share| share > Ratio::ZERO);
        if has_place_in_body && !matches!(fault.scope(), Scope::Body | Scope::Link) {
            return wrong(
                format!("`{kind}` does not begin within a body"),
                "leave `after` out",
            );
        }
        let of_backend = on.object.is_some_and(|object| {
            matches!(
                object,
                ObjectKind::Play | ObjectKind::Refresh | ObjectKind::Steering | ObjectKind::Event
            )
        });
        if of_backend && place != Place::Backend {
            return wrong(
                "edges do not answer that".to_owned(),
                "write `edge = \"backend\"`",
            );
        }
        if place == Place::Backend && on.object.is_some() && !of_backend {
            return wrong(
                "the backend does not answer that".to_owned(),
                "`object` is `play`, `refresh`, `steering` or `event` there",
            );
        }
        if *fault == Fault::Misrank && place != Place::Backend {
            return wrong(
                "edges rank nothing".to_owned(),
                "write `edge = \"backend\"`",
            );
        }
        if place == Place::Backend && matches!(fault, Fault::ControlLost | Fault::SaysWell) {
            return wrong(format!("`{kind}` is a fault of edges"), "name one");
        }
        Ok(())
    }

    pub(crate) fn place(
        self,
        name: &Spanned<String>,
        edges: &[&str],
    ) -> Result<Place, ScenarioError> {
        match name.get_ref().as_str() {
            "all" => Ok(Place::All),
            "in_use" => Ok(Place::InUse),
            "backend" => Ok(Place::Backend),
            _ => self.place_of(name, edges, "edge").map(Place::Edge),
        }
    }

    fn place_of(
        self,
        name: &Spanned<String>,
        known: &[&str],
        what: &str,
    ) -> Result<usize, ScenarioError> {
        let found = known.iter().position(|one| one == name.get_ref());
        found.ok_or_else(|| {
            let hint = match nearest(name.get_ref(), known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", known.join(", ")),
            };
            let what = format!("there is no {what} `{}`", name.get_ref());
            self.source.error(name.span(), what, Some(hint))
        })
    }

    pub(crate) fn expectations(
        self,
        texts: &[Spanned<String>],
        edges: &[&str],
    ) -> Result<Vec<Expectation>, ScenarioError> {
        let read = |text: &Spanned<String>| {
            Expectation::parse(text.get_ref(), edges)
                .map_err(|no| self.source.error(text.span(), no.what, no.hint))
        };
        texts.iter().map(read).collect()
    }
}

/// Words that name no edge.
const RESERVED: [&str; 4] = ["all", "in_use", "backend", "last-mile"];

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float cast saturates, and nobody has such a clock"
)]
fn millis(seconds: f64) -> i64 {
    (seconds * 1e3).round() as i64
}
