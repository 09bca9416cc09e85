//! Whom a session uses, leaves and goes back to.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount, Instant, Seed};

use super::all::Edges;
use super::change::FLAP_EVERY;
use super::choice::{DWELL, Worth};
use super::line::CARRIED_FOR;
use crate::input::{EdgeId, EdgeOffer};
use crate::memory::NetworkMemory;
use crate::throughput::Told;

const OBJECT: ObjectKey = ObjectKey::Manifest;
const SIZE: ByteCount = ByteCount::new(1_000_000);
const MEASURED: Duration = Duration::from_secs(2);

fn edges(count: u32) -> Edges {
    let mut edges = Edges::new(Seed::new(1).rng());
    edges.offer(&offers(count));
    edges
}

fn offers(count: u32) -> Vec<EdgeOffer> {
    let offer = |n| EdgeOffer {
        name: format!("e{n}"),
        rank: n,
    };
    (0..count).map(offer).collect()
}

fn measure(edges: &mut Edges, id: u16, mbps: u64) {
    measure_at(edges, Instant::ZERO, id, mbps);
}

/// A body of two seconds.
fn measure_at(edges: &mut Edges, at: Instant, id: u16, mbps: u64) {
    measure_for(edges, at, (id, mbps), 20);
}

fn measure_long(edges: &mut Edges, id: u16, mbps: u64) {
    measure_for(edges, Instant::ZERO, (id, mbps), 100);
}

fn measure_for(edges: &mut Edges, at: Instant, (id, mbps): (u16, u64), slices: u64) {
    let edge = edges.get_mut(EdgeId(id)).unwrap();
    edge.answered(at, Duration::from_millis(20));
    edge.body_begins(at);
    for n in 0..=slices {
        let when = |n: u64| at + Duration::from_millis(n * 100);
        let told = Told::alone(when(n.saturating_sub(1)), when(n));
        edge.body_progress(told, ByteCount::new(mbps * 12_500));
    }
    edge.body_ends(at + Duration::from_millis(slices * 100));
}

#[test]
fn the_backends_order_decides_while_nothing_is_known() {
    let choice = edges(3).choose(Instant::ZERO, OBJECT, SIZE, &[]).unwrap();
    assert_eq!(choice.edge, EdgeId(0));
}

#[test]
fn a_failed_edge_is_left_at_once_and_comes_back_after_its_rest() {
    let mut edges = edges(2);
    assert_eq!(
        edges.choose(Instant::ZERO, OBJECT, SIZE, &[]).unwrap().edge,
        EdgeId(0)
    );
    edges.fail(Instant::ZERO, EdgeId(0), Duration::ZERO, "net.reset");
    assert_eq!(
        edges.choose(Instant::ZERO, OBJECT, SIZE, &[]).unwrap().edge,
        EdgeId(1)
    );
    let rested = edges.rested_at(OBJECT, &[]).unwrap();
    assert_eq!(edges.usable(rested, OBJECT, &[]).count(), 2);
}

#[test]
fn a_better_edge_is_used_after_the_dwell_and_a_little_better_one_never() {
    for (mbps, left) in [(5, false), (20, true)] {
        let mut edges = edges(2);
        edges.use_from_now(Instant::ZERO, EdgeId(0));
        for (at, dwells) in [(DWELL / 2, true), (DWELL, false)] {
            let at = Instant::ZERO + (at - MEASURED);
            measure_at(&mut edges, at, 0, 4);
            measure_at(&mut edges, at, 1, mbps);
            let chosen = edges.choose(at + MEASURED, OBJECT, SIZE, &[]).unwrap().edge;
            assert_eq!(chosen == EdgeId(1), left && !dwells, "{mbps}");
        }
    }
}

#[test]
fn an_edge_that_relapses_is_gone_back_to_later_each_time_unless_nobody_else_is_left() {
    let second = |n: u64| Instant::ZERO + Duration::from_secs(n);
    let mut edges = edges(2);
    edges.use_from_now(second(0), EdgeId(0));
    let mut used = Vec::new();
    // Every minute the better one is well again, and when it is used it fails.
    for n in 1..120 {
        let now = second(n * 60);
        for (id, mbps) in [(0, 20), (1, 2)] {
            measure_at(&mut edges, now, id, mbps);
            edges.get_mut(EdgeId(id)).unwrap().served(now);
        }
        let now = now + MEASURED;
        if edges.choose(now, OBJECT, SIZE, &[]).unwrap().edge == EdgeId(0) {
            used.push(n);
            edges.fail(now, EdgeId(0), Duration::ZERO, "net.reset");
            assert_eq!(
                edges.choose(now, OBJECT, SIZE, &[]).unwrap().edge,
                EdgeId(1)
            );
        }
    }
    let gaps: Vec<u64> = used.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [1, 10, 20, 40], "{used:?}");
    // Better than none.
    edges.fail(second(7_200), EdgeId(1), Duration::ZERO, "net.reset");
    let choice = edges.choose(second(7_200), OBJECT, SIZE, &[]).unwrap();
    assert_eq!(choice.edge, EdgeId(0));
}

#[test]
fn an_edge_that_fell_and_is_better_is_measured_until_it_may_be_used() {
    let second = |n: u64| Instant::ZERO + Duration::from_secs(n);
    let plays = Duration::from_secs(1);
    let mut edges = edges(6);
    edges.use_from_now(second(0), EdgeId(0));
    for id in [0, 1] {
        measure_at(&mut edges, second(0), id, if id == 0 { 40 } else { 6 });
    }
    edges.fail(second(10), EdgeId(0), Duration::ZERO, "net.reset");
    edges.use_from_now(second(10), EdgeId(1));
    // Who was never measured does not take its turn.
    for at in [20, 30, 40] {
        measure_at(&mut edges, second(at), 1, 6);
        measure_at(&mut edges, second(at), 0, 40);
        edges.get_mut(EdgeId(0)).unwrap().served(second(at));
        edges.measured_beside(second(at) + MEASURED, EdgeId(0), SIZE);
        assert!(!edges.owes_probe(second(at + 5), OBJECT), "it is known");
        assert!(edges.owes_probe(second(at + 9), OBJECT));
        let worth = edges.worth_measuring(second(at + 9), OBJECT, SIZE, plays);
        assert_eq!(worth, Some((EdgeId(0), Worth::Fades)));
    }
    let choose = |edges: &mut Edges, at| edges.choose(at, OBJECT, SIZE, &[]).unwrap().edge;
    assert_eq!(
        choose(&mut edges, second(49)),
        EdgeId(1),
        "39 s after it fell"
    );
    assert_eq!(choose(&mut edges, second(50)), EdgeId(0));
    // What failed is not owed anything.
    edges.fail(second(51), EdgeId(0), Duration::ZERO, "net.reset");
    edges.get_mut(EdgeId(0)).unwrap().served(second(52));
    assert!(!edges.owes_probe(second(70), OBJECT));
}

#[test]
fn who_fell_lately_takes_over_from_a_slow_edge_only_where_nobody_else_can() {
    let now = Instant::ZERO + DWELL;
    for others in [1, 2] {
        let mut edges = edges(1 + others);
        edges.use_from_now(Instant::ZERO, EdgeId(0));
        for id in 0..=others {
            measure_at(&mut edges, now, u16::try_from(id).unwrap(), 10);
        }
        let back = edges.get_mut(EdgeId(1)).unwrap();
        back.fell(Instant::ZERO);
        edges.blame(now, (EdgeId(0), BitRate::from_kbps(100)), EdgeId(1), None);
        let in_use = if others == 1 { EdgeId(1) } else { EdgeId(2) };
        assert_eq!(edges.current(), Some(in_use));
    }
}

#[test]
fn an_edge_that_only_answers_sooner_is_no_reason_to_change() {
    let mut edges = edges(2);
    let now = Instant::ZERO + DWELL;
    edges.use_from_now(Instant::ZERO, EdgeId(0));
    for (id, answers_ms) in [(0, 150), (1, 20)] {
        measure_at(&mut edges, now, id, 4);
        let edge = edges.get_mut(EdgeId(id)).unwrap();
        for _ in 0..16 {
            edge.answered(now, Duration::from_millis(answers_ms));
        }
    }
    let few = ByteCount::new(1_000);
    let choice = edges.choose(now + MEASURED, OBJECT, few, &[]).unwrap();
    assert_eq!((choice.edge, choice.changed), (EdgeId(0), false));
}

/// An edge in use that becomes slow, and is slow no more.
#[test]
fn an_edge_that_was_left_is_gone_back_to_when_it_was_better_again_and_again() {
    let second = |n: u64| Instant::ZERO + Duration::from_secs(n);
    let mut edges = edges(2);
    edges.use_from_now(second(0), EdgeId(0));
    measure_at(&mut edges, second(1), 0, 20);
    let slow = (EdgeId(0), BitRate::from_kbps(2_000));
    edges.blame(second(5), slow, EdgeId(1), None);
    assert_eq!(edges.current(), Some(EdgeId(1)), "at once");
    let mut returns = Vec::new();
    for n in 1..200 {
        let now = second(n * 10);
        // The one in use is always the worse one: whoever trusts one measurement swings.
        let current = edges.current().unwrap();
        let other = EdgeId(1 - current.0);
        measure_at(&mut edges, now, current.0, 2);
        measure_at(&mut edges, now + Duration::from_secs(2), other.0, 20);
        edges.measured_beside(now + Duration::from_secs(4), other, SIZE);
        let now = now + Duration::from_secs(5);
        if edges.choose(now, OBJECT, SIZE, &[]).unwrap().changed {
            returns.push(now);
        }
    }
    assert!(returns.len() > 1, "{returns:?}");
    let gaps = returns.windows(2).map(|pair| pair[1].since(pair[0]));
    assert!(gaps.clone().all(|gap| gap >= FLAP_EVERY), "{returns:?}");
}

#[test]
fn a_slow_edge_leaves_the_line_what_it_is() {
    let mut edges = edges(2);
    edges.use_from_now(Instant::ZERO, EdgeId(0));
    measure(&mut edges, 0, 20);
    let now = Instant::ZERO + Duration::from_secs(5);
    let usual = edges.forecast(now);
    let slow = (EdgeId(0), BitRate::from_kbps(2_000));
    edges.blame(now, slow, EdgeId(1), usual);
    assert_eq!(edges.forecast(now), usual, "of an edge never measured");
    let rate = edges.line_rate(now + CARRIED_FOR).unwrap();
    assert!(rate < BitRate::from_kbps(3_000), "not for ever: {rate:?}");
    // Where the line is slow, what others gave before is no reason to look for them.
    let mut edges = self::edges(3);
    edges.use_from_now(Instant::ZERO, EdgeId(0));
    for id in 0..3 {
        measure(&mut edges, id, 20);
    }
    edges.line_slowed(now, EdgeId(0));
    for id in 0..2 {
        measure_at(&mut edges, now, id, 2);
    }
    let later = now + Duration::from_secs(20);
    let third = edges.expected_rate(later, EdgeId(2)).unwrap();
    let line = edges.line_rate(later).unwrap();
    assert!(
        third <= line.scaled(1.2),
        "{third:?} over a line of {line:?}"
    );
}

#[test]
fn what_the_edge_asked_beside_gave_over_a_faster_line_is_no_reason_to_change() {
    let mut edges = edges(2);
    edges.use_from_now(Instant::ZERO, EdgeId(0));
    for id in 0..2 {
        measure(&mut edges, id, 20);
    }
    let now = Instant::ZERO + DWELL;
    measure_for(&mut edges, now, (0, 2), 100);
    // A few bytes beside the slow body.
    measure_for(&mut edges, now, (1, 1), 1);
    edges.line_slowed(now, EdgeId(0));
    let later = now + Duration::from_secs(12);
    measure_at(&mut edges, later, 0, 2);
    let choice = edges.choose(later + MEASURED, OBJECT, SIZE, &[]).unwrap();
    assert_eq!(
        (choice.edge, choice.changed),
        (EdgeId(0), false),
        "{choice:?}"
    );
}

#[test]
fn spare_time_measures_who_may_be_better_and_nobody_where_nobody_could_be() {
    let mut edges = edges(4);
    let now = Instant::ZERO + Duration::from_secs(2);
    let plays = Duration::from_secs(4);
    measure(&mut edges, 0, 4);
    edges.use_from_now(now, EdgeId(0));
    for _ in 0..100 {
        let quick = edges.worth_measuring(now, OBJECT, ByteCount::new(200_000), plays);
        assert_eq!(quick, None, "a tenth of what it plays");
    }
    let large = ByteCount::new(1_500_000);
    let drawn = |edges: &mut Edges| {
        let draws = (0..300).filter_map(|_| edges.worth_measuring(now, OBJECT, large, plays));
        let mut count = [0; 4];
        for (id, worth) in draws {
            assert_eq!(worth, Worth::Hope);
            count[usize::from(id.0)] += 1;
        }
        count
    };
    let count = drawn(&mut edges);
    assert_eq!(count[0], 0, "the one in use");
    assert!(count[1..].iter().all(|count| *count > 20), "{count:?}");
    // One that is known to be worse is drawn no more.
    measure_long(&mut edges, 1, 2);
    let count = drawn(&mut edges);
    assert!(count[1] < 3 && count[2] > 20, "{count:?}");
}

#[test]
fn after_a_death_many_clients_spread_over_all_that_are_about_as_good() {
    // All edges were measured, or the three that raced at the start, by each client a little differently.
    for (measured, silent) in [(10, false), (3, false), (3, true)] {
        let mut load = [0_u32; 10];
        for client in 0..1_000 {
            let mut edges = Edges::new(Seed::new(client).rng());
            edges.offer(&offers(10));
            let mut noise = Seed::new(client).split("noise").rng();
            for id in 0..measured {
                measure(&mut edges, id, 18 + noise.below(5));
            }
            edges.use_from_now(Instant::ZERO, EdgeId(0));
            let now = Instant::ZERO + Duration::from_secs(3);
            // Whatever was on its way.
            let size = ByteCount::new(if client % 3 == 0 { 3_000_000 } else { 50_000 });
            let chosen = if silent {
                edges
                    .choose_helper(now, OBJECT, size, &[EdgeId(0)])
                    .unwrap()
            } else {
                edges.fail(now, EdgeId(0), Duration::ZERO, "net.reset");
                edges.choose(now, OBJECT, size, &[]).unwrap().edge
            };
            load[usize::from(chosen.0)] += 1;
        }
        let fair = 1_000.0 / 9.0;
        let most = load.iter().copied().max().map_or(0.0, f64::from);
        assert!(load[0] == 0 && most <= fair * 1.3, "{load:?}");
    }
}

#[test]
fn an_edge_that_lacks_one_object_serves_the_others() {
    let mut edges = edges(1);
    edges.get_mut(EdgeId(0)).unwrap().lacks(OBJECT);
    assert!(edges.choose(Instant::ZERO, OBJECT, SIZE, &[]).is_none());
    assert!(edges.all_lack(OBJECT));
    assert!(
        edges
            .choose(Instant::ZERO, ObjectKey::Probe, SIZE, &[])
            .is_some()
    );
}

#[test]
fn a_refresh_keeps_what_was_learnt_and_drops_who_is_gone() {
    let mut edges = edges(2);
    measure(&mut edges, 1, 5);
    edges.use_from_now(Instant::ZERO, EdgeId(0));
    edges.offer(&[EdgeOffer {
        name: "e1".into(),
        rank: 0,
    }]);
    assert_eq!(edges.current(), None);
    let choice = edges.choose(Instant::ZERO, OBJECT, SIZE, &[]).unwrap();
    assert_eq!(choice.edge, EdgeId(1));
    assert!(edges.get(EdgeId(1)).unwrap().rate().is_some());
}

#[test]
fn edges_that_are_slow_by_turns_are_not_changed_for_each_other_all_the_time() {
    let second = |n: u64| Instant::ZERO + Duration::from_secs(n);
    let slow = BitRate::from_kbps(1_000);
    let mut edges = edges(3);
    edges.use_from_now(second(0), EdgeId(0));
    for id in 0..3 {
        measure_at(&mut edges, second(1), id, 10);
    }
    let mut blamed = |at: u64, edge: u16, other: u16| {
        let left = edges.blame(second(at), (EdgeId(edge), slow), EdgeId(other), None);
        (left, edges.current().unwrap().0)
    };
    assert_eq!(blamed(10, 0, 1), (true, 1));
    // The first fell a moment ago, the third was not in use yet.
    assert_eq!(blamed(20, 1, 0), (true, 2));
    // Back to one that was, which is one return; another so soon would be one too many.
    assert_eq!(blamed(30, 2, 1), (true, 1));
    assert_eq!(blamed(40, 1, 0), (false, 1));
    // But a slow one is not kept for long.
    assert_eq!(blamed(95, 1, 0), (true, 0));
}

#[test]
fn an_edge_that_was_slow_comes_last_until_it_is_not_clearly_worse() {
    let second = |n: u64| Instant::ZERO + Duration::from_secs(n);
    let mut edges = edges(3);
    edges.use_from_now(second(0), EdgeId(0));
    measure_at(&mut edges, second(1), 0, 10);
    measure_at(&mut edges, second(1), 1, 10);
    let slow = (EdgeId(0), BitRate::from_kbps(1_000));
    assert!(edges.blame(second(10), slow, EdgeId(1), None));
    // Its rate is doubted again, and the third was never measured.
    let first = |edges: &mut Edges, now| edges.choose_helper(now, OBJECT, SIZE, &[EdgeId(1)]);
    for id in [0, 1] {
        measure_at(&mut edges, second(100), id, 10);
    }
    edges.measured_beside(second(102), EdgeId(2), SIZE);
    assert_eq!(first(&mut edges, second(103)), Some(EdgeId(2)));
    edges.measured_beside(second(103), EdgeId(0), SIZE);
    assert!(!edges.get(EdgeId(0)).unwrap().slow);
    // On another network nothing of it holds.
    edges.blame(second(110), (EdgeId(1), slow.1), EdgeId(0), None);
    edges.network_changed(NetworkMemory::default());
    assert!(!edges.get(EdgeId(1)).unwrap().slow);
    assert!(edges.iter().all(|(_, edge)| !edge.used));
}
