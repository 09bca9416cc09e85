//! The crate as a test uses it.

use std::net::Ipv4Addr;
use std::time::Duration;

use nearcast_net::{
    DnsConfig, Headers, Net, NetConfig, NetError, NetEvent, OpenCounts, Protocol, Request,
    RequestHandle,
};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::server::Server;

/// Longer than anything here takes on the slowest machine: a wait that ends by it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration that trusts `server`, and that no name server helps.
pub(crate) fn config(server: &Server) -> NetConfig {
    NetConfig {
        extra_root_ca_pem: vec![server.ca_pem.clone()],
        ..offline()
    }
}

/// A configuration whose name server does not exist.
pub(crate) fn offline() -> NetConfig {
    NetConfig {
        dns: DnsConfig {
            nameservers: vec!["127.0.0.1:1".parse().unwrap()],
            ..DnsConfig::default()
        },
        ..NetConfig::default()
    }
}

pub(crate) fn net(server: &Server) -> Net {
    Net::new(config(server)).unwrap()
}

/// A request with the address a play grant would give.
pub(crate) fn get(url: &str) -> Request {
    let mut request = Request::get(url).unwrap();
    request.addresses = vec![Ipv4Addr::LOCALHOST.into()];
    request
}

/// All that was told about a request.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) resolved: Vec<bool>,
    /// Cold, and the protocol.
    pub(crate) connected: Vec<(bool, Protocol)>,
    pub(crate) sent: usize,
    pub(crate) headers: Option<Headers>,
    pub(crate) body: Vec<u8>,
    pub(crate) pieces: usize,
    pub(crate) end: Option<Result<(), NetError>>,
}

impl Outcome {
    pub(crate) fn headers(&self) -> &Headers {
        self.headers.as_ref().expect("the answer has begun")
    }

    pub(crate) fn code(&self) -> &'static str {
        match &self.end {
            Some(Ok(())) => "ok",
            Some(Err(error)) => error.code(),
            None => "no end",
        }
    }

    pub(crate) fn error(&self) -> &NetError {
        match &self.end {
            Some(Err(error)) => error,
            Some(Ok(())) | None => panic!("no error: {self:?}"),
        }
    }
}

/// Sends a request and takes all it tells.
pub(crate) async fn fetch(net: &Net, request: Request) -> Outcome {
    let (handle, events) = net.start(request);
    finish(handle, events).await
}

pub(crate) async fn finish(handle: RequestHandle, mut events: Receiver<NetEvent>) -> Outcome {
    let mut outcome = Outcome::default();
    let all = async {
        while let Some(event) = events.recv().await {
            assert_eq!(outcome.end, None, "an event after the end");
            match event {
                NetEvent::Resolved { from_cache, .. } => outcome.resolved.push(from_cache),
                NetEvent::Connected { cold, protocol, .. } => {
                    outcome.connected.push((cold, protocol));
                }
                NetEvent::RequestSent => outcome.sent += 1,
                NetEvent::Headers(headers) => outcome.headers = Some(*headers),
                NetEvent::Body(pieces) => {
                    assert!(!pieces.is_empty());
                    outcome.pieces += 1;
                    let before = outcome.body.len();
                    let length = pieces.len();
                    for piece in pieces {
                        assert!(!piece.is_empty());
                        outcome.body.extend_from_slice(&piece);
                    }
                    assert_eq!(outcome.body.len(), before + length);
                }
                NetEvent::Ended(result) => outcome.end = Some(result),
            }
        }
    };
    timeout(PATIENCE, all).await.expect("the request ends");
    assert!(outcome.end.is_some(), "the end is told");
    drop(handle);
    outcome
}

/// Waits for the next event that `wanted` accepts.
pub(crate) async fn next<T>(
    events: &mut Receiver<NetEvent>,
    wanted: impl Fn(NetEvent) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let event = events.recv().await.expect("an event before the end");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("the event comes")
}

pub(crate) async fn next_body(events: &mut Receiver<NetEvent>) -> usize {
    next(events, |event| match event {
        NetEvent::Body(bytes) => Some(bytes.len()),
        NetEvent::Ended(end) => panic!("ended: {end:?}"),
        NetEvent::Resolved { .. }
        | NetEvent::Connected { .. }
        | NetEvent::RequestSent
        | NetEvent::Headers(_) => None,
    })
    .await
}

/// Waits until this much is open, and nothing more.
pub(crate) async fn settles(net: &Net, requests: usize, connections: usize) {
    let wanted = OpenCounts {
        requests,
        connections,
    };
    let settled = async {
        while net.open() != wanted {
            tokio::task::yield_now().await;
        }
    };
    let in_time = timeout(PATIENCE, settled).await;
    assert!(in_time.is_ok(), "{:?} is open, not {wanted:?}", net.open());
}
