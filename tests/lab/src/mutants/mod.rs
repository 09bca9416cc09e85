//! `nearcast-lab mutants`: breaks the core on purpose, one mutation after the other, and sees which of the kept scenarios notice. What a
//! mutation survives, the scenarios are blind to; a scenario that nothing fails says nothing.

mod child;
mod copy;
mod mutation;
mod tally;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use nearcast_scenario::{LabReport, Mode, Scenario, ScenarioResult};

use crate::interrupt::Interrupt;
use crate::moment::Moment;
use crate::run;
use crate::write;
use child::Ended;
use copy::Copy;
use mutation::Mutation;
use tally::{HEALTHY, Tally};

/// Which mutations, and which scenarios are to notice.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Scenario files, and folders of them; left out, those that are kept
    paths: Vec<PathBuf>,
    /// The folder of mutations
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only mutations whose name contains this; scenarios that nothing fails are no mistake then
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// So many seeds, from 0 on (one for worlds of more than a thousand sessions)
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Where the copy is broken, built and run; left out, target/mutants
    #[arg(long, value_name = "DIR")]
    room: Option<PathBuf>,
    /// Only says whether each mutation can still be made; builds and runs nothing
    #[arg(long, conflicts_with_all = ["seeds", "paths"])]
    check: bool,
}

/// Mutations and scenarios of this workspace.
const MUTATIONS: &str = "tests/mutations";
const SCENARIOS: &str = "tests/scenarios";
/// Where all that is made lies.
const ROOM: &str = "target/mutants";
/// A mutated core that needs so many times as long as the right one, and at least so long, does not come to an end.
const TIMES_LONGER: f64 = 50.0;
const LONGER: Duration = Duration::from_secs(120);
/// A world of more sessions takes minutes, and one edge for all of them half an hour: it is run where nobody else notices, and as long as
/// nothing has failed it, with one seed.
const LARGE: u64 = 1_000;

/// Runs all and tells. Exit status 1 where a mutation survives, where nothing fails a scenario, or where it was interrupted.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let out = &mut write::printed();
    let root = workspace()?;
    let folder = arguments.dir.clone().unwrap_or(root.join(MUTATIONS));
    let mutations = Mutation::read_all(&folder, arguments.only.as_deref())?;
    for mutation in &mutations {
        mutation.check(&root)?;
    }
    if arguments.check {
        writeln!(out, "{} mutations can be made", mutations.len())?;
        return Ok(ExitCode::SUCCESS);
    }
    let interrupt = Interrupt::watch()?;
    let paths = paths(arguments, &root)?;
    let scenarios = run::kept(&paths, Mode::Sim)?;
    ensure!(
        !scenarios.is_empty(),
        "none of these scenarios is for --mode sim, by its `modes`"
    );
    let all = arguments.only.is_none();
    let mut tally = Tally::new(&scenarios);

    let (large, small) = (scenarios.into_iter()).partition(|one| one.sessions() > LARGE);
    let small = Part {
        suffix: "",
        scenarios: small,
        seeds: arguments.seeds,
    };
    let large = Part {
        suffix: "-large",
        scenarios: large,
        seeds: 1,
    };
    let began = Moment::now();
    for part in [&small, &large] {
        let Some(right) = run::simulated(&part.scenarios, part.seeds)? else {
            return interrupted(out);
        };
        if let Some(fails) = right.iter().find(|result| !result.passed) {
            bail!(
                "{} fails without any mutation: a scenario that fails anyway notices nothing. See `nearcast-lab run {} --seeds {}`",
                fails.scenario,
                fails.file,
                part.seeds
            );
        }
    }
    let patience = LONGER.max(began.elapsed().mul_f64(TIMES_LONGER));

    let healthy = small.scenarios.iter();
    let healthy: Vec<Scenario> = healthy
        .filter_map(Scenario::without_healthy_edges)
        .collect();
    let Some(results) = run::simulated(&healthy, arguments.seeds)? else {
        return interrupted(out);
    };
    tally.add(HEALTHY, &results, healthy.len())?;

    let room = match &arguments.room {
        Some(room) => absolute(room).context("finding the room")?,
        None => root.join(ROOM),
    };
    let laboratory = Laboratory {
        copy: Copy::new(root.clone(), room.join("tree")),
        room,
        patience,
        interrupt,
    };
    let width = mutations.iter().map(|one| one.name.len()).max();
    let width = width.unwrap_or(0);
    tally::write_heading(out, width)?;
    for (index, mutation) in mutations.iter().enumerate() {
        let place = format!(" ({} of {})", index + 1, mutations.len());
        let Some(results) = laboratory.results(mutation, &place, &small)? else {
            return interrupted(out);
        };
        let noticed = tally.add(&mutation.name, &results, small.scenarios.len())?;
        if !small.scenarios.is_empty() {
            noticed.write(out, &mutation.about, width)?;
        }
    }
    // Who fails most scenarios is likeliest to fail these.
    let mut left = mutations.iter().collect::<Vec<_>>();
    left.sort_by_key(|one| Reverse(tally.failed_under(&one.name)));
    for mutation in left {
        let idle = tally.never_failed();
        let mut are_large = large.scenarios.iter();
        let are_idle = all && are_large.any(|one| idle.contains(&one.name.as_str()));
        let survives = tally.failed_under(&mutation.name) == 0;
        if large.scenarios.is_empty() || !(are_idle || survives) {
            continue;
        }
        let Some(results) = laboratory.results(mutation, ", large worlds", &large)? else {
            return interrupted(out);
        };
        let noticed = tally.add(&mutation.name, &results, large.scenarios.len())?;
        noticed.write(out, "in large worlds", width)?;
    }
    // The copy is left as the workspace is, so that nobody takes a broken core for the right one.
    laboratory.copy.bring()?;
    tally.write_scenarios(out)?;
    let blind = tally.survivors();
    let idle = tally.never_failed();
    tally.write_verdict(out, all)?;
    Ok(if blind.is_empty() && (idle.is_empty() || !all) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn interrupted(out: &mut dyn Write) -> Result<ExitCode> {
    writeln!(out, "interrupted: what follows was not tried")?;
    Ok(ExitCode::FAILURE)
}

/// The scenarios to run, wherever the programs that run them are started.
fn paths(arguments: &Arguments, root: &Path) -> Result<Vec<PathBuf>> {
    if arguments.paths.is_empty() {
        return Ok(vec![root.join(SCENARIOS)]);
    }
    let paths = arguments.paths.iter().map(absolute);
    paths
        .collect::<io::Result<_>>()
        .context("finding the scenarios")
}

/// The folder of the workspace that this is started in.
fn workspace() -> Result<PathBuf> {
    let found = Command::new(cargo())
        .args(["locate-project", "--workspace", "--message-format", "plain"])
        .output()
        .context("starting cargo, which knows where the workspace is")?;
    let manifest = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    let root = manifest.parent().filter(|_| found.status.success());
    let Some(root) = root.filter(|root| root.join(SCENARIOS).is_dir()) else {
        bail!("this is not the folder of Nearcast: start it where its Cargo.toml lies");
    };
    Ok(root.to_owned())
}

/// The cargo that started this, or that of the path.
fn cargo() -> impl AsRef<OsStr> {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn spinner(what: String) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{spinner} {prefix}: {msg}, {elapsed}")
        .context("the progress bar")?;
    let bar = ProgressBar::new_spinner()
        .with_style(style)
        .with_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}

/// Scenarios that are run together, each with so many seeds.
struct Part {
    /// What the names of its reports end in.
    suffix: &'static str,
    scenarios: Vec<Scenario>,
    seeds: u64,
}

/// Where mutated cores are built and run.
struct Laboratory {
    copy: Copy,
    room: PathBuf,
    /// How long scenarios may take.
    patience: Duration,
    interrupt: Interrupt,
}

impl Laboratory {
    /// Makes a mutation, builds it, and lets it run scenarios. Returns what came of them; `None` where somebody wants the run to end.
    fn results(
        &self,
        mutation: &Mutation,
        place: &str,
        part: &Part,
    ) -> Result<Option<Vec<ScenarioResult>>> {
        if part.scenarios.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let name = &mutation.name;
        let bar = spinner(format!("{name}{place}"))?;
        let told = || format!("the mutation {name}");
        bar.set_message("copying");
        self.copy.bring().with_context(told)?;
        mutation.apply(self.copy.tree())?;
        bar.set_message("building");
        if !self.build(&self.room.join("build")).with_context(told)? {
            return Ok(None);
        }
        bar.set_message("running scenarios");
        let report = self.report(name, part).with_context(told)?;
        bar.finish_and_clear();
        Ok(report.map(|report| report.scenarios))
    }

    /// Lets the copy run the files of these scenarios. `None` where somebody wants the run to end.
    fn report(&self, name: &str, part: &Part) -> Result<Option<LabReport>> {
        let reports = self.room.join("reports");
        fs::create_dir_all(&reports).with_context(|| format!("making {}", reports.display()))?;
        let json = reports.join(format!("{name}{}.json", part.suffix));
        if json.exists() {
            fs::remove_file(&json).with_context(|| format!("removing {}", json.display()))?;
        }
        let files: BTreeSet<&Path> = part.scenarios.iter().map(|one| &*one.file).collect();
        let mut command = Command::new(self.room.join("build/release/nearcast-lab"));
        command
            .arg("run")
            .args(files)
            .args(["--mode", "sim", "--seeds", &part.seeds.to_string()])
            .arg("--json")
            .arg(&json);
        let said = match child::run(&mut command, &self.interrupt, Some(self.patience))? {
            Ended::Interrupted => return Ok(None),
            Ended::TooLate => bail!(
                "its scenarios have not ended after {} s: break something that lets time pass",
                self.patience.as_secs()
            ),
            Ended::By { said, .. } => said,
        };
        let report = fs::read(&json)
            .with_context(|| format!("its scenarios came to no end and left no report:\n{said}"))?;
        let report: LabReport = serde_json::from_slice(&report)
            .with_context(|| format!("reading {}", json.display()))?;
        ensure!(
            !report.interrupted,
            "somebody interrupted its scenarios: run it again"
        );
        Ok(Some(report))
    }

    /// Builds the copy. Returns whether it came to an end: somebody may want the run to end before.
    fn build(&self, build: &Path) -> Result<bool> {
        let begun = self.room.join("begun");
        let partly = build.join("release/incremental");
        // What a compiler kept that was ended halfway does not fit together.
        if begun.exists() && partly.exists() {
            fs::remove_dir_all(&partly)
                .with_context(|| format!("removing {}", partly.display()))?;
        }
        fs::write(&begun, "").with_context(|| format!("writing {}", begun.display()))?;
        let mut command = Command::new(cargo());
        command
            .args(["build", "--locked", "--release", "--quiet"])
            .args(["--package", "nearcast-lab", "--bin", "nearcast-lab"])
            // After a change in the core that takes 7 s of one core, not some 80; what runs long is not the laboratory itself.
            .args([
                "--config",
                "profile.release.package.nearcast-lab.opt-level=0",
            ])
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_TARGET_DIR", build)
            .current_dir(self.copy.tree());
        match child::run(&mut command, &self.interrupt, None)? {
            Ended::Interrupted => return Ok(false),
            Ended::TooLate => bail!("building it does not end"),
            Ended::By { status, said } => {
                ensure!(status.success(), "it does not compile:\n{said}");
            }
        }
        fs::remove_file(&begun).with_context(|| format!("removing {}", begun.display()))?;
        Ok(true)
    }
}
