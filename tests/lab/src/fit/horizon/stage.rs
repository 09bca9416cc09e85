//! Where configurations are tried, and what they gain there.

use anyhow::{Context as _, Result};
use nearcast_core::abr::HorizonConfig;
use nearcast_sim::trace::{self, Network, Profile, rules};
use nearcast_units::Rng;
use rayon::prelude::*;

use crate::abr::measure::Bench;
use crate::fit::validates;
use crate::sets::PUBLIC;

/// The public sets, and all of their networks from the beginning on, by what they are for.
pub(super) struct Stages {
    sets: Vec<Bench>,
    pub(super) fitted: Trial,
    pub(super) validated: Trial,
}

/// Sessions to play: sets by number, and networks.
#[derive(Default)]
pub(super) struct Trial(Vec<(usize, Network)>);

/// What the first configuration reaches from the beginning on.
pub(super) struct Reference<'a> {
    stages: &'a Stages,
    pub(super) fitted: Vec<f64>,
    pub(super) validated: Vec<f64>,
    /// For each set, the gain from which on more hardly counts.
    enough: Vec<f64>,
}

/// Share of a set's usual QoE that is a large gain for one session: what a stall more or less makes in a session that
/// is not about stalls. Without a bound the sessions of outages alone would decide.
const ENOUGH: f64 = 0.4;

impl Stages {
    /// Reads the sets of profile pensieve, or all.
    pub(super) fn read(sabre: bool, limit: Option<u32>) -> Result<Self> {
        let mut sets = Vec::new();
        for public in &PUBLIC {
            if sabre || public.is_of(Profile::Pensieve) {
                sets.push(public.bench(limit, &["horizon".to_owned()])?);
            }
        }
        let mut trials = (Trial::default(), Trial::default());
        for (number, set) in sets.iter().enumerate() {
            for (place, trace) in set.set.traces.iter().enumerate() {
                let trial = if validates(place) {
                    &mut trials.1
                } else {
                    &mut trials.0
                };
                trial.0.push((number, trace.network.clone()));
            }
        }
        let (fitted, validated) = trials;
        Ok(Self {
            sets,
            fitted,
            validated,
        })
    }

    /// Draws half of the networks to fit to, each from somewhere or from its beginning.
    pub(super) fn draw(&self, rng: &mut Rng, somewhere: bool) -> Trial {
        let mut drawn = Vec::new();
        for (set, network) in &self.fitted.0 {
            let place = rng.next_f64();
            if rng.below(2) == 0 {
                let network = if somewhere {
                    network.begun_at(place * network.round_ms())
                } else {
                    network.clone()
                };
                drawn.push((*set, network));
            }
        }
        Trial(drawn)
    }

    /// Plays, on all cores, and returns the QoE per segment of each session.
    pub(super) fn qoes(&self, config: &HorizonConfig, trial: &Trial) -> Result<Vec<f64>> {
        let sessions = trial.0.par_iter().map(|(number, network)| {
            let set = &self.sets[*number];
            let setup = set.setup(network);
            let played = trace::run(&setup, rules::horizon(&setup, *config).as_mut());
            let played = played.with_context(|| set.set.name.clone())?;
            Ok(played.qoe_per_segment(set.mu))
        });
        sessions.collect()
    }

    /// Plays everything with the configuration that all others are compared with.
    pub(super) fn reference(&self, start: &HorizonConfig) -> Result<Reference<'_>> {
        let fitted = self.qoes(start, &self.fitted)?;
        let sizes: Vec<f64> = fitted.iter().map(|qoe| qoe.abs()).collect();
        let usual = means(self.sets.len(), &self.fitted, &sizes);
        let enough = usual.iter().map(|usual| usual.unwrap_or(0.0) * ENOUGH);
        Ok(Reference {
            stages: self,
            enough: enough.map(|enough| enough.max(f64::MIN_POSITIVE)).collect(),
            fitted,
            validated: self.qoes(start, &self.validated)?,
        })
    }
}

impl Reference<'_> {
    /// Returns the mean over sets of what sessions gain: 1 would be more than enough in all of them.
    #[expect(clippy::cast_precision_loss, reason = "a count of sets")]
    pub(super) fn gain(&self, trial: &Trial, before: &[f64], after: &[f64]) -> f64 {
        let pairs = trial.0.iter().zip(before.iter().zip(after));
        let gains =
            pairs.map(|((set, _), (before, after))| ((after - before) / self.enough[*set]).tanh());
        let of_sets = means(self.enough.len(), trial, &gains.collect::<Vec<_>>());
        let of_sets: Vec<f64> = of_sets.into_iter().flatten().collect();
        of_sets.iter().sum::<f64>() / of_sets.len().max(1) as f64
    }

    /// Returns a line for each set: QoE, and what is gained over the first configuration.
    pub(super) fn table(&self, fitted: &[f64], validated: &[f64]) -> String {
        let stages = self.stages;
        let half = |trial: &Trial, before: &[f64], after: &[f64]| {
            let before = means(self.enough.len(), trial, before);
            let pairs = before
                .into_iter()
                .zip(means(self.enough.len(), trial, after));
            let told = pairs.map(|(before, after)| match before.zip(after) {
                Some((before, after)) => format!("{after:>8.4} ({:+.4})", after - before),
                None => format!("{:>8} {:9}", "-", ""),
            });
            told.collect::<Vec<_>>()
        };
        let fitted = half(&stages.fitted, &self.fitted, fitted);
        let validated = half(&stages.validated, &self.validated, validated);
        let halves = fitted.iter().zip(&validated);
        let lines = stages
            .sets
            .iter()
            .zip(halves)
            .map(|(set, (fitted, validated))| {
                let name = &set.set.name;
                format!("  {name:<16} fitted {fitted}  validated {validated}\n")
            });
        lines.collect()
    }
}

/// Returns the mean over each set's sessions; `None` where there are none.
#[expect(clippy::cast_precision_loss, reason = "a count of sessions")]
fn means(sets: usize, trial: &Trial, numbers: &[f64]) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0_usize); sets];
    for ((set, _), number) in trial.0.iter().zip(numbers) {
        sums[*set].0 += number;
        sums[*set].1 += 1;
    }
    let means = sums
        .iter()
        .map(|(sum, count)| (*count > 0).then(|| sum / *count as f64));
    means.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_count_alike_and_no_session_decides_alone() {
        let network = Network::read("1000,1000,10\n").unwrap();
        let trial = Trial([0, 0, 0, 1].map(|set| (set, network.clone())).into());
        let stages = Stages {
            sets: Vec::new(),
            fitted: Trial::default(),
            validated: Trial::default(),
        };
        let reference = Reference {
            stages: &stages,
            fitted: Vec::new(),
            validated: Vec::new(),
            enough: vec![0.4, 4.0],
        };
        let before = [1.0, 1.0, 1.0, 10.0];
        let gain = |after: [f64; 4]| reference.gain(&trial, &before, &after);
        assert!(gain(before).abs() < 1e-12);
        // One session of three, or the only one of its set: a sixth or a half, however much more than enough.
        assert!((gain([100.0, 1.0, 1.0, 10.0]) - 1.0 / 6.0).abs() < 1e-9);
        assert!((gain([1.0, 1.0, 1.0, 1e6]) - 0.5).abs() < 1e-9);
        // As much better as worse is neither; a little is told as it is, in shares of what is enough.
        assert!(gain([1.1, 0.9, 1.0, 10.0]).abs() < 1e-12);
        let little = gain([1.0, 1.0, 1.0, 10.04]);
        assert!((little - 0.005).abs() < 1e-6, "{little}");
    }
}
