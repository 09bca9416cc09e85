//! Our own backend and edges as processes of their own, one of which dies as by a power cut.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::{interval, timeout};

use crate::access::assert_report_is_what_edges_logged_but;
use crate::edges::{Edge, System};
use crate::play::Play;
use crate::program::{eventually, whole_lines};
use crate::room::Room;

/// Every edge's link leaves the middle of a segment long.
const EDGE: &[&str] = &["--rate", "8mbps", "--delay", "5ms"];

/// Nothing here takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn an_edge_process_dies_in_mid_segment() {
    let room = Room::new().await;
    let mut system = System::start(&room, &[("a", EDGE), ("b", EDGE), ("c", EDGE)]).await;
    // A better picture of what is buffered is not taken over by anybody: none is fetched.
    let arguments = [system.play(), vec!["--abr", "dynamic"]].concat();
    let mut play = Play::start(&room, "play", &arguments);
    play.program.line("playing", Duration::from_secs(20)).await;

    let (id, bytes) = in_mid_segment(&system.edges).await;
    let told = format!(" instead of {id} ");
    let hand_overs = |play: &Play| {
        let out = play.program.out();
        let lines = whole_lines(&out).filter(|line| line.contains("video goes on from "));
        lines.filter(|line| line.contains(&told)).count()
    };
    let before = hand_overs(&play);
    system.edge(&id).program.sigkill().await;
    eventually("another edge takes over", PATIENCE, || {
        (hand_overs(&play) > before).then_some(())
    })
    .await;
    let videos = || {
        let entries = system.edges.iter().flat_map(Edge::entries);
        entries
            .filter(|entry| entry.path.starts_with("/title/v"))
            .count()
    };
    let known = videos();
    eventually("two more segments came", PATIENCE, || {
        (videos() >= known + 2).then_some(())
    })
    .await;
    play.program.signal(Signal::INT);
    let played = play.played(5).await;
    let report = &played.report;
    assert_eq!(report.content.source, "demo");

    // Before its death it may have been left once for being slow. What it had sent when it was looked at may still
    // have been on its way.
    let failover = report
        .failovers
        .iter()
        .find(|failover| {
            failover.from == id
                && failover.track.as_deref() == Some("video")
                && failover.offset >= bytes / 2
        })
        .unwrap_or_else(|| panic!("{id} died after {bytes} bytes: {:?}", report.failovers));
    assert_ne!(failover.to, id);
    assert!(failover.first_byte_s.is_some(), "{failover:?}");
    assert!(
        failover.wasted_bytes <= bytes / 10,
        "{failover:?} of more than {bytes}"
    );
    let entries = system.entries_at_end().await;
    assert_report_is_what_edges_logged_but(report, &entries, &id);
    assert!(
        whole_lines(&played.ended.out).any(|line| line.contains("granted")),
        "{}",
        played.ended.out
    );
}

/// The first two edges lie about every media segment but the first two, each in its own way; the third one is honest.
#[tokio::test]
async fn edges_that_give_wrong_bytes_are_played_around() {
    // The honest one is further away: it does not win the race at the start.
    const FAR: &[&str] = &["--rate", "8mbps", "--delay", "60ms"];
    // On a busy machine the honest edge may be too slow now and then, which counts as a failure too.
    let room = Room::alone().await;
    let mut edges = Vec::new();
    for (id, arguments) in [("corrupt", EDGE), ("short", EDGE), ("good", FAR)] {
        edges.push(Edge::start(&room, id, None, arguments).await);
    }
    let ca = room.path().join("ca/ca.pem");
    let mut arguments = vec!["play", "title/stream.mpd", "--duration", "12s", "--ca"];
    arguments.push(ca.to_str().unwrap());
    for edge in &edges {
        arguments.extend(["--edge", &edge.base_url]);
    }
    let play = Play::start(&room, "play", &arguments);
    // The first segment is shown while it arrives, before anybody knows that it is whole.
    let has_second = |edge: &Edge| {
        let mut entries = edge.entries().into_iter();
        entries.any(|one| one.path.starts_with("/title/v") && one.path.ends_with("00002.m4s"))
    };
    eventually("the second segment is here", PATIENCE, || {
        edges.iter().any(has_second).then_some(())
    })
    .await;
    edges[0].fault(json!({ "kind": "corrupt" })).await;
    edges[1]
        .fault_on(json!({ "kind": "truncate" }), json!({ "after": 0.5 }))
        .await;
    let played = play.played(12).await;
    let report = &played.report;
    assert!(report.played_s > 4.0, "{}", report.played_s);

    // Nothing but the honest edge's bytes was shown.
    let failed = |id: &str| {
        let edge = edges.iter().find(|edge| edge.id == id).unwrap();
        let seen = report.edges.iter().find(|seen| seen.id == edge.host());
        seen.unwrap_or_else(|| panic!("{id}: {:?}", report.edges))
            .failures
    };
    assert!(
        failed("corrupt") + failed("short") > 0,
        "{:?}",
        report.edges
    );
    assert_eq!(failed("good"), 0, "{:?}", report.edges);
}

/// Waits until an edge is in the middle of a video segment, some seconds into the play, and returns its name
/// and how many bytes of the segment it has sent.
async fn in_mid_segment(edges: &[Edge]) -> (String, u64) {
    let mut ended: Vec<(usize, u64)> = edges.iter().map(|_| (usize::MAX, 0)).collect();
    let found = async {
        let mut soon = interval(Duration::from_millis(20));
        loop {
            soon.tick().await;
            for (edge, ended) in edges.iter().zip(&mut ended) {
                let entries = edge.entries();
                let sent = edge.body_bytes().await;
                if ended.0 != entries.len() {
                    *ended = (entries.len(), sent);
                }
                let videos = entries
                    .iter()
                    .filter(|entry| entry.path.starts_with("/title/v"))
                    .count();
                if videos >= 5 && sent - ended.1 >= 300_000 {
                    return (edge.id.clone(), sent - ended.1);
                }
            }
        }
    };
    timeout(PATIENCE, found)
        .await
        .expect("an edge is in the middle of a segment")
}
