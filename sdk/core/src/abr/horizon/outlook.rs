//! What the rate may become: three paths from the forecast, each with its share.

use super::config::HorizonConfig;
use crate::throughput::{Forecast, HORIZONS, HORIZONS_S, QUANTILES};

/// Rates that are reckoned with: a low one, a middle one and a high one. The plan for each knows which of them it is
/// from the third segment on; the first two have to do for all.
pub(super) const PATHS: usize = 3;
/// Seconds that a path covers; it stays level after that.
const SECONDS: usize = 64;
/// Nothing is planned with less, in bit/s: even an outage ends.
const FLOOR_BPS: f64 = 5_000.0;
/// Which of the forecast's spans says what the line is like: the one over 9 s.
pub(super) const SPAN: usize = 1;
/// What transfers usually bring weighs no more than this beside the forecast.
const USUAL_MOST: f64 = 0.8;
/// Within a path the rate of one span is at least and at most so many times its mean so far.
const LEAST: f64 = 0.25;
const MOST: f64 = 3.0;

/// The paths.
#[derive(Clone, Debug)]
pub(super) struct Outlook {
    /// Seconds per bit, for a segment asked for at each second from now on.
    slowness: [[f32; SECONDS]; PATHS],
    /// How likely each is; they add up to one.
    pub(super) share: [f32; PATHS],
    /// From a request to its first byte, in seconds.
    pub(super) ttfb_s: f32,
    /// What the line is like.
    pub(super) signs: Signs,
}

/// What the line is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    /// Logarithm of how far the forecast's outer quantiles lie apart; 0 on a usual line.
    pub(super) doubt: f64,
    /// Logarithm of the expected rate over that of the highest rung.
    pub(super) riches: f64,
}

impl Outlook {
    /// Looks ahead from a forecast; `segment_s` is how long a segment plays, over which a rate has to hold, and
    /// `top_bps` the rate of the highest rung.
    pub(super) fn new(
        forecast: &Forecast,
        config: &HorizonConfig,
        segment_s: f64,
        top_bps: f64,
    ) -> Self {
        let log_rates = leaning(forecast, config);
        let [lowest, _, middle, _, highest] = log_rates[SPAN];
        let signs = Signs {
            doubt: libm::log((highest - lowest).max(0.05)) + 0.2,
            riches: (middle - libm::log(top_bps.max(1.0))).clamp(-3.0, 1.5),
        };
        let shift = config.shift_by_riches * signs.riches + config.shift_by_doubt * signs.doubt;
        let low = config.low_by.times(&signs, 1.5);
        let high = config.high_by.times(&signs, 1.5);
        let mut means = [[0.0; HORIZONS]; PATHS];
        for (span, quantiles) in log_rates.iter().enumerate() {
            let [lowest, lower, middle, higher, highest] = *quantiles;
            let center = middle + (config.middle[span] + shift) * (higher - lower);
            means[0][span] = center - config.low[span] * low * (middle - lowest);
            means[1][span] = center;
            means[2][span] = center + config.high[span] * high * (highest - middle);
        }
        let low_weight = config.low_weight * config.low_weight_by.times(&signs, 1.5);
        let high_weight = config.high_weight * config.high_weight_by.times(&signs, 1.5);
        let all = 1.0 + low_weight + high_weight;
        let share = [low_weight / all, 1.0 / all, high_weight / all];
        Self {
            slowness: means.map(|means| slowness(&rates(&means), segment_s)),
            share: share.map(|share| share as f32),
            ttfb_s: forecast.ttfb.as_secs_f64() as f32,
            signs,
        }
    }

    /// Seconds per bit on a path, after so many seconds.
    pub(super) fn slowness(&self, path: usize, after_s: f32) -> f32 {
        let second = (after_s.max(0.0) as usize).min(SECONDS - 1);
        self.slowness[path][second]
    }

    /// Seconds until so many bits are here that are asked for now.
    pub(super) fn takes_s(&self, path: usize, bits: f32) -> f32 {
        self.ttfb_s + bits * self.slowness[path][0]
    }

    /// The rate at the end of a path, in bit/s.
    pub(super) fn settles_at_bps(&self, path: usize) -> f64 {
        1.0 / f64::from(self.slowness[path][SECONDS - 1])
    }
}

/// The forecast, leaning towards what transfers usually bring: who follows a rough line from moment to moment makes plans that do not
/// last.
fn leaning(forecast: &Forecast, config: &HorizonConfig) -> [[f64; QUANTILES]; HORIZONS] {
    let share = config.usual + config.usual_by_roughness * forecast.roughness;
    let share = share.clamp(0.0, USUAL_MOST);
    let mut log_rates = forecast.log_rates;
    for (row, usual) in log_rates.iter_mut().zip(&forecast.usual) {
        for (quantile, usual) in row.iter_mut().zip(usual) {
            *quantile += (usual - *quantile) * share;
        }
    }
    log_rates
}

/// The rate between one horizon and the next, from means over all that comes before each. What is low over three
/// seconds is not so over forty: a path is low at first and comes back.
fn rates(log_means: &[f64; HORIZONS]) -> [f64; HORIZONS] {
    let mut rates = [0.0; HORIZONS];
    let mut bits = 0.0;
    let mut from_s = 0.0;
    for ((rate, log_mean), to_s) in rates.iter_mut().zip(log_means).zip(HORIZONS_S) {
        let mean = libm::exp(*log_mean);
        *rate = ((mean * to_s - bits) / (to_s - from_s)).clamp(LEAST * mean, MOST * mean);
        bits += *rate * (to_s - from_s);
        from_s = to_s;
    }
    rates
}

/// Seconds per bit at the mean rate of the time that a segment plays, from each second on.
fn slowness(rates: &[f64; HORIZONS], segment_s: f64) -> [f32; SECONDS] {
    let segment_s = segment_s.max(0.1);
    let mut slowness = [0.0; SECONDS];
    for (second, slowness) in slowness.iter_mut().enumerate() {
        let (begin_s, end_s) = (second as f64, second as f64 + segment_s);
        let mut bits = 0.0;
        let mut from_s = 0.0;
        for (nth, (rate, horizon_s)) in rates.iter().zip(HORIZONS_S).enumerate() {
            let to_s = if nth + 1 == HORIZONS {
                f64::INFINITY
            } else {
                horizon_s
            };
            bits += rate * (end_s.min(to_s) - begin_s.max(from_s)).max(0.0);
            from_s = to_s;
        }
        *slowness = (1.0 / (bits / segment_s).max(FLOOR_BPS)) as f32;
    }
    slowness
}
