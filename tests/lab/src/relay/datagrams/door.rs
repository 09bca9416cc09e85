//! The sockets that a server knows clients by.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{DATAGRAM_MAX, bind};
use crate::relay::config::Upstream;

/// A client's socket towards the server. Once it is dropped, what comes to its port is nobody's.
pub(super) struct Door {
    pub(super) socket: Arc<UdpSocket>,
    /// Which of the relay's doors this is, from 0 on.
    pub(super) number: u64,
    _open: DropGuard,
}

/// A datagram from the server, and the door it came to.
pub(super) struct Answer {
    pub(super) client: SocketAddr,
    pub(super) door: u64,
    pub(super) bytes: Bytes,
}

/// Opens doors, and reads what comes to them.
pub(super) struct Doors {
    upstream: Upstream,
    answers: mpsc::Sender<Answer>,
    opened: u64,
    readers: TaskTracker,
    closed: CancellationToken,
}

/// A dead door's port is let go after so long; until then nobody else gets it, and what comes to it is counted.
const STRAY_MAX: Duration = Duration::from_secs(30);

impl Doors {
    pub(super) fn new(
        upstream: Upstream,
        answers: mpsc::Sender<Answer>,
        closed: CancellationToken,
    ) -> Self {
        Self {
            upstream,
            answers,
            opened: 0,
            readers: TaskTracker::new(),
            closed,
        }
    }

    /// Opens a door for a client.
    pub(super) async fn open(&mut self, client: SocketAddr) -> io::Result<Door> {
        let server = self.upstream.resolve().await?;
        let any = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = Arc::new(bind(any)?);
        socket.connect(server).await?;
        // Until the runtime has looked at it once, it says that it has no room.
        socket.writable().await?;
        let dead = CancellationToken::new();
        let door = Door {
            socket: Arc::clone(&socket),
            number: self.opened,
            _open: dead.clone().drop_guard(),
        };
        self.opened += 1;
        let reading = read(client, door.number, socket, self.answers.clone());
        let closed = self.closed.clone();
        self.readers.spawn(async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = reading => {}
                () = async { dead.cancelled().await; tokio::time::sleep(STRAY_MAX).await } => {}
            }
        });
        Ok(door)
    }

    /// Waits until nobody reads any more.
    pub(super) async fn close(&self) {
        self.readers.close();
        self.readers.wait().await;
    }
}

/// Reads what comes to a door, for as long as somebody takes it.
async fn read(
    client: SocketAddr,
    door: u64,
    socket: Arc<UdpSocket>,
    answers: mpsc::Sender<Answer>,
) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(size) => {
                let answer = Answer {
                    client,
                    door,
                    bytes: Bytes::copy_from_slice(buffer.get(..size).unwrap_or_default()),
                };
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
            // The server is not there: what was sent is lost, as it would be on a network that does not tell.
            Err(error) => tracing::debug!(%error, "the server cannot be reached"),
        }
    }
}
