//! Ten edges at the start, against an oracle that knows the best of them and uses no other.

use anyhow::{Context as _, Result};
use nearcast_units::Seed;

use crate::edges::draw::{self, ANY};
use crate::edges::figure::{Figure, Sample, World, seconds};

pub(crate) const WORLD: World = World {
    name: "start",
    about: "ten edges at the start, against an oracle that uses the best one alone",
    clients: 1,
    run,
    figures,
};

/// Enough to begin with.
const MEDIA_S: u64 = 8;
/// Design §6: what the choice may cost on top of a round trip to the best edge.
const MORE_S: f64 = 0.05;

fn run(sample: &mut Sample) -> Result<()> {
    let seed = sample.seed;
    let mut rng = Seed::new(seed).split("start").rng();
    let edges = draw::ranked(&mut rng, 10, ANY);
    let last_mile = draw::link(
        draw::uniform(&mut rng, (2.0, 30.0)),
        draw::log_uniform(&mut rng, (5.0, 100.0)),
    );
    let world = draw::world(seed, MEDIA_S, edges, last_mile);
    let all = draw::run(world.clone(), sample)?;
    let startup_s = all.report.startup_s.context("nothing was shown")?;
    // What the oracle does is no part of what is spent.
    let mut beside = Sample::new(seed, false);
    let mut best: Option<(f64, f64)> = None;
    for edge in 0..world.edges.len() {
        let mut alone = world.clone();
        for client in &mut alone.clients {
            client.edges = vec![edge];
            client.later_edges = vec![edge];
        }
        let story = draw::run(alone, &mut beside)?;
        if let Some(startup_s) = story.report.startup_s
            && best.is_none_or(|(least_s, _)| startup_s < least_s)
        {
            let delay = world.edges[edge].link.delay + last_mile.delay;
            best = Some((startup_s, 2.0 * delay.as_secs_f64()));
        }
    }
    let (oracle_s, rtt_s) = best.context("no edge showed anything")?;
    sample.sessions += beside.sessions;
    sample.virtual_s += beside.virtual_s;
    sample.note("start-up", startup_s);
    sample.note("oracle", oracle_s);
    sample.note("more than the oracle", startup_s - oracle_s);
    sample.note(
        "more than the oracle and one RTT",
        startup_s - oracle_s - rtt_s,
    );
    Ok(())
}

fn figures(samples: &[Sample]) -> Vec<Figure> {
    vec![
        seconds(samples, "start-up", 0.5, None),
        seconds(samples, "oracle", 0.5, None),
        seconds(samples, "more than the oracle", 0.5, None),
        seconds(samples, "more than the oracle", 0.95, None),
        seconds(
            samples,
            "more than the oracle and one RTT",
            0.95,
            Some(MORE_S),
        ),
    ]
}
