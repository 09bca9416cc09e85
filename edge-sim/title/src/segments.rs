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
    /// Reads a track's directory, and makes sure that it holds all of `seconds`.
    ///
    /// FFmpeg's packager ends well even when the disk was full, and leaves segments that are cut off or empty. So
    /// nothing is believed: every file must be filled by its boxes, and the segments must add up to the title.
    pub(crate) fn read(title: &Path, name: &str, seconds: u32) -> Result<Self, TitleError> {
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
                duration: duration(&bytes)
                    .filter(|_| is_whole(&bytes) && find(&bytes, &[b"mdat"]).is_some())
                    .ok_or_else(|| odd(&file))?,
                size: size_of(&bytes),
            });
        }
        let track = Self {
            name: name.to_owned(),
            timescale,
            codec,
            init: size_of(&init),
            segments,
        };
        // The sound may run over by less than a frame of 1,024 samples.
        let wanted = u64::from(timescale) * u64::from(seconds);
        if (wanted..wanted + 1024).contains(&track.duration()) {
            Ok(track)
        } else {
            Err(odd("the number of segments"))
        }
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

/// Says whether boxes fill a file to its last byte.
fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = be32(rest, 0).and_then(|size| usize::try_from(size).ok());
        match size
            .filter(|size| *size >= 8)
            .and_then(|size| rest.get(size..))
        {
            Some(next) => rest = next,
            None => return false,
        }
    }
    true
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An init segment and a media segment of one second, as small as the reader allows.
    fn track() -> (Vec<u8>, Vec<u8>) {
        let boxed = |kind: &[u8; 4], body: &[u8]| {
            let size = u32::try_from(8 + body.len()).unwrap().to_be_bytes();
            [&size, kind, body].concat()
        };
        let mdhd = boxed(b"mdhd", &[[0_u32; 3], [48_000, 0, 0]].concat().map_be());
        let stsd = boxed(b"stsd", &[&[0; 8], &*boxed(b"mp4a", &[])].concat());
        let minf = boxed(b"minf", &boxed(b"stbl", &stsd));
        let mdia = boxed(b"mdia", &[mdhd, minf].concat());
        let init = boxed(b"moov", &boxed(b"trak", &mdia));
        // Defaults: a duration of 12,000 ticks; four samples.
        let tfhd = boxed(b"tfhd", &[0x0002_0008_u32, 1, 12_000].map_be());
        let trun = boxed(b"trun", &[0_u32, 4].map_be());
        let moof = boxed(b"moof", &boxed(b"traf", &[tfhd, trun].concat()));
        (init, [moof, boxed(b"mdat", &[7; 100])].concat())
    }

    trait MapBe {
        fn map_be(&self) -> Vec<u8>;
    }

    impl<T: AsRef<[u32]>> MapBe for T {
        fn map_be(&self) -> Vec<u8> {
            let words = self.as_ref().iter();
            words.flat_map(|word| word.to_be_bytes()).collect()
        }
    }

    fn read_back(init: &[u8], segment: &[u8], seconds: u32) -> Result<Track, TitleError> {
        let temp = tempfile::TempDir::new().unwrap();
        let dir = temp.path().join("a");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(INIT), init).unwrap();
        fs::write(dir.join(segment_name(1)), segment).unwrap();
        Track::read(temp.path(), "a", seconds)
    }

    #[test]
    fn a_track_knows_its_length_and_rate() {
        let (init, segment) = track();
        let track = read_back(&init, &segment, 1).unwrap();
        assert_eq!((track.timescale, track.duration()), (48_000, 48_000));
        assert_eq!(track.codec, "mp4a.40.2");
        let bits = u64::try_from(segment.len()).unwrap() * 8;
        assert_eq!(track.rate().as_bps(), bits);
    }

    #[test]
    fn a_track_cut_off_anywhere_is_refused() {
        let (init, segment) = track();
        for length in 0..segment.len() {
            assert!(read_back(&init, &segment[..length], 1).is_err(), "{length}");
        }
        for length in 0..init.len() {
            assert!(read_back(&init[..length], &segment, 1).is_err(), "{length}");
        }
        assert!(
            read_back(&init, &segment, 2).is_err(),
            "a segment is missing"
        );
    }
}
