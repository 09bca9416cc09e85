//! What one program costs: processor time and peak memory of a child process.
//!
//! The child is started by a copy of this program that does nothing else (`nearcast-bench measure`): Linux hands
//! `ru_maxrss` on through fork and exec, so a child of the big benchmark process would seem big too.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};

/// What a child used from start to end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    pub(crate) peak_rss_bytes: u64,
}

impl Usage {
    pub(crate) const fn cpu_s(self) -> f64 {
        self.user_s + self.system_s
    }
}

/// What `nearcast-bench measure` is told.
#[derive(Debug, Args)]
pub(crate) struct MeasureArguments {
    /// Where the figures go, as JSON
    #[arg(long)]
    to: std::path::PathBuf,
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Runs a program to its end and writes down what it used.
pub(crate) fn measure(arguments: &MeasureArguments) -> Result<ExitCode> {
    let (program, rest) = arguments.command.split_first().context("no program")?;
    let status = Command::new(program)
        .args(rest)
        .status()
        .with_context(|| format!("starting {}", program.display()))?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let usage = Usage {
        user_s: seconds(usage.user_time()),
        system_s: seconds(usage.system_time()),
        peak_rss_bytes: u64::try_from(usage.max_rss())? * RSS_UNIT_BYTES,
    };
    std::fs::write(&arguments.to, serde_json::to_vec(&usage)?).context("writing the figures")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Linux counts kibibytes, macOS bytes.
const RSS_UNIT_BYTES: u64 = if cfg!(target_vendor = "apple") {
    1
} else {
    1024
};

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// Runs a program under `nearcast-bench measure`; returns what it used and what it printed.
///
/// # Errors
/// When it does not start or does not end well; with what it said.
pub(crate) async fn run(
    program: &Path,
    arguments: Vec<OsString>,
    folder: &Path,
) -> Result<(Usage, String)> {
    let to = folder.join("usage.json");
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .arg("measure")
        .arg("--to")
        .arg(&to)
        .arg("--")
        .arg(program)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!(
            "{} failed: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let usage = serde_json::from_slice(&std::fs::read(&to)?)?;
    Ok((usage, String::from_utf8_lossy(&output.stdout).into_owned()))
}
