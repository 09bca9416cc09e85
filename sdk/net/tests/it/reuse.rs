//! Kept connections: used again, shared, thrown away, replaced when dead.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nearcast_net::{Net, NetEvent, Origin, Protocol, Protocols, Request};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Certificate, identity};
use crate::client::{PATIENCE, config, fetch, finish, get, net, next, next_body, settles};
use crate::protocols::each_protocol;
use crate::raw::{Raw, raw, read_head, reply};
use crate::server::{Server, Setup, serve};

fn ask(server: &Server, path: &str, protocols: Protocols) -> Request {
    let mut request = get(&server.url(path));
    request.protocols = protocols;
    request
}

fn origin(server: &Server) -> Origin {
    Origin::split(&server.url("/")).unwrap().0
}

#[tokio::test]
async fn the_second_request_is_not_cold() {
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let first = fetch(&net, ask(&server, "/object", protocols)).await;
        assert_eq!(first.connected, [(true, protocol)]);
        let second = fetch(&net, ask(&server, "/object", protocols)).await;
        assert_eq!(second.connected, [(false, protocol)]);
        assert!(second.resolved.is_empty());
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn simultaneous_requests_share_one_connection_where_the_protocol_can() {
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let requests: Vec<_> = (0..8)
            .map(|_| net.start(ask(&server, "/gate", protocols)))
            .collect();
        let at_once = match protocol {
            Protocol::Http1 => 6,
            Protocol::Http2 | Protocol::Http3 => 8,
        };
        let crowd = timeout(PATIENCE, server.seen.gate.crowd(at_once)).await;
        crowd.expect("as many as may arrive");
        server.seen.gate.permits.add_permits(8);
        for (handle, events) in requests {
            assert_eq!(finish(handle, events).await.code(), "ok");
        }
        let connections = match protocol {
            Protocol::Http1 => 6,
            Protocol::Http2 | Protocol::Http3 => 1,
        };
        assert_eq!(server.connections(), connections, "{protocol:?}");
        settles(&net, 0, connections).await;
    }
}

#[tokio::test]
async fn a_dropped_edge_is_connected_anew_and_its_requests_go_on() {
    for (mut server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let (handle, mut events) = net.start(ask(&server, "/endless", protocols));
        next_body(&mut events).await;
        net.drop_edge(&origin(&server));
        let fresh = fetch(&net, ask(&server, "/object", protocols)).await;
        assert_eq!(fresh.connected, [(true, protocol)]);
        next_body(&mut events).await;
        drop(handle);
        let gone = timeout(PATIENCE, server.gone.recv()).await;
        assert_eq!(gone.unwrap(), Some(()));
        settles(&net, 0, 1).await;
    }
}

#[tokio::test]
async fn a_connection_from_before_the_drop_is_not_kept_when_its_request_ends() {
    let server = serve(Setup::PLAIN).await;
    let net = net(&server);
    let (handle, events) = net.start(ask(&server, "/gate", Protocols::ALL));
    timeout(PATIENCE, server.seen.gate.crowd(1)).await.unwrap();
    net.drop_edge(&origin(&server));
    fetch(&net, ask(&server, "/object", Protocols::ALL)).await;
    settles(&net, 1, 2).await;
    server.seen.gate.permits.add_permits(1);
    assert_eq!(finish(handle, events).await.code(), "ok");
    settles(&net, 0, 1).await;
}

#[tokio::test]
async fn another_network_gets_new_connections_and_quic_moves_along() {
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let (handle, mut events) = net.start(ask(&server, "/endless", protocols));
        next_body(&mut events).await;
        let seen_from = || {
            let quic = server.seen.quic.lock().unwrap();
            quic.first().map(quinn::Connection::remote_address)
        };
        let before = seen_from();
        net.network_changed();
        let fresh = fetch(&net, ask(&server, "/object", protocols)).await;
        assert_eq!(fresh.connected, [(true, protocol)]);
        // More than the 8 MiB that may have been on the way when the network changed.
        let mut moved = 0;
        while moved < 12_000_000 {
            moved += next_body(&mut events).await;
        }
        if protocol == Protocol::Http3 {
            assert_ne!(seen_from(), before, "it left its old socket");
        }
        drop(handle);
    }
}

#[tokio::test]
async fn only_granted_addresses_are_reused() {
    let server = serve(Setup::PLAIN).await;
    let net = net(&server);
    fetch(&net, get(&server.url("/object"))).await;
    let mut elsewhere = get(&server.url("/object"));
    elsewhere.addresses = vec!["127.0.0.2".parse().unwrap()];
    let outcome = fetch(&net, elsewhere).await;
    // Nobody listens there; the kept connection to 127.0.0.1 is not taken for it.
    assert_eq!(outcome.code(), "net.connect_refused");
}

/// A server of HTTP/2 whose second stream on each connection is reset with `reason`.
async fn resetting(reason: h2::Reason) -> (Net, Raw) {
    let identity = identity(Certificate::Good);
    let mut tls = identity.tls;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let server = raw(move |_, socket| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(socket).await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut number = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                number += 1;
                if number == 2 {
                    respond.send_reset(reason);
                } else {
                    let answer = http::Response::new(());
                    respond.send_response(answer, true).unwrap();
                }
            }
        }
    })
    .await;
    let mut config = crate::client::offline();
    config.extra_root_ca_pem = vec![identity.ca_pem];
    (Net::new(config).unwrap(), server)
}

#[tokio::test]
async fn a_stream_that_is_reset_is_no_dead_connection() {
    let (net, server) = resetting(h2::Reason::INTERNAL_ERROR).await;
    let url = server.url().replace("http:", "https:");
    assert_eq!(fetch(&net, get(&url)).await.code(), "ok");
    let reset = fetch(&net, get(&url)).await;
    assert_eq!((reset.code(), reset.sent), ("net.reset", 1));
    let third = fetch(&net, get(&url)).await;
    assert_eq!(third.connected, [(false, Protocol::Http2)]);
    assert_eq!((third.code(), server.accepted()), ("ok", 1));
}

#[tokio::test]
async fn a_request_that_is_refused_unread_is_sent_on_another_connection() {
    let (net, server) = resetting(h2::Reason::REFUSED_STREAM).await;
    let url = server.url().replace("http:", "https:");
    assert_eq!(fetch(&net, get(&url)).await.code(), "ok");
    let second = fetch(&net, get(&url)).await;
    let protocol = Protocol::Http2;
    assert_eq!(second.connected, [(false, protocol), (true, protocol)]);
    assert_eq!((second.code(), server.accepted()), ("ok", 2));
}

#[tokio::test]
async fn what_was_kept_beside_a_dead_connection_is_not_tried() {
    let identity = identity(Certificate::Good);
    let mut tls = identity.tls;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    // The first of each protocol answers one request.
    let server = raw(move |number, socket| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(socket).await.unwrap();
            if stream.get_ref().1.alpn_protocol() == Some(b"http/1.1") {
                read_head(&mut stream).await;
                stream.write_all(KEPT).await.unwrap();
                read_head(&mut stream).await;
                return;
            }
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut answered = false;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if answered && number < 2 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    let answer = http::Response::new(());
                    respond.send_response(answer, true).unwrap();
                }
                answered = true;
            }
        }
    })
    .await;
    let mut config = crate::client::offline();
    config.extra_root_ca_pem = vec![identity.ca_pem];
    let net = Net::new(config).unwrap();
    let ask = |protocols| {
        let mut request = get(&server.url().replace("http:", "https:"));
        request.protocols = protocols;
        fetch(&net, request)
    };
    for protocol in [Protocol::Http1, Protocol::Http2] {
        assert_eq!(ask(Protocols::only(protocol)).await.code(), "ok");
    }
    settles(&net, 0, 2).await;
    let third = ask(Protocols::ALL).await;
    assert_eq!(third.code(), "ok", "{third:?}");
    let protocol = Protocol::Http2;
    assert_eq!(third.connected, [(false, protocol), (true, protocol)]);
}

#[tokio::test]
async fn idle_connections_are_closed_when_any_is_used() {
    let idle = [serve(Setup::PLAIN).await, serve(Setup::TLS2).await];
    let other = serve(Setup::PLAIN).await;
    let mut trusting = config(&idle[1]);
    trusting.dns = crate::client::offline().dns;
    let net = Net::new(trusting).unwrap();
    for server in &idle {
        let outcome = fetch(&net, ask(server, "/whole", Protocols::ALL)).await;
        assert_eq!(outcome.code(), "ok");
    }
    settles(&net, 0, 2).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(56)).await;
    tokio::time::resume();
    let outcome = fetch(&net, ask(&other, "/whole", Protocols::ALL)).await;
    assert_eq!(outcome.code(), "ok");
    settles(&net, 0, 1).await;
}

const KEPT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_that_died_while_kept_is_replaced_unnoticed() {
    let server = raw(|number, socket| async move {
        let mut socket = reply(socket, KEPT).await;
        read_head(&mut socket).await;
        if number > 0 {
            socket.write_all(KEPT).await.unwrap();
            read_head(&mut socket).await;
        }
    })
    .await;
    let net = Net::new(crate::client::offline()).unwrap();
    assert_eq!(fetch(&net, get(&server.url())).await.code(), "ok");
    let second = fetch(&net, get(&server.url())).await;
    assert_eq!(
        (second.code(), second.body.as_slice()),
        ("ok", b"ok".as_slice())
    );
    let protocol = Protocol::Http1;
    assert_eq!(second.connected, [(false, protocol), (true, protocol)]);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_dead_connection_is_replaced_once_only() {
    let server = raw(|number, socket| async move {
        if number == 0 {
            let mut socket = reply(socket, KEPT).await;
            read_head(&mut socket).await;
        } else {
            let mut socket = socket;
            read_head(&mut socket).await;
        }
    })
    .await;
    let net = Net::new(crate::client::offline()).unwrap();
    assert_eq!(fetch(&net, get(&server.url())).await.code(), "ok");
    let second = fetch(&net, get(&server.url())).await;
    assert_eq!(second.code(), "net.closed_early");
    assert_eq!(server.accepted(), 2);
    settles(&net, 0, 0).await;
}

#[tokio::test]
async fn a_server_that_closes_each_connection_is_served_by_new_ones() {
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let server = crate::raw::answering(*answer).await;
    let net = Net::new(crate::client::offline()).unwrap();
    for number in 1..=3 {
        assert_eq!(fetch(&net, get(&server.url())).await.code(), "ok");
        assert_eq!(server.accepted(), number);
        settles(&net, 0, 0).await;
    }
}

#[tokio::test]
async fn a_stalled_connection_does_not_take_the_slots_of_a_dropped_edge() {
    let server = serve(Setup::PLAIN).await;
    let net = net(&server);
    let mut stalled = Vec::new();
    for _ in 0..6 {
        let (handle, mut events) = net.start(ask(&server, "/silent", Protocols::ALL));
        next(&mut events, |event| {
            matches!(event, NetEvent::RequestSent).then_some(())
        })
        .await;
        stalled.push((handle, events));
    }
    let (_handle, mut waiting) = net.start(ask(&server, "/object", Protocols::ALL));
    let early = timeout(Duration::from_millis(50), waiting.recv()).await;
    assert!(early.is_err(), "a seventh waits");
    net.drop_edge(&origin(&server));
    assert_eq!(
        fetch(&net, ask(&server, "/object", Protocols::ALL))
            .await
            .code(),
        "ok"
    );
    drop(stalled);
    next_body(&mut waiting).await;
    assert!(server.seen.connections.load(Ordering::SeqCst) >= 7);
}
