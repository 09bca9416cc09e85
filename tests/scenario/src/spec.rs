//! A scenario as it is written: one TOML file. Keys end in their unit; what is left out has a value that suits most.

use nearcast_appliance::fault::{Fault, FaultSelector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::link::LinkSpec;
use crate::quantity::{Bytes, Kbps, Millis, Seconds, Share};

/// A scenario: appliances, their links, a last mile, players, what goes wrong and when, and what must hold in the end.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "nearcast scenario, version 1")]
pub struct ScenarioSpec {
    /// The version of this format: 1.
    #[schemars(with = "u32", range(min = 1, max = 1))]
    pub version: Spanned<u32>,
    /// What the scenario is called; left out, as its file.
    pub name: Option<String>,
    /// One or two sentences: what is tried, and why.
    #[serde(default)]
    pub about: String,
    /// No more seeds than this make sense, however many are asked for: each world is large.
    #[schemars(range(min = 1))]
    pub seeds_max: Option<u32>,
    /// Where it can be run; left out, everywhere.
    #[serde(default = "everywhere")]
    #[schemars(length(min = 1))]
    pub modes: Vec<Mode>,
    /// The run ends here for players that have not; left out, after twice the title and a minute.
    pub limit_s: Option<Seconds>,
    /// What is played.
    #[serde(default)]
    pub title: TitleSpec,
    /// Appliances, at least one.
    #[schemars(with = "Vec<EdgeSpec>")]
    pub edges: Vec<Spanned<EdgeSpec>>,
    /// The link that everything crosses on its last way to each viewer; each has one of their own.
    #[serde(default)]
    #[schemars(with = "LinkSpec")]
    pub last_mile: Option<Spanned<LinkSpec>>,
    /// Who says which appliances are there.
    #[serde(default)]
    pub backend: BackendSpec,
    /// Who plays, under the same links and faults; left out, one player with the product's own settings.
    #[serde(default)]
    #[schemars(with = "Vec<PlayerSpec>")]
    pub players: Vec<Spanned<PlayerSpec>>,
    /// What viewers do. What is to be done when all its sessions have played to their end fails the scenario.
    #[serde(default)]
    #[schemars(with = "Vec<ActionSpec>")]
    pub actions: Vec<Spanned<ActionSpec>>,
    /// What goes wrong. A fault that never takes effect fails the scenario; one with a `probability` where it does so with none of
    /// several seeds.
    #[serde(default)]
    #[schemars(with = "Vec<FaultSpec>")]
    pub faults: Vec<Spanned<FaultSpec>>,
    /// Makes many scenarios of this one: each shape of failure with each object and place.
    #[schemars(with = "Option<MatrixSpec>")]
    pub matrix: Option<Spanned<MatrixSpec>>,
    /// What must hold, each as `figure < number`: see `nearcast-lab figures`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub expect: Vec<Spanned<String>>,
}

fn everywhere() -> Vec<Mode> {
    vec![Mode::Sim, Mode::App, Mode::Packet]
}

/// A way to run a scenario.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In virtual time, from one seed.
    Sim,
    /// The whole player over real sockets; faults in servers and a relay.
    App,
    /// The same, and packets cross a link of our own.
    Packet,
}

impl Mode {
    /// Returns its name, as it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::App => "app",
            Self::Packet => "packet",
        }
    }
}

/// What is played.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TitleSpec {
    /// How long it is. Where the made title is played (`app`, `packet`), playback ends there.
    pub duration_s: Seconds,
    /// Whether appliances say digests of what they give.
    pub digests: bool,
}

impl Default for TitleSpec {
    fn default() -> Self {
        Self {
            duration_s: Seconds::try_from(120.0).unwrap_or_default(),
            digests: true,
        }
    }
}

/// An appliance.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgeSpec {
    /// Its name: letters, digits and `-`.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// Where it stands, for people.
    #[serde(default)]
    pub site: String,
    /// Client prefixes it serves, in CIDR notation; players are in 10.0.0.0/8.
    #[serde(default = "all_clients")]
    pub prefixes: Vec<String>,
    /// How far it is from the players: the backend ranks the near ones first.
    #[serde(default)]
    pub distance_km: f64,
    /// What counts as full load; left out, 10 Gbit/s.
    pub capacity_kbps: Option<Kbps>,
    /// Whether it has the title's files.
    #[serde(default = "yes")]
    pub stores_title: bool,
    /// Whether it speaks HTTP/3 beside HTTP/2: a connection stands after one round trip instead of two, and a death is silence.
    #[serde(default = "yes")]
    pub http3: bool,
    /// By how much its clock is ahead (below 0: behind).
    #[serde(default)]
    pub clock_skew_s: f64,
    /// Its link.
    #[serde(default)]
    #[schemars(with = "LinkSpec")]
    pub link: Option<Spanned<LinkSpec>>,
}

fn all_clients() -> Vec<String> {
    vec!["10.0.0.0/8".to_owned()]
}

const fn yes() -> bool {
    true
}

/// The backend.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackendSpec {
    /// How long a token is good.
    pub token_ttl_s: Seconds,
    /// When players are told to ask for another one; left out, after two minutes.
    pub refresh_after_s: Option<Seconds>,
    /// How long a call takes, each way; `app`, where the backend is as near as it is, takes the default only.
    pub delay_ms: Millis,
}

impl Default for BackendSpec {
    fn default() -> Self {
        Self {
            token_ttl_s: Seconds::try_from(300.0).unwrap_or_default(),
            refresh_after_s: None,
            delay_ms: Millis::try_from(20.0).unwrap_or_default(),
        }
    }
}

/// A player, or many alike.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlayerSpec {
    /// Its name; left out, `player`.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// How many of them there are.
    pub count: u32,
    /// When it begins to play.
    pub starts_s: Seconds,
    /// Where there are many: they begin spread over so long.
    pub spread_s: Seconds,
    /// How the next rung is chosen.
    pub abr: AbrName,
    /// Media kept ahead of the playhead.
    pub buffer_goal_s: Seconds,
    /// Where on the timeline it begins.
    pub start_at_s: Seconds,
    /// No rung above this.
    pub cap_kbps: Option<Kbps>,
    /// Gives up when playback has stalled for so long; left out, never.
    pub give_up_s: Option<Seconds>,
    /// All media in memory together stays below this.
    pub memory_cap_bytes: Bytes,
    /// How many edges race at the start.
    pub race_width: u32,
}

impl Default for PlayerSpec {
    fn default() -> Self {
        Self {
            name: Spanned::new(0..0, "player".to_owned()),
            count: 1,
            starts_s: Seconds::default(),
            spread_s: Seconds::default(),
            abr: AbrName::Horizon,
            buffer_goal_s: Seconds::try_from(30.0).unwrap_or_default(),
            start_at_s: Seconds::default(),
            cap_kbps: None,
            give_up_s: None,
            memory_cap_bytes: Bytes::try_from(32 << 20).unwrap_or_default(),
            race_width: 3,
        }
    }
}

/// A rule that chooses rungs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AbrName {
    /// The product's own.
    Horizon,
    /// Throughput while the buffer is short, buffer level when it is long.
    Dynamic,
    /// Throughput only.
    Throughput,
    /// Buffer level only.
    Bola,
    /// In proportion to the buffer.
    BufferBased,
    /// A plan at a cautious rate.
    RobustMpc,
}

/// Something that a viewer does, or that happens to the viewer's device.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionSpec {
    /// When, since the player began.
    pub at_s: Seconds,
    /// Drawn by chance between `at_s` and so much later.
    #[serde(default)]
    pub within_s: Seconds,
    /// Who; left out, all.
    #[schemars(with = "Option<String>")]
    pub player: Option<Spanned<String>>,
    /// What.
    #[serde(rename = "do")]
    #[schemars(with = "What")]
    pub what: Spanned<What>,
    /// Where to, for `seek`.
    pub to_s: Option<Seconds>,
    /// The highest rung's rate, for `cap`; left out, the cap ends.
    pub rate_kbps: Option<Kbps>,
    /// The place of the track, for `audio` and `subtitles`; of the rung, for `lock_rung`.
    pub track: Option<u16>,
}

/// What a viewer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Goes to `to_s` on the timeline.
    Seek,
    /// Holds the picture.
    Pause,
    /// Plays on.
    Play,
    /// Takes no rung above `rate_kbps`.
    Cap,
    /// Takes one rung only.
    LockRung,
    /// Listens to another track.
    Audio,
    /// Reads other subtitles, or none.
    Subtitles,
    /// Goes from one network to another: all connections are gone, and the player is told.
    NetworkChange,
    /// The address translator gives all connections other ports, and nobody is told.
    Rebind,
    /// Ends playback.
    Stop,
}

impl What {
    /// Returns its name, as it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Seek => "seek",
            Self::Pause => "pause",
            Self::Play => "play",
            Self::Cap => "cap",
            Self::LockRung => "lock_rung",
            Self::Audio => "audio",
            Self::Subtitles => "subtitles",
            Self::NetworkChange => "network_change",
            Self::Rebind => "rebind",
            Self::Stop => "stop",
        }
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Its name in reports, which no other fault has; left out, its kind (with a number from the second on).
    pub id: Option<String>,
    /// From when on.
    #[serde(default)]
    pub at_s: Seconds,
    /// Drawn by chance between `at_s` and so much later.
    #[serde(default)]
    pub within_s: Seconds,
    /// How long; left out, to the end.
    pub lasts_s: Option<Seconds>,
    /// How often it comes again, from one beginning to the next; left out, once.
    pub every_s: Option<Seconds>,
    /// With what: the name of an edge, `backend`, `all` for every edge, or `in_use` for the edge that the first player plays from
    /// when a request comes that `on` selects; while nothing plays, the one that answers it first.
    #[schemars(with = "String")]
    pub edge: Spanned<String>,
    /// What goes wrong.
    pub fault: Fault,
    /// Which requests, and from which place of the body on.
    #[serde(default)]
    pub on: FaultSelector,
    /// Whether it may happen that it never takes effect.
    #[serde(default)]
    pub may_miss: bool,
}

/// Makes many scenarios of one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MatrixSpec {
    /// From when on each shape is there.
    #[serde(default)]
    pub at_s: Seconds,
    /// Which edge; as in `faults`.
    #[schemars(with = "String")]
    pub edge: Spanned<String>,
    /// Objects by name.
    #[schemars(with = "Vec<ObjectSpec>")]
    pub objects: Vec<Spanned<ObjectSpec>>,
    /// Shapes of failure.
    #[schemars(with = "Vec<ShapeSpec>")]
    pub shapes: Vec<Spanned<ShapeSpec>>,
}

/// What a fault of a matrix hits.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectSpec {
    /// Its name in tables.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// Which requests.
    pub on: FaultSelector,
    /// Whom they are made to, where not the matrix's edge.
    #[schemars(with = "Option<String>")]
    pub edge: Option<Spanned<String>>,
    /// From when on, where not the matrix's time.
    pub at_s: Option<Seconds>,
    /// What must hold beside what always must.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub expect: Vec<Spanned<String>>,
}

/// A shape of failure in a matrix.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShapeSpec {
    /// Its name in tables; left out, its kind.
    pub name: Option<String>,
    /// What goes wrong.
    pub fault: Fault,
    /// Which objects, by name; left out, all.
    #[schemars(with = "Option<Vec<String>>")]
    pub objects: Option<Vec<Spanned<String>>>,
    /// At which places of the body; left out, the whole answer.
    #[serde(default)]
    pub after: Vec<Share>,
    /// How long; left out, to the end.
    pub lasts_s: Option<Seconds>,
    /// How many requests; left out, all.
    pub count: Option<u32>,
    /// What must hold beside what always must.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub expect: Vec<Spanned<String>>,
}
