//! All edges gone after the first frame: a state, not an end.

use std::time::Duration;

use nearcast_protocol::report::SessionReport;
use rustix::process::Signal;

use crate::play::Play;
use crate::room::Room;
use crate::title::linked_title;
use crate::web::Nginx;

const SOON: Duration = Duration::from_secs(20);

/// So slow that no more than some seconds are buffered when the first frame is shown.
async fn slow(room: &Room, name: &str) -> Nginx {
    linked_title(room, "root/title");
    Nginx::start(room, name, &room.path().join("root"), Some("250k")).await
}

#[tokio::test]
async fn playback_resumes_when_edges_come_back() {
    let room = Room::new();
    let mut nginx = slow(&room, "nginx").await;
    let base = nginx.url("");
    let arguments = [
        "play",
        "title/stream.mpd",
        "--edge",
        &base,
        "--duration",
        "40s",
    ];
    let mut play = Play::start(&room, "play", &arguments);
    play.program.line("playing", SOON).await;
    nginx.sigkill().await;

    play.program
        .line("no edge answers; trying again", SOON)
        .await;
    play.program
        .line("stalled (", Duration::from_secs(30))
        .await;
    let _nginx = nginx.again(&room).await;
    play.program.line("an edge answers again", SOON).await;
    let played = play.ended(40).await;
    played.assert_complete_with_stalls();
    assert_eq!(played.ended.err, "");
    let report = &played.report;
    assert_eq!(report.stall_count, 1, "{:?}", report.stalls);
    assert!(
        report.stalls[0].cause == "all_edges_down",
        "{:?}",
        report.stalls
    );
    // Whatever the back-off was when the edge came back, a viewer does not wait for long.
    let back = report.stalls[0].at_s + report.stalls[0].duration_s;
    assert!(
        report.played_s > report.stalls[0].at_s + 1.0,
        "{back} {:?}",
        report.stalls
    );
}

#[tokio::test]
async fn a_player_that_may_give_up_says_so() {
    let room = Room::new();
    let mut nginx = slow(&room, "nginx").await;
    let base = nginx.url("");
    let arguments = [
        "play",
        "title/stream.mpd",
        "--edge",
        &base,
        "--give-up",
        "5s",
    ];
    let mut play = Play::start(&room, "play", &arguments);
    play.program.line("playing", SOON).await;
    nginx.sigkill().await;

    let played = play.ended(60).await;
    assert_eq!(played.ended.status, Some(1), "{}", played.ended.out);
    let lines: Vec<&str> = played.ended.err.lines().collect();
    let [line] = lines.as_slice() else {
        panic!("one line: {lines:?}")
    };
    assert!(line.starts_with("nearcast: playback.stalled: "), "{line}");
    assert!(
        line.contains("5 s") && line.contains("connect_refused"),
        "{line}"
    );
    let report = &played.report;
    assert_eq!(report.error.as_ref().unwrap().code, "playback.stalled");
    assert!(
        (5.0..6.0).contains(&report.stalled_s),
        "{:?}",
        report.stalls
    );
    crate::frames::assert_every_frame_once(&played.frames, report.played_s);
}

#[tokio::test]
async fn a_stall_at_the_end_of_the_time_is_a_failure() {
    let room = Room::new();
    let mut nginx = slow(&room, "nginx").await;
    let base = nginx.url("");
    let arguments = [
        "play",
        "title/stream.mpd",
        "--edge",
        &base,
        "--duration",
        "20s",
    ];
    let mut play = Play::start(&room, "play", &arguments);
    play.program.line("playing", SOON).await;
    nginx.sigkill().await;
    let played = play.ended(20).await;
    assert_eq!(played.ended.status, Some(1), "{}", played.ended.out);
    assert!(
        played.ended.err.starts_with("nearcast: playback.stalled: "),
        "{}",
        played.ended.err
    );
    assert!(played.report.stall_count > 0);
}

/// Whoever ends a play gets what was measured until then.
#[tokio::test]
async fn an_interrupted_play_writes_its_report() {
    for (name, signal) in [("int", Signal::INT), ("term", Signal::TERM)] {
        let room = Room::new();
        let nginx = slow(&room, "nginx").await;
        let url = nginx.url("title/stream.mpd");
        let mut play = Play::start(&room, name, &["play", &url]);
        play.program.line("playing", SOON).await;
        play.program.signal(signal);
        let played = play.ended(5).await;
        let SessionReport {
            wall_s, startup_s, ..
        } = played.report;
        assert!(startup_s.is_some() && wall_s < 25.0, "{wall_s}");
        assert!(
            played.ended.out.contains("started after"),
            "{}",
            played.ended.out
        );
    }
}
