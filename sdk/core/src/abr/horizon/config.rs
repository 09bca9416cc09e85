//! The numbers of the planner and of its outlook.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::throughput::LEVELS;

/// What the planner assumes and how it weighs; the default is one configuration for all networks.
///
/// Found by evolution (separable CMA-ES; Ros and Hansen, PPSN 2008) on three quarters of the recorded networks of four
/// sets (norway-train, oboe, fcc-broadband, puffer-2021), with the sizes of the film Envivio; replacing and giving up are not tuned.
/// `nearcast-lab bench abr --abr horizon,rmpc,bola` measures what it reaches.
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
            near: [
                -0.278, 0.495, 0.066, -0.358, -0.061, -1.125, -0.985, -0.340, -0.883,
            ],
            far: [
                -0.907, -0.346, 1.188, 0.721, -0.927, -0.748, -0.382, -0.635, 0.032,
            ],
            turn: Duration::from_millis(12220),
            bias: -0.106,
            middle: Offset {
                at: -0.115,
                by: [0.071, 0.255, 0.078, -0.227, 0.152],
            },
            low: Offset {
                at: 1.772,
                by: [-0.347, -0.124, -0.356, -0.087, 0.446],
            },
            high: Offset {
                at: 0.441,
                by: [0.229, -0.170, 0.059, -0.143, 0.577],
            },
            low_weight: 0.316,
            high_weight: 0.190,
            growth: -0.353,
            kept: 2.414,
            kept_until: Duration::from_millis(33331),
            level: 0.719,
            switch: 1.831,
            calm: Offset {
                at: 1.0,
                by: [0.031, 0.0, 0.0, 0.0, -0.172],
            },
            stall: 1.447,
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
