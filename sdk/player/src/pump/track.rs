//! One track: what was handed on of it, and what that was taken apart into.

use std::collections::VecDeque;

use nearcast_core::{Epoch, Input};
use nearcast_media::{
    Codec, Cue, InitSegment, Sample, SampleKind, SegmentDemuxer, has_timestamp_map, parse_webvtt,
    parse_wvtt,
};
use nearcast_protocol::manifest::{Container, ObjectKey, TrackKind};
use nearcast_units::MediaTime;

use super::Handed;
use super::arriving::{Arriving, Came};
use super::origin::{Origin, shift, shifted};
use super::place::{Extent, Place};
use crate::cues::CueBook;
use crate::sink::TrackFormat;

/// A segment of subtitles with more is none.
const CUES_MAX: usize = 10_000;
/// Segments taken apart at a time: the one that is shown and the next.
const OPENED_MAX: usize = 2;

/// One track.
pub(super) struct Track {
    pub(super) kind: TrackKind,
    pub(super) handed: VecDeque<Handed>,
    /// A segment that is taken apart while it arrives.
    pub(super) arriving: Option<Arriving>,
    /// Taken apart, in order.
    pub(super) opened: VecDeque<Opened>,
    pub(super) init: Option<InitSegment>,
    /// Told to sinks with the next segment, with the object that it came from.
    pub(super) format: Option<(TrackFormat, ObjectKey)>,
    /// Samples presented before this are only needed to decode others.
    pub(super) show_from: MediaTime,
    pub(super) ended: bool,
    pub(super) end_told: bool,
    /// Whether anything was ever handed on.
    pub(super) used: bool,
}

/// What a segment was taken apart into.
pub(super) struct Opened {
    pub(super) object: ObjectKey,
    /// Where the manifest says that it begins.
    start: Option<MediaTime>,
    /// Told to sinks before the samples, with the object that it came from.
    pub(super) format: Option<(TrackFormat, ObjectKey)>,
    pub(super) samples: VecDeque<Sample>,
    /// More samples come.
    pub(super) arrives: bool,
}

impl Track {
    pub(super) const fn new(kind: TrackKind) -> Self {
        Self {
            kind,
            handed: VecDeque::new(),
            arriving: None,
            opened: VecDeque::new(),
            init: None,
            format: None,
            show_from: MediaTime::from_micros(i64::MIN),
            ended: false,
            end_told: false,
            used: false,
        }
    }

    pub(super) fn flush(&mut self, from: MediaTime, everything: bool) {
        // What was handed on and begins before `from` still plays; the session hands the rest on again, with
        // its init segment.
        let kept = self.handed.iter().take_while(|one| {
            !everything && one.facts.place.is_none_or(|place| place.start < from)
        });
        let kept = kept.count();
        self.handed.truncate(kept);
        // The session hands a segment that still arrives on again, whole or in part.
        self.arriving = None;
        if everything {
            self.opened.clear();
            self.format = None;
            self.show_from = from;
        }
        // By what the manifest says, as above: the samples may lie about its times.
        self.opened
            .retain(|opened| opened.start.is_none_or(|start| start < from));
        for opened in &mut self.opened {
            opened.arrives = false;
        }
        self.ended = false;
        self.end_told = false;
    }

    /// Takes segments apart until enough are open. Samples that nobody takes are looked at and forgotten, so that
    /// such a track is never stepped through.
    pub(super) fn open_next(
        &mut self,
        origin: &mut Origin,
        cues: &mut CueBook,
        kept: bool,
    ) -> Option<Trouble> {
        while self.opened.len() < OPENED_MAX {
            if let Some(arriving) = &mut self.arriving {
                // What was handed on after it waits for it.
                arriving.behind = arriving.behind.checked_sub(1)?;
            }
            let handed = self.handed.pop_front_if(|handed| {
                self.kind != TrackKind::Text || origin.known(&handed.facts).is_some()
            })?;
            let object = handed.object;
            if let Err(code) = self.open(handed, origin, cues, kept) {
                // The session flushes the track and hands this one and what follows on again.
                self.handed.clear();
                return Some(Trouble { object, code });
            }
        }
        None
    }

    /// Takes what has come of a segment apart; returns which one it is and how far it can be shown, if that is
    /// further than before.
    pub(super) fn open_arriving(
        &mut self,
        origin: &mut Origin,
        kept: bool,
    ) -> Result<Option<(ObjectKey, MediaTime)>, Trouble> {
        let Some(arriving) = &mut self.arriving else {
            return Ok(None);
        };
        let (object, start) = (arriving.object, arriving.start());
        if arriving.behind > 0 || !arriving.has_news() {
            return Ok(None);
        }
        let mut samples = VecDeque::new();
        let came = match &self.init {
            Some(init) => arriving.take_apart(init, sample_kind(self.kind), origin, &mut samples),
            None => Err("media.track_missing"),
        };
        let came = match came {
            Ok(came) => came,
            Err(code) => {
                self.arriving = None;
                return Err(Trouble { object, code });
            }
        };
        let arrives = matches!(came, Came::Part { .. });
        if kept {
            match self.opened.back_mut().filter(|last| last.object == object) {
                Some(opened) => {
                    opened.samples.append(&mut samples);
                    opened.arrives = arrives;
                }
                None => self.opened.push_back(Opened {
                    object,
                    start,
                    format: self.format.take(),
                    samples,
                    arrives,
                }),
            }
        }
        Ok(match came {
            Came::Part { until } => until.map(|until| (object, until)),
            Came::All => {
                self.arriving = None;
                None
            }
        })
    }

    fn open(
        &mut self,
        handed: Handed,
        origin: &mut Origin,
        cues: &mut CueBook,
        kept: bool,
    ) -> Result<(), &'static str> {
        let Handed {
            object,
            bytes,
            facts,
        } = handed;
        if facts.container == Container::WebVtt {
            let mut read =
                parse_webvtt(&bytes, facts.media_offset_us).map_err(|error| error.code())?;
            let shift_us = origin.known(&facts).unwrap_or(0);
            if has_timestamp_map(&bytes) {
                shift_all(&mut read, shift_us);
                if let Some(place) = facts.place {
                    to_round_of(place.start, &mut read);
                }
            } else if facts
                .place
                .is_some_and(|place| count_with_media(&read, &place, shift_us))
            {
                shift_all(&mut read, shift_us);
            }
            cues.add(read);
            return Ok(());
        }
        let wanted = sample_kind(self.kind);
        let is_init = matches!(object, ObjectKey::Init(_));
        // A segment may carry its own init.
        if is_init || self.init.is_none() {
            let init = InitSegment::parse(&bytes).map_err(|error| error.code())?;
            let info = init.track(wanted).ok_or("media.track_missing")?.clone();
            let format = TrackFormat {
                kind: self.kind,
                representation: facts.id.clone(),
                bitrate: facts.bitrate,
                info,
            };
            self.format = Some((format, object));
            self.init = Some(init);
        }
        let Some(init) = self.init.as_ref().filter(|_| !is_init) else {
            return Ok(());
        };
        let mut demuxer = SegmentDemuxer::new(init, facts.media_offset_us);
        demuxer.push(bytes);
        let kept = kept || self.kind == TrackKind::Text;
        let (mut samples, mut extent) = (VecDeque::new(), Extent::default());
        // Nobody checks the place of subtitles.
        let mut shift_us = origin
            .known(&facts)
            .filter(|_| self.kind == TrackKind::Text);
        while let Some(mut sample) = demuxer.poll_sample().map_err(|error| error.code())? {
            if sample.kind != wanted {
                continue;
            }
            let of_segment = || origin.of_segment(object, &facts, &sample);
            let shift_us = *shift_us.get_or_insert_with(of_segment);
            shift(&mut sample, shift_us);
            extent.add(&sample);
            if kept {
                samples.push_back(sample);
            }
        }
        demuxer.finish().map_err(|error| error.code())?;
        if self.kind == TrackKind::Text {
            let is_webvtt = init
                .track(wanted)
                .is_some_and(|info| info.codec.codec == Codec::WebVtt);
            if !is_webvtt {
                return Err("unsupported.codec");
            }
            let mut all = Vec::new();
            for sample in &samples {
                all.extend(parse_wvtt(sample).map_err(|error| error.code())?);
                if all.len() > CUES_MAX {
                    return Err("media.malformed_subtitles");
                }
            }
            cues.add(all);
            return Ok(());
        }
        let checked = extent.check(facts.place);
        origin.settle(object, checked);
        checked?;
        if kept {
            self.opened.push_back(Opened {
                object,
                start: facts.place.map(|place| place.start),
                format: self.format.take(),
                samples,
                arrives: false,
            });
        }
        Ok(())
    }
}

/// Returns whether cues without a timestamp map lie in their segment once they are shifted as the media is. They are
/// to count with the media (RFC 8216, section 3.5), but many packagers let them count from the start of the title.
/// Where both may be so, the standard is followed.
fn count_with_media(cues: &[Cue], place: &Place, shift_us: i64) -> bool {
    cues.iter()
        .any(|cue| place.may_hold(shifted(cue.start, shift_us)))
}

/// Takes `shift_us` off the times of cues.
fn shift_all(cues: &mut [Cue], shift_us: i64) {
    for cue in cues {
        cue.start = shifted(cue.start, shift_us);
        cue.end = shifted(cue.end, shift_us);
    }
}

/// The clock that timestamp maps refer to has 33 bits at 90 kHz: it begins anew after 26.5 hours.
const CLOCK_ROUND_US: i64 = (1 << 33) * 100 / 9;

/// Moves cues by whole rounds of that clock, so that they lie as near to `place` as can be.
fn to_round_of(place: MediaTime, cues: &mut [Cue]) {
    let Some(first) = cues.first() else {
        return;
    };
    let ahead_us = first.start.as_micros().saturating_sub(place.as_micros());
    let rounds = ahead_us
        .saturating_add(CLOCK_ROUND_US / 2)
        .div_euclid(CLOCK_ROUND_US);
    shift_all(cues, rounds * CLOCK_ROUND_US);
}

/// A segment that cannot be taken apart.
pub(super) struct Trouble {
    object: ObjectKey,
    code: &'static str,
}

impl Trouble {
    pub(super) fn input(self, epoch: Epoch) -> Input {
        let Self { object, code } = self;
        tracing::debug!(?object, code, "a segment cannot be taken apart");
        Input::Undecodable {
            epoch,
            object,
            code: code.to_owned(),
        }
    }
}

const fn sample_kind(kind: TrackKind) -> SampleKind {
    match kind {
        TrackKind::Video => SampleKind::Video,
        TrackKind::Audio => SampleKind::Audio,
        TrackKind::Text => SampleKind::Text,
    }
}
