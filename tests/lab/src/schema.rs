//! What files of the lab hold, for editors, programs and people.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use nearcast_scenario::{
    CANCELS, CODES, FIGURES, link_schema, report_schema, result_schema, scenario_schema,
};

/// What a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Of {
    /// A scenario file
    Scenario,
    /// A link's file, for `packet --link`
    Link,
    /// What came of one run: each line of `run --jsonl`
    Result,
    /// What came of all: the document of `run --json`
    Report,
}

/// Prints a schema (JSON Schema, 2020-12).
pub(crate) fn print(out: &mut dyn Write, of: Of) -> Result<ExitCode> {
    let schema = match of {
        Of::Scenario => scenario_schema(),
        Of::Link => link_schema(),
        Of::Result => result_schema(),
        Of::Report => report_schema(),
    };
    serde_json::to_writer_pretty(&mut *out, &schema).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the figures that an expectation may be about.
pub(crate) fn figures(out: &mut dyn Write) -> Result<ExitCode> {
    writeln!(
        out,
        "An expectation is `FIGURE < NUMBER` (or <=, ==, !=, >=, >), of each session; with .p50, .p95, .p99, .min, .max,"
    )?;
    writeln!(
        out,
        ".mean, .sum or .count after the figure it is of all sessions (and all seeds) together.\n"
    )?;
    let width = FIGURES
        .iter()
        .map(|kind| kind.name.len())
        .max()
        .unwrap_or(0);
    for kind in FIGURES {
        writeln!(out, "  {:width$}  {}", kind.name, kind.about)?;
    }
    writeln!(
        out,
        "\nWhat may follow the dot of failures, failovers and errors:\n"
    )?;
    for code in CODES {
        let meaning = nearcast_player::explain(code).map_or("", |entry| entry.meaning);
        writeln!(out, "  {code:30}  {meaning}")?;
    }
    writeln!(
        out,
        "\nThat of cancelled, and of failovers too: {}",
        CANCELS.join(", ")
    )?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use nearcast_core::{CancelReason, DecisionKind, StallCause};
    use nearcast_scenario::{CAUSES, DECISIONS};

    use super::*;

    #[test]
    fn expectations_know_the_codes_of_the_player() {
        let of_player = nearcast_player::CODES.iter().map(|entry| entry.code);
        assert_eq!(CODES, of_player.collect::<Vec<_>>());
        let of_core = [
            CancelReason::LostRace,
            CancelReason::Silent,
            CancelReason::Slow,
            CancelReason::NotNeeded,
            CancelReason::Abandoned,
            CancelReason::LowerRung,
            CancelReason::Superseded,
            CancelReason::NetworkChanged,
            CancelReason::Watchdog,
            CancelReason::Stopped,
        ];
        assert_eq!(CANCELS, of_core.map(CancelReason::code));
        // A new one does not compile here, and belongs above.
        let is_there = |reason: CancelReason| match reason {
            CancelReason::LostRace
            | CancelReason::Silent
            | CancelReason::Slow
            | CancelReason::NotNeeded
            | CancelReason::Abandoned
            | CancelReason::LowerRung
            | CancelReason::Superseded
            | CancelReason::NetworkChanged
            | CancelReason::Watchdog
            | CancelReason::Stopped => CANCELS.contains(&reason.code()),
        };
        assert!(of_core.into_iter().all(is_there));
    }
    #[test]
    fn expectations_know_what_the_player_decides_and_why_it_stalls() {
        let decisions = [
            DecisionKind::Race,
            DecisionKind::Rung,
            DecisionKind::Replace,
            DecisionKind::Policy,
            DecisionKind::Track,
            DecisionKind::Edge,
            DecisionKind::Failover,
            DecisionKind::Hedge,
            DecisionKind::Blame,
            DecisionKind::Abandon,
            DecisionKind::Probe,
            DecisionKind::Refresh,
            DecisionKind::Playback,
            DecisionKind::Watchdog,
        ];
        assert_eq!(DECISIONS, decisions.map(DecisionKind::name));
        let causes = [
            StallCause::Throughput,
            StallCause::Edge,
            StallCause::AllEdgesDown,
            StallCause::Sink,
        ];
        assert_eq!(CAUSES, causes.map(StallCause::code));
        // A new one does not compile here, and belongs above.
        let is_decision = |kind: DecisionKind| match kind {
            DecisionKind::Race
            | DecisionKind::Rung
            | DecisionKind::Replace
            | DecisionKind::Policy
            | DecisionKind::Track
            | DecisionKind::Edge
            | DecisionKind::Failover
            | DecisionKind::Hedge
            | DecisionKind::Blame
            | DecisionKind::Abandon
            | DecisionKind::Probe
            | DecisionKind::Refresh
            | DecisionKind::Playback
            | DecisionKind::Watchdog => DECISIONS.contains(&kind.name()),
        };
        assert!(decisions.into_iter().all(is_decision));
        let is_cause = |cause: StallCause| match cause {
            StallCause::Throughput
            | StallCause::Edge
            | StallCause::AllEdgesDown
            | StallCause::Sink => CAUSES.contains(&cause.code()),
        };
        assert!(causes.into_iter().all(is_cause));
    }
}
