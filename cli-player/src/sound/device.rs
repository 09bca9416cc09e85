//! An output that a sound device pulls from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nearcast_units::Ratio;

use super::queue::PcmQueue;
use super::stream::{OpenError, StreamThread};
use super::{Anchor, AudioOutput, Block, Clock, Format, Push};

/// Plays on the default sound device.
#[derive(Debug)]
pub struct DeviceOutput {
    feed: Feed,
    /// Ends the stream when dropped; none in tests, which pull by hand.
    _stream: Option<StreamThread>,
}

impl DeviceOutput {
    /// Opens the default device, with a rate as near to `wanted` as it has.
    ///
    /// # Errors
    /// When there is no device, it refuses, or it does not answer within a few seconds.
    pub fn open(clock: Clock, wanted: Format) -> Result<Self, OpenError> {
        let (stream, feed) = StreamThread::open(clock, wanted)?;
        Ok(Self {
            feed,
            _stream: Some(stream),
        })
    }

    #[cfg(test)]
    pub(super) const fn by_hand(feed: Feed) -> Self {
        Self {
            feed,
            _stream: None,
        }
    }

    /// Returns why the device is lost, once it is.
    pub(super) fn lost(&self) -> Option<String> {
        self.feed.lock().lost.clone()
    }

    /// Takes out what was not played yet.
    pub(super) fn take_queue(&self) -> PcmQueue {
        let mut inner = self.feed.lock();
        let empty = PcmQueue::new(inner.queue.format());
        std::mem::replace(&mut inner.queue, empty)
    }
}

/// What the device's thread and ours share.
///
/// A lock in a sound callback is frowned upon because the other side might hold it for long; ours holds it
/// to append a block that is converted already, microseconds.
#[derive(Clone)]
pub(super) struct Feed {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Inner {
    queue: PcmQueue,
    anchor: Option<Anchor>,
    lost: Option<String>,
}

impl Feed {
    pub(super) fn new(format: Format, clock: Clock) -> Self {
        let inner = Inner {
            queue: PcmQueue::new(format),
            anchor: None,
            lost: None,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            clock,
        }
    }

    /// Fills the device's buffer. `delay` is the time until its first frame is heard.
    pub(super) fn fill(&self, out: &mut [f32], delay: Duration) {
        let now = (self.clock)();
        let mut inner = self.lock();
        let pulled = inner.queue.pull(out);
        inner.anchor = pulled.first.map(|media_time| Anchor {
            media_time,
            at: now + delay,
            is_moving: pulled.frames > 0,
        });
    }

    pub(super) fn lose(&self, why: String) {
        self.lock().lost.get_or_insert(why);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AudioOutput for DeviceOutput {
    fn push(&mut self, block: &Block) -> Push {
        self.feed.lock().queue.push(block)
    }

    fn position(&mut self) -> Option<Anchor> {
        let now = (self.feed.clock)();
        let inner = self.feed.lock();
        if inner.queue.is_paused() {
            return Some(Anchor {
                media_time: inner.queue.next_place()?,
                at: now,
                is_moving: false,
            });
        }
        inner.anchor
    }

    fn queued(&mut self) -> Duration {
        self.feed.lock().queue.queued()
    }

    fn underruns(&mut self) -> u64 {
        self.feed.lock().queue.underruns()
    }

    fn pause(&mut self) {
        self.feed.lock().queue.set_paused(true);
    }

    fn resume(&mut self) {
        let mut inner = self.feed.lock();
        inner.queue.set_paused(false);
        // The old anchor is from before the pause; until the device asks again, the clock stands.
        if let Some(media_time) = inner.queue.next_place() {
            inner.anchor = Some(Anchor {
                media_time,
                at: (self.feed.clock)(),
                is_moving: false,
            });
        }
    }

    fn flush(&mut self) {
        let mut inner = self.feed.lock();
        inner.queue.flush();
        inner.anchor = None;
    }

    fn finish(&mut self) {
        self.feed.lock().queue.finish();
    }

    fn set_volume(&mut self, volume: Ratio) {
        self.feed.lock().queue.set_volume(volume);
    }

    fn set_muted(&mut self, is_muted: bool) {
        self.feed.lock().queue.set_muted(is_muted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sound::output::tests::{HandClock, block, ms};

    const DELAY: Duration = Duration::from_millis(30);

    fn device(clock: &HandClock) -> (Feed, DeviceOutput) {
        let feed = Feed::new(Format::USUAL, clock.clock());
        (feed.clone(), DeviceOutput::by_hand(feed))
    }

    /// 20 ms of stereo.
    fn period() -> Vec<f32> {
        vec![0.0; 48 * 20 * 2]
    }

    #[test]
    fn a_place_is_heard_when_the_device_says_so() {
        let clock = HandClock::default();
        let (feed, mut output) = device(&clock);
        feed.fill(&mut period(), DELAY);
        assert_eq!(output.position(), None);
        assert_eq!(output.push(&block(0, 1000)), Push::Taken);
        clock.advance(Duration::from_millis(7));
        feed.fill(&mut period(), DELAY);
        clock.advance(Duration::from_millis(20));
        feed.fill(&mut period(), DELAY);
        let anchor = output.position().unwrap();
        assert_eq!(anchor.media_time, ms(20));
        assert_eq!(anchor.at, clock.now() + DELAY);
        assert_eq!(anchor.at(clock.now()), ms(-10), "it is still under way");
        assert_eq!(anchor.at(clock.now() + DELAY * 2), ms(50));
    }

    #[test]
    fn the_clock_stands_while_paused_and_goes_on_where_it_stood() {
        let clock = HandClock::default();
        let (feed, mut output) = device(&clock);
        assert_eq!(output.push(&block(0, 1000)), Push::Taken);
        feed.fill(&mut period(), DELAY);
        output.pause();
        clock.advance(Duration::from_secs(60));
        let mut buffer = vec![9.0; 48 * 20 * 2];
        feed.fill(&mut buffer, DELAY);
        assert!(
            buffer.iter().all(|sample| *sample == 0.0),
            "silence while paused"
        );
        let anchor = output.position().unwrap();
        assert_eq!((anchor.media_time, anchor.is_moving), (ms(20), false));
        output.resume();
        let anchor = output.position().unwrap();
        assert_eq!((anchor.media_time, anchor.is_moving), (ms(20), false));
        feed.fill(&mut period(), DELAY);
        let anchor = output.position().unwrap();
        assert_eq!((anchor.media_time, anchor.is_moving), (ms(20), true));
    }

    #[test]
    fn a_dry_device_stops_the_clock() {
        let clock = HandClock::default();
        let (feed, mut output) = device(&clock);
        assert_eq!(output.push(&block(0, 10)), Push::Taken);
        feed.fill(&mut period(), DELAY);
        clock.advance(Duration::from_millis(20));
        feed.fill(&mut period(), DELAY);
        let anchor = output.position().unwrap();
        assert_eq!((anchor.media_time, anchor.is_moving), (ms(10), false));
        assert_eq!(output.underruns(), 1);
    }
}
