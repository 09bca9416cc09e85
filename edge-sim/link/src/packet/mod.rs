//! One direction of a link, packet by packet.

mod chance;
mod config;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use nearcast_units::{ByteCount, Instant, Seed};

use chance::{Chance, Fate};
pub use config::{LossBursts, PacketConfig, PacketLoss};

/// One direction of a link, packet by packet: what is too large or lost is dropped at its entrance, the rest waits
/// in a queue that the rate empties in order, then travels for the delay.
///
/// [`handle_packet`](Self::handle_packet) or [`set_config`](Self::set_config), then
/// [`poll_delivery`](Self::poll_delivery) until `None`, then wait until [`next_deadline`](Self::next_deadline).
/// When a packet is due depends on when it came, never on when it was polled: a late call delays what was due, and
/// costs the link no rate. A time that goes back counts as the latest one told.
///
/// `T` is what stands for a packet: its bytes, or a handle.
#[derive(Clone, Debug)]
pub struct PacketLink<T> {
    config: PacketConfig,
    chance: Chance,
    now: Instant,
    queue: VecDeque<Queued<T>>,
    /// All bytes in the queue.
    backlog: ByteCount,
    /// What is left of the first packet in the queue to be sent at `now`, in bits times 10^9: whole numbers, so that
    /// no rounding loses rate.
    left: u128,
    /// How many in the queue are sent ahead.
    ahead: usize,
    /// On their way, by delivery and order of leaving.
    travelling: BTreeMap<(Instant, u64), (ByteCount, T)>,
    /// The latest delivery of a packet that was not sent ahead.
    latest: Instant,
    left_queue: u64,
    counters: PacketCounters,
}

#[derive(Clone, Debug)]
struct Queued<T> {
    size: ByteCount,
    ahead: bool,
    delay: Duration,
    packet: T,
}

/// What became of a packet at a link's entrance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It will be delivered.
    Queued,
    /// Chance took it.
    Lost,
    /// The queue had no room for it.
    QueueFull,
    /// It is larger than the link's MTU.
    TooLarge,
}

/// What a link did so far: `entered + duplicated = passed + lost + queue_full + too_large` and those under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounters {
    /// Packets handed to the link.
    pub entered: u64,
    /// Packets it delivered, copies included.
    pub passed: u64,
    /// Bytes of those it delivered.
    pub passed_bytes: ByteCount,
    /// Packets that chance took.
    pub lost: u64,
    /// Packets, copies included, that found the queue full.
    pub queue_full: u64,
    /// Packets larger than the MTU.
    pub too_large: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets, copies included, that overtook another one.
    pub reordered: u64,
}

impl<T> PacketLink<T> {
    /// So many packets are under way at most, whatever their sizes; one more counts as one that found the queue
    /// full. At 1,500 bytes that is a second at 786 Mbit/s.
    pub const UNDER_WAY_MAX: usize = 65_536;

    /// Makes a link on which nothing is under way; equal seeds have the same in store for each packet by its number.
    #[must_use]
    pub fn new(config: PacketConfig, seed: Seed) -> Self {
        Self {
            config,
            chance: Chance::new(seed),
            now: Instant::ZERO,
            queue: VecDeque::new(),
            backlog: ByteCount::ZERO,
            left: 0,
            ahead: 0,
            travelling: BTreeMap::new(),
            latest: Instant::ZERO,
            left_queue: 0,
            counters: PacketCounters::default(),
        }
    }

    /// Returns what the link does to packets now.
    #[must_use]
    pub const fn config(&self) -> &PacketConfig {
        &self.config
    }

    /// Changes what the link does from `now` on. A new rate holds for what stands in the queue too, the rest of the
    /// packet that is being sent included. Everything else holds for packets that come later; a shorter delay does
    /// not let them overtake, a smaller queue drops nothing that stands in it.
    pub fn set_config(&mut self, now: Instant, config: PacketConfig) {
        self.advance(now);
        self.config = config;
        self.advance(now); // without a limit everything leaves now
    }

    /// Returns what the link did so far.
    #[must_use]
    pub const fn counters(&self) -> &PacketCounters {
        &self.counters
    }

    /// Takes the next packet that is due by `now`; call until `None`.
    pub fn poll_delivery(&mut self, now: Instant) -> Option<T> {
        self.advance(now);
        let next = self.travelling.first_entry()?;
        let (due, _) = *next.key();
        if due > self.now {
            return None;
        }
        let (size, packet) = next.remove();
        self.counters.passed += 1;
        self.counters.passed_bytes += size;
        Some(packet)
    }

    /// Returns when [`poll_delivery`](Self::poll_delivery) has something to give, or, where a packet is sent ahead,
    /// may have; `None` while nothing is under way or all of it waits for a rate above zero.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let travelling = self.travelling.keys().next().map(|(due, _)| *due);
        let queued = self.queue.front().and_then(|front| {
            let leaves = self.front_leaves()?;
            // One that is sent ahead may stand anywhere in the queue: look at each as it leaves.
            let may_be_due_when_it_leaves = self.ahead > 0;
            Some(if may_be_due_when_it_leaves {
                leaves
            } else {
                (leaves + front.delay).max(self.latest)
            })
        });
        [travelling, queued].into_iter().flatten().min()
    }

    /// Lets everything leave the queue that has been sent by `now`.
    fn advance(&mut self, now: Instant) {
        let now = now.max(self.now);
        while let Some(leaves) = self.front_leaves().filter(|leaves| *leaves <= now) {
            // It left within the nanosecond before `leaves`: what is over belongs to the next one.
            let over = self
                .sent_in(leaves.since(self.now))
                .saturating_sub(self.left);
            self.now = leaves;
            self.send_front();
            self.left = self.front_work().saturating_sub(over);
        }
        self.left = self.left.saturating_sub(self.sent_in(now.since(self.now)));
        self.now = now;
    }

    /// Returns when the first packet in the queue has been sent; `None` without one, or at rate zero.
    fn front_leaves(&self) -> Option<Instant> {
        self.queue.front()?;
        let Some(rate) = self.config.rate else {
            return Some(self.now);
        };
        let bps = u128::from(rate.as_bps());
        let nanos = (bps > 0).then(|| self.left.div_ceil(bps))?;
        Some(self.now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Returns what is sent in `span`, in bits times 10^9.
    fn sent_in(&self, span: Duration) -> u128 {
        let bps = self.config.rate.map_or(0, |rate| u128::from(rate.as_bps()));
        bps.saturating_mul(span.as_nanos())
    }

    fn front_work(&self) -> u128 {
        let front = self.queue.front();
        front.map_or(0, |front| u128::from(front.size.get()) * BYTE)
    }

    fn send_front(&mut self) {
        let Some(front) = self.queue.pop_front() else {
            return;
        };
        self.backlog = self.backlog - front.size;
        let mut due = self.now + front.delay;
        if front.ahead {
            self.ahead -= 1;
            self.counters.reordered += u64::from(due < self.latest);
        } else {
            due = due.max(self.latest);
            self.latest = due;
        }
        let number = self.left_queue;
        self.left_queue += 1;
        self.travelling
            .insert((due, number), (front.size, front.packet));
    }

    fn has_room_for(&self, size: ByteCount) -> bool {
        let under_way = self.queue.len() + self.travelling.len();
        under_way < Self::UNDER_WAY_MAX
            // A packet that is larger than the queue passes when nothing else stands in it.
            && (self.queue.is_empty() || self.backlog + size <= self.config.queue_size())
    }

    fn enqueue(&mut self, size: ByteCount, fate: Fate, packet: T) -> Admission {
        if !self.has_room_for(size) {
            self.counters.queue_full += 1;
            return Admission::QueueFull;
        }
        self.queue.push_back(Queued {
            size,
            ahead: fate.ahead,
            delay: fate.delay,
            packet,
        });
        self.backlog += size;
        self.ahead += usize::from(fate.ahead);
        if self.queue.len() == 1 {
            self.left = self.front_work();
        }
        self.advance(self.now); // without a limit it leaves now
        Admission::Queued
    }
}

impl<T: Clone> PacketLink<T> {
    /// Takes a packet that reaches the link at `now`. `size` is what the rate, the queue and the MTU count: the
    /// caller says which headers are in it.
    pub fn handle_packet(&mut self, now: Instant, size: ByteCount, packet: T) -> Admission {
        self.advance(now);
        self.counters.entered += 1;
        let fate = self.chance.draw(&self.config);
        if self.config.mtu.is_some_and(|mtu| size > mtu) {
            self.counters.too_large += 1;
            return Admission::TooLarge;
        }
        if fate.lost {
            self.counters.lost += 1;
            return Admission::Lost;
        }
        let copy = fate.twice.then(|| packet.clone());
        let admission = self.enqueue(size, fate, packet);
        if let (Some(copy), Admission::Queued) = (copy, admission) {
            self.counters.duplicated += 1;
            self.enqueue(size, fate, copy);
        }
        admission
    }
}

/// One byte in bits times 10^9.
const BYTE: u128 = 8_000_000_000;
