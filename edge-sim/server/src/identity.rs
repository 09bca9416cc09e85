//! What an edge proves itself with, and what it shows where a fault wants handshakes to fail.

use std::sync::Arc;

use nearcast_appliance::fault::TlsProblem;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Leaf};
use crate::config::EdgeError;

/// The authority that signs for an edge, and what for. Bad certificates are made when they are needed: each costs one
/// pair of keys.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) authority: Authority,
    pub(crate) names: Vec<String>,
    pub(crate) speaks_http2: bool,
}

impl Identity {
    /// Makes what takes TLS handshakes over TCP.
    pub(crate) fn over_tcp(&self, problem: Option<TlsProblem>) -> Result<TlsAcceptor, EdgeError> {
        let mut protocols = vec![b"http/1.1".to_vec()];
        if self.speaks_http2 {
            protocols.insert(0, b"h2".to_vec());
        }
        let config = self.config(problem, protocols)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Makes what takes handshakes over QUIC.
    pub(crate) fn over_quic(
        &self,
        problem: Option<TlsProblem>,
    ) -> Result<rustls::ServerConfig, EdgeError> {
        let mut config = self.config(problem, vec![b"h3".to_vec()])?;
        // QUIC knows only all or nothing here; requests are GETs, which may be replayed.
        config.max_early_data_size = u32::MAX;
        Ok(config)
    }

    fn config(
        &self,
        problem: Option<TlsProblem>,
        protocols: Vec<Vec<u8>>,
    ) -> Result<rustls::ServerConfig, EdgeError> {
        let failed = |error: rustls::Error| EdgeError::Tls {
            reason: error.to_string(),
        };
        let Leaf { chain, key } = self.authority.issue(&self.names, problem)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(failed)?;
        config.alpn_protocols = protocols;
        Ok(config)
    }
}
