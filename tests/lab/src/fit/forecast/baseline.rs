//! Forecasts to compare with: a plain one, and the product's own.

use nearcast_core::{HORIZONS, QUANTILES, QUANTILES_AT};

use super::drive::{Row, Rows};
use super::perceptron::pinball;

/// What a forecast loses on either half.
pub(super) struct Losses {
    pub(super) fitted: f64,
    pub(super) validated: f64,
}

/// Forecasts with the average over 8 s and the quantiles of its error in what is learned from.
pub(super) fn plain(rows: &Rows) -> Losses {
    let off: [[f32; QUANTILES]; HORIZONS] = std::array::from_fn(|horizon| {
        quantiles(&rows.fitted, |row| row.truth[horizon] - row.average)
    });
    losses(rows, |row| {
        off.map(|quantiles| quantiles.map(|quantile| row.average + quantile))
    })
}

/// Forecasts as the product does.
pub(super) fn product(rows: &Rows) -> Losses {
    losses(rows, |row| row.product)
}

fn losses(rows: &Rows, told: impl Fn(&Row) -> [[f32; QUANTILES]; HORIZONS]) -> Losses {
    let loss = |rows: &[Row]| {
        let lost = rows
            .iter()
            .map(|row| f64::from(row.weight) * pinball(&told(row), &row.truth));
        let weights = rows.iter().map(|row| f64::from(row.weight));
        lost.sum::<f64>() / weights.sum::<f64>()
    };
    Losses {
        fitted: loss(&rows.fitted),
        validated: loss(&rows.validated),
    }
}

/// Returns the quantiles of some number of the rows, each counted by its weight.
fn quantiles(rows: &[Row], number: impl Fn(&Row) -> f32) -> [f32; QUANTILES] {
    let mut numbers: Vec<(f32, f64)> = rows
        .iter()
        .map(|row| (number(row), f64::from(row.weight)))
        .collect();
    numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = numbers.iter().map(|(_, weight)| weight).sum();
    QUANTILES_AT.map(|share| {
        let mut passed = 0.0;
        let found = numbers.iter().find(|(_, weight)| {
            passed += weight;
            passed >= share * all
        });
        found.or(numbers.last()).map_or(0.0, |(number, _)| *number)
    })
}
