//! HLS (RFC 8216): `lines` reads tags and refuses broken ones, `multivariant` makes tracks of variants and
//! renditions, `media` makes segments of a media playlist.
//!
//! Media offsets are 0: a playlist does not say at which media time it begins. FFmpeg and Shaka Packager
//! begin at 0; a player that finds another first `tfdt` has to correct the offset itself. Segment times are
//! sums of `EXTINF`, which packagers round (Shaka Packager to a millisecond), so the `tfdt` of a late segment may
//! differ from its start here by a fraction of a second.

mod lines;
mod media;
mod multivariant;

use nearcast_protocol::manifest::{
    Container, Outline, Period, Representation, RepresentationKey, SegmentIndex, Track, TrackKind,
};
use nearcast_units::{BitRate, MediaTime};

use crate::address::Base;
use crate::limits::Budget;
use crate::locations::{IndexPlace, Locations, MediaPlace, Place};
use crate::manifest::{Loaded, duration_of, mean_bitrate};
use crate::{Manifest, ManifestError};

/// What a bit rate is taken to be where HLS does not tell. A playlist names no rate for its renditions, and a
/// rate of 0 would divide by zero in every estimate made of it.
const NOMINAL_AUDIO: BitRate = BitRate::from_kbps(128);
const NOMINAL_TEXT: BitRate = BitRate::from_kbps(4);
const NOMINAL_VIDEO: BitRate = BitRate::from_kbps(2_000);

/// Reads the text of a multivariant or of a media playlist.
pub(crate) fn parse(text: &str, address: &Base) -> Result<Manifest, ManifestError> {
    match lines::sort_of(text)? {
        lines::Sort::Multivariant => multivariant::parse(text, address),
        lines::Sort::Media => lone_playlist(text, address),
    }
}

/// Reads the media playlist of a representation that a multivariant playlist named.
pub(crate) fn load(
    bytes: &[u8],
    address: &Base,
    kind: TrackKind,
    budget: &mut Budget,
) -> Result<Loaded, ManifestError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = bytes.trim_ascii_start();
    if !start.starts_with(b"#EXTM3U") {
        return Err(ManifestError::NotAManifest {
            found: "something else than an HLS media playlist".to_owned(),
        });
    }
    let text = std::str::from_utf8(start)
        .map_err(|error| ManifestError::malformed(format!("not UTF-8: {error}")))?;
    match lines::sort_of(text)? {
        lines::Sort::Media => media::parse(text, address, Some(kind), budget),
        lines::Sort::Multivariant => Err(ManifestError::malformed(
            "a multivariant playlist where a media playlist is expected",
        )),
    }
}

/// What a media playlist tells of its representation besides the segments.
#[derive(Debug)]
pub(crate) struct PlaylistFacts {
    container: Container,
    /// Mean rate, where byte ranges give all sizes.
    bitrate: Option<BitRate>,
}

impl PlaylistFacts {
    /// Brings a representation up to date. `alone` says that its track has no other: only then may a nominal
    /// rate give way to a measured one without upsetting the order of a ladder.
    pub(crate) fn settle(&self, representation: &mut Representation, alone: bool) {
        representation.container = self.container;
        let nominal = [NOMINAL_AUDIO, NOMINAL_TEXT].contains(&representation.bitrate);
        if let Some(bitrate) = self.bitrate
            && alone
            && nominal
        {
            representation.bitrate = bitrate;
        }
    }
}

/// A media playlist that was opened directly: one representation. Whether it is picture or sound shows in the
/// file names at best; the init segment tells for certain.
fn lone_playlist(text: &str, address: &Base) -> Result<Manifest, ManifestError> {
    let mut budget = Budget::new(0);
    let Loaded {
        segments,
        place,
        playlist,
    } = media::parse(text, address, None, &mut budget)?;
    let container = playlist.map_or(Container::Fmp4, |facts| facts.container);
    let kind = match (container, media::extension(&place)) {
        (Container::WebVtt, _) => TrackKind::Text,
        (Container::Fmp4, extension) => match extension.as_str() {
            "m4a" | "cmfa" => TrackKind::Audio,
            _ => TrackKind::Video,
        },
    };
    if kind == TrackKind::Text {
        return Err(ManifestError::NoTracks);
    }
    let nominal = if kind == TrackKind::Audio {
        NOMINAL_AUDIO
    } else {
        NOMINAL_VIDEO
    };
    let duration = duration_of(&segments);
    let representation = Representation {
        id: "playlist".to_owned(),
        bitrate: mean_bitrate(&segments).unwrap_or(nominal),
        codecs: String::new(),
        resolution: None,
        container,
        init: place.init.is_some(),
        index: SegmentIndex::Known(segments),
        media_offset_us: 0,
    };
    let track = Track {
        kind,
        language: None,
        label: None,
        role: None,
        default: true,
        representations: vec![representation],
    };
    let mut locations = Locations::new(address);
    let key = RepresentationKey {
        period: 0,
        track: 0,
        representation: 0,
    };
    locations.insert(key, place);
    Ok(Manifest {
        outline: Outline {
            duration,
            periods: vec![Period {
                start: MediaTime::ZERO,
                duration,
                tracks: vec![track],
            }],
        },
        locations,
        pathways: Vec::new(),
        refused: Vec::new(),
    })
}

/// The place of a representation whose playlist is not loaded yet.
fn deferred(playlist: Base) -> Place {
    Place {
        init: None,
        index: Some(IndexPlace::Playlist(playlist)),
        media: MediaPlace::Unknown,
    }
}
