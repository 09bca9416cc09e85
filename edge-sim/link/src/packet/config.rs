//! What one direction of a link does to packets.

use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Ratio};

/// What one direction of a link does to packets. The default lets everything pass at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PacketConfig {
    /// What passes at most; `None` is no limit, zero passes nothing and lets the queue fill.
    pub rate: Option<BitRate>,
    /// How long a packet travels once it has left the queue, one way.
    pub delay: Duration,
    /// How far a packet's delay may be from `delay`: uniform from `delay - jitter` (not below zero) to
    /// `delay + jitter`, drawn anew for each packet. A packet is never delivered before one that left ahead of
    /// it, so that on a busy link the delay is closer to `delay + jitter` than to `delay`.
    pub jitter: Duration,
    /// Which packets are lost.
    pub loss: PacketLoss,
    /// The share of packets that are sent ahead: they wait in the queue like all others, and are then delivered
    /// without delay and jitter, before those that are still travelling. Where `delay` is zero nothing can be
    /// overtaken.
    pub reorder: Ratio,
    /// The share of packets that are sent twice. The copy stands in the queue right behind the packet, where it
    /// needs room and rate like any other.
    pub duplicate: Ratio,
    /// What may stand in the queue, the packet that is being sent included; what comes on top is dropped. `None`
    /// is [`queue_size`](Self::queue_size)'s choice.
    pub queue: Option<ByteCount>,
    /// The largest packet that passes; `None` is no limit.
    pub mtu: Option<ByteCount>,
}

/// Which packets are lost: some at all times, and more of them in bursts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PacketLoss {
    /// The share of packets lost outside of bursts, each one independently.
    pub ratio: Ratio,
    /// When bursts begin and end; `None` is never.
    pub bursts: Option<LossBursts>,
}

/// Bursts of loss (the model of Gilbert and Elliott): a burst begins before a packet with one probability and
/// ends before a packet with another, so that it is `1 / leave` packets long in the mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossBursts {
    /// The probability that a burst begins, per packet outside of one.
    pub enter: Ratio,
    /// The probability that it ends, per packet within it.
    pub leave: Ratio,
    /// The share of packets lost within it.
    pub loss: Ratio,
}

impl PacketConfig {
    /// How long a queue that nobody configured lasts: a bandwidth-delay product of paths with usual round trips.
    pub const QUEUE_TIME: Duration = Duration::from_millis(100);

    /// It is never smaller than this: some connections' first flights.
    pub const QUEUE_MIN: ByteCount = ByteCount::new(100_000);

    /// Returns what may stand in the queue: what was configured, else what the rate passes in
    /// [`QUEUE_TIME`](Self::QUEUE_TIME), and no less than [`QUEUE_MIN`](Self::QUEUE_MIN).
    #[must_use]
    pub fn queue_size(&self) -> ByteCount {
        let passed = self.rate.map(|rate| rate.bytes_in(Self::QUEUE_TIME));
        let product = passed.unwrap_or(ByteCount::ZERO);
        self.queue.unwrap_or(product.max(Self::QUEUE_MIN))
    }
}
