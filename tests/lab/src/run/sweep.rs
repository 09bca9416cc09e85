//! Runs scenarios in virtual time, each with many seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use nearcast_scenario::{
    CellResult, Judge, Minimised, Mode, Problem, RunResult, Scenario, ScenarioResult,
};
use nearcast_sim::Watch;
use nearcast_sim::scenario::{Simulated, simulate_unless};
use rayon::prelude::*;

use super::again;
use crate::interrupt::Interrupt;
use crate::moment::Moment;

/// Which seeds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeds {
    pub(super) first: u64,
    pub(super) count: u64,
}

/// What came of all.
#[derive(Debug)]
pub(super) struct Swept {
    pub(super) results: Vec<ScenarioResult>,
    pub(super) interrupted: bool,
    pub(super) took_s: f64,
}

/// What one seed leaves behind.
struct One {
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
/// So many seeds are run before anything is written.
const BATCH: u64 = 64;

/// Runs all, one scenario after the other.
pub(super) fn all(
    scenarios: &[Scenario],
    seeds: Seeds,
    mut lines: Option<BufWriter<File>>,
) -> Result<Swept> {
    let interrupt = Interrupt::watch()?;
    let began = Moment::now();
    let runs = scenarios
        .iter()
        .map(|scenario| count(scenario, seeds))
        .sum();
    let bar = ProgressBar::new(runs).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {eta} left: {wide_msg}")
            .context("the progress bar")?,
    );
    let mut results = Vec::new();
    for scenario in scenarios {
        bar.set_message(scenario.name.clone());
        results.push(sweep(scenario, seeds, lines.as_mut(), &bar, &interrupt)?);
        if interrupt.is_wanted() {
            break;
        }
    }
    bar.finish_and_clear();
    if let Some(mut lines) = lines {
        lines.flush().context("writing lines of JSON")?;
    }
    Ok(Swept {
        interrupted: interrupt.is_wanted(),
        results,
        took_s: began.elapsed_s(),
    })
}

fn count(scenario: &Scenario, seeds: Seeds) -> u64 {
    scenario
        .seeds_max
        .map_or(seeds.count, |max| seeds.count.min(u64::from(max)))
        .max(1)
}

fn sweep(
    scenario: &Scenario,
    seeds: Seeds,
    mut lines: Option<&mut BufWriter<File>>,
    bar: &ProgressBar,
    interrupt: &Interrupt,
) -> Result<ScenarioResult> {
    let last = seeds.first.saturating_add(count(scenario, seeds));
    let mut judge = Judge::new(scenario.expectations.clone());
    let mut receipts: BTreeMap<String, u64> = BTreeMap::new();
    let (mut done, mut sessions, mut played) = (0, 0, Duration::ZERO);
    let mut problems = Vec::new();
    let mut runs: Vec<RunResult> = Vec::new();
    let mut from = seeds.first;
    while from < last && !interrupt.is_wanted() {
        let to = last.min(from.saturating_add(BATCH));
        let all = lines.is_some();
        let ones: Vec<One> = (from..to)
            .into_par_iter()
            .filter_map(|seed| {
                let one = one(scenario, seed, all || seed == seeds.first, interrupt)?;
                bar.inc(1);
                Some(one)
            })
            .collect();
        for mut one in ones {
            done += 1;
            sessions += one.sessions;
            played += one.played;
            judge.add(one.judge);
            for (id, count) in one.receipts {
                *receipts.entry(id).or_default() += count;
            }
            let fails = !one.holds || !one.problems.is_empty();
            problems.extend(
                one.problems
                    .into_iter()
                    .map(|what| problem(scenario, one.seed, what)),
            );
            let Some(full) = one.full.take() else {
                continue;
            };
            if let Some(lines) = lines.as_deref_mut() {
                serde_json::to_writer(&mut *lines, &full).map_err(std::io::Error::from)?;
                lines.write_all(b"\n")?;
            }
            // The first one, and the first that fails.
            if runs.is_empty() || fails && runs.iter().all(|run| run.passed) {
                runs.push(full);
            }
        }
        from = to;
    }
    let verdicts = judge.verdicts();
    let missed = verdicts.iter().filter(|verdict| !verdict.holds);
    let missed = missed.map(|verdict| {
        let seed = verdict.seed.unwrap_or(seeds.first);
        problem(scenario, seed, verdict.to_string())
    });
    problems.extend(missed);
    problems.truncate(PROBLEMS_MAX);
    let first_failing = problems.first().map(|problem| problem.seed);
    let is_small = scenario.sessions() <= WATCHED_MAX;
    let minimised = first_failing
        .filter(|_| is_small)
        .and_then(|seed| minimised(scenario, seed, interrupt));
    Ok(ScenarioResult {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        file: scenario.file.display().to_string(),
        cell: scenario.cell.as_ref().map(|cell| CellResult {
            shape: cell.shape.clone(),
            object: cell.object.clone(),
            place: cell.place(),
        }),
        passed: problems.is_empty(),
        seeds: done,
        sessions,
        played_s: played.as_secs_f64(),
        verdicts,
        minimised,
        problems,
        receipts,
        runs,
    })
}

fn problem(scenario: &Scenario, seed: u64, what: String) -> Problem {
    Problem {
        seed,
        what,
        again: again(scenario, Mode::Sim, seed),
    }
}

/// Runs one; `None` where somebody interrupts it.
fn run(scenario: &Scenario, seed: u64, interrupt: &Interrupt) -> Option<Simulated> {
    // Large worlds are counted, not watched: checking each session at each step would take most of the time.
    let watch = Watch {
        log: false,
        invariants: scenario.sessions() <= WATCHED_MAX,
    };
    simulate_unless(scenario, seed, watch, || interrupt.is_wanted())
}

const WATCHED_MAX: u64 = 10;

fn one(scenario: &Scenario, seed: u64, in_full: bool, interrupt: &Interrupt) -> Option<One> {
    let simulated = run(scenario, seed, interrupt)?;
    let mut judge = Judge::new(scenario.expectations.clone());
    let holds = simulated.judge(seed, &mut judge);
    let mut receipts: BTreeMap<String, u64> = BTreeMap::new();
    for receipt in &simulated.receipts {
        let id = receipt.id.clone().unwrap_or_else(|| receipt.fault.clone());
        *receipts.entry(id).or_default() += 1;
    }
    let problems = simulated.problems();
    let (sessions, played) = (simulated.players.len(), simulated.virtual_time());
    let wanted = in_full || !holds || !problems.is_empty();
    Some(One {
        seed,
        holds,
        problems,
        sessions: u64::try_from(sessions).unwrap_or(u64::MAX),
        played,
        receipts,
        judge,
        full: wanted.then(|| {
            let again = again(scenario, Mode::Sim, seed);
            simulated.into_result(scenario, seed, again, PLAYERS_MAX)
        }),
    })
}

/// Leaves out of a failing scenario whatever its failure does not need. `None` where one seed alone does not fail: the
/// expectation is one over many.
fn minimised(scenario: &Scenario, seed: u64, interrupt: &Interrupt) -> Option<Minimised> {
    let found = failures(scenario, seed, interrupt);
    if found.is_empty() {
        return None;
    }
    let smallest =
        scenario.minimised(|smaller| !failures(smaller, seed, interrupt).is_disjoint(&found));
    Some(Minimised {
        seed,
        left: smallest.told(),
        of: u64::try_from(scenario.told().len()).unwrap_or(u64::MAX),
    })
}

/// What fails with one seed: expectations as they are written, and what is wrong whatever was expected, by its kind. Nothing
/// does where somebody interrupts it.
fn failures(scenario: &Scenario, seed: u64, interrupt: &Interrupt) -> BTreeSet<String> {
    let Some(simulated) = run(scenario, seed, interrupt) else {
        return BTreeSet::new();
    };
    let mut judge = Judge::new(scenario.expectations.clone());
    simulated.judge(seed, &mut judge);
    let missed = judge
        .verdicts()
        .into_iter()
        .filter(|verdict| !verdict.holds);
    let missed = missed.map(|verdict| verdict.expectation);
    // When an invariant breaks is another moment in another schedule.
    let broken = simulated.problems().into_iter().map(|what| {
        let words = what.split(' ').filter(|word| word.parse::<f64>().is_err());
        words.collect::<Vec<_>>().join(" ")
    });
    missed.chain(broken).collect()
}
