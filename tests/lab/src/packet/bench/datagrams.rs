//! Datagrams through a link: one at a time, and many.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use nearcast_units::ByteCount;
use socket2::{Domain, Socket, Type};
use tokio::time::{MissedTickBehavior, interval};

use super::super::network::PacketNetwork;
use super::super::real_time::become_real_time;
use super::streams::{block_on, server};
use crate::moment::Moment;

/// Nothing that comes at all comes later.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends a datagram to a server that sends it back, so many times one after another; returns how long each took.
pub(super) fn round_trips(network: &PacketNetwork, count: usize) -> Result<Vec<Duration>> {
    let echo = network.servers().within(|| bound(server(network)?))?;
    thread::scope(|scope| {
        let echoing = scope.spawn(move || -> Result<()> {
            be_in_time();
            let mut datagram = [0; 16];
            for _ in 0..count {
                let (length, from) = echo
                    .recv_from(&mut datagram)
                    .context("waiting for a datagram")?;
                let bytes = datagram.get(..length).unwrap_or_default();
                echo.send_to(bytes, from).context("sending it back")?;
            }
            Ok(())
        });
        let times = network.client().within(|| {
            be_in_time();
            let socket = bound(SocketAddr::from(([0, 0, 0, 0], 0)))?;
            socket.connect(server(network)?).context("connecting")?;
            let round_trip = || {
                let sent = Moment::now();
                socket.send(b"round trip").context("sending a datagram")?;
                socket
                    .recv(&mut [0; 16])
                    .context("waiting for it to come back")?;
                Ok(sent.elapsed())
            };
            (0..count).map(|_| round_trip()).collect()
        });
        let echoed = echoing
            .join()
            .map_err(|_| anyhow!("a thread that sends datagrams back panicked"))?;
        echoed.and(times)
    })
}

/// Many datagrams from the client to the server.
#[derive(Debug)]
pub(super) struct Flood {
    pub(super) datagrams: u64,
    pub(super) per_s: u64,
    pub(super) payload: ByteCount,
}

/// What came of them.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) datagrams: u64,
    /// From the first to the last.
    pub(super) within: Duration,
}

pub(super) fn flood(network: &PacketNetwork, flood: &Flood) -> Result<Received> {
    let socket = network.servers().within(|| bound(server(network)?))?;
    thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            be_in_time();
            receive(&socket)
        });
        network.client().within(|| {
            be_in_time();
            block_on(send(network, flood))
        })?;
        receiving
            .join()
            .map_err(|_| anyhow!("a thread that receives datagrams panicked"))?
    })
}

async fn send(network: &PacketNetwork, flood: &Flood) -> Result<()> {
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(server(network)?).await?;
    let payload = vec![0; usize::try_from(flood.payload.get())?];
    let began = Moment::now();
    let mut sent = 0;
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while sent < flood.datagrams {
        ticks.tick().await;
        let due = u128::from(flood.per_s) * began.elapsed().as_nanos() / 1_000_000_000;
        while u128::from(sent) < due && sent < flood.datagrams {
            let length = socket.send(&payload).await.context("sending a datagram")?;
            ensure!(length == payload.len(), "half a datagram was sent");
            sent += 1;
        }
    }
    Ok(())
}

fn receive(socket: &UdpSocket) -> Result<Received> {
    let mut datagram = [0; 2048];
    let mut datagrams = 0;
    let (mut first, mut last) = (None, Duration::ZERO);
    let waited = loop {
        match socket.recv(&mut datagram) {
            Ok(_) => {
                datagrams += 1;
                last = first.get_or_insert_with(Moment::now).elapsed();
            }
            Err(error) => break error,
        }
    };
    let is_over = matches!(
        waited.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    );
    ensure!(is_over, "receiving datagrams: {waited}");
    Ok(Received {
        datagrams,
        within: last,
    })
}

/// What is measured is the link, and not when a busy machine finds the time to look. Where that is not allowed, the
/// figures are what they are.
fn be_in_time() {
    drop(become_real_time());
}

/// As much as many systems allow, so that nothing is lost while the receiver waits for its turn.
const BUFFER: usize = 4 << 20;

fn bound(address: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).context("making a socket")?;
    socket
        .set_recv_buffer_size(BUFFER)
        .context("enlarging a socket's buffer")?;
    socket
        .bind(&address.into())
        .with_context(|| format!("binding {address}"))?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .context("setting a time-out")?;
    Ok(socket.into())
}
