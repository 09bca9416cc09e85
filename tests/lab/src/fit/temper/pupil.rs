//! The rule `horizon` with a network that learns: what it decided, what it might have, and how it should have been moved.

use std::sync::{Arc, Mutex};

use nearcast_core::abr::{
    AbrChoice, AbrContext, AbrDecision, AbrPolicy, Horizon, Temper, UnderWay,
};

use crate::fit::learn::network::Network;

const INPUTS: usize = Temper::INPUTS;
/// How far a number is moved to see what that does to the scores.
const NUDGE: f32 = 0.25;
/// Differences of scores, of which 1 is the value of the highest rung, that make a choice about three times as likely.
const SOFT: f32 = 0.1;
/// Decisions that turn out to be worth more, or less, hardly count more: outages would decide alone.
const ENOUGH: f32 = 5.0;

/// The rule. It plays one session.
#[derive(Debug)]
pub(super) struct Pupil {
    horizon: Horizon,
    /// `None` plays without any moves.
    network: Option<Arc<Network>>,
    /// The decision that is taken otherwise, by number, and the rung that it takes.
    instead: Option<(usize, usize)>,
    decided: usize,
    notes: Option<Notes>,
}

/// What is noted of the decisions of a session.
pub(super) type Notes = Arc<Mutex<Vec<Note>>>;

/// What was known at a decision for the next segment.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) inputs: [f32; INPUTS],
    pub(super) temper: Temper,
    pub(super) rung: usize,
    /// Of each rung, and how much they rise for each number that is moved by one.
    pub(super) scores: Vec<f64>,
    pub(super) slopes: Vec<[f32; Temper::COUNT]>,
}

/// A decision that was looked back at.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) inputs: [f32; INPUTS],
    pub(super) temper: Temper,
    pub(super) choices: Vec<Choice>,
    /// How much it counts.
    pub(super) weight: f32,
}

/// What it might have chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// Over that of the rung that was chosen.
    pub(super) score: f32,
    pub(super) slope: [f32; Temper::COUNT],
    /// What the session would have gained, in values of the highest rung.
    pub(super) gained: f32,
}

impl Pupil {
    pub(super) fn new(network: Option<Arc<Network>>, instead: Option<(usize, usize)>) -> Self {
        Self {
            horizon: Horizon::default(),
            network,
            instead,
            decided: 0,
            notes: None,
        }
    }

    /// Notes what it decides.
    pub(super) fn noting(mut self, notes: &Notes) -> Self {
        self.notes = Some(Arc::clone(notes));
        self
    }

    /// Sets the moves for a decision; returns what they follow from, where there is anything.
    fn temper(&mut self, context: &AbrContext) -> Option<([f32; INPUTS], Temper)> {
        let inputs = Temper::inputs(context);
        let moves = match (&self.network, &inputs) {
            (Some(network), Some(inputs)) => moves(&network.run(inputs).out),
            _ => Temper::default(),
        };
        self.horizon.set_temper(moves);
        Some((inputs?, moves))
    }

    fn slopes(&mut self, context: &AbrContext, temper: Temper) -> Vec<[f32; Temper::COUNT]> {
        let mut slopes = vec![[0.0; Temper::COUNT]; context.ladder.len()];
        for number in 0..Temper::COUNT {
            let mut moved = |by: f32| {
                let mut moves = temper;
                moves.0[number] += by;
                self.horizon.set_temper(moves);
                self.horizon.decide(context);
                self.horizon.scores().to_vec()
            };
            let (above, below) = (moved(NUDGE), moved(-NUDGE));
            for ((slope, above), below) in slopes.iter_mut().zip(above).zip(below) {
                slope[number] = narrow(above - below) / (2.0 * NUDGE);
            }
        }
        self.horizon.set_temper(temper);
        slopes
    }
}

impl AbrPolicy for Pupil {
    fn name(&self) -> &'static str {
        "pupil"
    }

    fn decide(&mut self, context: &AbrContext) -> AbrChoice {
        let known = self.temper(context);
        let choice = self.horizon.decide(context);
        let (Some((inputs, temper)), AbrDecision::Next { rung }) = (known, choice.decision) else {
            return choice;
        };
        let decision = self.decided;
        self.decided += 1;
        if let Some(notes) = self.notes.clone() {
            let scores = self.horizon.scores().to_vec();
            let slopes = self.slopes(context, temper);
            if let Ok(mut notes) = notes.lock() {
                notes.push(Note {
                    inputs,
                    temper,
                    rung,
                    scores,
                    slopes,
                });
            }
        }
        match self.instead {
            Some((at, rung)) if at == decision => AbrChoice::next(rung, "to see what comes of it"),
            _ => choice,
        }
    }

    fn review(&mut self, context: &AbrContext, under_way: &UnderWay) -> Option<AbrChoice> {
        self.temper(context);
        self.horizon.review(context, under_way)
    }

    fn replaces(&self) -> bool {
        true
    }

    fn scores(&self) -> &[f64] {
        self.horizon.scores()
    }
}

fn moves(told: &[f32]) -> Temper {
    let mut raw = [0.0; Temper::COUNT];
    raw.copy_from_slice(told);
    Temper::told(raw)
}

/// Adds what the weights do to what a decision loses, on average over its choices, each as likely as its score is high (the gradient
/// of a policy: Sutton et al., NIPS 1999, with what every choice came to in place of a sample). Returns how much it counts.
pub(super) fn gain(network: &Network, decision: &Decision, gradient: &mut [f32]) -> f32 {
    let units = network.run(&decision.inputs);
    let moves = moves(&units.out);
    let scores: Vec<f32> = decision
        .choices
        .iter()
        .map(|choice| {
            let moved = moves.0.iter().zip(&decision.temper.0).zip(&choice.slope);
            let moved: f32 = moved.map(|((now, then), slope)| (now - then) * slope).sum();
            (choice.score + moved) / SOFT
        })
        .collect();
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let likely: Vec<f32> = scores
        .iter()
        .map(|score| libm::expf(score - highest))
        .collect();
    let all: f32 = likely.iter().sum();
    let gained = |choice: &Choice| ENOUGH * libm::tanhf(choice.gained / ENOUGH);
    let likely = likely.iter().map(|likely| likely / all);
    let choices: Vec<(f32, &Choice)> = likely.zip(&decision.choices).collect();
    let expected: f32 = choices
        .iter()
        .map(|(likely, one)| likely * gained(one))
        .sum();
    let mut of_moves = [0.0; Temper::COUNT];
    for (likely, choice) in &choices {
        let loses = -decision.weight * likely * (gained(choice) - expected) / SOFT;
        for (of_move, slope) in of_moves.iter_mut().zip(&choice.slope) {
            *of_move += loses * slope;
        }
    }
    for (of_move, moved) in of_moves.iter_mut().zip(&moves.0) {
        let flat = 1.0 - (moved / Temper::MOST).abs();
        *of_move *= Temper::MOST * flat * flat;
    }
    network.add_gradient(&decision.inputs, &units, &of_moves, gradient);
    decision.weight
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "networks learn in single precision"
)]
fn narrow(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use nearcast_core::RateEstimate;
    use nearcast_core::abr::{Objective, Rung, SegmentAhead};
    use nearcast_units::{BitRate, Instant, Seed};

    use super::*;
    use crate::fit::learn::network::Shape;

    /// A decision with so much buffer, on a line that comes and goes.
    pub(in crate::fit::temper) fn context(buffer_s: u64) -> AbrContext {
        let objective = Objective::default();
        let segment = Duration::from_secs(4);
        let rates = [300, 750, 1200, 1850, 2850, 4300].map(BitRate::from_kbps);
        let ladder = rates.iter().enumerate().map(|(rung, bitrate)| Rung {
            bitrate: *bitrate,
            value: objective.value(rung, *bitrate, rates[0]),
        });
        let mut estimate = RateEstimate::default();
        let mut rng = Seed::new(buffer_s).rng();
        for _ in 0..30 {
            let rate = BitRate::from_kbps(500 + rng.below(4_000));
            estimate.sample(rate, Duration::from_millis(250));
        }
        AbrContext {
            now: Instant::ZERO,
            buffer: Duration::from_secs(buffer_s),
            buffer_max: Duration::from_secs(60),
            playing: true,
            ladder: ladder.collect(),
            last: Some(2),
            ahead: vec![SegmentAhead { duration: segment }; 12],
            left: Some(30),
            buffered: Vec::new(),
            sizes: (0..12)
                .flat_map(|_| rates.map(|rate| rate.bytes_in(segment)))
                .collect(),
            forecast: estimate.forecast(Duration::from_millis(80)).unwrap(),
            weights: objective.weights(4.3),
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_what_is_lost() {
        let mut rng = Seed::new(2).rng();
        let shape = Shape {
            inputs: INPUTS,
            hidden: 5,
            outputs: Temper::COUNT,
        };
        let mut network = Network::new(shape, (1.0, 1.0), |_| 0.1, &mut rng);
        let mut draw = || narrow(2.0 * rng.next_f64() - 1.0);
        let mut choice = |gained| Choice {
            score: 0.1 * draw(),
            slope: std::array::from_fn(|_| 0.1 * draw()),
            gained,
        };
        let choices = [0.0, 0.5, -0.4].map(&mut choice).to_vec();
        let decision = Decision {
            inputs: std::array::from_fn(|_| draw()),
            temper: Temper([0.2; Temper::COUNT]),
            choices,
            weight: 2.0,
        };
        let mut gradient = vec![0.0; network.weights().len()];
        gain(&network, &decision, &mut gradient);
        let lost = |network: &Network| {
            let moves = moves(&network.run(&decision.inputs).out);
            let likely = decision.choices.iter().map(|choice| {
                let moved = moves.0.iter().zip(&decision.temper.0).zip(&choice.slope);
                let moved: f32 = moved.map(|((now, then), slope)| (now - then) * slope).sum();
                (((choice.score + moved) / SOFT).exp(), choice)
            });
            let all: f32 = likely.clone().map(|(likely, _)| likely).sum();
            let gained = |one: &Choice| ENOUGH * (one.gained / ENOUGH).tanh();
            let expected = likely.map(|(likely, one)| likely / all * gained(one));
            -decision.weight * expected.sum::<f32>()
        };
        let (step, mut largest) = (1e-2, 0.0_f32);
        for (place, ours) in gradient.into_iter().enumerate() {
            let kept = network.weights()[place];
            network.weights_mut()[place] = kept + step;
            let above = lost(&network);
            network.weights_mut()[place] = kept - step;
            let below = lost(&network);
            network.weights_mut()[place] = kept;
            let slope = (above - below) / (2.0 * step);
            assert!((slope - ours).abs() < 0.01, "{place}: {slope}, not {ours}");
            largest = largest.max(slope.abs());
        }
        assert!(largest > 0.1, "it has a slope at all: {largest}");
    }

    #[test]
    fn another_choice_is_taken_once() {
        let mut usual = Pupil::new(None, None);
        let mut other = Pupil::new(None, Some((1, 5)));
        for decision in 0..3 {
            let context = context(8);
            let (usual, other) = (usual.decide(&context), other.decide(&context));
            assert_eq!(usual.decision != other.decision, decision == 1);
        }
    }
}
