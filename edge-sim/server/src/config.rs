//! What an edge is started with, and what can go wrong then.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nearcast_protocol::play::{HttpProtocol, SiteKind};
use nearcast_units::BitRate;

use crate::authority::Authority;
use crate::last_mile::LastMile;

/// What an edge is started with.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Identifier of the appliance: see [`check_id`](Self::check_id).
    pub id: String,
    /// The folder whose files it serves.
    pub root: PathBuf,
    /// Path prefixes it serves, relative to the root; `None` serves and reports everything there.
    pub stores: Option<Vec<String>>,
    /// Address of HTTP/1.1 and HTTP/2 (TCP) and HTTP/3 (UDP); port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of plain HTTP/1.1, if wanted.
    pub plain: Option<SocketAddr>,
    /// Address of the admin port; on loopback.
    pub admin: SocketAddr,
    /// Host name or address in the base URL; `None` takes the listening address, which must be a certain one then.
    pub host: Option<String>,
    /// Port in the base URL, where something stands before the port it listens on; `None` takes that one.
    pub public_port: Option<u16>,
    /// What signs its certificate; `None` makes an authority of its own.
    pub authority: Option<Authority>,
    /// Protocols it speaks and reports; without HTTP/3 there is no UDP socket.
    pub protocols: Vec<HttpProtocol>,
    /// Drops all datagrams, as a network does that blocks UDP. HTTP/3 is still reported.
    pub udp_blocked: bool,
    /// Where it reports; `None` serves everybody without a token.
    pub backend: Option<Backend>,
    /// Where it stands, for people.
    pub site: String,
    /// What kind of site.
    pub kind: SiteKind,
    /// Degrees latitude and longitude.
    pub position_deg: (f64, f64),
    /// Client prefixes it serves, in CIDR notation.
    pub prefixes: Vec<String>,
    /// What its link passes when nothing is wrong; `None` is no limit.
    pub rate: Option<BitRate>,
    /// By how much its link delays answers and new connections when nothing is wrong.
    pub delay: Duration,
    /// A link before its clients that it shares with other edges; `None` is none.
    pub last_mile: Option<LastMile>,
    /// What counts as full load.
    pub capacity: BitRate,
    /// Where access log lines go beside memory; appended.
    pub access_log: Option<PathBuf>,
}

/// Where an appliance reports.
#[derive(Clone, PartialEq, Eq)]
pub struct Backend {
    /// Absolute URL without a path, `http://127.0.0.1:8080`.
    pub url: String,
    /// The bootstrap secret.
    pub secret: String,
}

impl Backend {
    /// Returns scheme, host and port, for logs: names and passwords in a URL are nobody's business there.
    pub(crate) fn origin(&self) -> String {
        reqwest::Url::parse(&self.url)
            .map(|url| url.origin().ascii_serialization())
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Backend {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl EdgeConfig {
    /// Makes a configuration on free ports of 127.0.0.1, all protocols, a perfect link, no backend.
    #[must_use]
    pub fn new(id: impl Into<String>, root: impl Into<PathBuf>) -> Self {
        let id = id.into();
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            root: root.into(),
            stores: None,
            listen: loopback,
            plain: None,
            admin: loopback,
            host: None,
            public_port: None,
            authority: None,
            protocols: vec![HttpProtocol::H3, HttpProtocol::H2, HttpProtocol::Http1],
            udp_blocked: false,
            backend: None,
            site: id.clone(),
            kind: SiteKind::Isp,
            position_deg: (0.0, 0.0),
            prefixes: Vec::new(),
            rate: None,
            delay: Duration::ZERO,
            last_mile: None,
            capacity: BitRate::from_kbps(1_000_000),
            access_log: None,
            id,
        }
    }

    /// Checks an identifier. It stands in paths, headers, labels and logs, and has to be one that a backend takes.
    ///
    /// # Errors
    /// [`EdgeError::Id`] unless it is 1 to 64 ASCII letters, digits, `-`, `_` or `.`, and more than dots.
    pub fn check_id(id: &str) -> Result<(), EdgeError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_path = id.bytes().all(|byte| byte == b'.');
        if id.len() <= ID_LENGTH_MAX && id.bytes().all(good) && !is_path {
            return Ok(());
        }
        Err(EdgeError::Id {
            id: id.chars().take(ID_LENGTH_MAX).collect(),
        })
    }
}

/// Long enough for a UUID with a word before it; a backend takes no longer one.
const ID_LENGTH_MAX: usize = 64;

/// What an edge listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// HTTP/1.1 and HTTP/2, over TLS.
    Https,
    /// HTTP/3, over UDP.
    Http3,
    /// HTTP/1.1 without TLS.
    Plain,
    /// The admin port.
    Admin,
}

impl Listener {
    /// Returns the option of `nearcast-edge` that gives its address.
    const fn option(self) -> &'static str {
        match self {
            Self::Https | Self::Http3 => "--listen",
            Self::Plain => "--plain",
            Self::Admin => "--admin",
        }
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Https => "HTTPS, TCP",
            Self::Http3 => "HTTP/3, UDP",
            Self::Plain => "plain HTTP, TCP",
            Self::Admin => "admin, TCP",
        })
    }
}

/// Why an edge could not start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The identifier is none.
    #[error(
        "the id {id:?} must be 1 to {ID_LENGTH_MAX} letters, digits, '-', '_' or '.', and more than dots"
    )]
    Id {
        /// What was given, shortened.
        id: String,
    },
    /// The root is missing or is no folder.
    #[error("cannot serve {}: {source}; give an existing folder as the root", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else has the port.
    #[error(
        "port {} of {} is in use ({listener}); choose another one with {}, or end the program that has it",
        address.port(), address.ip(), listener.option()
    )]
    PortInUse {
        /// What the port is for.
        listener: Listener,
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({listener}): {source}; choose another address with {}", listener.option())]
    Bind {
        /// What the address is for.
        listener: Listener,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Nothing says by which name or address clients reach it.
    #[error(
        "clients cannot be told how to reach this edge: it would listen on any address ({address}); give the name \
         or address they use with --host, or a certain address with --listen"
    )]
    NoHost {
        /// The address.
        address: SocketAddr,
    },
    /// The admin port would be reachable from outside.
    #[error(
        "the admin port must be on loopback, not on {address}: whoever reaches it can break this edge"
    )]
    AdminNotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The certificate authority could not be made, read or kept.
    #[error("no certificate authority in {place}: {reason}")]
    Authority {
        /// Its folder, or `memory`.
        place: String,
        /// Why.
        reason: String,
    },
    /// TLS refused the certificate.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// The access log cannot be written.
    #[error("cannot write the access log {}: {source}", path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The backend's URL is none.
    #[error("the backend's URL `{url}` is not an http:// or https:// URL")]
    BackendUrl {
        /// What was given.
        url: String,
    },
}

impl EdgeError {
    /// Returns a code that stays the same for the same kind of error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Id { .. } => "config.id",
            Self::Root { .. } => "config.root",
            Self::PortInUse { .. } => "listen.in_use",
            Self::Bind { .. } => "listen.failed",
            Self::NoHost { .. } => "listen.no_host",
            Self::AdminNotLoopback { .. } => "listen.not_loopback",
            Self::Authority { .. } => "ca.unusable",
            Self::Tls { .. } => "tls.failed",
            Self::AccessLog { .. } => "access_log.unusable",
            Self::BackendUrl { .. } => "config.backend_url",
        }
    }
}

/// Why an order of faults was not, or not wholly, carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The order makes no sense; nothing of it was carried out.
    #[error("{reason}")]
    Order {
        /// What is wrong with it.
        reason: String,
    },
    /// The appliance was to come back and its port has been taken meanwhile, or the server has ended.
    #[error("the listener did not follow within 5 s: is the port taken?")]
    Listener,
}
