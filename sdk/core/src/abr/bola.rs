//! BOLA-BASIC (Spiteri, Urgaonkar and Sitaraman, INFOCOM 2016): the rung with the highest
//! `(V (utility + gamma p) - buffer) / rate`, where utility is the logarithm of the rate over the lowest.

use super::{AbrChoice, AbrContext, AbrPolicy, throughput};

/// Weight of smoothness against utility, as in the paper's evaluation.
const GAMMA_P: f64 = 5.0;

/// The rule; it remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bola;

impl AbrPolicy for Bola {
    fn name(&self) -> &'static str {
        "bola"
    }

    fn decide(&mut self, context: &AbrContext) -> AbrChoice {
        throughput::first(context)
            .unwrap_or_else(|| AbrChoice::next(best(context), "best utility for this buffer level"))
    }
}

/// The rung with the highest score.
pub(super) fn best(context: &AbrContext) -> usize {
    let Some(lowest) = context.ladder.first() else {
        return 0;
    };
    let rate = |rung: usize| {
        context
            .ladder
            .get(rung)
            .map_or(1.0, |one| one.bitrate.as_f64().max(1.0))
    };
    let utility = |rung: usize| libm::log(rate(rung) / lowest.bitrate.as_f64().max(1.0));
    let segment = context
        .ahead
        .first()
        .map_or(0.0, |next| next.duration.as_secs_f64());
    let room = (context.buffer_max.as_secs_f64() - segment).max(0.0);
    let v = room / (utility(context.ladder.len() - 1) + GAMMA_P);
    let buffer = context.buffer.as_secs_f64();
    let mut best = (0, f64::NEG_INFINITY);
    for rung in 0..context.ladder.len() {
        let score = (v * (utility(rung) + GAMMA_P) - buffer) / rate(rung);
        if score > best.1 {
            best = (rung, score);
        }
    }
    best.0
}
