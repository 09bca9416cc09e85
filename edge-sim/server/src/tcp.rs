//! TCP listeners and the HTTP/1.1 and HTTP/2 connections they take.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nearcast_link::LinkState;
use nearcast_protocol::play::HttpProtocol;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::answer::{Door, answer};
use crate::connection::{Control, GatedStream, IDLE_MAX};
use crate::edge::Edge;
use crate::gate::Alive;
use crate::tasks::Tasks;

/// A port that stays ours while nobody listens on it.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    /// Bound and not listening: connections are refused, and the system gives the port to nobody. Where two
    /// sockets cannot share an address it is not there.
    _reserved: Option<Socket>,
    /// The first listener, until the accept loop takes it.
    first: Option<StdListener>,
}

/// Sockets buffer this much at most, because what is in them leaves unshaped.
const SEND_BUFFER: usize = 128 * 1024;
/// Connections that wait to be accepted: a stopped appliance answers nobody and refuses nobody.
const BACKLOG: i32 = 1024;
/// Some ten connections for each of some hundred viewers.
const CONNECTIONS_MAX: usize = 2048;
/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_MAX: Duration = Duration::from_secs(20);
/// How often it is looked whether a client still reads.
const STALL_LOOK: Duration = Duration::from_secs(5);
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
/// What hyper may hold of a body before the socket takes it.
const HTTP_BUFFER: usize = 64 * 1024;
const STREAMS_MAX: u32 = 128;

impl Port {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let reserved = bound(address)?;
        let address = reserved
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("no internet address"))?;
        match listener(address) {
            Ok(first) => Ok(Self {
                address,
                _reserved: Some(reserved),
                first: Some(first),
            }),
            Err(_) => {
                // Not every system lets two sockets share an address.
                drop(reserved);
                Ok(Self {
                    address,
                    first: Some(listener(address)?),
                    _reserved: None,
                })
            }
        }
    }
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

fn listener(address: SocketAddr) -> io::Result<StdListener> {
    let socket = bound(address)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What a listener serves.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) edge: Arc<Edge>,
    /// `None` is plain HTTP/1.1.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Which entry of [`Edge::followed`] is this listener's.
    pub(crate) index: usize,
}

/// Takes connections until the edge is shut down; follows the link's state.
pub(crate) async fn listen(serving: Serving, mut port: Port) {
    let edge = Arc::clone(&serving.edge);
    let mut view = edge.gate.subscribe();
    let mut listening = port.first.take().and_then(from_std);
    let mut kills = view.borrow().kills;
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    // Whether the last connection found no room: said once each time.
    let mut full = false;
    loop {
        let current = *view.borrow_and_update();
        if !current.spares(kills) {
            // Who waits to be accepted dies too, even when the appliance is up again already.
            listening = None;
            kills = current.kills;
        }
        if current.state != LinkState::Killed && listening.is_none() {
            listening = listener(port.address).ok().and_then(from_std);
            if listening.is_none() {
                // The port was taken in between; it may come free.
                tokio::select! {
                    () = edge.shutdown.cancelled() => break,
                    () = tokio::time::sleep(Duration::from_millis(100)) => continue,
                }
            }
        }
        if let Some(followed) = edge.followed.get(serving.index) {
            followed.send_replace(current.epoch);
        }
        let accepting = listening
            .as_ref()
            .filter(|_| current.state == LinkState::Up);
        tokio::select! {
            // A connection must not be taken for one that began before a death it never saw.
            biased;
            () = edge.shutdown.cancelled() => break,
            changed = view.changed() => if changed.is_err() { break },
            accepted = accept(accepting) => match accepted {
                Ok(stream) => {
                    // Beyond the bound a connection is closed at once: even a refusal would cost a handshake.
                    let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                        edge.counters().connections_refused += 1;
                        if !full {
                            tracing::warn!(edge = %edge.id, CONNECTIONS_MAX, "no room for more connections");
                        }
                        full = true;
                        continue;
                    };
                    full = false;
                    let serving = serving.clone();
                    let alive = Alive::new(&edge.gate, kills);
                    connections.spawn(async move {
                        connection(serving, stream, &alive).await;
                        drop((alive, permit));
                    });
                }
                Err(error) => {
                    tracing::warn!(edge = %edge.id, %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
    drop(listening);
    connections.close();
    connections.wait().await;
}

fn from_std(listener: StdListener) -> Option<TcpListener> {
    TcpListener::from_std(listener)
        .inspect_err(|error| tracing::warn!(%error, "a listener could not be used"))
        .ok()
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Serves one connection until it ends, is reset, or the appliance dies or ends.
async fn connection(serving: Serving, stream: TcpStream, alive: &Alive) {
    let Serving { edge, tls, .. } = serving;
    let stream = Arc::new(stream);
    let control = Arc::new(Control::of(&stream));
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let stream = GatedStream {
        stream,
        gate: Arc::clone(&edge.gate),
        control: Arc::clone(&control),
    };
    let mut view = edge.gate.subscribe();
    let tasks = Tasks::default();
    let serve = serve(
        Arc::clone(&edge),
        tls,
        stream,
        Arc::clone(&control),
        tasks.clone(),
    );
    {
        let mut serve = std::pin::pin!(serve);
        let mut look = tokio::time::interval(STALL_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if !view.borrow_and_update().spares(alive.kills) {
                control.mark_reset();
                break;
            }
            control.thaw();
            tokio::select! {
                biased;
                () = edge.shutdown.cancelled() => break,
                () = control.reset_wanted() => break,
                changed = view.changed() => if changed.is_err() { break },
                () = &mut serve => break,
                _ = look.tick() => {
                    if control.has_stalled(edge.clock.now(), edge.gate.is_up()) {
                        tracing::debug!(edge = %edge.id, "a client has stopped reading");
                        break;
                    }
                }
            }
        }
    }
    // The connection is gone; what its streams still do is of no use.
    tasks.end().await;
}

async fn serve(
    edge: Arc<Edge>,
    tls: Option<TlsAcceptor>,
    stream: GatedStream,
    control: Arc<Control>,
    tasks: Tasks,
) {
    edge.gate.cross().await;
    let Some(acceptor) = tls else {
        return http1(door(&edge, HttpProtocol::Http1, &control, false), stream).await;
    };
    let stream = match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(edge = %edge.id, %error, "a TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(door(&edge, HttpProtocol::H2, &control, true), stream, tasks).await;
    } else {
        http1(door(&edge, HttpProtocol::Http1, &control, true), stream).await;
    }
}

fn door(edge: &Arc<Edge>, protocol: HttpProtocol, control: &Arc<Control>, over_tls: bool) -> Door {
    let name = crate::edge::name_of(&protocol);
    *edge.counters().connections.entry(name).or_default() += 1;
    Door {
        edge: Arc::clone(edge),
        protocol,
        control: Arc::clone(control),
        over_tls,
    }
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(door: Door, stream: S) {
    let service = service_fn(move |request| respond(door.clone(), request));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .max_buf_size(HTTP_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP/1.1 connection ended");
    }
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    door: Door,
    stream: S,
    tasks: Tasks,
) {
    let control = Arc::clone(&door.control);
    let service = service_fn(move |request| respond(door.clone(), request));
    let connection = hyper::server::conn::http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_MAX)
        .max_send_buf_size(HTTP_BUFFER)
        .max_concurrent_streams(STREAMS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A client that answers pings would stay forever.
    let mut served = tokio::select! {
        served = connection.as_mut() => Some(served),
        () = control.idle() => None,
    };
    // One that has not even begun does not hear a goodbye. One that is gone does not either: it has a minute for it.
    if served.is_none() && control.is_asked() {
        connection.as_mut().graceful_shutdown();
        served = tokio::select! {
            served = connection => Some(served),
            () = control.idle() => None,
        };
    }
    if let Some(Err(error)) = served {
        tracing::debug!(%error, "an HTTP/2 connection ended");
    }
}

async fn respond(
    door: Door,
    request: http::Request<Incoming>,
) -> Result<
    http::Response<impl http_body::Body<Data = Bytes, Error = BodyError> + Send>,
    std::convert::Infallible,
> {
    let (head, body) = request.into_parts();
    drop(body);
    let response = answer(&door, head).await;
    Ok(response.map(|body| {
        if body.length() == 0 {
            Either::Left(Empty::new())
        } else {
            Either::Right(StreamBody::new(Box::pin(body.into_frames())))
        }
    }))
}

/// What a body would fail with; ours never do.
type BodyError = Box<dyn std::error::Error + Send + Sync>;
