//! The rule `horizon` with a network that learns: it tries what it holds to be a little worse, too, and notes what it saw.

use std::sync::{Arc, Mutex};

use nearcast_core::abr::{
    AbrChoice, AbrContext, AbrDecision, AbrPolicy, Candidate, Horizon, UnderWay,
};
use nearcast_sim::trace::State;
use nearcast_units::{Instant, Rng};

use crate::fit::learn::network::{Network, Units};

/// The rule. It plays one session.
#[derive(Debug)]
pub(super) struct Pupil {
    /// Plans, and corrects nothing.
    horizon: Horizon,
    /// `None` plays as planned.
    network: Option<Arc<Network>>,
    /// `None` always takes what it prefers.
    tries: Option<(Rng, Notes)>,
    /// How many the session has.
    segments: usize,
}

/// What is noted of the decisions of a session.
pub(super) type Notes = Arc<Mutex<Vec<Note>>>;

/// A decision on the next segment.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) state: State,
    pub(super) candidates: Vec<Candidate>,
    /// Which of them was taken.
    pub(super) chosen: usize,
    /// How likely that was.
    pub(super) likely: f32,
}

/// How the candidates of a decision compare.
pub(super) struct Judgement {
    /// What the network summed up for each.
    pub(super) units: Vec<Units>,
    /// How likely each is.
    pub(super) likely: Vec<f32>,
}

/// Judges the candidates of a decision.
pub(super) fn judge(network: &Network, candidates: &[Candidate]) -> Judgement {
    let units: Vec<Units> = candidates
        .iter()
        .map(|one| network.run(&one.inputs))
        .collect();
    let planned = candidates.iter().position(|one| one.behind >= 0.0);
    let planned = planned.map_or(0.0, |planned| units[planned].out[0]);
    let bound = Candidate::MOST / Candidate::UNIT;
    let sums = candidates.iter().zip(&units);
    let sums: Vec<f32> = sums
        .map(|(one, units)| {
            one.behind / Candidate::UNIT + (units.out[0] - planned).clamp(-bound, bound)
        })
        .collect();
    let most = sums.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = sums.iter().map(|sum| libm::expf(sum - most)).collect();
    let all: f32 = powers.iter().sum();
    Judgement {
        units,
        likely: powers.iter().map(|power| power / all).collect(),
    }
}

impl Pupil {
    pub(super) fn new(
        network: Option<Arc<Network>>,
        tries: Option<(Rng, Notes)>,
        segments: usize,
    ) -> Self {
        Self {
            horizon: Horizon::uncorrected(),
            network,
            tries,
            segments,
        }
    }

    fn state(&self, context: &AbrContext) -> Option<State> {
        let left = usize::try_from(context.left?).ok()?;
        let segment = self.segments.checked_sub(left)?;
        let ms = |span: std::time::Duration| span.as_secs_f64() * 1e3;
        let buffer_ms = ms(context.buffer);
        #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
        let fetched_ms = segment as f64 * ms(context.ahead.first()?.duration);
        Some(State {
            segment,
            late_ms: ms(context.now.since(Instant::ZERO)) - (fetched_ms - buffer_ms),
            buffer_ms,
            last: context.last?,
        })
    }
}

impl AbrPolicy for Pupil {
    fn name(&self) -> &'static str {
        "pupil"
    }

    fn decide(&mut self, context: &AbrContext) -> AbrChoice {
        let choice = self.horizon.decide(context);
        let candidates = self.horizon.candidates();
        let (AbrDecision::Next { .. }, Some(network)) = (choice.decision, &self.network) else {
            return choice;
        };
        let Some(state) = self.state(context).filter(|_| !candidates.is_empty()) else {
            return choice;
        };
        let likely = judge(network, candidates).likely;
        let chosen = match &mut self.tries {
            None => most(&likely),
            Some((rng, notes)) => {
                let chosen = draw(&likely, rng);
                if let Ok(mut notes) = notes.lock() {
                    notes.push(Note {
                        state,
                        candidates: candidates.to_vec(),
                        chosen,
                        likely: likely[chosen],
                    });
                }
                chosen
            }
        };
        AbrChoice::next(candidates[chosen].rung, choice.why)
    }

    fn review(&mut self, context: &AbrContext, under_way: &UnderWay) -> Option<AbrChoice> {
        self.horizon.review(context, under_way)
    }

    fn replaces(&self) -> bool {
        true
    }
}

/// The first of the most likely ones.
fn most(likely: &[f32]) -> usize {
    let mut best = 0;
    for (place, one) in likely.iter().enumerate() {
        if *one > likely[best] {
            best = place;
        }
    }
    best
}

fn draw(likely: &[f32], rng: &mut Rng) -> usize {
    let mut rest = rng.next_f64();
    for (place, one) in likely.iter().enumerate() {
        rest -= f64::from(*one);
        if rest < 0.0 {
            return place;
        }
    }
    most(likely)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use nearcast_core::RateEstimate;
    use nearcast_core::abr::{Objective, Rung, SegmentAhead};
    use nearcast_units::{BitRate, Seed};

    use super::*;

    /// A decision with so much buffer, on a line that comes and goes.
    pub(in crate::fit::residual) fn context(buffer_s: u64) -> AbrContext {
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
            now: Instant::ZERO + Duration::from_secs(90),
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
    fn what_is_worse_is_tried_and_noted() {
        let shape = crate::fit::residual::SHAPE;
        let mut rng = Seed::new(3).rng();
        let network = Arc::new(Network::new(shape, (1.0, 0.0), |_| 0.0, &mut rng));
        let notes = Notes::default();
        let tries = Some((rng, Arc::clone(&notes)));
        let mut pupil = Pupil::new(Some(Arc::clone(&network)), tries, 40);
        let mut usual = Pupil::new(Some(network), None, 40);
        let context = context(9);
        let preferred = usual.decide(&context).decision;
        let mut others = 0;
        for _ in 0..200 {
            others += usize::from(pupil.decide(&context).decision != preferred);
        }
        let notes = notes.lock().unwrap();
        assert_eq!(notes.len(), 200);
        let unlikely = |note: &&Note| note.candidates[note.chosen].behind < 0.0;
        assert_eq!(notes.iter().filter(unlikely).count(), others);
        assert!((1..150).contains(&others), "{others}");
        let State {
            segment,
            late_ms,
            buffer_ms,
            last,
        } = notes[0].state;
        assert_eq!((segment, last), (10, 2));
        // 31 s of ten segments are played after 90 s.
        assert!((late_ms - 59_000.0).abs() < 1e-6 && (buffer_ms - 9_000.0).abs() < 1e-6);
    }
}
