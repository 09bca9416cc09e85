//! Two reports side by side: which of their scenarios belong together, and the figures of each over all seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use nearcast_scenario::{
    FIGURES, FigureKind, LabReport, PlayerResult, RunResult, ScenarioResult, Session,
};
use serde::Serialize;

/// A report, and what its runs counted: more of them than it keeps in full, where it was made of lines.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) report: LabReport,
    /// By scenario, in the report's order.
    pub(crate) tallies: Vec<Tally>,
}

/// The figures of a scenario's sessions.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seeds: BTreeSet<u64>,
    players: Vec<(String, BySeed)>,
}

/// By figure, one number for each seed.
type BySeed = BTreeMap<String, BTreeMap<u64, f64>>;

impl Tally {
    /// Takes a run.
    pub(crate) fn add(&mut self, run: &RunResult) {
        self.seeds.insert(run.seed);
        for player in &run.players {
            let known = self
                .players
                .iter()
                .position(|(name, _)| *name == player.player);
            let place = known.unwrap_or_else(|| {
                self.players.push((player.player.clone(), BySeed::new()));
                self.players.len() - 1
            });
            if let Some((_, by_seed)) = self.players.get_mut(place) {
                for (figure, number) in figures((run, player)) {
                    by_seed.entry(figure).or_default().insert(run.seed, number);
                }
            }
        }
    }

    /// Takes the runs that a report keeps.
    pub(crate) fn of(result: &ScenarioResult) -> Self {
        let mut tally = Self::default();
        for run in &result.runs {
            tally.add(run);
        }
        tally
    }
}

/// A scenario that is in both reports, by its place in each.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    a: usize,
    b: usize,
    sessions: Vec<Sessions>,
}

/// A player's sessions of each.
#[derive(Debug, Serialize)]
struct Sessions {
    /// Whose, in words.
    player: String,
    /// Of which seeds, in words.
    over: String,
    figures: Vec<Row>,
}

/// One figure, its mean over the seeds; `None` where no session has any of it.
#[derive(Debug, Serialize)]
struct Row {
    figure: String,
    a: Option<f64>,
    b: Option<f64>,
}

/// Pairs scenarios by their names (or the only one of each), their players by name (or place); figures are of the seeds that are
/// in both, or where none is, of all.
pub(crate) fn pairs(a: &Counted, b: &Counted) -> Vec<Pair> {
    let (ours, theirs) = (&a.report.scenarios, &b.report.scenarios);
    let alone = ours.len() == 1 && theirs.len() == 1;
    let mut taken: Vec<Option<usize>> = vec![None; ours.len()];
    // Whose file is the same comes first; of the others, several of one name are taken in turn.
    for by_file in [true, false] {
        for (place, one) in ours.iter().enumerate() {
            let is_it = |other: &ScenarioResult| {
                let same = other.scenario == one.scenario;
                same && (other.file == one.file || !by_file) || alone && !by_file
            };
            if taken[place].is_none() {
                let left = |place: &usize| !taken.contains(&Some(*place));
                let mut others = theirs.iter().enumerate();
                let found = others.find(|(place, other)| left(place) && is_it(other));
                taken[place] = found.map(|(place, _)| place);
            }
        }
    }
    let pairs = taken.into_iter().enumerate();
    let pairs = pairs.filter_map(|(place, other)| Some((place, other?)));
    pairs
        .map(|(place, other)| Pair {
            a: place,
            b: other,
            sessions: sessions((a, place), (b, other)),
        })
        .collect()
}

fn sessions((a, in_a): (&Counted, usize), (b, in_b): (&Counted, usize)) -> Vec<Sessions> {
    let (Some(ours), Some(theirs)) = (a.tallies.get(in_a), b.tallies.get(in_b)) else {
        return Vec::new();
    };
    let both: BTreeSet<u64> = ours.seeds.intersection(&theirs.seeds).copied().collect();
    let of = |own: &BTreeSet<u64>| {
        if both.is_empty() {
            own.clone()
        } else {
            both.clone()
        }
    };
    let seeds = [of(&ours.seeds), of(&theirs.seeds)];
    let mut all = Vec::new();
    for (place, (name, one)) in ours.players.iter().enumerate() {
        let named = theirs.players.iter().find(|(other, _)| other == name);
        if let Some((other_name, other)) = named.or_else(|| theirs.players.get(place)) {
            all.push(Sessions {
                player: beside(name, other_name),
                over: over(&seeds),
                figures: rows((one, &seeds[0]), (other, &seeds[1])),
            });
        }
    }
    all
}

/// Says of which seeds figures are.
fn over([a, b]: &[BTreeSet<u64>; 2]) -> String {
    let told = |seeds: &BTreeSet<u64>| match (seeds.first(), seeds.len()) {
        (Some(seed), 1) => format!("seed {seed}"),
        (_, count) => format!("means of {count} seeds"),
    };
    if a == b {
        return told(a);
    }
    format!("{} and {}, none of them in both", told(a), told(b))
}

/// What is not called the same in both is told by both names.
fn beside(a: &str, b: &str) -> String {
    if a == b {
        return a.to_owned();
    }
    format!("{a} beside {b}")
}

fn rows(a: (&BySeed, &BTreeSet<u64>), b: (&BySeed, &BTreeSet<u64>)) -> Vec<Row> {
    let names: BTreeSet<&String> = a.0.keys().chain(b.0.keys()).collect();
    let row = |figure: &String| Row {
        figure: figure.clone(),
        a: mean(a, figure),
        b: mean(b, figure),
    };
    let mut rows: Vec<Row> = names.into_iter().map(row).collect();
    rows.retain(|row| row.a.is_some() || row.b.is_some());
    rows.sort_by_key(|row| order(&row.figure));
    rows
}

/// The mean over those of the seeds that have any of this figure.
fn mean((by_seed, seeds): (&BySeed, &BTreeSet<u64>), figure: &str) -> Option<f64> {
    let all = by_seed.get(figure)?.iter();
    let numbers: Vec<f64> = all
        .filter(|(seed, _)| seeds.contains(seed))
        .map(|(_, number)| *number)
        .collect();
    let count = u32::try_from(numbers.len())
        .ok()
        .filter(|count| *count > 0)?;
    Some(numbers.iter().sum::<f64>() / f64::from(count))
}

/// Figures stand in the order in which they are listed.
fn order(figure: &str) -> usize {
    let name = figure.split('.').next().unwrap_or(figure);
    let place = FIGURES.iter().position(|kind| kind.name == name);
    place.unwrap_or(FIGURES.len())
}

/// Takes every figure from a session: of those that it has many of, the largest; of those by name, each name there is.
fn figures((run, player): (&RunResult, &PlayerResult)) -> BTreeMap<String, f64> {
    let session = Session {
        player: &player.player,
        begins_s: player.begins_s,
        report: &player.report,
        receipts: &run.receipts,
        // A report holds what edges sent, not what would have been their share.
        load_ratio: &[],
    };
    let mut all = BTreeMap::new();
    for kind in FIGURES {
        for of in names(kind, player) {
            let values = kind.figure(of.clone()).values(&session);
            let name = match &of {
                Some(of) => format!("{}.{of}", kind.name),
                None if kind.many => format!("{}.max", kind.name),
                None => kind.name.to_owned(),
            };
            if let Some(largest) = values.into_iter().reduce(f64::max) {
                all.insert(name, largest);
            }
        }
    }
    all
}

/// What may follow a figure's dot in this session; `None` is the plain figure.
fn names(kind: &FigureKind, player: &PlayerResult) -> Vec<Option<String>> {
    match kind.name {
        // A share of nobody in particular is none.
        "served" => {
            let edges = player.report.edges.iter();
            edges.map(|edge| Some(edge.id.clone())).collect()
        }
        _ => vec![None],
    }
}

/// Prints figures side by side, and what is in one report only.
pub(crate) fn tell(
    out: &mut dyn Write,
    a: &Counted,
    b: &Counted,
    pairs: &[Pair],
) -> io::Result<()> {
    if pairs.is_empty() {
        writeln!(
            out,
            "no scenario is in both reports: there is nothing to put side by side"
        )?;
    }
    for pair in pairs {
        let name = |of: &Counted, place: usize| {
            let scenario = of.report.scenarios.get(place);
            scenario.map_or(String::new(), |one| one.scenario.clone())
        };
        let scenario = beside(&name(a, pair.a), &name(b, pair.b));
        for sessions in &pair.sessions {
            writeln!(out, "{scenario}, {}: {}", sessions.player, sessions.over)?;
            table(out, &sessions.figures)?;
        }
    }
    only(out, "A", a, &pairs.iter().map(|pair| pair.a).collect())?;
    only(out, "B", b, &pairs.iter().map(|pair| pair.b).collect())?;
    if [a, b].into_iter().any(lacks_runs) {
        writeln!(
            out,
            "not all seeds are in these files, as --json keeps few runs in full: compare what --jsonl wrote"
        )?;
    }
    Ok(())
}

fn only(
    out: &mut dyn Write,
    label: &str,
    of: &Counted,
    paired: &BTreeSet<usize>,
) -> io::Result<()> {
    let all = of.report.scenarios.iter().enumerate();
    let left: Vec<&str> = all
        .filter(|(place, _)| !paired.contains(place))
        .map(|(_, one)| one.scenario.as_str())
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    writeln!(out, "only in {label}: {}", left.join(", "))
}

fn lacks_runs(of: &Counted) -> bool {
    let mut both = of.report.scenarios.iter().zip(&of.tallies);
    both.any(|(result, tally)| (tally.seeds.len() as u64) < result.seeds)
}

fn table(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    let width = rows.iter().map(|row| row.figure.chars().count()).max();
    let width = width.unwrap_or(0);
    writeln!(
        out,
        "  {:width$}  {:>12}  {:>12}  {:>12}",
        "", "A", "B", "B - A"
    )?;
    let told = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.4}"));
    for row in rows {
        let far = row.a.zip(row.b).map(|(a, b)| b - a);
        writeln!(
            out,
            "  {:width$}  {:>12}  {:>12}  {:>12}",
            row.figure,
            told(row.a),
            told(row.b),
            told(far)
        )?;
    }
    Ok(())
}
