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
//! # Faults
//!
//! The admin port speaks plain HTTP on loopback only:
//!
//! | route | what |
//! | --- | --- |
//! | `POST /control/faults` | an order of faults ([`fault::FaultOrder`]); answered when whoever was to die is dead, and ports are open or closed |
//! | `GET /control/receipts` | the faults that took effect, oldest first ([`fault::FaultReceipt`]) |
//! | `GET /control/log` | the last requests, a line of JSON for each |
//! | `GET /healthz` | the link: up, stopped or killed, its rate and delay |
//! | `GET /metrics` | counters, for Prometheus |
//!
//! Faults of connections come before anybody says who asks for what, so that only `count` and `probability` select
//! among them:
//!
//! - `refuse`: the port is closed, by which the system refuses TCP for us; one receipt stands for all whom it refuses,
//!   since it tells nobody. Where only some are to be refused, a connection is taken and reset before its first byte.
//!   QUIC is refused attempt by attempt, with a receipt for each. Connections that stand go on.
//! - `udp_blocked`: no datagram passes either way, of connections that stand neither; a receipt for each attempt to
//!   connect. Where only some are to be blocked, the connections that stand go on.
//! - `tls`: the certificate is over, or for another name, by the same authority, or the beginning of the handshake is
//!   never answered (for ten minutes at most, should a client wait so long); over TCP and QUIC, a receipt for each.
//! - `dns` and `misrank` are refused: an edge is not asked for names, and ranks nobody.
//!
//! A redirect to itself is told from others by its query, so that one hit of `redirect_loop` is one loop. An answer that
//! is `longer` than it says is so over HTTP/2 and HTTP/3; over HTTP/1.1, where the length frames the body, the half that
//! was said is all that comes.
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
mod identity;
mod last_mile;
mod quic;
mod reporting;
mod server;
mod tasks;
mod tcp;
mod tokens;
mod udp;

pub use access_log::{AccessEntry, End};
pub use authority::Authority;
pub use nearcast_appliance::fault;

pub use config::{Backend, EdgeConfig, EdgeError, FaultError, Listener};
pub use last_mile::LastMile;
pub use server::{EdgeHandle, EdgeServer};
