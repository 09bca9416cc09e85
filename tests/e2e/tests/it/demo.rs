//! `nearcast demo`, as the README has it: ten edges, one of which is killed in the middle of a segment.

use crate::access::{assert_report_is_what_edges_logged, read_entries};
use crate::play::Play;
use crate::room::Room;
use crate::title::title;

#[tokio::test]
async fn an_edge_dies_and_the_viewer_notices_nothing() {
    let room = Room::new();
    let logs = room.folder("logs");
    let title = title();
    let arguments = [
        "demo",
        "--title-dir",
        title.to_str().unwrap(),
        "--duration",
        "40s",
        "--access-logs",
        logs.to_str().unwrap(),
    ];
    let played = Play::start(&room, "demo", &arguments).played(40).await;
    let report = &played.report;

    assert!(report.played_s > 35.0, "{}", report.played_s);
    assert_eq!(report.edges.len(), 10);
    assert!(
        played.ended.out.contains("was killed in mid-segment"),
        "{}",
        played.ended.out
    );

    let entries: Vec<_> = std::fs::read_dir(&logs)
        .unwrap()
        .flat_map(|file| read_entries(&file.unwrap().path()))
        .collect();
    assert_report_is_what_edges_logged(report, &entries);

    // The edge's own log says where it died; the report says that another one went on from there.
    let killed: Vec<_> = entries
        .iter()
        .filter(|entry| entry.end == "killed")
        .collect();
    let video = killed
        .iter()
        .find(|entry| entry.path.starts_with("/title/v"))
        .unwrap();
    let failover = report
        .failovers
        .iter()
        .find(|failover| failover.from == video.appliance)
        .unwrap();
    assert!(failover.at_s > 15.0, "{failover:?}");
    assert_eq!(failover.track.as_deref(), Some("video"));
    assert!(
        failover.offset > 0 && failover.offset <= video.bytes,
        "{failover:?} {video:?}"
    );
    assert_ne!(failover.to, failover.from);
    assert!(
        failover.detected_s < 2.0 && failover.first_byte_s.unwrap() < 2.0,
        "{failover:?}"
    );

    let size = std::fs::metadata(title.join(video.path.strip_prefix("/title/").unwrap()))
        .unwrap()
        .len();
    assert!(
        failover.wasted_bytes * 10 < size,
        "{failover:?} of {size} bytes"
    );
    let rest = entries.iter().find(|entry| {
        entry.appliance == failover.to && entry.path == video.path && entry.end == "complete"
    });
    let first = rest.unwrap().first.unwrap();
    assert!(
        first > 0 && first <= failover.offset,
        "the rest was asked for, not the whole: {rest:?}"
    );
}
