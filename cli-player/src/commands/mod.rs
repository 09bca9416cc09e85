//! The command line: what can be asked for, and how a command ends. One file per subcommand.
//!
//! Exit status: 0 done as asked, 1 failed (one line on standard error: code, what happened, what to do),
//! 2 usage.

mod completions;
mod demo;
mod doctor;
mod failure;
mod headless;
mod play;
mod probe;
mod settings;
mod source;
mod summary;
mod titles;

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
pub(crate) use failure::Failure;
pub(crate) use headless::text as event_text;
use tracing_subscriber::EnvFilter;

/// Plays streams from whichever edge serves them best.
#[derive(Debug, Parser)]
#[command(
    name = "nearcast",
    version = version(),
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Defaults may be kept in a file; `nearcast doctor` says where it is looked for."
)]
struct Arguments {
    /// Write a log to this file (how much: NEARCAST_LOG, `info` unless set)
    #[arg(long, global = true, value_name = "FILE", display_order = 1000)]
    log: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up a backend and ten edges on this machine, make a title, and play it
    Demo(Box<demo::DemoArguments>),
    /// List what a backend offers
    Titles(titles::TitlesArguments),
    /// Play a title, a manifest URL, or a manifest path on several edges
    Play(Box<play::PlayArguments>),
    /// Measure edges: connection, first byte, rate
    Probe(probe::ProbeArguments),
    /// Look at this machine: terminal, sound, pictures, network, configuration
    Doctor(doctor::DoctorArguments),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArguments),
}

/// What the commands share once they run.
#[derive(Debug)]
pub(crate) struct Context {
    /// The log, for what would spoil the screen.
    pub(crate) log: Option<File>,
    /// Defaults from the configuration file.
    pub(crate) settings: settings::Settings,
}

/// Runs the program: reads the arguments, does what they say, tells how it ended.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = if error.use_stderr() { 2 } else { 0 };
            if error.print().is_err() {
                return ExitCode::from(1);
            }
            return ExitCode::from(status);
        }
    };
    match execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure);
            ExitCode::from(failure.status())
        }
    }
}

fn execute(arguments: Arguments) -> Result<(), Failure> {
    let log = arguments.log.as_ref().map(open_log).transpose()?;
    let context = Context {
        log,
        settings: settings::Settings::read()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // `demo` runs eleven servers beside the player: one that reads a file must not hold the player up.
        .worker_threads(4)
        .enable_all()
        .build()
        .map_err(Failure::io("player.runtime", "cannot start the runtime"))?;
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Demo(arguments) => demo::run(&arguments, &context).await,
            Command::Titles(arguments) => titles::run(&arguments, &context).await,
            Command::Play(arguments) => play::run(&arguments, &context).await,
            Command::Probe(arguments) => probe::run(&arguments, &context).await,
            Command::Doctor(arguments) => doctor::run(&arguments, &context).await,
            Command::Completions(arguments) => completions::run(&arguments),
        }
    });
    // Threads that still write to a slow terminal must not keep the program.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}

fn open_log(path: &PathBuf) -> Result<File, Failure> {
    let failed = |error| {
        Failure::io(
            "player.log",
            format_args!("cannot write the log {}", path.display()),
        )(error)
    };
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(failed)?;
    let writer = file.try_clone().map_err(failed)?;
    let filter = EnvFilter::try_from_env("NEARCAST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer)
        .init();
    Ok(file)
}

/// Prints one line on standard error; a reader that is gone is no reason to fail.
pub(crate) fn say(line: impl fmt::Display) {
    let written = writeln!(std::io::stderr().lock(), "{line}");
    if let Err(error) = written {
        tracing::debug!(%error, "standard error is gone");
    }
}

/// Prints one line on standard output. A reader that has gone away (`| head`) ends the output quietly.
pub(crate) fn print(line: impl fmt::Display) {
    let written = writeln!(std::io::stdout().lock(), "{line}");
    if let Err(error) = written {
        tracing::debug!(%error, "standard output is gone");
    }
}

/// Whether there is a person before a terminal.
pub(crate) fn on_terminal() -> bool {
    crate::tui::terminal::is_interactive()
}

/// The version, with what was compiled in.
const fn version() -> &'static str {
    if cfg!(feature = "video") {
        concat!(
            env!("CARGO_PKG_VERSION"),
            " (features: video, sound)\npictures by FFmpeg's libraries, linked dynamically; a GPL build of them makes the whole GPL"
        )
    } else {
        concat!(
            env!("CARGO_PKG_VERSION"),
            " (features: sound; built without video)"
        )
    }
}
