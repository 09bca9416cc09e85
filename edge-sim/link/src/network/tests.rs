//! What the model promises, over the public interface.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::sharing::{Claims, share};

const T0: Instant = Instant::ZERO;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn link(kbps: u64, delay_ms: u64) -> LinkConfig {
    LinkConfig {
        rate: Some(BitRate::from_kbps(kbps)),
        delay: ms(delay_ms),
    }
}

/// Runs until `end` and returns what arrived.
fn run(network: &mut Network, end: Instant) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    loop {
        while let Some(arrival) = network.poll_arrival() {
            arrivals.push(arrival);
        }
        match network.next_deadline() {
            Some(due) if due <= end => network.handle_timeout(due),
            _ => break,
        }
    }
    network.handle_timeout(end);
    arrivals
}

fn bytes_of(arrivals: &[Arrival], wanted: TransferId) -> u64 {
    arrivals
        .iter()
        .map(|arrival| match arrival {
            Arrival::Bytes {
                transfer, bytes, ..
            } if *transfer == wanted => bytes.get(),
            Arrival::Bytes { .. } | Arrival::Reset { .. } => 0,
        })
        .sum()
}

fn end_of(arrivals: &[Arrival], wanted: TransferId) -> Option<Instant> {
    arrivals.iter().find_map(|arrival| match arrival {
        Arrival::Bytes {
            transfer,
            last: true,
            at,
            ..
        } if *transfer == wanted => Some(*at),
        Arrival::Bytes { .. } | Arrival::Reset { .. } => None,
    })
}

#[test]
fn progress_comes_at_once_then_in_slices_of_64_kib_or_10_ms_and_then_up_to_100_ms() {
    let mut network = Network::new(None);
    let slow = network.add_link(link(800, 10));
    let fast = network.add_link(link(80_000, 10));
    for (route, size, expected) in [
        (
            slow,
            60_000,
            vec![
                100, 1_000, 1_250, 1_562, 1_953, 2_442, 3_051, 3_815, 4_768, 5_961, 7_450, 9_314,
                10_000, 7_334,
            ],
        ),
        (fast, 100_000, vec![10_000, 65_536, 24_464]),
    ] {
        let flow = network.open_flow(T0, &[route], Transport::Tcp).unwrap();
        let now = network.now;
        let transfer = network.send(now, flow, ByteCount::new(size));
        let arrivals = run(&mut network, now + ms(60_000));
        let slices: Vec<u64> = arrivals
            .iter()
            .map(|arrival| bytes_of(core::slice::from_ref(arrival), transfer))
            .collect();
        assert_eq!(slices, expected);
    }
}

#[test]
fn flows_share_the_last_mile_and_a_transfer_that_ends_frees_its_share() {
    let mut network = Network::new(None);
    let mile = network.add_link(link(8_000, 0));
    let near = network.add_link(link(100_000, 0));
    let far = network.add_link(link(100_000, 0));
    let one = network
        .open_flow(T0, &[near, mile], Transport::Tcp)
        .unwrap();
    let two = network.open_flow(T0, &[far, mile], Transport::Tcp).unwrap();
    let short = network.send(T0, one, ByteCount::new(500_000));
    let long = network.send(T0, two, ByteCount::new(1_000_000));
    assert_eq!(network.rate(short), BitRate::from_kbps(4_000));
    let arrivals = run(&mut network, T0 + ms(10_000));
    // Half each for the first second, then all for the longer one.
    assert_eq!(end_of(&arrivals, short), Some(T0 + ms(1_000)));
    assert_eq!(end_of(&arrivals, long), Some(T0 + ms(1_500)));
}

#[test]
fn slow_start_sends_ten_segments_then_twice_as_many_each_round_trip() {
    let mut network = Network::new(Some(SlowStart::default()));
    let path = network.add_link(LinkConfig {
        rate: None,
        delay: ms(25),
    });
    let flow = network.open_flow(T0, &[path], Transport::Tcp).unwrap();
    let transfer = network.send(T0, flow, ByteCount::new(14_600 * 7));
    let arrivals = run(&mut network, T0 + ms(130));
    let by_round: Vec<(u128, u64)> = arrivals
        .iter()
        .map(|a| {
            (
                a.at().since(T0).as_millis(),
                bytes_of(core::slice::from_ref(a), transfer),
            )
        })
        .collect();
    assert_eq!(by_round, vec![(25, 14_600), (75, 29_200), (125, 58_400)]);

    // Soon after, the flow is warm; after a rest it is not.
    for (rest, at_once) in [(ms(100), 40_000), (ms(5_000), 14_600)] {
        let again = network.now + rest;
        let transfer = network.send(again, flow, ByteCount::new(40_000));
        let arrivals = run(&mut network, again + ms(30));
        assert_eq!(bytes_of(&arrivals, transfer), at_once);
        run(&mut network, again + ms(1_000));
    }
}

#[test]
fn a_window_larger_than_the_path_is_no_limit() {
    let mut network = Network::new(Some(SlowStart::default()));
    let path = network.add_link(link(8_000, 10));
    let flow = network.open_flow(T0, &[path], Transport::Tcp).unwrap();
    let transfer = network.send(T0, flow, ByteCount::new(2_000_000));
    let arrivals = run(&mut network, T0 + ms(60_000));
    let took = end_of(&arrivals, transfer).unwrap().since(T0);
    assert!(took > ms(2_010) && took < ms(2_040), "{took:?}");
}

#[test]
fn a_black_hole_keeps_what_has_left_and_goes_on_when_restored() {
    let mut network = Network::new(None);
    let path = network.add_link(link(8_000, 50));
    let flow = network.open_flow(T0, &[path], Transport::Tcp).unwrap();
    let transfer = network.send(T0, flow, ByteCount::new(1_000_000));
    let mut arrivals = run(&mut network, T0 + ms(210));
    network.stop(T0 + ms(210), path);
    assert_eq!(network.state(path), LinkState::Stopped);
    arrivals.extend(run(&mut network, T0 + ms(900)));
    assert_eq!(bytes_of(&arrivals, transfer), 210_000);
    assert_eq!(network.next_deadline(), None);
    network.restore(T0 + ms(1_210), path);
    arrivals.extend(run(&mut network, T0 + ms(60_000)));
    assert_eq!(bytes_of(&arrivals, transfer), 1_000_000);
    assert_eq!(end_of(&arrivals, transfer), Some(T0 + ms(2_050)));
}

#[test]
fn a_kill_resets_tcp_silences_quic_and_refuses_until_restored() {
    let mut network = Network::new(Some(SlowStart::default()));
    let path = network.add_link(link(8_000, 50));
    let tcp = network.open_flow(T0, &[path], Transport::Tcp).unwrap();
    let quic = network.open_flow(T0, &[path], Transport::Quic).unwrap();
    network.send(T0, tcp, ByteCount::new(1_000_000));
    network.send(T0, quic, ByteCount::new(1_000_000));
    run(&mut network, T0 + ms(500));
    network.kill(T0 + ms(500), path);
    let arrivals = run(&mut network, T0 + ms(5_000));
    let resets: Vec<&Arrival> = arrivals
        .iter()
        .filter(|arrival| matches!(arrival, Arrival::Reset { .. }))
        .collect();
    let at = T0 + ms(550);
    assert_eq!(resets, [&Arrival::Reset { flow: tcp, at }]);
    assert_eq!(arrivals.last().map(Arrival::at), Some(at));
    let now = T0 + ms(5_000);
    assert_eq!(
        network.open_flow(now, &[path], Transport::Tcp),
        Err(Refused { at: now + ms(100) })
    );
    let silent = network.open_flow(now, &[path], Transport::Quic).unwrap();
    network.restore(now, path);
    network.send(now, silent, ByteCount::new(1));
    network.send(now, quic, ByteCount::new(1));
    assert!(run(&mut network, T0 + ms(9_000)).is_empty());
    assert!(
        network
            .open_flow(T0 + ms(9_000), &[path], Transport::Tcp)
            .is_ok()
    );
}

#[test]
fn a_trickle_leaves_its_share_to_the_others() {
    let mut network = Network::new(None);
    let path = network.add_link(link(8_000, 0));
    let flow = network.open_flow(T0, &[path], Transport::Tcp).unwrap();
    let ill = network.send(T0, flow, ByteCount::new(1_000_000));
    let well = network.send(T0, flow, ByteCount::new(1_000_000));
    network.limit(T0, ill, Some(BitRate::from_bps(4)));
    assert_eq!(network.rate(well), BitRate::from_bps(7_999_996));
    let arrivals = run(&mut network, T0 + ms(10_000));
    assert_eq!(bytes_of(&arrivals, ill), 5, "half a byte a second");
    network.cancel(network.now, ill);
    assert_eq!(network.next_deadline(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Send { flow: usize, bytes: u64 },
    Wait { nanos: u64 },
    Rate { link: usize, kbps: u64 },
    Delay { link: usize, ms: u64 },
    Stop { link: usize },
    Restore { link: usize },
    Cancel { transfer: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_usize..4, 0_u64..300_000).prop_map(|(flow, bytes)| Step::Send { flow, bytes }),
        4 => (0_u64..400_000_000).prop_map(|nanos| Step::Wait { nanos }),
        1 => (0_usize..3, 0_u64..50_000).prop_map(|(link, kbps)| Step::Rate { link, kbps }),
        1 => (0_usize..3, 0_u64..300).prop_map(|(link, ms)| Step::Delay { link, ms }),
        1 => (0_usize..3).prop_map(|link| Step::Stop { link }),
        1 => (0_usize..3).prop_map(|link| Step::Restore { link }),
        1 => (0_usize..8).prop_map(|transfer| Step::Cancel { transfer }),
    ];
    prop::collection::vec(step, 1..60)
}

/// Plays the steps; waits are taken in one go or deadline by deadline.
fn play(
    steps: &[Step],
    slow_start: bool,
    eager: bool,
) -> (Vec<Arrival>, Vec<(TransferId, u64, bool)>) {
    let mut network = Network::new(slow_start.then(SlowStart::default));
    let links: Vec<LinkId> = [link(4_000, 20), link(20_000, 5), link(10_000, 30)]
        .into_iter()
        .map(|config| network.add_link(config))
        .collect();
    let flows: Vec<FlowId> = [0, 0, 1, 1]
        .into_iter()
        .map(|edge| {
            network
                .open_flow(T0, &[links[edge], links[2]], Transport::Tcp)
                .unwrap()
        })
        .collect();
    let (mut now, mut arrivals, mut sent) = (T0, Vec::new(), Vec::new());
    for step in steps {
        match *step {
            Step::Send { flow, bytes } => {
                let id = network.send(now, flows[flow], ByteCount::new(bytes));
                sent.push((id, bytes, false));
            }
            Step::Wait { nanos } => {
                now = now + Duration::from_nanos(nanos);
                if eager {
                    arrivals.extend(run(&mut network, now));
                } else {
                    network.handle_timeout(now);
                }
            }
            Step::Rate { link, kbps } => {
                network.set_rate(now, links[link], Some(BitRate::from_kbps(kbps)))
            }
            Step::Delay { link, ms: delay } => network.set_delay(now, links[link], ms(delay)),
            Step::Stop { link } => network.stop(now, links[link]),
            Step::Restore { link } => network.restore(now, links[link]),
            Step::Cancel { transfer } => {
                while let Some(arrival) = network.poll_arrival() {
                    arrivals.push(arrival);
                }
                if let Some(gone) = sent.get_mut(transfer) {
                    network.cancel(now, gone.0);
                    gone.2 = true;
                }
            }
        }
        while let Some(arrival) = network.poll_arrival() {
            arrivals.push(arrival);
        }
    }
    for link in links {
        network.restore(now, link);
        network.set_rate(now, link, Some(BitRate::from_kbps(1_000)));
    }
    arrivals.extend(run(&mut network, now + ms(3_600_000)));
    assert_eq!(network.next_deadline(), None, "nothing is left behind");
    (arrivals, sent)
}

#[test]
fn a_flow_that_is_closed_while_it_waits_leaves_nothing_due() {
    let mut network = Network::new(Some(SlowStart::default()));
    let edge = network.add_link(link(80_000, 50));
    let flow = network.open_flow(T0, &[edge], Transport::Tcp).unwrap();
    network.send(T0, flow, ByteCount::new(1_000_000));
    // The first window has left, and the round is not over.
    network.handle_timeout(T0 + ms(60));
    while network.poll_arrival().is_some() {}
    assert!(network.next_deadline().is_some());
    network.close_flow(T0 + ms(60), flow);
    assert_eq!(network.next_deadline(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_are_conserved_and_arrive_in_order(steps in steps(), slow_start in any::<bool>()) {
        let (arrivals, sent) = play(&steps, slow_start, true);
        for (id, bytes, cancelled) in sent {
            let arrived = bytes_of(&arrivals, id);
            prop_assert!(arrived == bytes || (cancelled && arrived < bytes));
        }
        let mut ends: BTreeMap<TransferId, u32> = BTreeMap::new();
        for pair in arrivals.windows(2) {
            prop_assert!(pair[0].at() <= pair[1].at());
        }
        for arrival in arrivals {
            if let Arrival::Bytes { transfer, bytes, last, .. } = arrival {
                prop_assert!(bytes > ByteCount::ZERO && !ends.contains_key(&transfer));
                if last {
                    ends.insert(transfer, 1);
                }
            }
        }
    }

    #[test]
    fn late_and_early_calls_change_nothing(steps in steps(), slow_start in any::<bool>()) {
        prop_assert_eq!(play(&steps, slow_start, true), play(&steps, slow_start, false));
    }

    #[test]
    fn no_link_passes_more_than_its_rate(
        sends in prop::collection::vec((0_usize..4, 1_u64..500_000, 0_u64..300), 1..30),
        slow_start in any::<bool>(),
    ) {
        let mut network = Network::new(slow_start.then(SlowStart::default));
        let mile = network.add_link(link(6_000, 10));
        let edges: Vec<LinkId> = [3_000, 5_000, 9_000, 50].map(|kbps| network.add_link(link(kbps, 5))).into();
        let flows: Vec<FlowId> = edges
            .iter()
            .map(|edge| network.open_flow(T0, &[*edge, mile], Transport::Tcp).unwrap())
            .collect();
        let (mut now, mut total, mut arrivals) = (T0, 0, Vec::new());
        for (flow, bytes, wait) in sends {
            network.send(now, flows[flow], ByteCount::new(bytes));
            total += bytes;
            now = now + ms(wait);
            arrivals.extend(run(&mut network, now));
        }
        arrivals.extend(run(&mut network, now + ms(3_600_000)));
        let mut all = 0;
        let mut each: BTreeMap<FlowId, u64> = BTreeMap::new();
        for arrival in arrivals {
            if let Arrival::Bytes { flow, bytes, at, .. } = arrival {
                let open = at.since(T0 + ms(15));
                all += bytes.get();
                prop_assert!(all <= BitRate::from_kbps(6_000).bytes_in(open).get());
                let one = each.entry(flow).or_default();
                *one += bytes.get();
                let index = flows.iter().position(|other| *other == flow).unwrap();
                let rate = network.config(edges[index]).rate.unwrap();
                prop_assert!(*one <= rate.bytes_in(open).get());
            }
        }
        prop_assert_eq!(all, total);
    }

    #[test]
    fn shares_are_what_dividing_all_links_at_once_gives(
        steps in prop::collection::vec((0_u8..6, 0_usize..3, 0_usize..4, 0_u64..4, 0_u64..80), 1..60),
    ) {
        let mut network = Network::new(Some(SlowStart::default()));
        let edges: Vec<LinkId> = [9_000, 60_000, 3_000].map(|kbps| network.add_link(link(kbps, 8))).into();
        let miles: Vec<LinkId> =
            [2_000, 5_000, 5_000, 20_000].map(|kbps| network.add_link(link(kbps, 4))).into();
        let (mut now, mut flows) = (T0, Vec::new());
        for (kind, edge, mile, much, wait) in steps {
            let place = mile + 4 * edge;
            match kind {
                0 | 1 => {
                    let flow = network.open_flow(now, &[edges[edge], miles[mile]], Transport::Tcp).unwrap();
                    network.send(now, flow, ByteCount::new(20_000 + much * 300_000));
                    flows.push(flow);
                }
                2 if !flows.is_empty() => {
                    let flow = flows[place % flows.len()];
                    network.send(now, flow, ByteCount::new(50_000 + much * 90_000));
                }
                3 if !flows.is_empty() => network.close_flow(now, flows.swap_remove(place % flows.len())),
                4 => network.set_rate(now, miles[mile], Some(BitRate::from_kbps(much * 3_000))),
                _ => network.set_rate(now, edges[edge], Some(BitRate::from_kbps(much * 8_000))),
            }
            now = now + ms(wait);
            run(&mut network, now);
            let capacities: Vec<u64> = network.links.iter().map(Link::capacity).collect();
            let sharing: Vec<&Flow> = network.flows.iter().map(|(_, flow)| flow).filter(|flow| flow.sharing).collect();
            let mut claims = Claims::default();
            for flow in &sharing {
                claims.add(flow.route.iter().copied(), u64::MAX);
            }
            let rates: Vec<u64> = sharing.iter().map(|flow| flow.rate).collect();
            for (index, link) in network.links.iter().enumerate() {
                let elsewhere = |flow: &Flow| {
                    let others = flow.route.iter().filter(|other| **other != index);
                    others.map(|other| u128::from(capacities[*other])).min().unwrap()
                };
                let crossing = sharing.iter().copied().filter(|flow| flow.route.contains(&index));
                prop_assert_eq!(link.asked, crossing.map(elsewhere).sum::<u128>());
            }
            // What is left over by rounding depends on how many are divided at once.
            for (rate, all) in rates.iter().zip(share(&capacities, &claims)) {
                prop_assert!(rate.abs_diff(all) <= 16, "{rates:?}");
            }
        }
    }
}
