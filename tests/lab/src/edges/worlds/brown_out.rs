//! The edge in use falls to a fifth of its rate and goes on.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nearcast_protocol::manifest::ObjectKey;
use nearcast_sim::{Change, Trap};
use nearcast_units::{Ratio, Rng, Seed};

use crate::edges::draw::{self, Range};
use crate::edges::figure::{Figure, Sample, World, number, seconds, share, total};
use crate::edges::story::{flaps, served};

pub(crate) const WORLD: World = World {
    name: "brown-out",
    about: "the edge in use, one of ten, falls to a fifth of its rate",
    clients: 1,
    run,
    figures,
};

const MEDIA_S: u64 = 90;
/// At a fifth none of them carries the rungs that they carried before.
const EDGES: Range = Range {
    rtt_ms: (10.0, 120.0),
    mbps: (8.0, 16.0),
};
/// Within so many segments after the one that was hit another edge serves.
const WITHIN: f64 = 2.0;
/// So many segments after the one that was hit have the rung that they have in a quiet world.
const KEPT: u64 = 5;

/// In so many worlds it has to be, as the other edge in 99 %.
const RUNG_KEPT: f64 = 0.99;

fn run(sample: &mut Sample) -> Result<()> {
    let seed = sample.seed;
    let mut rng = Seed::new(seed).split("brown-out").rng();
    let edges = draw::ranked(&mut rng, 10, EDGES);
    let last_mile = draw::link(
        draw::uniform(&mut rng, (2.0, 30.0)),
        draw::uniform(&mut rng, (30.0, 60.0)),
    );
    let quiet = draw::world(seed, MEDIA_S, edges, last_mile);
    let mut world = quiet.clone();
    world.traps.push(trap(&mut rng, Change::EdgeRate(fifth())));
    let story = draw::run(world, sample)?;
    let Some(sprung) = story.sprung else {
        return Ok(());
    };
    let quiet = served(&draw::run(quiet, sample)?.report);
    let served = served(&story.report);
    let hit = segment(sprung.object).context("a trap springs in a segment")?;
    let name = format!("edge-{}", sprung.edge);
    let left = served
        .iter()
        .find(|one| one.segment >= hit && one.edge != name);
    // One that is never left counts as what there was of the title.
    let after = left.map_or(MEDIA_S, |one| one.segment - hit);
    sample.note("segments until another edge", draw::count(after));
    if let Some(left) = left {
        let took_s = left.done_s - sprung.at.as_secs_f64();
        sample.note("until another edge has brought a segment", took_s);
    }
    let rung = |all: &[crate::edges::story::Served], segment: u64| {
        let mut all = all.iter();
        all.find(|one| one.segment == segment)
            .map(|one| one.bitrate_bps)
    };
    let kept = (hit..=hit + KEPT).all(|n| rung(&served, n) >= rung(&quiet, n));
    sample.note_if("rung kept", kept);
    let stalls = draw::count(story.report.stall_count);
    sample.note("stalls", stalls);
    let flaps = flaps(&served, Some(&name));
    sample.note("flaps", draw::count(flaps as u64));
    Ok(())
}

/// Returns a trap in the middle of a segment, a while after the start.
pub(crate) fn trap(rng: &mut Rng, change: Change) -> Trap {
    Trap {
        client: 0,
        after: Duration::from_secs_f64(draw::uniform(rng, (8.0, 40.0))),
        share: Ratio::new(draw::uniform(rng, (0.1, 0.75))).unwrap_or_default(),
        change,
    }
}

pub(crate) fn fifth() -> Ratio {
    Ratio::new(0.2).unwrap_or_default()
}

/// Returns which video segment this is.
pub(crate) fn segment(object: ObjectKey) -> Option<u64> {
    match object {
        ObjectKey::Media(_, index) => Some(u64::from(index)),
        ObjectKey::Manifest | ObjectKey::Index(_) | ObjectKey::Init(_) | ObjectKey::Probe => None,
    }
}

fn figures(samples: &[Sample]) -> Vec<Figure> {
    vec![
        number(samples, "segments until another edge", 0.5, None),
        number(samples, "segments until another edge", 0.99, Some(WITHIN)),
        seconds(
            samples,
            "until another edge has brought a segment",
            0.5,
            None,
        ),
        share(samples, "rung kept", Some(RUNG_KEPT)),
        total(samples, "stalls", None),
        total(samples, "flaps", None),
    ]
}
