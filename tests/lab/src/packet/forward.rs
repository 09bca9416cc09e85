//! The thread that carries packets from one TUN device to the other.

use std::fmt;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nearcast_link::{PacketConfig, PacketCounters};
use nearcast_units::Instant;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tun_rs::SyncDevice;

use super::links::{Both, Everywhere, Links, Place, Side};
use super::real_time::become_real_time;
use crate::moment::Moment;

/// The devices at both sides of the links.
pub(super) struct Devices {
    pub(super) client: SyncDevice,
    pub(super) servers: SyncDevice,
}

/// What the links did so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counted {
    pub(crate) links: Everywhere<PacketCounters>,
    /// Packets that belong on no link: to an address that no server has, or not of IPv4.
    pub(crate) strays: u64,
    /// Packets that crossed the links and that the system would not take.
    pub(crate) refused: u64,
}

/// A thread that carries packets over links, under real-time scheduling where that is allowed: on a busy machine
/// another thread waits tens of milliseconds for its turn. It sleeps until a packet comes, or is due, or an order comes.
#[derive(Debug)]
pub(super) struct Forwarder {
    orders: Sender<Order>,
    bell: Arc<OwnedFd>,
    /// `None` once it was told to end.
    thread: Option<JoinHandle<Result<()>>>,
    not_real_time: Option<String>,
}

#[derive(Debug)]
enum Order {
    Configure(Place, Box<Both<PacketConfig>>),
    Count(SyncSender<Counted>),
    End,
}

impl Forwarder {
    pub(super) fn start(devices: Devices, links: Links) -> Result<Self> {
        let (orders, to_do) = channel();
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = Arc::new(bell.context("making an event counter")?);
        let mut carrier = Carrier {
            devices,
            links,
            to_do,
            bell: Arc::clone(&bell),
            began: Moment::now(),
            strays: 0,
            refused: 0,
        };
        let (scheduled, not_real_time) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("packets".to_owned())
            .spawn(move || {
                // Nobody may want to know any more.
                drop(scheduled.send(become_real_time().err().map(|error| format!("{error:#}"))));
                carrier.carry()
            })
            .context("starting the thread that carries packets")?;
        let not_real_time = not_real_time
            .recv()
            .context("the thread that carries packets ended at once")?;
        Ok(Self {
            orders,
            bell,
            thread: Some(thread),
            not_real_time,
        })
    }

    /// Returns why packets are not carried under real-time scheduling; `None` where they are.
    pub(super) fn not_real_time(&self) -> Option<&str> {
        self.not_real_time.as_deref()
    }

    pub(super) fn configure(&self, place: Place, config: Both<PacketConfig>) -> Result<()> {
        self.order(Order::Configure(place, Box::new(config)))
    }

    pub(super) fn count(&self) -> Result<Counted> {
        let (sender, counted) = sync_channel(1);
        self.order(Order::Count(sender))?;
        counted.recv().context(ENDED)
    }

    fn order(&self, order: Order) -> Result<()> {
        self.orders.send(order).context(ENDED)?;
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes())
            .context("waking the thread that carries packets")?;
        Ok(())
    }

    /// Ends the thread and returns why it ended before, if it did.
    pub(super) fn end(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        // It has ended already where this fails, and then says why.
        drop(self.order(Order::End));
        let ended = thread.join();
        ended.unwrap_or_else(|_| Err(anyhow!("the thread that carries packets panicked")))
    }
}

const ENDED: &str = "the thread that carries packets has ended";

impl Drop for Forwarder {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            super::warn(&format!("{error:#}"));
        }
    }
}

struct Carrier {
    devices: Devices,
    links: Links,
    to_do: Receiver<Order>,
    bell: Arc<OwnedFd>,
    began: Moment,
    strays: u64,
    refused: u64,
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Devices").finish_non_exhaustive()
    }
}

/// So many packets are taken from one side before the other one has its turn.
const BATCH: usize = 32;

impl Carrier {
    fn carry(&mut self) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let mut more = self.take_in(Side::Client, &mut buffer)?;
            more |= self.take_in(Side::Servers, &mut buffer)?;
            let now = self.now();
            while let Some((side, packet)) = self.links.poll_delivery(now) {
                self.hand_over(side, &packet.bytes)?;
            }
            if !self.wait_and_obey(more)? {
                return Ok(());
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    /// Takes packets in; returns whether there are more.
    fn take_in(&mut self, side: Side, buffer: &mut [u8]) -> Result<bool> {
        for _ in 0..BATCH {
            match self.device(side).recv(buffer) {
                Ok(length) => {
                    let now = self.now();
                    let bytes = buffer.get(..length).unwrap_or_default();
                    let is_known = self.links.handle_packet(now, side, bytes);
                    self.strays += u64::from(!is_known);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("reading packets: {side:?}"));
                }
            }
        }
        Ok(true)
    }

    fn hand_over(&mut self, side: Side, bytes: &[u8]) -> Result<()> {
        match self.device(side).send(bytes) {
            Ok(_) => Ok(()),
            // No memory for it, or no room: a packet less.
            Err(error) if is_passing(error.kind()) || error.raw_os_error() == Some(NO_BUFFERS) => {
                self.refused += 1;
                Ok(())
            }
            Err(error) => Err(error).with_context(|| format!("writing packets: {side:?}")),
        }
    }

    fn device(&self, side: Side) -> &SyncDevice {
        match side {
            Side::Client => &self.devices.client,
            Side::Servers => &self.devices.servers,
        }
    }

    /// Waits for a packet, a deadline or orders, and obeys those; returns whether to go on. Where there are more packets
    /// it does not wait, and obeys all the same.
    fn wait_and_obey(&mut self, more: bool) -> Result<bool> {
        let wait = if more {
            Some(Duration::ZERO)
        } else {
            let deadline = self.links.next_deadline();
            deadline.map(|due| due.since(self.now()))
        };
        // In nanoseconds; what is too long for the system's clock is no deadline.
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut fds = [
            PollFd::from_borrowed_fd(self.devices.client.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.devices.servers.as_fd(), PollFlags::IN),
            PollFd::new(&*self.bell, PollFlags::IN),
        ];
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for packets"),
        }
        let [.., bell] = &fds;
        if bell.revents().is_empty() {
            return Ok(true);
        }
        let mut rings = [0; 8];
        // What rings between this and the orders rings for nothing.
        rustix::io::read(&self.bell, &mut rings).context("reading an event counter")?;
        while let Ok(order) = self.to_do.try_recv() {
            match order {
                Order::Configure(place, config) => self.links.configure(self.now(), place, &config),
                Order::Count(answer) => drop(answer.send(Counted {
                    links: self.links.counters(),
                    strays: self.strays,
                    refused: self.refused,
                })),
                Order::End => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::OutOfMemory
    )
}

/// `ENOBUFS`.
const NO_BUFFERS: i32 = Errno::NOBUFS.raw_os_error();
