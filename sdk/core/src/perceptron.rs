//! Small networks of two hidden layers of one width, whose weights are tables of integers: the same bits everywhere.

/// Weights are told in thousandths.
const UNIT: f32 = 1_000.0;

/// Returns how many weights such a network has: each unit has those of its inputs and then its bias.
pub(crate) const fn weights(inputs: usize, hidden: usize, outputs: usize) -> usize {
    hidden * (inputs + 1) + hidden * (hidden + 1) + outputs * (hidden + 1)
}

/// Returns what the units of the last layer sum up; those of the hidden ones are softsign units.
pub(crate) fn run<const IN: usize, const HIDDEN: usize, const OUT: usize>(
    table: &[i16],
    inputs: &[f32; IN],
) -> [f32; OUT] {
    let (first, rest) = table.split_at(HIDDEN * (IN + 1));
    let (second, third) = rest.split_at(HIDDEN * (HIDDEN + 1));
    let mut one = [0.0; HIDDEN];
    layer(first, inputs, &mut one);
    one = one.map(softsign);
    let mut two = [0.0; HIDDEN];
    layer(second, &one, &mut two);
    two = two.map(softsign);
    let mut out = [0.0; OUT];
    layer(third, &two, &mut out);
    out
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

/// From -1 to 1, and cheap: x / (1 + |x|).
pub(crate) fn softsign(x: f32) -> f32 {
    x / (1.0 + x.abs())
}
