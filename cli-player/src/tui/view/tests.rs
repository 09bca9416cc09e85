use std::time::Duration;

use nearcast_units::{BitRate, ByteCount, MediaTime, Ratio};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::tui::graphics::{CellSize, Colours};
use crate::tui::picture::Picture;
use crate::tui::state::{Decision, Edge, EdgeState, Playback, Rung, RungChoice, Screen, Track};

/// A session in full swing.
pub(in crate::tui) fn sample() -> ViewState {
    let seconds = Duration::from_secs;
    let rung = |name: &str, kbps, height| Rung {
        name: name.to_owned(),
        bitrate: BitRate::from_kbps(kbps),
        height: Some(height),
    };
    let track = |label: &str| Track {
        label: label.to_owned(),
    };
    let decision = |at: u64, kind: &str, text: &str| Decision {
        at: Duration::from_millis(at),
        kind: kind.to_owned(),
        text: text.to_owned(),
        compared: String::new(),
    };
    ViewState {
        playback: Playback {
            title: "Made Title".to_owned(),
            phase: Phase::Playing,
            position: MediaTime::from_duration(seconds(83)),
            duration: Some(seconds(600)),
            video_buffer: Duration::from_millis(22_400),
            audio_buffer: Duration::from_millis(18_000),
            buffer_history: (0..40).map(|step| seconds(step * 3 % 31)).collect(),
            ladder: vec![
                rung("v1", 235, 240),
                rung("v2", 560, 360),
                rung("v3", 1200, 480),
                rung("v4", 2300, 720),
                rung("v5", 3800, 720),
                rung("v6", 6000, 1080),
            ],
            rung: Some(3),
            audio_tracks: vec![track("English"), track("Deutsch")],
            audio: Some(0),
            subtitle_tracks: vec![track("English")],
            volume: Ratio::new(0.8).unwrap(),
            edges: edges(),
            decisions: vec![
                decision(
                    400,
                    "race",
                    "isp-1 won: init segment in 41 ms, isp-2 needed 63 ms",
                ),
                decision(
                    4_100,
                    "rung",
                    "v3 to v4: 18.0 Mbit/s measured, buffer 9.2 s",
                ),
                decision(
                    60_020,
                    "edge",
                    "isp-1 to isp-2: reset after 61 % of segment 16",
                ),
                decision(
                    60_020,
                    "fetch",
                    "segment 16 goes on at byte 457,112 from isp-2",
                ),
                decision(
                    75_600,
                    "edge",
                    "isp-1 rests 4.3 s more, then a probe decides",
                ),
            ],
            failover_count: 1,
            can_kill: true,
            ..Playback::default()
        },
        ..ViewState::default()
    }
}

fn edges() -> Vec<Edge> {
    (1..=10)
        .map(|number: u64| Edge {
            id: if number <= 6 {
                format!("isp-{number}")
            } else {
                format!("ixp-{number}")
            },
            site: if number <= 6 { "home" } else { "ixp" }.to_owned(),
            state: match number {
                1 => EdgeState::Open,
                2 | 3 => EdgeState::Closed,
                4 => EdgeState::HalfOpen,
                _ => EdgeState::Untried,
            },
            protocol: (number < 5).then(|| if number == 3 { "http1" } else { "h3" }.to_owned()),
            ttfb: (number < 5).then(|| Duration::from_millis(number * 7)),
            throughput: (number < 4).then(|| BitRate::from_kbps(18_000 / number)),
            bytes: ByteCount::new(if number < 4 { 31_000_000 / number } else { 0 }),
            in_use: number == 2,
            killed: number == 1,
        })
        .collect()
}

/// A picture of eight grey columns, the same in every row.
fn columns() -> Picture {
    let size = PixelSize {
        width: 16,
        height: 9,
    };
    let row = (0..16_u8).flat_map(|x| [(x / 2) * 36; 3]);
    let rgb: Vec<u8> = row.collect::<Vec<u8>>().repeat(9);
    Picture::new(size, rgb).unwrap()
}

fn draw(width: u16, height: u16, state: &ViewState) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(frame, state)).unwrap();
    terminal
}

/// Characters of the picture are shades here, so that the snapshot shows them.
fn shaded(mut state: ViewState) -> ViewState {
    state.picture = Some(columns());
    state.screen = Screen {
        method: Method::HalfBlocks,
        colours: Colours::None,
        cell: CellSize::default(),
    };
    state
}

fn stalled() -> ViewState {
    let mut state = sample();
    state.playback.phase = Phase::Stalled;
    state.playback.video_buffer = Duration::ZERO;
    state.playback.audio_buffer = Duration::from_millis(1_200);
    state.playback.stall_count = 2;
    state.playback.stalled = Duration::from_millis(2_900);
    state.playback.rung_choice = RungChoice::Locked(5);
    state.playback.notice = Some("all edges are down, next try in 3 s".to_owned());
    state
}

fn subtitled() -> ViewState {
    let mut state = shaded(sample());
    state.playback.subtitles = Some(0);
    state.playback.cue =
        "This is how long a line of text may be,\nand this is the second.".to_owned();
    state
}

fn silent() -> ViewState {
    let mut state = sample();
    state.playback.sound_note = Some("no sound device: not available".to_owned());
    state.playback.resumed_from = Some(MediaTime::from_duration(Duration::from_secs(61)));
    state
}

#[test]
fn screens_of_80x24() {
    insta::assert_snapshot!("playing_80x24", draw(80, 24, &shaded(sample())).backend());
    insta::assert_snapshot!("stalled_80x24", draw(80, 24, &stalled()).backend());
    insta::assert_snapshot!("subtitles_80x24", draw(80, 24, &subtitled()).backend());
    insta::assert_snapshot!("no_sound_80x24", draw(80, 24, &silent()).backend());
    let mut help = shaded(sample());
    help.help = true;
    insta::assert_snapshot!("help_80x24", draw(80, 24, &help).backend());
}

#[test]
fn screens_of_120x40() {
    insta::assert_snapshot!("playing_120x40", draw(120, 40, &shaded(sample())).backend());
    insta::assert_snapshot!("stalled_120x40", draw(120, 40, &stalled()).backend());
    insta::assert_snapshot!("subtitles_120x40", draw(120, 40, &subtitled()).backend());
    insta::assert_snapshot!("no_sound_120x40", draw(120, 40, &silent()).backend());
    let mut help = shaded(sample());
    help.help = true;
    insta::assert_snapshot!("help_120x40", draw(120, 40, &help).backend());
}

#[test]
fn a_small_screen_shows_the_picture_and_a_tiny_one_says_so() {
    insta::assert_snapshot!("playing_60x20", draw(60, 20, &shaded(sample())).backend());
    insta::assert_snapshot!("tiny_30x5", draw(30, 5, &sample()).backend());
}

#[test]
fn before_anything_is_known_there_is_a_screen() {
    insta::assert_snapshot!(
        "nothing_80x24",
        draw(80, 24, &ViewState::default()).backend()
    );
}

fn text(terminal: &Terminal<TestBackend>) -> String {
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let rows = buffer.content().chunks(width);
    let lines = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_hint_has_room_on_the_smallest_screen_with_details() {
    let shown = text(&draw(80, 24, &sample()));
    let hints = shown.lines().last().unwrap();
    for key in ["space", "?", "q", "K", "←→", "[]", "a", "s", "i"] {
        assert!(hints.contains(&format!(" {key} ")), "{key}: {hints}");
    }
}

#[test]
fn what_a_decision_is_about_is_never_cut() {
    let kinds = [
        "race", "rung", "edge", "failover", "hedge", "abandon", "probe", "refresh", "playback",
        "watchdog",
    ];
    for (width, height) in [(80, 24), (110, 34), (200, 60)] {
        for kind in kinds {
            let mut state = sample();
            state.playback.decisions = vec![Decision {
                at: Duration::from_secs(1),
                kind: kind.to_owned(),
                text: "why".to_owned(),
                compared: "v5 2.9".to_owned(),
            }];
            let shown = text(&draw(width, height, &state));
            assert!(shown.contains(&format!("{kind} ")), "{width}: {shown}");
        }
    }
}

#[test]
fn trouble_stays_whatever_else_there_is_to_say() {
    let mut state = sample();
    state.playback.trouble = Some("no edge answers".to_owned());
    assert!(text(&draw(80, 24, &state)).contains("no edge answers"));
    state.playback.notice = Some("isp-1 rests".to_owned());
    state.playback.tls_note = Some("any certificate is accepted".to_owned());
    let shown = text(&draw(80, 24, &state));
    for said in [
        "no edge answers  isp-1 rests",
        "any certificate is accepted",
    ] {
        assert!(shown.contains(said), "{shown}");
    }
}

#[test]
fn what_is_in_the_way_is_read_whole_where_the_picture_will_be() {
    let obstacle = "127.0.0.1:39755: the answer is not HTTP (http://127.0.0.1:39755/x.mpd); check that a web \
                    server listens there; where it speaks TLS, write https://";
    for phase in [Phase::Starting, Phase::Failed] {
        let mut state = sample();
        state.playback.phase = phase;
        state.playback.obstacle = Some(obstacle.to_owned());
        state.playback.notice = Some("edge 127.0.0.1:39755 rests".to_owned());
        for (width, height) in [(80, 24), (120, 40), (60, 20), (40, 10)] {
            let shown = text(&draw(width, height, &state));
            let mut rest = shown.as_str();
            for word in obstacle.split(' ') {
                let at = rest.find(word);
                assert!(at.is_some(), "{width}x{height} lacks {word}: {shown}");
                rest = &rest[at.unwrap()..];
            }
            assert!(shown.contains("edge 127.0.0.1:39755 rests"), "{shown}");
        }
    }
}

#[test]
fn what_is_in_the_way_under_a_picture_is_on_the_line_below() {
    let mut state = shaded(stalled());
    state.playback.obstacle = Some("isp-1: HTTP status 503".to_owned());
    state.playback.notice = None;
    let shown = text(&draw(80, 24, &state));
    let line = shown.lines().find(|line| line.contains("HTTP status 503"));
    assert!(line.unwrap().starts_with(" isp-1"), "{shown}");
}

#[test]
fn no_size_panics() {
    let mut states = [sample(), subtitled(), stalled(), ViewState::default()];
    states[0].help = true;
    for state in &states {
        for (width, height) in [
            (0, 0),
            (1, 1),
            (40, 10),
            (79, 23),
            (80, 24),
            (300, 100),
            (2, 200),
        ] {
            draw(width, height, state);
            let area = Rect::new(0, 0, width, height);
            if let Some(cells) = picture_area(area, state) {
                assert_eq!(area.union(cells), area, "the picture stays on the screen");
            }
        }
    }
}

#[test]
fn numbers_beyond_reason_do_not_panic() {
    let mut state = sample();
    state.playback.position = MediaTime::from_micros(i64::MAX);
    state.playback.video_buffer = Duration::MAX / 4;
    state.playback.buffer_goal = Duration::ZERO;
    state.playback.rung = Some(99);
    state.playback.audio = Some(99);
    state.playback.rung_choice = RungChoice::Locked(99);
    draw(80, 24, &state);
    draw(120, 40, &state);
}

#[test]
fn a_text_from_outside_cannot_control_the_terminal() {
    let mut state = sample();
    state.playback.title = "evil\x1b[2J\x07 title".to_owned();
    state.playback.cue = "\x1b]0;x\x07".to_owned();
    state.playback.subtitles = Some(0);
    let terminal = draw(80, 24, &state);
    let cells = terminal.backend().buffer().content();
    assert!(
        cells
            .iter()
            .all(|cell| !cell.symbol().contains(char::is_control)),
        "no control character reaches a cell"
    );
}

#[test]
fn pixels_and_help_do_not_overlap() {
    let mut state = shaded(sample());
    let area = Rect::new(0, 0, 80, 24);
    state.screen.method = Method::Kitty;
    assert!(picture_area(area, &state).is_some());
    state.help = true;
    assert_eq!(picture_area(area, &state), None);
    state.screen.method = Method::HalfBlocks;
    assert!(
        picture_area(area, &state).is_some(),
        "characters lie over characters"
    );
}

#[test]
fn without_colours_no_colour_is_used() {
    let terminal = draw(80, 24, &shaded(sample()));
    let cells = terminal.backend().buffer().content();
    let reset = ratatui::style::Color::Reset;
    assert!(
        cells
            .iter()
            .all(|cell| cell.fg == reset && cell.bg == reset)
    );
}
