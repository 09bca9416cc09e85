//! Names, connections, requests and bodies; mechanism without policy.
//!
//! [`Net`] carries out one GET at a time per [`Request`] over HTTP/1.1, HTTP/2 or HTTP/3 and tells what
//! happens as [`NetEvent`]s on a bounded channel, so that a slow reader slows the sender down. Nothing is
//! decided here: which edge, how long to wait, whether to try again are the caller's. What this crate
//! promises instead:
//!
//! - Every failure is classified once, as a [`NetError`] with a stable [`code`](NetError::code). An HTTP
//!   status is no failure: it travels in [`Headers`].
//! - Dropping a [`RequestHandle`] frees what the request held: HTTP/1.1 closes its socket, HTTP/2 and
//!   HTTP/3 reset their stream. [`Net::open`] counts what is left.
//! - The only time limit is a backstop per phase ([`NetConfig::phase_limit`]); there is no retry but one:
//!   a kept connection that turns out to be dead before it answered, or that refuses the request unread, is
//!   replaced by a fresh one.
//! - Addresses come from the request, from `resolve` or from the system's name servers; never from a
//!   public resolver that nobody chose.
//! - No clock is read but tokio's, for round trips, expiry of names and what was learnt about UDP.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use nearcast_net::{Net, NetConfig, NetEvent, Request};
//!
//! let net = Net::new(NetConfig::default())?;
//! let (_handle, mut events) = net.start(Request::get("https://edge.example/title/stream.mpd")?);
//! while let Some(event) = events.recv().await {
//!     match event {
//!         NetEvent::Body(pieces) => drop(pieces),
//!         NetEvent::Ended(result) => result?,
//!         NetEvent::Resolved { .. }
//!         | NetEvent::Connected { .. }
//!         | NetEvent::RequestSent
//!         | NetEvent::Headers(_) => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod classify;
mod config;
mod connect;
mod dns;
mod error;
mod exchange;
mod h3_memory;
mod headers;
mod net;
mod pool;
mod reply;
mod request;
mod tls;

pub use config::{DnsConfig, NetConfig, NetSetupError, ProxyConfig};
pub use error::{CertificateProblem, ConnectStage, DnsProblem, NetError, Phase, ProxyProblem};
pub use headers::{ContentRange, Headers};
pub use net::{Net, OpenCounts, RequestHandle};
pub use request::{NetEvent, Origin, Pieces, Protocol, Protocols, Purpose, Range, Request, Scheme};
