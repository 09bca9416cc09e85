//! Opening connections: addresses raced against each other (`tcp`, `quic`), QUIC raced against TCP (here).
//! What is open and what it can do is a [`Connection`].

mod bounded;
mod eyeballs;
mod proxy;
mod quic;
mod tcp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::error::NetError;
use crate::h3_memory::{Network, Way};
use crate::net::{Inner, locked};
use crate::request::{Origin, Protocol, Protocols};

pub(crate) use eyeballs::in_turn;
pub(crate) use quic::{QuicEndpoints, RequestStream};

/// The most a header section may take: far above any honest answer's.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// What a stream may have in flight: 1 s at 64 Mbit/s, or 200 ms at 320 Mbit/s.
const STREAM_WINDOW: u32 = 8 * 1024 * 1024;
/// What a connection may have in flight: two streams.
const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;
/// The least time between two addresses tried (RFC 8305 §5).
const TURNS_MIN: Duration = Duration::from_millis(10);
/// How long QUIC may still take when TCP has failed. It had the head start and TCP's round trip already.
const QUIC_GRACE: Duration = Duration::from_millis(100);

/// An open connection that can take a request.
pub(crate) struct Connection {
    pub(crate) protocol: Protocol,
    pub(crate) peer: SocketAddr,
    /// Round trip measured while connecting.
    pub(crate) rtt: Option<Duration>,
    pub(crate) sender: Sender,
    pub(crate) alive: Arc<Alive>,
    /// The network it was opened on.
    pub(crate) network: Network,
    /// Counts up: what was opened later has a higher one.
    pub(crate) opening: u64,
}

/// How requests enter a connection.
pub(crate) enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
    Http3(quic::SendRequest),
}

/// Ends the connection when its last share is dropped: the task that drives it, and with it the socket.
pub(crate) struct Alive {
    driver: AbortHandle,
    quic: Option<quinn::Connection>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(quic) = &self.quic {
            quic::close(quic);
        }
        self.driver.abort();
    }
}

impl Connection {
    /// Returns another share of a connection that carries several requests at once.
    pub(crate) fn share(&self) -> Option<Self> {
        let sender = match &self.sender {
            Sender::Http1(_) => return None,
            Sender::Http2(sender) => Sender::Http2(sender.clone()),
            Sender::Http3(sender) => Sender::Http3(sender.clone()),
        };
        Some(Self {
            protocol: self.protocol,
            peer: self.peer,
            rtt: self.rtt,
            sender,
            alive: self.alive.clone(),
            network: self.network,
            opening: self.opening,
        })
    }

    /// Whether the other is a share of the same connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.alive, &other.alive)
    }

    /// Whether nobody else has a share.
    pub(crate) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.alive) == 1
    }

    /// Whether the other side has not closed it, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        match (&self.sender, &self.alive.quic) {
            (Sender::Http1(sender), _) => !sender.is_closed(),
            (Sender::Http2(sender), _) => !sender.is_closed(),
            (Sender::Http3(_), quic) => quic.as_ref().is_some_and(|c| c.close_reason().is_none()),
        }
    }

    /// The round trip: QUIC measures it all the time, of TCP it is that of the handshake.
    pub(crate) fn current_rtt(&self) -> Option<Duration> {
        let quic = self.alive.quic.as_ref().map(quinn::Connection::rtt);
        quic.or(self.rtt)
    }
}

#[cfg(test)]
impl Connection {
    /// A connection to nobody who answers: of HTTP/1.1, or of HTTP/2.
    pub(crate) async fn to_nobody(protocol: Protocol, opening: u64) -> Self {
        use hyper_util::rt::{TokioExecutor, TokioIo};
        let (io, peer) = tokio::io::duplex(1 << 16);
        let io = TokioIo::new(io);
        let (sender, driver) = if protocol == Protocol::Http1 {
            let (sender, driver) = http1::handshake(io).await.unwrap();
            (Sender::Http1(sender), tokio::spawn(driver).abort_handle())
        } else {
            let executor = TokioExecutor::new();
            let (sender, driver) = http2::handshake(executor, io).await.unwrap();
            (Sender::Http2(sender), tokio::spawn(driver).abort_handle())
        };
        // It stays open as long as the runtime is there.
        tokio::spawn(async move {
            let _open = peer;
            std::future::pending::<()>().await;
        });
        Self {
            protocol,
            peer: SocketAddr::from(([127, 0, 0, 1], 9)),
            rtt: None,
            sender,
            alive: Arc::new(Alive { driver, quic: None }),
            network: Network::default(),
            opening,
        }
    }
}

impl Alive {
    /// Why QUIC has closed the connection, if so.
    pub(crate) fn quic_closed(&self) -> Option<quinn::ConnectionError> {
        self.quic.as_ref()?.close_reason()
    }
}

/// What a connection is opened for.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) origin: &'a Origin,
    /// Addresses of the origin, or of the proxy.
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) protocols: Protocols,
    pub(crate) happy_eyeballs_delay: Duration,
    pub(crate) network: Network,
}

impl Inner {
    /// Opens a connection the given way.
    pub(crate) async fn connect(
        &self,
        attempt: &Attempt<'_>,
        way: Way,
    ) -> Result<Connection, NetError> {
        match way {
            Way::Tcp => self.connect_tcp(attempt).await,
            Way::Quic { port } => {
                let connection = self.connect_quic(attempt, port).await?;
                Ok(self.quic_won(attempt, connection))
            }
            Way::Race { port, head_start } => self.race(attempt, port, head_start).await,
        }
    }

    async fn race(
        &self,
        attempt: &Attempt<'_>,
        port: u16,
        head_start: Duration,
    ) -> Result<Connection, NetError> {
        // After the head start the addresses of TCP take turns quickly: one wait is enough.
        let hurried = Attempt {
            happy_eyeballs_delay: attempt
                .happy_eyeballs_delay
                .saturating_sub(head_start)
                .max(TURNS_MIN.min(attempt.happy_eyeballs_delay)),
            ..*attempt
        };
        let mut quic = std::pin::pin!(self.connect_quic(attempt, port));
        let mut tcp = std::pin::pin!(self.connect_tcp(&hurried));
        let first = if head_start.is_zero() {
            None
        } else {
            let first = timeout(head_start, &mut quic).await.ok();
            if first.is_none() {
                // Said now, because whoever asked may not wait until TCP is there.
                locked(&self.h3).late(attempt.origin, attempt.network);
            }
            first
        };
        let outcome = match first {
            Some(Ok(connection)) => return Ok(self.quic_won(attempt, connection)),
            Some(Err(_)) => None,
            None => tokio::select! {
                quic = &mut quic => match quic {
                    Ok(connection) => return Ok(self.quic_won(attempt, connection)),
                    Err(_) => None,
                },
                tcp = &mut tcp => Some(tcp),
            },
        };
        let quic_failed = outcome.is_none();
        let tcp = match outcome {
            Some(tcp) => tcp,
            None => tcp.await,
        };
        match tcp {
            Ok(connection) => {
                // Without a head start TCP may be first by chance, which says nothing about UDP.
                if quic_failed || !head_start.is_zero() {
                    tracing::debug!(edge = %attempt.origin, "no answer over QUIC, TCP is used");
                    locked(&self.h3).silent(attempt.origin, attempt.network, Instant::now());
                }
                Ok(connection)
            }
            Err(error) if quic_failed => Err(error),
            Err(error) => match timeout(QUIC_GRACE, quic).await {
                Ok(Ok(connection)) => Ok(self.quic_won(attempt, connection)),
                Ok(Err(_)) | Err(_) => Err(error),
            },
        }
    }

    fn quic_won(&self, attempt: &Attempt<'_>, connection: Connection) -> Connection {
        locked(&self.h3).connected(attempt.origin, attempt.network);
        connection
    }
}
