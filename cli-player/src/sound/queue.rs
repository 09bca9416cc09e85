//! Samples that wait, each with its place on the timeline.

use std::collections::VecDeque;
use std::time::Duration;

use nearcast_units::{MediaTime, Ratio};

use super::convert::Converter;
use super::{Block, Format, GAP_MAX, Push, QUEUE_MAX};

/// A queue in the format of its device. Whoever plays takes frames from the front by [`pull`](Self::pull).
#[derive(Debug)]
pub(super) struct PcmQueue {
    format: Format,
    converter: Option<Converter>,
    chunks: VecDeque<Chunk>,
    /// The place behind the last frame that was queued; `None` before the first.
    end: Option<MediaTime>,
    is_paused: bool,
    is_finished: bool,
    /// Whether the lack of samples was seen already, or nothing was queued yet.
    is_dry: bool,
    underruns: u64,
    gain: Gain,
}

#[derive(Debug)]
struct Chunk {
    start: MediaTime,
    samples: Vec<f32>,
    frames_read: usize,
}

/// Smaller deviations are rounding of timestamps.
const TOLERANCE: Duration = Duration::from_millis(5);

impl PcmQueue {
    pub(super) const fn new(format: Format) -> Self {
        Self {
            format,
            converter: None,
            chunks: VecDeque::new(),
            end: None,
            is_paused: false,
            is_finished: false,
            is_dry: true,
            underruns: 0,
            gain: Gain::new(),
        }
    }

    pub(super) const fn format(&self) -> Format {
        self.format
    }

    pub(super) fn push(&mut self, block: &Block) -> Push {
        let frames = block.samples.len() / usize::from(block.format.channels);
        let span = block.format.span(frames);
        if !self.chunks.is_empty() && self.queued() + span > QUEUE_MAX {
            return Push::Full;
        }
        self.is_finished = false;
        let end = self.end.unwrap_or(block.at);
        let (hole, overlap) = (block.at.since(end), end.since(block.at));
        let is_jump = hole > GAP_MAX || overlap > GAP_MAX;
        if is_jump {
            self.converter = None;
        } else if hole > TOLERANCE {
            self.push_silence(end, hole);
        }
        let mut start = block.at;
        let mut samples = self.convert(block);
        if overlap > TOLERANCE && !is_jump {
            let skip = self.format.frames(overlap) * self.channels();
            samples.drain(..skip.min(samples.len()));
            start = end;
        }
        if !samples.is_empty() {
            let frames = samples.len() / self.channels();
            self.end = Some(start + self.format.span(frames));
            self.append(start, samples);
        }
        Push::Taken
    }

    /// Takes the next frames into `out`, whole frames of the device; what is missing becomes silence.
    /// Returns the place of the first frame and how many there were.
    pub(super) fn pull(&mut self, out: &mut [f32]) -> Pulled {
        let channels = self.channels();
        let wanted = out.len() / channels;
        let first = self.next_place();
        let mut done = 0;
        if !self.is_paused {
            done = self.take(wanted, |at, samples| {
                let from = at * channels;
                out[from..from + samples.len()].copy_from_slice(samples);
            });
        }
        out[done * channels..].fill(0.0);
        self.gain.apply(&mut out[..done * channels], self.format);
        Pulled {
            first,
            frames: done,
        }
    }

    /// Takes the next frames without anybody to hear them; returns how many there were.
    pub(super) fn skip(&mut self, frames: usize) -> usize {
        if self.is_paused {
            return 0;
        }
        self.take(frames, |_, _| {})
    }

    fn take(&mut self, wanted: usize, mut each: impl FnMut(usize, &[f32])) -> usize {
        let channels = self.channels();
        let mut done = 0;
        while done < wanted {
            let Some(chunk) = self.chunks.front_mut() else {
                break;
            };
            let waiting = &chunk.samples[chunk.frames_read * channels..];
            let frames = (waiting.len() / channels).min(wanted - done);
            each(done, &waiting[..frames * channels]);
            chunk.frames_read += frames;
            done += frames;
            if chunk.frames_read * channels >= chunk.samples.len() {
                self.chunks.pop_front();
            }
        }
        if done < wanted && !self.is_dry {
            self.is_dry = true;
            self.underruns += u64::from(!self.is_finished);
        }
        done
    }

    /// Returns the place of the frame that is taken next; when nothing waits, where it would be.
    pub(super) fn next_place(&self) -> Option<MediaTime> {
        self.chunks.front().map_or(self.end, |chunk| {
            Some(chunk.start + self.format.span(chunk.frames_read))
        })
    }

    pub(super) fn queued(&self) -> Duration {
        let samples: usize = self
            .chunks
            .iter()
            .map(|chunk| chunk.samples.len() - chunk.frames_read * self.channels())
            .sum();
        self.format.span(samples / self.channels())
    }

    pub(super) fn is_moving(&self) -> bool {
        !self.is_paused && !self.chunks.is_empty()
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) const fn underruns(&self) -> u64 {
        self.underruns
    }

    pub(super) const fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    pub(super) fn flush(&mut self) {
        self.chunks.clear();
        self.converter = None;
        self.end = None;
        self.is_dry = true;
        self.is_finished = false;
    }

    pub(super) const fn finish(&mut self) {
        self.is_finished = true;
    }

    pub(super) fn set_volume(&mut self, volume: Ratio) {
        self.gain.volume = volume;
    }

    pub(super) const fn set_muted(&mut self, is_muted: bool) {
        self.gain.is_muted = is_muted;
    }

    fn convert(&mut self, block: &Block) -> Vec<f32> {
        let usable = self
            .converter
            .take()
            .filter(|known| known.from() == block.format);
        let mut converter = usable.unwrap_or_else(|| Converter::new(block.format, self.format));
        let samples = converter.convert(&block.samples);
        self.converter = Some(converter);
        samples
    }

    fn push_silence(&mut self, start: MediaTime, span: Duration) {
        let samples = vec![0.0; self.format.frames(span) * self.channels()];
        self.append(start, samples);
    }

    fn append(&mut self, start: MediaTime, samples: Vec<f32>) {
        self.is_dry = false;
        self.chunks.push_back(Chunk {
            start,
            samples,
            frames_read: 0,
        });
    }

    fn channels(&self) -> usize {
        usize::from(self.format.channels)
    }
}

/// What a pull gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pulled {
    /// The place of the first frame; `None` before anything was queued.
    pub(super) first: Option<MediaTime>,
    /// How many frames were samples, the rest is silence.
    pub(super) frames: usize,
}

/// Volume and mute, smoothed.
#[derive(Debug)]
struct Gain {
    volume: Ratio,
    is_muted: bool,
    now: f32,
}

impl Gain {
    /// From silence to full in 5 ms: no click, and nobody notices.
    const RAMP: Duration = Duration::from_millis(5);

    const fn new() -> Self {
        Self {
            volume: Ratio::ONE,
            is_muted: false,
            now: 1.0,
        }
    }

    fn apply(&mut self, samples: &mut [f32], format: Format) {
        let target = self.target();
        let frames = u16::try_from(format.frames(Self::RAMP)).unwrap_or(u16::MAX);
        let step = 1.0 / f32::from(frames.max(1));
        for frame in samples.chunks_exact_mut(usize::from(format.channels)) {
            self.now += (target - self.now).clamp(-step, step);
            for sample in frame {
                let loud = *sample * self.now;
                *sample = if loud.is_finite() {
                    loud.clamp(-1.0, 1.0)
                } else {
                    0.0
                };
            }
        }
    }

    /// Half the volume is a quarter of the amplitude: closer to what people hear as half.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a share needs no more than 24 bits here"
    )]
    fn target(&self) -> f32 {
        if self.is_muted {
            0.0
        } else {
            (self.volume.get() * self.volume.get()) as f32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lowest rate there is: 8 frames a millisecond.
    const RATE: u32 = 8_000;

    fn queue() -> PcmQueue {
        PcmQueue::new(Format::new(RATE, 1).unwrap())
    }

    fn ms(millis: i64) -> MediaTime {
        MediaTime::from_micros(millis * 1000)
    }

    /// A block of `millis` milliseconds at `at` milliseconds, all samples equal.
    fn block(at: i64, millis: usize, sample: f32) -> Block {
        let format = Format::new(RATE, 1).unwrap();
        Block::new(ms(at), format, vec![sample; millis * 8]).unwrap()
    }

    fn pull(queue: &mut PcmQueue, millis: usize) -> (Vec<f32>, Pulled) {
        let mut out = vec![9.0; millis * 8];
        let pulled = queue.pull(&mut out);
        (out, pulled)
    }

    #[test]
    fn frames_keep_their_place() {
        let mut queue = queue();
        assert_eq!(queue.push(&block(40, 20, 0.5)), Push::Taken);
        assert_eq!(queue.push(&block(60, 20, 0.25)), Push::Taken);
        let (out, pulled) = pull(&mut queue, 30);
        assert_eq!(pulled.first, Some(ms(40)));
        assert_eq!(pulled.frames, 240);
        assert_eq!((out[0], out[239]), (0.5, 0.25));
        assert_eq!(queue.next_place(), Some(ms(70)));
        assert_eq!(queue.queued(), Duration::from_millis(10));
    }

    #[test]
    fn the_queue_is_bounded_and_hands_back() {
        let mut queue = queue();
        for second in 0..2 {
            assert_eq!(queue.push(&block(second * 1000, 1000, 0.0)), Push::Taken);
        }
        assert_eq!(queue.push(&block(2000, 20, 0.0)), Push::Full);
        pull(&mut queue, 20);
        assert_eq!(queue.push(&block(2000, 20, 0.0)), Push::Taken);
    }

    #[test]
    fn a_hole_becomes_silence_and_an_overlap_is_left_out() {
        let mut queue = queue();
        assert_eq!(queue.push(&block(0, 10, 0.5)), Push::Taken);
        assert_eq!(queue.push(&block(30, 10, 0.5)), Push::Taken);
        assert_eq!(queue.queued(), Duration::from_millis(40));
        let (out, _) = pull(&mut queue, 20);
        assert_eq!((out[79], out[80], out[159]), (0.5, 0.0, 0.0));
        assert_eq!(
            queue.push(&block(20, 30, 0.25)),
            Push::Taken,
            "20 to 40 is there already"
        );
        assert_eq!(queue.queued(), Duration::from_millis(30));
        assert_eq!(
            queue.push(&block(20, 10, 0.25)),
            Push::Taken,
            "all of it is there already"
        );
        assert_eq!(queue.queued(), Duration::from_millis(30));
    }

    #[test]
    fn a_jump_is_a_jump() {
        let mut queue = queue();
        assert_eq!(queue.push(&block(0, 10, 0.5)), Push::Taken);
        assert_eq!(queue.push(&block(60_000, 10, 0.5)), Push::Taken);
        assert_eq!(queue.push(&block(1_000, 10, 0.5)), Push::Taken);
        assert_eq!(queue.queued(), Duration::from_millis(30));
        pull(&mut queue, 10);
        assert_eq!(queue.next_place(), Some(ms(60_000)));
        pull(&mut queue, 10);
        assert_eq!(queue.next_place(), Some(ms(1_000)));
    }

    #[test]
    fn running_dry_counts_once_and_the_end_does_not_count() {
        let mut queue = queue();
        pull(&mut queue, 10);
        assert_eq!(queue.underruns(), 0, "nothing has begun");
        assert_eq!(queue.push(&block(0, 10, 0.5)), Push::Taken);
        let (out, pulled) = pull(&mut queue, 20);
        assert_eq!((pulled.frames, out[79], out[80]), (80, 0.5, 0.0));
        pull(&mut queue, 10);
        assert_eq!(queue.underruns(), 1);
        assert_eq!(queue.push(&block(10, 10, 0.5)), Push::Taken);
        queue.finish();
        pull(&mut queue, 20);
        assert_eq!(queue.underruns(), 1);
    }

    #[test]
    fn a_pause_keeps_what_waits_and_a_flush_does_not() {
        let mut queue = queue();
        assert_eq!(queue.push(&block(0, 20, 0.5)), Push::Taken);
        queue.set_paused(true);
        let (out, pulled) = pull(&mut queue, 10);
        assert_eq!((pulled.frames, out[0]), (0, 0.0));
        assert_eq!(queue.underruns(), 0);
        queue.set_paused(false);
        assert_eq!(pull(&mut queue, 10).1.frames, 80);
        queue.flush();
        assert_eq!((queue.queued(), queue.next_place()), (Duration::ZERO, None));
    }

    #[test]
    fn volume_is_smooth_and_broken_samples_are_silent() {
        let mut queue = queue();
        assert_eq!(queue.push(&block(0, 100, 1.0)), Push::Taken);
        queue.set_volume(Ratio::new(0.5).unwrap());
        let (out, _) = pull(&mut queue, 10);
        assert!(
            out.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.03),
            "no click"
        );
        assert!((out[79] - 0.25).abs() < 1e-6);
        queue.set_muted(true);
        assert!(pull(&mut queue, 10).0[79].abs() < f32::EPSILON, "muted");
        queue.flush();
        queue.set_muted(false);
        assert_eq!(queue.push(&block(0, 10, f32::NAN)), Push::Taken);
        assert!(pull(&mut queue, 10).0.iter().all(|sample| *sample == 0.0));
    }

    proptest::proptest! {
        /// Whatever is pushed, time in the queue never goes back except at a jump, and memory is bounded.
        #[test]
        fn any_order_of_blocks_is_survived(
            blocks in proptest::collection::vec((-20_000_i64..20_000, 0_usize..300), 0..60),
        ) {
            let mut queue = queue();
            for (at, millis) in blocks {
                let pushed = queue.push(&block(at, millis, 0.1));
                proptest::prop_assert!(queue.queued() <= QUEUE_MAX + GAP_MAX);
                if pushed == Push::Full {
                    pull(&mut queue, 500);
                }
            }
        }
    }
}
