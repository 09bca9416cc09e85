//! The kinds of worlds there are.

mod attribution;
mod brown_out;
mod death;
mod flap;
mod herd;
mod start;
mod worst_first;

use super::figure::World;

/// All of them, in the order of the table.
pub(crate) const ALL: &[World] = &[
    start::WORLD,
    worst_first::WORLD,
    death::WORLD,
    brown_out::WORLD,
    attribution::WORLD,
    flap::WORLD,
    herd::WORLD,
];
