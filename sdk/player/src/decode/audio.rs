//! Sound: decodes on its own thread, keeps the sink filled and says where the sink is.

use std::thread::JoinHandle;
use std::time::Duration;

use nearcast_core::Epoch;
use nearcast_media::{AudioDecoder, AudioFrame, CodecConfig, Sample, audio_decoder};
use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::{Instant, MediaTime};
use tokio::sync::mpsc;

use super::flush::{Flush, Flushes};
use super::thread::{DecoderThread, Go, Station, Work};
use super::{DecoderNote, Feed, Source, refusal};
use crate::clock::Clock;
use crate::playhead::Playhead;
use crate::sink::{AudioFormat, AudioSink};

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
    thread: DecoderThread<Steering>,
}

/// What holds at once, beside the course.
#[derive(Debug, Default)]
struct Steering {
    playing: bool,
    epoch: Epoch,
    /// Where playback was started.
    start: Option<MediaTime>,
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
        let thread = DecoderThread::spawn(TrackKind::Audio, notes, move |station| {
            Worker::new(sink, clock, playhead).run(&station);
        })?;
        Ok(Self { thread })
    }

    /// Sound before `from` is not to be heard.
    pub(crate) fn begin(&mut self, from: MediaTime) {
        self.thread.begin(from);
    }

    /// What the sink says from now on belongs to this epoch, whoever was flushed.
    pub(crate) fn enter(&mut self, epoch: Epoch) {
        self.thread.steer(|steering| steering.epoch = epoch);
    }

    pub(crate) fn flush(&mut self, from: MediaTime, everything: bool) {
        self.thread.flush(from, everything);
    }

    /// Playback has ended: what is not due now never will be.
    pub(crate) fn finish(&mut self) {
        self.thread.finish();
    }

    pub(crate) fn start(&mut self, epoch: Epoch, at: MediaTime) {
        self.thread.steer(|steering| {
            steering.playing = true;
            steering.epoch = epoch;
            steering.start = Some(at);
        });
    }

    pub(crate) fn hold(&mut self) {
        self.thread.steer(|steering| steering.playing = false);
    }

    /// Ends the thread and returns it, to be waited for.
    pub(crate) fn into_thread(self) -> Option<JoinHandle<()>> {
        self.thread.into_thread()
    }
}

impl Feed for AudioTrack {
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

/// The thread's side.
struct Worker {
    clock: Clock,
    playhead: Playhead,
    /// `None` after it failed.
    sink: Option<Box<dyn AudioSink>>,
    /// With the configuration that it was made for; `None` while nothing can be decoded.
    decoder: Option<(CodecConfig, Box<dyn AudioDecoder + Send>)>,
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
    flushed: Flushes,
    reported_bad: Option<ObjectKey>,
    playing: bool,
    dry: bool,
    ended: bool,
    /// Nothing more is to be heard.
    is_over: bool,
    anchored_at: Instant,
    placed_at: Instant,
}

impl Worker {
    fn new(sink: Box<dyn AudioSink>, clock: Clock, playhead: Playhead) -> Self {
        Self {
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
            flushed: Flushes::default(),
            reported_bad: None,
            playing: false,
            dry: false,
            ended: false,
            is_over: false,
            anchored_at: Instant::ZERO,
            placed_at: Instant::ZERO,
        }
    }

    fn run(mut self, station: &Station<Steering>) {
        while self.turn(station) == Go::On {}
    }

    fn turn(&mut self, station: &Station<Steering>) -> Go {
        if self.steer(station) == Go::Out {
            return Go::Out;
        }
        self.write();
        if self.is_over {
            // A sink that is held and full would never take it.
            self.forget_pending();
        }
        if let Some(note) = self.tell_place() {
            // What finds no room is made up for by the next.
            station.try_note(note);
        }
        // While the sink is held it takes nothing and stays where it is.
        let heard = self.playing && self.sink.is_some();
        if self.pending_frames() > 0 {
            Station::<Steering>::wait(heard.then_some(ROOM_EVERY));
            return Go::On;
        }
        match station.next_work(heard.then_some(PLACE_EVERY)) {
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
    fn steer(&mut self, station: &Station<Steering>) -> Go {
        let Some((course, now)) = station.look(|steering| Steering {
            start: steering.start.take(),
            ..*steering
        }) else {
            return Go::Out;
        };
        self.epoch = now.epoch;
        self.generation = course.generation;
        self.is_over = course.is_over;
        if let Some(begin) = course.begin {
            self.begin = Some(begin);
        }
        for flush in course.flushes.iter() {
            self.flush(flush);
        }
        if let Some(at) = now.start {
            self.start(at);
        }
        if now.playing != self.playing {
            self.playing = now.playing;
            if let Some(sink) = &mut self.sink {
                sink.set_playing(self.playing);
            }
            self.anchored_at = self.clock.now();
            self.placed_at = Instant::ZERO;
        }
        Go::On
    }

    /// Sound that would have come before is not to be heard any more, unless some of it waits.
    fn start(&mut self, at: MediaTime) {
        if self.is_silent() {
            self.queue_end = self.queue_end.map(|end| end.max(at));
        }
    }

    /// Whether everything that came was heard.
    fn is_silent(&self) -> bool {
        let queued = self.sink.as_ref().map(|sink| sink.queued());
        self.pending_frames() == 0 && queued.is_none_or(|queued| queued.is_zero())
    }

    fn flush(&mut self, flush: Flush) {
        self.flushed.add(flush);
        self.ended = false;
        self.reported_bad = None;
        if flush.everything {
            self.forget_pending();
            self.queue_end = None;
            self.begin = Some(flush.from);
            if let Some((_, decoder)) = &mut self.decoder {
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

    /// Does what waited; returns what the driver must hear.
    fn take(&mut self, work: Work) -> Option<DecoderNote> {
        match work {
            Work::Format(source) => self.open(&source),
            Work::End { generation } => {
                if generation != self.generation {
                    return None;
                }
                self.ended = true;
                Some(DecoderNote::Drained {
                    track: TrackKind::Audio,
                })
            }
            Work::Sample {
                generation,
                epoch,
                object,
                sample,
            } => {
                self.flushed.reached(generation);
                let stale = self.flushed.forget(generation, sample.pts);
                let (_, decoder) = self.decoder.as_mut().filter(|_| !stale)?;
                match decoder.decode(&sample) {
                    Ok(frame) => self.queue(frame),
                    Err(error) => (self.reported_bad.replace(object) != Some(object)).then_some(
                        DecoderNote::Undecodable {
                            epoch,
                            object,
                            code: error.code(),
                        },
                    ),
                }
            }
        }
    }

    /// Makes a decoder. One for the same configuration goes on: what it keeps of the last block is added to the
    /// next, and sound without it would click.
    fn open(&mut self, source: &Source) -> Option<DecoderNote> {
        let config = &source.format.info.codec;
        if self
            .decoder
            .as_ref()
            .is_some_and(|(known, _)| known == config)
        {
            return None;
        }
        self.decoder = None;
        match audio_decoder(&source.format.info) {
            Ok(decoder) => {
                self.decoder = Some((config.clone(), decoder));
                None
            }
            Err(error) => Some(refusal(TrackKind::Audio, source, &error)),
        }
    }

    /// Puts decoded sound behind what is pending, with silence in gaps and without what overlaps.
    fn queue(&mut self, frame: AudioFrame) -> Option<DecoderNote> {
        if frame.samples.is_empty() || frame.channels == 0 || frame.sample_rate == 0 {
            return None;
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
                return Some(DecoderNote::SinkFailed {
                    track: TrackKind::Audio,
                    message,
                });
            }
        }
        self.sink.as_ref()?;
        let channels = usize::from(format.channels);
        // Time went on without sound where there was none: it goes on from there.
        let silent = self.queue_end.is_some() && self.is_silent();
        let playhead = silent.then(|| self.playhead.position());
        let expected = self.queue_end.max(playhead).or(self.begin);
        let expected = expected.unwrap_or(frame.pts);
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
            return None;
        }
        // From the sound's own times, so that rounding does not add up.
        self.queue_end = Some(
            frame.pts.max(expected - overlap)
                + overlap
                + span_of(samples.len() / channels, format.sample_rate),
        );
        self.pending.append(&mut samples);
        None
    }

    fn write(&mut self) {
        let (Some(sink), Some(format)) = (&mut self.sink, self.format) else {
            return self.forget_pending();
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
        self.forget_pending();
    }

    fn forget_pending(&mut self) {
        self.pending.clear();
        self.taken = 0;
    }

    /// Says where the sink is, to the playhead often, to the session now and then, and when it ran dry.
    fn tell_place(&mut self) -> Option<DecoderNote> {
        let now = self.clock.now();
        let (Some(sink), Some(format), Some(end)) = (&self.sink, self.format, self.queue_end)
        else {
            return None;
        };
        if !self.playing || now.since(self.placed_at) < PLACE_EVERY {
            return None;
        }
        self.placed_at = now;
        let (epoch, queued) = (self.epoch, sink.queued());
        let pending = self.pending_frames();
        let told = now.since(self.anchored_at) < ANCHOR_EVERY;
        if pending == 0 && queued.is_zero() {
            // Time passes by itself, or what is to be heard next would never be due. At the end there is no more
            // to tell; before it, that is the viewer's silence.
            if told || self.ended || std::mem::replace(&mut self.dry, true) {
                return None;
            }
            self.anchored_at = now;
            return Some(DecoderNote::Underrun { epoch });
        }
        // The call may have taken a while: half-way is the best guess at when it looked.
        let at = now + self.clock.now().since(now) / 2;
        let position = end - span_of(pending, format.sample_rate) - queued;
        self.playhead.anchor(at, epoch, position);
        if told {
            return None;
        }
        self.anchored_at = now;
        Some(DecoderNote::Anchor {
            epoch,
            at,
            position,
        })
    }

    fn pending_frames(&self) -> usize {
        let channels = self
            .format
            .map_or(1, |format| usize::from(format.channels).max(1));
        (self.pending.len() - self.taken) / channels
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

#[cfg(test)]
mod tests;
