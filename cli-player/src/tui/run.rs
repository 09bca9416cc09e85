//! The loop: newest state to the screen, keys to the player.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossterm::event::EventStream;
use crossterm::terminal::WindowSize;
use futures_util::StreamExt as _;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::graphics::detect::{Answers, QUERY, read_answers};
use super::graphics::{
    CellSize, Environment, Method, Painter, Wish, choose, colours, doubt, useful_size,
};
use super::keys::{Input, Key, KeyReader, typed};
use super::picture::{Picture, PixelSize};
use super::state::{Phase, Playback, Screen, ViewState};
use super::terminal::{self, Session};
use super::update::{Command, hear, update};
use super::view::{picture_area, view};
use super::writer::FrameWriter;

/// How the screen is set up.
#[derive(Debug)]
pub struct Options {
    /// How pictures are shown.
    pub picture: Wish,
    /// How long the terminal's answers may take; see [`detect::TIMEOUT`](super::graphics::detect::TIMEOUT).
    pub answers_within: Duration,
    /// Where standard error goes meanwhile; see [`Session::enter`].
    pub stderr_to: Option<File>,
}

/// What flows in and out of the loop.
#[derive(Debug)]
pub struct Feeds {
    /// What the player says. When the sender is dropped the loop ends.
    pub playback: watch::Receiver<Playback>,
    /// The picture of this moment; only the newest is drawn.
    pub pictures: watch::Receiver<Option<Picture>>,
    /// What the viewer wants. A dozen of slots is plenty: when it is full, keys are answered with "busy".
    pub commands: mpsc::Sender<Command>,
    /// Ends the loop.
    pub stop: CancellationToken,
}

/// Why the loop ended, when nothing went wrong with the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The viewer quit by `q`.
    Quit,
    /// The player's side ended it.
    Stopped,
    /// A signal with this number asked for the end: `SIGTERM`, `SIGHUP` or `SIGINT`. Ctrl-C, which is a key
    /// here, is a `SIGINT`; a terminal that can be read or written no more is a `SIGHUP`, whose signal comes
    /// a moment later, or never where it is ignored.
    Signal(i32),
    /// Something panicked elsewhere; the terminal was given back and the message printed.
    Panicked,
}

/// Why the screen could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// The terminal cannot be set up, read or written.
    #[error("the terminal failed while {doing}: {source}")]
    Terminal {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Shows the screen until the viewer quits or the player's side ends. When it returns, or is dropped, the
/// terminal is as before.
///
/// # Errors
/// When the terminal cannot be set up, or taken back after it was given to the shell.
pub async fn run(options: Options, mut feeds: Feeds) -> Result<End, TuiError> {
    let mut signals = Signals::listen().map_err(failed("listening for signals"))?;
    let session = Session::enter(options.stderr_to).map_err(failed("setting it up"))?;
    let environment = Environment::read();
    let answers = ask(&environment, options.answers_within)
        .await
        .map_err(failed("asking it"))?;
    let screen = Screen {
        method: choose(options.picture, &environment, &answers),
        colours: colours(&environment, &answers),
        cell: cell_size(&answers),
    };
    let mut ui = Ui::start(session, screen, &feeds).map_err(failed("setting it up"))?;
    ui.doubt = doubt(options.picture, &answers);
    for input in typed(&answers.typed) {
        ui.input(input);
    }
    let mut keys = EventStream::new();
    let mut reader = KeyReader::default();
    let mut tick = interval(FRAME);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let end = loop {
        if let Some(end) = ui.end {
            break end;
        }
        tokio::select! {
            _ = tick.tick() => ui.tick().unwrap_or_else(|error| ui.hang_up("drawing", &error)),
            event = keys.next() => match event {
                Some(Ok(event)) => {
                    if let Some(input) = reader.read(&event, Instant::now()) {
                        ui.input(input);
                    }
                }
                Some(Err(error)) => ui.hang_up("reading keys", &error),
                None => ui.hang_up("reading keys", &io::ErrorKind::UnexpectedEof.into()),
            },
            changed = feeds.playback.changed() => match changed {
                Ok(()) => ui.playback(feeds.playback.borrow_and_update().clone()),
                Err(_) => ui.end = Some(End::Stopped),
            },
            Ok(()) = feeds.pictures.changed() => {
                let picture = feeds.pictures.borrow_and_update().clone();
                ui.picture(picture).unwrap_or_else(|error| ui.hang_up("drawing", &error));
            }
            event = signals.next() => ui.signal(event).map_err(failed("taking it back"))?,
            () = feeds.stop.cancelled() => ui.end = Some(End::Stopped),
        }
    };
    ui.finish();
    Ok(end)
}

/// The screen is looked at this often for anything but pictures.
const FRAME: Duration = Duration::from_millis(33);
/// A picture is drawn as soon as it comes, so that it is not late against the sound, but no sooner than this
/// after the last frame: a full screen costs tmux 14 ms.
const PICTURE_GAP: Duration = Duration::from_millis(25);
/// While pictures flow, everything else is drawn with them.
const OTHER_GAP: Duration = Duration::from_millis(60);
/// An answer to a key is read by then.
const ANSWER_SPAN: Duration = Duration::from_secs(5);

/// How long the last frame may take to get out before the terminal is given back.
const LAST_FRAME: Duration = Duration::from_millis(500);

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> TuiError {
    move |source| TuiError::Terminal { doing, source }
}

/// Asks the terminal and waits for the answers, away from the runtime's threads.
async fn ask(environment: &Environment, within: Duration) -> io::Result<Answers> {
    if !environment.is_worth_asking() {
        return Ok(Answers::default());
    }
    terminal::write_frame(QUERY)?;
    let reading = tokio::task::spawn_blocking(move || read_answers(rustix::stdio::stdin(), within));
    reading.await.map_err(io::Error::other)?
}

/// The kernel's answer is best because it follows font changes; many terminals do not fill it in.
fn cell_size(answers: &Answers) -> CellSize {
    cell_size_by_kernel()
        .or(answers.cell)
        .or_else(|| {
            let window = crossterm::terminal::window_size().ok()?;
            cell_of(answers.text_area?, &window)
        })
        .unwrap_or_default()
}

fn cell_size_by_kernel() -> Option<CellSize> {
    let window = crossterm::terminal::window_size().ok()?;
    cell_of((window.width, window.height), &window)
}

fn cell_of(pixels: (u16, u16), window: &WindowSize) -> Option<CellSize> {
    let width = pixels.0.checked_div(window.columns)?;
    let height = pixels.1.checked_div(window.rows)?;
    (width > 0 && height > 0).then_some(CellSize { width, height })
}

/// Everything the loop changes.
struct Ui {
    state: ViewState,
    session: Session,
    terminal: Terminal<CrosstermBackend<FrameBytes>>,
    bytes: FrameBytes,
    writer: FrameWriter,
    painter: Painter,
    /// The picture that is on the screen as pixels, and where.
    painted: Option<(Picture, Rect)>,
    wanted: Option<PixelSize>,
    /// What pictures are made of although the terminal may not know it, until that is said.
    doubt: Option<&'static str>,
    commands: mpsc::Sender<Command>,
    /// How many commands are on their way or were heard.
    commands_sent: u64,
    is_dirty: bool,
    /// Whether the newest picture was not drawn yet.
    is_picture_new: bool,
    drawn_at: Option<Instant>,
    /// When the answer to the last key goes.
    answered_at: Option<Instant>,
    job: Job,
    needs_clear: bool,
    end: Option<End>,
}

/// Where this program is between the terminal and the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// It has the terminal.
    Foreground,
    /// It goes to the shell as soon as the playhead stands still: time goes on while a process is stopped.
    Leaving {
        /// Then it goes anyway.
        at_last: Instant,
        /// Whether it was playing.
        plays_on: bool,
    },
    /// It is stopped.
    Stopped {
        /// Whether it was playing.
        plays_on: bool,
    },
}

/// A player holds within milliseconds and says so within an eighth of a second.
const HOLD_MAX: Duration = Duration::from_secs(1);

impl Ui {
    fn start(session: Session, screen: Screen, feeds: &Feeds) -> io::Result<Self> {
        let bytes = FrameBytes::default();
        let area = area()?;
        let viewport = Viewport::Fixed(area);
        let terminal = Terminal::with_options(
            CrosstermBackend::new(bytes.clone()),
            TerminalOptions { viewport },
        )?;
        Ok(Self {
            state: ViewState {
                playback: feeds.playback.borrow().clone(),
                picture: feeds.pictures.borrow().clone(),
                screen,
                ..ViewState::default()
            },
            session,
            terminal,
            bytes,
            writer: FrameWriter::start(terminal::write_frame)?,
            painter: Painter::default(),
            painted: None,
            wanted: None,
            doubt: None,
            commands: feeds.commands.clone(),
            commands_sent: 0,
            is_dirty: true,
            is_picture_new: false,
            drawn_at: None,
            answered_at: None,
            job: Job::Foreground,
            needs_clear: true,
            end: None,
        })
    }

    fn playback(&mut self, playback: Playback) {
        // The screen shows already what the newest keys ask for; what was said before them would take it back.
        if playback.commands_heard < self.commands_sent {
            return;
        }
        hear(&mut self.state, playback);
        self.is_dirty = true;
    }

    fn picture(&mut self, picture: Option<Picture>) -> io::Result<()> {
        self.state.picture = picture;
        self.is_dirty = true;
        self.state.frames_dropped += u64::from(self.is_picture_new && !self.is_stopped());
        self.is_picture_new = true;
        self.draw(PICTURE_GAP)
    }

    fn input(&mut self, input: Input) {
        self.is_dirty = true;
        match input {
            Input::Key(key) => {
                if let Some(command) = update(&mut self.state, key) {
                    self.command(command);
                }
                if key == Key::Interrupt {
                    self.end = Some(End::Signal(SignalKind::interrupt().as_raw_value()));
                }
                self.answered_at = Some(Instant::now());
            }
            Input::Redraw => self.needs_clear = true,
            Input::Resize => {
                self.needs_clear = true;
                // Another font size is another size of the screen too.
                if let Some(cell) = cell_size_by_kernel() {
                    self.state.screen.cell = cell;
                }
            }
            Input::Suspend => self.suspend(),
        }
    }

    fn command(&mut self, command: Command) {
        if command == Command::Quit {
            self.end = Some(End::Quit);
        }
        if !self.send(command) && self.end.is_none() {
            self.state.answer = Some("the player is busy, try again".to_owned());
        }
    }

    fn send(&mut self, command: Command) -> bool {
        let is_sent = self.commands.try_send(command).is_ok();
        self.commands_sent += u64::from(is_sent);
        is_sent
    }

    const fn is_stopped(&self) -> bool {
        matches!(self.job, Job::Stopped { .. })
    }

    /// A terminal that is gone is an end like any other: nothing is left to tell it.
    fn hang_up(&mut self, doing: &str, error: &io::Error) {
        tracing::warn!(%error, "the terminal is gone while {doing}");
        self.end = Some(End::Signal(SignalKind::hangup().as_raw_value()));
    }

    /// Begins to go to the shell.
    fn suspend(&mut self) {
        if self.job != Job::Foreground {
            return;
        }
        if let Err(error) = Session::check_suspend() {
            self.state.answer = Some(error.to_string());
            return;
        }
        let playback = &self.state.playback;
        let is_over = matches!(playback.phase, Phase::Ended | Phase::Failed);
        let plays_on = !playback.is_paused && !is_over && self.send(Command::Pause);
        self.job = Job::Leaving {
            at_last: Instant::now() + HOLD_MAX,
            plays_on,
        };
    }

    /// Goes to the shell when nothing moves any more.
    fn leave(&mut self) {
        let Job::Leaving { at_last, plays_on } = self.job else {
            return;
        };
        let playback = &self.state.playback;
        let is_held = playback.is_held && playback.commands_heard >= self.commands_sent;
        if !is_held && Instant::now() < at_last {
            return;
        }
        self.job = Job::Stopped { plays_on };
        if let Err(error) = self.session.suspend() {
            self.state.answer = Some(error.to_string());
            // It was not stopped, so nobody will let it go on.
            if let Err(error) = self.go_on() {
                self.hang_up("taking it back", &error);
            }
        }
    }

    fn go_on(&mut self) -> io::Result<()> {
        self.session.resume()?;
        let job = std::mem::replace(&mut self.job, Job::Foreground);
        self.needs_clear = true;
        self.is_dirty = true;
        self.painted = None;
        self.command(Command::Continued);
        if matches!(
            job,
            Job::Leaving { plays_on: true, .. } | Job::Stopped { plays_on: true }
        ) {
            self.command(Command::Play);
        }
        Ok(())
    }

    fn signal(&mut self, event: SignalEvent) -> io::Result<()> {
        match event {
            SignalEvent::End(number) => self.end = Some(End::Signal(number)),
            SignalEvent::Stop => self.suspend(),
            SignalEvent::Continue => self.go_on()?,
        }
        Ok(())
    }

    /// Looks after everything that no event brings.
    fn tick(&mut self) -> io::Result<()> {
        if self.writer.has_failed() {
            return Err(io::Error::other("nothing can be written to it any more"));
        }
        if !self.is_stopped() && !terminal::is_active() {
            self.end = Some(End::Panicked);
        }
        self.leave();
        if self.state.picture.is_some()
            && let Some(doubt) = self.doubt.take()
        {
            self.state.answer = Some(format!(
                "no picture? the terminal does not promise {doubt}; leave --picture out"
            ));
            self.answered_at = Some(Instant::now());
            self.is_dirty = true;
        }
        if self
            .answered_at
            .is_some_and(|at| at.elapsed() >= ANSWER_SPAN)
        {
            self.answered_at = None;
            self.is_dirty |= self.state.answer.take().is_some();
        }
        self.draw(if self.is_picture_new {
            PICTURE_GAP
        } else {
            OTHER_GAP
        })
    }

    /// Draws if there is something new, the last frame is old enough and the terminal has taken it.
    fn draw(&mut self, gap: Duration) -> io::Result<()> {
        let is_soon = self.drawn_at.is_some_and(|at| at.elapsed() < gap);
        let is_idle = self.is_stopped() || !self.is_dirty || self.end.is_some();
        if is_soon || is_idle || !self.writer.is_idle() {
            return Ok(());
        }
        self.is_dirty = false;
        self.is_picture_new = false;
        self.drawn_at = Some(Instant::now());
        let frame = self.frame()?;
        self.writer.send(frame);
        Ok(())
    }

    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let area = area()?;
        let cells = picture_area(area, &self.state);
        self.ask_for_size(cells);
        let pixels = match (&self.state.picture, cells) {
            (Some(picture), Some(cells)) if self.paints_pixels() => Some((picture.clone(), cells)),
            _ => None,
        };
        let moved = self.painted.as_ref().map(|(_, cells)| *cells)
            != pixels.as_ref().map(|(_, cells)| *cells);
        let mut overlay = Vec::new();
        self.bytes.append(BEGIN);
        if moved || self.needs_clear || area != self.terminal.get_frame().area() {
            self.painter.clear(&mut overlay);
            self.bytes.append(&overlay);
            overlay.clear();
            self.painted = None;
            self.needs_clear = false;
            self.terminal.resize(area)?;
        }
        let state = &self.state;
        self.terminal.draw(|frame| view(frame, state))?;
        if let Some((picture, cells)) = pixels {
            let shown = self
                .painted
                .as_ref()
                .is_some_and(|(shown, _)| shown.is_same_frame(&picture));
            if !shown {
                let Screen { method, cell, .. } = self.state.screen;
                self.painter
                    .paint(&mut overlay, method, &picture, cells, cell);
                self.painted = Some((picture, cells));
            }
        }
        self.bytes.append(&overlay);
        self.bytes.append(END);
        Ok(self.bytes.take())
    }

    fn paints_pixels(&self) -> bool {
        matches!(self.state.screen.method, Method::Kitty | Method::Sixel)
    }

    /// Tells the player which size of pictures is of use.
    fn ask_for_size(&mut self, cells: Option<Rect>) {
        let Screen { method, cell, .. } = self.state.screen;
        // The help hides the picture for a moment only: no reason to change anything.
        if self.state.help {
            return;
        }
        let wanted = cells.and_then(|cells| useful_size(method, cells, cell));
        // A full channel is tried again with the next frame.
        if wanted != self.wanted && self.send(Command::PictureSize(wanted)) {
            self.wanted = wanted;
        }
    }

    fn finish(mut self) {
        self.writer.finish(LAST_FRAME);
    }
}

/// Terminals that know synchronised updates show a frame at once, the others ignore this.
const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

fn area() -> io::Result<Rect> {
    let (width, height) = crossterm::terminal::size()?;
    Ok(Rect::new(0, 0, width, height))
}

/// The bytes of a frame while it is made.
#[derive(Clone, Debug, Default)]
struct FrameBytes(Arc<Mutex<Vec<u8>>>);

impl FrameBytes {
    fn append(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl io::Write for FrameBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum SignalEvent {
    End(i32),
    Stop,
    Continue,
}

/// The signals that touch the terminal.
struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
    stop: Signal,
    go_on: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let kind = |signal: rustix::process::Signal| SignalKind::from_raw(signal.as_raw());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: signal(kind(rustix::process::Signal::TSTP))?,
            go_on: signal(kind(rustix::process::Signal::CONT))?,
        })
    }

    /// Waits for the next one. Cancel safe.
    async fn next(&mut self) -> SignalEvent {
        tokio::select! {
            _ = self.terminate.recv() => SignalEvent::End(SignalKind::terminate().as_raw_value()),
            _ = self.hang_up.recv() => SignalEvent::End(SignalKind::hangup().as_raw_value()),
            _ = self.interrupt.recv() => SignalEvent::End(SignalKind::interrupt().as_raw_value()),
            _ = self.stop.recv() => SignalEvent::Stop,
            _ = self.go_on.recv() => SignalEvent::Continue,
        }
    }
}
