//! A media playlist: segments, and the files they lie in.

use std::time::Duration;

use nearcast_protocol::manifest::{Container, TrackKind};
use nearcast_units::MediaTime;
use quick_m3u8::tag::HlsPlaylistType;
use quick_m3u8::tag::hls::{Byterange, EnumeratedString, Key, Method, Tag};

use super::PlaylistFacts;
use super::lines::{Line, range, read};
use crate::ManifestError;
use crate::address::{Base, ByteRange, Location, Target};
use crate::error::clip;
use crate::limits::Budget;
use crate::locations::{FileList, MediaPlace, Place};
use crate::manifest::{Loaded, mean_bitrate};
use crate::timeline::{SegmentsBuilder, TickClock, out_of_range};

/// `EXTINF` is decimal, mostly with three to six places: nanoseconds hold it exactly, and sums of them do not
/// drift.
const TICKS_PER_SECOND: u64 = 1_000_000_000;

/// Reads a media playlist. `kind` is what the multivariant playlist says it carries.
pub(crate) fn parse(
    text: &str,
    address: &Base,
    kind: Option<TrackKind>,
    budget: &mut Budget,
) -> Result<Loaded, ManifestError> {
    let mut reader = Reader {
        address,
        clock: TickClock::new(TICKS_PER_SECOND, 0, MediaTime::ZERO)?,
        segments: SegmentsBuilder::new(budget),
        files: FileList::default(),
        first_file: None,
        init: None,
        ticks: 0,
        duration: None,
        range: None,
        gap: false,
        previous: None,
        whole: false,
        ended: false,
    };
    for line in read(text) {
        reader.take(line?)?;
    }
    reader.ended |= reader.whole && ends_after_a_segment(text);
    reader.finish(kind)
}

/// Tells whether a text without `EXT-X-ENDLIST` may be all of a playlist, not one that was cut off in the midst
/// of a line or between a segment's tags and its address.
fn ends_after_a_segment(text: &str) -> bool {
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    text.ends_with('\n') && last.is_some_and(|line| !line.starts_with('#'))
}

/// Returns the file name extension of a representation's segments.
pub(super) fn extension(place: &Place) -> String {
    let MediaPlace::Listed { files, .. } = &place.media else {
        return String::new();
    };
    let path = match files.first() {
        Some(Target::Path(path) | Target::Url(path)) => path.as_str(),
        None => "",
    };
    let path = path.split('?').next().unwrap_or(path);
    path.rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase())
        .unwrap_or_default()
}

struct Reader<'a> {
    address: &'a Base,
    clock: TickClock,
    segments: SegmentsBuilder<'a>,
    files: FileList,
    first_file: Option<Base>,
    init: Option<Location>,
    /// Where the next segment begins.
    ticks: u64,
    /// From `EXTINF`, for the next segment.
    duration: Option<Duration>,
    /// From `EXT-X-BYTERANGE`, for the next segment: length, and offset where it is written.
    range: Option<(u64, Option<u64>)>,
    /// From `EXT-X-GAP`, for the next segment.
    gap: bool,
    /// The last segment's file, and where its bytes ended.
    previous: Option<(Target, u64)>,
    /// Nothing will be added to it: where the text ends is the end.
    whole: bool,
    ended: bool,
}

impl Reader<'_> {
    fn take(&mut self, line: Line<'_>) -> Result<(), ManifestError> {
        match line {
            Line::Uri(reference) => self.segment(reference),
            Line::Named("-X-ENDLIST") => {
                self.ended = true;
                Ok(())
            }
            Line::Named("-X-GAP") => {
                self.gap = true;
                Ok(())
            }
            // Before the first segment it says nothing.
            Line::Named("-X-DISCONTINUITY") if self.ticks > 0 => {
                Err(ManifestError::feature("EXT-X-DISCONTINUITY"))
            }
            Line::Named(_) => Ok(()),
            Line::Tag(tag) => self.tag(&tag),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most of the tags of HLS say nothing here"
    )]
    fn tag(&mut self, tag: &Tag<'_>) -> Result<(), ManifestError> {
        match tag {
            Tag::Inf(inf) => {
                let duration = Duration::try_from_secs_f64(inf.duration()).map_err(|_| {
                    ManifestError::malformed(format!("EXTINF of {}", inf.duration()))
                })?;
                self.duration = Some(duration);
                Ok(())
            }
            Tag::Byterange(byterange) => {
                let byterange: &Byterange<'_> = byterange;
                self.range = Some((byterange.length(), byterange.offset()));
                Ok(())
            }
            Tag::PlaylistType(kind) => {
                self.whole |= kind.playlist_type() == HlsPlaylistType::Vod;
                Ok(())
            }
            Tag::Key(key) => refuse_encrypted(key),
            Tag::Map(map) => {
                let part = map
                    .byterange()
                    .map(|part| range(part.length, part.offset))
                    .transpose()?;
                self.map(map.uri(), part)
            }
            _ => Ok(()),
        }
    }

    fn map(&mut self, reference: &str, range: Option<ByteRange>) -> Result<(), ManifestError> {
        let init = Location {
            target: self.address.join(reference)?.target(),
            range,
        };
        match &self.init {
            Some(known) if *known != init => {
                Err(ManifestError::feature("a second EXT-X-MAP in one playlist"))
            }
            None if self.ticks > 0 => Err(ManifestError::feature("EXT-X-MAP after segments")),
            _ => {
                self.init = Some(init);
                Ok(())
            }
        }
    }

    fn segment(&mut self, reference: &str) -> Result<(), ManifestError> {
        let duration = self
            .duration
            .take()
            .ok_or_else(|| ManifestError::missing(&clip(reference), "EXTINF"))?;
        let file = self.address.join(reference)?;
        let target = file.target();
        let part = match self.range.take() {
            None => None,
            Some((length, Some(offset))) => Some(range(length, offset)?),
            Some((length, None)) => {
                // Follows the previous segment, which must lie in the same file.
                let end = self
                    .previous
                    .as_ref()
                    .filter(|(previous, _)| *previous == target)
                    .map(|(_, end)| *end)
                    .ok_or_else(|| ManifestError::missing("EXT-X-BYTERANGE", "offset"))?;
                Some(range(length, end)?)
            }
        };
        self.previous = part.map(|part| (target.clone(), part.last.saturating_add(1)));
        let start = self.ticks;
        self.ticks = u64::try_from(duration.as_nanos())
            .ok()
            .and_then(|ticks| start.checked_add(ticks))
            .ok_or_else(out_of_range)?;
        let (start, end) = (self.clock.at(start)?, self.clock.at(self.ticks)?);
        // The time of a gap passes, but there is nothing to fetch; of an empty segment there is nothing to play.
        if std::mem::take(&mut self.gap) || start == end {
            return Ok(());
        }
        self.segments.reserve(1)?;
        self.segments
            .push(start, end, part.map(ByteRange::length))?;
        self.segments.reserve_name(&target)?;
        self.files.push(target, part);
        self.first_file.get_or_insert(file);
        Ok(())
    }

    fn finish(self, kind: Option<TrackKind>) -> Result<Loaded, ManifestError> {
        if !self.ended {
            return Err(ManifestError::Live {
                why: "the playlist has no EXT-X-ENDLIST (or is cut off)",
            });
        }
        let extension = self
            .first_file
            .as_ref()
            .map(Base::extension)
            .unwrap_or_default();
        let container = container(self.init.is_some(), kind, &extension)?;
        let segments = self.segments.finish()?;
        Ok(Loaded {
            playlist: Some(PlaylistFacts {
                container,
                bitrate: mean_bitrate(&segments),
            }),
            segments,
            place: Place {
                init: self.init,
                index: None,
                media: self.files.finish(),
            },
        })
    }
}

fn container(
    has_init: bool,
    kind: Option<TrackKind>,
    extension: &str,
) -> Result<Container, ManifestError> {
    if has_init {
        return Ok(Container::Fmp4);
    }
    let unsupported = |container: &str| {
        Err(ManifestError::Container {
            container: container.to_owned(),
        })
    };
    match extension {
        "vtt" | "webvtt" => Ok(Container::WebVtt),
        "ts" | "m2ts" | "mts" | "tsv" | "tsa" => unsupported("MPEG-TS"),
        "aac" | "mp3" | "ac3" | "ec3" => unsupported(&format!("packed audio (.{extension})")),
        _ if kind == Some(TrackKind::Text) => Ok(Container::WebVtt),
        _ => Err(ManifestError::missing("media playlist", "EXT-X-MAP")),
    }
}

fn refuse_encrypted(key: &Key<'_>) -> Result<(), ManifestError> {
    let method = key.method();
    if method == EnumeratedString::Known(Method::None) {
        return Ok(());
    }
    Err(ManifestError::DrmSystem {
        system: drm_name(&method.as_cow(), key.keyformat()),
    })
}

/// Names an encryption for people.
pub(super) fn drm_name(method: &str, key_format: &str) -> String {
    let system = match key_format.to_ascii_lowercase().as_str() {
        "" | "identity" => return clip(method),
        "com.apple.streamingkeydelivery" => "FairPlay",
        "com.microsoft.playready" => "PlayReady",
        "urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed" => "Widevine",
        _ => key_format,
    };
    clip(&format!("{system} ({method})"))
}
