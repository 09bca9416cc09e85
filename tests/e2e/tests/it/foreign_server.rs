//! The title from plain nginx: no backend, no edge of ours, nothing that knows us.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use nearcast_protocol::report::{AttemptReport, FailoverReport, SessionReport};
use rustix::process::Signal;

use crate::play::{Play, Played};
use crate::program::{eventually, whole_lines};
use crate::room::Room;
use crate::title::title;
use crate::web::{Nginx, in_mid_segment};

const START_MAX: Duration = Duration::from_secs(30);

/// A folder to serve with the title in it.
fn root(room: &Room) -> PathBuf {
    let root = room.folder("root");
    std::os::unix::fs::symlink(title(), root.join("title")).unwrap();
    root
}

#[tokio::test]
async fn dash_and_hls_play_from_a_plain_web_server() {
    let room = Room::new().await;
    let nginx = Nginx::start(&room, "nginx", &root(&room), None).await;
    let start = |name: &str, manifest: &str| {
        let url = nginx.url(manifest);
        Play::start(&room, name, &["play", &url, "--duration", "10s"])
    };
    let dash = start("dash", "title/stream.mpd");
    let hls = start("hls", "title/master.m3u8");
    for play in [dash, hls] {
        let played = play.played(10).await;
        let report = &played.report;
        assert!(report.played_s > 4.0, "{}", report.played_s);
        assert_eq!(report.content.duration_s.map(f64::round), Some(126.0));
        assert_eq!(report.content.ladder.len(), 6);
        assert_eq!(played.media_protocols(), ["http1"]);
        assert!(report.failovers.is_empty(), "{:?}", report.failovers);
    }
    let lines = nginx.lines();
    assert!(
        lines
            .iter()
            .all(|line| line.protocol == "HTTP/1.1" && matches!(line.status, 200 | 206)),
        "{lines:?}"
    );
    let count = |path: &str| lines.iter().filter(|line| line.path == path).count();
    assert_eq!(
        (count("/title/stream.mpd"), count("/title/master.m3u8")),
        (1, 1)
    );
}

/// What counts as the middle of a segment, per cent.
const MIDDLE: std::ops::RangeInclusive<u64> = 10..=90;

/// What happens to one of two servers.
enum Blow {
    Kill,
    Stop,
}

/// Plays from two servers, one of which is hit in the middle of a video segment.
async fn play_through(room: &Room, blow: Blow) -> (Played, FailoverReport) {
    let root = root(room);
    // A segment of the rungs that fit takes some seconds: its middle is long.
    let mut servers = [
        Nginx::start(room, "a", &root, Some("500k")).await,
        Nginx::start(room, "b", &root, Some("500k")).await,
    ];
    let bases = [servers[0].url(""), servers[1].url("")];
    let arguments = [
        "play",
        "title/stream.mpd",
        "--edge",
        &bases[0],
        "--edge",
        &bases[1],
        // A better picture of what is buffered is not taken over by anybody: none is fetched.
        "--abr",
        "dynamic",
    ];
    let mut play = Play::start(room, "play", &arguments);
    play.program.line("playing", START_MAX).await;
    let videos = |server: &Nginx| -> Vec<String> {
        let paths = server.lines().into_iter().map(|line| line.path);
        paths
            .filter(|path| path.starts_with("/title/v") && path.ends_with(".m4s"))
            .collect()
    };
    // Some segments first, so that there is a buffer to live from. One may have come in several answers.
    eventually("four video segments came", START_MAX, || {
        let paths = servers.iter().flat_map(videos);
        let names: BTreeSet<String> = paths
            .filter_map(|path| Some(path.rsplit_once('/')?.1.to_owned()))
            .collect();
        (names.len() >= 4).then_some(())
    })
    .await;
    let hit = in_mid_segment(&servers, 400_000).await;
    let (from, to) = (servers[hit].edge(), servers[1 - hit].edge());
    let told = format!("video goes on from {to} instead of {from} at byte ");
    let hand_overs = |play: &Play| -> Vec<u64> {
        let out = play.program.out();
        let offsets = whole_lines(&out).filter_map(|line| line.split_once(&told));
        offsets
            .map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap())
            .collect()
    };
    let before = hand_overs(&play).len();
    match blow {
        Blow::Kill => servers[hit].sigkill().await,
        Blow::Stop => servers[hit].sigstop(),
    }
    let offset = eventually("the other server takes over", START_MAX, || {
        hand_overs(&play).get(before).copied()
    })
    .await;
    let known = videos(&servers[1 - hit]).len();
    eventually("two more segments came", START_MAX, || {
        (videos(&servers[1 - hit]).len() >= known + 2).then_some(())
    })
    .await;
    play.program.signal(Signal::INT);
    let played = play.played(5).await;
    // The server may have been left before, for being slow.
    let failovers = &played.report.failovers;
    let video = failovers.iter().find(|failover| {
        failover.from == from
            && failover.to == to
            && failover.track.as_deref() == Some("video")
            && failover.offset == offset
    });
    let video = video
        .unwrap_or_else(|| panic!("from {from} to {to} at byte {offset}: {failovers:?}"))
        .clone();
    assert!(video.first_byte_s.is_some(), "{video:?}");
    let (path, first) = taken_over(&played.report, &video);
    let size = std::fs::metadata(root.join(&path)).unwrap().len();
    assert!(
        MIDDLE.contains(&(video.offset * 100 / size)),
        "{video:?} of {size} bytes"
    );

    // The other server's own log: the same segment, from the middle on.
    let lines = servers[1 - hit].lines();
    let rest = lines.iter().find(|line| {
        line.status == 206
            && line.path == format!("/{path}")
            && started_at(line.range.as_deref()) == first
    });
    assert_eq!(
        rest.map(|line| line.bytes),
        Some(size - first),
        "{path} from {first} on: {lines:?}"
    );
    (played, video)
}

/// Returns the file whose transfer was taken over, and from which byte on the other server was asked for it.
fn taken_over(report: &SessionReport, failover: &FailoverReport) -> (String, u64) {
    let left = |attempt: &AttemptReport| {
        attempt.edge == failover.from
            && attempt.offset + attempt.bytes == failover.offset
            && (attempt.start_s..=attempt.end_s).contains(&failover.at_s)
    };
    let fetch = report
        .fetches
        .iter()
        .find(|fetch| fetch.track == failover.track && fetch.attempts.iter().any(left))
        .unwrap_or_else(|| panic!("no attempt was left at {failover:?}"));
    // It may have helped before, through a second in which `limit_rate` let nothing through, and not been needed.
    let next = fetch
        .attempts
        .iter()
        .find(|attempt| attempt.edge == failover.to && attempt.result == "ok")
        .unwrap();
    let folder = fetch.representation.as_ref().unwrap();
    let path = format!("title/{folder}/{:05}.m4s", fetch.segment.unwrap() + 1);
    (path, next.offset)
}

/// Returns the first byte that a `Range` asks for.
fn started_at(range: Option<&str>) -> u64 {
    let range = range
        .and_then(|range| range.strip_prefix("bytes="))
        .unwrap();
    range.split('-').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_server_killed_in_mid_segment_is_not_noticed() {
    let room = Room::alone().await;
    let (_, video) = play_through(&room, Blow::Kill).await;
    assert!(video.detected_s < 1.0, "a reset is seen at once: {video:?}");
    assert!(
        video.wasted_bytes <= 4096,
        "only the overlap comes twice: {video:?}"
    );
}

#[tokio::test]
async fn a_server_stopped_in_mid_segment_is_not_noticed() {
    let room = Room::alone().await;
    let (played, video) = play_through(&room, Blow::Stop).await;
    // `limit_rate` lets nothing through for a second at a time, so that silence says little before. The aim is
    // 2 s; a busy machine may need some more.
    assert!(video.first_byte_s.unwrap() < 4.0, "{video:?}");
    let stopped = played
        .report
        .edges
        .iter()
        .find(|edge| edge.id == video.from)
        .unwrap();
    assert!(
        stopped.failures > 0 && stopped.state != "closed",
        "{stopped:?}"
    );
}
