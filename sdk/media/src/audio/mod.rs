//! Sound: samples to interleaved floats.
//!
//! AAC-LC in mono or stereo is decoded in Rust; every other codec needs the feature `video`, which brings FFmpeg.
//! Mixing, resampling and output belong to whoever plays the frames.

mod aac;
#[cfg(feature = "video")]
mod libav;

use nearcast_units::MediaTime;

use crate::decode::DecodeError;
use crate::fmp4::{AudioSpecificConfig, Codec, Sample, TrackInfo};

/// Decoded sound.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioFrame {
    /// When the first of the samples is heard.
    pub pts: MediaTime,
    /// Samples per second and channel.
    pub sample_rate: u32,
    /// Channels, one after the other in `samples`, in the order of their speakers (front left, front right, centre,
    /// low frequency, …).
    pub channels: u16,
    /// Interleaved samples, nominally -1.0 to 1.0. Empty when the encoded sample only primes the decoder.
    pub samples: Vec<f32>,
}

impl AudioFrame {
    /// Cuts off what the encoder put before the start of the sound.
    fn trimmed(mut self, sample: &Sample) -> Self {
        let micros = sample.trim_start.as_micros();
        if micros > 0 {
            // Rounded to the nearest: the times are whole microseconds, a sample lasts about twenty.
            let frames = (micros * u128::from(self.sample_rate) + 500_000) / 1_000_000;
            let values = usize::try_from(frames)
                .unwrap_or(usize::MAX)
                .saturating_mul(usize::from(self.channels))
                .min(self.samples.len());
            self.samples.drain(..values);
            self.pts = self.pts + sample.trim_start;
        }
        self
    }
}

/// Decodes the samples of one representation, and of others with the same configuration, in decode order.
pub trait AudioDecoder {
    /// Decodes one sample. Encoder delay is cut off, so that what comes out begins with the presentation.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] when the sample cannot be decoded; the next one may be tried.
    fn decode(&mut self, sample: &Sample) -> Result<AudioFrame, DecodeError>;

    /// Forgets everything heard so far: to be called after a seek, or where samples are missing.
    fn reset(&mut self);
}

/// Makes a decoder for a track.
///
/// A decoder may be kept when the representation changes and the track's `codec` is equal.
///
/// # Errors
/// [`DecodeError::UnsupportedCodec`] when this build has none, [`DecodeError::Configuration`] when the init segment
/// holds nonsense.
pub fn audio_decoder(track: &TrackInfo) -> Result<Box<dyn AudioDecoder + Send>, DecodeError> {
    if track.codec.codec == Codec::Aac
        && AudioSpecificConfig::parse(&track.codec.config)
            .is_some_and(|config| config.is_plain_lc())
    {
        return Ok(Box::new(aac::AacDecoder::new(track)?));
    }
    other_decoder(track)
}

#[cfg(feature = "video")]
fn other_decoder(track: &TrackInfo) -> Result<Box<dyn AudioDecoder + Send>, DecodeError> {
    Ok(Box::new(libav::LibavDecoder::new(track)?))
}

#[cfg(not(feature = "video"))]
fn other_decoder(track: &TrackInfo) -> Result<Box<dyn AudioDecoder + Send>, DecodeError> {
    Err(DecodeError::UnsupportedCodec {
        codec: track.codec.codec_string(),
        reason: "only AAC-LC in mono or stereo, as this build has no FFmpeg (feature `video`)",
    })
}
