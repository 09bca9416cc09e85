//! A segment that is taken apart while it arrives.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use nearcast_media::{InitSegment, Sample, SampleKind, SegmentDemuxer};
use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::MediaTime;

use super::Facts;
use super::origin::{Origin, shift};
use super::place::Extent;

/// A media segment on its way.
pub(super) struct Arriving {
    pub(super) object: ObjectKey,
    /// So much of what was handed on comes before it.
    pub(super) behind: usize,
    facts: Facts,
    /// Taken off the times of its samples.
    shift_us: Option<i64>,
    demuxer: Option<SegmentDemuxer>,
    /// Bytes not taken apart yet, in order.
    pieces: VecDeque<Bytes>,
    /// How many have come.
    received: usize,
    /// No more bytes come.
    is_complete: bool,
    extent: Extent,
    /// Decode time up to which there are samples.
    until: Option<MediaTime>,
}

/// What taking a segment apart came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// More is on its way; what is there can be shown this far.
    Part { until: Option<MediaTime> },
    /// It is there to its end.
    All,
}

/// Pictures are shown in another order than they are decoded in: of what is there, the last few may wait for others.
const REORDERED: Duration = Duration::from_millis(200);

impl Arriving {
    pub(super) fn new(object: ObjectKey, facts: Facts, behind: usize) -> Self {
        Self {
            object,
            behind,
            facts,
            shift_us: None,
            demuxer: None,
            pieces: VecDeque::new(),
            received: 0,
            is_complete: false,
            extent: Extent::default(),
            until: None,
        }
    }

    /// Returns where the manifest says that it begins.
    pub(super) fn start(&self) -> Option<MediaTime> {
        self.facts.place.map(|place| place.start)
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.received += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// Takes what is missing out of the whole segment.
    pub(super) fn complete_with(&mut self, whole: &Bytes) {
        self.push(whole.slice(self.received.min(whole.len())..));
        self.complete();
    }

    pub(super) const fn complete(&mut self) {
        self.is_complete = true;
    }

    pub(super) fn has_news(&self) -> bool {
        self.is_complete || !self.pieces.is_empty()
    }

    /// Adds the samples that have come to `samples`.
    ///
    /// # Errors
    ///
    /// A stable code, when the bytes are no segment of this track or one of another place.
    pub(super) fn take_apart(
        &mut self,
        init: &InitSegment,
        wanted: SampleKind,
        origin: &mut Origin,
        samples: &mut VecDeque<Sample>,
    ) -> Result<Came, &'static str> {
        let offset_us = self.facts.media_offset_us;
        let demuxer = self
            .demuxer
            .get_or_insert_with(|| SegmentDemuxer::new(init, offset_us));
        while let Some(piece) = self.pieces.pop_front() {
            demuxer.push(piece);
            while let Some(mut sample) = demuxer.poll_sample().map_err(|error| error.code())? {
                if sample.kind != wanted {
                    continue;
                }
                let of_segment = || origin.of_segment(self.object, &self.facts, &sample);
                let shift_us = *self.shift_us.get_or_insert_with(of_segment);
                shift(&mut sample, shift_us);
                self.extent.add(&sample);
                let end = sample.dts + sample.duration;
                self.until = Some(self.until.map_or(end, |until| until.max(end)));
                samples.push_back(sample);
            }
        }
        if self.is_complete {
            demuxer.finish().map_err(|error| error.code())?;
            let checked = self.extent.check(self.facts.place);
            origin.settle(self.object, checked);
            checked?;
            return Ok(Came::All);
        }
        let until = self.until.map(|until| until - REORDERED);
        Ok(Came::Part { until })
    }
}
