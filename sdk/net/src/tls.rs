//! One TLS configuration for all that connects: TCP, QUIC and the callers' own clients.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::config::{NetConfig, NetSetupError};
use crate::request::Protocols;

const H1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";
const H3: &[u8] = b"h3";

/// The configurations, which differ in the protocols they offer and share trust and session tickets.
pub(crate) struct Tls {
    pub(crate) any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    pub(crate) http3: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn new(config: &NetConfig) -> Result<Self, NetSetupError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| NetSetupError::Tls {
                detail: error.to_string(),
            })?;
        let base = if config.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
                .with_no_client_auth()
        } else {
            builder
                .with_root_certificates(roots(&config.extra_root_ca_pem)?)
                .with_no_client_auth()
        };
        let offering = |protocols: &[&[u8]]| {
            let mut config = base.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            any: offering(&[H2, H1]),
            http1: offering(&[H1]),
            http2: offering(&[H2]),
            http3: offering(&[H3]),
        })
    }

    /// Returns the configuration that offers what `protocols` allows over TCP.
    pub(crate) fn over_tcp(&self, protocols: Protocols) -> Arc<ClientConfig> {
        match (protocols.http1, protocols.http2) {
            (true, false) => self.http1.clone(),
            (false, true) => self.http2.clone(),
            (true, true) | (false, false) => self.any.clone(),
        }
    }
}

/// Whether the server chose HTTP/2.
pub(crate) fn chose_http2(connection: &rustls::ClientConnection) -> bool {
    connection.alpn_protocol() == Some(H2)
}

fn roots(extra: &[Vec<u8>]) -> Result<RootCertStore, NetSetupError> {
    let mut store = RootCertStore::empty();
    store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for (index, pem) in extra.iter().enumerate() {
        let bad = |detail: String| NetSetupError::RootCertificate { index, detail };
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            store
                .add(certificate)
                .map_err(|error| bad(error.to_string()))?;
            found = true;
        }
        if !found {
            return Err(bad("it holds no certificate in PEM form".to_owned()));
        }
    }
    Ok(store)
}

/// Trusts everybody, which is what `insecure` asks for; signatures are still checked.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_authority_that_is_none_is_refused() {
        for pem in [
            b"".as_slice(),
            b"not pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let config = NetConfig {
                extra_root_ca_pem: vec![pem.to_vec()],
                ..NetConfig::default()
            };
            let refused = Tls::new(&config).map(|_| ()).unwrap_err();
            assert!(
                matches!(refused, NetSetupError::RootCertificate { index: 0, .. }),
                "{refused}"
            );
        }
    }
}
