//! `fit horizon`: the numbers that the rule `horizon` plans with, by evolution.

mod numbers;
mod stage;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow};
use cmaes::{CMAESOptions, DVector, Mode};
use nearcast_core::abr::HorizonConfig;
use nearcast_units::Seed;

use crate::abr::config;
use crate::write;
use numbers::Numbers;
use stage::{Stages, Trial};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Begin with these numbers, and measure gains against them [default: the product's own]
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// No generation begins after so long
    #[arg(long, value_name = "S", default_value_t = 600)]
    seconds: u64,
    /// No more generations than so many
    #[arg(long, value_name = "N")]
    generations: Option<usize>,
    /// How far the first generation strays: as logarithms for what scales, as they are for what leans
    #[arg(long, value_name = "X", default_value_t = 0.15)]
    sigma: f64,
    /// Play the sets of profile sabre too, and find the margins of replacing and giving up
    #[arg(long)]
    sabre: bool,
    /// Take so many traces of each set, evenly spaced in name order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Decides everything that chance decides
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the best numbers here, as JSON, as soon as there are better ones
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Configurations in a generation: for forty numbers about 15 are usual (Hansen, 2016).
const POPULATION: usize = 16;
/// The mean is looked at after so many generations.
const LOOK: usize = 8;
/// One generation of so many plays from the beginning of every network, as benches do.
const FROM_BEGINNING: usize = 3;

pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let start = match &arguments.start {
        Some(path) => config::read(path)?,
        None => HorizonConfig::default(),
    };
    let stages = Stages::read(arguments.sabre, arguments.limit)?;
    let numbers = Numbers::new(&start, arguments.sabre)?;
    let reference = stages.reference(&start)?;
    write::tell(&reference.table(&reference.fitted, &reference.validated))?;

    let seed = Seed::new(arguments.seed);
    let failure = RefCell::new(None);
    // What is played in this generation, and what the first configuration reaches there.
    let trial = RefCell::new((Trial::default(), Vec::new()));
    let gain = |vector: &DVector<f64>| {
        let (trial, before) = &*trial.borrow();
        let config = numbers.config(vector.as_slice());
        let after = config.and_then(|config| stages.qoes(&config, trial));
        match after {
            Ok(after) => reference.gain(trial, before, &after),
            Err(error) => {
                // Not a number: evolution ends.
                *failure.borrow_mut() = Some(error);
                f64::NAN
            }
        }
    };
    let options = CMAESOptions::new(numbers.vector(&start)?, arguments.sigma)
        .mode(Mode::Maximize)
        .population_size(POPULATION)
        .max_time(Duration::from_secs(arguments.seconds))
        .seed(seed.split("evolution").get());
    let options = match arguments.generations {
        Some(generations) => options.max_generations(generations),
        None => options,
    };
    let mut evolution = options
        .build(gain)
        .map_err(|error| anyhow!("--sigma or the start is no beginning: {error:?}"))?;

    let mut best = (0.0, start);
    loop {
        let generation = evolution.generation();
        let seed = seed.split("trials").split_index(generation as u64);
        let somewhere = !generation.is_multiple_of(FROM_BEGINNING);
        let drawn = stages.draw(&mut seed.rng(), somewhere);
        let before = stages.qoes(&start, &drawn)?;
        *trial.borrow_mut() = (drawn, before);
        let over = evolution.next();
        if let Some(error) = failure.take() {
            return Err(Error::context(error, "while evolution went on"));
        }
        let generation = evolution.generation();
        if over.is_none() && !generation.is_multiple_of(LOOK) {
            continue;
        }
        let mean = numbers.config(evolution.mean().as_slice())?;
        let fitted = stages.qoes(&mean, &stages.fitted)?;
        let validated = stages.qoes(&mean, &stages.validated)?;
        let gained = reference.gain(&stages.fitted, &reference.fitted, &fitted);
        write::tell(&format!(
            "generation {generation}, {} s, sigma {:.3}: gain {gained:+.4}, validated {:+.4}\n{}",
            evolution.elapsed().as_secs(),
            evolution.sigma(),
            reference.gain(&stages.validated, &reference.validated, &validated),
            reference.table(&fitted, &validated)
        ))?;
        if gained > best.0 {
            best = (gained, mean);
            save(arguments, &mean)?;
        }
        if let Some(over) = over {
            write::tell(&format!("over: {:?}\n", over.reasons))?;
            break;
        }
    }
    save(arguments, &best.1)?;
    write::print(&numbers::fragment(&best.1))?;
    Ok(ExitCode::SUCCESS)
}

fn save(arguments: &Arguments, config: &HorizonConfig) -> Result<()> {
    let Some(path) = &arguments.out else {
        return Ok(());
    };
    let text = serde_json::to_string_pretty(config).context("the numbers as JSON")?;
    write::file(path, &(text + "\n"))
}
