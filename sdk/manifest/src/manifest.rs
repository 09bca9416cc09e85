//! A whole manifest: its outline, where things lie, and how to learn the rest.

use std::time::Duration;

use nearcast_protocol::manifest::{
    Outline, Representation, RepresentationKey, Segment, SegmentIndex, TrackKind,
};
use nearcast_units::{ByteCount, MediaTime};

use crate::address::{Base, Location, Target};
use crate::error::clip;
use crate::limits::{self, Budget};
use crate::locations::{IndexPlace, Locations, Place};
use crate::{ManifestError, dash, hls, sidx};

/// A manifest, with what has been learnt of its segments so far.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Times, rates and sizes.
    pub outline: Outline,
    /// Where each object lies.
    pub locations: Locations,
    /// Places where the same files lie, in the manifest's order of preference: the `BaseURL`s of a DASH MPD.
    /// Locations use the first. Empty when the manifest names none, which is usual. See
    /// [`on_pathway`](Self::on_pathway).
    pub pathways: Vec<Pathway>,
    /// Media that was left out because it is not supported, while other media of its kind can be played (or
    /// it is text, which nobody needs in order to play).
    pub refused: Vec<Refused>,
}

/// A place where the same files lie; DASH `serviceLocation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pathway {
    /// Its name, or its base where it has none.
    pub name: String,
    /// The folder that takes the place of another pathway's; ends in a slash, or is empty.
    pub base: Target,
}

/// Media that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What it carries.
    pub kind: TrackKind,
    /// Why.
    pub error: ManifestError,
}

/// Reads an MPD, an HLS multivariant playlist or an HLS media playlist.
///
/// `url` is the address of the manifest itself: an absolute http(s) URL, or a bare path, which is then
/// relative to any appliance. References are resolved against it; see [`Target`].
///
/// # Errors
/// When the bytes are too many or no manifest, when the manifest breaks the rules of its format, or when it
/// needs something that is not supported.
pub fn parse(bytes: &[u8], url: &str) -> Result<Manifest, ManifestError> {
    limits::check_size(bytes)?;
    let address = Base::of_manifest(url)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = bytes.trim_ascii_start();
    let found = || {
        let start = start.get(..start.len().min(60)).unwrap_or_default();
        match start {
            [] => "nothing at all".to_owned(),
            [_, _, _, _, b's', b't', b'y', b'p', ..]
            | [_, _, _, _, b'm', b'o', b'o', b'f', ..]
            | [_, _, _, _, b's', b'i', b'd', b'x', ..] => "a media segment (binary MP4)".to_owned(),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => "an MP4 file (binary)".to_owned(),
            // As it is, it would say nothing and fill lines.
            start if is_binary(start) => "binary data".to_owned(),
            start => format!("{:?}", clip(&String::from_utf8_lossy(start))),
        }
    };
    let is_playlist = start.starts_with(b"#EXTM3U");
    if !is_playlist && !start.starts_with(b"<") {
        return Err(ManifestError::NotAManifest { found: found() });
    }
    let text = std::str::from_utf8(start)
        .map_err(|error| ManifestError::malformed(format!("not UTF-8: {error}")))?;
    if is_playlist {
        hls::parse(text, &address)
    } else {
        dash::parse(text, &address)
    }
}

/// Whether no text has such bytes.
fn is_binary(start: &[u8]) -> bool {
    let is_text = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\t' | b'\n' | b'\r');
    !start.iter().all(is_text)
}

impl Manifest {
    /// Takes in the object that a representation's segments are learnt from
    /// ([`ObjectKey::Index`](nearcast_protocol::manifest::ObjectKey::Index)): an HLS media playlist or the bytes
    /// of a `sidx`. Outline and locations are brought up to date, and the segments are returned too.
    ///
    /// For HLS, this also settles what only the media playlist tells: whether there is an init segment, the
    /// container, the duration, and the bit rate of sound where byte ranges give it away. Nothing changes
    /// when it fails, and loading once more replaces what was there.
    ///
    /// # Errors
    /// When there is no such representation or it needs no index, and as [`parse`] does.
    pub fn load_index(
        &mut self,
        key: RepresentationKey,
        bytes: &[u8],
    ) -> Result<Vec<Segment>, ManifestError> {
        let index = self.index_reader(key)?.read(bytes)?;
        self.take_index(index)
    }

    /// Returns what reads an index as [`load_index`](Self::load_index) does, apart from the manifest: a large one
    /// takes tens of milliseconds. What it reads is then [taken in](Self::take_index).
    ///
    /// # Errors
    /// When there is no such representation or it needs no index.
    pub fn index_reader(&self, key: RepresentationKey) -> Result<IndexReader, ManifestError> {
        let (Some(place), Some(track)) = (self.locations.place(key), self.outline.track(key))
        else {
            return Err(ManifestError::UnexpectedIndex);
        };
        Ok(IndexReader {
            key,
            kind: track.kind,
            index: place.index.clone().ok_or(ManifestError::UnexpectedIndex)?,
            place: place.clone(),
            budget: Budget::new(self.segments_known()),
        })
    }

    /// Takes in what a reader of this manifest has read; the other half of [`load_index`](Self::load_index).
    ///
    /// # Errors
    /// When others that were taken in meanwhile leave no room for so many segments.
    pub fn take_index(&mut self, index: Index) -> Result<Vec<Segment>, ManifestError> {
        let Index { key, index, loaded } = index;
        let Loaded {
            segments,
            place,
            playlist,
        } = loaded;
        Budget::new(self.segments_known()).take_segments(0, segments.len() as u64)?;
        let alone = (self.outline.track(key)).is_some_and(|track| track.representations.len() == 1);
        let Some(representation) = self.representation_mut(key) else {
            return Err(ManifestError::UnexpectedIndex);
        };
        representation.init = place.init.is_some();
        representation.index = SegmentIndex::Known(segments.clone());
        if let Some(facts) = playlist {
            facts.settle(representation, alone);
            self.extend_to(&segments, key);
        }
        let index = Some(index);
        self.locations.insert(key, Place { index, ..place });
        Ok(segments)
    }

    /// Returns where an object lies on another pathway; `None` when it does not lie below the first one.
    #[must_use]
    pub fn on_pathway(&self, location: &Location, pathway: &Pathway) -> Option<Location> {
        let target = match (&self.pathways.first()?.base, &location.target) {
            (Target::Path(base), Target::Path(path)) => path.strip_prefix(base.as_str()),
            (Target::Url(base), Target::Url(url)) => url.strip_prefix(base.as_str()),
            (Target::Path(_), Target::Url(_)) | (Target::Url(_), Target::Path(_)) => None,
        }?;
        Some(Location {
            target: match &pathway.base {
                Target::Path(base) => Target::Path(format!("{base}{target}")),
                Target::Url(base) => Target::Url(format!("{base}{target}")),
            },
            range: location.range,
        })
    }

    fn representation_mut(&mut self, key: RepresentationKey) -> Option<&mut Representation> {
        self.outline
            .periods
            .get_mut(usize::from(key.period))?
            .tracks
            .get_mut(usize::from(key.track))?
            .representations
            .get_mut(usize::from(key.representation))
    }

    fn segments_known(&self) -> usize {
        let tracks = self
            .outline
            .periods
            .iter()
            .flat_map(|period| &period.tracks);
        tracks
            .flat_map(|track| &track.representations)
            .map(|representation| match &representation.index {
                SegmentIndex::Known(segments) => segments.len(),
                SegmentIndex::Deferred => 0,
            })
            .sum()
    }

    /// An HLS presentation is as long as its longest playlist of pictures or sound.
    fn extend_to(&mut self, segments: &[Segment], key: RepresentationKey) {
        let is_text = self
            .outline
            .track(key)
            .is_some_and(|track| track.kind == TrackKind::Text);
        let duration = duration_of(segments);
        if is_text || self.outline.duration >= duration {
            return;
        }
        self.outline.duration = duration;
        for period in &mut self.outline.periods {
            period.duration = duration;
        }
    }
}

/// Reads the index of one representation, apart from its manifest.
#[derive(Debug)]
pub struct IndexReader {
    key: RepresentationKey,
    kind: TrackKind,
    index: IndexPlace,
    place: Place,
    budget: Budget,
}

/// An index that was read.
#[derive(Debug)]
pub struct Index {
    key: RepresentationKey,
    index: IndexPlace,
    loaded: Loaded,
}

impl IndexReader {
    /// Reads an HLS media playlist or the bytes of a `sidx`.
    ///
    /// # Errors
    /// As [`parse`] does.
    pub fn read(self, bytes: &[u8]) -> Result<Index, ManifestError> {
        limits::check_size(bytes)?;
        let Self {
            key,
            kind,
            index,
            place,
            mut budget,
        } = self;
        let loaded = match &index {
            IndexPlace::Playlist(base) => hls::load(bytes, base, kind, &mut budget)?,
            IndexPlace::Sidx { file, range, clock } => {
                let (segments, media) = sidx::load(bytes, file, range.first, *clock, &mut budget)?;
                Loaded {
                    segments,
                    place: Place { media, ..place },
                    playlist: None,
                }
            }
        };
        Ok(Index { key, index, loaded })
    }
}

/// What was read from an index.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) segments: Vec<Segment>,
    pub(crate) place: Place,
    pub(crate) playlist: Option<hls::PlaylistFacts>,
}

pub(crate) fn duration_of(segments: &[Segment]) -> Option<Duration> {
    let last = segments.last()?;
    Some((last.start + last.duration).since(MediaTime::ZERO))
}

/// Returns the mean bit rate, where all sizes are known.
pub(crate) fn mean_bitrate(segments: &[Segment]) -> Option<nearcast_units::BitRate> {
    let sizes: Option<ByteCount> = segments.iter().try_fold(ByteCount::ZERO, |total, segment| {
        Some(total + segment.size?)
    });
    let time: Duration = segments.iter().map(|segment| segment.duration).sum();
    sizes?.rate_over(time)
}
