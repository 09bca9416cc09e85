//! Either the edge in use or the last mile gets slow: does the session tell them apart?

use std::ops::RangeInclusive;

use anyhow::{Context as _, Result};
use nearcast_protocol::report::SessionReport;
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
/// It has to be said by the end of this segment after the one that was hit.
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
    let window = sprung.at.as_secs_f64()..=then.done_s;
    let name = format!("edge-{}", sprung.edge);
    let concluded = concluded(&story.report, &window, &name, then.edge != name);
    let cell = match (is_edge, concluded) {
        (true, Some(Blamed::Edge)) => CELLS[0],
        (true, Some(Blamed::Line)) => CELLS[1],
        (true, None) => CELLS[2],
        (false, Some(Blamed::Edge)) => CELLS[3],
        (false, Some(Blamed::Line)) => CELLS[4],
        (false, None) => CELLS[5],
    };
    sample.note(cell, 1.0);
    sample.note_if("right", cell == CELLS[0] || cell == CELLS[4]);
    Ok(())
}

/// What a session held to be slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blamed {
    Edge,
    Line,
}

/// Returns what a session concluded in that time, of one edge or of the line: the first word counts. Where nothing was said, an edge that
/// was left was held to be slow.
fn concluded(
    report: &SessionReport,
    window: &RangeInclusive<f64>,
    edge: &str,
    left: bool,
) -> Option<Blamed> {
    let words = report
        .decisions
        .iter()
        .filter(|one| one.kind == "blame" && window.contains(&one.at_s));
    let mut blamed = words.filter_map(|one| match one.chosen.as_str() {
        "line" => Some(Blamed::Line),
        "nobody" => None,
        chosen => (chosen == edge).then_some(Blamed::Edge),
    });
    blamed.next().or_else(|| left.then_some(Blamed::Edge))
}

/// Truth, then what was concluded.
const CELLS: [&str; 6] = [
    "edge taken for edge",
    "edge taken for line",
    "edge: nothing said",
    "line taken for edge",
    "line taken for line",
    "line: nothing said",
];
const UNSEEN: &str = "nothing to see";

fn figures(samples: &[Sample]) -> Vec<Figure> {
    let mut figures = vec![share(samples, "right", Some(RIGHT))];
    let count = |cell: &str| draw::count(Values::of(samples, cell).count() as u64);
    for (name, cells, right) in [
        ("edge", &CELLS[..3], CELLS[0]),
        ("line", &CELLS[3..], CELLS[4]),
    ] {
        let all: f64 = cells.iter().map(|cell| count(cell)).sum();
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
