//! `fit forecast`: the weights of the network in `nearcast-core` that forecasts rates.

mod baseline;
mod drive;
mod perceptron;
mod training;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use nearcast_units::Seed;

use crate::abr::set::{self, TRACES};
use crate::fit::learn::table::{self, Table};
use crate::write;
use perceptron::Perceptron;
use training::Training;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the public sets and of `movies` [default: the one that `NEARCAST_TRACES` names]
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    /// Take so many traces of each set, evenly spaced in name order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// How often everything is learned from
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Decides places, noise, first weights and order
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the table of weights here [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// sdk/core/src/throughput/weights.rs.
const TABLE: Table = Table {
    does: "forecasts rates",
    fit: "forecast",
    count: "super::network::COUNT",
};

pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let seed = Seed::new(arguments.seed);
    let folder = arguments.traces.clone().or_else(set::root);
    let folder =
        folder.with_context(|| format!("{TRACES} names no folder, and --traces neither"))?;
    let rows = drive::rows(&folder, arguments.limit, seed.split("drive"))?;
    ensure!(
        !rows.fitted.is_empty() && !rows.validated.is_empty(),
        "there is nothing to learn from or to judge by: every set needs at least four traces"
    );
    write::tell(&format!(
        "{} cases to learn from, {} to judge by\n",
        rows.fitted.len(),
        rows.validated.len()
    ))?;
    for (what, losses) in [
        ("average over 8 s", baseline::plain(&rows)),
        ("product", baseline::product(&rows)),
    ] {
        write::tell(&format!(
            "{what}  fitted {:.5}  validated {:.5}\n",
            losses.fitted, losses.validated
        ))?;
    }
    let told = |what: &str, network: &Perceptron| {
        let (fitted, validated) = (network.loss(&rows.fitted), network.loss(&rows.validated));
        write::tell(&format!(
            "{what}  fitted {fitted:.5}  validated {validated:.5}\n"
        ))
    };
    let mut training = Training::new(&rows.fitted, arguments.epochs, seed.split("training"));
    for epoch in 1..=arguments.epochs {
        training.epoch();
        told(&format!("epoch {epoch:>3}"), &training.network())?;
    }
    let table = TABLE.write(training.network().network().weights());
    let written = table::read(&table).context("the table that was written")?;
    let signs = rows.fitted.first().map_or(0, |row| row.signs.len());
    let written = Perceptron::of(signs, written).context("the table has another size")?;
    told("as written", &written)?;
    match &arguments.out {
        Some(path) => write::file(path, &table)?,
        None => write::print(&table)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nearcast_core::RateEstimate;
    use nearcast_units::{BitRate, Seed};

    use super::*;

    const OF_CORE: &str = include_str!("../../../../../sdk/core/src/throughput/weights.rs");

    #[test]
    fn the_table_in_the_core_is_written_like_this() {
        assert_eq!(TABLE.write(&table::read(OF_CORE).unwrap()), OF_CORE);
    }

    #[test]
    fn the_core_forecasts_what_the_network_that_learns_would() {
        let weights = table::read(OF_CORE).unwrap();
        let mut estimate = RateEstimate::default();
        let mut rng = Seed::new(11).rng();
        for segment in 0..40 {
            for _ in 0..8 {
                let rate = BitRate::from_bps(1).scaled(1e5 * libm::exp(4.0 * rng.next_f64()));
                estimate.sample(rate, Duration::from_millis(50 + rng.below(200)));
            }
            let (signs, level) = estimate.signs().unwrap();
            let network = Perceptron::of(signs.len(), weights.clone()).unwrap();
            let ours = network.quantiles(&signs);
            let core = estimate.forecast(Duration::ZERO).unwrap().log_rates;
            for (ours, core) in ours.as_flattened().iter().zip(core.as_flattened()) {
                let off = (level + f64::from(*ours) - core).abs();
                assert!(
                    off < 1e-4,
                    "segment {segment}: {ours} + {level}, not {core}"
                );
            }
            estimate.transferred();
        }
    }
}
