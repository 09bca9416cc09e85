//! `nearcast-lab bench relay`: what passes a relay that does nothing, so that what it does is not mistaken for it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nearcast_lab::relay::{Relay, RelayConfig};
use nearcast_units::ByteCount;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;

use crate::write;

/// How much to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Megabytes sent over one TCP connection
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    megabytes: u32,
    /// Questions asked one after the other, and datagrams sent at once
    #[arg(long, default_value_t = 5_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    questions: u32,
}

/// Prints a table: with a relay, and without.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let table = runtime.block_on(measure(arguments))?;
    write::print(&table)?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: &Arguments) -> anyhow::Result<String> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let udp = UdpSocket::bind(tcp.local_addr()?).await;
    let udp = udp.context("the port that TCP got is taken for UDP: run it again")?;
    let relay = Relay::start(RelayConfig::tcp_and_udp(tcp.local_addr()?))?;
    let mut table = format!(
        "{:<8} {:>14} {:>14} {:>14} {:>18}\n",
        "", "TCP Mbit/s", "TCP RTT µs", "UDP RTT µs", "UDP datagrams/s"
    );
    for (name, address) in [("direct", tcp.local_addr()?), ("relay", relay.address())] {
        let mbps = transfer(&tcp, address, arguments.megabytes).await?;
        let tcp_rtt = ask_tcp(&tcp, address, arguments.questions).await?;
        let (udp_rtt, rate) = ask_udp(&udp, address, arguments.questions).await?;
        table.push_str(&format!(
            "{name:<8} {mbps:>14} {:>14} {:>14} {rate:>18}\n",
            figures(tcp_rtt),
            figures(udp_rtt)
        ));
    }
    relay.close().await;
    table.push_str(
        "RTT: p50 / p99 of questions of 100 bytes; UDP: 1,200 bytes each, 32 under way\n",
    );
    Ok(table)
}

fn figures(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .map_or(0, Duration::as_micros)
    };
    format!("{} / {}", at(50), at(99))
}

async fn pair(server: &TcpListener, address: SocketAddr) -> anyhow::Result<(TcpStream, TcpStream)> {
    let (client, accepted) = tokio::try_join!(TcpStream::connect(address), server.accept())?;
    client.set_nodelay(true)?;
    accepted.0.set_nodelay(true)?;
    Ok((client, accepted.0))
}

async fn transfer(
    server: &TcpListener,
    address: SocketAddr,
    megabytes: u32,
) -> anyhow::Result<u64> {
    let (mut client, mut sender) = pair(server, address).await?;
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        let chunk = vec![7; 1_000_000];
        for _ in 0..megabytes {
            sender.write_all(&chunk).await?;
        }
        sender.shutdown().await
    });
    let mut buffer = vec![0; 256 * 1024];
    let mut arrived = 0;
    loop {
        match client.read(&mut buffer).await? {
            0 => break,
            size => arrived += u64::try_from(size)?,
        }
    }
    sending.await??;
    let rate = ByteCount::new(arrived).rate_over(began.elapsed());
    Ok(rate.map_or(0, |rate| rate.as_bps() / 1_000_000))
}

async fn ask_tcp(
    server: &TcpListener,
    address: SocketAddr,
    questions: u32,
) -> anyhow::Result<Vec<Duration>> {
    let (mut client, mut answering) = pair(server, address).await?;
    let answers = tokio::spawn(async move {
        let mut question = [0; 100];
        for _ in 0..questions {
            answering.read_exact(&mut question).await?;
            answering.write_all(&question).await?;
        }
        Ok::<_, std::io::Error>(())
    });
    let mut times = Vec::new();
    let mut answer = [0; 100];
    for _ in 0..questions {
        let asked = Instant::now();
        client.write_all(&answer).await?;
        client.read_exact(&mut answer).await?;
        times.push(asked.elapsed());
    }
    answers.await??;
    Ok(times)
}

/// So many datagrams are under way: no buffer on the way is full then.
const UNDER_WAY: u32 = 32;
/// What has not come by then is lost.
const LOST: Duration = Duration::from_secs(1);

async fn ask_udp(
    server: &UdpSocket,
    address: SocketAddr,
    questions: u32,
) -> anyhow::Result<(Vec<Duration>, u64)> {
    let client = UdpSocket::bind("127.0.0.1:0").await?;
    client.connect(address).await?;
    let answering = async {
        let mut question = [0; 2000];
        loop {
            let (size, whom) = server.recv_from(&mut question).await?;
            server.send_to(&question[..size], whom).await?;
        }
    };
    let asking = async {
        let mut times = Vec::new();
        let mut answer = [0; 2000];
        for _ in 0..questions {
            let asked = Instant::now();
            client.send(&[0; 100]).await?;
            tokio::time::timeout(LOST, client.recv(&mut answer)).await??;
            times.push(asked.elapsed());
        }
        let began = Instant::now();
        for number in 0..questions * 10 {
            client.send(&[0; 1200]).await?;
            if number >= UNDER_WAY {
                tokio::time::timeout(LOST, client.recv(&mut answer)).await??;
            }
        }
        let nanos = began.elapsed().as_nanos().max(1);
        let rate = u128::from(questions) * 10 * 1_000_000_000 / nanos;
        anyhow::Ok((times, u64::try_from(rate)?))
    };
    tokio::select! {
        asked = asking => asked.context("a datagram was lost"),
        failed = answering => failed,
    }
}
