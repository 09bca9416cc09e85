//! The numbers of the planner and of its outlook.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::throughput::LEVELS;

/// What the planner assumes and how it weighs; the default is one configuration for all networks.
///
/// Found by evolution (separable CMA-ES; Ros and Hansen, PPSN 2008) on every other trace of the public sets and judged
/// on the others: `nearcast-lab tune` does it again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HorizonConfig {
    /// Shares of the forecast's levels in what comes next, on a logarithmic scale (softmax).
    pub near: [f64; LEVELS],
    /// The same of what comes after.
    pub far: [f64; LEVELS],
    /// How fast what comes next turns into what comes after.
    pub turn: Duration,
    /// What the outlook is shifted by, as a logarithm.
    pub bias: f64,
    /// Of the three rates it reckons with: how far the middle one lies from the outlook, in spreads.
    pub middle: Offset,
    /// How far the low one lies below the middle one, in spreads; what the line is like multiplies it.
    pub low: Offset,
    /// How far the high one lies above the middle one, in spreads; what the line is like multiplies it.
    pub high: Offset,
    /// Weight of the low one; the middle one weighs 1.
    pub low_weight: f64,
    /// Weight of the high one.
    pub high_weight: f64,
    /// How the spread grows with time: `(1 + t / 8 s)` to this power.
    pub growth: f64,
    /// What buffer at the end of the plan is worth.
    pub kept: f64,
    /// Up to how much buffer.
    pub kept_until: Duration,
    /// What each unit of value costs by which the rung at the end of the plan is not the one the rate sustains.
    pub level: f64,
    /// How many times a switch counts: plans flip with the noise of estimates.
    pub switch: f64,
    /// What the line is like makes a switch count more or less.
    pub calm: Offset,
    /// How many times a stall counts.
    pub stall: f64,
    /// What a replacement must gain to be worth its bytes, as a share of the highest value.
    pub replace_margin: f64,
    /// What giving up a transfer must gain, as a share of the highest value.
    pub abandon_margin: f64,
}

impl Default for HorizonConfig {
    fn default() -> Self {
        Self {
            near: [0.0, 0.0, 0.0, -1.0, -0.5, -1.0, -1.0, 0.0, -0.5],
            far: [-1.0, -0.5, -0.5, 0.0, -1.0, -0.5, -0.5, -0.5, 0.0],
            turn: Duration::from_secs(10),
            bias: -0.05,
            middle: Offset {
                at: -0.45,
                by: [0.0; 5],
            },
            low: Offset {
                at: 0.9,
                by: [0.0; 5],
            },
            high: Offset {
                at: 0.7,
                by: [0.0; 5],
            },
            low_weight: 0.3,
            high_weight: 0.25,
            growth: 0.3,
            kept: 1.2,
            kept_until: Duration::from_secs(28),
            level: 1.0,
            switch: 1.7,
            calm: Offset {
                at: 1.0,
                by: [0.0; 5],
            },
            stall: 1.0,
            replace_margin: 0.02,
            abandon_margin: 0.8,
        }
    }
}

/// Where something lies, and how far what the line is like moves it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offset {
    /// On a usual line.
    pub at: f64,
    /// Weights of: the spread, how much faster it was of late than before, the same within the last seconds, the last
    /// error of the forecast, the rate against that of the highest rung.
    pub by: [f64; 5],
}
