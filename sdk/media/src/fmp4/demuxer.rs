//! One segment as its bytes arrive: samples out as soon as they are complete.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use nearcast_units::MediaTime;

use super::DemuxError;
use super::fragment::{Run, RunSample, parse_moof};
use super::init::{InitSegment, SampleKind, TrackInfo};
use super::integrity::check_sample;
use super::reader::BoxHeader;

/// One encoded access unit: a picture, a block of sound, or cues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The track it belongs to.
    pub track_id: u32,
    /// What it is for.
    pub kind: SampleKind,
    /// When it is presented; negative (before the offset given) for samples that only prime a decoder.
    pub pts: MediaTime,
    /// When it is decoded; never goes back within a track.
    pub dts: MediaTime,
    /// How long it lasts. The durations of consecutive samples add up without drift.
    pub duration: Duration,
    /// How much of its beginning is decoded and not presented, because it lies before the start of the edit:
    /// encoder delay. Equal to `duration` when nothing of it is presented.
    pub trim_start: Duration,
    /// Whether decoding can begin here.
    pub sync: bool,
    /// The encoded bytes: a part of the piece that was pushed, which lives as long as this does.
    pub data: Bytes,
}

/// Takes one media segment apart.
///
/// Give it the bytes of the segment in order and in pieces of any size, and poll samples after each. Boxes that hold
/// no samples (`styp`, `sidx`, `emsg`, `prft`, `moov`…) are passed over, and any number of fragments may follow each
/// other. Make a new one for each segment. After an error every further call gives the same error.
///
/// Memory: the bytes that are pushed and not polled yet, and of a segment in several pieces one incomplete box or
/// sample (4 MiB and 16 MiB at most). A sample is made when it is polled; a segment has 65,536 of them at most.
#[derive(Debug)]
pub struct SegmentDemuxer {
    tracks: Vec<TrackInfo>,
    /// Decode time of the last sample of each track.
    last_dts: Vec<i64>,
    offset_us: i64,
    buffer: Bytes,
    /// Where the first byte of `buffer` lies in the segment.
    position: u64,
    state: State,
    seen_moof: bool,
    /// What the last moof promised and no mdat has delivered.
    runs: VecDeque<Run>,
    /// How many samples may still be promised.
    samples_left: u32,
    failure: Option<DemuxError>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    /// Collecting a `moof` whose header began at `start`.
    Moof {
        start: u64,
        end: u64,
    },
    /// Inside an `mdat`; `None` when it runs to the end of the segment.
    Mdat {
        end: Option<u64>,
    },
    /// Passing over a box.
    Skip {
        end: u64,
    },
}

/// What an `mdat` gave.
enum Read {
    Sample(Sample),
    /// It is over.
    End,
    /// More bytes are needed.
    Short,
}

/// A `moof` of ten minutes at 60 frames per second has about 600 kB.
const MOOF_BYTES_MAX: u64 = 4 << 20;
/// Half of the default memory cap of a session; the largest pictures of real ladders stay far below.
const SAMPLE_BYTES_MAX: u32 = 16 << 20;
/// 22 minutes of AAC, 18 of pictures at 60 frames per second. A run needs no bytes of its own for a sample and a
/// sample no more than one, so that without a limit a small file stands for millions.
const SAMPLES_MAX: u32 = 1 << 16;

impl SegmentDemuxer {
    /// Starts a segment that belongs to `init`.
    ///
    /// `media_offset_us` is added to every time: the start of the period on the presentation timeline minus the
    /// presentation time offset, in microseconds.
    #[must_use]
    pub fn new(init: &InitSegment, media_offset_us: i64) -> Self {
        Self {
            tracks: init.tracks.clone(),
            last_dts: vec![i64::MIN; init.tracks.len()],
            offset_us: media_offset_us,
            buffer: Bytes::new(),
            position: 0,
            state: State::Header,
            seen_moof: false,
            runs: VecDeque::new(),
            samples_left: SAMPLES_MAX,
            failure: None,
        }
    }

    /// Takes the next bytes of the segment. A whole segment in one piece is not copied.
    pub fn push(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = bytes;
            return;
        }
        // What is left of earlier pieces is less than a box or sample, unless nobody polls.
        let mut joined = std::mem::take(&mut self.buffer)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        joined.extend_from_slice(&bytes);
        self.buffer = joined.freeze();
    }

    /// Returns the next sample, in the order of the file; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes from here on cannot be a segment of these tracks.
    pub fn poll_sample(&mut self) -> Result<Option<Sample>, DemuxError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let polled = self.advance();
        if let Err(failure) = &polled {
            self.failure = Some(failure.clone());
            self.buffer = Bytes::new();
        }
        polled
    }

    /// Says that the segment has ended, after its last sample was polled.
    ///
    /// # Errors
    /// [`DemuxError::Truncated`] when it ended inside a box or sample, [`DemuxError::Malformed`] when it held no
    /// fragment or its samples never came, and the error that [`poll_sample`](Self::poll_sample) gave if it did.
    pub fn finish(&mut self) -> Result<(), DemuxError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let offset = self.position + self.buffer.len() as u64;
        let truncated = |what| Err(DemuxError::Truncated { offset, what });
        let malformed = |what| Err(DemuxError::Malformed { offset, what });
        let outcome = match self.state {
            State::Moof { .. } => truncated("a moof box"),
            State::Skip { .. } => truncated("a box without samples"),
            State::Mdat { end: Some(_) } => truncated("an mdat box"),
            State::Mdat { end: None } if !self.runs.is_empty() => truncated("a sample"),
            State::Header if !self.buffer.is_empty() => truncated("a box header"),
            State::Header if !self.seen_moof => malformed("a segment without a fragment"),
            State::Header if !self.runs.is_empty() => malformed("a fragment without its data"),
            State::Header | State::Mdat { end: None } => Ok(()),
        };
        if let Err(failure) = &outcome {
            self.failure = Some(failure.clone());
        }
        outcome
    }

    /// Goes on to the next sample, as far as the bytes that are there allow.
    fn advance(&mut self) -> Result<Option<Sample>, DemuxError> {
        loop {
            let progressed = match self.state {
                State::Header => self.read_header()?,
                State::Moof { start, end } => self.read_moof(start, end)?,
                State::Mdat { end } => match self.read_mdat(end)? {
                    Read::Sample(sample) => return Ok(Some(sample)),
                    Read::End => true,
                    Read::Short => false,
                },
                State::Skip { end } => self.skip_to(end),
            };
            if !progressed {
                return Ok(None);
            }
        }
    }

    fn read_header(&mut self) -> Result<bool, DemuxError> {
        let start = self.position;
        let Some(header) = BoxHeader::parse(&self.buffer, start)? else {
            return Ok(false);
        };
        let malformed = |what| {
            Err(DemuxError::Malformed {
                offset: start,
                what,
            })
        };
        self.consume(header.header_len);
        let end = match header.body_len {
            None => None,
            Some(len) => match self.position.checked_add(len) {
                Some(end) => Some(end),
                None => return malformed("a box beyond the end of the file"),
            },
        };
        self.state = match (&header.kind, end) {
            (b"mdat", _) if !self.seen_moof => return malformed("an mdat before any moof"),
            (b"mdat", end) => State::Mdat { end },
            (_, None) => return malformed("a box without a size"),
            (b"moof", Some(_)) if !self.runs.is_empty() => {
                return malformed("a fragment before the data of the last one");
            }
            (b"moof", Some(end)) if end - self.position > MOOF_BYTES_MAX => {
                return malformed("a moof larger than 4 MiB");
            }
            (b"moof", Some(end)) => State::Moof { start, end },
            (_, Some(end)) => State::Skip { end },
        };
        Ok(true)
    }

    fn read_moof(&mut self, start: u64, end: u64) -> Result<bool, DemuxError> {
        let len = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        if self.buffer.len() < len {
            return Ok(false);
        }
        let body = self.buffer.split_to(len);
        let runs = parse_moof(
            &body,
            start,
            self.position,
            &self.tracks,
            &mut self.samples_left,
        )?;
        self.position = end;
        self.runs = runs.into();
        self.seen_moof = true;
        self.state = State::Header;
        Ok(true)
    }

    fn read_mdat(&mut self, end: Option<u64>) -> Result<Read, DemuxError> {
        while let Some(run) = self.runs.front_mut() {
            let Some(sample) = run.peek() else {
                self.runs.pop_front();
                continue;
            };
            if end.is_some_and(|end| sample.offset >= end) {
                break; // in an mdat that follows
            }
            let malformed = |what| {
                Err(DemuxError::Malformed {
                    offset: sample.offset,
                    what,
                })
            };
            if sample.offset < self.position {
                return malformed("a sample outside its mdat");
            }
            if sample.size > SAMPLE_BYTES_MAX {
                return malformed("a sample larger than 16 MiB");
            }
            if end.is_some_and(|end| end - sample.offset < u64::from(sample.size)) {
                return malformed("a sample that goes on after its mdat");
            }
            let len = usize::try_from(sample.size).unwrap_or(usize::MAX);
            if !self.skip_bytes_to(sample.offset) || self.buffer.len() < len {
                return Ok(Read::Short);
            }
            let data = self.buffer.split_to(len);
            self.position += u64::from(sample.size);
            let track = self.runs.front_mut().map_or(0, |run| {
                run.advance(&sample);
                run.track
            });
            return self.place(track, &sample, data).map(Read::Sample);
        }
        match end {
            Some(end) if self.skip_to(end) => Ok(Read::End),
            Some(_) => Ok(Read::Short),
            None => {
                self.consume(self.buffer.len());
                Ok(Read::Short)
            }
        }
    }

    /// Puts a sample on the presentation timeline.
    fn place(
        &mut self,
        track: usize,
        sample: &RunSample,
        data: Bytes,
    ) -> Result<Sample, DemuxError> {
        let malformed = |what| DemuxError::Malformed {
            offset: sample.offset,
            what,
        };
        let last_dts = core::mem::replace(&mut self.last_dts[track], sample.dts);
        if sample.dts < last_dts {
            return Err(malformed("decode time goes back"));
        }
        let info = &self.tracks[track];
        check_sample(&info.codec, &data).map_err(|fault| DemuxError::Malformed {
            offset: sample.offset + fault.offset,
            what: fault.what,
        })?;
        let offset_us = self.offset_us;
        let place = |media_ticks: Option<i64>| {
            media_ticks
                .and_then(|ticks| ticks.checked_sub(info.edit.media_start))
                .and_then(|ticks| ticks.checked_add(info.edit.delay))
                .and_then(|ticks| MediaTime::from_ticks(ticks, info.timescale))
                .and_then(|time| time.as_micros().checked_add(offset_us))
                .map(MediaTime::from_micros)
                .ok_or_else(|| malformed("a time beyond the end of time"))
        };
        let pts = sample.dts.checked_add(i64::from(sample.composition));
        let end = pts.and_then(|pts| pts.checked_add(i64::from(sample.duration)));
        // The part before the start of the edit; both ends are rounded as the sample's own are.
        let shown_from = pts
            .zip(end)
            .map(|(pts, end)| pts.max(info.edit.media_start.min(end)));
        Ok(Sample {
            track_id: info.track_id,
            kind: info.kind,
            pts: place(pts)?,
            dts: place(Some(sample.dts))?,
            duration: place(end)?.since(place(pts)?),
            trim_start: place(shown_from)?.since(place(pts)?),
            sync: sample.flags & NON_SYNC_SAMPLE == 0,
            data,
        })
    }

    fn consume(&mut self, len: usize) {
        self.buffer.advance(len);
        self.position += len as u64;
    }

    /// Drops bytes before `target`; false when it has not come yet.
    fn skip_bytes_to(&mut self, target: u64) -> bool {
        let missing = target.saturating_sub(self.position);
        let len = usize::try_from(missing)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        self.consume(len);
        self.position >= target
    }

    /// Passes over the rest of a box; false when its end has not come yet.
    fn skip_to(&mut self, end: u64) -> bool {
        let reached = self.skip_bytes_to(end);
        if reached {
            self.state = State::Header;
        }
        reached
    }
}

/// `sample_is_non_sync_sample` of ISO/IEC 14496-12, 8.8.3.1.
const NON_SYNC_SAMPLE: u32 = 0x1_0000;
