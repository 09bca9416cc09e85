//! What is known about each edge (`model`), which one to use (`choice`), and when to leave it and come back (`change`).
//! Measures and ranks; starts nothing.

mod all;
mod belief;
mod breaker;
mod change;
mod choice;
mod faults;
mod line;
mod model;
mod recall;
mod remedy;
#[cfg(test)]
mod tests;

pub(crate) use all::Edges;
pub use breaker::BreakerState;
pub(crate) use choice::Worth;
pub(crate) use model::Edge;
pub(crate) use remedy::RETRY_AFTER_MAX;
pub use remedy::{Remedy, remedy};
