//! Pictures: samples to frames in presentation order, and frames to RGB in the size that a screen asks for.
//!
//! Needs the feature `video`; only [`RgbImage`] is always there.

#[cfg(feature = "video")]
mod decoder;
#[cfg(feature = "video")]
mod frame;

#[cfg(feature = "video")]
pub use decoder::VideoDecoder;
#[cfg(feature = "video")]
pub use frame::{FrameScaler, VideoFrame};

/// A picture in RGB, 8 bits a channel, rows from the top without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// `width * height * 3` bytes: red, green, blue.
    pub data: Vec<u8>,
}
