//! Ten edges whose order says nothing, the worst first; the fourth and the seventh are near and fast.

use anyhow::Result;
use nearcast_units::Seed;

use crate::edges::draw;
use crate::edges::figure::{Figure, Sample, World, seconds, share};
use crate::edges::story::served;

pub(crate) const WORLD: World = World {
    name: "worst-first",
    about: "ten edges listed worst first, good ones 4th and 7th",
    clients: 1,
    run,
    figures,
};

const MEDIA_S: u64 = 60;
/// RTT in ms and Mbit/s.
const EDGES: [(f64, f64); 10] = [
    (240.0, 0.9),
    (220.0, 1.2),
    (200.0, 1.5),
    (35.0, 50.0),
    (180.0, 2.0),
    (160.0, 2.5),
    (30.0, 40.0),
    (140.0, 3.0),
    (120.0, 4.0),
    (100.0, 5.0),
];
const GOOD: [&str; 2] = ["edge-3", "edge-6"];

fn run(sample: &mut Sample) -> Result<()> {
    let seed = sample.seed;
    let mut rng = Seed::new(seed).split("worst-first").rng();
    let links = EDGES.map(|(rtt_ms, mbps)| {
        let mut about = |number: f64| number * draw::uniform(&mut rng, (0.9, 1.1));
        let rtt_ms = about(rtt_ms).min(240.0);
        draw::link(rtt_ms, about(mbps).max(0.9))
    });
    let last_mile = draw::link(
        draw::uniform(&mut rng, (2.0, 20.0)),
        draw::log_uniform(&mut rng, (20.0, 200.0)),
    );
    let world = draw::world(seed, MEDIA_S, draw::edges(links), last_mile);
    let report = draw::run(world, sample)?.report;
    let served = served(&report);
    let good = |edge: &str| GOOD.contains(&edge);
    let first = served.first().is_some_and(|one| good(&one.edge));
    sample.note_if("first segment from a good edge", first);
    let all = served.iter().all(|one| good(&one.edge));
    sample.note_if("all segments from good edges", all && first);
    if let Some(startup_s) = report.startup_s {
        sample.note("start-up", startup_s);
    }
    Ok(())
}

fn figures(samples: &[Sample]) -> Vec<Figure> {
    vec![
        share(samples, "first segment from a good edge", Some(1.0)),
        share(samples, "all segments from good edges", Some(1.0)),
        seconds(samples, "start-up", 0.5, None),
        seconds(samples, "start-up", 0.95, None),
    ]
}
