//! A second session over a network that was used before: better where all is as it was, and no worse where it is not.

use std::time::Duration;

use nearcast_appliance::fault::Fault;
use nearcast_core::Memory;
use nearcast_sim::{Outcome, Setup, SimTitle};
use nearcast_units::{BitRate, Seed};

use crate::edges::differing;
use crate::run;

const BEGAN_S: u64 = 1_790_000_000;
const HOUR_S: u64 = 3_600;

/// Worlds that chance made.
const WORLDS: u64 = 20;

/// Plays the same world for the first time and, an hour later, for the second; what is remembered then comes with it.
fn twice(setup: &Setup) -> (Outcome, Outcome, Memory) {
    let first = run(setup.clone().on_network("home", Memory::default(), BEGAN_S));
    let second = again(setup.clone(), &first.memory);
    let memory = second.memory.clone();
    (first, second, memory)
}

fn again(setup: Setup, memory: &Memory) -> Outcome {
    run(setup.on_network("home", memory.clone(), BEGAN_S + HOUR_S))
}

/// The bit rate of the first picture.
fn first_bps(outcome: &Outcome) -> u64 {
    let mut pictures = outcome.report.segments.iter();
    pictures
        .find(|one| one.track == "video")
        .unwrap()
        .bitrate_bps
}

fn first_rung(outcome: &Outcome) -> u16 {
    *outcome.shown.values().next().unwrap()
}

fn startup_s(outcome: &Outcome) -> f64 {
    outcome.report.startup_s.unwrap()
}

fn stalled_s(outcome: &Outcome) -> f64 {
    outcome.report.stalls.iter().map(|one| one.duration_s).sum()
}

fn said(outcome: &Outcome, kind: &str) -> String {
    let mut decisions = outcome.report.decisions.iter();
    decisions.find(|one| one.kind == kind).unwrap().why.clone()
}

/// Ten edges behind a fast line, the nearest listed last.
fn worst_first() -> Setup {
    let mut setup = Setup::quiet(SimTitle::made(Duration::from_secs(60), Seed::new(7)), 10);
    for (nth, edge) in setup.edges.iter_mut().rev().enumerate() {
        let nth = u32::try_from(nth).unwrap();
        edge.link.delay = Duration::from_millis(5) + Duration::from_millis(12) * nth;
        edge.link.rate = Some(BitRate::from_kbps(60_000));
    }
    setup.last_mile.rate = Some(BitRate::from_kbps(60_000));
    setup
}

#[test]
fn a_second_session_begins_with_the_near_edge_and_a_higher_rung_and_says_why() {
    let (first, second, _) = twice(&worst_first());
    assert!(first_bps(&second) > 2 * first_bps(&first));
    assert!(startup_s(&second) < startup_s(&first) + 0.1);
    let manifest = |outcome: &Outcome| {
        let mut fetches = outcome.report.fetches.iter();
        let fetch = fetches.find(|one| one.kind == "manifest").unwrap();
        let mut attempts = fetch.attempts.iter();
        let got = attempts.find(|one| one.result == "ok").unwrap();
        (got.edge.clone(), got.start_s, got.end_s)
    };
    let (was, is) = (manifest(&first), manifest(&second));
    assert!(is.1 < was.1 && is.2 < was.2, "{was:?} and then {is:?}");
    assert!(said(&second, "race").contains("remembered"));
    assert!(said(&second, "rung").contains("remembered"));
    assert!(!said(&first, "race").contains("remembered"));
    assert!(!said(&first, "rung").contains("remembered"));
}

#[test]
fn what_is_remembered_makes_the_first_picture_better_and_hardly_later() {
    let (mut better, mut later_s) = (0, 0.0);
    for seed in 0..WORLDS {
        let (setup, _) = differing(seed);
        let (first, second, memory) = twice(&setup);
        let third = again(setup, &memory);
        assert!(first_bps(&second) >= first_bps(&first), "seed {seed}");
        assert!(first_bps(&third) >= first_bps(&second), "seed {seed}");
        assert!(third.report.stalls.is_empty(), "seed {seed}");
        better += u64::from(first_bps(&third) > first_bps(&first));
        later_s += startup_s(&third) - startup_s(&first);
    }
    assert!(better > WORLDS / 2, "{better} of {WORLDS}");
    let later_s = later_s / f64::from(u32::try_from(WORLDS).unwrap());
    assert!(later_s < 0.05, "{later_s}");
}

#[test]
fn a_line_that_is_ten_times_slower_than_remembered_costs_a_late_start_and_no_more() {
    for seed in 0..WORLDS {
        let (setup, _) = differing(seed);
        let (_, _, memory) = twice(&setup);
        let mut slow = setup;
        slow.last_mile.rate = slow.last_mile.rate.map(|rate| rate.scaled(0.1));
        let without = run(slow.clone());
        let with = again(slow, &memory);
        // A picture may wait for its decoder, where it comes just in time.
        assert!(
            stalled_s(&with) <= stalled_s(&without) + 0.05,
            "seed {seed}"
        );
        assert!(startup_s(&with) <= startup_s(&without) + 1.0, "seed {seed}");
        let lowest = |outcome: &Outcome| *outcome.shown.values().min().unwrap();
        assert!(lowest(&with) + 1 >= lowest(&without), "seed {seed}");
        // Nor is what follows worse for it.
        let mean = |outcome: &Outcome| outcome.report.mean_bitrate_bps;
        assert!(mean(&with) > mean(&without) * 0.85, "seed {seed}");
    }
}

#[test]
fn an_edge_that_was_good_and_is_dead_costs_no_stall() {
    for seed in 0..WORLDS {
        let (setup, _) = differing(seed);
        let (_, second, memory) = twice(&setup);
        let mut used = second.report.fetches.iter().flat_map(|one| &one.attempts);
        let good = used.rfind(|one| one.result == "ok").unwrap();
        let good = setup.edges.iter().position(|one| one.name == good.edge);
        for fault in [Fault::Kill, Fault::Stop] {
            let dead = setup.clone().fault(0.0, good.unwrap(), Some(fault));
            let without = run(dead.clone());
            let with = again(dead, &memory);
            assert!(stalled_s(&with) <= stalled_s(&without), "seed {seed}");
            assert!(startup_s(&with) <= startup_s(&without) + 0.5, "seed {seed}");
            assert!(first_rung(&with) >= first_rung(&without), "seed {seed}");
        }
    }
}

#[test]
fn an_old_memory_is_none() {
    let setup = worst_first();
    let (first, ..) = twice(&setup);
    let month_later = BEGAN_S + 30 * 24 * HOUR_S;
    let later = run(setup.on_network("home", first.memory.clone(), month_later));
    assert_eq!(later.text(), first.text());
}

#[test]
fn a_session_without_a_name_decides_as_if_there_were_no_memory() {
    let setup = worst_first();
    let (_, _, memory) = twice(&setup);
    let without = run(setup.clone());
    let mut unnamed = setup.on_network("", memory.clone(), BEGAN_S);
    unnamed.config.network = None;
    let unnamed = run(unnamed);
    assert_eq!(unnamed.text(), without.text());
    assert_eq!(unnamed.memory, memory, "nothing is learnt or lost");
}
