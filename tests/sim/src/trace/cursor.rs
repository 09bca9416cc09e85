//! A place in a network that only moves on.

use super::Network;

/// A place in a network. Whole rounds are passed in one step, so that no call walks more than one.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    network: &'a Network,
    /// What the recorded rates are multiplied by.
    scale: f64,
    index: usize,
    /// What is left of the period.
    left_ms: f64,
    now_ms: f64,
}

/// Part of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// How long it took.
    pub ms: f64,
    /// What came.
    pub bits: f64,
}

impl<'a> Cursor<'a> {
    /// Returns the beginning of a network whose rates are all multiplied by `scale`.
    ///
    /// # Panics
    /// When `scale` is not above 0: nothing would ever come.
    #[must_use]
    pub fn new(network: &'a Network, scale: f64) -> Self {
        assert!(scale > 0.0, "a network that delivers nothing");
        Self {
            network,
            scale,
            index: 0,
            left_ms: network.periods()[0].duration_ms,
            now_ms: 0.0,
        }
    }

    /// Returns the time passed on the network's clock.
    #[must_use]
    pub fn now_ms(&self) -> f64 {
        self.now_ms
    }

    /// Lets time pass.
    pub fn wait(&mut self, ms: f64) {
        let round_ms = self.network.round_ms();
        let rounds = (ms / round_ms).floor();
        self.now_ms += rounds * round_ms;
        let mut rest = ms - rounds * round_ms;
        while rest > self.left_ms {
            rest -= self.left_ms;
            self.next_period();
        }
        self.pass(rest);
    }

    /// Lets one latency pass and returns how long it took. Where the latency changes meanwhile, each period takes
    /// the part of it that fits in.
    pub fn latency(&mut self) -> f64 {
        let rounds = (1.0 / self.network.round_latencies()).floor();
        let mut took = rounds * self.network.round_ms();
        self.now_ms += took;
        // Where a period has no latency, a round has infinitely many, and none is passed whole.
        let mut rest = if rounds > 0.0 {
            1.0 - rounds * self.network.round_latencies()
        } else {
            1.0
        };
        loop {
            let full = self.network.periods()[self.index].latency_ms;
            let ms = rest * full;
            if ms <= self.left_ms {
                self.pass(ms);
                return took + ms;
            }
            took += self.left_ms;
            rest -= self.left_ms / full;
            self.next_period();
        }
    }

    /// Transfers until `bits` are there, or sooner once both `least_bits` and `least_ms` are reached.
    pub fn transfer(&mut self, bits: f64, least_bits: f64, least_ms: f64) -> Share {
        let round = Share {
            ms: self.network.round_ms(),
            bits: self.network.round_bits() * self.scale,
        };
        let enough = (least_bits / round.bits).max(least_ms / round.ms);
        let rounds = enough.min(bits / round.bits).floor().max(0.0);
        let mut took_ms = rounds * round.ms;
        self.now_ms += took_ms;
        let mut rest_bits = bits - rounds * round.bits;
        let mut least_bits = least_bits - rounds * round.bits;
        let mut least_ms = least_ms - took_ms;
        loop {
            let kbps = self.network.periods()[self.index].kbps * self.scale;
            let whole_ms = passing(rest_bits, kbps);
            let enough_ms = passing(least_bits, kbps).max(least_ms);
            if whole_ms.min(enough_ms) <= self.left_ms {
                let ms = whole_ms.min(enough_ms).max(0.0);
                self.pass(ms);
                let rest_bits = if enough_ms < whole_ms {
                    rest_bits - ms * kbps
                } else {
                    0.0
                };
                return Share {
                    ms: took_ms + ms,
                    bits: bits - rest_bits,
                };
            }
            took_ms += self.left_ms;
            least_ms -= self.left_ms;
            rest_bits -= self.left_ms * kbps;
            least_bits -= self.left_ms * kbps;
            self.next_period();
        }
    }

    /// Transfers all of `bits` and returns how long it took.
    pub fn transfer_whole(&mut self, bits: f64) -> f64 {
        self.transfer(bits, f64::INFINITY, 0.0).ms
    }

    fn pass(&mut self, ms: f64) {
        self.now_ms += ms;
        self.left_ms -= ms;
    }

    fn next_period(&mut self) {
        self.now_ms += self.left_ms;
        self.index = (self.index + 1) % self.network.periods().len();
        self.left_ms = self.network.periods()[self.index].duration_ms;
    }
}

/// Returns how long so much takes at this rate.
fn passing(bits: f64, kbps: f64) -> f64 {
    if bits <= 0.0 { 0.0 } else { bits / kbps }
}
