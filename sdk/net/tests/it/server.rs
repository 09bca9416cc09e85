//! An honest server of HTTP/1.1, HTTP/2 and HTTP/3 with a few special paths.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Certificate, identity};

/// The bytes at `/object`.
pub(crate) const OBJECT_BYTES: usize = 1_000_000;
const PIECE: usize = 16 * 1024;

pub(crate) fn object() -> Bytes {
    let byte = |index: usize| u8::try_from(index * 7 % 251).unwrap();
    (0..OBJECT_BYTES).map(byte).collect()
}

/// What listens on the UDP port.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Udp {
    Nothing,
    Http3,
    /// Refuses every connection.
    Refuse,
    /// Takes every packet and answers none, as a network that blocks UDP.
    Swallow,
}

/// How a server is set up.
pub(crate) struct Setup {
    pub(crate) alpn: Option<&'static [&'static str]>,
    pub(crate) udp: Udp,
    pub(crate) certificate: Certificate,
    /// Closes the TCP port again.
    pub(crate) no_tcp: bool,
}

impl Setup {
    pub(crate) const PLAIN: Self = Self {
        alpn: None,
        udp: Udp::Nothing,
        certificate: Certificate::Good,
        no_tcp: false,
    };
    pub(crate) const TLS1: Self = Self {
        alpn: Some(&["http/1.1"]),
        ..Self::PLAIN
    };
    pub(crate) const TLS2: Self = Self {
        alpn: Some(&["h2", "http/1.1"]),
        ..Self::PLAIN
    };
    pub(crate) const ALL: Self = Self {
        udp: Udp::Http3,
        ..Self::TLS2
    };
}

/// What a server saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Headers and version of every request.
    pub(crate) requests: Mutex<Vec<(Version, HeaderMap)>>,
    /// TCP and QUIC connections accepted.
    pub(crate) connections: AtomicUsize,
    /// The QUIC connections among them.
    pub(crate) quic: Mutex<Vec<quinn::Connection>>,
    /// Bytes of endless bodies made.
    pub(crate) made: AtomicU64,
    /// `/gate` answers only with a permit from here.
    pub(crate) gate: Gate,
}

pub(crate) struct Gate {
    pub(crate) permits: Semaphore,
    pub(crate) arrived: Notify,
    pub(crate) waiting: AtomicUsize,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            permits: Semaphore::new(0),
            arrived: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Gate {
    /// Waits until this many requests stand before the gate.
    pub(crate) async fn crowd(&self, count: usize) {
        while self.waiting.load(Ordering::SeqCst) < count {
            self.arrived.notified().await;
        }
    }
}

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) ca_pem: Vec<u8>,
    pub(crate) seen: Arc<Seen>,
    /// One message for every endless body that was dropped: the client is gone.
    pub(crate) gone: mpsc::UnboundedReceiver<()>,
    encrypted: bool,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.port)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Site {
    seen: Arc<Seen>,
    gone: mpsc::UnboundedSender<()>,
    port: u16,
}

pub(crate) async fn serve(setup: Setup) -> Server {
    let (tcp, udp) = ports(setup.udp).await;
    let port = tcp.local_addr().unwrap().port();
    let identity = identity(setup.certificate);
    let (gone_sender, gone) = mpsc::unbounded_channel();
    let site = Site {
        seen: Arc::default(),
        gone: gone_sender,
        port,
    };
    let mut tasks = JoinSet::new();
    match (setup.udp, udp) {
        (Udp::Http3 | Udp::Refuse, Some(udp)) => {
            let mut tls = identity.tls.clone();
            tls.alpn_protocols = vec![b"h3".to_vec()];
            let tls = quinn::crypto::rustls::QuicServerConfig::try_from(Arc::new(tls)).unwrap();
            let endpoint = quinn::Endpoint::new(
                quinn::EndpointConfig::default(),
                Some(quinn::ServerConfig::with_crypto(Arc::new(tls))),
                udp.into_std().unwrap(),
                Arc::new(quinn::TokioRuntime),
            )
            .unwrap();
            if setup.udp == Udp::Refuse {
                tasks.spawn(refuse_quic(endpoint));
            } else {
                tasks.spawn(serve_quic(endpoint, site.clone()));
            }
        }
        (Udp::Swallow, Some(udp)) => {
            tasks.spawn(async move {
                let mut packet = [0; 2048];
                while udp.recv(&mut packet).await.is_ok() {}
            });
        }
        (Udp::Nothing | Udp::Http3 | Udp::Refuse | Udp::Swallow, _) => {}
    }
    if !setup.no_tcp {
        let mut tls = identity.tls;
        let protocols = setup.alpn.unwrap_or_default().iter();
        tls.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = setup.alpn.map(|_| TlsAcceptor::from(Arc::new(tls)));
        tasks.spawn(serve_tcp(tcp, acceptor, site.clone()));
    }
    Server {
        port,
        ca_pem: identity.ca_pem,
        seen: site.seen,
        gone,
        encrypted: setup.alpn.is_some(),
        _tasks: tasks,
    }
}

/// One port number for both, on the loopback.
async fn ports(udp: Udp) -> (TcpListener, Option<UdpSocket>) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if udp == Udp::Nothing {
            return (tcp, None);
        }
        let address: SocketAddr = tcp.local_addr().unwrap();
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (tcp, Some(udp));
        }
    }
}

async fn serve_tcp(listener: TcpListener, acceptor: Option<TlsAcceptor>, site: Site) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        site.seen.connections.fetch_add(1, Ordering::SeqCst);
        let (site, acceptor) = (site.clone(), acceptor.clone());
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<_>| {
                let site = site.clone();
                async move { Ok::<_, Infallible>(answer(&site, &request.map(drop)).await) }
            });
            let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            builder.http2().max_header_list_size(1 << 20);
            // A client that goes away is an everyday event here.
            match acceptor {
                None => drop(
                    builder
                        .serve_connection(TokioIo::new(socket), service)
                        .await,
                ),
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        drop(
                            builder
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        );
                    }
                }
            }
        });
    }
}

async fn refuse_quic(endpoint: quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        incoming.refuse();
    }
}

async fn serve_quic(endpoint: quinn::Endpoint, site: Site) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let site = site.clone();
        connections.spawn(async move {
            let Ok(connection) = incoming.await else {
                return;
            };
            site.seen.connections.fetch_add(1, Ordering::SeqCst);
            site.seen.quic.lock().unwrap().push(connection.clone());
            let h3 = h3::server::Connection::new(h3_quinn::Connection::new(connection));
            let Ok(mut h3) = h3.await else { return };
            let mut streams = JoinSet::new();
            while let Ok(Some(resolver)) = h3.accept().await {
                let site = site.clone();
                streams.spawn(async move {
                    let Ok((request, stream)) = resolver.resolve_request().await else {
                        return;
                    };
                    let response = answer(&site, &request).await;
                    send_h3(stream, response).await;
                });
            }
        });
    }
}

type H3Stream = h3::server::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

async fn send_h3(mut stream: H3Stream, response: Response<Content>) {
    let (parts, mut body) = response.into_parts();
    if stream
        .send_response(Response::from_parts(parts, ()))
        .await
        .is_err()
    {
        return;
    }
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { break };
        if stream.send_data(data).await.is_err() {
            return;
        }
    }
    if stream.finish().await.is_ok() {
        // Unread, quinn would tell the client to stop sending.
        while let Ok(Some(mut rest)) = stream.recv_data().await {
            rest.advance(rest.remaining());
        }
    }
}

async fn answer(site: &Site, request: &Request<()>) -> Response<Content> {
    let headers = request.headers();
    let seen = (request.version(), headers.clone());
    site.seen.requests.lock().unwrap().push(seen);
    let status = |code: u16| Response::builder().status(code);
    let path = request.uri().path();
    if let Some(count) = path.strip_prefix("/redirect/") {
        let count: u32 = count.parse().unwrap();
        let location = match count {
            0 => "../object".to_owned(),
            count => format!("{}", count - 1),
        };
        let response = status(302).header("location", location);
        return response.body(Content::whole(b"moved"[..].into())).unwrap();
    }
    if let Some(bytes) = path.strip_prefix("/headers/") {
        let value = "x".repeat(bytes.parse().unwrap());
        let response = status(200).header("x-long", value);
        return response.body(Content::whole(Bytes::new())).unwrap();
    }
    match path {
        "/object" => ranged(headers, status(200)),
        "/announced" => {
            let announcement = format!("h3=\":{}\"; ma=60", site.port);
            ranged(headers, status(200).header("alt-svc", announcement))
        }
        "/gate" => {
            site.seen.gate.waiting.fetch_add(1, Ordering::SeqCst);
            site.seen.gate.arrived.notify_one();
            let permit = site.seen.gate.permits.acquire().await.unwrap();
            permit.forget();
            site.seen.gate.waiting.fetch_sub(1, Ordering::SeqCst);
            let content = Content::whole(b"passed"[..].into());
            status(200).body(content).unwrap()
        }
        "/endless" => status(200).body(Content::endless(site)).unwrap(),
        "/silent" => std::future::pending().await,
        "/empty" => {
            let response = status(200).header("content-length", "0");
            response.body(Content::whole(Bytes::new())).unwrap()
        }
        "/short" => {
            let response = status(200).header("content-length", "1000");
            response.body(Content::whole(b"short"[..].into())).unwrap()
        }
        "/busy" => {
            let response = status(503).header("retry-after", "7");
            response.body(Content::whole(b"later"[..].into())).unwrap()
        }
        "/loop" => {
            let response = status(307).header("location", "/loop");
            response.body(Content::whole(Bytes::new())).unwrap()
        }
        "/downgrade" => {
            let response = status(301).header("location", "http://localhost:1/");
            response.body(Content::whole(Bytes::new())).unwrap()
        }
        "/gzip" => {
            let response = status(200).header("content-encoding", "gzip");
            response.body(Content::whole(b"??"[..].into())).unwrap()
        }
        "/wrong-range" => {
            let response = status(206).header("content-range", "bytes 5-9/100");
            response.body(Content::whole(b"56789"[..].into())).unwrap()
        }
        "/whole" => {
            let response = status(200).header("content-length", "10");
            let content = Content::whole(b"0123456789"[..].into());
            response.body(content).unwrap()
        }
        _ => status(404).body(Content::whole(Bytes::new())).unwrap(),
    }
}

fn ranged(headers: &HeaderMap, response: http::response::Builder) -> Response<Content> {
    let object = object();
    let response = response.header("content-type", "video/mp4");
    let Some(range) = headers.get("range") else {
        let response = response.header("content-length", object.len());
        return response.body(Content::whole(object)).unwrap();
    };
    let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let last = last.parse().unwrap_or(usize::MAX).min(object.len() - 1);
    response
        .status(StatusCode::PARTIAL_CONTENT)
        .header(
            "content-range",
            format!("bytes {first}-{last}/{}", object.len()),
        )
        .header("content-length", last - first + 1)
        .body(Content::whole(object.slice(first..=last)))
        .unwrap()
}

/// A body in pieces, or one without end that tells when it is dropped.
enum Content {
    Whole(Bytes),
    Endless(Site),
}

impl Content {
    fn whole(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }

    fn endless(site: &Site) -> Self {
        Self::Endless(site.clone())
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Self::Endless(site) = self {
            site.gone.send(()).ok(); // nobody listens when the test has ended
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Whole(bytes) => bytes.split_to(PIECE.min(bytes.len())),
            Self::Endless(site) => {
                site.seen.made.fetch_add(PIECE as u64, Ordering::SeqCst);
                Bytes::from_static(&[7; PIECE])
            }
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
