//! Answers and bodies that are wrong in their own way, over each protocol.

use std::sync::Arc;
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultOrder, FaultReceipt, FaultRule, ObjectKind};
use nearcast_units::Ratio;
use tokio::net::UdpSocket;

use crate::client::{ALL, Client, Protocol, Whole};
use crate::fixture::{self, Fixture, SILENCE, after, edge, half, segment, soon};

const SEGMENT: &str = "/demo/segment.m4s";

fn named(id: &str, mut rule: FaultRule) -> FaultRule {
    rule.id = Some(id.to_owned());
    rule
}

fn remove(id: &str) -> FaultOrder {
    FaultOrder {
        remove: vec![id.to_owned()],
        ..FaultOrder::default()
    }
}

/// An edge with this fault under a name, and a client for each protocol.
async fn faulty(fault: Fault) -> (Fixture, [(Protocol, Client); 3]) {
    let edge = edge().await;
    edge.rule(named("f", FaultRule::everywhere(fault))).await;
    let clients = [
        (ALL[0], edge.connect(ALL[0]).await),
        (ALL[1], edge.connect(ALL[1]).await),
        (ALL[2], edge.connect(ALL[2]).await),
    ];
    (edge, clients)
}

/// Asserts that there is one receipt for each protocol, of this name, and returns the last.
fn one_receipt_each(edge: &Fixture) -> FaultReceipt {
    let receipts = edge.edge.receipts();
    assert_eq!(receipts.len(), ALL.len(), "{receipts:?}");
    for receipt in &receipts {
        assert_eq!(receipt.id.as_deref(), Some("f"));
        assert_eq!(receipt.path.as_deref(), Some("demo/segment.m4s"));
    }
    receipts.last().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_called_old_however_good_it_is() {
    let (edge, clients) = faulty(Fault::TokenExpired).await;
    for (protocol, mut client) in clients {
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert_eq!(answer.status, 403, "{protocol:?}");
        assert_eq!(answer.code(), "token_expired");
    }
    one_receipt_each(&edge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_answers_well_with_its_own_page_whatever_was_asked() {
    let (edge, clients) = faulty(Fault::Portal).await;
    for (protocol, mut client) in clients {
        let part = [("range", "bytes=1000-1999")];
        let answer = soon(client.fetch("GET", SEGMENT, &part)).await.unwrap();
        assert_eq!(answer.status, 200, "{protocol:?}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert!(answer.body.starts_with(b"<!doctype html>"));
        let length = answer.body.len().to_string();
        assert_eq!(answer.header("content-length"), length);
        // Nothing of it says whose it is.
        assert_eq!(
            (answer.header("etag"), answer.header("repr-digest")),
            ("", "")
        );
    }
    one_receipt_each(&edge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_leads_back_to_where_it_came_from_without_end() {
    for protocol in ALL {
        let edge = edge().await;
        let mut rule = named("f", FaultRule::everywhere(Fault::RedirectLoop));
        // Once: who follows is in the loop all the same.
        rule.on.count = Some(1);
        edge.rule(rule).await;
        let mut client = edge.connect(protocol).await;
        let mut at = String::from("/demo/segment.m4s?pb=p%201&CMCD=bl%3D1");
        for hop in 0..10 {
            let answer = soon(client.get(&at)).await.unwrap();
            assert_eq!(answer.status, 302, "{protocol:?}, hop {hop}");
            assert!(answer.body.is_empty());
            let next = answer.header("location");
            // What the token needs is still there.
            assert!(next.starts_with("/demo/segment.m4s?pb=p%201&"), "{next}");
            at = next.to_owned();
        }
        // One request was to go wrong, and did.
        assert_eq!(edge.edge.receipts().len(), 1);
        assert!(soon(client.get(SEGMENT)).await.unwrap().body == segment());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_range_comes_than_was_asked_for() {
    let (edge, clients) = faulty(Fault::WrongRange).await;
    for (protocol, mut client) in clients {
        let part = [("range", "bytes=1000-1999")];
        let answer = soon(client.fetch("GET", SEGMENT, &part)).await.unwrap();
        assert_eq!(answer.status, 206, "{protocol:?}");
        let range = answer.header("content-range");
        assert!(range.starts_with("bytes 1001-2000/"), "{range}");
        assert_eq!(answer.body.len(), 1000);
        assert!(answer.fail.is_none(), "{protocol:?}: {:?}", answer.fail);
    }
    one_receipt_each(&edge);
    // Who asked for the whole gets a part, too; what is not there has no parts.
    let mut client = edge.connect(Protocol::H2).await;
    let whole = soon(client.get(SEGMENT)).await.unwrap();
    assert_eq!(whole.status, 206);
    assert_eq!(whole.header("content-range"), "bytes 1-300000/300001");
    assert_eq!(soon(client.get("/nothing")).await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_answer_says_that_it_becomes_a_large_one() {
    let (edge, clients) = faulty(Fault::GzipBomb).await;
    for (protocol, mut client) in clients {
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert_eq!(answer.status, 200, "{protocol:?}");
        assert_eq!(answer.header("content-encoding"), "gzip");
        assert!(answer.body.len() < 64 * 1024, "{}", answer.body.len());
        let mut unpacked = flate2::read::GzDecoder::new(&answer.body[..]);
        let size = std::io::copy(&mut unpacked, &mut std::io::sink()).unwrap();
        assert!(size >= 16 << 20, "{size}");
    }
    one_receipt_each(&edge);
}

/// HTTP/2 and HTTP/3 frame bodies themselves, so that more can come than was said; over HTTP/1.1 the length is what
/// frames the body, and the server sends what it said and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_longer_than_it_says() {
    let (edge, clients) = faulty(Fault::Longer).await;
    for (protocol, mut client) in clients {
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert_eq!(answer.status, 200, "{protocol:?}");
        assert_eq!(answer.header("content-length"), "150000", "{protocol:?}");
        match protocol {
            Protocol::Http1 => {
                assert!(answer.fail.is_none(), "{:?}", answer.fail);
                assert!(answer.body == segment()[..150_000]);
            }
            // A client that counts gives up where there is more than was said.
            Protocol::H2 => {
                let fail = answer.fail.as_ref().expect("h2 counts");
                assert!(fail.text.contains("PROTOCOL_ERROR"), "{fail}");
                assert!(segment().starts_with(&answer.body));
            }
            // This one does not.
            Protocol::H3 => {
                assert!(answer.fail.is_none(), "{:?}", answer.fail);
                assert!(answer.body == segment());
            }
        }
    }
    one_receipt_each(&edge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_is_of_an_older_edition() {
    let edge = edge().await;
    let mut rule = named("f", FaultRule::everywhere(Fault::StaleManifest));
    let refused = edge.edge.apply(FaultOrder::add([rule.clone()])).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains(r#""object": "manifest""#), "{refused}");
    rule.on.object = Some(ObjectKind::Manifest);
    edge.rule(rule).await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let answer = soon(client.get("/demo/stream.mpd")).await.unwrap();
        assert_eq!(answer.status, 200, "{protocol:?}");
        let older = fixture::MPD.replace("PT60S", "PT30S");
        assert_eq!(String::from_utf8_lossy(&answer.body), older);
        let other = soon(client.get(SEGMENT)).await.unwrap();
        assert!(other.body == segment());
    }
    assert_eq!(edge.edge.receipts().len(), ALL.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_hangs_until_its_fault_is_removed_by_name() {
    for protocol in ALL {
        let edge = edge().await;
        edge.rule(named(
            "other",
            after(Fault::Hang, Ratio::new(0.75).unwrap()),
        ))
        .await;
        edge.rule(named("f", after(Fault::Hang, half()))).await;
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        let mut body = soon(answer.read_at_least(150_000)).await;
        assert_eq!(body.len(), 150_000, "{protocol:?}");
        let more = tokio::time::timeout(SILENCE, answer.chunk()).await;
        assert!(more.is_err(), "{protocol:?}: it goes on");
        let receipt = edge.edge.receipts().pop().unwrap();
        assert_eq!(receipt.id.as_deref(), Some("f"));
        assert_eq!(receipt.offset, Some(150_000));
        // Other requests on the connection are served.
        if protocol != Protocol::Http1 {
            let other = soon(client.get("/demo/empty.vtt")).await.unwrap();
            assert_eq!(other.status, 200);
        }
        // Without the one the other holds, further on.
        edge.edge.apply(remove("f")).await.unwrap();
        body.extend(soon(answer.read_at_least(75_000)).await);
        assert_eq!(body.len(), 225_000, "{protocol:?}");
        soon(async {
            while edge.edge.receipts().len() < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let receipt = edge.edge.receipts().pop().unwrap();
        assert_eq!(
            (receipt.id.as_deref(), receipt.offset),
            (Some("other"), Some(225_000))
        );
        edge.edge.apply(remove("other")).await.unwrap();
        let rest = soon(answer.whole()).await;
        assert!(rest.fail.is_none(), "{protocol:?}: {:?}", rest.fail);
        body.extend_from_slice(&rest.body);
        assert!(body == segment(), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_wrong_from_a_place_in_the_body_on_and_as_many_as_there_should_be() {
    for (fault, wrong) in [(Fault::Zeros, 0), (Fault::BadText, 0xFF)] {
        let edge = edge().await;
        edge.rule(named("f", after(fault.clone(), half()))).await;
        for protocol in ALL {
            let mut client = edge.connect(protocol).await;
            let answer = soon(client.get(SEGMENT)).await.unwrap();
            assert_eq!(answer.body.len(), 300_000, "{fault:?} {protocol:?}");
            let (good, bad) = answer.body.split_at(150_000);
            assert!(good == &segment()[..150_000], "{fault:?} {protocol:?}");
            assert!(
                bad.iter().all(|byte| *byte == wrong),
                "{fault:?} {protocol:?}"
            );
        }
        let receipt = one_receipt_each(&edge);
        assert_eq!((&receipt.fault, receipt.offset), (&fault, Some(150_000)));
        // A part of the object has its own half.
        let mut client = edge.connect(Protocol::H2).await;
        let part = [("range", "bytes=1000-1999")];
        let answer = soon(client.fetch("GET", SEGMENT, &part)).await.unwrap();
        assert!(answer.body[..500] == segment()[1000..1500], "{fault:?}");
        assert!(answer.body[500..].iter().all(|byte| *byte == wrong));
        assert_eq!(edge.edge.receipts().pop().unwrap().offset, Some(1500));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_is_spoilt_is_no_utf_8() {
    let edge = edge().await;
    edge.fault(Fault::BadText).await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let answer = soon(client.get("/demo/stream.mpd")).await.unwrap();
        assert!(
            answer.fail.is_none() && answer.status == 200,
            "{protocol:?}"
        );
        assert_eq!(answer.body.len(), fixture::MPD.len());
        assert!(String::from_utf8(answer.body).is_err(), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trickle_begins_where_it_is_told_to() {
    for protocol in ALL {
        let edge = edge().await;
        // A byte in ten seconds.
        let rule = after(Fault::Trickle { rate_bps: 1 }, half());
        edge.rule(named("f", rule)).await;
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        // What comes before is not held back: at that rate it would take weeks.
        let mut body = soon(answer.read_at_least(150_000)).await;
        let receipt = edge.edge.receipts().pop().unwrap();
        assert_eq!(receipt.id.as_deref(), Some("f"), "{protocol:?}");
        assert_eq!(receipt.offset, Some(150_000), "{protocol:?}");
        while let Ok(Some(chunk)) = tokio::time::timeout(SILENCE, answer.chunk()).await {
            body.extend_from_slice(&chunk.unwrap());
        }
        // A pacer lets some hundred bytes go at once.
        assert!(body.len() < 155_000, "{protocol:?}: {}", body.len());
        edge.edge.apply(remove("f")).await.unwrap();
        let rest = soon(answer.whole()).await;
        assert!(rest.fail.is_none(), "{protocol:?}: {:?}", rest.fail);
        body.extend_from_slice(&rest.body);
        assert!(body == segment(), "{protocol:?}");
    }
}

/// A client that gives QUIC up soon: it hears nothing of a death.
async fn impatient(edge: &Fixture, protocol: Protocol) -> Client {
    let (base, ca) = (edge.edge.base_url(), edge.edge.ca_pem());
    let client = Client::connect_until(protocol, base, ca, Duration::from_secs(2));
    soon(client).await.unwrap()
}

fn was_cut(protocol: Protocol, answer: &Whole) -> bool {
    let fail = answer.fail.as_ref().expect("a dead edge delivers nothing");
    match protocol {
        Protocol::Http1 | Protocol::H2 => fail.kind == Some(std::io::ErrorKind::ConnectionReset),
        Protocol::H3 => fail.text.contains("Timeout") || fail.text.contains("timed out"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_dies_in_the_middle_of_the_body_that_is_selected() {
    for protocol in ALL {
        let edge = edge().await;
        let mut rule = named("dies", after(Fault::Kill, half()));
        rule.on.object = Some(nearcast_appliance::fault::ObjectKind::Media);
        edge.rule(rule).await;
        let mut client = impatient(&edge, protocol).await;
        // Nothing happens before: the manifest is no media.
        assert_eq!(
            soon(client.get("/demo/stream.mpd")).await.unwrap().status,
            200
        );
        assert!(edge.edge.receipts().is_empty());
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert!(
            was_cut(protocol, &answer),
            "{protocol:?}: {:?}",
            answer.fail
        );
        // What was ordered before the death has left before it.
        assert!(
            answer.body == segment()[..150_000],
            "{protocol:?}: {}",
            answer.body.len()
        );
        let receipts = edge.edge.receipts();
        assert_eq!(receipts.len(), 1, "{receipts:?}");
        assert_eq!(receipts[0].id.as_deref(), Some("dies"));
        assert_eq!(receipts[0].path.as_deref(), Some("demo/segment.m4s"));
        assert_eq!(receipts[0].offset, Some(150_000));
        let lines = edge.log(2).await;
        assert_eq!(lines[1].end, nearcast_edge_server::End::Killed);
        assert_eq!(lines[1].bytes, 150_000);
        // It is dead for all, until the fault is removed by its name.
        if protocol != Protocol::H3 {
            assert!(soon(edge.try_connect(protocol)).await.is_err());
        }
        edge.edge.apply(remove("dies")).await.unwrap();
        let mut client = edge.connect(protocol).await;
        assert!(soon(client.get(SEGMENT)).await.unwrap().body == segment());
    }
}

/// One way to an edge that is not next door. Longer than what a busy machine takes for the same is not needed.
const FAR: Duration = Duration::from_millis(5);

/// Carries datagrams to an edge and back, late; returns the URL that leads there. The task ends with the test.
async fn far_away(edge: &Fixture) -> String {
    let server = edge.edge.base_url()["https://".len()..].trim_end_matches('/');
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let beyond = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    beyond.connect(server).await.unwrap();
    let url = format!("https://{}/", near.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut there, mut back) = ([0; 2048], [0; 2048]);
        let mut client = near.local_addr().unwrap();
        loop {
            tokio::select! {
                Ok((length, from)) = near.recv_from(&mut there) => {
                    client = from;
                    let (beyond, datagram) = (Arc::clone(&beyond), there[..length].to_vec());
                    tokio::spawn(async move {
                        tokio::time::sleep(FAR).await;
                        drop(beyond.send(&datagram).await);
                    });
                }
                Ok(length) = beyond.recv(&mut back) => {
                    let (near, datagram) = (Arc::clone(&near), back[..length].to_vec());
                    tokio::spawn(async move {
                        tokio::time::sleep(FAR).await;
                        drop(near.send_to(&datagram, client).await);
                    });
                }
            }
        }
    });
    url
}

/// Over QUIC what was handed over may need round trips to leave: they are waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dying_edge_still_had_to_send_leaves_before() {
    let edge = edge().await;
    edge.rule(after(Fault::Kill, half())).await;
    let (base, ca) = (far_away(&edge).await, edge.edge.ca_pem());
    let client = Client::connect_until(Protocol::H3, &base, ca, Duration::from_secs(2));
    let mut client = soon(client).await.unwrap();
    let answer = soon(client.get(SEGMENT)).await.unwrap();
    assert!(was_cut(Protocol::H3, &answer), "{:?}", answer.fail);
    assert_eq!(answer.body.len(), 150_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_falls_silent_where_a_body_has_come_so_far() {
    for protocol in ALL {
        let edge = edge().await;
        edge.rule(named("hole", after(Fault::Stop, half()))).await;
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        let mut body = soon(answer.read_at_least(150_000)).await;
        assert_eq!(body.len(), 150_000, "{protocol:?}");
        let more = tokio::time::timeout(SILENCE, answer.chunk()).await;
        assert!(more.is_err(), "{protocol:?}: it goes on");
        edge.edge.apply(remove("hole")).await.unwrap();
        let rest = soon(answer.whole()).await;
        assert!(rest.fail.is_none(), "{protocol:?}: {:?}", rest.fail);
        body.extend_from_slice(&rest.body);
        assert!(body == segment(), "{protocol:?}");
    }
}
