//! Bytes that are wrong, objects that edges refuse, edges that are slow from the start, tokens that end.

use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultRule, ObjectKind};
use nearcast_core::Command;
use nearcast_protocol::manifest::RepresentationKey;
use nearcast_protocol::report::FetchReport;
use nearcast_sim::{Outcome, Setup};
use nearcast_units::{BitRate, MediaTime};

use crate::{on, run, segment, smooth, two_minutes};

const fn status(status: u16) -> Fault {
    Fault::Status {
        status,
        retry_after_s: None,
    }
}

/// Every media segment of a representation.
fn media(fault: Fault, representation: &str) -> FaultRule {
    on(fault, |on| {
        on.object = Some(ObjectKind::Media);
        on.representation = Some(representation.to_owned());
    })
}

/// Edges that brought video segments asked for after a time.
fn video_edges(outcome: &Outcome, after_s: f64) -> Vec<&str> {
    let fetches = outcome.report.fetches.iter();
    fetches
        .filter(|fetch| fetch.kind == "media" && fetch.track.as_deref() == Some("video"))
        .flat_map(|fetch| &fetch.attempts)
        .filter(|one| one.start_s > after_s && one.result == "ok")
        .map(|one| one.edge.as_str())
        .collect()
}

#[test]
fn an_edge_that_gives_wrong_bytes_is_left_and_what_lies_behind_them_is_kept() {
    let outcome = smooth(two_minutes().fault(20.0, 0, Some(Fault::Corrupt)));
    let bytes = &outcome.report.bytes;
    assert!(
        bytes.wasted < 12_000_000,
        "a few segments, not all of them: {bytes:?}"
    );
    let edges = video_edges(&outcome, 40.0);
    assert!(edges.iter().all(|edge| *edge != "edge-0"), "{edges:?}");
    let corrupt = |one: &&nearcast_protocol::report::FailoverReport| one.reason == "edge.corrupt";
    assert!(outcome.report.failovers.iter().any(|one| corrupt(&one)));
}

#[test]
fn what_every_edge_refuses_is_taken_from_another_rung() {
    let mut setup = two_minutes();
    for edge in 0..10 {
        setup = setup.fault_on(20.0, edge, media(status(500), "v6"));
    }
    let outcome = smooth(setup);
    let mut segments = outcome.report.segments.iter().rev();
    let last = segments.find(|one| one.track == "video").unwrap();
    assert!(last.bitrate_bps > 2_000_000, "{last:?}");
    // Each such segment costs a request on every edge: after two of them the rung is left alone for a while.
    let refused = |fetch: &&FetchReport| {
        let mut attempts = fetch.attempts.iter();
        attempts.any(|one| one.code.as_deref() == Some("edge.server_error"))
    };
    let refused = outcome.report.fetches.iter().filter(refused).count();
    assert!((2..=5).contains(&refused), "{refused}");
}

#[test]
fn a_file_that_the_edge_in_use_lacks_changes_nothing_for_others() {
    let sound = on(status(404), |on| {
        on.representation = Some("audio_en".to_owned())
    });
    let setup = two_minutes().fault_on(20.0, 0, sound);
    let outcome = smooth(setup);
    let edges = video_edges(&outcome, 20.0);
    assert!(edges.iter().all(|edge| *edge == "edge-0"), "{edges:?}");
}

#[test]
fn a_cap_gives_way_where_nothing_below_it_can_be_had() {
    let mut setup = two_minutes();
    setup.config.rung_cap = Some(BitRate::from_kbps(300));
    for edge in 0..10 {
        setup = setup.fault_on(0.0, edge, segment(status(404), "v1", 7));
    }
    let outcome = smooth(setup);
    let segments = outcome.report.segments.iter();
    let above: Vec<_> = segments
        .filter(|one| one.track == "video" && one.bitrate_bps > 300_000)
        .map(|one| one.index)
        .collect();
    assert_eq!(above, [7]);
}

#[test]
fn an_edge_that_trickles_from_the_first_segment_on_does_not_hold_the_start_up() {
    let setup = two_minutes().fault(
        0.12,
        0,
        Some(Fault::Rate {
            rate_bps: Some(16_000),
        }),
    );
    let outcome = run(setup);
    let startup_s = outcome.report.startup_s;
    assert!(startup_s.is_some_and(|at| at < 4.0), "{startup_s:?}");
}

#[test]
fn a_slow_edge_that_falls_silent_is_left_as_soon_as_any_other() {
    let mut setup = two_minutes();
    for edge in &mut setup.edges {
        edge.link.rate = Some(BitRate::from_kbps(4_000));
    }
    // Everything is slow at once, so that help against slowness was asked for and was of no use.
    for edge in 0..10 {
        let rate_bps = Some(900_000);
        setup = setup.fault(30.0, edge, Some(Fault::Rate { rate_bps }));
    }
    // Whichever is in use by then.
    let quiet = run(setup.clone());
    let mut fetches = quiet.report.fetches.iter().rev();
    let under_way = fetches.find_map(|one| {
        let video = one.track.as_deref() == Some("video");
        let mut attempts = one.attempts.iter().rev();
        attempts.find(|one| video && one.start_s < 33.0)
    });
    let name = &under_way.unwrap().edge;
    let edge = setup.edges.iter().position(|one| one.name == *name);
    let outcome = run(setup.clone().fault(33.0, edge.unwrap(), Some(Fault::Stop)));
    let failovers = outcome.report.failovers.iter();
    let silent = failovers.filter(|one| one.from == *name && one.at_s > 32.0);
    let silent: Vec<_> = silent.collect();
    assert!(!silent.is_empty(), "{:#?}", outcome.report.decisions);
    for failover in silent {
        let first = failover.first_byte_s;
        assert!(first.is_some_and(|first| first < 1.6), "{failover:?}");
    }
}

#[test]
fn when_no_edge_is_left_the_backend_is_asked_for_others() {
    let mut setup = two_minutes();
    setup.refresh_after = Some(Duration::from_secs(3_000));
    setup.grants = Some((3, vec![3, 4, 5]));
    for edge in 0..3 {
        setup = setup.fault(30.0, edge, Some(Fault::Kill));
    }
    let outcome = smooth(setup);
    let edges = video_edges(&outcome, 45.0);
    assert!(
        edges
            .iter()
            .all(|edge| ["edge-3", "edge-4", "edge-5"].contains(edge)),
        "{edges:?}"
    );
}

/// A world whose tokens are not accepted from 20 s until a time; returns how often the backend was asked.
fn rejected_until(until_s: f64) -> (Outcome, usize) {
    let mut setup = two_minutes();
    setup.refresh_after = Some(Duration::from_secs(3_000));
    for edge in 0..10 {
        setup = setup
            .fault(20.0, edge, Some(status(403)))
            .fault(until_s, edge, None);
    }
    let outcome = smooth(setup);
    let plays = outcome.report.fetches.iter();
    let asked = plays.filter(|fetch| fetch.kind == "play").count();
    (outcome, asked)
}

#[test]
fn an_old_token_is_replaced_once_and_no_edge_is_blamed() {
    // Until shortly after the first request with it.
    let quiet = smooth(two_minutes());
    let fetches = quiet.report.fetches.iter();
    let attempts = fetches
        .filter(|one| one.kind != "probe")
        .flat_map(|one| &one.attempts);
    let requests = attempts.map(|one| one.start_s).filter(|at| *at > 20.0);
    let first = requests.min_by(f64::total_cmp).unwrap();
    let (outcome, asked) = rejected_until(first + 0.06);
    assert_eq!(asked, 2);
    let rests = |line: &&String| line.contains("edge_state");
    assert_eq!(outcome.log.iter().find(rests), None);
}

#[test]
fn edges_that_take_a_moment_to_know_new_tokens_are_not_a_reason_to_ask_again_and_again() {
    let (_, asked) = rejected_until(24.1);
    assert!((2..=3).contains(&asked), "asked {asked} times");
}

const fn is_top(key: RepresentationKey) -> bool {
    key.track == 0 && key.representation == 5
}

#[test]
fn what_the_living_lack_is_taken_from_another_rung_and_the_dead_are_not_waited_for() {
    let mut setup = two_minutes();
    setup.edges.truncate(3);
    let setup = setup
        .fault_on(5.0, 0, segment(status(404), "v6", 10))
        .fault_on(5.0, 1, segment(status(404), "v6", 10))
        .fault(5.0, 2, Some(Fault::Kill));
    let outcome = smooth(setup);
    let segments = outcome.report.segments.iter();
    let ten: Vec<_> = segments
        .filter(|one| one.track == "video" && one.index == 10)
        .map(|one| one.bitrate_bps)
        .collect();
    assert_eq!(ten, [3_000_000]);
}

#[test]
fn what_is_wrong_while_it_arrives_is_asked_of_another_edge() {
    let media = on(Fault::Corrupt, |on| on.object = Some(ObjectKind::Media));
    let setup = two_minutes().fault_on(0.0, 0, media);
    let outcome = smooth(setup);
    let startup_s = outcome.report.startup_s;
    assert!(startup_s.is_some_and(|at| at < 1.5), "{startup_s:?}");
    let edges = video_edges(&outcome, 1.0);
    assert!(edges.iter().all(|edge| *edge != "edge-0"), "{edges:?}");
}

#[test]
fn a_piece_of_the_subtitles_that_nobody_has_is_left_out() {
    let mut setup = two_minutes().command(1.0, Command::SelectText { track: Some(0) });
    for edge in 0..10 {
        setup = setup.fault_on(0.0, edge, segment(status(404), "subs_en", 5));
    }
    // Back before the missing piece: what nobody has is not asked for again.
    let seek = Command::Seek {
        to: MediaTime::from_micros(10_000_000),
    };
    let outcome = run(setup.command(30.0, seek));
    assert!(outcome.over && outcome.report.error.is_none());
    let cues = |index: u64| {
        let fetches = outcome.report.fetches.iter();
        fetches
            .filter(|one| one.kind == "subtitle" && one.segment == Some(index))
            .count()
    };
    assert_eq!((cues(4), cues(5), cues(6)), (2, 1, 2));
}

#[test]
fn whoever_pauses_does_not_wait() {
    let mut setup = two_minutes()
        .command(60.0, Command::Pause)
        .command(100.0, Command::Play);
    setup.limit = Duration::from_secs(400);
    for edge in 0..10 {
        setup = setup
            .fault(20.0, edge, Some(Fault::Kill))
            .fault(110.0, edge, None);
    }
    let outcome = run(setup);
    assert!(outcome.over && outcome.report.error.is_none());
    let stalled_s = outcome.report.stalled_s;
    // From some 50 s to 60 s, and from 100 s until an edge is back.
    assert!(
        (15.0..35.0).contains(&stalled_s),
        "{:?}",
        outcome.report.stalls
    );
}

#[test]
fn a_slow_transfer_is_not_given_up_for_a_rung_that_nobody_has() {
    let mut setup = two_minutes();
    // Less than the second rung needs, of which every segment is late.
    setup.last_mile.rate = Some(BitRate::from_kbps(450));
    setup.limit = Duration::from_secs(900);
    for edge in 0..10 {
        let mut lacks = media(status(404), "v1");
        lacks.on.segment_from = Some(3);
        setup = setup.fault_on(0.0, edge, lacks);
    }
    let outcome = run(setup);
    assert!(outcome.over && outcome.report.error.is_none());
    let decisions = outcome.report.decisions.iter();
    let given_up = decisions.filter(|one| one.kind == "abandon");
    assert!(given_up.count() < 5);
}

/// A world that tells the segments of the top rung in an index apart, of which every edge answers in one way.
fn index_apart(fault: &Option<Fault>) -> Setup {
    let mut setup = two_minutes();
    setup.title = setup.title.deferred(is_top);
    for edge in 0..10 {
        let Some(fault) = fault.clone() else {
            continue;
        };
        let index = on(fault, |on| on.object = Some(ObjectKind::Index));
        setup = setup.fault_on(0.0, edge, index);
    }
    setup
}

#[test]
fn an_index_that_nobody_has_or_can_read_is_not_asked_for_again() {
    let indices = |outcome: &Outcome| {
        let fetches = outcome.report.fetches.iter();
        fetches.filter(|one| one.kind == "index").count()
    };
    let top = |outcome: &Outcome| {
        let segments = outcome.report.segments.iter();
        segments.map(|one| one.bitrate_bps).max()
    };
    let sound = smooth(index_apart(&None));
    assert_eq!((indices(&sound), top(&sound)), (1, Some(5_800_000)));
    for (fault, times) in [(status(404), 1), (Fault::Corrupt, 2)] {
        let outcome = smooth(index_apart(&Some(fault.clone())));
        assert_eq!(
            (indices(&outcome), top(&outcome)),
            (times, Some(3_000_000)),
            "{fault:?}"
        );
    }
}

#[test]
fn what_nobody_had_is_looked_for_again_when_an_edge_is_back_by_a_probe() {
    let mut setup = two_minutes();
    setup.edges.truncate(2);
    let no_init = on(status(404), |on| {
        on.object = Some(ObjectKind::Init);
        on.representation = Some("v6".to_owned());
    });
    let setup = setup
        .fault_on(0.0, 0, no_init)
        .fault(0.2, 1, Some(Fault::Kill))
        .fault(25.0, 1, None);
    let outcome = smooth(setup);
    let mut segments = outcome.report.segments.iter().rev();
    let last = segments.find(|one| one.track == "video").unwrap();
    assert_eq!(last.bitrate_bps, 5_800_000);
}
