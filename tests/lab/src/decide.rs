//! `bench decide`: what one decision of each rule costs, on one core.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use nearcast_core::abr::{
    AbrContext, LOOK_AHEAD, Objective, Rung, SegmentAhead, SegmentBuffered, UnderWay,
};
use nearcast_core::{AbrRule, RateEstimate};
use nearcast_units::{BitRate, ByteCount, Instant, Rng, Seed};

use crate::moment::Moment;
use crate::write;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Decisions of each row
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    decisions: u32,
}

/// What a decision is to stay below on a slow core.
const BAR_US: f64 = 1e3;
const SEGMENT: Duration = Duration::from_secs(4);
/// Segments that the buffer holds, each of which may be replaced.
const HELD: u32 = 7;

/// What is decided about: how many rungs, and whether the end of the title is near, where all segments are planned.
const CASES: [(&str, usize, usize); 4] = [
    ("6 rungs", 6, 1_000),
    ("6 rungs, end near", 6, LOOK_AHEAD),
    ("16 rungs", 16, 1_000),
    ("16 rungs, end near", 16, LOOK_AHEAD),
];

pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let cost = "p50 us  p99 us  review p50 us";
    write::print(&format!("{:<12} {:<20} {cost}\n", "rule", "decides over"))?;
    for rule in AbrRule::ALL {
        for (name, rungs, left) in CASES {
            let mut policy = rule.policy();
            let mut rng = Seed::new(1).rng();
            let (mut decides, mut reviews) = (Vec::new(), Vec::new());
            for _ in 0..arguments.decisions {
                let context = context(rungs, left, &mut rng);
                let began = Moment::now();
                let choice = policy.decide(&context);
                decides.push(began.elapsed_s() * 1e6);
                anyhow::ensure!(!choice.why.is_empty(), "{} decided nothing", policy.name());
                let began = Moment::now();
                policy.review(&context, &under_way(&context));
                reviews.push(began.elapsed_s() * 1e6);
            }
            let (p50, p99) = (quantile(&mut decides, 50), quantile(&mut decides, 99));
            let over = if p99 > BAR_US { "  above 1 ms" } else { "" };
            let review = quantile(&mut reviews, 50);
            let row = format!("{p50:>6.1}  {p99:>6.1}  {review:>13.1}{over}");
            write::print(&format!("{:<12} {name:<20} {row}\n", policy.name()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns a decision on a line that comes and goes, with some of the buffer below the highest rung.
fn context(rungs: usize, left: usize, rng: &mut Rng) -> AbrContext {
    let objective = Objective::default();
    let lowest = BitRate::from_kbps(200);
    let higher = |rate: &BitRate| Some(rate.scaled(1.35));
    let bitrates: Vec<BitRate> = std::iter::successors(Some(lowest), higher)
        .take(rungs)
        .collect();
    let ladder: Vec<Rung> = (0..rungs)
        .map(|rung| Rung {
            bitrate: bitrates[rung],
            value: objective.value(rung, bitrates[rung], lowest),
        })
        .collect();
    let mut estimate = RateEstimate::default();
    for _ in 0..24 {
        let rate = bitrates[rungs / 2].scaled(0.3 + 1.4 * rng.next_f64());
        estimate.sample(rate, Duration::from_millis(250));
        estimate.transferred();
    }
    let held = (1..=HELD).map(|place| SegmentBuffered {
        rung: usize::try_from(rng.below(rungs as u64)).unwrap_or(0),
        open_for: SEGMENT * place,
        duration: SEGMENT,
    });
    let buffered: Vec<SegmentBuffered> = held.collect();
    let ahead = vec![SegmentAhead { duration: SEGMENT }; LOOK_AHEAD.min(left)];
    let rows = ahead.len() + buffered.len();
    let sizes = bitrates.iter().map(|rate| rate.bytes_in(SEGMENT));
    let sizes: Vec<ByteCount> = sizes.collect();
    AbrContext {
        now: Instant::ZERO,
        buffer: SEGMENT * HELD,
        buffer_max: Duration::from_secs(60),
        playing: true,
        last: Some(rungs / 2),
        sizes: sizes.repeat(rows),
        ahead,
        left: u32::try_from(left).ok(),
        buffered,
        forecast: estimate
            .forecast(Duration::from_millis(40))
            .unwrap_or_default(),
        weights: objective.weights(ladder.last().map_or(1.0, |top| top.value)),
        ladder,
    }
}

fn under_way(context: &AbrContext) -> UnderWay {
    let rung = context.ladder.len() - 1;
    let total = context.size_ahead(0, rung);
    UnderWay {
        rung,
        received: ByteCount::new(total.get() / 8),
        total,
        elapsed: Duration::from_secs(3),
    }
}

fn quantile(all: &mut [f64], percent: usize) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get((all.len() - 1) * percent / 100)
        .copied()
        .unwrap_or_default()
}
