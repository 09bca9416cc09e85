//! Where media goes: what an application may implement to receive samples, sound, pictures or subtitles.
//!
//! Without any sink the player is headless: it takes media apart and keeps time, and decodes nothing.

use std::time::Duration;

use nearcast_media::{Cue, Sample, TrackInfo};
use nearcast_protocol::manifest::TrackKind;
use nearcast_units::{BitRate, MediaTime};

/// What the samples that follow are.
#[derive(Clone, Debug)]
pub struct TrackFormat {
    /// What the track carries.
    pub kind: TrackKind,
    /// The representation's identifier in the manifest.
    pub representation: String,
    /// Its declared bit rate.
    pub bitrate: BitRate,
    /// Codec, sizes and decoder configuration, from the init segment.
    pub info: TrackInfo,
}

/// Receives encoded samples, each once and in decode order per track, at most two seconds before they are
/// shown.
///
/// Called on the player's task: an implementation returns soon and does not block.
pub trait SampleSink: Send {
    /// Samples of this format follow on its track.
    fn format(&mut self, format: &TrackFormat);

    /// Takes one sample. `preroll` samples are only needed to decode later ones and are not shown (after a
    /// seek into the middle of a segment).
    fn sample(&mut self, kind: TrackKind, sample: &Sample, preroll: bool);

    /// Samples of this track that are presented at or after `from` and were not shown yet are to be forgotten.
    fn flush(&mut self, kind: TrackKind, from: MediaTime) {
        let _ = (kind, from);
    }

    /// No more samples come for this track, until a flush.
    fn end(&mut self, kind: TrackKind) {
        let _ = kind;
    }
}

/// What sound follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioFormat {
    /// Samples per second and channel.
    pub sample_rate: u32,
    /// Channels, interleaved.
    pub channels: u16,
}

/// Plays decoded sound. Where there is one, it is the master clock: pictures follow what is heard.
///
/// Called on a thread of its own.
pub trait AudioSink: Send {
    /// Sound of this format follows. What was written before is still to be played.
    ///
    /// # Errors
    ///
    /// One sentence for people; the player goes on without sound.
    fn configure(&mut self, format: AudioFormat) -> Result<(), String>;

    /// Takes interleaved samples as far as there is room; returns how many *frames* (one sample of each
    /// channel) were taken. Does not block; sound waits while the sink is not playing, and a sink begins so.
    fn write(&mut self, interleaved: &[f32]) -> usize;

    /// Returns how long what was written lasts until the last of it is heard, the device's delay included.
    /// Asked many times a second: pictures follow the answer.
    fn queued(&self) -> Duration;

    /// Plays on, or holds where it is.
    fn set_playing(&mut self, playing: bool);

    /// Forgets what was written and not heard yet.
    fn flush(&mut self);
}

/// Which decoded pictures a [`FrameSink`] gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameDelivery {
    /// Each when it is due, without those that are late: for a screen.
    #[default]
    WhenDue,
    /// Every one, in order, as soon as it is decoded: for tests and recordings.
    Every,
}

/// What is known of a decoded picture beside its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// When it is shown.
    pub pts: MediaTime,
    /// Identifier of the representation it comes from.
    pub representation: String,
    /// Declared bit rate of that representation.
    pub bitrate: BitRate,
}

/// Receives decoded pictures. Called on a thread of its own.
#[cfg(feature = "video")]
pub trait FrameSink: Send {
    /// Takes one picture.
    fn frame(&mut self, info: &FrameInfo, frame: nearcast_media::VideoFrame);

    /// Pictures that were not shown yet belong to a place that was left.
    fn flush(&mut self) {}
}

/// Is told which subtitles are to be seen. Called on the player's task: an implementation returns soon.
pub trait CueSink: Send {
    /// These cues are to be seen from now on, and no others; empty for none.
    fn show(&mut self, cues: &[Cue]);
}
