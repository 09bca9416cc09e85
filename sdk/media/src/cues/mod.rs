//! Subtitles as cues: WebVTT files, and WebVTT samples in fragmented MP4.
//!
//! Cues are plain text with hints of place; how they are drawn belongs to the player.

mod text;
mod webvtt;
mod wvtt;

use nearcast_units::{MediaTime, Ratio};
use thiserror::Error;

pub use webvtt::{has_timestamp_map, parse_webvtt};
pub use wvtt::parse_wvtt;

/// A text and when it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    /// When it appears.
    pub start: MediaTime,
    /// When it disappears; always after `start`.
    pub end: MediaTime,
    /// What is shown, at most 2 KiB: lines divided by `\n`, without tags and control characters, so that it may go to a terminal.
    pub text: String,
    /// Where it is to be, if the author said so; else at the bottom.
    pub line: Option<CueLine>,
    /// How its lines are aligned.
    pub align: CueAlign,
}

/// The place of a cue from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CueLine {
    /// Lines of text from the top, 0 the first; negative from the bottom, -1 the last.
    Number(i32),
    /// A share of the height of the picture, from the top.
    Height(Ratio),
}

/// How the lines of a cue are aligned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CueAlign {
    /// At the side where lines begin.
    Start,
    /// In the middle.
    #[default]
    Center,
    /// At the side where lines end.
    End,
}

/// Subtitles that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CueError {
    /// The file does not begin as WebVTT does.
    #[error("not a WebVTT file: it does not begin with WEBVTT")]
    NotWebVtt,
    /// The file is larger than subtitles of any length are.
    #[error("subtitles of {size_bytes} bytes: more than {WEBVTT_BYTES_MAX}")]
    TooLarge {
        /// The size of the file.
        size_bytes: usize,
    },
    /// The file has more cues than subtitles of any length have.
    #[error("subtitles of more than {WEBVTT_CUES_MAX} cues")]
    TooMany,
    /// A timestamp map that maps nothing.
    #[error("malformed X-TIMESTAMP-MAP in the subtitles")]
    TimestampMap,
    /// A sample that is not made of cue boxes.
    #[error("malformed cue sample at byte {offset}: {what}")]
    Sample {
        /// Where, in bytes from the start of the sample.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

impl CueError {
    /// Returns the stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotWebVtt
            | Self::TooLarge { .. }
            | Self::TooMany
            | Self::TimestampMap
            | Self::Sample { .. } => "media.malformed_subtitles",
        }
    }
}

/// Ten hours of dense subtitles have about 1 MB.
const WEBVTT_BYTES_MAX: usize = 8 << 20;
/// Ten hours of dense subtitles have about ten thousand.
const WEBVTT_CUES_MAX: usize = 20_000;
/// More cues than this are not seen at a time.
const SAMPLE_CUES_MAX: usize = 64;
/// A cue of four long lines has some 200 bytes; the rest of a longer one is cut off.
const TEXT_BYTES_MAX: usize = 2048;
