//! The UDP side of a relay: each client has a socket of its own towards the server, as behind a NAT, and all of them
//! share one link each way.

mod door;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use nearcast_link::{Admission, PacketConfig, PacketLink};
use nearcast_units::{ByteCount, Instant, Seed};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::config::Upstream;
use super::control::{Control, Reach};
use super::handle::Applied;
use super::receipt::{Deed, Direction, Ledger};
use door::{Answer, Door, Doors};

/// Viewers of a lab; each has a socket here, and the one that was silent longest makes room.
const CLIENTS_MAX: usize = 256;
/// Answers that were read and wait for the link; what comes on top waits in the system's buffers, and is lost there.
const ANSWERS_MAX: usize = 1024;
/// So many are read before something else has its turn.
const BATCH: usize = 64;
/// As large as datagrams get.
const DATAGRAM_MAX: usize = 65_536;
/// Whole flights of packets: the system's own choice loses them where its owner has to wait for a processor.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// What passes a link.
#[derive(Clone)]
struct Packet {
    client: SocketAddr,
    /// Which of its client's this is, this way, from 0 on.
    number: u64,
    bytes: Bytes,
}

/// A client, and the socket that the server knows it by.
struct Mapping {
    number: u64,
    door: Door,
    /// How many datagrams came, each way.
    sent: u64,
    answered: u64,
    last: Instant,
}

/// Both ways of a relay's UDP.
pub(super) struct Datagrams {
    socket: UdpSocket,
    doors: Doors,
    control: watch::Receiver<Control>,
    ledger: Arc<Ledger>,
    clock: Clock,
    mappings: BTreeMap<SocketAddr, Mapping>,
    clients: u64,
    rebinds: u64,
    is_blocked: bool,
    up: PacketLink<Packet>,
    down: PacketLink<Packet>,
}

/// Binds the UDP side of a relay; must be called within a runtime.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let options = socket2::SockRef::from(&socket);
    for asked in [
        options.set_recv_buffer_size(SOCKET_BUFFER),
        options.set_send_buffer_size(SOCKET_BUFFER),
    ] {
        if let Err(error) = asked {
            tracing::debug!(%error, "a datagram socket keeps the system's own buffers");
        }
    }
    UdpSocket::from_std(socket)
}

/// What a relay has for its UDP side.
pub(super) struct Equipment {
    pub(super) socket: UdpSocket,
    pub(super) upstream: Upstream,
    pub(super) control: watch::Receiver<Control>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clock: Clock,
    pub(super) seed: Seed,
    pub(super) closed: CancellationToken,
}

/// Serves a port until the relay is closed.
pub(super) async fn relay(equipment: Equipment, applied: watch::Sender<Applied>) {
    let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
    let closed = equipment.closed.clone();
    let mut datagrams = Datagrams::new(equipment, answers);
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        datagrams.deliver();
        let (clock, due) = (datagrams.clock, datagrams.due());
        tokio::select! {
            biased;
            () = closed.cancelled() => break,
            changed = datagrams.control.changed() => {
                if changed.is_err() {
                    break;
                }
                applied.send_replace(datagrams.follow().await);
            }
            () = clock.sleep_until(due) => {}
            ready = datagrams.socket.readable() => {
                if ready.is_ok() {
                    datagrams.read(&mut buffer).await;
                }
                // The other way has its turn now, whoever was first.
                while let Ok(answer) = answered.try_recv() {
                    datagrams.take_answer(answer);
                }
            }
            Some(answer) = answered.recv() => datagrams.take_answer(answer),
        }
    }
    // Whoever waits to hand something on is let go.
    drop(answered);
    datagrams.doors.close().await;
}

impl Datagrams {
    fn new(equipment: Equipment, answers: mpsc::Sender<Answer>) -> Self {
        let seed = equipment.seed;
        let mut control = equipment.control;
        control.mark_changed();
        let rebinds = control.borrow().rebinds;
        let link = |way| PacketLink::new(PacketConfig::default(), seed.split(way));
        Self {
            socket: equipment.socket,
            doors: Doors::new(equipment.upstream, answers, equipment.closed),
            rebinds,
            control,
            ledger: equipment.ledger,
            clock: equipment.clock,
            mappings: BTreeMap::new(),
            clients: 0,
            is_blocked: false,
            up: link("up"),
            down: link("down"),
        }
    }

    /// Returns when something comes out of a link.
    fn due(&self) -> Option<Instant> {
        let deadlines = [self.up.next_deadline(), self.down.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Does from now on what is asked for.
    async fn follow(&mut self) -> Applied {
        let now = self.clock.now();
        let (version, rebinds) = {
            let control = self.control.borrow_and_update();
            self.is_blocked = control.udp_blocked || control.reach == Reach::BlackHole;
            for (link, way) in [
                (&mut self.up, &control.upstream),
                (&mut self.down, &control.downstream),
            ] {
                if *link.config() != way.packets {
                    link.set_config(now, way.packets);
                }
            }
            (control.version, control.rebinds)
        };
        let mut problem = None;
        if self.rebinds != rebinds {
            self.rebinds = rebinds;
            problem = self.rebind().await.err().map(Arc::new);
        }
        Applied {
            version,
            problem,
            is_unanswered: true,
        }
    }

    /// Reads what clients have sent.
    async fn read(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            match self.socket.try_recv_from(buffer) {
                Ok((size, client)) => {
                    let bytes = Bytes::copy_from_slice(buffer.get(..size).unwrap_or_default());
                    self.take_request(client, bytes).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What an earlier datagram met; there may be more to be read.
                Err(error) => tracing::debug!(%error, "a client cannot be reached"),
            }
        }
    }

    async fn take_request(&mut self, client: SocketAddr, bytes: Bytes) {
        let now = self.clock.now();
        if !self.mappings.contains_key(&client)
            && let Err(error) = self.map(client).await
        {
            let error = error.to_string();
            self.ledger.note(Deed::UpstreamDead { error });
            return;
        }
        let Some(mapping) = self.mappings.get_mut(&client) else {
            return;
        };
        mapping.last = now;
        let packet = Packet {
            client,
            number: mapping.sent,
            bytes,
        };
        mapping.sent += 1;
        let place = (mapping.number, Direction::Upstream, packet.number);
        if self.is_blocked {
            note(&self.ledger, place, Deed::Blocked);
        } else {
            enter(&mut self.up, now, packet, &self.ledger, place);
        }
    }

    fn take_answer(&mut self, answer: Answer) {
        let now = self.clock.now();
        let Some(mapping) = self.mappings.get_mut(&answer.client) else {
            self.ledger.note(Deed::Stray);
            return;
        };
        let place = (mapping.number, Direction::Downstream, mapping.answered);
        mapping.answered += 1;
        mapping.last = now;
        if mapping.door.number != answer.door {
            note(&self.ledger, place, Deed::Stray);
        } else if self.is_blocked {
            note(&self.ledger, place, Deed::Blocked);
        } else {
            let packet = Packet {
                client: answer.client,
                number: place.2,
                bytes: answer.bytes,
            };
            enter(&mut self.down, now, packet, &self.ledger, place);
        }
    }

    /// Hands on what has come through the links.
    fn deliver(&mut self) {
        let now = self.clock.now();
        let (mut sent, mut answered) = (0, 0);
        while let Some(packet) = self.up.poll_delivery(now) {
            let Some(mapping) = self.mappings.get(&packet.client) else {
                continue;
            };
            let place = (mapping.number, Direction::Upstream, packet.number);
            if self.is_blocked {
                note(&self.ledger, place, Deed::Blocked);
                continue;
            }
            match mapping.door.socket.try_send(&packet.bytes) {
                Ok(_) => sent += 1,
                Err(error) => undelivered(&self.ledger, place, &error),
            }
        }
        while let Some(packet) = self.down.poll_delivery(now) {
            let Some(mapping) = self.mappings.get(&packet.client) else {
                continue;
            };
            let place = (mapping.number, Direction::Downstream, packet.number);
            if self.is_blocked {
                note(&self.ledger, place, Deed::Blocked);
                continue;
            }
            match self.socket.try_send_to(&packet.bytes, packet.client) {
                Ok(_) => answered += 1,
                Err(error) => undelivered(&self.ledger, place, &error),
            }
        }
        let reordered = self.up.counters().reordered + self.down.counters().reordered;
        self.ledger.count(|counts| {
            counts.upstream_datagrams += sent;
            counts.downstream_datagrams += answered;
            counts.reordered = reordered;
        });
    }

    /// Gives a new client its socket.
    async fn map(&mut self, client: SocketAddr) -> io::Result<()> {
        let door = self.doors.open(client).await?;
        if self.mappings.len() >= CLIENTS_MAX {
            let oldest = self.mappings.iter().min_by_key(|(_, mapping)| mapping.last);
            let oldest = oldest.map(|(client, _)| *client);
            if let Some(oldest) = oldest {
                self.mappings.remove(&oldest);
            }
        }
        let mapping = Mapping {
            number: self.clients,
            door,
            sent: 0,
            answered: 0,
            last: self.clock.now(),
        };
        self.clients += 1;
        self.mappings.insert(client, mapping);
        Ok(())
    }

    /// Gives every client another door; those that the server knows are shut.
    async fn rebind(&mut self) -> io::Result<()> {
        for (client, mapping) in &mut self.mappings {
            let door = self.doors.open(*client).await?;
            let new_port = door.socket.local_addr()?.port();
            let old = std::mem::replace(&mut mapping.door, door);
            let old_port = old.socket.local_addr()?.port();
            let deed = Deed::Rebound { old_port, new_port };
            self.ledger.note_of(mapping.number, None, deed);
        }
        Ok(())
    }
}

/// Whose datagram, which way, and which one.
type Place = (u64, Direction, u64);

fn note(ledger: &Ledger, (client, direction, number): Place, deed: Deed) {
    ledger.note_of(client, Some((direction, number)), deed);
}

/// Hands a datagram to a link, and writes down what became of it.
fn enter(
    link: &mut PacketLink<Packet>,
    now: Instant,
    packet: Packet,
    ledger: &Ledger,
    place: Place,
) {
    let headers = match packet.client {
        SocketAddr::V4(_) => 20 + 8,
        SocketAddr::V6(_) => 40 + 8,
    };
    let bytes = u64::try_from(packet.bytes.len()).unwrap_or(u64::MAX);
    let copies = link.counters().duplicated;
    let admission = link.handle_packet(now, ByteCount::new(bytes + headers), packet);
    match admission {
        Admission::Queued if link.counters().duplicated > copies => {
            note(ledger, place, Deed::Duplicated);
        }
        Admission::Queued => {}
        Admission::Lost => note(ledger, place, Deed::Lost),
        Admission::QueueFull => note(ledger, place, Deed::QueueFull),
        Admission::TooLarge => note(ledger, place, Deed::TooLarge),
    }
}

/// The system took a datagram from neither side: that is a full queue, or nobody is there.
fn undelivered(ledger: &Ledger, place: Place, error: &io::Error) {
    if error.kind() == io::ErrorKind::WouldBlock {
        note(ledger, place, Deed::QueueFull);
    } else {
        tracing::debug!(%error, "a datagram could not be sent");
    }
}
