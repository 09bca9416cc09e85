//! What every protocol promises alike.

use std::net::IpAddr;
use std::time::Duration;

use nearcast_net::{NetEvent, Protocol, Protocols, Purpose, Range, Request};

use crate::client::{fetch, get, net, next_body};
use crate::server::{OBJECT_BYTES, Server, Setup, object, serve};

/// A server for each way of speaking, and the protocols to ask with.
pub(crate) async fn each_protocol() -> Vec<(Server, Protocol, Protocols)> {
    let only = Protocols::only;
    vec![
        (serve(Setup::PLAIN).await, Protocol::Http1, Protocols::ALL),
        (serve(Setup::TLS1).await, Protocol::Http1, Protocols::ALL),
        (
            serve(Setup::TLS2).await,
            Protocol::Http1,
            only(Protocol::Http1),
        ),
        (serve(Setup::TLS2).await, Protocol::Http2, Protocols::ALL),
        (
            serve(Setup::ALL).await,
            Protocol::Http3,
            only(Protocol::Http3),
        ),
    ]
}

fn ask(server: &Server, path: &str, protocols: Protocols) -> Request {
    let mut request = get(&server.url(path));
    request.protocols = protocols;
    request
}

#[tokio::test]
async fn a_range_comes_whole_in_pieces_with_its_headers() {
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let mut request = ask(&server, "/object", protocols);
        request.range = Some(Range {
            first: 1000,
            last: Some(500_999),
        });
        let outcome = fetch(&net, request).await;
        assert_eq!(outcome.code(), "ok", "{protocol:?}: {outcome:?}");
        assert_eq!(outcome.connected, [(true, protocol)]);
        assert_eq!(
            (outcome.resolved.as_slice(), outcome.sent),
            ([true].as_slice(), 1)
        );
        let headers = outcome.headers();
        assert_eq!((headers.status, headers.protocol), (206, protocol));
        assert_eq!(headers.total, Some(OBJECT_BYTES as u64));
        assert_eq!(headers.content_length, Some(500_000));
        assert_eq!(headers.content_type.as_deref(), Some("video/mp4"));
        assert!(outcome.body == object()[1000..=500_999]);
        assert!(outcome.pieces > 1, "progress is seen");
    }
}

#[tokio::test]
async fn a_whole_object_and_an_open_range_come_whole() {
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let whole = fetch(&net, ask(&server, "/object", protocols)).await;
        assert!(whole.body == object(), "{protocol:?}");
        assert_eq!(whole.headers().total, Some(OBJECT_BYTES as u64));
        let mut request = ask(&server, "/object", protocols);
        request.range = Some(Range {
            first: 999_990,
            last: None,
        });
        let tail = fetch(&net, request).await;
        assert!(tail.body == object()[999_990..]);
        assert_eq!(
            tail.connected,
            [(false, protocol)],
            "the connection was kept"
        );
    }
}

#[tokio::test]
async fn a_status_is_no_failure() {
    for (server, _, protocols) in each_protocol().await {
        let outcome = fetch(&net(&server), ask(&server, "/busy", protocols)).await;
        assert_eq!((outcome.code(), outcome.headers().status), ("ok", 503));
        assert_eq!(outcome.headers().retry_after, Some(Duration::from_secs(7)));
        assert_eq!(outcome.body, b"later");
        let empty = fetch(&net(&server), ask(&server, "/empty", protocols)).await;
        assert_eq!((empty.code(), empty.pieces), ("ok", 0));
    }
}

#[tokio::test]
async fn the_server_sees_what_was_asked() {
    for (server, protocol, protocols) in each_protocol().await {
        let mut config = crate::client::config(&server);
        config.user_agent = "tester/1".to_owned();
        config.header = vec![("X-All".to_owned(), "a".to_owned())];
        let net = nearcast_net::Net::new(config).unwrap();
        let mut request = ask(&server, "/object?token=secret", protocols);
        request.headers = vec![("CMCD-Session".to_owned(), "sid=\"x\"".to_owned())];
        request.purpose = Purpose::Control;
        request.range = Some(Range {
            first: 5,
            last: Some(5),
        });
        assert_eq!(fetch(&net, request).await.code(), "ok");
        let requests = server.seen.requests.lock().unwrap();
        let (version, headers) = &requests[0];
        let expected = match protocol {
            Protocol::Http1 => http::Version::HTTP_11,
            Protocol::Http2 => http::Version::HTTP_2,
            Protocol::Http3 => http::Version::HTTP_3,
        };
        assert_eq!(*version, expected);
        for (name, value) in [
            ("user-agent", "tester/1"),
            ("x-all", "a"),
            ("cmcd-session", "sid=\"x\""),
            ("range", "bytes=5-5"),
            ("accept-encoding", "identity"),
            ("priority", "u=1"),
        ] {
            assert_eq!(headers[name], value, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_range_answered_with_the_whole_is_told_as_such() {
    for (server, _, protocols) in each_protocol().await {
        let mut request = ask(&server, "/whole", protocols);
        request.range = Some(Range {
            first: 2,
            last: Some(3),
        });
        let outcome = fetch(&net(&server), request).await;
        assert_eq!((outcome.code(), outcome.headers().status), ("ok", 200));
        assert_eq!(outcome.headers().content_range, None);
        assert_eq!(outcome.body, b"0123456789");
    }
}

#[tokio::test]
async fn redirects_are_followed_and_the_answering_url_is_told() {
    for (server, _, protocols) in each_protocol().await {
        let outcome = fetch(&net(&server), ask(&server, "/redirect/4", protocols)).await;
        assert_eq!(outcome.code(), "ok");
        assert!(outcome.body == object());
        let answering = server.url("/object");
        assert_eq!(outcome.headers().redirected_to.as_ref(), Some(&answering));
        let cold = outcome.connected.iter().filter(|(cold, _)| *cold).count();
        assert_eq!(cold, 1, "{:?}", outcome.connected);
    }
}

#[tokio::test]
async fn a_slow_reader_slows_the_sender() {
    /// Windows, socket buffers and what a server makes ahead.
    const AHEAD_MAX: u64 = 40_000_000;
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let (handle, mut events) = net.start(ask(&server, "/endless", protocols));
        next_body(&mut events).await;
        let made = || server.seen.made.load(std::sync::atomic::Ordering::SeqCst);
        // Nothing is read meanwhile: a sender that nobody slows makes far more than this in that time.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(made() < AHEAD_MAX, "{protocol:?}: {} bytes", made());
        for _ in 0..50 {
            next_body(&mut events).await;
        }
        drop(handle);
    }
}

#[tokio::test]
async fn the_peer_and_the_round_trip_are_told() {
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let (_handle, mut events) = net.start(ask(&server, "/empty", protocols));
        let resolved = events.recv().await;
        let addresses: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap()];
        let from_cache = true;
        assert_eq!(
            resolved,
            Some(NetEvent::Resolved {
                addresses,
                from_cache
            })
        );
        let Some(NetEvent::Connected {
            cold,
            protocol: spoken,
            rtt,
            peer,
        }) = events.recv().await
        else {
            panic!("no connection");
        };
        assert_eq!((cold, spoken, peer.port()), (true, protocol, server.port));
        assert!(rtt.is_some());
        assert_eq!(events.recv().await, Some(NetEvent::RequestSent));
    }
}
