//! What is to be gained and lost, as data: the planner and the benches share one formula,
//! `sum of value - stall x stalled seconds - switch x sum of |value changes|` (QoE_lin of Yin et al., SIGCOMM 2015,
//! when the value of a rung is its bit rate).

use alloc::vec::Vec;

use nearcast_units::BitRate;
use serde::{Deserialize, Serialize};

/// What playback is to be good at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Objective {
    /// What a segment is worth by its rung.
    pub value: RungValue,
    /// What a second of rebuffering costs, in the unit of `value`; `None` is the value of the highest rung, so that a
    /// second of it costs as much as the best picture is worth.
    pub stall: Option<f64>,
    /// What a change of value between two segments costs, per unit.
    pub switch: Option<f64>,
}

/// What a segment is worth by its rung.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RungValue {
    /// Its bit rate in Mbit/s.
    #[default]
    BitRate,
    /// The natural logarithm of its bit rate over that of the lowest rung.
    LogBitRate,
    /// Given scores (VMAF, SSIM), by ascending bit rate; a rung without one has the last.
    Scores(Vec<f64>),
}

/// The weights of one decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// What a second of rebuffering costs.
    pub stall: f64,
    /// What a change of value between two segments costs, per unit.
    pub switch: f64,
}

impl Objective {
    /// Returns what a segment at a rung is worth; never NaN or infinite.
    #[must_use]
    pub fn value(&self, rung: usize, bitrate: BitRate, lowest: BitRate) -> f64 {
        let value = match &self.value {
            RungValue::BitRate => bitrate.as_f64() / 1e6,
            RungValue::LogBitRate => libm::log(bitrate.as_f64() / lowest.as_f64().max(1.0)),
            RungValue::Scores(scores) => scores.get(rung).or(scores.last()).copied().unwrap_or(0.0),
        };
        if value.is_finite() { value } else { 0.0 }
    }

    /// Returns the weights, where the highest rung is worth `top`.
    #[must_use]
    pub fn weights(&self, top: f64) -> Weights {
        let or = |given: Option<f64>, usual: f64| {
            given
                .filter(|weight| weight.is_finite() && *weight >= 0.0)
                .unwrap_or(usual)
        };
        Weights {
            stall: or(self.stall, top),
            switch: or(self.switch, 1.0),
        }
    }
}
