//! TCP listeners and the HTTP/1.1 and HTTP/2 connections they take.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{Either, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nearcast_appliance::Appliance;
use nearcast_appliance::fault::{Fault, TlsProblem};
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
use crate::edge::{Edge, NOBODY_KNOWN};
use crate::gate::Alive;
use crate::identity::Identity;
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
/// A handshake that is to stall is given up when every client has: none waits for longer.
pub(crate) const STALLED_MAX: Duration = Duration::from_secs(600);
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
    pub(crate) tls: Option<Tls>,
    /// Which entry of [`Edge::followed`] is this listener's.
    pub(crate) index: usize,
}

/// What TLS handshakes are taken with.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// For handshakes that are to fail.
    pub(crate) identity: Arc<Identity>,
}

/// Takes connections until the edge is shut down; follows the link's state.
pub(crate) async fn listen(serving: Serving, mut port: Port) {
    let edge = Arc::clone(&serving.edge);
    let mut view = edge.gate.subscribe();
    let mut listening = port.first.take().and_then(from_std);
    let mut kills = view.borrow().kills;
    let mut taking = Taking::new(serving.clone());
    loop {
        let current = *view.borrow_and_update();
        if !current.spares(kills) {
            // Who waits to be accepted dies too, even when the appliance is up again already.
            listening = None;
            kills = current.kills;
        }
        let is_up = current.state == LinkState::Up;
        // Behind a black hole even a refusal does not come through.
        if is_up && current.refuses {
            // Who waits to be accepted is connected already.
            while let Some(accepted) = accept(listening.as_ref()).now_or_never() {
                taking.take(accepted, kills, None).await;
            }
            listening = None;
        }
        let opens = current.state != LinkState::Killed && !(is_up && current.refuses);
        if opens && listening.is_none() {
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
        let accepting = listening.as_ref().filter(|_| is_up);
        tokio::select! {
            // A connection must not be taken for one that began before a death it never saw.
            biased;
            () = edge.shutdown.cancelled() => break,
            changed = view.changed() => if changed.is_err() { break },
            accepted = accept(accepting) => {
                let fault = fault(&serving);
                taking.take(accepted, kills, fault).await;
            }
        }
    }
    drop(listening);
    taking.connections.close();
    taking.connections.wait().await;
}

/// Decides what goes wrong with a new connection.
fn fault(serving: &Serving) -> Option<Fault> {
    let over_tls = serving.tls.is_some();
    let can_happen =
        |fault: &Fault| *fault == Fault::Refuse || over_tls && matches!(fault, Fault::Tls { .. });
    let decide =
        |appliance: &mut Appliance, now| appliance.connect_where(now, NOBODY_KNOWN, can_happen);
    serving.edge.with(decide)
}

/// Returns what is wrong with a handshake.
pub(crate) fn problem_of(fault: Option<Fault>) -> Option<TlsProblem> {
    match fault {
        Some(Fault::Tls { problem }) => Some(problem),
        _ => None,
    }
}

/// Connections as they are taken, up to a bound.
struct Taking {
    serving: Serving,
    room: Arc<Semaphore>,
    connections: TaskTracker,
    /// Whether the last connection found no room: said once each time.
    full: bool,
}

impl Taking {
    fn new(serving: Serving) -> Self {
        Self {
            serving,
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            connections: TaskTracker::new(),
            full: false,
        }
    }

    /// Serves a connection in a task of its own, as far as a fault lets it.
    async fn take(&mut self, accepted: io::Result<TcpStream>, kills: u64, fault: Option<Fault>) {
        let edge = &self.serving.edge;
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(edge = %edge.id, %error, "a connection could not be accepted");
                return tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if fault == Some(Fault::Refuse) {
            // The system has taken it already: a reset before the first byte is as near as it gets.
            if let Err(error) = stream.set_zero_linger() {
                tracing::debug!(%error, "a connection could not be reset");
            }
            return;
        }
        // Beyond the bound a connection is closed at once: even a refusal would cost a handshake.
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            edge.counters().connections_refused += 1;
            if !self.full {
                tracing::warn!(edge = %edge.id, CONNECTIONS_MAX, "no room for more connections");
            }
            self.full = true;
            return;
        };
        self.full = false;
        let serving = self.serving.clone();
        let alive = Alive::new(&edge.gate, kills);
        self.connections.spawn(async move {
            connection(serving, stream, problem_of(fault), &alive).await;
            drop((alive, permit));
        });
    }
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
async fn connection(
    serving: Serving,
    stream: TcpStream,
    problem: Option<TlsProblem>,
    alive: &Alive,
) {
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
    let streams = (Arc::clone(&control), tasks.clone());
    let serve = serve(Arc::clone(&edge), tls, problem, stream, streams);
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
    tls: Option<Tls>,
    problem: Option<TlsProblem>,
    mut stream: GatedStream,
    (control, tasks): (Arc<Control>, Tasks),
) {
    edge.gate.cross().await;
    let Some(tls) = tls else {
        return http1(door(&edge, HttpProtocol::Http1, &control, false), stream).await;
    };
    if problem == Some(TlsProblem::Stall) {
        // What comes is read, so that a client that goes away is let go.
        let mut sink = tokio::io::sink();
        let heard = tokio::io::copy(&mut stream, &mut sink);
        return drop(tokio::time::timeout(STALLED_MAX, heard).await);
    }
    let acceptor = match problem {
        None => tls.acceptor,
        Some(_) => match tls.identity.over_tcp(problem) {
            Ok(acceptor) => acceptor,
            Err(error) => {
                return tracing::warn!(%error, "a bad certificate could not be made");
            }
        },
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
