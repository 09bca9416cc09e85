//! What a plan does not see, learned from what came of it: a correction of the plan's scores (a residual policy: Silver et al.,
//! "Residual policy learning", 2018).
//!
//! A plan takes the forecast at its word, knows three paths of the rate, and cannot see that the next plan will be another one. A small
//! network says for each rung near the one that the plan prefers by how much better or worse than that one it is than its score says. It sees what
//! the line's past looks like, where the session is (buffer, ladder, what is left of the title), and what the rung would change. `nearcast-lab fit
//! residual` teaches it, and its help has the recipe; the present table is from `--rounds 270`, gone on from with `--seed 2 --rounds 40 --rate 0.0015`,
//! before corrections were bounded and left out on rich lines: the command does not repeat it to the digit.
//!
//! It was learned for an objective that holds a second of stalling to be worth the highest rung and a change to be worth what it changes, and on
//! lines that carry a few times the highest rung at most: far from that, plans are taken as they are.

use super::outlook::SPAN;
use super::residual_weights::WEIGHTS;
use crate::abr::AbrContext;
use crate::perceptron;
use crate::throughput::SIGNS;

/// Width of both hidden layers.
const HIDDEN: usize = 24;
pub(super) const COUNT: usize = perceptron::weights(Candidate::INPUTS, HIDDEN, 1);
/// Rungs further than this from the one that the plan prefers are none that the plan could be wrong about.
const APART: usize = 2;
const COUNT_MOST: usize = 2 * APART + 1;
/// On a line that carries so many times the highest rung no plan is wrong, and little was learned: far beyond, middle rungs were chosen.
const RICH: f64 = 3.0;
/// How many times what it was in the objective that it was learned for a weight may be, or the other way around.
const WEIGHT_OFF: f64 = 2.5;

/// A rung that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Index into the ladder.
    pub rung: usize,
    /// Its score over the one that the plan prefers, where the highest rung's value is 1: never above 0.
    pub behind: f32,
    /// What the network sees: the first [`Self::OF_DECISION`] are the same for all rungs.
    pub inputs: [f32; Self::INPUTS],
}

impl Candidate {
    /// How many numbers describe a decision: the line's past, and where the session is.
    pub const OF_DECISION: usize = SIGNS + 10;
    /// How many describe a rung there.
    pub const INPUTS: usize = Self::OF_DECISION + 11;
    /// What a sum of 1 of the network's last layer adds to a score, in values of the highest rung. A rung that is so much ahead is e times as
    /// likely while the network learns: with half of it hardly anything else is tried, and nothing learned.
    pub const UNIT: f32 = 0.06;
    /// No score is corrected by more, in values of the highest rung: what the network was not taught with must not outweigh a stall.
    pub const MOST: f32 = 1.0;

    const NONE: Self = Self {
        rung: 0,
        behind: 0.0,
        inputs: [0.0; Self::INPUTS],
    };
}

/// The candidates of a decision.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    all: [Candidate; COUNT_MOST],
    count: usize,
    /// Place of the one that the plan prefers.
    planned: usize,
}

impl Default for Candidates {
    fn default() -> Self {
        Self {
            all: [Candidate::NONE; COUNT_MOST],
            count: 0,
            planned: 0,
        }
    }
}

impl Candidates {
    /// Takes in the rungs near the one that the plan prefers; none where playback begins, where nothing was measured or nothing is left to be
    /// fetched, or where objective or line are far from what it was learned with.
    pub(super) fn find(&mut self, context: &AbrContext, scores: &[f64], preferred: usize) {
        self.count = 0;
        let Some(of_decision) = of_decision(context) else {
            return;
        };
        let first = preferred.saturating_sub(APART);
        self.planned = preferred - first;
        let near = scores.iter().enumerate().skip(first);
        for (rung, score) in near.take(preferred + APART + 1 - first) {
            let behind = score - scores[preferred];
            let candidate = &mut self.all[self.count];
            candidate.rung = rung;
            candidate.behind = behind as f32;
            let (first, rest) = candidate.inputs.split_at_mut(Candidate::OF_DECISION);
            first.copy_from_slice(&of_decision);
            let of_rung = of_rung(context, rung, preferred, behind);
            for (input, number) in rest.iter_mut().zip(of_rung) {
                *input = number as f32;
            }
            self.count += 1;
        }
    }

    pub(super) fn all(&self) -> &[Candidate] {
        &self.all[..self.count]
    }

    /// Corrects the scores of all but the one that the plan prefers, which the others are compared with.
    pub(super) fn correct(&self, scores: &mut [f64]) {
        let mut sums = [0.0; COUNT_MOST];
        for (sum, candidate) in sums.iter_mut().zip(self.all()) {
            [*sum] =
                perceptron::run::<{ Candidate::INPUTS }, HIDDEN, 1>(&WEIGHTS, &candidate.inputs);
        }
        for (sum, candidate) in sums.iter().zip(self.all()) {
            let by = Candidate::UNIT * (sum - sums[self.planned]);
            scores[candidate.rung] += f64::from(by.clamp(-Candidate::MOST, Candidate::MOST));
        }
    }
}

/// The line's past, and the session: what the line carries of the highest rung's rate and of the lowest's, the buffer in segments and as a
/// share of what it may hold, what the last rung is worth, how many segments the buffer may hold, how uncertain the forecast is, what is left of
/// the title in two measures, and how far the buffer reaches into it. Logarithms, but for shares; none beyond 4.
fn of_decision(context: &AbrContext) -> Option<[f32; Candidate::OF_DECISION]> {
    let signs = &context.forecast.signs;
    let (lowest, highest) = (context.ladder.first()?, context.ladder.last()?);
    let last = context.ladder.get(context.last?)?;
    let segment_s = context.ahead.first()?.duration.as_secs_f64().max(0.1);
    let stall = context.weights.stall / context.top_value();
    let near = |weight: f64| (1.0 / WEIGHT_OFF..=WEIGHT_OFF).contains(&weight);
    let measured = signs.iter().any(|sign| *sign != 0.0);
    if !measured || !near(stall) || !near(context.weights.switch) {
        return None;
    }
    let [least, _, usual, _, most] = context.forecast.log_rates[SPAN];
    let over = |bps: f64| usual - libm::log(bps.max(1.0));
    if over(highest.bitrate.as_f64()) > libm::log(RICH) {
        return None;
    }
    let buffer_s = context.buffer.as_secs_f64();
    let full_s = context.buffer_max.as_secs_f64().max(segment_s);
    let left = f64::from(context.left.unwrap_or(1_000).max(1));
    let session = [
        over(highest.bitrate.as_f64()).clamp(-4.0, 3.0),
        over(lowest.bitrate.as_f64()).clamp(-3.0, 4.0) * 0.5,
        libm::log(buffer_s / segment_s + 0.3).clamp(-4.0, 4.0),
        (buffer_s / full_s).min(4.0),
        (last.value / context.top_value()).clamp(-4.0, 4.0),
        (libm::log(full_s / segment_s) - 1.5).clamp(-4.0, 4.0),
        libm::log((most - least).max(0.05)),
        left.min(24.0) / 24.0,
        left.min(8.0) / 8.0,
        (buffer_s / (left * segment_s)).min(2.0),
    ];
    let mut inputs = [0.0; Candidate::OF_DECISION];
    let (of_line, of_session) = inputs.split_at_mut(SIGNS);
    of_line.copy_from_slice(signs);
    for (input, number) in of_session.iter_mut().zip(session) {
        *input = number as f32;
    }
    Some(inputs)
}

/// A rung: its score, whether it is the planned one and whether the last one, what it is worth over the last one, its rate over the line's, how long
/// its segment takes as a share of the buffer on a usual and on a bad line, what it is worth, how far it is from the planned one, the
/// segment's size over the usual one, and what buffer it leaves.
fn of_rung(
    context: &AbrContext,
    rung: usize,
    preferred: usize,
    behind: f64,
) -> [f64; Candidate::INPUTS - Candidate::OF_DECISION] {
    let one = context.ladder[rung];
    let segment_s = context.ahead[0].duration.as_secs_f64();
    let buffer_s = context.buffer.as_secs_f64();
    let bits = context.size_ahead(0, rung).get() as f64 * 8.0;
    let [low, _, soon, _, _] = context.forecast.log_rates[0];
    let [_, _, usual, _, _] = context.forecast.log_rates[SPAN];
    let last = context.last.unwrap_or(rung);
    let worth = |rung: usize| {
        let value = context.ladder.get(rung).map_or(0.0, |one| one.value);
        (value / context.top_value()).clamp(-4.0, 4.0)
    };
    let fills = |log_bps: f64| {
        libm::log((bits / libm::exp(log_bps) + 0.1) / (buffer_s + 0.5)).clamp(-3.0, 3.0)
    };
    let is = |so: bool| if so { 1.0 } else { 0.0 };
    let bps = one.bitrate.as_f64().max(1.0);
    [
        (behind * 3.0).max(-3.0),
        is(rung == preferred),
        is(rung == last),
        worth(rung) - worth(last),
        (libm::log(bps) - usual).clamp(-3.0, 3.0),
        fills(soon),
        fills(low),
        worth(rung),
        (rung as f64 - preferred as f64) / 2.0,
        libm::log((bits / (bps * segment_s.max(0.1))).max(1e-3)).clamp(-2.0, 2.0),
        (buffer_s - bits / libm::exp(soon)).clamp(-10.0, 30.0) / segment_s.max(0.5) / 4.0,
    ]
}
