//! Worlds of edges that differ, one of which becomes slow, or the line does: who is blamed, who is used, at what cost.

use std::time::Duration;

use nearcast_appliance::fault::Fault;
use nearcast_protocol::report::{ByteReport, DecisionReport, FetchReport, SessionReport};
use nearcast_sim::{
    EdgeSetup, LinkName, LinkSchedule, LinkStep, Outcome, Setup, SimTitle, Simulation, Watch,
};
use nearcast_units::{BitRate, ByteCount, Rng, Seed};

/// Worlds in a test; `NEARCAST_EDGE_WORLDS` takes more, which a release build is for.
fn worlds() -> u64 {
    let wanted = std::env::var("NEARCAST_EDGE_WORLDS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(20)
}

const LENGTH: Duration = Duration::from_secs(120);

/// Two to ten edges, each with a round trip and a rate of its own, behind a line of 4 to 40 Mbit/s.
pub(crate) fn differing(seed: u64) -> (Setup, Rng) {
    let seed = Seed::new(seed);
    let mut rng = seed.split("edges").rng();
    let count = 2 + u32::try_from(rng.below(9)).unwrap();
    let mut setup = Setup::quiet(SimTitle::made(LENGTH, seed), count);
    setup.config.seed = seed;
    for edge in &mut setup.edges {
        edge.link.delay = Duration::from_millis(5 + rng.below(45));
        edge.link.rate = Some(BitRate::from_kbps(4_000 + rng.below(36_000)));
    }
    setup.last_mile.rate = Some(BitRate::from_kbps(4_000 + rng.below(36_000)));
    (setup, rng)
}

fn run(setup: Setup) -> Outcome {
    let outcome = Simulation::new(setup).run();
    assert_eq!(outcome.violations, Vec::<String>::new());
    outcome
}

fn video(report: &SessionReport) -> impl Iterator<Item = &FetchReport> {
    let media = report.fetches.iter().filter(|one| one.kind == "media");
    media.filter(|one| one.track.as_deref() == Some("video"))
}

/// The edge that video comes from at a time, and how fast at most.
fn in_use(setup: &Setup, report: &SessionReport, at_s: f64) -> (usize, u64) {
    let attempts = video(report).flat_map(|one| &one.attempts);
    let begun = attempts.filter(|one| one.start_s < at_s && one.code.is_none());
    let last = begun.last().unwrap();
    let place = |edge: &EdgeSetup| edge.name == last.edge;
    let edge = setup.edges.iter().position(place).unwrap();
    let rate = setup.edges[edge].link.rate.min(setup.last_mile.rate);
    (edge, rate.unwrap().as_bps())
}

/// When the second video segment that is under way or begins after a time is over.
fn second_segment_over(report: &SessionReport, at_s: f64) -> f64 {
    let end = |one: &FetchReport| one.attempts.iter().map(|one| one.end_s).fold(0.0, f64::max);
    let ends = video(report).map(end).filter(|end| *end > at_s);
    ends.take(2).last().unwrap_or(f64::INFINITY)
}

/// What became of a world in which an edge, or the line, fell to a fifth.
struct Fall {
    at_s: f64,
    /// Who was blamed within two segments, if anybody was.
    told: Option<String>,
    /// Who should have been.
    slow: String,
    /// Edges of the three segments after these two.
    then: Vec<String>,
    /// Rungs of the segments in half a minute from the next on, over that of the one before the fall.
    rungs: Vec<f64>,
    outcome: Outcome,
}

/// Plays behind a line that gets these rates, in bit/s, one after the other.
fn behind(setup: Setup, rates: &[(f64, u64)]) -> Outcome {
    let mut link = setup.last_mile;
    let mut world = setup.world(Watch::ALL);
    let mut steps = Vec::new();
    let mut from_s = 0.0;
    for (at_s, rate) in rates {
        let lasts = Duration::from_secs_f64(at_s - from_s);
        steps.push(LinkStep { lasts, link });
        from_s = *at_s;
        link.rate = Some(BitRate::from_bps(*rate));
    }
    let lasts = Duration::from_secs(1);
    steps.push(LinkStep { lasts, link });
    world.schedules.push(LinkSchedule {
        link: LinkName::LastMile(0),
        steps,
        repeats: false,
    });
    let outcome = Simulation::world(world).run();
    assert_eq!(outcome.violations, Vec::<String>::new());
    outcome
}

fn falls(seed: u64, line: bool) -> Fall {
    let (setup, mut rng) = differing(seed);
    let at_s = 25.0 + 40.0 * rng.next_f64();
    let quiet = run(setup.clone());
    let (edge, rate) = in_use(&setup, &quiet.report, at_s);
    let name = setup.edges[edge].name.clone();
    let outcome = if line {
        behind(setup, &[(at_s, rate / 5)])
    } else {
        let fifth = Fault::Rate {
            rate_bps: Some(rate / 5),
        };
        run(setup.fault(at_s, edge, Some(fifth)))
    };
    let report = &outcome.report;
    let by = second_segment_over(report, at_s);
    let blames = report.decisions.iter().filter(|one| {
        one.kind == "blame" && one.chosen != "nobody" && one.at_s > at_s && one.at_s <= by
    });
    let told = blames.map(|one| one.chosen.clone()).next();
    let later = video(report).filter(|one| one.attempts[0].start_s > by);
    let then = later.take(3).map(|one| one.attempts[0].edge.clone());
    let then = then.collect();
    let pictures = report.segments.iter().filter(|one| one.track == "video");
    let before = pictures.clone().rfind(|one| one.requested_s < at_s);
    let before = before.unwrap().bitrate_bps;
    let after = pictures.filter(|one| one.requested_s > by && one.requested_s < at_s + 30.0);
    let rungs = after.map(|one| share(one.bitrate_bps, before)).collect();
    Fall {
        at_s,
        told,
        slow: if line { "line".into() } else { name },
        then,
        rungs,
        outcome,
    }
}

fn share(part: u64, whole: u64) -> f64 {
    BitRate::from_bps(part).as_f64() / BitRate::from_bps(whole).as_f64()
}

/// What races, help and probes may cost.
fn budget(bytes: &ByteReport) -> u64 {
    (256 << 10) + bytes.media * 3 / 100
}

/// At most one in twenty.
fn few(what: &[String]) {
    let most = usize::try_from(worlds() / 20).unwrap();
    assert!(
        what.len() <= most,
        "{} of {}: {what:#?}",
        what.len(),
        worlds()
    );
}

#[test]
fn an_edge_that_becomes_slow_is_told_and_left_within_two_segments_and_the_rung_kept() {
    let (mut wrong, mut stays, mut sinks) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..worlds() {
        let fall = falls(seed, false);
        if fall.told.as_ref() != Some(&fall.slow) {
            wrong.push(format!(
                "seed {seed}: {} and not {:?}",
                fall.slow, fall.told
            ));
        }
        if fall.then.contains(&fall.slow) {
            stays.push(format!("seed {seed}: {:?}", fall.then));
        }
        // Where the next one can carry it.
        let (setup, _) = differing(seed);
        let place = |one: &EdgeSetup| Some(&one.name) == fall.then.first();
        let rate = setup.edges.iter().find(|one| place(one)).unwrap().link.rate;
        let carries = rate.min(setup.last_mile.rate) > Some(BitRate::from_kbps(9_000));
        if carries && fall.rungs.iter().any(|share| *share < 1.0) {
            sinks.push(format!("seed {seed}: {:?}", fall.rungs));
        }
        let bytes = &fall.outcome.report.bytes;
        assert!(bytes.extra <= budget(bytes), "seed {seed}: {bytes:?}");
    }
    few(&wrong);
    few(&stays);
    few(&sinks);
}

#[test]
fn a_line_that_becomes_slow_is_told_within_two_segments_and_no_edge_is_left_for_it() {
    let (mut wrong, mut leaves) = (Vec::new(), Vec::new());
    for seed in 0..worlds() {
        let fall = falls(seed, true);
        if fall.told.as_ref() != Some(&fall.slow) {
            wrong.push(format!("seed {seed}: {:?}", fall.told));
        }
        let left = fall.outcome.report.failovers.iter();
        let left: Vec<_> = left.filter(|over| over.at_s > fall.at_s).collect();
        if !left.is_empty() {
            leaves.push(format!("seed {seed}: {left:?}"));
        }
    }
    few(&wrong);
    few(&leaves);
}

/// Three edges, the nearest of which wins the race at the start, behind one line.
fn near_and_far(seed: u64, kbps: [u64; 3], line_kbps: u64) -> Setup {
    let seed = Seed::new(seed);
    let mut setup = Setup::quiet(SimTitle::made(LENGTH, seed), 3);
    setup.config.seed = seed;
    for ((edge, kbps), delay_ms) in setup.edges.iter_mut().zip(kbps).zip([1, 25, 35]) {
        edge.link.delay = Duration::from_millis(delay_ms);
        edge.link.rate = Some(BitRate::from_kbps(kbps));
    }
    setup.last_mile.rate = Some(BitRate::from_kbps(line_kbps));
    setup
}

/// Whether an edge was compared that may have been slow from the beginning.
fn doubts(decision: &&DecisionReport) -> bool {
    decision.why.starts_with("slow from the beginning")
}

#[test]
fn an_edge_that_is_slow_from_the_beginning_is_left_within_20_s_and_rungs_get_high() {
    for seed in 0..worlds() {
        let outcome = run(near_and_far(seed, [1_500, 12_000, 12_000], 15_000));
        let report = &outcome.report;
        let first = &video(report).next().unwrap().attempts[0].edge;
        let late = video(report).flat_map(|one| &one.attempts);
        let late = late.filter(|one| one.start_s > 20.0 && one.edge == *first);
        assert_eq!(late.count(), 0, "seed {seed}: {:#?}", report.decisions);
        let mean = report.mean_bitrate_bps;
        assert!(mean > 4e6, "seed {seed}: {mean}");
        let bytes = &report.bytes;
        assert!(bytes.extra <= budget(bytes), "seed {seed}: {bytes:?}");
    }
}

#[test]
fn where_the_next_edge_is_as_slow_the_one_after_it_is_asked() {
    for seed in 0..worlds() {
        let setup = near_and_far(seed, [1_500, 1_500, 12_000], 15_000);
        let third = setup.edges[2].name.clone();
        let outcome = run(setup);
        let report = &outcome.report;
        let last = &video(report).last().unwrap().attempts[0].edge;
        assert_eq!(*last, third, "seed {seed}: {:#?}", report.decisions);
        let asked = report.decisions.iter().filter(doubts).count();
        assert!(asked <= 2, "seed {seed}: {:#?}", report.decisions);
    }
}

#[test]
fn a_slow_line_is_compared_once_and_playback_goes_on_as_with_one_edge() {
    let (mut rungs, mut never) = (Vec::new(), Vec::new());
    for seed in 0..worlds() {
        let mut rng = Seed::new(seed).split("line").rng();
        let setup = near_and_far(seed, [20_000; 3], 600 + rng.below(4_000));
        let mut alone = setup.clone();
        alone.edges.truncate(1);
        let (outcome, alone) = (run(setup), run(alone));
        let (report, alone) = (&outcome.report, &alone.report);
        assert_eq!(alone.decisions.iter().filter(doubts).count(), 0);
        let asked: Vec<_> = report.decisions.iter().filter(doubts).collect();
        let [asked] = asked[..] else {
            // Where playback can never do without it.
            never.push(format!("seed {seed}: {asked:#?}"));
            continue;
        };
        let mut blames = report.decisions.iter().filter(|one| one.kind == "blame");
        let told = blames.find(|one| one.at_s > asked.at_s);
        assert_eq!(told.unwrap().chosen, "line", "seed {seed}: {told:?}");
        assert!(report.failovers.is_empty(), "seed {seed}");
        let stalled = report.stalls.iter().filter(|one| one.at_s > asked.at_s);
        assert_eq!(stalled.count(), 0, "seed {seed}: {:?}", report.stalls);
        rungs.push(report.mean_bitrate_bps / alone.mean_bitrate_bps);
        let probed = report.bytes.probe;
        assert!(probed <= 192 << 10, "seed {seed}: {probed}");
    }
    few(&never);
    // Where one segment comes out differently, all later ones do.
    let mean = rungs.iter().sum::<f64>() / f64::from(u32::try_from(rungs.len()).unwrap());
    assert!(mean > 0.99, "{mean}: {rungs:?}");
}

#[test]
fn who_brings_the_highest_rung_with_room_is_compared_with_nobody() {
    for seed in 0..worlds() {
        let outcome = run(near_and_far(seed, [12_000; 3], 15_000));
        let report = &outcome.report;
        let asked = report.decisions.iter().filter(doubts).count();
        assert_eq!(asked, 0, "seed {seed}: {:#?}", report.decisions);
    }
}

#[test]
fn an_edge_that_next_to_stops_is_left_as_soon_as_a_silent_one_and_without_a_budget() {
    let (mut late, mut sinks) = (Vec::new(), Vec::new());
    for seed in 0..worlds() {
        let (mut setup, mut rng) = differing(seed);
        setup.config.extra_allowance = ByteCount::ZERO;
        setup.config.extra_percent = 0;
        let from_s = 15.0 + 40.0 * rng.next_f64();
        let quiet = run(setup.clone());
        // In the middle of a segment of the edge in use.
        let whole = video(&quiet.report).find(|one| one.attempts[0].start_s > from_s);
        let whole = &whole.unwrap().attempts[0];
        let at_s = whole.start_s.midpoint(whole.end_s);
        let edge = setup.edges.iter().position(|one| one.name == whole.edge);
        let trickle = Fault::Trickle { rate_bps: 8_000 };
        let outcome = run(setup.fault(at_s, edge.unwrap(), Some(trickle)));
        let report = &outcome.report;
        let others = video(report).flat_map(|one| &one.attempts);
        let others = others.filter(|one| one.edge != whole.edge && one.start_s > at_s);
        let firsts = others.filter_map(|one| one.first_byte_s);
        let first_s = firsts.fold(f64::INFINITY, f64::min) - at_s;
        if first_s > 2.0 {
            late.push(format!("seed {seed}: {first_s} {:?}", report.failovers));
        }
        // It is the edge that is left, not the rung.
        let mut decisions = report.decisions.iter();
        let abandons = decisions
            .find(|one| one.kind == "abandon" && (at_s..at_s + first_s).contains(&one.at_s));
        sinks.extend(abandons.map(|one| format!("seed {seed}: {one:?}")));
    }
    few(&late);
    few(&sinks);
}

/// Ten minutes with a buffer of 12 s in which every now and then an edge, or the line, becomes slow, or is itself again.
fn restless(seed: u64) -> (Setup, Vec<(f64, u64)>) {
    let (mut setup, mut rng) = differing(seed);
    setup.title = SimTitle::made(Duration::from_secs(600), Seed::new(seed));
    setup.limit = Duration::from_secs(1_200);
    setup.config.buffer_goal = Duration::from_secs(12);
    let places = setup.edges.len() + 1;
    let mut line = Vec::new();
    let mut at_s = 10.0;
    while at_s < 590.0 {
        let place = usize::try_from(rng.below(u64::try_from(places).unwrap())).unwrap();
        let link = setup
            .edges
            .get(place)
            .map_or(setup.last_mile, |one| one.link);
        let healthy = link.rate.unwrap().as_bps();
        let share = 0.15 + 0.85 * rng.next_f64();
        let rate = BitRate::from_bps(healthy).scaled(share).as_bps();
        let rate_bps = if rng.below(2) == 0 { healthy } else { rate };
        if place == setup.edges.len() {
            line.push((at_s, rate_bps));
        } else {
            let fault = Fault::Rate {
                rate_bps: Some(rate_bps),
            };
            setup = setup.fault(at_s, place, Some(fault));
        }
        at_s += 2.0 + 18.0 * rng.next_f64();
    }
    (setup, line)
}

/// Edges in use, one after the other, and whether each change was forced.
fn changes(report: &SessionReport) -> Vec<(f64, String, bool)> {
    let mut changes: Vec<(f64, String, bool)> = Vec::new();
    for one in video(report) {
        let Some(last) = one.attempts.last() else {
            continue;
        };
        if changes.last().is_none_or(|(_, edge, _)| *edge != last.edge) {
            let forced = report.failovers.iter().any(|over| {
                over.to == last.edge
                    && (over.at_s - last.start_s).abs() < 10.0
                    && over.reason != "edge_slow"
            });
            changes.push((last.start_s, last.edge.clone(), forced));
        }
    }
    changes
}

#[test]
fn restless_worlds_cost_no_more_than_the_budget_and_do_not_make_edges_swing() {
    for seed in 0..worlds().div_ceil(4) {
        let (setup, line) = restless(seed);
        let outcome = behind(setup, &line);
        let report = &outcome.report;
        assert!(outcome.over && report.error.is_none(), "seed {seed}");
        let bytes = &report.bytes;
        assert!(bytes.extra <= budget(bytes), "seed {seed}: {bytes:?}");
        // There and back again, and nothing had failed.
        let changes = changes(report);
        let swings = changes.windows(3).filter(|three| {
            let [(_, first, _), (_, _, forced), (_, last, back)] = three else {
                return false;
            };
            first == last && !forced && !back
        });
        assert!(swings.count() <= 1, "seed {seed}: {changes:?}");
    }
}

#[test]
fn help_that_is_a_guess_ends_with_its_budget() {
    const BUDGET: u64 = 160 << 10;
    // What comes between two looks at it.
    const SLICE: u64 = 32 << 10;
    for seed in 0..worlds().div_ceil(4) {
        let (mut setup, line) = restless(seed);
        setup.config.buffer_goal = Duration::from_secs(5);
        setup.config.extra_allowance = ByteCount::new(BUDGET);
        setup.config.extra_percent = 0;
        let outcome = behind(setup, &line);
        let extra = outcome.report.bytes.extra;
        assert!(extra <= BUDGET + SLICE, "seed {seed}: {extra}");
    }
}
