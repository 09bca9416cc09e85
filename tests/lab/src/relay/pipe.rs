//! One direction of a TCP connection: from one socket through the chain of toxics into the other.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf as _, Bytes};
use nearcast_units::Seed;
use tokio::sync::watch;

use super::chain::Chain;
use super::clock::Clock;
use super::connection::{Side, Surroundings};
use super::control::{Control, Reach};
use super::receipt::{Deed, Direction, Ledger, Receipt};
use super::toxic::{Ending, Item, Piece};

/// What came of a direction.
pub(super) enum Passed {
    /// All has been handed on, its end too; or the receiver takes no more.
    Finished,
    /// The whole connection is to end.
    Ended(Ending),
}

pub(super) struct Pipe<'a> {
    connection: u64,
    direction: Direction,
    from: &'a Side,
    to: &'a Side,
    control: watch::Receiver<Control>,
    ledger: Arc<Ledger>,
    clock: Clock,
    chain: Chain,
    /// What is being written.
    writing: Bytes,
    /// How much has been read.
    read: u64,
    /// The sender has ended.
    is_over: bool,
    is_silent: bool,
}

/// As much is read at once.
const CHUNK: usize = 16 * 1024;

/// What the pipe waited for.
enum Event {
    Changed,
    Due,
    Writable(io::Result<()>),
    Readable(io::Result<()>),
}

impl<'a> Pipe<'a> {
    pub(super) fn new(
        connection: u64,
        direction: Direction,
        from: &'a Side,
        to: &'a Side,
        seed: Seed,
        around: &Surroundings,
    ) -> Self {
        let seed = seed.split(match direction {
            Direction::Upstream => "upstream",
            Direction::Downstream => "downstream",
        });
        let mut control = around.control.clone();
        control.mark_changed();
        Self {
            connection,
            direction,
            from,
            to,
            control,
            ledger: Arc::clone(&around.ledger),
            clock: around.clock,
            chain: Chain::new(direction, seed),
            writing: Bytes::new(),
            read: 0,
            is_over: false,
            is_silent: false,
        }
    }

    /// Passes bytes until the direction, or the whole connection, is over.
    pub(super) async fn run(mut self) -> Passed {
        let mut buffer = vec![0; CHUNK];
        loop {
            if let Some(passed) = self.advance() {
                return passed;
            }
            match self.next_event().await {
                Event::Changed => self.adapt(),
                Event::Due => {}
                Event::Writable(ready) => {
                    if ready.and_then(|()| self.write()).is_err() {
                        // Whoever reads from there tells the other side, behind what is still under way to it.
                        self.to.break_off();
                        return Passed::Finished;
                    }
                }
                Event::Readable(_) if self.is_silent => self.fall_silent().await,
                Event::Readable(ready) => self.read(&mut buffer, ready),
            }
        }
    }

    /// Waits for what comes first; a change comes before all else, so that what was read after it was told is
    /// treated by it.
    async fn next_event(&mut self) -> Event {
        let deadline = self.chain.next_deadline();
        let has_room = self.chain.has_room() && !self.is_over;
        tokio::select! {
            biased;
            changed = self.control.changed() => {
                if changed.is_err() {
                    // Without a relay this task is ended.
                    std::future::pending::<()>().await;
                }
                Event::Changed
            }
            () = self.clock.sleep_until(deadline), if !self.is_silent => Event::Due,
            ready = self.to.stream.writable(), if !self.is_silent && !self.writing.is_empty() => {
                Event::Writable(ready)
            }
            ready = self.from.stream.readable(), if has_room => Event::Readable(ready),
        }
    }

    fn adapt(&mut self) {
        let control = self.control.borrow_and_update();
        self.is_silent = control.reach == Reach::BlackHole;
        self.chain.set(self.clock.now(), &control);
    }

    /// Something has come and must not pass: says so, and waits until it may.
    async fn fall_silent(&mut self) {
        self.note(self.read, None, Deed::Silenced);
        while self.is_silent {
            if self.control.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            self.adapt();
        }
    }

    /// Takes what has come through the toxics, until there is something to be written.
    fn advance(&mut self) -> Option<Passed> {
        if self.is_silent {
            return None;
        }
        let now = self.clock.now();
        let ending = self.chain.poll_ending(now);
        let mut passed = ending.map(Passed::Ended);
        while passed.is_none() && self.writing.is_empty() {
            match self.chain.poll(now) {
                Some(Item::Bytes(piece)) => self.writing = piece.bytes,
                Some(Item::End) => {
                    self.to.finish();
                    passed = Some(Passed::Finished);
                }
                Some(Item::Ending(ending)) => passed = Some(Passed::Ended(ending)),
                None => break,
            }
        }
        while let Some(told) = self.chain.poll_effect() {
            self.note(told.effect.offset, Some(told.toxic), told.effect.deed);
        }
        passed
    }

    fn write(&mut self) -> io::Result<()> {
        let written = match self.to.stream.try_write(&self.writing) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        self.writing.advance(written);
        let bytes = u64::try_from(written).unwrap_or(u64::MAX);
        self.to.handed.fetch_add(bytes, Ordering::Relaxed);
        self.ledger.count(|counts| match self.direction {
            Direction::Upstream => counts.upstream_bytes += bytes,
            Direction::Downstream => counts.downstream_bytes += bytes,
        });
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], ready: io::Result<()>) {
        let read = ready.and_then(|()| self.from.stream.try_read(buffer));
        let item = match read {
            Ok(0) if self.from.is_broken.load(Ordering::Relaxed) => Item::Ending(Ending::Reset),
            Ok(0) => Item::End,
            Ok(size) => {
                // A copy is as long as what was read; a part of a larger buffer would hold all of it.
                let bytes = Bytes::copy_from_slice(buffer.get(..size).unwrap_or_default());
                let piece = Piece {
                    offset: self.read,
                    bytes,
                };
                self.read = piece.end();
                Item::Bytes(piece)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => Item::Ending(Ending::Reset),
        };
        self.is_over = !matches!(item, Item::Bytes(_));
        self.chain.handle(self.clock.now(), item);
    }

    fn note(&self, offset: u64, toxic: Option<Arc<str>>, deed: Deed) {
        let toxic = toxic.map(|name| name.to_string());
        self.ledger.write(Receipt {
            at: self.clock.now(),
            connection: Some(self.connection),
            direction: Some(self.direction),
            offset: Some(offset),
            toxic,
            deed,
        });
    }
}
