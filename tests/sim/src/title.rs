//! A title without payload: an outline and the size of every object.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use nearcast_appliance::fault::ObjectKind;
use nearcast_appliance::{ObjectName, Target};
use nearcast_protocol::manifest::{
    Container, ObjectKey, Outline, Period, Representation, RepresentationKey, Segment,
    SegmentIndex, Track, TrackKind,
};
use nearcast_units::{BitRate, ByteCount, MediaTime, Seed};

use crate::trace::Movie;

/// What is played in a simulation.
#[derive(Clone, Debug)]
pub struct SimTitle {
    /// With the size of every segment, whatever the manifest tells of them.
    outline: Outline,
    /// Whether the manifest tells sizes.
    tells_sizes: bool,
    /// Whose segments are told in an index of its own.
    deferred: fn(RepresentationKey) -> bool,
    /// How large the manifest is.
    manifest: ByteCount,
    /// How large init segments, indexes and probes are.
    init: ByteCount,
}

/// As large as those of the made title, or somewhat larger.
const MANIFEST: ByteCount = ByteCount::new(9_000);
const INIT: ByteCount = ByteCount::new(1_000);

/// Declared rates of the made title, kbit/s.
const LADDER_KBPS: [u64; 6] = [235, 560, 1050, 1750, 3000, 5800];
/// The folder that the lab puts the made title into: what a scenario says of paths is right however it is run.
pub(crate) const FILES: &str = "title/";
const SEGMENT: Duration = Duration::from_secs(4);

impl SimTitle {
    /// Makes a title like the one `make demo` makes: six rungs, two audio languages and subtitles, segments of 4 s
    /// whose sizes vary by a third either way. All is named as there, but for subtitles in pieces: there they are one
    /// file, and here each piece has its name.
    #[must_use]
    pub fn made(duration: Duration, seed: Seed) -> Self {
        let mut rng = seed.split("title").rng();
        let scenes: Vec<f64> = (0..duration.as_millis().div_ceil(SEGMENT.as_millis()))
            .map(|_| 0.67 + 0.66 * rng.next_f64())
            .collect();
        let representation = |id: String, bitrate: BitRate, vary: bool| {
            let segments = scenes.iter().enumerate().map(|(index, scene)| {
                let start = SEGMENT * u32::try_from(index).unwrap_or(u32::MAX);
                let duration = SEGMENT.min(duration.saturating_sub(start));
                let factor = if vary { *scene } else { 1.0 };
                Segment {
                    start: MediaTime::from_duration(start),
                    duration,
                    size: Some(bitrate.scaled(factor).bytes_in(duration)),
                }
            });
            representation(id, bitrate, segments.collect())
        };
        let video = (1..)
            .zip(LADDER_KBPS)
            .map(|(rung, kbps)| representation(format!("v{rung}"), BitRate::from_kbps(kbps), true))
            .collect();
        let audio = |language| {
            vec![representation(
                format!("audio_{language}"),
                BitRate::from_kbps(96),
                false,
            )]
        };
        let cues = vec![representation(
            "subs_en".to_owned(),
            BitRate::from_kbps(1),
            false,
        )];
        let tracks = vec![
            track(TrackKind::Video, None, video),
            track(TrackKind::Audio, Some("en"), audio("en")),
            track(TrackKind::Audio, Some("sv"), audio("sv")),
            track(TrackKind::Text, Some("en"), cues),
        ];
        Self::of(duration, tracks)
    }

    /// Makes a title of a movie's ladder and sizes: so many segments of picture and nothing else. Past its end the movie
    /// is repeated.
    #[must_use]
    pub fn movie(movie: &Movie, segments: usize) -> Self {
        let duration = Duration::from_secs_f64(movie.segment_ms() / 1e3);
        let start = |index: usize| duration * u32::try_from(index).unwrap_or(u32::MAX);
        let rungs = movie.bitrates_kbps().iter().enumerate();
        let rungs = rungs.map(|(rung, kbps)| {
            let segments = (0..segments).map(|index| {
                let bits = BitRate::from_bps(1).scaled(movie.sizes_bits(index)[rung]);
                Segment {
                    start: MediaTime::from_duration(start(index)),
                    duration,
                    size: Some(bits.bytes_in(Duration::from_secs(1))),
                }
            });
            let bitrate = BitRate::from_bps(1_000).scaled(*kbps);
            representation(format!("v{rung}"), bitrate, segments.collect())
        });
        Self::of(
            start(segments),
            vec![track(TrackKind::Video, None, rungs.collect())],
        )
    }

    /// Adds sound of one rate, in segments as long as those of the picture.
    #[must_use]
    pub fn with_sound(mut self, bitrate: BitRate) -> Self {
        for period in &mut self.outline.periods {
            let picture = period.tracks.first();
            let picture = picture.and_then(|track| track.representations.first());
            let Some(SegmentIndex::Known(segments)) = picture.map(|one| &one.index) else {
                continue;
            };
            let segments = segments.iter().map(|segment| Segment {
                size: Some(bitrate.bytes_in(segment.duration)),
                ..*segment
            });
            let sound = representation("a".to_owned(), bitrate, segments.collect());
            period
                .tracks
                .push(track(TrackKind::Audio, None, vec![sound]));
        }
        self
    }

    /// Reads a title that was packaged in a folder, as [`packaged`](Self::packaged) makes it of its `stream.mpd`.
    ///
    /// # Errors
    /// When the manifest or a file that it names cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let name = "stream.mpd";
        let text = fs::read(folder.join(name))?;
        let manifest = nearcast_manifest::parse(&text, name).map_err(io::Error::other)?;
        // The first that is not there is told.
        let missing = RefCell::new(None);
        let title = Self::packaged(manifest.outline.clone(), |object| {
            let located = manifest.locations.locate(object);
            let path = located.map_or(PathBuf::new(), |location| match location.target {
                nearcast_manifest::Target::Path(path) => folder.join(path),
                nearcast_manifest::Target::Url(url) => PathBuf::from(url),
            });
            let size = fs::metadata(&path).map(|file| file.len());
            ByteCount::new(size.unwrap_or_else(|error| {
                let told = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                missing.borrow_mut().get_or_insert(told);
                0
            }))
        });
        missing.into_inner().map_or(Ok(title), Err)
    }

    /// Makes a title like one that was packaged, from what its manifest tells and how large its segments are, the manifest
    /// itself, and the first init segment, which stands for all. The manifest tells sizes where `outline` has them all.
    #[must_use]
    pub fn packaged(mut outline: Outline, size: impl Fn(ObjectKey) -> ByteCount) -> Self {
        let mut tells_sizes = true;
        for (key, one) in representations(&mut outline) {
            let SegmentIndex::Known(segments) = &mut one.index else {
                continue;
            };
            for (segment, index) in segments.iter_mut().zip(0..) {
                tells_sizes &= segment.size.is_some();
                segment.size = Some(size(ObjectKey::Media(key, index)));
            }
        }
        let first = RepresentationKey {
            period: 0,
            track: 0,
            representation: 0,
        };
        Self {
            manifest: size(ObjectKey::Manifest),
            init: size(ObjectKey::Init(first)),
            outline,
            tells_sizes,
            deferred: |_| false,
        }
    }

    fn of(duration: Duration, tracks: Vec<Track>) -> Self {
        Self {
            tells_sizes: true,
            outline: Outline {
                duration: Some(duration),
                periods: vec![Period {
                    start: MediaTime::ZERO,
                    duration: Some(duration),
                    tracks,
                }],
            },
            deferred: |_| false,
            manifest: MANIFEST,
            init: INIT,
        }
    }

    /// Tells the segments of some representations in an index of their own, not in the manifest.
    #[must_use]
    pub fn deferred(self, deferred: fn(RepresentationKey) -> bool) -> Self {
        Self { deferred, ..self }
    }

    /// Returns the length.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.outline.duration.unwrap_or_default()
    }

    /// Returns what the manifest tells.
    #[must_use]
    pub fn outline(&self) -> Outline {
        let mut outline = self.outline.clone();
        for (key, one) in representations(&mut outline) {
            if (self.deferred)(key) {
                one.index = SegmentIndex::Deferred;
            } else if let (SegmentIndex::Known(segments), false) =
                (&mut one.index, self.tells_sizes)
            {
                for segment in segments {
                    segment.size = None;
                }
            }
        }
        outline
    }

    /// Returns what the manifest of an older edition tells, in which the title ends halfway.
    #[must_use]
    pub fn older_outline(&self) -> Outline {
        let mut outline = self.outline();
        let length = self.duration() / 2;
        let end = MediaTime::from_duration(length);
        outline.duration = Some(length);
        outline.periods.retain(|period| period.start < end);
        for period in &mut outline.periods {
            period.duration = period.duration.map(|one| one.min(end.since(period.start)));
        }
        for (_, one) in representations(&mut outline) {
            if let SegmentIndex::Known(segments) = &mut one.index {
                segments.retain(|segment| segment.start < end);
                for segment in segments {
                    segment.duration = segment.duration.min(end.since(segment.start));
                }
            }
        }
        outline
    }

    /// Returns what the index of a representation tells.
    #[must_use]
    pub fn index(&self, key: RepresentationKey) -> Vec<Segment> {
        let one = self.outline.representation(key);
        match one.map(|one| &one.index) {
            Some(SegmentIndex::Known(segments)) => segments.clone(),
            Some(SegmentIndex::Deferred) | None => Vec::new(),
        }
    }

    /// Returns an object's size.
    #[must_use]
    pub fn size(&self, object: ObjectKey) -> ByteCount {
        match object {
            ObjectKey::Manifest => self.manifest,
            ObjectKey::Index(_) | ObjectKey::Init(_) | ObjectKey::Probe => self.init,
            ObjectKey::Media(key, index) => self
                .segment(key, index)
                .and_then(|one| one.size)
                .unwrap_or_default(),
        }
    }

    /// Returns what whoever serves an object calls it.
    #[must_use]
    pub(crate) fn label(&self, object: ObjectKey) -> Label {
        let key = object.representation();
        let track = key.and_then(|key| {
            let period = self.outline.periods.get(usize::from(key.period))?;
            period.tracks.get(usize::from(key.track))
        });
        let track = track.map(|track| track.kind);
        let one = key.and_then(|key| self.outline.representation(key));
        let representation = one.map(|one| one.id.clone());
        let (kind, segment) = match object {
            ObjectKey::Manifest => (ObjectKind::Manifest, None),
            ObjectKey::Index(_) => (ObjectKind::Index, None),
            ObjectKey::Init(_) => (ObjectKind::Init, None),
            ObjectKey::Media(_, place) if track == Some(TrackKind::Text) => {
                (ObjectKind::Subtitle, Some(place))
            }
            ObjectKey::Media(_, place) => (ObjectKind::Media, Some(place)),
            ObjectKey::Probe => (ObjectKind::Probe, None),
        };
        let folder = representation.as_deref().unwrap_or_default();
        let path = match (kind, segment) {
            (ObjectKind::Manifest, _) => format!("{FILES}stream.mpd"),
            (ObjectKind::Index, _) => format!("{FILES}{folder}/media.m3u8"),
            (ObjectKind::Init, _) => format!("{FILES}{folder}/init.mp4"),
            (ObjectKind::Subtitle, _) => format!("{FILES}{folder}/all.vtt"),
            (_, Some(place)) => format!("{FILES}{folder}/{:05}.m4s", u64::from(place) + 1),
            (_, None) => "probe".to_owned(),
        };
        Label {
            kind,
            track,
            representation,
            segment,
            path,
        }
    }

    /// Returns where a media segment begins and ends; `None` for other objects.
    #[must_use]
    pub fn span(&self, object: ObjectKey) -> Option<(MediaTime, MediaTime)> {
        let ObjectKey::Media(key, index) = object else {
            return None;
        };
        let segment = self.segment(key, index)?;
        Some((segment.start, segment.start + segment.duration))
    }

    fn segment(&self, key: RepresentationKey, index: u32) -> Option<&Segment> {
        match &self.outline.representation(key)?.index {
            SegmentIndex::Known(segments) => segments.get(usize::try_from(index).ok()?),
            SegmentIndex::Deferred => None,
        }
    }
}

/// An object as whoever serves it knows it.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    kind: ObjectKind,
    track: Option<TrackKind>,
    representation: Option<String>,
    segment: Option<u32>,
    path: String,
}

impl Label {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the target of a request for so many bytes of it.
    pub(crate) fn target<'a>(&'a self, client: &'a str, first: u64, length: u64) -> Target<'a> {
        Target {
            path: &self.path,
            object: ObjectName {
                kind: self.kind,
                track: self.track,
                representation: self.representation.as_deref(),
                segment: self.segment,
            },
            client,
            first,
            length,
        }
    }
}

fn representations(
    outline: &mut Outline,
) -> impl Iterator<Item = (RepresentationKey, &mut Representation)> {
    let periods = outline.periods.iter_mut().zip(0..);
    let tracks = periods.flat_map(|(one, period)| {
        let tracks = one.tracks.iter_mut().zip(0..);
        tracks.map(move |(one, track)| (period, track, one))
    });
    tracks.flat_map(|(period, track, one)| {
        let representations = one.representations.iter_mut().zip(0..);
        representations.map(move |(one, representation)| {
            let key = RepresentationKey {
                period,
                track,
                representation,
            };
            (key, one)
        })
    })
}

fn track(kind: TrackKind, language: Option<&str>, representations: Vec<Representation>) -> Track {
    Track {
        kind,
        language: language.map(Into::into),
        label: None,
        role: None,
        default: language == Some("en"),
        representations,
    }
}

fn representation(id: String, bitrate: BitRate, segments: Vec<Segment>) -> Representation {
    Representation {
        id,
        bitrate,
        codecs: String::new(),
        resolution: None,
        container: Container::Fmp4,
        init: true,
        index: SegmentIndex::Known(segments),
        media_offset_us: 0,
    }
}
