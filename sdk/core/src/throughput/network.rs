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
use crate::perceptron;

/// Width of both hidden layers.
const HIDDEN: usize = 28;
const OUT: usize = HORIZONS * QUANTILES;
pub(super) const COUNT: usize = perceptron::weights(SIGNS, HIDDEN, OUT);

/// Returns the quantiles of the logarithm of the mean rate over each horizon, relative to the level of the past, in
/// ascending order.
pub(super) fn quantiles(signs: &[f32; SIGNS]) -> [[f32; QUANTILES]; HORIZONS] {
    let out: [f32; OUT] = perceptron::run::<SIGNS, HIDDEN, OUT>(&WEIGHTS, signs);
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

fn softplus(x: f32) -> f32 {
    if x > 15.0 {
        x
    } else {
        libm::logf(1.0 + libm::expf(x))
    }
}
