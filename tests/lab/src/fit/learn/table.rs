//! Tables of weights as `nearcast-core` has them.

use anyhow::{Context as _, Result};

/// One of the tables.
pub(crate) struct Table {
    /// What its network does: "forecasts rates".
    pub(crate) does: &'static str,
    /// The command that writes it.
    pub(crate) fit: &'static str,
    /// The constant of how many weights there are.
    pub(crate) count: &'static str,
}

const TAIL: &str = "];\n";
const IN_A_LINE: usize = 20;
/// Weights are told in thousandths.
const UNIT: f32 = 1_000.0;

impl Table {
    /// Writes weights, rounded.
    pub(crate) fn write(&self, weights: &[f32]) -> String {
        let Self { does, fit, count } = self;
        let head = format!(
        "//! The weights of the network that {does}: as `nearcast-lab fit {fit}` writes them, not by hand.

/// Thousandths; layer by layer, unit by unit: the weights of its inputs, then its bias.
#[rustfmt::skip]
pub(super) static WEIGHTS: [i16; {count}] = [
"
    );
        let lines = weights.chunks(IN_A_LINE).map(|line| {
            let numbers: Vec<String> = line
                .iter()
                .map(|one| format!("{},", rounded(*one)))
                .collect();
            format!("    {}\n", numbers.join(" "))
        });
        format!("{head}{}{TAIL}", lines.collect::<String>())
    }
}

/// Reads them again.
pub(crate) fn read(text: &str) -> Result<Vec<f32>> {
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
