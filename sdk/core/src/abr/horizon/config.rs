//! The numbers that the planner rests on.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::outlook::Signs;
use crate::throughput::HORIZONS;

/// What the planner assumes and how it weighs; the default is one configuration for all networks.
///
/// `nearcast-lab fit horizon` finds them by evolution (CMA-ES; Hansen, 2016): gains in QoE, session by session, on three
/// quarters of the recorded networks of four sets (norway-train, oboe, fcc-broadband, puffer-2021) with the sizes of the
/// film Envivio; with `--sabre` on six more, where segments are replaced and transfers given up, which the two margins
/// are about. It writes the numbers as JSON, which `nearcast-lab bench abr --horizon FILE` measures, and as text for
/// [`HorizonConfig::default`]. They belong to the forecast that they were found with: after `nearcast-lab fit forecast`
/// they are found anew. Those of the default are from a shorter search by separable CMA-ES (Ros and Hansen, PPSN 2008) with
/// the same gains, on the four sets; both margins are guesses, and what is usual weighs as much as served most of the ten public sets, by hand.
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
    /// How much what transfers usually bring weighs beside the forecast, and how much more on a rough line.
    pub usual: f64,
    /// See `usual`.
    pub usual_by_roughness: f64,
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
    /// The factor that follows; it stays within this power of e.
    pub(super) fn times(&self, signs: &Signs, most: f64) -> f64 {
        libm::exp((self.doubt * signs.doubt + self.riches * signs.riches).clamp(-most, most))
    }
}

impl Default for HorizonConfig {
    fn default() -> Self {
        let leaning = |doubt, riches| Leaning { doubt, riches };
        Self {
            middle: [-0.322, -0.462, -0.530, -0.178],
            low: [0.883, 0.546, 0.211, 0.409],
            high: [0.466, 1.264, 0.635, 1.855],
            shift_by_doubt: -0.015,
            shift_by_riches: 0.163,
            low_by: leaning(0.288, 0.771),
            high_by: leaning(-0.341, 0.000),
            low_weight: 0.259,
            low_weight_by: leaning(-0.859, 0.000),
            high_weight: 0.163,
            high_weight_by: leaning(0.125, 0.000),
            kept: 3.288,
            kept_by: leaning(0.102, -0.058),
            kept_until: Duration::from_millis(47218),
            level: 0.623,
            level_by: leaning(0.014, 0.000),
            switch: 1.363,
            switch_by: leaning(0.591, -0.895),
            stall: 0.835,
            stall_by: leaning(0.275, -0.101),
            usual: 0.0,
            usual_by_roughness: 0.5,
            replace_margin: 0.03,
            abandon_margin: 0.8,
        }
    }
}
