//! Pictures: decodes on its own thread and gives each frame to the sink when it is due.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use nearcast_core::Epoch;
use nearcast_media::{DecodeError, Sample, VideoDecoder, VideoFrame};
use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_protocol::report::FrameReport;
use nearcast_units::{BitRate, Instant, MediaTime};
use tokio::sync::mpsc;

use super::flush::{Flush, Flushes};
use super::thread::{DecoderThread, Go, Station, Work};
use super::{DecoderNote, Feed, Source, locked, refusal};
use crate::clock::Clock;
use crate::playhead::Playhead;
use crate::sink::{FrameDelivery, FrameInfo, FrameSink};

/// Decoded frames wait here, apart from the cap for encoded bytes: a 1080p frame has 3 MB.
const FRAMES_MAX: usize = 4;
/// A picture that waits for a playhead that runs is looked at again this soon: anchors move the playhead.
const LOOK_AROUND: Duration = Duration::from_millis(20);
/// A frame this early is due: a screen refreshes every 16 ms.
const EARLY: Duration = Duration::from_millis(5);
/// Where the stream does not say how long a frame lasts.
const FRAME_USUAL: Duration = Duration::from_millis(40);
/// However late everything is, a picture is shown this often.
const SHOW_AT_LEAST: Duration = Duration::from_millis(250);

/// The driver's side.
pub(crate) struct VideoTrack {
    thread: DecoderThread<()>,
    counts: Arc<FrameCounts>,
    /// The generation that a picture waits for, plus one.
    ready: Arc<AtomicU64>,
}

/// The representation that frames come from.
struct Origin {
    representation: String,
    bitrate: BitRate,
}

impl VideoTrack {
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn spawn(
        sink: Box<dyn FrameSink>,
        delivery: FrameDelivery,
        clock: Clock,
        playhead: Playhead,
        notes: mpsc::Sender<DecoderNote>,
    ) -> std::io::Result<Self> {
        let worker = Worker::new(sink, delivery, clock, playhead);
        let (counts, ready) = (worker.counts.clone(), worker.ready.clone());
        let thread = DecoderThread::spawn(TrackKind::Video, notes, |station| worker.run(&station))?;
        Ok(Self {
            thread,
            counts,
            ready,
        })
    }

    /// Pictures before `from` are not to be seen.
    pub(crate) fn begin(&mut self, from: MediaTime) {
        self.thread.begin(from);
    }

    pub(crate) fn flush(&mut self, from: MediaTime, everything: bool) {
        self.thread.flush(from, everything);
    }

    /// Playback has ended: what is not due now never will be.
    pub(crate) fn finish(&mut self) {
        self.thread.finish();
    }

    /// The playhead was started, held or moved.
    pub(crate) fn wake(&mut self) {
        self.thread.wake();
    }

    /// Whether a picture waits to be shown (or was given to a sink that wants every one), or none will come.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) == u64::from(self.thread.generation()) + 1
            || self.thread.has_ended()
    }

    pub(crate) fn counts(&self) -> FrameReport {
        self.counts.report()
    }

    /// Ends the thread and returns it, to be waited for.
    pub(crate) fn into_thread(self) -> Option<JoinHandle<()>> {
        self.thread.into_thread()
    }
}

impl Feed for VideoTrack {
    fn format(&mut self, source: Source) -> bool {
        self.thread.format(source)
    }

    fn sample(&mut self, epoch: Epoch, object: ObjectKey, sample: &Sample) -> bool {
        self.thread.sample(epoch, object, sample)
    }

    fn end(&mut self) -> bool {
        self.thread.end()
    }
}

/// Counts of decoded frames, shared with the thread.
#[derive(Debug, Default)]
struct FrameCounts(Mutex<FrameReport>);

impl FrameCounts {
    fn report(&self) -> FrameReport {
        self.lock().clone()
    }

    fn update(&self, change: impl FnOnce(&mut FrameReport)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, FrameReport> {
        locked(&self.0)
    }
}

/// The thread's side.
struct Worker {
    counts: Arc<FrameCounts>,
    ready: Arc<AtomicU64>,
    clock: Clock,
    playhead: Playhead,
    sink: Box<dyn FrameSink>,
    delivery: FrameDelivery,
    decoder: Option<(VideoDecoder, Arc<Origin>)>,
    /// There is no decoder for the format: no picture will come.
    refused: bool,
    /// In presentation order.
    frames: VecDeque<(VideoFrame, Arc<Origin>)>,
    /// How long a frame lasts.
    duration: Duration,
    /// Pictures before this are not to be seen.
    show_from: MediaTime,
    /// Latest presentation time given to the decoder.
    fed_until: MediaTime,
    last_decoded: Option<MediaTime>,
    /// The last picture that is done with. Where a track is taken up again before it, the same pictures come again.
    given: Option<MediaTime>,
    /// A picture has come out of the decoder that was not taken back since.
    has_picture: bool,
    shown_at: Option<Instant>,
    generation: u32,
    /// What samples of earlier generations are measured by.
    flushed: Flushes,
    reported_bad: Option<ObjectKey>,
    ending: bool,
    ended: bool,
    /// What is not due now never will be.
    is_over: bool,
}

impl Worker {
    fn new(
        sink: Box<dyn FrameSink>,
        delivery: FrameDelivery,
        clock: Clock,
        playhead: Playhead,
    ) -> Self {
        Self {
            counts: Arc::default(),
            ready: Arc::default(),
            clock,
            playhead,
            sink,
            delivery,
            decoder: None,
            refused: false,
            frames: VecDeque::new(),
            duration: FRAME_USUAL,
            show_from: MediaTime::from_micros(i64::MIN),
            fed_until: MediaTime::from_micros(i64::MIN),
            last_decoded: None,
            given: None,
            has_picture: false,
            shown_at: None,
            generation: 0,
            flushed: Flushes::default(),
            reported_bad: None,
            ending: false,
            ended: false,
            is_over: false,
        }
    }

    fn run(mut self, station: &Station<()>) {
        while self.turn(station) == Go::On {}
    }

    fn turn(&mut self, station: &Station<()>) -> Go {
        if self.steer(station) == Go::Out {
            return Go::Out;
        }
        let wait = self.show_due();
        self.tell_ready();
        if self.frames.is_empty() && std::mem::take(&mut self.ending) {
            let track = TrackKind::Video;
            return station.note(DecoderNote::Drained { track });
        }
        if self.frames.len() >= FRAMES_MAX {
            Station::<()>::wait(wait);
            return Go::On;
        }
        match station.next_work(wait) {
            Ok(None) => Go::On,
            Err(out) => out,
            // What was flushed meanwhile comes before what was sent after it.
            Ok(Some(work)) => match self.steer(station) {
                Go::On => self.take(work).map_or(Go::On, |note| station.note(note)),
                Go::Out => Go::Out,
            },
        }
    }

    /// Does what holds at once.
    fn steer(&mut self, station: &Station<()>) -> Go {
        let Some((course, ())) = station.look(|()| ()) else {
            return Go::Out;
        };
        self.generation = course.generation;
        self.is_over = course.is_over;
        if let Some(begin) = course.begin {
            self.show_from = begin;
        }
        for flush in course.flushes.iter() {
            self.flush(flush);
        }
        Go::On
    }

    fn flush(&mut self, flush: Flush) {
        self.flushed.add(flush);
        self.ending = false;
        self.ended = false;
        self.reported_bad = None;
        if flush.everything {
            self.show_from = flush.from;
            self.frames.clear();
            self.last_decoded = None;
            self.given = None;
            self.has_picture = false;
            self.shown_at = None;
            self.fed_until = MediaTime::from_micros(i64::MIN);
            if let Some((decoder, _)) = &mut self.decoder {
                decoder.reset();
            }
            self.sink.flush();
            return;
        }
        // Frames of what is forgotten may still be inside the decoder. A sink that wants every one would get them.
        if self.fed_until >= flush.from {
            self.drain(Some(flush.from));
            self.fed_until = flush.from;
        }
        self.frames.retain(|(frame, _)| frame.pts() < flush.from);
        // What was given may have been wrong: playback that was to begin with it waits for what comes instead.
        let is_kept = self.given.is_some_and(|given| given < flush.from);
        self.has_picture &= is_kept || !self.frames.is_empty();
        if self.last_decoded.is_some_and(|last| last >= flush.from) {
            let waiting = self.frames.back().map(|(frame, _)| frame.pts());
            self.last_decoded = waiting.or(self.given);
        }
    }

    /// Does what waited; returns what the driver must hear.
    fn take(&mut self, work: Work) -> Option<DecoderNote> {
        match work {
            Work::Format(source) => {
                self.drain(None);
                self.open(&source)
            }
            Work::End { generation } => {
                if generation == self.generation {
                    self.drain(None);
                    self.ending = true;
                    self.ended = true;
                }
                None
            }
            Work::Sample {
                generation,
                epoch,
                object,
                sample,
            } => {
                self.flushed.reached(generation);
                let stale = self.flushed.forget(generation, sample.pts);
                let (decoder, origin) = self.decoder.as_mut().filter(|_| !stale)?;
                self.fed_until = self.fed_until.max(sample.pts);
                if !sample.duration.is_zero() {
                    self.duration = sample.duration;
                }
                let (origin, mut frames) = (origin.clone(), Vec::new());
                let outcome = decoder.decode(&sample, &mut frames);
                self.queue(frames, &origin, None);
                let error = outcome.err()?;
                (self.reported_bad.replace(object) != Some(object)).then_some(
                    DecoderNote::Undecodable {
                        epoch,
                        object,
                        code: error.code(),
                    },
                )
            }
        }
    }

    /// Makes a decoder, which takes some milliseconds.
    fn open(&mut self, source: &Source) -> Option<DecoderNote> {
        self.decoder = None;
        let opened = VideoDecoder::new(&source.format.info);
        self.refused = matches!(opened, Err(DecodeError::UnsupportedCodec { .. }));
        match opened {
            Ok(decoder) => {
                let origin = Origin {
                    representation: source.format.representation.clone(),
                    bitrate: source.format.bitrate,
                };
                self.decoder = Some((decoder, Arc::new(origin)));
                None
            }
            Err(error) => Some(refusal(TrackKind::Video, source, &error)),
        }
    }

    /// Takes the last frames out of the decoder, and forgets those from `until` on.
    fn drain(&mut self, until: Option<MediaTime>) {
        let Some((decoder, origin)) = &mut self.decoder else {
            return;
        };
        let (origin, mut frames) = (origin.clone(), Vec::new());
        if let Err(error) = decoder.drain(&mut frames) {
            tracing::debug!(
                code = error.code(),
                "the last frames of a representation are damaged"
            );
        }
        self.queue(frames, &origin, until);
    }

    fn queue(&mut self, frames: Vec<VideoFrame>, origin: &Arc<Origin>, until: Option<MediaTime>) {
        for frame in frames {
            let pts = frame.pts();
            // The picture that is to be seen at `show_from` began before.
            if pts + self.duration <= self.show_from || until.is_some_and(|until| pts >= until) {
                continue;
            }
            self.has_picture = true;
            if self.given.is_some_and(|given| pts <= given) {
                continue;
            }
            let (last, duration) = (self.last_decoded.replace(pts), self.duration);
            self.counts.update(|counts| {
                counts.decoded += 1;
                let Some(last) = last else { return };
                if pts <= last {
                    counts.repeated += 1;
                } else {
                    counts.missing += missing_between(pts.since(last), duration);
                }
            });
            match self.delivery {
                FrameDelivery::Every => self.give(frame, origin),
                FrameDelivery::WhenDue => self.frames.push_back((frame, origin.clone())),
            }
        }
    }

    fn tell_ready(&self) {
        let ready = if self.has_picture || self.ended || self.refused {
            u64::from(self.generation) + 1
        } else {
            0
        };
        self.ready.store(ready, Ordering::Release);
    }

    /// Gives what is due to the sink; returns how long nothing more is, `None` until something changes.
    fn show_due(&mut self) -> Option<Duration> {
        while let Some((frame, _)) = self.frames.front() {
            let pts = frame.pts();
            let position = self.playhead.position();
            let first = self.shown_at.is_none();
            if pts > position + EARLY && !first {
                if self.is_over {
                    // It lies behind the end.
                    self.frames.pop_front();
                    continue;
                }
                // Anchors move a playhead that runs.
                let due = self.playhead.time_until(pts)?.saturating_sub(EARLY);
                return Some(due.clamp(Duration::from_millis(1), LOOK_AROUND));
            }
            let Some((frame, origin)) = self.frames.pop_front() else {
                break;
            };
            let late = position.since(pts);
            let now = self.clock.now();
            let is_late = late > self.duration;
            let waited = self
                .shown_at
                .is_none_or(|shown| now.since(shown) >= SHOW_AT_LEAST);
            let shown = !is_late || waited;
            if self.playhead.is_running() {
                let offset_ms = position.distance(pts).as_secs_f64() * 1e3;
                self.counts.update(|counts| {
                    counts.late += u64::from(is_late);
                    // What is left out is seen by nobody.
                    let max = counts.av_offset_ms_max.unwrap_or(0.0);
                    counts.av_offset_ms_max = if shown {
                        Some(max.max(offset_ms))
                    } else {
                        counts.av_offset_ms_max
                    };
                });
            }
            if shown {
                self.shown_at = Some(now);
                self.give(frame, &origin);
            } else {
                self.given = Some(pts);
            }
        }
        None
    }

    fn give(&mut self, frame: VideoFrame, origin: &Origin) {
        let info = FrameInfo {
            pts: frame.pts(),
            representation: origin.representation.clone(),
            bitrate: origin.bitrate,
        };
        self.given = Some(info.pts);
        self.sink.frame(&info, frame);
    }
}

/// Frames that should lie between two whose times differ by `step`.
fn missing_between(step: Duration, duration: Duration) -> u64 {
    if duration.is_zero() {
        return 0;
    }
    let steps = (step.as_micros() + duration.as_micros() / 2) / duration.as_micros().max(1);
    u64::try_from(steps).unwrap_or(u64::MAX).saturating_sub(1)
}

#[cfg(test)]
mod tests;
