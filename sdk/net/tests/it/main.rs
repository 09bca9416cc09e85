//! The crate against real sockets on the loopback: honest servers of every protocol, and hostile ones.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, and so are their servers"
)]

mod certificates;
mod client;
mod raw;
mod server;

mod cancelling;
mod failures;
mod frames;
mod names;
mod protocols;
mod proxies;
mod racing;
mod reuse;
