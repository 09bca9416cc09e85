//! What can go wrong between samples and frames.

use nearcast_units::MediaTime;
use thiserror::Error;

/// A decoder that cannot be made, or a sample that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// This build has no decoder for the codec.
    #[error("no decoder for {codec}: {reason}")]
    UnsupportedCodec {
        /// The codec as manifests name it.
        codec: String,
        /// What of it is not supported, and what would help.
        reason: &'static str,
    },
    /// The decoder refuses the configuration in the init segment.
    #[error("broken decoder configuration for {codec}: {reason}")]
    Configuration {
        /// The codec as manifests name it.
        codec: String,
        /// What the decoder said.
        reason: String,
    },
    /// A sample that is damaged, or whose references are missing. The decoder can go on at the next sync sample.
    #[error("undecodable sample at {} s: {reason}", pts.as_secs_f64())]
    Corrupt {
        /// When the sample would have been presented.
        pts: MediaTime,
        /// What the decoder said.
        reason: String,
    },
    /// A picture that cannot be converted to the size asked for.
    #[error("no conversion to a picture of {width} by {height}: {reason}")]
    Conversion {
        /// Pixels across, as asked for.
        width: u32,
        /// Pixels down, as asked for.
        height: u32,
        /// What the converter said.
        reason: String,
    },
}

impl DecodeError {
    /// Returns the stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedCodec { .. } => "unsupported.codec",
            Self::Configuration { .. } => "media.decoder_config",
            Self::Corrupt { .. } => "media.undecodable",
            Self::Conversion { .. } => "media.conversion",
        }
    }
}
