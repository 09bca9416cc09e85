//! `fit forecast`: the weights of the network in `nearcast-core` that forecasts rates.

mod baseline;
mod drive;
mod perceptron;
mod table;
mod training;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use nearcast_units::Seed;

use crate::abr::set::{self, TRACES};
use crate::abr::write;
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
        told(&format!("epoch {epoch:>3}"), training.network())?;
    }
    let table = table::write(training.network().weights());
    let written = table::read(&table).context("the table that was written")?;
    told("as written", &training.network().with(written))?;
    match &arguments.out {
        Some(path) => write::file(path, &table)?,
        None => write::print(&table)?,
    }
    Ok(ExitCode::SUCCESS)
}
