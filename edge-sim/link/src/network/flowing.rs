//! How it flows: shares of the links, slices of transfers, one change after the other.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

use super::{Arrival, FlowId, Link, LinkState, Network, Transfer, TransferId};
use crate::sharing::{Claim, share};

/// An amount in bits times 10^9: what a rate in bits per second passes in a whole number of nanoseconds is
/// exact.
pub(crate) type Volume = u128;

/// One byte as a [`Volume`].
pub(crate) const BYTE: Volume = 8_000_000_000;

/// Arrivals are this long at most, the cadence at which a transport reports progress.
const SLICE: Volume = 65_536 * BYTE;
const SLICE_SPAN: Duration = Duration::from_millis(100);

/// As good as no limit.
const UNLIMITED_BPS: u64 = 1_000_000_000_000;

impl Network {
    /// When a slice ends, a window is used up or a wait is over.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let slices = self
            .transfers
            .values()
            .filter(|transfer| transfer.rate > 0)
            .map(|transfer| transfer.due(self.now));
        let windows = self.flows.values().filter(|flow| flow.rate > 0);
        let windows = windows.filter_map(|flow| {
            let budget = flow.window.budget()?;
            Some(self.now + time_for(budget, flow.rate))
        });
        // A wait matters only to a flow with something to send.
        let waits = self
            .transfers
            .values()
            .filter_map(|transfer| self.flows.get(&transfer.flow)?.window.due());
        slices.chain(windows).chain(waits).min()
    }

    /// Lets everything flow until `to`, which is not after the next change.
    pub(super) fn step(&mut self, to: Instant) {
        let span = to.since(self.now).as_nanos();
        self.now = self.now.max(to);
        let now = self.now;
        let mut changed = false;
        let mut spent: BTreeMap<FlowId, Volume> = BTreeMap::new();
        let mut due = Vec::new();
        for (id, transfer) in &mut self.transfers {
            if transfer.rate == 0 {
                continue;
            }
            // The next change is rounded up to whole nanoseconds, so a transfer or a window may be used up a
            // little before.
            let spent = spent.entry(transfer.flow).or_default();
            let budget = self.flows.get(&transfer.flow);
            let budget = budget.and_then(|flow| flow.window.budget());
            let sent = (u128::from(transfer.rate) * span)
                .min(transfer.left)
                .min(budget.map_or(Volume::MAX, |budget| budget.saturating_sub(*spent)));
            transfer.left -= sent;
            transfer.slice += sent;
            *spent += sent;
            if transfer.slice_is_due(now) {
                due.push(*id);
            }
        }
        for (id, flow) in &mut self.flows {
            let before = flow.window;
            let rtt = 2 * flow
                .route
                .iter()
                .map(|link| self.links[*link].config.delay)
                .sum::<Duration>();
            if let Some(sent) = spent.get(id) {
                flow.window = flow.window.spend(*sent, now);
            }
            flow.window = flow.window.tick(now, rtt);
            changed |= before.is_waiting() != flow.window.is_waiting();
        }
        for id in due {
            self.put_under_way(id);
            if self.transfers.get(&id).is_some_and(|t| t.left == 0)
                && let Some(done) = self.transfers.remove(&id)
            {
                self.rest(done.flow);
                changed = true;
            }
        }
        if changed {
            self.allocate();
        }
    }

    /// Notes that a flow has nothing to send any more, if so.
    pub(super) fn rest(&mut self, flow: FlowId) {
        if !self.transfers.values().any(|other| other.flow == flow)
            && let Some(flow) = self.flows.get_mut(&flow)
        {
            flow.idle_since = self.now;
        }
    }

    /// Turns what a transfer has sent into an arrival.
    fn put_under_way(&mut self, id: TransferId) {
        let Some(transfer) = self.transfers.get_mut(&id) else {
            return;
        };
        let bytes = transfer.slice / BYTE;
        transfer.slice %= BYTE;
        transfer.slice_began = self.now;
        let (flow, last) = (transfer.flow, transfer.left == 0);
        if bytes == 0 {
            return;
        }
        let at = self.now + self.delay(flow);
        let Some(on) = self.flows.get_mut(&flow) else {
            return;
        };
        let at = at.max(on.arrives);
        on.arrives = at;
        let order = self.name();
        self.arrivals.insert(
            (at, order),
            Arrival::Bytes {
                flow,
                transfer: id,
                bytes: ByteCount::new(u64::try_from(bytes).unwrap_or(u64::MAX)),
                last,
                at,
            },
        );
    }

    /// Divides the links anew: something began, ended or changed.
    pub(super) fn allocate(&mut self) {
        let capacities: Vec<u64> = self.links.iter().map(Link::capacity).collect();
        let mut by_flow: BTreeMap<FlowId, Vec<TransferId>> = BTreeMap::new();
        for flow in self.flows.values_mut() {
            flow.rate = 0;
        }
        for (id, transfer) in &self.transfers {
            by_flow.entry(transfer.flow).or_default().push(*id);
        }
        let mut claims = Vec::with_capacity(by_flow.len());
        for (id, transfers) in &by_flow {
            let flow = self.flows.get(id).filter(|flow| !flow.window.is_waiting());
            claims.push(Claim {
                route: flow.map(|flow| flow.route.clone()).unwrap_or_default(),
                demand: flow.map_or(0, |_| {
                    transfers
                        .iter()
                        .fold(0_u64, |sum, id| sum.saturating_add(self.demand(*id)))
                        .min(UNLIMITED_BPS)
                }),
            });
        }
        let rates = share(&capacities, &claims);
        for ((flow, transfers), rate) in by_flow.into_iter().zip(rates) {
            let claims: Vec<Claim> = transfers
                .iter()
                .map(|id| Claim {
                    route: Vec::from([0]),
                    demand: self.demand(*id),
                })
                .collect();
            let shares = share(&[rate], &claims);
            if let Some(flow) = self.flows.get_mut(&flow) {
                flow.rate = shares.iter().sum();
            }
            for (id, share) in transfers.into_iter().zip(shares) {
                let mut stopped = false;
                if let Some(transfer) = self.transfers.get_mut(&id) {
                    if transfer.rate == 0 && transfer.slice == 0 {
                        transfer.slice_began = self.now;
                    }
                    stopped = transfer.rate > 0 && share == 0;
                    transfer.rate = share;
                }
                // What has left arrives, even if nothing follows.
                if stopped {
                    self.put_under_way(id);
                }
            }
        }
    }

    fn demand(&self, transfer: TransferId) -> u64 {
        self.transfers.get(&transfer).map_or(0, |transfer| {
            transfer.limit.map_or(UNLIMITED_BPS, BitRate::as_bps)
        })
    }
}

impl Link {
    fn capacity(&self) -> u64 {
        match self.state {
            LinkState::Up => self.config.rate.map_or(UNLIMITED_BPS, BitRate::as_bps),
            LinkState::Stopped | LinkState::Killed => 0,
        }
    }
}

impl Transfer {
    /// When the slice is full, the transfer over, or 100 ms have passed and there is a byte to show.
    fn due(&self, now: Instant) -> Instant {
        let full = now + time_for(self.left.min(SLICE.saturating_sub(self.slice)), self.rate);
        let byte = now + time_for(BYTE.saturating_sub(self.slice).min(self.left), self.rate);
        full.min(byte.max(self.slice_began + SLICE_SPAN))
    }

    fn slice_is_due(&self, now: Instant) -> bool {
        self.left == 0
            || self.slice >= SLICE
            || (self.slice >= BYTE && now >= self.slice_began + SLICE_SPAN)
    }
}

/// The time a volume takes, rounded up; zero rates are the caller's to keep out.
fn time_for(volume: Volume, rate: u64) -> Duration {
    let nanos = volume.div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
