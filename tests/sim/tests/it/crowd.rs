//! Worlds with several clients, links that change, and things that go wrong at the worst moment.

use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultRule};
use nearcast_link::LinkConfig;
use nearcast_sim::{
    Change, LinkName, LinkSchedule, LinkStep, Outcome, Simulation, Trap, Watch, WorldOutcome,
    WorldSetup,
};
use nearcast_units::{BitRate, Ratio, Seed};

use crate::two_minutes;

/// So many clients, each with a seed and a last mile of its own, a second between their arrivals.
fn crowd(clients: u64) -> WorldSetup {
    let mut world = two_minutes().world(Watch::ALL);
    let one = world.clients[0].clone();
    world.last_miles = vec![world.last_miles[0]; usize::try_from(clients).unwrap()];
    world.clients = (0..clients)
        .map(|n| {
            let mut client = one.clone();
            client.config.seed = Seed::new(n);
            client.last_mile = usize::try_from(n).unwrap();
            client.arrives = Duration::from_secs(n);
            client
        })
        .collect();
    world
}

fn run(world: WorldSetup) -> WorldOutcome {
    let outcome = Simulation::world(world).run_all();
    for client in &outcome.clients {
        assert_eq!(client.violations, Vec::<String>::new());
    }
    outcome
}

fn rate(outcome: &Outcome) -> f64 {
    outcome.report.mean_bitrate_bps
}

#[test]
fn clients_that_do_not_meet_play_as_if_alone() {
    let mut world = crowd(2);
    // Edges with room for both, so that nothing is shared.
    for edge in &mut world.edges {
        edge.link.rate = None;
    }
    let mut alone = world.clone();
    alone.clients.truncate(1);
    let both = run(world);
    let alone = run(alone);
    assert_eq!(both.clients[0].text(), alone.clients[0].text());
    assert!(both.clients.iter().all(|one| one.over));
    // Who comes a second later has a report of its own time.
    let startups = both
        .clients
        .iter()
        .map(|one| one.report.startup_s.unwrap())
        .collect::<Vec<_>>();
    assert!((startups[0] - startups[1]).abs() < 0.1, "{startups:?}");
}

#[test]
fn clients_share_an_appliance_and_a_last_mile() {
    let mut world = crowd(4);
    world.edges.truncate(1);
    for client in &mut world.clients {
        client.edges = vec![0];
        client.later_edges = vec![0];
    }
    world.edges[0].link.rate = Some(BitRate::from_kbps(6_000));
    let mut home = world.clone();
    home.edges[0].link.rate = None;
    home.last_miles = vec![world.edges[0].link];
    for client in &mut home.clients {
        client.last_mile = 0;
    }
    for outcome in [run(world.clone()), run(home)] {
        // A quarter of 6 Mbit/s for each: none of them has the rung of 1,750 kbit/s for long.
        for client in &outcome.clients {
            assert!(client.over && client.report.error.is_none());
            assert!(rate(client) < 1_700_000.0, "{}", rate(client));
        }
        let most = outcome.load.iter().map(|second| second[0]).max().unwrap();
        assert!(
            most <= 6_000_000 / 8 + (64 << 10),
            "{most} bytes in a second"
        );
    }
    let mut alone = world;
    alone.clients.truncate(1);
    let alone = rate(&run(alone).clients[0]);
    assert!(alone > 2_000_000.0, "{alone}");
}

#[test]
fn what_is_not_watched_changes_nothing() {
    let mut world = crowd(3);
    let watched = run(world.clone());
    world.watch = Watch::default();
    let unwatched = run(world);
    for (one, other) in watched.clients.iter().zip(&unwatched.clients) {
        assert_eq!(one.report, other.report);
        assert_eq!(one.shown, other.shown);
        assert!(!one.log.is_empty() && other.log.is_empty());
    }
    assert_eq!(watched.load, unwatched.load);
}

#[test]
fn a_schedule_changes_a_link_and_is_repeated() {
    let link = |kbps| LinkConfig {
        rate: Some(BitRate::from_kbps(kbps)),
        delay: Duration::from_millis(5),
    };
    let step = |kbps| LinkStep {
        lasts: Duration::from_secs(10),
        link: link(kbps),
    };
    let mut world = crowd(1);
    world.schedules.push(LinkSchedule {
        link: LinkName::LastMile(0),
        steps: vec![step(2_000), step(0)],
        repeats: true,
    });
    let outcome = run(world);
    // Nothing comes in every second ten seconds but what had left before.
    let silent = |second: usize| second % 20 > 10;
    for (second, load) in outcome.load.iter().enumerate() {
        let bytes: u64 = load.iter().sum();
        assert!(
            !silent(second) || bytes == 0,
            "{bytes} bytes in second {second}"
        );
    }
    let later = outcome.load.iter().skip(21).take(8);
    assert!(
        later.flatten().sum::<u64>() > 0,
        "the first step came again"
    );
}

#[test]
fn a_trap_springs_in_the_middle_of_a_segment() {
    for change in [
        Change::Edge(FaultRule::everywhere(Fault::Kill)),
        Change::EdgeRate(Ratio::new(0.2).unwrap()),
        Change::LastMileRate(Ratio::new(0.2).unwrap()),
    ] {
        let mut world = crowd(1);
        world.traps.push(Trap {
            client: 0,
            after: Duration::from_secs(20),
            share: Ratio::new(0.5).unwrap(),
            change: change.clone(),
        });
        let outcome = run(world);
        let [sprung] = outcome.sprung[..] else {
            panic!("{:?}", outcome.sprung);
        };
        assert!(sprung.at.as_secs_f64() >= 20.0 && sprung.edge == 0);
        let segments = &outcome.clients[0].report.segments;
        let hit = segments
            .iter()
            .find(|one| one.track == "video" && one.done_s >= sprung.at.as_secs_f64())
            .unwrap();
        assert!(sprung.offset >= hit.bytes / 2 && sprung.offset < hit.bytes);
        assert_eq!(outcome.clients[0].report.stalls, vec![], "{change:?}");
    }
}
