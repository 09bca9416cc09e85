//! Whether the ways to run a scenario agree: the same title, links and faults in virtual time, over sockets and over packets.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use nearcast_appliance::fault::Scope;
use nearcast_protocol::report::SessionReport;
use nearcast_scenario::{Mode, Place, PlayerResult, Ran, Scenario};
use nearcast_sim::scenario::simulate_nth;
use nearcast_sim::{SimTitle, Watch};
use nearcast_units::BitRate;

use super::real::{self, Job, RealArguments};
use super::{ModeName, again, find};
use crate::abr::table::{mean, standard_error};
use crate::interrupt::Interrupt;
use crate::packet;
use crate::stage::{Folders, Titles, keep_reports, unfit};
use crate::write;

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct AgreeArguments {
    /// Scenario files, and folders of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Ways to run beside `sim`
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["app", "packet"])]
    modes: Vec<ModeName>,
    /// So many seeds, from 0 on: figures are of all of them together
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// So many at most where runs of a scenario differ so much among themselves that more have to be made
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..))]
    seeds_max: u64,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    #[command(flatten)]
    real: RealArguments,
}

/// Runs each scenario in every way it allows, prints a table of what differs. Exit status 1 where that is too much, 2 where a
/// file cannot be read.
pub(crate) fn execute(arguments: &AgreeArguments) -> Result<ExitCode> {
    let modes: Vec<Mode> = arguments
        .modes
        .iter()
        .map(|mode| Mode::from(*mode))
        .collect();
    if modes.contains(&Mode::Packet) {
        packet::gain()?;
    }
    let mut scenarios = match find::scenarios(&arguments.paths)? {
        Ok(scenarios) => scenarios,
        Err(errors) => {
            for error in errors {
                write::tell(&format!("{error}\n"))?;
            }
            return Ok(ExitCode::from(2));
        }
    };
    let asked = |scenario: &Scenario| {
        let named = arguments.only.as_deref();
        named.is_none_or(|text| scenario.name.contains(text))
    };
    scenarios.retain(asked);
    arguments.real.check_names(&scenarios)?;
    // From here on folders and processes are there that an end in disorder would leave.
    let interrupt = Interrupt::watch()?;
    // It keeps what it cuts of the title as long as it is there itself.
    let mut titles = Titles::open(&arguments.real.title)?;
    let compared = compared(&scenarios, &modes, &arguments.real, &mut titles)?;
    if compared.is_empty() {
        let names: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
        bail!(
            "none of these scenarios can be run both in sim and in one of --modes {}, by its `modes` or by --only: leave one of \
             them out, or name another",
            names.join(",")
        );
    }
    let (runs, problems) = run(compared, arguments, &interrupt)?;
    let differences = differences(&scenarios, &runs);
    write::print(&table(&differences))?;
    write::print(&problems.concat())?;
    if interrupt.is_wanted() {
        write::tell("interrupted: this is what was done by then\n")?;
    }
    if runs.values().flatten().any(|ran| ran.busy) {
        write::tell("this machine was too busy for the timings to be trusted: run it once more\n")?;
    }
    let agree = differences.iter().all(|one| one.holds);
    let all_right = agree && problems.is_empty() && !interrupt.is_wanted();
    Ok(if all_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns the scenarios that can be run in one of these ways beside `sim`; tells of each way that does not fit.
fn compared<'a>(
    scenarios: &'a [Scenario],
    modes: &[Mode],
    real: &RealArguments,
    titles: &mut Titles,
) -> Result<Vec<Compared<'a>>> {
    let mut compared = Vec::new();
    let all = scenarios.iter().enumerate();
    for (place, scenario) in all.filter(|(_, one)| one.modes.contains(&Mode::Sim)) {
        let mut ways = Vec::new();
        let wanted = modes.iter().filter(|mode| scenario.modes.contains(mode));
        for mode in wanted.filter(|mode| **mode != Mode::Sim) {
            match unfit(scenario, *mode) {
                Some(reason) => write::tell(&format!("{}: {reason}\n", scenario.name))?,
                None => ways.push(*mode),
            }
        }
        if !ways.is_empty() {
            compared.push(Compared {
                place,
                scenario,
                ways,
                title: titles.simulated(scenario.duration)?,
                folders: real.folders(titles, scenario)?,
            });
        }
    }
    Ok(compared)
}

/// Runs all with so many seeds, and those of which the means are not known yet with more. Returns what went wrong, too.
fn run(
    mut compared: Vec<Compared<'_>>,
    arguments: &AgreeArguments,
    interrupt: &Interrupt,
) -> Result<(Runs, Vec<String>)> {
    let (mut runs, mut problems) = (Runs::default(), Vec::new());
    let mut seeds = 0..arguments.seeds;
    while !compared.is_empty() && !interrupt.is_wanted() {
        let mut jobs = Vec::new();
        for one in &compared {
            one.simulate(seeds.clone(), &arguments.real, &mut runs)?;
            jobs.extend(seeds.clone().flat_map(|seed| one.jobs(seed)));
        }
        real::make(jobs, arguments.real.jobs, interrupt, |job, made| {
            let again = again(job.scenario, &arguments.real.way(job.mode), job.seed);
            match made.ran {
                Ok(ran) => {
                    let told = ran.problems().into_iter();
                    problems.extend(told.map(|what| format!("{what}\n  again: {again}\n")));
                    runs.entry((job.place, job.mode)).or_default().push(ran);
                }
                Err(error) => problems.push(format!("{error:#}\n  again: {again}\n")),
            }
            Ok(())
        })?;
        seeds = seeds.end..arguments.seeds_max.min(seeds.end * 2);
        compared.retain(|one| !seeds.is_empty() && !one.is_known(&runs));
    }
    Ok((runs, problems))
}

/// Compares what was run in more ways than one.
fn differences(scenarios: &[Scenario], runs: &Runs) -> Vec<Difference> {
    let of_scenario = scenarios.iter().enumerate().map(|(place, scenario)| {
        let modes = [Mode::Sim, Mode::App, Mode::Packet].into_iter();
        let seen = modes.filter_map(|mode| Some((mode, Figures::of(runs.get(&(place, mode))?))));
        let mut seen: Vec<(Mode, Figures)> = seen.collect();
        if !failovers_count(scenario, &seen) {
            for (_, figures) in &mut seen {
                figures.failover_s = None;
            }
        }
        (scenario, seen)
    });
    // Alone it agrees with nobody.
    let together = of_scenario.filter(|(_, seen)| seen.len() > 1);
    together
        .flat_map(|(scenario, seen)| compare(&scenario.name, &seen))
        .collect()
}

/// What came of each scenario, by its place, in each way.
type Runs = BTreeMap<(usize, Mode), Vec<Ran>>;

/// A scenario that is compared.
struct Compared<'a> {
    place: usize,
    scenario: &'a Scenario,
    ways: Vec<Mode>,
    title: Arc<SimTitle>,
    folders: Folders,
}

impl<'a> Compared<'a> {
    fn simulate(&self, seeds: Range<u64>, real: &RealArguments, runs: &mut Runs) -> Result<()> {
        for seed in seeds {
            let simulated: Vec<Ran> = (0..SIMULATED)
                .map(|nth| simulate_nth(self.scenario, &self.title, seed, nth, UNWATCHED).ran)
                .collect();
            if let (Some(folder), Some(one)) = (&real.record, simulated.first()) {
                keep_reports(folder, self.scenario, (Mode::Sim, seed), one)?;
            }
            let all = runs.entry((self.place, Mode::Sim)).or_default();
            all.extend(simulated);
        }
        Ok(())
    }

    fn jobs(&self, seed: u64) -> impl Iterator<Item = Job<'a>> {
        self.ways.iter().map(move |mode| Job {
            place: self.place,
            scenario: self.scenario,
            mode: *mode,
            seed,
            folders: self.folders.clone(),
        })
    }

    /// Whether the means of all ways are known well enough: where runs differ among themselves, a few say nothing. Where none came
    /// to its end, more would not either.
    fn is_known(&self, runs: &Runs) -> bool {
        let of = |mode| runs.get(&(self.place, mode));
        let Some(simulated) = of(Mode::Sim) else {
            return true;
        };
        let all = [Mode::Sim, Mode::App, Mode::Packet].into_iter();
        let seen = all.filter_map(|mode| Some((mode, Figures::of(of(mode)?))));
        let has_failovers = failovers_count(self.scenario, &seen.collect::<Vec<_>>());
        let bitrate_max = Figures::of(simulated).bitrate_kbps * BITRATE_MAX;
        self.ways.iter().filter_map(|mode| of(*mode)).all(|ran| {
            let known = |of: fn(&SessionReport) -> f64, allowed: f64| {
                is_certain(&each(simulated, of), &each(ran, of), allowed)
            };
            known(stalls, STALLS_MAX)
                && known(switches, SWITCHES_MAX)
                && known(bitrate_kbps, bitrate_max)
                && (!has_failovers
                    || medians_are_certain(&failovers_s(simulated), &failovers_s(ran)))
        })
    }
}

/// Whether it is certain that the means of two ways differ by less than is allowed, or that they differ by more: each is known to half of that (its
/// standard error), and what they are off by is not as near to it as chance would have it.
fn is_certain(simulated: &[f64], real: &[f64], allowed: f64) -> bool {
    let (Some(one), Some(other)) = (standard_error(simulated), standard_error(real)) else {
        return false;
    };
    let off = (mean(simulated) - mean(real)).abs();
    one.max(other) <= allowed / 2.0 && (off - allowed).abs() >= one.hypot(other)
}

/// The same of the medians of hand-overs; where one way has none, there is nothing to compare.
fn medians_are_certain(simulated: &[f64], real: &[f64]) -> bool {
    let (Some(one_is), Some(other_is)) = (median(simulated), median(real)) else {
        return true;
    };
    let (Some(one), Some(other)) = (standard_error(simulated), standard_error(real)) else {
        return false;
    };
    let off = (one_is - other_is).abs();
    (off - FAILOVER_S_MAX).abs() >= one.hypot(other) * MEDIAN_VARIES
}

/// A median of many numbers varies by so much more than their mean (the square root of half of pi, where they are distributed normally).
const MEDIAN_VARIES: f64 = 1.253;

/// All hand-overs, from the shortest to the longest.
fn failovers_s(runs: &[Ran]) -> Vec<f64> {
    let players = runs.iter().flat_map(|ran| &ran.players);
    let failovers = players.flat_map(|one| &one.report.failovers);
    let mut all: Vec<f64> = failovers.filter_map(|one| one.first_byte_s).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

fn stalls(report: &SessionReport) -> f64 {
    number_of(report.stalls.len())
}

fn switches(report: &SessionReport) -> f64 {
    u32::try_from(report.switches).map_or(f64::MAX, f64::from)
}

fn bitrate_kbps(report: &SessionReport) -> f64 {
    report.mean_bitrate_bps / 1e3
}

/// A figure of each session.
fn each(runs: &[Ran], of: fn(&SessionReport) -> f64) -> Vec<f64> {
    let players = runs.iter().flat_map(|ran| &ran.players);
    players.map(|one| of(&one.report)).collect()
}

/// Whether nothing comes from any edge for a while: a hand-over lasts as long as that, and says nothing of who hands over.
fn loses_all_edges(scenario: &Scenario) -> bool {
    let mut faults = scenario.faults.iter();
    let mut steps = scenario.last_mile.steps.iter();
    faults.any(|plan| plan.place == Place::All && plan.fault.scope() == Scope::Link)
        || steps.any(|step| step.link.rate == Some(BitRate::ZERO))
}

/// So many runs of a seed: runs differ by milliseconds here and there, and some players then decide otherwise. What is compared is what may be
/// expected.
const SIMULATED: u64 = 10;

const UNWATCHED: Watch = Watch {
    log: false,
    invariants: false,
};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    /// Of so many runs.
    runs: usize,
    stalls: f64,
    bitrate_kbps: f64,
    switches: f64,
    /// `None` without any.
    failover_s: Option<f64>,
    /// The share of sessions with some.
    hands_over: f64,
}

impl Figures {
    /// Takes means of sessions, and the median of all hand-overs.
    fn of(runs: &[Ran]) -> Self {
        let players = || runs.iter().flat_map(|ran| &ran.players);
        let sessions = players().count().max(1);
        let mean = |of: fn(&SessionReport) -> f64| {
            let sum: f64 = players().map(|one| of(&one.report)).sum();
            sum / number_of(sessions)
        };
        let hands_over = |one: &&PlayerResult| {
            let mut failovers = one.report.failovers.iter();
            failovers.any(|one| one.first_byte_s.is_some())
        };
        let with_any = players().filter(hands_over).count();
        Self {
            runs: runs.len(),
            stalls: mean(stalls),
            bitrate_kbps: mean(bitrate_kbps),
            switches: mean(switches),
            failover_s: median(&failovers_s(runs)),
            hands_over: number_of(with_any) / number_of(sessions),
        }
    }
}

/// Whether hand-overs are compared.
fn failovers_count(scenario: &Scenario, seen: &[(Mode, Figures)]) -> bool {
    hands_over(seen) && !loses_all_edges(scenario)
}

/// Hand-overs belong to a scenario where half of the sessions of some way have one: of one session in thirty, their median would be
/// that session's.
fn hands_over(seen: &[(Mode, Figures)]) -> bool {
    seen.iter().any(|(_, one)| one.hands_over >= 0.5)
}

#[expect(clippy::cast_precision_loss, reason = "counts of sessions")]
const fn number_of(count: usize) -> f64 {
    count as f64
}

/// A figure of a scenario, in each way it was run.
#[derive(Clone, Debug, PartialEq)]
struct Difference {
    scenario: String,
    figure: &'static str,
    /// Real runs of the way that has fewest.
    runs: usize,
    seen: Vec<(Mode, Option<f64>)>,
    /// The largest difference to `sim`, and how large it may be.
    largest: f64,
    allowed: f64,
    holds: bool,
}

/// The bars: stalls, share of the mean bit rate, switches, seconds of the median hand-over.
const STALLS_MAX: f64 = 1.0;
const BITRATE_MAX: f64 = 0.1;
const SWITCHES_MAX: f64 = 2.0;
const FAILOVER_S_MAX: f64 = 0.15;

fn compare(scenario: &str, seen: &[(Mode, Figures)]) -> Vec<Difference> {
    let runs = seen.iter().skip(1).map(|(_, one)| one.runs).min();
    let figure = |figure, of: fn(&Figures) -> Option<f64>, allowed: f64| {
        let numbers: Vec<(Mode, Option<f64>)> =
            seen.iter().map(|(mode, one)| (*mode, of(one))).collect();
        let simulated = numbers.first().and_then(|(_, number)| *number);
        let others = numbers.iter().skip(1);
        let off = others.filter_map(|(_, number)| Some((number.as_ref()? - simulated?).abs()));
        let largest = off.fold(0.0, f64::max);
        Difference {
            scenario: scenario.to_owned(),
            figure,
            runs: runs.unwrap_or(0),
            // One that hands over where another does not is told by what that costs: stalls and rates.
            holds: largest <= allowed,
            seen: numbers,
            largest,
            allowed,
        }
    };
    let simulated_kbps = seen.first().map_or(0.0, |(_, one)| one.bitrate_kbps);
    vec![
        figure("stalls", |one| Some(one.stalls), STALLS_MAX),
        figure(
            "mean bit rate, kbit/s",
            |one| Some(one.bitrate_kbps),
            simulated_kbps * BITRATE_MAX,
        ),
        figure("switches", |one| Some(one.switches), SWITCHES_MAX),
        figure("failover p50, s", |one| one.failover_s, FAILOVER_S_MAX),
    ]
}

fn table(differences: &[Difference]) -> String {
    let mut text = format!(
        "{:<24} {:<22} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "scenario", "figure", "runs", "sim", "app", "packet", "off by", "allowed"
    );
    for one in differences {
        let number = |mode: Mode| {
            let seen = one.seen.iter().find(|(other, _)| *other == mode);
            let number = seen.and_then(|(_, number)| *number);
            number.map_or("-".to_owned(), short)
        };
        text += &format!(
            "{:<24} {:<22} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9}{}\n",
            one.scenario,
            one.figure,
            one.runs,
            number(Mode::Sim),
            number(Mode::App),
            number(Mode::Packet),
            short(one.largest),
            short(one.allowed),
            if one.holds { "" } else { "  DIFFERS" }
        );
    }
    text
}

fn short(number: f64) -> String {
    if number >= 100.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(stalls: f64, bitrate_kbps: f64, failover_s: Option<f64>) -> Figures {
        Figures {
            runs: 2,
            stalls,
            bitrate_kbps,
            switches: 3.0,
            failover_s,
            hands_over: 1.0,
        }
    }

    #[test]
    fn where_nothing_comes_from_any_edge_hand_overs_say_nothing() {
        let loses = |rest: &str| {
            let text = format!("version = 1\n[[edges]]\nname = \"a\"\n{rest}");
            loses_all_edges(&Scenario::parse("x.toml".as_ref(), &text).unwrap()[0])
        };
        let line = |kbps: u32| {
            format!(
                "[last_mile]\nsteps = [{{ lasts_s = 9, rate_kbps = 9000 }}, {{ lasts_s = 3, rate_kbps = {kbps} }}]"
            )
        };
        assert!(loses(&line(0)));
        assert!(!loses(&line(10)));
        let fault = |edge: &str| {
            format!("[[faults]]\nat_s = 20\nedge = \"{edge}\"\nfault = {{ kind = \"stop\" }}")
        };
        assert!(loses(&fault("all")));
        assert!(!loses(&fault("a")));
    }

    #[test]
    fn what_is_near_its_bar_is_run_again_and_what_is_far_off_is_not() {
        let around = |mean: f64, spread: f64| [mean - spread, mean, mean + spread];
        // Standard errors of 0.58: off by 2.2 of 2 may be chance, 0.5 and 4 are not.
        let certain = |off: f64| is_certain(&around(5.0, 1.0), &around(5.0 + off, 1.0), 2.0);
        assert_eq!(
            [0.5, 1.5, 2.2, 4.0].map(certain),
            [true, false, false, true]
        );
        // The means themselves are not known well enough; of one run nothing is.
        assert!(!is_certain(&around(5.0, 4.0), &around(5.0, 4.0), 2.0));
        assert!(!is_certain(&[5.0], &[5.0, 5.0], 2.0));
        // Equal ones are, exactly at the bar.
        assert!(is_certain(&[5.0; 3], &[7.0; 3], 2.0));
        let certain = |off: f64| medians_are_certain(&around(0.5, 0.1), &around(0.5 + off, 0.1));
        assert_eq!([0.0, 0.1, 0.6].map(certain), [true, false, true]);
        assert!(medians_are_certain(&[], &[0.5, 0.9]));
        assert!(!medians_are_certain(&[0.5], &[0.5, 0.9]));
    }

    #[test]
    fn hand_overs_belong_to_a_scenario_where_half_of_the_sessions_have_some() {
        let seen = |shares: [f64; 2]| {
            let of = |hands_over| Figures {
                hands_over,
                ..figures(0.0, 5_000.0, Some(0.5))
            };
            [(Mode::Sim, of(shares[0])), (Mode::App, of(shares[1]))]
        };
        assert!(hands_over(&seen([0.6, 0.4])));
        assert!(hands_over(&seen([0.03, 0.5])));
        assert!(!hands_over(&seen([0.4, 0.4])));
    }

    #[test]
    fn what_differs_too_much_from_the_simulator_is_told() {
        let seen = [
            (Mode::Sim, figures(0.0, 5_000.0, Some(0.5))),
            (Mode::App, figures(1.0, 4_600.0, Some(0.66))),
            (Mode::Packet, figures(0.0, 5_600.0, None)),
        ];
        let differences = compare("x", &seen);
        let told: Vec<_> = differences
            .iter()
            .map(|one| (one.figure, one.holds))
            .collect();
        let expected = [
            ("stalls", true),
            ("mean bit rate, kbit/s", false),
            ("switches", true),
            ("failover p50, s", false),
        ];
        assert_eq!(told, expected);
        let text = table(&differences);
        assert_eq!(text.matches("DIFFERS").count(), 2, "{text}");
        assert!(text.contains("2      5000      4600      5600"), "{text}");
    }
}
