//! One TCP connection through the relay: its two directions, and how both end.

use std::net::Shutdown;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nearcast_units::Seed;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::clock::Clock;
use super::config::Upstream;
use super::control::Control;
use super::pipe::{Passed, Pipe};
use super::receipt::{Deed, Direction, Handed, Ledger};
use super::toxic::Ending;

/// What a connection has of its relay.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) upstream: Upstream,
    pub(super) control: watch::Receiver<Control>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clock: Clock,
    pub(super) seed: Seed,
}

/// One end of a connection.
pub(super) struct Side {
    pub(super) stream: TcpStream,
    /// Writing has failed: what reading then says to be the end is none.
    pub(super) is_broken: AtomicBool,
    /// How many bytes it was given.
    pub(super) handed: AtomicU64,
}

impl Side {
    fn new(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            is_broken: AtomicBool::new(false),
            handed: AtomicU64::new(0),
        })
    }

    pub(super) fn break_off(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }

    /// Tells the peer that no more will come. One that is gone need not be told.
    pub(super) fn finish(&self) {
        if SockRef::from(&self.stream)
            .shutdown(Shutdown::Write)
            .is_err()
        {
            self.break_off();
        }
    }

    /// Resets the connection when it is dropped.
    fn reset(&self) {
        if let Err(error) = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "a connection that is gone cannot be reset");
        }
    }

    /// Reads and drops what still comes: with unread bytes the system makes a reset of a close, and drops what still
    /// waits to be sent.
    async fn drain(&self) {
        let mut waste = vec![0; DRAIN_CHUNK];
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut waste) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

const DRAIN_CHUNK: usize = 16 * 1024;
/// So long a peer may take to close its own side of a connection that was closed.
const LINGER: Duration = Duration::from_secs(1);
/// No peer sends again for longer, whatever it sent.
const KILLED_MAX: Duration = Duration::from_secs(15 * 60);
/// Longer than any client waits; a server on this machine answers at once.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// How a connection left the state of passing bytes.
enum Left {
    /// Both directions are over.
    Finished,
    Ended(Ending),
    Killed,
}

/// Serves one client until its connection is over.
pub(super) async fn serve(number: u64, client: TcpStream, mut around: Surroundings) {
    let (resets, rebinds) = {
        let control = around.control.borrow_and_update();
        (control.resets, control.rebinds)
    };
    let ledger = Arc::clone(&around.ledger);
    let mut control = around.control.clone();
    let connected = tokio::select! {
        biased;
        () = reset(&mut control, resets) => None,
        connected = connect(&around.upstream) => Some(connected),
    };
    let (client, server) = match (Side::new(client), connected) {
        (Ok(client), Some(Ok(server))) => (client, server),
        (Ok(client), None) => {
            client.reset();
            ledger.note_of(number, None, Deed::Reset(Handed::default()));
            return;
        }
        (_, Some(Err(error))) => {
            ledger.note_of(number, None, Deed::UpstreamDead { error });
            return;
        }
        // The client has gone already.
        (Err(_), _) => return,
    };
    let left = {
        let pipe = |direction, from, to| {
            let seed = around.seed.split_index(number);
            Pipe::new(number, direction, from, to, seed, &around).run()
        };
        let mut up = pin!(pipe(Direction::Upstream, &client, &server));
        let mut down = pin!(pipe(Direction::Downstream, &server, &client));
        let (mut up_over, mut down_over) = (false, false);
        loop {
            // Neither way is first: a task that passes much is stopped now and then, and begins anew.
            let either = async {
                tokio::select! {
                    passed = &mut up, if !up_over => (Direction::Upstream, passed),
                    passed = &mut down, if !down_over => (Direction::Downstream, passed),
                }
            };
            let (direction, passed) = tokio::select! {
                biased;
                left = told(&mut control, resets, rebinds) => break left,
                passed = either => passed,
            };
            match direction {
                Direction::Upstream => up_over = true,
                Direction::Downstream => down_over = true,
            }
            match passed {
                Passed::Ended(ending) => break Left::Ended(ending),
                Passed::Finished if up_over && down_over => break Left::Finished,
                Passed::Finished => {}
            }
        }
    };
    let handed = Handed {
        upstream_bytes: server.handed.load(Ordering::Relaxed),
        downstream_bytes: client.handed.load(Ordering::Relaxed),
    };
    match left {
        Left::Finished => {}
        Left::Ended(Ending::Reset) => {
            client.reset();
            server.reset();
            ledger.note_of(number, None, Deed::Reset(handed));
        }
        Left::Ended(Ending::Close) => {
            ledger.note_of(number, None, Deed::Closed(handed));
            client.finish();
            server.finish();
            let drained = async { tokio::join!(client.drain(), server.drain()) };
            // Who goes on sending is told by a reset.
            drop(tokio::time::timeout(LINGER, drained).await);
        }
        Left::Killed => {
            ledger.note_of(number, None, Deed::Killed(handed));
            // Both sockets stay open, and nobody reads them.
            let reset = reset(&mut control, resets);
            drop(tokio::time::timeout(KILLED_MAX, reset).await);
            client.reset();
            server.reset();
        }
    }
}

/// Waits until all connections are to be reset.
async fn reset(control: &mut watch::Receiver<Control>, resets: u64) {
    // Without a relay this task is ended.
    if control
        .wait_for(|control| control.resets != resets)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}

/// Waits until this connection is to be reset or killed.
async fn told(control: &mut watch::Receiver<Control>, resets: u64, rebinds: u64) -> Left {
    let changed =
        control.wait_for(|control| control.resets != resets || control.rebinds != rebinds);
    let is_reset = changed.await.map(|control| control.resets != resets);
    match is_reset {
        Ok(true) => Left::Ended(Ending::Reset),
        Ok(false) => Left::Killed,
        Err(_) => std::future::pending().await,
    }
}

async fn connect(upstream: &Upstream) -> Result<Side, String> {
    let connecting = TcpStream::connect(upstream.host_and_port());
    match tokio::time::timeout(CONNECT_MAX, connecting).await {
        Ok(Ok(stream)) => Side::new(stream).map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {CONNECT_MAX:?}")),
    }
}
