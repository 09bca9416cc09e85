//! `bench abr`: rules over one set of recorded networks, as one table.

pub(crate) mod config;
mod csv;
pub(crate) mod expect;
pub(crate) mod html;
pub(crate) mod measure;
mod profile;
pub(crate) mod set;
pub(crate) mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use nearcast_sim::player::SOUND;
use nearcast_sim::trace::Setup;
use nearcast_units::BitRate;

use crate::write;
use measure::{Bench, Session};
pub(crate) use profile::ProfileName;
use set::Set;
use table::Table;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder of recorded networks; one that is not here is looked for in the folder that `NEARCAST_TRACES` names
    #[arg(long, value_name = "DIR")]
    traces: PathBuf,
    /// What is played; looked for like --traces, in `movies` there too
    #[arg(long, value_name = "FILE")]
    movie: PathBuf,
    /// Whose semantics sessions have
    #[arg(long, value_enum)]
    profile: ProfileName,
    /// Rules, parted by commas; `all` for every one that the profile knows
    #[arg(
        long,
        visible_alias = "alg",
        value_name = "NAME",
        value_delimiter = ',',
        required = true
    )]
    abr: Vec<String>,
    /// What the buffer may hold [default: 25; pensieve: 60]
    #[arg(long, value_name = "S", value_parser = positive)]
    max_buffer: Option<f64>,
    /// How much of the movie is played, repeated where it is shorter [default: all of it]
    #[arg(long, value_name = "S", value_parser = positive)]
    length: Option<f64>,
    /// The rate of the sound beside the picture, 0 for none; only profile player has any [default: 128]
    #[arg(long, value_name = "N")]
    audio_kbps: Option<u32>,
    /// What a second of stall costs, in Mbit/s of one segment
    #[arg(long, value_name = "X", default_value_t = 4.3, value_parser = number)]
    mu: f64,
    /// Let the rule horizon plan with the numbers in this file (JSON, as `fit horizon --out` writes)
    #[arg(long, value_name = "FILE")]
    horizon: Option<PathBuf>,
    /// Take so many traces, evenly spaced in name order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Find the offline optimum too, and show each rule's share of it; profile player has none
    #[arg(long)]
    optimum: bool,
    /// Write the table here, as JSON; `-` prints it instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a line for each rule and trace here
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the table and charts here, as one page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare each rule and trace with this file of known results, and fail when they differ
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// How far a number may be from the known one, relative to it and to 1
    #[arg(long, value_name = "X", default_value_t = expect::WITHIN, requires = "expect", value_parser = number)]
    expect_within: f64,
    /// The share of a rule's traces that must be equal
    #[arg(long, value_name = "X", default_value_t = 1.0, requires = "expect", value_parser = share)]
    expect_share: f64,
}

fn number(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &f64| (0.0..=1e9).contains(number));
    number.ok_or_else(|| "not a number from 0 to 1e9".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let number = number(text).ok().filter(|number| *number > 0.0);
    number.ok_or_else(|| "not a number above 0, at most 1e9".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let number = number(text).ok().filter(|number| *number <= 1.0);
    number.ok_or_else(|| "not a share from 0 to 1".to_owned())
}

/// Measures one set and tells what came of it.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let profile = arguments.profile;
    ensure!(
        !(arguments.optimum && profile == ProfileName::Player),
        "profile player has no offline optimum: playback begins there before the first segment is whole, so that sessions can be better \
         than the best that is worked out; leave --optimum out, or take profile sabre"
    );
    let rules = rule_names(profile, &arguments.abr)?;
    let movie = set::movie(&arguments.movie)?;
    let set = Set::read(&arguments.traces, arguments.limit)?;
    let bench = Bench {
        profile,
        segments: Setup::segments(&movie, arguments.length.map(|length_s| length_s * 1e3)),
        movie,
        set,
        cap_ms: arguments.max_buffer.unwrap_or(profile.buffer_s()) * 1e3,
        mu: arguments.mu,
        rules,
        horizon: arguments.horizon.as_deref().map(config::read).transpose()?,
        sound: sound(profile, arguments.audio_kbps)?,
    };
    let played = bench.run()?;
    let sessions: Vec<Vec<Session>> = played
        .iter()
        .map(|played| played.iter().map(|one| bench.figures(one)).collect())
        .collect();
    let optimum = if arguments.optimum {
        Some(bench.optimum()?)
    } else {
        None
    };
    let limit = optimum.as_deref().map(|optimum| bench.limit(optimum));
    let table = Table::new(&bench, &sessions, limit.as_ref());
    write::table(arguments.json.as_deref(), || table.text(), || table.json())?;
    if let Some(path) = &arguments.csv {
        write::file(path, &csv::text(&bench, &played, optimum.as_deref()))?;
    }
    if let Some(path) = &arguments.html {
        write::file(path, &html::page(std::slice::from_ref(&table)))?;
    }
    let Some(path) = &arguments.expect else {
        return Ok(ExitCode::SUCCESS);
    };
    let expected = expect::Expected::read(path)?;
    let within = arguments.expect_within;
    let compared = expected.compare(&bench, &sessions, limit.as_ref(), within);
    ensure!(
        compared.count() > 0,
        "{}: it has none of these rules",
        path.display()
    );
    let text = compared.text();
    if write::is_printed(arguments.json.as_deref()) {
        write::tell(&text)?;
    } else {
        write::print(&text)?;
    }
    ensure!(
        compared.holds(arguments.expect_share),
        "{} of {} comparisons with {} differ by more than {}",
        compared.mismatches(),
        compared.count(),
        path.display(),
        within
    );
    Ok(ExitCode::SUCCESS)
}

/// Returns the rate of the sound that is played beside the picture.
fn sound(profile: ProfileName, asked_kbps: Option<u32>) -> Result<Option<BitRate>> {
    match (profile, asked_kbps) {
        (ProfileName::Player, None) => Ok(Some(SOUND)),
        (ProfileName::Player, Some(0)) | (ProfileName::Sabre | ProfileName::Pensieve, None) => {
            Ok(None)
        }
        (ProfileName::Player, Some(kbps)) => Ok(Some(BitRate::from_kbps(kbps.into()))),
        (ProfileName::Sabre | ProfileName::Pensieve, Some(_)) => bail!(
            "profile {} has no sound, as the simulator that it is of: leave --audio-kbps out, or take profile player",
            profile.name()
        ),
    }
}

/// Returns the rules that are asked for, each once.
fn rule_names(profile: ProfileName, asked: &[String]) -> Result<Vec<String>> {
    let known = profile.rules();
    let mut names: Vec<String> = Vec::new();
    for name in asked {
        let these = if name == "all" {
            known.clone()
        } else {
            vec![name.as_str()]
        };
        for name in these {
            ensure!(
                known.contains(&name),
                "no rule is named \"{name}\" in this profile: it knows {}",
                known.join(", ")
            );
            if !names.iter().any(|other| other == name) {
                names.push(name.to_owned());
            }
        }
    }
    Ok(names)
}
