//! What came of a scenario's runs, put together: the same for all ways to run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::time::Duration;

use anyhow::Result;
use nearcast_scenario::{
    CellResult, Judge, Minimised, Problem, Ran, RunResult, Scenario, ScenarioResult,
};

use super::{Way, again, command};

/// What one seed leaves behind.
pub(super) struct One {
    seed: u64,
    judge: Judge,
    holds: bool,
    problems: Vec<String>,
    sessions: u64,
    played: Duration,
    receipts: BTreeMap<String, u64>,
    /// All of it, where somebody wants to see it.
    full: Option<RunResult>,
}

/// More of them say nothing new.
const PROBLEMS_MAX: usize = 20;
/// Reports in a document; worlds have thousands.
const PLAYERS_MAX: usize = 8;

impl One {
    /// Judges a run; all of it is kept where that is wanted, or it fails.
    pub(super) fn new(
        scenario: &Scenario,
        (way, seed): (&Way, u64),
        ran: Ran,
        in_full: bool,
    ) -> Self {
        let mut judge = Judge::new(scenario.expectations.clone());
        let holds = ran.judge(seed, &mut judge);
        let mut receipts: BTreeMap<String, u64> = BTreeMap::new();
        for receipt in &ran.receipts {
            let id = receipt.id.clone().unwrap_or_else(|| receipt.fault.clone());
            *receipts.entry(id).or_default() += 1;
        }
        let problems = ran.problems();
        let wanted = in_full || !holds || !problems.is_empty();
        Self {
            seed,
            holds,
            problems,
            sessions: u64::try_from(ran.players.len()).unwrap_or(u64::MAX),
            played: ran.session_time(),
            receipts,
            judge,
            full: wanted.then(|| {
                let again = again(scenario, way, seed);
                ran.into_result(scenario, (way.mode, seed), again, PLAYERS_MAX)
            }),
        }
    }

    /// Tells of a run that did not come to its end.
    pub(super) fn failed(scenario: &Scenario, seed: u64, what: String) -> Self {
        Self {
            seed,
            judge: Judge::new(scenario.expectations.clone()),
            holds: true,
            problems: vec![what],
            sessions: 0,
            played: Duration::ZERO,
            receipts: BTreeMap::new(),
            full: None,
        }
    }
}

/// What came of a scenario's runs so far.
pub(super) struct Gathered<'a> {
    scenario: &'a Scenario,
    way: &'a Way,
    first_seed: u64,
    judge: Judge,
    receipts: BTreeMap<String, u64>,
    done: u64,
    sessions: u64,
    played: Duration,
    problems: Vec<Problem>,
    /// The first one, and the first that fails.
    runs: Vec<RunResult>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(scenario: &'a Scenario, way: &'a Way, first_seed: u64) -> Self {
        Self {
            judge: Judge::new(scenario.expectations.clone()),
            scenario,
            way,
            first_seed,
            receipts: BTreeMap::new(),
            done: 0,
            sessions: 0,
            played: Duration::ZERO,
            problems: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Takes a run; it becomes a line where lines are wanted.
    pub(super) fn add(&mut self, mut one: One, lines: Option<&mut BufWriter<File>>) -> Result<()> {
        self.done += 1;
        self.sessions += one.sessions;
        self.played += one.played;
        self.judge.add(one.judge);
        for (id, count) in one.receipts {
            *self.receipts.entry(id).or_default() += count;
        }
        let fails = !one.holds || !one.problems.is_empty();
        for what in one.problems {
            self.problem(one.seed, what);
        }
        let Some(full) = one.full.take() else {
            return Ok(());
        };
        if let Some(lines) = lines {
            serde_json::to_writer(&mut *lines, &full).map_err(std::io::Error::from)?;
            lines.write_all(b"\n")?;
        }
        if self.runs.is_empty() || fails && self.runs.iter().all(|run| run.passed) {
            self.runs.push(full);
        }
        Ok(())
    }

    fn problem(&mut self, seed: u64, what: String) {
        self.problems.push(Problem {
            seed,
            what,
            again: again(self.scenario, self.way, seed),
        });
    }

    /// Judges all of it. `minimise` makes the first failing seed's schedule smaller, where that can be done.
    pub(super) fn result(
        mut self,
        minimise: impl FnOnce(&Scenario, u64) -> Option<Minimised>,
    ) -> ScenarioResult {
        let verdicts = self.judge.verdicts();
        for what in self.scenario.never_struck(self.done, &self.receipts) {
            self.problems.push(Problem {
                seed: self.first_seed,
                what,
                // Several seeds are those from 0 on.
                again: command(self.scenario, self.way, &format!("--seeds {}", self.done)),
            });
        }
        for verdict in verdicts.iter().filter(|verdict| !verdict.holds) {
            self.problem(verdict.seed.unwrap_or(self.first_seed), verdict.to_string());
        }
        self.problems.truncate(PROBLEMS_MAX);
        let first_failing = self.problems.first().map(|problem| problem.seed);
        let scenario = self.scenario;
        ScenarioResult {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            file: scenario.file.display().to_string(),
            cell: scenario.cell.as_ref().map(|cell| CellResult {
                shape: cell.shape.clone(),
                object: cell.object.clone(),
                place: cell.place(),
            }),
            passed: self.problems.is_empty(),
            seeds: self.done,
            sessions: self.sessions,
            played_s: self.played.as_secs_f64(),
            verdicts,
            minimised: first_failing.and_then(|seed| minimise(scenario, seed)),
            problems: self.problems,
            receipts: self.receipts,
            runs: self.runs,
        }
    }
}
