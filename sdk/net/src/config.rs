//! What a [`Net`](crate::Net) is told once, before its first request.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How a [`Net`](crate::Net) behaves.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Certificate authorities to trust beside the web's, as PEM text.
    pub extra_root_ca_pem: Vec<Vec<u8>>,
    /// Accepts any certificate. For trying things out; whoever sets it says so loudly.
    pub insecure: bool,
    /// Fixed addresses of hosts: no name look-up for them. A host may stand here more than once.
    pub resolve: Vec<(String, IpAddr)>,
    /// An HTTP proxy for all requests; HTTP/3 is not used then.
    pub proxy: Option<ProxyConfig>,
    /// How names are looked up.
    pub dns: DnsConfig,
    /// Headers for every request.
    pub header: Vec<(String, String)>,
    /// The longest a phase (look-up, connection, headers, next piece of a body) may take. A backstop
    /// only: 30 s, longer than any deadline a caller would set.
    pub phase_limit: Duration,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("nearcast/", env!("CARGO_PKG_VERSION")).to_owned(),
            extra_root_ca_pem: Vec::new(),
            insecure: false,
            resolve: Vec::new(),
            proxy: None,
            dns: DnsConfig::default(),
            header: Vec::new(),
            phase_limit: Duration::from_secs(30),
        }
    }
}

/// A proxy that opens tunnels (HTTP `CONNECT`), for `http` and `https` alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Name or address of the proxy.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The whole value of `Proxy-Authorization`, if it wants one.
    pub authorization: Option<String>,
}

/// How names are looked up.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Name servers to ask; empty means those of the system's configuration.
    pub nameservers: Vec<SocketAddr>,
    /// How long one name server may take to answer one question.
    pub timeout: Duration,
    /// How often a question is asked at most.
    pub attempts: usize,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            nameservers: Vec::new(),
            // The system's usual 5 s and more are far beyond what a viewer waits.
            timeout: Duration::from_secs(1),
            attempts: 2,
        }
    }
}

/// Why a [`Net`](crate::Net) could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetSetupError {
    /// An additional certificate authority could not be read.
    #[error("certificate authority {index} cannot be used: {detail}")]
    RootCertificate {
        /// Which of `extra_root_ca_pem`, from 0.
        index: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// A configured header or the user agent cannot be sent.
    #[error("header `{name}` cannot be sent: its name or value is not allowed in HTTP")]
    Header {
        /// The header's name.
        name: String,
    },
    /// The TLS library refused its configuration.
    #[error("TLS cannot be set up: {detail}")]
    Tls {
        /// What it said.
        detail: String,
    },
}
