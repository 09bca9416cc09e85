//! The numbers that the planner rests on.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::outlook::Signs;
use crate::throughput::HORIZONS;

/// What the planner assumes and how it weighs; the default is one configuration for all networks.
///
/// Found by evolution (separable CMA-ES; Ros and Hansen, PPSN 2008) on three quarters of the recorded networks of four
/// sets (norway-train, oboe, fcc-broadband, puffer-2021), with the sizes of the film Envivio.
/// `nearcast-lab bench abr --abr horizon,rmpc,bola` measures what it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HorizonConfig {
    /// Of the three rates it reckons with, over each of the forecast's spans: how far the middle one lies above the
    /// median, in distances between the quartiles.
    pub middle: [f64; HORIZONS],
    /// How far the low one lies below the middle one, in distances of the lowest quantile from the median.
    pub low: [f64; HORIZONS],
    /// How far the high one lies above the middle one, in distances of the highest quantile from the median.
    pub high: [f64; HORIZONS],
    /// What doubt and riches add to `middle`.
    pub shift_by_doubt: f64,
    /// See `shift_by_doubt`.
    pub shift_by_riches: f64,
    /// What the line is like makes the low one lower.
    pub low_by: Leaning,
    /// The same of the high one.
    pub high_by: Leaning,
    /// Weight of the low one; the middle one weighs 1.
    pub low_weight: f64,
    /// What the line is like makes it weigh more.
    pub low_weight_by: Leaning,
    /// Weight of the high one.
    pub high_weight: f64,
    /// What the line is like makes it weigh more.
    pub high_weight_by: Leaning,
    /// What buffer at the end of the plan is worth.
    pub kept: f64,
    /// What the line is like makes it worth more.
    pub kept_by: Leaning,
    /// Up to how much buffer.
    pub kept_until: Duration,
    /// What each unit of value costs by which the rung at the end of the plan is not the one the rate sustains.
    pub level: f64,
    /// What the line is like makes it cost more.
    pub level_by: Leaning,
    /// How many times a switch counts: plans flip with the noise of estimates.
    pub switch: f64,
    /// What the line is like makes it count more.
    pub switch_by: Leaning,
    /// How many times a stall counts.
    pub stall: f64,
    /// What the line is like makes it count more.
    pub stall_by: Leaning,
    /// What a replacement must gain to be worth its bytes, as a share of the highest value.
    pub replace_margin: f64,
    /// What giving up a transfer must gain, as a share of the highest value.
    pub abandon_margin: f64,
}

/// How far something depends on what the line is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leaning {
    /// On how uncertain the forecast is (logarithm of how far its outer quantiles lie apart).
    pub doubt: f64,
    /// On how much of the ladder it carries (logarithm of its rate over that of the highest rung).
    pub riches: f64,
}

impl Leaning {
    /// The factor that follows.
    pub(super) fn times(&self, signs: &Signs) -> f64 {
        libm::exp((self.doubt * signs.doubt + self.riches * signs.riches).clamp(-1.5, 1.5))
    }
}

impl Default for HorizonConfig {
    fn default() -> Self {
        let leaning = |doubt, riches| Leaning { doubt, riches };
        Self {
            middle: [-0.365, -0.460, -0.549, -0.204],
            low: [0.987, 0.563, 0.216, 0.444],
            high: [0.430, 1.277, 0.609, 1.939],
            shift_by_doubt: -0.025,
            shift_by_riches: 0.164,
            low_by: leaning(0.251, 0.773),
            high_by: leaning(-0.213, 0.000),
            low_weight: 0.258,
            low_weight_by: leaning(-0.858, 0.000),
            high_weight: 0.173,
            high_weight_by: leaning(0.186, 0.000),
            kept: 3.198,
            kept_by: leaning(0.113, -0.117),
            kept_until: Duration::from_millis(45060),
            level: 0.566,
            level_by: leaning(0.053, 0.000),
            switch: 1.234,
            switch_by: leaning(0.479, -0.891),
            stall: 0.721,
            stall_by: leaning(0.226, -0.093),
            replace_margin: 0.02,
            abandon_margin: 0.8,
        }
    }
}
