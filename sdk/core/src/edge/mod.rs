//! What is known about each edge (`model`), and which one to use (`choice`). Measures and ranks; starts nothing.

mod belief;
mod breaker;
mod choice;
mod faults;
mod line;
mod model;
mod recall;
mod remedy;

pub use breaker::BreakerState;
pub(crate) use choice::Edges;
pub(crate) use model::Edge;
pub(crate) use remedy::RETRY_AFTER_MAX;
pub use remedy::{Remedy, remedy};
