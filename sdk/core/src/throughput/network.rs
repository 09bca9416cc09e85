//! The network that says from a line's past what may come: two hidden layers, quantiles out. Quantile regression
//! (Koenker and Bassett, 1978) by a small perceptron; the idea of predicting a distribution and planning with it is
//! Fugu's (Yan et al., NSDI 2020).
//!
//! `nearcast-lab fit forecast` finds the weights (`tests/lab/src/fit/forecast` has the recipe): a simple rule plays over
//! ten public sets of recorded networks, partly with noise on the rates, and notes the signs at each decision and what
//! came then; Adam with the pinball loss learns from three of four networks of each set, and the fourth judges. A test
//! there holds both forms of the network to each other; whoever changes one, or a sign, makes the table anew.

use super::forecast::{HORIZONS, QUANTILES};
use super::history::SIGNS;
use super::weights::WEIGHTS;

/// Width of both hidden layers.
const HIDDEN: usize = 28;
/// Weights are told in thousandths.
const UNIT: f32 = 1_000.0;
const OUT: usize = HORIZONS * QUANTILES;
/// Each unit has its inputs' weights and then its bias.
pub(super) const COUNT: usize = HIDDEN * (SIGNS + 1) + HIDDEN * (HIDDEN + 1) + OUT * (HIDDEN + 1);

/// Returns the quantiles of the logarithm of the mean rate over each horizon, relative to the level of the past, in
/// ascending order.
pub(super) fn quantiles(signs: &[f32; SIGNS]) -> [[f32; QUANTILES]; HORIZONS] {
    let (first, rest) = WEIGHTS.split_at(HIDDEN * (SIGNS + 1));
    let (second, third) = rest.split_at(HIDDEN * (HIDDEN + 1));
    let mut one = [0.0; HIDDEN];
    layer(first, signs, &mut one);
    one = one.map(softsign);
    let mut two = [0.0; HIDDEN];
    layer(second, &one, &mut two);
    two = two.map(softsign);
    let mut out = [0.0; OUT];
    layer(third, &two, &mut out);
    let mut quantiles = [[0.0; QUANTILES]; HORIZONS];
    for (row, raw) in quantiles.iter_mut().zip(out.chunks_exact(QUANTILES)) {
        // The middle one, and the steps away from it, which are never negative.
        let middle = QUANTILES / 2;
        row[middle] = raw[middle];
        for above in middle + 1..QUANTILES {
            row[above] = row[above - 1] + softplus(raw[above]);
        }
        for below in (0..middle).rev() {
            row[below] = row[below + 1] - softplus(raw[below]);
        }
    }
    quantiles
}

fn layer(weights: &[i16], inputs: &[f32], outputs: &mut [f32]) {
    let units = weights.chunks_exact(inputs.len() + 1);
    for (output, unit) in outputs.iter_mut().zip(units) {
        let (bias, weights) = unit.split_last().unwrap_or((&0, &[]));
        let weighted = weights.iter().zip(inputs);
        let sum: f32 = weighted.map(|(w, x)| f32::from(*w) * x).sum();
        *output = (f32::from(*bias) + sum) / UNIT;
    }
}

fn softsign(x: f32) -> f32 {
    x / (1.0 + x.abs())
}

fn softplus(x: f32) -> f32 {
    if x > 15.0 {
        x
    } else {
        libm::logf(1.0 + libm::expf(x))
    }
}
