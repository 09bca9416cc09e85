//! What is heard, against what is seen.

pub(crate) mod pulse;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::play::nearcast;
use crate::program::{Program, eventually_every};
use crate::room::Room;
use crate::screen::cells::Cells;
use crate::screen::tmux::Terminal;
use crate::title::title;
use pulse::{SoundServer, pipe};

/// The picture is to be this near to the sound; people notice more than that.
const IN_SYNC: Duration = Duration::from_millis(40);
/// How finely one second is measured: a picture is on the screen with the frame that it is drawn with, and frames
/// are 1/24 s apart; the null sink hands its sound on in pieces of about 10 ms, each stamped when it is read.
const RESOLUTION: Duration = Duration::from_millis(42 + 10);
/// Further apart than this even a busy machine does not bring them.
const FAR: Duration = Duration::from_millis(250);
/// What is judged at once.
const SECONDS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(60);
/// How often what was heard is looked at: what is judged needs the processors.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The end of each frame that the player writes.
const FRAME_END: &[u8] = b"\x1b[?2026l";

/// When each picture was first on the screen.
#[derive(Clone, Debug, Default)]
struct Shown(Arc<Mutex<BTreeMap<u32, Instant>>>);

impl Shown {
    /// Reads what the player writes, from a thread of its own.
    fn read(pipe: PathBuf) -> Self {
        let shown = Self::default();
        let to = shown.clone();
        std::thread::spawn(move || {
            let mut pipe = File::open(pipe).unwrap();
            let mut cells = Cells::default();
            let mut waiting = Vec::new();
            let mut buffer = vec![0; 1 << 20];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let now = Instant::now();
                waiting.extend_from_slice(&buffer[..count]);
                while let Some(end) = find(&waiting, FRAME_END) {
                    let rest = waiting.split_off(end + FRAME_END.len());
                    cells.write(&String::from_utf8_lossy(&waiting));
                    waiting = rest;
                    if let Some(code) = cells.code() {
                        to.0.lock().unwrap().entry(code.frame).or_insert(now);
                    }
                }
            }
        });
        shown
    }

    /// Returns when the picture of a whole second was shown, or when one of the next three was, less the time
    /// between.
    fn second(&self, second: u32) -> Option<Instant> {
        let shown = self.0.lock().unwrap();
        let frame = Duration::from_secs(1) / 24;
        (0..4).find_map(|later| {
            let at = shown.get(&(second * 24 + later))?;
            at.checked_sub(frame * later)
        })
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// How much later than its picture each tone was, in seconds; without the first, whose picture waits for it.
fn offsets(tones: &[Instant], shown: &Shown) -> Vec<f64> {
    let mut offsets = Vec::new();
    for second in 1..60 {
        let Some(seen) = shown.second(second) else {
            continue;
        };
        let offset = |heard: &Instant| {
            let later = heard.saturating_duration_since(seen).as_secs_f64();
            later - seen.saturating_duration_since(*heard).as_secs_f64()
        };
        let nearest = tones
            .iter()
            .map(offset)
            .min_by(|a, b| a.abs().total_cmp(&b.abs()));
        offsets.extend(nearest.filter(|offset| offset.abs() < 0.5));
    }
    offsets
}

#[tokio::test]
async fn each_second_is_heard_when_it_is_seen() {
    let room = Room::alone().await;
    let server = SoundServer::start(&room).await;
    let recording = server.record();
    let fifo = room.path().join("screen");
    pipe(&fifo);
    let shown = Shown::read(fifo.clone());
    let title = title();
    let terminal = Terminal::start(
        &room,
        "terminal",
        (80, 24),
        &[("PULSE_SERVER", &server.address())],
        &["demo", "--no-kill", "--title-dir", title.to_str().unwrap()],
    );
    terminal.copy_output(&fifo);

    // A spell in which others have the processors passes; what is out of sync stays so.
    let measured = Mutex::new(Vec::new());
    let in_sync = || {
        let offsets = offsets(&recording.tones(), &shown);
        let is_in_sync = offsets.last_chunk().is_some_and(is_in_sync);
        *measured.lock().unwrap() = offsets;
        is_in_sync.then_some(())
    };
    let heard = timeout(
        PATIENCE,
        eventually_every(
            LOOK_EVERY,
            "sound and picture in sync",
            2 * PATIENCE,
            in_sync,
        ),
    );
    let heard = heard.await;
    let measured = measured.into_inner().unwrap();
    println!(
        "sound after picture: {:.1?} ms",
        measured
            .iter()
            .map(|offset| offset * 1e3)
            .collect::<Vec<_>>()
    );
    assert!(heard.is_ok(), "out of sync: {measured:?}");
    terminal.press(&["q"]);
    assert_eq!(terminal.left().await.status, 0);
}

/// Whether sound and picture were together for these seconds.
///
/// The median is what can be measured: over many seconds the resolution evens out. Single seconds are as good as the
/// machine is idle, for a picture that is drawn late because others have the processors counts as one that is out of
/// sync. So most of them must be as near as can be told apart, and none but a few far off.
fn is_in_sync(offsets: &[f64; SECONDS]) -> bool {
    let mut sorted = *offsets;
    sorted.sort_by(f64::total_cmp);
    let within = |span: Duration| {
        let near = |offset: &&f64| offset.abs() <= span.as_secs_f64();
        offsets.iter().filter(near).count()
    };
    sorted[SECONDS / 2].abs() <= IN_SYNC.as_secs_f64()
        && within(IN_SYNC + RESOLUTION) * 4 >= SECONDS * 3
        && within(FAR) * 10 >= SECONDS * 9
}

#[tokio::test]
async fn without_a_terminal_there_is_a_line_for_each_event_and_sound_too() {
    let room = Room::alone().await;
    let server = SoundServer::start(&room).await;
    let recording = server.record();
    let mut command = nearcast(&room);
    command
        .args(["demo", "--no-kill", "--start", "1m", "--title-dir"])
        .arg(title())
        .env("PULSE_SERVER", server.address());
    let mut program = Program::start(&room, "lines", command);
    program.line("playing", PATIENCE).await;
    let tones = eventually_every(LOOK_EVERY, "three tones", PATIENCE, || {
        Some(recording.tones()).filter(|tones| tones.len() >= 3)
    })
    .await;
    for pair in tones.windows(2) {
        let apart = (pair[1] - pair[0]).as_secs_f64();
        assert!((0.85..1.3).contains(&apart), "{tones:?}");
    }
    program.signal(rustix::process::Signal::INT);
    let ended = program.ended(PATIENCE).await;
    assert_eq!((ended.status, ended.err.as_str()), (Some(0), ""));
    assert!(
        ended.out.contains("video begins with v") && ended.out.contains("played "),
        "{}",
        ended.out
    );
}
