//! Sound: decodes on its own thread, keeps the sink filled and says where the sink is.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use nearcast_core::Epoch;
use nearcast_media::{AudioDecoder, AudioFrame, DecodeError, Sample, audio_decoder};
use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::{Instant, MediaTime};
use tokio::sync::mpsc;

use super::{DecoderNote, Feed, Flush, LOOK_AROUND, WORK_MAX, locked};
use crate::clock::Clock;
use crate::playhead::Playhead;
use crate::sink::{AudioFormat, AudioSink, TrackFormat};

/// How often the session is told the sink's place.
const ANCHOR_EVERY: Duration = Duration::from_millis(250);
/// How often the playhead is: a device that starts late or stands still must not lose the picture by more.
const PLACE_EVERY: Duration = Duration::from_millis(10);
/// A sink that has no room is asked again this soon.
const ROOM_EVERY: Duration = Duration::from_millis(10);
/// Silence up to this long is put into a gap; a longer gap is a jump.
const GAP_MAX: Duration = Duration::from_secs(10);
/// Rounding of times is no gap.
const GAP_MIN: Duration = Duration::from_millis(5);

/// The driver's side.
pub(crate) struct AudioTrack {
    work: SyncSender<Work>,
    steering: Arc<Mutex<Steering>>,
    generation: u32,
    disabled: bool,
    thread: Thread,
    joining: Option<JoinHandle<()>>,
}

enum Work {
    Format(Box<dyn AudioDecoder + Send>),
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

/// What holds at once, past everything that waits in the channel.
#[derive(Debug, Default)]
struct Steering {
    stop: bool,
    playing: bool,
    epoch: Epoch,
    generation: u32,
    flush: Option<Flush>,
    begin: Option<MediaTime>,
}

impl AudioTrack {
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn spawn(
        sink: Box<dyn AudioSink>,
        clock: Clock,
        playhead: Playhead,
        notes: mpsc::Sender<DecoderNote>,
    ) -> std::io::Result<Self> {
        let (work, receiver) = sync_channel(WORK_MAX);
        let steering = Arc::new(Mutex::new(Steering::default()));
        let worker = Worker {
            work: receiver,
            steering: steering.clone(),
            notes,
            clock,
            playhead,
            sink: Some(sink),
            decoder: None,
            format: None,
            pending: Vec::new(),
            taken: 0,
            queue_end: None,
            begin: None,
            epoch: Epoch::default(),
            generation: 0,
            flushed: None,
            reported_bad: None,
            playing: false,
            dry: false,
            ended: false,
            anchored_at: Instant::ZERO,
            placed_at: Instant::ZERO,
        };
        let joining = std::thread::Builder::new()
            .name("nearcast-audio".to_owned())
            .spawn(|| worker.run())?;
        let thread = joining.thread().clone();
        Ok(Self {
            work,
            steering,
            generation: 0,
            disabled: false,
            thread,
            joining: Some(joining),
        })
    }

    /// Sound before `from` is not to be heard.
    pub(crate) fn begin(&mut self, from: MediaTime) {
        locked(&self.steering).begin = Some(from);
    }

    /// What the sink says from now on belongs to this epoch, whoever was flushed.
    pub(crate) fn enter(&mut self, epoch: Epoch) {
        locked(&self.steering).epoch = epoch;
    }

    pub(crate) fn flush(&mut self, from: MediaTime, everything: bool) {
        self.generation = self.generation.wrapping_add(1);
        let mut steering = locked(&self.steering);
        let flush = Flush { from, everything };
        steering.flush = Some(steering.flush.map_or(flush, |earlier| earlier.and(flush)));
        steering.generation = self.generation;
        drop(steering);
        self.thread.unpark();
    }

    pub(crate) fn start(&mut self, epoch: Epoch, _at: MediaTime) {
        let mut steering = locked(&self.steering);
        steering.playing = true;
        steering.epoch = epoch;
        drop(steering);
        self.thread.unpark();
    }

    pub(crate) fn hold(&mut self) {
        locked(&self.steering).playing = false;
        self.thread.unpark();
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

impl Drop for AudioTrack {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Feed for AudioTrack {
    fn format(&mut self, format: &TrackFormat) -> Result<bool, DecodeError> {
        match audio_decoder(&format.info) {
            Ok(decoder) => {
                self.disabled = false;
                Ok(self.send(Work::Format(decoder)))
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

/// The thread's side.
struct Worker {
    work: Receiver<Work>,
    steering: Arc<Mutex<Steering>>,
    notes: mpsc::Sender<DecoderNote>,
    clock: Clock,
    playhead: Playhead,
    /// `None` after it failed.
    sink: Option<Box<dyn AudioSink>>,
    decoder: Option<Box<dyn AudioDecoder + Send>>,
    format: Option<AudioFormat>,
    /// Interleaved samples not written yet, from `taken` on.
    pending: Vec<f32>,
    taken: usize,
    /// Presentation time after the last pending sample.
    queue_end: Option<MediaTime>,
    /// Sound before this is not to be heard.
    begin: Option<MediaTime>,
    /// What the sink's place belongs to.
    epoch: Epoch,
    generation: u32,
    /// What samples of earlier generations are measured by.
    flushed: Option<Flush>,
    reported_bad: Option<ObjectKey>,
    playing: bool,
    dry: bool,
    ended: bool,
    anchored_at: Instant,
    placed_at: Instant,
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
            self.write();
            self.tell_place();
            if self.pending_frames() > 0 {
                std::thread::park_timeout(ROOM_EVERY);
                continue;
            }
            let work = match self.work.recv_timeout(LOOK_AROUND) {
                Ok(work) => work,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if matches!(self.steer(), Go::Out) || matches!(self.take(work), Go::Out) {
                return;
            }
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
        self.epoch = steering.epoch;
        self.generation = steering.generation;
        let playing = steering.playing;
        drop(steering);
        if let Some(begin) = begin {
            self.begin = Some(begin);
        }
        if let Some(flush) = flush {
            self.flush(flush);
        }
        if playing != self.playing {
            self.playing = playing;
            if let Some(sink) = &mut self.sink {
                sink.set_playing(playing);
            }
            self.anchored_at = self.clock.now();
            self.placed_at = Instant::ZERO;
        }
        Go::On
    }

    fn flush(&mut self, flush: Flush) {
        self.flushed = Some(flush);
        self.ended = false;
        self.reported_bad = None;
        if flush.everything {
            self.pending.clear();
            self.taken = 0;
            self.queue_end = None;
            self.begin = Some(flush.from);
            if let Some(decoder) = &mut self.decoder {
                decoder.reset();
            }
            if let Some(sink) = &mut self.sink {
                sink.flush();
            }
            return;
        }
        // What comes anew begins at `from`; what is pending beyond it is forgotten. What the sink has
        // already stays: the new sound is cut to fit behind it.
        let (Some(end), Some(format)) = (self.queue_end, self.format) else {
            return;
        };
        let surplus =
            frames_in(end.since(flush.from), format.sample_rate).min(self.pending_frames());
        self.pending
            .truncate(self.pending.len() - surplus * usize::from(format.channels));
        self.queue_end = Some(end - span_of(surplus, format.sample_rate));
    }

    fn take(&mut self, work: Work) -> Go {
        match work {
            Work::Format(decoder) => {
                self.decoder = Some(decoder);
                Go::On
            }
            Work::End { generation } => {
                if generation == self.generation {
                    self.ended = true;
                    return self.note(DecoderNote::Drained {
                        track: TrackKind::Audio,
                    });
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
                let Some(decoder) = self.decoder.as_mut().filter(|_| !stale) else {
                    return Go::On;
                };
                match decoder.decode(&sample) {
                    Ok(frame) => self.queue(frame),
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

    /// Puts decoded sound behind what is pending, with silence in gaps and without what overlaps.
    fn queue(&mut self, frame: AudioFrame) -> Go {
        if frame.samples.is_empty() || frame.channels == 0 || frame.sample_rate == 0 {
            return Go::On;
        }
        let format = AudioFormat {
            sample_rate: frame.sample_rate,
            channels: frame.channels,
        };
        if self.format != Some(format) {
            self.format = Some(format);
            if let Some(sink) = &mut self.sink
                && let Err(message) = sink.configure(format)
            {
                self.sink = None;
                return self.note(DecoderNote::SinkFailed {
                    track: TrackKind::Audio,
                    message,
                });
            }
        }
        if self.sink.is_none() {
            return Go::On;
        }
        let channels = usize::from(format.channels);
        let expected = self.queue_end.or(self.begin).unwrap_or(frame.pts);
        let mut samples = frame.samples;
        let overlap = expected.since(frame.pts);
        let gap = frame.pts.since(expected);
        if overlap > GAP_MIN || (overlap > Duration::ZERO && self.queue_end.is_none()) {
            let cut = frames_in(overlap, format.sample_rate).min(samples.len() / channels);
            samples.drain(..cut * channels);
        } else if gap > GAP_MIN && gap <= GAP_MAX {
            let silence = frames_in(gap, format.sample_rate);
            self.pending
                .resize(self.pending.len() + silence * channels, 0.0);
        }
        if samples.is_empty() {
            return Go::On;
        }
        // From the sound's own times, so that rounding does not add up.
        self.queue_end = Some(
            frame.pts.max(expected - overlap)
                + overlap
                + span_of(samples.len() / channels, format.sample_rate),
        );
        self.pending.append(&mut samples);
        Go::On
    }

    fn write(&mut self) {
        let (Some(sink), Some(format)) = (&mut self.sink, self.format) else {
            self.pending.clear();
            self.taken = 0;
            return;
        };
        let channels = usize::from(format.channels);
        while let Some(rest) = self
            .pending
            .get(self.taken..)
            .filter(|rest| !rest.is_empty())
        {
            let took = sink.write(rest).min(rest.len() / channels);
            if took == 0 {
                return;
            }
            self.dry = false;
            self.taken += took * channels;
        }
        self.pending.clear();
        self.taken = 0;
    }

    /// Says where the sink is, to the playhead often, to the session now and then, and when it ran dry.
    fn tell_place(&mut self) {
        let now = self.clock.now();
        let (Some(sink), Some(format), Some(end)) = (&self.sink, self.format, self.queue_end)
        else {
            return;
        };
        if !self.playing || now.since(self.placed_at) < PLACE_EVERY {
            return;
        }
        self.placed_at = now;
        let (epoch, queued) = (self.epoch, sink.queued());
        // The call may have taken a while: half-way is the best guess at when it looked.
        let at = now + self.clock.now().since(now) / 2;
        let pending = span_of(self.pending_frames(), format.sample_rate);
        let position = end - pending - queued;
        // When the sound is over, time passes by itself.
        if !(self.ended && queued.is_zero()) {
            self.playhead.anchor(at, epoch, position);
        }
        if now.since(self.anchored_at) < ANCHOR_EVERY {
            return;
        }
        self.anchored_at = now;
        if queued.is_zero() {
            // At the end there is no more to tell; before it, that is the viewer's silence.
            if !self.ended && !self.dry {
                self.dry = true;
                self.notes.try_send(DecoderNote::Underrun { epoch }).ok();
            }
            return;
        }
        // An anchor that finds no room is made up for by the next.
        self.notes
            .try_send(DecoderNote::Anchor {
                epoch,
                at,
                position,
            })
            .ok();
    }

    fn pending_frames(&self) -> usize {
        let channels = self
            .format
            .map_or(1, |format| usize::from(format.channels).max(1));
        (self.pending.len() - self.taken) / channels
    }

    fn note(&self, note: DecoderNote) -> Go {
        if self.notes.blocking_send(note).is_ok() {
            Go::On
        } else {
            Go::Out
        }
    }
}

/// Frames that a span lasts, to the nearest.
fn frames_in(span: Duration, sample_rate: u32) -> usize {
    let frames = (span.as_micros() * u128::from(sample_rate) + 500_000) / 1_000_000;
    usize::try_from(frames).unwrap_or(usize::MAX)
}

fn span_of(frames: usize, sample_rate: u32) -> Duration {
    let nanos = frames as u128 * 1_000_000_000 / u128::from(sample_rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
