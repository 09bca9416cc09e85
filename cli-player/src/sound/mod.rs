//! Sound out, and the clock that comes with it.
//!
//! [`Sound`] takes blocks of samples with their place on the timeline and says which place is heard at which
//! moment; pictures follow that. It plays on the default device, or, when there is none or it goes away, on
//! a sink that keeps real time and makes no sound ([`NullOutput`]), and says so in [`Sound::note`].

mod convert;
mod device;
mod null;
mod output;
mod queue;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use nearcast_units::{Instant, MediaTime, Ratio};

pub use device::DeviceOutput;
pub use null::NullOutput;
pub use output::Sound;
pub use stream::OpenError;

/// Tells the time on the session's clock.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Where samples go.
///
/// Whoever pushes keeps at most [`QUEUE_MAX`] in here: more could not be taken back when the viewer seeks.
pub trait AudioOutput: Send {
    /// Takes a block, or nothing of it when the queue is full; then try again a little later.
    ///
    /// Blocks come in the order of their time. A hole of up to [`GAP_MAX`] is filled with silence, so that
    /// the clock goes on; what overlaps is left out; anything else is a jump and needs a
    /// [`flush`](Self::flush) before it.
    fn push(&mut self, block: &Block) -> Push;

    /// Returns what is heard when. `None` before the first sample, also after a flush.
    fn position(&mut self) -> Option<Anchor>;

    /// Returns how much is waiting.
    fn queued(&mut self) -> Duration;

    /// Returns how often the samples ran out while playing.
    fn underruns(&mut self) -> u64;

    /// Stops the clock and the sound; what waits is kept.
    fn pause(&mut self);

    /// Goes on after a pause.
    fn resume(&mut self);

    /// Throws away what waits, and the clock with it.
    fn flush(&mut self);

    /// Says that no block will follow: running dry is the end then, and no underrun. The next block takes
    /// this back.
    fn finish(&mut self);

    /// Sets the loudness. The step is smoothed over a few milliseconds, so that it does not click.
    fn set_volume(&mut self, volume: Ratio);

    /// Mutes or unmutes; the volume is kept.
    fn set_muted(&mut self, is_muted: bool);
}

/// The most that waits in an output: samples are handed to sinks at most 2 s ahead of the playhead.
pub const QUEUE_MAX: Duration = Duration::from_secs(2);

/// The longest hole that is filled with silence.
pub const GAP_MAX: Duration = Duration::from_secs(5);

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Push {
    /// It is queued, or lies before what was queued already.
    Taken,
    /// There is no room.
    Full,
}

/// Which place on the timeline is heard at which moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The place.
    pub media_time: MediaTime,
    /// The moment it is heard, the device's delay included; may lie a little ahead.
    pub at: Instant,
    /// Whether the clock runs. It stands while paused and when there is nothing to play.
    pub is_moving: bool,
}

impl Anchor {
    /// Returns the place that is heard at another moment, if the clock goes on as it does.
    #[must_use]
    pub fn at(self, moment: Instant) -> MediaTime {
        if self.is_moving {
            self.media_time + moment.since(self.at) - self.at.since(moment)
        } else {
            self.media_time
        }
    }
}

/// Sample rate and number of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    rate_hz: u32,
    channels: u16,
}

impl Format {
    /// What most devices like best.
    pub const USUAL: Self = Self {
        rate_hz: 48_000,
        channels: 2,
    };

    /// Makes a format of 8 to 192 kHz and 1 to 8 channels.
    ///
    /// # Errors
    /// When a number lies outside.
    pub fn new(rate_hz: u32, channels: u16) -> Result<Self, SoundError> {
        if (8_000..=192_000).contains(&rate_hz) && (1..=8).contains(&channels) {
            Ok(Self { rate_hz, channels })
        } else {
            Err(SoundError::Format { rate_hz, channels })
        }
    }

    /// Returns frames per second.
    #[must_use]
    pub const fn rate_hz(self) -> u32 {
        self.rate_hz
    }

    /// Returns samples per frame.
    #[must_use]
    pub const fn channels(self) -> u16 {
        self.channels
    }

    /// Returns how long a number of frames lasts.
    fn span(self, frames: usize) -> Duration {
        let nanos = frames as u128 * 1_000_000_000 / u128::from(self.rate_hz);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns how many whole frames lie in a span.
    fn frames(self, span: Duration) -> usize {
        let frames = span.as_nanos() * u128::from(self.rate_hz) / 1_000_000_000;
        usize::try_from(frames).unwrap_or(usize::MAX)
    }
}

/// Samples that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    at: MediaTime,
    format: Format,
    samples: Vec<f32>,
}

impl Block {
    /// Makes a block that begins at `at`; samples of one frame lie side by side, from -1.0 to 1.0.
    ///
    /// # Errors
    /// When the samples are not whole frames, or last longer than [`QUEUE_MAX`].
    pub fn new(at: MediaTime, format: Format, samples: Vec<f32>) -> Result<Self, SoundError> {
        let channels = usize::from(format.channels);
        if !samples.len().is_multiple_of(channels) {
            return Err(SoundError::PartialFrame {
                samples: samples.len(),
                channels: format.channels,
            });
        }
        let span = format.span(samples.len() / channels);
        if span > QUEUE_MAX {
            return Err(SoundError::TooLong { span });
        }
        Ok(Self {
            at,
            format,
            samples,
        })
    }
}

/// Why samples cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoundError {
    /// No device plays such a thing.
    #[error("sound with {rate_hz} Hz and {channels} channels cannot be played")]
    Format {
        /// Frames per second.
        rate_hz: u32,
        /// Samples per frame.
        channels: u16,
    },
    /// The last frame lacks samples.
    #[error("{samples} samples are not whole frames of {channels} channels")]
    PartialFrame {
        /// How many samples there are.
        samples: usize,
        /// Samples per frame.
        channels: u16,
    },
    /// A block must fit into the queue.
    #[error("a block of {span:?} is longer than the queue")]
    TooLong {
        /// Its length.
        span: Duration,
    },
}
