//! A multivariant playlist: variants and renditions to tracks.
//!
//! A variant is a picture together with a group of sounds and one of subtitles, and its `BANDWIDTH` covers
//! both picture and sound. Variants that name the same playlist are one representation, with the least of
//! their rates. What sound takes is subtracted only where the playlist tells it, which is where the same
//! sound is also offered as a variant without a picture.
//!
//! A ladder holds one encoding of the pictures: a decoder cannot go from H.264 to HEVC, nor a screen from SDR
//! to HDR, between two segments. The others are listed as refused.

use std::collections::BTreeMap;

use nearcast_protocol::manifest::{
    Container, Outline, Period, Representation, RepresentationKey, SegmentIndex, Track, TrackKind,
};
use nearcast_units::{BitRate, MediaTime};
use quick_m3u8::tag::hls::{
    EnumeratedString, Media, MediaType, Method, SessionKey, StreamInf, Tag,
};

use super::lines::{Line, read};
use super::media::drm_name;
use super::{NOMINAL_AUDIO, NOMINAL_TEXT, deferred};
use crate::address::{Base, Target};
use crate::error::clip;
use crate::limits::{Budget, check_bandwidth};
use crate::locations::Locations;
use crate::{Manifest, ManifestError, Refused, codecs, language};

/// Reads a multivariant playlist.
pub(crate) fn parse(text: &str, address: &Base) -> Result<Manifest, ManifestError> {
    let mut playlist = Playlist::default();
    playlist.read(text, address)?;
    playlist.keep_first_pathway();
    playlist.survey_groups();
    let refused = playlist.keep_one_encoding();
    playlist.refuse_muxed()?;
    let mut tracks = Vec::new();
    tracks.extend(playlist.video_track()?);
    tracks.extend(playlist.audio_tracks());
    if tracks.is_empty() {
        return Err(ManifestError::NoTracks);
    }
    tracks.extend(playlist.text_tracks());
    let mut locations = Locations::new(address);
    let mut outlines = Vec::new();
    for (track_index, mut track) in (0_u16..).zip(tracks) {
        for (index, (representation, base)) in (0_u16..).zip(track.representations) {
            let key = RepresentationKey {
                period: 0,
                track: track_index,
                representation: index,
            };
            locations.insert(key, deferred(base));
            track.outline.representations.push(representation);
        }
        outlines.push(track.outline);
    }
    Ok(Manifest {
        outline: Outline {
            duration: None,
            periods: vec![Period {
                start: MediaTime::ZERO,
                duration: None,
                tracks: outlines,
            }],
        },
        locations,
        pathways: Vec::new(),
        refused,
    })
}

#[derive(Default)]
struct Playlist {
    variants: Vec<Variant>,
    renditions: Vec<Rendition>,
    groups: BTreeMap<String, AudioGroup>,
    /// Rates of variants without a picture.
    audio_rates: BTreeMap<Target, u64>,
}

/// What is known of a group of sounds.
#[derive(Default)]
struct AudioGroup {
    /// A rendition has no playlist: its sound is inside the variants.
    inside_variants: bool,
    /// The highest rate of its renditions, where it is told; else 0.
    bandwidth: u64,
    /// Audio codecs that variants with this group name.
    codecs: String,
}

struct Variant {
    base: Base,
    target: Target,
    bandwidth: u64,
    codecs: String,
    resolution: Option<(u32, u32)>,
    /// `VIDEO-RANGE`.
    range: String,
    audio: Option<String>,
    pathway: Option<String>,
}

struct Rendition {
    kind: TrackKind,
    group: String,
    name: String,
    language: Option<String>,
    role: Option<&'static str>,
    default: bool,
    /// `None` when the sound is inside the variants.
    base: Option<Base>,
}

/// A track in the making, with the playlist of each representation.
struct Made {
    outline: Track,
    representations: Vec<(Representation, Base)>,
}

impl Playlist {
    fn read(&mut self, text: &str, address: &Base) -> Result<(), ManifestError> {
        let without_uri = || ManifestError::missing("EXT-X-STREAM-INF", "URI");
        let mut budget = Budget::new(0);
        let mut pending: Option<StreamInf<'_>> = None;
        for line in read(text) {
            match line? {
                Line::Uri(reference) => {
                    // A URI without a tag before it means nothing here.
                    if let Some(variant) = pending.take() {
                        budget.take_representation()?;
                        let playlist = address.join(reference)?;
                        self.variants.push(Variant::new(&variant, playlist));
                    }
                }
                Line::Tag(Tag::StreamInf(variant)) => {
                    let unfinished = pending.replace(variant).is_some();
                    if unfinished {
                        return Err(without_uri());
                    }
                }
                Line::Tag(Tag::Media(media)) => {
                    budget.take_representation()?;
                    self.renditions.extend(Rendition::new(&media, address)?);
                }
                Line::Tag(Tag::SessionKey(key)) => refuse_encrypted(&key)?,
                Line::Tag(_) | Line::Named(_) => {}
            }
        }
        match pending {
            Some(_) => Err(without_uri()),
            None => Ok(()),
        }
    }

    /// The same variants on several pathways are the same content; the first pathway stands for all.
    fn keep_first_pathway(&mut self) {
        let first = self
            .variants
            .first()
            .and_then(|first| first.pathway.clone());
        self.variants.retain(|variant| variant.pathway == first);
    }

    fn survey_groups(&mut self) {
        for variant in self.variants.iter().filter(|variant| variant.is_audio()) {
            if !variant.has_believable_rate() {
                continue;
            }
            let rate = self.audio_rates.entry(variant.target.clone());
            let rate = rate.or_insert(variant.bandwidth);
            *rate = variant.bandwidth.min(*rate);
        }
        for rendition in &self.renditions {
            if rendition.kind != TrackKind::Audio {
                continue;
            }
            let rate = self.rate_of(rendition.base.as_ref());
            let group = self.groups.entry(rendition.group.clone()).or_default();
            group.inside_variants |= rendition.base.is_none();
            group.bandwidth = group.bandwidth.max(rate.unwrap_or(0));
        }
        for variant in &self.variants {
            let name = variant.audio.as_ref();
            let Some(group) = name.and_then(|name| self.groups.get_mut(name)) else {
                continue;
            };
            if group.codecs.is_empty() {
                group.codecs = codecs::only(&variant.codecs, TrackKind::Audio);
            }
        }
    }

    /// Keeps the variants with pictures of one encoding: the one that every build can decode and every screen
    /// can show, else the first.
    fn keep_one_encoding(&mut self) -> Vec<Refused> {
        let mut encodings: Vec<Encoding> = Vec::new();
        for variant in self.variants.iter().filter(|variant| !variant.is_audio()) {
            let encoding = variant.encoding();
            match encodings.iter_mut().find(|other| other.is_same(&encoding)) {
                Some(other) => other.rarity = other.rarity.max(encoding.rarity),
                None => encodings.push(encoding),
            }
        }
        let rank = |encoding: &&Encoding| (encoding.rarity, encoding.range != SDR);
        let Some(kept) = encodings.iter().min_by_key(rank) else {
            return Vec::new();
        };
        self.variants
            .retain(|variant| variant.is_audio() || variant.encoding().is_same(kept));
        encodings
            .iter()
            .filter(|encoding| !encoding.is_same(kept))
            .take(REFUSED_MAX)
            .map(|encoding| Refused {
                kind: TrackKind::Video,
                error: ManifestError::feature(format!(
                    "pictures in {} ({}) beside others",
                    encoding.family, encoding.range
                )),
            })
            .collect()
    }

    fn refuse_muxed(&self) -> Result<(), ManifestError> {
        for variant in &self.variants {
            let group = self.audio_group(variant);
            let muxed = group.map_or_else(
                || codecs::muxed(&variant.codecs),
                |group| group.inside_variants,
            );
            if muxed {
                return Err(ManifestError::Muxed {
                    codecs: clip(&variant.codecs),
                });
            }
        }
        Ok(())
    }

    fn audio_group(&self, variant: &Variant) -> Option<&AudioGroup> {
        self.groups.get(variant.audio.as_ref()?)
    }

    /// Returns the rate of a sound, where a variant of its own tells it.
    fn rate_of(&self, playlist: Option<&Base>) -> Option<u64> {
        self.audio_rates.get(&playlist?.target()).copied()
    }

    fn video_track(&self) -> Result<Option<Made>, ManifestError> {
        let mut ladder: Vec<(&Variant, u64)> = Vec::new();
        for variant in self.variants.iter().filter(|variant| !variant.is_audio()) {
            let audio = self.audio_group(variant).map_or(0, |group| group.bandwidth);
            check_bandwidth("EXT-X-STREAM-INF:BANDWIDTH", variant.bandwidth)?;
            // Sound that takes it all is told wrongly.
            let pictures = variant.bandwidth.saturating_sub(audio);
            let bandwidth = if pictures == 0 {
                variant.bandwidth
            } else {
                pictures
            };
            let same = |other: &&mut (&Variant, u64)| {
                other.0.target == variant.target || other.0.is_copy_of(variant)
            };
            match ladder.iter_mut().find(same) {
                Some((_, least)) => *least = bandwidth.min(*least),
                None => ladder.push((variant, bandwidth)),
            }
        }
        ladder.sort_by_key(|(_, bandwidth)| *bandwidth);
        let representations: Vec<_> = ladder
            .into_iter()
            .zip(1_usize..)
            .map(|((variant, bandwidth), number)| {
                let representation = Representation {
                    id: format!("v{number}"),
                    bitrate: BitRate::from_bps(bandwidth),
                    codecs: codecs::only(&variant.codecs, TrackKind::Video),
                    resolution: variant.resolution,
                    ..unknown()
                };
                (representation, variant.base.clone())
            })
            .collect();
        Ok((!representations.is_empty()).then(|| Made {
            outline: Track {
                default: true,
                ..empty(TrackKind::Video)
            },
            representations,
        }))
    }

    fn audio_tracks(&self) -> Vec<Made> {
        // Groups hold the same sounds in different encodings: one is enough, and the first comes first
        // unless only another one can be decoded everywhere.
        let mut renditions: Vec<(&Rendition, String)> = self
            .renditions
            .iter()
            .filter(|rendition| rendition.kind == TrackKind::Audio && rendition.base.is_some())
            .map(|rendition| {
                let group = self.groups.get(&rendition.group);
                let codecs = group.map(|group| clip(&group.codecs));
                (rendition, codecs.unwrap_or_default())
            })
            .collect();
        let chosen_group = renditions
            .iter()
            .min_by_key(|(_, codecs)| codecs::rarity(codecs))
            .map(|(rendition, _)| rendition.group.clone());
        renditions.sort_by_key(|(rendition, _)| Some(&rendition.group) != chosen_group.as_ref());
        let mut made: Vec<Made> = Vec::new();
        for (rendition, codecs) in renditions {
            let Some(base) = rendition.base.clone() else {
                continue;
            };
            let outline = rendition.track();
            if made.iter().any(|other| other.outline == outline) {
                continue;
            }
            let representation = Representation {
                id: clip(&rendition.group),
                bitrate: self
                    .rate_of(Some(&base))
                    .map_or(NOMINAL_AUDIO, BitRate::from_bps),
                codecs,
                ..unknown()
            };
            made.push(Made {
                outline,
                representations: vec![(representation, base)],
            });
        }
        if made.is_empty() {
            made.extend(self.audio_variants());
        }
        made
    }

    /// A presentation of sound alone: its variants are a ladder of one track.
    fn audio_variants(&self) -> Option<Made> {
        let mut variants: Vec<_> = self
            .variants
            .iter()
            .filter(|variant| variant.is_audio() && variant.has_believable_rate())
            .collect();
        variants.sort_by_key(|variant| variant.bandwidth);
        variants.dedup_by(|one, other| one.target == other.target || one.is_copy_of(other));
        let representations: Vec<_> = variants
            .into_iter()
            .zip(1_usize..)
            .map(|(variant, number)| {
                let representation = Representation {
                    id: format!("a{number}"),
                    bitrate: BitRate::from_bps(variant.bandwidth),
                    codecs: variant.codecs.clone(),
                    ..unknown()
                };
                (representation, variant.base.clone())
            })
            .collect();
        (!representations.is_empty()).then(|| Made {
            outline: Track {
                default: true,
                ..empty(TrackKind::Audio)
            },
            representations,
        })
    }

    fn text_tracks(&self) -> Vec<Made> {
        let mut made: Vec<Made> = Vec::new();
        for rendition in &self.renditions {
            let (TrackKind::Text, Some(base)) = (rendition.kind, rendition.base.clone()) else {
                continue;
            };
            let outline = rendition.track();
            if made.iter().any(|other| other.outline == outline) {
                continue;
            }
            let representation = Representation {
                id: clip(&rendition.group),
                bitrate: NOMINAL_TEXT,
                container: Container::WebVtt,
                ..unknown()
            };
            made.push(Made {
                outline,
                representations: vec![(representation, base)],
            });
        }
        made
    }
}

/// How pictures are encoded, as far as one ladder needs them alike.
struct Encoding {
    family: String,
    range: String,
    rarity: u8,
}

impl Encoding {
    fn is_same(&self, other: &Self) -> bool {
        self.family == other.family && self.range == other.range
    }
}

const SDR: &str = "SDR";
/// Encodings worth telling of.
const REFUSED_MAX: usize = 32;

impl Variant {
    fn new(tag: &StreamInf<'_>, base: Base) -> Self {
        Self {
            target: base.target(),
            base,
            bandwidth: tag.bandwidth(),
            codecs: tag.codecs().unwrap_or_default().to_owned(),
            resolution: tag.resolution().and_then(|resolution| {
                Some((
                    u32::try_from(resolution.width).ok()?,
                    u32::try_from(resolution.height).ok()?,
                ))
            }),
            range: tag
                .video_range()
                .map_or_else(|| SDR.to_owned(), |range| clip(&range.as_cow())),
            audio: tag.audio().map(str::to_owned),
            pathway: tag.pathway_id().map(str::to_owned),
        }
    }

    /// Tells whether there is sound only.
    fn is_audio(&self) -> bool {
        let mut kinds = codecs::split(&self.codecs).map(codecs::kind);
        self.resolution.is_none()
            && !self.codecs.is_empty()
            && kinds.all(|kind| kind == Some(TrackKind::Audio))
    }

    fn has_believable_rate(&self) -> bool {
        check_bandwidth("BANDWIDTH", self.bandwidth).is_ok()
    }

    fn encoding(&self) -> Encoding {
        let codecs = codecs::only(&self.codecs, TrackKind::Video);
        Encoding {
            family: codecs::family(&codecs).to_owned(),
            range: self.range.clone(),
            rarity: codecs::rarity(&codecs),
        }
    }

    /// Tells whether the other one is the same encoding at another address (a redundant variant).
    fn is_copy_of(&self, other: &Self) -> bool {
        self.bandwidth == other.bandwidth
            && self.resolution == other.resolution
            && self.codecs == other.codecs
            && self.range == other.range
            && self.audio == other.audio
            && (self.resolution.is_some() || self.is_audio())
    }
}

impl Rendition {
    fn new(tag: &Media<'_>, address: &Base) -> Result<Option<Self>, ManifestError> {
        let kind = match tag.media_type() {
            EnumeratedString::Known(MediaType::Audio) => TrackKind::Audio,
            EnumeratedString::Known(MediaType::Subtitles) => TrackKind::Text,
            // Other camera angles; captions inside the pictures; what later versions bring.
            EnumeratedString::Known(MediaType::Video | MediaType::ClosedCaptions)
            | EnumeratedString::Unknown(_) => return Ok(None),
        };
        let has = |wanted: &str| {
            tag.characteristics()
                .is_some_and(|list| list.as_ref().split(',').any(|item| item.trim() == wanted))
        };
        let role = if tag.forced() {
            Some("forced-subtitle")
        } else if has("public.accessibility.describes-video") {
            Some("description")
        } else if has("public.accessibility.transcribes-spoken-dialog") {
            Some("caption")
        } else {
            None
        };
        let base = tag.uri().map(|uri| address.join(uri)).transpose()?;
        if base.is_none() && kind == TrackKind::Text {
            return Err(ManifestError::missing("EXT-X-MEDIA:TYPE=SUBTITLES", "URI"));
        }
        Ok(Some(Self {
            kind,
            group: tag.group_id().to_owned(),
            name: tag.name().to_owned(),
            language: language::tag(tag.language()),
            role,
            default: tag.default(),
            base,
        }))
    }

    fn track(&self) -> Track {
        Track {
            language: self.language.clone(),
            label: Some(clip(&self.name)),
            role: self.role.map(str::to_owned),
            default: self.default,
            ..empty(self.kind)
        }
    }
}

fn refuse_encrypted(key: &SessionKey<'_>) -> Result<(), ManifestError> {
    let method = key.method();
    if method == EnumeratedString::Known(Method::None) {
        return Ok(());
    }
    Err(ManifestError::DrmSystem {
        system: drm_name(&method.as_cow(), key.keyformat()),
    })
}

const fn empty(kind: TrackKind) -> Track {
    Track {
        kind,
        language: None,
        label: None,
        role: None,
        default: false,
        representations: Vec::new(),
    }
}

const fn unknown() -> Representation {
    Representation {
        id: String::new(),
        bitrate: BitRate::ZERO,
        codecs: String::new(),
        resolution: None,
        container: Container::Fmp4,
        // The media playlist tells.
        init: false,
        index: SegmentIndex::Deferred,
        media_offset_us: 0,
    }
}
