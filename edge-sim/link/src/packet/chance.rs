//! What chance does to a packet.

use core::time::Duration;

use nearcast_units::{Ratio, Rng, Seed};

use super::{PacketConfig, PacketLoss};

/// What chance has in store for one packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) lost: bool,
    pub(super) ahead: bool,
    pub(super) twice: bool,
    /// Between the packet's leaving the queue and its delivery.
    pub(super) delay: Duration,
}

/// One generator for each purpose, each of which is asked once for every packet whatever is configured: turning
/// one impairment on or off does not shift the numbers of another, nor its own later ones.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    loss: Rng,
    bursts: Rng,
    reorder: Rng,
    duplicate: Rng,
    jitter: Rng,
    in_burst: bool,
}

impl Chance {
    pub(super) fn new(seed: Seed) -> Self {
        let of = |purpose| seed.split(purpose).rng();
        Self {
            loss: of("loss"),
            bursts: of("bursts"),
            reorder: of("reorder"),
            duplicate: of("duplicate"),
            jitter: of("jitter"),
            in_burst: false,
        }
    }

    pub(super) fn draw(&mut self, config: &PacketConfig) -> Fate {
        let spread = config.jitter.saturating_mul(2).as_nanos();
        let spread = u64::try_from(spread).unwrap_or(u64::MAX).saturating_add(1);
        let jitter = Duration::from_nanos(self.jitter.below(spread));
        let ahead = happens(&mut self.reorder, config.reorder);
        Fate {
            lost: self.loses(&config.loss),
            ahead,
            twice: happens(&mut self.duplicate, config.duplicate),
            delay: if ahead {
                Duration::ZERO
            } else {
                (config.delay + jitter).saturating_sub(config.jitter)
            },
        }
    }

    fn loses(&mut self, loss: &PacketLoss) -> bool {
        let turn = self.bursts.next_f64();
        let ratio = match loss.bursts {
            Some(bursts) => {
                let turns = if self.in_burst {
                    bursts.leave
                } else {
                    bursts.enter
                };
                self.in_burst ^= turn < turns.get();
                if self.in_burst {
                    bursts.loss
                } else {
                    loss.ratio
                }
            }
            None => {
                self.in_burst = false;
                loss.ratio
            }
        };
        happens(&mut self.loss, ratio)
    }
}

fn happens(rng: &mut Rng, probability: Ratio) -> bool {
    rng.next_f64() < probability.get()
}
