//! Listeners: TCP, TLS where asked for, HTTP/1.1 and HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nearcast_appliance::fault::{Fault, TlsProblem};
use nearcast_units::Instant;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::api::Peer;
use crate::faults::{Faults, Link};
use crate::socket::{Port, Wire};
use crate::tls::{HANDSHAKE_DEADLINE, Tls};
use crate::wrong::Cut;

/// Connections that are open at once, of each listener; further ones wait to be accepted. Below the usual
/// limit of 1024 files for a process.
const CONNECTIONS_MAX: usize = 400;

/// How long a connection may wait for its next request, or take to say it.
const HEADER_DEADLINE: Duration = Duration::from_secs(60);

/// How often a silent HTTP/2 connection is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long requests that are being answered may take to end once the server stops.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// How long to wait when the system has no room for one more connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What a port serves.
pub(crate) struct Serving {
    /// Which of the listeners that faults wait for it is.
    pub(crate) index: usize,
    /// `None` is plain HTTP/1.1.
    pub(crate) tls: Option<Tls>,
    pub(crate) router: Router,
    pub(crate) faults: Arc<Faults>,
    pub(crate) stop: CancellationToken,
}

/// Accepts connections until it is told to stop, then lets those that are open end; does to all of them what faults want.
pub(crate) async fn serve(mut port: Port, serving: Serving) {
    let Serving {
        index,
        tls,
        router,
        faults,
        stop,
    } = serving;
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut view = faults.subscribe();
    let mut listening = port.take_first();
    let mut kills = view.borrow().kills;
    loop {
        let current = *view.borrow_and_update();
        if current.kills != kills {
            // Who waits to be accepted dies too, even when the backend is up again already.
            listening = None;
            connections.shutdown().await;
            kills = current.kills;
        }
        // Behind a black hole even a refusal does not come through.
        let is_closed = match current.link {
            Link::Up => current.refuses,
            Link::Stopped => false,
            Link::Killed => true,
        };
        if is_closed {
            listening = None;
        } else if listening.is_none() {
            listening = port.listen().ok();
            if listening.is_none() {
                // The port was taken in between; it may come free.
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_REST) => continue,
                }
            }
        }
        faults.follows(index, current);
        let accepting = listening.as_ref().filter(|_| current.link == Link::Up);
        let accepted = tokio::select! {
            // A connection must not be taken for one that began before a death it never saw.
            biased;
            () = stop.cancelled() => break,
            changed = view.changed() => {
                if changed.is_err() {
                    break;
                }
                continue;
            }
            Some(_) = connections.join_next() => continue,
            accepted = accept(accepting, &room) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_REST) => continue,
                }
            }
        };
        let wire = Wire::new(stream, Arc::clone(&faults), kills);
        let fault = faults.connect(tls.is_some());
        if fault == Some(Fault::Refuse) {
            // The system has taken it already: a reset before the first byte is as near as it gets.
            wire.reset();
            continue;
        }
        let problem = if let Some(Fault::Tls { problem }) = fault {
            Some(problem)
        } else {
            None
        };
        let handshake = tls.clone().map(|tls| Handshake {
            tls,
            at: faults.now(),
            problem,
        });
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(wire, peer, handshake, router, stop).await {
                tracing::debug!(%peer, error, "a connection ended badly");
            }
            drop(permit);
        });
    }
    drop(listening);
    let ended = async { while connections.join_next().await.is_some() {} };
    // What has not ended by then is aborted when the set is dropped.
    drop(tokio::time::timeout(STOP_DEADLINE, ended).await);
}

async fn accept(
    listener: Option<&TcpListener>,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let permit = Arc::clone(room)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

/// How a connection is to begin.
struct Handshake {
    tls: Tls,
    at: Instant,
    /// What goes wrong with it.
    problem: Option<TlsProblem>,
}

/// Serves one connection until it ends or is cut. In a black hole nothing of it moves.
async fn connection(
    wire: Wire,
    peer: SocketAddr,
    handshake: Option<Handshake>,
    router: Router,
    stop: CancellationToken,
) -> Result<(), String> {
    let cut = wire.cut();
    let mut view = wire.subscribe();
    let caller = Caller {
        peer,
        cut: cut.clone(),
    };
    let speak = speak(wire, caller, handshake, router, stop.clone());
    tokio::pin!(speak);
    loop {
        let is_stopped = view.borrow_and_update().link == Link::Stopped;
        tokio::select! {
            ended = &mut speak, if !is_stopped => return ended,
            () = cut.asked(), if !is_stopped => return Ok(()),
            () = stop.cancelled(), if is_stopped => return Ok(()),
            changed = view.changed() => changed.map_err(|error| error.to_string())?,
        }
    }
}

/// What every request on a connection is told of it.
#[derive(Clone)]
struct Caller {
    peer: SocketAddr,
    cut: Cut,
}

async fn speak(
    wire: Wire,
    caller: Caller,
    handshake: Option<Handshake>,
    router: Router,
    stop: CancellationToken,
) -> Result<(), String> {
    let Some(Handshake { tls, at, problem }) = handshake else {
        return http1(wire, caller, router, stop).await;
    };
    let stream = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        stream = tls.accept(wire, at, problem) => stream?,
    };
    // The handshake said which HTTP it is: whoever looks at the first bytes instead waits for them without a
    // deadline.
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(stream, caller, router, stop).await
    } else {
        http1(stream, caller, router, stop).await
    }
}

async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    caller: Caller,
    router: Router,
    stop: CancellationToken,
) -> Result<(), String> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(stream), service(router, caller));
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(|error| error.to_string())
}

async fn http2(
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    caller: Caller,
    router: Router,
    stop: CancellationToken,
) -> Result<(), String> {
    // hyper asks whether a connection is still there only once it has begun.
    let mut preface = [0; PREFACE_LENGTH];
    let begun = tokio::time::timeout(HANDSHAKE_DEADLINE, stream.read_exact(&mut preface));
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        begun = begun => begun
            .map_err(|_| "the HTTP/2 preface took too long".to_owned())?
            .map_err(|error| error.to_string())?,
    };
    let (reading, writing) = tokio::io::split(stream);
    let stream = tokio::io::join(io::Cursor::new(preface).chain(reading), writing);
    let requests = Arc::new(Requests::default());
    let service = service(router, caller);
    let counted = Arc::clone(&requests);
    let service = service_fn(move |request| {
        let under_way = UnderWay::begin(&counted);
        let answer = service.call(request);
        async move {
            let answer = answer.await;
            drop(under_way);
            answer
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_concurrent_streams(100)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A client that answers pings would keep its place forever.
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        () = stop.cancelled() => {}
        () = requests.idle() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => ended.map_err(|error| error.to_string()),
        () = requests.idle() => Err("it was told that it ends and did not".to_owned()),
    }
}

/// Requests on one connection.
#[derive(Debug, Default)]
struct Requests {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Requests {
    /// Waits until there has been no request for [`HEADER_DEADLINE`], or some more.
    async fn idle(&self) {
        loop {
            let (begun, ended) = self.counts();
            tokio::time::sleep(HEADER_DEADLINE).await;
            if begun == ended && self.counts() == (begun, ended) {
                return;
            }
        }
    }

    fn counts(&self) -> (u64, u64) {
        let [begun, ended] = [&self.begun, &self.ended];
        (begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst))
    }
}

/// A request that has no answer yet.
struct UnderWay(Arc<Requests>);

impl UnderWay {
    fn begin(requests: &Arc<Requests>) -> Self {
        requests.begun.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(requests))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// `PRI * HTTP/2.0`, two empty lines and `SM` between them (RFC 9113 §3.4).
const PREFACE_LENGTH: usize = 24;

/// The router as hyper calls it: the peer's address, and what resets the connection, go with each request.
fn service(
    router: Router,
    Caller { peer, cut }: Caller,
) -> impl hyper::service::Service<
    http::Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Send
+ 'static {
    let service = router.map_request(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        request.extensions_mut().insert(cut.clone());
        let request: Request = request.map(axum::body::Body::new);
        request
    });
    TowerToHyperService::new(service)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::oneshot;

    use super::*;

    fn caller() -> Caller {
        Caller {
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            cut: Cut::default(),
        }
    }

    /// A peer that stays silent is let go, whatever it has said before.
    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_does_not_keep_its_place() {
        for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\n"] {
            let (mut client, server) = tokio::io::duplex(1024);
            let (ended, end) = oneshot::channel();
            let peer = caller();
            let stop = CancellationToken::new();
            tokio::spawn(async move { ended.send(http1(server, peer, Router::new(), stop).await) });
            client.write_all(said).await.unwrap();
            let end = tokio::time::timeout(HEADER_DEADLINE * 2, end).await;
            assert!(end.is_ok(), "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_http_2_connection_does_not_keep_its_place() {
        for said in [
            &b""[..],
            b"PRI * HTTP/2.0\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let (mut client, server) = tokio::io::duplex(1024);
            let (ended, end) = oneshot::channel();
            let peer = caller();
            let stop = CancellationToken::new();
            tokio::spawn(async move { ended.send(http2(server, peer, Router::new(), stop).await) });
            client.write_all(said).await.unwrap();
            let reading = tokio::spawn(async move {
                let mut all = Vec::new();
                client.read_to_end(&mut all).await
            });
            let end = tokio::time::timeout(PING_INTERVAL * 4, end).await;
            assert!(end.is_ok(), "{said:?}");
            reading.await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_a_minute_after_its_last_request() {
        let second = Duration::from_secs(1);
        // When a request begins and ends.
        for (begins, ends) in [
            (Duration::ZERO, HEADER_DEADLINE - second),
            (second, second * 2),
            (HEADER_DEADLINE - second, HEADER_DEADLINE + second),
        ] {
            let requests = Arc::new(Requests::default());
            let began = tokio::time::Instant::now();
            let busy = async {
                tokio::time::sleep(begins).await;
                let under_way = UnderWay::begin(&requests);
                tokio::time::sleep(ends - begins).await;
                drop(under_way);
            };
            tokio::join!(busy, requests.idle());
            let idle = began.elapsed();
            assert!(idle >= ends + HEADER_DEADLINE, "{ends:?}: {idle:?}");
            assert!(idle <= ends + HEADER_DEADLINE * 2, "{ends:?}: {idle:?}");
        }
    }

    /// One that is there and asks for nothing does not keep its place either; one whose request takes long does.
    #[tokio::test(start_paused = true)]
    async fn an_http_2_connection_that_asks_for_nothing_more_is_closed() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let slow = async || tokio::time::sleep(HEADER_DEADLINE * 5).await;
        let router = Router::new().route("/slow", axum::routing::get(slow));
        let peer = caller();
        let served = tokio::spawn(http2(server, peer, router, CancellationToken::new()));
        let handshake = hyper::client::conn::http2::handshake::<_, _, http_body_util::Empty<_>>(
            TokioExecutor::new(),
            TokioIo::new(client),
        );
        let (mut sender, connection) = handshake.await.unwrap();
        let client = tokio::spawn(connection);
        let request =
            http::Request::get("http://a/slow").body(http_body_util::Empty::<&[u8]>::new());
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let served = tokio::time::timeout(HEADER_DEADLINE * 4, served).await;
        assert!(served.is_ok(), "it keeps its place");
        // It was told, not cut off.
        assert!(client.await.unwrap().is_ok());
        drop(sender);
    }
}
