//! Attempts across edges. The way of one object: it begins (`begin`, as a race in `race`), is heard of (`hear`),
//! is helped when it is late (`review`), left when it is silent (`silence`), compared when it is slow (`compare`), handed over when an edge
//! fails (`fail`, `handover`), and is finished (`finish`) or ended (`end`).

mod begin;
mod compare;
mod end;
mod fail;
mod finish;
mod handover;
mod hear;
mod race;
mod review;
mod silence;

/// An offset as a number that a decision rests on.
fn offset(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}
