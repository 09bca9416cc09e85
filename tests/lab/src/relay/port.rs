//! The TCP port of a relay: it listens, refuses, or leaves unanswered who calls.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::control::Reach;

/// A port that stays ours while nobody listens on it.
pub(super) struct Port {
    address: SocketAddr,
    /// Bound and not listening: connections are refused, and the system gives the port to nobody. Where two sockets
    /// cannot share an address it is not there.
    _reserved: Option<Socket>,
    listener: Option<TcpListener>,
    /// Connections of our own that fill the queue of those that wait to be accepted.
    plugs: Vec<TcpStream>,
    /// The last of them, which nobody answers.
    unanswered: Option<Connecting>,
    /// Their ports, while their connections may still be in the queue.
    plug_ports: Vec<u16>,
    reach: Reach,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Connections that wait to be accepted; a page asks for some dozens at once.
const BACKLOG: i32 = 1024;
/// Systems take some more than they are told.
const BACKLOG_LEAST: i32 = 1;
/// So many connections fill the shortest queue on every system known; where they do not, new connections are silent.
const PLUGS_MAX: usize = 8;
/// A connection to this machine that is not open after so long is not being answered.
const PLUG_WAIT: Duration = Duration::from_millis(50);

impl Port {
    /// Opens a port, listening; must be called within a runtime.
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let reserved = bound(address)?;
        let found = reserved.local_addr()?;
        let found = found
            .as_socket()
            .ok_or_else(|| io::Error::other("no internet address"))?;
        let (reserved, listener) = match listen(found) {
            Ok(listener) => (Some(reserved), listener),
            Err(_) => {
                // Not every system lets two sockets share an address.
                drop(reserved);
                (None, listen(found)?)
            }
        };
        Ok(Self {
            address: found,
            _reserved: reserved,
            listener: Some(listener),
            plugs: Vec::new(),
            unanswered: None,
            plug_ports: Vec::new(),
            reach: Reach::Open,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) const fn reach(&self) -> Reach {
        self.reach
    }

    /// Changes how callers are met. After an error the port refuses.
    pub(super) async fn set_reach(&mut self, reach: Reach) -> io::Result<()> {
        self.unanswered = None;
        self.plugs.clear();
        self.reach = Reach::Refused;
        match reach {
            Reach::Refused => {
                self.listener = None;
                self.plug_ports.clear();
            }
            Reach::Open => {
                self.listening(BACKLOG)?;
            }
            Reach::BlackHole => {
                self.listening(BACKLOG_LEAST)?;
                self.plug().await?;
            }
        }
        self.reach = reach;
        Ok(())
    }

    /// Whether new connections are left unanswered.
    pub(super) const fn is_plugged(&self) -> bool {
        self.unanswered.is_some()
    }

    /// Takes the next connection; waits for as long as none may be taken.
    pub(super) async fn accept(&mut self) -> io::Result<TcpStream> {
        let listener = self.listener.as_ref().filter(|_| self.reach == Reach::Open);
        let Some(listener) = listener else {
            return std::future::pending().await;
        };
        loop {
            let (stream, peer) = listener.accept().await?;
            let plug = self.plug_ports.iter().position(|port| *port == peer.port());
            match plug {
                Some(plug) => drop(self.plug_ports.remove(plug)),
                None => return Ok(stream),
            }
        }
    }

    /// Listens, whether it did before or not.
    fn listening(&mut self, backlog: i32) -> io::Result<()> {
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => listen(self.address)?,
        };
        SockRef::from(&listener).listen(backlog)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Fills the queue until the system leaves one of our own connections unanswered.
    async fn plug(&mut self) -> io::Result<()> {
        let address = connectable(self.address);
        for _ in 0..PLUGS_MAX {
            let mut connecting: Connecting = Box::pin(TcpStream::connect(address));
            match tokio::time::timeout(PLUG_WAIT, &mut connecting).await {
                Ok(connected) => {
                    let plug = connected?;
                    self.plug_ports.push(plug.local_addr()?.port());
                    self.plugs.push(plug);
                }
                Err(_) => {
                    self.unanswered = Some(connecting);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Returns where a listener can be reached from here.
fn connectable(address: SocketAddr) -> SocketAddr {
    let here = match address {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    let is_anywhere = address.ip().is_unspecified();
    SocketAddr::new(
        if is_anywhere { here } else { address.ip() },
        address.port(),
    )
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // On Windows this would mean something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(StdListener::from(socket))
}
