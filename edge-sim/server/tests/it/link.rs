//! The link: rate, delay, black hole and death.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use nearcast_appliance::fault::Fault;
use nearcast_units::BitRate;
use tokio::net::TcpStream;

use crate::client::{ALL, Client, Protocol};
use crate::fixture::{
    MIDDLE, SILENCE, SLOW, edge, edge_with, loopback_apart, never, segment, soon,
};

const SEGMENT: &str = "/demo/segment.m4s";

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rate_holds_for_all_bodies_together() {
    for protocol in ALL {
        let edge = edge_with(|config| config.rate = Some(BitRate::from_kbps(4_000))).await;
        let began = now();
        let fetch = async {
            let mut client = edge.connect(protocol).await;
            soon(client.get(SEGMENT)).await.unwrap().body.len()
        };
        let (one, two) = tokio::join!(fetch, async {
            let mut client = edge.connect(protocol).await;
            soon(client.get(SEGMENT)).await.unwrap().body.len()
        });
        let took = began.elapsed();
        assert_eq!((one, two), (300_000, 300_000));
        // 600 kB at 4 Mbit/s are 1.2 s. A machine that is busy may take longer; never shorter.
        assert!(took > Duration::from_millis(1150), "{protocol:?}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_rate_counts_for_the_body_under_way() {
    for protocol in ALL {
        let edge = edge_with(|config| config.rate = Some(BitRate::from_kbps(8))).await;
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        soon(answer.read_at_least(1)).await;
        edge.fault(Fault::Rate { rate_bps: None }).await;
        // At the old rate it would take five minutes, longer than `soon` waits.
        let rest = soon(answer.whole()).await;
        assert!(
            rest.fail.is_none() && rest.body.len() > 200_000,
            "{protocol:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_delayed() {
    let edge = edge_with(|config| config.delay = Duration::from_millis(80)).await;
    for protocol in ALL {
        let began = now();
        let mut client = edge.connect(protocol).await;
        let connected = began.elapsed();
        assert!(
            connected >= Duration::from_millis(80),
            "{protocol:?} {connected:?}"
        );
        let began = now();
        soon(client.get("/demo/stream.mpd")).await.unwrap();
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(80), "{protocol:?} {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_edge_resets_tcp_falls_silent_on_quic_and_refuses_until_revived() {
    let edge = edge().await;
    edge.fault(SLOW).await;
    let mut answers = Vec::new();
    let mut clients = Vec::new();
    for protocol in ALL {
        let (base, ca) = (edge.edge.base_url(), edge.edge.ca_pem());
        let client = Client::connect_until(protocol, base, ca, Duration::from_secs(2));
        let mut client = soon(client).await.unwrap();
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        let read = soon(answer.read_at_least(MIDDLE)).await.len();
        answers.push((protocol, answer, read));
        clients.push(client);
    }
    edge.fault(Fault::Kill).await;

    let address = edge.edge.base_url()[8..].trim_end_matches('/').to_owned();
    let refused = soon(TcpStream::connect(&address)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let log = edge.log(3).await;
    for (protocol, answer, read) in answers {
        let rest = soon(answer.whole()).await;
        let fail = rest.fail.expect("a killed edge delivers nothing");
        if protocol == Protocol::H3 {
            // Not a word: the client's own idle time-out of 2 s ends it.
            assert!(
                fail.text.contains("Timeout") || fail.text.contains("timed out"),
                "{fail}"
            );
        } else {
            assert_eq!(
                fail.kind,
                Some(ErrorKind::ConnectionReset),
                "{protocol:?}: {fail}"
            );
        }
        let line = log
            .iter()
            .find(|line| line.protocol == protocol.name())
            .unwrap();
        assert_eq!(line.end, nearcast_edge_server::End::Killed);
        let got = u64::try_from(read + rest.body.len()).unwrap();
        assert!(line.bytes >= got && line.bytes < 300_000, "{line:?} {got}");
    }
    // The port is dead for QUIC too, and says so to nobody.
    never(edge.try_connect(Protocol::H3), "a dead edge answered").await;

    edge.clear().await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        assert!(soon(client.get(SEGMENT)).await.unwrap().body == segment());
    }
    let receipts = edge.edge.receipts();
    assert_eq!(receipts.last().unwrap().fault, Fault::Kill);
}

/// On one thread nothing else runs between the two orders: whoever only looks at how things are sees no death.
#[tokio::test]
async fn a_death_that_is_over_at_once_is_a_death() {
    let edge = edge().await;
    edge.fault(SLOW).await;
    let mut open = Vec::new();
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        soon(answer.read_at_least(MIDDLE)).await;
        open.push((protocol, answer, client));
    }
    tokio::join!(edge.fault(Fault::Kill), edge.clear());
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        assert!(soon(client.get(SEGMENT)).await.unwrap().body == segment());
    }
    for (protocol, answer, _client) in open {
        let fail = soon(answer.whole()).await.fail;
        let fail = fail.unwrap_or_else(|| panic!("{protocol:?} outlived its edge"));
        if protocol != Protocol::H3 {
            assert_eq!(fail.kind, Some(ErrorKind::ConnectionReset), "{fail}");
        }
    }
    let log = edge.log(6).await;
    let killed = log
        .iter()
        .filter(|line| line.end == nearcast_edge_server::End::Killed);
    assert_eq!(killed.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_edge_holds_no_connection_when_its_order_is_answered() {
    let edge = edge().await;
    edge.fault(SLOW).await;
    let mut open = Vec::new();
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        soon(answer.read_at_least(MIDDLE)).await;
        open.push((answer, client));
    }
    edge.fault(Fault::Kill).await;
    // Lines are written when a request has let go of everything.
    assert_eq!(edge.edge.access_log().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_edge_is_a_black_hole_and_goes_on_when_restored() {
    let edge = edge().await;
    for protocol in ALL {
        edge.fault(SLOW).await;
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        let mut body = soon(answer.read_at_least(MIDDLE)).await;
        edge.fault(Fault::Stop).await;
        // What had left the server may still come; then nothing does.
        while let Ok(Some(chunk)) = tokio::time::timeout(SILENCE, answer.chunk()).await {
            body.extend_from_slice(&chunk.unwrap());
        }
        assert!(body.len() < 200_000, "{protocol:?}: {}", body.len());
        // New connections are taken by the system and never answered.
        if protocol != Protocol::H3 {
            let address = edge.edge.base_url()[8..].trim_end_matches('/').to_owned();
            assert!(soon(TcpStream::connect(&address)).await.is_ok());
        }
        never(edge.try_connect(protocol), "a black hole shook hands").await;
        edge.clear().await;
        let rest = soon(answer.whole()).await;
        assert!(rest.fail.is_none(), "{protocol:?}: {:?}", rest.fail);
        body.extend_from_slice(&rest.body);
        assert!(body == segment(), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_blocks_udp_leaves_tcp_alone() {
    let edge = edge_with(|config| config.udp_blocked = true).await;
    never(edge.try_connect(Protocol::H3), "a datagram passed").await;
    let mut client = edge.connect(Protocol::H2).await;
    let answer = soon(client.get(SEGMENT)).await.unwrap();
    assert!(answer.header("alt-svc").starts_with("h3="));
    assert!(answer.body == segment());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_edge_keeps_its_port_and_an_ended_one_frees_it() {
    let edge = edge_with(|config| config.listen = loopback_apart()).await;
    let address = edge.edge.base_url()[8..].trim_end_matches('/').to_owned();
    edge.fault(Fault::Kill).await;
    // A plain bind, without the wish to share that std's listener has.
    let address_of: std::net::SocketAddr = address.parse().unwrap();
    let family = socket2::Domain::for_address(address_of);
    let other = socket2::Socket::new(family, socket2::Type::STREAM, None).unwrap();
    let taken = other.bind(&address_of.into());
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(other);
    edge.edge.shutdown().await;
    assert!(std::net::TcpListener::bind(&address).is_ok());
    assert!(std::net::UdpSocket::bind(&address).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_handle_stops_everything() {
    let fixture = edge().await;
    let address = fixture.edge.base_url()[8..]
        .trim_end_matches('/')
        .to_owned();
    let mut client = fixture.connect(Protocol::H2).await;
    drop(fixture.edge);
    soon(async {
        while TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(soon(client.get(SEGMENT)).await.is_err());
}
