//! The table of weights as `nearcast-core` has it.

use anyhow::{Context as _, Result};

const HEAD: &str =
    "//! The weights of the forecasting network: as `nearcast-lab fit forecast` writes them, not by hand.

/// Thousandths; layer by layer, unit by unit: the weights of its inputs, then its bias.
#[rustfmt::skip]
pub(super) static WEIGHTS: [i16; super::network::COUNT] = [
";
const TAIL: &str = "];\n";
const IN_A_LINE: usize = 20;
/// Weights are told in thousandths.
const UNIT: f32 = 1_000.0;

/// Writes weights, rounded.
pub(super) fn write(weights: &[f32]) -> String {
    let lines = weights.chunks(IN_A_LINE).map(|line| {
        let numbers: Vec<String> = line
            .iter()
            .map(|one| format!("{},", rounded(*one)))
            .collect();
        format!("    {}\n", numbers.join(" "))
    });
    format!("{HEAD}{}{TAIL}", lines.collect::<String>())
}

/// Reads them again.
pub(super) fn read(text: &str) -> Result<Vec<f32>> {
    let inner = text
        .split_once("] = [")
        .and_then(|(_, rest)| rest.split_once("];"));
    let (inner, _) = inner.context("there is no table in it")?;
    let numbers = inner.split(',').map(str::trim);
    numbers
        .filter(|number| !number.is_empty())
        .map(|number| {
            let number: i16 = number.parse().context("a weight is not in thousandths")?;
            Ok(f32::from(number) / UNIT)
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast keeps to the ends of the range"
)]
fn rounded(weight: f32) -> i16 {
    (weight * UNIT).round() as i16
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nearcast_core::RateEstimate;
    use nearcast_units::{BitRate, Seed};

    use super::super::perceptron::Perceptron;
    use super::*;

    const OF_CORE: &str = include_str!("../../../../../sdk/core/src/throughput/weights.rs");

    #[test]
    fn the_table_in_the_core_is_written_like_this() {
        assert_eq!(write(&read(OF_CORE).unwrap()), OF_CORE);
    }

    #[test]
    fn the_core_forecasts_what_the_network_that_learns_would() {
        let weights = read(OF_CORE).unwrap();
        let mut estimate = RateEstimate::default();
        let mut rng = Seed::new(11).rng();
        for segment in 0..40 {
            for _ in 0..8 {
                let rate = BitRate::from_bps(1).scaled(1e5 * libm::exp(4.0 * rng.next_f64()));
                estimate.sample(rate, Duration::from_millis(50 + rng.below(200)));
            }
            let (signs, level) = estimate.signs().unwrap();
            let network = Perceptron::new(signs.len(), &mut rng).with(weights.clone());
            let ours = network.quantiles(&signs);
            let core = estimate.forecast(Duration::ZERO).unwrap().log_rates;
            for (ours, core) in ours.as_flattened().iter().zip(core.as_flattened()) {
                let off = (level + f64::from(*ours) - core).abs();
                assert!(
                    off < 1e-4,
                    "segment {segment}: {ours} + {level}, not {core}"
                );
            }
            estimate.transferred();
        }
    }
}
