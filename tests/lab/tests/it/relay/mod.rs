//! What the relay's handle changes is what both ends see.

mod dns;
mod quic;
mod tcp;
mod udp;

use std::time::Duration;

use nearcast_lab::relay::{Relay, RelayConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for the busiest machine; what is awaited comes at once, or never.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long it is looked whether something comes that must not. A busy machine can only hide it.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

pub(crate) async fn never<T>(what: impl Future<Output = T>) {
    let came = tokio::time::timeout(SILENCE, what).await;
    assert!(came.is_err(), "something came that must not");
}

/// Bytes of which none can be missing, doubled or out of place unseen.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| u8::try_from((at ^ (at >> 8) ^ (at >> 15)) % 251).unwrap())
        .collect()
}

/// A server that hands its connections to the test, and a relay in front of it.
struct Stage {
    server: TcpListener,
    relay: Relay,
}

impl Stage {
    async fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start(RelayConfig::tcp(server.local_addr().unwrap())).unwrap();
        Self { server, relay }
    }

    /// Opens a connection; returns the client's and the server's end of it.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = soon(TcpStream::connect(self.relay.address()))
            .await
            .unwrap();
        let (server, _) = soon(self.server.accept()).await.unwrap();
        (client, server)
    }
}

/// Sends so much from one end to the other, and sees that it arrives.
pub(crate) async fn passes(from: &mut TcpStream, to: &mut TcpStream, size: usize) {
    let sent = pattern(size);
    let mut arrived = vec![0; size];
    let both = async { tokio::join!(from.write_all(&sent), to.read_exact(&mut arrived)) };
    let (written, read) = soon(both).await;
    written.unwrap();
    read.unwrap();
    assert!(sent == arrived, "bytes were changed");
}
