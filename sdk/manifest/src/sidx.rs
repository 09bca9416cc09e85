//! Segments from a `sidx` box (ISO/IEC 14496-12, 8.16.3).

use mp4_atom::{Atom as _, Decode as _, Header, Sidx};
use nearcast_protocol::manifest::Segment;

use crate::ManifestError;
use crate::address::{ByteRange, Target};
use crate::limits::Budget;
use crate::locations::{FileList, MediaPlace};
use crate::timeline::{SegmentsBuilder, TickClock};

/// Reads the first `sidx` of `bytes`, which are those of `file` from offset `first` on.
pub(crate) fn load(
    bytes: &[u8],
    file: &Target,
    first: u64,
    clock: TickClock,
    budget: &mut Budget,
) -> Result<(Vec<Segment>, MediaPlace), ManifestError> {
    let (sidx, end) = find(bytes)?;
    // Offsets count from the first byte after the box.
    let mut offset = first
        .checked_add(end)
        .and_then(|anchor| anchor.checked_add(sidx.first_offset))
        .ok_or_else(|| bad("an offset that is out of range"))?;
    let clock = clock
        .with_timescale(sidx.timescale)
        .map_err(|_| bad("a timescale of 0"))?;
    let mut ticks = sidx.earliest_presentation_time;
    let mut segments = SegmentsBuilder::new(budget);
    let mut files = FileList::default();
    segments.reserve(u64::try_from(sidx.references.len()).unwrap_or(u64::MAX))?;
    for reference in &sidx.references {
        if reference.reference_type {
            return Err(ManifestError::feature("an index of indexes (sidx to sidx)"));
        }
        let length = u64::from(reference.referenced_size);
        let range = ByteRange::from_length(offset, length)
            .ok_or_else(|| bad("an empty or endless segment"))?;
        let next = ticks
            .checked_add(u64::from(reference.subsegment_duration))
            .ok_or_else(|| bad("a time that is out of range"))?;
        segments
            .push(clock.at(ticks)?, clock.at(next)?, Some(length))
            .map_err(|error| bad(error.to_string()))?;
        files.push(file.clone(), Some(range));
        ticks = next;
        offset += length;
    }
    let segments = segments.finish().map_err(|_| bad("no segments"))?;
    Ok((segments, files.finish()))
}

/// Finds the first `sidx`, and where it ends.
fn find(bytes: &[u8]) -> Result<(Sidx, u64), ManifestError> {
    let mut position = 0;
    while let Some(mut rest) = bytes.get(position..).filter(|rest| !rest.is_empty()) {
        let mut peek = rest;
        let header = Header::decode(&mut peek).map_err(|_| bad("cut off or no MP4 boxes"))?;
        let size = header
            .size
            .and_then(|body| body.checked_add(rest.len() - peek.len()))
            .filter(|size| *size <= rest.len())
            .ok_or_else(|| bad("cut off"))?;
        if header.kind == Sidx::KIND {
            rest = rest.get(..size).unwrap_or_default();
            let sidx = Sidx::decode(&mut rest).map_err(|error| bad(error.to_string()))?;
            let end = u64::try_from(position + size).map_err(|_| bad("too large"))?;
            return Ok((sidx, end));
        }
        position += size;
    }
    Err(bad("there is no sidx box"))
}

fn bad(what: impl Into<String>) -> ManifestError {
    ManifestError::BadIndex { what: what.into() }
}
