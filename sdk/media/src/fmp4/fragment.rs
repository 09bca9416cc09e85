//! A `moof` box: runs of samples and where their bytes lie.

use bytes::Bytes;

use super::DemuxError;
use super::init::{SampleDefaults, TrackInfo};
use super::reader::Reader;

/// What a run says of one sample, in ticks of its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunSample {
    /// Where its bytes begin, counted as the demultiplexer counts.
    pub(super) offset: u64,
    pub(super) size: u32,
    pub(super) dts: i64,
    /// Presentation time minus decode time.
    pub(super) composition: i32,
    pub(super) duration: u32,
    pub(super) flags: u32,
}

/// Consecutive samples of one track whose bytes follow each other.
///
/// The samples are read one by one from the bytes of the `trun` box: a count of four thousand million costs
/// nothing until bytes for that many samples have come.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Index into the tracks.
    pub(super) track: usize,
    remaining: u32,
    offset: u64,
    end: u64,
    dts: i64,
    first_flags: Option<u32>,
    fields: Fields,
    defaults: SampleDefaults,
    /// The fields of the samples that remain.
    entries: Bytes,
}

/// Which fields each sample of a run has of its own (ISO/IEC 14496-12, 8.8.8).
#[derive(Clone, Copy, Debug)]
struct Fields(u32);

impl Fields {
    const DATA_OFFSET: u32 = 0x1;
    const FIRST_FLAGS: u32 = 0x4;
    const DURATION: u32 = 0x100;
    const SIZE: u32 = 0x200;
    const FLAGS: u32 = 0x400;
    const COMPOSITION: u32 = 0x800;

    const fn has(self, field: u32) -> bool {
        self.0 & field != 0
    }

    const fn entry_len(self) -> usize {
        (self.0 & 0xf00).count_ones() as usize * 4
    }
}

impl Run {
    /// Returns the next sample; `None` when the run is over.
    pub(super) fn peek(&self) -> Option<RunSample> {
        if self.remaining == 0 {
            return None;
        }
        let mut entry = self.entries.chunks_exact(4).map(|field| {
            let mut word = [0; 4];
            word.copy_from_slice(field);
            u32::from_be_bytes(word)
        });
        let mut field = |flag, default| {
            if self.fields.has(flag) {
                entry.next().unwrap_or(default)
            } else {
                default
            }
        };
        let duration = field(Fields::DURATION, self.defaults.duration);
        let size = field(Fields::SIZE, self.defaults.size);
        let flags = field(Fields::FLAGS, self.defaults.flags);
        // Version 0 says unsigned, but writers put negative offsets there too, and no real offset is so large.
        let composition = field(Fields::COMPOSITION, 0).cast_signed();
        Some(RunSample {
            offset: self.offset,
            size,
            dts: self.dts,
            composition,
            duration,
            flags: self.first_flags.unwrap_or(flags),
        })
    }

    /// Goes on to the sample after `sample`, which [`peek`](Self::peek) gave.
    pub(super) fn advance(&mut self, sample: &RunSample) {
        self.remaining -= 1;
        self.offset += u64::from(sample.size);
        self.dts = self.dts.saturating_add(i64::from(sample.duration));
        self.first_flags = None;
        let entry_len = self.fields.entry_len().min(self.entries.len());
        let _read = self.entries.split_to(entry_len);
    }
}

/// Reads the body of a `moof` box whose header began at `moof_offset`. The runs come in the order of their bytes and
/// have at most `samples_left` samples, from which theirs are taken off.
pub(super) fn parse_moof(
    body: &Bytes,
    moof_offset: u64,
    body_offset: u64,
    tracks: &[TrackInfo],
    samples_left: &mut u32,
) -> Result<Vec<Run>, DemuxError> {
    let mut fragment = Fragment {
        body,
        body_offset,
        moof_offset,
        tracks,
        samples_left,
        first_absolute_base: None,
        data_end: moof_offset,
        runs: Vec::new(),
    };
    let mut boxes = Reader::new(body, body_offset);
    while let Some(child) = boxes.next_box()? {
        if &child.kind == b"traf" {
            fragment.read_traf(child.body)?;
        }
    }
    let mut runs = fragment.runs;
    runs.sort_by_key(|run| run.offset);
    check_order(&runs, tracks.len(), moof_offset)?;
    Ok(runs)
}

struct Fragment<'a> {
    body: &'a Bytes,
    body_offset: u64,
    moof_offset: u64,
    tracks: &'a [TrackInfo],
    samples_left: &'a mut u32,
    first_absolute_base: Option<u64>,
    /// Where the data of the run before ended.
    data_end: u64,
    runs: Vec<Run>,
}

impl Fragment<'_> {
    fn read_traf(&mut self, traf: Reader<'_>) -> Result<(), DemuxError> {
        let mut tfhd = traf.require(b"tfhd", "a traf without tfhd")?.body;
        let (_, flags) = tfhd.version_and_flags()?;
        let track_id = tfhd.u32()?;
        let Some(track) = (self.tracks.iter()).position(|track| track.track_id == track_id) else {
            // A track that the init segment does not play: its bytes are passed over.
            return Ok(());
        };
        let absolute = if flags & 0x1 != 0 {
            Some(tfhd.u64()?)
        } else {
            None
        };
        if flags & 0x2 != 0 && tfhd.u32()? > 1 {
            return Err(DemuxError::Unsupported {
                offset: tfhd.offset(),
                what: "a second sample description",
            });
        }
        let mut defaults = self.tracks[track].defaults;
        for (flag, value) in [
            (0x8, &mut defaults.duration),
            (0x10, &mut defaults.size),
            (0x20, &mut defaults.flags),
        ] {
            if flags & flag != 0 {
                *value = tfhd.u32()?;
            }
        }
        const DEFAULT_BASE_IS_MOOF: u32 = 0x2_0000;
        let base = match absolute {
            Some(absolute) => self.base_from_absolute(absolute)?,
            None if flags & DEFAULT_BASE_IS_MOOF != 0 => self.moof_offset,
            // The first track's data begins at the moof, every other's where the one before ended.
            None => self.data_end,
        };

        let mut tfdt = traf.require(b"tfdt", "a traf without tfdt")?.body;
        let (version, _) = tfdt.version_and_flags()?;
        let start = tfdt.u32_or_u64(version)?;
        let mut dts = i64::try_from(start)
            .map_err(|_| tfdt.malformed("a decode time beyond the end of time"))?;

        self.data_end = base;
        let mut boxes = traf;
        while let Some(child) = boxes.next_box()? {
            if &child.kind == b"trun" {
                dts = self.read_trun(child.body, track, base, dts, defaults)?;
            }
        }
        Ok(())
    }

    /// An absolute base counts from the start of the file, of which only a segment may be here. Every packager
    /// known writes the position of the moof itself there, so the first base of a moof stands for the moof.
    fn base_from_absolute(&mut self, absolute: u64) -> Result<u64, DemuxError> {
        let first = *self.first_absolute_base.get_or_insert(absolute);
        absolute
            .checked_sub(first)
            .and_then(|distance| self.moof_offset.checked_add(distance))
            .ok_or(DemuxError::Malformed {
                offset: self.moof_offset,
                what: "a base offset before or beyond the fragment",
            })
    }

    /// Returns the decode time at which the run ends.
    fn read_trun(
        &mut self,
        mut trun: Reader<'_>,
        track: usize,
        base: u64,
        dts: i64,
        defaults: SampleDefaults,
    ) -> Result<i64, DemuxError> {
        let (_, flags) = trun.version_and_flags()?;
        let fields = Fields(flags);
        let count = trun.u32()?;
        *self.samples_left =
            (self.samples_left.checked_sub(count)).ok_or(DemuxError::Unsupported {
                offset: trun.offset(),
                what: "more than 65,536 samples in a segment",
            })?;
        let offset = if fields.has(Fields::DATA_OFFSET) {
            base.checked_add_signed(i64::from(trun.i32()?))
                .ok_or_else(|| trun.malformed("a run before the start of the file"))?
        } else {
            self.data_end
        };
        let first_flags = if fields.has(Fields::FIRST_FLAGS) {
            Some(trun.u32()?)
        } else {
            None
        };
        let entries_start = trun.offset();
        let entries_len = u64::from(count) * fields.entry_len() as u64;
        let entries = trun
            .take(usize::try_from(entries_len).unwrap_or(usize::MAX))
            .map_err(|_| trun.malformed("a run with more samples than fit"))?;

        let (bytes, ticks) = totals(entries, count, fields, defaults)
            .ok_or_else(|| trun.malformed("a sample without bytes"))?;
        let end = offset
            .checked_add(bytes)
            .ok_or_else(|| trun.malformed("a run beyond the end of the file"))?;
        let end_dts = i64::try_from(ticks)
            .ok()
            .and_then(|ticks| dts.checked_add(ticks))
            .ok_or_else(|| trun.malformed("a run beyond the end of time"))?;
        self.data_end = end;
        if count > 0 {
            let start = usize::try_from(entries_start - self.body_offset).unwrap_or(usize::MAX);
            self.runs.push(Run {
                track,
                remaining: count,
                offset,
                end,
                dts,
                first_flags,
                fields,
                defaults,
                entries: self.body.slice(start..start + entries.len()),
            });
        }
        Ok(end_dts)
    }
}

/// Returns bytes and ticks of a whole run; `None` when a sample has no bytes, as then a count costs nothing.
fn totals(
    entries: &[u8],
    count: u32,
    fields: Fields,
    defaults: SampleDefaults,
) -> Option<(u64, u64)> {
    let mut bytes = u64::from(count) * u64::from(defaults.size);
    let mut ticks = u64::from(count) * u64::from(defaults.duration);
    let word = |entry: &[u8], index: usize| {
        let field = entry.get(index * 4..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*field))
    };
    if fields.has(Fields::DURATION) {
        ticks = (entries.chunks_exact(fields.entry_len()))
            .filter_map(|entry| word(entry, 0))
            .map(u64::from)
            .sum();
    }
    if fields.has(Fields::SIZE) {
        let index = usize::from(fields.has(Fields::DURATION));
        bytes = 0;
        for entry in entries.chunks_exact(fields.entry_len()) {
            let size = word(entry, index)?;
            if size == 0 {
                return None;
            }
            bytes += u64::from(size);
        }
    } else if count > 0 && defaults.size == 0 {
        return None;
    }
    Some((bytes, ticks))
}

/// Runs may not share bytes (else few bytes could stand for many samples), and each track goes forward.
fn check_order(runs: &[Run], tracks: usize, offset: u64) -> Result<(), DemuxError> {
    let malformed = |what| Err(DemuxError::Malformed { offset, what });
    let mut end = 0;
    let mut next_dts = vec![i64::MIN; tracks];
    for run in runs {
        if run.offset < end {
            return malformed("runs that share bytes");
        }
        end = run.end;
        if run.dts < next_dts[run.track] {
            return malformed("runs of a track in the wrong order");
        }
        next_dts[run.track] = run.dts;
    }
    Ok(())
}
