//! Real time without sound.

use std::time::Duration;

use nearcast_units::{Instant, Ratio};

use super::queue::PcmQueue;
use super::{Anchor, AudioOutput, Block, Clock, Format, Push};

/// Plays in real time to nobody. It has no thread: whenever it is asked, it takes what was due since.
pub struct NullOutput {
    queue: PcmQueue,
    clock: Clock,
    /// Since when frames are counted, and how many were taken since: counting from one moment does not add
    /// up rounding.
    since: Instant,
    taken: usize,
}

impl std::fmt::Debug for NullOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NullOutput")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl NullOutput {
    /// Makes an empty sink that runs by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::with_queue(PcmQueue::new(Format::USUAL), clock)
    }

    /// Goes on with what another output had not played yet.
    pub(super) fn with_queue(queue: PcmQueue, clock: Clock) -> Self {
        Self {
            since: clock(),
            queue,
            clock,
            taken: 0,
        }
    }

    fn advance(&mut self) -> Instant {
        let now = (self.clock)();
        let due = self
            .queue
            .format()
            .frames(now.since(self.since))
            .saturating_sub(self.taken);
        let done = self.queue.skip(due);
        self.taken += done;
        if done < due {
            // Paused or dry: the time that passed is not made up for.
            self.restart(now);
        }
        now
    }

    const fn restart(&mut self, now: Instant) {
        self.since = now;
        self.taken = 0;
    }
}

impl AudioOutput for NullOutput {
    fn push(&mut self, block: &Block) -> Push {
        let now = self.advance();
        if !self.queue.is_moving() {
            self.restart(now);
        }
        self.queue.push(block)
    }

    fn position(&mut self) -> Option<Anchor> {
        let now = self.advance();
        Some(Anchor {
            media_time: self.queue.next_place()?,
            at: now,
            is_moving: self.queue.is_moving(),
        })
    }

    fn queued(&mut self) -> Duration {
        self.advance();
        self.queue.queued()
    }

    fn underruns(&mut self) -> u64 {
        self.advance();
        self.queue.underruns()
    }

    fn pause(&mut self) {
        self.advance();
        self.queue.set_paused(true);
    }

    fn resume(&mut self) {
        let now = self.advance();
        self.queue.set_paused(false);
        self.restart(now);
    }

    fn flush(&mut self) {
        let now = self.advance();
        self.queue.flush();
        self.restart(now);
    }

    fn finish(&mut self) {
        self.queue.finish();
    }

    fn set_volume(&mut self, volume: Ratio) {
        self.queue.set_volume(volume);
    }

    fn set_muted(&mut self, is_muted: bool) {
        self.queue.set_muted(is_muted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sound::output::tests::{HandClock, block, ms};

    fn sink() -> (HandClock, NullOutput) {
        let clock = HandClock::default();
        let sink = NullOutput::new(clock.clock());
        (clock, sink)
    }

    #[test]
    fn it_keeps_real_time() {
        let (clock, mut sink) = sink();
        assert_eq!(sink.position(), None);
        assert_eq!(sink.push(&block(500, 1000)), Push::Taken);
        clock.advance(Duration::from_millis(250));
        let anchor = sink.position().unwrap();
        assert_eq!(anchor.media_time, ms(750));
        assert_eq!(anchor.at, clock.now());
        assert!(anchor.is_moving);
        assert_eq!(sink.queued(), Duration::from_millis(750));
    }

    #[test]
    fn being_asked_often_does_not_make_it_slow() {
        let (clock, mut sink) = sink();
        for second in 0..3 {
            assert_eq!(sink.push(&block(second * 1000, 1000)), Push::Taken);
            // 48,000 Hz: at each of these steps less than a frame is due.
            for _ in 0..100_000 {
                clock.advance(Duration::from_micros(10));
                sink.position();
            }
        }
        let place = sink.position().unwrap().media_time;
        assert!(
            place.distance(ms(3_000)) < Duration::from_millis(1),
            "{place:?}"
        );
        assert_eq!(sink.underruns(), 0);
    }

    #[test]
    fn the_clock_stands_while_paused_and_while_dry() {
        let (clock, mut sink) = sink();
        assert_eq!(sink.push(&block(0, 100)), Push::Taken);
        clock.advance(Duration::from_millis(40));
        sink.pause();
        clock.advance(Duration::from_secs(60));
        let anchor = sink.position().unwrap();
        assert_eq!((anchor.media_time, anchor.is_moving), (ms(40), false));
        sink.resume();
        clock.advance(Duration::from_millis(160));
        let anchor = sink.position().unwrap();
        assert_eq!((anchor.media_time, anchor.is_moving), (ms(100), false));
        assert_eq!(sink.underruns(), 1);
        clock.advance(Duration::from_secs(5));
        assert_eq!(sink.push(&block(100, 100)), Push::Taken);
        clock.advance(Duration::from_millis(10));
        assert_eq!(
            sink.position().unwrap().media_time,
            ms(110),
            "lost time is not made up for"
        );
    }

    #[test]
    fn after_a_flush_it_starts_where_the_next_block_is() {
        let (clock, mut sink) = sink();
        assert_eq!(sink.push(&block(0, 1000)), Push::Taken);
        clock.advance(Duration::from_millis(40));
        sink.flush();
        assert_eq!(sink.position(), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(sink.push(&block(90_000, 1000)), Push::Taken);
        clock.advance(Duration::from_millis(20));
        assert_eq!(sink.position().unwrap().media_time, ms(90_020));
    }
}
