//! HTTP/1.1 and HTTP/2: TCP, the proxy's tunnel, TLS, HTTP's own start.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::{
    Alive, Attempt, CONNECTION_WINDOW, Connection, HEADER_BYTES_MAX, STREAM_WINDOW, Sender,
    eyeballs, proxy,
};
use crate::classify;
use crate::error::{ConnectStage, NetError, ProxyProblem};
use crate::net::{Counted, Inner};
use crate::request::{Protocol, Scheme};
use crate::tls::chose_http2;

/// What a read of a body takes at once. Larger reads cost memory and delay the first byte's hand-over.
const READ_BUFFER: usize = 128 * 1024;
/// What is taken from the system at once. TLS asks for 4 KiB at a time, and HTTP/2 for a frame's head and rest
/// apart: without this each would be a system call.
const SOCKET_BUFFER: usize = 64 * 1024;
/// The largest HTTP/2 frame the server may send. Each costs a hand-over from task to task, and the standard's
/// 16 KiB make four times as many.
const FRAME_MAX: u32 = 128 * 1024;
/// Header fields read at most.
const HEADER_FIELDS_MAX: usize = 128;

impl Inner {
    pub(super) async fn connect_tcp(&self, attempt: &Attempt<'_>) -> Result<Connection, NetError> {
        let late = |stage| NetError::ConnectTimeout {
            origin: attempt.origin.clone(),
            stage,
        };
        let limit = self.phase_limit;
        let opening = timeout(limit, self.open_socket(attempt)).await;
        let (mut socket, mut rtt, peer) = match (opening, &self.proxy) {
            (Ok(Ok(open)), _) => open,
            (Ok(Err(error)), None) => return Err(error),
            (Ok(Err(error)), Some(proxy)) => {
                return Err(proxy::failed(proxy, ProxyProblem::Connect(Box::new(error))));
            }
            (Err(_), _) => return Err(late(ConnectStage::Tcp)),
        };
        if let Some(proxy) = &self.proxy {
            let begun = Instant::now();
            timeout(
                limit,
                proxy::open_tunnel(&mut socket, proxy, attempt.origin),
            )
            .await
            .map_err(|_| late(ConnectStage::Tunnel))??;
            // The way to the proxy and from there to the origin, whose connection it has opened by now.
            rtt = begun.elapsed();
        }
        let (stream, http2) = match attempt.origin.scheme {
            Scheme::Http => (Stream::Plain(socket), false),
            Scheme::Https => timeout(limit, self.encrypt(attempt, socket, peer))
                .await
                .map_err(|_| late(ConnectStage::Tls))??,
        };
        let starting = timeout(limit, self.start_http(stream, http2, peer));
        let (sender, alive) = starting.await.map_err(|_| late(ConnectStage::Http))??;
        Ok(Connection {
            protocol: if http2 {
                Protocol::Http2
            } else {
                Protocol::Http1
            },
            peer,
            rtt: Some(rtt),
            sender,
            alive,
            network: attempt.network,
            opening: self.next_opening(),
        })
    }

    async fn open_socket(
        &self,
        attempt: &Attempt<'_>,
    ) -> Result<(Socket, Duration, SocketAddr), NetError> {
        let port = self
            .proxy
            .as_ref()
            .map_or(attempt.origin.port, |proxy| proxy.port);
        eyeballs::race(
            attempt.addresses,
            attempt.happy_eyeballs_delay,
            |address| async move {
                let peer = SocketAddr::new(address, port);
                let counted = self.count_connection();
                let begun = Instant::now();
                let stream = TcpStream::connect(peer)
                    .await
                    .map_err(|error| classify::from_connect(&error, peer, attempt.origin))?;
                let rtt = begun.elapsed();
                // Requests are small and whole: nothing to gather.
                stream
                    .set_nodelay(true)
                    .map_err(|error| classify::from_connect(&error, peer, attempt.origin))?;
                let socket = Socket {
                    stream: BufReader::with_capacity(SOCKET_BUFFER, stream),
                    _counted: counted,
                };
                Ok((socket, rtt, peer))
            },
        )
        .await
    }

    async fn encrypt(
        &self,
        attempt: &Attempt<'_>,
        socket: Socket,
        peer: SocketAddr,
    ) -> Result<(Stream, bool), NetError> {
        let host = &attempt.origin.host;
        let name = ServerName::try_from(host.clone()).map_err(|_| NetError::InvalidRequest {
            detail: format!("`{host}` cannot be in a certificate"),
        })?;
        let stream = TlsConnector::from(self.tls.over_tcp(attempt.protocols))
            .connect(name, socket)
            .await
            .map_err(|error| classify::from_tls(&error, peer, host))?;
        let http2 = chose_http2(stream.get_ref().1);
        if !http2 && !attempt.protocols.http1 {
            return Err(NetError::Protocol {
                detail: "the server did not agree to HTTP/2".to_owned(),
            });
        }
        Ok((Stream::Encrypted(Box::new(stream)), http2))
    }

    async fn start_http(
        &self,
        stream: Stream,
        http2: bool,
        peer: SocketAddr,
    ) -> Result<(Sender, Arc<Alive>), NetError> {
        let io = TokioIo::new(stream);
        let failed = |error: hyper::Error| classify::from_hyper(&error, peer, 0);
        let (sender, driver) = if http2 {
            let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(HEADER_BYTES_MAX)
                .max_frame_size(FRAME_MAX)
                .handshake(io)
                .await
                .map_err(failed)?;
            let driver = self.tasks.spawn(async move {
                if let Err(error) = driver.await {
                    tracing::trace!(%error, "an HTTP/2 connection ended");
                }
            });
            (Sender::Http2(sender), driver)
        } else {
            let (sender, driver) = http1::Builder::new()
                .max_buf_size(READ_BUFFER)
                .max_header_size(HEADER_BYTES_MAX as usize)
                .max_headers(HEADER_FIELDS_MAX)
                .handshake(io)
                .await
                .map_err(failed)?;
            let driver = self.tasks.spawn(async move {
                if let Err(error) = driver.await {
                    tracing::trace!(%error, "an HTTP/1.1 connection ended");
                }
            });
            (Sender::Http1(sender), driver)
        };
        let alive = Alive {
            driver: driver.abort_handle(),
            quic: None,
        };
        Ok((sender, Arc::new(alive)))
    }
}

/// A TCP connection that is counted as long as it is open.
pub(super) struct Socket {
    stream: BufReader<TcpStream>,
    _counted: Counted,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection with or without TLS.
enum Stream {
    Plain(Socket),
    Encrypted(Box<tokio_rustls::client::TlsStream<Socket>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
