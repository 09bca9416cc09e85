//! What links do beside their rate and delay, as far as a fluid link can have it.

use std::time::Duration;

use nearcast_link::{FlowId, LinkId};
use nearcast_units::{BitRate, Instant, Rng};

use super::congestion::Congestion;
use super::{Attempt, Due, World};
use crate::setup::Bursts;

/// Until a handshake is begun again, and at least until anything else is sent again (RFC 6298; common kernels have 0.2 s).
const HANDSHAKE_AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MIN: Duration = Duration::from_millis(200);

impl World {
    /// Returns the share of packets that are lost on the way between an appliance and a client.
    fn loss(&self, client: usize, edge: usize) -> f64 {
        if self.impaired.is_empty() {
            return 0.0;
        }
        let route = self.route(client, edge);
        let passes = route.iter().map(|link| {
            let impaired = self.impaired.get(link);
            1.0 - impaired.map_or(0.0, |one| one.loss.get())
        });
        1.0 - passes.product::<f64>()
    }

    /// Returns what an attempt's connection brings at most where packets are lost, and counts its rounds from now on.
    pub(super) fn loss_limit(&mut self, now: Instant, id: Attempt) -> Option<BitRate> {
        let attempt = self.attempts.get(&id)?;
        let (flow, edge) = (attempt.flow?, attempt.edge);
        if self.loss(id.0, edge) <= 0.0 {
            return None;
        }
        let rtt = self.round(id.0, edge);
        let congestion = self
            .congested
            .entry(flow)
            .or_insert_with(|| Congestion::new(now));
        if let Some(ends) = congestion.begin(now, rtt) {
            self.due.add(ends, Due::Round(flow));
        }
        congestion.limit(rtt)
    }

    /// A round trip of a connection is over.
    pub(super) fn round_ends(&mut self, now: Instant, flow: FlowId) {
        let Some(&id) = self.flows.get(&flow) else {
            return;
        };
        let Some((transfer, edge)) = self
            .attempts
            .get(&id)
            .and_then(|attempt| Some((attempt.transfer?, attempt.edge)))
        else {
            return;
        };
        let sent = self.network.rate(transfer).bytes_in(self.round(id.0, edge));
        let loss = self.loss(id.0, edge);
        let route = self.route(id.0, edge);
        let Some(congestion) = self.congested.get_mut(&flow) else {
            return;
        };
        let chance = &mut self.chance;
        let of_route = |link| Some((link, self.impaired.get(&link)?.bursts?));
        let bursts: Vec<(LinkId, Bursts)> = route.into_iter().filter_map(of_route).collect();
        if bursts.is_empty() {
            congestion.end(sent, || chance.next_f64() < loss);
        } else {
            let single = route.iter().filter_map(|link| self.impaired.get(link));
            let single = single.filter(|one| one.bursts.is_none());
            let single: f64 = single.map(|one| 1.0 - one.loss.get()).product();
            let in_burst = &mut self.in_burst;
            congestion.end(sent, || {
                let each = bursts.iter().map(|(link, bursts)| {
                    1.0 - bursts.loss_of_next(in_burst.entry(*link).or_default(), chance)
                });
                let passes = single * each.product::<f64>();
                chance.next_f64() >= passes
            });
        }
        self.limits(now, id);
    }

    /// Returns what a round trip takes, in the mean. No packet overtakes another: of two that come close, the longer jitter counts, two thirds of the longest.
    fn round(&self, client: usize, edge: usize) -> Duration {
        let route = self.route(client, edge);
        let longest = route.iter().filter_map(|link| self.impaired.get(link));
        let jitter: Duration = longest.map(|one| one.jitter).sum();
        (self.network.round_trip(&route) + jitter * 2 / 3).max(Duration::from_millis(1))
    }

    /// Draws how much longer something takes that crosses all links once.
    pub(super) fn jitter(&mut self, client: usize, edge: usize) -> Duration {
        if self.impaired.is_empty() {
            return Duration::ZERO;
        }
        let route = self.route(client, edge);
        let spans = route.map(|link| {
            self.impaired
                .get(&link)
                .map_or(Duration::ZERO, |one| one.jitter)
        });
        let drawn = spans.map(|span| {
            if span.is_zero() {
                Duration::ZERO
            } else {
                span.mul_f64(self.chance.next_f64())
            }
        });
        drawn.iter().sum()
    }

    /// Draws how much longer a handshake takes since packets of it are lost.
    pub(super) fn handshake_again(
        &mut self,
        client: usize,
        edge: usize,
        exchanges: u32,
    ) -> Duration {
        let loss = self.loss(client, edge);
        let mut longer = Duration::ZERO;
        if loss > 0.0 {
            for _ in 0..exchanges {
                longer += self.times_lost(loss) * HANDSHAKE_AGAIN;
            }
        }
        longer
    }

    /// Draws how much later a request arrives since it is lost.
    pub(super) fn request_again(&mut self, client: usize, edge: usize) -> Duration {
        let loss = self.loss(client, edge);
        if loss <= 0.0 {
            return Duration::ZERO;
        }
        let rtt = self.network.round_trip(&self.route(client, edge));
        self.times_lost(loss) * (rtt + AGAIN_MIN)
    }

    /// Draws how often in a row a packet or its answer is lost.
    fn times_lost(&mut self, loss: f64) -> u32 {
        let either = 1.0 - (1.0 - loss) * (1.0 - loss);
        (0..LOST_MAX)
            .take_while(|_| self.chance.next_f64() < either)
            .count()
            .try_into()
            .unwrap_or(LOST_MAX)
    }
}

impl Bursts {
    /// Moves the chain on by a packet; returns how likely that is lost.
    fn loss_of_next(&self, in_burst: &mut bool, chance: &mut Rng) -> f64 {
        let turns = if *in_burst {
            self.within.leave
        } else {
            self.within.enter
        };
        *in_burst ^= chance.next_f64() < turns.get();
        let loss = if *in_burst {
            self.within.loss
        } else {
            self.outside
        };
        loss.get()
    }
}

/// More often than this in a row nothing is sent again while somebody waits.
const LOST_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use nearcast_link::LossBursts;
    use nearcast_units::{Ratio, Seed};

    use super::*;

    #[test]
    fn bursts_lose_what_they_say_and_a_window_is_made_smaller_once_for_each() {
        let ratio = |share| Ratio::new(share).unwrap();
        let bursts = Bursts {
            within: LossBursts {
                enter: ratio(0.002),
                leave: ratio(0.25),
                loss: ratio(1.0),
            },
            outside: ratio(0.0),
        };
        let rtt = Duration::from_millis(100);
        let mut chance = Seed::new(1).rng();
        let (mut in_burst, mut window) = (false, Congestion::new(Instant::ZERO));
        let (mut sent, mut lost) = (0.0, 0.0);
        for _ in 0..100_000 {
            let most = window.limit(rtt).unwrap().bytes_in(rtt);
            window.end(most, || {
                let is_lost = bursts.loss_of_next(&mut in_burst, &mut chance) > 0.5;
                sent += 1.0;
                lost += f64::from(u8::from(is_lost));
                is_lost
            });
        }
        // 0.002 of 0.252; the window is that of one packet lost in 500, not of one in 126.
        let share: f64 = lost / sent;
        assert!((share / 0.0079 - 1.0).abs() < 0.05, "{share}");
        let packets: f64 = sent / 100_000.0;
        assert!((packets / 27.4 - 1.0).abs() < 0.1, "{packets}");
    }
}
