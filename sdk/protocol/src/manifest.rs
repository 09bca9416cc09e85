//! The manifest model: what DASH and HLS both become.
//!
//! The outline is what decisions need (times, rates, sizes) and holds no URL; where an object lies is the
//! business of `nearcast-manifest`, which keeps the locations beside the outline. Both are joined by
//! [`ObjectKey`].

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, MediaTime};
use serde::{Deserialize, Serialize};

/// A title's structure: periods in order, each with its tracks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// Length of the whole presentation; `None` when the manifest does not say.
    pub duration: Option<Duration>,
    /// Periods in presentation order, at least one.
    pub periods: Vec<Period>,
}

/// A stretch of the timeline with one set of tracks (an HLS presentation is one period).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// Where the period begins on the presentation timeline.
    pub start: MediaTime,
    /// Length; `None` when only its segments tell.
    pub duration: Option<Duration>,
    /// Tracks: one for each video, for each audio language or role, for each subtitle language.
    pub tracks: Vec<Track>,
}

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Subtitles or captions.
    Text,
}

/// A choice for the viewer (a language, say): interchangeable representations of one content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// What it carries.
    pub kind: TrackKind,
    /// BCP 47 language tag; `None` when the manifest does not say.
    pub language: Option<String>,
    /// A name for people.
    pub label: Option<String>,
    /// Role as the manifest writes it (`main`, `commentary`, `forced-subtitle`…).
    pub role: Option<String>,
    /// Whether the manifest asks for this track when the viewer says nothing.
    pub default: bool,
    /// Representations by ascending bit rate, at least one.
    pub representations: Vec<Representation>,
}

/// One encoding of a track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Representation {
    /// Identifier in the manifest, unique within the track.
    pub id: String,
    /// Declared bit rate (DASH `@bandwidth`; HLS `BANDWIDTH`, less the audio where that is known).
    pub bitrate: BitRate,
    /// Codecs string (RFC 6381), empty when the manifest does not say.
    pub codecs: String,
    /// Picture width and height in pixels.
    pub resolution: Option<(u32, u32)>,
    /// How its samples are packed.
    pub container: Container,
    /// Whether there is an init segment to fetch before the first media segment.
    pub init: bool,
    /// Its segments, or how to learn them.
    pub index: SegmentIndex,
    /// What to add to times inside the media (its `tfdt` or cue times) to get presentation times, in
    /// microseconds: period start minus presentation time offset.
    pub media_offset_us: i64,
}

/// How samples are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// Fragmented MP4 (CMAF).
    Fmp4,
    /// WebVTT text files.
    WebVtt,
}

/// A representation's segments, or how to learn them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentIndex {
    /// All segments, ascending and without overlap.
    Known(Vec<Segment>),
    /// Another object must be fetched and parsed first: an HLS media playlist or a `sidx` box.
    Deferred,
}

/// One media segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Presentation time of its first sample.
    pub start: MediaTime,
    /// Presentation time it covers.
    pub duration: Duration,
    /// Size where the manifest, a `sidx` or a byte range tells.
    pub size: Option<ByteCount>,
}

/// Names a representation within an [`Outline`] by its indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RepresentationKey {
    /// Index into [`Outline::periods`].
    pub period: u16,
    /// Index into [`Period::tracks`].
    pub track: u16,
    /// Index into [`Track::representations`].
    pub representation: u16,
}

/// Names an object that can be fetched. Holds no URL, so it may enter the core and its recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKey {
    /// The MPD or the multivariant playlist.
    Manifest,
    /// What a [`SegmentIndex::Deferred`] representation's segments are learnt from.
    Index(RepresentationKey),
    /// An init segment.
    Init(RepresentationKey),
    /// A media segment, by its index in [`SegmentIndex::Known`].
    Media(RepresentationKey, u32),
    /// A few bytes of something, only to measure an edge.
    Probe,
}

impl ObjectKey {
    /// Returns the representation the object belongs to, if it belongs to one.
    #[must_use]
    pub const fn representation(self) -> Option<RepresentationKey> {
        match self {
            Self::Manifest | Self::Probe => None,
            Self::Index(key) | Self::Init(key) | Self::Media(key, _) => Some(key),
        }
    }
}

impl Outline {
    /// Returns a representation by its key.
    #[must_use]
    pub fn representation(&self, key: RepresentationKey) -> Option<&Representation> {
        self.track(key)?
            .representations
            .get(usize::from(key.representation))
    }

    /// Returns the track a representation belongs to.
    #[must_use]
    pub fn track(&self, key: RepresentationKey) -> Option<&Track> {
        self.periods
            .get(usize::from(key.period))?
            .tracks
            .get(usize::from(key.track))
    }
}
