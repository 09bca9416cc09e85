//! From segments that were handed on to samples in sinks, each once, in order, at most two seconds ahead.
//!
//! A plain state machine without task or clock: the driver tells it what was handed on and what time it is,
//! and asks when to come again. Segments stay encoded until they are nearly due; the next one is taken apart
//! while the current one is shown, so that a broken one is noticed while there is time to ask elsewhere.

mod arriving;
mod origin;
mod place;
mod track;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use nearcast_core::{Epoch, Input};
use nearcast_media::Sample;
use nearcast_protocol::manifest::{Container, ObjectKey, TrackKind};
use nearcast_units::{BitRate, MediaTime};

use crate::cues::CueBook;
use crate::decode::{AudioTrack, Feed, Source, VideoTrack};
use crate::sink::{CueSink, SampleSink, TrackFormat};

use arriving::Arriving;
use origin::Origin;
use place::MISPLACED;
pub(crate) use place::Place;
use track::Track;

/// Samples go to sinks at most this far ahead of the playhead; the rest stays encoded.
const LEAD: Duration = Duration::from_secs(2);
/// Samples are handed on together for so much media time: a wake-up for each of 70 samples a second cost
/// more CPU time than receiving them (`make bench ARGS=cost`).
const BATCH: Duration = Duration::from_millis(200);
/// A decoder that has no room is asked again this soon: half a frame at 30 frames per second.
const RETRY: Duration = Duration::from_millis(15);
/// How long sinks may take to return at the end; an audio device takes some 100 ms.
pub(crate) const JOIN_MAX: Duration = Duration::from_secs(1);
/// How often to look whether they have.
const JOIN_LOOK: Duration = Duration::from_millis(2);

/// What receives media.
#[derive(Default)]
pub(crate) struct Outputs {
    pub(crate) samples: Option<Box<dyn SampleSink>>,
    pub(crate) cues: Option<Box<dyn CueSink>>,
    pub(crate) audio: Option<AudioTrack>,
    pub(crate) video: Option<VideoTrack>,
}

/// An object that was handed on.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) object: ObjectKey,
    pub(crate) bytes: Bytes,
    /// What the manifest says about its representation.
    pub(crate) facts: Facts,
}

/// What the manifest says about a representation.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) bitrate: BitRate,
    pub(crate) container: Container,
    pub(crate) media_offset_us: i64,
    /// The manifest does not say at which media time the title begins (HLS).
    pub(crate) origin_unknown: bool,
    /// Where a media segment lies on the timeline.
    pub(crate) place: Option<Place>,
}

/// All tracks.
pub(crate) struct Pump {
    outputs: Outputs,
    epoch: Epoch,
    tracks: [Track; 3],
    origin: Origin,
    cues: CueBook,
    inputs: VecDeque<Input>,
}

impl Pump {
    pub(crate) fn new(outputs: Outputs) -> Self {
        Self {
            outputs,
            epoch: Epoch(0),
            tracks: [
                Track::new(TrackKind::Video),
                Track::new(TrackKind::Audio),
                Track::new(TrackKind::Text),
            ],
            origin: Origin::default(),
            cues: CueBook::default(),
            inputs: VecDeque::new(),
        }
    }

    /// What is presented before `from` is not to be shown: playback begins there.
    pub(crate) fn begin(&mut self, from: MediaTime) {
        for track in &mut self.tracks {
            track.show_from = from;
        }
        if let Some(audio) = &mut self.outputs.audio {
            audio.begin(from);
        }
        if let Some(video) = &mut self.outputs.video {
            video.begin(from);
        }
    }

    /// Takes an object in its track's order.
    pub(crate) fn hand_on(&mut self, kind: TrackKind, handed: Handed) {
        let track = self.track_mut(kind);
        track.ended = false;
        track.end_told = false;
        track.used = true;
        match &mut track.arriving {
            // What came of it in part is not shown twice.
            Some(arriving) if arriving.object == handed.object => {
                arriving.complete_with(&handed.bytes)
            }
            _ => track.handed.push_back(handed),
        }
    }

    /// Takes the first bytes of a segment that is on its way, in its track's order; more come by
    /// [`hand_more`](Self::hand_more), and the last by [`hand_rest`](Self::hand_rest).
    pub(crate) fn hand_on_part(&mut self, kind: TrackKind, object: ObjectKey, facts: Facts) {
        let track = self.track_mut(kind);
        track.ended = false;
        track.end_told = false;
        track.used = true;
        track.arriving = Some(Arriving::new(object, facts, track.handed.len()));
    }

    /// Takes what has come of a segment since.
    pub(crate) fn hand_more(&mut self, kind: TrackKind, bytes: Bytes) {
        if let Some(arriving) = &mut self.track_mut(kind).arriving {
            arriving.push(bytes);
        }
    }

    /// The segment has come, and is what it should be.
    pub(crate) fn hand_rest(&mut self, kind: TrackKind) {
        if let Some(arriving) = &mut self.track_mut(kind).arriving {
            arriving.complete();
        }
    }

    /// No more comes for a track.
    pub(crate) fn end_of_track(&mut self, kind: TrackKind) {
        self.track_mut(kind).ended = true;
    }

    /// Forgets what was not shown: of all tracks (a seek: everything), or of one from `from` on.
    pub(crate) fn flush(&mut self, epoch: Epoch, only: Option<TrackKind>, from: MediaTime) {
        self.epoch = epoch;
        if let Some(audio) = &mut self.outputs.audio {
            audio.enter(epoch);
        }
        for kind in [TrackKind::Video, TrackKind::Audio, TrackKind::Text] {
            if only.is_some_and(|only| only != kind) {
                continue;
            }
            let everything = only.is_none();
            self.track_mut(kind).flush(from, everything);
            if let Some(sink) = &mut self.outputs.samples {
                sink.flush(kind, from);
            }
            match kind {
                TrackKind::Video => self
                    .outputs
                    .video
                    .iter_mut()
                    .for_each(|video| video.flush(from, everything)),
                TrackKind::Audio => self
                    .outputs
                    .audio
                    .iter_mut()
                    .for_each(|audio| audio.flush(from, everything)),
                TrackKind::Text => self.cues.clear(),
            }
        }
    }

    /// Media time passes from `at` on.
    pub(crate) fn start(&mut self, epoch: Epoch, at: MediaTime) {
        if let Some(audio) = &mut self.outputs.audio {
            audio.start(epoch, at);
        }
        if let Some(video) = &mut self.outputs.video {
            video.wake();
        }
    }

    /// Media time stands still.
    pub(crate) fn hold(&mut self) {
        if let Some(audio) = &mut self.outputs.audio {
            audio.hold();
        }
        if let Some(video) = &mut self.outputs.video {
            video.wake();
        }
    }

    /// Moves on what is due; returns the playhead's position or the span after which to call again.
    pub(crate) fn advance(&mut self, playhead: MediaTime) -> Wake {
        let mut wake = Wake::default();
        for index in 0..self.tracks.len() {
            self.advance_track(index, playhead, &mut wake);
        }
        if let Some(shown) = self.cues.advance(playhead)
            && let Some(sink) = &mut self.outputs.cues
        {
            sink.show(shown);
        }
        wake.at_position(self.cues.next_change());
        wake
    }

    /// Playback has ended: decoders wait for no time to come.
    pub(crate) fn wind_up(&mut self) {
        if let Some(audio) = &mut self.outputs.audio {
            audio.finish();
        }
        if let Some(video) = &mut self.outputs.video {
            video.finish();
        }
    }

    /// Hands everything that is left on, whatever the time: playback has ended.
    pub(crate) fn finish(&mut self) -> Wake {
        self.advance(MediaTime::from_micros(i64::MAX))
    }

    /// Returns whether a decoder is at work for a track.
    pub(crate) fn decodes(&self, kind: TrackKind) -> bool {
        let used = self
            .tracks
            .iter()
            .any(|track| track.kind == kind && track.used);
        let decoder = match kind {
            TrackKind::Video => self.outputs.video.is_some(),
            TrackKind::Audio => self.outputs.audio.is_some(),
            TrackKind::Text => false,
        };
        used && decoder
    }

    /// Returns what the session is to hear.
    pub(crate) fn poll_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// Ends the decoders' threads and waits for them: a sink that does not return for [`JOIN_MAX`] is left behind.
    pub(crate) async fn shut_down(&mut self) {
        let audio = self.outputs.audio.take().and_then(AudioTrack::into_thread);
        let video = self.outputs.video.take().and_then(VideoTrack::into_thread);
        let until = crate::clock::after(JOIN_MAX);
        for thread in [audio, video].into_iter().flatten() {
            // Not joined on a thread of the runtime's: that one would hang with it, and the runtime with both.
            while !thread.is_finished() {
                if tokio::time::timeout_at(until, tokio::time::sleep(JOIN_LOOK))
                    .await
                    .is_err()
                {
                    tracing::error!("a sink did not return: its thread is left behind");
                    return;
                }
            }
            if thread.join().is_err() {
                tracing::error!("a decoder's thread panicked");
            }
        }
    }

    /// Returns the cues to be seen now.
    pub(crate) fn cues(&self) -> &CueBook {
        &self.cues
    }

    /// Returns the decoders.
    pub(crate) const fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    fn track_mut(&mut self, kind: TrackKind) -> &mut Track {
        match kind {
            TrackKind::Video => &mut self.tracks[0],
            TrackKind::Audio => &mut self.tracks[1],
            TrackKind::Text => &mut self.tracks[2],
        }
    }

    fn advance_track(&mut self, index: usize, playhead: MediaTime, wake: &mut Wake) {
        let Self {
            outputs,
            epoch,
            tracks,
            origin,
            cues,
            inputs,
        } = self;
        let Some(track) = tracks.get_mut(index) else {
            return;
        };
        let due = playhead + LEAD;
        let kept = outputs.take_samples(track.kind);
        loop {
            if let Some(trouble) = track.open_next(origin, cues, kept) {
                inputs.push_back(trouble.input(*epoch));
            }
            if track.arriving.is_some() {
                match track.open_arriving(origin, kept) {
                    Ok(Some((object, until))) => inputs.push_back(Input::Playable {
                        epoch: *epoch,
                        object,
                        until,
                    }),
                    // It is all there: what lies behind it may be opened too.
                    Ok(None) if track.arriving.is_none() => continue,
                    Ok(None) => {}
                    Err(trouble) => inputs.push_back(trouble.input(*epoch)),
                }
            }
            if let Some(object) = origin.take_wrong() {
                inputs.push_back(Input::Undecodable {
                    epoch: *epoch,
                    object,
                    code: MISPLACED.to_owned(),
                });
            }
            let Some(opened) = track.opened.front_mut() else {
                break;
            };
            if let Some((format, object)) = &opened.format {
                if !outputs.format(format, *epoch, *object) {
                    return wake.after(RETRY);
                }
                opened.format = None;
            }
            while let Some(sample) = opened.samples.front() {
                // By decode time: a picture is decoded before those it is shown after.
                if sample.dts > due {
                    return wake.at_position(Some(sample.dts - LEAD + BATCH));
                }
                let preroll = sample.pts + sample.duration <= track.show_from;
                if !outputs.sample(track.kind, *epoch, opened.object, sample, preroll) {
                    return wake.after(RETRY);
                }
                opened.samples.pop_front();
            }
            if opened.arrives {
                return;
            }
            track.opened.pop_front();
        }
        let is_over = track.handed.is_empty() && track.arriving.is_none();
        if track.ended && is_over && !track.end_told {
            if outputs.end(track.kind) {
                track.end_told = true;
            } else {
                wake.after(RETRY);
            }
        }
    }
}

/// When to call again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wake {
    /// When the playhead is here.
    pub(crate) position: Option<MediaTime>,
    /// After this span.
    pub(crate) after: Option<Duration>,
}

impl Wake {
    fn at_position(&mut self, position: Option<MediaTime>) {
        self.position = [self.position, position].into_iter().flatten().min();
    }

    fn after(&mut self, span: Duration) {
        self.after = Some(self.after.map_or(span, |known| known.min(span)));
    }
}

impl Outputs {
    /// Returns whether the format was taken.
    fn format(&mut self, format: &TrackFormat, epoch: Epoch, object: ObjectKey) -> bool {
        let decoder: Option<&mut dyn Feed> = match format.kind {
            TrackKind::Video => self.video.as_mut().map(|video| video as &mut dyn Feed),
            TrackKind::Audio => self.audio.as_mut().map(|audio| audio as &mut dyn Feed),
            TrackKind::Text => None,
        };
        let taken = decoder.is_none_or(|decoder| {
            decoder.format(Source {
                format: format.clone(),
                epoch,
                object,
            })
        });
        if taken && let Some(sink) = &mut self.samples {
            sink.format(format);
        }
        taken
    }

    /// Returns whether anybody takes the samples of a track.
    fn take_samples(&self, kind: TrackKind) -> bool {
        let decoded = match kind {
            TrackKind::Video => self.video.is_some(),
            TrackKind::Audio => self.audio.is_some(),
            TrackKind::Text => false,
        };
        decoded || self.samples.is_some()
    }

    /// Returns whether the sample was taken.
    fn sample(
        &mut self,
        kind: TrackKind,
        epoch: Epoch,
        object: ObjectKey,
        sample: &Sample,
        preroll: bool,
    ) -> bool {
        let taken = match kind {
            TrackKind::Video => self
                .video
                .as_mut()
                .is_none_or(|video| video.sample(epoch, object, sample)),
            TrackKind::Audio => self
                .audio
                .as_mut()
                .is_none_or(|audio| audio.sample(epoch, object, sample)),
            TrackKind::Text => true,
        };
        if taken && let Some(sink) = &mut self.samples {
            sink.sample(kind, sample, preroll);
        }
        taken
    }

    /// Returns whether the end was taken.
    fn end(&mut self, kind: TrackKind) -> bool {
        let taken = match kind {
            TrackKind::Video => self.video.as_mut().is_none_or(Feed::end),
            TrackKind::Audio => self.audio.as_mut().is_none_or(Feed::end),
            TrackKind::Text => true,
        };
        if taken && let Some(sink) = &mut self.samples {
            sink.end(kind);
        }
        taken
    }
}

#[cfg(test)]
mod tests;
