//! What is learned from: what was known of a line at each decision of a session, and what came then.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nearcast_core::{HORIZONS, HORIZONS_S, QUANTILES, RateEstimate};
use nearcast_sim::trace::{Cursor, Movie, Network, PENSIEVE_RATE, Setup};
use nearcast_units::{BitRate, Rng, Seed};
use rayon::prelude::*;

use crate::abr::set::{self, Set};
use crate::fit::learn::narrow;
use crate::fit::validates;

/// One decision.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) signs: Vec<f32>,
    /// Logarithms of the mean rates over the horizons that followed, relative to the level of the past.
    pub(super) truth: [f32; HORIZONS],
    /// The same of the average over the last 8 s of transfers.
    pub(super) average: f32,
    /// What the product forecasts, relative to the level too.
    pub(super) product: [[f32; QUANTILES]; HORIZONS],
    /// How much it counts.
    pub(super) weight: f32,
}

/// All decisions, by what they are for.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) fitted: Vec<Row>,
    pub(super) validated: Vec<Row>,
}

/// One public set.
struct Source {
    folder: &'static str,
    movie: &'static str,
    /// What of the recorded rates is payload.
    scale: f64,
    /// How much all of its decisions together count.
    weight: f64,
    /// How many sessions each network has: the first from its beginning, the others from anywhere.
    sessions: usize,
}

const fn source(folder: &'static str, movie: &'static str, weight: f64, sessions: usize) -> Source {
    Source {
        folder,
        movie,
        scale: 1.0,
        weight,
        sessions,
    }
}

const fn pensieve(folder: &'static str, sessions: usize) -> Source {
    Source {
        scale: PENSIEVE_RATE,
        ..source(folder, "envivio.json", 1.0, sessions)
    }
}

/// The four of profile pensieve count most; recordings made while walking past antennas of 5G say least about other
/// lines. Small sets have more sessions for each network.
const SOURCES: [Source; 10] = [
    pensieve("norway-train", 12),
    pensieve("oboe", 6),
    pensieve("fcc-broadband", 14),
    pensieve("puffer-2021", 10),
    source("fcc-sd", "bbb.json", 0.6, 5),
    source("fcc-hd", "bbb4k.json", 0.6, 5),
    source("lte-ghent", "bbb4k.json", 0.7, 10),
    source("hsdpa-sabre", "bbb.json", 0.7, 8),
    source("lumos-4g", "bbb4k.json", 0.4, 8),
    source("lumos-5g", "bbb4k.json", 0.2, 6),
];

/// How long a session plays, and what its buffer holds.
const LENGTH_MS: f64 = 200_000.0;
const CAP_MS: f64 = 25_000.0;
/// A player hears of a transfer as often.
const SLICE_MS: f64 = 250.0;
const SLICE_BITS: f64 = 8_000.0;
/// After so many decisions the rule takes another share of the rate, so that segments of all sizes are seen.
const WANDERS: usize = 5;
/// Rates are measured with noise in one session of so many, up to this, as the deviation of their logarithms:
/// recordings are free of it, and lines are not.
const NOISY: usize = 3;
const NOISE: f64 = 0.16;
const AVERAGE_S: f64 = 8.0;
/// No rate is told lower, in bit/s, and none further from the level than so many times e.
const RATE_MIN_BPS: f64 = 10_000.0;
const OFF_MAX: f64 = 5.0;

/// Plays over all sets.
pub(super) fn rows(root: &Path, limit: Option<u32>, seed: Seed) -> Result<Rows> {
    let missing = SOURCES.iter().map(|source| source.folder);
    let missing: Vec<&str> = missing.filter(|name| !root.join(name).is_dir()).collect();
    ensure!(
        missing.is_empty(),
        "sets of recorded networks are missing in {}: {}",
        root.display(),
        missing.join(", ")
    );
    let mut all = Rows::default();
    for source in &SOURCES {
        let movie = set::movie(&root.join("movies").join(source.movie))?;
        let set = Set::read(&root.join(source.folder), limit)?;
        let seed = seed.split(source.folder);
        let played: Vec<Vec<Row>> = (0..set.traces.len() * source.sessions)
            .into_par_iter()
            .map(|session| {
                let network = &set.traces[session / source.sessions].network;
                let mut rng = seed.split_index(session as u64).rng();
                Drive::new(network, source, session, &mut rng).play(&movie, &mut rng)
            })
            .collect();
        let mut mine = Rows::default();
        for (session, rows) in played.into_iter().enumerate() {
            if validates(session / source.sessions) {
                mine.validated.extend(rows);
            } else {
                mine.fitted.extend(rows);
            }
        }
        for (mine, all) in [
            (mine.fitted, &mut all.fitted),
            (mine.validated, &mut all.validated),
        ] {
            let weight = source.weight / count(mine.len());
            let weighed = mine.into_iter().map(|row| Row {
                weight: narrow(weight),
                ..row
            });
            all.extend(weighed);
        }
    }
    Ok(all)
}

/// One session.
struct Drive<'a> {
    network: &'a Network,
    scale: f64,
    cursor: Cursor<'a>,
    estimate: RateEstimate,
    /// Of the last 8 s: the sum of rates and of their weights.
    average: (f64, f64),
    noise: f64,
    buffer_ms: f64,
}

impl<'a> Drive<'a> {
    fn new(network: &'a Network, source: &Source, session: usize, rng: &mut Rng) -> Self {
        let nth = session % source.sessions;
        let mut cursor = Cursor::new(network, source.scale);
        if nth > 0 {
            cursor.wait(rng.next_f64() * network.round_ms());
        }
        Self {
            network,
            scale: source.scale,
            cursor,
            estimate: RateEstimate::default(),
            average: (0.0, 0.0),
            noise: if nth % NOISY == NOISY - 1 {
                NOISE * rng.next_f64()
            } else {
                0.0
            },
            buffer_ms: 0.0,
        }
    }

    /// Plays with a rule that takes what some share of the rate carries, less of it while the buffer is low.
    fn play(mut self, movie: &Movie, rng: &mut Rng) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut share = 0.9;
        for segment in 0..Setup::segments(movie, Some(LENGTH_MS)) {
            let wait_ms = self.buffer_ms + movie.segment_ms() - CAP_MS;
            if wait_ms > 0.0 {
                self.cursor.wait(wait_ms);
                self.buffer_ms -= wait_ms;
            }
            let mut rung = 0;
            if let Some((signs, level)) = self.estimate.signs() {
                rows.push(self.row(signs, level));
                if rows.len().is_multiple_of(WANDERS) {
                    share = 0.5 + 0.8 * rng.next_f64();
                }
                let filled = (0.6 + self.buffer_ms / CAP_MS).min(1.3);
                let kbps = libm::exp(level) / 1e3 * share * filled;
                let carried = movie.bitrates_kbps().partition_point(|one| *one <= kbps);
                rung = carried.saturating_sub(1);
            }
            let began_ms = self.cursor.now_ms();
            self.cursor.latency();
            self.transfer(movie.sizes_bits(segment)[rung], rng);
            let took_ms = self.cursor.now_ms() - began_ms;
            self.buffer_ms = (self.buffer_ms - took_ms).max(0.0) + movie.segment_ms();
        }
        rows
    }

    fn transfer(&mut self, size_bits: f64, rng: &mut Rng) {
        let mut rest_bits = size_bits;
        while rest_bits > 0.0 {
            let slice = self.cursor.transfer(rest_bits, SLICE_BITS, SLICE_MS);
            rest_bits -= slice.bits;
            if slice.ms <= 0.0 {
                continue;
            }
            let noise = libm::exp(self.noise * gauss(rng));
            let bps = slice.bits / slice.ms * 1e3 * noise;
            let over = Duration::from_secs_f64(slice.ms / 1e3);
            self.estimate.sample(BitRate::from_bps(1).scaled(bps), over);
            let keep = libm::exp(-slice.ms / 1e3 / AVERAGE_S);
            self.average.0 = keep * self.average.0 + (1.0 - keep) * bps;
            self.average.1 = keep * self.average.1 + (1.0 - keep);
        }
        self.estimate.transferred();
    }

    fn row(&self, signs: Vec<f32>, level: f64) -> Row {
        let relative = |bps: f64| {
            let off = libm::log(bps.max(RATE_MIN_BPS)) - level;
            narrow(off.clamp(-OFF_MAX, OFF_MAX))
        };
        let now_ms = self.cursor.now_ms();
        let before_bits = self.network.delivered_bits(now_ms);
        let product = self.estimate.forecast(Duration::ZERO).unwrap_or_default();
        Row {
            signs,
            truth: HORIZONS_S.map(|span_s| {
                let bits = self.network.delivered_bits(now_ms + span_s * 1e3) - before_bits;
                relative(bits / span_s * self.scale)
            }),
            average: relative(self.average.0 / self.average.1),
            product: product
                .log_rates
                .map(|row| row.map(|log| narrow(log - level))),
            weight: 0.0,
        }
    }
}

/// A number of the normal distribution (Box and Muller, 1958).
fn gauss(rng: &mut Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - rng.next_f64()));
    radius * libm::cos(std::f64::consts::TAU * rng.next_f64())
}

#[expect(clippy::cast_precision_loss, reason = "a count of decisions")]
fn count(number: usize) -> f64 {
    number.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVIE: &str = r#"{"segment_duration_ms": 4000, "bitrates_kbps": [1000, 2000, 8000],
        "segment_sizes_bits": [[4000000, 8000000, 32000000]]}"#;

    #[test]
    fn a_decision_is_told_with_what_came_after_it() {
        // 4 Mbit/s until 2 s, then 1 Mbit/s for long, of which half is payload. The first segment is there after 0.1 s of
        // latency and 2 s; 0.1 s of it at the lower rate, so that everything after the first decision is.
        let network = Network::read("2000,4000,100\n1000000,1000,100\n").unwrap();
        let movie = Movie::read(MOVIE).unwrap();
        let source = Source {
            scale: 0.5,
            ..source("made", "made.json", 1.0, 1)
        };
        let mut rng = Seed::new(1).rng();
        let rows = Drive::new(&network, &source, 0, &mut rng).play(&movie, &mut rng);
        assert_eq!(rows.len(), 49, "a decision for each segment but the first");
        let last = rows.last().unwrap();
        // The rate has been what it is for longer than any average remembers.
        for off in last.truth.iter().chain([&last.average]) {
            assert!(off.abs() < 1e-3, "{last:?}");
        }
        let first = &rows[0];
        for truth in first.truth {
            let half_mbps = libm::log(500_000.0);
            let level = half_mbps - f64::from(truth);
            let before = (level - libm::log(2_000_000.0)).abs();
            assert!(before < 0.3, "the past was 2 Mbit/s: {first:?}");
        }
    }

    #[test]
    fn every_third_session_is_noisy_and_a_seed_decides_all() {
        let network = Network::read("1000,4000,100\n1000,3000,100\n").unwrap();
        let movie = Movie::read(MOVIE).unwrap();
        let source = source("made", "made.json", 1.0, 12);
        let play = |session: usize, seed: u64| {
            let mut rng = Seed::new(seed).rng();
            let drive = Drive::new(&network, &source, session, &mut rng);
            (
                drive.noise > 0.0,
                format!("{:?}", drive.play(&movie, &mut rng)),
            )
        };
        let noisy: Vec<usize> = (0..12).filter(|session| play(*session, 1).0).collect();
        assert_eq!(noisy, [2, 5, 8, 11]);
        assert_eq!(play(5, 1), play(5, 1));
        assert_ne!(play(5, 1), play(5, 2));
    }
}
