//! The edge in use fails in the middle of a segment, in every shape.

use std::sync::Arc;

use anyhow::Result;
use nearcast_appliance::fault::{Fault, FaultRule};
use nearcast_protocol::manifest::{ObjectKey, RepresentationKey};
use nearcast_protocol::report::{AttemptReport, FetchReport, SessionReport};
use nearcast_sim::{Change, SimTitle};
use nearcast_units::Seed;

use super::brown_out::trap;
use crate::edges::draw::{self, Range, Story};
use crate::edges::figure::{Figure, Sample, World, largest_share, seconds, total};
use crate::edges::story::{buffered_s, stalls};

pub(crate) const WORLD: World = World {
    name: "death",
    about: "the edge in use fails in the middle of a segment, in each of seven shapes",
    clients: 1,
    run,
    figures,
};

const MEDIA_S: u64 = 75;
/// Slow enough that segments have a middle.
const EDGES: Range = Range {
    rtt_ms: (10.0, 240.0),
    mbps: (3.0, 50.0),
};
/// Design §6.
const TIME_MAX_S: (f64, f64) = (1.0, 2.0);
const TWICE_MAX: f64 = 0.1;
const BUFFERED_S: f64 = 6.0;
/// Stalls that begin within this time are the failure's.
const AFTERMATH_S: f64 = 30.0;
/// What took longer than this, or never came, counts as this.
const NEVER_S: f64 = 60.0;

/// A way to fail, and what its numbers are called.
struct Shape {
    name: &'static str,
    meets: Meets,
    handover: &'static str,
    twice: &'static str,
    stalls: &'static str,
    rule: fn() -> FaultRule,
}

/// Who meets a fault, and from when on the hand-over is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meets {
    /// The transfer under way, from then on.
    UnderWay,
    /// The next request, from its beginning.
    NextRequest,
    /// The transfer under way, from its end: before that there is nothing to notice.
    End,
}

impl Shape {
    /// Whether what came before can be kept: what is wrong has to be fetched anew, all of it.
    fn keeps_bytes(&self) -> bool {
        self.name != "corrupt"
    }
}

macro_rules! shape {
    ($name:literal, $meets:ident, $fault:expr) => {
        Shape {
            name: $name,
            meets: Meets::$meets,
            handover: concat!($name, ": hand-over"),
            twice: concat!($name, ": fetched twice"),
            stalls: concat!($name, ": stalls"),
            rule: || FaultRule::everywhere($fault),
        }
    };
}

const SHAPES: [Shape; 7] = [
    shape!("kill", UnderWay, Fault::Kill),
    shape!("stop", UnderWay, Fault::Stop),
    shape!("trickle", UnderWay, Fault::Trickle { rate_bps: 8_000 }),
    shape!(
        "503",
        NextRequest,
        Fault::Status {
            status: 503,
            retry_after_s: None,
        }
    ),
    shape!(
        "late first byte",
        NextRequest,
        Fault::LateFirstByte { delay_ms: 20_000 }
    ),
    shape!("truncate", End, Fault::Truncate),
    shape!("corrupt", End, Fault::Corrupt),
];

const HANDOVER: &str = "hand-over";
const TWICE: &str = "fetched twice, but for corrupt";
const STALLS: &str = "stalls with 6 s buffered";

fn run(sample: &mut Sample) -> Result<()> {
    let seed = sample.seed;
    let mut rng = Seed::new(seed).split("death").rng();
    let count = draw::between(&mut rng, 2, 10);
    let edges = draw::ranked(&mut rng, count, EDGES);
    let last_mile = draw::link(
        draw::uniform(&mut rng, (2.0, 30.0)),
        draw::log_uniform(&mut rng, (8.0, 30.0)),
    );
    let mut world = draw::world(seed, MEDIA_S, edges, last_mile);
    let trap = trap(&mut rng, Change::Edge(FaultRule::everywhere(Fault::Kill)));
    let title = Arc::clone(&world.clients[0].title);
    for shape in &SHAPES {
        let mut trap = trap.clone();
        trap.change = Change::Edge((shape.rule)());
        world.traps = vec![trap];
        world.digests = shape.name == "corrupt";
        let story = draw::run(world.clone(), sample)?;
        note(sample, shape, &story, &title);
    }
    Ok(())
}

fn note(sample: &mut Sample, shape: &Shape, story: &Story, title: &SimTitle) {
    let Some(sprung) = story.sprung else {
        return;
    };
    let edge = format!("edge-{}", sprung.edge);
    let at_s = sprung.at.as_secs_f64();
    let report = &story.report;
    let met = match shape.meets {
        Meets::UnderWay => {
            under_way(report, &edge, at_s, shape).map(|(fetch, one)| (fetch, one.start_s.max(at_s)))
        }
        Meets::NextRequest => next(report, &edge, at_s).map(|(fetch, one)| (fetch, one.start_s)),
        Meets::End => under_way(report, &edge, at_s, shape).map(|(fetch, one)| (fetch, one.end_s)),
    };
    let Some((fetch, from_s)) = met else {
        return;
    };
    // Bytes that are wrong are fetched anew, and a lower rung is another object: it is the same segment.
    let same = |one: &&FetchReport| one.track == fetch.track && one.segment == fetch.segment;
    let fetches = report.fetches.iter().filter(same);
    let others = fetches
        .flat_map(|fetch| &fetch.attempts)
        .filter(|one| one.edge != edge && one.end_s >= from_s);
    let firsts = others.filter_map(|one| one.first_byte_s);
    // Help that came before the fault and goes on has taken over at once.
    let first_s = firsts
        .map(|first_s| (first_s - from_s).max(0.0))
        .fold(NEVER_S, f64::min);
    sample.note(shape.handover, first_s);
    sample.note(HANDOVER, first_s);
    if shape.keeps_bytes()
        && let Some(share) = twice(fetch, title)
    {
        sample.note(shape.twice, share);
        sample.note(TWICE, share);
    }
    if buffered_s(report, from_s) >= BUFFERED_S {
        let stalls = draw::count(stalls(report, from_s, AFTERMATH_S) as u64);
        sample.note(shape.stalls, stalls);
        sample.note(STALLS, stalls);
    }
}

/// Returns what came of a segment more than once, as a share of it. What was given up for a lower rung, or lost its place
/// in the buffer to a better one later, came once.
fn twice(fetch: &FetchReport, title: &SimTitle) -> Option<f64> {
    let size = title.size(object(fetch)?).get();
    let spans = fetch.attempts.iter().filter(|one| one.bytes > 0);
    let mut spans: Vec<(u64, u64)> = spans
        .map(|one| (one.offset, one.offset + one.bytes))
        .collect();
    spans.sort_unstable();
    let (mut twice, mut reached) = (0, 0);
    for (from, to) in spans {
        twice += to.min(reached).saturating_sub(from);
        reached = reached.max(to);
    }
    (size > 0).then(|| draw::count(twice) / draw::count(size))
}

/// Returns the segment that a fetch brings, as made titles name their representations.
fn object(fetch: &FetchReport) -> Option<ObjectKey> {
    let name = fetch.representation.as_deref()?;
    let (track, representation) = match name.strip_prefix('v') {
        Some(rung) => (0, rung.parse::<u16>().ok()?.checked_sub(1)?),
        None => (1, 0),
    };
    let key = RepresentationKey {
        period: 0,
        track,
        representation,
    };
    Some(ObjectKey::Media(key, u32::try_from(fetch.segment?).ok()?))
}

/// Returns the first media request that an edge which failed at a time does not fulfil, and its attempt there.
fn under_way<'a>(
    report: &'a SessionReport,
    edge: &str,
    at_s: f64,
    shape: &Shape,
) -> Option<(&'a FetchReport, &'a AttemptReport)> {
    first(report, |one| {
        // Wrong bytes come to their end, and are found out afterwards.
        let fulfils = one.result == "ok" && shape.keeps_bytes();
        // What had all come by then was right.
        one.edge == edge && one.end_s > at_s && !fulfils
    })
}

/// Returns the first media request to an edge after a time, and its attempt there.
fn next<'a>(
    report: &'a SessionReport,
    edge: &str,
    at_s: f64,
) -> Option<(&'a FetchReport, &'a AttemptReport)> {
    first(report, |one| one.edge == edge && one.start_s >= at_s)
}

/// Returns the media request that began first of those with such an attempt. A better picture of what is buffered is not
/// waited for, and not fetched from elsewhere when its edge fails.
fn first(
    report: &SessionReport,
    such: impl Fn(&AttemptReport) -> bool,
) -> Option<(&FetchReport, &AttemptReport)> {
    let media = report
        .fetches
        .iter()
        .filter(|fetch| fetch.kind == "media" && !is_buffered(report, fetch));
    let attempts = media.flat_map(|fetch| fetch.attempts.iter().map(move |one| (fetch, one)));
    attempts
        .filter(|(_, one)| such(one))
        .min_by(|(_, a), (_, b)| a.start_s.total_cmp(&b.start_s))
}

/// Whether the segment was there at another rung when it was asked for.
fn is_buffered(report: &SessionReport, fetch: &FetchReport) -> bool {
    let asked_s = fetch.attempts.iter().map(|one| one.start_s);
    let asked_s = asked_s.fold(f64::INFINITY, f64::min);
    let mut others = report.fetches.iter().filter(|one| {
        one.kind == "media"
            && (&one.track, one.segment) == (&fetch.track, fetch.segment)
            && one.representation != fetch.representation
    });
    others.any(|one| {
        let mut attempts = one.attempts.iter();
        attempts.any(|one| one.result == "ok" && one.end_s <= asked_s)
    })
}

fn figures(samples: &[Sample]) -> Vec<Figure> {
    let mut figures = vec![
        seconds(samples, HANDOVER, 0.5, Some(TIME_MAX_S.0)),
        seconds(samples, HANDOVER, 0.99, Some(TIME_MAX_S.1)),
        largest_share(samples, TWICE, Some(TWICE_MAX)),
        total(samples, STALLS, Some(0.0)),
    ];
    for shape in &SHAPES {
        figures.push(seconds(samples, shape.handover, 0.5, Some(TIME_MAX_S.0)));
        figures.push(seconds(samples, shape.handover, 0.99, Some(TIME_MAX_S.1)));
        if shape.keeps_bytes() {
            figures.push(largest_share(samples, shape.twice, Some(TWICE_MAX)));
        }
        figures.push(total(samples, shape.stalls, Some(0.0)));
    }
    figures
}
