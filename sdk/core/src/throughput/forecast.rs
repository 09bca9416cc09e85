//! What a line may deliver next.

use core::time::Duration;

use nearcast_units::BitRate;
use serde::{Deserialize, Serialize};

use super::history::SIGNS;

/// Spans from now on whose mean rates are forecast, in seconds.
pub const HORIZONS_S: [f64; HORIZONS] = [3.0, 9.0, 20.0, 45.0];
/// How many there are.
pub const HORIZONS: usize = 4;
/// Shares of cases in which less comes than a quantile says.
pub const QUANTILES_AT: [f64; QUANTILES] = [0.08, 0.25, 0.5, 0.75, 0.92];
/// How many there are.
pub const QUANTILES: usize = 5;

/// The span that decisions are explained with: the one that plans look ahead over.
const TOLD: usize = 2;

/// What an edge is expected to deliver: what decisions look at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Quantiles ([`QUANTILES_AT`]) of the logarithm of the mean rate in bit/s over each of [`HORIZONS_S`], ascending.
    pub log_rates: [[f64; QUANTILES]; HORIZONS],
    /// The same quantiles by what whole transfers usually bring, each of which counts the same however long it took: slower to follow,
    /// and steadier where the rate is another one from moment to moment.
    pub usual: [[f64; QUANTILES]; HORIZONS],
    /// How much the rate changes from moment to moment, 0 to 1.
    pub roughness: f64,
    /// From a request to its first byte.
    pub ttfb: Duration,
    /// What the classical rules plan with: the lower of two averages; `None` before anything was measured.
    pub sustained: Option<BitRate>,
    /// What the past of the line looks like ([`SIGNS`] numbers, free of the rate itself): what is forecast follows from it, and
    /// policies may learn from it what else they like. All zero before anything was measured.
    pub signs: [f32; SIGNS],
}

/// Where nothing was measured: a line that carries a picture, and may as well be three times faster or slower.
const PRIOR_BPS: f64 = 2_000_000.0;
const PRIOR_OFF: [f64; QUANTILES] = [-1.4, -0.67, 0.0, 0.67, 1.4];
const PRIOR_TTFB: Duration = Duration::from_millis(60);

impl Default for Forecast {
    fn default() -> Self {
        Self::around(PRIOR_BPS, 1.0)
    }
}

impl Forecast {
    /// Returns what is said of it where a decision is explained: the outer quantiles and the middle one of the rate over the next 20 s in bit/s, and
    /// the wait for a first byte in seconds.
    pub(crate) fn told(&self) -> [(&'static str, f64); 4] {
        let [low, _, middle, _, high] = self.log_rates[TOLD].map(libm::exp);
        [
            ("rate_low_bps", low),
            ("rate_middle_bps", middle),
            ("rate_high_bps", high),
            ("ttfb_s", self.ttfb.as_secs_f64()),
        ]
    }

    /// Makes the forecast of a line that carries about `bps`, with so much doubt: 0 for none, 1 where it may as well
    /// be three times faster or slower.
    #[must_use]
    pub fn around(bps: f64, doubt: f64) -> Self {
        let level = libm::log(bps.max(1.0));
        let log_rates = [PRIOR_OFF.map(|off| level + off * doubt); HORIZONS];
        Self {
            log_rates,
            usual: log_rates,
            roughness: 0.0,
            ttfb: PRIOR_TTFB,
            sustained: None,
            signs: [0.0; SIGNS],
        }
    }

    /// What is expected where this was measured only a little: `share` of it, and the rest as `other` says. On the
    /// logarithm, as a normal prior and its observations are joined.
    pub(crate) fn leaning(mut self, share: f64, other: &Self) -> Self {
        let join = |own: f64, other: f64| own * share + other * (1.0 - share);
        let rows = self.log_rates.iter_mut().chain(&mut self.usual);
        let rows = rows.zip(other.log_rates.iter().chain(&other.usual));
        for (own, other) in rows.flat_map(|(own, other)| own.iter_mut().zip(other)) {
            *own = join(*own, *other);
        }
        self.sustained = match (self.sustained, other.sustained) {
            (Some(own), Some(other)) => {
                let log = join(libm::log(own.as_f64()), libm::log(other.as_f64()));
                Some(BitRate::from_bps(1).scaled(libm::exp(log)))
            }
            (own, other) => own.or(other),
        };
        // Signs of a line that was not measured say nothing.
        if other.sustained.is_some() {
            self.roughness = join(self.roughness, other.roughness);
            for (own, other) in self.signs.iter_mut().zip(&other.signs) {
                *own = narrow(join(f64::from(*own), f64::from(*other)));
            }
        }
        self
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "signs are small numbers: what is cut off is noise"
)]
fn narrow(sign: f64) -> f32 {
    sign as f32
}
