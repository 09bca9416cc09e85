//! The device if there is one, real time without sound if not.

use std::time::Duration;

use nearcast_units::{MediaTime, Ratio};

use super::device::DeviceOutput;
use super::null::NullOutput;
use super::stream::OpenError;
use super::{Anchor, AudioOutput, Block, Clock, Format, Push};

/// Plays sound as long as a device does, and keeps time in any case.
pub struct Sound {
    output: Output,
    clock: Clock,
    note: Option<String>,
}

#[derive(Debug)]
enum Output {
    Device(DeviceOutput),
    Null(NullOutput),
}

impl std::fmt::Debug for Sound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sound")
            .field("output", &self.output)
            .field("note", &self.note)
            .finish_non_exhaustive()
    }
}

impl Sound {
    /// Opens the default device for sound of this format; without one, time goes on silently. Blocks for
    /// as long as the sound system takes, at most a few seconds: keep it off the runtime's threads.
    ///
    /// Open it when a session begins, not with the first sample: a sound server may take up to 2 s more
    /// until it plays, and the clock stands as long.
    #[must_use]
    pub fn open(clock: Clock, wanted: Format) -> Self {
        let device = DeviceOutput::open(clock.clone(), wanted);
        Self::with_device(device, clock)
    }

    /// Keeps time without looking for a device: headless, or as the user wishes.
    #[must_use]
    pub fn silent(clock: Clock) -> Self {
        Self {
            output: Output::Null(NullOutput::new(clock.clone())),
            clock,
            note: None,
        }
    }

    fn with_device(device: Result<DeviceOutput, OpenError>, clock: Clock) -> Self {
        match device {
            Ok(device) => Self {
                output: Output::Device(device),
                clock,
                note: None,
            },
            Err(error) => Self {
                note: Some(format!("no sound device: {error}")),
                ..Self::silent(clock)
            },
        }
    }

    /// Returns why nothing is heard, for the screen; `None` while a device plays or silence is wished for.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Returns the place that is heard now; `None` before the first sample.
    #[must_use]
    pub fn heard(&mut self) -> Option<MediaTime> {
        let anchor = self.output().position()?;
        Some(anchor.at((self.clock)()))
    }

    /// Returns the output in use. A device that was lost is replaced here, with all that it had not played.
    fn output(&mut self) -> &mut dyn AudioOutput {
        if let Output::Device(device) = &mut self.output
            && let Some(why) = device.lost()
        {
            let rest = device.take_queue();
            self.note = Some(format!("the sound device is lost: {why}"));
            self.output = Output::Null(NullOutput::with_queue(rest, self.clock.clone()));
        }
        match &mut self.output {
            Output::Device(device) => device,
            Output::Null(null) => null,
        }
    }
}

impl AudioOutput for Sound {
    fn push(&mut self, block: &Block) -> Push {
        self.output().push(block)
    }

    fn position(&mut self) -> Option<Anchor> {
        self.output().position()
    }

    fn queued(&mut self) -> Duration {
        self.output().queued()
    }

    fn underruns(&mut self) -> u64 {
        self.output().underruns()
    }

    fn pause(&mut self) {
        self.output().pause();
    }

    fn resume(&mut self) {
        self.output().resume();
    }

    fn flush(&mut self) {
        self.output().flush();
    }

    fn finish(&mut self) {
        self.output().finish();
    }

    fn set_volume(&mut self, volume: Ratio) {
        self.output().set_volume(volume);
    }

    fn set_muted(&mut self, is_muted: bool) {
        self.output().set_muted(is_muted);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nearcast_units::{Instant, MediaTime};

    use super::*;
    use crate::sound::device::Feed;

    /// A clock that a test moves.
    #[derive(Clone, Default)]
    pub(in crate::sound) struct HandClock(Arc<AtomicU64>);

    impl HandClock {
        pub(in crate::sound) fn clock(&self) -> Clock {
            let clock = self.clone();
            Arc::new(move || clock.now())
        }

        pub(in crate::sound) fn now(&self) -> Instant {
            Instant::from_nanos(self.0.load(Ordering::Relaxed))
        }

        pub(in crate::sound) fn advance(&self, span: Duration) {
            let nanos = u64::try_from(span.as_nanos()).unwrap();
            self.0.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    pub(in crate::sound) fn ms(millis: i64) -> MediaTime {
        MediaTime::from_micros(millis * 1000)
    }

    /// Stereo of 48 kHz, `millis` long, at `at` milliseconds.
    pub(in crate::sound) fn block(at: i64, millis: usize) -> Block {
        Block::new(ms(at), Format::USUAL, vec![0.5; millis * 48 * 2]).unwrap()
    }

    #[test]
    fn without_a_device_time_goes_on_and_the_note_says_why() {
        let clock = HandClock::default();
        let mut sound =
            Sound::with_device(Err(OpenError::Refused("busy".to_owned())), clock.clock());
        assert_eq!(sound.note(), Some("no sound device: busy"));
        assert_eq!(sound.push(&block(0, 100)), Push::Taken);
        clock.advance(Duration::from_millis(60));
        assert_eq!(sound.position().unwrap().media_time, ms(60));
    }

    #[test]
    fn a_device_that_is_lost_costs_the_sound_and_nothing_else() {
        let clock = HandClock::default();
        let feed = Feed::new(Format::USUAL, clock.clock());
        let device = DeviceOutput::by_hand(feed.clone());
        let mut sound = Sound::with_device(Ok(device), clock.clock());
        assert_eq!(sound.push(&block(0, 1000)), Push::Taken);
        feed.fill(&mut vec![0.0; 48 * 20 * 2], Duration::ZERO);
        assert_eq!(sound.note(), None);
        feed.lose("unplugged".to_owned());
        assert_eq!(sound.position().unwrap().media_time, ms(20));
        assert_eq!(sound.note(), Some("the sound device is lost: unplugged"));
        clock.advance(Duration::from_millis(30));
        assert_eq!(sound.position().unwrap().media_time, ms(50));
        assert_eq!(sound.push(&block(1000, 500)), Push::Taken);
        assert_eq!(sound.queued(), Duration::from_millis(1450));
    }

    /// On a machine with a device this plays a moment of silence; without one it must say so. Either way
    /// the samples are taken and nothing fails.
    #[test]
    fn the_real_device_opens_or_is_replaced() {
        let clock = HandClock::default();
        let mut sound = Sound::open(clock.clock(), Format::USUAL);
        sound.set_muted(true);
        assert_eq!(sound.push(&block(0, 100)), Push::Taken);
        match &sound.output {
            Output::Device(_) => assert_eq!(sound.note(), None),
            Output::Null(_) => {
                let note = sound.note().unwrap();
                assert!(note.starts_with("no sound device: "), "{note}");
                assert!(!note.contains('\n'), "{note}");
            }
        }
        sound.flush();
    }

    #[test]
    fn blocks_that_cannot_be_are_refused() {
        use crate::sound::SoundError;
        let odd = Block::new(ms(0), Format::USUAL, vec![0.0; 3]);
        assert!(matches!(
            odd,
            Err(SoundError::PartialFrame { samples: 3, .. })
        ));
        let long = Block::new(ms(0), Format::USUAL, vec![0.0; 48_000 * 2 * 3]);
        assert!(matches!(long, Err(SoundError::TooLong { .. })));
        assert!(Format::new(0, 2).is_err() && Format::new(48_000, 0).is_err());
    }
}
