//! Either the edge in use or the last mile gets slow: does the session tell them apart?

use anyhow::{Context as _, Result};
use nearcast_sim::Change;
use nearcast_units::Seed;

use super::brown_out::{fifth, segment, trap};
use crate::edges::draw::{self, Range};
use crate::edges::figure::{Figure, Sample, Values, World, share};
use crate::edges::story::served;

pub(crate) const WORLD: World = World {
    name: "attribution",
    about: "the edge in use or the last mile falls to a fifth of its rate: which was it?",
    clients: 1,
    run,
    figures,
};

const MEDIA_S: u64 = 90;
/// Whichever falls to a fifth is what holds the transfer back then.
const EDGES: Range = Range {
    rtt_ms: (10.0, 120.0),
    mbps: (6.0, 20.0),
};
/// It has to be known by this segment after the one that was hit.
const WITHIN: u64 = 2;
const RIGHT: f64 = 0.95;

fn run(sample: &mut Sample) -> Result<()> {
    let seed = sample.seed;
    let mut rng = Seed::new(seed).split("attribution").rng();
    let count = draw::between(&mut rng, 2, 10);
    let edges = draw::ranked(&mut rng, count, EDGES);
    let last_mile = draw::link(
        draw::uniform(&mut rng, (2.0, 30.0)),
        draw::log_uniform(&mut rng, (6.0, 20.0)),
    );
    let mut world = draw::world(seed, MEDIA_S, edges, last_mile);
    let is_edge = rng.below(2) == 0;
    let change = if is_edge {
        Change::EdgeRate(fifth())
    } else {
        Change::LastMileRate(fifth())
    };
    world.traps.push(trap(&mut rng, change));
    let story = draw::run(world, sample)?;
    let Some(sprung) = story.sprung else {
        sample.note(UNSEEN, 1.0);
        return Ok(());
    };
    let hit = segment(sprung.object).context("a trap springs in a segment")?;
    let served = served(&story.report);
    let then = served.iter().find(|one| one.segment == hit + WITHIN);
    let Some(then) = then else {
        sample.note(UNSEEN, 1.0);
        return Ok(());
    };
    let changed = then.edge != format!("edge-{}", sprung.edge);
    let cell = match (is_edge, changed) {
        (true, true) => CELLS[0],
        (true, false) => CELLS[1],
        (false, true) => CELLS[2],
        (false, false) => CELLS[3],
    };
    sample.note(cell, 1.0);
    sample.note_if("right", is_edge == changed);
    Ok(())
}

/// Truth, then what was concluded.
const CELLS: [&str; 4] = [
    "edge taken for edge",
    "edge taken for line",
    "line taken for edge",
    "line taken for line",
];
const UNSEEN: &str = "nothing to see";

fn figures(samples: &[Sample]) -> Vec<Figure> {
    let mut figures = vec![share(samples, "right", Some(RIGHT))];
    let count = |cell: &str| draw::count(Values::of(samples, cell).count() as u64);
    for (name, right, wrong) in [("edge", CELLS[0], CELLS[1]), ("line", CELLS[3], CELLS[2])] {
        let all = count(right) + count(wrong);
        let share = (all > 0.0).then(|| count(right) / all * 100.0);
        figures.push(Figure::new(
            format!("right where it was the {name}"),
            share,
            "%",
        ));
    }
    for cell in CELLS.into_iter().chain([UNSEEN]) {
        let figure = Figure::new(cell.to_owned(), Some(count(cell)), "");
        figures.push(figure.seeds(Values::of(samples, cell).first()));
    }
    figures
}
