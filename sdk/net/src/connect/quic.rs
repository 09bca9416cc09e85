//! HTTP/3: QUIC, and HTTP's own start on it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h3::error::Code;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectError, Connecting, Endpoint, TransportConfig, VarInt};
use tokio::time::timeout;

use super::bounded::{Bounded, BoundedStream, CONTROL_STREAMS_MAX};
use super::{
    Alive, Attempt, CONNECTION_WINDOW, Connection, HEADER_BYTES_MAX, STREAM_WINDOW, Sender,
    eyeballs,
};
use crate::classify;
use crate::config::NetSetupError;
use crate::error::NetError;
use crate::net::{Inner, locked};
use crate::request::Protocol;

pub(crate) type SendRequest = h3::client::SendRequest<Bounded<h3_quinn::OpenStreams>, Bytes>;
pub(crate) type RequestStream =
    h3::client::RequestStream<BoundedStream<h3_quinn::BidiStream<Bytes>>, Bytes>;

/// The time without a packet after which a connection is given up. Nothing keeps an idle one alive: that
/// would wake a phone's radio for nothing, and a new one costs one round trip.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// What a round trip is taken for before it is measured. A lost first packet is sent again after three of
/// them; the standard's 333 ms would outlast TCP's head start.
const RTT_GUESS: Duration = Duration::from_millis(80);

/// One UDP socket per family for all QUIC connections, opened when first needed.
pub(crate) struct QuicEndpoints {
    config: ClientConfig,
    v4: Mutex<Option<Endpoint>>,
    v6: Mutex<Option<Endpoint>>,
}

impl QuicEndpoints {
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>) -> Result<Self, NetSetupError> {
        let tls = QuicClientConfig::try_from(tls).map_err(|error| NetSetupError::Tls {
            detail: error.to_string(),
        })?;
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
            .max_idle_timeout(IDLE_MAX.try_into().ok())
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(CONTROL_STREAMS_MAX))
            .datagram_receive_buffer_size(None)
            .initial_rtt(RTT_GUESS);
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(transport));
        Ok(Self {
            config,
            v4: Mutex::default(),
            v6: Mutex::default(),
        })
    }

    /// Begins a connection. An endpoint whose socket has failed takes none any more, and is replaced.
    fn begin(
        &self,
        peer: SocketAddr,
        host: &str,
    ) -> std::io::Result<Result<Connecting, ConnectError>> {
        let (slot, any) = self.slot(peer.is_ipv6());
        let mut slot = locked(slot);
        let begin = |endpoint: &Endpoint| endpoint.connect_with(self.config.clone(), peer, host);
        match slot.as_ref().map(begin) {
            None => {}
            Some(Err(ConnectError::EndpointStopping)) => {
                tracing::debug!("the UDP socket has failed, a new one is opened");
            }
            Some(begun) => return Ok(begun),
        }
        Ok(begin(slot.insert(Endpoint::client(any)?)))
    }

    fn slot(&self, v6: bool) -> (&Mutex<Option<Endpoint>>, SocketAddr) {
        if v6 {
            (&self.v6, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0))
        } else {
            (&self.v4, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
        }
    }

    /// Moves to new sockets; connections in use follow.
    pub(crate) fn rebind(&self) {
        for (slot, any) in [self.slot(false), self.slot(true)] {
            let Some(endpoint) = locked(slot).clone() else {
                continue;
            };
            let moved = UdpSocket::bind(any).and_then(|socket| endpoint.rebind(socket));
            if let Err(error) = moved {
                tracing::debug!(%error, "no new UDP socket, a later connection opens one");
                *locked(slot) = None;
            }
        }
    }

    /// Closes all connections and waits until the peers have been told.
    pub(crate) async fn close(&self) {
        for (slot, _) in [self.slot(false), self.slot(true)] {
            let endpoint = locked(slot).take();
            if let Some(endpoint) = endpoint {
                endpoint.close(no_error(), b"");
                endpoint.wait_idle().await;
            }
        }
    }
}

/// Tells the other side that nobody needs the connection any more.
pub(super) fn close(connection: &quinn::Connection) {
    connection.close(no_error(), b"");
}

fn no_error() -> VarInt {
    VarInt::from_u64(Code::H3_NO_ERROR.value()).unwrap_or_default()
}

impl Inner {
    pub(super) async fn connect_quic(
        &self,
        attempt: &Attempt<'_>,
        port: u16,
    ) -> Result<Connection, NetError> {
        eyeballs::race(
            attempt.addresses,
            attempt.happy_eyeballs_delay,
            |address| async move {
                let peer = SocketAddr::new(address, port);
                timeout(self.phase_limit, self.connect_quic_to(attempt, peer))
                    .await
                    .unwrap_or(Err(NetError::QuicTimeout { peer }))
            },
        )
        .await
    }

    async fn connect_quic_to(
        &self,
        attempt: &Attempt<'_>,
        peer: SocketAddr,
    ) -> Result<Connection, NetError> {
        let host = &attempt.origin.host;
        let counted = self.count_connection();
        let quic = self
            .quic
            .begin(peer, host)
            .map_err(|error| classify::from_connect(&error, peer, attempt.origin))?
            .map_err(|error| NetError::Unreachable {
                peer,
                detail: error.to_string(),
            })?
            .await
            .map_err(|error| classify::from_quic(&error, peer, host, 0))?;
        let (mut driver, sender) = h3::client::builder()
            .max_field_section_size(u64::from(HEADER_BYTES_MAX))
            .send_grease(false)
            .build::<_, _, Bytes>(Bounded::new(&quic))
            .await
            .map_err(|error| NetError::Protocol {
                detail: error.to_string(),
            })?;
        let driver = self.tasks.spawn(async move {
            let _counted = counted;
            let ended = driver.wait_idle().await;
            tracing::trace!(%ended, "an HTTP/3 connection ended");
        });
        let alive = Alive {
            driver: driver.abort_handle(),
            quic: Some(quic.clone()),
        };
        Ok(Connection {
            protocol: Protocol::Http3,
            peer,
            rtt: Some(quic.rtt()),
            sender: Sender::Http3(sender),
            alive: Arc::new(alive),
            network: attempt.network,
            opening: self.next_opening(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NetConfig;
    use crate::tls::Tls;

    #[tokio::test]
    async fn a_dead_endpoint_is_replaced() {
        let tls = Tls::new(&NetConfig::default()).unwrap();
        let endpoints = QuicEndpoints::new(tls.http3).unwrap();
        let peer = "127.0.0.1:9".parse().unwrap();
        let begin = || endpoints.begin(peer, "localhost").unwrap().map(drop);
        let port = || {
            let endpoint = locked(&endpoints.v4).clone();
            endpoint.map(|endpoint| endpoint.local_addr().unwrap().port())
        };
        assert_eq!(begin(), Ok(()));
        let first = port();
        assert_eq!(begin(), Ok(()));
        assert_eq!(port(), first, "one socket serves all");
        // As after an error of its socket: it takes no connections any more.
        let dead = locked(&endpoints.v4).clone().unwrap();
        dead.close(no_error(), b"");
        assert_eq!(begin(), Ok(()));
        assert_ne!(port(), first);
    }
}
