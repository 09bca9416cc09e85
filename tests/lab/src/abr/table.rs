//! One row for each rule.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use super::measure::{Bench, Limit, Session};

/// Means over all traces, as they are written down.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) schema: &'static str,
    pub(crate) profile: &'static str,
    pub(crate) traces: usize,
    pub(crate) set: String,
    pub(crate) segments: usize,
    pub(crate) max_buffer_s: f64,
    pub(crate) mu: f64,
    /// Of the sound beside the picture, where there was any.
    pub(crate) audio_kbps: Option<f64>,
    /// Of the offline optimum, where it was worked out.
    pub(crate) optimum_qoe_per_segment: Option<f64>,
    pub(crate) optimum_stall_s: Option<f64>,
    /// No session is better than the optimum by more than this, but for what the cap on the buffer hides.
    pub(crate) optimum_tolerance: Option<f64>,
    pub(crate) rows: Vec<Row>,
}

/// Means of one rule.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) rule: String,
    pub(crate) qoe_per_segment: f64,
    pub(crate) mean_bitrate_bps: f64,
    pub(crate) stall_s: f64,
    pub(crate) startup_s: f64,
    pub(crate) switches: f64,
    /// Share of the offline optimum; `None` where that was not worked out or is not above 0.
    pub(crate) optimum: Option<f64>,
    /// Mean difference to the best rule, trace by trace, and its standard error; `None` for fewer than two traces.
    pub(crate) paired_vs_best: f64,
    pub(crate) paired_se: Option<f64>,
    /// Of each trace.
    #[serde(skip)]
    pub(crate) qoes: Vec<f64>,
}

/// How much better one rule is than another, trace by trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lead {
    mean: f64,
    /// The mean's standard error; `None` for fewer than two traces.
    error: Option<f64>,
}

impl Lead {
    /// Compares figures of the same traces in the same order.
    pub(crate) fn of(one: &[f64], other: &[f64]) -> Self {
        let pairs = one.iter().zip(other);
        let differences: Vec<f64> = pairs.map(|(one, other)| one - other).collect();
        Self {
            mean: mean(&differences),
            error: standard_error(&differences),
        }
    }

    /// Returns the mean less two standard errors and the mean with them; NaN where they are not known.
    pub(crate) fn bounds(self) -> (f64, f64) {
        let twice = 2.0 * self.error.unwrap_or(f64::NAN);
        (self.mean - twice, self.mean + twice)
    }
}

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+.3}", self.mean)?;
        self.error
            .map_or(Ok(()), |error| write!(f, " ± {error:.3}"))
    }
}

#[cfg(test)]
impl Row {
    /// Makes a row of which nothing is known but this.
    pub(crate) fn of(rule: &str, qoes: &[f64]) -> Self {
        Self {
            rule: rule.to_owned(),
            qoe_per_segment: mean(qoes),
            mean_bitrate_bps: 0.0,
            stall_s: 0.0,
            startup_s: 0.0,
            switches: 0.0,
            optimum: None,
            paired_vs_best: 0.0,
            paired_se: None,
            qoes: qoes.to_vec(),
        }
    }
}

impl Table {
    /// Makes the table of these rules' sessions.
    pub(crate) fn new(bench: &Bench, sessions: &[Vec<Session>], limit: Option<&Limit>) -> Self {
        let qoe = |session: &Session| session.qoe_per_segment;
        let of = |sessions: &[Session], what: fn(&Session) -> f64| {
            mean(&sessions.iter().map(what).collect::<Vec<_>>())
        };
        let best = sessions
            .iter()
            .max_by(|a, b| of(a, qoe).total_cmp(&of(b, qoe)));
        let optimum = limit.map(|limit| of(&limit.sessions, qoe));
        let rows = bench.rules.iter().zip(sessions).map(|(rule, sessions)| {
            let qoes = |sessions: &[Session]| sessions.iter().map(qoe).collect::<Vec<f64>>();
            let lead = Lead::of(&qoes(sessions), &qoes(best.unwrap_or(sessions)));
            let qoe_per_segment = of(sessions, qoe);
            Row {
                rule: rule.clone(),
                qoe_per_segment,
                mean_bitrate_bps: of(sessions, |one| one.mean_bitrate_bps),
                stall_s: of(sessions, |one| one.stall_s),
                startup_s: of(sessions, |one| one.startup_s),
                switches: of(sessions, |one| one.switches),
                optimum: optimum
                    .filter(|most| *most > 0.0)
                    .map(|most| qoe_per_segment / most),
                paired_vs_best: lead.mean,
                paired_se: lead.error,
                qoes: qoes(sessions),
            }
        });
        Self {
            schema: "nearcast.bench/1",
            profile: bench.profile.name(),
            traces: bench.set.traces.len(),
            set: bench.set.name.clone(),
            segments: bench.segments,
            max_buffer_s: bench.cap_ms / 1e3,
            mu: bench.mu,
            audio_kbps: bench.sound.map(|sound| sound.as_f64() / 1e3),
            optimum_qoe_per_segment: optimum,
            optimum_stall_s: limit.map(|limit| of(&limit.sessions, |one| one.stall_s)),
            optimum_tolerance: limit.map(|limit| limit.tolerance),
            rows: rows.collect(),
        }
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Returns what was measured, in one line.
    pub(crate) fn title(&self) -> String {
        let sound = self
            .audio_kbps
            .map_or_else(String::new, |kbps| format!(", sound {kbps} kbit/s"));
        format!(
            "{}: {} traces, profile {}, {} segments, buffer {} s, mu {}{sound}",
            self.set, self.traces, self.profile, self.segments, self.max_buffer_s, self.mu
        )
    }

    pub(crate) const HEADINGS: [&str; 7] = [
        "rule",
        "QoE/segment",
        "optimum",
        "kbit/s",
        "stall s",
        "switches",
        "paired to best",
    ];

    /// Returns the cells of all rows, the limit last.
    pub(crate) fn cells(&self) -> Vec<[String; 7]> {
        let dash = || "-".to_owned();
        let row = |row: &Row| {
            [
                row.rule.clone(),
                format!("{:.3}", row.qoe_per_segment),
                row.optimum
                    .map_or_else(dash, |share| format!("{:.1} %", share * 100.0)),
                format!("{:.0}", row.mean_bitrate_bps / 1e3),
                format!("{:.2}", row.stall_s),
                format!("{:.1}", row.switches),
                Lead {
                    mean: row.paired_vs_best,
                    error: row.paired_se,
                }
                .to_string(),
            ]
        };
        let mut cells: Vec<[String; 7]> = self.rows.iter().map(row).collect();
        if let (Some(qoe), Some(stall_s)) = (self.optimum_qoe_per_segment, self.optimum_stall_s) {
            cells.push([
                "(limit)".to_owned(),
                format!("{qoe:.3}"),
                "100 %".to_owned(),
                dash(),
                format!("{stall_s:.2}"),
                dash(),
                dash(),
            ]);
        }
        cells
    }

    /// Returns the table for people.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![Self::HEADINGS.map(str::to_owned)];
        lines.extend(self.cells());
        // What a row is about stands at its left, numbers at the right of their column.
        let mut text = self.title() + "\n" + &aligned(&lines, |column| column > 0);
        if let Some(tolerance) = self.optimum_tolerance {
            text += &format!(
                "  limit: no session is better by more than {tolerance:.3} per segment, but for what a full buffer hides now and then\n"
            );
        }
        text
    }
}

/// Returns lines whose cells stand below each other, those of some columns at their right.
pub(crate) fn aligned<const N: usize>(lines: &[[String; N]], right: fn(usize) -> bool) -> String {
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().enumerate().map(|(column, cell)| {
            let width = lines.iter().map(|line| line[column].chars().count()).max();
            let width = width.unwrap_or(0);
            if right(column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += &format!("  {}\n", line.trim_end());
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "counts of traces and sessions")]
pub(crate) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// Returns the standard error of the mean; `None` for fewer than two numbers.
#[expect(clippy::cast_precision_loss, reason = "counts of traces and sessions")]
pub(crate) fn standard_error(numbers: &[f64]) -> Option<f64> {
    let count = numbers.len() as f64;
    let mean = mean(numbers);
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    (numbers.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_of_more_numbers_is_known_better() {
        assert_eq!(standard_error(&[3.0]), None);
        // Deviations of 2 and -2: a variance of 8 over two numbers, of 16/3 over four.
        for (numbers, error) in [
            (&[3.0, 3.0][..], 0.0),
            (&[1.0, 5.0], 2.0),
            (&[1.0, 5.0, 1.0, 5.0], 1.154_700_538),
        ] {
            let found = standard_error(numbers).unwrap();
            assert!((found - error).abs() < 1e-6, "{numbers:?}: {found}");
        }
    }
}
