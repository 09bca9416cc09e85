//! Where results go.

use std::fs;
use std::io::{self, StdoutLock, Write};
use std::path::Path;

use anyhow::{Context as _, Result};

use nearcast_sim::trace::{Optimum, Played};

use super::measure::Bench;

/// Standard output; a reader that has seen enough is no error, and what is found out counts all the same.
#[derive(Debug)]
pub(crate) struct Printed(StdoutLock<'static>);

/// Returns where results are printed.
pub(crate) fn printed() -> Printed {
    Printed(io::stdout().lock())
}

impl Write for Printed {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        unless_cut_off(self.0.write(text), text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_cut_off(self.0.flush(), ())
    }
}

fn unless_cut_off<T>(result: io::Result<T>, all: T) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(all),
        other => other,
    }
}

/// Prints.
pub(crate) fn print(text: &str) -> Result<()> {
    let done = printed().write_all(text.as_bytes());
    done.context("standard output")
}

/// Prints beside the results.
pub(crate) fn tell(text: &str) -> Result<()> {
    std::io::stderr()
        .lock()
        .write_all(text.as_bytes())
        .context("standard error")
}

/// Writes a file, into a folder that is made where there is none.
pub(crate) fn file(path: &Path, text: &str) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(writing)?;
    }
    fs::write(path, text).with_context(writing)
}

/// Whether JSON goes to standard output, which is its own then.
pub(crate) fn is_printed(json: Option<&Path>) -> bool {
    json.is_some_and(|path| path.as_os_str() == "-")
}

/// Prints a table, or where it is to be JSON on standard output, only that; else JSON goes to its file.
pub(crate) fn table(
    json: Option<&Path>,
    text: impl FnOnce() -> String,
    as_json: impl FnOnce() -> Result<String>,
) -> Result<()> {
    match json {
        Some(_) if is_printed(json) => print(&as_json()?),
        Some(path) => {
            print(&text())?;
            file(path, &as_json()?)
        }
        None => print(&text()),
    }
}

/// Returns a line for each rule and trace.
pub(crate) fn csv(bench: &Bench, played: &[Vec<Played>], optimum: Option<&[Optimum]>) -> String {
    let mut text = String::from(
        "alg,trace,qoe,qoe_per_segment,bitrate_kbps,stall_s,stalls,startup_s,change_mbps,switches,\
         play_time_s,abandoned,replaced,wasted_kbit,path\n",
    );
    let rules = bench.rules.iter().map(String::as_str).zip(played);
    let rules = rules.map(|(rule, sessions)| (rule, sessions.iter().collect::<Vec<_>>()));
    let optimum = optimum.map(|all| ("optimum", all.iter().map(|one| &one.played).collect()));
    for (rule, sessions) in rules.chain(optimum) {
        for (trace, played) in bench.set.traces.iter().zip(sessions) {
            let path: Vec<String> = played.rungs.iter().map(ToString::to_string).collect();
            text += &format!(
                "{rule},{},{:.6},{:.6},{:.3},{:.6},{},{:.6},{:.6},{},{:.6},{},{},{:.3},{}\n",
                trace.name.replace(',', "_"),
                played.qoe(bench.mu),
                played.qoe_per_segment(bench.mu),
                played.mean_kbps(),
                played.stall_ms / 1e3,
                played.stalls,
                played.startup_ms / 1e3,
                played.change_kbps() / 1e3,
                played.switches(),
                played.total_ms / 1e3,
                played.abandoned,
                played.replaced,
                played.wasted_bits / 1e3,
                path.join(" ")
            );
        }
    }
    text
}
