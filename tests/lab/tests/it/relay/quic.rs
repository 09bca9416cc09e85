//! QUIC through a line that loses, reorders and doubles datagrams, and a NAT that forgets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nearcast_lab::relay::{Deed, Direction, Relay, RelayConfig};
use nearcast_link::{PacketConfig, PacketLoss};
use nearcast_units::Ratio;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig, TransportConfig};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{pattern, soon};

/// A client and a server of QUIC that trust each other.
struct Ends {
    server: Endpoint,
    client: Endpoint,
}

impl Ends {
    fn new() -> Self {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = CertificateDer::from(key.cert);
        let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private)
            .unwrap();
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Endpoint::server(config, any).unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = Endpoint::client(any).unwrap();
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        // Who only reads says nothing by itself once the server's packets go nowhere, and is not found again.
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(100)));
        config.transport_config(Arc::new(transport));
        client.set_default_client_config(config);
        Self { server, client }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_survives_loss_reordering_doubling_and_a_rebinding() {
    const SIZE: usize = 1_000_000;
    let ends = Ends::new();
    let relay = Relay::start(RelayConfig::udp(ends.server.local_addr().unwrap())).unwrap();
    let path = PacketConfig {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(2),
        loss: PacketLoss {
            ratio: Ratio::new(0.02).unwrap(),
            bursts: None,
        },
        reorder: Ratio::new(0.05).unwrap(),
        duplicate: Ratio::new(0.02).unwrap(),
        ..PacketConfig::default()
    };
    for direction in [Direction::Upstream, Direction::Downstream] {
        relay.set_packet_path(direction, path).await.unwrap();
    }
    let serving = async {
        let connection = ends.server.accept().await.unwrap().await.unwrap();
        let before = connection.remote_address();
        let (mut send, mut receive) = connection.accept_bi().await.unwrap();
        assert_eq!(receive.read_to_end(10).await.unwrap(), b"please");
        send.write_all(&pattern(SIZE)).await.unwrap();
        send.finish().unwrap();
        // Until the client has closed.
        connection.closed().await;
        (before, connection.remote_address())
    };
    let asking = async {
        let connecting = ends.client.connect(relay.address(), "localhost");
        let connection = connecting.unwrap().await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(b"please").await.unwrap();
        send.finish().unwrap();
        let mut arrived = Vec::new();
        let mut is_bound_anew = false;
        // In order to the end: `read_to_end` after it is out of order, and quinn-proto 0.11.19 then counts more read than
        // has come now and then, and panics (assembler.rs).
        while let Some(chunk) = receive.read_chunk(usize::MAX, true).await.unwrap() {
            arrived.extend(chunk.bytes);
            if arrived.len() >= SIZE / 2 && !is_bound_anew {
                is_bound_anew = true;
                relay.rebind().await.unwrap();
            }
        }
        connection.close(0_u8.into(), b"");
        ends.client.wait_idle().await;
        arrived
    };
    let ((before, after), arrived) = soon(async { tokio::join!(serving, asking) }).await;
    assert!(arrived == pattern(SIZE), "bytes were changed");
    let receipts = relay.receipts();
    let rebound = Deed::Rebound {
        old_port: before.port(),
        new_port: after.port(),
    };
    assert_eq!(
        receipts
            .iter()
            .filter(|receipt| receipt.deed == rebound)
            .count(),
        1
    );
    for direction in [Direction::Upstream, Direction::Downstream] {
        for deed in [Deed::Lost, Deed::Duplicated] {
            let is_it = |it: &&nearcast_lab::relay::Receipt| {
                it.deed == deed && it.direction == Some(direction)
            };
            assert!(
                receipts.iter().any(|it| is_it(&it)),
                "no {deed:?} {direction:?}"
            );
        }
    }
    assert!(relay.counts().reordered > 0);
}
