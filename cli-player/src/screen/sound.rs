//! The player's sound to the terminal player's output.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nearcast_player::{AudioFormat, AudioSink, MediaTime};

use crate::sound::{AudioOutput as _, Block, Clock, Format, Push, Sound};
use crate::tui::terminal::hush_stderr;

/// Opens the sound device off the runtime's threads, or keeps time without one. What libraries print
/// meanwhile does not reach the terminal.
pub(crate) async fn open(silent: bool, log: Option<&File>) -> Arc<Mutex<Sound>> {
    let began = tokio::time::Instant::now();
    let clock: Clock = Arc::new(move || {
        nearcast_units::Instant::ZERO + tokio::time::Instant::now().duration_since(began)
    });
    let of_device = Arc::clone(&clock);
    let opened = if silent {
        None
    } else {
        let _hush = hush_stderr(log);
        tokio::task::spawn_blocking(move || Sound::open(of_device, Format::USUAL))
            .await
            .ok()
    };
    Arc::new(Mutex::new(opened.unwrap_or_else(|| Sound::silent(clock))))
}

/// Returns why nothing is heard, if so.
pub(crate) fn note(sound: &Mutex<Sound>) -> Option<String> {
    let sound = sound.lock().unwrap_or_else(PoisonError::into_inner);
    sound.note().map(str::to_owned)
}

/// Writes what the player decodes. The player knows which media time it wrote last and how much of it is
/// still queued, so blocks only have to follow each other: their times count from the last flush.
pub(crate) struct Speaker {
    sound: Arc<Mutex<Sound>>,
    format: Format,
    frames: u64,
    /// Where `frames` counts from.
    since: MediaTime,
}

/// Blocks are cut to this length: short enough that a queue with little room takes some.
const BLOCK_FRAMES: usize = 2048;

impl Speaker {
    /// Sound waits until the player lets it play.
    pub(crate) fn new(sound: Arc<Mutex<Sound>>) -> Self {
        sound.lock().unwrap_or_else(PoisonError::into_inner).pause();
        Self {
            sound,
            format: Format::USUAL,
            frames: 0,
            since: MediaTime::ZERO,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sound> {
        self.sound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> MediaTime {
        let ticks = i64::try_from(self.frames).unwrap_or(i64::MAX);
        let passed = MediaTime::from_ticks(ticks, self.format.rate_hz()).unwrap_or(MediaTime::ZERO);
        self.since + passed.since(MediaTime::ZERO)
    }
}

impl AudioSink for Speaker {
    fn configure(&mut self, format: AudioFormat) -> Result<(), String> {
        let format =
            Format::new(format.sample_rate, format.channels).map_err(|error| error.to_string())?;
        self.since = self.now();
        self.frames = 0;
        self.format = format;
        Ok(())
    }

    fn write(&mut self, interleaved: &[f32]) -> usize {
        let channels = usize::from(self.format.channels());
        let mut taken = 0;
        for samples in interleaved.chunks(BLOCK_FRAMES * channels) {
            let frames = samples.len() / channels;
            let whole = samples.get(..frames * channels).unwrap_or_default();
            let Ok(block) = Block::new(self.now(), self.format, whole.to_vec()) else {
                break;
            };
            if self.lock().push(&block) == Push::Full {
                break;
            }
            taken += frames;
            self.frames += u64::try_from(frames).unwrap_or(0);
        }
        taken
    }

    fn queued(&self) -> Duration {
        let mut sound = self.lock();
        let queued = sound.queued();
        // What the device holds is heard later than what waits here says.
        match sound.heard() {
            Some(heard) => queued.max(self.now().since(heard)),
            None => queued,
        }
    }

    fn set_playing(&mut self, playing: bool) {
        let mut sound = self.lock();
        if playing {
            sound.resume();
        } else {
            sound.pause();
        }
    }

    fn flush(&mut self) {
        self.lock().flush();
    }
}
