//! Decoders on threads of their own: one per decoded track, none without a sink for what it decodes.
//!
//! The driver feeds encoded samples through a bounded channel and never waits for a thread; a thread never
//! waits for the driver except to say that something cannot be decoded.

mod audio;
mod flush;
mod thread;
#[cfg(feature = "video")]
mod video;

use std::sync::{Mutex, MutexGuard, PoisonError};

use nearcast_core::Epoch;
use nearcast_media::{DecodeError, Sample};
use nearcast_protocol::manifest::{ObjectKey, TrackKind};
#[cfg(not(feature = "video"))]
use nearcast_protocol::report::FrameReport;
use nearcast_units::{Instant, MediaTime};

use crate::sink::TrackFormat;

pub(crate) use audio::AudioTrack;
#[cfg(feature = "video")]
pub(crate) use video::VideoTrack;

/// Encoded samples waiting for a decoder. The driver sends two seconds ahead and no more: this is 240 pictures a
/// second, and holds no bytes that are not held anyway.
const WORK_MAX: usize = 512;
/// Notes waiting for the driver.
pub(crate) const NOTES_MAX: usize = 64;

/// What the driver feeds a decoder with. Each call says whether it was taken; if not, it is made again.
pub(crate) trait Feed {
    /// Samples from this source follow.
    fn format(&mut self, source: Source) -> bool;

    /// One sample in decode order.
    fn sample(&mut self, epoch: Epoch, object: ObjectKey, sample: &Sample) -> bool;

    /// No more samples come.
    fn end(&mut self) -> bool;
}

/// Where samples come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) format: TrackFormat,
    pub(crate) epoch: Epoch,
    /// The object that held the decoder's configuration.
    pub(crate) object: ObjectKey,
}

/// What a thread tells the driver.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DecoderNote {
    /// The sink played here at that moment.
    Anchor {
        epoch: Epoch,
        at: Instant,
        position: MediaTime,
    },
    /// The sink ran dry.
    Underrun { epoch: Epoch },
    /// Nothing here decodes the track; its samples are taken and forgotten.
    Unsupported {
        track: TrackKind,
        code: &'static str,
        message: String,
    },
    /// A sample cannot be decoded, or a configuration is broken.
    Undecodable {
        epoch: Epoch,
        object: ObjectKey,
        code: &'static str,
    },
    /// The sink does not work; playback goes on without it.
    SinkFailed { track: TrackKind, message: String },
    /// Everything up to the end was given to the sink.
    Drained { track: TrackKind },
}

/// What it means that there is no decoder: another edge may have a better configuration, but no edge has a codec.
fn refusal(track: TrackKind, source: &Source, error: &DecodeError) -> DecoderNote {
    let code = error.code();
    match error {
        DecodeError::UnsupportedCodec { .. } => DecoderNote::Unsupported {
            track,
            code,
            message: error.to_string(),
        },
        DecodeError::Configuration { .. }
        | DecodeError::Corrupt { .. }
        | DecodeError::Conversion { .. } => DecoderNote::Undecodable {
            epoch: source.epoch,
            object: source.object,
            code,
        },
    }
}

/// Every critical section here leaves the state whole, so one that panicked left it whole too.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Without the feature there is no such thing.
#[cfg(not(feature = "video"))]
pub(crate) enum VideoTrack {}

#[cfg(not(feature = "video"))]
impl VideoTrack {
    pub(crate) fn begin(&mut self, _: MediaTime) {
        match *self {}
    }

    pub(crate) fn flush(&mut self, _: MediaTime, _: bool) {
        match *self {}
    }

    pub(crate) fn finish(&mut self) {
        match *self {}
    }

    pub(crate) fn wake(&mut self) {
        match *self {}
    }

    pub(crate) fn is_ready(&self) -> bool {
        match *self {}
    }

    pub(crate) fn counts(&self) -> FrameReport {
        match *self {}
    }

    pub(crate) fn into_thread(self) -> Option<std::thread::JoinHandle<()>> {
        match self {}
    }
}

#[cfg(not(feature = "video"))]
impl Feed for VideoTrack {
    fn format(&mut self, _: Source) -> bool {
        match *self {}
    }

    fn sample(&mut self, _: Epoch, _: ObjectKey, _: &Sample) -> bool {
        match *self {}
    }

    fn end(&mut self) -> bool {
        match *self {}
    }
}
