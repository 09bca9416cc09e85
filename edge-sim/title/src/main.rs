//! `nearcast-title`: makes the test title, or finds it there.
#![expect(clippy::print_stderr, reason = "a program talks to people")]

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nearcast_title::{Progress, TitleConfig, make};

/// Makes the test title with FFmpeg: six rungs, two languages, subtitles, DASH and HLS.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The directory that will hold the title
    #[arg(long, default_value = "target/media/title")]
    dir: PathBuf,
    /// The title's length in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    duration: Option<u64>,
    /// The FFmpeg program
    #[arg(long, default_value = "ffmpeg")]
    ffmpeg: PathBuf,
    /// How many rungs to encode at a time [default: one per core]
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut config = TitleConfig::new(arguments.dir);
    config.ffmpeg = arguments.ffmpeg;
    config.jobs = arguments.jobs;
    if let Some(seconds) = arguments.duration {
        config.duration = Duration::from_secs(seconds);
    }
    let terminal = io::stderr().is_terminal();
    match make(&config, &mut |progress| show(progress, terminal)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nearcast-title: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shows progress: one line that is drawn over on a terminal, a line every tenth elsewhere, nothing when
/// there was nothing to do.
fn show(progress: Progress, terminal: bool) {
    let mut out = io::stderr().lock();
    let written = match progress {
        Progress::Waiting => writeln!(out, "title: another process is making it; waiting"),
        Progress::Making { percent } if terminal => write!(out, "\rtitle: {percent:3} %"),
        Progress::Making { percent } if percent.is_multiple_of(10) => {
            writeln!(out, "title: {percent} %")
        }
        Progress::Done { cached: false } if terminal => writeln!(out, "\rtitle: made "),
        Progress::Done { cached: false } => writeln!(out, "title: made"),
        Progress::Renewing | Progress::Making { .. } | Progress::Done { .. } => Ok(()),
    };
    // Nobody left to read progress is no reason to stop.
    drop(written);
}
