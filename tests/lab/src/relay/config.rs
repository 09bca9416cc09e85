//! What a relay is made from, and why it may not be.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use nearcast_units::Seed;

use super::control::PlacedToxic;

/// Where a relay listens, and what is behind it.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// Where the server is.
    pub upstream: Upstream,
    /// What is relayed.
    pub carried: Carried,
    /// Decides jitter, losses and the like, each by connection and datagram.
    pub seed: Seed,
    /// The toxics that connections meet from the first one on.
    pub toxics: Vec<PlacedToxic>,
}

impl RelayConfig {
    /// Relays TCP from a free port of this machine to a server.
    #[must_use]
    pub fn tcp(upstream: SocketAddr) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            upstream: upstream.into(),
            carried: Carried::Tcp,
            seed: Seed::new(1),
            toxics: Vec::new(),
        }
    }

    /// Relays UDP from a free port of this machine to a server.
    #[must_use]
    pub fn udp(upstream: SocketAddr) -> Self {
        Self {
            carried: Carried::Udp,
            ..Self::tcp(upstream)
        }
    }

    /// Relays both from one free port of this machine to a server that has both on one port.
    #[must_use]
    pub fn tcp_and_udp(upstream: SocketAddr) -> Self {
        Self {
            carried: Carried::TcpAndUdp,
            ..Self::tcp(upstream)
        }
    }
}

/// What a relay relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Connections alone.
    Tcp,
    /// Datagrams alone.
    Udp,
    /// Both, on one port.
    TcpAndUdp,
}

/// A server's address: host and port. A name is resolved anew for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream(Arc<str>);

impl Upstream {
    /// Reads `host:port`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, RelayError> {
        let parts = text.rsplit_once(':').filter(|(host, port)| {
            let is_host = !host.is_empty() && (host.starts_with('[') == host.contains(':'));
            is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        match parts {
            Some(_) => Ok(Self(text.into())),
            None => Err(RelayError::Upstream {
                text: text.to_owned(),
            }),
        }
    }

    pub(super) fn host_and_port(&self) -> &str {
        &self.0
    }

    pub(super) async fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = tokio::net::lookup_host(self.host_and_port()).await?;
        found
            .next()
            .ok_or_else(|| io::Error::other(format!("{} has no address", self.0)))
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

/// Why a relay does not do what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RelayError {
    /// The port cannot be had.
    #[error(
        "{address} cannot be listened on: {source}; choose a free port, or port 0 for any free one"
    )]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The server's address is none.
    #[error(
        "\"{text}\" is no server's address; host:port would be right, as 127.0.0.1:8443 or [::1]:8443"
    )]
    Upstream {
        /// What was given.
        text: String,
    },
    /// A change could not be made.
    #[error(
        "the relay at {address} could not be changed: {source}; close it and start another one"
    )]
    Change {
        /// Which relay.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
}
