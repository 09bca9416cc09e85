//! The one vocabulary of faults: `POST /control/faults` on the admin ports of edges and backends, scenario files and
//! the player's `K` key all speak it. Who cannot do one of them refuses it.
//!
//! A fault is *what* goes wrong; a selector is *where and when*: which objects, of whom, from which place of the
//! body on, how often, how long. Every fault that takes effect leaves a receipt.

use alloc::string::String;
use alloc::vec::Vec;

use nearcast_protocol::manifest::TrackKind;
use nearcast_units::Ratio;
use serde::{Deserialize, Deserializer, Serialize};

/// `POST /control/faults`: changes what is wrong with an appliance or a backend, from now on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// Removes all earlier faults and restores the link first.
    #[serde(default)]
    pub clear: bool,
    /// Removes the earlier faults of these names first; the link is then as the others leave it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Faults to add.
    #[serde(default)]
    pub faults: Vec<FaultRule>,
}

/// One fault and what it applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// What whoever orders it calls it: its receipts have that name too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What goes wrong.
    pub fault: Fault,
    /// Where and when. A fault of the link happens at once where this selects nothing; else once a body that
    /// is selected has come so far.
    #[serde(default)]
    pub on: FaultSelector,
}

impl FaultOrder {
    /// Makes an order that adds rules.
    #[must_use]
    pub fn add(faults: impl Into<Vec<FaultRule>>) -> Self {
        Self {
            faults: faults.into(),
            ..Self::default()
        }
    }

    /// Makes an order that removes everything.
    #[must_use]
    pub fn clear() -> Self {
        Self {
            clear: true,
            ..Self::default()
        }
    }
}

impl FaultRule {
    /// Makes a rule that applies to everything.
    #[must_use]
    pub const fn everywhere(fault: Fault) -> Self {
        Self {
            id: None,
            fault,
            on: FaultSelector::EVERYTHING,
        }
    }
}

/// Which requests a fault applies to, and from where on; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FaultSelector {
    /// The kind of object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectKind>,
    /// The track it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<TrackSchema>"))]
    pub track: Option<TrackKind>,
    /// The identifier of its representation in the manifest: a rung of the picture, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representation: Option<String>,
    /// Segments from this place in the track on, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_from: Option<u32>,
    /// Segments up to this place in the track, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_to: Option<u32>,
    /// The path contains this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_contains: Option<String>,
    /// Who asks: a playback identifier, or a player's name in a scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Applies to this many requests that all other conditions hold for, then no more; no limit where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Applies to each such request with this probability, 0 to 1; always where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<f64>", range(min = 0, max = 1))
    )]
    pub probability: Option<Ratio>,
    /// The share of the body that is sent as it should be before, 0 to 1; none of it where this is left out. 1 is the last byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<f64>", range(min = 0, max = 1))
    )]
    pub after: Option<Ratio>,
}

impl FaultSelector {
    /// Selects every request, from its first byte on.
    pub const EVERYTHING: Self = Self {
        object: None,
        track: None,
        representation: None,
        segment_from: None,
        segment_to: None,
        path_contains: None,
        client: None,
        count: None,
        probability: None,
        after: None,
    };
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// The MPD or the multivariant playlist.
    Manifest,
    /// A media playlist or a segment index.
    Index,
    /// An init segment.
    Init,
    /// A segment of picture or sound.
    Media,
    /// A piece of subtitles.
    Subtitle,
    /// A key, where a title is encrypted.
    Key,
    /// A few bytes, only to measure.
    Probe,
    /// A play request to the backend.
    Play,
    /// A refresh of a grant: new tokens, and edges as steering ranks them then.
    Refresh,
    /// The steering document, which other players ask for; this one's ranking comes with each refresh.
    Steering,
    /// A batch of QoE events; in virtual time nobody sends them.
    Event,
}

#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(rename_all = "snake_case", rename = "TrackKind")]
#[expect(dead_code, reason = "stands for a type of another crate in schemas")]
enum TrackSchema {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Subtitles.
    Text,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The link passes at most this rate; no limit where it is left out.
    Rate {
        /// Bits per second.
        #[serde(default)]
        rate_bps: Option<u64>,
    },
    /// The link delays every answer by this much, both ways together, and no longer by what it did.
    Delay {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// Black hole: nothing is sent any more, nothing is refused, connections stay open.
    #[serde(deserialize_with = "nothing_more")]
    Stop,
    /// The appliance dies: TCP connections are reset and then refused, QUIC falls silent.
    #[serde(deserialize_with = "nothing_more")]
    Kill,
    /// New connections are refused; those that stand go on.
    #[serde(deserialize_with = "nothing_more")]
    Refuse,
    /// Datagrams do not pass: no QUIC, as in networks that block UDP.
    #[serde(deserialize_with = "nothing_more")]
    UdpBlocked,
    /// The appliance's name does not resolve as it should.
    Dns {
        /// How.
        problem: DnsProblem,
    },
    /// TLS handshakes fail.
    Tls {
        /// How.
        problem: TlsProblem,
    },
    /// The answer begins this much later.
    LateFirstByte {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// The request is answered with this status.
    Status {
        /// HTTP status, 400 to 599.
        status: u16,
        /// `Retry-After`, seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u32>,
    },
    /// The request is answered as with a token whose time is over, however good it is.
    #[serde(deserialize_with = "nothing_more")]
    TokenExpired,
    /// The request is answered with 200 and a page of HTML, as captive portals do.
    #[serde(deserialize_with = "nothing_more")]
    Portal,
    /// The request is answered with a redirect to itself.
    #[serde(deserialize_with = "nothing_more")]
    RedirectLoop,
    /// The answer holds another range than the one that was asked for.
    #[serde(deserialize_with = "nothing_more")]
    WrongRange,
    /// The answer is said to be compressed, and is a few kilobytes that would become gigabytes.
    #[serde(deserialize_with = "nothing_more")]
    GzipBomb,
    /// The answer says that it is half as long as it is.
    #[serde(deserialize_with = "nothing_more")]
    Longer,
    /// The manifest is of an older edition, in which the title ends halfway: as of an edge that was not brought up to date, or went
    /// back. Only where manifests are selected, and only DASH tells a title's length there.
    #[serde(deserialize_with = "nothing_more")]
    StaleManifest,
    /// Bodies arrive at this rate only, however little that is.
    Trickle {
        /// Bits per second.
        rate_bps: u64,
    },
    /// Nothing more of the body comes, and the connection stays open.
    #[serde(deserialize_with = "nothing_more")]
    Hang,
    /// The connection is reset.
    #[serde(deserialize_with = "nothing_more")]
    Reset,
    /// The body ends, in good order.
    #[serde(deserialize_with = "nothing_more")]
    Truncate,
    /// One byte in a thousand of the body is flipped.
    #[serde(deserialize_with = "nothing_more")]
    Corrupt,
    /// Bytes of the body are zeros, as many as there should be.
    #[serde(deserialize_with = "nothing_more")]
    Zeros,
    /// Bytes of the body are no UTF-8.
    #[serde(deserialize_with = "nothing_more")]
    BadText,
    /// The appliance's reports do not reach the backend, and it hears nothing from there.
    #[serde(deserialize_with = "nothing_more")]
    ControlLost,
    /// The appliance says that it is idle and makes no errors, whatever the truth.
    #[serde(deserialize_with = "nothing_more")]
    SaysWell,
    /// The backend ranks appliances the wrong way round: the worst first.
    #[serde(deserialize_with = "nothing_more")]
    Misrank,
}

/// Refuses what a kind without numbers is given: serde lets that pass.
fn nothing_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
}

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DnsProblem {
    /// There is no such name.
    Fails,
    /// The answer takes three seconds.
    Slow,
    /// It leads to where nobody answers.
    WrongAddress,
}

/// What is wrong with a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TlsProblem {
    /// The certificate's time is over.
    Expired,
    /// The certificate is for another name.
    WrongName,
    /// It never comes to an end.
    Stall,
}

/// How much of a transfer a fault has to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that crosses the appliance's link.
    Link,
    /// Whoever makes a connection.
    Connection,
    /// One answer as a whole.
    Answer,
    /// The body of one answer.
    Body,
    /// What appliance and backend tell each other, or what the backend tells clients of it.
    Control,
}

impl Fault {
    /// Returns what it concerns.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Rate { .. } | Self::Delay { .. } | Self::Stop | Self::Kill => Scope::Link,
            Self::Refuse | Self::UdpBlocked | Self::Dns { .. } | Self::Tls { .. } => {
                Scope::Connection
            }
            Self::LateFirstByte { .. }
            | Self::Status { .. }
            | Self::TokenExpired
            | Self::Portal
            | Self::RedirectLoop
            | Self::WrongRange
            | Self::GzipBomb
            | Self::Longer
            | Self::StaleManifest => Scope::Answer,
            Self::Trickle { .. }
            | Self::Hang
            | Self::Reset
            | Self::Truncate
            | Self::Corrupt
            | Self::Zeros
            | Self::BadText => Scope::Body,
            Self::ControlLost | Self::SaysWell | Self::Misrank => Scope::Control,
        }
    }

    /// Returns the word for its kind, as it is written.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rate { .. } => "rate",
            Self::Delay { .. } => "delay",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Refuse => "refuse",
            Self::UdpBlocked => "udp_blocked",
            Self::Dns { .. } => "dns",
            Self::Tls { .. } => "tls",
            Self::LateFirstByte { .. } => "late_first_byte",
            Self::Status { .. } => "status",
            Self::TokenExpired => "token_expired",
            Self::Portal => "portal",
            Self::RedirectLoop => "redirect_loop",
            Self::WrongRange => "wrong_range",
            Self::GzipBomb => "gzip_bomb",
            Self::Longer => "longer",
            Self::StaleManifest => "stale_manifest",
            Self::Trickle { .. } => "trickle",
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::Truncate => "truncate",
            Self::Corrupt => "corrupt",
            Self::Zeros => "zeros",
            Self::BadText => "bad_text",
            Self::ControlLost => "control_lost",
            Self::SaysWell => "says_well",
            Self::Misrank => "misrank",
        }
    }

    /// Returns why it never happens to a backend; `None` where it can.
    #[must_use]
    pub const fn not_of_backend(&self) -> Option<&'static str> {
        match self {
            Self::Stop
            | Self::Kill
            | Self::Refuse
            | Self::Tls { .. }
            | Self::LateFirstByte { .. }
            | Self::Status { .. }
            | Self::TokenExpired
            | Self::Portal
            | Self::RedirectLoop
            | Self::GzipBomb
            | Self::Longer
            | Self::Trickle { .. }
            | Self::Hang
            | Self::Reset
            | Self::Truncate
            | Self::Corrupt
            | Self::Zeros
            | Self::BadText
            | Self::Misrank => None,
            Self::Rate { .. } => {
                Some("its answers are small; `trickle` has them arrive at some rate")
            }
            Self::Delay { .. } => {
                Some("its answers are late one by one; `late_first_byte` has them so")
            }
            Self::UdpBlocked => Some("it is asked over TCP alone"),
            Self::Dns { .. } => Some("it is asked by its address"),
            Self::WrongRange => Some("nobody asks it for ranges"),
            Self::StaleManifest => Some("it gives no manifests"),
            Self::ControlLost | Self::SaysWell => Some("it hears reports and makes none"),
        }
    }
}

/// What a fault did, kept by the appliance: a fault that never happened can be told from one that did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultReceipt {
    /// What the rule was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The fault.
    pub fault: Fault,
    /// When it took effect, wall time.
    pub at_unix_ms: u64,
    /// Who asked: a playback identifier, say; `None` where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Path of the request it hit; `None` for faults of the link that no request set off.
    pub path: Option<String>,
    /// Offset in the object at which it took effect.
    pub offset: Option<u64>,
}
