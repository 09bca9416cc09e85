//! What a codecs string (RFC 6381) says about the kind of media.

use nearcast_protocol::manifest::TrackKind;

const VIDEO: [&str; 14] = [
    "avc1", "avc2", "avc3", "avc4", "hvc1", "hev1", "dvh1", "dvhe", "dvav", "dva1", "vp08", "vp09",
    "av01", "mp4v",
];

const AUDIO: [&str; 14] = [
    "mp4a", "ac-3", "ec-3", "ac-4", "opus", "flac", "alac", "dtsc", "dtse", "dtsh", "dtsl", "dtsx",
    "mha1", "mhm1",
];

const TEXT: [&str; 5] = ["wvtt", "stpp", "c608", "c708", "tx3g"];

/// Returns the kind of media that one codec carries, where it is known.
pub(crate) fn kind(codec: &str) -> Option<TrackKind> {
    let name = codec
        .split('.')
        .next()
        .unwrap_or(codec)
        .to_ascii_lowercase();
    let among = |names: &[&str]| names.contains(&name.as_str());
    if among(&VIDEO) || name == "vp8" || name == "vp9" {
        Some(TrackKind::Video)
    } else if among(&AUDIO) {
        Some(TrackKind::Audio)
    } else if among(&TEXT) {
        Some(TrackKind::Text)
    } else {
        None
    }
}

/// Returns the codecs of a list.
pub(crate) fn split(codecs: &str) -> impl Iterator<Item = &str> {
    codecs
        .split(',')
        .map(str::trim)
        .filter(|codec| !codec.is_empty())
}

/// Returns those codecs of a list that carry one kind of media, as a list again.
pub(crate) fn only(codecs: &str, wanted: TrackKind) -> String {
    let wanted: Vec<_> = split(codecs)
        .filter(|codec| kind(codec) == Some(wanted))
        .collect();
    wanted.join(",")
}

/// Tells whether a list has codecs of both sound and picture.
pub(crate) fn muxed(codecs: &str) -> bool {
    let has = |wanted| split(codecs).any(|codec| kind(codec) == Some(wanted));
    has(TrackKind::Video) && has(TrackKind::Audio)
}

/// Returns the family of the first codec of a list of pictures: a decoder of one member takes the others too.
/// What names none is most likely H.264.
pub(crate) fn family(codecs: &str) -> &str {
    let first = split(codecs).next().unwrap_or("avc1");
    match first.split('.').next().unwrap_or(first) {
        "avc1" | "avc2" | "avc3" | "avc4" => "H.264",
        "hvc1" | "hev1" => "HEVC",
        "dvh1" | "dvhe" | "dvav" | "dva1" => "Dolby Vision",
        "av01" => "AV1",
        "vp09" | "vp9" => "VP9",
        other => other,
    }
}

/// Ranks codecs by how likely every build can decode them; the lowest is the most likely. Decides only
/// between encodings of one content of which one has to be chosen.
pub(crate) fn rarity(codecs: &str) -> u8 {
    let common = |codec: &str| {
        ["avc1.", "avc3.", "mp4a.40.2", "wvtt"]
            .iter()
            .any(|common| codec.starts_with(common))
    };
    u8::from(!split(codecs).all(common))
}
