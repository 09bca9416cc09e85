//! The init segment: which tracks there are and how to decode them.

use super::reader::Reader;
use super::sample_entry::{SampleEntry, parse_stsd};
use super::{CodecConfig, DemuxError, FourCc};

/// What samples of a track are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Subtitles.
    Text,
}

/// The size of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resolution {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// How media time maps to presentation time (the edit list), in ticks of the track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// The media time that is presented first; what comes before primes the decoder and is not presented.
    pub media_start: i64,
    /// How much later than the start of the presentation that is.
    pub delay: i64,
}

/// What holds for a sample when its fragment says nothing else (`trex`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleDefaults {
    /// Duration in ticks of the track.
    pub duration: u32,
    /// Size in bytes.
    pub size: u32,
    /// The flags of ISO/IEC 14496-12, 8.8.3.1.
    pub flags: u32,
}

/// One track of an init segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// The number by which fragments name the track.
    pub track_id: u32,
    /// Ticks per second, never zero.
    pub timescale: u32,
    /// What the track is for.
    pub kind: SampleKind,
    /// The codec and what its decoder needs.
    pub codec: CodecConfig,
    /// The size of the picture; `None` for sound and text.
    pub resolution: Option<Resolution>,
    /// Sound samples per second as the init segment says (the decoder may know better); `None` when it does not say.
    pub sample_rate: Option<u32>,
    /// Channels of the sound as the init segment says (the decoder may know better).
    pub channels: Option<u16>,
    /// Where the presentation begins in the media.
    pub edit: Edit,
    /// What holds when a fragment says nothing else.
    pub defaults: SampleDefaults,
}

/// The tracks of an init segment, without those that are neither video, sound nor text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitSegment {
    /// The tracks in the order of the file; at least one.
    pub tracks: Vec<TrackInfo>,
}

/// Real files have a handful; the search for a track may be linear.
const TRACKS_MAX: usize = 32;

impl InitSegment {
    /// Reads the whole init segment. Bytes after the `moov` box are not looked at, so that a file whose fragments
    /// follow can be given too.
    ///
    /// # Errors
    /// [`DemuxError::Truncated`] when the `moov` box is not there to its end, [`DemuxError::Encrypted`] when a
    /// track is, else what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, DemuxError> {
        let moov = find_moov(bytes)?;
        let movie_timescale = match moov.find(b"mvhd")? {
            Some(mvhd) => timescale_of(mvhd.body)?,
            None => 0,
        };
        let mut tracks = Vec::new();
        let mut boxes = moov;
        while let Some(child) = boxes.next_box()? {
            match &child.kind {
                b"trak" if tracks.len() == TRACKS_MAX => {
                    return Err(DemuxError::Unsupported {
                        offset: child.offset,
                        what: "more than 32 tracks",
                    });
                }
                b"trak" => tracks.extend(parse_trak(child.body, movie_timescale)?),
                _ => {}
            }
        }
        if tracks.is_empty() {
            return Err(moov.malformed("no track of video, sound or text"));
        }
        if let Some(mvex) = moov.find(b"mvex")? {
            read_defaults(mvex.body, &mut tracks)?;
        }
        Ok(Self { tracks })
    }

    /// Returns the first track of a kind.
    #[must_use]
    pub fn track(&self, kind: SampleKind) -> Option<&TrackInfo> {
        self.tracks.iter().find(|track| track.kind == kind)
    }
}

fn find_moov(bytes: &[u8]) -> Result<Reader<'_>, DemuxError> {
    let mut reader = Reader::new(bytes, 0);
    let len = bytes.len() as u64;
    loop {
        let offset = reader.offset();
        if reader.rest().is_empty() {
            return Err(reader.malformed("no moov box"));
        }
        let truncated = |what| DemuxError::Truncated { offset: len, what };
        let header = super::reader::BoxHeader::parse(reader.rest(), offset)?
            .ok_or_else(|| truncated("a box header"))?;
        reader.take(header.header_len)?;
        let body_len = header.body_len.unwrap_or(len - reader.offset());
        let start = reader.offset();
        let body = usize::try_from(body_len)
            .ok()
            .and_then(|body_len| reader.take(body_len).ok());
        match (&header.kind, body) {
            (b"moov", Some(body)) => return Ok(Reader::new(body, start)),
            (b"moov", None) => return Err(truncated("the moov box")),
            (_, Some(_)) => {}
            (_, None) => return Err(truncated("a box before the moov box")),
        }
    }
}

/// Reads the timescale of `mvhd` or `mdhd`.
fn timescale_of(mut body: Reader<'_>) -> Result<u32, DemuxError> {
    let (version, _) = body.version_and_flags()?;
    body.u32_or_u64(version)?; // creation time
    body.u32_or_u64(version)?; // modification time
    body.u32()
}

/// `None` for a track that is neither video, sound nor text.
fn parse_trak(trak: Reader<'_>, movie_timescale: u32) -> Result<Option<TrackInfo>, DemuxError> {
    let mut tkhd = trak.require(b"tkhd", "a track without tkhd")?.body;
    let (version, _) = tkhd.version_and_flags()?;
    tkhd.u32_or_u64(version)?; // creation time
    tkhd.u32_or_u64(version)?; // modification time
    let track_id = tkhd.u32()?;

    let mdia = trak.require(b"mdia", "a track without mdia")?.body;
    let mut hdlr = mdia.require(b"hdlr", "a track without hdlr")?.body;
    hdlr.take(8)?; // version, flags, pre_defined
    let kind = match &hdlr.four_cc()? {
        b"vide" => SampleKind::Video,
        b"soun" => SampleKind::Audio,
        b"text" | b"subt" | b"sbtl" => SampleKind::Text,
        _ => return Ok(None),
    };
    let mdhd = mdia.require(b"mdhd", "a track without mdhd")?.body;
    let timescale = timescale_of(mdhd)?;
    if timescale == 0 {
        return Err(mdhd.malformed("a timescale of zero"));
    }
    let stsd = mdia
        .require(b"minf", "a track without minf")?
        .body
        .require(b"stbl", "a track without stbl")?
        .body
        .require(b"stsd", "a track without stsd")?
        .body;
    let SampleEntry {
        codec,
        resolution,
        sample_rate,
        channels,
    } = parse_stsd(stsd, kind)?;

    let elst = match trak.find(b"edts")? {
        Some(edts) => edts.body.find(b"elst")?,
        None => None,
    };
    let edit = match elst {
        Some(elst) => parse_elst(elst.body, timescale, movie_timescale)?,
        None => Edit::default(),
    };
    Ok(Some(TrackInfo {
        track_id,
        timescale,
        kind,
        codec,
        resolution,
        sample_rate,
        channels,
        edit,
        defaults: SampleDefaults::default(),
    }))
}

/// Reads empty edits, which delay the track, and the first edit that shows media.
fn parse_elst(
    mut elst: Reader<'_>,
    timescale: u32,
    movie_timescale: u32,
) -> Result<Edit, DemuxError> {
    let (version, _) = elst.version_and_flags()?;
    let count = elst.u32()?;
    let mut edit = Edit::default();
    let mut shown = false;
    for _ in 0..count {
        let offset = elst.offset();
        let (duration, media_time) = if version == 0 {
            (u64::from(elst.u32()?), i64::from(elst.i32()?))
        } else {
            (elst.u64()?, elst.i64()?)
        };
        elst.u32()?; // rate
        if shown {
            return Err(DemuxError::Unsupported {
                offset,
                what: "an edit list that shows more than one piece of the media",
            });
        }
        if media_time >= 0 {
            edit.media_start = media_time;
            shown = true;
            continue;
        }
        // An empty edit is counted in ticks of the movie.
        let ticks =
            i128::from(duration) * i128::from(timescale) / i128::from(movie_timescale.max(1));
        edit.delay = i64::try_from(ticks)
            .ok()
            .and_then(|ticks| edit.delay.checked_add(ticks))
            .ok_or(DemuxError::Malformed {
                offset,
                what: "an edit beyond the end of time",
            })?;
    }
    Ok(edit)
}

fn read_defaults(mut mvex: Reader<'_>, tracks: &mut [TrackInfo]) -> Result<(), DemuxError> {
    while let Some(child) = mvex.next_box()? {
        if &child.kind != b"trex" {
            continue;
        }
        let mut trex = child.body;
        trex.version_and_flags()?;
        let track_id = trex.u32()?;
        let _description = trex.u32()?;
        let defaults = SampleDefaults {
            duration: trex.u32()?,
            size: trex.u32()?,
            flags: trex.u32()?,
        };
        for track in tracks.iter_mut().filter(|track| track.track_id == track_id) {
            track.defaults = defaults;
        }
    }
    Ok(())
}

/// Returns the scheme that a `sinf` box names; `????` when it names none.
pub(super) fn protection_scheme(mut entry: Reader<'_>) -> Result<FourCc, DemuxError> {
    while let Some(child) = entry.next_box()? {
        if &child.kind == b"sinf"
            && let Some(mut schm) = child.body.find(b"schm")?.map(|schm| schm.body)
        {
            schm.version_and_flags()?;
            return schm.four_cc().map(FourCc);
        }
    }
    Ok(FourCc(*b"????"))
}
