//! TLS handshakes, and those that a fault wants to fail.

use std::sync::Arc;
use std::time::Duration;

use nearcast_appliance::fault::TlsProblem;
use nearcast_units::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ca::{Authority, CaError};

/// A TLS handshake takes two round trips.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// A handshake that is to stall is given up when every client has: none waits for longer.
const STALLED_MAX: Duration = Duration::from_secs(600);

/// Takes handshakes. Bad certificates are made when they are needed: each costs a pair of keys.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    authority: Arc<Authority>,
    names: Arc<[String]>,
}

impl Tls {
    /// Makes one that shows a certificate for these names.
    pub(crate) fn new(
        authority: Authority,
        names: Vec<String>,
        now: Instant,
    ) -> Result<Self, CaError> {
        let config = authority.server_config(&names, now, None)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: Arc::new(authority),
            names: names.into(),
        })
    }

    /// Shakes hands over a connection that was made at `now`, if nothing is wrong.
    pub(crate) async fn accept<S>(
        &self,
        mut stream: S,
        now: Instant,
        problem: Option<TlsProblem>,
    ) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = match problem {
            None => self.acceptor.clone(),
            Some(TlsProblem::Stall) => {
                // What comes is read, so that a client that goes away is let go.
                let mut sink = tokio::io::sink();
                let heard = tokio::io::copy(&mut stream, &mut sink);
                drop(tokio::time::timeout(STALLED_MAX, heard).await);
                return Err("the TLS handshake stalled, as it was told to".to_owned());
            }
            Some(TlsProblem::Expired | TlsProblem::WrongName) => {
                let config = self.authority.server_config(&self.names, now, problem);
                TlsAcceptor::from(Arc::new(config.map_err(|error| error.to_string())?))
            }
        };
        let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream));
        handshake
            .await
            .map_err(|_| "the TLS handshake took too long".to_owned())?
            .map_err(|error| error.to_string())
    }
}
