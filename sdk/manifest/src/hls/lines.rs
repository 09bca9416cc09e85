//! Lines of a playlist, with broken tags refused.

use quick_m3u8::HlsLine;
use quick_m3u8::config::{ParsingOptions, ParsingOptionsBuilder};
use quick_m3u8::custom_parsing::line;
use quick_m3u8::error::ValidationError;
use quick_m3u8::tag::KnownTag;
use quick_m3u8::tag::hls::Tag;

use crate::ManifestError;
use crate::address::ByteRange;
use crate::error::clip;

/// A line that matters.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, on the stack; a box would cost an allocation for every line"
)]
pub(crate) enum Line<'a> {
    /// A tag with a value, one of [`VALUED`].
    Tag(Tag<'a>),
    /// Another tag, by its name without `#EXT`.
    Named(&'a str),
    /// A reference.
    Uri(&'a str),
}

/// The two sorts of playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Multivariant,
    Media,
}

/// Tags whose value is read. The parser hands over one it cannot read as if it did not know it; here that is
/// an error.
const VALUED: [&str; 7] = [
    "INF",
    "-X-BYTERANGE",
    "-X-KEY",
    "-X-MAP",
    "-X-MEDIA",
    "-X-SESSION-KEY",
    "-X-STREAM-INF",
];

/// Tags that change what the rest means, so that they cannot be passed over.
const REFUSED: [&str; 3] = ["-X-DEFINE", "-X-SKIP", "-X-I-FRAMES-ONLY"];

/// Reads a playlist line by line.
pub(crate) fn read(text: &str) -> impl Iterator<Item = Result<Line<'_>, ManifestError>> {
    let options = ParsingOptionsBuilder::new()
        .with_parsing_for_inf()
        .with_parsing_for_byterange()
        .with_parsing_for_key()
        .with_parsing_for_map()
        .with_parsing_for_media()
        .with_parsing_for_playlist_type()
        .with_parsing_for_session_key()
        .with_parsing_for_stream_inf()
        .build();
    text.lines()
        .zip(1_usize..)
        .filter_map(move |(text, number)| read_line(text.trim_end(), number, &options).transpose())
}

fn read_line<'a>(
    text: &'a str,
    number: usize,
    options: &ParsingOptions,
) -> Result<Option<Line<'a>>, ManifestError> {
    if !text.starts_with('#') {
        let text = text.trim();
        return Ok((!text.is_empty()).then_some(Line::Uri(text)));
    }
    let wrong = |error: &dyn std::fmt::Display| {
        ManifestError::malformed(clip(&format!("line {number}: {error}: {text}")))
    };
    let parsed = line::parse(text, options)
        .map_err(|error| wrong(&error))?
        .parsed;
    match parsed {
        HlsLine::KnownTag(KnownTag::Hls(tag)) => {
            check_ranges(&tag, text).map_err(|what| wrong(&what))?;
            Ok(Some(Line::Tag(tag)))
        }
        HlsLine::KnownTag(KnownTag::Custom(_))
        | HlsLine::Comment(_)
        | HlsLine::Uri(_)
        | HlsLine::Blank => Ok(None),
        HlsLine::UnknownTag(tag) => {
            let name = tag.name();
            if REFUSED.contains(&name) {
                return Err(ManifestError::feature(format!("EXT{name}")));
            }
            if !VALUED.contains(&name) {
                return Ok(Some(Line::Named(name)));
            }
            Err(match tag.validation_error() {
                Some(ValidationError::MissingRequiredAttribute(attribute)) => {
                    ManifestError::missing(&format!("EXT{name} (line {number})"), attribute)
                }
                Some(error) => wrong(&error),
                None => wrong(&"unreadable"),
            })
        }
    }
}

/// An optional attribute that cannot be read is as absent to the parser; a byte range passed over would fetch
/// a whole file in its stead.
fn check_ranges(tag: &Tag<'_>, text: &str) -> Result<(), &'static str> {
    if let Tag::Map(map) = tag
        && map.byterange().is_none()
        && text.contains("BYTERANGE=")
    {
        return Err("unreadable BYTERANGE");
    }
    Ok(())
}

/// Tells which sort of playlist it is.
pub(crate) fn sort_of(text: &str) -> Result<Sort, ManifestError> {
    let has = |prefixes: &[&str]| {
        text.lines()
            .any(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)))
    };
    let multivariant = has(&["#EXT-X-STREAM-INF", "#EXT-X-MEDIA:"]);
    let media = has(&["#EXTINF", "#EXT-X-TARGETDURATION"]);
    match (multivariant, media) {
        (true, true) => Err(ManifestError::malformed(
            "tags of a multivariant and of a media playlist in one",
        )),
        (true, false) => Ok(Sort::Multivariant),
        (false, true) => Ok(Sort::Media),
        (false, false) => Err(ManifestError::NoTracks),
    }
}

/// Makes a byte range of a length and an offset.
pub(crate) fn range(length: u64, offset: u64) -> Result<ByteRange, ManifestError> {
    ByteRange::from_length(offset, length)
        .ok_or_else(|| ManifestError::malformed(format!("byte range {length}@{offset}")))
}
