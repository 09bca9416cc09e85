//! How the network learns: Adam (Kingma and Ba, ICLR 2015) with weight decay apart from it (Loshchilov and Hutter, ICLR
//! 2019), a rate of learning that falls to nearly nothing, and the average of the weights on the way (Polyak and
//! Juditsky, 1992) as what counts.

use nearcast_units::{Rng, Seed};

use super::drive::Row;
use super::perceptron::Perceptron;

/// Rows that one step learns from.
const BATCH: usize = 128;
/// Rate of learning at the beginning, and what is left of it at the end.
const RATE: f32 = 0.004;
const RATE_SHARE_MIN: f32 = 0.02;
/// How much of it is taken from every weight in each step.
const DECAY: f32 = 2e-4;
/// What the running means of the gradient, of its square and of the weights keep.
const KEEP_MEAN: f32 = 0.9;
const KEEP_SQUARE: f32 = 0.999;
const KEEP_WEIGHTS: f32 = 0.999;
/// Keeps a weight still whose gradient is none.
const LEAST: f32 = 1e-8;

/// A network that learns from these rows.
pub(super) struct Training<'a> {
    rows: &'a [Row],
    order: Vec<usize>,
    rng: Rng,
    learning: Perceptron,
    averaged: Perceptron,
    mean: Vec<f32>,
    square: Vec<f32>,
    gradient: Vec<f32>,
    step: usize,
    steps: usize,
}

impl<'a> Training<'a> {
    pub(super) fn new(rows: &'a [Row], epochs: u32, seed: Seed) -> Self {
        let signs = rows.first().map_or(0, |row| row.signs.len());
        let network = Perceptron::new(signs, &mut seed.split("weights").rng());
        let zeros = vec![0.0; network.weights().len()];
        Self {
            rows,
            order: (0..rows.len()).collect(),
            rng: seed.split("order").rng(),
            averaged: network.clone(),
            learning: network,
            mean: zeros.clone(),
            square: zeros.clone(),
            gradient: zeros,
            step: 0,
            steps: rows.len().div_ceil(BATCH) * epochs as usize,
        }
    }

    /// Returns what was learned so far.
    pub(super) fn network(&self) -> &Perceptron {
        &self.averaged
    }

    /// Learns from each row once more, in an order of its own.
    pub(super) fn epoch(&mut self) {
        for last in (1..self.order.len()).rev() {
            let other = self.rng.below(last as u64 + 1);
            self.order
                .swap(last, usize::try_from(other).unwrap_or(last));
        }
        for batch in 0..self.order.len().div_ceil(BATCH) {
            self.gradient.fill(0.0);
            let mut weight = 0.0;
            for place in self.order.iter().skip(batch * BATCH).take(BATCH) {
                let row = &self.rows[*place];
                self.learning.add_gradient(row, &mut self.gradient);
                weight += row.weight;
            }
            self.descend(weight);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of steps")]
    fn descend(&mut self, weight: f32) {
        self.step += 1;
        let step = self.step as f32;
        let rate = RATE * (1.0 - step / self.steps as f32).max(RATE_SHARE_MIN);
        // Both means begin with nothing, which is taken out of them.
        let known = |keep: f32| 1.0 - libm::powf(keep, step);
        let (mean_known, square_known) = (known(KEEP_MEAN), known(KEEP_SQUARE));
        // At first the weights' average is over all steps.
        let kept = (1.0 - 1.0 / step).min(KEEP_WEIGHTS);
        let means = self.mean.iter_mut().zip(&mut self.square);
        let weights = self.learning.weights_mut().iter_mut();
        let weights = weights.zip(self.averaged.weights_mut());
        for (((mean, square), (learning, averaged)), slope) in
            means.zip(weights).zip(&self.gradient)
        {
            let slope = slope / weight;
            *mean = KEEP_MEAN * *mean + (1.0 - KEEP_MEAN) * slope;
            *square = KEEP_SQUARE * *square + (1.0 - KEEP_SQUARE) * slope * slope;
            let down = *mean / mean_known / ((*square / square_known).sqrt() + LEAST);
            *learning -= rate * (down + DECAY * *learning);
            *averaged = kept * *averaged + (1.0 - kept) * *learning;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_a_sign_is_learned() {
        // Of the two signs one says what comes, up to chance of ±0.1.
        let mut rng = Seed::new(5).rng();
        let rows: Vec<Row> = (0..2_000)
            .map(|_| {
                let mut draw = || 2.0 * rng.next_f64() - 1.0;
                let (said, other, chance) = (draw(), draw(), 0.1 * draw());
                #[expect(clippy::cast_possible_truncation, reason = "rounding is no harm")]
                let [said, other, chance] = [said, other, chance].map(|one| one as f32);
                Row {
                    signs: vec![said, other],
                    truth: [said + chance; 4],
                    average: 0.0,
                    product: [[0.0; 5]; 4],
                    weight: 1.0,
                }
            })
            .collect();
        let mut training = Training::new(&rows, 12, Seed::new(1));
        let before = training.network().loss(&rows);
        for _ in 0..12 {
            training.epoch();
        }
        let after = training.network().loss(&rows);
        assert!(after < before / 4.0, "{before} before, {after} after");
        for said in [-0.7_f32, 0.0, 0.7] {
            for [lowest, _, middle, _, highest] in training.network().quantiles(&[said, 0.2]) {
                assert!((middle - said).abs() < 0.1, "{middle} for {said}");
                assert!(lowest < said && said < highest, "{lowest} to {highest}");
            }
        }
    }
}
