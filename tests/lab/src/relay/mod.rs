//! A relay for TCP and UDP in front of a real server, for what a server cannot fake itself: connections that are
//! refused, reset or never answered, datagrams that are lost, reordered or sent twice, addresses that change.
//!
//! It works without privileges, on Linux and macOS. What a server can do wrong by itself (a late first byte, a truncated
//! body) belongs to the servers; what happens to packets beneath TCP needs a real link.
//!
//! A [`Relay`] is one port and what is wrong with it, changed at any time by its handle; each thing done leaves a
//! [`Receipt`]. [`Api`] is a set of relays behind the HTTP API that Toxiproxy's client libraries speak.
//!
//! Within: `port` and `listener` take connections, `connection` has two of `pipe`, each with a `chain` of toxics, which
//! are sans-IO; `datagrams` is UDP. All of them watch the one value in `control`, before they do anything else: what a
//! client sends after a change was made is treated by it. Nothing outlives the handle.

mod api;
mod chain;
mod clock;
mod config;
mod connection;
mod control;
mod datagrams;
mod dns;
mod handle;
mod listener;
mod pipe;
mod port;
mod receipt;
mod toxic;

pub use api::Api;
pub use config::{Carried, RelayConfig, RelayError, Upstream};
pub use control::{PlacedToxic, Reach, StreamPath};
pub use dns::{NameFault, NameServer, NameServerConfig};
pub use handle::Relay;
pub use receipt::{Counts, Deed, Direction, Handed, Receipt};
pub use toxic::{
    AttributeError, Bandwidth, Latency, LimitData, ResetPeer, Slicer, SlowClose, Timeout, Toxic,
};
