//! How it flows: shares of the links, slices of transfers, one change after the other.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

use super::{Arrival, Flow, FlowId, Link, LinkState, Network, Transfer, TransferId};
use crate::sharing::{Claims, share};

/// An amount in bits times 10^9: what a rate in bits per second passes in a whole number of nanoseconds is
/// exact.
pub(crate) type Volume = u128;

/// One byte as a [`Volume`].
pub(crate) const BYTE: Volume = 8_000_000_000;

/// Arrivals are this long at most, the cadence at which a transport reports progress.
const SLICE: Volume = 65_536 * BYTE;
/// What is sent first is told of at once: the wait for a first byte ends with it.
pub(super) const FIRST_SPAN: Duration = Duration::from_millis(1);
/// The slice after it lasts this long, and each that time makes full a quarter longer than the one before, up to the second.
const SLICE_SPAN_MIN: Duration = Duration::from_millis(10);
const SLICE_SPAN_MAX: Duration = Duration::from_millis(100);

/// As good as no limit.
const UNLIMITED_BPS: u64 = 1_000_000_000_000;

impl Network {
    /// A flow has come to its next change: a slice ends, a window is used up or a wait is over.
    pub(super) fn turn(&mut self, id: FlowId) {
        self.settle(id);
        let now = self.now;
        let rtt = 2 * self.delay(id);
        let Some(flow) = self.flows.get_mut(id.0) else {
            return;
        };
        flow.window = flow.window.tick(now, rtt);
        let due: Vec<TransferId> = flow.transfers.clone();
        let mut ended = false;
        for transfer in due {
            let slice = self.transfers.get(transfer.0);
            if slice.is_some_and(|slice| slice.slice_is_due(now)) {
                self.put_under_way(transfer);
            }
            if self.transfers.get(transfer.0).is_some_and(|t| t.left == 0) {
                self.end(transfer);
                ended = true;
            }
        }
        if ended || self.flows.get(id.0).is_some_and(Flow::is_misplaced) {
            self.changed(id);
        } else {
            self.schedule(id);
        }
    }

    /// Lets a flow send what it could since it was last looked at.
    pub(super) fn settle(&mut self, id: FlowId) {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(id.0) else {
            return;
        };
        let span = now.since(flow.settled).as_nanos();
        flow.settled = now;
        if flow.rate == 0 {
            return;
        }
        // The next change is rounded up to whole nanoseconds, so a transfer or a window may be used up a little
        // before.
        let mut budget = flow.window.budget().unwrap_or(Volume::MAX);
        let mut spent = 0;
        for id in &flow.transfers {
            if let Some(transfer) = self.transfers.get_mut(id.0) {
                let sent = (u128::from(transfer.rate) * span)
                    .min(transfer.left)
                    .min(budget);
                transfer.left -= sent;
                transfer.slice += sent;
                budget -= sent;
                spent += sent;
            }
        }
        flow.window = flow.window.spend(spent, now);
    }

    /// Forgets a transfer, and notes that its flow has nothing to send any more, if so.
    pub(super) fn end(&mut self, id: TransferId) {
        let Some(gone) = self.transfers.remove(id.0) else {
            return;
        };
        if let Some(flow) = self.flows.get_mut(gone.flow.0) {
            flow.transfers.retain(|other| *other != id);
            if flow.transfers.is_empty() {
                flow.idle_since = self.now;
            }
        }
    }

    /// Turns what a transfer has sent into an arrival.
    fn put_under_way(&mut self, id: TransferId) {
        let Some(transfer) = self.transfers.get_mut(id.0) else {
            return;
        };
        let bytes = transfer.slice / BYTE;
        transfer.slice %= BYTE;
        if self.now >= transfer.slice_began + transfer.slice_span {
            transfer.slice_span =
                (transfer.slice_span * 5 / 4).clamp(SLICE_SPAN_MIN, SLICE_SPAN_MAX);
        }
        transfer.slice_began = self.now;
        let (flow, last) = (transfer.flow, transfer.left == 0);
        if bytes == 0 {
            return;
        }
        let at = self.now + self.delay(flow);
        let Some(on) = self.flows.get_mut(flow.0) else {
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

    /// What a flow has to send, or whether it may, has changed: its links are divided anew.
    pub(super) fn changed(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(id.0) else {
            return;
        };
        flow.sharing = flow.may_send();
        let (route, sharing) = (flow.route.clone(), flow.sharing);
        for link in &route {
            let most = self.most_elsewhere(&route, *link);
            let link = &mut self.links[*link];
            if sharing && link.sharers.insert(id) {
                link.asked += most;
            } else if !sharing && link.sharers.remove(&id) {
                link.asked -= most;
            }
        }
        if !sharing {
            self.give(id, 0);
        }
        self.allocate(&route, sharing.then_some(id));
    }

    /// Lets a link pass more or less than before.
    pub(super) fn change_capacity(&mut self, link: usize, change: impl FnOnce(&mut Link)) {
        self.ask_elsewhere(link, |asked, most| *asked -= most);
        change(&mut self.links[link]);
        self.ask_elsewhere(link, |asked, most| *asked += most);
        self.links[link].tight = true;
        self.allocate(&[link], None);
    }

    /// Adds to, or takes from, what is asked of the links that a link's flows cross besides it.
    fn ask_elsewhere(&mut self, link: usize, ask: impl Fn(&mut u128, u128)) {
        let sharers: Vec<FlowId> = self.links[link].sharers.iter().copied().collect();
        for id in sharers {
            let route = self.flows.get(id.0).map(|flow| flow.route.clone());
            let route = route.unwrap_or_default();
            for other in route.iter().filter(|other| **other != link) {
                let most = self.most_elsewhere(&route, *other);
                ask(&mut self.links[*other].asked, most);
            }
        }
    }

    /// What a flow could get over all links of its route but one.
    fn most_elsewhere(&self, route: &[usize], but: usize) -> u128 {
        let others = route.iter().filter(|other| **other != but);
        let most = others.map(|other| self.links[*other].capacity()).min();
        u128::from(most.unwrap_or(UNLIMITED_BPS))
    }

    /// Divides these links anew, and all that are tied to them by flows that cross both, for a flow that has come, or
    /// for what has gone or changed. A link that has room for whatever its flows could get elsewhere ties nothing.
    fn allocate(&mut self, links: &[usize], come: Option<FlowId>) {
        self.divisions += 1;
        let division = self.divisions;
        let mut tied: Vec<usize> = Vec::new();
        let mut flows: Vec<FlowId> = Vec::new();
        for link in links {
            find(&mut self.links, *link, division, &mut tied);
        }
        if let Some(flow) = come.and_then(|id| self.flows.get_mut(id.0)) {
            flow.found = division;
            flows.extend(come);
        }
        let mut next = 0;
        while let Some(&link) = tied.get(next) {
            next += 1;
            // One that had no room before leaves its flows more now.
            let tight = !self.links[link].has_room();
            if !core::mem::replace(&mut self.links[link].tight, tight) && !tight {
                continue;
            }
            let sharers = core::mem::take(&mut self.links[link].sharers);
            for id in &sharers {
                let Some(flow) = self.flows.get_mut(id.0) else {
                    continue;
                };
                if flow.found == division {
                    continue;
                }
                flow.found = division;
                flows.push(*id);
                for other in &flow.route {
                    find(&mut self.links, *other, division, &mut tied);
                }
            }
            self.links[link].sharers = sharers;
        }
        flows.sort_unstable();
        let capacities: Vec<u64> = tied
            .iter()
            .map(|link| self.links[*link].capacity())
            .collect();
        let mut claims = Claims::default();
        for id in &flows {
            let route = self.flows.get(id.0).map_or(&[][..], |flow| &flow.route);
            let places = route.iter().map(|link| self.links[*link].found.1);
            claims.add(places, self.demand_of(*id));
        }
        let rates = share(&capacities, &claims);
        for (id, rate) in flows.into_iter().zip(rates) {
            self.give(id, rate);
        }
    }

    /// Gives a flow this rate, from now on, and each of its transfers its part.
    fn give(&mut self, id: FlowId, rate: u64) {
        let Some(flow) = self.flows.get(id.0) else {
            return;
        };
        // One without a share may have lost what it waited for.
        let stays = flow.sharing && flow.changes_at.is_some();
        let rate_of = |id: &TransferId| self.transfers.get(id.0).map(|one| one.rate);
        let shares = match flow.transfers[..] {
            // What one transfer can have is what its flow can have.
            [id] if stays && rate_of(&id) == Some(rate) => return,
            [_] => Vec::from([rate]),
            _ => {
                let mut claims = Claims::default();
                for id in &flow.transfers {
                    claims.add([0], self.demand(*id));
                }
                share(&[rate], &claims)
            }
        };
        let transfers = flow.transfers.clone();
        let mut both = transfers.iter().zip(&shares);
        if stays && both.all(|(id, share)| rate_of(id) == Some(*share)) {
            return;
        }
        self.settle(id);
        let now = self.now;
        if let Some(flow) = self.flows.get_mut(id.0) {
            flow.rate = shares.iter().sum();
        }
        for (id, share) in transfers.into_iter().zip(shares) {
            let mut stopped = false;
            if let Some(transfer) = self.transfers.get_mut(id.0) {
                if transfer.rate == 0 && transfer.slice == 0 {
                    transfer.slice_began = now;
                }
                stopped = transfer.rate > 0 && share == 0;
                transfer.rate = share;
            }
            // What has left arrives, even if nothing follows.
            if stopped {
                self.put_under_way(id);
            }
        }
        self.schedule(id);
    }

    /// Notes when a flow changes next.
    fn schedule(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get(id.0) else {
            return;
        };
        let slices = flow.transfers.iter().filter_map(|id| {
            let transfer = self.transfers.get(id.0)?;
            (transfer.rate > 0).then(|| transfer.due(flow.settled))
        });
        let window = flow.window.budget().filter(|_| flow.rate > 0);
        let window = window.map(|budget| flow.settled + time_for(budget, flow.rate));
        // A wait matters only to a flow with something to send.
        let wait = flow.window.due().filter(|_| !flow.transfers.is_empty());
        let due = match flow.is_misplaced() {
            true => Some(self.now),
            false => slices.chain(window).chain(wait).min(),
        };
        let before = flow.changes_at;
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.changes.remove(&(before, id));
        }
        if let Some(due) = due {
            self.changes.insert((due, id));
        }
        if let Some(flow) = self.flows.get_mut(id.0) {
            flow.changes_at = due;
        }
    }

    /// What a flow could send without any link's limit.
    fn demand_of(&self, id: FlowId) -> u64 {
        let transfers = self.flows.get(id.0).map_or(&[][..], |flow| &flow.transfers);
        let demands = transfers.iter().map(|id| self.demand(*id));
        demands.fold(0, u64::saturating_add).min(UNLIMITED_BPS)
    }

    fn demand(&self, transfer: TransferId) -> u64 {
        self.transfers.get(transfer.0).map_or(0, |transfer| {
            transfer.limit.map_or(UNLIMITED_BPS, BitRate::as_bps)
        })
    }
}

/// Notes that a link is one of those that are divided anew.
fn find(links: &mut [Link], link: usize, division: u64, tied: &mut Vec<usize>) {
    let found = &mut links[link].found;
    if found.0 != division {
        *found = (division, tied.len());
        tied.push(link);
    }
}

impl Flow {
    /// Whether it has something to send and may.
    fn may_send(&self) -> bool {
        !self.dead && !self.transfers.is_empty() && !self.window.is_waiting()
    }

    /// Whether it has a share that it cannot use, or none that it could.
    fn is_misplaced(&self) -> bool {
        self.sharing != self.may_send()
    }
}

impl Link {
    /// Whether it passes all that its flows could get over the other links of their routes.
    fn has_room(&self) -> bool {
        self.asked <= u128::from(self.capacity())
    }

    pub(super) fn capacity(&self) -> u64 {
        match self.state {
            LinkState::Up => self.config.rate.map_or(UNLIMITED_BPS, BitRate::as_bps),
            LinkState::Stopped | LinkState::Killed => 0,
        }
    }
}

impl Transfer {
    /// When the slice is full, the transfer over, or its time has passed and there is a byte to show.
    fn due(&self, now: Instant) -> Instant {
        let full = now + time_for(self.left.min(SLICE.saturating_sub(self.slice)), self.rate);
        let byte = now + time_for(BYTE.saturating_sub(self.slice).min(self.left), self.rate);
        full.min(byte.max(self.slice_began + self.slice_span))
    }

    fn slice_is_due(&self, now: Instant) -> bool {
        self.left == 0
            || self.slice >= SLICE
            || (self.slice >= BYTE && now >= self.slice_began + self.slice_span)
    }
}

/// The time a volume takes, rounded up; zero rates are the caller's to keep out.
fn time_for(volume: Volume, rate: u64) -> Duration {
    let nanos = volume.div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
