//! The backend over HTTP: [`nearcast_backend_model`] with sockets, keys, a clock and a store.
//!
//! [`Backend::start`] runs it in the caller's process (`nearcast demo` does), the binary `nearcast-backend`
//! in one of its own. The main API is HTTP/1.1 and HTTP/2 over TLS with a certificate of the machine's own
//! authority ([`CA_CERTIFICATE_FILE`] in the CA folder is what clients trust); sealed play requests come over
//! plain HTTP on a second port.
//!
//! # Faults
//!
//! With an admin port ([`BackendConfig::admin`]; plain HTTP, loopback only), or through [`BackendHandle::apply`], it can be
//! told to go wrong, in the words of the edges ([`fault`]):
//!
//! | route | what |
//! | --- | --- |
//! | `POST /control/faults` | an order of faults; 204 when ports are open or closed and whoever was to die is dead |
//! | `GET /control/receipts` | the faults that took effect, oldest first |
//!
//! - Of the answers to `play`, `refresh`, `steering` and `event`, sealed or not: `status`, `token_expired` (the session is
//!   said to be over), `portal`, `gzip_bomb`, `redirect_loop` (307, so that a POST stays one), `longer`, `late_first_byte`,
//!   and of their bodies `trickle`, `hang`, `truncate`, `reset`, `corrupt`, `zeros` and `bad_text`. Batches of events are
//!   answered without a body. `client` is the playback that a path names.
//! - Of new connections: `tls`, where TLS is spoken, which sealed requests are not made with; `refuse`, of both ports.
//! - Of the whole server: `stop`, `kill` and `refuse` without a `count`, of both ports, and of edges that report, too. What
//!   a killed backend knows it still knows when the fault is removed. One receipt stands for all whom a closed port refuses.
//! - `misrank`: grants and steering documents name the appliances in the opposite order; the explanation tells the truth.
//!
//! All others are refused by name, with the reason.
//!
//! ```no_run
//! # async fn demo() -> Result<(), nearcast_backend_server::BackendError> {
//! use nearcast_backend_server::{Backend, BackendConfig, Catalogue};
//!
//! let backend = Backend::start(BackendConfig::loopback(Catalogue::demo(120_000))).await?;
//! println!("{} trusts {}", backend.url(), backend.ca_pem());
//! backend.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod api;
mod backend;
mod ca;
mod catalogue_file;
mod clock;
mod faults;
mod listen;
mod sealing;
mod signing;
mod socket;
mod store;
mod tls;
mod wrong;

pub use backend::{Backend, BackendConfig, BackendError, BackendHandle, LOOPBACK_SECRET, Listener};
pub use ca::{CA_CERTIFICATE_FILE, CA_KEY_FILE, CaError};
pub use faults::FaultError;
pub use nearcast_appliance::fault;

pub use catalogue_file::{CATALOGUE_FILE, CatalogueFileError, read_catalogue};
pub use nearcast_backend_model::{
    Account, Catalogue, CatalogueError, CatalogueItem, CatalogueProblem, ModelConfig, Network,
    Plan, PlayRate, PrefixError, Title,
};
pub use sealing::SealingConfig;
pub use signing::NoRandomness;
pub use store::StoreError;
