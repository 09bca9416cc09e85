//! What the rate was, over several spans, and how far it strayed from what was expected.

use core::time::Duration;

use nearcast_units::BitRate;
use serde::{Deserialize, Serialize};

use super::Average;

/// What an edge is expected to deliver: what decisions look at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Averages of the rate in bit/s over the last 1, 3, 9 and 30 s of transfer, exponentially weighted.
    pub averages_bps: [f64; 4],
    /// Running deviation of the logarithm of a transfer's rate from what was expected before it.
    pub spread: f64,
    /// The last such deviation; positive where more came than was expected.
    pub last_error: f64,
    /// From a request to its first byte.
    pub ttfb: Duration,
    /// What the classical rules plan with: the lower of two averages; `None` before anything was measured.
    pub sustained: Option<BitRate>,
}

/// Spans of the averages, in seconds of transfer time.
const SPANS_S: [f64; 4] = [1.0, 3.0, 9.0, 30.0];
/// Where nothing was measured: a line that carries a picture, and may as well be three times faster or slower.
const PRIOR_BPS: f64 = 2_000_000.0;
const PRIOR_SPREAD: f64 = 1.0;
const PRIOR_TTFB: Duration = Duration::from_millis(60);
/// The deviation begins here, and the beginning counts as so many transfers.
const FIRST_SPREAD: f64 = 0.45;
const FIRST_COUNT: f64 = 3.0;
/// Transfers that the deviation remembers.
const MEMORY: f64 = 8.0;
/// No line is calmer than this.
const SPREAD_MIN: f64 = 0.05;

impl Default for Forecast {
    fn default() -> Self {
        Self {
            averages_bps: [PRIOR_BPS; 4],
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
            for (average, span_s) in self.rates.iter_mut().zip(SPANS_S) {
                average.add(bps, libm::exp(-part_s / span_s));
            }
        }
    }

    pub(super) fn compare(&mut self) {
        let (bits, over_s) = core::mem::take(&mut self.came);
        if over_s <= 0.0 {
            return;
        }
        let came = libm::log((bits / over_s).max(RATE_MIN_BPS));
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
        let mut averages_bps = [0.0; 4];
        for (average, rate) in averages_bps.iter_mut().zip(&self.rates) {
            *average = rate.value()?;
        }
        Some(Forecast {
            averages_bps,
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
