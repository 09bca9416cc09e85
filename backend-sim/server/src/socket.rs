//! Ports that can be closed and opened again, and connections that can be reset.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::faults::{Faults, View};
use crate::wrong::Cut;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A port that stays ours while nobody listens on it.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    /// Bound and not listening: connections are refused, and the system gives the port to nobody. Where two sockets cannot
    /// share an address it is not there.
    _reserved: Option<Socket>,
    /// The first listener, until it is served.
    first: Option<TcpListener>,
}

impl Port {
    /// Opens a port. Must be called within a runtime.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let reserved = bound(address)?;
        let address = reserved
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("no internet address"))?;
        let (reserved, first) = match listener(address) {
            Ok(first) => (Some(reserved), first),
            Err(_) => {
                // Not every system lets two sockets share an address.
                drop(reserved);
                (None, listener(address)?)
            }
        };
        Ok(Self {
            address,
            _reserved: reserved,
            first: Some(first),
        })
    }

    /// Returns the listener that it was opened with, once.
    pub(crate) fn take_first(&mut self) -> Option<TcpListener> {
        self.first.take()
    }

    /// Listens again.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        listener(self.address)
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // On Windows this would mean something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A connection that is reset, not closed, when a fault wants it so, or the backend has died since it was made.
pub(crate) struct Wire {
    stream: TcpStream,
    faults: Arc<Faults>,
    kills: u64,
    cut: Cut,
}

impl Wire {
    /// Takes a connection that was made when the backend had died so often.
    pub(crate) fn new(stream: TcpStream, faults: Arc<Faults>, kills: u64) -> Self {
        Self {
            stream,
            faults,
            kills,
            cut: Cut::default(),
        }
    }

    /// Returns what has it reset.
    pub(crate) fn cut(&self) -> Cut {
        self.cut.clone()
    }

    /// Tells what becomes of the whole server.
    pub(crate) fn subscribe(&self) -> watch::Receiver<View> {
        self.faults.subscribe()
    }

    /// Has it reset when it is dropped, which is now or soon.
    pub(crate) fn reset(&self) {
        // A socket that is closed with a linger time of zero sends a reset.
        if let Err(error) = self.stream.set_zero_linger() {
            tracing::debug!(%error, "a connection could not be reset");
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.cut.is_asked() || self.faults.view().kills != self.kills {
            self.reset();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
