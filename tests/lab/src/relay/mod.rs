//! A relay for TCP and UDP in front of a real server, for what a server cannot fake itself: connections that are
//! refused, reset or never answered, datagrams that are lost, reordered or sent twice, addresses that change.
//!
//! It works without privileges, on Linux and macOS. What a server can do wrong by itself (a late first byte, a truncated
//! body) belongs to the servers; what happens to packets beneath TCP needs a real link.
//!
//! A [`Relay`] is one port and what is wrong with it, changed at any time by its handle; each thing done leaves a
//! [`Receipt`]. [`Api`] is a set of relays behind the HTTP API that Toxiproxy's client libraries speak.
//!
//! Within: `port` and `listener` take connections, `connection` has two of `pipe`, each with a `chain` of toxics, which
//! are sans-IO; `datagrams` is UDP. All of them watch the one value in `control`, before they do anything else: what a
//! client sends after a change was made is treated by it. Nothing outlives the handle.

mod api;
mod chain;
mod clock;
mod connection;
mod control;
mod datagrams;
mod dns;
mod listener;
mod pipe;
mod port;
mod receipt;
mod toxic;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use nearcast_link::PacketConfig;
use nearcast_units::Seed;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use api::Api;
use clock::Clock;
use connection::Surroundings;
use control::Control;
pub use control::{PlacedToxic, Reach, StreamPath};
pub use dns::{NameFault, NameServer, NameServerConfig};
use port::Port;
use receipt::Ledger;
pub use receipt::{Counts, Deed, Direction, Receipt};
pub use toxic::{
    AttributeError, Bandwidth, Latency, LimitData, ResetPeer, Slicer, SlowClose, Timeout, Toxic,
};

/// Where a relay listens, and what is behind it.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// Where the server is.
    pub upstream: Upstream,
    /// Whether TCP is relayed.
    pub tcp: bool,
    /// Whether UDP is relayed, on the same port.
    pub udp: bool,
    /// Decides jitter, losses and the like, each by connection and datagram.
    pub seed: Seed,
    /// The toxics that connections meet from the first one on.
    pub toxics: Vec<PlacedToxic>,
}

impl RelayConfig {
    /// Relays TCP from a free port of this machine to a server.
    #[must_use]
    pub fn tcp(upstream: SocketAddr) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            upstream: upstream.into(),
            tcp: true,
            udp: false,
            seed: Seed::new(1),
            toxics: Vec::new(),
        }
    }

    /// Relays UDP from a free port of this machine to a server.
    #[must_use]
    pub fn udp(upstream: SocketAddr) -> Self {
        Self {
            tcp: false,
            udp: true,
            ..Self::tcp(upstream)
        }
    }

    /// Relays both from one free port of this machine to a server that has both on one port.
    #[must_use]
    pub fn tcp_and_udp(upstream: SocketAddr) -> Self {
        Self {
            udp: true,
            ..Self::tcp(upstream)
        }
    }
}

/// A server's address: host and port. A name is resolved anew for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream(Arc<str>);

impl Upstream {
    /// Reads `host:port`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, RelayError> {
        let parts = text.rsplit_once(':').filter(|(host, port)| {
            let is_host = !host.is_empty() && (host.starts_with('[') == host.contains(':'));
            is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        match parts {
            Some(_) => Ok(Self(text.into())),
            None => Err(RelayError::Upstream {
                text: text.to_owned(),
            }),
        }
    }

    fn host_and_port(&self) -> &str {
        &self.0
    }

    async fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = tokio::net::lookup_host(self.host_and_port()).await?;
        found
            .next()
            .ok_or_else(|| io::Error::other(format!("{} has no address", self.0)))
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

/// Why a relay does not do what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RelayError {
    /// The port cannot be had.
    #[error(
        "{address} cannot be listened on: {source}; choose a free port, or port 0 for any free one"
    )]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Neither TCP nor UDP.
    #[error("nothing is to be relayed: ask for TCP, UDP or both")]
    Nothing,
    /// The server's address is none.
    #[error(
        "\"{text}\" is no server's address; host:port would be right, as 127.0.0.1:8443 or [::1]:8443"
    )]
    Upstream {
        /// What was given.
        text: String,
    },
    /// A change could not be made.
    #[error(
        "the relay at {address} could not be changed: {source}; close it and start another one"
    )]
    Change {
        /// Which relay.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// A relay at work. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    control: watch::Sender<Control>,
    /// What each of its sides has done of that.
    applied: Vec<watch::Receiver<Applied>>,
    ledger: Arc<Ledger>,
    tasks: TaskTracker,
    closed: DropGuard,
}

/// How far a side of a relay has come.
#[derive(Clone, Debug, Default)]
struct Applied {
    version: u64,
    problem: Option<Arc<io::Error>>,
    is_unanswered: bool,
}

/// So often another port is tried where TCP has got one and UDP cannot have it.
const PORTS_TRIED: usize = 16;

impl Relay {
    /// Opens the port, and relays from then on.
    ///
    /// # Errors
    /// When the port cannot be had, or nothing is to be relayed.
    ///
    /// # Panics
    /// Outside of a runtime with timers and sockets.
    pub fn start(config: RelayConfig) -> Result<Self, RelayError> {
        let (address, port, socket) = open(&config)?;
        let mut control = Control::new();
        control.toxics = config.toxics.into();
        let control = watch::Sender::new(control);
        let clock = Clock::start();
        let ledger = Arc::new(Ledger::new(clock));
        let tasks = TaskTracker::new();
        let closed = CancellationToken::new();
        let mut applied = Vec::new();
        if let Some(port) = port {
            let around = Surroundings {
                upstream: config.upstream.clone(),
                control: control.subscribe(),
                ledger: Arc::clone(&ledger),
                clock,
                seed: config.seed.split("tcp"),
            };
            let (done, follow) = watch::channel(Applied::default());
            tasks.spawn(listener::listen(port, around, done, closed.clone()));
            applied.push(follow);
        }
        if let Some(socket) = socket {
            let equipment = datagrams::Equipment {
                socket,
                upstream: config.upstream,
                control: control.subscribe(),
                ledger: Arc::clone(&ledger),
                clock,
                seed: config.seed.split("udp"),
                closed: closed.clone(),
            };
            let (done, follow) = watch::channel(Applied::default());
            tasks.spawn(datagrams::relay(equipment, done));
            applied.push(follow);
        }
        tasks.close();
        Ok(Self {
            address,
            control,
            applied,
            ledger,
            tasks,
            closed: closed.drop_guard(),
        })
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes whether what is behind it can be reached; when this returns, it is so.
    ///
    /// # Errors
    /// When the port could not be listened on again: it refuses then.
    ///
    /// # Cancel safety
    /// The change is made all the same; its receipt may be missing.
    pub async fn set_reach(&self, reach: Reach) -> Result<(), RelayError> {
        let is_unanswered = self.change(|control| control.reach = reach).await?;
        self.ledger.note(match reach {
            Reach::Open => Deed::Opened,
            Reach::Refused => Deed::Refusing,
            Reach::BlackHole => Deed::BlackHole {
                unanswered: is_unanswered,
            },
        });
        Ok(())
    }

    /// Resets all TCP connections, both ends of each; new ones are taken. Each leaves a receipt when it is done.
    pub fn reset_connections(&self) {
        self.control.send_modify(|control| {
            control.version += 1;
            control.resets += 1;
        });
    }

    /// Does what a NAT does that has lost its table: the server sees other ports of datagrams from now on, and what it
    /// sends to the old ones is dropped; on TCP connections nothing passes any more, and nobody is told.
    ///
    /// # Errors
    /// When the system has no more sockets: some clients keep their ports then.
    pub async fn rebind(&self) -> Result<(), RelayError> {
        self.change(|control| control.rebinds += 1).await?;
        Ok(())
    }

    /// Changes what the line does to TCP, one way; it counts for connections that stand, too.
    pub fn set_stream_path(&self, direction: Direction, path: StreamPath) {
        self.control.send_modify(|control| {
            control.version += 1;
            control.way_mut(direction).streams = path;
        });
    }

    /// Changes what the line does to datagrams, one way; each is counted with 28 bytes of headers (IPv4), or 48.
    ///
    /// # Errors
    /// When an earlier change failed and still does.
    pub async fn set_packet_path(
        &self,
        direction: Direction,
        path: PacketConfig,
    ) -> Result<(), RelayError> {
        self.change(|control| control.way_mut(direction).packets = path)
            .await?;
        Ok(())
    }

    /// Drops all datagrams from now on, or lets them pass again.
    ///
    /// # Errors
    /// When an earlier change failed and still does.
    pub async fn set_udp_blocked(&self, blocked: bool) -> Result<(), RelayError> {
        self.change(|control| control.udp_blocked = blocked).await?;
        self.ledger.note(Deed::UdpBlocked { blocked });
        Ok(())
    }

    /// Changes the toxics that TCP connections meet, those that stand included.
    pub fn set_toxics(&self, toxics: Vec<PlacedToxic>) {
        self.control.send_modify(|control| {
            control.version += 1;
            control.toxics = toxics.into();
        });
    }

    /// Returns what it did: the latest 10,000, oldest first.
    #[must_use]
    pub fn receipts(&self) -> Vec<Receipt> {
        self.ledger.receipts()
    }

    /// Waits for a receipt, and returns the oldest that is meant; one that is there already will do.
    pub async fn receipt(&self, is_it: impl Fn(&Receipt) -> bool) -> Receipt {
        self.ledger.wait_for(is_it).await
    }

    /// Returns what passed.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.ledger.counts()
    }

    /// Closes the port and all connections; when this returns, both are gone.
    pub async fn close(self) {
        drop(self.closed);
        self.tasks.wait().await;
    }

    /// Makes a change, and waits until all sides have it. Returns whether new connections are left unanswered.
    async fn change(&self, change: impl FnOnce(&mut Control)) -> Result<bool, RelayError> {
        let mut version = 0;
        self.control.send_modify(|control| {
            control.version += 1;
            version = control.version;
            change(control);
        });
        let mut is_unanswered = true;
        for side in &self.applied {
            let mut side = side.clone();
            // A side that has ended has nothing left to change.
            let Ok(applied) = side.wait_for(|applied| applied.version >= version).await else {
                continue;
            };
            is_unanswered &= applied.is_unanswered;
            if let Some(source) = &applied.problem {
                return Err(RelayError::Change {
                    address: self.address,
                    source: Arc::clone(source),
                });
            }
        }
        Ok(is_unanswered)
    }
}

/// Opens what is asked for, all on one port.
fn open(config: &RelayConfig) -> Result<(SocketAddr, Option<Port>, Option<UdpSocket>), RelayError> {
    let refused = |source| RelayError::Listen {
        address: config.listen,
        source: Arc::new(source),
    };
    if !config.tcp {
        if !config.udp {
            return Err(RelayError::Nothing);
        }
        let socket = datagrams::bind(config.listen).map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        return Ok((address, None, Some(socket)));
    }
    let tries = if config.listen.port() == 0 {
        PORTS_TRIED
    } else {
        1
    };
    let mut last = None;
    for _ in 0..tries {
        let port = Port::open(config.listen).map_err(refused)?;
        let address = port.address();
        if !config.udp {
            return Ok((address, Some(port), None));
        }
        match datagrams::bind(address) {
            Ok(socket) => return Ok((address, Some(port), Some(socket))),
            Err(error) => last = Some(error),
        }
    }
    Err(refused(
        last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()),
    ))
}
