//! `bench edges`: how edges are chosen, left and come back to, in worlds that chance drew and broke.

mod draw;
pub(crate) mod figure;
mod story;
mod tell;
mod worlds;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::ParallelProgressIterator as _;
use rayon::prelude::*;

use crate::abr::measure::bar;
use crate::moment::{Moment, speed};
use crate::write;
use figure::{Sample, World};
use tell::{Measured, Table};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Worlds, parted by commas [default: all of them]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    world: Vec<String>,
    /// How many worlds of each kind are drawn; of those with a thousand clients a hundredth. Bars are judged with 2000
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: u64,
    /// The first seed: to see one again that the table names
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Succeed when bars are missed too
    #[arg(long)]
    figures_only: bool,
    /// Write all figures here, as JSON; `-` prints them instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a line for each number of each seed here
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the sessions' reports into this folder: to see why a figure is what it is
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
    /// Write the table here, as one page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Measures all worlds asked for and tells what came of it.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let mut measured = Vec::new();
    for world in asked(&arguments.world)? {
        let seeds = (arguments.seeds / world.clients).max(1);
        let seeds = arguments.first..arguments.first.saturating_add(seeds);
        let samples = run(world, seeds, arguments.reports.as_deref())?;
        measured.push(Measured::new(world, samples));
    }
    let table = Table::new(&measured);
    write::table(arguments.json.as_deref(), || table.text(), || table.json())?;
    if let Some(path) = &arguments.csv {
        write::file(path, &tell::csv(&measured))?;
    }
    if let Some(path) = &arguments.html {
        write::file(path, &table.page())?;
    }
    let missed = table.missed();
    if arguments.figures_only || missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("bars are missed: {}", missed.join("; "));
}

fn asked(names: &[String]) -> Result<Vec<&'static World>> {
    for name in names {
        let known: Vec<&str> = worlds::ALL.iter().map(|world| world.name).collect();
        ensure!(
            known.contains(&name.as_str()),
            "no world is named \"{name}\": there are {}",
            known.join(", ")
        );
    }
    let wanted = |world: &&World| names.is_empty() || names.iter().any(|name| name == world.name);
    Ok(worlds::ALL.iter().filter(wanted).collect())
}

/// Runs a world with each of the seeds, on all cores; what comes of it does not depend on their number.
fn run(world: &World, seeds: Range<u64>, reports: Option<&Path>) -> Result<Vec<Sample>> {
    let seeds: Vec<u64> = seeds.collect();
    let progress = bar(seeds.len(), world.name);
    let began = Moment::now();
    let samples: Result<Vec<Sample>> = seeds
        .par_iter()
        .progress_with(progress.clone())
        .map(|seed| {
            let mut sample = Sample::new(*seed, reports.is_some());
            let place = || format!("world {}, seed {seed}", world.name);
            (world.run)(&mut sample).with_context(place)?;
            for (n, report) in std::mem::take(&mut sample.reports).iter().enumerate() {
                let folder = reports.unwrap_or(Path::new(""));
                let name = format!("{}-{seed}-{n}.json", world.name);
                write::file(&folder.join(name), &serde_json::to_string(report)?)?;
            }
            Ok(sample)
        })
        .collect();
    progress.finish_and_clear();
    let samples = samples?;
    let virtual_s = samples.iter().map(|sample| sample.virtual_s).sum();
    let sessions = samples.iter().map(|sample| sample.sessions).sum();
    let took_s = began.elapsed_s();
    let speed = speed(sessions, virtual_s, took_s);
    write::tell(&format!("{}: {} seeds, {speed}", world.name, seeds.len()))?;
    Ok(samples)
}
