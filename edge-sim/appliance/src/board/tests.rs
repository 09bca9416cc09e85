use alloc::vec;
use core::time::Duration;

use nearcast_protocol::manifest::TrackKind;
use nearcast_units::{BitRate, Ratio};

use super::*;
use crate::disposition::{Slowed, Spoilt, StatusFault, corrupts};
use crate::fault::ObjectKind;

fn body() -> Target<'static> {
    Target::at("demo/v1/3.m4s", 1000, 2000)
}

fn order(faults: Vec<Fault>) -> FaultOrder {
    let rules = faults.into_iter().map(FaultRule::everywhere);
    FaultOrder::add(rules.collect::<Vec<_>>())
}

fn after(fault: Fault, share: f64) -> FaultRule {
    FaultRule {
        id: None,
        fault,
        on: FaultSelector {
            after: Some(Ratio::new(share).unwrap()),
            ..FaultSelector::EVERYTHING
        },
    }
}

fn board(faults: Vec<Fault>) -> FaultBoard {
    let mut board = FaultBoard::default();
    assert!(board.apply(1, order(faults)).is_ok());
    board
}

#[test]
fn a_rule_hits_only_what_it_selects_and_only_as_often_as_it_says() {
    let mut board = FaultBoard::default();
    let rule = FaultRule {
        id: None,
        fault: Fault::Corrupt,
        on: FaultSelector {
            path_contains: Some("/v1/".into()),
            track: Some(TrackKind::Video),
            count: Some(2),
            ..FaultSelector::EVERYTHING
        },
    };
    assert_eq!(board.apply(1, FaultOrder::add([rule])), Ok(vec![]));
    let audio = Target::at("demo/a1/3.m4s", 1000, 2000);
    let head = Target {
        length: 0,
        ..body()
    };
    let hits: Vec<bool> = [body(), audio, head, body(), body()]
        .into_iter()
        .map(|target| board.decide(5, target).spoilt.is_some())
        .collect();
    assert_eq!(hits, [true, false, false, true, false]);
}

#[test]
fn a_rule_of_one_client_or_of_chance_leaves_the_others_alone() {
    let mut board = FaultBoard::new(Seed::new(7));
    let rule = |id: &str, client: Option<&str>, probability| FaultRule {
        id: Some(id.into()),
        fault: Fault::Hang,
        on: FaultSelector {
            client: client.map(Into::into),
            probability,
            ..FaultSelector::EVERYTHING
        },
    };
    let half = Ratio::new(0.5).ok();
    assert!(
        board
            .apply(1, FaultOrder::add([rule("one", Some("p1"), None)]))
            .is_ok()
    );
    let of = |client| Target { client, ..body() };
    assert_eq!(board.decide(2, of("p1")).end, BodyEnd::Hang { after: 0 });
    assert_eq!(board.decide(2, of("p2")).end, BodyEnd::Complete);
    let mut instead = FaultOrder::add([rule("chance", None, half)]);
    instead.remove = vec!["one".into()];
    assert!(board.apply(3, instead).is_ok());
    let hits = (0..1000).filter(|_| board.decide(4, of("p2")).end != BodyEnd::Complete);
    let hits = hits.count();
    assert!((420..580).contains(&hits), "{hits}");
}

#[test]
fn faults_of_bodies_add_up_and_a_status_stands_alone() {
    let mut board = board(vec![
        Fault::Trickle { rate_bps: 800 },
        Fault::LateFirstByte { delay_ms: 30 },
    ]);
    assert!(
        board
            .apply(1, FaultOrder::add([after(Fault::Reset, 0.5)]))
            .is_ok()
    );
    let answer = board.decide(5, body());
    let slowed = Slowed {
        after: 0,
        rate: BitRate::from_bps(800),
    };
    assert_eq!(answer.slowed, Some(slowed));
    assert_eq!(answer.late, Duration::from_millis(30));
    assert_eq!(answer.end, BodyEnd::Reset { after: 1000 });
    let more = order(vec![Fault::Status {
        status: 503,
        retry_after_s: Some(2),
    }]);
    assert!(board.apply(6, more).is_ok());
    let answer = board.decide(7, body());
    assert_eq!((answer.end, answer.slowed), (BodyEnd::Complete, None));
    let status = StatusFault {
        status: 503,
        retry_after_s: Some(2),
    };
    assert_eq!(answer.answer, Answer::Status(status));
    assert_eq!(
        board.receipts().count(),
        1,
        "an answer is one as soon as it is decided"
    );
}

#[test]
fn a_cut_leaves_a_receipt_with_its_name_only_when_it_happened() {
    let mut board = FaultBoard::default();
    let mut rule = after(Fault::Truncate, 0.25);
    rule.id = Some("cut".into());
    assert!(board.apply(1, FaultOrder::add([rule])).is_ok());
    let answer = board.decide(5, body());
    assert_eq!(board.receipts().count(), 0);
    assert_eq!(board.handle_effect(9, body(), &answer, Effect::Cut), None);
    let receipt = board.receipts().next().cloned().unwrap();
    let expected = FaultReceipt {
        id: Some("cut".into()),
        fault: Fault::Truncate,
        at_unix_ms: 9,
        client: None,
        path: Some(body().path.into()),
        offset: Some(1500),
    };
    assert_eq!(receipt, expected);
}

#[test]
fn what_was_decided_leaves_a_receipt_when_it_takes_effect_and_where() {
    let mut board = board(vec![
        Fault::Trickle { rate_bps: 800 },
        Fault::LateFirstByte { delay_ms: 30 },
        Fault::Corrupt,
    ]);
    let answer = board.decide(5, body());
    assert_eq!(board.receipts().count(), 0);
    for (unix_ms, effect) in [
        (6, Effect::Late),
        (7, Effect::Slowed { at: 0 }),
        (8, Effect::Spoilt { at: 500 }),
    ] {
        board.handle_effect(unix_ms, body(), &answer, effect);
    }
    let receipts: Vec<_> = board
        .receipts()
        .map(|receipt| (receipt.at_unix_ms, receipt.fault.clone(), receipt.offset))
        .collect();
    assert_eq!(
        receipts,
        [
            (6, Fault::LateFirstByte { delay_ms: 30 }, None),
            (7, Fault::Trickle { rate_bps: 800 }, Some(1000)),
            (8, Fault::Corrupt, Some(1500)),
        ]
    );
}

#[test]
fn a_body_under_way_takes_later_orders_and_each_rule_once() {
    let mut board = FaultBoard::default();
    let asked = board.asked();
    let good = board.decide(1, body());
    let mut once = order(vec![Fault::Trickle { rate_bps: 800 }, Fault::Corrupt]);
    once.faults[1].on.count = Some(1);
    assert!(board.apply(2, once).is_ok());
    let worse = board.revise(body(), 700, good, asked);
    assert!(worse.spoilt.is_some() && worse.slowed.is_some());
    // The same rules once more change nothing, and the one that was for one body is used up.
    let asked = board.asked();
    assert_eq!(board.revise(body(), 900, worse.clone(), asked), worse);
    assert_eq!(board.decide(3, body()).spoilt, None);
    // A share that has left already ends it at once.
    assert!(
        board
            .apply(4, FaultOrder::add([after(Fault::Reset, 0.25)]))
            .is_ok()
    );
    let cut = board.revise(body(), 900, worse, asked);
    assert_eq!(cut.end, BodyEnd::Reset { after: 900 });
    assert!(cut.spoilt.is_some());
}

#[test]
fn a_body_under_way_is_healed_by_clearing_and_not_by_another_order() {
    let mut board = board(vec![Fault::Trickle { rate_bps: 800 }, Fault::Corrupt]);
    let asked = board.asked();
    let bad = board.decide(1, body());
    let late = Fault::LateFirstByte { delay_ms: 30 };
    assert!(board.apply(2, order(vec![late])).is_ok());
    assert_eq!(board.revise(body(), 10, bad.clone(), asked), bad);
    let mut clear = order(vec![Fault::Trickle { rate_bps: 1600 }]);
    clear.clear = true;
    assert!(board.apply(3, clear).is_ok());
    let healed = board.revise(body(), 10, bad, asked);
    assert_eq!(healed.spoilt, None);
    assert_eq!(healed.slowed.map(|one| one.rate.as_bps()), Some(1600));
}

#[test]
fn a_body_is_healed_of_the_rules_that_are_removed_by_name_and_of_no_others() {
    let mut board = FaultBoard::default();
    let named = |id: &str, fault| FaultRule {
        id: Some(id.into()),
        ..FaultRule::everywhere(fault)
    };
    let mut once = named("hang", Fault::Hang);
    once.on.count = Some(1);
    let rules = [named("slow", Fault::Trickle { rate_bps: 800 }), once];
    assert!(board.apply(1, FaultOrder::add(rules)).is_ok());
    let bad = board.decide(1, body());
    let asked = board.asked();
    let remove = |id: &str| FaultOrder {
        remove: vec![id.into()],
        ..FaultOrder::default()
    };
    assert!(board.apply(2, remove("slow")).is_ok());
    let better = board.revise(body(), 10, bad, asked);
    assert_eq!(
        (better.slowed, better.end),
        (None, BodyEnd::Hang { after: 0 }.not_before(10))
    );
    // Used up or not, what it did ends with its name.
    assert!(board.apply(3, remove("hang")).is_ok());
    let healed = board.revise(body(), 10, better, asked);
    assert_eq!(healed.end, BodyEnd::Complete);
}

#[test]
fn a_fault_of_the_link_waits_for_the_body_that_it_selects() {
    let mut board = FaultBoard::default();
    let mut rule = after(Fault::Kill, 0.5);
    rule.id = Some("dies".into());
    rule.on.object = Some(ObjectKind::Media);
    assert_eq!(board.apply(1, FaultOrder::add([rule])), Ok(vec![]));
    let decided = board.decide(2, body());
    let change = LinkChange::Kill;
    assert_eq!(
        decided.end,
        BodyEnd::Link {
            after: 1000,
            change
        }
    );
    assert_eq!(board.receipts().count(), 0);
    assert_eq!(
        board.handle_effect(3, body(), &decided, Effect::Cut),
        Some(change)
    );
    assert_eq!(board.receipts().next().unwrap().offset, Some(2000));
    let remove = FaultOrder {
        remove: vec!["dies".into()],
        ..FaultOrder::default()
    };
    assert_eq!(board.apply(4, remove), Ok(vec![None]));
}

#[test]
fn a_rule_of_the_link_that_hits_every_body_is_put_on_again_once() {
    let mut board = FaultBoard::default();
    let mut rule = after(Fault::Delay { delay_ms: 9 }, 0.5);
    rule.id = Some("late".into());
    let other = FaultRule {
        id: Some("other".into()),
        ..FaultRule::everywhere(Fault::Stop)
    };
    assert!(board.apply(1, FaultOrder::add([rule, other])).is_ok());
    for _ in 0..3 {
        let decided = board.decide(2, body());
        board.handle_effect(3, body(), &decided, Effect::Cut);
    }
    let remove = FaultOrder {
        remove: vec!["other".into()],
        ..FaultOrder::default()
    };
    let late = LinkChange::Delay(Duration::from_millis(9));
    assert_eq!(board.apply(4, remove), Ok(vec![None, Some(late)]));
}

#[test]
fn a_link_is_left_as_the_faults_that_stay_have_it() {
    let mut board = FaultBoard::default();
    let named = |id: &str, fault| FaultRule {
        id: Some(id.into()),
        ..FaultRule::everywhere(fault)
    };
    let slow = Fault::Rate {
        rate_bps: Some(1000),
    };
    let rules = [named("slow", slow), named("hole", Fault::Stop)];
    let rate = LinkChange::Rate(Some(BitRate::from_bps(1000)));
    assert_eq!(
        board.apply(1, FaultOrder::add(rules)),
        Ok(vec![Some(rate), Some(LinkChange::Stop)])
    );
    let remove = |id: &str| FaultOrder {
        remove: vec![id.into()],
        ..FaultOrder::default()
    };
    assert_eq!(board.apply(2, remove("hole")), Ok(vec![None, Some(rate)]));
    assert_eq!(
        board.apply(3, remove("hole")),
        Ok(vec![]),
        "it is gone already"
    );
}

#[test]
fn connections_go_wrong_with_a_receipt_for_each() {
    let mut board = FaultBoard::default();
    let mut rule = FaultRule::everywhere(Fault::Refuse);
    rule.on.count = Some(1);
    assert_eq!(board.apply(1, FaultOrder::add([rule])), Ok(vec![]));
    assert_eq!(board.decide(2, body()), Disposition::default());
    assert_eq!(board.connect(3, "p"), Some(Fault::Refuse));
    assert_eq!(board.connect(4, "p"), None);
    assert_eq!(board.receipts().count(), 1);
}

#[test]
fn a_fault_that_cannot_happen_to_a_connection_leaves_it_to_the_next() {
    let mut board = board(vec![Fault::UdpBlocked, Fault::Refuse]);
    let over_tcp = |fault: &Fault| *fault != Fault::UdpBlocked;
    assert_eq!(
        board.connect_where(2, "", over_tcp),
        Some(Fault::Refuse),
        "the first one is of datagrams"
    );
    assert_eq!(board.connect(3, ""), Some(Fault::UdpBlocked));
    assert_eq!(board.connect_where(4, "", |_| false), None);
    assert_eq!(board.receipts().count(), 2);
}

#[test]
fn what_leaves_anybody_out_is_not_for_all() {
    let mut some = FaultRule::everywhere(Fault::Refuse);
    some.id = Some("some".into());
    some.on.probability = Ratio::new(0.5).ok();
    let mut board = FaultBoard::default();
    assert!(board.apply(1, FaultOrder::add([some])).is_ok());
    assert!(!board.has_for_all(&Fault::Refuse));
    let all = FaultOrder::add([FaultRule::everywhere(Fault::Refuse)]);
    assert!(board.apply(2, all).is_ok());
    assert!(board.has_for_all(&Fault::Refuse));
    assert!(!board.has_for_all(&Fault::UdpBlocked));
    assert!(board.apply(3, FaultOrder::clear()).is_ok());
    assert!(!board.has_for_all(&Fault::Refuse));
}

#[test]
fn a_cut_at_the_whole_body_still_cuts() {
    let mut board = FaultBoard::default();
    assert!(
        board
            .apply(1, FaultOrder::add([after(Fault::Reset, 1.0)]))
            .is_ok()
    );
    assert_eq!(board.decide(5, body()).end, BodyEnd::Reset { after: 1999 });
}

#[test]
fn every_corrupt_body_has_a_flipped_byte_and_long_ones_one_in_a_thousand() {
    for length in [1_u64, 2, 999, 1000, 1500] {
        assert!((0..length).any(|index| corrupts(index, length)), "{length}");
    }
    assert_eq!((0..100_000).filter(|&i| corrupts(i, 100_000)).count(), 100);
}

#[test]
fn wrong_bytes_begin_where_they_are_told_to() {
    let mut board = FaultBoard::default();
    assert!(
        board
            .apply(1, FaultOrder::add([after(Fault::Zeros, 0.5)]))
            .is_ok()
    );
    let spoilt = Spoilt {
        after: 1000,
        how: Spoil::Zeros,
    };
    assert_eq!(board.decide(2, body()).spoilt, Some(spoilt));
    assert_eq!(Spoil::Zeros.spoils(7, 3, 10), Some(0));
    assert_eq!(Spoil::Flipped.spoils(7, 3, 10), None);
    assert_eq!(Spoil::Flipped.spoils(7, 5, 10), Some(!7));
}

#[test]
fn clearing_restores_the_link_first_and_bad_orders_change_nothing() {
    let mut board = board(vec![Fault::Corrupt]);
    let mut again = order(vec![Fault::Kill]);
    again.clear = true;
    let restored = vec![None, Some(LinkChange::Kill)];
    assert_eq!(board.apply(2, again), Ok(restored));
    assert_eq!(board.decide(3, body()), Disposition::default());
    let good = Fault::Status {
        status: 200,
        retry_after_s: None,
    };
    assert_eq!(
        board.apply(4, order(vec![Fault::Corrupt, good])),
        Err(OrderError::Status { status: 200 })
    );
    assert_eq!(board.decide(5, body()), Disposition::default());
    let many = vec![Fault::Corrupt; FaultBoard::RULES_MAX + 1];
    assert_eq!(board.apply(6, order(many)), Err(OrderError::TooMany));
}

#[test]
fn the_first_receipt_of_each_name_stays_and_what_is_dropped_is_counted() {
    let mut board = FaultBoard::default();
    let named = |id: &str, fault| FaultRule {
        id: Some(id.into()),
        ..FaultRule::everywhere(fault)
    };
    let first = order_of(named("first", Fault::Portal));
    assert!(board.apply(1, first).is_ok());
    board.decide(7, body());
    let mut often = order_of(named("often", Fault::RedirectLoop));
    often.clear = true;
    assert!(board.apply(8, often).is_ok());
    let all = u64::try_from(FaultBoard::RECEIPTS_MAX).unwrap() + 10;
    (1..all).for_each(|n| drop(board.decide(8 + n, body())));
    assert_eq!(board.receipts().len(), FaultBoard::RECEIPTS_MAX);
    assert_eq!(board.receipts_dropped(), 10);
    let kept: Vec<(u64, Option<&str>)> = board
        .receipts()
        .map(|one| (one.at_unix_ms, one.id.as_deref()))
        .collect();
    assert_eq!(kept[..2], [(7, Some("first")), (9, Some("often"))]);
    // Then come the latest, each of them.
    assert_eq!(kept[2], (20, Some("often")));
    assert_eq!(kept.last(), Some(&(7 + all, Some("often"))));
    // However many names there are, the latest receipts have room.
    for name in 0..FaultBoard::RECEIPTS_MAX {
        let mut next = order_of(named(&alloc::format!("n{name}"), Fault::Portal));
        next.clear = true;
        assert!(board.apply(9_000, next).is_ok());
        board.decide(9_001, body());
    }
    let last = board.receipts().next_back().unwrap();
    assert_eq!(last.id.as_deref(), Some("n4095"));
    assert_eq!(board.receipts().next().unwrap().at_unix_ms, 7);
}

fn order_of(rule: FaultRule) -> FaultOrder {
    FaultOrder::add([rule])
}
