use alloc::vec::Vec;

use nearcast_units::{BitRate, Ratio};
use proptest::prelude::*;

use super::*;

const FULL: ByteCount = ByteCount::new(1_500);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn at(count: u64) -> Instant {
    Instant::ZERO + ms(count)
}

fn ratio(share: f64) -> Ratio {
    Ratio::new(share).unwrap()
}

/// 12 Mbit/s: a full packet each millisecond.
fn packet_each_ms() -> PacketConfig {
    PacketConfig {
        rate: Some(BitRate::from_kbps(12_000)),
        ..PacketConfig::default()
    }
}

/// Delivers what is under way until nothing comes any more, each packet when it is due.
fn drain<T: Clone>(link: &mut PacketLink<T>) -> Vec<(Instant, T)> {
    let mut delivered = Vec::new();
    while let Some(due) = link.next_deadline() {
        delivered.extend(link.poll_delivery(due).map(|packet| (due, packet)));
    }
    delivered
}

/// Hands the link packets with so much time before each, and delivers whatever is due meanwhile and afterwards.
fn pass(link: &mut PacketLink<usize>, packets: &[(Duration, ByteCount)]) -> Vec<(Instant, usize)> {
    let (mut now, mut delivered) = (Instant::ZERO, Vec::new());
    for (number, (wait, size)) in packets.iter().enumerate() {
        now = now + *wait;
        while let Some(due) = link.next_deadline().filter(|due| *due <= now) {
            delivered.extend(link.poll_delivery(due).map(|packet| (due, packet)));
        }
        link.handle_packet(now, *size, number);
    }
    delivered.extend(drain(link));
    delivered
}

fn adds_up(counters: &PacketCounters) -> bool {
    let dropped = counters.lost + counters.queue_full + counters.too_large;
    // Copies that found the queue full were made, and are among the dropped.
    counters.entered + counters.duplicated == counters.passed + dropped
}

#[test]
fn without_limits_everything_passes_at_once() {
    let mut link = PacketLink::new(PacketConfig::default(), Seed::new(1));
    for packet in 0..1000 {
        assert_eq!(link.handle_packet(at(5), FULL, packet), Admission::Queued);
        assert_eq!(link.poll_delivery(at(5)), Some(packet));
    }
    assert_eq!(link.next_deadline(), None);
    assert_eq!(link.counters().passed_bytes, ByteCount::new(1_500_000));
}

#[test]
fn a_packet_is_due_when_it_was_sent_and_has_travelled() {
    let config = PacketConfig {
        delay: ms(20),
        ..packet_each_ms()
    };
    let mut link = PacketLink::new(config, Seed::new(1));
    for packet in 0..3 {
        link.handle_packet(at(0), FULL, packet);
    }
    assert_eq!(link.next_deadline(), Some(at(21)));
    assert_eq!(link.poll_delivery(at(20)), None);
    let due = drain(&mut link);
    assert_eq!(due, [(at(21), 0), (at(22), 1), (at(23), 2)]);
}

#[test]
fn a_late_call_costs_the_link_no_rate() {
    let mut link = PacketLink::new(packet_each_ms(), Seed::new(1));
    for packet in 0..20 {
        link.handle_packet(at(0), FULL, packet);
    }
    let mut late = 0;
    while link.poll_delivery(at(15)).is_some() {
        late += 1;
    }
    assert_eq!(late, 15);
    assert_eq!(link.next_deadline(), Some(at(16)));
}

#[test]
fn what_the_queue_has_no_room_for_is_dropped_at_its_end() {
    let config = PacketConfig {
        queue: Some(ByteCount::new(4_500)),
        ..packet_each_ms()
    };
    let mut link = PacketLink::new(config, Seed::new(1));
    let admissions: Vec<Admission> = (0..5)
        .map(|packet| link.handle_packet(at(0), FULL, packet))
        .collect();
    assert_eq!(
        admissions[2..],
        [
            Admission::Queued,
            Admission::QueueFull,
            Admission::QueueFull
        ]
    );
    assert_eq!(link.handle_packet(at(1), FULL, 5), Admission::Queued);
    let passed: Vec<i32> = drain(&mut link)
        .into_iter()
        .map(|(_, packet)| packet)
        .collect();
    assert_eq!(passed, [0, 1, 2, 5]);
    assert_eq!(link.counters().queue_full, 2);
}

#[test]
fn a_queue_nobody_configured_lasts_a_tenth_of_a_second_and_is_never_too_small() {
    let size = |rate| {
        PacketConfig {
            rate,
            ..PacketConfig::default()
        }
        .queue_size()
    };
    let kbps = |kbps| Some(BitRate::from_kbps(kbps));
    assert_eq!(size(kbps(100_000)), ByteCount::new(1_250_000));
    assert_eq!(size(kbps(1_000)), ByteCount::new(100_000));
    assert_eq!(size(None), ByteCount::new(100_000));
}

#[test]
fn what_is_larger_than_the_mtu_is_dropped() {
    let config = PacketConfig {
        mtu: Some(ByteCount::new(1_280)),
        ..PacketConfig::default()
    };
    let mut link = PacketLink::new(config, Seed::new(1));
    assert_eq!(
        link.handle_packet(at(0), ByteCount::new(1_281), 0),
        Admission::TooLarge
    );
    assert_eq!(
        link.handle_packet(at(0), ByteCount::new(1_280), 1),
        Admission::Queued
    );
    assert_eq!(drain(&mut link), [(at(0), 1)]);
    assert_eq!(link.counters().too_large, 1);
}

#[test]
fn rate_zero_keeps_everything_until_there_is_a_rate() {
    let stopped = PacketConfig {
        rate: Some(BitRate::ZERO),
        queue: Some(ByteCount::new(3_000)),
        ..PacketConfig::default()
    };
    let mut link = PacketLink::new(packet_each_ms(), Seed::new(1));
    link.handle_packet(at(0), FULL, 0);
    let half = Instant::ZERO + Duration::from_micros(500);
    link.set_config(half, stopped);
    assert_eq!(link.handle_packet(at(3), FULL, 1), Admission::Queued);
    assert_eq!(link.handle_packet(at(3), FULL, 2), Admission::QueueFull);
    assert_eq!(link.next_deadline(), None);
    assert_eq!(link.poll_delivery(at(1_000_000)), None);
    link.set_config(at(1_000_000), packet_each_ms());
    let due = drain(&mut link);
    let resumed = at(1_000_000) + Duration::from_micros(500); // half of it had been sent
    assert_eq!(due, [(resumed, 0), (resumed + ms(1), 1)]);
}

#[test]
fn a_changed_config_holds_for_what_comes_later() {
    let mut link = PacketLink::new(packet_each_ms(), Seed::new(1));
    for packet in 0..4 {
        link.handle_packet(at(0), FULL, packet);
    }
    let slower = PacketConfig {
        rate: Some(BitRate::from_kbps(1_200)),
        delay: ms(100),
        mtu: Some(ByteCount::new(1_000)),
        ..PacketConfig::default()
    };
    link.set_config(at(2), slower);
    assert_eq!(link.handle_packet(at(2), FULL, 4), Admission::TooLarge);
    link.handle_packet(at(2), ByteCount::new(150), 5);
    let due = drain(&mut link);
    assert_eq!(
        due,
        [
            (at(1), 0),
            (at(2), 1),
            (at(12), 2),
            (at(22), 3),
            (at(123), 5)
        ]
    );
}

#[test]
fn a_shorter_delay_does_not_let_later_packets_overtake() {
    let far = PacketConfig {
        delay: ms(100),
        ..PacketConfig::default()
    };
    let mut link = PacketLink::new(far, Seed::new(1));
    link.handle_packet(at(0), FULL, 0);
    link.set_config(at(1), PacketConfig::default());
    link.handle_packet(at(1), FULL, 1);
    assert_eq!(drain(&mut link), [(at(100), 0), (at(100), 1)]);
}

#[test]
fn what_is_sent_ahead_overtakes_what_still_travels() {
    let config = PacketConfig {
        delay: ms(10),
        reorder: ratio(0.25),
        ..packet_each_ms()
    };
    let mut link = PacketLink::new(config, Seed::new(3));
    for packet in 0..1_000 {
        link.handle_packet(at(packet), FULL, packet);
    }
    let delivered = drain(&mut link);
    let ahead = delivered
        .iter()
        .filter(|(due, packet)| *due == at(*packet + 1))
        .count();
    let rest = delivered
        .iter()
        .filter(|(due, packet)| *due == at(*packet + 11))
        .count();
    assert_eq!(ahead + rest, 1_000);
    assert!((200..300).contains(&ahead), "{ahead}");
    // Only the first of all packets has nothing to overtake.
    assert!(link.counters().reordered.abs_diff(ahead as u64) <= 1);
}

#[test]
fn copies_follow_their_packet_and_need_rate_and_room() {
    let config = PacketConfig {
        duplicate: Ratio::ONE,
        queue: Some(ByteCount::new(4_500)),
        ..packet_each_ms()
    };
    let mut link = PacketLink::new(config, Seed::new(1));
    link.handle_packet(at(0), FULL, 0);
    link.handle_packet(at(0), FULL, 1);
    assert_eq!(drain(&mut link), [(at(1), 0), (at(2), 0), (at(3), 1)]);
    let counters = link.counters();
    assert_eq!((counters.duplicated, counters.queue_full), (2, 1));
    assert!(adds_up(counters));
}

#[test]
fn so_many_packets_are_under_way_at_most() {
    let config = PacketConfig {
        delay: ms(1_000),
        ..PacketConfig::default()
    };
    let mut link = PacketLink::new(config, Seed::new(1));
    for packet in 0..PacketLink::<usize>::UNDER_WAY_MAX {
        assert_eq!(
            link.handle_packet(at(0), ByteCount::new(1), packet),
            Admission::Queued
        );
    }
    assert_eq!(
        link.handle_packet(at(1), ByteCount::new(1), 0),
        Admission::QueueFull
    );
}

fn lost_of(loss: PacketLoss, packets: usize) -> Vec<bool> {
    let config = PacketConfig {
        loss,
        ..PacketConfig::default()
    };
    let mut link = PacketLink::new(config, Seed::new(11));
    (0..packets)
        .map(|packet| link.handle_packet(at(0), ByteCount::new(1), packet) == Admission::Lost)
        .collect()
}

/// Returns which share of the packets was lost.
fn share(lost: &[bool]) -> f64 {
    lost.iter()
        .map(|lost| f64::from(u8::from(*lost)))
        .sum::<f64>()
        / float(lost.len())
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

#[test]
fn the_share_that_is_lost_is_the_one_configured() {
    let loss = PacketLoss {
        ratio: ratio(0.01),
        bursts: None,
    };
    // The link's own bound on what is under way does not matter here: what is lost is lost before it.
    let share = share(&lost_of(loss, 200_000));
    // Three times the standard deviation of 0.00022.
    assert!((share - 0.01).abs() < 0.000_67, "{share}");
}

#[test]
fn bursts_of_loss_are_as_long_and_as_far_apart_as_configured() {
    let bursts = LossBursts {
        enter: ratio(0.01),
        leave: ratio(0.25),
        loss: Ratio::ONE,
    };
    let lost = lost_of(
        PacketLoss {
            ratio: Ratio::ZERO,
            bursts: Some(bursts),
        },
        400_000,
    );
    let runs: Vec<usize> = lost
        .chunk_by(|a, b| a == b)
        .filter(|run| run[0])
        .map(<[bool]>::len)
        .collect();
    let mean = share(&lost) * float(lost.len()) / float(runs.len());
    assert!((mean - 4.0).abs() < 0.2, "mean length of a burst {mean}");
    // Lengths are geometric: a quarter of the bursts is one packet long, a share of 0.75^4 is longer than four.
    let single = share(&runs.iter().map(|run| *run == 1).collect::<Vec<_>>());
    let long = share(&runs.iter().map(|run| *run > 4).collect::<Vec<_>>());
    assert!((single - 0.25).abs() < 0.03, "{single}");
    assert!((long - 0.316).abs() < 0.03, "{long}");
    // enter / (enter + leave)
    let share = share(&lost);
    assert!((share - 0.03846).abs() < 0.003, "{share}");
}

#[test]
fn loss_differs_within_and_outside_of_bursts() {
    let bursts = LossBursts {
        enter: ratio(0.1),
        leave: ratio(0.1),
        loss: ratio(0.5),
    };
    let lost = lost_of(
        PacketLoss {
            ratio: ratio(0.1),
            bursts: Some(bursts),
        },
        200_000,
    );
    // Half of the time is a burst.
    let share = share(&lost);
    assert!((share - 0.3).abs() < 0.01, "{share}");
}

#[test]
fn one_impairment_does_not_shift_the_numbers_of_another() {
    let loss = PacketLoss {
        ratio: ratio(0.1),
        bursts: None,
    };
    let alone = lost_of(loss, 5_000);
    let config = PacketConfig {
        loss,
        jitter: ms(5),
        delay: ms(5),
        reorder: ratio(0.3),
        duplicate: ratio(0.3),
        mtu: Some(FULL),
        ..packet_each_ms()
    };
    let mut link = PacketLink::new(config, Seed::new(11));
    for (packet, lost) in alone.iter().enumerate() {
        let too_large = packet % 3 == 0;
        let size = if too_large { 1_501 } else { 100 };
        let admission = link.handle_packet(at(packet as u64), ByteCount::new(size), packet);
        assert_eq!(admission == Admission::Lost, *lost && !too_large);
    }
}

#[test]
fn jitter_is_uniform_around_the_delay() {
    let config = PacketConfig {
        delay: ms(20),
        jitter: ms(10),
        ..PacketConfig::default()
    };
    let mut link = PacketLink::new(config, Seed::new(5));
    // So far apart that none waits for another.
    let packets = alloc::vec![(ms(100), FULL); 2_000];
    let delivered = pass(&mut link, &packets);
    let delays = delivered
        .iter()
        .map(|(due, packet)| due.since(at(100 * (*packet as u64 + 1))));
    let delays: Vec<f64> = delays.map(|delay| delay.as_secs_f64() * 1e3).collect();
    assert!(delays.iter().all(|delay| (10.0..=30.0).contains(delay)));
    for quarter in 0..4 {
        let from = 10.0 + 5.0 * f64::from(quarter);
        let share = delays
            .iter()
            .filter(|delay| (from..from + 5.0).contains(*delay))
            .count();
        assert!((400..600).contains(&share), "from {from} ms: {share}");
    }
}

prop_compose! {
    fn any_config()(
        kbps in prop::option::of(64_u64..200_000),
        (delay, jitter) in (0_u64..100, 0_u64..50),
        (loss, enter) in (0.0..0.3, prop::option::of(0.0..0.2)),
        (reorder, duplicate) in (prop_oneof![Just(0.0), 0.0..0.5], prop_oneof![Just(0.0), 0.0..0.5]),
        queue in prop::option::of(2_000_u64..200_000),
        mtu in prop::option::of(1_000_u64..2_000),
    ) -> PacketConfig {
        let bursts = |enter| LossBursts { enter: ratio(enter), leave: ratio(0.3), loss: ratio(0.8) };
        PacketConfig {
            rate: kbps.map(BitRate::from_kbps),
            delay: ms(delay),
            jitter: ms(jitter),
            loss: PacketLoss { ratio: ratio(loss), bursts: enter.map(bursts) },
            reorder: ratio(reorder),
            duplicate: ratio(duplicate),
            queue: queue.map(ByteCount::new),
            mtu: mtu.map(ByteCount::new),
        }
    }
}

fn any_packets() -> impl Strategy<Value = Vec<(Duration, ByteCount)>> {
    let wait = (0_u64..3_000_000).prop_map(Duration::from_nanos);
    prop::collection::vec((wait, (20_u64..1_700).prop_map(ByteCount::new)), 1..300)
}

proptest! {
    #[test]
    fn every_packet_is_accounted_for(config in any_config(), packets in any_packets(), seed: u64) {
        let mut link = PacketLink::new(config, Seed::new(seed));
        let delivered = pass(&mut link, &packets);
        prop_assert!(adds_up(link.counters()), "{:?}", link.counters());
        prop_assert_eq!(link.counters().entered, packets.len() as u64);
        prop_assert_eq!(link.counters().passed, delivered.len() as u64);
        let bytes: ByteCount = delivered.iter().map(|(_, number)| packets[*number].1).sum();
        prop_assert_eq!(link.counters().passed_bytes, bytes);
        // Nothing is delivered before it could be, and time does not go back.
        prop_assert!(delivered.is_sorted_by_key(|(due, _)| *due));
    }

    #[test]
    fn without_reordering_the_order_is_kept(config in any_config(), packets in any_packets(), seed: u64) {
        let config = PacketConfig { reorder: Ratio::ZERO, ..config };
        let mut link = PacketLink::new(config, Seed::new(seed));
        let delivered = pass(&mut link, &packets);
        prop_assert!(delivered.is_sorted_by_key(|(_, number)| *number));
        prop_assert_eq!(link.counters().reordered, 0);
    }

    /// Counted from the beginning, however often the rate changes.
    #[test]
    fn never_more_passes_than_the_rate(
        steps in prop::collection::vec((64_u64..200_000, 1_u64..40), 1..6),
        packets in any_packets(),
    ) {
        let of = |kbps| PacketConfig { rate: Some(BitRate::from_kbps(kbps)), ..PacketConfig::default() };
        let mut link = PacketLink::new(of(steps[0].0), Seed::new(1));
        let (mut now, mut allowed, mut passed) = (Instant::ZERO, 0_u128, ByteCount::ZERO);
        let mut packets = packets.into_iter();
        for (kbps, lasts_ms) in steps {
            link.set_config(now, of(kbps));
            let end = now + ms(lasts_ms);
            while now < end {
                let Some((wait, size)) = packets.next() else { break };
                let next = (now + wait).min(end);
                allowed += next.since(now).as_nanos() * u128::from(kbps) * 1_000;
                now = next;
                link.handle_packet(now, size, size);
                while let Some(size) = link.poll_delivery(now) {
                    passed += size;
                }
                prop_assert!(u128::from(passed.get()) * BYTE <= allowed);
            }
        }
    }

    #[test]
    fn a_queue_that_is_never_empty_gets_the_whole_rate(kbps in 64_u64..1_000_000, size in 20_u64..9_000) {
        let rate = BitRate::from_kbps(kbps);
        let queue = Some(ByteCount::new(u64::MAX));
        let config = PacketConfig { rate: Some(rate), queue, ..PacketConfig::default() };
        let mut link = PacketLink::new(config, Seed::new(1));
        let size = ByteCount::new(size);
        for _ in 0..1_000 {
            link.handle_packet(Instant::ZERO, size, ());
        }
        let (last, ()) = *drain(&mut link).last().unwrap();
        let exact = rate.time_for(ByteCount::new(size.get() * 1_000)).unwrap();
        prop_assert!(last.since(Instant::ZERO).abs_diff(exact) <= Duration::from_nanos(1));
    }

    /// Polled late, or at other times too, the same packets are delivered.
    #[test]
    fn what_is_delivered_does_not_depend_on_when_it_is_polled(
        config in any_config(), packets in any_packets(), seed: u64,
    ) {
        let mut eager = PacketLink::new(config, Seed::new(seed));
        let mut lazy = eager.clone();
        let eagerly = pass(&mut eager, &packets);
        let mut now = Instant::ZERO;
        for (number, (wait, size)) in packets.iter().enumerate() {
            now = now + *wait;
            lazy.handle_packet(now, *size, number);
        }
        prop_assert_eq!(drain(&mut lazy), eagerly);
    }
}
