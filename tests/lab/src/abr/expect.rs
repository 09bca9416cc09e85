//! Known results, and whether ours are the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::measure::{Bench, Limit, Session};

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
    ours: fn(&Session) -> f64,
    /// Where a buffer just suffices, rounding decides whether playback stood still for no time at all, and known
    /// results count that: one more or less is equal.
    counts_stalls: bool,
}

/// How far a number may be from the known one, relative to it and to 1.
pub(crate) const WITHIN: f64 = 1e-4;
/// The name that the limits of a file have beside rules.
const OPTIMUM: &str = "optimum";

const COLUMNS: [Column; 15] = [
    column("optimal_qoe_tail", |session| session.qoe),
    column("optimal_qoe_with_startup", |session| session.qoe),
    column("qoe_tail", |session| session.qoe),
    column("bitrate_kbps", |session| session.mean_bitrate_bps / 1e3),
    column("rebuf_s", |session| session.stall_s),
    column("startup_s", |session| session.startup_s),
    column("change_mbps", |session| session.change_bps / 1e6),
    counting("events"),
    column("play_time_s", |session| session.total_s),
    column("segments", |session| count(session.segments)),
    column("rebuffer_s", |session| session.stall_s),
    counting("rebuffer_events"),
    column("time_avg_bitrate_kbps", |session| {
        session.time_mean_bitrate_bps / 1e3
    }),
    column("total_bitrate_change_kbps", |session| {
        session.change_bps / 1e3
    }),
    column("total_play_time_s", |session| session.total_s),
];

const fn column(name: &'static str, ours: fn(&Session) -> f64) -> Column {
    Column {
        name,
        ours,
        counts_stalls: false,
    }
}

const fn counting(name: &'static str) -> Column {
    Column {
        name,
        ours: |session| count(session.stalls),
        counts_stalls: true,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of segments")]
fn count(number: usize) -> f64 {
    number as f64
}

/// How one rule compares.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) rule: String,
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
        sessions: &[Vec<Session>],
        limit: Option<&Limit>,
        within: f64,
    ) -> Compared {
        let mut lines = Vec::new();
        let rules = bench.rules.iter().map(String::as_str).zip(sessions);
        let optimum = limit.map(|limit| (OPTIMUM, &limit.sessions));
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
            for (trace, session) in bench.set.traces.iter().zip(sessions) {
                let known = self.rows.get(&(rule.to_owned(), trace.name.clone()));
                match known.map(|known| self.differ(known, session)) {
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
        Compared(lines)
    }

    /// Returns the largest difference and where it is.
    fn differ(&self, known: &[f64], session: &Session) -> (f64, String) {
        let mut worst = (0.0, String::new());
        for (column, known) in self.columns.iter().zip(known) {
            let ours = (column.ours)(session);
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
    pub(crate) fn lines(&self) -> &[Line] {
        &self.0
    }

    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(Line::count).sum()
    }

    pub(crate) fn mismatches(&self) -> usize {
        self.0.iter().map(|line| line.different.len()).sum()
    }

    /// Returns whether so large a share of each rule's traces is equal.
    #[expect(clippy::cast_precision_loss, reason = "counts of traces")]
    pub(crate) fn holds(&self, share: f64) -> bool {
        let enough = |line: &Line| line.equal as f64 >= share * line.count() as f64;
        self.0.iter().all(enough)
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.0.iter().map(|line| line.text() + &line.differences());
        let lines: String = lines.collect();
        format!("compared with known results:\n{lines}")
    }
}

impl Line {
    fn count(&self) -> usize {
        self.equal + self.different.len()
    }

    /// Returns whether every session is equal.
    pub(crate) fn is_equal(&self) -> bool {
        self.different.is_empty()
    }

    /// Returns how many sessions are equal, in one line.
    pub(crate) fn text(&self) -> String {
        format!(
            "  {:<12} {} of {} equal (largest difference among them {:.1e}, of all {:.1e})\n",
            self.rule,
            self.equal,
            self.count(),
            self.largest_equal,
            self.largest
        )
    }

    /// Returns what differs, a line for each session.
    pub(crate) fn differences(&self) -> String {
        /// Of each rule; more say nothing new.
        const SHOWN: usize = 5;
        let shown = self.different.iter().take(SHOWN);
        let mut text: String = shown.map(|one| format!("    {one}\n")).collect();
        if self.different.len() > SHOWN {
            text += &format!("    and {} more\n", self.different.len() - SHOWN);
        }
        text
    }
}
