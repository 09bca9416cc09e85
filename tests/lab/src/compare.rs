//! Two reports side by side: which of their sessions belong together, and the figures of each.

use std::collections::BTreeMap;
use std::io::{self, Write};

use nearcast_scenario::{
    FIGURES, FigureKind, LabReport, PlayerResult, RunResult, ScenarioResult, Session,
};
use serde::Serialize;

/// A scenario that is in both reports, by its place in each.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    a: usize,
    b: usize,
    sessions: Vec<Sessions>,
}

/// A session of each.
#[derive(Debug, Serialize)]
struct Sessions {
    player: String,
    seeds: [u64; 2],
    figures: Vec<Row>,
}

/// One figure; `None` where a session has none of it.
#[derive(Debug, Serialize)]
struct Row {
    figure: String,
    a: Option<f64>,
    b: Option<f64>,
}

/// Pairs scenarios by their names (or the only one of each), their runs by seed (or the first of each), their players by name
/// (or place).
pub(crate) fn pairs(a: &LabReport, b: &LabReport) -> Vec<Pair> {
    let alone = a.scenarios.len() == 1 && b.scenarios.len() == 1;
    let mut pairs = Vec::new();
    for (place, one) in a.scenarios.iter().enumerate() {
        let same = |other: &ScenarioResult| alone || other.scenario == one.scenario;
        if let Some(other) = b.scenarios.iter().position(same) {
            pairs.push(Pair {
                a: place,
                b: other,
                sessions: sessions(one, &b.scenarios[other]),
            });
        }
    }
    pairs
}

fn sessions(a: &ScenarioResult, b: &ScenarioResult) -> Vec<Sessions> {
    let same_seed = a.runs.iter().find_map(|one| {
        let other = b.runs.iter().find(|other| other.seed == one.seed)?;
        Some((one, other))
    });
    let Some((a, b)) = same_seed.or_else(|| Some((a.runs.first()?, b.runs.first()?))) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (place, one) in a.players.iter().enumerate() {
        let named = b.players.iter().find(|other| other.player == one.player);
        if let Some(other) = named.or_else(|| b.players.get(place)) {
            all.push(Sessions {
                player: one.player.clone(),
                seeds: [a.seed, b.seed],
                figures: rows((a, one), (b, other)),
            });
        }
    }
    all
}

fn rows(a: (&RunResult, &PlayerResult), b: (&RunResult, &PlayerResult)) -> Vec<Row> {
    let (in_a, mut in_b) = (figures(a), figures(b));
    let mut rows: Vec<Row> = in_a
        .into_iter()
        .map(|(figure, a)| Row {
            b: in_b.remove(&figure),
            a: Some(a),
            figure,
        })
        .collect();
    let only_b = in_b.into_iter().map(|(figure, b)| Row {
        figure,
        a: None,
        b: Some(b),
    });
    rows.extend(only_b);
    rows.sort_by_key(|row| order(&row.figure));
    rows
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
        over: player.over,
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

/// Prints figures side by side.
pub(crate) fn tell(out: &mut dyn Write, a: &LabReport, pairs: &[Pair]) -> io::Result<()> {
    if pairs.is_empty() {
        return writeln!(
            out,
            "no scenario is in both reports: there is nothing to put side by side"
        );
    }
    for pair in pairs {
        let scenario = a.scenarios.get(pair.a).map_or("", |one| &one.scenario);
        for sessions in &pair.sessions {
            let [a, b] = sessions.seeds;
            writeln!(
                out,
                "{scenario}, {}: seed {a} and seed {b}",
                sessions.player
            )?;
            table(out, &sessions.figures)?;
        }
    }
    Ok(())
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
