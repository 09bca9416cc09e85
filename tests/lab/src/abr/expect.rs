//! Known results, and whether ours are the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nearcast_sim::trace::{Optimum, Played};

use super::measure::Bench;

/// Known numbers, by rule and trace.
#[derive(Debug)]
pub(crate) struct Expected {
    columns: Vec<Column>,
    rows: BTreeMap<(String, String), Vec<f64>>,
}

/// A number that a known result has, and how ours is worked out.
#[derive(Clone, Copy, Debug)]
struct Column {
    name: &'static str,
    ours: fn(&Played, f64) -> f64,
    /// Where a buffer just suffices, rounding decides whether playback stood still for no time at all, and known
    /// results count that: one more or less is equal.
    counts_stalls: bool,
}

/// The name that the limits of a file have beside rules.
const OPTIMUM: &str = "optimum";

const COLUMNS: [Column; 15] = [
    column("optimal_qoe_tail", |played, mu| played.qoe(mu)),
    column("optimal_qoe_with_startup", |played, mu| played.qoe(mu)),
    column("qoe_tail", |played, mu| played.qoe(mu)),
    column("bitrate_kbps", |played, _| played.mean_kbps()),
    column("rebuf_s", |played, _| played.stall_ms / 1e3),
    column("startup_s", |played, _| played.startup_ms / 1e3),
    column("change_mbps", |played, _| played.change_kbps() / 1e3),
    counting("events"),
    column("play_time_s", |played, _| played.total_ms / 1e3),
    column("segments", |played, _| count(played.rungs.len())),
    column("rebuffer_s", |played, _| played.stall_ms / 1e3),
    counting("rebuffer_events"),
    column("time_avg_bitrate_kbps", |played, _| played.time_mean_kbps()),
    column("total_bitrate_change_kbps", |played, _| {
        played.change_kbps()
    }),
    column("total_play_time_s", |played, _| played.total_ms / 1e3),
];

const fn column(name: &'static str, ours: fn(&Played, f64) -> f64) -> Column {
    Column {
        name,
        ours,
        counts_stalls: false,
    }
}

const fn counting(name: &'static str) -> Column {
    Column {
        name,
        ours: |played, _| count(played.stalls),
        counts_stalls: true,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of segments")]
fn count(number: usize) -> f64 {
    number as f64
}

/// How one rule compares.
#[derive(Debug)]
struct Line {
    rule: String,
    equal: usize,
    /// The largest difference of the equal ones, and of all.
    largest_equal: f64,
    largest: f64,
    different: Vec<String>,
}

/// How all compare.
#[derive(Debug)]
pub(crate) struct Compared(Vec<Line>);

impl Expected {
    /// Reads a file of known results: a heading, then a line for each rule and trace.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let place = || path.display().to_string();
        let text = fs::read_to_string(path).with_context(place)?;
        let lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()));
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let (_, heading) = lines
            .next()
            .with_context(|| format!("{}: it is empty", place()))?;
        // A file of limits has no column for the rule.
        let limits = heading.starts_with("trace,");
        let heading = if limits {
            format!("alg,{heading}")
        } else {
            heading.to_owned()
        };
        let names: Vec<&str> = heading.split(',').collect();
        let known = |name: &&str| COLUMNS.into_iter().find(|column| column.name == *name);
        ensure!(
            names.len() > 2 && names[..2] == ["alg", "trace"],
            "{}: the heading is \"{heading}\", not alg,trace,…",
            place()
        );
        let columns: Option<Vec<Column>> = names[2..].iter().map(known).collect();
        let columns = columns.with_context(|| {
            let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
            format!(
                "{}: a column of \"{heading}\" is none of {}",
                place(),
                names.join(", ")
            )
        })?;
        let mut rows = BTreeMap::new();
        for (number, line) in lines {
            let rule = limits.then_some(OPTIMUM);
            let fields: Vec<&str> = rule.into_iter().chain(line.split(',')).collect();
            let numbers: Result<Vec<f64>, _> =
                fields.iter().skip(2).map(|field| field.parse()).collect();
            let numbers = numbers.with_context(|| format!("{}: line {number}", place()))?;
            ensure!(
                numbers.len() == columns.len(),
                "{}: line {number} has {} fields, the heading {}",
                place(),
                fields.len(),
                names.len()
            );
            rows.insert((fields[0].to_owned(), fields[1].to_owned()), numbers);
        }
        Ok(Self { columns, rows })
    }

    /// Compares every session of a rule that the file has.
    pub(crate) fn compare(
        &self,
        bench: &Bench,
        played: &[Vec<Played>],
        optimum: Option<&[Optimum]>,
        within: f64,
    ) -> Result<Compared> {
        let mut lines = Vec::new();
        let rules = bench.rules.iter().map(String::as_str).zip(played);
        let rules = rules.map(|(rule, sessions)| (rule, sessions.iter().collect::<Vec<_>>()));
        let optimum = optimum.map(|all| (OPTIMUM, all.iter().map(|one| &one.played).collect()));
        for (rule, sessions) in rules.chain(optimum) {
            if !self.rows.keys().any(|(name, _)| name == rule) {
                continue;
            }
            let mut line = Line {
                rule: rule.to_owned(),
                equal: 0,
                largest_equal: 0.0,
                largest: 0.0,
                different: Vec::new(),
            };
            for (trace, played) in bench.set.traces.iter().zip(sessions) {
                let known = self.rows.get(&(rule.to_owned(), trace.name.clone()));
                match known.map(|known| self.differ(known, played, bench.mu)) {
                    Some((by, _)) if by <= within => {
                        line.equal += 1;
                        line.largest_equal = line.largest_equal.max(by);
                        line.largest = line.largest.max(by);
                    }
                    Some((by, what)) => {
                        line.largest = line.largest.max(by);
                        line.different.push(format!("{}: {what}", trace.name));
                    }
                    None => line
                        .different
                        .push(format!("{}: not in the file", trace.name)),
                }
            }
            lines.push(line);
        }
        ensure!(
            !lines.is_empty(),
            "the file of known results has none of these rules"
        );
        Ok(Compared(lines))
    }

    /// Returns the largest difference and where it is.
    fn differ(&self, known: &[f64], played: &Played, mu: f64) -> (f64, String) {
        let mut worst = (0.0, String::new());
        for (column, known) in self.columns.iter().zip(known) {
            let ours = (column.ours)(played, mu);
            let by = (ours - known).abs();
            let by = match column.counts_stalls {
                true if by <= 1.0 => 0.0,
                _ => by / known.abs().max(1.0),
            };
            // NaN is a difference.
            if by > worst.0 || by.is_nan() {
                worst = (by, format!("{} is {ours}, not {known}", column.name));
            }
        }
        worst
    }
}

impl Compared {
    pub(crate) fn count(&self) -> usize {
        self.0
            .iter()
            .map(|line| line.equal + line.different.len())
            .sum()
    }

    pub(crate) fn mismatches(&self) -> usize {
        self.0.iter().map(|line| line.different.len()).sum()
    }

    /// Returns whether so large a share of each rule's traces is equal.
    #[expect(clippy::cast_precision_loss, reason = "counts of traces")]
    pub(crate) fn holds(&self, share: f64) -> bool {
        let enough = |line: &Line| {
            let all = line.equal + line.different.len();
            line.equal as f64 >= share * all as f64
        };
        self.0.iter().all(enough)
    }

    pub(crate) fn text(&self) -> String {
        /// Of each rule; more say nothing new.
        const SHOWN: usize = 5;
        let mut text = String::from("compared with known results:\n");
        for line in &self.0 {
            let all = line.equal + line.different.len();
            text += &format!(
                "  {:<12} {} of {all} equal (largest difference among them {:.1e}, of all {:.1e})\n",
                line.rule, line.equal, line.largest_equal, line.largest
            );
            for one in line.different.iter().take(SHOWN) {
                text += &format!("    {one}\n");
            }
            if line.different.len() > SHOWN {
                text += &format!("    and {} more\n", line.different.len() - SHOWN);
            }
        }
        text
    }
}
