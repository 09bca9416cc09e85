//! Pictures: decodes on its own thread and gives each frame to the sink when it is due.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use nearcast_core::Epoch;
use nearcast_media::{DecodeError, Sample, VideoDecoder, VideoFrame};
use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_protocol::report::FrameReport;
use nearcast_units::{BitRate, Instant, MediaTime};
use tokio::sync::mpsc;

use super::{DecoderNote, Feed, Flush, LOOK_AROUND, WORK_MAX, locked};
use crate::clock::Clock;
use crate::playhead::Playhead;
use crate::sink::{FrameDelivery, FrameInfo, FrameSink, TrackFormat};

/// Decoded frames wait here, apart from the cap for encoded bytes: a 1080p frame has 3 MB.
const FRAMES_MAX: usize = 4;
/// A frame this early is due: a screen refreshes every 16 ms.
const EARLY: Duration = Duration::from_millis(5);
/// Where the stream does not say how long a frame lasts.
const FRAME_USUAL: Duration = Duration::from_millis(40);
/// However late everything is, a picture is shown this often.
const SHOW_AT_LEAST: Duration = Duration::from_millis(250);

/// The driver's side.
pub(crate) struct VideoTrack {
    work: SyncSender<Work>,
    steering: Arc<Mutex<Steering>>,
    counts: Arc<FrameCounts>,
    /// The generation that a picture waits for, plus one.
    ready: Arc<AtomicU64>,
    generation: u32,
    disabled: bool,
    thread: Thread,
    joining: Option<JoinHandle<()>>,
}

enum Work {
    Format {
        decoder: Box<VideoDecoder>,
        origin: Arc<Origin>,
    },
    Sample {
        generation: u32,
        epoch: Epoch,
        object: ObjectKey,
        sample: Sample,
    },
    End {
        generation: u32,
    },
}

/// The representation that frames come from.
struct Origin {
    representation: String,
    bitrate: BitRate,
}

/// What holds at once, past everything that waits in the channel.
#[derive(Debug, Default)]
struct Steering {
    stop: bool,
    generation: u32,
    flush: Option<Flush>,
    begin: Option<MediaTime>,
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
        let (work, receiver) = sync_channel(WORK_MAX);
        let steering = Arc::new(Mutex::new(Steering::default()));
        let counts = Arc::new(FrameCounts::default());
        let ready = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            work: receiver,
            steering: steering.clone(),
            counts: counts.clone(),
            ready: ready.clone(),
            notes,
            clock,
            playhead,
            sink,
            delivery,
            decoder: None,
            frames: VecDeque::new(),
            duration: FRAME_USUAL,
            show_from: MediaTime::from_micros(i64::MIN),
            fed_until: MediaTime::from_micros(i64::MIN),
            last_decoded: None,
            shown_at: None,
            generation: 0,
            flushed: None,
            reported_bad: None,
            ending: false,
            ended: false,
        };
        let joining = std::thread::Builder::new()
            .name("nearcast-video".to_owned())
            .spawn(|| worker.run())?;
        let thread = joining.thread().clone();
        Ok(Self {
            work,
            steering,
            counts,
            ready,
            generation: 0,
            disabled: false,
            thread,
            joining: Some(joining),
        })
    }

    /// Pictures before `from` are not to be seen.
    pub(crate) fn begin(&mut self, from: MediaTime) {
        locked(&self.steering).begin = Some(from);
    }

    pub(crate) fn flush(&mut self, from: MediaTime, everything: bool) {
        self.generation = self.generation.wrapping_add(1);
        let mut steering = locked(&self.steering);
        let flush = Flush { from, everything };
        steering.flush = Some(steering.flush.map_or(flush, |earlier| earlier.and(flush)));
        steering.generation = self.generation;
        drop(steering);
        self.wake();
    }

    /// The playhead was started, held or moved.
    pub(crate) fn wake(&mut self) {
        self.thread.unpark();
    }

    /// Whether a picture waits to be shown, or none will come.
    pub(crate) fn is_ready(&self) -> bool {
        self.disabled || self.ready.load(Ordering::Acquire) == u64::from(self.generation) + 1
    }

    pub(crate) fn counts(&self) -> FrameReport {
        self.counts.report()
    }

    /// Ends the thread and returns it, to be waited for.
    pub(crate) fn into_thread(mut self) -> Option<JoinHandle<()>> {
        self.stop();
        self.joining.take()
    }

    fn stop(&self) {
        locked(&self.steering).stop = true;
        self.thread.unpark();
    }

    fn send(&self, work: Work) -> bool {
        match self.work.try_send(work) {
            Ok(()) => {
                self.thread.unpark();
                true
            }
            Err(TrySendError::Full(_)) => false,
            // The thread has ended with its sink: playback goes on without.
            Err(TrySendError::Disconnected(_)) => true,
        }
    }
}

impl Drop for VideoTrack {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Feed for VideoTrack {
    fn format(&mut self, format: &TrackFormat) -> Result<bool, DecodeError> {
        match VideoDecoder::new(&format.info) {
            Ok(decoder) => {
                self.disabled = false;
                let origin = Origin {
                    representation: format.representation.clone(),
                    bitrate: format.bitrate,
                };
                Ok(self.send(Work::Format {
                    decoder: Box::new(decoder),
                    origin: Arc::new(origin),
                }))
            }
            Err(error) => {
                self.disabled = true;
                Err(error)
            }
        }
    }

    fn sample(&mut self, epoch: Epoch, object: ObjectKey, sample: &Sample, _preroll: bool) -> bool {
        self.disabled
            || self.send(Work::Sample {
                generation: self.generation,
                epoch,
                object,
                sample: sample.clone(),
            })
    }

    fn end(&mut self) -> bool {
        self.send(Work::End {
            generation: self.generation,
        })
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
    work: Receiver<Work>,
    steering: Arc<Mutex<Steering>>,
    counts: Arc<FrameCounts>,
    ready: Arc<AtomicU64>,
    notes: mpsc::Sender<DecoderNote>,
    clock: Clock,
    playhead: Playhead,
    sink: Box<dyn FrameSink>,
    delivery: FrameDelivery,
    decoder: Option<(Box<VideoDecoder>, Arc<Origin>)>,
    /// In presentation order.
    frames: VecDeque<(VideoFrame, Arc<Origin>)>,
    /// How long a frame lasts.
    duration: Duration,
    /// Pictures before this are not to be seen.
    show_from: MediaTime,
    /// Latest presentation time given to the decoder.
    fed_until: MediaTime,
    last_decoded: Option<MediaTime>,
    shown_at: Option<Instant>,
    generation: u32,
    /// What samples of earlier generations are measured by.
    flushed: Option<Flush>,
    reported_bad: Option<ObjectKey>,
    ending: bool,
    ended: bool,
}

/// Whether the thread goes on.
enum Go {
    On,
    Out,
}

impl Worker {
    fn run(mut self) {
        loop {
            if matches!(self.steer(), Go::Out) {
                return;
            }
            let wait = self.show_due();
            self.tell_ready();
            if self.ending && self.frames.is_empty() {
                self.ending = false;
                if matches!(
                    self.note(DecoderNote::Drained {
                        track: TrackKind::Video
                    }),
                    Go::Out
                ) {
                    return;
                }
            }
            if self.frames.len() >= FRAMES_MAX {
                std::thread::park_timeout(wait);
                continue;
            }
            let work = match self.next_work(wait) {
                Ok(Some(work)) => work,
                Ok(None) => continue,
                Err(()) => return,
            };
            if matches!(self.steer(), Go::Out) || matches!(self.take(work), Go::Out) {
                return;
            }
        }
    }

    /// Waits for work, but no longer than until a frame is due.
    fn next_work(&self, wait: Duration) -> Result<Option<Work>, ()> {
        match self.work.try_recv() {
            Ok(work) => return Ok(Some(work)),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(()),
        }
        match self.work.recv_timeout(wait) {
            Ok(work) => Ok(Some(work)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
    }

    /// Does what holds at once.
    fn steer(&mut self) -> Go {
        let mut steering = locked(&self.steering);
        if steering.stop {
            return Go::Out;
        }
        let flush = steering.flush.take();
        let begin = steering.begin.take();
        self.generation = steering.generation;
        drop(steering);
        if let Some(begin) = begin {
            self.show_from = begin;
        }
        if let Some(flush) = flush {
            self.flush(flush);
        }
        Go::On
    }

    fn flush(&mut self, flush: Flush) {
        self.flushed = Some(flush);
        self.ending = false;
        self.ended = false;
        self.reported_bad = None;
        if flush.everything {
            self.show_from = flush.from;
            self.frames.clear();
            self.last_decoded = None;
            self.shown_at = None;
            self.fed_until = MediaTime::from_micros(i64::MIN);
            if let Some((decoder, _)) = &mut self.decoder {
                decoder.reset();
            }
            self.sink.flush();
            return;
        }
        // Frames of what is forgotten may still be inside the decoder.
        if self.fed_until >= flush.from {
            self.drain();
            self.fed_until = flush.from;
        }
        self.frames.retain(|(frame, _)| frame.pts() < flush.from);
        if self.last_decoded.is_some_and(|last| last >= flush.from) {
            self.last_decoded = self.frames.back().map(|(frame, _)| frame.pts());
        }
    }

    fn take(&mut self, work: Work) -> Go {
        match work {
            Work::Format { decoder, origin } => {
                self.drain();
                self.decoder = Some((decoder, origin));
                Go::On
            }
            Work::End { generation } => {
                if generation == self.generation {
                    self.drain();
                    self.ending = true;
                    self.ended = true;
                }
                Go::On
            }
            Work::Sample {
                generation,
                epoch,
                object,
                sample,
            } => {
                let stale = generation != self.generation
                    && self
                        .flushed
                        .is_some_and(|flush| flush.everything || sample.pts >= flush.from);
                let Some((decoder, origin)) = self.decoder.as_mut().filter(|_| !stale) else {
                    return Go::On;
                };
                self.fed_until = self.fed_until.max(sample.pts);
                if !sample.duration.is_zero() {
                    self.duration = sample.duration;
                }
                let origin = origin.clone();
                match decoder.decode(&sample) {
                    Ok(frames) => {
                        self.queue(frames, &origin);
                        Go::On
                    }
                    Err(error) if self.reported_bad != Some(object) => {
                        self.reported_bad = Some(object);
                        self.note(DecoderNote::Undecodable {
                            epoch,
                            object,
                            code: error.code(),
                        })
                    }
                    Err(_) => Go::On,
                }
            }
        }
    }

    /// Takes the last frames out of the decoder.
    fn drain(&mut self) {
        let Some((decoder, origin)) = &mut self.decoder else {
            return;
        };
        let origin = origin.clone();
        match decoder.drain() {
            Ok(frames) => self.queue(frames, &origin),
            Err(error) => tracing::debug!(
                code = error.code(),
                "the last frames of a representation are damaged"
            ),
        }
    }

    fn queue(&mut self, frames: Vec<VideoFrame>, origin: &Arc<Origin>) {
        for frame in frames {
            let pts = frame.pts();
            // The picture that is to be seen at `show_from` began before.
            if pts + self.duration <= self.show_from {
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
        let is_ready =
            !self.frames.is_empty() || self.ended || self.delivery == FrameDelivery::Every;
        let ready = if is_ready {
            u64::from(self.generation) + 1
        } else {
            0
        };
        self.ready.store(ready, Ordering::Release);
    }

    /// Gives what is due to the sink; returns how long nothing more is.
    fn show_due(&mut self) -> Duration {
        while let Some((frame, _)) = self.frames.front() {
            let pts = frame.pts();
            let position = self.playhead.position();
            let first = self.shown_at.is_none();
            if pts > position + EARLY && !first {
                let due = self.playhead.time_until(pts).unwrap_or(LOOK_AROUND);
                return due
                    .saturating_sub(EARLY)
                    .clamp(Duration::from_millis(1), LOOK_AROUND);
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
            }
        }
        LOOK_AROUND
    }

    fn give(&mut self, frame: VideoFrame, origin: &Origin) {
        let info = FrameInfo {
            pts: frame.pts(),
            representation: origin.representation.clone(),
            bitrate: origin.bitrate,
        };
        self.sink.frame(&info, frame);
    }

    fn note(&self, note: DecoderNote) -> Go {
        if self.notes.blocking_send(note).is_ok() {
            Go::On
        } else {
            Go::Out
        }
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
