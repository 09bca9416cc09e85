//! Clients that mean no good: what they can cost is bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{ApplicationClose, ConnectionError, VarInt, WriteError};

use crate::client::{Protocol, tls};
use crate::fixture::{Fixture, edge, soon};

/// HTTP/3's codes (RFC 9114 §8.1).
const NO_ERROR: u32 = 0x100;
const EXCESSIVE_LOAD: u32 = 0x107;

/// A bare QUIC connection that said that it speaks HTTP/3.
struct Raw {
    quic: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

async fn connect(edge: &Fixture) -> Raw {
    let base = edge.edge.base_url();
    let address = base["https://".len()..].trim_end_matches('/');
    let crypto = tls(edge.edge.ca_pem(), b"h3");
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let connecting = endpoint.connect(address.parse().unwrap(), "127.0.0.1");
    Raw {
        quic: soon(connecting.unwrap()).await.unwrap(),
        _endpoint: endpoint,
    }
}

/// A variable-length integer of eight bytes.
fn integer(value: u64) -> [u8; 8] {
    (value | 0xc000_0000_0000_0000).to_be_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_frame_ends_its_connection_soon() {
    let edge = edge().await;
    // A head, a frame that nobody knows, and a frame on the control stream.
    for (prefix, is_request) in [(&[0x01][..], true), (&[0x21], true), (&[0x00, 0x21], false)] {
        let raw = connect(&edge).await;
        let mut stream = if is_request {
            let (stream, _) = raw.quic.open_bi().await.unwrap();
            stream
        } else {
            raw.quic.open_uni().await.unwrap()
        };
        stream.write_all(prefix).await.unwrap();
        stream.write_all(&integer(1 << 30)).await.unwrap();
        let mut sent = 0_u64;
        let lost = soon(async {
            loop {
                match stream.write(&[0; 4096]).await {
                    Ok(count) => sent += u64::try_from(count).unwrap(),
                    Err(WriteError::ConnectionLost(lost)) => return lost,
                    Err(WriteError::Stopped(_)) => return raw.quic.closed().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
        let ConnectionError::ApplicationClosed(ApplicationClose { error_code, .. }) = lost else {
            panic!("{lost}");
        };
        assert_eq!(error_code, VarInt::from_u32(EXCESSIVE_LOAD), "{prefix:?}");
        assert!(sent < 1 << 20, "{prefix:?}: {sent}");
    }
    // Others are served.
    let mut client = edge.connect(Protocol::H3).await;
    let answer = soon(client.get("/demo/stream.mpd")).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_long_is_refused_and_its_connection_goes_on() {
    let edge = edge().await;
    let mut client = edge.connect(Protocol::H3).await;
    let long = "x".repeat(20_000);
    let refused = soon(client.fetch("GET", "/demo/stream.mpd", &[("x-long", &long)])).await;
    // The server says what it takes; a client that has heard of that does not even send it.
    assert!(refused.map_or(true, |answer| answer.status == 431));
    let answer = soon(client.get("/demo/stream.mpd")).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_never_finished_is_given_up() {
    let edge = edge().await;
    let raw = connect(&edge).await;
    let (mut stream, mut answer) = raw.quic.open_bi().await.unwrap();
    stream.write_all(&[0x01, 0x20, 0x00]).await.unwrap();
    assert!(soon(answer.read_chunk(1, true)).await.unwrap().is_none());
    assert!(soon(stream.stopped()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_nobody_wants_is_not_read() {
    let edge = edge().await;
    let raw = connect(&edge).await;
    let connection = h3_quinn::Connection::new(raw.quic.clone());
    let (mut driver, mut requests) = soon(h3::client::new(connection)).await.unwrap();
    let driving =
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    let uri = format!("{}demo/stream.mpd", edge.edge.base_url());
    // The second one pauses where the edge has just had too much: it is told while the edge waits for more.
    for (first, pause) in [(4096, 0), (16 * 1024 + 1, 100)] {
        let request = http::Request::post(&uri).body(()).unwrap();
        let mut stream = soon(requests.send_request(request)).await.unwrap();
        soon(stream.send_data(Bytes::from(vec![0; first])))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let stopped = soon(async {
            loop {
                if let Err(error) = stream.send_data(Bytes::from(vec![0; 4096])).await {
                    return error;
                }
            }
        })
        .await;
        let text = format!("{stopped:?}");
        let code = h3::error::Code::from(u64::from(NO_ERROR));
        assert!(text.contains(&format!("{code:?}")), "{text}");
        let answer = soon(stream.recv_response()).await.unwrap();
        assert_eq!(answer.status(), 405);
    }
    driving.abort();
}
