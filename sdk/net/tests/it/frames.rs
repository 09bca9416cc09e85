//! HTTP/3 frame by frame: what an answer may be made of, and what no server may do to a client's memory.

use std::net::Ipv4Addr;
use std::sync::Arc;

use h3::error::Code;
use nearcast_net::{Net, NetConfig, Protocol, Protocols};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::certificates::{Certificate, identity};
use crate::client::{Outcome, PATIENCE, fetch, get, offline};

/// What a server sends on a stream, byte by byte.
#[derive(Clone)]
struct Sent {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    End,
    Nothing,
    /// Zeros without end.
    More,
}

/// A control stream: its type, and settings of none.
const SETTINGS: &[u8] = b"\x00\x04\x00";
/// Heads: their frame, and two bytes and one field of the static table (RFC 9204 §4.5 and appendix A).
const OK: &[u8] = b"\x01\x03\x00\x00\xd9";
const EARLY_HINTS: &[u8] = b"\x01\x03\x00\x00\xd8";
/// With `content-length: 5`.
const OK_OF_5: &[u8] = b"\x01\x06\x00\x00\xd9\x54\x015";
/// No status.
const BROKEN: &[u8] = b"\x01\x02\x00\x00";
const NO_DATA: &[u8] = b"\x00\x00";
/// A length of 2^40.
const LARGE: &[u8] = b"\xc0\x00\x01\x00\x00\x00\x00\x00";

impl Sent {
    fn new(parts: &[&[u8]], then: Then) -> Self {
        let bytes = parts.concat();
        Self { bytes, then }
    }

    async fn send(self, mut stream: quinn::SendStream) {
        // The client may hang up before all is sent.
        let mut goes_on = stream.write_all(&self.bytes).await.is_ok();
        match self.then {
            Then::End => {
                stream.finish().ok();
                stream.stopped().await.ok();
            }
            Then::Nothing => std::future::pending().await,
            Then::More => {
                while goes_on {
                    goes_on = stream.write_all(&[0; 16 * 1024]).await.is_ok();
                }
            }
        }
    }
}

struct Server {
    port: u16,
    ca_pem: Vec<u8>,
    /// How each connection ended.
    ends: mpsc::UnboundedReceiver<quinn::ConnectionError>,
    _tasks: JoinSet<()>,
}

fn serve(control: Sent, answer: Sent) -> Server {
    let identity = identity(Certificate::Good);
    let mut tls = identity.tls;
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(Arc::new(tls)).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = endpoint.local_addr().unwrap().port();
    let (told, ends) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Some(incoming) = endpoint.accept().await {
            let (told, control, answer) = (told.clone(), control.clone(), answer.clone());
            connections.spawn(async move {
                let connection = incoming.await.unwrap();
                let mut streams = JoinSet::new();
                streams.spawn(control.send(connection.open_uni().await.unwrap()));
                while let Ok((stream, mut request)) = connection.accept_bi().await {
                    let answer = answer.clone();
                    streams.spawn(async move {
                        request.read_to_end(1 << 16).await.ok();
                        answer.send(stream).await;
                    });
                }
                told.send(connection.closed().await).ok(); // nobody listens when the test has ended
            });
        }
    });
    Server {
        port,
        ca_pem: identity.ca_pem,
        ends,
        _tasks: tasks,
    }
}

async fn ask(server: &Server) -> Outcome {
    let net = Net::new(NetConfig {
        extra_root_ca_pem: vec![server.ca_pem.clone()],
        ..offline()
    });
    let mut request = get(&format!("https://localhost:{}/", server.port));
    request.protocols = Protocols::only(Protocol::Http3);
    fetch(&net.unwrap(), request).await
}

#[tokio::test]
async fn an_answer_is_what_its_frames_say() {
    let hello: &[u8] = b"\x00\x05hello";
    let (hel, lo): (&[u8], &[u8]) = (b"\x00\x03hel", b"\x00\x02lo");
    let unknown: &[u8] = b"\x21\x03???";
    for (parts, code, body) in [
        (&[OK, hello][..], "ok", "hello"),
        (&[EARLY_HINTS, EARLY_HINTS, OK, hello], "ok", "hello"),
        (&[EARLY_HINTS, BROKEN], "net.protocol", ""),
        (&[EARLY_HINTS], "net.protocol", ""),
        (&[unknown, OK, hel, unknown, lo, unknown], "ok", "hello"),
        // Trailers.
        (&[OK, hello, OK, unknown], "ok", "hello"),
        (&[OK, hel, NO_DATA, lo], "ok", "hello"),
        (
            &[OK_OF_5, NO_DATA, NO_DATA, hel, NO_DATA, lo, NO_DATA],
            "ok",
            "hello",
        ),
        (&[OK_OF_5, hel, NO_DATA], "net.truncated", "hel"),
        // Cut within a frame.
        (&[OK_OF_5, b"\x00\x05hel"], "net.truncated", "hel"),
        (&[OK, b"\x00\x05hel"], "net.closed_early", "hel"),
        (&[OK, hel, b"\x00"], "net.protocol", "hel"),
        (&[OK, hel, b"\x21\x05??"], "net.protocol", "hel"),
    ] {
        let control = Sent::new(&[SETTINGS], Then::Nothing);
        let server = serve(control, Sent::new(parts, Then::End));
        let outcome = ask(&server).await;
        let told = (outcome.code(), String::from_utf8_lossy(&outcome.body));
        assert_eq!(told, (code, body.into()), "{parts:?}: {:?}", outcome.end);
    }
}

#[tokio::test]
async fn a_server_that_fills_the_memory_loses_its_connection() {
    let control = |parts: &[&[u8]], then| Sent::new(&[&[SETTINGS], parts].concat(), then);
    let quiet = control(&[], Then::Nothing);
    let silent = Sent::new(&[], Then::Nothing);
    let answer = |parts: &[&[u8]]| (quiet.clone(), Sent::new(parts, Then::More));
    let small = [b"\x21\x50\x00", &[0; 0x1000][..]].concat();
    let many = small.repeat(100);
    for (control, answer) in [
        answer(&[b"\x01", LARGE]),
        answer(&[b"\x21", LARGE]),
        answer(&[EARLY_HINTS, b"\x01", LARGE]),
        answer(&[&many]),
        answer(&[OK, b"\x01", LARGE]),
        answer(&[OK, b"\x00\x05hello\x21", LARGE]),
        answer(&[OK, b"\x00\x05hello", &many]),
        // Empty DATA frames.
        answer(&[OK]),
        (control(&[b"\x21", LARGE], Then::More), silent.clone()),
        (control(&[&many], Then::Nothing), silent.clone()),
        (Sent::new(&[b"\x00\x04", LARGE], Then::More), silent.clone()),
    ] {
        let what = answer.bytes.iter().chain(&control.bytes).take(24);
        let what = format!("{:x?}", what.collect::<Vec<_>>());
        let mut server = serve(control, answer);
        let outcome = ask(&server).await;
        assert_eq!(outcome.code(), "net.protocol", "{what}: {:?}", outcome.end);
        let end = timeout(PATIENCE, server.ends.recv()).await;
        let Some(quinn::ConnectionError::ApplicationClosed(end)) = end.expect("it ends") else {
            panic!("{what}: not closed by the client");
        };
        assert_eq!(end.error_code.into_inner(), Code::H3_EXCESSIVE_LOAD.value());
    }
}
