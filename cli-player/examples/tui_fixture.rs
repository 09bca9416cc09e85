//! A player of one still picture, for the tests of the terminal half (`tests/it`).
//!
//! `tui_fixture shell WISH MS` takes a controlling terminal as a shell does and starts `tui_fixture play WISH MS`
//! in it, as a job of its own; `no-jobs` does so without job control, as a container does. The terminal's answers
//! may take so many milliseconds. Space shows the other picture, `m` makes a thread panic.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command as Process, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nearcast_cli::tui::state::Phase;
use nearcast_cli::tui::{self, Command, End, Feeds, Options, Picture, PixelSize, Playback};
use rustix::process::{Pid, WaitOptions};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Any error ends the fixture, with its text on standard error.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["shell", wish, within_ms] => shell(wish, within_ms, true),
        ["no-jobs", wish, within_ms] => shell(wish, within_ms, false),
        ["play", wish, within_ms] => play(wish, within_ms),
        _ => Err("tui_fixture shell|no-jobs|play WISH MS".into()),
    };
    outcome.unwrap_or_else(|error| {
        writeln!(io::stderr(), "fixture: {error}").ok();
        ExitCode::FAILURE
    })
}

fn shell(wish: &str, within_ms: &str, has_job_control: bool) -> Outcome<ExitCode> {
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    let mut player = Process::new(std::env::current_exe()?);
    player.args(["play", wish, within_ms]);
    if has_job_control {
        player.process_group(0);
    }
    let pid = Pid::from_child(&player.spawn()?);
    if has_job_control {
        rustix::termios::tcsetpgrp(rustix::stdio::stdin(), pid)?;
    }
    loop {
        let Some((_, status)) = rustix::process::waitpid(Some(pid), WaitOptions::UNTRACED)? else {
            continue;
        };
        if status.stopped() {
            writeln!(io::stdout(), "job stopped")?;
        } else {
            let code = status
                .exit_status()
                .and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
    }
}

/// Waits until the shell has put this job into the foreground: before that the terminal stops whoever
/// changes its modes.
fn wait_for_foreground() -> Outcome<()> {
    let group = rustix::process::getpgrp();
    for _ in 0..10_000 {
        if rustix::termios::tcgetpgrp(rustix::stdio::stdin())? == group {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Err("the shell never gave the terminal".into())
}

#[tokio::main]
async fn play(wish: &str, within_ms: &str) -> Outcome<ExitCode> {
    wait_for_foreground()?;
    writeln!(io::stdout(), "pid {}", std::process::id())?;
    let playback = Playback {
        title: "Fixture Title".to_owned(),
        phase: Phase::Playing,
        duration: Some(Duration::from_secs(600)),
        ..Playback::default()
    };
    let (state, playback) = watch::channel(playback);
    let (pictures, newest) = watch::channel(Some(pattern(false)?));
    let (commands, inbox) = mpsc::channel(16);
    let feeds = Feeds {
        playback,
        pictures: newest,
        commands,
        stop: CancellationToken::new(),
    };
    let heard = Arc::default();
    let player = tokio::spawn(answer(inbox, state, pictures, Arc::clone(&heard)));
    let options = Options {
        picture: wish.parse()?,
        answers_within: Duration::from_millis(within_ms.parse()?),
        stderr_to: None,
    };
    let end = tui::run(options, feeds).await?;
    player.abort();
    writeln!(io::stdout(), "end {end:?}")?;
    let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    writeln!(io::stdout(), "heard {}", heard.join(" "))?;
    writeln!(io::stderr(), "stderr is back")?;
    Ok(match end {
        End::Signal(number) => ExitCode::from(128 + u8::try_from(number)?),
        End::Panicked => ExitCode::from(101),
        End::Quit | End::Stopped => ExitCode::SUCCESS,
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    reason = "few commands do something, and one of them panics on purpose"
)]
async fn answer(
    mut inbox: mpsc::Receiver<Command>,
    state: watch::Sender<Playback>,
    pictures: watch::Sender<Option<Picture>>,
    heard: Arc<Mutex<Vec<String>>>,
) -> Outcome<()> {
    while let Some(command) = inbox.recv().await {
        writeln!(io::stderr(), "stray line: {command:?}")?;
        heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{command:?}"));
        // What was said before the command was heard is said once more, as a player does that is busy.
        state.send_modify(|_| {});
        state.send_modify(|playback| {
            playback.commands_heard += 1;
            // What a test waits for is written in one piece where nothing stood before: of two notices only the
            // letters that differ are drawn. The size comes at any time, of the screen's own accord.
            if !matches!(command, Command::Play | Command::PictureSize(_)) {
                playback.notice = Some(format!("got {command:?}"));
            }
            if matches!(command, Command::Pause | Command::Play) {
                playback.is_paused = command == Command::Pause;
                playback.is_held = playback.is_paused;
                playback.phase = if playback.is_paused {
                    Phase::Paused
                } else {
                    Phase::Playing
                };
            }
        });
        match command {
            // No letter is where it was in the notice before: all of them are drawn again.
            Command::Continued => {
                state.send_modify(|playback| playback.notice = Some("CONTINUED".to_owned()));
            }
            Command::Pause => {
                pictures.send_replace(Some(pattern(true)?));
            }
            Command::SetMuted(_) => {
                std::thread::spawn(|| std::panic::panic_any("a thread panicked, as asked"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// 64x36 pixels in squares of 4: column, row and a checkerboard in one channel each.
fn pattern(inverted: bool) -> Outcome<Picture> {
    let size = PixelSize {
        width: 64,
        height: 36,
    };
    let mut rgb = Vec::new();
    for y in 0..36_u32 {
        for x in 0..64_u32 {
            let (column, row) = (x / 4, y / 4);
            let check = if (column + row) % 2 == 0 { 200 } else { 40 };
            for value in [column * 16, row * 28, check] {
                let value = u8::try_from(value)?;
                rgb.push(if inverted { 255 - value } else { value });
            }
        }
    }
    Ok(Picture::new(size, rgb)?)
}
