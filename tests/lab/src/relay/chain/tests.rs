use std::sync::Arc;
use std::time::Duration;

use nearcast_units::{BitRate, Instant, Ratio, Seed};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Chain;
use crate::relay::control::{Control, PlacedToxic, StreamPath};
use crate::relay::receipt::{Deed, Direction};
use crate::relay::toxic::{Ending, Item, Piece, Toxic};

fn toxic(kind: &str, attributes: &Value) -> Toxic {
    Toxic::parse(kind, attributes.as_object().unwrap()).unwrap()
}

/// Toxics on all connections, downstream, by number.
fn control(toxics: &[(u64, Toxic)]) -> Control {
    let placed = toxics.iter().map(|(id, toxic)| PlacedToxic {
        id: *id,
        name: Arc::from(toxic.kind()),
        direction: Direction::Downstream,
        toxicity: Ratio::ONE,
        toxic: *toxic,
    });
    Control {
        toxics: placed.collect(),
        ..Control::new()
    }
}

fn chain() -> Chain {
    Chain::new(Direction::Downstream, Seed::new(1))
}

fn at_ms(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn piece(offset: u64, size: usize) -> Item {
    // Of which byte each is tells its place.
    let bytes = (offset..)
        .take(size)
        .map(|at| u8::try_from(at % 251).unwrap());
    Item::Bytes(Piece {
        offset,
        bytes: bytes.collect::<Vec<u8>>().into(),
    })
}

/// Takes what comes out by `now`.
fn drain(chain: &mut Chain, now: Instant, out: &mut Vec<Item>) {
    while let Some(item) = chain.poll(now) {
        out.push(item);
    }
}

/// Polls whenever something is due, up to `until`; returns what came and when.
fn run(chain: &mut Chain, from: Instant, until: Instant) -> Vec<(Instant, Item)> {
    let mut now = from;
    let mut came = Vec::new();
    loop {
        let mut out = Vec::new();
        drain(chain, now, &mut out);
        came.extend(out.into_iter().map(|item| (now, item)));
        match chain.next_deadline() {
            Some(due) if due <= until => {
                assert!(due > now, "something was due already: the pipe would spin");
                now = due;
            }
            _ => return came,
        }
    }
}

fn deeds(chain: &mut Chain) -> Vec<(u64, Deed)> {
    let effects = std::iter::from_fn(|| chain.poll_effect());
    effects
        .map(|told| (told.effect.offset, told.effect.deed))
        .collect()
}

#[test]
fn the_rate_is_never_exceeded_and_late_polls_do_not_lose_it() {
    let mut chain = chain();
    chain.set(
        at_ms(0),
        &control(&[(1, toxic("bandwidth", &json!({ "rate": 100 })))]),
    );
    let (mut sent, mut came) = (0_u64, 0_u64);
    let mut now = at_ms(5);
    // Ten seconds, looked at every 7 ms: a slice takes 10.
    while now < at_ms(10_005) {
        while chain.has_room() {
            chain.handle(now, piece(sent, 1000));
            sent += 1000;
        }
        let mut out = Vec::new();
        drain(&mut chain, now, &mut out);
        for item in out {
            let Item::Bytes(piece) = item else {
                unreachable!("nothing else went in");
            };
            assert_eq!(piece.offset, came);
            came = piece.end();
        }
        let most = 100 * (now.since(at_ms(5)).as_millis());
        assert!(u128::from(came) <= most, "{came} of {most}");
        now = now + Duration::from_millis(7);
    }
    assert!(came >= 990_000, "{came}");
}

#[test]
fn a_delay_is_within_its_jitter_and_nothing_overtakes() {
    let mut chain = chain();
    let latency = toxic("latency", &json!({ "latency": 50, "jitter": 20 }));
    chain.set(at_ms(0), &control(&[(1, latency)]));
    let mut delays = Vec::new();
    for number in 0..200_u64 {
        // So far apart that none waits for another.
        let sent = at_ms(number * 100);
        chain.handle(sent, piece(number * 10, 10));
        let came = run(&mut chain, sent, sent + Duration::from_millis(99));
        let [(at, item)] = came.as_slice() else {
            unreachable!("one goes in and comes out: {came:?}");
        };
        assert_eq!(*item, piece(number * 10, 10));
        delays.push(at.since(sent));
    }
    let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
    assert!(*least >= Duration::from_millis(30) && *least < Duration::from_millis(33));
    assert!(*most <= Duration::from_millis(70) && *most > Duration::from_millis(67));
    assert_eq!(deeds(&mut chain).len(), 1, "the first is told of");
}

#[test]
fn a_chain_that_is_full_takes_no_more() {
    for (kind, attributes, most) in [
        ("bandwidth", json!({ "rate": 0 }), 128 * 1024),
        (
            "latency",
            json!({ "latency": 1_000_000 }),
            4 * 1024 * 1024 + 16_384,
        ),
        (
            "slicer",
            json!({ "average_size": 10, "delay": 1_000_000 }),
            32_768,
        ),
        ("slow_close", json!({ "delay": 0 }), 65_536),
        ("limit_data", json!({ "bytes": 1_000_000_000 }), 65_536),
    ] {
        let mut chain = chain();
        chain.set(at_ms(0), &control(&[(1, toxic(kind, &attributes))]));
        let mut held = 0;
        while chain.has_room() {
            chain.handle(at_ms(0), piece(held, 16_384));
            held += 16_384;
            assert!(held <= most, "{kind} holds {held}");
        }
        // Many small ones take more memory than their bytes.
        let mut chain = self::chain();
        chain.set(at_ms(0), &control(&[(1, toxic(kind, &attributes))]));
        let mut pieces = 0;
        while chain.has_room() {
            chain.handle(at_ms(0), piece(pieces, 1));
            pieces += 1;
            assert!(pieces <= 70_000, "{kind} holds {pieces} pieces");
        }
    }
}

#[test]
fn an_ending_does_not_wait_for_who_does_not_read() {
    let mut chain = chain();
    let timeout = (1, toxic("timeout", &json!({ "timeout": 100 })));
    chain.handle(at_ms(0), piece(0, 10));
    chain.set(at_ms(0), &control(&[timeout]));
    chain.handle(at_ms(1), piece(10, 10));
    assert_eq!(chain.next_deadline(), Some(at_ms(100)));
    assert_eq!(chain.poll_ending(at_ms(99)), None);
    assert_eq!(chain.poll_ending(at_ms(100)), Some(Ending::Close));
    assert_eq!(deeds(&mut chain), [(10, Deed::Dropped)]);
}

#[test]
fn a_toxic_that_goes_lets_out_what_it_held_before_what_comes_behind() {
    let mut chain = chain();
    let first = (1, toxic("latency", &json!({ "latency": 1000 })));
    let second = (2, toxic("latency", &json!({ "latency": 500 })));
    let rate = (3, toxic("bandwidth", &json!({ "rate": 0 })));
    chain.set(at_ms(0), &control(&[first, second, rate]));
    chain.handle(at_ms(0), piece(0, 10));
    assert_eq!(run(&mut chain, at_ms(0), at_ms(1200)), []);
    chain.handle(at_ms(1200), piece(10, 10));
    // The first piece is in the second toxic, the second one in the first.
    chain.set(at_ms(1300), &control(&[rate]));
    chain.handle(at_ms(1300), piece(20, 10));
    let mut out = Vec::new();
    drain(&mut chain, at_ms(1300), &mut out);
    assert_eq!(out, []);
    chain.set(at_ms(1400), &control(&[]));
    drain(&mut chain, at_ms(1400), &mut out);
    assert_eq!(out, [piece(0, 10), piece(10, 10), piece(20, 10)]);
}

#[test]
fn another_toxic_of_the_same_name_begins_anew() {
    let mut chain = chain();
    let limit = toxic("limit_data", &json!({ "bytes": 15 }));
    chain.set(at_ms(0), &control(&[(1, limit)]));
    chain.handle(at_ms(0), piece(0, 10));
    chain.set(at_ms(1), &control(&[(2, limit)]));
    chain.handle(at_ms(1), piece(10, 10));
    chain.set(
        at_ms(2),
        &control(&[(2, toxic("limit_data", &json!({ "bytes": 14 })))]),
    );
    let mut out = Vec::new();
    drain(&mut chain, at_ms(2), &mut out);
    chain.handle(at_ms(2), piece(20, 10));
    drain(&mut chain, at_ms(2), &mut out);
    let cut = Item::Ending(Ending::Close);
    assert_eq!(out, [piece(0, 10), piece(10, 10), piece(20, 4), cut]);
    assert_eq!(deeds(&mut chain), [(24, Deed::Cut)]);
}

#[test]
fn a_greater_share_includes_the_smaller_one() {
    let hit = |seed, share| {
        let mut control = control(&[(1, toxic("limit_data", &json!({ "bytes": 0 })))]);
        let mut toxics = control.toxics.to_vec();
        toxics[0].toxicity = Ratio::new(share).unwrap();
        control.toxics = toxics.into();
        let mut chain = Chain::new(Direction::Downstream, Seed::new(seed));
        chain.set(at_ms(0), &control);
        chain.handle(at_ms(0), piece(0, 1));
        chain.poll(at_ms(0)) == Some(Item::Ending(Ending::Close))
    };
    let hits = |share| -> Vec<u64> { (0..1000).filter(|seed| hit(*seed, share)).collect() };
    let (few, many) = (hits(0.2), hits(0.6));
    assert!((150..250).contains(&few.len()) && (550..650).contains(&many.len()));
    assert!(few.iter().all(|seed| many.contains(seed)));
}

/// What happens to a chain; spans are in milliseconds.
#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Wait(u64),
    Set(Vec<(u64, Toxic)>, bool),
}

fn kinds() -> impl Strategy<Value = Toxic> {
    prop_oneof![
        (0..200_u64, 0..50_u64)
            .prop_map(|(ms, jitter)| toxic("latency", &json!({ "latency": ms, "jitter": jitter }))),
        (0..1000_u64).prop_map(|rate| toxic("bandwidth", &json!({ "rate": rate }))),
        (1..500_u64, 0..2000_u64).prop_map(|(size, delay)| toxic(
            "slicer",
            &json!({ "average_size": size, "size_variation": size / 2, "delay": delay })
        )),
        (0..200_u64).prop_map(|ms| toxic("slow_close", &json!({ "delay": ms }))),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..3000_usize).prop_map(Step::Send),
        (0..100_u64).prop_map(Step::Wait),
        (
            proptest::collection::vec((1..6_u64, kinds()), 0..4),
            any::<bool>()
        )
            .prop_map(|(toxics, line)| Step::Set(toxics, line)),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever is put on and taken off while bytes are under way: all of them come out once, in order, then the end.
    #[test]
    fn no_change_loses_doubles_or_swaps_a_byte(steps in steps()) {
        let mut chain = chain();
        let (mut now, mut sent) = (at_ms(0), 0_u64);
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Send(size) => {
                    chain.handle(now, piece(sent, size));
                    sent += u64::try_from(size).unwrap();
                }
                Step::Wait(ms) => {
                    let until = now + Duration::from_millis(ms);
                    out.extend(run(&mut chain, now, until).into_iter().map(|(_, item)| item));
                    now = until;
                }
                Step::Set(toxics, line) => {
                    let mut seen = Vec::new();
                    let mut toxics = toxics;
                    toxics.retain(|(id, _)| !seen.contains(id) && { seen.push(*id); true });
                    let mut control = control(&toxics);
                    if line {
                        control.downstream.streams = StreamPath {
                            rate: Some(BitRate::from_kbps(800)),
                            delay: Duration::from_millis(30),
                            jitter: Duration::from_millis(10),
                        };
                    }
                    chain.set(now, &control);
                }
            }
        }
        chain.handle(now, Item::End);
        chain.set(now, &control(&[]));
        drain(&mut chain, now, &mut out);
        let end = out.pop();
        prop_assert_eq!(end, Some(Item::End));
        let mut offset = 0;
        for item in out {
            let Item::Bytes(came) = item else {
                return Err(TestCaseError::fail(format!("{item:?} before the end")));
            };
            prop_assert_eq!(came.offset, offset);
            let whole = piece(offset, came.bytes.len());
            offset = came.end();
            prop_assert_eq!(Item::Bytes(came), whole);
        }
        prop_assert_eq!(offset, sent);
        prop_assert_eq!(chain.poll(now), None);
    }
}
