//! The throughput rule: the highest rung that the measured rate sustains, with a margin.

use nearcast_units::BitRate;

use super::{AbrChoice, AbrContext, AbrPolicy};

/// Share of the estimate that may be planned with.
const SAFETY: f64 = 0.9;
/// Share of the buffer that the next transfer may use up.
const IN_TIME: f64 = 0.75;
/// What to begin with when nothing is known: a rung that nearly every line carries, so that the first frame comes soon.
const FIRST_RATE: BitRate = BitRate::from_kbps(1_600);
/// The first segment is to be there within about half its duration.
const FIRST_SAFETY: f64 = 0.5;

/// The rule itself; it remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throughput;

impl AbrPolicy for Throughput {
    fn name(&self) -> &'static str {
        "throughput"
    }

    fn decide(&mut self, context: &AbrContext) -> AbrChoice {
        first(context).unwrap_or_else(|| {
            AbrChoice::next(sustained(context), "highest rung the rate sustains")
        })
    }
}

/// What all classical rules do where playback begins.
pub(super) fn first(context: &AbrContext) -> Option<AbrChoice> {
    if context.last.is_some() {
        return None;
    }
    let rate = context.forecast.sustained.unwrap_or(FIRST_RATE);
    let rung = context.sustained(rate.scaled(FIRST_SAFETY));
    let why = if context.forecast.sustained.is_some() {
        "first segment: half the estimated rate"
    } else {
        "first segment: half of a usual rate, since nothing is known yet"
    };
    Some(AbrChoice::next(rung, why))
}

/// The highest rung that the rate sustains and that will be here in time.
pub(super) fn sustained(context: &AbrContext) -> usize {
    let rate = context.forecast.sustained.unwrap_or(FIRST_RATE);
    // A buffer that is nearly dry leaves no room for an estimate that is a little too high.
    let next = context.ahead.first();
    let safety = if next.is_some_and(|next| context.buffer < next.duration) {
        SAFETY * 0.8
    } else {
        SAFETY
    };
    let rung = context.sustained(rate.scaled(safety));
    // Declared rates are means: the segment itself must be here before the buffer is empty.
    let room = context.buffer.mul_f64(IN_TIME);
    let in_time = |rung: &usize| {
        rate.time_for(context.size_ahead(0, *rung))
            .is_some_and(|takes| takes <= room)
    };
    (0..=rung).rev().find(in_time).unwrap_or(0)
}
