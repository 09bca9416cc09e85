//! Links, flows and transfers in virtual time.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

use crate::window::{SlowStart, Window};

mod flowing;
mod store;

use store::{Name, Store};

pub(crate) use flowing::{BYTE, Volume};

/// What a link is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkConfig {
    /// The most it passes; `None` is as good as no limit (1 Tbit/s).
    pub rate: Option<BitRate>,
    /// How long everything takes to cross it, one way.
    pub delay: Duration,
}

/// Names a link of one [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(usize);

/// Names a flow, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(Name);

/// Names a transfer, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(Name);

/// Whether a link passes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// It does.
    #[default]
    Up,
    /// Black hole: everything waits, nothing is refused.
    Stopped,
    /// Dead: TCP flows were reset and new ones are refused, QUIC flows are silent for ever.
    Killed,
}

/// What a flow does when its link is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// It is reset.
    Tcp,
    /// It falls silent.
    Quic,
}

/// A TCP flow over a killed link: refused, one round trip after it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the refusal reaches the client.
    pub at: Instant,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the link is dead and refuses connections")
    }
}

impl core::error::Error for Refused {}

/// What reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next bytes of a transfer: what was sent in the first millisecond, then 64 KiB (and what leaves in a nanosecond), or what was
    /// sent in 10 ms, later on in up to 100 ms, if that is less, or one byte where a byte takes longer than that.
    Bytes {
        /// The flow it is on.
        flow: FlowId,
        /// What they belong to.
        transfer: TransferId,
        /// How many, at least one.
        bytes: ByteCount,
        /// Whether these are the last ones.
        last: bool,
        /// When they arrived.
        at: Instant,
    },
    /// The flow was reset: its link was killed. It no longer exists.
    Reset {
        /// The flow.
        flow: FlowId,
        /// When the reset arrived.
        at: Instant,
    },
}

impl Arrival {
    /// Returns the flow it came on.
    #[must_use]
    pub const fn flow(&self) -> FlowId {
        match self {
            Self::Bytes { flow, .. } | Self::Reset { flow, .. } => *flow,
        }
    }

    /// Returns when it arrived.
    #[must_use]
    pub const fn at(&self) -> Instant {
        match self {
            Self::Bytes { at, .. } | Self::Reset { at, .. } => *at,
        }
    }
}

/// Links and what flows over them. See the crate's documentation for the model.
///
/// One `handle_*`, setter or other call that takes `now`, then [`poll_arrival`](Self::poll_arrival) until `None`,
/// then wait until [`next_deadline`](Self::next_deadline). Time never goes back.
#[derive(Clone, Debug)]
pub struct Network {
    now: Instant,
    slow_start: Option<SlowStart>,
    links: Vec<Link>,
    flows: Store<Flow>,
    transfers: Store<Transfer>,
    /// Under way, by arrival and order of sending. Bounded by what the flows may have in flight: one entry
    /// per slice of 64 KiB or 10 to 100 ms and transfer.
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    /// When each flow changes next: a slice ends, a window is used up, a wait is over.
    changes: BTreeSet<(Instant, FlowId)>,
    /// How often links were divided anew.
    divisions: u64,
    names: u64,
}

#[derive(Clone, Debug)]
struct Link {
    config: LinkConfig,
    state: LinkState,
    /// Flows that have something to send over it and may.
    sharers: BTreeSet<FlowId>,
    /// The most that these could get over the other links of their routes, bits per second.
    asked: u128,
    /// Whether it may have been the limit of some of them.
    tight: bool,
    /// When it was found last, and its place among those that were found then.
    found: (u64, usize),
}

#[derive(Clone, Debug)]
struct Flow {
    route: Vec<usize>,
    transport: Transport,
    dead: bool,
    window: Window,
    idle_since: Instant,
    /// What it has to send.
    transfers: Vec<TransferId>,
    /// Whether it has a share of its links.
    sharing: bool,
    /// Everything before has been sent: a flow is looked at when it changes, not when others do.
    settled: Instant,
    /// Its place among the changes.
    changes_at: Option<Instant>,
    /// What it may send now, bits per second.
    rate: u64,
    /// When its latest bytes arrive: later ones come no earlier.
    arrives: Instant,
    /// When it was found last among those that are divided anew.
    found: u64,
}

#[derive(Clone, Debug)]
struct Transfer {
    flow: FlowId,
    limit: Option<BitRate>,
    left: Volume,
    /// Sent since the last slice was put under way.
    slice: Volume,
    slice_began: Instant,
    slice_span: Duration,
    /// Bits per second.
    rate: u64,
}

impl Network {
    /// Makes a network without links, at the origin of the clock; `None` lets every flow use all of its
    /// share at once.
    #[must_use]
    pub const fn new(slow_start: Option<SlowStart>) -> Self {
        Self {
            now: Instant::ZERO,
            slow_start,
            links: Vec::new(),
            flows: Store::new(),
            transfers: Store::new(),
            arrivals: BTreeMap::new(),
            changes: BTreeSet::new(),
            divisions: 0,
            names: 0,
        }
    }

    /// Adds a link that is up.
    pub fn add_link(&mut self, config: LinkConfig) -> LinkId {
        self.links.push(Link {
            config,
            state: LinkState::Up,
            sharers: BTreeSet::new(),
            asked: 0,
            tight: false,
            found: (0, 0),
        });
        LinkId(self.links.len() - 1)
    }

    /// Returns the link's present rate and delay.
    ///
    /// # Panics
    /// When the link is another network's.
    #[must_use]
    pub fn config(&self, link: LinkId) -> LinkConfig {
        self.links[link.0].config
    }

    /// Returns whether the link passes anything.
    ///
    /// # Panics
    /// When the link is another network's.
    #[must_use]
    pub fn state(&self, link: LinkId) -> LinkState {
        self.links[link.0].state
    }

    /// Returns the time there and back over a route, with nothing queued: for handshakes and requests, which
    /// the model does not carry.
    ///
    /// # Panics
    /// When a link is another network's.
    #[must_use]
    pub fn round_trip(&self, route: &[LinkId]) -> Duration {
        2 * route
            .iter()
            .map(|link| self.links[link.0].config.delay)
            .sum::<Duration>()
    }

    /// Changes a link's rate; `None` removes the limit, zero lets nothing pass.
    ///
    /// # Panics
    /// When the link is another network's.
    pub fn set_rate(&mut self, now: Instant, link: LinkId, rate: Option<BitRate>) {
        self.handle_timeout(now);
        if self.links[link.0].config.rate != rate {
            self.change_capacity(link.0, |link| link.config.rate = rate);
        }
    }

    /// Changes a link's delay; what is under way is not overtaken.
    ///
    /// # Panics
    /// When the link is another network's.
    pub fn set_delay(&mut self, now: Instant, link: LinkId, delay: Duration) {
        self.handle_timeout(now);
        self.links[link.0].config.delay = delay;
    }

    /// Makes a link a black hole: what has left already arrives, nothing else moves.
    ///
    /// # Panics
    /// When the link is another network's.
    pub fn stop(&mut self, now: Instant, link: LinkId) {
        self.set_state(now, link, LinkState::Stopped);
    }

    /// Kills a link: TCP flows are reset once what has left has arrived, QUIC flows are silent from now on.
    ///
    /// # Panics
    /// When the link is another network's.
    pub fn kill(&mut self, now: Instant, link: LinkId) {
        self.set_state(now, link, LinkState::Killed);
        let crossing = self.flows.iter();
        let alive = crossing.filter(|(_, flow)| !flow.dead && flow.route.contains(&link.0));
        let mut hit: Vec<FlowId> = alive.map(|(name, _)| FlowId(name)).collect();
        hit.sort_unstable();
        for id in hit {
            let delay = self.delay(id);
            let Some(flow) = self.flows.get_mut(id.0) else {
                continue;
            };
            flow.dead = true;
            for transfer in core::mem::take(&mut flow.transfers) {
                self.transfers.remove(transfer.0);
            }
            if flow.transport == Transport::Tcp {
                let at = flow.arrives.max(now + delay);
                flow.arrives = at;
                self.names += 1;
                self.arrivals
                    .insert((at, self.names), Arrival::Reset { flow: id, at });
            }
            self.changed(id);
        }
    }

    /// Ends [`stop`](Self::stop), where flows go on, and [`kill`](Self::kill), after which new ones may be opened.
    ///
    /// # Panics
    /// When the link is another network's.
    pub fn restore(&mut self, now: Instant, link: LinkId) {
        self.set_state(now, link, LinkState::Up);
    }

    fn set_state(&mut self, now: Instant, link: LinkId, state: LinkState) {
        self.handle_timeout(now);
        self.change_capacity(link.0, |link| link.state = state);
    }

    /// Opens a flow over a route, from the appliance to the client. Handshakes are not modelled: open it when
    /// they are over, or earlier.
    ///
    /// # Errors
    /// When a link is killed and the transport would hear of it. A QUIC flow over a killed link opens and stays
    /// silent.
    ///
    /// # Panics
    /// When a link is another network's.
    pub fn open_flow(
        &mut self,
        now: Instant,
        route: &[LinkId],
        transport: Transport,
    ) -> Result<FlowId, Refused> {
        self.handle_timeout(now);
        let rtt = self.round_trip(route);
        let dead = route
            .iter()
            .any(|link| self.state(*link) == LinkState::Killed);
        if dead && transport == Transport::Tcp {
            return Err(Refused { at: now + rtt });
        }
        let mut indexes: Vec<usize> = route.iter().map(|link| link.0).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let number = self.name();
        let name = self.flows.insert(
            number,
            Flow {
                route: indexes,
                transport,
                dead,
                window: Window::new(self.slow_start, now, rtt),
                idle_since: now,
                transfers: Vec::new(),
                sharing: false,
                settled: now,
                changes_at: None,
                rate: 0,
                arrives: now,
                found: 0,
            },
        );
        Ok(FlowId(name))
    }

    /// Closes a flow from the client's side: nothing of it arrives any more. Harmless when it is gone.
    pub fn close_flow(&mut self, now: Instant, flow: FlowId) {
        self.handle_timeout(now);
        self.arrivals.retain(|_, arrival| arrival.flow() != flow);
        if let Some(gone) = self.flows.get_mut(flow.0) {
            for transfer in core::mem::take(&mut gone.transfers) {
                self.transfers.remove(transfer.0);
            }
            self.changed(flow);
            self.flows.remove(flow.0);
        }
    }

    /// Has the appliance send `bytes` on a flow, sharing it equally with the flow's other transfers. On a
    /// flow that is gone or silent nothing ever arrives; of zero bytes neither.
    pub fn send(&mut self, now: Instant, flow: FlowId, bytes: ByteCount) -> TransferId {
        self.handle_timeout(now);
        let number = self.name();
        let rtt = 2 * self.delay(flow);
        let slow_start = self.slow_start;
        self.settle(flow);
        match self.flows.get_mut(flow.0) {
            Some(on) if !on.dead && bytes > ByteCount::ZERO => {
                if on.transfers.is_empty() {
                    on.window = if now.since(on.idle_since) > rtt + SlowStart::IDLE {
                        Window::new(slow_start, now, rtt)
                    } else {
                        on.window.tick(now, rtt).wake(now, rtt)
                    };
                }
            }
            Some(_) | None => return TransferId(Name::nowhere(number)),
        }
        let name = self.transfers.insert(
            number,
            Transfer {
                flow,
                limit: None,
                left: u128::from(bytes.get()) * BYTE,
                slice: 0,
                slice_began: now,
                slice_span: flowing::FIRST_SPAN,
                rate: 0,
            },
        );
        let id = TransferId(name);
        if let Some(on) = self.flows.get_mut(flow.0) {
            on.transfers.push(id);
        }
        self.changed(flow);
        id
    }

    /// Limits one transfer (a trickle), or removes its limit. Harmless when it is gone.
    pub fn limit(&mut self, now: Instant, transfer: TransferId, rate: Option<BitRate>) {
        self.handle_timeout(now);
        if let Some(transfer) = self.transfers.get_mut(transfer.0) {
            transfer.limit = rate;
            let flow = transfer.flow;
            self.changed(flow);
        }
    }

    /// Gives a transfer up: nothing of it arrives any more, and its share is free. Harmless when it is gone.
    pub fn cancel(&mut self, now: Instant, transfer: TransferId) {
        self.handle_timeout(now);
        self.arrivals.retain(
            |_, arrival| !matches!(arrival, Arrival::Bytes { transfer: of, .. } if *of == transfer),
        );
        if let Some(flow) = self.transfers.get(transfer.0).map(|gone| gone.flow) {
            self.settle(flow);
            self.end(transfer);
            self.changed(flow);
        }
    }

    /// Returns the rate a transfer has at the moment; zero when it is over, waits or is gone.
    #[must_use]
    pub fn rate(&self, transfer: TransferId) -> BitRate {
        self.transfers
            .get(transfer.0)
            .map_or(BitRate::ZERO, |transfer| BitRate::from_bps(transfer.rate))
    }

    /// Moves time forward; harmless when called early.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Each turn ends a slice, a round or a wait, of which a span of time holds finitely many.
        while let Some(&(due, flow)) = self.changes.first()
            && due <= now
        {
            self.now = self.now.max(due);
            self.turn(flow);
        }
        self.now = self.now.max(now);
    }

    /// Returns what has arrived by now, in the order of arrival; call until `None`.
    pub fn poll_arrival(&mut self) -> Option<Arrival> {
        let first = self.arrivals.first_entry()?;
        if first.key().0 > self.now {
            return None;
        }
        let arrival = first.remove();
        if let Arrival::Reset { flow, .. } = arrival {
            self.flows.remove(flow.0);
        }
        Some(arrival)
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due, if anything moves.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let arrival = self.arrivals.first_key_value().map(|((at, _), _)| *at);
        let change = self.changes.first().map(|(due, _)| *due);
        [change, arrival].into_iter().flatten().min()
    }

    const fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    fn delay(&self, flow: FlowId) -> Duration {
        self.flows.get(flow.0).map_or(Duration::ZERO, |flow| {
            flow.route
                .iter()
                .map(|link| self.links[*link].config.delay)
                .sum()
        })
    }
}

#[cfg(test)]
mod tests;
