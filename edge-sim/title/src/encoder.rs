//! Runs `ffmpeg`: raw pictures or samples go in through a pipe, CMAF segments come out as files.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{self, Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nearcast_units::BitRate;

use crate::config::{FRAMES_PER_SECOND, Language, Rung, SEGMENT_SECONDS};
use crate::make::TitleError;
use crate::picture::Painter;
use crate::sound::{self, CHANNELS, ENCODER_DELAY, SAMPLE_RATE};

/// What the sound is encoded at, per language: a tone needs no more.
const AUDIO_RATE: BitRate = BitRate::from_kbps(32);

/// The encoders a title needs, by FFmpeg's names.
const ENCODERS: [&str; 2] = ["libx264", "aac"];

/// Where and how one track is encoded.
pub(crate) struct Encoder<'a> {
    pub(crate) ffmpeg: &'a Path,
    /// The track's directory, which exists.
    pub(crate) dir: &'a Path,
    pub(crate) seconds: u32,
    /// Set when another track failed: give up.
    pub(crate) stop: &'a AtomicBool,
}

/// Checks that the program runs and has the encoders.
pub(crate) fn check(ffmpeg: &Path) -> Result<(), TitleError> {
    let output = Command::new(ffmpeg)
        .args(["-hide_banner", "-v", "error", "-encoders"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| cannot_run(ffmpeg, error))?;
    let list = String::from_utf8_lossy(&output.stdout);
    // A line is " V....D libx264   description".
    let has = |name: &str| {
        list.lines()
            .any(|line| line.split_whitespace().nth(1) == Some(name))
    };
    match ENCODERS.into_iter().find(|name| !has(name)) {
        Some(encoder) => Err(TitleError::EncoderMissing {
            ffmpeg: ffmpeg.to_owned(),
            encoder,
        }),
        None => Ok(()),
    }
}

impl Encoder<'_> {
    /// Encodes one rung, aiming at `target`, and calls `on_frame` after each frame.
    pub(crate) fn video(
        &self,
        rung: Rung,
        target: BitRate,
        on_frame: &dyn Fn(),
    ) -> Result<(), TitleError> {
        let bps = target.as_bps();
        let frames_in_segment = FRAMES_PER_SECOND * SEGMENT_SECONDS;
        let mut ffmpeg = Running::start(self, rung.name, |command| {
            command
                .args([
                    "-f",
                    "rawvideo",
                    "-pix_fmt",
                    "yuv420p",
                    "-color_range",
                    "tv",
                ])
                .args(["-s", &format!("{}x{}", rung.size.width, rung.size.height)])
                .args(["-r", &FRAMES_PER_SECOND.to_string(), "-i", "pipe:0"])
                .args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"])
                // One thread a rung: rungs run side by side, and the result does not depend on the machine.
                .args(["-threads", "1", "-sc_threshold", "0", "-flags", "+cgop"])
                .args(["-g", &frames_in_segment.to_string()])
                .args(["-keyint_min", &frames_in_segment.to_string()])
                .args(["-b:v", &bps.to_string()])
                // Room for a noisy scene to take what a quiet one leaves, so that segment sizes differ.
                .args(["-maxrate", &(bps * 13 / 10).to_string()])
                .args(["-bufsize", &(bps * 2).to_string()])
                .args(["-x264-params", "qcomp=0.9:nal-hrd=none"]);
        })?;
        let mut painter = Painter::new(rung);
        for _ in 0..self.seconds * FRAMES_PER_SECOND {
            if !ffmpeg.write(painter.next_frame(), self.stop)? {
                return Ok(());
            }
            on_frame();
        }
        ffmpeg.finish()
    }

    /// Encodes the sound in one language.
    pub(crate) fn audio(&self, language: Language) -> Result<(), TitleError> {
        let name = format!("audio_{}", language.tag);
        let mut ffmpeg = Running::start(self, &name, |command| {
            command
                .args(["-f", "s16le", "-ar", &SAMPLE_RATE.to_string()])
                .args(["-ac", &CHANNELS.to_string(), "-i", "pipe:0"])
                .args(["-c:a", "aac", "-b:a", &AUDIO_RATE.as_bps().to_string()]);
        })?;
        let second = sound::second(language);
        let bytes_per_sample = 2 * CHANNELS;
        let mut from = usize::try_from(ENCODER_DELAY * bytes_per_sample).unwrap_or(0);
        for _ in 0..self.seconds {
            if !ffmpeg.write(&second[from..], self.stop)? {
                return Ok(());
            }
            from = 0;
        }
        ffmpeg.finish()
    }
}

/// A running `ffmpeg`; it is killed when this is dropped before [`finish`](Self::finish).
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    complaints: Option<JoinHandle<String>>,
    track: String,
}

impl Running {
    fn start(
        encoder: &Encoder<'_>,
        track: &str,
        codec: impl FnOnce(&mut Command),
    ) -> Result<Self, TitleError> {
        let mut command = Command::new(program(encoder.ffmpeg));
        command.args(["-hide_banner", "-nostdin", "-v", "error", "-y"]);
        codec(&mut command);
        command
            .args(["-fflags", "+bitexact", "-flags:v", "+bitexact+cgop"])
            .args(["-flags:a", "+bitexact", "-map_metadata", "-1"])
            .args(["-f", "dash", "-use_template", "1", "-use_timeline", "1"])
            .args(["-seg_duration", &SEGMENT_SECONDS.to_string()])
            .args(["-init_seg_name", "init.mp4"])
            .args(["-media_seg_name", "$Number%05d$.m4s"])
            // CMAF: composition offsets may be negative, so presentation begins at 0 without an edit list.
            .args(["-format_options", "movflags=+cmaf"])
            .arg(OsString::from(SCRATCH_MANIFEST))
            .current_dir(encoder.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| cannot_run(encoder.ffmpeg, error))?;
        let input = child.stdin.take();
        let complaints = child
            .stderr
            .take()
            .map(|stderr| thread::spawn(move || first_lines(stderr)));
        Ok(Self {
            child,
            input,
            complaints,
            track: track.to_owned(),
        })
    }

    /// Hands bytes over; `false` says that the work was stopped.
    fn write(&mut self, bytes: &[u8], stop: &AtomicBool) -> Result<bool, TitleError> {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match self.input.as_mut().map(|input| input.write_all(bytes)) {
            Some(Ok(())) => Ok(true),
            // It closed its end: it has failed, and its complaints say why.
            Some(Err(_)) | None => {
                self.input = None;
                Err(self.failure())
            }
        }
    }

    /// Ends the input and waits until the last file is written.
    fn finish(&mut self) -> Result<(), TitleError> {
        self.input = None;
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) | Err(_) => Err(self.failure()),
        }
    }

    fn failure(&mut self) -> TitleError {
        // With its input closed it ends by itself, and its status says how.
        let status = self.child.wait();
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok());
        let complaints = complaints.unwrap_or_default();
        let track = self.track.clone();
        if complaints.contains("No space left on device") {
            return TitleError::DiskFull { what: track };
        }
        let complaint = match (complaints.lines().next(), status) {
            (Some(line), _) => line.to_owned(),
            (None, Ok(status)) => format!("ffmpeg ended with {status}"),
            (None, Err(error)) => error.to_string(),
        };
        TitleError::Encoding { track, complaint }
    }

    fn kill(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The manifest that FFmpeg insists on writing beside the segments; ours replace it.
pub(crate) const SCRATCH_MANIFEST: &str = "scratch.mpd";

/// The most of the complaints that is kept: the first lines name the cause.
const COMPLAINTS_BYTES_MAX: u64 = 8 * 1024;

/// Reads to the end, so that the writer never blocks, but keeps the beginning only.
fn first_lines(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let beginning = (&mut stderr)
        .take(COMPLAINTS_BYTES_MAX)
        .read_to_end(&mut kept);
    if beginning.is_ok() {
        drop(io::copy(&mut stderr, &mut io::sink()));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Makes a path to the program independent of the directory it will run in; a bare name is looked up in `PATH`.
fn program(ffmpeg: &Path) -> PathBuf {
    let is_name = ffmpeg.components().count() < 2;
    match path::absolute(ffmpeg) {
        Ok(absolute) if !is_name => absolute,
        Ok(_) | Err(_) => ffmpeg.to_owned(),
    }
}

fn cannot_run(ffmpeg: &Path, source: io::Error) -> TitleError {
    let ffmpeg = ffmpeg.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        TitleError::FfmpegMissing { ffmpeg }
    } else {
        TitleError::FfmpegBroken { ffmpeg, source }
    }
}
