//! The network that learns to forecast: the one of `sdk/core/src/throughput/network.rs`, with the gradient of its loss.

use nearcast_core::{HORIZONS, QUANTILES, QUANTILES_AT};
use nearcast_units::Rng;
use rayon::prelude::*;

use super::drive::Row;
use crate::fit::learn::network::{Network, Shape};

/// Width of both hidden layers.
const HIDDEN: usize = 28;
const OUT: usize = HORIZONS * QUANTILES;
const MIDDLE: usize = QUANTILES / 2;
/// Steps between quantiles begin with this bias: about a quarter of the logarithm.
const STEP: f32 = -1.3;
/// Rows whose losses are added up at once: a fixed number, so that the sum is the same on any number of cores.
const TOGETHER: usize = 4096;

/// Out come the middle quantile of each horizon and steps away from it.
#[derive(Clone, Debug)]
pub(super) struct Perceptron(Network);

impl Perceptron {
    /// Makes a network that knows nothing.
    pub(super) fn new(signs: usize, rng: &mut Rng) -> Self {
        let bias = |unit: usize| {
            if unit % QUANTILES == MIDDLE {
                0.0
            } else {
                STEP
            }
        };
        Self(Network::new(shape(signs), (1.3, 0.3), bias, rng))
    }

    /// Makes a network of these weights; `None` where it has more or fewer.
    pub(super) fn of(signs: usize, weights: Vec<f32>) -> Option<Self> {
        Network::of(shape(signs), weights).map(Self)
    }

    pub(super) fn network(self) -> Network {
        self.0
    }

    /// Returns the quantiles of the logarithm of the mean rate over each horizon, relative to the level of the past.
    pub(super) fn quantiles(&self, signs: &[f32]) -> [[f32; QUANTILES]; HORIZONS] {
        let mut raw = [0.0; OUT];
        raw.copy_from_slice(&self.0.run(signs).out);
        quantiles(&raw)
    }

    /// Returns the mean loss.
    pub(super) fn loss(&self, rows: &[Row]) -> f64 {
        let sums: Vec<(f64, f64)> = rows
            .par_chunks(TOGETHER)
            .map(|rows| {
                rows.iter().fold((0.0, 0.0), |(loss, weight), row| {
                    let of_row = pinball(&self.quantiles(&row.signs), &row.truth);
                    let weighs = f64::from(row.weight);
                    (loss + weighs * of_row, weight + weighs)
                })
            })
            .collect();
        let loss: f64 = sums.iter().map(|(loss, _)| loss).sum();
        loss / sums.iter().map(|(_, weight)| weight).sum::<f64>()
    }
}

impl From<Network> for Perceptron {
    fn from(network: Network) -> Self {
        Self(network)
    }
}

/// Adds the gradient of a row's loss, times its weight.
pub(super) fn add_gradient(network: &Network, row: &Row, gradient: &mut [f32]) {
    let units = network.run(&row.signs);
    let mut raw = [0.0; OUT];
    raw.copy_from_slice(&units.out);
    let told = quantiles(&raw);
    let mut of_raw = [0.0; OUT];
    for (horizon, of_raw) in of_raw.chunks_exact_mut(QUANTILES).enumerate() {
        let raw = &raw[horizon * QUANTILES..];
        let mut of_quantiles = [0.0; QUANTILES];
        for (place, of_quantile) in of_quantiles.iter_mut().enumerate() {
            let over = told[horizon][place] >= row.truth[horizon];
            *of_quantile = row.weight * (if over { 1.0 } else { 0.0 } - at(place));
        }
        // A step moves every quantile that lies beyond it.
        of_raw[MIDDLE] = of_quantiles.iter().sum();
        for place in MIDDLE + 1..QUANTILES {
            let beyond: f32 = of_quantiles[place..].iter().sum();
            of_raw[place] = beyond * sigmoid(raw[place]);
        }
        for place in 0..MIDDLE {
            let beyond: f32 = of_quantiles[..=place].iter().sum();
            of_raw[place] = -beyond * sigmoid(raw[place]);
        }
    }
    network.add_gradient(&row.signs, &units, &of_raw, gradient);
}

fn shape(signs: usize) -> Shape {
    Shape {
        inputs: signs,
        hidden: HIDDEN,
        outputs: OUT,
    }
}

/// Returns what these quantiles lose against what came: least on average when they are the true ones.
pub(super) fn pinball(told: &[[f32; QUANTILES]; HORIZONS], truth: &[f32; HORIZONS]) -> f64 {
    let mut loss = 0.0;
    for (quantiles, truth) in told.iter().zip(truth) {
        for (place, quantile) in quantiles.iter().enumerate() {
            let off = truth - quantile;
            loss += f64::from((at(place) * off).max((at(place) - 1.0) * off));
        }
    }
    loss
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "networks learn in single precision"
)]
fn at(place: usize) -> f32 {
    QUANTILES_AT[place] as f32
}

fn quantiles(raw: &[f32; OUT]) -> [[f32; QUANTILES]; HORIZONS] {
    let mut quantiles = [[0.0; QUANTILES]; HORIZONS];
    for (row, raw) in quantiles.iter_mut().zip(raw.chunks_exact(QUANTILES)) {
        row[MIDDLE] = raw[MIDDLE];
        for above in MIDDLE + 1..QUANTILES {
            row[above] = row[above - 1] + softplus(raw[above]);
        }
        for below in (0..MIDDLE).rev() {
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

/// The slope of [`softplus`].
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

#[cfg(test)]
mod tests {
    use nearcast_units::Seed;

    use super::*;

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut rng = Seed::new(3).rng();
        let mut network = Perceptron::new(6, &mut rng);
        let signs = vec![0.3, -1.2, 0.8, 2.0, -0.1, 0.5];
        let row = Row {
            signs,
            truth: [0.4, -0.3, 1.5, -2.0],
            average: 0.0,
            product: [[0.0; 5]; 4],
            weight: 2.0,
        };
        let mut gradient = vec![0.0; network.0.weights().len()];
        add_gradient(&network.0, &row, &mut gradient);
        let loss = |network: &Perceptron| 2.0 * pinball(&network.quantiles(&row.signs), &row.truth);
        let (step, mut largest) = (1e-3, 0.0_f64);
        for (place, ours) in gradient.into_iter().enumerate() {
            let kept = network.0.weights()[place];
            network.0.weights_mut()[place] = kept + step;
            let above = loss(&network);
            network.0.weights_mut()[place] = kept - step;
            let below = loss(&network);
            network.0.weights_mut()[place] = kept;
            let slope = (above - below) / f64::from(2.0 * step);
            let off = (slope - f64::from(ours)).abs();
            assert!(off < 0.01, "{place}: {slope}, not {ours}");
            largest = largest.max(slope.abs());
        }
        assert!(largest > 1.0, "it has a slope at all: {largest}");
    }
}
