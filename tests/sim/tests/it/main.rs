//! What must hold of sessions in virtual time.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests may panic as tests do"
)]

mod crowd;
mod edges;
mod golden;
mod hostile;
mod memory;
mod replace;
mod scenario;
mod sweep;
mod trace;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultRule, FaultSelector};
use nearcast_core::{AbrRule, Command};
use nearcast_protocol::report::{AttemptReport, DecisionReport};
use nearcast_sim::{Outcome, Setup, SimTitle, Simulation};
use nearcast_units::{BitRate, MediaTime, Ratio, Seed};

fn two_minutes() -> Setup {
    Setup::quiet(SimTitle::made(Duration::from_secs(120), Seed::new(7)), 10)
}

/// A fault that comes once so much of a body is there.
fn after(fault: Fault, share: f64) -> FaultRule {
    on(fault, |on| on.after = Ratio::new(share).ok())
}

/// A fault of what is selected.
fn on(fault: Fault, select: impl FnOnce(&mut FaultSelector)) -> FaultRule {
    let mut rule = FaultRule::everywhere(fault);
    select(&mut rule.on);
    rule
}

/// A fault of one segment of one representation.
fn segment(fault: Fault, representation: &str, at: u32) -> FaultRule {
    on(fault, |on| {
        on.representation = Some(representation.to_owned());
        (on.segment_from, on.segment_to) = (Some(at), Some(at));
    })
}

fn run(setup: Setup) -> Outcome {
    let outcome = Simulation::new(setup).run();
    assert_eq!(outcome.violations, Vec::<String>::new());
    outcome
}

/// Plays through; returns the outcome after checking what every undisturbed viewer may expect.
fn smooth(setup: Setup) -> Outcome {
    let outcome = run(setup);
    assert!(
        outcome.over,
        "ended at {} s: {:?}",
        outcome.ended_at.as_secs_f64(),
        outcome.report.decisions.last()
    );
    assert_eq!(outcome.report.error, None);
    assert_eq!(
        outcome.report.stalls,
        vec![],
        "{:#?}",
        outcome.report.decisions
    );
    assert!(
        (outcome.report.played_s - 120.0).abs() < 0.01,
        "{}",
        outcome.report.played_s
    );
    outcome
}

#[test]
fn a_quiet_world_plays_through_at_the_top() {
    let outcome = smooth(two_minutes());
    assert!(
        outcome.report.startup_s.unwrap() < 1.0,
        "{:?}",
        outcome.report.startup_s
    );
    assert!(
        outcome.report.mean_bitrate_bps > 4_500_000.0,
        "{}",
        outcome.report.mean_bitrate_bps
    );
    assert_eq!(outcome.report.failovers, vec![]);
    let bytes = &outcome.report.bytes;
    let budget = (256 << 10) + bytes.media * 3 / 100;
    assert!(bytes.wasted + bytes.probe <= budget, "{bytes:?}");
}

#[test]
fn an_edge_that_dies_is_left_in_mid_segment_and_nobody_notices() {
    let outcome = smooth(two_minutes().fault(33.0, 0, Some(Fault::Kill)));
    let quiet = smooth(two_minutes());
    assert_ne!(outcome.report.edges[0].state, "closed");
    assert!(outcome.report.mean_bitrate_bps > quiet.report.mean_bitrate_bps * 0.9);
}

#[test]
fn the_same_seed_gives_the_same_log_twice() {
    let setup = || {
        two_minutes()
            .fault(33.0, 0, Some(Fault::Kill))
            .fault(60.0, 1, Some(Fault::Stop))
    };
    assert_eq!(run(setup()).text(), run(setup()).text());
}

#[test]
fn a_silent_edge_is_left_within_two_seconds() {
    // Slow links, so that a segment is always on its way when the edge falls silent.
    let mut setup = two_minutes();
    // What is replaced would count as waste too.
    setup.config.abr = AbrRule::Dynamic;
    for edge in &mut setup.edges {
        edge.link.rate = Some(BitRate::from_kbps(4_000));
    }
    // Which of them is in use: all are alike.
    let quiet = smooth(setup.clone());
    let videos = quiet.report.fetches.iter();
    let videos = videos.filter(|one| one.track.as_deref() == Some("video"));
    let used: Vec<_> = videos.flat_map(|one| &one.attempts).collect();
    for at in [20.0, 20.7, 21.4, 40.1, 63.3] {
        let mut begun = used.iter().rev();
        let name = &begun.find(|one| one.start_s < at).unwrap().edge;
        let edge = setup.edges.iter().position(|one| one.name == *name);
        let outcome = smooth(setup.clone().fault(at, edge.unwrap(), Some(Fault::Stop)));
        for failover in &outcome.report.failovers {
            assert!(
                failover.first_byte_s.is_some_and(|first| first < 2.0),
                "{failover:?}"
            );
        }
        assert!(
            !outcome.report.failovers.is_empty(),
            "silent at {at}: {:#?}",
            outcome.report.decisions
        );
        let wasted = outcome.report.bytes.wasted;
        assert!(wasted < 600_000, "{wasted}");
    }
}

#[test]
fn sound_and_picture_leave_a_silent_edge_for_the_same_other() {
    let mut setup = two_minutes();
    for edge in &mut setup.edges {
        edge.link.rate = Some(BitRate::from_kbps(4_000));
    }
    let quiet = smooth(setup.clone());
    let brings = |track| {
        let fetches = quiet
            .report
            .fetches
            .iter()
            .filter(|one| one.kind == "media");
        let fetches = fetches.filter(move |one| one.track.as_deref() == Some(track));
        fetches.filter_map(|one| one.attempts.iter().find(|at| at.result == "ok"))
    };
    let both = |at: f64| {
        let under_way = |one: &&AttemptReport| one.first_byte_s < Some(at) && one.end_s > at + 0.05;
        brings("audio")
            .find(under_way)
            .zip(brings("video").find(under_way))
    };
    let times = (100..1_000).map(|tenths| f64::from(tenths) / 10.0);
    let times: Vec<f64> = times.filter(|at| both(*at).is_some()).collect();
    assert!(times.len() > 5, "{times:?}");
    for at in times {
        let (_, picture) = both(at).unwrap();
        let edge = setup.edges.iter().position(|one| one.name == picture.edge);
        let outcome = smooth(setup.clone().fault(at, edge.unwrap(), Some(Fault::Stop)));
        let left = outcome.report.failovers.iter().map(|one| &one.to);
        let others: BTreeSet<&String> = left.collect();
        assert_eq!(others.len(), 1, "{at}: {others:?}");
    }
}

#[test]
fn a_rung_is_not_given_up_while_its_transfer_gains_speed() {
    // The near edge gives broken bytes from some time on; the one that is left is quick, but takes seconds to get there.
    let mut setup = two_minutes();
    setup.edges.truncate(2);
    setup.config.buffer_goal = Duration::from_secs(6);
    setup.config.race_width = 1;
    for (edge, one_way_ms) in setup.edges.iter_mut().zip([10, 135]) {
        edge.link.rate = Some(BitRate::from_kbps(20_000));
        edge.link.delay = Duration::from_millis(one_way_ms);
    }
    for tenth in 0..20 {
        let at = 30.0 + f64::from(tenth) / 10.0;
        let outcome = smooth(setup.clone().fault(at, 0, Some(Fault::Corrupt)));
        let decisions = outcome.report.decisions.iter();
        let given_up: Vec<_> = decisions.filter(|one| one.kind == "abandon").collect();
        assert!(given_up.is_empty(), "{at}: {given_up:#?}");
    }
}

#[test]
fn a_reset_in_mid_body_is_continued_where_it_was() {
    let mut setup = two_minutes();
    setup.edges.truncate(2);
    let outcome = smooth(setup.fault_on(20.0, 0, after(Fault::Reset, 0.5)));
    let failover = outcome.report.failovers.first().expect("a failover");
    assert!(failover.offset > 0, "{failover:?}");
    assert!(failover.wasted_bytes <= 4096, "{failover:?}");
}

#[test]
fn one_slow_edge_is_not_blamed_on_the_line() {
    let mut setup = two_minutes();
    for edge in &mut setup.edges {
        edge.link.rate = Some(BitRate::from_kbps(12_000));
    }
    let slow = Fault::Rate {
        rate_bps: Some(2_400_000),
    };
    let outcome = smooth(setup.fault(30.0, 0, Some(slow)));
    let after: Vec<u64> = outcome
        .report
        .segments
        .iter()
        .filter(|one| one.track == "video" && one.requested_s > 36.0)
        .map(|one| one.bitrate_bps)
        .collect();
    assert!(after.iter().all(|bps| *bps >= 3_000_000), "{after:?}");
    assert!(
        outcome.bytes[0].get() < outcome.bytes.iter().map(|bytes| bytes.get()).sum::<u64>() / 2
    );
}

#[test]
fn a_line_that_slows_down_costs_the_rung_and_not_the_edge() {
    let mut setup = two_minutes();
    for edge in 0..10 {
        setup = setup.fault(
            30.0,
            edge,
            Some(Fault::Rate {
                rate_bps: Some(1_500_000),
            }),
        );
    }
    let outcome = smooth(setup);
    let segments = outcome.report.segments.iter();
    let late: Vec<u64> = segments
        .filter(|one| one.track == "video" && one.requested_s > 80.0)
        .map(|one| one.bitrate_bps)
        .collect();
    // The next rung above what comes is paid for with what is buffered, which the end needs no more; none beyond.
    let highest = late.iter().max().unwrap();
    assert!(*highest <= 1_750_000, "{late:?}");
}

#[test]
fn all_edges_down_is_a_state_and_not_an_end() {
    let mut setup = two_minutes();
    setup.limit = Duration::from_secs(400);
    for edge in 0..10 {
        setup = setup
            .fault(20.0, edge, Some(Fault::Kill))
            .fault(90.0, edge, None);
    }
    let outcome = run(setup);
    assert!(outcome.over, "{:#?}", outcome.report.decisions);
    assert_eq!(outcome.report.error, None);
    assert_eq!(outcome.report.stall_count, 1);
    let text = outcome.text();
    let told = |what| text.lines().find(|line| line.contains(what)).unwrap();
    assert!(text.contains("edges_back"));
    for what in ["edge_state", "all_edges_down"] {
        assert!(told(what).contains("net.connect_refused"), "{}", told(what));
    }
    assert!(
        outcome.report.stalls[0].duration_s < 50.0,
        "{:?}",
        outcome.report.stalls
    );
}

#[test]
fn nothing_before_the_first_frame_ends_after_fifteen_seconds() {
    let mut setup = two_minutes();
    for edge in 0..10 {
        setup = setup.fault(0.0, edge, Some(Fault::Stop));
    }
    let outcome = run(setup);
    assert!(outcome.over);
    assert!(
        outcome.ended_at.as_secs_f64() < 15.1,
        "{}",
        outcome.ended_at.as_secs_f64()
    );
    assert!(outcome.report.error.is_some());
}

#[test]
fn a_seek_goes_on_from_there() {
    let outcome = run(two_minutes().command(
        10.0,
        Command::Seek {
            to: MediaTime::from_micros(100_000_000),
        },
    ));
    assert!(outcome.over);
    let mut segments = outcome.report.segments.iter();
    let first = segments
        .find(|one| one.track == "video" && one.index == 25)
        .unwrap();
    assert!(
        first.bitrate_bps > 1_000_000,
        "the rate is known: {first:?}"
    );
    assert_eq!(outcome.report.stalls, vec![]);
    assert!(
        outcome.report.played_s < 40.0,
        "{}",
        outcome.report.played_s
    );
    let back = run(two_minutes().command(
        50.0,
        Command::Seek {
            to: MediaTime::from_micros(5_000_000),
        },
    ));
    assert!(
        (back.report.played_s - (50.0 + 115.0)).abs() < 3.0,
        "{}",
        back.report.played_s
    );
}

#[test]
fn a_seek_keeps_the_segment_on_its_way_that_it_leads_into() {
    let mut setup = two_minutes();
    setup.last_mile.rate = Some(BitRate::from_kbps(2_000));
    let to = |seconds: i64| Command::Seek {
        to: MediaTime::from_micros(seconds * 1_000_000),
    };
    // A held key: each press leads on within the segment that the first one had begun.
    let setup = setup
        .command(10.0, to(100))
        .command(10.2, to(101))
        .command(10.4, to(102));
    let outcome = run(setup);
    let fetches = outcome.report.fetches.iter();
    let asked = fetches.filter(|one| one.kind == "media" && one.segment == Some(25));
    assert_eq!(asked.count(), 2, "one of picture, one of sound");
}

#[test]
fn another_language_chosen_while_the_picture_arrives_does_not_stop_it() {
    let mut setup = two_minutes();
    setup.last_mile.rate = Some(BitRate::from_kbps(1_000));
    let outcome = smooth(setup.command(0.45, Command::SelectAudio { track: 1 }));
    let chosen = "the viewer chose another track";
    let mut decisions = outcome.report.decisions.iter();
    let chosen_s = decisions.find(|one| one.why == chosen).unwrap().at_s;
    let startup_s = outcome.report.startup_s.unwrap();
    assert!(
        chosen_s < startup_s && startup_s < 3.0,
        "{chosen_s} {startup_s}"
    );
}

#[test]
fn a_pause_holds_and_play_goes_on() {
    let outcome = smooth(
        two_minutes()
            .command(10.0, Command::Pause)
            .command(40.0, Command::Play),
    );
    assert!(outcome.ended_at.as_secs_f64() > 149.0);
}

#[test]
fn tokens_are_refreshed_while_it_plays_and_while_it_is_paused() {
    let mut setup = two_minutes()
        .command(10.0, Command::Pause)
        .command(200.0, Command::Play);
    setup.refresh_after = Some(Duration::from_secs(45));
    setup.limit = Duration::from_secs(400);
    let outcome = smooth(setup);
    let refreshes = outcome
        .report
        .fetches
        .iter()
        .filter(|fetch| fetch.kind == "play")
        .count();
    assert!(refreshes >= 7, "{refreshes}");
}

#[test]
fn the_viewer_may_choose_another_language_and_lock_a_rung() {
    let outcome = smooth(
        two_minutes()
            .command(20.0, Command::SelectAudio { track: 1 })
            .command(30.0, Command::LockRung { rung: Some(1) }),
    );
    assert!(
        outcome
            .report
            .segments
            .iter()
            .any(|one| one.representation == "audio_sv")
    );
    assert_eq!(
        outcome
            .report
            .segments
            .iter()
            .rev()
            .find(|one| one.track == "video")
            .unwrap()
            .representation,
        "v2"
    );
}

/// What a session is told of bodies follows one from the other, first bytes at once, and is not as steady as the line is.
#[test]
fn bodies_are_told_of_without_gaps_and_a_little_late() {
    let mut setup = two_minutes();
    setup.last_mile.rate = Some(BitRate::from_kbps(4_000));
    let outcome = smooth(setup);
    let mut told: BTreeMap<u64, Vec<(u64, u64, u64)>> = BTreeMap::new();
    for line in &outcome.log {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let heard = &line["input"]["transport"];
        let progress = &heard["event"]["progress"];
        let number = |value: &serde_json::Value| value.as_u64();
        if let (Some(attempt), Some(from)) = (number(&heard["attempt"]), number(&progress["from"]))
        {
            let at = number(&line["at_ns"]).unwrap();
            let to = number(&progress["to"]).unwrap();
            told.entry(attempt).or_default().push((at, from, to));
        }
    }
    let mut most = BTreeSet::new();
    for body in told.values() {
        assert!(
            body.windows(2).all(|pair| pair[0].2 == pair[1].1),
            "{body:?}"
        );
        let long = body
            .windows(2)
            .filter(|pair| pair[1].0 - pair[0].0 >= 90_000_000);
        let rates = long.map(|pair| (pair[1].2 - pair[1].1) * 8_000_000 / (pair[1].0 - pair[0].0));
        most.extend(rates.max());
    }
    let (least, most) = (*most.first().unwrap(), *most.last().unwrap());
    assert!(
        least < most && (4_040..4_300).contains(&most),
        "{least} to {most} kbit/s"
    );
}

/// The others are just fast enough: the line is hardly ever idle, and nobody but the edge that was lost shows that it carries more.
#[test]
fn a_better_edge_that_comes_back_is_used_again_within_a_minute() {
    for seed in 0..8 {
        let mut setup = two_minutes();
        setup.config.seed = Seed::new(seed);
        setup.edges.truncate(3);
        setup.last_mile.rate = Some(BitRate::from_kbps(60_000));
        for edge in &mut setup.edges[1..] {
            edge.link.rate = Some(BitRate::from_kbps(8_000));
        }
        let outcome = smooth(setup.fault(20.0, 0, Some(Fault::Kill)).fault(30.0, 0, None));
        let back = outcome.report.fetches.iter().flat_map(|fetch| {
            let media = fetch.kind == "media" && fetch.track.as_deref() == Some("video");
            fetch
                .attempts
                .iter()
                .filter(move |one| media && one.edge == "edge-0" && one.start_s > 30.0)
        });
        let first = back.map(|attempt| attempt.start_s).next();
        assert!(
            first.is_some_and(|at| at < 90.0),
            "seed {seed}, {first:?}: {:#?}",
            outcome.report.decisions
        );
    }
}

#[test]
fn a_small_memory_cap_slows_nothing_down_for_good() {
    let mut setup = two_minutes();
    setup.config.memory_cap = nearcast_units::ByteCount::new(4 << 20);
    setup.config.buffer_goal = Duration::from_secs(30);
    let outcome = run(setup);
    assert!(outcome.over, "{:#?}", outcome.report.decisions.last());
    assert_eq!(outcome.report.stalls, vec![]);
}

#[test]
fn three_dead_edges_in_a_row_do_not_hold_the_fourth_up() {
    let mut setup = two_minutes();
    for edge in &mut setup.edges {
        edge.link.rate = Some(BitRate::from_kbps(8_000));
    }
    for edge in 0..4 {
        setup = setup.fault(30.3, edge, Some(Fault::Stop));
    }
    let outcome = smooth(setup);
    for failover in &outcome.report.failovers {
        assert!(
            failover.first_byte_s.is_some_and(|first| first < 5.5),
            "{failover:?}"
        );
    }
}

/// Ten edges whose order says nothing, the worst first; the fourth and the seventh are near and fast.
fn worst_first() -> Setup {
    let mut setup = two_minutes();
    let round_trips_ms = [240, 220, 200, 35, 180, 160, 30, 140, 120, 100];
    let rates_kbps = [
        900, 1_200, 1_500, 50_000, 2_000, 2_500, 40_000, 3_000, 4_000, 5_000,
    ];
    for (edge, (round_trip_ms, kbps)) in setup
        .edges
        .iter_mut()
        .zip(round_trips_ms.into_iter().zip(rates_kbps))
    {
        edge.link.delay = Duration::from_millis(round_trip_ms) / 2;
        edge.link.rate = Some(BitRate::from_kbps(kbps));
    }
    setup.last_mile.rate = Some(BitRate::from_kbps(100_000));
    setup.last_mile.delay = Duration::from_millis(1);
    setup
}

#[test]
fn a_good_edge_is_found_before_the_first_segment_whatever_the_order() {
    let outcome = smooth(worst_first());
    let mut media = outcome
        .report
        .fetches
        .iter()
        .filter(|one| one.kind == "media");
    let first = media
        .find(|one| one.track.as_deref() == Some("video"))
        .unwrap();
    let gave = first.attempts.iter().max_by_key(|one| one.bytes).unwrap();
    assert!(
        ["edge-3", "edge-6"].contains(&gave.edge.as_str()),
        "{first:#?}"
    );
    // No slower than with the good ones at the head of the list, but for the time that it takes to get to them.
    let mut best_first = worst_first();
    best_first.edges.swap(0, 6);
    best_first.edges.swap(1, 3);
    let best = smooth(best_first).report.startup_s.unwrap();
    let found = outcome.report.startup_s.unwrap();
    assert!(
        found < best + 0.2,
        "{found} s, and {best} s with the best first"
    );
}

#[test]
fn horizon_plays_at_the_top_where_the_line_carries_it() {
    let mut setup = two_minutes();
    setup.config.abr = AbrRule::Horizon;
    let outcome = smooth(setup);
    let rate = outcome.report.mean_bitrate_bps;
    assert!(rate > 4_500_000.0, "{rate}");
}

#[test]
fn who_compared_the_rungs_says_what_each_is_worth_and_nobody_else() {
    let mut setup = two_minutes().command(60.0, Command::LockRung { rung: Some(1) });
    setup.config.abr = AbrRule::Horizon;
    let report = smooth(setup).report;
    let rungs = report.decisions.iter().filter(|one| one.kind == "rung");
    let (pictures, sounds): (Vec<_>, Vec<_>) = rungs.partition(|one| one.chosen.starts_with('v'));
    assert!(sounds.iter().all(|one| one.scores.is_empty()));
    let (locked, chosen): (Vec<&DecisionReport>, Vec<_>) = pictures
        .into_iter()
        .partition(|one| one.why.contains("locked"));
    assert!(locked.len() > 5 && locked.iter().all(|one| one.scores.is_empty()));
    assert!(chosen.len() > 10);
    for one in chosen {
        let best = one
            .scores
            .values()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(one.scores.len(), 6, "{one:?}");
        assert!(one.scores[&one.chosen] >= best, "{one:?}");
    }
    // What is expected of the line stands beside them as soon as anything is known of it.
    let expected = |one: &&DecisionReport| {
        let bps = |name: &str| one.inputs.get(name).copied();
        bps("rate_low_bps") < bps("rate_middle_bps")
            && bps("rate_middle_bps") < bps("rate_high_bps")
    };
    let rungs = report.decisions.iter().filter(|one| one.kind == "rung");
    assert!(rungs.skip(2).all(|one| expected(&one)));
}

#[test]
fn horizon_gives_up_what_a_collapsing_line_would_bring_too_late() {
    let mut setup = two_minutes();
    setup.config.abr = AbrRule::Horizon;
    setup.config.buffer_goal = Duration::from_secs(8);
    // All edges at once: it is the line.
    for edge in 0..setup.edges.len() {
        let slow = Fault::Rate {
            rate_bps: Some(500_000),
        };
        setup = setup.fault(33.3, edge, Some(slow));
        setup = setup.fault(75.0, edge, None);
    }
    let outcome = run(setup);
    assert!(outcome.over && outcome.report.error.is_none());
    let given_up = outcome
        .report
        .decisions
        .iter()
        .filter(|one| one.kind == "abandon");
    assert!(given_up.count() >= 1, "{:#?}", outcome.report.decisions);
    assert!(
        outcome.report.stalled_s < 2.0,
        "{:?}",
        outcome.report.stalls
    );
}
