//! The terminal's modes: taken once, given back whatever happens.
//!
//! Normal end, error, signal, panic in any thread: each leads to [`restore`], which works at most once. The
//! state is a static because a panic hook has nothing else. Standard error goes to a file meanwhile: ALSA
//! and other libraries print there, in the middle of the picture.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

/// What must be given back.
struct Taken {
    stderr: Option<OwnedFd>,
}

static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);
/// Standard error while [`hush_stderr`] holds it back.
static HUSHED: Mutex<Option<OwnedFd>> = Mutex::new(None);
static ACTIVE: AtomicBool = AtomicBool::new(false);
/// Held while bytes are written, so that the last ones do not fall into the middle of a frame.
static OUTPUT: Mutex<()> = Mutex::new(());

/// Alternate screen, hidden cursor, empty.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[2J\x1b[H";

/// In this order: end a string that was cut off, end a synchronised update, delete our pictures (ignored
/// where they are not known), plain style, visible cursor, main screen.
const LEAVE: &[u8] = b"\x1b\\\x1b[?2026l\x1b_Ga=d,d=A,q=2\x1b\\\x1b[0m\x1b[?25h\x1b[?1049l";

/// Tells whether there is a person at a terminal that can show a screen.
#[must_use]
pub fn is_interactive() -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    !dumb
        && rustix::termios::isatty(rustix::stdio::stdin())
        && rustix::termios::isatty(rustix::stdio::stdout())
}

/// The terminal while it is ours; dropping gives it back.
#[derive(Debug)]
pub struct Session {
    stderr_to: Option<File>,
}

impl Session {
    /// Takes the terminal: raw mode, alternate screen, no cursor. Standard error goes to `stderr_to`; when
    /// that is `None` and standard error is a terminal, nowhere.
    ///
    /// # Errors
    /// When the terminal is taken already or cannot be set up; then it is as before.
    pub fn enter(stderr_to: Option<File>) -> io::Result<Self> {
        install_panic_hook();
        let session = Self { stderr_to };
        session.take()?;
        Ok(session)
    }

    /// Takes the terminal again after [`suspend`](Self::suspend), or anew when it never left: whoever
    /// stopped us from outside has changed its modes.
    ///
    /// # Errors
    /// When the terminal cannot be set up.
    pub fn resume(&self) -> io::Result<()> {
        leave();
        self.take()
    }

    /// Tells whether there is a shell that would let this program go on after [`suspend`](Self::suspend).
    ///
    /// # Errors
    /// When there is none.
    pub fn check_suspend() -> io::Result<()> {
        // A shell with job control gives each job a process group of its own. In the group of the session's
        // leader (a container, `sh -c`) nobody would ever continue us.
        if rustix::process::getpgrp() == rustix::process::getsid(None)? {
            return Err(io::Error::other("there is no shell to go back to"));
        }
        Ok(())
    }

    /// Gives the terminal back and stops the whole process group, as Ctrl-Z does; the shell goes on.
    /// Returns when the stopping is on its way; call [`resume`](Self::resume) on `SIGCONT`.
    ///
    /// # Errors
    /// When the group cannot be stopped, see [`check_suspend`](Self::check_suspend) too; the terminal is
    /// given back anyway.
    pub fn suspend(&self) -> io::Result<()> {
        Self::check_suspend()?;
        leave();
        // Not the terminal-stop signal: its handler is ours, and SIGSTOP works for the other processes of
        // the group (`make`, a pipe) too.
        rustix::process::kill_current_process_group(Signal::STOP)?;
        Ok(())
    }

    fn take(&self) -> io::Result<()> {
        let mut taken = lock(&TAKEN);
        if taken.is_some() {
            return Err(io::Error::other("the terminal is in use already"));
        }
        crossterm::terminal::enable_raw_mode()?;
        let stderr = redirect_stderr(self.stderr_to.as_ref());
        if let Err(error) = write_all(ENTER) {
            give_back(&Taken { stderr });
            return Err(error);
        }
        *taken = Some(Taken { stderr });
        ACTIVE.store(true, Ordering::Release);
        Ok(())
    }
}

/// Returns the old standard error if it was replaced. A failure costs a clean screen, no more.
fn redirect_stderr(to: Option<&File>) -> Option<OwnedFd> {
    let stderr = rustix::stdio::stderr();
    let null;
    let target = if let Some(file) = to {
        file.as_fd()
    } else if rustix::termios::isatty(stderr) {
        null = File::options().write(true).open("/dev/null").ok()?;
        null.as_fd()
    } else {
        return None;
    };
    let old = rustix::io::fcntl_dupfd_cloexec(stderr, 3).ok()?;
    rustix::stdio::dup2_stderr(target).ok()?;
    Some(old)
}

/// Keeps what libraries print off standard error while no screen is shown, until the value is dropped: it
/// goes to `to`; when that is `None` and standard error is a terminal, nowhere. A panic is still read.
///
/// For a moment, such as opening a sound device: our own messages are held back too.
#[must_use]
pub fn hush_stderr(to: Option<&File>) -> Hush {
    install_panic_hook();
    let mut hushed = lock(&HUSHED);
    if hushed.is_none() {
        *hushed = redirect_stderr(to);
    }
    Hush(())
}

/// Standard error is held back while this lives.
#[derive(Debug)]
pub struct Hush(());

impl Drop for Hush {
    fn drop(&mut self) {
        unhush();
    }
}

fn unhush() {
    if let Some(stderr) = lock(&HUSHED).take() {
        // Nothing is left to try when this fails.
        rustix::stdio::dup2_stderr(stderr).ok();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back if it is taken. Safe to call from anywhere, any number of times.
///
/// A terminal that takes nothing more is not waited for: what is printed from then on goes nowhere, or it
/// would keep the program for ever.
pub fn restore() {
    if !leave() {
        silence();
    }
}

/// Gives the terminal back; tells whether it took that.
fn leave() -> bool {
    let taken = lock(&TAKEN).take();
    ACTIVE.store(false, Ordering::Release);
    let is_left = taken.is_none_or(|taken| give_back(&taken));
    unhush();
    is_left
}

fn silence() {
    let Ok(null) = File::options().write(true).open("/dev/null") else {
        return;
    };
    // Nothing is left to try when these fail.
    rustix::stdio::dup2_stdout(&null).ok();
    if rustix::termios::isatty(rustix::stdio::stderr()) {
        rustix::stdio::dup2_stderr(&null).ok();
    }
}

/// Tells whether the terminal is ours. It stops being so when any thread panics.
#[must_use]
pub fn is_active() -> bool {
    ACTIVE.load(Ordering::Acquire)
}

/// Writes a frame, unless the terminal was given back meanwhile.
pub(super) fn write_frame(bytes: &[u8]) -> io::Result<()> {
    let _output = lock(&OUTPUT);
    if is_active() {
        write_all(bytes)
    } else {
        Ok(())
    }
}

/// Puts everything back as it was; tells whether the terminal took the last bytes.
fn give_back(taken: &Taken) -> bool {
    // Nothing is left to try when this fails: the terminal is gone. It comes first because it waits for nobody.
    crossterm::terminal::disable_raw_mode().ok();
    // A thread may wait for ever in a write, whatever the terminal said before about having room: the frame
    // under way may take the room.
    let (done, is_done) = sync_channel(1);
    let writing = std::thread::Builder::new().spawn(move || {
        write_leave();
        done.send(()).ok();
    });
    let is_left = writing.is_ok() && is_done.recv_timeout(LEAVE_MAX).is_ok();
    if let Some(stderr) = &taken.stderr {
        rustix::stdio::dup2_stderr(stderr).ok();
    }
    is_left
}

fn write_leave() {
    // A frame under way is waited for, but not when its thread panicked and waits for this one.
    let mut output = OUTPUT.try_lock().ok();
    for _ in 0..OUTPUT_TRIES {
        if output.is_some() {
            break;
        }
        std::thread::park_timeout(OUTPUT_PAUSE);
        output = OUTPUT.try_lock().ok();
    }
    write_all(LEAVE).ok();
}

/// 300 ms in all.
const OUTPUT_TRIES: u32 = 30;
const OUTPUT_PAUSE: Duration = Duration::from_millis(10);
/// How long a terminal may take for the last bytes after the frame before them.
const LEAVE_MAX: Duration = Duration::from_millis(800);

/// Writes straight to the file descriptor: the standard library's buffer would split frames by lines.
fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => std::thread::park_timeout(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Panics print after the terminal is back, where they can be read.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            previous(panic);
        }));
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
