//! Each version of HTTP, as asked for and as fallen back to.

use std::time::Duration;

use serde_json::json;

use crate::access::assert_report_is_what_edges_logged;
use crate::edges::{Edge, System};
use crate::play::{Play, Played};
use crate::program::eventually;
use crate::room::Room;

/// Plays some seconds from this system over this protocol alone.
async fn assert_plays_over(system: System, room: &Room, protocol: &str, more: &[&str]) {
    let arguments = [system.play(), vec!["--duration", "6s"], more.to_vec()].concat();
    let played = Play::start(room, "play", &arguments).played(6).await;
    assert_was_over(system, &played, protocol).await;
}

/// Asserts that report and access logs show this protocol alone.
async fn assert_was_over(mut system: System, played: &Played, protocol: &str) {
    assert_eq!(played.media_protocols(), [protocol]);
    let entries = system.entries_at_end().await;
    assert!(
        entries.iter().all(|entry| entry.protocol == protocol),
        "{entries:?}"
    );
    assert_report_is_what_edges_logged(&played.report, &entries);
}

async fn assert_asked_for(protocol: &str) {
    let room = Room::new().await;
    let system = System::start(&room, &[("a", &["--rate", "20mbps"])]).await;
    assert_plays_over(system, &room, protocol, &["--http", protocol]).await;
}

#[tokio::test]
async fn http3_plays_when_asked_for() {
    assert_asked_for("h3").await;
}

#[tokio::test]
async fn http2_plays_when_asked_for() {
    assert_asked_for("h2").await;
}

#[tokio::test]
async fn http1_plays_when_asked_for() {
    assert_asked_for("http1").await;
}

#[tokio::test]
async fn http3_is_taken_where_it_works() {
    // Only a handshake within its head start keeps HTTP/2 out.
    let room = Room::alone().await;
    let system = System::start(&room, &[("a", &[]), ("b", &[])]).await;
    assert_plays_over(system, &room, "h3", &[]).await;
}

/// The manifest and the playlists of HLS, and the subtitles of both, are in the logs as in the report.
#[tokio::test]
async fn playlists_and_subtitles_are_joined_too() {
    for (manifest, kinds) in [
        ("stream.mpd", ["manifest", "subtitle"].as_slice()),
        ("master.m3u8", ["manifest", "index", "subtitle"].as_slice()),
    ] {
        let room = Room::new().await;
        let mut edge = Edge::start(&room, "a", None, &["--rate", "20mbps"]).await;
        let ca = room.path().join("ca/ca.pem");
        let path = format!("title/{manifest}");
        let mut arguments = vec!["play", &path, "--edge", &edge.base_url, "--duration", "6s"];
        arguments.extend(["--subtitles", "en", "--ca", ca.to_str().unwrap()]);
        let played = Play::start(&room, "play", &arguments).played(6).await;
        let report = &played.report;
        for kind in kinds {
            let came = report.fetches.iter().filter(|fetch| fetch.kind == *kind);
            assert!(came.count() > 0, "{kind} of {manifest}: {report:?}");
        }
        // Without a backend an edge is called by its address.
        let mut entries = edge.entries_at_end().await;
        for entry in &mut entries {
            edge.host().clone_into(&mut entry.appliance);
        }
        assert_report_is_what_edges_logged(report, &entries);
    }
}

/// So long HTTP/3 is waited for before HTTP/2 is tried beside it.
const HEAD_START_S: f64 = 0.3;
/// Long for a busy machine.
const ASKED_MAX: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_network_that_blocks_udp_costs_little() {
    const BLOCKED: &[&str] = &["--block-udp"];
    let room = Room::alone().await;
    let system = System::start(&room, &["a", "b", "c"].map(|id| (id, BLOCKED))).await;
    let arguments = [system.play(), vec!["--duration", "20s"]].concat();
    let play = Play::start(&room, "play", &arguments);
    let told = || -> usize { system.edges.iter().map(|edge| edge.entries().len()).sum() };
    eventually("it plays", ASKED_MAX, || (told() > 8).then_some(())).await;
    // Connections that are reset have to be made again.
    for edge in &system.edges {
        let early = json!({ "after": 0.1 });
        edge.fault_on(json!({ "kind": "reset" }), early).await;
    }
    let reset = |edge: &Edge| edge.entries().iter().any(|one| one.end == "reset");
    eventually("one is reset", ASKED_MAX, || {
        system.edges.iter().any(reset).then_some(())
    })
    .await;
    for edge in &system.edges {
        edge.fault(json!({ "kind": "rate", "rate_bps": null }))
            .await;
    }
    let played = play.played(20).await;
    assert_was_over(system, &played, "h2").await;

    let attempts = played
        .report
        .fetches
        .iter()
        .flat_map(|fetch| &fetch.attempts);
    // When each began for which a connection had to be made, and when its first byte came. Some lose a race before.
    let mut cold: Vec<(f64, f64)> = attempts
        .filter(|attempt| attempt.protocol.is_some() && attempt.cold)
        .filter_map(|attempt| Some((attempt.start_s, attempt.first_byte_s?)))
        .collect();
    cold.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (start_s, learnt_s) = cold[0];
    assert!(
        learnt_s - start_s >= HEAD_START_S,
        "HTTP/3 was tried first: {cold:?}"
    );
    // What was learnt from one edge holds for all. A busy machine makes one of the later ones late, but not all.
    let later = cold.iter().filter(|(start_s, _)| *start_s > learnt_s);
    let took = later.map(|(start_s, first_byte_s)| first_byte_s - start_s);
    let soonest = took.min_by(f64::total_cmp);
    assert!(
        soonest.is_some_and(|soonest| soonest < HEAD_START_S),
        "HTTP/3 was waited for again: {cold:?}"
    );
}
