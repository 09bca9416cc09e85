//! The command line: what can be asked for, and how a command ends. One file per subcommand.
//!
//! Exit status: 0 done as asked, 1 failed (one line on standard error: code, what happened, what to do),
//! 2 usage. A reader of standard output that goes away changes nothing.

mod completions;
mod demo;
mod doctor;
mod ending;
mod failure;
mod headless;
mod networks;
mod output;
mod play;
mod probe;
mod settings;
mod signals;
mod source;
mod summary;
mod titles;
mod wishes;

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{LazyLock, OnceLock};

use clap::builder::Resettable;
use clap::error::ContextKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
pub(crate) use ending::{End, Played};
pub(crate) use failure::{Failure, Place};
pub(crate) use headless::text as event_text;
use serde::Serialize;
use settings::Settings;
pub(crate) use signals::Signals;
use tracing_subscriber::EnvFilter;
pub(crate) use wishes::Wishes;

/// Plays streams from whichever edge serves them best.
#[derive(Debug, Parser)]
#[command(
    name = "nearcast",
    version = version(),
    propagate_version = true,
    arg_required_else_help = true,
    after_help = format!("\
Exit status: 0 done as asked; 1 failed, with a line that says why; 2 usage.
A play that q, Ctrl-C, SIGTERM or SIGHUP ends was done as asked once something was shown; what a signal
ends before that has 128 and its number, 130 for Ctrl-C.
Defaults may be kept in a file; `nearcast doctor` says where it is looked for. It is TOML, with any of these:
{}", settings::documented())
)]
struct Arguments {
    /// Write a log to this file (how much: NEARCAST_LOG, `info` unless set)
    #[arg(long, global = true, value_name = "FILE", display_order = 1000, value_parser = source::parse_file)]
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
    pub(crate) settings: Settings,
    /// What may end the program.
    pub(crate) signals: Signals,
}

/// Runs the program: reads the arguments, does what they say, tells how it ended.
#[must_use]
pub fn run() -> ExitCode {
    let matches = without_empty_variables(Arguments::command()).try_get_matches();
    let arguments = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(mut error) => {
            // Not the shell that is meant, however alike the names are.
            if is_about_shells(&error) {
                error.remove(ContextKind::SuggestedValue);
            }
            if error.use_stderr() {
                return match error.print() {
                    Ok(()) => ExitCode::from(2),
                    Err(_) => ExitCode::from(1),
                };
            }
            keep_unprinted(output::unless_gone(error.print()));
            return end(Ok(()));
        }
    };
    end(execute(arguments))
}

fn is_about_shells(error: &clap::Error) -> bool {
    let argument = error.get(ContextKind::InvalidArg);
    argument.is_some_and(|argument| argument.to_string() == "<SHELL>")
}

/// An environment variable that is set to nothing is how scripts unset one.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let value = argument.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) {
            argument.env(Resettable::Reset)
        } else {
            argument
        }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Tells how a command ended, and what could not be printed meanwhile.
fn end(done: Result<(), Failure>) -> ExitCode {
    let unprinted = UNPRINTED.get().map(|error| {
        Failure::new(
            "cli.output",
            format_args!(
                "cannot write to standard output: {error}; look where it goes, and free some space there"
            ),
        )
    });
    let done = match (done, unprinted) {
        (Err(failure), Some(later)) => Err(failure.and(&later)),
        (Ok(()), Some(failure)) => Err(failure),
        (done, None) => done,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure);
            ExitCode::from(failure.status())
        }
    }
}

fn execute(arguments: Arguments) -> Result<(), Failure> {
    let log = arguments.log.as_ref().map(open_log).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(PLAYER_WORKERS)
        .enable_all()
        .build()
        .map_err(Failure::io(
            "cli.runtime",
            "cannot start the runtime",
            "close other programs, or raise the limit of processes (ulimit -u)",
        ))?;
    let done = runtime.block_on(async {
        let signals = Signals::listen().map_err(Failure::io(
            "cli.signals",
            "cannot listen for signals",
            "close other programs, or raise the limit of open files (ulimit -n)",
        ))?;
        let read = Settings::read();
        let mut context = Context {
            log,
            settings: Settings::default(),
            signals: signals.clone(),
        };
        // What is wrong with the settings is one of its findings.
        if let Command::Doctor(arguments) = &arguments.command {
            return signals
                .unless(doctor::run(arguments, &mut context, read))
                .await;
        }
        context.settings = read?;
        match arguments.command {
            // A play that a signal ends still has to tell what it was.
            Command::Demo(arguments) => demo::run(&arguments, &context).await,
            Command::Play(arguments) => play::run(&arguments, &context).await,
            Command::Titles(arguments) => signals.unless(titles::run(&arguments, &context)).await,
            Command::Probe(arguments) => signals.unless(probe::run(&arguments, &context)).await,
            Command::Completions(arguments) => {
                completions::run(&arguments);
                Ok(())
            }
            Command::Doctor(_) => Ok(()),
        }
    });
    // Threads that still write to a slow terminal must not keep the program.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}

/// One for the player's task, one for what a slow disk or name server holds up.
const PLAYER_WORKERS: usize = 2;

fn open_log(path: &PathBuf) -> Result<File, Failure> {
    let failed = |error| {
        Failure::io(
            "cli.log",
            format_args!("cannot write the log {}", path.display()),
            "give a file that can be written",
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
    let line = one_line(&line.to_string());
    let written = writeln!(std::io::stderr().lock(), "{line}");
    if let Err(error) = written {
        tracing::debug!(%error, "standard error is gone");
    }
}

/// Prints one line on standard output; a failure is told at the end.
pub(crate) fn print(line: impl fmt::Display) {
    print_text(&(one_line(&line.to_string()) + "\n"));
}

/// Prints a value for programs to read.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print_text(&(json(value)? + "\n"));
    Ok(())
}

fn print_text(text: &str) {
    keep_unprinted(output::print_bytes(text.as_bytes()));
}

fn keep_unprinted(printed: std::io::Result<()>) {
    if let Err(error) = printed {
        tracing::warn!(%error, "standard output takes nothing more");
        UNPRINTED.get_or_init(|| error.to_string());
    }
}

/// Why something could not be printed, the first time. Lines come from everywhere, and no command ends because
/// of them.
static UNPRINTED: OnceLock<String> = OnceLock::new();

/// Writes a number with what is counted.
pub(crate) fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Writes a span as `0:02:06`.
pub(crate) fn clock(span: std::time::Duration) -> String {
    let seconds = span.as_secs();
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Takes out what could control the terminal: names and messages come from servers.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Writes a value as JSON in lines. It is read on terminals too, and JSON leaves some control characters as
/// they are.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Failure::new(
            "cli.output",
            format_args!("{error}; report this as a defect"),
        )
    })?;
    let escaped = text.chars().map(|letter| match letter {
        '\n' => letter.to_string(),
        _ if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
        _ => letter.to_string(),
    });
    Ok(escaped.collect())
}

/// Whether there is a person before a terminal.
pub(crate) fn on_terminal() -> bool {
    crate::tui::terminal::is_interactive()
}

/// The version, with what was compiled in and linked.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let features = if cfg!(feature = "video") {
            "(features: video, sound)"
        } else {
            "(features: sound; built without video)"
        };
        let version = env!("CARGO_PKG_VERSION");
        pictures_by().map_or_else(
            || format!("{version} {features}"),
            |by| format!("{version} {features}\n{by}"),
        )
    });
    &VERSION
}

#[cfg(feature = "video")]
fn pictures_by() -> Option<String> {
    let license = nearcast_player::ffmpeg_license();
    let follows = if license.starts_with("GPL") {
        ", and with them this program as a whole"
    } else {
        ""
    };
    Some(format!(
        "pictures by FFmpeg's libraries, linked dynamically; those found here are under the {license}{follows}"
    ))
}

#[cfg(not(feature = "video"))]
const fn pictures_by() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_can_control_the_terminal() {
        let evil = "a\u{1b}[2J\nb\u{9b}c\u{7f}\u{7}";
        assert!(!one_line(evil).contains(char::is_control));
        let text = json(&[evil]).unwrap();
        assert!(
            !text.replace('\n', "").contains(char::is_control),
            "{text:?}"
        );
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, [evil], "programs read what it was");
    }
}
