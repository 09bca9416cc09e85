//! Every failure has its one name.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::join_all;
use nearcast_net::{
    CertificateProblem, ConnectStage, Net, NetConfig, NetError, Phase, Protocol, Protocols, Range,
    Request,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::certificates::Certificate;
use crate::client::{Outcome, config, fetch, get, net, offline, settles};
use crate::protocols::each_protocol;
use crate::raw::{answering, raw, read_head, reply};
use crate::server::{Setup, Udp, serve};

/// Fetches from a raw server and checks that nothing is left of a failed request.
async fn failing(url: &str) -> Outcome {
    let net = Net::new(offline()).unwrap();
    let outcome = fetch(&net, get(url)).await;
    settles(&net, 0, 0).await;
    outcome
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let peer = listener.local_addr().unwrap();
    drop(listener);
    let outcome = failing(&format!("http://localhost:{}/", peer.port())).await;
    assert_eq!(outcome.error(), &NetError::ConnectRefused { peer });
}

#[tokio::test]
async fn a_connection_that_quic_refuses_is_refused() {
    let server = serve(Setup {
        udp: Udp::Refuse,
        no_tcp: true,
        ..Setup::ALL
    })
    .await;
    let mut request = get(&server.url("/object"));
    request.protocols = Protocols::only(Protocol::Http3);
    let outcome = fetch(&net(&server), request).await;
    let peer = (Ipv4Addr::LOCALHOST, server.port).into();
    assert_eq!(outcome.error(), &NetError::ConnectRefused { peer });
}

#[tokio::test]
async fn a_reset_is_told_with_what_was_received() {
    let before = raw(|_, mut socket| async move {
        read_head(&mut socket).await;
        socket.set_zero_linger().unwrap();
    })
    .await;
    let outcome = failing(&before.url()).await;
    assert_eq!(outcome.code(), "net.reset", "{outcome:?}");
    assert!(outcome.headers.is_none());

    let (go, gone) = tokio::sync::watch::channel(());
    let amid = raw(move |_, socket| {
        let mut go = gone.clone();
        async move {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789";
            let socket = reply(socket, head).await;
            go.changed().await.unwrap();
            socket.set_zero_linger().unwrap();
        }
    })
    .await;
    let net = Net::new(offline()).unwrap();
    let (handle, mut events) = net.start(get(&amid.url()));
    crate::client::next_body(&mut events).await;
    go.send(()).unwrap();
    let outcome = crate::client::finish(handle, events).await;
    let received = 10;
    assert!(
        matches!(outcome.error(), NetError::Reset { received: r, .. } if *r == received),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_body_cut_short_is_truncated() {
    let truncated = NetError::Truncated {
        expected: 1000,
        received: 5,
    };
    let http1 = answering(*b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort").await;
    assert_eq!(failing(&http1.url()).await.error(), &truncated);
    for (server, protocol, protocols) in each_protocol().await {
        if protocol == Protocol::Http1 {
            continue; // this server would not send it
        }
        let mut request = get(&server.url("/short"));
        request.protocols = protocols;
        let outcome = fetch(&net(&server), request).await;
        assert_eq!(outcome.error(), &truncated, "{protocol:?}");
        assert_eq!(outcome.body, b"short");
    }
    let raw = answering(*b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-9/10\r\n\r\n01234").await;
    let mut request = get(&raw.url());
    request.range = Some(Range {
        first: 0,
        last: Some(9),
    });
    let outcome = fetch(&Net::new(offline()).unwrap(), request).await;
    assert_eq!(
        outcome.code(),
        "net.truncated",
        "the range tells the length too"
    );
}

#[tokio::test]
async fn an_end_without_a_length_is_known_by_its_framing() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let cut = answering(chunked).await;
    assert_eq!(failing(&cut.url()).await.code(), "net.closed_early");
    let whole = answering(format!("{chunked}0\r\n\r\n")).await;
    let outcome = failing(&whole.url()).await;
    assert_eq!(
        (outcome.code(), outcome.body.as_slice()),
        ("ok", b"hello".as_slice())
    );
    let nothing = answering(*b"").await;
    assert_eq!(failing(&nothing.url()).await.code(), "net.closed_early");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    let long_header = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(1000));
    let two_lengths = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd";
    for answer in [
        "\u{0}\u{1}garbage\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        two_lengths,
        &long_header,
        &many_headers,
    ] {
        let server = raw({
            let answer = answer.to_owned();
            move |_, mut socket| {
                let answer = answer.clone();
                async move {
                    read_head(&mut socket).await;
                    // The client may hang up before all is sent.
                    drop(socket.write_all(answer.as_bytes()).await);
                    read_head(&mut socket).await;
                }
            }
        })
        .await;
        let outcome = failing(&server.url()).await;
        assert_eq!(
            outcome.code(),
            "net.protocol",
            "{:.60}: {outcome:?}",
            answer
        );
    }
}

#[tokio::test]
async fn header_sections_are_limited_in_every_protocol() {
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let mut fits = get(&server.url("/headers/8000"));
        fits.protocols = protocols;
        assert_eq!(fetch(&net, fits).await.code(), "ok", "{protocol:?}");
        let mut huge = get(&server.url("/headers/200000"));
        huge.protocols = protocols;
        let outcome = fetch(&net, huge).await;
        assert!(outcome.headers.is_none());
        assert!(
            matches!(outcome.code(), "net.protocol" | "net.reset"),
            "{protocol:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_is_refused() {
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let ask = |path: &str, range: Option<Range>| {
            let mut request = get(&server.url(path));
            request.protocols = protocols;
            request.range = range;
            request
        };
        let part = Some(Range {
            first: 4,
            last: Some(8),
        });
        for (request, code) in [
            (ask("/wrong-range", part), "net.wrong_range"),
            (ask("/wrong-range", None), "net.wrong_range"),
            (ask("/gzip", None), "net.content_encoding"),
            (ask("/loop", None), "net.redirect_loop"),
            (ask("/redirect/5", None), "net.redirect_loop"),
        ] {
            let path = request.path_and_query.clone();
            let outcome = fetch(&net, request).await;
            assert_eq!(outcome.code(), code, "{protocol:?} {path}");
            assert!(outcome.headers.is_none() && outcome.body.is_empty());
        }
    }
}

#[tokio::test]
async fn a_redirect_never_leads_from_https_to_http() {
    let server = serve(Setup::TLS2).await;
    let outcome = fetch(&net(&server), get(&server.url("/downgrade"))).await;
    assert_eq!(outcome.code(), "net.redirect_refused");
}

#[tokio::test]
async fn certificates_that_prove_nothing_are_told_apart() {
    use CertificateProblem as P;
    for (certificate, trusted, problem) in [
        (Certificate::ForAnotherName, true, P::WrongName),
        (Certificate::Expired, true, P::Expired),
        (Certificate::Good, false, P::UnknownIssuer),
    ] {
        let server = serve(Setup {
            certificate,
            ..Setup::ALL
        })
        .await;
        let mut trust = if trusted { config(&server) } else { offline() };
        for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Http3] {
            let net = Net::new(trust.clone()).unwrap();
            let mut request = get(&server.url("/object"));
            request.protocols = Protocols::only(protocol);
            let outcome = fetch(&net, request).await;
            assert!(
                matches!(outcome.error(), NetError::TlsCertificate { problem: p, .. } if *p == problem),
                "{protocol:?}: {outcome:?}"
            );
            settles(&net, 0, 0).await;
        }
        // Racing does not hide it.
        let mut request = get(&server.url("/object"));
        request.protocols.h3_first = true;
        let outcome = fetch(&Net::new(trust.clone()).unwrap(), request).await;
        assert_eq!(outcome.code(), "net.tls_certificate");
        // And `insecure` takes any.
        trust.insecure = true;
        let outcome = fetch(&Net::new(trust).unwrap(), get(&server.url("/object"))).await;
        assert_eq!(outcome.code(), "ok");
    }
}

#[tokio::test]
async fn plain_text_where_tls_is_due_is_a_handshake_failure() {
    let server = raw(|_, mut socket| async move {
        drop(socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        read_head(&mut socket).await;
    })
    .await;
    let url = server.url().replace("http:", "https:");
    assert_eq!(failing(&url).await.code(), "net.tls_handshake");
    let closing = raw(|_, socket| async move { drop(socket) }).await;
    let url = closing.url().replace("http:", "https:");
    let code = failing(&url).await.code();
    // The system decides whether closing with unread bytes is a reset.
    assert!(matches!(code, "net.tls_handshake" | "net.reset"), "{code}");
}

#[tokio::test]
async fn a_server_without_http2_is_not_taken_for_one() {
    let server = serve(Setup::TLS1).await;
    let mut request = get(&server.url("/object"));
    request.protocols = Protocols::only(Protocol::Http2);
    let outcome = fetch(&net(&server), request).await;
    assert!(
        matches!(outcome.code(), "net.protocol" | "net.tls_handshake"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn silence_ends_at_the_backstop_of_its_phase() {
    // Long enough to come to that phase on a busy machine; all at once, because each takes as long.
    let impatient = |base: NetConfig| {
        Net::new(NetConfig {
            phase_limit: Duration::from_secs(2),
            ..base
        })
        .unwrap()
    };
    let stalled = |phase, received| NetError::Stalled { phase, received };

    let mute = raw(|_, mut socket| async move {
        read_head(&mut socket).await;
        read_head(&mut socket).await;
    })
    .await;
    let handshake = async {
        let net = impatient(offline());
        let tls = mute.url().replace("http:", "https:");
        let outcome = fetch(&net, get(&tls)).await;
        assert!(
            matches!(
                outcome.error(),
                NetError::ConnectTimeout {
                    stage: ConnectStage::Tls,
                    ..
                }
            ),
            "{outcome:?}"
        );
        settles(&net, 0, 0).await;
    };

    let answers = each_protocol().await.into_iter();
    let answers = answers.map(|(server, protocol, protocols)| async move {
        let net = impatient(config(&server));
        let mut request = get(&server.url("/silent"));
        request.protocols = protocols;
        let outcome = fetch(&net, request).await;
        assert_eq!(outcome.error(), &stalled(Phase::Headers, 0), "{protocol:?}");
    });

    let half = raw(|_, socket| async move {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n012";
        let mut socket = reply(socket, head).await;
        read_head(&mut socket).await;
    })
    .await;
    let body = async {
        let net = impatient(offline());
        let outcome = fetch(&net, get(&half.url())).await;
        assert_eq!(outcome.error(), &stalled(Phase::Body, 3));
        settles(&net, 0, 0).await;
    };
    tokio::join!(handshake, join_all(answers), body);
}

#[tokio::test]
async fn requests_that_cannot_be_sent_are_refused_before_any_connection() {
    let net = Net::new(offline()).unwrap();
    let plain = || get("http://127.0.0.1:1/");
    let mut header = plain();
    header.headers = vec![("a b".to_owned(), "c".to_owned())];
    let mut range = plain();
    range.range = Some(Range {
        first: 9,
        last: Some(8),
    });
    for request in [header, range] {
        let outcome = fetch(&net, request).await;
        assert_eq!(outcome.code(), "net.invalid_request");
        assert!(outcome.connected.is_empty());
    }
    let mut impossible: Request = plain();
    impossible.protocols = Protocols::only(Protocol::Http3);
    assert_eq!(fetch(&net, impossible).await.code(), "net.unsupported");
}
