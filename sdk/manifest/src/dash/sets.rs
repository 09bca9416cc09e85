//! Adaptation sets to tracks.

use dash_mpd_core as dash;
use nearcast_protocol::manifest::{Container, Representation, RepresentationKey, Track, TrackKind};
use nearcast_units::BitRate;

use super::guard::ListOffsets;
use super::index::{self, Indexed, Levels, Span, index};
use super::{inner_base, small};
use crate::address::Base;
use crate::error::clip;
use crate::limits::{Budget, check_bandwidth};
use crate::locations::{Locations, Place};
use crate::template::Identity;
use crate::{ManifestError, Refused, codecs, language};

/// A track in the making.
#[derive(Debug)]
pub(crate) struct Candidate {
    kind: TrackKind,
    language: Option<String>,
    label: Option<String>,
    role: Option<String>,
    default: bool,
    id: Option<String>,
    /// Identifiers of adaptation sets it says one may switch to.
    switching: Vec<String>,
    priority: u64,
    representations: Vec<(Representation, Place)>,
}

/// What is known of a period before its sets are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// Its number in the MPD, from 0.
    pub(crate) position: usize,
    pub(crate) base: &'a Base,
    pub(crate) span: Span,
    pub(crate) list_offsets: &'a ListOffsets,
}

/// Reads the adaptation sets of a period. Media that is refused by name goes to `refused`; that is an error
/// only when nothing of its kind is left, because half a title is no title.
pub(crate) fn tracks(
    period: &dash::Period,
    site: Site<'_>,
    budget: &mut Budget,
    refused: &mut Vec<Refused>,
) -> Result<Vec<Candidate>, ManifestError> {
    let mut candidates = Vec::new();
    let mut refusals: Vec<(TrackKind, ManifestError)> = Vec::new();
    for (number, set) in period.adaptations.iter().enumerate() {
        let Some(kind) = kind_of(set) else { continue };
        if !understood(&set.essential_property) {
            continue;
        }
        let base = inner_base(site.base, &set.BaseURL)?;
        let mut candidate = describe(set, kind);
        for (inner, representation) in set.representations.iter().enumerate() {
            if !understood(&representation.essential_property) {
                continue;
            }
            budget.take_representation()?;
            let levels = Levels {
                period,
                set,
                representation,
                list_offset: site.list_offsets.of(site.position, number, inner),
            };
            match read(levels, kind, &base, site.span, budget) {
                Ok(read) => candidate.representations.push(read),
                Err(error) if error.concerns_one_track() => refusals.push((kind, error)),
                Err(error) => return Err(error),
            }
        }
        if !candidate.representations.is_empty() {
            candidates.push(candidate);
        }
    }
    for (kind, error) in &refusals {
        let playable = candidates.iter().any(|candidate| candidate.kind == *kind);
        if !playable && *kind != TrackKind::Text {
            return Err(error.clone());
        }
    }
    // A text track alone is nothing to play.
    if candidates
        .iter()
        .all(|candidate| candidate.kind == TrackKind::Text)
    {
        return Err(ManifestError::NoTracks);
    }
    for (kind, error) in refusals {
        let refusal = Refused { kind, error };
        // One line for each reason: a ladder of ten is refused ten times for the same.
        if !refused.contains(&refusal) && refused.len() < REFUSED_MAX {
            refused.push(refusal);
        }
    }
    Ok(one_for_each_choice(join_switchable(candidates)))
}

/// Reasons worth telling.
const REFUSED_MAX: usize = 32;

/// Gives tracks their keys and hands their places over.
pub(crate) fn place(
    candidates: Vec<Candidate>,
    period: u16,
    locations: &mut Locations,
) -> Result<Vec<Track>, ManifestError> {
    let mut tracks = Vec::new();
    for mut candidate in candidates {
        candidate
            .representations
            .sort_by_key(|(representation, _)| representation.bitrate);
        let mut representations: Vec<Representation> = Vec::new();
        for (representation, place) in candidate.representations {
            if representations
                .iter()
                .any(|other| other.id == representation.id)
            {
                return Err(ManifestError::malformed(format!(
                    "two representations are called {:?}",
                    clip(&representation.id)
                )));
            }
            let key = RepresentationKey {
                period,
                track: small(tracks.len())?,
                representation: small(representations.len())?,
            };
            locations.insert(key, place);
            representations.push(representation);
        }
        tracks.push(Track {
            kind: candidate.kind,
            language: candidate.language,
            label: candidate.label,
            role: candidate.role,
            default: candidate.default,
            representations,
        });
    }
    Ok(tracks)
}

fn describe(set: &dash::AdaptationSet, kind: TrackKind) -> Candidate {
    let roles: Vec<&str> = set
        .Role
        .iter()
        .filter(|role| role.schemeIdUri == ROLE_SCHEME)
        .filter_map(|role| role.value.as_deref())
        .collect();
    let accessibility = set.Accessibility.iter().find_map(|element| {
        match (element.schemeIdUri.as_str(), element.value.as_deref()?) {
            (ROLE_SCHEME, value) => Some(value),
            (AUDIO_PURPOSE_SCHEME, "1") => Some("description"),
            (AUDIO_PURPOSE_SCHEME, "2") => Some("enhanced-audio-intelligibility"),
            _ => None,
        }
    });
    let role = accessibility
        .or_else(|| roles.iter().copied().find(|role| *role != "main"))
        .or_else(|| roles.first().copied());
    let switching = set
        .supplemental_property
        .iter()
        .filter(|property| property.schemeIdUri == SWITCHING_SCHEME)
        .filter_map(|property| property.value.as_deref())
        .flat_map(|ids| ids.split(','))
        .map(|id| id.trim().to_owned())
        .collect();
    Candidate {
        kind,
        language: language::tag(set.lang.as_deref()),
        label: set
            .Label
            .first()
            .map(|label| clip(label.content.trim()))
            .filter(|label| !label.is_empty()),
        role: role.map(clip),
        default: roles.contains(&"main"),
        id: set.id.clone(),
        switching,
        priority: set.selectionPriority.unwrap_or(1),
        representations: Vec::new(),
    }
}

const ROLE_SCHEME: &str = "urn:mpeg:dash:role:2011";
const AUDIO_PURPOSE_SCHEME: &str = "urn:tva:metadata:cs:AudioPurposeCS:2007";
const SWITCHING_SCHEME: &str = "urn:mpeg:dash:adaptation-set-switching:2016";

/// An essential property that is not understood means: leave this element alone. Those that only describe
/// colours need no understanding; trick modes and tiles are among the others.
fn understood(properties: &[dash::EssentialProperty]) -> bool {
    properties
        .iter()
        .all(|property| property.schemeIdUri.starts_with("urn:mpeg:mpegB:cicp:"))
}

/// Returns what a set carries; `None` for images and whatever else is neither picture, sound nor text.
fn kind_of(set: &dash::AdaptationSet) -> Option<TrackKind> {
    let first = set.representations.first();
    let content = set
        .contentType
        .as_deref()
        .or_else(|| first.and_then(|first| first.contentType.as_deref()));
    let mime = set
        .mimeType
        .as_deref()
        .or_else(|| first.and_then(|first| first.mimeType.as_deref()))
        .unwrap_or_default();
    let codecs = set
        .codecs
        .as_deref()
        .or_else(|| first.and_then(|first| first.codecs.as_deref()))
        .unwrap_or_default();
    let by_codec = || codecs::split(codecs).find_map(codecs::kind);
    match content {
        Some("video") => return Some(TrackKind::Video),
        Some("audio") => return Some(TrackKind::Audio),
        Some("text") => return Some(TrackKind::Text),
        Some("image") => return None,
        _ => {}
    }
    // Text in MP4 may call itself video/mp4.
    if by_codec() == Some(TrackKind::Text) {
        return Some(TrackKind::Text);
    }
    match mime.split_once('/') {
        Some(("video", _)) => Some(TrackKind::Video),
        Some(("audio", _)) => Some(TrackKind::Audio),
        Some(("text", _) | ("application", "ttml+xml")) => Some(TrackKind::Text),
        Some(("image", _)) => None,
        _ => by_codec(),
    }
}

fn read(
    levels: Levels<'_>,
    kind: TrackKind,
    base: &Base,
    span: Span,
    budget: &mut Budget,
) -> Result<(Representation, Place), ManifestError> {
    let Levels {
        set,
        representation: element,
        ..
    } = levels;
    let id = element
        .id
        .as_deref()
        .ok_or_else(|| ManifestError::missing("Representation", "id"))?;
    let bandwidth = element
        .bandwidth
        .ok_or_else(|| ManifestError::missing("Representation", "bandwidth"))?;
    check_bandwidth("Representation@bandwidth", bandwidth)?;
    let codecs = element
        .codecs
        .as_deref()
        .or(set.codecs.as_deref())
        .unwrap_or_default();
    // An adaptation set's codecs are copied to every representation of it.
    if codecs.len() > CODECS_BYTES_MAX {
        return Err(ManifestError::TooLarge {
            what: "codecs string in bytes",
            limit: CODECS_BYTES_MAX,
        });
    }
    refuse_encrypted(&set.ContentProtection, &element.ContentProtection)?;
    if element.dependencyId.is_some() {
        return Err(ManifestError::feature("Representation@dependencyId"));
    }
    refuse_muxed(set, codecs)?;
    let mime = element.mimeType.as_deref().or(set.mimeType.as_deref());
    let container = container(kind, mime, codecs)?;
    let base = inner_base(base, &element.BaseURL)?;
    let site = index::Site {
        base: &base,
        identity: Identity { id, bandwidth },
        span,
        container,
    };
    let Indexed {
        index,
        place,
        media_offset_us,
    } = index(levels, site, budget)?;
    let resolution = element
        .width
        .or(set.width)
        .zip(element.height.or(set.height));
    let representation = Representation {
        id: id.to_owned(),
        bitrate: BitRate::from_bps(bandwidth),
        codecs: codecs.to_owned(),
        resolution: resolution.and_then(|(width, height)| {
            Some((u32::try_from(width).ok()?, u32::try_from(height).ok()?))
        }),
        container,
        init: place.init.is_some(),
        index,
        media_offset_us,
    };
    Ok((representation, place))
}

const CODECS_BYTES_MAX: usize = 1 << 10;

fn container(
    kind: TrackKind,
    mime: Option<&str>,
    codecs: &str,
) -> Result<Container, ManifestError> {
    let mime = mime.ok_or_else(|| ManifestError::missing("Representation", "mimeType"))?;
    let mime = mime.split(';').next().unwrap_or(mime).trim();
    let unsupported = |container: &str| ManifestError::Container {
        container: clip(container),
    };
    match mime.split_once('/') {
        Some(("text", "vtt")) => Ok(Container::WebVtt),
        Some((_, "mp4" | "iso.segment")) if kind == TrackKind::Text => {
            // Without a codec it might be anything, TTML most of all.
            if codecs.starts_with("wvtt") {
                Ok(Container::Fmp4)
            } else {
                Err(unsupported(&format!("{mime}, {codecs}")))
            }
        }
        Some((_, "mp4" | "iso.segment")) => Ok(Container::Fmp4),
        Some((_, "mp2t")) => Err(unsupported("MPEG-TS")),
        Some((_, "webm")) => Err(unsupported("WebM")),
        Some((_, "ttml+xml")) => Err(unsupported("TTML")),
        _ => Err(unsupported(mime)),
    }
}

fn refuse_muxed(set: &dash::AdaptationSet, codecs: &str) -> Result<(), ManifestError> {
    let component = |wanted: &str| {
        set.ContentComponent
            .iter()
            .any(|component| component.contentType.as_deref() == Some(wanted))
    };
    if codecs::muxed(codecs) || (component("audio") && component("video")) {
        return Err(ManifestError::Muxed {
            codecs: clip(codecs),
        });
    }
    Ok(())
}

fn refuse_encrypted(
    of_set: &[dash::ContentProtection],
    of_representation: &[dash::ContentProtection],
) -> Result<(), ManifestError> {
    let mut systems: Vec<String> = Vec::new();
    for element in of_set.iter().chain(of_representation).take(16) {
        let scheme = element.schemeIdUri.to_ascii_lowercase();
        let value = element.value.as_deref().unwrap_or("unknown scheme");
        let name = match scheme.as_str() {
            "urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed" => "Widevine",
            "urn:uuid:9a04f079-9840-4286-ab92-e65be0885f95" => "PlayReady",
            "urn:uuid:94ce86fb-07ff-4f43-adb8-93d2fa968ca2" => "FairPlay",
            "urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e"
            | "urn:uuid:1077efec-c0b2-4d02-ace3-3c1e52e2fb4b" => "ClearKey",
            "urn:mpeg:dash:mp4protection:2011" => value,
            other => other,
        };
        let name = clip(name);
        if !systems.contains(&name) {
            systems.push(name);
        }
    }
    if systems.is_empty() {
        return Ok(());
    }
    Err(ManifestError::DrmSystem {
        system: systems.join(", "),
    })
}

/// Joins sets that say that one may switch between them.
fn join_switchable(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut joined: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let names = |from: &Candidate, to: &Candidate| {
            to.id.as_ref().is_some_and(|id| from.switching.contains(id))
        };
        let partner = joined.iter_mut().find(|other| {
            other.kind == candidate.kind
                && other.language == candidate.language
                && (names(other, &candidate) || names(&candidate, other))
        });
        match partner {
            Some(partner) => {
                partner.representations.extend(candidate.representations);
                partner.switching.extend(candidate.switching);
            }
            None => joined.push(candidate),
        }
    }
    joined
}

/// Of several encodings of one content (H.264 and HEVC, stereo and surround) keeps one: the one the manifest
/// prefers, else one that every build can decode, else the first.
fn one_for_each_choice(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut chosen: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let same_choice = |other: &&mut Candidate| {
            other.kind == candidate.kind
                && other.language == candidate.language
                && other.role == candidate.role
                && other.label == candidate.label
        };
        match chosen.iter_mut().find(same_choice) {
            Some(other) => {
                if worth(&candidate) > worth(other) {
                    *other = candidate;
                }
            }
            None => chosen.push(candidate),
        }
    }
    chosen
}

fn worth(candidate: &Candidate) -> (u64, u8) {
    let rarity = candidate
        .representations
        .iter()
        .map(|(representation, _)| codecs::rarity(&representation.codecs))
        .max();
    (candidate.priority, u8::MAX - rarity.unwrap_or(u8::MAX))
}
