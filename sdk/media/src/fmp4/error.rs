//! What can be wrong with the bytes of a segment.

use thiserror::Error;

use super::FourCc;

/// A file that cannot be demultiplexed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DemuxError {
    /// The bytes contradict themselves or the file format.
    #[error("malformed media at byte {offset}: {what}")]
    Malformed {
        /// Where, in bytes from the start of what was given.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The bytes end too early.
    #[error("media cut off at byte {offset}, inside {what}")]
    Truncated {
        /// The number of bytes that came.
        offset: u64,
        /// What was being read.
        what: &'static str,
    },
    /// A legal file that uses something this demultiplexer does not do.
    #[error("unsupported media at byte {offset}: {what}")]
    Unsupported {
        /// Where, in bytes from the start of what was given.
        offset: u64,
        /// What is not supported.
        what: &'static str,
    },
    /// A track whose samples are encrypted.
    #[error("unsupported encryption of the media: scheme {scheme}")]
    Encrypted {
        /// The protection scheme that the file names, `cenc` or `cbcs` for instance.
        scheme: FourCc,
    },
}

impl DemuxError {
    /// Returns the stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "media.malformed",
            Self::Truncated { .. } => "media.truncated",
            Self::Unsupported { .. } => "unsupported.container",
            Self::Encrypted { .. } => "unsupported.encrypted",
        }
    }
}
