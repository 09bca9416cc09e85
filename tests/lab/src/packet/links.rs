//! The links between a client and its servers, and which of them a packet crosses.

use std::net::Ipv4Addr;

use nearcast_link::{PacketConfig, PacketCounters, PacketLink};
use nearcast_units::{ByteCount, Instant, Seed};

/// The client's address.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);

/// Addresses for servers end in 1 to 254.
pub(crate) const SERVERS_MAX: usize = 254;

/// Returns the address of a server, by its place from 0 on and below [`SERVERS_MAX`].
pub(crate) fn server_address(server: usize) -> Ipv4Addr {
    let last = u8::try_from(server.saturating_add(1)).unwrap_or(u8::MAX);
    Ipv4Addr::new(10, 77, 0, last)
}

/// A link's two directions. Sizes are those of whole IP packets: their headers count, nothing below them does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Both<T> {
    /// From the client towards the servers.
    pub(crate) up: T,
    /// From the servers towards the client.
    pub(crate) down: T,
}

/// Which link: the one that all share, or a server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    LastMile,
    /// By its place from 0 on.
    Server(usize),
}

/// One thing for each link.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Everywhere<T> {
    pub(crate) last_mile: Both<T>,
    pub(crate) servers: Vec<Both<T>>,
}

/// An IP packet, and the server that it comes from or goes to.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) server: usize,
    pub(super) bytes: Vec<u8>,
}

impl Packet {
    fn size(&self) -> ByteCount {
        ByteCount::new(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }
}

/// Where a packet entered the links, and leaves them at the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Servers,
}

/// All links: what a client sends crosses the last mile and then the server's own link, what a server sends crosses its
/// own link and then the last mile.
#[derive(Debug)]
pub(super) struct Links(Everywhere<PacketLink<Packet>>);

impl Links {
    pub(super) fn new(config: &Everywhere<PacketConfig>, seed: Seed) -> Self {
        let link = |config: &Both<PacketConfig>, seed: Seed| Both {
            up: PacketLink::new(config.up, seed.split("up")),
            down: PacketLink::new(config.down, seed.split("down")),
        };
        let of_servers = seed.split("servers");
        let servers = (0..).zip(&config.servers);
        Self(Everywhere {
            last_mile: link(&config.last_mile, seed.split("last mile")),
            servers: servers
                .map(|(server, config)| link(config, of_servers.split_index(server)))
                .collect(),
        })
    }

    pub(super) fn configure(&mut self, now: Instant, place: Place, config: &Both<PacketConfig>) {
        let link = match place {
            Place::LastMile => Some(&mut self.0.last_mile),
            Place::Server(server) => self.0.servers.get_mut(server),
        };
        if let Some(link) = link {
            link.up.set_config(now, config.up);
            link.down.set_config(now, config.down);
        }
    }

    /// Takes a packet that comes from one side; returns whether it belongs on any link.
    pub(super) fn handle_packet(&mut self, now: Instant, from: Side, bytes: &[u8]) -> bool {
        let Some(server) = server_of(from, bytes) else {
            return false;
        };
        let links = &mut self.0;
        let Some(own) = links.servers.get_mut(server) else {
            return false;
        };
        let first = match from {
            Side::Client => &mut links.last_mile.up,
            Side::Servers => &mut own.down,
        };
        let packet = Packet {
            server,
            bytes: bytes.to_vec(),
        };
        first.handle_packet(now, packet.size(), packet);
        true
    }

    /// Takes the next packet that has crossed its links by `now`, with the side that it goes to; call until `None`.
    pub(super) fn poll_delivery(&mut self, now: Instant) -> Option<(Side, Packet)> {
        let Everywhere { last_mile, servers } = &mut self.0;
        while let Some(packet) = last_mile.up.poll_delivery(now) {
            if let Some(own) = servers.get_mut(packet.server) {
                own.up.handle_packet(now, packet.size(), packet);
            }
        }
        for own in &mut *servers {
            while let Some(packet) = own.down.poll_delivery(now) {
                last_mile.down.handle_packet(now, packet.size(), packet);
            }
        }
        if let Some(packet) = last_mile.down.poll_delivery(now) {
            return Some((Side::Client, packet));
        }
        let arrived = servers.iter_mut().find_map(|own| own.up.poll_delivery(now));
        arrived.map(|packet| (Side::Servers, packet))
    }

    /// Returns when a packet is due on any link.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let own = self
            .0
            .servers
            .iter()
            .flat_map(|link| [&link.up, &link.down]);
        let all = own.chain([&self.0.last_mile.up, &self.0.last_mile.down]);
        all.filter_map(PacketLink::next_deadline).min()
    }

    pub(super) fn counters(&self) -> Everywhere<PacketCounters> {
        let of = |link: &Both<PacketLink<Packet>>| Both {
            up: *link.up.counters(),
            down: *link.down.counters(),
        };
        Everywhere {
            last_mile: of(&self.0.last_mile),
            servers: self.0.servers.iter().map(of).collect(),
        }
    }
}

/// Returns which server an IPv4 packet goes to, or comes from (RFC 791 section 3.1); `None` where it is something else.
fn server_of(from: Side, bytes: &[u8]) -> Option<usize> {
    let is_version_4 = bytes.first()? >> 4 == 4;
    let at = match from {
        Side::Client => 16,
        Side::Servers => 12,
    };
    let address: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    let [first, second, third, last] = address;
    (is_version_4 && [first, second, third] == [10, 77, 0])
        .then(|| usize::from(last).checked_sub(1))
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn packet(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let mut bytes = vec![0; 100];
        bytes[0] = 0x45;
        bytes[12..16].copy_from_slice(&source.octets());
        bytes[16..20].copy_from_slice(&destination.octets());
        bytes
    }

    fn delayed(up_ms: u64, down_ms: u64) -> Both<PacketConfig> {
        let after = |ms| PacketConfig {
            delay: Duration::from_millis(ms),
            ..PacketConfig::default()
        };
        Both {
            up: after(up_ms),
            down: after(down_ms),
        }
    }

    fn arrival(links: &mut Links) -> (Duration, Side, usize) {
        loop {
            let due = links.next_deadline().unwrap();
            if let Some((side, packet)) = links.poll_delivery(due) {
                return (due.since(Instant::ZERO), side, packet.server);
            }
        }
    }

    #[test]
    fn a_packet_crosses_the_last_mile_and_the_link_of_its_server() {
        let config = Everywhere {
            last_mile: delayed(1, 2),
            servers: vec![delayed(10, 20), delayed(100, 200)],
        };
        for (server, up_ms, down_ms) in [(0, 11, 22), (1, 101, 202)] {
            let address = server_address(server);
            let mut links = Links::new(&config, Seed::new(1));
            let up = packet(CLIENT, address);
            assert!(links.handle_packet(Instant::ZERO, Side::Client, &up));
            let expected = (Duration::from_millis(up_ms), Side::Servers, server);
            assert_eq!(arrival(&mut links), expected);
            let mut links = Links::new(&config, Seed::new(1));
            let down = packet(address, CLIENT);
            assert!(links.handle_packet(Instant::ZERO, Side::Servers, &down));
            let expected = (Duration::from_millis(down_ms), Side::Client, server);
            assert_eq!(arrival(&mut links), expected);
            let counters = links.counters();
            let passed = |both: &Both<PacketCounters>| (both.up.passed, both.down.passed);
            assert_eq!(passed(&counters.last_mile), (0, 1));
            assert_eq!(passed(&counters.servers[server]), (0, 1));
            assert_eq!(passed(&counters.servers[1 - server]), (0, 0));
        }
    }

    #[test]
    fn what_is_no_packet_of_a_server_is_refused() {
        let config = Everywhere {
            last_mile: Both::default(),
            servers: vec![Both::default()],
        };
        let mut links = Links::new(&config, Seed::new(1));
        let mut version_6 = packet(CLIENT, server_address(0));
        version_6[0] = 0x65;
        for strange in [
            packet(CLIENT, server_address(1)),
            packet(CLIENT, Ipv4Addr::new(10, 77, 0, 0)),
            packet(CLIENT, Ipv4Addr::LOCALHOST),
            packet(CLIENT, server_address(0))[..19].to_vec(),
            version_6,
            Vec::new(),
        ] {
            assert!(!links.handle_packet(Instant::ZERO, Side::Client, &strange));
        }
        assert_eq!(links.next_deadline(), None);
    }
}
