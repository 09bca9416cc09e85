//! Samples to frames, by FFmpeg's libraries.

use ffmpeg_next::Error;
use ffmpeg_next::codec::decoder::Video;
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::frame::Video as LibavFrame;
use nearcast_units::MediaTime;

use super::VideoFrame;
use crate::decode::DecodeError;
use crate::fmp4::{Sample, TrackInfo};
use crate::libav;

/// Decodes the samples of one representation in decode order into frames in presentation order.
///
/// At a change of representation: [`drain`](Self::drain) the decoder, drop it, make one for the new track. After a
/// seek: [`reset`](Self::reset).
pub struct VideoDecoder {
    decoder: Video,
    /// Presentation times (µs) of samples that are decoded and not presented.
    hidden: Vec<i64>,
    /// Where decoding began: pictures presented before it refer to what was never sent.
    begin: Option<i64>,
}

/// Reordering holds back 16 pictures at most; more hidden samples than that are already through.
const HIDDEN_MAX: usize = 32;
/// As many damaged pictures may be among the last ones.
const DAMAGED_MAX: usize = 32;

impl VideoDecoder {
    /// Makes a decoder for a track. It uses the calling thread only.
    ///
    /// # Errors
    /// [`DecodeError::UnsupportedCodec`] when FFmpeg has no decoder, [`DecodeError::Configuration`] when the init
    /// segment holds nonsense.
    pub fn new(track: &TrackInfo) -> Result<Self, DecodeError> {
        let decoder = libav::prepare(track)?
            .video()
            .map_err(|error| libav::configuration_error(track, error))?;
        Ok(Self {
            decoder,
            hidden: Vec::new(),
            begin: None,
        })
    }

    /// Decodes one sample and adds the frames that are complete now, none or several, in presentation order; also
    /// those that were before an error.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] when the sample cannot be decoded. The decoder may go on, and what refers to the
    /// damaged picture may fail too, up to the next sync sample.
    pub fn decode(
        &mut self,
        sample: &Sample,
        frames: &mut Vec<VideoFrame>,
    ) -> Result<(), DecodeError> {
        let pts = sample.pts.as_micros();
        let begin = *self.begin.get_or_insert(pts);
        if sample.trim_start == sample.duration && !sample.duration.is_zero() {
            if self.hidden.len() == HIDDEN_MAX {
                self.hidden.remove(0);
            }
            self.hidden.push(pts);
        }
        match libav::send(&mut self.decoder, sample) {
            // A leading picture of an open group, whose references were not sent, is not shown anyway.
            Err(_) if pts < begin => Ok(()),
            sent => sent.and_then(|()| self.receive(sample.pts, frames)),
        }
    }

    /// Adds the frames that are still inside, at the end or before another representation takes over. The decoder
    /// can be used again from a sync sample on.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] when one of them is damaged; the others are there.
    pub fn drain(&mut self, frames: &mut Vec<VideoFrame>) -> Result<(), DecodeError> {
        let last = MediaTime::from_micros(self.begin.unwrap_or(0));
        let outcome = match self.decoder.send_eof() {
            Ok(()) | Err(Error::Eof) => self.receive(last, frames),
            Err(error) => Err(libav::corrupt(last, error)),
        };
        for _ in 0..DAMAGED_MAX {
            if outcome.is_ok() || self.receive(last, frames).is_ok() {
                break;
            }
        }
        self.reset();
        outcome
    }

    /// Forgets everything seen so far: to be called after a seek, or where samples are missing.
    pub fn reset(&mut self) {
        self.decoder.flush();
        self.hidden.clear();
        self.begin = None;
    }

    fn receive(
        &mut self,
        sent: MediaTime,
        frames: &mut Vec<VideoFrame>,
    ) -> Result<(), DecodeError> {
        loop {
            let mut frame = LibavFrame::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {}
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return Ok(()), // wants more samples, or is empty
                Err(error) => return Err(libav::corrupt(sent, error)),
            }
            let Some(pts) = frame.pts().or_else(|| frame.timestamp()) else {
                return Err(libav::corrupt(sent, Error::InvalidData));
            };
            if self.begin.is_some_and(|begin| pts < begin) {
                continue;
            }
            if let Some(index) = self.hidden.iter().position(|&hidden| hidden == pts) {
                self.hidden.swap_remove(index);
                continue;
            }
            let pts = MediaTime::from_micros(pts);
            if frame.is_corrupt() || frame.has_decode_errors() {
                return Err(libav::corrupt(pts, Error::InvalidData));
            }
            frames.push(VideoFrame::new(pts, frame));
        }
    }
}
