//! `nearcast-bench`: measures the figures that `make bench` prints, and says whether they keep the project's bars.
//!
//! Nothing here passes or fails: figures are of the machine and the moment. Every ratio and difference is
//! between numbers of one run.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures for people: counts and bytes far below 2^53"
)]

mod cost;
mod failover;
mod machine;
mod measured;
mod reports;
mod simulator;
mod startup;
mod statistics;
mod system;
mod table;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use machine::Load;
use nearcast_title::{Title, TitleConfig};
use reports::Reports;
use serde::Serialize;

/// Measures start-up, failover, cost and the simulator, and prints tables.
#[derive(Debug, Parser)]
#[command(
    name = "nearcast-bench",
    version,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    /// What to measure; everything unless given
    #[arg(value_enum)]
    part: Vec<Part>,
    /// Fewer rounds and less media: under three minutes
    #[arg(long)]
    quick: bool,
    /// Write all figures here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the report of every session in this folder, to look into a figure
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
    /// The title's folder; the title is made when it is not there
    #[arg(long, value_name = "DIR", default_value = TITLE)]
    title: PathBuf,
    /// The player whose cost is measured [default: beside this program]
    #[arg(long, value_name = "FILE")]
    nearcast: Option<PathBuf>,
    /// Rounds of start-up and of each fault, instead of what a default or quick run takes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Seconds of media that the cost is measured over
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(5..))]
    media: Option<u32>,
    #[command(subcommand)]
    child: Option<Child>,
}

#[derive(Debug, Subcommand)]
enum Child {
    /// Runs a program and writes down what it used (started by the benchmark itself)
    #[command(hide = true)]
    Measure(measured::MeasureArguments),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Ten edges against the best one known beforehand
    Startup,
    /// From a fault to the first byte from another edge
    Failover,
    /// Processor time and memory against curl
    Cost,
    /// Sessions in virtual time
    Simulator,
}

/// Everything measured in one run.
#[derive(Debug, Serialize)]
struct Figures {
    schema: &'static str,
    command: String,
    /// Before each part that was measured.
    loads: Vec<Load>,
    debug_build: bool,
    startup: Option<startup::Startup>,
    failover: Option<failover::Failover>,
    cost: Option<cost::Cost>,
    simulator: Option<simulator::Simulator>,
}

/// Where `make title` puts it.
const TITLE: &str = "target/media/title";

/// How much is done.
struct Extent {
    startup_rounds: usize,
    failover_rounds: usize,
    media: Duration,
    cost_runs: usize,
    simulator: Duration,
}

const DEFAULT: Extent = Extent {
    startup_rounds: 40,
    failover_rounds: 10,
    media: Duration::from_secs(60),
    cost_runs: 3,
    simulator: Duration::from_secs(5),
};
const QUICK: Extent = Extent {
    startup_rounds: 10,
    failover_rounds: 2,
    media: Duration::from_secs(30),
    cost_runs: 1,
    simulator: Duration::from_secs(1),
};

fn main() -> ExitCode {
    match execute(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Without standard error there is nobody to tell.
            let told = writeln!(std::io::stderr(), "nearcast-bench: {error:#}");
            told.map_or(ExitCode::from(2), |()| ExitCode::FAILURE)
        }
    }
}

fn execute(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(Child::Measure(child)) = &arguments.child {
        return measured::measure(child);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(arguments: &Arguments) -> Result<()> {
    let mut extent = if arguments.quick { QUICK } else { DEFAULT };
    if let Some(rounds) = arguments.rounds {
        extent.startup_rounds = rounds.into();
        extent.failover_rounds = rounds.into();
    }
    if let Some(media) = arguments.media {
        extent.media = Duration::from_secs(media.into());
    }
    let reports = Reports::open(arguments.reports.clone())?;
    let wants = |part| arguments.part.is_empty() || arguments.part.contains(&part);
    let needs_title = [Part::Startup, Part::Failover, Part::Cost]
        .into_iter()
        .any(wants);
    let title = if needs_title {
        Some(title(arguments.title.clone()).await?)
    } else {
        None
    };

    let mut figures = Figures {
        schema: "nearcast.bench/1",
        command: arguments.command(&arguments.part),
        loads: Vec::new(),
        debug_build: cfg!(debug_assertions),
        startup: None,
        failover: None,
        cost: None,
        simulator: None,
    };
    print(format_args!("reproduce with: {}", figures.command))?;
    print(format_args!("machine: {}", Load::look().await))?;
    if figures.debug_build {
        print("a debug build: these are not the figures of a release")?;
    }
    let all = [Part::Startup, Part::Failover, Part::Cost, Part::Simulator];
    for part in all.into_iter().filter(|part| wants(*part)) {
        // Others may have begun meanwhile.
        let load = Load::look().await;
        let table = match (part, &title) {
            (Part::Startup, Some(title)) => {
                let measured = startup::measure(title, extent.startup_rounds, &reports).await;
                figures
                    .startup
                    .insert(measured.context("start-up")?)
                    .table()
            }
            (Part::Failover, Some(title)) => {
                let measured = failover::measure(title, extent.failover_rounds, &reports).await;
                figures
                    .failover
                    .insert(measured.context("failover")?)
                    .table()
            }
            (Part::Cost, Some(title)) => {
                let nearcast = match &arguments.nearcast {
                    Some(path) => path.clone(),
                    None => std::env::current_exe()?.with_file_name("nearcast"),
                };
                let measured =
                    cost::measure(title, &nearcast, extent.media, extent.cost_runs, &reports).await;
                figures.cost.insert(measured.context("cost")?).table()
            }
            (Part::Simulator, _) => {
                let span = extent.simulator;
                let measured =
                    tokio::task::spawn_blocking(move || simulator::measure(span)).await?;
                figures
                    .simulator
                    .insert(measured.context("simulator")?)
                    .table()
            }
            (_, None) => continue,
        };
        figures.loads.push(load);
        let command = arguments.command(&[part]);
        print(format_args!("\n{table}  again: {command}"))?;
        if load.is_busy() {
            print(format_args!("  measured on a busy machine: {load}"))?;
        }
    }
    if let Some(path) = &arguments.json {
        let mut text = serde_json::to_vec_pretty(&figures)?;
        text.push(b'\n');
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Takes the title that is there, or makes it.
async fn title(folder: PathBuf) -> Result<Title> {
    let made = tokio::task::spawn_blocking(move || {
        nearcast_title::make(&TitleConfig::new(folder), &mut |_| {})
    });
    made.await?.context("making the title")
}

impl Arguments {
    /// Returns what measures these parts again, as they are measured here. Where figures are written to makes no
    /// difference to them.
    fn command(&self, parts: &[Part]) -> String {
        let mut words: Vec<String> = parts
            .iter()
            .filter_map(|part| Some(part.to_possible_value()?.get_name().to_owned()))
            .collect();
        if self.quick {
            words.push("--quick".to_owned());
        }
        let number = |name: &str, number: Option<u32>| Some(format!("{name} {}", number?));
        words.extend(number("--rounds", self.rounds.map(u32::from)));
        words.extend(number("--media", self.media));
        let file = |name: &str, path: &Path| format!("{name} {}", quoted(path));
        if self.title != Path::new(TITLE) {
            words.push(file("--title", &self.title));
        }
        words.extend(
            self.nearcast
                .as_deref()
                .map(|path| file("--nearcast", path)),
        );
        let words = words.join(" ");
        if cfg!(debug_assertions) {
            format!("cargo run -p nearcast-e2e --bin nearcast-bench -- {words}")
        } else if words.is_empty() {
            "make bench".to_owned()
        } else {
            format!("make bench ARGS=\"{words}\"")
        }
    }
}

/// Returns a path as the shell takes it that make runs.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{text}'")
    }
}

fn print(line: impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").context("printing")?;
    out.flush().context("printing")
}
