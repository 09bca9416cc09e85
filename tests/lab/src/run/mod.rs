//! Runs scenarios and says what came of them.

mod agree;
mod find;
mod gather;
pub(crate) mod junit;
mod progress;
mod real;
mod replay;
mod sweep;
mod tell;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use nearcast_scenario::{LabReport, Mode, SCHEMA, Scenario, ScenarioResult};

use crate::documents::{self, Documents};
use crate::mistake::Mistake;
use crate::write;
pub(crate) use agree::{AgreeArguments, execute as agree};
use sweep::Seeds;

/// What to run, and where to write what came of it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Scenario files, and folders of them
    #[arg(required_unless_present_any = ["replay", "against"], conflicts_with_all = ["replay", "against"])]
    paths: Vec<PathBuf>,
    /// Replays a session that `nearcast play --record FILE` recorded, in virtual time; with --json its report is written
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "mode", "seed", "seeds", "jobs", "record", "only", "each_shape", "jsonl", "junit", "html",
    ])]
    replay: Option<PathBuf>,
    /// Compares the decisions of a replay with those of the report that the play left (`--report FILE`)
    #[arg(long, value_name = "REPORT", requires = "replay")]
    against: Option<PathBuf>,
    /// How
    #[arg(long, value_enum, default_value_t = ModeName::Sim)]
    mode: ModeName,
    /// One seed
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// So many seeds, from 0 on (fewer where a scenario says so)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    #[command(flatten)]
    real: real::RealArguments,
    /// Only scenarios (and cells of a matrix) whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Of a matrix, only one cell of each shape, objects and places in turn
    #[arg(long)]
    each_shape: bool,
    /// Writes each run as a line of JSON
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    #[command(flatten)]
    documents: Documents,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// In virtual time: every decision of the player, no sockets
    Sim,
    /// The whole player over real sockets; links and faults in the servers, no privileges
    App,
    /// The same, and each packet crosses a link of the lab's own (Linux)
    Packet,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Sim => Self::Sim,
            ModeName::App => Self::App,
            ModeName::Packet => Self::Packet,
        }
    }
}

/// Runs and tells. Exit status 1 where a scenario fails, 2 where one cannot be read.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let read = arguments.paths.iter();
    let read = read.chain(&arguments.replay).chain(&arguments.against);
    let read: Vec<&Path> = read.map(PathBuf::as_path).collect();
    let written = arguments
        .documents
        .paths()
        .chain(arguments.jsonl.as_deref());
    let written: Vec<&Path> = written.collect();
    documents::check(&written, &read)?;
    documents::clear(&written)?;
    if let Some(recording) = &arguments.replay {
        let out = &mut write::printed();
        let (json, against) = (
            arguments.documents.json.as_deref(),
            arguments.against.as_deref(),
        );
        return replay::execute(out, recording, json, against);
    }
    let mode = Mode::from(arguments.mode);
    if mode == Mode::Sim && arguments.real.record.is_some() {
        bail!(
            "--record keeps what real sessions were told, and in --mode sim there are none: give --mode app or packet, or \
             --jsonl FILE for each run in full"
        );
    }
    let mut scenarios = match find::scenarios(&arguments.paths)? {
        Ok(scenarios) => scenarios,
        Err(errors) => {
            arguments.documents.write_errors(&errors)?;
            let mut out = io::stderr().lock();
            for error in errors {
                writeln!(out, "{error}")?;
            }
            return Ok(ExitCode::from(2));
        }
    };
    if let Some(text) = &arguments.only {
        scenarios.retain(|scenario| scenario.name.contains(text));
        if scenarios.is_empty() {
            bail!(Mistake(format!(
                "no name of these scenarios contains `{text}`, which --only asks for: another text would be right"
            )));
        }
    }
    let others: BTreeSet<&str> = scenarios
        .iter()
        .flat_map(|scenario| scenario.modes.iter().map(|mode| mode.name()))
        .collect();
    let others = others.into_iter().collect::<Vec<_>>().join(" or ");
    scenarios.retain(|scenario| scenario.modes.contains(&mode));
    if arguments.each_shape {
        find::one_of_each_shape(&mut scenarios);
    }
    if scenarios.is_empty() {
        bail!(Mistake(format!(
            "by its `modes`, none of these scenarios is for --mode {}: --mode {others} would be right",
            mode.name()
        )));
    }
    arguments.real.check_names(&scenarios)?;
    let seeds = Seeds {
        first: arguments.seed.unwrap_or(0),
        count: arguments.seeds.unwrap_or(1),
    };
    let lines = arguments
        .jsonl
        .as_deref()
        .map(documents::create)
        .transpose()?;
    let swept = match mode {
        Mode::Sim => sweep::all(&scenarios, seeds, lines)?,
        Mode::App | Mode::Packet => {
            let way = arguments.real.way(mode);
            real::all(&scenarios, &way, seeds, &arguments.real, lines)?
        }
    };
    let report = LabReport {
        schema: SCHEMA.to_owned(),
        mode,
        passed: !swept.interrupted && swept.results.iter().all(|one| one.passed),
        interrupted: swept.interrupted,
        busy: swept.busy,
        scenarios: swept.results,
    };
    arguments.documents.write(&report, Some(&swept.took))?;
    tell::report(&mut write::printed(), &report, Some(swept.took.all_s))?;
    Ok(if report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads the scenarios of files and folders that can be run in a mode.
///
/// # Errors
/// Says what is wrong with each that cannot be read.
pub(crate) fn kept(paths: &[PathBuf], mode: Mode) -> Result<Vec<Scenario>> {
    let mut scenarios = find::scenarios(paths)?.map_err(|errors| {
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!(told.join("\n"))
    })?;
    scenarios.retain(|scenario| scenario.modes.contains(&mode));
    Ok(scenarios)
}

/// Runs scenarios in virtual time, with so many seeds from 0 on. `None` where somebody interrupted that.
pub(crate) fn simulated(scenarios: &[Scenario], seeds: u64) -> Result<Option<Vec<ScenarioResult>>> {
    let seeds = Seeds {
        first: 0,
        count: seeds,
    };
    let swept = sweep::all(scenarios, seeds, None)?;
    Ok((!swept.interrupted).then_some(swept.results))
}

/// Prints a report that somebody else made.
pub(crate) fn tell(out: &mut dyn Write, report: &LabReport) -> io::Result<()> {
    tell::report(out, report, None)
}

/// A way to run scenarios, as a command has it.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    mode: Mode,
    /// The title that real players play.
    title: Option<PathBuf>,
}

impl Way {
    const SIM: Self = Self {
        mode: Mode::Sim,
        title: None,
    };
}

/// Returns the command that runs a scenario with one seed.
fn again(scenario: &Scenario, way: &Way, seed: u64) -> String {
    command(scenario, way, &format!("--seed {seed}"))
}

fn command(scenario: &Scenario, way: &Way, seeds: &str) -> String {
    let mut text = format!(
        "nearcast-lab run {} --mode {} {seeds}",
        as_word(&scenario.file),
        way.mode.name()
    );
    if let Some(title) = &way.title {
        text += &format!(" --title {}", as_word(title));
    }
    if scenario.cell.is_some() {
        text += &format!(" --only {}", quoted(&scenario.name));
    }
    text
}

/// Returns a path as a shell takes it for one word.
fn as_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+".contains(letter);
    if text.chars().all(plain) {
        return text;
    }
    quoted(&text)
}

/// Whatever it holds, no shell looks into it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What failed first, for those who look at one line only.
pub(crate) fn first_problem(result: &ScenarioResult) -> Option<String> {
    let verdict = result.verdicts.iter().find(|verdict| !verdict.holds);
    let problem = result.problems.first().map(|problem| problem.what.clone());
    problem.or_else(|| verdict.map(ToString::to_string))
}
