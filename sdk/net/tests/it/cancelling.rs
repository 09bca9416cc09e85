//! Cancelling frees what a request holds.

use std::time::Duration;

use nearcast_net::{Net, NetConfig, NetError, NetEvent, Protocol};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::{PATIENCE, fetch, finish, get, net, next_body, settles};
use crate::protocols::each_protocol;
use crate::raw::{raw, read_head};
use crate::server::{Setup, serve};

#[tokio::test]
async fn dropping_the_handle_in_mid_body_reaches_the_server() {
    for (mut server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let mut request = get(&server.url("/endless"));
        request.protocols = protocols;
        let (handle, mut events) = net.start(request);
        next_body(&mut events).await;
        drop(handle);
        let gone = timeout(PATIENCE, server.gone.recv()).await;
        assert_eq!(gone.expect("the server sees it"), Some(()), "{protocol:?}");
        let kept = usize::from(protocol != Protocol::Http1);
        settles(&net, 0, kept).await;
        let mut last = None;
        while let Some(event) = events.recv().await {
            last = Some(event);
        }
        assert_eq!(last, Some(NetEvent::Ended(Err(NetError::Cancelled))));
    }
}

#[tokio::test]
async fn dropping_the_receiver_is_enough() {
    for (mut server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let mut request = get(&server.url("/endless"));
        request.protocols = protocols;
        let (_handle, mut events) = net.start(request);
        next_body(&mut events).await;
        drop(events);
        let gone = timeout(PATIENCE, server.gone.recv()).await;
        assert_eq!(gone.expect("the server sees it"), Some(()));

        let mut silent = get(&server.url("/silent"));
        silent.protocols = protocols;
        let (_handle, mut events) = net.start(silent);
        crate::client::next(&mut events, |event| {
            matches!(event, NetEvent::RequestSent).then_some(())
        })
        .await;
        drop(events);
        let kept = usize::from(protocol != Protocol::Http1);
        settles(&net, 0, kept).await;
    }
}

#[tokio::test]
async fn a_request_without_an_answer_is_cancelled_and_others_go_on() {
    for (server, protocol, protocols) in each_protocol().await {
        let net = net(&server);
        let ask = |path: &str| {
            let mut request = get(&server.url(path));
            request.protocols = protocols;
            request
        };
        let (beside, gate) = net.start(ask("/gate"));
        let crowd = timeout(PATIENCE, server.seen.gate.crowd(1)).await;
        crowd.expect("the other request arrives");
        let (handle, mut events) = net.start(ask("/silent"));
        crate::client::next(&mut events, |event| {
            matches!(event, NetEvent::RequestSent).then_some(())
        })
        .await;
        handle.cancel();
        let end = events.recv().await;
        assert_eq!(end, Some(NetEvent::Ended(Err(NetError::Cancelled))));
        assert_eq!(net.open().requests, 1);
        server.seen.gate.permits.add_permits(1);
        let passed = finish(beside, gate).await;
        assert_eq!(passed.code(), "ok", "{protocol:?}");
        assert_eq!(passed.body, b"passed");
        let shared = usize::from(protocol == Protocol::Http1) + 1;
        assert_eq!(server.connections(), shared, "{protocol:?}");
        let other = fetch(&net, ask("/object")).await;
        assert_eq!(other.connected, [(false, protocol)]);
        settles(&net, 0, 1).await;
    }
}

#[tokio::test]
async fn a_connection_in_the_making_is_given_up() {
    let (closed, mut seen) = mpsc::unbounded_channel();
    let server = raw(move |_, mut socket| {
        let closed = closed.clone();
        async move {
            // Takes the connection, reads what comes, says nothing: no TLS will ever be.
            read_head(&mut socket).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let net = Net::new(NetConfig::default()).unwrap();
    let url = server.url().replace("http:", "https:");
    let (handle, events) = net.start(get(&url));
    let open = async {
        while server.accepted() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, open)
        .await
        .expect("the server is reached");
    assert_eq!(net.open().connections, 1);
    drop(handle);
    timeout(PATIENCE, seen.recv()).await.expect("it is closed");
    settles(&net, 0, 0).await;
    drop(events);
}

#[tokio::test]
async fn close_ends_everything_and_what_comes_later() {
    for (server, _, protocols) in each_protocol().await {
        let net = net(&server);
        let ask = || {
            let mut request = get(&server.url("/endless"));
            request.protocols = protocols;
            request
        };
        let (handle, mut events) = net.start(ask());
        next_body(&mut events).await;
        timeout(PATIENCE, net.close()).await.expect("close ends");
        settles(&net, 0, 0).await;
        assert_eq!(finish(handle, events).await.code(), "net.cancelled");
        assert_eq!(fetch(&net, ask()).await.code(), "net.cancelled");
    }
}

#[tokio::test]
async fn dropping_the_net_closes_kept_connections() {
    let (closed, mut seen) = mpsc::unbounded_channel();
    let server = raw(move |_, socket| {
        let closed = closed.clone();
        async move {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            let mut socket = crate::raw::reply(socket, answer).await;
            let next = read_head(&mut socket).await;
            closed.send(next).unwrap();
        }
    })
    .await;
    let net = Net::new(NetConfig::default()).unwrap();
    assert_eq!(fetch(&net, get(&server.url())).await.code(), "ok");
    assert_eq!(net.open().connections, 1);
    drop(net);
    let next = timeout(PATIENCE, seen.recv()).await.expect("it is closed");
    assert_eq!(next.as_deref(), Some(""));
}

#[tokio::test]
async fn a_finished_request_is_not_harmed_by_its_handle() {
    let server = serve(Setup::PLAIN).await;
    let net = net(&server);
    for _ in 0..20 {
        let outcome = fetch(&net, get(&server.url("/whole"))).await;
        assert_eq!(outcome.code(), "ok");
    }
    assert_eq!(server.connections(), 1);
    settles(&net, 0, 1).await;
    timeout(Duration::from_secs(5), net.close()).await.unwrap();
}
