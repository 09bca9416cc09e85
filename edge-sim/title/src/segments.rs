//! Looks at the files an encoder wrote: how long each segment is and how large, and what is in it.

use std::fs;
use std::io;
use std::path::Path;

use nearcast_units::{BitRate, ByteCount};

use crate::make::TitleError;

/// One encoded track, as found on disk.
#[derive(Debug)]
pub(crate) struct Track {
    /// The name of its directory inside the title.
    pub(crate) name: String,
    /// Ticks per second of all durations.
    pub(crate) timescale: u32,
    /// The codec as manifests name it, such as `avc1.64000c`.
    pub(crate) codec: String,
    pub(crate) init: ByteCount,
    pub(crate) segments: Vec<Segment>,
}

#[derive(Debug)]
pub(crate) struct Segment {
    /// In ticks.
    pub(crate) duration: u64,
    pub(crate) size: ByteCount,
}

/// The name of the init segment in a track's directory.
pub(crate) const INIT: &str = "init.mp4";

/// Returns the file name of a segment, counted from 1.
pub(crate) fn segment_name(number: usize) -> String {
    format!("{number:05}.m4s")
}

impl Track {
    /// Reads a track's directory.
    pub(crate) fn read(title: &Path, name: &str) -> Result<Self, TitleError> {
        let dir = title.join(name);
        let odd = |file: &str| TitleError::Encoding {
            track: name.to_owned(),
            complaint: format!("{file} is not what was expected"),
        };
        let init = read(&dir.join(INIT))?;
        let (timescale, codec) = timescale(&init)
            .zip(codec(&init))
            .ok_or_else(|| odd(INIT))?;
        let mut segments = Vec::new();
        for number in 1.. {
            let file = segment_name(number);
            let path = dir.join(&file);
            if !path.exists() {
                break;
            }
            let bytes = read(&path)?;
            segments.push(Segment {
                duration: duration(&bytes).ok_or_else(|| odd(&file))?,
                size: size_of(&bytes),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            timescale,
            codec,
            init: size_of(&init),
            segments,
        })
    }

    /// Returns the length in ticks.
    pub(crate) fn duration(&self) -> u64 {
        self.segments.iter().map(|segment| segment.duration).sum()
    }

    /// Returns the mean rate of all media segments: their bits over their time.
    pub(crate) fn rate(&self) -> BitRate {
        let bytes: ByteCount = self.segments.iter().map(|segment| segment.size).sum();
        let bits = u128::from(bytes.get()) * 8 * u128::from(self.timescale);
        let bps = bits / u128::from(self.duration().max(1));
        BitRate::from_bps(u64::try_from(bps).unwrap_or(u64::MAX))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TitleError> {
    fs::read(path).map_err(|source: io::Error| TitleError::file(path, source))
}

fn size_of(bytes: &[u8]) -> ByteCount {
    ByteCount::new(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// Reads the timescale of the only track of an init segment.
fn timescale(init: &[u8]) -> Option<u32> {
    let mdhd = find(init, &[b"moov", b"trak", b"mdia", b"mdhd"])?;
    let after_times = match mdhd.first()? {
        0 => 12,
        _ => 20,
    };
    be32(mdhd, after_times)
}

/// Reads the codec of the only track of an init segment.
fn codec(init: &[u8]) -> Option<String> {
    let stsd = find(
        init,
        &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"],
    )?;
    let entry = stsd.get(8..)?;
    if let Some(avc1) = find(entry, &[b"avc1"]) {
        let [_, profile, flags, level, ..] = *find(avc1.get(78..)?, &[b"avcC"])? else {
            return None;
        };
        return Some(format!("avc1.{profile:02x}{flags:02x}{level:02x}"));
    }
    // FFmpeg's encoder makes nothing but AAC-LC of an mp4a entry here.
    find(entry, &[b"mp4a"]).map(|_| "mp4a.40.2".to_owned())
}

/// Reads how many ticks a media segment's samples last. It was written by FFmpeg with one fragment and one run.
fn duration(segment: &[u8]) -> Option<u64> {
    let trun = find(segment, &[b"moof", b"traf", b"trun"])?;
    let tfhd = find(segment, &[b"moof", b"traf", b"tfhd"])?;
    let (flags, samples) = (be32(trun, 0)?, be32(trun, 4)?);
    if flags & 0x100 == 0 {
        // No duration per sample: the fragment's default, which follows the track id.
        let defaults = be32(tfhd, 0)?;
        let optional = |flag: u32, bytes: usize| if defaults & flag == 0 { 0 } else { bytes };
        let at = 8 + optional(0x1, 8) + optional(0x2, 4);
        let ticks = if defaults & 0x8 == 0 {
            None
        } else {
            be32(tfhd, at)
        }?;
        return Some(u64::from(samples) * u64::from(ticks));
    }
    let optional = |flag: u32| if flags & flag == 0 { 0 } else { 4 };
    let first = 8 + optional(0x1) + optional(0x4);
    let entry = 4 + optional(0x200) + optional(0x400) + optional(0x800);
    let mut total = 0;
    for sample in 0..usize::try_from(samples).ok()? {
        total += u64::from(be32(trun, first + sample * entry)?);
    }
    Some(total)
}

/// Returns the body of the first box at a path.
fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    let (wanted, deeper) = path.split_first()?;
    let mut rest = bytes;
    loop {
        let size = usize::try_from(be32(rest, 0)?).ok()?;
        let body = rest.get(8..size)?;
        if rest.get(4..8)? == *wanted {
            return if deeper.is_empty() {
                Some(body)
            } else {
                find(body, deeper)
            };
        }
        rest = rest.get(size..)?;
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(u32::from_be_bytes)
}
