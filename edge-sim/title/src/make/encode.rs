//! Encoding the tracks, several at a time, each until it meets its rate.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Progress, TitleError, remove};
use crate::config::{
    FRAMES_PER_SECOND, LADDER, LANGUAGES, Language, RATE_TOLERANCE, Rung, TitleConfig,
};
use crate::encoder::{Encoder, SCRATCH_MANIFEST};
use crate::manifest::Contents;
use crate::segments::Track;
/// One track to encode.
#[derive(Clone, Copy)]
enum Job {
    Video(Rung),
    Audio(Language),
}

/// What a worker says.
enum News {
    Frame,
    Video(Rung, Track),
    Audio(Language, Track),
    Failed(TitleError),
}

/// News that may wait to be read: a frame of each worker is enough.
const NEWS_MAX: usize = 64;

/// Encodes all tracks, several at a time.
pub(super) fn encode(
    config: &TitleConfig,
    dir: &Path,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Contents, TitleError> {
    let seconds = config.seconds();
    // The largest last, because jobs are taken from the end: the long ones begin first.
    let audio = LANGUAGES.into_iter().map(Job::Audio);
    let jobs: Vec<Job> = audio.chain(LADDER.into_iter().map(Job::Video)).collect();
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let workers = config.jobs.unwrap_or_else(cores).clamp(1, jobs.len());
    let jobs = Mutex::new(jobs);
    let stop = AtomicBool::new(false);
    let (tell, news) = mpsc::sync_channel(NEWS_MAX);

    let mut contents = Contents {
        seconds,
        video: Vec::new(),
        audio: Vec::new(),
    };
    let mut failure = None;
    thread::scope(|scope| {
        for _ in 0..workers {
            let (tell, jobs, stop) = (tell.clone(), &jobs, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(job) = job else { break };
                    let done = run(job, config, dir, stop, &|| drop(tell.send(News::Frame)));
                    drop(tell.send(done.unwrap_or_else(News::Failed)));
                }
            });
        }
        drop(tell);
        let mut meter = Meter::new(seconds);
        on_progress(Progress::Making { percent: 0 });
        for news in news {
            match news {
                News::Frame => {
                    if let Some(percent) = meter.frame() {
                        on_progress(Progress::Making { percent });
                    }
                }
                News::Video(rung, track) => contents.video.push((rung, track)),
                News::Audio(language, track) => contents.audio.push((language, track)),
                News::Failed(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    contents.video.sort_by_key(|(rung, _)| rung.index);
    contents.audio.sort_by_key(|(language, _)| language.tag);
    Ok(contents)
}

/// Counts frames into per cent.
struct Meter {
    done: u64,
    total: u64,
    percent: u8,
}

impl Meter {
    fn new(seconds: u32) -> Self {
        let rungs = u64::try_from(LADDER.len()).unwrap_or(1);
        Self {
            done: 0,
            total: u64::from(seconds * FRAMES_PER_SECOND) * rungs,
            percent: 0,
        }
    }

    /// Counts a frame; returns the new percentage when it changes. A rung that is encoded again counts again,
    /// hence the limit.
    fn frame(&mut self) -> Option<u8> {
        self.done += 1;
        let percent = (self.done * 100 / self.total.max(1)).min(99);
        let percent = u8::try_from(percent).unwrap_or(99);
        let changed = percent != self.percent;
        self.percent = percent;
        changed.then_some(percent)
    }
}

/// How often a rung is encoded at most. The first attempt nearly always meets its rate; the others correct the
/// target by what the one before missed.
const ATTEMPTS_MAX: u32 = 3;

/// How far off an attempt may be before it is repeated: well inside [`RATE_TOLERANCE`].
const RATE_GOAL: f64 = 0.10;

/// Returns the disk as the cause of an error when it is full: the encoder itself often does not tell.
fn if_disk_full(dir: &Path, error: TitleError) -> TitleError {
    // Less room than this and a title fails wherever it happens to be.
    const PROBE_BYTES: usize = 4 * 1024 * 1024;
    let probe = dir.join("space");
    let written = fs::write(&probe, vec![0; PROBE_BYTES]);
    drop(fs::remove_file(&probe));
    match written.map_err(|source| TitleError::file(&probe, source)) {
        Err(TitleError::DiskFull { .. }) => TitleError::DiskFull {
            what: dir.display().to_string(),
        },
        Ok(()) | Err(_) => error,
    }
}

fn run(
    job: Job,
    config: &TitleConfig,
    dir: &Path,
    stop: &AtomicBool,
    on_frame: &dyn Fn(),
) -> Result<News, TitleError> {
    let name = match job {
        Job::Video(rung) => rung.name.to_owned(),
        Job::Audio(language) => format!("audio_{}", language.tag),
    };
    let track_dir = dir.join(&name);
    let encoder = Encoder {
        ffmpeg: &config.ffmpeg,
        dir: &track_dir,
        seconds: config.seconds(),
        stop,
    };
    let failed = |source| TitleError::file(&track_dir, source);
    let encoded = |encode: &dyn Fn() -> Result<(), TitleError>| {
        remove(&track_dir)?;
        fs::create_dir(&track_dir).map_err(failed)?;
        let encoded = encode().and_then(|()| {
            fs::remove_file(track_dir.join(SCRATCH_MANIFEST)).map_err(failed)?;
            Track::read(dir, &name, config.seconds())
        });
        encoded.map_err(|error| if_disk_full(&track_dir, error))
    };
    let rung = match job {
        Job::Audio(language) => {
            let track = encoded(&|| encoder.audio(language))?;
            return Ok(News::Audio(language, track));
        }
        Job::Video(rung) => rung,
    };
    let mut target = rung.rate;
    for attempt in 1.. {
        let track = encoded(&|| encoder.video(rung, target, on_frame))?;
        let measured = track.rate();
        let ratio = measured.as_f64() / rung.rate.as_f64();
        let off = (ratio - 1.0).abs();
        if off <= RATE_GOAL || attempt == ATTEMPTS_MAX && off <= RATE_TOLERANCE {
            return Ok(News::Video(rung, track));
        }
        if attempt == ATTEMPTS_MAX {
            return Err(TitleError::RateMissed {
                rung: rung.name,
                declared: rung.rate,
                measured,
            });
        }
        target = target.scaled(1.0 / ratio.clamp(0.5, 2.0));
    }
    unreachable!("the loop ends at the last attempt")
}
