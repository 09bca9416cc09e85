//! QUIC against TCP, one address against another, and what is learnt from it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nearcast_net::{Net, Origin, Protocol, Protocols, Request};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::client::{PATIENCE, config, fetch, get, net, settles};
use crate::server::{Server, Setup, Udp, serve};

const FIRST: Protocols = Protocols {
    h3_first: true,
    ..Protocols::ALL
};
const BLOCKED: Setup = Setup {
    udp: Udp::Swallow,
    ..Setup::TLS2
};
/// What a loopback connection with everything around it may take on a busy machine.
const MARGIN: Duration = Duration::from_secs(3);

fn ask(server: &Server, protocols: Protocols) -> Request {
    let mut request = get(&server.url("/object"));
    request.protocols = protocols;
    request
}

fn drop_edge(net: &Net, server: &Server) {
    net.drop_edge(&Origin::split(&server.url("/")).unwrap().0);
}

#[tokio::test]
async fn http3_wins_where_it_is_granted_and_its_connection_goes_on() {
    let server = serve(Setup::ALL).await;
    let net = net(&server);
    let patient = Protocols {
        h3_head_start: Duration::from_secs(10),
        ..FIRST
    };
    assert_eq!(
        fetch(&net, ask(&server, patient)).await.connected,
        [(true, Protocol::Http3)]
    );
    assert_eq!(
        fetch(&net, ask(&server, patient)).await.connected,
        [(false, Protocol::Http3)]
    );
    assert_eq!(server.connections(), 1, "TCP was not tried");
}

#[tokio::test]
async fn a_network_that_blocks_udp_costs_the_head_start_once() {
    let server = serve(BLOCKED).await;
    let net = net(&server);
    let begun = Instant::now();
    let first = fetch(&net, ask(&server, FIRST)).await;
    assert_eq!(
        first.connected,
        [(true, Protocol::Http2)],
        "{:?}",
        first.end
    );
    let took = begun.elapsed();
    assert!(took >= FIRST.h3_head_start, "{took:?}");
    assert!(took < FIRST.h3_head_start + MARGIN, "{took:?}");

    // Neither a new connection to the same edge nor the first to another one waits again.
    let other = serve(BLOCKED).await;
    let unbearable = Protocols {
        h3_head_start: Duration::from_secs(60),
        ..FIRST
    };
    let begun = Instant::now();
    drop_edge(&net, &server);
    let again = fetch(&net, ask(&server, unbearable)).await;
    assert_eq!(again.connected, [(true, Protocol::Http2)]);
    let mut trusting = config(&other);
    trusting.extra_root_ca_pem.push(server.ca_pem.clone());
    let net2 = Net::new(trusting).unwrap();
    fetch(&net2, ask(&server, FIRST)).await;
    let elsewhere = fetch(&net2, ask(&other, unbearable)).await;
    assert_eq!(elsewhere.connected, [(true, Protocol::Http2)]);
    assert!(begun.elapsed() < Duration::from_secs(20));
    settles(&net2, 0, 2).await;
}

#[tokio::test]
async fn another_network_is_tried_with_udp_again() {
    let server = serve(BLOCKED).await;
    let net = net(&server);
    let brief = Protocols {
        h3_head_start: Duration::from_millis(100),
        ..FIRST
    };
    fetch(&net, ask(&server, brief)).await;
    net.network_changed();
    let begun = Instant::now();
    let outcome = fetch(&net, ask(&server, brief)).await;
    assert_eq!(outcome.connected, [(true, Protocol::Http2)]);
    assert!(
        begun.elapsed() >= brief.h3_head_start,
        "the head start was given"
    );
}

#[tokio::test]
async fn a_head_start_without_an_answer_teaches_although_tcp_fails() {
    let dead = serve(Setup {
        no_tcp: true,
        ..BLOCKED
    })
    .await;
    let other = serve(BLOCKED).await;
    let net = net(&other);
    let outcome = fetch(&net, ask(&dead, FIRST)).await;
    assert_eq!(outcome.code(), "net.connect_refused");
    let unbearable = Protocols {
        h3_head_start: PATIENCE * 2,
        ..FIRST
    };
    let outcome = fetch(&net, ask(&other, unbearable)).await;
    assert_eq!(outcome.connected, [(true, Protocol::Http2)]);
}

#[tokio::test]
async fn quic_that_broke_after_its_handshake_is_followed_by_tcp() {
    let server = serve(Setup::ALL).await;
    let net = net(&server);
    let patient = Protocols {
        h3_head_start: PATIENCE,
        ..FIRST
    };
    let first = fetch(&net, ask(&server, patient)).await;
    assert_eq!(first.connected, [(true, Protocol::Http3)]);
    drop_edge(&net, &server);
    for cold in [true, false] {
        let next = fetch(&net, ask(&server, patient)).await;
        assert_eq!(next.connected, [(cold, Protocol::Http2)]);
    }

    // The backstop says it too.
    let server = serve(Setup::ALL).await;
    let mut config = config(&server);
    config.phase_limit = Duration::from_secs(2);
    let net = Net::new(config).unwrap();
    let mut silent = ask(&server, patient);
    silent.path_and_query = "/silent".to_owned();
    let stalled = fetch(&net, silent).await;
    assert_eq!(stalled.connected, [(true, Protocol::Http3)]);
    assert_eq!(stalled.code(), "net.stalled");
    let next = fetch(&net, ask(&server, patient)).await;
    assert_eq!(next.connected, [(true, Protocol::Http2)]);
}

#[tokio::test]
async fn an_announcement_brings_http3_on_the_next_connection() {
    let server = serve(Setup::ALL).await;
    let net = net(&server);
    let mut announced = get(&server.url("/announced"));
    announced.protocols.h3_head_start = Duration::from_secs(10);
    let second = announced.clone();
    let first = fetch(&net, announced).await;
    assert_eq!(first.connected, [(true, Protocol::Http2)]);
    drop_edge(&net, &server);
    let second = fetch(&net, second).await;
    assert_eq!(second.connected, [(true, Protocol::Http3)]);
}

#[tokio::test]
async fn http3_alone_on_a_silent_port_is_a_quic_timeout() {
    let server = serve(BLOCKED).await;
    let mut config = config(&server);
    config.phase_limit = Duration::from_millis(200);
    let net = Net::new(config).unwrap();
    let outcome = fetch(&net, ask(&server, Protocols::only(Protocol::Http3))).await;
    assert_eq!(outcome.code(), "net.quic_timeout");
    settles(&net, 0, 0).await;
}

#[tokio::test]
async fn a_dead_edge_is_told_soon_although_quic_is_silent() {
    let server = serve(Setup {
        no_tcp: true,
        ..BLOCKED
    })
    .await;
    let net = net(&server);
    let begun = Instant::now();
    let outcome = fetch(&net, ask(&server, FIRST)).await;
    assert_eq!(outcome.code(), "net.connect_refused");
    assert!(begun.elapsed() < MARGIN);
    settles(&net, 0, 0).await;
}

#[tokio::test]
async fn an_edge_that_speaks_only_http3_is_reached_although_tcp_is_refused() {
    let server = serve(Setup {
        no_tcp: true,
        ..Setup::ALL
    })
    .await;
    let outcome = fetch(&net(&server), ask(&server, FIRST)).await;
    assert_eq!(
        outcome.connected,
        [(true, Protocol::Http3)],
        "{:?}",
        outcome.end
    );
}

#[tokio::test]
async fn a_dead_address_beside_a_living_one_is_passed_over() {
    for setup in [Setup::PLAIN, Setup::TLS2] {
        let server = serve(setup).await;
        let mut request = get(&server.url("/object"));
        // Nobody listens on ::1, if there is one at all.
        request.addresses = vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let outcome = fetch(&net(&server), request).await;
        assert_eq!(outcome.code(), "ok");
    }
}

/// Listens and is full: what comes further gets no answer from the system.
async fn silent(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut queue = Vec::new();
    while let Ok(queued) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queue.push(queued.unwrap());
    }
    (listener, queue)
}

#[tokio::test]
async fn a_silent_address_before_a_living_one_is_given_its_delay_and_passed_over() {
    for setup in [Setup::PLAIN, Setup::TLS2] {
        let server = serve(setup).await;
        let full: IpAddr = "127.0.0.2".parse().unwrap();
        let _full = silent(SocketAddr::new(full, server.port)).await;
        let mut request = get(&server.url("/object"));
        request.addresses = vec![full, "127.0.0.1".parse().unwrap()];
        request.happy_eyeballs_delay = Duration::from_millis(100);
        let begun = Instant::now();
        let outcome = fetch(&net(&server), request).await;
        assert_eq!(outcome.code(), "ok", "{outcome:?}");
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }
}
