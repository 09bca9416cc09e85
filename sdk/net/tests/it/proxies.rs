//! Through an HTTP proxy.

use std::sync::{Arc, Mutex};

use nearcast_net::{Net, Protocol, Protocols, ProxyConfig};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use crate::client::{config, fetch, get, settles};
use crate::raw::{Raw, answering, raw, read_head};
use crate::server::{Server, Setup, serve};

/// A proxy that connects every tunnel to the loopback, and what it was asked.
async fn tunnelling() -> (Raw, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let proxy = raw(move |_, mut socket| {
        let log = log.clone();
        async move {
            let head = read_head(&mut socket).await;
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let port: u16 = target.rsplit_once(':').unwrap().1.parse().unwrap();
            log.lock().unwrap().push(head);
            let mut edge = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            socket
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await
                .unwrap();
            drop(copy_bidirectional(&mut socket, &mut edge).await);
        }
    })
    .await;
    (proxy, asked)
}

fn through(proxy: &Raw, server: &Server) -> Net {
    let mut config = config(server);
    config.proxy = Some(ProxyConfig {
        host: "localhost".to_owned(),
        port: proxy.port,
        authorization: Some("Basic dTpw".to_owned()),
    });
    Net::new(config).unwrap()
}

#[tokio::test]
async fn requests_go_through_the_tunnel_with_the_edges_name() {
    for (setup, protocol) in [
        (Setup::PLAIN, Protocol::Http1),
        (Setup::ALL, Protocol::Http2),
    ] {
        let server = serve(setup).await;
        let (proxy, asked) = tunnelling().await;
        let net = through(&proxy, &server);
        let mut request = get(&server.url("/object"));
        request.protocols.h3_first = true;
        let again = request.clone();
        let outcome = fetch(&net, request).await;
        assert_eq!(outcome.code(), "ok", "{outcome:?}");
        assert_eq!(outcome.connected, [(true, protocol)]);
        assert_eq!(fetch(&net, again).await.connected, [(false, protocol)]);
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 1);
        let line = format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port);
        assert!(asked[0].starts_with(&line), "{asked:?}");
        assert!(asked[0].contains("Proxy-Authorization: Basic dTpw\r\n"));
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_let_us_through_is_named() {
    let server = serve(Setup::ALL).await;
    let endless = "x".repeat(100_000);
    for answer in [
        "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\n\r\n",
        "nonsense\r\n\r\n",
        "",
        &endless,
    ] {
        let proxy = answering(answer).await;
        let net = through(&proxy, &server);
        let outcome = fetch(&net, get(&server.url("/object"))).await;
        assert_eq!(outcome.code(), "net.proxy", "{answer:.40}");
        assert!(outcome.error().to_string().contains("localhost"));
        settles(&net, 0, 0).await;
    }
    let proxy = answering("").await;
    let net = through(&proxy, &server);
    let mut only = get(&server.url("/object"));
    only.protocols = Protocols::only(Protocol::Http3);
    assert_eq!(fetch(&net, only).await.code(), "net.unsupported");
    drop(proxy);
    let refused = fetch(&net, get(&server.url("/object"))).await;
    assert_eq!(refused.code(), "net.proxy");
}
