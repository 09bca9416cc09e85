//! How the forecast is learned: rows in an order of chance, at a rate of learning that falls to nearly nothing.

use nearcast_units::{Rng, Seed};

use super::drive::Row;
use super::perceptron::{self, Perceptron};
use crate::fit::learn::adam::Adam;
use crate::fit::learn::shuffle;

/// Rows that one step learns from.
const BATCH: usize = 128;
/// Rate of learning at the beginning, and what is left of it at the end.
const RATE: f32 = 0.004;
const RATE_SHARE_MIN: f32 = 0.02;
/// How much of it is taken from every weight in each step.
const DECAY: f32 = 2e-4;
/// What the average of the weights keeps.
const KEEP_WEIGHTS: f32 = 0.999;

/// A network that learns from these rows.
pub(super) struct Training<'a> {
    rows: &'a [Row],
    order: Vec<usize>,
    rng: Rng,
    adam: Adam,
    step: usize,
    steps: usize,
}

impl<'a> Training<'a> {
    pub(super) fn new(rows: &'a [Row], epochs: u32, seed: Seed) -> Self {
        let signs = rows.first().map_or(0, |row| row.signs.len());
        let network = Perceptron::new(signs, &mut seed.split("weights").rng());
        Self {
            rows,
            order: (0..rows.len()).collect(),
            rng: seed.split("order").rng(),
            adam: Adam::new(network.network(), DECAY, KEEP_WEIGHTS),
            step: 0,
            steps: rows.len().div_ceil(BATCH) * epochs as usize,
        }
    }

    /// Returns what was learned so far.
    pub(super) fn network(&self) -> Perceptron {
        Perceptron::from(self.adam.averaged.clone())
    }

    /// Learns from each row once more, in an order of its own.
    #[expect(clippy::cast_precision_loss, reason = "a count of steps")]
    pub(super) fn epoch(&mut self) {
        shuffle(&mut self.order, &mut self.rng);
        for batch in 0..self.order.len().div_ceil(BATCH) {
            self.step += 1;
            let done = self.step as f32 / self.steps as f32;
            let rate = RATE * (1.0 - done).max(RATE_SHARE_MIN);
            let rows = self.order.iter().skip(batch * BATCH).take(BATCH);
            let rows = rows.map(|place| &self.rows[*place]);
            self.adam.descend(rate, |network, gradient| {
                rows.map(|row| {
                    perceptron::add_gradient(network, row, gradient);
                    row.weight
                })
                .sum()
            });
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
