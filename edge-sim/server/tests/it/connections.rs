//! Faults of connections: they hit whoever comes, and leave alone who is there.

use std::io::ErrorKind;
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultOrder, FaultRule, TlsProblem};
use nearcast_edge_server::FaultError;
use tokio::net::TcpStream;

use crate::client::{ALL, Client, Fail, Protocol};
use crate::fixture::{Fixture, SILENCE, edge, edge_with, never, segment, soon};

const SEGMENT: &str = "/demo/segment.m4s";

fn named(id: &str, fault: Fault) -> FaultRule {
    FaultRule {
        id: Some(id.to_owned()),
        ..FaultRule::everywhere(fault)
    }
}

fn once(fault: Fault) -> FaultRule {
    let mut rule = named("f", fault);
    rule.on.count = Some(1);
    rule
}

async fn remove(edge: &Fixture, id: &str) {
    let order = FaultOrder {
        remove: vec![id.to_owned()],
        ..FaultOrder::default()
    };
    edge.edge.apply(order).await.unwrap();
}

async fn assert_serves(edge: &Fixture, protocol: Protocol) {
    let mut client = edge.connect(protocol).await;
    let answer = soon(client.get(SEGMENT)).await.unwrap();
    assert!(answer.body == segment(), "{protocol:?}");
}

/// Tries to connect, and returns how that failed.
async fn fails(edge: &Fixture, protocol: Protocol) -> Fail {
    match soon(edge.try_connect(protocol)).await {
        Ok(_) => panic!("{protocol:?}: it is connected"),
        Err(fail) => fail,
    }
}

/// Asserts how many receipts there are, and that all are of this rule and fault.
fn assert_receipts(edge: &Fixture, count: usize, fault: &Fault) {
    let receipts = edge.edge.receipts();
    assert_eq!(receipts.len(), count, "{receipts:?}");
    for receipt in receipts {
        assert_eq!((receipt.id.as_deref(), &receipt.fault), (Some("f"), fault));
        assert_eq!((receipt.path, receipt.offset), (None, None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_refuses_leaves_alone_who_is_connected() {
    let edge = edge_with(|config| config.plain = Some("127.0.0.1:0".parse().unwrap())).await;
    let mut standing = Vec::new();
    for protocol in ALL {
        standing.push((protocol, edge.connect(protocol).await));
    }
    edge.rule(named("f", Fault::Refuse)).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let fail = fails(&edge, protocol).await;
        assert_eq!(fail.kind, Some(ErrorKind::ConnectionRefused), "{fail}");
    }
    let plain = edge.edge.plain_url().unwrap().trim_end_matches('/');
    let refused = soon(TcpStream::connect(&plain[7..])).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // What the system refuses nobody counts: one receipt stands for all of it.
    assert_receipts(&edge, 1, &Fault::Refuse);
    for attempt in 0..2 {
        let fail = fails(&edge, Protocol::H3).await;
        assert!(fail.text.contains("refused"), "{fail}");
        assert_receipts(&edge, 2 + attempt, &Fault::Refuse);
    }
    for (protocol, client) in &mut standing {
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert!(answer.body == segment(), "{protocol:?}");
    }
    remove(&edge, "f").await;
    for protocol in ALL {
        assert_serves(&edge, protocol).await;
    }
    assert_eq!(edge.edge.receipts().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_of_many_is_refused() {
    for protocol in ALL {
        let edge = edge().await;
        edge.rule(once(Fault::Refuse)).await;
        let fail = fails(&edge, protocol).await;
        if protocol == Protocol::H3 {
            assert!(fail.text.contains("refused"), "{fail}");
        } else {
            // The system had taken it before anybody could say no.
            assert_eq!(fail.kind, Some(ErrorKind::ConnectionReset), "{fail}");
        }
        assert_receipts(&edge, 1, &Fault::Refuse);
        assert_serves(&edge, protocol).await;
        assert_receipts(&edge, 1, &Fault::Refuse);
    }
}

/// A client that gives QUIC up soon.
async fn try_quic(edge: &Fixture) -> Result<Client, Fail> {
    let (base, ca) = (edge.edge.base_url(), edge.edge.ca_pem());
    Client::connect_until(Protocol::H3, base, ca, Duration::from_secs(2)).await
}

fn timed_out(fail: &Fail) -> bool {
    fail.text.contains("TimedOut") || fail.text.contains("timed out")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_datagram_passes_until_the_fault_is_removed() {
    let edge = edge().await;
    let mut client = edge.connect(Protocol::H3).await;
    edge.rule(named("f", Fault::UdpBlocked)).await;
    // Neither of those that stand nor of new ones.
    never(client.get(SEGMENT), "a datagram passed").await;
    assert_receipts(&edge, 0, &Fault::UdpBlocked);
    for attempts in 1..=2 {
        let fail = soon(try_quic(&edge)).await.err().unwrap();
        assert!(timed_out(&fail), "{fail}");
        // However often a client repeats itself, it has tried once.
        assert_receipts(&edge, attempts, &Fault::UdpBlocked);
    }
    assert_serves(&edge, Protocol::H2).await;
    assert_receipts(&edge, 2, &Fault::UdpBlocked);
    remove(&edge, "f").await;
    let answer = soon(client.get(SEGMENT)).await.unwrap();
    assert!(answer.body == segment(), "who waits is served");
    assert_serves(&edge, Protocol::H3).await;
    assert_receipts(&edge, 2, &Fault::UdpBlocked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_attempt_over_quic_gets_no_answer_and_the_next_one_does() {
    let edge = edge().await;
    let mut standing = edge.connect(Protocol::H3).await;
    edge.rule(once(Fault::UdpBlocked)).await;
    // Over TCP it cannot happen.
    assert_serves(&edge, Protocol::H2).await;
    let fail = soon(try_quic(&edge)).await.err().unwrap();
    assert!(timed_out(&fail), "{fail}");
    assert_receipts(&edge, 1, &Fault::UdpBlocked);
    assert_serves(&edge, Protocol::H3).await;
    assert_eq!(soon(standing.get(SEGMENT)).await.unwrap().status, 200);
    assert_receipts(&edge, 1, &Fault::UdpBlocked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_bad_in_the_way_that_was_ordered() {
    for (problem, says) in [
        (TlsProblem::Expired, "certificate expired"),
        (TlsProblem::WrongName, "not valid for name"),
    ] {
        let fault = Fault::Tls { problem };
        let edge = edge().await;
        let mut standing = edge.connect(Protocol::H2).await;
        edge.rule(named("f", fault.clone())).await;
        for (attempts, protocol) in (1..).zip(ALL) {
            let fail = fails(&edge, protocol).await;
            assert!(fail.text.contains(says), "{protocol:?}: {fail}");
            assert_receipts(&edge, attempts, &fault);
        }
        // Who is connected has seen another one.
        assert_eq!(soon(standing.get(SEGMENT)).await.unwrap().status, 200);
        remove(&edge, "f").await;
        for protocol in ALL {
            assert_serves(&edge, protocol).await;
        }
        assert_receipts(&edge, ALL.len(), &fault);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_stalls_for_as_long_as_the_client_waits() {
    let fault = Fault::Tls {
        problem: TlsProblem::Stall,
    };
    for protocol in ALL {
        let edge = edge().await;
        edge.rule(once(fault.clone())).await;
        let stalled = edge.try_connect(protocol);
        let mut stalled = std::pin::pin!(stalled);
        let early = tokio::time::timeout(SILENCE, stalled.as_mut()).await;
        assert!(early.is_err(), "{protocol:?} is answered");
        assert_receipts(&edge, 1, &fault);
        // Only that one, and it does not go on when the fault does.
        assert_serves(&edge, protocol).await;
        remove(&edge, "f").await;
        let late = tokio::time::timeout(SILENCE, stalled.as_mut()).await;
        assert!(late.is_err(), "{protocol:?} is answered");
        assert_receipts(&edge, 1, &fault);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_handshake_has_no_problem_with_it() {
    let edge = edge_with(|config| config.plain = Some("127.0.0.1:0".parse().unwrap())).await;
    edge.fault(Fault::Tls {
        problem: TlsProblem::Expired,
    })
    .await;
    let plain = edge.edge.plain_url().unwrap();
    let mut client = soon(Client::connect(Protocol::Http1, plain, ""))
        .await
        .unwrap();
    assert!(soon(client.get(SEGMENT)).await.unwrap().body == segment());
    assert!(edge.edge.receipts().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_an_edge_cannot_carry_out_say_who_can() {
    let edge = edge().await;
    let of = |text: &str| serde_json::from_str::<FaultRule>(text).unwrap();
    for (rule, says) in [
        (
            r#"{"fault":{"kind":"dns","problem":"fails"}}"#,
            "for the lab",
        ),
        (r#"{"fault":{"kind":"misrank"}}"#, "to the backend"),
        (
            r#"{"fault":{"kind":"refuse"},"on":{"client":"p1"}}"#,
            "`refuse` takes only `count`",
        ),
        (
            r#"{"fault":{"kind":"udp_blocked"},"on":{"object":"media"}}"#,
            "before anybody says",
        ),
    ] {
        let order = FaultOrder::add([FaultRule::everywhere(Fault::Refuse), of(rule)]);
        let refused = edge.edge.apply(order).await.unwrap_err();
        let FaultError::Order { reason } = &refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains(says), "{reason}");
        // Nothing of it was done.
        assert_serves(&edge, Protocol::H2).await;
    }
    let good = of(r#"{"fault":{"kind":"refuse"},"on":{"count":1,"probability":0}}"#);
    edge.edge.apply(FaultOrder::add([good])).await.unwrap();
    assert_serves(&edge, Protocol::H2).await;
}
