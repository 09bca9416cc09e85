//! Each version of HTTP, as asked for and as fallen back to.

use crate::access::assert_report_is_what_edges_logged;
use crate::edges::{Edge, System};
use crate::play::{Play, Played};
use crate::room::Room;

/// Plays some seconds from this system, and asserts that report and access logs show this protocol alone.
async fn assert_plays_over(
    mut system: System,
    room: &Room,
    protocol: &str,
    more: &[&str],
) -> Played {
    let arguments = [system.play(), more.to_vec()].concat();
    let played = Play::start(room, "play", &arguments).played(20).await;
    assert_eq!(played.media_protocols(), [protocol]);
    let entries = system.entries_at_end().await;
    assert!(
        entries.iter().all(|entry| entry.protocol == protocol),
        "{entries:?}"
    );
    assert_report_is_what_edges_logged(&played.report, &entries);
    played
}

async fn assert_asked_for(protocol: &str) {
    let room = Room::new().await;
    let system = System::start(&room, &[("a", &["--rate", "20mbps"])]).await;
    assert_plays_over(
        system,
        &room,
        protocol,
        &["--duration", "6s", "--http", protocol],
    )
    .await;
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
    let room = Room::new().await;
    let system = System::start(&room, &[("a", &[]), ("b", &[])]).await;
    assert_plays_over(system, &room, "h3", &["--duration", "6s"]).await;
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

#[tokio::test]
async fn a_network_that_blocks_udp_costs_little() {
    const BLOCKED: &[&str] = &["--block-udp"];
    let room = Room::alone().await;
    let edges = ["a", "b", "c", "d", "e"].map(|id| (id, BLOCKED));
    let system = System::start(&room, &edges).await;
    let played = assert_plays_over(system, &room, "h2", &["--duration", "20s"]).await;
    let startup_s = played.report.startup_s.unwrap();
    assert!(startup_s < 2.0, "started after {startup_s} s");

    // Those that were asked at the very beginning waited for HTTP/3, side by side. Nobody did after them: what
    // was learnt from one edge holds for all.
    let attempts = played
        .report
        .fetches
        .iter()
        .flat_map(|fetch| &fetch.attempts);
    let (waited, others): (Vec<_>, Vec<_>) = attempts
        .filter(|attempt| attempt.protocol.is_some())
        .partition(|attempt| attempt.start_s < startup_s);
    let first = waited
        .iter()
        .filter(|attempt| attempt.cold)
        .filter_map(|attempt| Some(attempt.first_byte_s? - attempt.start_s));
    let first = first.min_by(f64::total_cmp).unwrap();
    assert!(first >= HEAD_START_S, "HTTP/3 was tried first: {waited:?}");
    // A busy machine makes one of these late, but not all.
    let cold = others.into_iter().filter(|attempt| attempt.cold);
    let took = cold.map(|attempt| attempt.first_byte_s.unwrap() - attempt.start_s);
    let soonest = took.min_by(f64::total_cmp);
    let soonest = soonest.expect("an edge is connected to later");
    assert!(
        soonest < HEAD_START_S,
        "HTTP/3 was waited for again: {soonest} s"
    );
}
