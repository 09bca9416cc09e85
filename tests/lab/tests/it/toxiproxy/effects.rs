//! What each toxic does to a transfer.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Stage;
use crate::relay::{SILENCE, never, passes, pattern, soon};

/// Waits for the end, and returns what came before it.
async fn rest(end: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    soon(end.read_to_end(&mut rest)).await.unwrap();
    rest
}

async fn nothing_more(end: &mut TcpStream) {
    assert!(rest(end).await.is_empty());
}

fn named<'a>(receipts: &'a [Value], deed: &str) -> Vec<&'a Value> {
    let is_it = |receipt: &&Value| receipt["deed"] == deed;
    receipts.iter().filter(is_it).collect()
}

#[tokio::test]
async fn latency_delays_at_least_as_told_while_a_connection_lives() {
    let mut stage = Stage::new().await;
    let (mut client, mut server) = stage.connect().await;
    stage
        .add("latency", json!({ "latency": 80, "jitter": 20 }), json!({}))
        .await;
    for (least, change) in [
        (60, json!({ "jitter": 0 })),
        (80, json!({ "latency": 150 })),
        (150, json!({})),
    ] {
        let sent = Instant::now();
        passes(&mut server, &mut client, 100).await;
        assert!(sent.elapsed() >= Duration::from_millis(least), "{least} ms");
        stage.change("latency", change).await;
    }
    // What is under way when it goes is not lost, and comes at once.
    stage
        .change("latency", json!({ "latency": 3_600_000 }))
        .await;
    server.write_all(&pattern(50_000)).await.unwrap();
    never(client.read(&mut [0])).await;
    stage.remove("latency").await;
    let mut arrived = vec![0; 50_000];
    soon(client.read_exact(&mut arrived)).await.unwrap();
    assert!(arrived == pattern(50_000));
    // The other way it was never there.
    passes(&mut client, &mut server, 100).await;
    let receipts = stage.receipts().await;
    let delayed = named(&receipts, "delayed");
    assert_eq!(delayed.len(), 1, "{receipts:?}");
    assert_eq!(delayed[0]["toxic"], "latency");
    assert_eq!(delayed[0]["direction"], "downstream");
    assert_eq!(
        (&delayed[0]["connection"], &delayed[0]["offset"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn bandwidth_is_never_exceeded() {
    const SIZE: usize = 60_000;
    let mut stage = Stage::new().await;
    stage
        .add("bandwidth", json!({ "rate": 100 }), json!({}))
        .await;
    let (mut client, mut server) = stage.connect().await;
    let began = Instant::now();
    server.write_all(&pattern(SIZE)).await.unwrap();
    let mut arrived = Vec::new();
    while arrived.len() < SIZE {
        soon(client.read_buf(&mut arrived)).await.unwrap();
        let most = began.elapsed().as_secs_f64() * 100_000.0;
        let got = f64::from(u32::try_from(arrived.len()).unwrap());
        assert!(
            got <= most,
            "{got} bytes, and no more than {most} may be here"
        );
    }
    assert!(arrived == pattern(SIZE));
    // Nothing passes at rate 0, and all of it once there is one.
    stage.change("bandwidth", json!({ "rate": 0 })).await;
    server.write_all(&pattern(SIZE)).await.unwrap();
    never(client.read(&mut [0])).await;
    stage
        .change("bandwidth", json!({ "rate": 1_000_000 }))
        .await;
    let mut arrived = vec![0; SIZE];
    soon(client.read_exact(&mut arrived)).await.unwrap();
    assert!(arrived == pattern(SIZE));
    assert_eq!(named(&stage.receipts().await, "throttled").len(), 1);
}

#[tokio::test]
async fn a_slow_close_holds_the_end_and_not_the_bytes() {
    let mut stage = Stage::new().await;
    stage
        .add("slow_close", json!({ "delay": 200 }), json!({}))
        .await;
    let (mut client, mut server) = stage.connect().await;
    let closed = Instant::now();
    server.write_all(&pattern(1000)).await.unwrap();
    drop(server);
    let mut arrived = vec![0; 1000];
    soon(client.read_exact(&mut arrived)).await.unwrap();
    nothing_more(&mut client).await;
    assert!(closed.elapsed() >= Duration::from_millis(200));
    let receipts = stage.receipts().await;
    assert_eq!(named(&receipts, "close_held")[0]["offset"], 1000);
}

#[tokio::test]
async fn a_timeout_drops_all_then_closes_and_so_does_taking_it_away() {
    let mut stage = Stage::new().await;
    let (mut client, mut server) = stage.connect().await;
    passes(&mut server, &mut client, 500).await;
    let begun = Instant::now();
    stage
        .add("timeout", json!({ "timeout": 0 }), json!({}))
        .await;
    server.write_all(&pattern(1000)).await.unwrap();
    never(client.read(&mut [0])).await;
    // The other way it passes meanwhile.
    passes(&mut client, &mut server, 1000).await;
    stage.change("timeout", json!({ "timeout": 500 })).await;
    nothing_more(&mut client).await;
    nothing_more(&mut server).await;
    assert!(begun.elapsed() >= Duration::from_millis(500));

    stage.change("timeout", json!({ "timeout": 0 })).await;
    let (mut client, mut server) = stage.connect().await;
    server.write_all(&pattern(1000)).await.unwrap();
    never(client.read(&mut [0])).await;
    stage.remove("timeout").await;
    // There is a gap: nothing may come behind it.
    nothing_more(&mut client).await;
    nothing_more(&mut server).await;
    let receipts = stage.receipts().await;
    let dropped = named(&receipts, "dropped");
    assert_eq!(
        (&dropped[0]["offset"], &dropped[1]["offset"]),
        (&json!(500), &json!(0))
    );
    let closed = named(&receipts, "closed");
    assert_eq!(closed.len(), 2);
    assert_eq!(closed[0]["downstream_bytes"], 500);
    assert_eq!(closed[0]["upstream_bytes"], 1000);
}

#[tokio::test]
async fn a_reset_is_seen_as_a_reset_by_both_ends() {
    let mut stage = Stage::new().await;
    stage
        .add(
            "reset_peer",
            json!({ "timeout": 0 }),
            json!({ "stream": "upstream" }),
        )
        .await;
    let (mut client, mut server) = stage.connect().await;
    client.write_all(b"request").await.unwrap();
    for end in [&mut client, &mut server] {
        let error = soon(end.read(&mut [0])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    // Later, and while a connection lives.
    stage.change("reset_peer", json!({ "timeout": 150 })).await;
    let (mut client, _server) = stage.connect().await;
    let sent = Instant::now();
    client.write_all(b"request").await.unwrap();
    let error = soon(client.read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(sent.elapsed() >= Duration::from_millis(150));
    assert_eq!(named(&stage.receipts().await, "reset").len(), 2);
}

#[tokio::test]
async fn slices_are_small_late_and_intact() {
    let mut stage = Stage::new().await;
    let attributes = json!({ "average_size": 10, "size_variation": 5, "delay": 1000 });
    stage.add("slicer", attributes, json!({})).await;
    let (mut client, mut server) = stage.connect().await;
    let sent = Instant::now();
    server.write_all(&pattern(3000)).await.unwrap();
    let mut arrived = Vec::new();
    while arrived.len() < 3000 {
        soon(client.read_buf(&mut arrived)).await.unwrap();
        // 15 bytes at most in each, and a millisecond behind each.
        let pauses = u32::try_from(arrived.len() / 15).unwrap().saturating_sub(1);
        assert!(
            sent.elapsed() >= Duration::from_millis(1) * pauses,
            "{pauses} pauses"
        );
    }
    assert_eq!(arrived, pattern(3000));
    assert_eq!(named(&stage.receipts().await, "sliced").len(), 1);
}

#[tokio::test]
async fn limited_data_is_cut_at_exactly_that_byte() {
    let mut stage = Stage::new().await;
    for (limit, direction) in [
        (0, "downstream"),
        (1, "downstream"),
        (70_001, "downstream"),
        (70_001, "upstream"),
    ] {
        let more = json!({ "stream": direction, "name": "cut" });
        stage
            .add("limit_data", json!({ "bytes": limit }), more)
            .await;
        let (mut client, mut server) = stage.connect().await;
        let (from, to) = match direction {
            "upstream" => (&mut client, &mut server),
            _ => (&mut server, &mut client),
        };
        // It may be closed before it has all been taken.
        let sent = pattern(200_000);
        let (_, arrived) = tokio::join!(from.write_all(&sent), rest(to));
        assert!(
            arrived == pattern(limit),
            "{limit} bytes {direction}: {} came",
            arrived.len()
        );
        stage.remove("cut").await;
    }
    let receipts = stage.receipts().await;
    let offsets: Vec<&Value> = named(&receipts, "cut")
        .iter()
        .map(|cut| &cut["offset"])
        .collect();
    assert_eq!(offsets, [0, 1, 70_001, 70_001]);
    // While a connection lives, it counts from then on.
    let (mut client, mut server) = stage.connect().await;
    passes(&mut server, &mut client, 500).await;
    stage
        .add("limit_data", json!({ "bytes": 100 }), json!({}))
        .await;
    server.write_all(&pattern(300)).await.unwrap();
    assert_eq!(rest(&mut client).await, pattern(100));
}

#[tokio::test]
async fn who_is_cut_off_while_sending_is_closed_and_not_reset() {
    let mut stage = Stage::new().await;
    let limit = json!({ "bytes": 500_000 });
    stage.add("limit_data", limit, json!({})).await;
    let (mut client, mut server) = stage.connect().await;
    // Until all buffers are full: the server does not read.
    let flood = vec![0; 1_000_000];
    while let Ok(written) = tokio::time::timeout(SILENCE, client.write(&flood)).await {
        written.unwrap();
    }
    // More than the client's own buffer holds: a reset would drop what still waits in the relay's.
    let sent = pattern(600_000);
    let (_, arrived) = tokio::join!(server.write_all(&sent), rest(&mut client));
    assert!(arrived == pattern(500_000), "{} bytes came", arrived.len());
}

#[tokio::test]
async fn toxicity_is_the_share_of_connections() {
    let mut stage = Stage::new().await;
    stage
        .add(
            "limit_data",
            json!({ "bytes": 0 }),
            json!({ "toxicity": 0.5 }),
        )
        .await;
    let mut hits = Vec::new();
    for share in [json!(0.5), json!(0.5), json!(0.0), json!(1.0)] {
        let body = json!({ "toxicity": share });
        stage
            .driver
            .does(json!(["updateToxic", "p", "limit_data", body]))
            .await;
        let mut hit = 0;
        for _ in 0..30 {
            let (mut client, mut server) = stage.connect().await;
            server.write_all(&[1]).await.unwrap();
            hit += usize::from(soon(client.read(&mut [0])).await.unwrap() == 0);
        }
        hits.push(hit);
    }
    assert!(
        (5..=25).contains(&hits[0]) && (5..=25).contains(&hits[1]),
        "{hits:?}"
    );
    assert_eq!(hits[2..], [0, 30]);
}

#[tokio::test]
async fn toxics_work_one_behind_the_other() {
    let mut stage = Stage::new().await;
    stage
        .add(
            "slicer",
            json!({ "average_size": 100, "delay": 0 }),
            json!({}),
        )
        .await;
    stage
        .add("latency", json!({ "latency": 50 }), json!({}))
        .await;
    stage
        .add("bandwidth", json!({ "rate": 1000 }), json!({}))
        .await;
    stage
        .add("limit_data", json!({ "bytes": 50_000 }), json!({}))
        .await;
    let (mut client, mut server) = stage.connect().await;
    let began = Instant::now();
    let sent = pattern(200_000);
    let (_, arrived) = tokio::join!(server.write_all(&sent), rest(&mut client));
    assert!(arrived == pattern(50_000));
    assert!(began.elapsed() >= Duration::from_millis(100));
    let receipts = stage.receipts().await;
    for deed in ["sliced", "delayed", "throttled", "cut"] {
        assert_eq!(named(&receipts, deed).len(), 1, "{deed}");
    }
}
