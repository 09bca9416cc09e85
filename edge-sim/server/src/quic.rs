//! HTTP/3: connections over QUIC and the requests on them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::server::RequestResolver;
use nearcast_appliance::fault::{Fault, TlsProblem};
use nearcast_protocol::play::HttpProtocol;
use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use tokio_util::task::TaskTracker;

use crate::answer::{Door, answer};
use crate::body::Step;
use crate::bounded::{Bounded, BoundedStream};
use crate::config::EdgeError;
use crate::connection::{Control, STALL_MAX};
use crate::edge::{Edge, NOBODY_KNOWN};
use crate::gate::{Alive, View};
use crate::identity::Identity;
use crate::tasks::Tasks;
use crate::tcp::{STALLED_MAX, problem_of};
use crate::udp::{Attempt, GatedSocket, Recent};

/// What quinn may hold before it is acknowledged: it leaves unshaped.
const SEND_WINDOW: u64 = 256 * 1024;
/// What a stream may bring before it is read: more than a request has.
const STREAM_WINDOW: u32 = 32 * 1024;
/// The same for all streams of a connection.
const RECEIVE_WINDOW: u32 = 1024 * 1024;
const STREAMS_MAX: u32 = 128;
/// Control, two of QPACK, and some that mean nothing on purpose.
const UNI_STREAMS_MAX: u32 = 16;
/// What a head may have once it is decoded: as much as over HTTP/2.
const HEAD_MAX: u64 = 16 * 1024;
/// How long a request may take to be said.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// A body of a request is read this far and no further: nobody here wants one. With what the window lets in beyond
/// that, it stays below [`REQUEST_MAX`](crate::bounded::REQUEST_MAX).
const DRAIN_MAX: usize = 16 * 1024;
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 2048;
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A stream does not say when its bytes have arrived. When no datagram went either way for this long (more
/// than the 25 ms by which acknowledgements may be held back), they have.
const CALM: Duration = Duration::from_millis(30);
const CALM_MAX: Duration = Duration::from_millis(500);

/// Makes the endpoint. Must be called within a runtime.
pub(crate) fn endpoint(
    socket: GatedSocket,
    takes: quinn::ServerConfig,
) -> Result<Endpoint, EdgeError> {
    let config = EndpointConfig::default();
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new_with_abstract_socket(config, Some(takes), Arc::new(socket), runtime).map_err(
        |error| EdgeError::Tls {
            reason: error.to_string(),
        },
    )
}

/// Makes what takes connections.
pub(crate) fn server_config(tls: rustls::ServerConfig) -> Result<quinn::ServerConfig, EdgeError> {
    let failed = |reason: String| EdgeError::Tls { reason };
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls)
        .map_err(|error| failed(error.to_string()))?;
    let mut transport = quinn::TransportConfig::default();
    let idle = quinn::IdleTimeout::try_from(IDLE_MAX).map_err(|error| failed(error.to_string()))?;
    transport
        .max_idle_timeout(Some(idle))
        .send_window(SEND_WINDOW)
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(RECEIVE_WINDOW.into())
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(UNI_STREAMS_MAX.into());
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Takes connections until the edge is shut down.
pub(crate) async fn listen(
    edge: Arc<Edge>,
    endpoint: Endpoint,
    identity: Arc<Identity>,
    index: usize,
) {
    let connections = TaskTracker::new();
    let mut view = edge.gate.subscribe();
    let mut blocked = Recent::default();
    loop {
        let View { epoch, kills, .. } = *view.borrow_and_update();
        if let Some(followed) = edge.followed.get(index) {
            followed.send_replace(epoch);
        }
        tokio::select! {
            // A connection must not be taken for one that began before a death it never saw.
            biased;
            () = edge.shutdown.cancelled() => break,
            changed = view.changed() => if changed.is_err() { break },
            incoming = endpoint.accept() => match incoming {
                Some(incoming) if connections.len() >= CONNECTIONS_MAX => {
                    edge.counters().connections_refused += 1;
                    incoming.refuse();
                }
                // It asks again and again.
                Some(incoming) if blocked.has(&attempt_of(&incoming)) => incoming.ignore(),
                Some(incoming) => match fault(&edge) {
                    Some(Fault::Refuse) => incoming.refuse(),
                    Some(Fault::UdpBlocked) => {
                        blocked.add(attempt_of(&incoming));
                        incoming.ignore();
                    }
                    fault => {
                        let alive = Alive::new(&edge.gate, kills);
                        let shown = Shown {
                            problem: problem_of(fault),
                            identity: Arc::clone(&identity),
                        };
                        connections.spawn(connection(Arc::clone(&edge), incoming, shown, alive));
                    }
                },
                None => break,
            },
        }
    }
    endpoint.close(0_u32.into(), b"");
    connections.close();
    connections.wait().await;
}

/// Decides what goes wrong with a new connection.
fn fault(edge: &Edge) -> Option<Fault> {
    let can_happen =
        |fault: &Fault| matches!(fault, Fault::Refuse | Fault::UdpBlocked | Fault::Tls { .. });
    edge.with(|appliance, now| appliance.connect_where(now, NOBODY_KNOWN, can_happen))
}

/// What a client shows of one attempt to connect, each time it asks.
fn attempt_of(incoming: &quinn::Incoming) -> Attempt {
    Attempt::from(&*incoming.orig_dst_cid())
}

/// What is shown in a handshake.
struct Shown {
    problem: Option<TlsProblem>,
    identity: Arc<Identity>,
}

impl Shown {
    /// Makes what a connection is taken with; `None` where that is nothing special, or cannot be made.
    fn config(&self) -> Option<quinn::ServerConfig> {
        let problem = self.problem?;
        let config = self.identity.over_quic(Some(problem));
        config
            .and_then(server_config)
            .inspect_err(|error| tracing::warn!(%error, "a bad certificate could not be made"))
            .ok()
    }
}

/// Serves one connection until it ends, or the appliance dies or ends.
async fn connection(edge: Arc<Edge>, incoming: quinn::Incoming, shown: Shown, alive: Alive) {
    let mut view = edge.gate.subscribe();
    let requests = Tasks::default();
    let serve = serve(Arc::clone(&edge), incoming, shown, requests.clone());
    let mut serve = Box::pin(serve);
    loop {
        // A black hole needs nothing here: its datagrams are dropped at the socket.
        if !view.borrow_and_update().spares(alive.kills) {
            break;
        }
        tokio::select! {
            () = edge.shutdown.cancelled() => break,
            changed = view.changed() => if changed.is_err() { break },
            () = &mut serve => break,
        }
    }
    // Requests first: a connection that is dropped finishes its streams.
    requests.end().await;
    drop((serve, alive));
}

async fn serve(edge: Arc<Edge>, incoming: quinn::Incoming, shown: Shown, requests: Tasks) {
    edge.gate.cross().await;
    if shown.problem == Some(TlsProblem::Stall) {
        // As long as it is held, what the client repeats is taken for the same.
        tokio::time::sleep(STALLED_MAX).await;
        return incoming.ignore();
    }
    let accepted = match shown.config() {
        Some(config) => incoming.accept_with(Arc::new(config)),
        None => incoming.accept(),
    };
    let connected = match accepted {
        Ok(connecting) => connecting.await,
        Err(error) => Err(error),
    };
    let quic = match connected {
        Ok(quic) => quic,
        Err(error) => {
            tracing::debug!(edge = %edge.id, %error, "a QUIC handshake failed");
            return;
        }
    };
    *edge.counters().connections.entry("h3").or_default() += 1;
    let accepted = h3::server::builder()
        .max_field_section_size(HEAD_MAX)
        .build(Bounded::new(&quic))
        .await;
    let mut http: h3::server::Connection<Quic, Bytes> = match accepted {
        Ok(http) => http,
        Err(error) => {
            tracing::debug!(edge = %edge.id, %error, "an HTTP/3 connection ended");
            return;
        }
    };
    loop {
        match http.accept().await {
            Ok(Some(resolver)) => {
                requests.spawn(request(Arc::clone(&edge), quic.clone(), resolver));
            }
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(edge = %edge.id, %error, "an HTTP/3 connection ended");
                break;
            }
        }
    }
}

async fn request(edge: Arc<Edge>, quic: quinn::Connection, resolver: RequestResolver<Quic, Bytes>) {
    let resolved = tokio::time::timeout(HEAD_DEADLINE, resolver.resolve_request()).await;
    let (request, mut stream) = match resolved {
        Ok(Ok((request, stream))) => (request, Sending(Some(stream))),
        Ok(Err(error)) => {
            tracing::debug!(edge = %edge.id, %error, "an HTTP/3 request ended");
            return;
        }
        Err(_) => {
            tracing::debug!(edge = %edge.id, "an HTTP/3 request took too long to be said");
            return;
        }
    };
    let door = Door {
        edge,
        protocol: HttpProtocol::H3,
        control: Arc::new(Control::of_quic(quic)),
        over_tls: true,
    };
    let (head, ()) = request.into_parts();
    let (head, mut body) = answer(&door, head).await.into_parts();
    let head = http::Response::from_parts(head, ());
    let Some(open) = &mut stream.0 else { return };
    if open.send_response(head).await.is_err() {
        return;
    }
    if body.length() > 0 {
        loop {
            match body.next().await {
                Step::Data(bytes) => {
                    let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    // Part of it may be on its way when the connection ends: it counts from here on.
                    body.sent(count);
                    body.hands_over(true);
                    let taken = tokio::time::timeout(STALL_MAX, open.send_data(bytes)).await;
                    if !matches!(taken, Ok(Ok(()))) {
                        return;
                    }
                    body.hands_over(false);
                }
                Step::End => break,
                Step::Reset => {
                    open.stop_stream(Code::H3_INTERNAL_ERROR);
                    stream.0 = None;
                    return;
                }
            }
        }
    }
    // The line is written before the client can know that it has everything.
    drop(body);
    if open.finish().await.is_ok() {
        // Read to the end, or quinn tells the client to stop sending what it has sent, which some take for a
        // failure.
        drop(tokio::time::timeout(DRAIN_DEADLINE, drain(open)).await);
        stream.0 = None;
    }
}

/// Reads what is left of a request, or tells the client to stop where it is too much.
async fn drain(stream: &mut RequestStream) {
    let mut left = DRAIN_MAX;
    while let Ok(Some(data)) = stream.recv_data().await {
        match left.checked_sub(data.remaining()) {
            Some(rest) => left = rest,
            // What is under way is read all the same: the word may have to wait for it.
            None => stream.stop_sending(Code::H3_NO_ERROR),
        }
    }
}

type Quic = Bounded<h3_quinn::Connection>;
type RequestStream = h3::server::RequestStream<BoundedStream<h3_quinn::BidiStream<Bytes>>, Bytes>;

/// A stream that is reset when its request is dropped half-way: quinn would finish it, and the body would look
/// complete and short.
struct Sending(Option<RequestStream>);

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.0 {
            stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        }
    }
}

/// Waits until the connection has nothing more to say.
pub(crate) async fn settle(quic: &quinn::Connection) {
    let datagrams = || {
        let stats = quic.stats();
        (stats.udp_tx.datagrams, stats.udp_rx.datagrams)
    };
    let calm = async {
        let mut seen = datagrams();
        loop {
            tokio::time::sleep(CALM).await;
            let now = datagrams();
            if now == seen {
                break;
            }
            seen = now;
        }
    };
    // A client that never grows calm is cut off all the same.
    drop(tokio::time::timeout(CALM_MAX, calm).await);
}
