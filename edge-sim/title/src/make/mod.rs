//! Makes a title, or finds that it is there already.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nearcast_units::BitRate;
use serde::{Deserialize, Serialize};

use crate::config::{FRAMES_PER_SECOND, LADDER, LANGUAGES, Rung, TitleConfig};
use crate::encoder;
use crate::manifest::{DASH, HLS, SUBTITLES, subtitle_dir};
use crate::segments::{INIT, segment_name};
use crate::subtitles::webvtt;

mod encode;

use encode::encode;

/// A finished title.
#[derive(Clone, Debug)]
pub struct Title {
    /// The directory that holds all of it, and nothing else.
    pub dir: PathBuf,
    /// The DASH manifest.
    pub dash: PathBuf,
    /// The HLS multivariant playlist.
    pub hls: PathBuf,
    /// Every media file's size: `{"schema": "nearcast.sizes/1", "files": {"v1/00001.m4s": 123}}`.
    pub sizes: PathBuf,
    /// A catalogue for `nearcast-backend` with this title as `demo`, for edges whose root is the directory above.
    pub catalogue: PathBuf,
    /// How long it is.
    pub duration: Duration,
    /// Frames per second of every rung.
    pub frames_per_second: u32,
    /// The rungs, lowest first.
    pub rungs: Vec<MadeRung>,
}

/// A rung of a finished title.
#[derive(Clone, Copy, Debug)]
pub struct MadeRung {
    /// What was asked for and what the manifests declare.
    pub rung: Rung,
    /// What came out: bits of all its media segments over their time.
    pub measured: BitRate,
}

/// How far a title is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process is making a title in the same place; this one waits for it.
    Waiting,
    /// The title that is there is of an older version, or lacks files, and is made anew.
    Renewing,
    /// Frames are being encoded.
    Making {
        /// How much is done: from 0 to 99, never going back.
        percent: u8,
    },
    /// The title is complete.
    Done {
        /// Whether it had been there before.
        cached: bool,
    },
}

/// Why there is no title. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TitleError {
    /// The program cannot be found.
    #[error(
        "the program `{}` was not found: install FFmpeg (`make setup` does, or `apt install ffmpeg`, \
         `brew install ffmpeg`)", .ffmpeg.display()
    )]
    FfmpegMissing {
        /// What was looked for.
        ffmpeg: PathBuf,
    },
    /// The program is there and cannot be run.
    #[error("the program `{}` cannot be run: check its permissions or reinstall FFmpeg", .ffmpeg.display())]
    FfmpegBroken {
        /// What was run.
        ffmpeg: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program was built without an encoder.
    #[error(
        "`{}` has no encoder `{encoder}`: install an FFmpeg that was built with it (Debian's and Homebrew's are)",
        .ffmpeg.display()
    )]
    EncoderMissing {
        /// What was asked.
        ffmpeg: PathBuf,
        /// The encoder, by FFmpeg's name.
        encoder: &'static str,
    },
    /// The encoder gave up.
    #[error("encoding `{track}` failed: {complaint}")]
    Encoding {
        /// The track's name.
        track: String,
        /// The first line of what the encoder said.
        complaint: String,
    },
    /// A rung came out too large or too small, even at a second and third attempt.
    #[error("rung `{rung}` came out at {} bit/s where {} were declared: try a longer title, or another FFmpeg",
        .measured.as_bps(), .declared.as_bps())]
    RateMissed {
        /// The rung's name.
        rung: &'static str,
        /// What the manifests would say.
        declared: BitRate,
        /// What came out.
        measured: BitRate,
    },
    /// The disk filled up. Nothing half-made is left that looks finished.
    #[error(
        "the disk is full while writing `{what}`: a title of two minutes takes 250 MB; free some space, or choose another directory"
    )]
    DiskFull {
        /// The file or track that did not fit.
        what: String,
    },
    /// The directory exists and holds something else, which is not overwritten.
    #[error("`{}` holds something that is not a title: name an empty directory, or remove it", .dir.display())]
    NotATitle {
        /// The directory.
        dir: PathBuf,
    },
    /// A file or directory cannot be read or written.
    #[error("`{}` cannot be written or read ({source}): check its permissions, or choose another directory", .path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl TitleError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if full.contains(&source.kind()) {
            Self::DiskFull {
                what: path.display().to_string(),
            }
        } else {
            Self::File {
                path: path.to_owned(),
                source,
            }
        }
    }
}

/// What a title was made from, kept in its directory: an equal wish needs no new title.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wish {
    /// Raised whenever the bytes of a title change for another reason than its parameters.
    version: u32,
    seconds: u32,
    frames_per_second: u32,
    /// Name, bits per second, width and height of each rung.
    ladder: Vec<(String, u64, u32, u32)>,
}

const VERSION: u32 = 5;

impl Wish {
    fn new(config: &TitleConfig) -> Self {
        let ladder = LADDER.iter().map(|rung| {
            let size = rung.size;
            (
                rung.name.to_owned(),
                rung.rate.as_bps(),
                size.width,
                size.height,
            )
        });
        Self {
            version: VERSION,
            seconds: config.seconds(),
            frames_per_second: FRAMES_PER_SECOND,
            ladder: ladder.collect(),
        }
    }
}

/// The record of a finished title. It is written last.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    wish: Wish,
    /// Bits per second of each rung.
    measured: Vec<u64>,
    /// Bytes of every other file.
    files: BTreeMap<String, u64>,
}

const RECORD: &str = "title.json";

/// The sizes file of a play grant.
#[derive(Serialize)]
struct Sizes {
    schema: &'static str,
    files: BTreeMap<String, u64>,
}

const SIZES: &str = "sizes.json";

const CATALOGUE: &str = "catalogue.toml";

/// Returns the backend's catalogue: the title as `demo`, its files under the name of its directory.
fn catalogue(dir: &Path, seconds: u32) -> String {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    // JSON's string escapes are TOML's too.
    let text = |path: &str| json(&format!("{name}/{path}"));
    let lowest = LADDER[0].size.height;
    format!(
        "[[title]]\nid = \"demo\"\nname = \"Nearcast demo\"\n\
         description = \"A made title whose picture shows rung, time and frame number.\"\n\
         duration_ms = {}\nfiles = {}\ndash = {}\nhls = {}\nsizes = {}\n\
         codecs = [\"avc1\", \"mp4a\"]\nheight_min = {lowest}\n",
        u64::from(seconds) * 1000,
        text(""),
        text(DASH),
        text(HLS),
        text(SIZES),
    )
}

/// Makes the title that `config` describes, unless the directory holds it already.
///
/// Blocks for as long as that takes: under a minute for two minutes on two cores. `on_progress` is called on the
/// calling thread. A second call for the same directory, in this process or another, waits for the first.
///
/// # Errors
/// Returns what is missing or what failed; the directory is then as it was before.
pub fn make(
    config: &TitleConfig,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Title, TitleError> {
    let place = Place::new(&config.dir)?;
    let wish = Wish::new(config);
    // Complete or absent: who finds it complete need not wait for anybody, and looks again after a wait.
    let cached = |on_progress: &mut dyn FnMut(Progress)| {
        let record = place.finished(&wish)?;
        on_progress(Progress::Done { cached: true });
        Some(title(&place.dir, &record))
    };
    if let Some(title) = cached(on_progress) {
        return Ok(title);
    }
    let _lock = place.lock(on_progress)?;
    if let Some(title) = cached(on_progress) {
        return Ok(title);
    }
    place.refuse_foreign()?;
    encoder::check(&config.ffmpeg)?;
    place.begin()?;
    let made = fill(config, &place, wish, on_progress).and_then(|record| {
        place.finish()?;
        Ok(record)
    });
    if made.is_err() {
        // The error tells more than a failure to tidy up would, and the next call tidies up first.
        drop(fs::remove_dir_all(&place.making));
    }
    let record = made?;
    on_progress(Progress::Done { cached: false });
    Ok(title(&place.dir, &record))
}

/// Takes the title that is in the directory, however long it is. Where there is none, makes the one that `config` describes; where it
/// is of an older version or lacks files, makes one as long as it.
///
/// # Errors
/// Returns what is missing or what failed, as [`make`] does.
pub fn take_or_make(
    config: &TitleConfig,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Title, TitleError> {
    let place = Place::new(&config.dir)?;
    let mut config = config.clone();
    if let Some(record) = place.record() {
        config.duration = Duration::from_secs(record.wish.seconds.into());
    }
    let is_there = place.dir.join(RECORD).is_file();
    if is_there && place.finished(&Wish::new(&config)).is_none() {
        on_progress(Progress::Renewing);
    }
    make(&config, on_progress)
}

fn title(dir: &Path, record: &Record) -> Title {
    let measured = record.measured.iter().copied().map(BitRate::from_bps);
    Title {
        dir: dir.to_owned(),
        dash: dir.join(DASH),
        hls: dir.join(HLS),
        sizes: dir.join(SIZES),
        catalogue: dir.join(CATALOGUE),
        duration: Duration::from_secs(record.wish.seconds.into()),
        frames_per_second: record.wish.frames_per_second,
        rungs: LADDER
            .into_iter()
            .zip(measured)
            .map(|(rung, measured)| MadeRung { rung, measured })
            .collect(),
    }
}

/// The title's directory and its neighbours while it is made.
struct Place {
    dir: PathBuf,
    making: PathBuf,
    old: PathBuf,
    lock: PathBuf,
}

impl Place {
    fn new(dir: &Path) -> Result<Self, TitleError> {
        let nameless = || TitleError::NotATitle {
            dir: dir.to_owned(),
        };
        let name = dir.file_name().ok_or_else(nameless)?.to_string_lossy();
        let parent = dir.parent().ok_or_else(nameless)?;
        let beside = |suffix: &str| parent.join(format!(".{name}.{suffix}"));
        if !parent.as_os_str().is_empty() {
            fs::create_dir_all(parent).map_err(|source| TitleError::file(parent, source))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            making: beside("making"),
            old: beside("old"),
            lock: beside("lock"),
        })
    }

    /// Waits until nobody else makes a title here. The lock goes with the file, also when the process dies.
    fn lock(&self, on_progress: &mut dyn FnMut(Progress)) -> Result<File, TitleError> {
        let failed = |source| TitleError::file(&self.lock, source);
        let file = File::create(&self.lock).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                on_progress(Progress::Waiting);
                file.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(file)
    }

    /// Returns the record of the title that is there, if it can be read.
    fn record(&self) -> Option<Record> {
        let text = fs::read(self.dir.join(RECORD)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Returns the record of a title that fulfils the wish and has all its files.
    fn finished(&self, wish: &Wish) -> Option<Record> {
        let record = self.record()?;
        let is_whole = |(path, size): (&String, &u64)| {
            path == CATALOGUE
                || fs::metadata(self.dir.join(path)).is_ok_and(|file| file.len() == *size)
        };
        let is_there = record.wish == *wish && record.files.iter().all(is_whole);
        (is_there && self.is_listed(&record)).then_some(record)
    }

    /// Whether the catalogue has the files where they are: in a folder that was copied or renamed it is written anew.
    fn is_listed(&self, record: &Record) -> bool {
        let listed = catalogue(&self.dir, record.wish.seconds);
        fs::read_to_string(self.dir.join(CATALOGUE)).is_ok_and(|text| text == listed)
            || write(&self.dir, CATALOGUE, &listed).is_ok()
    }

    /// Makes sure that a directory which will be replaced is one of ours.
    fn refuse_foreign(&self) -> Result<(), TitleError> {
        let ours = match fs::read_dir(&self.dir) {
            Ok(mut entries) => entries.next().is_none() || self.dir.join(RECORD).is_file(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if ours {
            Ok(())
        } else {
            Err(TitleError::NotATitle {
                dir: self.dir.clone(),
            })
        }
    }

    /// Clears away what an earlier attempt left, and makes the directory to work in.
    fn begin(&self) -> Result<(), TitleError> {
        remove(&self.making)?;
        fs::create_dir(&self.making).map_err(|source| TitleError::file(&self.making, source))
    }

    /// Puts the finished directory in its place. Between the two renames there is no title, never half of one.
    fn finish(&self) -> Result<(), TitleError> {
        let failed = |source| TitleError::file(&self.dir, source);
        remove(&self.old)?;
        match fs::rename(&self.dir, &self.old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        fs::rename(&self.making, &self.dir).map_err(failed)?;
        remove(&self.old)
    }
}

fn remove(dir: &Path) -> Result<(), TitleError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TitleError::file(dir, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Fills the empty working directory with a title.
fn fill(
    config: &TitleConfig,
    place: &Place,
    wish: Wish,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Record, TitleError> {
    let dir = &place.making;
    let contents = encode(config, dir, on_progress)?;
    let mut sizes = BTreeMap::new();
    for track in contents.tracks() {
        sizes.insert(format!("{}/{INIT}", track.name), track.init.get());
        for (number, segment) in (1..).zip(&track.segments) {
            let path = format!("{}/{}", track.name, segment_name(number));
            sizes.insert(path, segment.size.get());
        }
    }
    let mut texts = contents.manifests();
    for language in LANGUAGES {
        let path = format!("{}/{SUBTITLES}", subtitle_dir(language));
        texts.push((path, webvtt(language, contents.seconds)));
    }
    let list = Sizes {
        schema: "nearcast.sizes/1",
        files: sizes.clone(),
    };
    texts.push((SIZES.to_owned(), json(&list)));
    texts.push((
        CATALOGUE.to_owned(),
        catalogue(&place.dir, contents.seconds),
    ));

    let mut files = sizes;
    for (path, text) in texts {
        write(dir, &path, &text)?;
        files.insert(path, u64::try_from(text.len()).unwrap_or(u64::MAX));
    }
    let measured = contents.video.iter().map(|(_, track)| track.rate());
    let record = Record {
        wish,
        measured: measured.map(BitRate::as_bps).collect(),
        files,
    };
    write(dir, RECORD, &json(&record))?;
    Ok(record)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("maps of strings and numbers are always JSON")
}

fn write(dir: &Path, path: &str, text: &str) -> Result<(), TitleError> {
    let path = dir.join(path);
    let written = match path.parent() {
        Some(parent) => fs::create_dir_all(parent),
        None => Ok(()),
    };
    written
        .and_then(|()| fs::write(&path, text))
        .map_err(|source| TitleError::file(&path, source))
}
