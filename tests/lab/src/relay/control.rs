//! What is wrong with a relay at the moment: every part of it watches this one value.

use std::sync::Arc;
use std::time::Duration;

use nearcast_link::PacketConfig;
use nearcast_units::{BitRate, Ratio};

use super::receipt::Direction;
use super::toxic::{Bandwidth, Lane, Latency, Toxic};

/// Whether what is behind a relay can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Everything passes.
    #[default]
    Open,
    /// New TCP connections are refused; those that stand live on, and so do datagrams. Where two sockets
    /// may share an address (Linux), the system gives the port to nobody who asks for any free one.
    Refused,
    /// Nothing passes either way and nothing is closed. What clients send is still acknowledged by the system until its
    /// buffers are full. New connections are left unanswered: the queue of those that wait to be accepted is kept
    /// full. Where the system opens them all the same they are silent; [`Deed::BlackHole`](super::Deed::BlackHole) says
    /// which it is. Datagrams are dropped.
    BlackHole,
}

/// What a line does to the bytes of TCP connections, one way. The default does nothing. How a connection is opened
/// is the system's affair, and takes no longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamPath {
    /// What all connections together may bring; `None` is no limit, zero passes nothing.
    pub rate: Option<BitRate>,
    /// How much later bytes come.
    pub delay: Duration,
    /// How far a delay may be from `delay`, either way; nothing overtakes.
    pub jitter: Duration,
}

/// A toxic on the connections of a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedToxic {
    /// Which one it is, from 1 on: what has another number is another toxic, and begins anew on each connection.
    pub id: u64,
    /// Its name, in receipts.
    pub name: Arc<str>,
    /// Which way it works.
    pub direction: Direction,
    /// The share of connections that it is put on. One draw for each connection and toxic decides, so that a greater
    /// share includes all connections of a smaller one.
    pub toxicity: Ratio,
    /// What it does.
    pub toxic: Toxic,
}

#[derive(Clone, Debug)]
pub(super) struct Control {
    /// Which change this is.
    pub(super) version: u64,
    pub(super) reach: Reach,
    /// How often all connections have been reset.
    pub(super) resets: u64,
    /// How often the mapping of addresses has been lost.
    pub(super) rebinds: u64,
    pub(super) toxics: Arc<[PlacedToxic]>,
    pub(super) udp_blocked: bool,
    pub(super) upstream: Way,
    pub(super) downstream: Way,
}

/// What holds for one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    pub(super) streams: StreamPath,
    pub(super) lane: Lane,
    pub(super) packets: PacketConfig,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            version: 0,
            reach: Reach::Open,
            resets: 0,
            rebinds: 0,
            toxics: Arc::new([]),
            udp_blocked: false,
            upstream: Way::default(),
            downstream: Way::default(),
        }
    }

    pub(super) const fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Upstream => &self.upstream,
            Direction::Downstream => &self.downstream,
        }
    }

    pub(super) const fn way_mut(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Upstream => &mut self.upstream,
            Direction::Downstream => &mut self.downstream,
        }
    }
}

impl StreamPath {
    pub(super) fn latency(&self) -> Option<Latency> {
        let has_delay = !self.delay.is_zero() || !self.jitter.is_zero();
        has_delay.then_some(Latency {
            latency: self.delay,
            jitter: self.jitter,
        })
    }

    pub(super) fn bandwidth(&self) -> Option<Bandwidth> {
        self.rate.map(|rate| Bandwidth { rate })
    }
}
