//! An edge that goes bad and comes back, again and again.

use std::time::Duration;

use anyhow::Result;
use nearcast_appliance::fault::{Fault, FaultOrder, FaultRule};
use nearcast_scenario::Place;
use nearcast_sim::TimedOrder;
use nearcast_units::{BitRate, Seed};

use crate::edges::draw::{self, Range};
use crate::edges::figure::{Figure, Sample, World, number, total};
use crate::edges::story::{flaps, served};

pub(crate) const WORLD: World = World {
    name: "flap",
    about: "the best edge goes bad and comes back every 20 to 60 s, over 10 minutes",
    clients: 1,
    run,
    figures,
};

const MEDIA_S: u64 = 600;
const OTHERS: Range = Range {
    rtt_ms: (30.0, 120.0),
    mbps: (8.0, 30.0),
};
/// Bad for so long, then good for so long.
const HALF_PERIOD_S: (f64, f64) = (10.0, 30.0);
const FLAPS_MAX: f64 = 1.0;

fn run(sample: &mut Sample) -> Result<()> {
    let seed = sample.seed;
    let mut rng = Seed::new(seed).split("flap").rng();
    let count = draw::between(&mut rng, 1, 9);
    let best = draw::link(20.0, 40.0);
    let mut edges = draw::ranked(&mut rng, count, OTHERS);
    edges.insert(0, edges[0].clone());
    edges[0].link = best;
    for (n, edge) in edges.iter_mut().enumerate() {
        edge.name = format!("edge-{n}");
    }
    let last_mile = draw::link(
        draw::uniform(&mut rng, (2.0, 20.0)),
        draw::uniform(&mut rng, (30.0, 60.0)),
    );
    let mut world = draw::world(seed, MEDIA_S, edges, last_mile);
    let bad = match rng.below(4) {
        0 => Fault::Rate {
            rate_bps: best.rate.map(|rate| BitRate::scaled(rate, 0.05).as_bps()),
        },
        1 => Fault::Kill,
        2 => Fault::Stop,
        _ => Fault::Status {
            status: 503,
            retry_after_s: None,
        },
    };
    let mut at_s = draw::uniform(&mut rng, (10.0, 30.0));
    for turn in 0_u32.. {
        if at_s > draw::count(MEDIA_S) {
            break;
        }
        world.faults.push(TimedOrder {
            at: Duration::from_secs_f64(at_s),
            place: Place::Edge(0),
            order: if turn % 2 == 0 {
                FaultOrder::add([FaultRule::everywhere(bad.clone())])
            } else {
                FaultOrder::clear()
            },
        });
        at_s += draw::uniform(&mut rng, HALF_PERIOD_S);
    }
    let report = draw::run(world, sample)?.report;
    let served = served(&report);
    let flaps = flaps(&served, Some("edge-0"));
    sample.note("flaps in 10 min", draw::count(flaps as u64));
    let changes = served.windows(2).filter(|two| two[0].edge != two[1].edge);
    sample.note(
        "edge changes in 10 min",
        draw::count(changes.count() as u64),
    );
    sample.note("stalls", draw::count(report.stall_count));
    Ok(())
}

fn figures(samples: &[Sample]) -> Vec<Figure> {
    vec![
        number(samples, "flaps in 10 min", 0.5, None),
        number(samples, "flaps in 10 min", 1.0, Some(FLAPS_MAX)),
        number(samples, "edge changes in 10 min", 0.5, None),
        number(samples, "edge changes in 10 min", 1.0, None),
        total(samples, "stalls", None),
    ]
}
