//! What the rule `horizon` has to reach on a set, and whether it does.

use crate::abr::table::{Lead, Row, aligned};

/// What is asked for on one set, where all its traces and all rules are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bars {
    /// The least QoE per segment, where that is asked for. All other rules are to be led by more than two standard
    /// errors in any case.
    pub(super) qoe: Option<f64>,
    /// Rules of which less is asked.
    pub(super) excepted: &'static [Exception],
}

/// A rule that must not be ahead by more than two standard errors, and need not be led by them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exception {
    pub(super) rule: &'static str,
    /// What stands in the way, told beside what was found.
    pub(super) why: &'static str,
}

/// A bar beside what was found.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) name: String,
    /// `None` where there is nothing to judge by: such a bar is missed.
    found: Option<String>,
    bar: String,
    pub(super) holds: bool,
    why: &'static str,
}

const OURS: &str = "horizon";

impl Bars {
    pub(super) const LEADS: Self = Self {
        qoe: None,
        excepted: &[],
    };

    /// Judges the rows of a table.
    pub(super) fn judge(&self, rows: &[Row]) -> Vec<Judged> {
        let ours = rows.iter().find(|row| row.rule == OURS);
        let mut judged: Vec<Judged> = self.qoe.into_iter().map(|bar| least(ours, bar)).collect();
        let lead = |other: &Row| ours.map(|ours| Lead::of(&ours.qoes, &other.qoes));
        let excepted = |row: &&Row| self.excepted.iter().any(|one| one.rule == row.rule);
        let others = rows.iter().filter(|row| row.rule != OURS && !excepted(row));
        let others: Vec<(&str, Option<Lead>)> =
            others.map(|row| (row.rule.as_str(), lead(row))).collect();
        judged.extend(leads(&others));
        judged.extend(self.excepted.iter().map(|one| {
            let other = rows.iter().find(|row| row.rule == one.rule);
            tie(one, other.and_then(lead))
        }));
        judged
    }
}

fn least(ours: Option<&Row>, bar: f64) -> Judged {
    let found = ours.map(|row| row.qoe_per_segment);
    Judged {
        name: format!("{OURS}, QoE/segment"),
        found: found.map(|qoe| format!("{qoe:.3}")),
        bar: format!("at least {bar}"),
        holds: found.is_some_and(|qoe| qoe >= bar),
        why: "",
    }
}

/// Judges leads over rules without an exception: the nearest one stands for all, unless some are missed.
fn leads(others: &[(&str, Option<Lead>)]) -> Vec<Judged> {
    let ahead = |lead: Option<Lead>| lead.is_some_and(|lead| lead.bounds().0 > 0.0);
    let judged = |name: String, lead: Option<Lead>| Judged {
        name,
        found: lead.map(|lead| lead.to_string()),
        bar: "above two standard errors".to_owned(),
        holds: ahead(lead),
        why: "",
    };
    let missed = others.iter().filter(|(_, lead)| !ahead(*lead));
    let missed = missed.map(|(rule, lead)| judged(format!("{OURS} over {rule}"), *lead));
    let missed: Vec<Judged> = missed.collect();
    if !missed.is_empty() {
        return missed;
    }
    let margin = |lead: &Option<Lead>| lead.map_or(f64::NEG_INFINITY, |lead| lead.bounds().0);
    let nearest = others
        .iter()
        .min_by(|(_, a), (_, b)| margin(a).total_cmp(&margin(b)));
    let whom = nearest.map_or_else(String::new, |(rule, _)| format!(", {rule} nearest"));
    vec![judged(
        format!("{OURS} over the other {}{whom}", others.len()),
        nearest.and_then(|(_, lead)| *lead),
    )]
}

fn tie(exception: &Exception, lead: Option<Lead>) -> Judged {
    Judged {
        name: format!("{OURS} over {}, an exception", exception.rule),
        found: lead.map(|lead| lead.to_string()),
        bar: "not behind by more than two standard errors".to_owned(),
        holds: lead.is_some_and(|lead| lead.bounds().1 >= 0.0),
        why: exception.why,
    }
}

/// Returns a line for each bar, for people.
pub(super) fn text(judged: &[Judged]) -> String {
    let cells = judged.iter().map(|one| {
        [
            one.name.clone(),
            one.found.clone().unwrap_or_else(|| "-".to_owned()),
            one.bar.clone(),
            if one.holds { "holds" } else { "MISSED" }.to_owned(),
            one.why.to_owned(),
        ]
    });
    aligned(&cells.collect::<Vec<_>>(), |column| column == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rule: &str, qoes: &[f64]) -> Row {
        Row::of(rule, qoes)
    }

    /// Returns what the bars' lines say, each as whether it holds and its words.
    fn told(bars: Bars, rows: &[Row]) -> Vec<(bool, String)> {
        let judged = bars.judge(rows);
        let text = text(&judged);
        assert_eq!(text.lines().count(), judged.len());
        let lines = text.lines().map(str::to_owned);
        judged.iter().map(|one| one.holds).zip(lines).collect()
    }

    const QOE: Bars = Bars {
        qoe: Some(2.0),
        ..Bars::LEADS
    };
    const EXCEPTED: Bars = Bars {
        excepted: &[Exception {
            rule: "bb",
            why: "outages",
        }],
        ..Bars::LEADS
    };

    #[test]
    fn a_bar_that_is_reached_holds_and_the_nearest_rule_stands_for_all() {
        // Over rmpc 0.9 and 1.1: 1 ± 0.1. Over bb 0.4 and 0.6: 0.5 ± 0.1.
        let rows = [
            row("rmpc", &[1.0, 1.0]),
            row("bb", &[1.5, 1.5]),
            row("horizon", &[1.9, 2.1]),
        ];
        let told = told(QOE, &rows);
        let words: Vec<String> = told
            .iter()
            .map(|(_, line)| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            words,
            [
                "horizon, QoE/segment 2.000 at least 2 holds",
                "horizon over the other 2, bb nearest +0.500 ± 0.100 above two standard errors holds",
            ]
        );
    }

    #[test]
    fn a_bar_that_is_not_reached_is_missed_and_so_is_each_rule_that_is_not_led() {
        // Over bb 0 and 0.4: 0.2 ± 0.2. Behind rmpc.
        let rows = [
            row("throughput", &[1.0, 1.0]),
            row("rmpc", &[3.0, 3.0]),
            row("bb", &[1.7, 1.7]),
            row("horizon", &[1.7, 2.1]),
        ];
        let told = told(QOE, &rows);
        let missed = ["QoE/segment", "over rmpc", "over bb"];
        assert_eq!(told.len(), missed.len());
        for ((holds, line), what) in told.iter().zip(missed) {
            assert!(
                !holds && line.contains(what) && line.ends_with("MISSED"),
                "{line}"
            );
        }
    }

    #[test]
    fn an_exception_asks_for_less_and_says_why() {
        let ours = row("horizon", &[1.7, 2.1]);
        // A tie, as 0.2 ± 0.2, then as -0.2 ± 0.2; then behind by 0.6 ± 0.2.
        for (bb, expected) in [(1.7, true), (2.1, true), (2.5, false)] {
            let rows = [row("rmpc", &[1.0, 1.0]), row("bb", &[bb, bb]), ours.clone()];
            let told = told(EXCEPTED, &rows);
            assert!(told[0].0 && told[0].1.contains("over the other 1, rmpc"));
            let (holds, line) = &told[1];
            assert_eq!(*holds, expected, "{line}");
            for words in [
                "horizon over bb, an exception",
                "not behind by more than two",
                "outages",
            ] {
                assert!(line.contains(words), "{words}: {line}");
            }
        }
        // Of the others nothing less is asked.
        let rows = [row("rmpc", &[1.7, 1.7]), row("bb", &[1.7, 1.7]), ours];
        let told = told(EXCEPTED, &rows);
        assert_eq!([told[0].0, told[1].0], [false, true]);
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        let bars = Bars {
            qoe: Some(2.0),
            ..EXCEPTED
        };
        let all = |rows: &[Row]| {
            let told = told(bars, rows);
            assert!(told.iter().all(|(holds, _)| !holds), "{told:?}");
            told.len()
        };
        // Nothing at all, no rule of ours, and one trace, which has no standard error.
        assert_eq!(all(&[]), 3);
        assert_eq!(all(&[row("bb", &[1.0, 1.0]), row("rmpc", &[1.0, 1.0])]), 3);
        let alone = [
            row("bb", &[1.0]),
            row("rmpc", &[1.0]),
            row("horizon", &[1.5]),
        ];
        assert_eq!(all(&alone), 3);
        // A figure that is no number.
        let none = row("horizon", &[f64::NAN, 3.0]);
        assert_eq!(
            all(&[row("bb", &[1.0, 1.0]), row("rmpc", &[1.0, 1.0]), none]),
            3
        );
    }
}
