//! Datagrams through the relay.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use nearcast_lab::relay::{Deed, Direction, Reach, Relay, RelayConfig};
use nearcast_link::{PacketConfig, PacketLoss};
use nearcast_units::{Ratio, Seed};
use tokio::net::{TcpListener, UdpSocket};

use super::{never, soon};

/// A server that hands its datagrams to the test, a relay before it, and a client.
struct Stage {
    server: UdpSocket,
    relay: Relay,
    client: UdpSocket,
}

impl Stage {
    async fn new() -> Self {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start(RelayConfig::udp(server.local_addr().unwrap())).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(relay.address()).await.unwrap();
        Self {
            server,
            relay,
            client,
        }
    }

    /// Sends one to the server; returns who it seems to come from.
    async fn ask(&self, text: &[u8]) -> SocketAddr {
        self.client.send(text).await.unwrap();
        let mut buffer = [0; 2000];
        let (size, from) = soon(self.server.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(&buffer[..size], text);
        from
    }

    async fn answered(&self, text: &[u8]) {
        let mut buffer = [0; 2000];
        let size = soon(self.client.recv(&mut buffer)).await.unwrap();
        assert_eq!(&buffer[..size], text);
    }

    fn deeds(&self) -> Vec<Deed> {
        let receipts = self.relay.receipts().into_iter();
        receipts.map(|receipt| receipt.deed).collect()
    }
}

#[tokio::test]
async fn datagrams_pass_whole_and_each_client_has_its_own_port() {
    let stage = Stage::new().await;
    let from = stage.ask(b"one").await;
    assert_eq!(stage.ask(b"two").await, from);
    stage.server.send_to(&[9; 1400], from).await.unwrap();
    stage.answered(&[9; 1400]).await;
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    other.connect(stage.relay.address()).await.unwrap();
    other.send(b"other").await.unwrap();
    let mut buffer = [0; 2000];
    let (_, another) = soon(stage.server.recv_from(&mut buffer)).await.unwrap();
    assert_ne!(from, another);
    stage
        .server
        .send_to(b"for the other", another)
        .await
        .unwrap();
    assert_eq!(soon(other.recv(&mut buffer)).await.unwrap(), 13);
    let counts = stage.relay.counts();
    assert_eq!(counts.upstream_datagrams, 3);
    assert_eq!(counts.downstream_datagrams, 2);
}

#[tokio::test]
async fn tcp_and_udp_share_a_port() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).await.unwrap();
    let relay = Relay::start(RelayConfig::tcp_and_udp(address)).unwrap();
    soon(tokio::net::TcpStream::connect(relay.address()))
        .await
        .unwrap();
    soon(server.accept()).await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"one", relay.address()).await.unwrap();
    assert_eq!(soon(datagrams.recv(&mut [0; 10])).await.unwrap(), 3);
}

#[tokio::test]
async fn ipv6_is_relayed_where_there_is_any() {
    let Ok(server) = TcpListener::bind("[::1]:0").await else {
        return;
    };
    let address = server.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).await.unwrap();
    let mut config = RelayConfig::tcp_and_udp(address);
    config.listen = "[::1]:0".parse().unwrap();
    let relay = Relay::start(config).unwrap();
    relay.set_reach(Reach::BlackHole).await.unwrap();
    let mut calling = Box::pin(tokio::net::TcpStream::connect(relay.address()));
    if cfg!(target_os = "linux") {
        never(&mut calling).await;
    }
    relay.set_reach(Reach::Open).await.unwrap();
    soon(calling).await.unwrap();
    soon(server.accept()).await.unwrap();
    let client = UdpSocket::bind("[::1]:0").await.unwrap();
    client.send_to(b"one", relay.address()).await.unwrap();
    assert_eq!(soon(datagrams.recv(&mut [0; 10])).await.unwrap(), 3);
}

#[tokio::test]
async fn blocked_is_blocked_either_way_and_so_is_a_black_hole() {
    let stage = Stage::new().await;
    let from = stage.ask(b"before").await;
    for reach in [false, true] {
        if reach {
            stage.relay.set_reach(Reach::BlackHole).await.unwrap();
        } else {
            stage.relay.set_udp_blocked(true).await.unwrap();
        }
        let passed = stage.relay.counts();
        stage.client.send(b"up").await.unwrap();
        stage.server.send_to(b"down", from).await.unwrap();
        never(stage.server.recv(&mut [0; 10])).await;
        never(stage.client.recv(&mut [0; 10])).await;
        assert_eq!(stage.relay.counts(), passed);
        for direction in [Direction::Upstream, Direction::Downstream] {
            let is_it = |deed: &Deed, way| *deed == Deed::Blocked && way == Some(direction);
            soon(
                stage
                    .relay
                    .receipt(|receipt| is_it(&receipt.deed, receipt.direction)),
            )
            .await;
        }
        stage.relay.set_reach(Reach::Open).await.unwrap();
        stage.relay.set_udp_blocked(false).await.unwrap();
        assert_eq!(stage.ask(b"after").await, from);
    }
    let blocked = stage
        .deeds()
        .into_iter()
        .filter(|deed| *deed == Deed::Blocked);
    assert_eq!(blocked.count(), 4);
}

#[tokio::test]
async fn after_a_rebinding_the_server_sees_another_port_and_the_old_one_is_dead() {
    let stage = Stage::new().await;
    let old = stage.ask(b"one").await;
    stage.relay.rebind().await.unwrap();
    stage.server.send_to(b"to the old", old).await.unwrap();
    never(stage.client.recv(&mut [0; 20])).await;
    soon(stage.relay.receipt(|receipt| receipt.deed == Deed::Stray)).await;
    let new = stage.ask(b"two").await;
    assert_ne!(old, new);
    stage.server.send_to(b"to the new", new).await.unwrap();
    stage.answered(b"to the new").await;
    let rebound = Deed::Rebound {
        old_port: old.port(),
        new_port: new.port(),
    };
    assert_eq!(stage.deeds(), [rebound, Deed::Stray]);
}

fn lost(stage: &Stage) -> u64 {
    let lost = stage.deeds().into_iter().filter(|deed| *deed == Deed::Lost);
    u64::try_from(lost.count()).unwrap()
}

#[tokio::test]
async fn each_lost_and_each_doubled_datagram_has_its_receipt() {
    let mut stage = Stage::new().await;
    let path = PacketConfig {
        loss: PacketLoss {
            ratio: Ratio::new(0.2).unwrap(),
            bursts: None,
        },
        duplicate: Ratio::new(0.2).unwrap(),
        ..PacketConfig::default()
    };
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let mut config = RelayConfig::udp(stage.server.local_addr().unwrap());
        config.seed = Seed::new(seed);
        stage.relay = Relay::start(config).unwrap();
        stage.client.connect(stage.relay.address()).await.unwrap();
        stage
            .relay
            .set_packet_path(Direction::Upstream, path)
            .await
            .unwrap();
        for number in 0..200_u16 {
            stage.client.send(&number.to_be_bytes()).await.unwrap();
        }
        // The last that comes is followed by one that cannot be lost.
        let mut came = Vec::new();
        let mut buffer = [0; 2];
        let end = async {
            loop {
                let size = stage.server.recv(&mut buffer).await.unwrap();
                assert_eq!(size, 2);
                let number = u16::from_be_bytes(buffer);
                if number == u16::MAX {
                    return;
                }
                came.push(number);
            }
        };
        // All 200 are through the link before the next change, which comes behind them.
        let marked = async {
            while stage.relay.counts().upstream_datagrams + lost(&stage) < 200 + doubled(&stage) {
                tokio::task::yield_now().await;
            }
            let clean = PacketConfig::default();
            stage
                .relay
                .set_packet_path(Direction::Upstream, clean)
                .await
                .unwrap();
            stage.client.send(&u16::MAX.to_be_bytes()).await.unwrap();
        };
        soon(async { tokio::join!(end, marked) }).await;

        let of = |deed: Deed| -> Vec<u64> {
            let receipts = stage.relay.receipts().into_iter();
            let receipts = receipts.filter(|receipt| receipt.deed == deed);
            receipts.map(|receipt| receipt.offset.unwrap()).collect()
        };
        let (lost, doubled) = (of(Deed::Lost), of(Deed::Duplicated));
        let gone: BTreeSet<u64> = (0..200)
            .filter(|number| !came.contains(&u16::try_from(*number).unwrap()))
            .collect();
        assert_eq!(
            lost,
            Vec::from_iter(gone),
            "lost are those that did not come"
        );
        let twice = |number: &u64| came.iter().filter(|it| u64::from(**it) == *number).count() == 2;
        assert_eq!(doubled, Vec::from_iter((0..200).filter(twice)));
        assert!(
            lost.len() > 10 && doubled.len() > 10,
            "{lost:?} {doubled:?}"
        );
        runs.push((lost, doubled));
    }
    assert_eq!(runs[0], runs[1], "a seed decides");
    assert_ne!(runs[0], runs[2]);
}

fn doubled(stage: &Stage) -> u64 {
    let doubled = stage
        .deeds()
        .into_iter()
        .filter(|deed| *deed == Deed::Duplicated);
    u64::try_from(doubled.count()).unwrap()
}
