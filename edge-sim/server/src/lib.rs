//! Edge appliances over real sockets.
//!
//! [`EdgeServer::start`] opens one appliance: HTTP/1.1 and HTTP/2 over TLS and HTTP/3 on one port number, plain
//! HTTP/1.1 if asked for, and an admin port on loopback. It serves the plain files under a root; a link
//! in front of it limits rate and delay, and does the faults of `nearcast_appliance::fault` to real connections.
//!
//! - What goes wrong is decided by `nearcast_appliance`, what a link passes by `nearcast_link`; this crate acts.
//! - Every request leaves one [`AccessEntry`], however it ends. Its `bytes` are what was handed to the transport.
//! - Shaping is done to bodies before the transport, so that real congestion control still runs behind it. Buffers
//!   of the transports are kept small (some 256 KiB), because what is in them leaves unshaped.
//! - A killed appliance keeps its port and refuses it: a bound socket that does not listen keeps the system from
//!   giving the port to somebody else.
//!
//! The admin port speaks plain HTTP on loopback only: `POST /control/faults`, `GET /control/receipts`,
//! `GET /control/log`, `GET /healthz`, `GET /metrics`.
//!
//! ```no_run
//! use nearcast_edge_server::{EdgeConfig, EdgeServer};
//!
//! # async fn example() -> Result<(), nearcast_edge_server::EdgeError> {
//! let edge = EdgeServer::start(EdgeConfig::new("a", "media")).await?;
//! assert!(edge.base_url().starts_with("https://127.0.0.1:"));
//! edge.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod access_log;
mod admin;
mod answer;
mod authority;
mod body;
mod bounded;
mod clock;
mod config;
mod connection;
mod course;
mod edge;
mod files;
mod gate;
mod headers;
mod quic;
mod reporting;
mod server;
mod tasks;
mod tcp;
mod tokens;

pub use access_log::{AccessEntry, End};
pub use authority::Authority;
pub use nearcast_appliance::fault;

pub use config::{Backend, EdgeConfig, EdgeError, FaultError, Listener};
pub use server::{EdgeHandle, EdgeServer};
