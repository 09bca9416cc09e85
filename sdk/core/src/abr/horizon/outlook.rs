//! What the rate may become: three paths from the forecast, each with its share.

use super::config::{HorizonConfig, Offset};
use crate::throughput::{Forecast, LEVELS};

/// Rates that are reckoned with: a low one, a middle one and a high one. The plan for each knows which of them it is
/// from the second segment on; the first segment has to do for all.
pub(super) const PATHS: usize = 3;
/// Seconds that a path covers; it stays level after that.
const SECONDS: usize = 64;
/// Nothing is planned with less, in bit/s: even an outage ends.
const FLOOR_BPS: f64 = 5_000.0;
/// The spread grows from here on, in seconds.
const SPREAD_S: f64 = 8.0;

/// The paths.
#[derive(Clone, Debug)]
pub(super) struct Outlook {
    /// Seconds per bit, at each second from now on.
    slowness: [[f32; SECONDS]; PATHS],
    /// How likely each is; they add up to one.
    pub(super) share: [f32; PATHS],
    /// From a request to its first byte, in seconds.
    pub(super) ttfb_s: f32,
    /// What switches cost more, or less, on a line like this.
    pub(super) calm: f64,
}

/// What the line is like, in the order in which [`Offset`] weighs it: zero is a usual one.
pub(super) type Signs = [f64; 5];

impl Outlook {
    /// Looks ahead from a forecast; `segment_s` is how long a segment plays, over which a rate has to hold, and
    /// `top_bps` the rate of the highest rung.
    pub(super) fn new(
        forecast: &Forecast,
        config: &HorizonConfig,
        segment_s: f64,
        top_bps: f64,
    ) -> Self {
        let near = weighted(&forecast.levels, &config.near);
        let far = weighted(&forecast.levels, &config.far);
        let signs = [
            forecast.spread - 0.4,
            near - far,
            forecast.levels[0] - forecast.levels[1],
            forecast.last_error.clamp(-2.0, 2.0),
            (near - libm::log(top_bps.max(1.0))).clamp(-3.0, 1.5),
        ];
        let middle = config.middle.at + config.middle.weigh(&signs);
        let offsets = [
            middle - config.low.scaled(&signs),
            middle,
            middle + config.high.scaled(&signs),
        ];
        let turn_s = config.turn.as_secs_f64().max(0.1);
        let mut slowness = [[0.0; SECONDS]; PATHS];
        for second in 0..SECONDS {
            let from_now_s = second as f64 + segment_s / 2.0;
            let level = far + (near - far) * libm::exp(-from_now_s / turn_s) + config.bias;
            let spread = forecast.spread * libm::pow(1.0 + from_now_s / SPREAD_S, config.growth);
            for (path, offset) in slowness.iter_mut().zip(offsets) {
                let rate = libm::exp(level + spread * offset).max(FLOOR_BPS);
                path[second] = (1.0 / rate) as f32;
            }
        }
        let all = 1.0 + config.low_weight + config.high_weight;
        let share = [config.low_weight / all, 1.0 / all, config.high_weight / all];
        Self {
            slowness,
            share: share.map(|share| share as f32),
            ttfb_s: forecast.ttfb.as_secs_f64() as f32,
            calm: config.calm.scaled(&signs),
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

impl Offset {
    fn weigh(&self, signs: &Signs) -> f64 {
        self.by
            .iter()
            .zip(signs)
            .map(|(weight, sign)| weight * sign)
            .sum()
    }

    /// The offset, so many times larger or smaller.
    fn scaled(&self, signs: &Signs) -> f64 {
        self.at * libm::exp(self.weigh(signs).clamp(-2.0, 2.0))
    }
}

/// The mean of levels, by softmax of the weights.
fn weighted(levels: &[f64; LEVELS], weights: &[f64; LEVELS]) -> f64 {
    let highest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut all = 0.0;
    let mut sum = 0.0;
    for (level, weight) in levels.iter().zip(weights) {
        let share = libm::exp(weight - highest);
        all += share;
        sum += share * level;
    }
    sum / all
}
