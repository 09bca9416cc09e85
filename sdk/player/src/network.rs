//! How edges and the backend are reached: one set of connections, names and trust for media and control.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nearcast_net::{DnsConfig, Net, NetConfig, NetSetupError, Protocol, Protocols, ProxyConfig};
use url::Url;

use crate::error::PlayerError;

/// What the application says about the network.
#[derive(Clone, Debug, Default)]
pub struct NetworkOptions {
    /// Sent as `User-Agent`; `None` is `nearcast/VERSION`.
    pub user_agent: Option<String>,
    /// Headers for every request to edges and the backend.
    pub headers: Vec<(String, String)>,
    /// Certificate authorities to trust beside the web's, as PEM text.
    pub extra_ca_pem: Vec<Vec<u8>>,
    /// Accepts any certificate. For trying things out; say it loudly.
    pub insecure: bool,
    /// Fixed addresses of hosts: no name look-up for them. A host may stand here more than once.
    pub resolve: Vec<(String, IpAddr)>,
    /// Name servers to ask; none takes those of the system.
    pub nameservers: Vec<SocketAddr>,
    /// Uses this version of HTTP only for media; `None` takes the best there is.
    pub http: Option<HttpVersion>,
    /// An HTTP proxy that opens tunnels, `http://[user:password@]host:port`; HTTP/3 is not used then.
    pub proxy: Option<String>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/3.
    H3,
    /// HTTP/2.
    H2,
    /// HTTP/1.1.
    Http1,
}

/// Connections, names and what was learnt about them; clones share all of it, and so may several players.
#[derive(Clone)]
pub struct Network {
    net: Net,
    options: Arc<NetworkOptions>,
}

impl Network {
    /// Makes one; opens nothing yet.
    ///
    /// # Errors
    ///
    /// [`PlayerError::InvalidOption`] when an option cannot be used.
    pub fn new(options: NetworkOptions) -> Result<Self, PlayerError> {
        let net = Net::new(net_config(&options)?).map_err(refused)?;
        Ok(Self {
            net,
            options: Arc::new(options),
        })
    }

    /// Counts the connections that are open now: in use, kept, or being opened.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.net.open().connections
    }

    /// Ends all requests and closes all connections; players that share this can fetch nothing afterwards.
    pub async fn close(&self) {
        self.net.close().await;
    }

    /// Returns what fetches, for tools that measure edges by the player's own connections.
    #[must_use]
    pub const fn net(&self) -> &Net {
        &self.net
    }

    pub(crate) fn options(&self) -> &NetworkOptions {
        &self.options
    }

    /// Returns which protocols media requests may use.
    pub(crate) fn protocols(&self) -> Protocols {
        match self.options.http {
            None => Protocols::ALL,
            Some(HttpVersion::H3) => Protocols::only(Protocol::Http3),
            Some(HttpVersion::H2) => Protocols::only(Protocol::Http2),
            Some(HttpVersion::Http1) => Protocols::only(Protocol::Http1),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("open", &self.net.open())
            .finish_non_exhaustive()
    }
}

fn net_config(options: &NetworkOptions) -> Result<NetConfig, PlayerError> {
    let defaults = NetConfig::default();
    Ok(NetConfig {
        user_agent: options.user_agent.clone().unwrap_or(defaults.user_agent),
        extra_root_ca_pem: options.extra_ca_pem.clone(),
        insecure: options.insecure,
        resolve: options.resolve.clone(),
        proxy: options.proxy.as_deref().map(parse_proxy).transpose()?,
        header: options.headers.clone(),
        dns: DnsConfig {
            nameservers: options.nameservers.clone(),
            ..defaults.dns
        },
        phase_limit: defaults.phase_limit,
    })
}

fn refused(error: NetSetupError) -> PlayerError {
    let reason = error.to_string();
    let option = match error {
        NetSetupError::RootCertificate { .. } => "extra_ca_pem",
        NetSetupError::Header { .. } => "headers",
        NetSetupError::Tls { .. } => "tls",
    };
    PlayerError::InvalidOption { option, reason }
}

fn parse_proxy(text: &str) -> Result<ProxyConfig, PlayerError> {
    let invalid = |reason: &str| PlayerError::InvalidOption {
        option: "proxy",
        reason: reason.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
    if url.scheme() != "http" {
        return Err(invalid("only http:// proxies are supported"));
    }
    let host = url.host_str().ok_or_else(|| invalid("it names no host"))?;
    let authorization = (!url.username().is_empty()).then(|| {
        let pair = format!("{}:{}", url.username(), url.password().unwrap_or_default());
        format!("Basic {}", STANDARD.encode(pair))
    });
    Ok(ProxyConfig {
        host: host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port: url.port_or_known_default().unwrap_or(80),
        authorization,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_taken_apart_or_refused() {
        let proxy = parse_proxy("http://me:pass@[::1]:3128").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 3128));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic bWU6cGFzcw=="));
        for text in ["socks5://host:1", "host:3128", "", "http://"] {
            assert_eq!(
                parse_proxy(text).unwrap_err().code(),
                "player.invalid_option",
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let options = NetworkOptions {
            extra_ca_pem: vec![b"no certificate".to_vec()],
            ..NetworkOptions::default()
        };
        let error = Network::new(options).unwrap_err();
        assert!(error.to_string().contains("extra_ca_pem"), "{error}");
    }
}
