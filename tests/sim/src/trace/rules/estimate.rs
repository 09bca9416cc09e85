//! The estimate that Sabre's rules share.

use crate::trace::{Movie, Progress};

/// Half-lives of the two averages: of transfer time for the rate, and, by segments as long as these, of latency.
const HALF_LIVES_MS: [f64; 2] = [3_000.0, 8_000.0];

/// Two exponentially weighted averages, freed of the bias of their beginning: the lower rate and the higher latency.
pub(super) struct Estimate {
    averages: [Average; 2],
    segment_ms: f64,
    transfer_ms: f64,
    transfers: f64,
}

#[derive(Clone, Copy, Default)]
struct Average {
    kbps: f64,
    latency_ms: f64,
}

fn remains(passed: f64, half_life: f64) -> f64 {
    0.5_f64.powf(passed / half_life)
}

impl Estimate {
    pub(super) fn new(movie: &Movie) -> Self {
        Self {
            averages: [Average::default(); 2],
            segment_ms: movie.segment_ms(),
            transfer_ms: 0.0,
            transfers: 0.0,
        }
    }

    /// Takes in a transfer that came to its end.
    pub(super) fn push(&mut self, transfer: &Progress<'_>) {
        let kbps = transfer.got_bits / transfer.transfer_ms;
        for (average, half_life) in self.averages.iter_mut().zip(HALF_LIVES_MS) {
            let old = remains(transfer.transfer_ms, half_life);
            average.kbps = old * average.kbps + (1.0 - old) * kbps;
            let old = remains(1.0, half_life / self.segment_ms);
            average.latency_ms = old * average.latency_ms + (1.0 - old) * transfer.latency_ms;
        }
        self.transfer_ms += transfer.transfer_ms;
        self.transfers += 1.0;
    }

    /// Returns the rate; `None` before the first transfer.
    pub(super) fn kbps(&self) -> Option<f64> {
        let rates = self.averages.iter().zip(HALF_LIVES_MS);
        let rates = rates.map(|(one, half)| one.kbps / (1.0 - remains(self.transfer_ms, half)));
        rates.reduce(f64::min).filter(|_| self.transfers > 0.0)
    }

    /// Returns the latency; 0 before the first transfer.
    pub(super) fn latency_ms(&self) -> f64 {
        if self.transfers <= 0.0 {
            return 0.0;
        }
        let all = self.averages.iter().zip(HALF_LIVES_MS);
        let all = all.map(|(one, half)| {
            one.latency_ms / (1.0 - remains(self.transfers, half / self.segment_ms))
        });
        all.fold(0.0, f64::max)
    }

    /// Returns the highest rung of which a segment comes within its own duration at this rate.
    pub(super) fn sustained(&self, movie: &Movie, kbps: f64) -> usize {
        let segment_ms = movie.segment_ms();
        let latency_ms = self.latency_ms();
        let above = movie.bitrates_kbps()[1..].iter();
        let fits = |rung: &&f64| latency_ms + segment_ms * **rung / kbps <= segment_ms;
        above.take_while(fits).count()
    }
}
