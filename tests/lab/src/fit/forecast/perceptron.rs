//! The network that learns: the one of `sdk/core/src/throughput/network.rs`, with weights that are not rounded yet and
//! with the gradient of its loss.

use nearcast_core::{HORIZONS, QUANTILES, QUANTILES_AT};
use nearcast_units::Rng;
use rayon::prelude::*;

use super::drive::Row;

/// Width of both hidden layers.
const HIDDEN: usize = 28;
const OUT: usize = HORIZONS * QUANTILES;
const MIDDLE: usize = QUANTILES / 2;
/// Steps between quantiles begin with this bias: about a quarter of the logarithm.
const STEP: f32 = -1.3;
/// Rows whose losses are added up at once: a fixed number, so that the sum is the same on any number of cores.
const TOGETHER: usize = 4096;

/// Two hidden layers of softsign units; out come the middle quantile of each horizon and steps away from it.
#[derive(Clone, Debug)]
pub(super) struct Perceptron {
    /// How many signs come in.
    signs: usize,
    /// Layer by layer, unit by unit: the weights of its inputs, then its bias.
    weights: Vec<f32>,
}

/// What the units of each layer hold; the last before it is made into quantiles.
pub(super) struct Units {
    one: [f32; HIDDEN],
    two: [f32; HIDDEN],
    raw: [f32; OUT],
}

impl Perceptron {
    /// Makes a network that knows nothing.
    pub(super) fn new(signs: usize, rng: &mut Rng) -> Self {
        let mut weights = Vec::new();
        for (units, inputs, spread) in [
            (HIDDEN, signs, 1.3),
            (HIDDEN, HIDDEN, 1.3),
            (OUT, HIDDEN, 0.3),
        ] {
            // Uniform with a variance of one over the inputs, times the square of the spread.
            let most = spread * libm::sqrt(3.0 / f64::from(u16::try_from(inputs).unwrap_or(1)));
            for unit in 0..units {
                weights.extend((0..inputs).map(|_| (rng.next_f64() * 2.0 - 1.0) * most));
                let steps = units == OUT && unit % QUANTILES != MIDDLE;
                weights.push(if steps { f64::from(STEP) } else { 0.0 });
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "networks learn in single precision"
        )]
        let weights = weights.into_iter().map(|weight| weight as f32).collect();
        Self { signs, weights }
    }

    /// Makes the same network with other weights.
    pub(super) fn with(&self, weights: Vec<f32>) -> Self {
        assert_eq!(weights.len(), self.weights.len(), "of another network");
        Self {
            signs: self.signs,
            weights,
        }
    }

    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub(super) fn weights_mut(&mut self) -> &mut [f32] {
        &mut self.weights
    }

    /// Where the second layer and the third begin.
    fn layers(&self) -> (usize, usize) {
        let second = HIDDEN * (self.signs + 1);
        (second, second + HIDDEN * (HIDDEN + 1))
    }

    fn run(&self, signs: &[f32]) -> Units {
        let (second, third) = self.layers();
        let mut units = Units {
            one: [0.0; HIDDEN],
            two: [0.0; HIDDEN],
            raw: [0.0; OUT],
        };
        forward(&self.weights[..second], signs, &mut units.one);
        units.one = units.one.map(softsign);
        forward(&self.weights[second..third], &units.one, &mut units.two);
        units.two = units.two.map(softsign);
        forward(&self.weights[third..], &units.two, &mut units.raw);
        units
    }

    /// Returns the quantiles of the logarithm of the mean rate over each horizon, relative to the level of the past.
    pub(super) fn quantiles(&self, signs: &[f32]) -> [[f32; QUANTILES]; HORIZONS] {
        quantiles(&self.run(signs).raw)
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

    /// Adds the gradient of a row's loss, times its weight.
    pub(super) fn add_gradient(&self, row: &Row, gradient: &mut [f32]) {
        let units = self.run(&row.signs);
        let told = quantiles(&units.raw);
        let mut of_raw = [0.0; OUT];
        for (horizon, of_raw) in of_raw.chunks_exact_mut(QUANTILES).enumerate() {
            let raw = &units.raw[horizon * QUANTILES..];
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
        let (second, third) = self.layers();
        let (of_first, rest) = gradient.split_at_mut(second);
        let (of_second, of_third) = rest.split_at_mut(third - second);
        let mut of_two = [0.0; HIDDEN];
        backward(
            &self.weights[third..],
            &units.two,
            &of_raw,
            of_third,
            &mut of_two,
        );
        flatten(&mut of_two, &units.two);
        let mut of_one = [0.0; HIDDEN];
        backward(
            &self.weights[second..third],
            &units.one,
            &of_two,
            of_second,
            &mut of_one,
        );
        flatten(&mut of_one, &units.one);
        let mut of_signs = vec![0.0; self.signs];
        backward(
            &self.weights[..second],
            &row.signs,
            &of_one,
            of_first,
            &mut of_signs,
        );
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

fn forward(weights: &[f32], inputs: &[f32], outputs: &mut [f32]) {
    let units = weights.chunks_exact(inputs.len() + 1);
    for (output, unit) in outputs.iter_mut().zip(units) {
        let (weights, bias) = unit.split_at(inputs.len());
        let weighted = weights.iter().zip(inputs);
        *output = weighted.map(|(w, x)| w * x).sum::<f32>() + bias[0];
    }
}

/// Adds what the weights of a layer, and its inputs, do to the loss where `outer` is what its outputs do.
fn backward(
    weights: &[f32],
    inputs: &[f32],
    outer: &[f32],
    gradient: &mut [f32],
    inner: &mut [f32],
) {
    let wide = inputs.len() + 1;
    let units = weights
        .chunks_exact(wide)
        .zip(gradient.chunks_exact_mut(wide));
    for ((unit, of_unit), outer) in units.zip(outer) {
        for (of_weight, input) in of_unit.iter_mut().zip(inputs) {
            *of_weight += outer * input;
        }
        for (of_input, weight) in inner.iter_mut().zip(unit).take(inputs.len()) {
            *of_input += outer * weight;
        }
        of_unit[inputs.len()] += outer;
    }
}

/// From what softsign units do to what their sums do.
fn flatten(outer: &mut [f32], units: &[f32]) {
    for (outer, unit) in outer.iter_mut().zip(units) {
        *outer *= (1.0 - unit.abs()).powi(2);
    }
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
        let mut gradient = vec![0.0; network.weights().len()];
        network.add_gradient(&row, &mut gradient);
        let loss = |network: &Perceptron| 2.0 * pinball(&network.quantiles(&row.signs), &row.truth);
        let (step, mut largest) = (1e-3, 0.0_f64);
        for (place, ours) in gradient.into_iter().enumerate() {
            let kept = network.weights[place];
            network.weights[place] = kept + step;
            let above = loss(&network);
            network.weights[place] = kept - step;
            let below = loss(&network);
            network.weights[place] = kept;
            let slope = (above - below) / f64::from(2.0 * step);
            let off = (slope - f64::from(ours)).abs();
            assert!(off < 0.01, "{place}: {slope}, not {ours}");
            largest = largest.max(slope.abs());
        }
        assert!(largest > 1.0, "it has a slope at all: {largest}");
    }
}
