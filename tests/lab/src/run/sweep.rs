//! Runs scenarios in virtual time, each with many seeds.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::{Context as _, Result, bail};
use nearcast_scenario::{Judge, Minimised, Mode, Problem, Ran, Scenario, ScenarioResult};
use nearcast_sim::Watch;
use nearcast_sim::scenario::simulate_unless;
use rayon::prelude::*;

use super::Way;
use super::gather::{Failure, Gathered, One};
use super::junit::Took;
use super::progress::Progress;
use crate::interrupt::Interrupt;
use crate::moment::Moment;
use crate::stage::unfit;

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
    /// Whether any run's timings are not to be trusted.
    pub(super) busy: bool,
    pub(super) took: Took,
}

/// So many seeds are run before anything is written.
const BATCH: u64 = 64;

/// Runs all, one scenario after the other.
pub(super) fn all(
    scenarios: &[Scenario],
    seeds: Seeds,
    lines: Option<BufWriter<File>>,
) -> Result<Swept> {
    for scenario in scenarios {
        if let Some(reason) = unfit(scenario, Mode::Sim) {
            bail!("{}: {reason}", scenario.name);
        }
    }
    let interrupt = Interrupt::watch()?;
    until(scenarios, seeds, lines, &|| interrupt.is_wanted())
}

/// Whether somebody wants the run to end.
type Stops<'a> = &'a (dyn Fn() -> bool + Sync);

fn until(
    scenarios: &[Scenario],
    seeds: Seeds,
    mut lines: Option<BufWriter<File>>,
    stops: Stops<'_>,
) -> Result<Swept> {
    let began = Moment::now();
    let runs = scenarios
        .iter()
        .map(|scenario| count(scenario, seeds))
        .sum();
    let progress = Progress::new(runs, "{bar:30} {pos}/{len} runs, {eta} left: {wide_msg}")?;
    let mut results = Vec::new();
    let mut each_s = Vec::new();
    for scenario in scenarios {
        progress.runs(&scenario.name);
        let begins = Moment::now();
        let result = sweep(scenario, seeds, lines.as_mut(), &progress, stops)?;
        // Of what nothing was run to its end there is nothing to say.
        if result.seeds > 0 {
            results.push(result);
            each_s.push(begins.elapsed_s());
        }
        if stops() {
            break;
        }
    }
    progress.end();
    if let Some(mut lines) = lines {
        lines.flush().context("writing lines of JSON")?;
    }
    Ok(Swept {
        interrupted: stops(),
        busy: false,
        results,
        took: Took {
            all_s: began.elapsed_s(),
            each_s,
        },
    })
}

pub(super) fn count(scenario: &Scenario, seeds: Seeds) -> u64 {
    scenario
        .seeds_max
        .map_or(seeds.count, |max| seeds.count.min(u64::from(max)))
        .max(1)
}

fn sweep(
    scenario: &Scenario,
    seeds: Seeds,
    mut lines: Option<&mut BufWriter<File>>,
    progress: &Progress,
    stops: Stops<'_>,
) -> Result<ScenarioResult> {
    let last = seeds.first.saturating_add(count(scenario, seeds));
    let mut gathered = Gathered::new(scenario, &Way::SIM, seeds.first);
    let mut from = seeds.first;
    while from < last && !stops() {
        let to = last.min(from.saturating_add(BATCH));
        let all = lines.is_some();
        let ones: Vec<One> = (from..to)
            .into_par_iter()
            .filter_map(|seed| {
                let in_full = all || seed == seeds.first;
                let ran = run(scenario, seed, stops)?;
                let one = One::new(scenario, (&Way::SIM, seed), ran, in_full);
                progress.inc();
                Some(one)
            })
            .collect();
        for one in ones {
            gathered.add(one, lines.as_deref_mut())?;
        }
        from = to;
    }
    let is_small = scenario.sessions() <= WATCHED_MAX;
    let minimise = |problem: &Problem, failure: &Failure| {
        let smaller = || minimised(scenario, problem, failure, stops);
        is_small.then(smaller).flatten()
    };
    let rerun = |seed| {
        // What was run to its end is, however soon the whole is to end, but for what takes long.
        let ran = run(scenario, seed, &|| !is_small && stops())?;
        One::new(scenario, (&Way::SIM, seed), ran, true).into_full()
    };
    Ok(gathered.result(rerun, minimise))
}

/// Runs one; `None` where somebody interrupts it.
fn run(scenario: &Scenario, seed: u64, stops: Stops<'_>) -> Option<Ran> {
    // Large worlds are counted, not watched: checking each session at each step would take most of the time.
    let watch = Watch {
        log: false,
        invariants: scenario.sessions() <= WATCHED_MAX,
    };
    let simulated = simulate_unless(scenario, seed, watch, stops)?;
    Some(simulated.ran)
}

const WATCHED_MAX: u64 = 10;

/// Leaves out of a failing scenario whatever this failure does not need. `None` where somebody interrupts that.
fn minimised(
    scenario: &Scenario,
    problem: &Problem,
    failure: &Failure,
    stops: Stops<'_>,
) -> Option<Minimised> {
    let seed = problem.seed;
    let fails = |smaller: &Scenario| failures(smaller, seed, stops).contains(failure);
    if !fails(scenario) {
        return None;
    }
    let smallest = scenario.minimised(fails);
    Some(Minimised {
        seed,
        problem: problem.what.clone(),
        left: smallest.told(),
        of: u64::try_from(scenario.told().len()).unwrap_or(u64::MAX),
    })
}

/// What fails with one seed. Nothing does where somebody interrupts it.
fn failures(scenario: &Scenario, seed: u64, stops: Stops<'_>) -> Vec<Failure> {
    let Some(ran) = run(scenario, seed, stops) else {
        return Vec::new();
    };
    let mut judge = Judge::new(scenario.expectations.clone());
    ran.judge(seed, &mut judge);
    let missed = judge
        .verdicts()
        .into_iter()
        .filter(|verdict| !verdict.holds);
    let missed = missed.map(|verdict| Failure::missed(scenario, &verdict));
    let broken = ran.problems();
    let broken = broken.iter().map(|what| Failure::broken(what));
    missed.chain(broken).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn scenarios() -> Vec<Scenario> {
        let text = "version = 1\nedges = [{ name = \"a\" }]\ntitle = { duration_s = 20 }";
        let one = Scenario::parse("x.toml".as_ref(), text).unwrap().remove(0);
        let other = Scenario {
            name: "other".to_owned(),
            ..one.clone()
        };
        vec![one, other]
    }

    const ONE: Seeds = Seeds { first: 0, count: 1 };

    #[test]
    fn what_was_not_run_before_an_interruption_is_left_out() {
        let swept = until(&scenarios(), ONE, None, &|| true).unwrap();
        assert!(swept.interrupted);
        assert_eq!(swept.results, []);
        // It is wanted once the first has been run: that is told, and no other.
        let asked = AtomicU64::new(0);
        let once_run = until(&scenarios()[..1], ONE, None, &|| {
            asked.fetch_add(1, Ordering::Relaxed);
            false
        });
        assert!(!once_run.unwrap().interrupted);
        let left = AtomicU64::new(asked.load(Ordering::Relaxed) - 2);
        let stops = || {
            let less = |left: u64| left.checked_sub(1);
            let order = Ordering::Relaxed;
            left.fetch_update(order, order, less).is_err()
        };
        let swept = until(&scenarios(), ONE, None, &stops).unwrap();
        assert!(swept.interrupted);
        let names: Vec<&str> = swept
            .results
            .iter()
            .map(|one| one.scenario.as_str())
            .collect();
        assert_eq!((names.len(), swept.results[0].seeds), (1, 1), "{names:?}");
    }

    #[test]
    fn what_virtual_time_cannot_do_is_told_before_anything_is_run() {
        let text = "version = 1\nedges = [{ name = \"a\" }]\nlast_mile = { mtu_bytes = 1280 }";
        let unfit = Scenario::parse("x.toml".as_ref(), text).unwrap();
        let told = all(&unfit, ONE, None).unwrap_err().to_string();
        assert!(
            told.contains("`last mile` does things to packets"),
            "{told}"
        );
    }
}
