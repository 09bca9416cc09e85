//! What attempts at one object lead to.

use super::*;
use crate::input::EdgeOffer;
use crate::throughput::Told;
use nearcast_units::Seed;

/// Nothing is needed soon.
const AMPLE: Duration = Duration::from_secs(60);

fn ms(n: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(n)
}

fn edges() -> Edges {
    let mut edges = Edges::new(Seed::new(1).rng());
    edges.offer(&[
        EdgeOffer {
            name: "a".into(),
            rank: 0,
        },
        EdgeOffer {
            name: "b".into(),
            rank: 1,
        },
    ]);
    edges
}

fn fetch() -> Fetch {
    let mut fetch = Fetch::new(
        FetchId(1),
        ObjectKey::Manifest,
        None,
        ByteCount::new(1_000_000),
        ms(0),
    );
    fetch.total = Some(1_000_000);
    fetch.attempts.push(Attempt::new(
        AttemptId(1),
        EdgeId(0),
        Role::Primary,
        0,
        None,
        ms(0),
        None,
    ));
    fetch
}

fn body(fetch: &mut Fetch, id: u32, times: impl Iterator<Item = u64>, each: u64) {
    for at in times {
        let from = fetch
            .attempts
            .iter()
            .find(|one| one.id == AttemptId(id))
            .unwrap()
            .next;
        fetch.progress(ms(at), AttemptId(id), from, from + each);
    }
}

#[test]
fn a_pause_is_helped_and_a_helper_that_delivers_ends_the_silent_attempt() {
    let edges = edges();
    let mut fetch = fetch();
    body(&mut fetch, 1, (100..=500).step_by(100), 50_000);
    assert_eq!(fetch.review(ms(700), &edges, AMPLE), None);
    let due = fetch.next_review(ms(700), &edges).unwrap();
    assert_eq!(
        fetch.review(due, &edges, AMPLE),
        Some(Verdict::Help {
            attempt: AttemptId(1),
            late: Late::Paused
        })
    );
    fetch
        .attempt_mut(AttemptId(1))
        .unwrap()
        .helped(due, Late::Paused);

    let from = fetch.resume_point();
    assert_eq!(from, 250_000 - 4096);
    let mut small = self::fetch();
    (small.total, small.received) = (Some(36_000), 18_000);
    assert_eq!(small.resume_point(), 18_000 - 2_250);
    fetch.attempts.push(Attempt::new(
        AttemptId(2),
        EdgeId(1),
        Role::Helper,
        from,
        None,
        due,
        None,
    ));
    assert_eq!(
        fetch.progress(
            due + Duration::from_millis(60),
            AttemptId(2),
            from,
            from + 10_096
        ),
        ByteCount::new(6_000)
    );
    let verdict = fetch.review(due + Duration::from_millis(60), &edges, AMPLE);
    assert_eq!(
        verdict,
        Some(Verdict::Cancel {
            attempt: AttemptId(1),
            reason: CancelReason::Silent
        })
    );
}

#[test]
fn a_helper_shows_whether_the_line_is_slow_or_the_edge() {
    let edges = edges();
    // What both bring in each tenth of a second, which of them ends, and why.
    let cases = [
        (5_000, 5_000, 2, CancelReason::NotNeeded),
        (1_000, 50_000, 1, CancelReason::Slow),
    ];
    for (slow, helps, ended, reason) in cases {
        let mut fetch = fetch();
        body(&mut fetch, 1, (100..=500).step_by(100), 10_000);
        let from = fetch.resume_point();
        let (id, edge, role) = (AttemptId(2), EdgeId(1), Role::Helper);
        let helper = Attempt::new(id, edge, role, from, None, ms(500), None);
        fetch.attempts.push(helper);
        for at in (600..=1000).step_by(100) {
            body(&mut fetch, 1, core::iter::once(at), slow);
            body(&mut fetch, 2, core::iter::once(at), helps);
        }
        let attempt = AttemptId(ended);
        let verdict = fetch.review(ms(1000), &edges, AMPLE);
        assert_eq!(verdict, Some(Verdict::Cancel { attempt, reason }));
    }
}

#[test]
fn what_brings_as_good_as_nothing_ends_when_its_helper_is_ahead() {
    let edges = edges();
    for (against, ends) in [(Late::Trickle, true), (Late::Slow, false)] {
        let mut fetch = fetch();
        body(&mut fetch, 1, (100..=500).step_by(100), 1_000);
        let from = fetch.resume_point();
        let (id, edge, role) = (AttemptId(2), EdgeId(1), Role::Helper);
        let mut helper = Attempt::new(id, edge, role, from, None, ms(500), None);
        helper.helps_against = Some(against);
        fetch.attempts.push(helper);
        body(&mut fetch, 1, [600].into_iter(), 1_000);
        body(&mut fetch, 2, [600].into_iter(), 6_000 - from);
        assert_eq!(fetch.review(ms(600), &edges, AMPLE), None, "as far");
        body(&mut fetch, 2, [601].into_iter(), 1_000);
        let verdict = ends.then_some(Verdict::Cancel {
            attempt: AttemptId(1),
            reason: CancelReason::Silent,
        });
        assert_eq!(fetch.review(ms(601), &edges, AMPLE), verdict, "{against:?}");
    }
}

#[test]
fn a_body_that_trickles_is_as_good_as_silent_and_one_in_slow_start_is_not() {
    let mut edges = edges();
    let at = |n: u64| core::iter::once(n);
    for n in 0..8 {
        let edge = edges.get_mut(EdgeId(0)).unwrap();
        edge.answered(ms(n), Duration::from_millis(200));
    }
    let expected = Some(BitRate::from_kbps(20_000));
    // Bytes in each tenth of the first second, and in each of so many after it.
    let cases = [
        (200_000, 10, 1_000, Some(Late::Trickle)),
        (200_000, 10, 50_000, None),
        (1_000, 0, 0, Some(Late::Trickle)),
        // Its first flights.
        (9_000, 0, 0, None),
    ];
    for (before, count, after, late) in cases {
        let mut fetch = fetch();
        fetch.total = Some(100_000_000);
        fetch.attempts[0].expected = expected;
        fetch.attempts[0].answered_in = Duration::from_millis(200);
        for n in 0..=10 {
            body(&mut fetch, 1, at(100 + n * 100), before);
        }
        for n in 1..=count {
            body(&mut fetch, 1, at(1_100 + n * 100), after);
        }
        let edge = edges.get(EdgeId(0)).unwrap();
        let age = 1_100 + count * 100;
        let found = fetch.attempts[0].trickles(ms(age), edge);
        assert_eq!(found, late.is_some(), "{before} {after}");
        if late.is_none() {
            continue;
        }
        let verdict = fetch.review(ms(age), &edges, AMPLE);
        let attempt = AttemptId(1);
        assert_eq!(verdict, late.map(|late| Verdict::Help { attempt, late }));
        let from = fetch.resume_point();
        let role = Role::Helper;
        let (id, edge) = (AttemptId(2), EdgeId(1));
        let helper = Attempt::new(id, edge, role, from, None, ms(age), expected);
        fetch.attempts.push(helper);
        for n in 0..6 {
            body(&mut fetch, 1, at(age + 10 + n * 100), 1_000);
            body(&mut fetch, 2, at(age + 20 + n * 100), 100_000);
        }
        let reason = CancelReason::Silent;
        let verdict = fetch.review(ms(age + 600), &edges, AMPLE);
        assert_eq!(verdict, Some(Verdict::Cancel { attempt, reason }));
    }
}

#[test]
fn what_trickles_and_comes_soon_is_helped_only_where_it_is_needed_soon() {
    let mut edges = edges();
    let edge = edges.get_mut(EdgeId(0)).unwrap();
    edge.answered(ms(0), Duration::from_millis(200));
    let help = Some(Verdict::Help {
        attempt: AttemptId(1),
        late: Late::Trickle,
    });
    let second = Duration::from_secs(1);
    // What is left takes 0.9 s, or 9.
    for (rest, spare, verdict) in [
        (9_000, AMPLE, None),
        (9_000, second, help),
        (90_000, AMPLE, help),
    ] {
        let mut fetch = fetch();
        fetch.total = Some(11_000 + rest);
        fetch.attempts[0].expected = Some(BitRate::from_kbps(20_000));
        fetch.attempts[0].answered_in = Duration::from_millis(200);
        body(&mut fetch, 1, (100..=1_100).step_by(100), 1_000);
        let found = fetch.review(ms(1_100), &edges, spare);
        assert_eq!(found, verdict, "{rest} {spare:?}");
    }
}

#[test]
fn a_body_is_slow_only_when_it_had_the_time_to_open() {
    let edges = edges();
    // Round trip, then bytes in each tenth of the second after the first byte.
    let cases = [
        (20, [30_000; 10], true),
        (200, [30_000; 10], false),
        (
            20,
            [
                10_000, 10_000, 10_000, 10_000, 10_000, 20_000, 30_000, 40_000, 60_000, 90_000,
            ],
            false,
        ),
        (
            20,
            [
                200_000, 200_000, 200_000, 30_000, 30_000, 30_000, 30_000, 30_000, 30_000, 30_000,
            ],
            true,
        ),
    ];
    for (round_trip, slices, slow) in cases {
        let mut fetch = fetch();
        fetch.total = Some(100_000_000);
        fetch.attempts[0].expected = Some(BitRate::from_kbps(20_000));
        fetch.attempts[0].answered_in = Duration::from_millis(round_trip);
        for (at, bytes) in (100..).step_by(100).zip(slices) {
            body(&mut fetch, 1, core::iter::once(at), bytes);
        }
        let help = Verdict::Help {
            attempt: AttemptId(1),
            late: Late::Slow,
        };
        let verdict = fetch.review(ms(1_000), &edges, AMPLE);
        assert_eq!(verdict, slow.then_some(help), "{round_trip} {slices:?}");
    }
}

#[test]
fn a_body_at_half_of_what_its_edge_gave_is_slow_once_that_lasts() {
    let edges = edges();
    let verdict = |kb: &[u64]| {
        let mut fetch = fetch();
        fetch.total = Some(100_000_000);
        fetch.attempts[0].expected = Some(BitRate::from_kbps(8_000));
        let mut at = 0;
        for kb in kb {
            at += 100;
            body(&mut fetch, 1, core::iter::once(at), kb * 1_000);
            let edge = edges.get(EdgeId(0)).unwrap();
            fetch.attempts[0].note_well(ms(at), edge);
        }
        fetch.review(ms(at), &edges, Duration::from_secs(3_600))
    };
    let slow = Some(Verdict::Help {
        attempt: AttemptId(1),
        late: Late::Fallen,
    });
    // 100 kB in a tenth of a second are what is expected.
    assert_eq!(verdict(&[50; 15]), None);
    assert_eq!(verdict(&[50; 17]), slow);
    let fell: Vec<u64> = [[100; 12], [50; 12]].concat();
    assert_eq!(verdict(&fell), None, "for a second so far");
    let fell: Vec<u64> = [[100; 24], [50; 24]].concat();
    assert_eq!(verdict(&fell), slow);
    let swings: Vec<u64> = [30, 30, 30, 30, 90, 90, 90, 90].repeat(6);
    assert_eq!(verdict(&swings), None);
    assert_eq!(verdict(&[65; 40]), None, "a third less costs no rung");
}

#[test]
fn what_comes_beside_a_body_from_its_edge_is_not_held_against_it() {
    // Of the 8 Mbit/s that are expected half come, and so much beside them. Then nothing comes for some time.
    let verdict = |beside_kbps: u64, silent_ms: u64, spare: Duration| {
        let mut edges = edges();
        let mut fetch = fetch();
        fetch.total = Some(100_000_000);
        fetch.attempts[0].expected = Some(BitRate::from_kbps(8_000));
        edges.get_mut(EdgeId(0)).unwrap().body_begins(ms(100));
        for at in (100..=3_000).step_by(100) {
            body(&mut fetch, 1, core::iter::once(at), 50_000);
            let edge = edges.get_mut(EdgeId(0)).unwrap();
            let tenth = Duration::from_millis(100);
            let all = ByteCount::new(50_000) + BitRate::from_kbps(beside_kbps).bytes_in(tenth);
            edge.body_progress(Told::alone(ms(at - 100), ms(at)), all);
            fetch.attempts[0].note_well(ms(at), edge);
        }
        fetch.review(ms(3_000 + silent_ms), &edges, spare)
    };
    let help = |late| {
        let attempt = AttemptId(1);
        Some(Verdict::Help { attempt, late })
    };
    for spare in [AMPLE, Duration::from_secs(1)] {
        assert_eq!(verdict(0, 0, spare), help(Late::Fallen));
        assert_eq!(verdict(3_000, 0, spare), None);
    }
    // What was brought before does not hide that nothing comes.
    assert_eq!(
        verdict(3_000, 350, Duration::from_secs(1)),
        help(Late::Overdue)
    );
}

#[test]
fn a_helper_that_gets_what_the_slow_body_leaves_shows_that_the_line_has_room() {
    let edges = edges();
    // What came before, and what both bring in each tenth of a second.
    let cases = [
        (30_000, 30_000, 40_000, CancelReason::Slow),
        (60_000, 30_000, 30_000, CancelReason::NotNeeded),
        (30_000, 30_000, 20_000, CancelReason::NotNeeded),
    ];
    for (before, slow, helps, reason) in cases {
        let mut fetch = fetch();
        body(&mut fetch, 1, (100..=500).step_by(100), before);
        let from = fetch.resume_point();
        let (id, edge, role) = (AttemptId(2), EdgeId(1), Role::Helper);
        let mut helper = Attempt::new(id, edge, role, from, None, ms(500), None);
        helper.before = ByteCount::new(before).rate_over(Duration::from_millis(100));
        fetch.attempts.push(helper);
        for at in (600..=1_000).step_by(100) {
            body(&mut fetch, 1, core::iter::once(at), slow);
            body(&mut fetch, 2, core::iter::once(at), helps);
        }
        let left = reason == CancelReason::Slow;
        let ended = AttemptId(if left { 1 } else { 2 });
        let verdict = fetch.review(ms(1_000), &edges, AMPLE);
        let expected = Verdict::Cancel {
            attempt: ended,
            reason,
        };
        assert_eq!(verdict, Some(expected), "{before} {slow} {helps}");
    }
}

#[test]
fn without_another_edge_silence_ends_by_itself() {
    let edges = edges();
    let mut fetch = fetch();
    fetch
        .attempt_mut(AttemptId(1))
        .unwrap()
        .helped(ms(4_000), Late::Paused);
    assert_eq!(fetch.review(ms(4_900), &edges, AMPLE), None);
    assert_eq!(
        fetch.review(ms(5_000), &edges, AMPLE),
        Some(Verdict::GiveUp {
            attempt: AttemptId(1)
        })
    );
}

#[test]
fn another_size_is_another_object() {
    let mut fetch = fetch();
    assert_eq!(
        fetch.identify(
            EdgeId(0),
            &Validators {
                total: Some(999),
                ..Validators::default()
            }
        ),
        Err(Failure::SizeChanged)
    );
    assert_eq!(
        fetch.identify(
            EdgeId(0),
            &Validators {
                total: None,
                ..Validators::default()
            }
        ),
        Ok(())
    );
}

#[test]
fn who_says_nothing_about_an_object_does_not_say_what_it_is() {
    let mut fetch = fetch();
    fetch.total = None;
    let told = |total| Validators {
        total,
        ..Validators::default()
    };
    assert_eq!(fetch.identify(EdgeId(0), &told(None)), Ok(()));
    assert_eq!(fetch.identified_by, None);
    for edge in [EdgeId(1), EdgeId(0)] {
        assert_eq!(fetch.identify(edge, &told(Some(9))), Ok(()));
        assert_eq!(fetch.identified_by, Some(EdgeId(1)));
    }
}
