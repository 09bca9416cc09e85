//! `bench packet`: what the packet link makes of its configuration, in real time.

mod datagrams;
mod streams;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nearcast_link::{PacketConfig, PacketLoss};
use nearcast_units::{BitRate, ByteCount, Ratio, Seed};

use super::links::{Both, Everywhere, Place};
use super::network::{NetworkConfig, PacketNetwork};
use super::{BenchArguments, privileges};
use crate::edges::figure::{Bar, Figure, lines};
use crate::write;
use datagrams::Flood;
use streams::Protocol;

/// Measures everything and tells what came of it.
pub(super) fn execute(arguments: &BenchArguments) -> Result<ExitCode> {
    privileges::gain()?;
    let seed = Seed::new(arguments.seed);
    let mut figures = round_trips(seed)?;
    for (protocol, rate, payload) in TRANSFERS {
        figures.push(transfer(seed, protocol, rate, payload)?);
    }
    figures.extend(loss(seed)?);
    figures.extend(full_load(seed)?);
    write::print(&lines(&figures))?;
    let missed = figures.iter().filter(|figure| figure.holds == Some(false));
    let missed: Vec<&str> = missed.map(|figure| figure.name.as_str()).collect();
    if arguments.figures_only || missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("bars are missed: {}", missed.join("; "));
}

/// One way, in each direction, of each link that has one.
const DELAY: Duration = Duration::from_millis(20);

/// Makes a network of one server behind a last mile that is the same in both directions.
fn network(last_mile: PacketConfig, seed: Seed) -> Result<PacketNetwork> {
    let links = Everywhere {
        last_mile: Both {
            up: last_mile,
            down: last_mile,
        },
        servers: vec![Both::default()],
    };
    let config = NetworkConfig {
        links,
        ..NetworkConfig::default()
    };
    PacketNetwork::start(&config, seed)
}

const ROUND_TRIPS: usize = 100;

/// How long single datagrams need to a server and back.
fn round_trips(seed: Seed) -> Result<Vec<Figure>> {
    let config = PacketConfig {
        delay: DELAY,
        ..PacketConfig::default()
    };
    let network = network(config, seed)?;
    // The other half is the server's own link, which is changed while packets pass.
    let own = Both {
        up: config,
        down: config,
    };
    network.configure(Place::Server(0), own)?;
    let mut off: Vec<f64> = datagrams::round_trips(&network, ROUND_TRIPS)?
        .into_iter()
        .map(|time| (time.as_secs_f64() - DELAY.as_secs_f64() * 4.0).abs() * 1e3)
        .collect();
    off.sort_by(f64::total_cmp);
    // An ordinary thread waits for its turn, on a busy machine for tens of milliseconds: nothing can be promised then.
    let is_real_time = match network.not_real_time() {
        Some(reason) => {
            super::warn(&format!(
                "without real-time scheduling there is no bar for round trips: {reason}"
            ));
            false
        }
        None => true,
    };
    network.end()?;
    let at = |name: &str, place: usize| {
        let name = format!("round trip of 80 ms, {ROUND_TRIPS} times: {name} off by");
        Figure::new(name, off.get(place).copied(), "ms")
    };
    Ok(vec![
        at("median", ROUND_TRIPS / 2).bar(is_real_time.then_some(Bar::AtMost(2.0))),
        at("95th of 100", ROUND_TRIPS * 95 / 100),
    ])
}

/// Each takes about five seconds.
const TRANSFERS: [(Protocol, BitRate, ByteCount); 3] = [
    (
        Protocol::Tcp,
        BitRate::from_kbps(20_000),
        ByteCount::new(12_500_000),
    ),
    (
        Protocol::Tcp,
        BitRate::from_kbps(100_000),
        ByteCount::new(62_500_000),
    ),
    (
        Protocol::Quic,
        BitRate::from_kbps(20_000),
        ByteCount::new(12_500_000),
    ),
];

/// The rate of one long download, without its first quarter, in which it finds its rate: the payload that the client's
/// socket handed over, and as much more as all packets that left the link (IP headers and whatever was sent twice
/// included) have over the payload of the whole download.
fn transfer(seed: Seed, protocol: Protocol, rate: BitRate, payload: ByteCount) -> Result<Figure> {
    let config = PacketConfig {
        rate: Some(rate),
        delay: DELAY,
        ..PacketConfig::default()
    };
    let network = network(config, seed)?;
    let goodput = streams::download(&network, protocol, payload)?;
    let passed = network.count()?.links.last_mile.down.passed_bytes;
    network.end()?;
    let of_link = goodput.as_f64() * float(passed.get())? / float(payload.get())?;
    let off = (of_link / rate.as_f64() - 1.0).abs() * 100.0;
    let mbps = rate.as_bps() / 1_000_000;
    let protocol = match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Quic => "QUIC",
    };
    let name = format!("{protocol} through {mbps} Mbit/s: rate with headers off by");
    Ok(Figure::new(name, Some(off), "%").bar(Some(Bar::AtMost(5.0))))
}

/// Which share of datagrams is lost, by those that were sent and those that came.
fn loss(seed: Seed) -> Result<[Figure; 2]> {
    const SHARE: f64 = 0.01;
    let config = PacketConfig {
        delay: DELAY,
        loss: PacketLoss {
            ratio: Ratio::new(SHARE)?,
            bursts: None,
        },
        ..PacketConfig::default()
    };
    let flood = Flood {
        datagrams: 120_000,
        per_s: 15_000,
        payload: ByteCount::new(100),
    };
    let network = network(config, seed)?;
    let received = datagrams::flood(&network, &flood)?.datagrams;
    let by_chance = network.count()?.links.last_mile.up.lost;
    network.end()?;
    let lost = flood.datagrams.saturating_sub(received);
    let off = (float(lost)? / float(flood.datagrams)? / SHARE - 1.0).abs() * 100.0;
    let name = format!("{} datagrams, 1 % lost: share off by", flood.datagrams);
    let elsewhere = float(lost.saturating_sub(by_chance))?;
    Ok([
        Figure::new(name, Some(off), "%").bar(Some(Bar::AtMost(10.0))),
        Figure::new("of these, lost elsewhere".to_owned(), Some(elsewhere), "")
            .bar(Some(Bar::AtMost(0.0))),
    ])
}

/// What a link without a limit carries.
fn full_load(seed: Seed) -> Result<[Figure; 2]> {
    let config = PacketConfig {
        delay: DELAY,
        ..PacketConfig::default()
    };
    // Packets of 1,500 bytes: five seconds of 100 Mbit/s.
    let flood = Flood {
        datagrams: 41_667,
        per_s: 8_334,
        payload: ByteCount::new(1_472),
    };
    let network = network(config, seed)?;
    let received = datagrams::flood(&network, &flood)?;
    network.end()?;
    let lost = float(flood.datagrams.saturating_sub(received.datagrams))?;
    let packets = ByteCount::new(received.datagrams * 1_500);
    let rate = packets.rate_over(received.within).context("nothing came")?;
    Ok([
        Figure::new(
            "100 Mbit/s of datagrams for 5 s: lost".to_owned(),
            Some(lost),
            "",
        )
        .bar(Some(Bar::AtMost(0.0))),
        Figure::new(
            "rate at which they came".to_owned(),
            Some(rate.as_f64() / 1e6),
            "Mbit/s",
        )
        .bar(Some(Bar::AtLeast(99.0))),
    ])
}

fn float(count: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}
