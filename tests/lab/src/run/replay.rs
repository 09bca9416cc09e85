//! A recorded session once more, in virtual time.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Error, Result, anyhow};
use nearcast_protocol::report::{DecisionReport, SCHEMA, SessionReport};
use nearcast_sim::replay::{ReplayError, replay};
use serde_json::Value;

use crate::documents::create;

/// Replays a recording, writes its report, and compares its decisions with those of the report that the play itself left. Exit status 1
/// where they differ, or an invariant breaks.
pub(super) fn execute(
    out: &mut dyn Write,
    recording: &Path,
    json: Option<&Path>,
    against: Option<&Path>,
) -> Result<ExitCode> {
    let reading = || format!("reading {}", recording.display());
    let file = File::open(recording).with_context(reading)?;
    let replayed = replay(BufReader::new(file)).map_err(|error| no_recording(recording, error))?;
    if let Some(path) = json {
        let mut file = create(path)?;
        serde_json::to_writer(&mut file, &replayed.report)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.flush())
            .with_context(|| format!("writing {}", path.display()))?;
    }
    let decisions = &replayed.report.decisions;
    writeln!(
        out,
        "{} inputs, {} decisions, {} stalls, {:.1} s played",
        replayed.inputs,
        decisions.len(),
        replayed.report.stall_count,
        replayed.report.played_s
    )?;
    if !replayed.is_over {
        writeln!(
            out,
            "it ends in the middle of a session: what came after that is not in the recording, or the player was killed"
        )?;
    }
    for violation in &replayed.violations {
        writeln!(out, "an invariant breaks: {violation}")?;
    }
    let mut same = true;
    if let Some(path) = against {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let played: SessionReport = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no session report", path.display()))?;
        same = compare(out, decisions, &played.decisions)?;
    }
    let all_right = same && replayed.violations.is_empty();
    Ok(if all_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says what is wrong with a recording, or what it is instead.
fn no_recording(path: &Path, error: ReplayError) -> Error {
    let shown = path.display().to_string();
    let schema = || {
        let document: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        document.get("schema")?.as_str().map(str::to_owned)
    };
    let is_first = matches!(error, ReplayError::Line { line: 1, .. });
    match is_first.then(schema).flatten().as_deref() {
        Some(SCHEMA) => anyhow!(
            "{shown} is the report of a session, which --against takes: give --replay the recording of the same session \
             (`nearcast play --record FILE`, or of `nearcast-lab run --record DIR` the file that ends in .jsonl)"
        ),
        Some(nearcast_scenario::SCHEMA) => anyhow!(
            "{shown} says what came of runs, and holds no recording: `nearcast-lab report` opens it; --replay takes what \
             `nearcast play --record FILE` recorded"
        ),
        _ => Error::new(error).context(shown),
    }
}

/// Tells the first decision that differs. Returns whether none does.
fn compare(
    out: &mut dyn Write,
    replayed: &[DecisionReport],
    played: &[DecisionReport],
) -> Result<bool> {
    let both = replayed.iter().zip(played);
    if let Some((one, other)) = both.into_iter().find(|(one, other)| one != other) {
        writeln!(
            out,
            "decisions differ:\n  played   {}\n  replayed {}",
            told(other),
            told(one)
        )?;
        return Ok(false);
    }
    if replayed.len() != played.len() {
        let longer = if replayed.len() > played.len() {
            replayed
        } else {
            played
        };
        let first = longer.get(replayed.len().min(played.len()));
        writeln!(
            out,
            "decisions differ: {} were played and {} replayed; the first that is not in both: {}",
            played.len(),
            replayed.len(),
            first.map(told).unwrap_or_default()
        )?;
        return Ok(false);
    }
    writeln!(
        out,
        "all {} decisions are those that were played",
        played.len()
    )?;
    Ok(true)
}

fn told(decision: &DecisionReport) -> String {
    serde_json::to_string(decision).unwrap_or_default()
}
