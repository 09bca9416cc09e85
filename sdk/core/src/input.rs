//! What a driver tells a session: one serialisable enum, so that a session can be recorded and replayed.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, Outline, RepresentationKey, Segment};
use nearcast_units::{BitRate, MediaTime};
use serde::{Deserialize, Serialize};

use crate::abr::AbrDecision;

/// Names an edge within a session: its place in the order in which edges became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeId(pub u16);

/// Names a fetch within a session, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FetchId(pub u32);

/// Names a question to the application's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AskId(pub u32);

/// Names an attempt within a session, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId(pub u32);

/// Counts seeks and other flushes: what belongs to an earlier epoch is ignored.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u32);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The play intent: everything counts from here.
    Load,
    /// A grant, or a refreshed one, arrived.
    Granted(Grant),
    /// The grant was refused, or could not be had.
    GrantFailed {
        /// Stable code.
        code: String,
        /// One sentence for people.
        message: String,
        /// Whether asking again cannot help (a refusal).
        refused: bool,
        /// When to ask again, where the backend says so.
        retry_after: Option<Duration>,
    },
    /// The manifest was parsed.
    ManifestParsed(Outline),
    /// An index object was parsed.
    IndexParsed {
        /// Whose.
        key: RepresentationKey,
        /// Its segments.
        segments: Vec<Segment>,
        /// Whether there is an init segment.
        init: bool,
    },
    /// A manifest or index could not be parsed.
    ParseFailed {
        /// Which object.
        object: ObjectKey,
        /// Stable code.
        code: String,
        /// One sentence for people.
        message: String,
    },
    /// The application's policy answers [`crate::Action::AskPolicy`].
    PolicyAnswered {
        /// Which question.
        ask: AskId,
        /// What it decides.
        decision: AbrDecision,
    },
    /// Something happened to an attempt.
    Transport {
        /// Which attempt.
        attempt: AttemptId,
        /// What.
        event: TransportEvent,
    },
    /// The bytes of a completed fetch were compared with their digest.
    Verified {
        /// Which fetch.
        fetch: FetchId,
        /// Whether they are what the edge said they would be.
        intact: bool,
    },
    /// Of a segment that was handed on while it arrives, so much can be shown.
    Playable {
        /// The epoch it was handed on in.
        epoch: Epoch,
        /// Which object.
        object: ObjectKey,
        /// Presentation time up to which there are samples.
        until: MediaTime,
    },
    /// A segment or init segment that was handed on cannot be used.
    Undecodable {
        /// The epoch it was handed on in.
        epoch: Epoch,
        /// Which object.
        object: ObjectKey,
        /// Stable code.
        code: String,
    },
    /// What is to be shown first is decoded, or nothing here decodes.
    Prepared {
        /// The epoch of the request.
        epoch: Epoch,
    },
    /// The sink says where it is.
    Anchor {
        /// The epoch the sink plays.
        epoch: Epoch,
        /// Presentation time shown now.
        position: MediaTime,
    },
    /// The sink ran out of samples.
    Underrun {
        /// The epoch the sink plays.
        epoch: Epoch,
    },
    /// The viewer or the application wants something.
    Command(Command),
    /// The deadline passed.
    Timeout,
}

/// What the viewer or the application wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Play on.
    Play,
    /// Hold the picture; loading goes on.
    Pause,
    /// Go to a place on the timeline.
    Seek {
        /// Where to.
        to: MediaTime,
    },
    /// Use this video representation only; `None` lets the rule choose again.
    LockRung {
        /// Index into the ladder by ascending bit rate.
        rung: Option<u16>,
    },
    /// Use no video representation above this rate.
    CapRung {
        /// Declared bit rate; `None` removes the cap.
        bitrate: Option<BitRate>,
    },
    /// Play another audio track. Before tracks are known it is kept until they are; so are subtitles.
    SelectAudio {
        /// Index among the audio tracks of the period.
        track: u16,
    },
    /// Show another subtitle track, or none.
    SelectText {
        /// Index among the text tracks of the period.
        track: Option<u16>,
    },
    /// The device is on another network: what was learnt about edges no longer holds. It is remembered where the network
    /// that was left has a name, and what is remembered of the new one is taken up where that has one.
    NetworkChanged {
        /// The new network, as the application names it.
        network: Option<String>,
    },
    /// The application went to the background (`true`) or came back.
    Background {
        /// Whether it is in the background now.
        hidden: bool,
    },
    /// End the session.
    Stop,
}

/// Permission to play, without URLs and tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Edges, best first.
    pub edges: Vec<EdgeOffer>,
    /// When to ask for a refresh, from now; `None` when the grant does not end.
    pub refresh_after: Option<Duration>,
    /// How long the title is, as far as whoever grants it knows.
    #[serde(default)]
    pub length: Option<Duration>,
}

/// One edge of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeOffer {
    /// Its stable name.
    pub name: String,
    /// The backend's order: 0 is best.
    pub rank: u32,
}

/// Something that happened to an attempt, in this order; each at most once but `Progress`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportEvent {
    /// The name was resolved.
    Resolved,
    /// There is a connection.
    Connected {
        /// Whether it was made for this attempt.
        cold: bool,
        /// What it speaks.
        protocol: Protocol,
        /// Its round trip time where known.
        rtt: Option<Duration>,
    },
    /// The request is on its way.
    RequestSent,
    /// The answer began.
    Headers {
        /// HTTP status.
        status: u16,
        /// Offset of the first body byte in the object: 0 when the range was ignored.
        from: u64,
        /// What tells whether two edges hold the same bytes.
        validators: Validators,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Body bytes arrived (the first at once, then every 64 KiB or 10 ms, and up to 100 ms later on).
    Progress {
        /// Offset in the object of the first of them.
        from: u64,
        /// Offset after the last of them.
        to: u64,
    },
    /// The body is complete.
    Complete,
    /// The attempt failed.
    Failed(Failure),
}

/// What tells whether two edges hold the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// Size of the whole object; `None` when the answer is chunked.
    pub total: Option<u64>,
    /// SHA-256 of the whole object, in base64 (RFC 9530).
    pub digest: Option<String>,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/3.
    H3,
    /// HTTP/2.
    H2,
    /// HTTP/1.1.
    Http1,
}

impl Protocol {
    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::H3 => "h3",
            Self::H2 => "h2",
            Self::Http1 => "http1",
        }
    }
}

/// What went wrong with an attempt: *what happened*, not what to do about it (that is [`crate::remedy`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The name could not be resolved.
    Dns,
    /// The connection was refused.
    Refused,
    /// The connection was not made in time.
    ConnectTimeout,
    /// There is no way to the address.
    Unreachable,
    /// The certificate does not prove that the server is the one asked for.
    TlsCertificate(CertificateProblem),
    /// The TLS handshake failed otherwise.
    TlsHandshake,
    /// The connection was reset.
    Reset,
    /// The body ended before its length.
    Truncated,
    /// Nothing came for a long time.
    Stalled,
    /// The answer is not HTTP.
    Protocol,
    /// The answer holds another range than asked.
    WrongRange,
    /// Redirected too often.
    RedirectLoop,
    /// The proxy refused.
    Proxy,
    /// An HTTP status that is no success.
    Http {
        /// The status.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Bytes that two edges gave for the same range differ.
    Mismatch,
    /// The bytes do not match their digest, or cannot be decoded.
    Corrupt,
    /// Another size than before.
    SizeChanged,
    /// The player cannot fetch this (no location, store full).
    Internal,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateProblem {
    /// Nobody who is trusted has signed it.
    UnknownIssuer,
    /// It is for another name.
    WrongName,
    /// Its time is over.
    Expired,
    /// Its time has not come, or the clock is wrong.
    NotYetValid,
    /// It was revoked.
    Revoked,
    /// Anything else.
    Other,
}

impl Failure {
    /// Returns the stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Dns => "net.dns_failed",
            Self::Refused => "net.connect_refused",
            Self::ConnectTimeout => "net.connect_timeout",
            Self::Unreachable => "net.unreachable",
            Self::TlsCertificate(_) => "net.tls_certificate",
            Self::TlsHandshake => "net.tls_handshake",
            Self::Reset => "net.reset",
            Self::Truncated => "net.truncated",
            Self::Stalled => "net.stalled",
            Self::Protocol => "net.protocol",
            Self::WrongRange => "net.wrong_range",
            Self::RedirectLoop => "net.redirect_loop",
            Self::Proxy => "net.proxy",
            Self::Http { status, .. } => match status {
                401 | 403 => "edge.token_rejected",
                404 | 410 => "edge.not_found",
                416 => "edge.range_not_satisfiable",
                429 => "edge.too_many_requests",
                503 => "edge.unavailable",
                500..=599 => "edge.server_error",
                _ => "edge.unexpected_status",
            },
            Self::Mismatch => "edge.bytes_differ",
            Self::Corrupt => "edge.corrupt",
            Self::SizeChanged => "edge.size_changed",
            Self::Internal => "player.internal",
        }
    }
}
