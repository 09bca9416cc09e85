//! What learns: small networks like those of `nearcast-core`, how they descend, and the tables that they end as.

pub(super) mod adam;
pub(super) mod network;
pub(super) mod table;

use nearcast_units::Rng;

/// Puts all in an order of chance.
pub(super) fn shuffle<T>(all: &mut [T], rng: &mut Rng) {
    for last in (1..all.len()).rev() {
        let other = rng.below(last as u64 + 1);
        all.swap(last, usize::try_from(other).unwrap_or(last));
    }
}

/// To the precision that networks learn in.
#[expect(
    clippy::cast_possible_truncation,
    reason = "networks learn in single precision"
)]
pub(super) fn narrow(number: f64) -> f32 {
    number as f32
}
