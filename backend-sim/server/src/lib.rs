//! The backend over HTTP: [`nearcast_backend_model`] with sockets, keys, a clock and a store.
//!
//! [`Backend::start`] runs it in the caller's process (`nearcast demo` does), the binary `nearcast-backend`
//! in one of its own. The main API is HTTP/1.1 and HTTP/2 over TLS with a certificate of the machine's own
//! authority ([`CA_CERTIFICATE_FILE`] in the CA folder is what clients trust); sealed play requests come over
//! plain HTTP on a second port.
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

mod api;
mod backend;
mod ca;
mod catalogue_file;
mod clock;
mod listen;
mod sealing;
mod signing;
mod store;

pub use backend::{Backend, BackendConfig, BackendError, BackendHandle, LOOPBACK_SECRET, Listener};
pub use ca::{CA_CERTIFICATE_FILE, CA_KEY_FILE, CaError};
pub use catalogue_file::{CATALOGUE_FILE, CatalogueFileError, read_catalogue};
pub use nearcast_backend_model::{
    Account, Catalogue, CatalogueError, CatalogueItem, CatalogueProblem, ModelConfig, Network,
    Plan, PlayRate, PrefixError, Title,
};
pub use sealing::SealingConfig;
pub use signing::NoRandomness;
pub use store::StoreError;
