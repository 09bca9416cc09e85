//! Makes one report of files: of whole reports, of lines that are runs, of what a player wrote of itself.
//!
//! A line was judged by itself: of a scenario's lines together, expectations are judged again. Where that cannot be, as of worlds of
//! which no line has all reports, those are shown of the first line that misses them, what is of all together among them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use nearcast_protocol::report::{self, SessionReport};
use nearcast_scenario::{
    Judge, LabReport, Mode, PlayerResult, Problem, RunResult, SCHEMA, ScenarioResult,
};
use serde_json::Value;

use crate::compare::{Counted, Tally};
use crate::documents::RECORDED;

/// More of them say nothing new.
const PROBLEMS_MAX: usize = 20;

/// Reads files into one report; figures are counted where it is to be compared.
pub(super) fn all(files: &[PathBuf], is_counted: bool) -> Result<Counted> {
    let mut reports = Vec::new();
    let mut lines = Lines {
        is_counted,
        ..Lines::default()
    };
    for path in files {
        if path.is_dir() {
            for kept in of_folder(path)? {
                reports.extend(one(&kept, &mut lines)?);
            }
        } else {
            reports.extend(one(path, &mut lines)?);
        }
    }
    reports.extend(lines.finish());
    let mut reports = reports.into_iter();
    let mut all = reports.next().context("no file is given")?;
    for Counted { report, tallies } in reports {
        let all_tallies = &mut all.tallies;
        let all = &mut all.report;
        if report.mode != all.mode {
            bail!(DIFFERENT_WAYS);
        }
        all.passed &= report.passed;
        all.interrupted |= report.interrupted;
        all.busy |= report.busy;
        all.scenarios.extend(report.scenarios);
        all_tallies.extend(tallies);
    }
    Ok(all)
}

/// Returns the reports of sessions that `run --record` left in a folder.
fn of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let shown = folder.display();
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {shown}"))? {
        let path = entry.with_context(|| format!("reading {shown}"))?.path();
        if path.to_string_lossy().ends_with(RECORDED) {
            kept.push(path);
        }
    }
    if kept.is_empty() {
        bail!(
            "{shown} holds no file that ends in {RECORDED}: give a folder of `nearcast-lab run --record`, or what --json or --jsonl \
             wrote"
        );
    }
    kept.sort();
    Ok(kept)
}

/// Reads a file, however many documents are in it; returns the report that it holds, if it holds no runs.
fn one(path: &Path, lines: &mut Lines) -> Result<Option<Counted>> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("reading {shown}"))?;
    let mut all: Option<LabReport> = None;
    let before = lines.runs;
    let documents = serde_json::Deserializer::from_reader(BufReader::new(file));
    for (number, document) in (1..).zip(documents.into_iter::<Value>()) {
        let document = document.with_context(|| format!("{shown} is no JSON"))?;
        let place = || format!("{shown}, document {number}");
        match document.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) if document.get("scenarios").is_some() => {
                let report: LabReport = serde_json::from_value(document).with_context(place)?;
                match &mut all {
                    None => all = Some(report),
                    Some(_) => {
                        bail!("{shown} holds more than one report: give each a file of its own")
                    }
                }
            }
            Some(SCHEMA) => lines.add(serde_json::from_value(document).with_context(place)?)?,
            Some(report::SCHEMA) => {
                let report = serde_json::from_value(document).with_context(place)?;
                lines.add(of_player(path, report))?;
            }
            other => bail!(
                "{}: schema {}, and {SCHEMA} (`nearcast-lab run --json` or `--jsonl`) or {} (`nearcast play --report`) would \
                 be right",
                place(),
                other.unwrap_or("is missing"),
                report::SCHEMA
            ),
        }
    }
    match (all, lines.runs > before) {
        (Some(report), false) => Ok(Some(Counted {
            tallies: report.scenarios.iter().map(Tally::of).collect(),
            report,
        })),
        (None, true) => Ok(None),
        (None, false) => {
            bail!("{shown} is empty: it was not written to its end, or nothing was run")
        }
        (Some(_), true) => bail!("{shown} holds a report and runs: give each a file of its own"),
    }
}

/// A player's own report as a run: nobody knows what its network was like.
fn of_player(path: &Path, report: SessionReport) -> RunResult {
    let name = path.file_stem().unwrap_or(path.as_os_str());
    let problems = report.error.iter();
    RunResult {
        schema: SCHEMA.to_owned(),
        scenario: name.to_string_lossy().into_owned(),
        file: path.display().to_string(),
        mode: mode_of(&report),
        seed: 0,
        again: String::new(),
        passed: report.error.is_none(),
        problems: problems
            .map(|error| format!("{}: {}", error.code, error.message))
            .collect(),
        verdicts: Vec::new(),
        receipts: Vec::new(),
        links: Vec::new(),
        load: Vec::new(),
        busy: report.busy,
        sessions: 1,
        players: vec![PlayerResult {
            player: if report.player.name.is_empty() {
                "player".to_owned()
            } else {
                report.player.name.clone()
            },
            begins_s: 0.0,
            report,
        }],
    }
}

/// Processes say what they used of the machine; in virtual time, as in a replay, there is nothing to say.
fn mode_of(report: &SessionReport) -> Mode {
    match (report.cpu_s, report.peak_rss_bytes) {
        (None, None) => Mode::Sim,
        _ => Mode::App,
    }
}

const DIFFERENT_WAYS: &str =
    "what was run in different ways makes no one report: give one of them to --compare";

/// Runs one after the other, of all files, of which only those are kept that a report keeps.
#[derive(Default)]
struct Lines {
    runs: u64,
    mode: Option<Mode>,
    busy: bool,
    all: Vec<OfScenario>,
    is_counted: bool,
    /// By file and scenario, the place in `all`.
    places: BTreeMap<(String, String), usize>,
}

impl Lines {
    fn add(&mut self, run: RunResult) -> Result<()> {
        ensure!(
            *self.mode.get_or_insert(run.mode) == run.mode,
            DIFFERENT_WAYS
        );
        self.runs += 1;
        self.busy |= run.busy;
        let key = (run.file.clone(), run.scenario.clone());
        let place = *self.places.entry(key).or_insert(self.all.len());
        if place == self.all.len() {
            self.all.push(OfScenario::begin(&run));
        }
        if let Some(scenario) = self.all.get_mut(place) {
            scenario.add(run, self.is_counted);
        }
        Ok(())
    }

    fn finish(self) -> Option<Counted> {
        let all = self.all.into_iter().map(OfScenario::finish);
        let (scenarios, tallies): (Vec<ScenarioResult>, Vec<Tally>) = all.unzip();
        let report = LabReport {
            schema: SCHEMA.to_owned(),
            mode: self.mode?,
            passed: scenarios.iter().all(|result| result.passed),
            interrupted: false,
            busy: self.busy,
            scenarios,
        };
        Some(Counted { report, tallies })
    }
}

/// The runs of one scenario so far.
struct OfScenario {
    result: ScenarioResult,
    /// It stays empty where nothing is counted.
    tally: Tally,
    /// What all runs together are; `None` where that cannot be told.
    judge: Option<Judge>,
    /// The first one, and the command that runs it again.
    first: (u64, String),
    /// After the last one's seed.
    ends: u64,
}

impl OfScenario {
    fn begin(run: &RunResult) -> Self {
        let result = ScenarioResult {
            scenario: run.scenario.clone(),
            about: String::new(),
            file: run.file.clone(),
            cell: None,
            passed: true,
            seeds: 0,
            sessions: 0,
            played_s: 0.0,
            verdicts: Vec::new(),
            problems: Vec::new(),
            minimised: None,
            receipts: BTreeMap::new(),
            runs: Vec::new(),
        };
        Self {
            result,
            tally: Tally::default(),
            judge: None,
            first: (run.seed, run.again.clone()),
            ends: 0,
        }
    }

    /// The command that runs all of them again: several are those from 0 on; none where these are others.
    fn again(&self) -> String {
        let (seed, again) = &self.first;
        match self.result.seeds {
            1 => again.clone(),
            all if all == self.ends => {
                again.replace(&format!("--seed {seed}"), &format!("--seeds {all}"))
            }
            _ => String::new(),
        }
    }

    fn add(&mut self, run: RunResult, is_counted: bool) {
        if is_counted {
            self.tally.add(&run);
        }
        let judge = run.judge();
        match (&mut self.judge, judge) {
            (None, judge) if self.result.seeds == 0 => self.judge = judge,
            (Some(all), Some(judge)) if all.expects_as(&judge) => all.add(judge),
            _ => self.judge = None,
        }
        self.ends = self.ends.max(run.seed.saturating_add(1));
        let result = &mut self.result;
        result.passed &= run.passed;
        result.seeds += 1;
        result.sessions += run.sessions.max(run.players.len() as u64);
        result.played_s += run.players.iter().map(|one| one.report.wall_s).sum::<f64>();
        for receipt in &run.receipts {
            let id = receipt.id.as_ref().unwrap_or(&receipt.fault);
            *result.receipts.entry(id.clone()).or_default() += 1;
        }
        let problems = run.problems.iter().map(|what| Problem {
            seed: run.seed,
            what: what.clone(),
            again: run.again.clone(),
        });
        let is_named = !run.problems.is_empty() && result.problems.len() < PROBLEMS_MAX;
        result.problems.extend(problems);
        result.problems.truncate(PROBLEMS_MAX);
        for verdict in &run.verdicts {
            let known = result.verdicts.iter_mut();
            let known = known
                .into_iter()
                .find(|one| one.expectation == verdict.expectation);
            match known {
                None => result.verdicts.push(verdict.clone()),
                Some(known) => {
                    let numbers = known.numbers + verdict.numbers;
                    if (known.holds && !verdict.holds) || known.found.is_none() {
                        known.clone_from(verdict);
                    }
                    known.numbers = numbers;
                }
            }
        }
        if result.runs.is_empty() || is_named {
            result.runs.push(run);
        }
    }

    fn finish(self) -> (ScenarioResult, Tally) {
        let again = self.again();
        let mut result = self.result;
        if let Some(judge) = self.judge {
            result.verdicts = judge.verdicts();
        }
        let together = result
            .verdicts
            .iter()
            .filter(|one| one.of_all && !one.holds);
        let mut missed: Vec<Problem> = together
            .map(|verdict| Problem {
                seed: verdict.seed.unwrap_or(0),
                what: verdict.to_string(),
                again: again.clone(),
            })
            .collect();
        result.passed &= missed.is_empty();
        missed.append(&mut result.problems);
        missed.truncate(PROBLEMS_MAX);
        result.problems = missed;
        (result, self.tally)
    }
}
