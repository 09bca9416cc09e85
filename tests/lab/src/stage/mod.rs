//! Scenarios over real sockets: the whole player, the whole backend, real edges.
//!
//! Servers are one process ([`servers`]), each viewer is another ([`viewer`]), and [`conduct`] starts them, says when the run
//! begins, carries what they have to tell each other (lines of JSON: [`line`](mod@line)) and takes what is left in the end. So the servers
//! cannot hold a player up but by what they send, a player that panics is a result and not the end of the lab, and each can
//! be put in a network namespace of its own.
//!
//! Edges report, and what goes wrong at 0 s is so, before the run begins; it begins for all when servers are told so, and each
//! session when its viewer is told from where to play. What is compared afterwards are times of day, since that moment.
//!
//! What a scenario means is read from its file by each of them: only its name and the seed are told.

mod conduct;
mod fit;
mod line;
mod load;
mod names;
mod schedule;
mod servers;
mod title;
mod viewer;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use nearcast_scenario::Scenario;

pub(crate) use conduct::{Folders, OneMachine, Stage, keep_reports, perform, plain};
pub(crate) use fit::unfit;
pub(crate) use title::Titles;

/// The processes of a run; the lab starts them by itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Process {
    /// Serves
    Servers(servers::Arguments),
    /// Plays
    Viewer(viewer::Arguments),
}

/// Which scenario, and which run of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// The scenario's file
    #[arg(long)]
    pub(crate) file: PathBuf,
    /// Its name in there
    #[arg(long)]
    pub(crate) name: String,
    /// The seed
    #[arg(long)]
    pub(crate) seed: u64,
}

impl Run {
    /// Reads the scenario.
    pub(crate) fn scenario(&self) -> Result<Scenario> {
        let all = Scenario::read(&self.file)?;
        let mut named = all.into_iter().filter(|one| one.name == self.name);
        named
            .next()
            .with_context(|| format!("{} has no scenario `{}`", self.file.display(), self.name))
    }
}

/// What the backend knows a viewer as: names of players are people's words.
fn account(session: usize) -> String {
    format!("viewer-{session}")
}

/// Is one of the processes: until its standard input ends, and a viewer no longer than it plays.
pub(crate) fn execute(process: &Process) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting a runtime")?;
    runtime.block_on(async {
        match process {
            Process::Servers(arguments) => servers::run(arguments).await,
            Process::Viewer(arguments) => viewer::run(arguments).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
