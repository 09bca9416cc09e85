//! Each fault does what it says, over each protocol.

use std::time::{Duration, Instant};

use nearcast_appliance::fault::{Fault, FaultRule, FaultSelector};
use nearcast_units::Ratio;

use crate::client::{ALL, Protocol, Whole};
use crate::fixture::{MIDDLE, SILENCE, SLOW, after, edge, half, segment, soon};

const SEGMENT: &str = "/demo/segment.m4s";

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn now() -> Instant {
    Instant::now()
}

fn was_reset(protocol: Protocol, answer: &Whole) -> bool {
    let fail = answer.fail.as_ref().expect("the body must fail");
    match protocol {
        Protocol::Http1 | Protocol::H2 => fail.kind == Some(std::io::ErrorKind::ConnectionReset),
        Protocol::H3 => fail.text.contains("H3_INTERNAL_ERROR"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_comes_instead_with_retry_after() {
    let edge = edge().await;
    let mut client = edge.connect(Protocol::H2).await;
    let etag = soon(client.get(SEGMENT)).await.unwrap();
    let known = [("if-none-match", etag.header("etag"))];
    assert_eq!(
        soon(client.fetch("GET", SEGMENT, &known))
            .await
            .unwrap()
            .status,
        304
    );
    edge.fault(Fault::Status {
        status: 503,
        retry_after_s: Some(7),
    })
    .await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), "7");
        assert_eq!(answer.code(), "fault");
        // A request for nothing is answered so as well.
        assert_eq!(soon(client.get("/nothing")).await.unwrap().status, 503);
        // So is one for what the client has.
        let answer = soon(client.fetch("GET", SEGMENT, &known)).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (503, "fault".to_owned())
        );
        assert!(answer.fail.is_none(), "{protocol:?}: {:?}", answer.fail);
    }
    edge.clear().await;
    let mut client = edge.connect(Protocol::H2).await;
    assert_eq!(soon(client.get(SEGMENT)).await.unwrap().status, 200);
    assert_eq!(edge.edge.receipts().len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_comes_where_it_was_ordered() {
    for protocol in ALL {
        let edge = edge().await;
        edge.rule(after(Fault::Reset, half())).await;
        let mut client = edge.connect(protocol).await;
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert!(
            was_reset(protocol, &answer),
            "{protocol:?}: {:?}",
            answer.fail
        );
        // A client that is slow to read may lose bytes to the reset of a QUIC stream.
        let expected = &segment()[..150_000];
        let exact = answer.body == expected;
        let partly = protocol == Protocol::H3 && expected.starts_with(&answer.body);
        assert!(exact || partly, "{protocol:?}: {}", answer.body.len());
        let receipts = edge.edge.receipts();
        assert_eq!(receipts.len(), 1);
        assert_eq!(receipts[0].offset, Some(150_000));
        assert_eq!(receipts[0].path.as_deref(), Some("demo/segment.m4s"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_body_ends_in_good_order() {
    for protocol in ALL {
        let edge = edge().await;
        edge.rule(after(Fault::Truncate, half())).await;
        let mut client = edge.connect(protocol).await;
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert!(answer.body == segment()[..150_000], "{protocol:?}");
        assert_eq!(answer.header("content-length"), "300000");
        let fail = answer.fail.as_ref();
        assert!(
            fail.is_none_or(|fail| fail.kind != Some(std::io::ErrorKind::ConnectionReset)),
            "{protocol:?}: {fail:?}"
        );
        assert_eq!(edge.log(1).await[0].bytes, 150_000);
        // Only HTTP/1.1 needs a new connection for the next request.
        edge.clear().await;
        if protocol == Protocol::Http1 {
            client = edge.connect(protocol).await;
        }
        assert!(soon(client.get(SEGMENT)).await.unwrap().body == segment());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_body_has_one_byte_in_a_thousand_flipped() {
    let edge = edge().await;
    edge.fault(Fault::Corrupt).await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert_eq!(answer.body.len(), 300_000);
        let good = segment();
        let flipped: Vec<usize> = (0..300_000)
            .filter(|&i| answer.body[i] != good[i])
            .collect();
        let expected: Vec<usize> = (0..300).map(|n| n * 1000 + 500).collect();
        assert_eq!(flipped, expected, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_is_late_and_good() {
    let edge = edge().await;
    edge.fault(Fault::LateFirstByte { delay_ms: 300 }).await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let began = now();
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert!(
            began.elapsed() >= Duration::from_millis(300),
            "{protocol:?}"
        );
        assert!(answer.body == segment());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trickle_is_slow_for_its_own_body_only() {
    let edge = edge().await;
    let rule = FaultRule {
        id: None,
        fault: Fault::Trickle { rate_bps: 80_000 },
        on: FaultSelector {
            path_contains: Some(String::from("segment")),
            ..FaultSelector::EVERYTHING
        },
    };
    edge.rule(rule).await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let began = now();
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        let read = soon(answer.read_at_least(6_000)).await;
        let took = began.elapsed();
        assert!(read.len() < 200_000, "{protocol:?}: {}", read.len());
        assert!(took > Duration::from_millis(400), "{protocol:?}: {took:?}");
        drop(answer);
        let mut other = edge.connect(protocol).await;
        let answer = soon(other.get("/demo/stream.mpd")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trickle_holds_back_a_body_under_way_and_clearing_lets_it_go() {
    for protocol in ALL {
        let edge = edge().await;
        edge.fault(SLOW).await;
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        let mut body = soon(answer.read_at_least(MIDDLE)).await;
        // A byte in ten seconds.
        edge.fault(Fault::Trickle { rate_bps: 1 }).await;
        // What had left the server still comes; then nothing does for a while.
        while let Ok(Some(chunk)) = tokio::time::timeout(SILENCE, answer.chunk()).await {
            body.extend_from_slice(&chunk.unwrap());
        }
        assert!(body.len() < 250_000, "{protocol:?}: {}", body.len());
        let receipt = edge.edge.receipts().pop().unwrap();
        assert_eq!(receipt.fault, Fault::Trickle { rate_bps: 1 });
        let at = usize::try_from(receipt.offset.unwrap()).unwrap();
        assert!(at >= MIDDLE, "{protocol:?}: {at}");
        if let Some(late) = at.checked_sub(body.len()) {
            body.extend(soon(answer.read_at_least(late)).await);
        }
        // At that rate the rest would take weeks.
        edge.clear().await;
        let rest = soon(answer.whole()).await;
        assert!(rest.fail.is_none(), "{protocol:?}: {:?}", rest.fail);
        body.extend_from_slice(&rest.body);
        assert!(body == segment(), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_under_way_is_spoilt_from_the_order_on_and_the_receipt_says_where() {
    for protocol in ALL {
        let edge = edge().await;
        edge.fault(SLOW).await;
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        let mut body = soon(answer.read_at_least(MIDDLE)).await;
        edge.fault(Fault::Corrupt).await;
        soon(async {
            while edge.edge.receipts().last().unwrap().fault != Fault::Corrupt {
                body.extend(answer.read_at_least(1).await);
            }
        })
        .await;
        let receipt = edge.edge.receipts().pop().unwrap();
        edge.fault(Fault::Rate { rate_bps: None }).await;
        let rest = soon(answer.whole()).await;
        body.extend_from_slice(&rest.body);
        let good = segment();
        let first = (0..good.len()).find(|&index| body[index] != good[index]);
        assert_eq!(
            receipt.offset,
            first.map(|at| u64::try_from(at).unwrap()),
            "{protocol:?}"
        );
        assert!(first > Some(MIDDLE), "{protocol:?}: {first:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_has_left_already_ends_a_body_at_once() {
    for protocol in ALL {
        let edge = edge().await;
        edge.fault(SLOW).await;
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        soon(answer.read_at_least(MIDDLE)).await;
        let early = Ratio::new(0.001).unwrap();
        edge.rule(after(Fault::Reset, early)).await;
        let rest = soon(answer.whole()).await;
        assert!(was_reset(protocol, &rest), "{protocol:?}: {:?}", rest.fail);
        let line = edge.log(1).await.pop().unwrap();
        let began = u64::try_from(MIDDLE).unwrap();
        assert!((began..300_000).contains(&line.bytes), "{line:?}");
        assert_eq!(edge.edge.receipts().pop().unwrap().offset, Some(line.bytes));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_ends_the_wait_for_a_late_answer() {
    for protocol in ALL {
        let edge = edge().await;
        // Longer than any test waits.
        edge.fault(Fault::LateFirstByte {
            delay_ms: 3_600_000,
        })
        .await;
        let mut client = edge.connect(protocol).await;
        let answer = client.get(SEGMENT);
        let clear = async {
            // The receipt comes when the answer begins to be late.
            while edge.edge.receipts().is_empty() {
                tokio::task::yield_now().await;
            }
            edge.clear().await;
        };
        let (answer, ()) = soon(async { tokio::join!(answer, clear) }).await;
        assert!(answer.unwrap().body == segment(), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_ends_with_its_count() {
    let edge = edge().await;
    let rule = FaultRule {
        id: None,
        fault: Fault::Status {
            status: 500,
            retry_after_s: None,
        },
        on: FaultSelector {
            count: Some(2),
            ..FaultSelector::EVERYTHING
        },
    };
    edge.rule(rule).await;
    let mut client = edge.connect(Protocol::H2).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(soon(client.get(SEGMENT)).await.unwrap().status.as_u16());
    }
    assert_eq!(statuses, [500, 500, 200]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_ordered_over_the_admin_port() {
    let edge = edge().await;
    let admin = edge.edge.admin_url().to_owned();
    let mut control = soon(crate::client::Client::connect(Protocol::Http1, &admin, ""))
        .await
        .unwrap();
    let client = plain_client();
    let faults = format!("{admin}control/faults");
    let order = r#"{"faults":[{"fault":{"kind":"status","status":429,"retry_after_s":1}},{"fault":{"kind":"delay","delay_ms":10}}]}"#;
    let post = |body: &'static str| {
        client
            .post(&faults)
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    let answer = soon(post(order)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let state: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(
        (&state["link"], &state["delay_ms"]),
        (&"up".into(), &10.into())
    );
    let mut https = edge.connect(Protocol::H2).await;
    assert_eq!(soon(https.get(SEGMENT)).await.unwrap().status, 429);

    for bad in [
        "{",
        r#"{"faults":[{"fault":{"kind":"earthquake"}}]}"#,
        r#"{"faults":[{"fault":{"kind":"status","status":200}}]}"#,
        // What is misspelt, or stands in another's place, is not passed over.
        r#"{"faults":[{"fault":{"kind":"truncate","after":0.5}}]}"#,
        r#"{"faults":[{"fault":{"kind":"rate","rate":5}}]}"#,
        r#"{"faults":[{"fault":{"kind":"stop"},"where":{}}]}"#,
        r#"{"fault":[]}"#,
    ] {
        let answer = soon(post(bad)).await.unwrap();
        assert!(answer.status().is_client_error(), "{bad}");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "bad_order", "{bad}");
    }
    let receipts = soon(control.get("/control/receipts")).await.unwrap();
    assert_eq!(receipts.headers["nearcast-receipts-dropped"], "0");
    let receipts: serde_json::Value = serde_json::from_slice(&receipts.body).unwrap();
    assert_eq!(receipts[0]["fault"]["kind"], "delay");
    assert_eq!(receipts[1]["path"], "demo/segment.m4s");
    edge.log(1).await;
    let log = soon(control.get("/control/log")).await.unwrap();
    let line: serde_json::Value = serde_json::from_slice(&log.body).unwrap();
    assert_eq!(line["status"], 429);
    let health = soon(control.get("/healthz")).await.unwrap();
    assert_eq!(health.status, 200);
    let metrics = soon(control.get("/metrics")).await.unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    let line = "nearcast_edge_requests_total{appliance=\"a\",protocol=\"h2\",status=\"429\",end=\"complete\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

fn plain_client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().build().unwrap()
}
