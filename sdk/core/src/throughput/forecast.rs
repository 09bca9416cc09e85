//! What the rate was, over several spans, and how far it strayed from what was expected.

use core::time::Duration;

use nearcast_units::BitRate;
use serde::{Deserialize, Serialize};

use super::Average;

/// What an edge is expected to deliver: what decisions look at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Logarithms of averages of the rate in bit/s, the newest weighing most: of the rate over the last 1, 3, 9 and 30 s
    /// of transfer; of its logarithm over the last 3, 9 and 30 s, which a collapse moves more; of the logarithms of whole
    /// transfers' rates, over about two and six of them.
    pub levels: [f64; LEVELS],
    /// Running deviation of the logarithm of a transfer's rate from what was expected before it.
    pub spread: f64,
    /// The last such deviation; positive where more came than was expected.
    pub last_error: f64,
    /// From a request to its first byte.
    pub ttfb: Duration,
    /// What the classical rules plan with: the lower of two averages; `None` before anything was measured.
    pub sustained: Option<BitRate>,
}

impl Forecast {
    /// What is expected where this was measured only a little: `share` of it, and the rest as `other` says. On the
    /// logarithm, as a normal prior and its observations are joined.
    pub(crate) fn leaning(self, share: f64, other: &Self) -> Self {
        let join = |own: f64, other: f64| own * share + other * (1.0 - share);
        let mut levels = self.levels;
        for (level, other) in levels.iter_mut().zip(other.levels) {
            *level = join(*level, other);
        }
        let sustained = match (self.sustained, other.sustained) {
            (Some(own), Some(other)) => {
                let log = join(libm::log(own.as_f64()), libm::log(other.as_f64()));
                Some(BitRate::from_bps(1).scaled(libm::exp(log)))
            }
            (own, other) => own.or(other),
        };
        Self {
            levels,
            sustained,
            ..self
        }
    }
}

/// How many averages there are.
pub const LEVELS: usize = 9;

/// Spans of the averages, in seconds of transfer time.
const SPANS_S: [f64; 4] = [1.0, 3.0, 9.0, 30.0];
/// Where nothing was measured: a line that carries a picture, and may as well be three times faster or slower.
const PRIOR_BPS: f64 = 2_000_000.0;
const PRIOR_SPREAD: f64 = 1.0;
const PRIOR_TTFB: Duration = Duration::from_millis(60);
/// The deviation begins here, and the beginning counts as so many transfers.
const FIRST_SPREAD: f64 = 0.41;
const FIRST_COUNT: f64 = 3.0;
/// Transfers that the deviation remembers.
const MEMORY: f64 = 14.2;
/// No line is calmer than this.
const SPREAD_MIN: f64 = 0.05;

impl Default for Forecast {
    fn default() -> Self {
        Self {
            levels: [libm::log(PRIOR_BPS); LEVELS],
            spread: PRIOR_SPREAD,
            last_error: 0.0,
            ttfb: PRIOR_TTFB,
            sustained: None,
        }
    }
}

/// The averages, and how far transfers strayed from what was expected of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Averages {
    rates: [Average; 4],
    /// Of the logarithm, over all spans but the shortest.
    logs: [Average; 3],
    /// Of the logarithms of whole transfers' rates.
    transfers: [Average; 2],
    /// Sum of squared deviations and their count, both fading.
    strayed: f64,
    counted: f64,
    last_error: f64,
    /// The logarithm of the rate that was expected of the transfer under way.
    expected: Option<f64>,
    /// What came since the last comparison: bits, and seconds.
    came: (f64, f64),
}

impl Averages {
    pub(super) fn add(&mut self, bps: f64, over_s: f64) {
        self.came.0 += bps * over_s;
        self.came.1 += over_s;
        // Long slices are cut: an average over one second must not take ten of them for one.
        let mut left_s = over_s;
        while left_s > 0.0 {
            let part_s = left_s.min(CUT_S);
            left_s -= part_s;
            let keep = SPANS_S.map(|span_s| libm::exp(-part_s / span_s));
            for (average, keep) in self.rates.iter_mut().zip(keep) {
                average.add(bps, keep);
            }
            let level = libm::log(bps.max(LOG_MIN_BPS));
            for (average, keep) in self.logs.iter_mut().zip(&keep[1..]) {
                average.add(level, *keep);
            }
        }
    }

    pub(super) fn fade(&mut self, keep: f64) {
        let all = self.rates.iter_mut().chain(&mut self.logs);
        for average in all.chain(&mut self.transfers) {
            average.fade(keep);
        }
    }

    pub(super) fn compare(&mut self) {
        let (bits, over_s) = core::mem::take(&mut self.came);
        if over_s <= 0.0 {
            return;
        }
        let came = libm::log((bits / over_s).max(RATE_MIN_BPS));
        for (average, gain) in self.transfers.iter_mut().zip(TRANSFER_GAINS) {
            average.add(came, 1.0 - gain);
        }
        if let Some(expected) = self.expected {
            self.last_error = came - expected;
            let keep = 1.0 - 1.0 / MEMORY;
            self.strayed = self.strayed * keep + self.last_error * self.last_error;
            self.counted = self.counted * keep + 1.0;
        }
        self.expected = self.expected();
    }

    /// What the next transfer is expected to have: between what was of late and what was before.
    fn expected(&self) -> Option<f64> {
        let log = |average: &Average| Some(libm::log(average.value()?.max(RATE_MIN_BPS)));
        Some(f64::midpoint(log(&self.rates[1])?, log(&self.rates[2])?))
    }

    /// The prior deviation fades while transfers are counted.
    fn spread(&self) -> f64 {
        let prior = FIRST_COUNT * (1.0 - self.counted / MEMORY).max(0.0);
        let squared = (FIRST_SPREAD * FIRST_SPREAD * prior + self.strayed) / (prior + self.counted);
        libm::sqrt(squared).max(SPREAD_MIN)
    }

    pub(super) fn forecast(&self, ttfb: Duration, sustained: Option<BitRate>) -> Option<Forecast> {
        let mut levels = [0.0; LEVELS];
        for (level, rate) in levels.iter_mut().zip(&self.rates) {
            *level = libm::log(rate.value()?.max(RATE_MIN_BPS));
        }
        for (level, log) in levels[4..].iter_mut().zip(&self.logs) {
            *level = log.value()?;
        }
        // A transfer under way counts as one that ended now, once it says something.
        let (bits, over_s) = self.came;
        let under_way =
            (over_s >= COUNTS_AFTER_S).then(|| libm::log((bits / over_s).max(RATE_MIN_BPS)));
        for ((level, transfer), gain) in levels[7..]
            .iter_mut()
            .zip(&self.transfers)
            .zip(TRANSFER_GAINS)
        {
            let mut transfer = *transfer;
            if let Some(under_way) = under_way {
                transfer.add(under_way, 1.0 - gain);
            }
            // Before the first whole transfer its slices have to do.
            *level = transfer.value().or(self.logs[0].value())?;
        }
        Some(Forecast {
            levels,
            spread: self.spread(),
            last_error: self.last_error,
            ttfb,
            sustained,
        })
    }
}

/// Slices are taken in parts of at most so many seconds.
const CUT_S: f64 = 0.5;
/// An outage counts as this, in bit/s: its logarithm is to have an end.
const RATE_MIN_BPS: f64 = 10_000.0;
/// The same within averages of the logarithm, where it weighs for longer.
const LOG_MIN_BPS: f64 = 30_000.0;
/// A transfer under way counts after so many seconds.
const COUNTS_AFTER_S: f64 = 1.0;
/// Share of the newest transfer in the averages over transfers.
const TRANSFER_GAINS: [f64; 2] = [0.474, 0.157];
