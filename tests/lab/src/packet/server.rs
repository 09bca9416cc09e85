//! Servers that a program behind a link is to reach.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::stderr;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval};

use super::command::ADDRESS;
use super::namespace::missing;
use super::network::PacketNetwork;
use crate::write;

/// Starts a shell command for each server, one after another, waits until each of them listens, and tells where.
pub(super) async fn start(network: &PacketNetwork, commands: &[String]) -> Result<()> {
    for (line, address) in commands.iter().zip(network.addresses()) {
        let line = line.replace(ADDRESS, &address.to_string());
        let before = listening(network)?;
        let mut child = spawn(network, &line)?;
        let began = wait(network, &before, &mut child).await;
        let ports = began.with_context(|| format!("the server `{line}`"))?;
        // One that listens at several addresses is told of once.
        let ports: BTreeSet<String> = ports.iter().map(ToString::to_string).collect();
        let ports = ports.into_iter().collect::<Vec<_>>().join(", ");
        write::tell(&format!("server at {address}, {ports}: {line}\n"))?;
    }
    Ok(())
}

fn spawn(network: &PacketNetwork, line: &str) -> Result<Child> {
    let mut command = network.servers().command("sh");
    command.args(["-c", line]);
    // What a terminal tells the program is not meant for its servers, and what they say is not the program's output.
    command.process_group(0).stdin(Stdio::null());
    let output = stderr().as_fd().try_clone_to_owned();
    command.stdout(output.context("passing on standard error")?);
    let mut command = Command::from(command);
    let spawned = command.spawn();
    spawned.map_err(|error| missing(command.as_std(), error))
}

/// How long a server may take before it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// The system tells nobody when somebody begins to listen.
const LOOK: Duration = Duration::from_millis(10);

async fn wait(
    network: &PacketNetwork,
    before: &BTreeSet<Port>,
    child: &mut Child,
) -> Result<Vec<Port>> {
    let began = Instant::now();
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        // Before it is looked for: one that goes on in the background ends well, and listens by then.
        let ended = child.try_wait().context("waiting for it")?;
        let ports: Vec<Port> = listening(network)?.difference(before).cloned().collect();
        if !ports.is_empty() {
            return Ok(ports);
        }
        if let Some(status) = ended {
            bail!("ended ({status}) before it listened anywhere");
        }
        if began.elapsed() > PATIENCE {
            bail!("listens nowhere after {} s", PATIENCE.as_secs());
        }
    }
}

/// A port that somebody waits at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    protocol: &'static str,
    number: u16,
    /// As the system's tables write it: two servers may have the same port of different addresses.
    address: String,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.protocol, self.number)
    }
}

fn listening(network: &PacketNetwork) -> Result<BTreeSet<Port>> {
    network.servers().within(|| {
        let mut ports = BTreeSet::new();
        for (file, protocol, state) in TABLES {
            let path = format!("/proc/thread-self/net/{file}");
            // The tables of IPv6 are not there where the system has none.
            if fs::exists(&path)? {
                let table = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
                let waiting = waiting(&table, state);
                ports.extend(waiting.map(|(address, number)| Port {
                    protocol,
                    number,
                    address: address.to_owned(),
                }));
            }
        }
        Ok(ports)
    })
}

/// The state in which somebody waits for whoever comes: `TCP_LISTEN`, and of UDP `TCP_CLOSE`.
const TABLES: [(&str, &str, &str); 4] = [
    ("tcp", "TCP", "0A"),
    ("tcp6", "TCP", "0A"),
    ("udp", "UDP", "07"),
    ("udp6", "UDP", "07"),
];

/// Returns the addresses and ports in a table of sockets that are in a state: address, peer and state are its second to fourth
/// column.
fn waiting<'a>(table: &'a str, state: &str) -> impl Iterator<Item = (&'a str, u16)> {
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_whitespace().skip(1);
        let (address, port) = columns.next()?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (columns.nth(1)? == state).then_some((address, port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_systems_tables() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
             0: 00000000:1F40 00000000:0000 0A 00000000:00000000\n   \
             1: 0100007F:0BB8 0100007F:9C40 01 00000000:00000000\n";
        let found: Vec<_> = waiting(table, "0A").collect();
        assert_eq!(found, [("00000000", 8000)]);
        assert_eq!(waiting("", "0A").count(), 0);
    }
}
