//! Every other codec, by FFmpeg's libraries.

use ffmpeg_next::Error;
use ffmpeg_next::codec::decoder::Audio;
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::format::{Sample as Format, sample::Type};
use ffmpeg_next::frame::Audio as Frame;

use super::{AudioDecoder, AudioFrame};
use crate::decode::DecodeError;
use crate::fmp4::{Sample, TrackInfo};
use crate::libav;

/// Sound samples per channel that one encoded sample may hold: the longest block of FLAC. A damaged sample can decode
/// to a new frame every few bytes.
const LENGTH_MAX: usize = 65_536;

pub(super) struct LibavDecoder {
    decoder: Audio,
}

impl LibavDecoder {
    pub(super) fn new(track: &TrackInfo) -> Result<Self, DecodeError> {
        let decoder = libav::prepare(track)?
            .audio()
            .map_err(|error| libav::configuration_error(track, error))?;
        Ok(Self { decoder })
    }
}

impl AudioDecoder for LibavDecoder {
    fn decode(&mut self, sample: &Sample) -> Result<AudioFrame, DecodeError> {
        libav::send(&mut self.decoder, sample)?;
        let mut decoded = AudioFrame {
            pts: sample.pts,
            sample_rate: self.decoder.rate(),
            channels: self.decoder.channels(),
            samples: Vec::new(),
        };
        let mut frame = Frame::empty();
        let mut length = 0;
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {}
                // It wants the next sample.
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => {
                    return Ok(decoded.trimmed(sample));
                }
                Err(error) => return Err(libav::corrupt(sample.pts, error)),
            }
            length += frame.samples();
            let same_format =
                frame.rate() == decoded.sample_rate && frame.channels() == decoded.channels;
            if length > LENGTH_MAX || !(same_format || decoded.samples.is_empty()) {
                self.decoder.flush();
                return Err(libav::corrupt(sample.pts, Error::InvalidData));
            }
            decoded.sample_rate = frame.rate();
            decoded.channels = frame.channels();
            interleave(&frame, &mut decoded.samples);
        }
    }

    fn reset(&mut self) {
        self.decoder.flush();
    }
}

/// Puts the samples of a frame behind those that are there.
fn interleave(frame: &Frame, samples: &mut Vec<f32>) {
    let channels = usize::from(frame.channels());
    let width = frame.format().bytes();
    let count = frame.samples();
    let planes: Vec<&[u8]> = (0..frame.planes()).map(|index| frame.data(index)).collect();
    samples.reserve(count * channels);
    for index in 0..count {
        for channel in 0..channels {
            let (plane, position) = if frame.is_planar() {
                (channel, index)
            } else {
                (0, index * channels + channel)
            };
            let bytes = planes
                .get(plane)
                .and_then(|plane| plane.get(position * width..(position + 1) * width));
            samples.push(bytes.map_or(0.0, |bytes| value(frame.format(), bytes)));
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "sound has no use for more than the 24 bits of a float"
)]
#[expect(
    clippy::cast_precision_loss,
    reason = "sound has no use for more than the 24 bits of a float"
)]
fn value(format: Format, bytes: &[u8]) -> f32 {
    match (format, bytes) {
        (Format::U8(Type::Packed | Type::Planar), &[byte]) => (f32::from(byte) - 128.0) / 128.0,
        (Format::I16(_), &[a, b]) => f32::from(i16::from_ne_bytes([a, b])) / 32_768.0,
        (Format::I32(_), &[a, b, c, d]) => {
            i32::from_ne_bytes([a, b, c, d]) as f32 / 2_147_483_648.0
        }
        (Format::F32(_), &[a, b, c, d]) => f32::from_ne_bytes([a, b, c, d]),
        (Format::F64(_), &[a, b, c, d, e, f, g, h]) => {
            f64::from_ne_bytes([a, b, c, d, e, f, g, h]) as f32
        }
        _ => 0.0,
    }
}
