//! How much bolder or more careful than usual a plan is, and in what: learned from what came of it.
//!
//! What the rate will be is not known, so that the worth of a rung is not known either, but on a recorded network it can be found
//! out: play on from a decision with each rung in turn, and see (Sinclair et al., "Hindsight learning for MDPs with exogenous
//! inputs", ICML 2023). A small network was taught by many such decisions in which direction eight of the planner's numbers should
//! have been moved there (`nearcast-lab fit temper`, whose help has the recipe). It sees what the line's past looks like, and where the
//! session is: buffer, ladder, what is left of the title. The present weights are from a forerunner of that command, with the same gradient:
//! six rounds on the four sets of profile pensieve, then sixteen on all ten, which the command does not repeat to the digit. That one moved seven
//! numbers: the weights of the eighth (how much what is usual weighs) are still 0, and it is not moved.

use super::config::HorizonConfig;
use super::outlook::SPAN;
use super::temper_weights::WEIGHTS;
use crate::abr::AbrContext;
use crate::perceptron::{self, softsign};
use crate::throughput::SIGNS;

/// Width of both hidden layers.
const HIDDEN: usize = 24;
pub(super) const COUNT: usize = perceptron::weights(Temper::INPUTS, HIDDEN, Temper::COUNT);
/// What a move by one adds to the weight of what transfers usually bring.
const USUAL_STEP: f64 = 0.3;

/// Moves of the planner's numbers. The first adds to where the middle path lies, in distances between the quartiles; the others are
/// powers of e (of how deep the low path lies and how much it weighs, of what buffer, switches and stalls count, of how high the
/// high path lies); the last adds to how much what transfers usually bring weighs beside the forecast.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Temper(pub [f32; Self::COUNT]);

impl Temper {
    /// How many numbers are moved.
    pub const COUNT: usize = 8;
    /// How many numbers describe a decision: the line's past, and where the session is.
    pub const INPUTS: usize = SIGNS + 10;
    /// Nothing is moved further, up or down.
    pub const MOST: f32 = 1.5;

    /// What was learned for a decision like this one; none where nothing was measured.
    pub(in crate::abr) fn of(context: &AbrContext) -> Self {
        Self::inputs(context).map_or_else(Self::default, |inputs| {
            Self::told(
                perceptron::run::<{ Self::INPUTS }, HIDDEN, { Self::COUNT }>(&WEIGHTS, &inputs),
            )
        })
    }

    /// Makes moves of what a network's last layer sums up.
    #[must_use]
    pub fn told(raw: [f32; Self::COUNT]) -> Self {
        Self(raw.map(|raw| Self::MOST * softsign(raw)))
    }

    /// Describes a decision, for whoever teaches the network. `None` where nothing was measured, or nothing is left to be fetched.
    #[must_use]
    pub fn inputs(context: &AbrContext) -> Option<[f32; Self::INPUTS]> {
        let signs = &context.forecast.signs;
        let (lowest, highest) = (context.ladder.first()?, context.ladder.last()?);
        let segment_s = context.ahead.first()?.duration.as_secs_f64().max(0.1);
        if signs.iter().all(|sign| *sign == 0.0) {
            return None;
        }
        let [least, _, usual, _, most] = context.forecast.log_rates[SPAN];
        let over = |bps: f64| usual - libm::log(bps.max(1.0));
        let buffer_s = context.buffer.as_secs_f64();
        let full_s = context.buffer_max.as_secs_f64().max(segment_s);
        let last = context.last.and_then(|last| context.ladder.get(last));
        let left = f64::from(context.left.unwrap_or(1_000).max(1));
        let session = [
            over(highest.bitrate.as_f64()).clamp(-4.0, 3.0),
            over(lowest.bitrate.as_f64()).clamp(-3.0, 4.0) * 0.5,
            libm::log(buffer_s / segment_s + 0.3).clamp(-4.0, 4.0),
            (buffer_s / full_s).min(4.0),
            last.map_or(0.0, |last| {
                (last.value / context.top_value()).clamp(-4.0, 4.0)
            }),
            (libm::log(full_s / segment_s) - 1.5).clamp(-4.0, 4.0),
            libm::log((most - least).max(0.05)),
            left.min(24.0) / 24.0,
            left.min(8.0) / 8.0,
            (buffer_s / (left * segment_s)).min(2.0),
        ];
        let mut inputs = [0.0; Self::INPUTS];
        let (of_line, of_session) = inputs.split_at_mut(SIGNS);
        of_line.copy_from_slice(signs);
        for (input, number) in of_session.iter_mut().zip(session) {
            *input = number as f32;
        }
        Some(inputs)
    }

    /// Moves the planner's numbers.
    pub(super) fn moves(&self, config: &HorizonConfig) -> HorizonConfig {
        let [middle, low, low_weight, kept, switch, stall, high, usual] = self.0.map(f64::from);
        HorizonConfig {
            usual: config.usual + usual * USUAL_STEP,
            middle: config.middle.map(|number| number + middle),
            low: config.low.map(|number| number * libm::exp(low)),
            low_weight: config.low_weight * libm::exp(low_weight),
            kept: config.kept * libm::exp(kept),
            switch: config.switch * libm::exp(switch),
            stall: config.stall * libm::exp(stall),
            high: config.high.map(|number| number * libm::exp(high)),
            ..*config
        }
    }
}
