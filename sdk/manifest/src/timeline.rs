//! Media ticks to presentation time, and the list of segments that comes of it.

use std::time::Duration;

use nearcast_protocol::manifest::Segment;
use nearcast_units::{ByteCount, MediaTime};

use crate::ManifestError;
use crate::address::Target;
use crate::limits::Budget;

/// Converts a representation's ticks to presentation time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TickClock {
    timescale: u32,
    /// Added to converted ticks, in microseconds.
    offset_us: i64,
}

impl TickClock {
    /// Makes the clock of a period that begins at `start` for media whose ticks `zero` fall on that start.
    pub(crate) fn new(timescale: u64, zero: u64, start: MediaTime) -> Result<Self, ManifestError> {
        let timescale = u32::try_from(timescale)
            .ok()
            .filter(|timescale| *timescale > 0)
            .ok_or_else(|| ManifestError::malformed(format!("a timescale of {timescale}")))?;
        let zero = Self {
            timescale,
            offset_us: 0,
        }
        .at(zero)?;
        let offset_us = start
            .as_micros()
            .checked_sub(zero.as_micros())
            .ok_or_else(out_of_range)?;
        Ok(Self {
            timescale,
            offset_us,
        })
    }

    pub(crate) const fn timescale(self) -> u32 {
        self.timescale
    }

    /// Returns what must be added to times in the media, in microseconds.
    pub(crate) const fn offset_us(self) -> i64 {
        self.offset_us
    }

    /// Returns the same clock for ticks of another length.
    pub(crate) fn with_timescale(self, timescale: u32) -> Result<Self, ManifestError> {
        if timescale == 0 {
            return Err(ManifestError::malformed("a timescale of 0"));
        }
        Ok(Self { timescale, ..self })
    }

    pub(crate) fn at(self, ticks: u64) -> Result<MediaTime, ManifestError> {
        self.at_signed(i64::try_from(ticks).map_err(|_| out_of_range())?)
    }

    pub(crate) fn at_signed(self, ticks: i64) -> Result<MediaTime, ManifestError> {
        MediaTime::from_ticks(ticks, self.timescale)
            .and_then(|time| time.as_micros().checked_add(self.offset_us))
            .map(MediaTime::from_micros)
            .ok_or_else(out_of_range)
    }
}

/// Segments in the making: keeps them ascending and without overlap, and within the limits.
#[derive(Debug)]
pub(crate) struct SegmentsBuilder<'a> {
    segments: Vec<Segment>,
    budget: &'a mut Budget,
}

impl<'a> SegmentsBuilder<'a> {
    pub(crate) const fn new(budget: &'a mut Budget) -> Self {
        Self {
            segments: Vec::new(),
            budget,
        }
    }

    /// Claims room for `count` more segments; call before making them.
    pub(crate) fn reserve(&mut self, count: u64) -> Result<usize, ManifestError> {
        self.budget.take_segments(self.segments.len(), count)
    }

    /// Claims room for the name of a segment's file.
    pub(crate) fn reserve_name(&mut self, file: &Target) -> Result<(), ManifestError> {
        let (Target::Path(name) | Target::Url(name)) = file;
        self.budget.take_file_name(name.len())
    }

    pub(crate) fn push(
        &mut self,
        start: MediaTime,
        end: MediaTime,
        size: Option<u64>,
    ) -> Result<(), ManifestError> {
        if let Some(previous) = self.segments.last_mut() {
            if start <= previous.start {
                return Err(ManifestError::malformed("segments do not ascend"));
            }
            // Encoders overlap by a few ticks where they round; the later segment counts.
            previous.duration = previous.duration.min(start.since(previous.start));
        }
        let duration = end.since(start);
        if duration.is_zero() {
            return Err(ManifestError::malformed("a segment with a duration of 0"));
        }
        self.segments.push(Segment {
            start,
            duration,
            size: size.map(ByteCount::new),
        });
        Ok(())
    }

    /// Sets the size of a segment that was pushed before.
    pub(crate) fn set_size(&mut self, index: usize, size: Option<u64>) {
        if let Some(segment) = self.segments.get_mut(index) {
            segment.size = size.map(ByteCount::new);
        }
    }

    pub(crate) fn finish(self) -> Result<Vec<Segment>, ManifestError> {
        if self.segments.is_empty() {
            return Err(ManifestError::malformed(
                "a representation without segments",
            ));
        }
        Ok(self.segments)
    }
}

/// Returns the position a span after `start`, or an error when there is no such position.
pub(crate) fn after(start: MediaTime, span: Duration) -> Result<MediaTime, ManifestError> {
    i64::try_from(span.as_micros())
        .ok()
        .and_then(|span| start.as_micros().checked_add(span))
        .map(MediaTime::from_micros)
        .ok_or_else(out_of_range)
}

pub(crate) fn out_of_range() -> ManifestError {
    ManifestError::malformed("a time that is out of range")
}
