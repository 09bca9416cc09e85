//! Worlds as chance draws them.

use std::time::Duration;

use anyhow::{Result, ensure};
use nearcast_link::LinkConfig;
use nearcast_protocol::report::SessionReport;
use nearcast_sim::{EdgeSetup, Setup, SimTitle, Simulation, Sprung, Watch, WorldSetup};
use nearcast_units::{BitRate, Rng, Seed};

use super::figure::Sample;
use super::story::Extra;

/// What chance may choose from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) rtt_ms: (f64, f64),
    pub(crate) mbps: (f64, f64),
}

/// All that there is.
pub(crate) const ANY: Range = Range {
    rtt_ms: (10.0, 240.0),
    mbps: (0.9, 50.0),
};

/// Returns a number between two, each order of magnitude as likely as the others.
pub(crate) fn log_uniform(rng: &mut Rng, (low, high): (f64, f64)) -> f64 {
    low * (high / low).powf(rng.next_f64())
}

pub(crate) fn uniform(rng: &mut Rng, (low, high): (f64, f64)) -> f64 {
    low + (high - low) * rng.next_f64()
}

/// Returns a whole number from `low` to `high`.
pub(crate) fn between(rng: &mut Rng, low: u32, high: u32) -> u32 {
    let span = u64::from(high.saturating_sub(low)) + 1;
    low + u32::try_from(rng.below(span)).unwrap_or(0)
}

pub(crate) fn link(rtt_ms: f64, mbps: f64) -> LinkConfig {
    LinkConfig {
        rate: Some(BitRate::from_kbps(1_000).scaled(mbps)),
        delay: Duration::from_secs_f64(rtt_ms / 2e3),
    }
}

pub(crate) fn edges(links: impl IntoIterator<Item = LinkConfig>) -> Vec<EdgeSetup> {
    let named = |(n, link): (usize, LinkConfig)| EdgeSetup::new(format!("edge-{n}"), link);
    links.into_iter().enumerate().map(named).collect()
}

/// Returns so many edges, in the order of the backend: by what they are good for (a third of all seeds), opposed to it
/// (a third), or by chance.
pub(crate) fn ranked(rng: &mut Rng, count: u32, range: Range) -> Vec<EdgeSetup> {
    let draw = |rng: &mut Rng| {
        let rtt_ms = log_uniform(rng, range.rtt_ms);
        (rtt_ms, log_uniform(rng, range.mbps))
    };
    let mut drawn: Vec<(f64, f64)> = (0..count).map(|_| draw(rng)).collect();
    // How long a segment of a megabyte takes with its round trip.
    let takes = |(rtt_ms, mbps): &(f64, f64)| rtt_ms + 8_000.0 / mbps;
    match rng.below(3) {
        0 => drawn.sort_by(|a, b| takes(a).total_cmp(&takes(b))),
        1 => drawn.sort_by(|a, b| takes(b).total_cmp(&takes(a))),
        _ => {}
    }
    edges(drawn.into_iter().map(|(rtt_ms, mbps)| link(rtt_ms, mbps)))
}

/// Returns a world of these edges behind a last mile, with a session of that seed.
pub(crate) fn world(
    seed: u64,
    media_s: u64,
    edges: Vec<EdgeSetup>,
    last_mile: LinkConfig,
) -> WorldSetup {
    let seed = Seed::new(seed);
    let title = SimTitle::made(Duration::from_secs(media_s), seed);
    let mut setup = Setup::quiet(title, 0);
    setup.config.seed = seed;
    setup.edges = edges;
    setup.last_mile = last_mile;
    setup.world(Watch::default())
}

/// What came of the one session of a world.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) report: SessionReport,
    pub(crate) sprung: Option<Sprung>,
}

/// Runs a world with one client; a run that was not sound is an error.
pub(crate) fn run(world: WorldSetup, sample: &mut Sample) -> Result<Story> {
    let mut outcome = Simulation::world(world).run_all();
    let client = outcome.clients.swap_remove(0);
    ensure!(client.violations.is_empty(), "{:?}", client.violations);
    sample.sessions += 1;
    sample.virtual_s += client.ended_at.as_secs_f64();
    sample.extras.push(Extra::of(&client.report));
    if sample.keep {
        sample.reports.push(client.report.clone());
    }
    Ok(Story {
        report: client.report,
        sprung: outcome.sprung.first().copied(),
    })
}

/// Returns a count as a figure.
pub(crate) fn count(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
