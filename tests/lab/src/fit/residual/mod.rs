//! `fit residual`: the weights of the network in `nearcast-core` that corrects the scores of plans.

mod lesson;
mod pupil;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use nearcast_core::abr::Candidate;
use nearcast_units::{Rng, Seed};
use rayon::prelude::*;

use crate::fit::learn::adam::Adam;
use crate::fit::learn::network::{Network, Shape};
use crate::fit::learn::shuffle;
use crate::fit::learn::table::{self, Table};
use crate::moment::Moment;
use crate::write;
use lesson::{Lesson, teach, teach_critic};
use stage::Stages;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Go on from the weights in this table; what is usually lost is learned anew [default: begin with none]
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// How often sessions are played and learned from
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Networks of each set in a round, each played sixteen times; a third of it of those of profile sabre, where sessions are longer
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    lines: u32,
    /// Rate of learning at the beginning; it falls to a twentieth
    #[arg(long, value_name = "X", default_value_t = 0.004, value_parser = rate)]
    rate: f32,
    /// Take so many traces of each set, evenly spaced in name order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Decides everything that chance decides
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the table of weights here, as often as it is looked at [default: standard output, at the end]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// sdk/core/src/abr/horizon/residual_weights.rs.
const TABLE: Table = Table {
    does: "corrects plans",
    fit: "residual",
    count: "super::residual::COUNT",
};
const SHAPE: Shape = Shape {
    inputs: Candidate::INPUTS,
    hidden: 24,
    outputs: 1,
};
const CRITIC: Shape = Shape {
    inputs: Candidate::OF_DECISION,
    hidden: 24,
    outputs: 1,
};
/// What is left of the rate of learning at the end.
const RATE_SHARE_MIN: f32 = 0.05;
/// Rate of the critic at the beginning, and what is left of it.
const CRITIC_RATE: f32 = 0.002;
const CRITIC_RATE_SHARE_MIN: f32 = 0.2;
const DECAY: f32 = 0.001;
/// What the average of the weights keeps in each step.
const KEEP_WEIGHTS: f32 = 0.998;
/// How often a round is learned from, and lessons that one step learns from.
const EPOCHS: usize = 3;
const BATCH: usize = 2_048;
/// Shares of a batch that are added up side by side; the sum is the same on any number of cores.
const SHARES: usize = 8;
/// The network is judged after so many rounds.
const LOOK: u32 = 25;

pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let seed = Seed::new(arguments.seed);
    let stages = Stages::read(arguments.limit)?;
    let mut rng = seed.split("weights").rng();
    // Nothing is corrected at first, and nothing expected to be lost.
    let blank = |shape, rng: &mut Rng| Network::new(shape, (1.0, 0.0), |_| 0.0, rng);
    let network = match &arguments.start {
        Some(path) => read(path)?,
        None => blank(SHAPE, &mut rng),
    };
    let mut adam = Adam::new(network, DECAY, KEEP_WEIGHTS);
    let mut critic = Adam::new(blank(CRITIC, &mut rng), DECAY, KEEP_WEIGHTS);
    let before = stages.qoes(None)?;
    let began = Moment::now();
    for round in 0..arguments.rounds {
        let seed = seed.split("rounds").split_index(u64::from(round));
        let playing = Arc::new(adam.learning.clone());
        let drawn = seed.split("draw");
        let lessons = stages.lessons(&playing, &critic.learning, arguments.lines, drawn)?;
        let done = f64::from(round) / f64::from(arguments.rounds);
        #[expect(clippy::cast_possible_truncation, reason = "a rate of learning")]
        let left = 1.0 - done as f32;
        let mut order: Vec<&Lesson> = lessons.iter().collect();
        let mut rng = seed.split("order").rng();
        for _ in 0..EPOCHS {
            shuffle(&mut order, &mut rng);
            for batch in order.chunks(BATCH) {
                let rate = arguments.rate * left.max(RATE_SHARE_MIN);
                adam.descend(rate, |network, gradient| {
                    add(network, batch, gradient, teach)
                });
                let rate = CRITIC_RATE * left.max(CRITIC_RATE_SHARE_MIN);
                critic.descend(rate, |critic, gradient| {
                    add(critic, batch, gradient, teach_critic)
                });
            }
        }
        if (round + 1).is_multiple_of(LOOK) || round + 1 == arguments.rounds {
            let after = stages.qoes(Some(&Arc::new(adam.averaged.clone())))?;
            write::tell(&format!(
                "round {}, {:.0} s, {} decisions in it\n{}",
                round + 1,
                began.elapsed_s(),
                lessons.len(),
                stages.table(&before, &after)
            ))?;
            if let Some(path) = &arguments.out {
                write::file(path, &TABLE.write(adam.averaged.weights()))?;
            }
        }
    }
    if arguments.out.is_none() {
        write::print(&TABLE.write(adam.averaged.weights()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rate(text: &str) -> Result<f32> {
    let rate: f32 = text.parse()?;
    ensure!(
        rate > 0.0 && rate < 1.0,
        "a rate of learning lies above 0 and below 1"
    );
    Ok(rate)
}

/// Adds up what a batch teaches, on all cores.
fn add(
    network: &Network,
    batch: &[&Lesson],
    gradient: &mut [f32],
    teach: impl Fn(&Network, &Lesson, &mut [f32]) -> f32 + Sync,
) -> f32 {
    let shares = batch.par_chunks(batch.len().div_ceil(SHARES));
    let shares: Vec<(Vec<f32>, f32)> = shares
        .map(|share| {
            let mut gradient = vec![0.0; network.weights().len()];
            let weights = share.iter().map(|one| teach(network, one, &mut gradient));
            let weight = weights.sum();
            (gradient, weight)
        })
        .collect();
    for (share, _) in &shares {
        for (sum, one) in gradient.iter_mut().zip(share) {
            *sum += one;
        }
    }
    shares.iter().map(|(_, weight)| weight).sum()
}

fn read(path: &PathBuf) -> Result<Network> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(name)?;
    let weights = table::read(&text).with_context(name)?;
    Network::of(SHAPE, weights).with_context(|| format!("{}: of another network", name()))
}

#[cfg(test)]
mod tests {
    use nearcast_core::abr::{AbrPolicy as _, Horizon};

    use super::pupil::{Pupil, tests::context};
    use super::*;

    const OF_CORE: &str =
        include_str!("../../../../../sdk/core/src/abr/horizon/residual_weights.rs");

    #[test]
    fn the_table_in_the_core_is_written_like_this() {
        assert_eq!(TABLE.write(&table::read(OF_CORE).unwrap()), OF_CORE);
    }

    #[test]
    fn the_core_chooses_as_the_network_that_learns_would() {
        let weights = table::read(OF_CORE).unwrap();
        let network = Arc::new(Network::of(SHAPE, weights).unwrap());
        let mut pupil = Pupil::new(Some(network), None, 40);
        let mut core = Horizon::default();
        let mut plan = Horizon::uncorrected();
        let mut corrected = 0;
        for buffer_s in 0..40 {
            let context = context(buffer_s);
            assert_eq!(
                pupil.decide(&context).decision,
                core.decide(&context).decision,
                "{buffer_s} s"
            );
            plan.decide(&context);
            corrected += usize::from(plan.scores() != core.scores());
        }
        assert_eq!(corrected, 40);
    }
}
