//! The terminal player in a real terminal, seen and used as a viewer does.

pub(crate) mod cells;
pub(crate) mod tmux;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::room::Room;
use crate::title::{FRAMES_PER_SECOND, title};
use cells::Cells;
use tmux::{Shot, Terminal};

/// A size that shows all there is.
const LARGE: (u16, u16) = (160, 50);
/// The usual one.
const SMALL: (u16, u16) = (80, 24);

/// What a busy machine may be late with a picture, in frames: a third of a second.
const LATE: f64 = 8.0;

const EDGES: [&str; 10] = [
    "sto-1", "sto-2", "upp-1", "got-1", "osl-1", "hel-1", "cph-1", "ham-1", "ams-1", "lon-1",
];

fn demo(room: &Room, name: &str, size: (u16, u16), more: &[&str]) -> Terminal {
    with_environment(room, name, size, &[], more)
}

fn with_environment(
    room: &Room,
    name: &str,
    size: (u16, u16),
    environment: &[(&str, &str)],
    more: &[&str],
) -> Terminal {
    let title = title();
    let arguments = ["demo", "--no-kill", "--title-dir", title.to_str().unwrap()];
    let arguments = [&arguments, more].concat();
    Terminal::start(room, name, size, environment, &arguments)
}

/// Returns the edge that the table marks as in use.
fn edge_in_use(cells: &Cells) -> Option<&'static str> {
    let text = cells.text();
    let is_marked = |id: &&str| text.contains(&format!("▶ {id} "));
    EDGES.into_iter().find(|id| is_marked(id))
}

/// Waits until nothing more is on its way to the screen, and returns which frame stands there.
async fn still_frame(terminal: &Terminal) -> u32 {
    let mut last = terminal.shot().await.code.frame;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let frame = terminal.shot().await.code.frame;
        if frame == last {
            return frame;
        }
        last = frame;
    }
    panic!("the picture goes on")
}

/// Returns in which frames the picture must be at a second shot, after a first one.
fn frames_between(first: &Shot, second: &Shot) -> std::ops::RangeInclusive<f64> {
    let frames = |from: Instant, to: Instant| (to - from).as_secs_f64() * FRAMES_PER_SECOND;
    frames(first.before, second.after) - LATE..=frames(first.after, second.before) + LATE
}

#[tokio::test]
async fn the_demo_shows_picture_edges_and_decisions_and_survives_a_kill() {
    let room = Room::alone().await;
    let terminal = demo(&room, "demo", LARGE, &[]);
    terminal
        .wait_for_frame("the first second", |frame| frame >= 24)
        .await;

    let first = terminal.shot().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = terminal.shot().await;
    let apart = f64::from(second.code.frame) - f64::from(first.code.frame);
    let expected = frames_between(&first, &second);
    println!("two screenshots 2 s apart show frames {apart} apart, expected {expected:?}");
    assert!(expected.contains(&apart), "{first:?} {second:?}");

    let cells = terminal.screenshot();
    for id in EDGES {
        assert!(cells.line(id).is_some(), "{id}:\n{}", cells.text());
    }
    let used = edge_in_use(&cells).unwrap();
    let line = cells.line(&format!("▶ {used} ")).unwrap();
    assert!(
        line.contains(" ok ") && line.contains(" ms ") && line.contains(" MB"),
        "state and rates: {line}"
    );
    assert!(cells.line("Gothenburg").is_some(), "sites have room");
    assert!(cells.line("decisions").is_some());
    let started = "start: enough media is buffered";
    assert!(cells.line(started).is_some(), "{}", cells.text());

    terminal.press(&["K"]);
    let (next, frame) = terminal
        .wait_for("another edge", |cells| {
            let next = edge_in_use(cells).filter(|next| *next != used)?;
            cells
                .line(&format!("  {used} "))?
                .contains("killed")
                .then_some(())?;
            Some((next, cells.code()?.frame))
        })
        .await;
    println!("{used} was killed, {next} goes on");
    // Longer than what was on its way from the dead edge lasts.
    terminal
        .wait_for_frame("the play going on", |later| later > frame + 24 * 5)
        .await;
    let cells = terminal.wait_for_text("stalls 0").await;
    assert!(cells.line("▶ playing").is_some());
}

#[tokio::test]
async fn keys_do_what_the_help_says() {
    let room = Room::alone().await;
    let terminal = demo(&room, "keys", SMALL, &["--no-sound"]);
    terminal
        .wait_for_frame("the first second", |frame| frame >= 24)
        .await;

    terminal.press(&["Space"]);
    terminal.wait_for_text("paused").await;
    let stands = still_frame(&terminal).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(terminal.shot().await.code.frame, stands);

    let near = |frame: u32, wanted: u32| frame.abs_diff(wanted) <= 6;
    terminal.press(&["Right"]);
    let later = terminal
        .wait_for_frame("10 s on", |frame| near(frame, stands + 240))
        .await;
    terminal.press(&["Left"]);
    terminal
        .wait_for_frame("10 s back", |frame| near(frame, later - 240))
        .await;
    terminal.press(&["5"]);
    terminal
        .wait_for_frame("the middle", |frame| near(frame, 126 * 24 / 2))
        .await;
    terminal.press(&["Home"]);
    terminal
        .wait_for_frame("the start", |frame| frame <= 6)
        .await;
    terminal.wait_for_text("paused").await;

    terminal.press(&["Space"]);
    terminal
        .wait_for_frame("playing again", |frame| frame > 24)
        .await;
    terminal.press(&["s"]);
    terminal
        .wait_for("a subtitle", |cells| {
            cells
                .line("the time is")
                .or_else(|| cells.line("klockan är"))
        })
        .await;
    terminal.press(&["-"]);
    terminal.wait_for_text("volume 95 %").await;
    terminal.press(&["m"]);
    terminal.wait_for_text("muted").await;

    terminal.press(&["?"]);
    let help = terminal.wait_for_text("play, pause").await;
    assert!(help.line("kill the edge in use").is_some());
    terminal.press(&["?"]);
    terminal
        .wait_for("the help is gone", |cells| {
            cells.line("play, pause").is_none().then_some(())
        })
        .await;
    terminal.press(&["q"]);
    assert_eq!(terminal.left().await.status, 0);
}

#[tokio::test]
async fn the_picture_outlives_a_change_of_size() {
    let room = Room::alone().await;
    let terminal = demo(&room, "resize", LARGE, &["--no-sound"]);
    let mut last = terminal
        .wait_for_frame("the first second", |frame| frame >= 24)
        .await;
    for size in [SMALL, LARGE] {
        terminal.resize(size);
        let (columns, rows) = size;
        terminal
            .wait_for("the other size", |cells| {
                let text = cells.text();
                let widest = text.lines().map(|line| line.chars().count()).max();
                let fits = widest <= Some(columns.into()) && text.lines().count() <= rows.into();
                let full = cells.line("▶ playing").is_some() && cells.code().is_some();
                (fits && full).then_some(())
            })
            .await;
        // A second further on: it is drawn, not left over.
        last = terminal
            .wait_for_frame("the play going on", |frame| frame > last + 24)
            .await;
    }
    terminal.press(&["q"]);
    assert_eq!(terminal.left().await.status, 0);
}

/// Asserts that a program that ended left a summary on the main screen and nothing else.
fn assert_summary(text: &str) {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let begins = |line: Option<&str>, with: &str| line.is_some_and(|line| line.starts_with(with));
    assert!(begins(lines.next(), "played "), "{text}");
    assert!(begins(lines.next(), "no stall"), "{text}");
    for line in lines {
        let is_edge = EDGES.iter().any(|id| line.starts_with(id));
        assert!(is_edge, "{text}");
    }
}

#[tokio::test]
async fn however_it_ends_the_terminal_is_as_before_and_the_place_is_kept() {
    let room = Room::alone().await;
    let terminal = demo(&room, "quit", SMALL, &[]);
    terminal.shot().await;
    // A place that stands still is there to be seen, however slowly it is looked at.
    terminal.press(&["Space"]);
    terminal.wait_for_text("paused").await;
    terminal.press(&["5"]);
    terminal.wait_for_text("1:03 ━").await;
    terminal
        .wait_for_frame("the middle", |frame| frame.abs_diff(126 * 24 / 2) <= 6)
        .await;
    terminal.press(&["q"]);
    let left = terminal.left().await;
    assert_eq!(left.status, 0, "{}", left.text);
    assert_summary(&left.text);

    let terminal = demo(&room, "ctrl-c", SMALL, &[]);
    terminal.wait_for_text("taken up again at 1:0").await;
    terminal
        .wait_for_frame("where it was left", |frame| frame >= 62 * 24)
        .await;
    terminal.press(&["C-c"]);
    let left = terminal.left().await;
    assert_eq!(left.status, 0, "{}", left.text);
    assert_summary(&left.text);

    let no_color = [("NO_COLOR", "1")];
    let from_start = ["--start", "0"];
    let terminal = with_environment(&room, "sigterm", SMALL, &no_color, &from_start);
    let cells = terminal.wait_for_text("▶ playing").await;
    assert!(cells.line("taken up").is_none());
    assert!(cells.line(" 0:0").is_some(), "{}", cells.text());
    assert!(cells.code().is_none(), "a picture without colours");
    let pid = Pid::from_raw(terminal.pid()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let left = terminal.left().await;
    assert_eq!(left.status, 0, "it had played: {}", left.text);
    assert_summary(&left.text);
}
