//! RobustMPC (Yin, Jindal, Sekar and Sinopoli, SIGCOMM 2015): plans five segments with the harmonic mean of the last
//! five rates, divided by one plus the largest error of the last five predictions.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::{AbrChoice, AbrContext, AbrPolicy, Transfer};

/// Plans compared at most: with a ladder of more than eight rungs fewer segments are planned.
const PLANS_MAX: usize = 40_000;
/// Segments looked ahead, and rates and errors remembered, as in the paper.
const FIVE: usize = 5;

/// The rule and its past.
#[derive(Clone, Debug)]
pub struct RobustMpc {
    /// The newest rates, in bit/s, first bytes' wait included.
    rates: VecDeque<f64>,
    /// The newest relative errors of prediction.
    errors: VecDeque<f64>,
    /// What was predicted for the transfer under way.
    predicted: Option<f64>,
}

impl Default for RobustMpc {
    /// All room that it will ever need is made now.
    fn default() -> Self {
        Self {
            rates: VecDeque::with_capacity(FIVE),
            errors: VecDeque::with_capacity(FIVE),
            predicted: None,
        }
    }
}

impl AbrPolicy for RobustMpc {
    fn name(&self) -> &'static str {
        "rmpc"
    }

    fn transferred(&mut self, transfer: &Transfer) {
        let took = (transfer.ttfb + transfer.body).max(Duration::from_micros(1));
        let rate = transfer
            .bytes
            .rate_over(took)
            .map_or(1.0, |rate| rate.as_f64().max(1.0));
        let error = self
            .predicted
            .take()
            .map_or(0.0, |predicted| libm::fabs(predicted - rate) / rate);
        for (newest, value) in [(&mut self.rates, rate), (&mut self.errors, error)] {
            if newest.len() == FIVE {
                newest.pop_front();
            }
            newest.push_back(value);
        }
    }

    fn decide(&mut self, context: &AbrContext) -> AbrChoice {
        if self.rates.is_empty() {
            return AbrChoice::next(0, "first segment: nothing is known yet");
        }
        let inverse: f64 = self.rates.iter().map(|rate| 1.0 / rate).sum();
        let mean = self.rates.len() as f64 / inverse;
        self.predicted = Some(mean);
        let worst = self.errors.iter().copied().fold(0.0, f64::max);
        let fits = |segments: &u32| context.ladder.len().saturating_pow(*segments) <= PLANS_MAX;
        let segments = (1..=5).rev().find(fits).unwrap_or(1) as usize;
        let plan = Plan {
            context,
            rate: mean / (1.0 + worst),
            segments: segments.min(context.ahead.len()),
        };
        let mut best = (0, f64::NEG_INFINITY);
        for rung in 0..context.ladder.len() {
            let value = plan.value(0, context.buffer.as_secs_f64(), context.last, rung);
            if value > best.1 {
                best = (rung, value);
            }
        }
        AbrChoice::next(best.0, "best plan for five segments at a cautious rate")
    }
}

struct Plan<'a> {
    context: &'a AbrContext,
    rate: f64,
    segments: usize,
}

impl Plan<'_> {
    /// What the best plan is worth that fetches segment `at` at `rung`. Enumerates all.
    fn value(&self, at: usize, buffer_s: f64, last: Option<usize>, rung: usize) -> f64 {
        let context = self.context;
        let worth = |rung: usize| context.ladder.get(rung).map_or(0.0, |one| one.value);
        let bits = context.size_ahead(at, rung).get() as f64 * 8.0;
        // The rates have the wait for first bytes in them.
        let takes = bits / self.rate;
        let stalled = (takes - buffer_s).max(0.0);
        let segment = context
            .ahead
            .get(at)
            .map_or(0.0, |one| one.duration.as_secs_f64());
        let level = (buffer_s - takes).max(0.0) + segment;
        let change = last.map_or(0.0, |last| libm::fabs(worth(rung) - worth(last)));
        let here = worth(rung) - context.weights.stall * stalled - context.weights.switch * change;
        if at + 1 >= self.segments {
            return here;
        }
        let rest = (0..context.ladder.len())
            .map(|next| self.value(at + 1, level, Some(rung), next))
            .fold(f64::NEG_INFINITY, f64::max);
        here + rest
    }
}
