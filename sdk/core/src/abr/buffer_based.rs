//! BB (Huang et al., "A buffer-based approach to rate adaptation", SIGCOMM 2014), in the linear form that Pensieve is
//! measured against (Mao, Netravali and Alizadeh, SIGCOMM 2017): lowest rung below a reservoir, highest above
//! reservoir and cushion, in proportion between.

use super::{AbrChoice, AbrContext, AbrPolicy};

/// Below so much buffer, in seconds, nothing but the lowest rung.
const RESERVOIR_S: f64 = 5.0;
/// From the reservoir to the highest rung, in seconds.
const CUSHION_S: f64 = 10.0;

/// The rule; it remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct BufferBased;

impl AbrPolicy for BufferBased {
    fn name(&self) -> &'static str {
        "bb"
    }

    fn decide(&mut self, context: &AbrContext) -> AbrChoice {
        let top = context.ladder.len().saturating_sub(1);
        let above = (context.buffer.as_secs_f64() - RESERVOIR_S).max(0.0);
        let share = (above / CUSHION_S).min(1.0);
        let rung = (libm::floor(share * top as f64) as usize).min(top);
        AbrChoice::next(rung, "as much of the ladder as of the cushion is full")
    }
}
