//! What came of a scenario's runs, put together: the same for all ways to run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::time::Duration;

use anyhow::Result;
use nearcast_scenario::{
    CellResult, Judge, Minimised, Mode, Problem, Ran, RunResult, Scenario, ScenarioResult, Verdict,
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

    /// Returns all of it, where it was kept.
    pub(super) fn into_full(self) -> Option<RunResult> {
        self.full
    }
}

/// What is wrong with one seed alone, whatever its numbers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// An expectation, as it is written, and whether too much was found; `None` where there was nothing to look at.
    Expectation(String, Option<bool>),
    /// What is wrong whatever was expected.
    Broken(String),
}

impl Failure {
    /// What a verdict misses. A schedule that gives too little instead of too much is another failure.
    pub(super) fn missed(scenario: &Scenario, verdict: &Verdict) -> Self {
        let mut all = scenario.expectations.iter();
        let missed = all.find(|one| one.to_string() == verdict.expectation);
        let too_much = missed.and_then(|one| Some(one.is_exceeded_by(verdict.found?)));
        Self::Expectation(verdict.expectation.clone(), too_much)
    }

    /// When an invariant breaks is another moment in another schedule: numbers are left out.
    pub(super) fn broken(what: &str) -> Self {
        let words = what.split(' ').filter(|word| word.parse::<f64>().is_err());
        Self::Broken(words.collect::<Vec<_>>().join(" "))
    }
}

/// A problem, and what fails with its seed alone; `None` where only many seeds show it.
struct Found {
    problem: Problem,
    alone: Option<Failure>,
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
    found: Vec<Found>,
    has_failed: bool,
    /// Seeds whose runs are kept whatever comes: the first one, the first that fails, those with problems of their own.
    kept: BTreeSet<u64>,
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
            found: Vec::new(),
            has_failed: false,
            kept: BTreeSet::new(),
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
        let is_named = !one.problems.is_empty() && self.found.len() < PROBLEMS_MAX;
        if self.kept.is_empty() || fails && !self.has_failed || is_named {
            self.kept.insert(one.seed);
        }
        self.has_failed |= fails;
        for what in one.problems {
            let alone = Some(Failure::broken(&what));
            self.problem(one.seed, what, alone);
        }
        let Some(full) = one.full.take() else {
            return Ok(());
        };
        if let Some(lines) = lines {
            serde_json::to_writer(&mut *lines, &full).map_err(std::io::Error::from)?;
            lines.write_all(b"\n")?;
        }
        // In virtual time a run is made again where its seed is named at last; a real one is never the same again.
        if self.way.mode != Mode::Sim {
            self.runs.push(full);
            let named: BTreeSet<Option<u64>> =
                self.judge.verdicts().iter().map(|one| one.seed).collect();
            let kept = &self.kept;
            self.runs
                .retain(|run| kept.contains(&run.seed) || named.contains(&Some(run.seed)));
        } else if self.kept.contains(&full.seed) {
            self.runs.push(full);
        }
        Ok(())
    }

    /// Notes a problem: the command that shows it again is with its seed where that shows it, with all seeds elsewhere.
    fn problem(&mut self, seed: u64, what: String, alone: Option<Failure>) {
        let again = match alone {
            None if self.done > 1 => {
                // Several seeds are those from 0 on.
                command(self.scenario, self.way, &format!("--seeds {}", self.done))
            }
            _ => again(self.scenario, self.way, seed),
        };
        self.found.push(Found {
            problem: Problem { seed, what, again },
            alone,
        });
    }

    fn missed(&mut self, verdict: &Verdict) {
        let seed = verdict.seed.unwrap_or(self.first_seed);
        let expectation = &verdict.expectation;
        let is_shown = self.done == 1 || self.judge.is_shown_by(seed, expectation);
        let alone = is_shown.then(|| Failure::missed(self.scenario, verdict));
        self.problem(seed, verdict.to_string(), alone);
    }

    /// Keeps the runs that problems name; `rerun` makes again what was not kept.
    fn keep_named(&mut self, rerun: impl FnMut(u64) -> Option<RunResult>) {
        let named = self.found.iter().map(|one| one.problem.seed);
        self.kept.extend(named);
        self.runs.retain(|run| self.kept.contains(&run.seed));
        let has: BTreeSet<u64> = self.runs.iter().map(|run| run.seed).collect();
        let lacks = self.kept.difference(&has).copied();
        self.runs.extend(lacks.filter_map(rerun));
        self.runs.sort_by_key(|run| run.seed);
    }

    /// Judges all of it. `rerun` makes a seed's run again, and `minimise` a schedule smaller with which a problem is there
    /// that its seed alone shows; both where that can be done.
    pub(super) fn result(
        mut self,
        rerun: impl FnMut(u64) -> Option<RunResult>,
        minimise: impl FnOnce(&Problem, &Failure) -> Option<Minimised>,
    ) -> ScenarioResult {
        let verdicts = self.judge.verdicts();
        for what in self.scenario.never_struck(self.done, &self.receipts) {
            self.problem(self.first_seed, what, None);
        }
        for verdict in verdicts.iter().filter(|verdict| !verdict.holds) {
            self.missed(verdict);
        }
        self.found.truncate(PROBLEMS_MAX);
        self.keep_named(rerun);
        let mut alone = self.found.iter();
        let first = alone.find_map(|one| Some((&one.problem, one.alone.as_ref()?)));
        let minimised = first.and_then(|(problem, failure)| minimise(problem, failure));
        let problems: Vec<Problem> = self.found.into_iter().map(|one| one.problem).collect();
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
            passed: problems.is_empty(),
            seeds: self.done,
            sessions: self.sessions,
            played_s: self.played.as_secs_f64(),
            verdicts,
            minimised,
            problems,
            receipts: self.receipts,
            runs: self.runs,
        }
    }
}
