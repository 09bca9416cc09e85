//! What is to be gained and lost, as data: the planner and the benches share one formula,
//! `sum of value - stall x stalled seconds - stall_begins x stalls - switch x sum of |value changes|` (QoE_lin of Yin et al.,
//! SIGCOMM 2015, when the value of a rung is its bit rate and `stall_begins` is 0).

use alloc::vec::Vec;

use nearcast_units::BitRate;
use serde::{Deserialize, Serialize};

/// Where nothing is said, each stall costs as much as so many seconds of it.
const STALL_BEGINS_S: f64 = 2.0;

/// What playback is to be good at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Objective {
    /// What a segment is worth by its rung.
    pub value: RungValue,
    /// What a second of rebuffering costs, in the unit of `value`; `None` is the value of the highest rung, so that a
    /// second of it costs as much as the best picture is worth. A negative or infinite one counts as `None`.
    pub stall: Option<f64>,
    /// What each stall costs beside that, however short: viewers mind that playback stops at all (Hossfeld et al., "Quantification of YouTube
    /// QoE via crowdsourcing", ISM 2011). `None`, and what is negative or infinite, is what two seconds of it cost. QoE_lin knows none.
    pub stall_begins: Option<f64>,
    /// What a change of value between two segments costs, per unit; `None`, and what is negative or infinite, is 1.
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
    /// What each stall costs beside that.
    pub stall_begins: f64,
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
        let stall = or(self.stall, top);
        Weights {
            stall,
            stall_begins: or(self.stall_begins, STALL_BEGINS_S * stall),
            switch: or(self.switch, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_is_worth_its_rate_its_logarithm_or_what_was_given() {
        let lowest = BitRate::from_kbps(500);
        let value = |value: RungValue, rung: usize, kbps: u64| {
            let objective = Objective {
                value,
                ..Objective::default()
            };
            objective.value(rung, BitRate::from_kbps(kbps), lowest)
        };
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(value(RungValue::BitRate, 3, 4_300), 4.3));
        assert!(near(value(RungValue::LogBitRate, 0, 500), 0.0));
        assert!(near(
            value(RungValue::LogBitRate, 3, 4_000),
            3.0 * core::f64::consts::LN_2
        ));
        let scores = || RungValue::Scores(alloc::vec![31.0, 62.5]);
        assert!(near(value(scores(), 1, 4_000), 62.5));
        assert!(
            near(value(scores(), 4, 9_000), 62.5),
            "the last one stands for all above"
        );
        assert!(near(
            value(RungValue::Scores(alloc::vec![f64::NAN]), 0, 500),
            0.0
        ));
    }

    #[test]
    fn weights_are_those_given_where_they_are_any() {
        let weights = |stall, stall_begins, switch| {
            let objective = Objective {
                stall,
                stall_begins,
                switch,
                ..Objective::default()
            };
            let weights = objective.weights(5.8);
            (weights.stall, weights.stall_begins, weights.switch)
        };
        let given = weights(Some(35.0), Some(3.0), Some(0.0));
        assert_eq!(given, (35.0, 3.0, 0.0));
        assert_eq!(weights(None, None, None), (5.8, 11.6, 1.0));
        let odd = weights(Some(-1.0), Some(f64::NAN), Some(f64::INFINITY));
        assert_eq!(odd, (5.8, 11.6, 1.0));
    }
}
