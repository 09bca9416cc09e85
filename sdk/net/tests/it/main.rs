//! The crate against real sockets on the loopback: honest servers of every protocol, and hostile ones.

mod certificates;
mod client;
mod raw;
mod server;

mod cancelling;
mod failures;
mod names;
mod protocols;
mod proxies;
mod racing;
mod reuse;
