//! A sans-IO model of the backend: who may play what, and from which appliances.
//!
//! [`Backend`] takes requests and the time, and answers with grants, refusals and rankings. It owns no
//! clock, socket or key: the time is an argument (nanoseconds since the Unix epoch in the server, since 0
//! in a simulator), secrets and identifiers are made by the caller, and tokens are signed by it. What has
//! to outlive the process leaves as [`Action`]s.
//!
//! Invariants: nothing grows without a bound ([`ModelConfig`] names each); a refusal takes no stream slot;
//! the same reports and the same request give the same ranking.
//!
//! ```
//! use nearcast_backend_model::{Backend, Catalogue, ModelConfig};
//! use nearcast_protocol::play::SessionRequest;
//! use nearcast_units::Instant;
//!
//! let mut backend = Backend::new(Catalogue::demo(120_000), ModelConfig::default()).unwrap();
//! let request = SessionRequest {
//!     account: "demo".into(),
//!     device_id: "living-room".into(),
//!     platform: "linux".into(),
//! };
//! let expires = backend.handle_session(Instant::ZERO, &request, "a-secret").unwrap();
//! assert!(expires > Instant::ZERO);
//! ```
#![no_std]

extern crate alloc;

mod backend;
mod catalogue;
mod config;
mod history;
mod licence;
mod playback;
mod prefix;
mod rate;
mod record;
mod session;
mod steering;

pub use backend::{Ask, Backend, Counts, Grant, PlayError};
pub use catalogue::{
    Account, Catalogue, CatalogueError, CatalogueItem, CatalogueProblem, Network, Plan, Title,
};
pub use config::ModelConfig;
pub use history::{History, HistoryError};
pub use licence::Refused;
pub use playback::{Playback, Slot};
pub use prefix::{Prefix, PrefixError};
pub use rate::PlayRate;
pub use record::{Action, Record};
pub use session::{Session, SessionError};
pub use steering::{Client, Ranking, ReportError, Steering};
