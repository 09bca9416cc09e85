//! A recorded session once more, in virtual time.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use nearcast_protocol::report::{DecisionReport, SessionReport};
use nearcast_sim::replay::replay;

use crate::documents::create;

/// Replays a recording, writes its report, and compares its decisions with those of the report that the play itself left. Exit status 1
/// where they differ, or an invariant breaks.
pub(super) fn execute(
    out: &mut dyn Write,
    recording: &Path,
    json: Option<&Path>,
    against: Option<&Path>,
) -> Result<ExitCode> {
    let file = File::open(recording).with_context(|| format!("reading {}", recording.display()))?;
    let replayed = replay(BufReader::new(file)).with_context(|| recording.display().to_string())?;
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
