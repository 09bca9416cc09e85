//! All edges gone after the first frame: a state, not an end.

use std::time::Duration;

use nearcast_protocol::report::{AttemptReport, SessionReport};
use rustix::process::Signal;

use crate::play::Play;
use crate::program::eventually;
use crate::room::Room;
use crate::title::linked_title;
use crate::web::Nginx;

const SOON: Duration = Duration::from_secs(20);
/// Until an edge was tried several times, with longer and longer rests.
const PATIENCE: Duration = Duration::from_secs(60);

/// So slow that no more than some seconds are buffered when the first frame is shown.
async fn slow(room: &Room, name: &str) -> Nginx {
    if !room.path().join("root/title").exists() {
        linked_title(room, "root/title");
    }
    Nginx::start(room, name, &room.path().join("root"), Some("250k")).await
}

/// Waits until an edge was tried in vain several times.
async fn tried_in_vain(play: &Play, edge: &str) {
    let rests = format!("edge {edge} rests (net.connect_refused)");
    // It is said for sound and for picture: when they were cut off, and each time they try.
    let tried = || (play.program.out().matches(&rests).count() >= 2 + 2 * 3).then_some(());
    eventually("the edge is tried again and again", PATIENCE, tried).await;
}

/// Asserts that an edge that is down is left alone for longer and longer: `rest_s` after its first failure, twice
/// that after the next, and so on, but never for more than a few seconds.
fn assert_backs_off(report: &SessionReport, edge: &str, rest_s: f64) {
    let refused = |attempt: &&AttemptReport| {
        attempt.edge == edge && attempt.code.as_deref() == Some("net.connect_refused")
    };
    let attempts = report.fetches.iter().flat_map(|fetch| &fetch.attempts);
    let mut tries: Vec<f64> = attempts
        .filter(refused)
        .map(|attempt| attempt.start_s)
        .collect();
    tries.sort_by(f64::total_cmp);
    // Sound and picture try at the same time.
    tries.dedup_by(|later, earlier| *later - *earlier < 0.1);
    assert!(tries.len() >= 3, "{tries:?}");
    let mut due_s = rest_s;
    for pair in tries.windows(2) {
        let gap_s = pair[1] - pair[0];
        // Rests are jittered by up to a quarter. A busy machine makes them longer, never shorter.
        assert!(gap_s > due_s * 0.75 - 0.01, "{due_s} s were due: {tries:?}");
        assert!(gap_s < REST_MAX_S + 6.0, "{tries:?}");
        due_s = (due_s * 2.0).min(REST_MAX_S);
    }
}

/// Waits for a line that comes after playback had stalled: before, what was still on its way may have been answers.
async fn after_the_stall(play: &Play, text: &str) {
    let told = || {
        let out = play.program.out();
        let stalled = out.find("stalled (")?;
        out[stalled..].contains(text).then_some(())
    };
    eventually(text, PATIENCE, told).await;
}

/// Waits until it plays again, ends it some seconds later and returns its report.
///
/// What comes as slowly as here may stall once more on a busy machine.
async fn goes_on(play: Play) -> SessionReport {
    after_the_stall(&play, "an edge answers again").await;
    after_the_stall(&play, "playing").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    play.program.signal(Signal::INT);
    let played = play.ended(5).await;
    played.assert_complete_with_stalls();
    assert_eq!(played.ended.err, "");
    let report = played.report;
    let first = &report.stalls[0];
    assert_eq!(first.cause, "all_edges_down", "{:?}", report.stalls);
    let played_before_s = first.at_s - report.startup_s.unwrap();
    assert!(
        report.played_s > played_before_s + 0.5,
        "{} {:?}",
        report.played_s,
        report.stalls
    );
    report
}

/// While no edge answers none rests for longer.
const REST_MAX_S: f64 = 4.0;

#[tokio::test]
async fn playback_resumes_when_edges_come_back() {
    let room = Room::new().await;
    let mut nginx = slow(&room, "nginx").await;
    let base = nginx.url("");
    let arguments = ["play", "title/stream.mpd", "--edge", &base];
    let mut play = Play::start(&room, "play", &arguments);
    play.program.line("playing", SOON).await;
    nginx.sigkill().await;

    play.program.line("no edge answers", SOON).await;
    play.program
        .line("stalled (", Duration::from_secs(30))
        .await;
    let edge = nginx.edge();
    tried_in_vain(&play, &edge).await;
    let _nginx = nginx.again(&room).await;
    let report = goes_on(play).await;
    // One edge alone is tried sooner than one of several.
    assert_backs_off(&report, &edge, 0.25);
}

#[tokio::test]
async fn several_edges_go_and_come_back() {
    let room = Room::new().await;
    let mut servers = [slow(&room, "a").await, slow(&room, "b").await];
    let bases = servers.each_ref().map(|server| server.url(""));
    let mut arguments = vec!["play", "title/stream.mpd"];
    for base in &bases {
        arguments.extend(["--edge", base]);
    }
    let mut play = Play::start(&room, "play", &arguments);
    play.program.line("playing", SOON).await;
    for server in &mut servers {
        server.sigkill().await;
    }
    play.program.line("no edge answers", SOON).await;
    play.program
        .line("stalled (", Duration::from_secs(30))
        .await;
    let edges = servers.each_ref().map(Nginx::edge);
    for edge in &edges {
        tried_in_vain(&play, edge).await;
    }
    // One is enough.
    let [first, second] = servers;
    let _first = first.again(&room).await;
    after_the_stall(&play, "an edge answers again").await;
    let _second = second.again(&room).await;
    let report = goes_on(play).await;
    for edge in &edges {
        assert_backs_off(&report, edge, 2.0);
    }
}

#[tokio::test]
async fn a_player_that_may_give_up_says_so() {
    let room = Room::new().await;
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

    let played = play.ended(30).await;
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
    assert!(report.stalled_s >= 5.0, "{:?}", report.stalls);
    crate::frames::assert_every_frame_once(&played.frames, report.played_s);
}

#[tokio::test]
async fn a_stall_at_the_end_of_the_time_is_a_failure() {
    let room = Room::new().await;
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
        let room = Room::new().await;
        let nginx = slow(&room, "nginx").await;
        let url = nginx.url("title/stream.mpd");
        let mut play = Play::start(&room, name, &["play", &url]);
        play.program.line("playing", SOON).await;
        play.program.signal(signal);
        let played = play.ended(5).await;
        let SessionReport {
            wall_s, startup_s, ..
        } = played.report;
        assert!(startup_s.is_some_and(|startup_s| startup_s < wall_s));
        assert!(
            played.ended.out.contains("started after"),
            "{}",
            played.ended.out
        );
    }
}
