//! A plain client per protocol: it shows how things end, and hides nothing behind retries.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::fixture::PATIENCE;

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    H2,
    H3,
}

pub(crate) const ALL: [Protocol; 3] = [Protocol::Http1, Protocol::H2, Protocol::H3];

impl Protocol {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2 => "h2",
            Self::H3 => "h3",
        }
    }
}

/// How something failed.
#[derive(Debug)]
pub(crate) struct Fail {
    pub(crate) kind: Option<io::ErrorKind>,
    pub(crate) text: String,
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E: Error + 'static> From<E> for Fail {
    fn from(error: E) -> Self {
        let mut text = format!("{error:?}");
        let mut kind = None;
        let mut next: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(cause) = next {
            let from_h2 = cause
                .downcast_ref::<h2_error::Error>()
                .and_then(h2_error::Error::get_io);
            if let Some(io) = cause.downcast_ref::<io::Error>().or(from_h2) {
                kind = Some(io.kind());
            }
            text = format!("{text}; {cause}");
            next = cause.source();
        }
        Self { kind, text }
    }
}

/// The error of HTTP/2, by the name of its crate.
mod h2_error {
    pub(super) use h2::Error;
}

/// One connection.
pub(crate) struct Client {
    sender: Sender,
    authority: String,
    _drivers: JoinSet<()>,
}

enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    H2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
    H3(Box<Http3>),
}

struct Http3 {
    requests: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    _endpoint: quinn::Endpoint,
}

/// An answer whose body has not been read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Body,
}

enum Body {
    Hyper(Incoming),
    H3(Box<h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>>),
}

/// An answer with all that came of its body.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) fail: Option<Fail>,
}

impl Client {
    /// Connects to a base URL, trusting one authority. QUIC outlasts any silence here.
    pub(crate) async fn connect(
        protocol: Protocol,
        base: &str,
        ca_pem: &str,
    ) -> Result<Self, Fail> {
        Self::connect_until(protocol, base, ca_pem, PATIENCE).await
    }

    /// Connects with a client that gives QUIC up after some silence.
    pub(crate) async fn connect_until(
        protocol: Protocol,
        base: &str,
        ca_pem: &str,
        silence_max: Duration,
    ) -> Result<Self, Fail> {
        let (scheme, rest) = base.split_once("://").unwrap();
        let authority = rest.trim_end_matches('/').to_owned();
        let address: SocketAddr = authority.parse().unwrap();
        let mut drivers = JoinSet::new();
        let sender = match protocol {
            Protocol::H3 => {
                let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap())?;
                let crypto =
                    quinn::crypto::rustls::QuicClientConfig::try_from(tls(ca_pem, b"h3")).unwrap();
                let mut config = quinn::ClientConfig::new(Arc::new(crypto));
                let mut transport = quinn::TransportConfig::default();
                transport.max_idle_timeout(Some(silence_max.try_into().unwrap()));
                config.transport_config(Arc::new(transport));
                endpoint.set_default_client_config(config);
                let quic = endpoint.connect(address, "127.0.0.1").unwrap().await?;
                let (mut driver, requests) =
                    h3::client::new(h3_quinn::Connection::new(quic)).await?;
                drivers.spawn(async move {
                    poll_fn(|cx| driver.poll_close(cx)).await;
                });
                Sender::H3(Box::new(Http3 {
                    requests,
                    _endpoint: endpoint,
                }))
            }
            Protocol::Http1 if scheme == "http" => {
                let io = TokioIo::new(TcpStream::connect(address).await?);
                let (sender, driver) = hyper::client::conn::http1::handshake(io).await?;
                drivers.spawn(async move { drop(driver.await) });
                Sender::Http1(sender)
            }
            Protocol::Http1 | Protocol::H2 => {
                let alpn: &[u8] = if protocol == Protocol::H2 {
                    b"h2"
                } else {
                    b"http/1.1"
                };
                let connector = TlsConnector::from(Arc::new(tls(ca_pem, alpn)));
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("127.0.0.1").unwrap();
                let stream = connector.connect(name, stream).await?;
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
                let io = TokioIo::new(stream);
                if protocol == Protocol::H2 {
                    let (sender, driver) =
                        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
                    drivers.spawn(async move { drop(driver.await) });
                    Sender::H2(sender)
                } else {
                    let (sender, driver) = hyper::client::conn::http1::handshake(io).await?;
                    drivers.spawn(async move { drop(driver.await) });
                    Sender::Http1(sender)
                }
            }
        };
        Ok(Self {
            sender,
            authority,
            _drivers: drivers,
        })
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Fail> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let absolute = format!("https://{}{path}", self.authority);
        match &mut self.sender {
            Sender::Http1(sender) => {
                let request = request.uri(path).header("host", &self.authority);
                sender.ready().await?;
                let response = sender.send_request(request.body(Empty::new())?).await?;
                Ok(Answer::from_hyper(response))
            }
            Sender::H2(sender) => {
                sender.ready().await?;
                let request = request.uri(absolute).body(Empty::new())?;
                Ok(Answer::from_hyper(sender.send_request(request).await?))
            }
            Sender::H3(http3) => {
                let request = request.uri(absolute).body(())?;
                let mut stream = http3.requests.send_request(request).await?;
                stream.finish().await?;
                let (head, ()) = stream.recv_response().await?.into_parts();
                Ok(Answer {
                    status: head.status,
                    headers: head.headers,
                    body: Body::H3(Box::new(stream)),
                })
            }
        }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn fetch(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Whole, Fail> {
        Ok(self.send(method, path, headers).await?.whole().await)
    }

    /// Gets a file.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Whole, Fail> {
        self.fetch("GET", path, &[]).await
    }
}

impl Answer {
    fn from_hyper(response: http::Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body: Body::Hyper(body),
        }
    }

    /// Returns the next bytes of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, Fail>> {
        match &mut self.body {
            Body::Hyper(body) => loop {
                match body.frame().await? {
                    Ok(frame) => {
                        if let Ok(data) = frame.into_data() {
                            return Some(Ok(data));
                        }
                    }
                    Err(error) => return Some(Err(error.into())),
                }
            },
            Body::H3(stream) => match stream.recv_data().await {
                Ok(Some(mut data)) => Some(Ok(data.copy_to_bytes(data.remaining()))),
                Ok(None) => None,
                Err(error) => Some(Err(error.into())),
            },
        }
    }

    /// Reads on until at least `count` bytes have come.
    pub(crate) async fn read_at_least(&mut self, count: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < count {
            read.extend_from_slice(&self.chunk().await.unwrap().unwrap());
        }
        read
    }

    pub(crate) async fn whole(mut self) -> Whole {
        let mut body = Vec::new();
        let mut fail = None;
        while let Some(chunk) = self.chunk().await {
            match chunk {
                Ok(chunk) => body.extend_from_slice(&chunk),
                Err(error) => {
                    fail = Some(error);
                    break;
                }
            }
        }
        Whole {
            status: self.status,
            headers: self.headers,
            body,
            fail,
        }
    }
}

impl Whole {
    /// Returns a header as text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the code of an error answer.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["code"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn tls(ca_pem: &str, alpn: &[u8]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}
