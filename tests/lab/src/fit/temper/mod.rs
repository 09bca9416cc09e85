//! `fit temper`: the weights of the network in `nearcast-core` that says how bold or careful a plan is.

mod hindsight;
mod pupil;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nearcast_core::abr::Temper;
use nearcast_units::Seed;

use crate::abr::write;
use crate::fit::learn::adam::Adam;
use crate::fit::learn::network::{Network, Shape};
use crate::fit::learn::table::{self, Table};
use crate::moment::Moment;
use hindsight::Stages;
use pupil::gain;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Go on from the weights in this table [default: begin with none]
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// How often decisions are looked back at and learned from
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Decisions of each set in a round; a quarter of it of those of profile sabre, where sessions are longer
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    decisions: u32,
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

/// sdk/core/src/abr/horizon/temper_weights.rs.
const TABLE: Table = Table {
    does: "tempers plans",
    fit: "temper",
    count: "super::temper::COUNT",
};
const SHAPE: Shape = Shape {
    inputs: Temper::INPUTS,
    hidden: 24,
    outputs: Temper::COUNT,
};
/// Rate of learning at the beginning, and what is left of it at the end.
const RATE: f32 = 0.002;
const RATE_SHARE_MIN: f32 = 0.1;
const DECAY: f32 = 0.003;
/// What the average of the weights keeps in each step.
const KEEP_WEIGHTS: f32 = 0.99;
/// Decisions that one step learns from.
const BATCH: usize = 256;
/// Rounds whose decisions are learned from again: older ones are of a player that was another one.
const ROUNDS_KEPT: usize = 6;
/// The network is judged after so many rounds.
const LOOK: u32 = 8;

pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let seed = Seed::new(arguments.seed);
    let stages = Stages::read(arguments.limit)?;
    let network = match &arguments.start {
        Some(path) => read(path)?,
        None => {
            let mut rng = seed.split("weights").rng();
            // Nothing is moved at first.
            Network::new(SHAPE, (1.2, 0.0), |_| 0.0, &mut rng)
        }
    };
    let before = stages.qoes(None)?;
    let began = Moment::now();
    let mut adam = Adam::new(network, DECAY, KEEP_WEIGHTS);
    let mut kept = Vec::new();
    for round in 0..arguments.rounds {
        let seed = seed.split("rounds").split_index(u64::from(round));
        let learning = Arc::new(adam.learning.clone());
        let decisions = stages.look_back(&learning, arguments.decisions, seed.split("draw"))?;
        kept.push(decisions);
        if kept.len() > ROUNDS_KEPT {
            kept.remove(0);
        }
        let mut all: Vec<_> = kept.iter().flatten().collect();
        let mut rng = seed.split("order").rng();
        for last in (1..all.len()).rev() {
            let other = rng.below(last as u64 + 1);
            all.swap(last, usize::try_from(other).unwrap_or(last));
        }
        let done = f64::from(round) / f64::from(arguments.rounds);
        #[expect(clippy::cast_possible_truncation, reason = "a rate of learning")]
        let rate = RATE * (1.0 - done as f32).max(RATE_SHARE_MIN);
        for batch in all.chunks(BATCH) {
            adam.descend(rate, |network, gradient| {
                let learn = |decision: &&_| gain(network, decision, gradient);
                batch.iter().map(learn).sum()
            });
        }
        if (round + 1).is_multiple_of(LOOK) || round + 1 == arguments.rounds {
            let after = stages.qoes(Some(&Arc::new(adam.averaged.clone())))?;
            write::tell(&format!(
                "round {}, {:.0} s, {} decisions\n{}",
                round + 1,
                began.elapsed_s(),
                all.len(),
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

    const OF_CORE: &str = include_str!("../../../../../sdk/core/src/abr/horizon/temper_weights.rs");

    #[test]
    fn the_table_in_the_core_is_written_like_this() {
        assert_eq!(TABLE.write(&table::read(OF_CORE).unwrap()), OF_CORE);
    }

    #[test]
    fn the_core_plans_as_the_network_that_learns_would() {
        let weights = table::read(OF_CORE).unwrap();
        let network = Arc::new(Network::of(SHAPE, weights).unwrap());
        let mut pupil = Pupil::new(Some(network), None);
        let mut core = Horizon::default();
        for buffer_s in 0..40 {
            let context = context(buffer_s);
            assert_eq!(pupil.decide(&context), core.decide(&context));
            for (ours, core) in pupil.scores().iter().zip(core.scores()) {
                assert!(
                    (ours - core).abs() < 1e-4,
                    "{buffer_s} s: {ours}, not {core}"
                );
            }
        }
    }
}
