//! An output that a sound device pulls from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nearcast_units::{Instant, Ratio};

use super::queue::PcmQueue;
use super::stream::{OpenError, StreamThread};
use super::{Anchor, AudioOutput, Block, Clock, Format, Push};

/// Plays on the default sound device.
#[derive(Debug)]
pub struct DeviceOutput {
    feed: Feed,
    watch: Watch,
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
            watch: Watch::default(),
            _stream: Some(stream),
        })
    }

    #[cfg(test)]
    pub(super) fn by_hand(feed: Feed) -> Self {
        Self {
            feed,
            watch: Watch::default(),
            _stream: None,
        }
    }

    /// Returns why the device is lost, once it is. It is to be asked a few times a second: a device that
    /// wants no samples any more does not say so.
    pub(super) fn lost(&mut self) -> Option<String> {
        let now = (self.feed.clock)();
        let inner = self.feed.lock();
        if self.watch.is_silent_too_long(inner.fills, now) {
            return Some("it takes no more samples".to_owned());
        }
        inner.lost.clone()
    }

    /// Takes out what was not played yet.
    pub(super) fn take_queue(&self) -> PcmQueue {
        let mut inner = self.feed.lock();
        let empty = PcmQueue::new(inner.queue.format());
        std::mem::replace(&mut inner.queue, empty)
    }
}

/// Notices a device that does not ask any more.
#[derive(Debug, Default)]
struct Watch {
    fills: u64,
    looked_at: Instant,
    silent_for: Duration,
}

impl Watch {
    /// A sound server may take 2 s to get going (measured with PulseAudio's null sink).
    const SILENT_MAX: Duration = Duration::from_secs(5);
    /// Time in which nobody looked counts little: the whole process may have been stopped.
    const LOOK_MAX: Duration = Duration::from_millis(250);

    fn is_silent_too_long(&mut self, fills: u64, now: Instant) -> bool {
        if fills == self.fills {
            self.silent_for += now.since(self.looked_at).min(Self::LOOK_MAX);
        } else {
            self.fills = fills;
            self.silent_for = Duration::ZERO;
        }
        self.looked_at = now;
        self.silent_for > Self::SILENT_MAX
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
    /// Until when the device has something to play by the last anchor.
    covered_until: Instant,
    /// How often the device asked.
    fills: u64,
    lost: Option<String>,
}

impl Inner {
    /// The place that is played next, standing.
    fn standing(&self, now: Instant) -> Option<Anchor> {
        Some(Anchor {
            media_time: self.queue.next_place()?,
            at: now,
            is_moving: false,
        })
    }
}

impl Feed {
    pub(super) fn new(format: Format, clock: Clock) -> Self {
        let inner = Inner {
            queue: PcmQueue::new(format),
            anchor: None,
            covered_until: Instant::ZERO,
            fills: 0,
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
        inner.fills += 1;
        inner.covered_until = now + delay + inner.queue.format().span(pulled.frames);
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

/// How much later than expected a busy machine may ask.
const LATE_MAX: Duration = Duration::from_millis(60);

impl AudioOutput for DeviceOutput {
    fn push(&mut self, block: &Block) -> Push {
        self.feed.lock().queue.push(block)
    }

    fn position(&mut self) -> Option<Anchor> {
        let now = (self.feed.clock)();
        let inner = self.feed.lock();
        let is_late = now > inner.covered_until + LATE_MAX;
        match inner.anchor {
            // What it had is played, and it does not ask for more: the clock must not run on alone.
            Some(anchor) if anchor.is_moving && is_late => inner.standing(now),
            Some(_) if inner.queue.is_paused() => inner.standing(now),
            anchor => anchor,
        }
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
        inner.anchor = inner.standing((self.feed.clock)());
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
    fn a_device_that_stops_asking_stops_the_clock() {
        let clock = HandClock::default();
        let (feed, mut output) = device(&clock);
        assert_eq!(output.push(&block(0, 1000)), Push::Taken);
        feed.fill(&mut period(), DELAY);
        clock.advance(DELAY + Duration::from_millis(20) + LATE_MAX);
        assert!(
            output.position().unwrap().is_moving,
            "late, but not too late"
        );
        clock.advance(Duration::from_millis(1));
        let anchor = output.position().unwrap();
        assert_eq!((anchor.media_time, anchor.is_moving), (ms(20), false));
        clock.advance(Duration::from_secs(1));
        feed.fill(&mut period(), DELAY);
        let anchor = output.position().unwrap();
        assert_eq!((anchor.media_time, anchor.is_moving), (ms(20), true));
    }

    #[test]
    fn a_device_that_never_asks_again_is_lost_and_a_stopped_process_is_not() {
        let clock = HandClock::default();
        let (feed, mut output) = device(&clock);
        feed.fill(&mut period(), DELAY);
        assert_eq!(output.lost(), None);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(output.lost(), None, "nobody looked for an hour");
        for _ in 0..60 {
            clock.advance(Duration::from_millis(100));
            output.lost();
        }
        assert!(output.lost().is_some());
        feed.fill(&mut period(), DELAY);
        assert_eq!(output.lost(), None);
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
