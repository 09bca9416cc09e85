//! A terminal double: a pty, a thread that answers queries as a terminal of some kind does, and everything
//! that was written.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize};

/// Nothing here takes longer on any machine, however busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the double answers to the start-up queries.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// A terminal with kitty graphics and cells of 8x16.
    Kitty,
    /// A terminal with sixels.
    Sixel,
    /// A terminal without graphics.
    Plain,
    /// Nothing at all.
    Silence,
    /// A terminal without graphics, and somebody who types `q` at once.
    PlainAfterQ,
}

impl Answer {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Kitty => b"\x1b_Gi=31;OK\x1b\\\x1b[6;16;8t\x1b[4;384;640t\x1b[?62;22c",
            Self::Sixel => b"\x1b[6;16;8t\x1b[?62;4;22c",
            Self::Plain => b"\x1b[?62;22c",
            Self::Silence => b"",
            Self::PlainAfterQ => b"q\x1b[?62;22c",
        }
    }

    /// How long it is waited for: on a busy machine an answer takes longer than a viewer would wait.
    fn within(self) -> Duration {
        match self {
            Self::Kitty | Self::Sixel | Self::Plain | Self::PlainAfterQ => PATIENCE,
            Self::Silence => Duration::from_millis(300),
        }
    }
}

/// A fixture that runs in a pty.
pub(crate) struct Run {
    shell: Child,
    player: Option<Pid>,
    keys: std::fs::File,
    chunks: Receiver<Vec<u8>>,
    is_read: Arc<AtomicBool>,
    /// Everything written so far.
    pub(crate) output: Vec<u8>,
    /// Modes before the fixture began.
    pub(crate) before: Termios,
    /// Kept open, so that the modes can be read after the end.
    terminal: OwnedFd,
}

/// How a fixture is started.
pub(crate) struct Setup {
    pub(crate) answer: Answer,
    pub(crate) wish: &'static str,
    pub(crate) shell: &'static str,
    pub(crate) term: &'static str,
}

impl Setup {
    pub(crate) fn new(answer: Answer) -> Self {
        Self {
            answer,
            wish: "auto",
            shell: "shell",
            term: "xterm-256color",
        }
    }

    /// Starts the fixture and waits until its player runs.
    pub(crate) fn start(self) -> Run {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = rustix::fs::open(
            &name,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        resize(&terminal, (80, 24), (0, 0));
        let before = rustix::termios::tcgetattr(&terminal).unwrap();
        let end = || terminal.try_clone().unwrap();
        let shell = Command::new(fixture())
            .args([self.shell, self.wish])
            .arg(self.answer.within().as_millis().to_string())
            .env("TERM", self.term)
            .env("COLORTERM", "truecolor")
            .env_remove("TMUX")
            .env_remove("STY")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let keys = std::fs::File::from(master);
        let is_read = Arc::new(AtomicBool::new(true));
        let chunks = read_and_answer(keys.try_clone().unwrap(), self.answer, Arc::clone(&is_read));
        let mut run = Run {
            shell,
            player: None,
            keys,
            chunks,
            is_read,
            output: Vec::new(),
            before,
            terminal,
        };
        let pid = run.wait_for("the player's pid", |output| {
            let line = &output[find(output, b"pid ")? + 4..];
            let end = line.iter().position(u8::is_ascii_control)?;
            std::str::from_utf8(&line[..end]).ok()?.parse::<i32>().ok()
        });
        run.player = Pid::from_raw(pid);
        run
    }
}

/// Sets columns and rows, and the size of a cell in pixels, zeros where that is not known.
fn resize(terminal: &OwnedFd, (columns, rows): (u16, u16), cell: (u16, u16)) {
    let size = Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: columns * cell.0,
        ws_ypixel: rows * cell.1,
    };
    rustix::termios::tcsetwinsize(terminal, size).unwrap();
}

/// Returns the fixture. Cargo builds examples together with all tests of a package, but not with `--test it` alone.
fn fixture() -> PathBuf {
    // The test itself is target/<profile>/deps/it-<hash>.
    let test = std::env::current_exe().unwrap();
    let path = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/tui_fixture");
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build -p nearcast-cli --example tui_fixture` first (`cargo test` does)",
        path.display()
    );
    path
}

fn read_and_answer(
    mut master: std::fs::File,
    answer: Answer,
    is_read: Arc<AtomicBool>,
) -> Receiver<Vec<u8>> {
    let (sender, chunks) = channel();
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut is_answered = false;
        let mut buffer = [0; 65_536];
        // An error is the end: nobody holds the other side any more.
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            if !is_answered {
                seen.extend_from_slice(&buffer[..count]);
                if find(&seen, b"\x1b[c").is_some() {
                    master.write_all(answer.bytes()).unwrap();
                    is_answered = true;
                }
            }
            if sender.send(buffer[..count].to_vec()).is_err() || !is_read.load(Ordering::Acquire) {
                break;
            }
        }
    });
    chunks
}

impl Run {
    /// Reads until `wanted` finds something in all that was written; panics when patience ends.
    pub(crate) fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&[u8]) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(&self.output) {
                return found;
            }
            match self.chunks.recv_timeout(PATIENCE) {
                Ok(chunk) => self.output.extend(chunk),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {what} in what ends with {:?}", self.tail())
                }
            }
        }
    }

    /// Waits until `text` was written after byte `from`, and returns where it begins.
    pub(crate) fn wait_for_text(&mut self, from: usize, text: &[u8]) -> usize {
        let what = String::from_utf8_lossy(text).into_owned();
        self.wait_for(&what, |output| {
            Some(from + find(output.get(from..)?, text)?)
        })
    }

    /// Waits until the first frame is complete.
    pub(crate) fn wait_for_screen(&mut self) -> usize {
        let title = self.wait_for_text(0, b"Fixture Title");
        self.wait_for_text(title, b"\x1b[?2026l")
    }

    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// Takes nothing more that is written, and draws until whoever writes has to wait.
    pub(crate) fn stop_reading(&mut self) {
        self.is_read.store(false, Ordering::Release);
        let mut waiting = 0;
        while waiting < 20 {
            self.press(b"\x0c");
            std::thread::park_timeout(Duration::from_millis(20));
            let mut room = [PollFd::new(&self.terminal, PollFlags::OUT)];
            let has_room = poll(&mut room, Some(&Timespec::default())).unwrap() > 0;
            // A write that is not over has the terminal for itself as well.
            waiting = if has_room { 0 } else { waiting + 1 };
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.player.unwrap(), signal).unwrap();
    }

    /// Waits until the shell says that its job stopped.
    pub(crate) fn wait_for_stop(&mut self) {
        self.wait_for_text(0, b"job stopped");
    }

    pub(crate) fn go_on(&self) {
        rustix::process::kill_process_group(self.group(), Signal::CONT).unwrap();
    }

    /// The player's process group, which it leads.
    pub(crate) fn group(&self) -> Pid {
        self.player.unwrap()
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        resize(&self.terminal, (columns, rows), (0, 0));
    }

    pub(crate) fn resize_in_pixels(&self, cells: (u16, u16), cell: (u16, u16)) {
        resize(&self.terminal, cells, cell);
    }

    pub(crate) fn modes(&self) -> Termios {
        rustix::termios::tcgetattr(&self.terminal).unwrap()
    }

    pub(crate) fn set_modes(&self, modes: &Termios) {
        let now = rustix::termios::OptionalActions::Now;
        rustix::termios::tcsetattr(&self.terminal, now, modes).unwrap();
    }

    /// Waits until the screen was left at the end, and returns the exit status.
    pub(crate) fn wait_for_end(&mut self) -> i32 {
        let status = self.wait_for_status();
        self.wait_for_text(0, b"\x1b[?1049l");
        status
    }

    /// Waits for the end and returns the exit status.
    pub(crate) fn wait_for_status(&self) -> i32 {
        let shell = Pid::from_child(&self.shell);
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            let status = rustix::process::waitpid(Some(shell), WaitOptions::empty());
            sender.send(status).ok();
        });
        let (_, status) = ended
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no end after {:?}", self.tail()))
            .unwrap()
            .unwrap();
        status.exit_status().unwrap_or(-1)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// The last few hundred bytes, for messages.
    fn tail(&self) -> String {
        let from = self.output.len().saturating_sub(400);
        String::from_utf8_lossy(&self.output[from..]).into_owned()
    }
}

impl Drop for Run {
    /// A test that failed leaves no process behind.
    fn drop(&mut self) {
        if let Some(player) = self.player {
            rustix::process::kill_process(player, Signal::KILL).ok();
        }
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}

/// Returns where `wanted` begins.
pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
