//! Bytes to samples to frames: fragmented MP4, sound, pictures and subtitles.
//!
//! Plain synchronous structs: no socket, no thread, no clock. Whoever uses them decides where they run.
//!
//! - Ticks and timescales stay in here; times leave as [`MediaTime`](nearcast_units::MediaTime), converted from
//!   absolute ticks.
//! - The input is hostile: what is wrong with it ends in a typed error with a stable `code()`, memory is bounded by
//!   the bytes given, and nothing panics.
//! - Pictures, and every sound but AAC-LC, need the feature `video`, which links FFmpeg's libraries.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use nearcast_media::{InitSegment, SampleKind, SegmentDemuxer, audio_decoder};
//!
//! # let init_bytes = include_bytes!("../tests/data/audio-init.mp4");
//! # let segment = include_bytes!("../tests/data/audio-1.m4s");
//! let init = InitSegment::parse(init_bytes)?;
//! let track = init.track(SampleKind::Audio).ok_or("no sound")?;
//! let mut decoder = audio_decoder(track)?;
//! let mut demuxer = SegmentDemuxer::new(&init, 0);
//! for chunk in segment.chunks(100) {
//!     demuxer.push(chunk.to_vec().into()); // as it arrives
//!     while let Some(sample) = demuxer.poll_sample()? {
//!         let frame = decoder.decode(&sample)?;
//!         assert_eq!(frame.sample_rate, 48_000);
//!     }
//! }
//! demuxer.finish()?;
//! # Ok(())
//! # }
//! ```

pub mod audio;
pub mod cues;
mod decode;
pub mod fmp4;
#[cfg(feature = "video")]
mod libav;
pub mod video;

pub use audio::{AudioDecoder, AudioFrame, audio_decoder};
pub use cues::{Cue, CueAlign, CueError, CueLine, has_timestamp_map, parse_webvtt, parse_wvtt};
pub use decode::DecodeError;
pub use fmp4::{
    Codec, CodecConfig, DemuxError, FourCc, InitSegment, Resolution, Sample, SampleKind,
    SegmentDemuxer, TrackInfo,
};
#[cfg(feature = "video")]
pub use libav::ffmpeg_license;
pub use video::RgbImage;
#[cfg(feature = "video")]
pub use video::{FrameScaler, VideoDecoder, VideoFrame};
