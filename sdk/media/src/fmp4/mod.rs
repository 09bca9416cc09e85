//! Fragmented MP4 (ISO/IEC 14496-12, CMAF): an init segment, and media segments as they arrive.
//!
//! The boxes are read by a small reader of our own: errors carry the byte offset, encrypted sample entries are told
//! apart, and nothing is allocated by what a count field claims. What a decoder makes of a sample belongs to
//! [`audio`](crate::audio) and [`video`](crate::video).

mod asc;
mod demuxer;
mod error;
mod fragment;
mod init;
mod integrity;
mod reader;
mod sample_entry;

pub use asc::AudioSpecificConfig;
pub use demuxer::{Sample, SegmentDemuxer};
pub use error::DemuxError;
pub use init::{Edit, InitSegment, Resolution, SampleDefaults, SampleKind, TrackInfo};
pub use reader::FourCc;
pub use sample_entry::{Codec, CodecConfig};

pub(crate) use reader::Reader;
