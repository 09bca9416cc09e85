//! A client and its servers in namespaces of their own, and the links between them.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nearcast_link::PacketConfig;
use nearcast_units::Seed;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::forward::{Counted, Devices, Forwarder};
use super::guard::Guard;
use super::links::{Both, CLIENT, Everywhere, Links, Place, SERVERS_MAX, server_address};
use super::namespace::{Namespace, run};

/// What a network is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetworkConfig {
    pub(crate) links: Everywhere<PacketConfig>,
    /// How TCP reacts to loss at both sides: `cubic`, `reno`, or what else the system knows.
    pub(crate) congestion_control: String,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            links: Everywhere::default(),
            // What most servers use; a system's own default may be one that hardly minds loss.
            congestion_control: "cubic".to_owned(),
        }
    }
}

/// A client and its servers, each side in a network namespace of its own, and the links between them. Servers have one
/// address each and share a namespace. When this is dropped, whatever runs in there is killed and nothing is left.
#[derive(Debug)]
pub(crate) struct PacketNetwork {
    // In the order in which they are dropped.
    guard: Option<Guard>,
    forwarder: Forwarder,
    client: Namespace,
    servers: Namespace,
    count: usize,
}

impl PacketNetwork {
    /// Makes the namespaces and starts to carry packets.
    ///
    /// # Errors
    /// Where something is missing that [`gain`](super::privileges::gain) did not look for, and with more servers than
    /// there are addresses.
    pub(crate) fn start(config: &NetworkConfig, seed: Seed) -> Result<Self> {
        let count = config.links.servers.len();
        ensure!(
            (1..=SERVERS_MAX).contains(&count),
            "{count} servers: a network has between 1 and {SERVERS_MAX} of them"
        );
        let client = Namespace::new()?;
        let servers = Namespace::new()?;
        let guard = Guard::new([&client, &servers])?;
        let addresses: Vec<Ipv4Addr> = (0..count).map(server_address).collect();
        let devices = Devices {
            client: connect(&client, &[CLIENT], SERVERS, config)?,
            servers: connect(&servers, &addresses, CLIENTS, config)?,
        };
        let links = Links::new(&config.links, seed);
        Ok(Self {
            guard: Some(guard),
            forwarder: Forwarder::start(devices, links)?,
            client,
            servers,
            count,
        })
    }

    /// Returns where the client lives.
    pub(crate) const fn client(&self) -> &Namespace {
        &self.client
    }

    /// Returns where the servers live.
    pub(crate) const fn servers(&self) -> &Namespace {
        &self.servers
    }

    /// Returns the servers' addresses, by their places.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (0..self.count).map(server_address)
    }

    /// Changes what a link does to packets, from now on.
    pub(crate) fn configure(&self, place: Place, config: Both<PacketConfig>) -> Result<()> {
        if let Place::Server(server) = place {
            let count = self.count;
            ensure!(
                server < count,
                "there is no server {server}: places are 0 to {}",
                count - 1
            );
        }
        self.forwarder.configure(place, config)
    }

    /// Returns what the links did so far.
    pub(crate) fn count(&self) -> Result<Counted> {
        self.forwarder.count()
    }

    /// Returns why packets are not carried under real-time scheduling, so that a busy machine delays them by tens of
    /// milliseconds; `None` where they are.
    pub(crate) fn not_real_time(&self) -> Option<&str> {
        self.forwarder.not_real_time()
    }

    /// Returns how many packets the system dropped before a link could take them in: where a program sends more at once
    /// than the device's queue holds.
    pub(crate) fn overflowed(&self) -> Result<u64> {
        let sides = [&self.client, &self.servers];
        let dropped = sides.map(|side| side.within(|| dropped_in(&fs::read_to_string(DEVICES)?)));
        dropped.into_iter().sum()
    }

    /// Kills what runs behind the links, and stops carrying packets.
    ///
    /// # Errors
    /// What kept packets from being carried until now.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.guard.take());
        self.forwarder.end()
    }
}

const SERVERS: &str = "10.77.0.0/24";
const CLIENTS: &str = "10.77.1.0/24";

/// The device's name, in either namespace.
const DEVICE: &str = "link";

/// What a device holds until the packets are carried on, in packets: more than a sender's largest flight, so that it is
/// the link that drops.
const DEVICE_QUEUE: &str = "5000";

/// The largest packet that the system sends, as on Ethernet.
const MTU: u16 = 1_500;

fn connect(
    namespace: &Namespace,
    addresses: &[Ipv4Addr],
    others: &str,
    config: &NetworkConfig,
) -> Result<SyncDevice> {
    namespace.within(|| {
        let device = DeviceBuilder::new().name(DEVICE).mtu(MTU).build_sync();
        let device = device.context("making a TUN device")?;
        device
            .set_nonblocking(true)
            .context("setting up a TUN device")?;
        ip(&["link", "set", "dev", DEVICE, "txqueuelen", DEVICE_QUEUE])?;
        for address in addresses {
            ip(&["address", "add", &format!("{address}/32"), "dev", DEVICE])?;
        }
        let from = addresses
            .first()
            .map(Ipv4Addr::to_string)
            .unwrap_or_default();
        let control = &config.congestion_control;
        check_congestion_control(control)?;
        ip(&[
            "route", "add", others, "dev", DEVICE, "src", &from, "congctl", control,
        ])?;
        Ok(device)
    })
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}

/// A route may name any congestion control that the system has; a namespace's own default only some of them.
fn check_congestion_control(name: &str) -> Result<()> {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let known = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    ensure!(
        known.split_whitespace().any(|other| other == name),
        "this system has no congestion control named \"{name}\": it has {}",
        known.trim()
    );
    Ok(())
}

const DEVICES: &str = "/proc/thread-self/net/dev";

/// Returns what the device dropped while sending: the twelfth number of its line.
fn dropped_in(devices: &str) -> Result<u64> {
    let line = devices.lines().find_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        (name.trim() == DEVICE).then_some(numbers)
    });
    let dropped = line.and_then(|numbers| numbers.split_whitespace().nth(11));
    let dropped = dropped.with_context(|| format!("{DEVICES} has no line for {DEVICE}"))?;
    dropped
        .parse()
        .with_context(|| format!("{DEVICES}: \"{dropped}\" is no count"))
}
