//! What a title consists of.

use core::time::Duration;
use std::path::PathBuf;

use nearcast_units::BitRate;

use crate::image::Size;

/// Frames per second of every rung. A constant, because bar code readers and tests count on it.
pub const FRAMES_PER_SECOND: u32 = 24;

/// Seconds in a segment: closed groups of pictures that begin at the same frames on every rung.
pub const SEGMENT_SECONDS: u32 = 4;

/// How far a rung's measured rate may be from its declared one, as a share of the declared one.
pub const RATE_TOLERANCE: f64 = 0.15;

/// One encoding of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Its number, 0 for the lowest: what the bar code says.
    pub index: u8,
    /// Its name in manifests and its directory: `v1` for the lowest.
    pub name: &'static str,
    /// The rate the manifests declare.
    pub rate: BitRate,
    /// The size of its picture in pixels.
    pub size: Size,
}

/// All rungs, lowest first.
pub const LADDER: [Rung; 6] = [
    rung(0, "v1", 235, 320, 180),
    rung(1, "v2", 560, 480, 270),
    rung(2, "v3", 1050, 640, 360),
    rung(3, "v4", 1750, 768, 432),
    rung(4, "v5", 3000, 960, 540),
    rung(5, "v6", 5800, 1280, 720),
];

const fn rung(index: u8, name: &'static str, kbps: u64, width: u32, height: u32) -> Rung {
    Rung {
        index,
        name,
        rate: BitRate::from_kbps(kbps),
        size: Size { width, height },
    }
}

/// A language that the title speaks and is subtitled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language {
    /// The BCP 47 tag.
    pub tag: &'static str,
    /// What people call it, in that language.
    pub name: &'static str,
    /// The pitch of the tone that begins each second, in hertz.
    pub tone_hz: u32,
}

/// Both languages; the first is the default one.
pub const LANGUAGES: [Language; 2] = [
    Language {
        tag: "en",
        name: "English",
        tone_hz: 1000,
    },
    Language {
        tag: "sv",
        name: "Svenska",
        tone_hz: 1500,
    },
];

/// What title to make, and where.
#[derive(Clone, Debug)]
pub struct TitleConfig {
    /// The directory that holds the finished title. Its parent is created when it is missing.
    pub dir: PathBuf,
    /// How long the title is; cut down to whole seconds, at least one and at most an hour.
    pub duration: Duration,
    /// The program to encode with: a name looked up in `PATH`, or a path.
    pub ffmpeg: PathBuf,
    /// How many rungs are encoded at a time; `None` for one per core.
    pub jobs: Option<usize>,
}

impl TitleConfig {
    /// Returns the title of the demo: two minutes and a bit, made with the `ffmpeg` in `PATH`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            // Not a multiple of the segment length, so that the last segment is a short one.
            duration: Duration::from_secs(126),
            ffmpeg: PathBuf::from("ffmpeg"),
            jobs: None,
        }
    }

    /// Returns the length in whole seconds.
    pub(crate) fn seconds(&self) -> u32 {
        u32::try_from(self.duration.as_secs())
            .unwrap_or(u32::MAX)
            .clamp(1, 3600)
    }
}
