//! What came of a run, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use nearcast_scenario::{LabReport, Minimised, ScenarioResult};

use super::first_problem;
use crate::moment;

/// Prints a line for each scenario, a table for each matrix, what failed with the command that shows it again, and how fast
/// that was where it was run just now.
pub(super) fn report(
    out: &mut dyn Write,
    report: &LabReport,
    took_s: Option<f64>,
) -> io::Result<()> {
    let mut by_file: BTreeMap<&str, Vec<&ScenarioResult>> = BTreeMap::new();
    for result in &report.scenarios {
        by_file.entry(&result.file).or_default().push(result);
    }
    for results in by_file.values() {
        if results.iter().any(|result| result.cell.is_some()) {
            matrix(out, results)?;
        } else {
            for result in results {
                line(out, result)?;
            }
        }
    }
    for result in report.scenarios.iter().filter(|result| !result.passed) {
        failure(out, result)?;
    }
    if report.interrupted {
        writeln!(out, "interrupted: this is what was done by then")?;
    }
    if report.busy {
        writeln!(
            out,
            "this machine was too busy for the timings to be trusted: run it once more, or with fewer --jobs"
        )?;
    }
    let failed = report
        .scenarios
        .iter()
        .filter(|result| !result.passed)
        .count();
    write!(out, "{} scenarios, {failed} failed", report.scenarios.len())?;
    let Some(took_s) = took_s else {
        return writeln!(out);
    };
    let sessions: u64 = report.scenarios.iter().map(|result| result.sessions).sum();
    let sessions = usize::try_from(sessions).unwrap_or(usize::MAX);
    let played_s = report.scenarios.iter().map(|result| result.played_s).sum();
    write!(out, ": {}", moment::speed(sessions, played_s, took_s))
}

fn line(out: &mut dyn Write, result: &ScenarioResult) -> io::Result<()> {
    let verdict = if result.passed { "ok  " } else { "FAIL" };
    let seeds = if result.seeds == 1 { "seed" } else { "seeds" };
    write!(
        out,
        "{verdict} {} ({} {seeds}, {} sessions)",
        result.scenario, result.seeds, result.sessions
    )?;
    match first_problem(result) {
        Some(problem) => writeln!(out, ": {problem}"),
        None => writeln!(out),
    }
}

fn failure(out: &mut dyn Write, result: &ScenarioResult) -> io::Result<()> {
    writeln!(out, "\nFAIL {}", result.scenario)?;
    for problem in &result.problems {
        writeln!(out, "  {}", problem.what)?;
        if !problem.again.is_empty() {
            writeln!(out, "    again: {}", problem.again)?;
        }
    }
    match &result.minimised {
        Some(minimised) => needed(out, minimised, result.problems.len() > 1),
        None => Ok(()),
    }
}

/// Prints what a problem needs, and which one where there are several.
fn needed(out: &mut dyn Write, minimised: &Minimised, is_named: bool) -> io::Result<()> {
    let Minimised { problem, of, .. } = minimised;
    if is_named {
        writeln!(out, "  of these, `{problem}`:")?;
    }
    if minimised.left.is_empty() {
        return writeln!(
            out,
            "  it fails with none of its {of} faults and actions, too"
        );
    }
    writeln!(out, "  needs of its {of} faults and actions only:")?;
    for left in &minimised.left {
        writeln!(out, "    {left}")?;
    }
    Ok(())
}

/// Prints which faults were tried with which objects, at which places: `+` held, `-` failed, nothing was not tried.
fn matrix(out: &mut dyn Write, results: &[&ScenarioResult]) -> io::Result<()> {
    let cells: Vec<_> = results
        .iter()
        .filter_map(|result| Some((result.cell.as_ref()?, *result)))
        .collect();
    let mut objects: Vec<&str> = Vec::new();
    let mut shapes: Vec<&str> = Vec::new();
    for (cell, _) in &cells {
        if !objects.contains(&cell.object.as_str()) {
            objects.push(&cell.object);
        }
        if !shapes.contains(&cell.shape.as_str()) {
            shapes.push(&cell.shape);
        }
    }
    let title = results.first().map_or("", |result| result.file.as_str());
    writeln!(
        out,
        "{title}: what was broken of what; a sign for each place of the body, + held, - did not"
    )?;
    let width = shapes
        .iter()
        .map(|shape| shape.chars().count())
        .max()
        .unwrap_or(0);
    write!(out, "  {:width$}", "")?;
    for object in &objects {
        write!(out, "  {object}")?;
    }
    writeln!(out)?;
    for shape in &shapes {
        write!(out, "  {shape:width$}")?;
        for object in &objects {
            let of_cell = cells
                .iter()
                .filter(|(cell, _)| cell.shape == *shape && cell.object == *object);
            let signs: String = of_cell
                .map(|(_, result)| if result.passed { '+' } else { '-' })
                .collect();
            write!(out, "  {signs:>width$}", width = object.chars().count())?;
        }
        writeln!(out)?;
    }
    let places: BTreeSet<&str> = cells
        .iter()
        .filter_map(|(cell, _)| cell.place.as_deref())
        .collect();
    let seeds = results.first().map_or(0, |result| result.seeds);
    let held = results.iter().filter(|result| result.passed).count();
    writeln!(
        out,
        "  {held} of {} cells held, {seeds} seeds each; places: the whole answer, {}",
        results.len(),
        places.into_iter().collect::<Vec<_>>().join(", ")
    )
}
