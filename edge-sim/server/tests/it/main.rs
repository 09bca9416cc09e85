//! Edges over real sockets, asked by clients of all three protocols.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is tests, their helpers too"
)]

mod client;
mod connections;
mod content;
mod faults;
mod fixture;
mod hostile;
mod link;
mod log;
mod process;
mod selectors;
mod token;
mod wrong_answers;
