use super::*;

const SLOW: (AttemptId, EdgeId) = (AttemptId(1), EdgeId(0));
const OTHER: (AttemptId, EdgeId) = (AttemptId(2), EdgeId(1));
const THIRD: (AttemptId, EdgeId) = (AttemptId(3), EdgeId(2));

/// In the last tenth of a second so much came.
fn came(comparison: &mut Comparison, now: Instant, who: (AttemptId, EdgeId), bytes: u64) {
    let since = now - Duration::from_millis(100);
    comparison.progress(Told::alone(since, now), who, bytes);
}

/// A body of `before` kB/s that gets `slow` while another gets `other` for half a second; usual are 1,000.
fn shown(before: u64, slow: u64, other: u64) -> Blame {
    shown_after(40, (before, slow, other))
}

/// The same where the other one has begun so many milliseconds after it was asked.
fn shown_after(round_trip: u64, rates: (u64, u64, u64)) -> Blame {
    let usual = HeldTo::Usual(BitRate::from_kbps(8_000));
    shown_beside(usual, round_trip, rates)
}

fn shown_beside(held_to: HeldTo, round_trip: u64, (before, slow, other): (u64, u64, u64)) -> Blame {
    let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
    let held_to = (None, held_to);
    let mut comparison = Comparison::new(SLOW, OTHER, held_to, RecentRate::default());
    for n in 0..=10 {
        came(&mut comparison, ms(n * 100), SLOW, before * 100);
    }
    comparison.body_begins(ms(1_010), OTHER.0, ms(1_010 - round_trip));
    for n in 0..=5 {
        came(&mut comparison, ms(1_010 + n * 100), OTHER, other * 100);
        came(&mut comparison, ms(1_060 + n * 100), SLOW, slow * 100);
    }
    comparison.ended(OTHER.0);
    comparison.finding(ms(1_600)).unwrap().blame
}

#[test]
fn who_may_still_get_faster_has_shown_something() {
    // In slow start, as it is after so long a round trip.
    assert_eq!(shown_after(300, (200, 220, 250)), Blame::Edge);
    assert_eq!(shown_after(40, (200, 220, 250)), Blame::Both);
    // A queue makes round trips long, too, and then next to nothing comes.
    assert_eq!(shown_after(300, (200, 220, 150)), Blame::Both);
    // Who brings more beside another than alone is not kept down by its edge: the line has got more.
    assert_eq!(shown_after(300, (200, 300, 250)), Blame::Nobody);
}

#[test]
fn who_is_ahead_and_still_gets_faster_is_better_than_an_edge_that_was_always_slow() {
    let (rate, line) = (BitRate::from_kbps(8_000), BitRate::from_kbps(1_600));
    let shown = |round_trip, other| {
        shown_beside(HeldTo::Wanted { rate, line }, round_trip, (200, 200, other))
    };
    assert_eq!(shown(300, 250), Blame::Edge);
    // As fast so far: that tells nothing yet.
    assert_eq!(shown(300, 220), Blame::Nobody);
    // All that it has.
    assert_eq!(shown(40, 250), Blame::Both);
}

#[test]
fn a_far_edge_shows_what_it_has_after_more() {
    let slow = BitRate::from_kbps(3_000);
    let bytes = |ms| Comparison::shows_after(slow, Duration::from_millis(ms)).get();
    assert_eq!((bytes(0), bytes(100)), (101_250, 213_750));
}

#[test]
fn who_is_slow_shows_in_what_two_bodies_get_together() {
    let cases = [
        // They share what one had alone: evenly, or as TCP shares with one that is nearer.
        (200, 100, 100, Blame::Line),
        (200, 60, 140, Blame::Line),
        // The slow one goes on as it was, and the other gets much more.
        (200, 200, 800, Blame::Edge),
        (200, 180, 400, Blame::Edge),
        // Nothing is taken away, and yet nothing is won.
        (200, 200, 200, Blame::Both),
        (200, 200, 100, Blame::Both),
        // It is back.
        (200, 900, 900, Blame::Nobody),
    ];
    for (before, slow, other, blame) in cases {
        assert_eq!(shown(before, slow, other), blame, "{before} {slow} {other}");
    }
}

/// Beside the slow body, of 100 kB/s, a third one brings as much until the other begins, and `third` after that; the other one brings
/// `other` kB/s, and its round trip is as long as it says.
fn shown_beside_third(round_trip: u64, other: u64, third: u64) -> Blame {
    let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
    let usual = (None, HeldTo::Usual(BitRate::from_kbps(8_000)));
    let mut comparison = Comparison::new(SLOW, OTHER, usual, RecentRate::default());
    for n in 0..=10 {
        came(&mut comparison, ms(n * 100), SLOW, 10_000);
        came(&mut comparison, ms(n * 100), THIRD, 10_000);
    }
    comparison.body_begins(ms(1_010), OTHER.0, ms(1_010 - round_trip));
    for n in 0..=5 {
        came(&mut comparison, ms(1_010 + n * 100), OTHER, other * 100);
        came(&mut comparison, ms(1_060 + n * 100), SLOW, 10_000);
        came(&mut comparison, ms(1_060 + n * 100), THIRD, third * 100);
    }
    comparison.ended(OTHER.0);
    comparison.finding(ms(1_600)).unwrap().blame
}

#[test]
fn what_a_third_body_takes_of_the_line_counts_before_and_beside() {
    // It has ended, and the other takes its place: no room was there.
    assert_eq!(shown_beside_third(100, 100, 0), Blame::Line);
    // It goes on, and the other, which may still get faster, comes on top of it.
    assert_eq!(shown_beside_third(300, 140, 100), Blame::Edge);
}

/// What comes to each of two bodies from then until then, in milliseconds, of a line that carries 200 kB/s until `rises`, and
/// `times` as much after that.
fn half_of_line(from: u64, to: u64, rises: u64, times: u64) -> u64 {
    let (before, after) = (
        to.min(rises) - from.min(rises),
        to.max(rises) - from.max(rises),
    );
    100 * (before + after * times)
}

/// Two bodies share a line that gets more, and are told of at their own times; asked for a finding whenever one was.
fn shown_by_line_that_rises(
    (round_trip, held_to): (u64, HeldTo),
    (rises, times): (u64, u64),
) -> Blame {
    let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
    let mut comparison = Comparison::new(SLOW, OTHER, (None, held_to), RecentRate::default());
    for n in 0..=10 {
        came(&mut comparison, ms(n * 100), SLOW, 20_000);
    }
    comparison.body_begins(ms(1_010), OTHER.0, ms(1_010 - round_trip));
    let bytes = |until: u64| half_of_line(until - 100, until, rises, times);
    for n in 0..=4 {
        for (at, who) in [(1_090 + n * 100, SLOW), (1_110 + n * 100, OTHER)] {
            came(&mut comparison, ms(at), who, bytes(at));
            let found = comparison.finding(ms(at)).map(|found| found.blame);
            let what = (round_trip, held_to, rises, times);
            assert_ne!(found, Some(Blame::Edge), "after {at} ms: {what:?}");
        }
    }
    // Its last slice, when that of the slow one is still to come.
    let last = half_of_line(1_510, 1_580, rises, times);
    comparison.progress(Told::alone(ms(1_510), ms(1_580)), OTHER, last);
    comparison.ended(OTHER.0);
    comparison.finding(ms(1_580)).unwrap().blame
}

#[test]
fn a_line_that_gets_more_meanwhile_gives_it_to_both() {
    let (rate, line) = (BitRate::from_kbps(80_000), BitRate::from_kbps(1_600));
    for rises in (1_010..1_600).step_by(10) {
        // Twice as much is what one who is slow by itself leaves to the other.
        for times in [3, 7] {
            for round_trip in [40, 100, 300] {
                for held_to in [HeldTo::Usual(rate), HeldTo::Wanted { rate, line }] {
                    let found = shown_by_line_that_rises((round_trip, held_to), (rises, times));
                    let what = (round_trip, held_to, rises, times);
                    assert_ne!(found, Blame::Edge, "{what:?}");
                }
            }
        }
    }
}

#[test]
fn sound_that_is_told_of_alone_does_not_make_its_edge_slower() {
    let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
    let usual = (None, HeldTo::Usual(BitRate::from_kbps(80_000)));
    let sound = (AttemptId(4), SLOW.1);
    let mut comparison = Comparison::new(SLOW, OTHER, usual, RecentRate::default());
    for n in 0..=10 {
        came(&mut comparison, ms(n * 100), SLOW, 20_000);
    }
    comparison.body_begins(ms(1_010), OTHER.0, ms(970));
    for n in 1..=6 {
        let at = 1_010 + n * 100;
        let bytes = half_of_line(at - 100, at, 1_310, 3);
        came(&mut comparison, ms(at), SLOW, bytes);
        came(&mut comparison, ms(at), OTHER, bytes);
        let told = Told {
            since: ms(at),
            now: ms(at + 90),
            all_until: ms(at),
        };
        comparison.progress(told, sound, 1_000);
        assert_eq!(comparison.finding(ms(at + 90)), None, "after {at} ms");
    }
}

/// The picture is told of a millisecond after the sound: what it brought since it was told of last is not known by then, and yet came.
#[test]
fn sound_and_picture_come_at_the_same_time_though_they_are_told_of_in_turn() {
    let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
    let usual = (None, HeldTo::Usual(BitRate::from_kbps(8_000)));
    let sound = (AttemptId(4), SLOW.1);
    let mut comparison = Comparison::new(SLOW, OTHER, usual, RecentRate::default());
    let tell = |comparison: &mut Comparison, at: u64, bodies: &[_], kb_s: u64| {
        for (who, late) in bodies {
            let told = Told {
                all_until: ms(at + late - 99),
                ..Told::alone(ms(at + late - 100), ms(at + late))
            };
            comparison.progress(told, *who, kb_s * 100);
        }
    };
    for n in 1..=10 {
        tell(&mut comparison, n * 100, &[(sound, 0), (SLOW, 1)], 100);
    }
    comparison.body_begins(ms(1_050), OTHER.0, ms(1_040));
    // After 0.8 s the line gets more, which all have of it. The other one has a third more than the slow edge's two.
    for n in 11..=22 {
        let rate = if n < 19 { 100 } else { 300 };
        tell(&mut comparison, n * 100, &[(sound, 0)], rate);
        tell(&mut comparison, n * 100, &[(OTHER, 0)], rate * 8 / 3);
        if n == 22 {
            break;
        }
        tell(&mut comparison, n * 100, &[(SLOW, 1)], rate);
    }
    comparison.ended(OTHER.0);
    let finding = comparison.finding(ms(2_200)).unwrap();
    assert_eq!(finding.blame, Blame::Both, "{finding:?}");
}

#[test]
fn sound_and_picture_share_what_their_edge_gives() {
    let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
    let (rate, line) = (BitRate::from_kbps(8_000), BitRate::from_kbps(160));
    let wanted = (None, HeldTo::Wanted { rate, line });
    let sound = (AttemptId(4), SLOW.1);
    let mut comparison = Comparison::new(SLOW, OTHER, wanted, RecentRate::default());
    for n in 0..=10 {
        came(&mut comparison, ms(n * 100), SLOW, 10_000);
        came(&mut comparison, ms(n * 100), sound, 10_000);
    }
    comparison.body_begins(ms(1_010), OTHER.0, ms(970));
    for n in 0..=5 {
        came(&mut comparison, ms(1_010 + n * 100), OTHER, 20_000);
        came(&mut comparison, ms(1_060 + n * 100), SLOW, 10_000);
        came(&mut comparison, ms(1_060 + n * 100), sound, 10_000);
    }
    comparison.ended(OTHER.0);
    assert_eq!(comparison.finding(ms(1_600)).unwrap().blame, Blame::Both);
}

#[test]
fn too_little_of_the_other_body_tells_nothing() {
    let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
    let usual = (None, HeldTo::Usual(BitRate::from_kbps(8_000)));
    let mut comparison = Comparison::new(SLOW, OTHER, usual, RecentRate::default());
    for n in 0..=10 {
        came(&mut comparison, ms(n * 100), SLOW, 10_000);
    }
    comparison.body_begins(ms(1_010), OTHER.0, ms(970));
    came(&mut comparison, ms(1_020), OTHER, 9_000);
    assert_eq!(comparison.finding(ms(1_020)), None);
    comparison.ended(SLOW.0);
    assert_eq!(comparison.finding(ms(1_020)), Some(Finding::NOTHING));
}

#[test]
fn what_ends_before_both_have_come_tells_nothing() {
    let usual = (None, HeldTo::Usual(BitRate::from_kbps(8_000)));
    let mut comparison = Comparison::new(SLOW, OTHER, usual, RecentRate::default());
    comparison.ended(THIRD.0);
    assert_eq!(comparison.finding(Instant::ZERO), None);
    comparison.ended(SLOW.0);
    let finding = comparison.finding(Instant::ZERO).unwrap();
    assert_eq!(finding.blame, Blame::Nobody);
}
