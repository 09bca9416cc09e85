//! A thousand clients over ten edges, one of which dies.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use nearcast_appliance::fault::{Fault, FaultOrder, FaultRule};
use nearcast_scenario::Place;
use nearcast_sim::{ClientSetup, SimTitle, Simulation, TimedOrder, Watch, WorldSetup};
use nearcast_units::{Rng, Seed};

use crate::edges::draw;
use crate::edges::figure::{Figure, Sample, World, number, seconds, share, total};
use crate::edges::story::{Extra, stalls};

pub(crate) const WORLD: World = World {
    name: "herd",
    about: "a thousand clients over ten edges, one of which dies",
    clients: 100,
    run,
    figures,
};

const CLIENTS: usize = 1_000;
const EDGES: usize = 10;
const MEDIA_S: u64 = 80;
/// All of them come within this time.
const ARRIVE_S: f64 = 20.0;
const DIES_S: usize = 40;
/// So long after the death the survivors are looked at.
const AFTER_S: usize = 30;
/// The shortest time in which a load is one.
const SPAN_S: usize = 5;
const LOAD_MAX: f64 = 1.3;

fn run(sample: &mut Sample) -> Result<()> {
    let seed = sample.seed;
    let mut rng = Seed::new(seed).split("herd").rng();
    let title = Arc::new(SimTitle::made(
        Duration::from_secs(MEDIA_S),
        Seed::new(seed),
    ));
    // All edges alike, with room for all clients at the top rung on a few of them: loads are then what sessions choose.
    let links = (0..EDGES).map(|_| draw::link(16.0, 2_000.0));
    let edges = draw::edges(links);
    let mut last_miles = Vec::new();
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        last_miles.push(draw::link(
            draw::uniform(&mut rng, (5.0, 40.0)),
            draw::uniform(&mut rng, (8.0, 40.0)),
        ));
        // The backend spreads clients evenly.
        let order = shuffled(&mut rng);
        let seed = Seed::new(seed).split_index(client as u64);
        clients.push(ClientSetup {
            name: format!("player-{}", clients.len()),
            rebinds: Vec::new(),
            config: nearcast_core::Config {
                seed,
                ..nearcast_core::Config::default()
            },
            title: Arc::clone(&title),
            last_mile: client,
            arrives: Duration::from_secs_f64(draw::uniform(&mut rng, (0.0, ARRIVE_S))),
            edges: order.clone(),
            later_edges: order,
            refresh_after: None,
            commands: Vec::new(),
        });
    }
    let dies = usize::try_from(rng.below(EDGES as u64)).unwrap_or(0);
    let arrivals: Vec<f64> = clients
        .iter()
        .map(|one| one.arrives.as_secs_f64())
        .collect();
    let world = WorldSetup {
        edges,
        last_miles,
        clients,
        faults: vec![TimedOrder {
            at: Duration::from_secs(DIES_S as u64),
            place: Place::Edge(dies),
            order: FaultOrder::add([FaultRule::everywhere(Fault::Kill)]),
        }],
        limit: Duration::from_secs(2 * MEDIA_S),
        watch: Watch::default(),
        ..WorldSetup::default()
    };
    let outcome = Simulation::world(world).run_all();
    let mut stalled = 0;
    for (client, arrives_s) in outcome.clients.iter().zip(arrivals) {
        ensure!(client.violations.is_empty(), "{:?}", client.violations);
        ensure!(client.over, "a session did not end");
        sample.sessions += 1;
        sample.virtual_s += client.ended_at.as_secs_f64() - arrives_s;
        sample.extras.push(Extra::of(&client.report));
        // Reports count from the play intent.
        let died_s = draw::count(DIES_S as u64) - arrives_s;
        stalled += stalls(&client.report, died_s, draw::count(AFTER_S as u64));
        let taken = client.report.failovers.iter();
        for one in taken.filter(|one| (died_s..died_s + 5.0).contains(&one.at_s)) {
            if let Some(first_byte_s) = one.first_byte_s {
                sample.note("hand-over", first_byte_s);
            }
        }
    }
    let before = loads(&outcome.load, DIES_S - AFTER_S / 2..DIES_S, None);
    sample.note("load before, of the fair share", largest(&before));
    let after = loads(&outcome.load, DIES_S..DIES_S + AFTER_S, Some(dies));
    sample.note("load after, of the fair share", largest(&after));
    let spans = (DIES_S..DIES_S + AFTER_S - SPAN_S + 1)
        .map(|from| largest(&loads(&outcome.load, from..from + SPAN_S, Some(dies))));
    let most = spans.fold(0.0, f64::max);
    sample.note("load in the worst 5 s, of the fair share", most);
    sample.note("stalls", draw::count(stalled as u64));
    sample.note_if("nobody stalled", stalled == 0);
    Ok(())
}

fn shuffled(rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..EDGES).collect();
    for place in (1..order.len()).rev() {
        let other = rng.below(place as u64 + 1);
        order.swap(place, usize::try_from(other).unwrap_or(0));
    }
    order
}

/// Returns what each edge but one carried, over the mean of them.
fn loads(load: &[Vec<u64>], seconds: std::ops::Range<usize>, without: Option<usize>) -> Vec<f64> {
    let edges = (0..EDGES).filter(|edge| Some(*edge) != without);
    let sums: Vec<u64> = edges
        .map(|edge| {
            let seconds = load.iter().skip(seconds.start).take(seconds.len());
            seconds.map(|second| second[edge]).sum()
        })
        .collect();
    let all = kilobytes(sums.iter().sum());
    let fair = all / draw::count(sums.len() as u64);
    sums.iter().map(|sum| kilobytes(*sum) / fair).collect()
}

fn kilobytes(bytes: u64) -> f64 {
    draw::count(bytes / 1_000)
}

fn largest(loads: &[f64]) -> f64 {
    loads.iter().copied().fold(0.0, f64::max)
}

fn figures(samples: &[Sample]) -> Vec<Figure> {
    vec![
        number(samples, "load after, of the fair share", 0.5, None),
        number(
            samples,
            "load after, of the fair share",
            1.0,
            Some(LOAD_MAX),
        ),
        number(
            samples,
            "load in the worst 5 s, of the fair share",
            1.0,
            None,
        ),
        number(samples, "load before, of the fair share", 1.0, None),
        seconds(samples, "hand-over", 0.5, None),
        seconds(samples, "hand-over", 0.99, None),
        total(samples, "stalls", None),
        share(samples, "nobody stalled", None),
    ]
}
