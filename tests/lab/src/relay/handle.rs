//! A relay's handle.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use nearcast_link::PacketConfig;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::config::{Carried, RelayConfig, RelayError};
use super::connection::Surroundings;
use super::control::{Control, PlacedToxic, Reach, StreamPath};
use super::port::Port;
use super::receipt::{Counts, Deed, Direction, Ledger, Receipt};
use super::{datagrams, listener};

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
pub(super) struct Applied {
    pub(super) version: u64,
    pub(super) problem: Option<Arc<io::Error>>,
    /// Whether new connections are left unanswered.
    pub(super) is_unanswered: bool,
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
    match config.carried {
        Carried::Tcp => {
            let port = Port::open(config.listen).map_err(refused)?;
            Ok((port.address(), Some(port), None))
        }
        Carried::Udp => {
            let socket = datagrams::bind(config.listen).map_err(refused)?;
            Ok((socket.local_addr().map_err(refused)?, None, Some(socket)))
        }
        Carried::TcpAndUdp => {
            let (port, socket) = open_both(config.listen).map_err(refused)?;
            Ok((port.address(), Some(port), Some(socket)))
        }
    }
}

/// Opens both on one port; where any will do, TCP may get one that UDP cannot have.
fn open_both(listen: SocketAddr) -> io::Result<(Port, UdpSocket)> {
    let tries = if listen.port() == 0 { PORTS_TRIED } else { 1 };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..tries {
        let port = Port::open(listen)?;
        match datagrams::bind(port.address()) {
            Ok(socket) => return Ok((port, socket)),
            Err(error) => last = error,
        }
    }
    Err(last)
}
