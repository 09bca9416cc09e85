//! What files of the lab hold, for editors, programs and people.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use nearcast_scenario::{
    CANCELS, CODES, FIGURES, REASONS, link_schema, report_schema, result_schema, scenario_schema,
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
        ".mean, .sum or .count after the figure it is of all sessions (and all seeds) together. Where there is nothing to look at, it"
    )?;
    writeln!(
        out,
        "holds: `handover_s.p99 < 2` of sessions without any, say; `handover_s.count > 0` wants some.\n"
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
    writeln!(out, "\nThat of reasons (codes and cancelled, too):\n")?;
    for reason in REASONS {
        writeln!(out, "  {reason}")?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use nearcast_core::{CancelReason, DecisionKind, StallCause};
    use nearcast_scenario::{CAUSES, DECISIONS, Scenario};
    use nearcast_sim::Watch;
    use nearcast_sim::scenario::simulate;

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

    /// All Rust of a folder but tests.
    fn code_below(folder: &Path) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_stem() == Some("tests".as_ref()) {
                continue;
            }
            if path.is_dir() {
                text += &code_below(&path);
            } else {
                let code = fs::read_to_string(&path).unwrap();
                text += code.split("mod tests {").next().unwrap();
            }
        }
        text
    }

    /// Reasons are texts where they are decided: the code of the core is searched for each, and what a decision is given there is
    /// looked up.
    #[test]
    fn expectations_know_why_the_player_decides() {
        let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/core/src");
        let code = code_below(&core);
        for reason in REASONS {
            let told = [format!("\"{reason}\""), format!("\"{reason}: {{")];
            assert!(told.iter().any(|text| code.contains(text)), "{reason}");
        }
        for before in [
            "let why = \"",
            "why: \"",
            "Grounds::rule(\"",
            "self.refresh(\"",
            "wrong = Some(\"",
        ] {
            let mut texts = code.split(before).skip(1);
            let told = texts.all(|text| {
                let reason = text.split('"').next().unwrap();
                REASONS.contains(&reason) || panic!("{reason}")
            });
            assert!(told && code.contains(before), "{before}");
        }
    }

    #[test]
    fn what_players_decide_in_kept_scenarios_has_a_known_reason() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        for name in [
            "failures/all-down",
            "failures/edge-death",
            "failures/slow-from-the-start",
            "control/token-storm",
        ] {
            let scenarios = Scenario::read(&kept.join(name).with_extension("toml")).unwrap();
            let ran = simulate(&scenarios[0], 1, Watch::default()).ran;
            for decision in ran.players.iter().flat_map(|one| &one.report.decisions) {
                let why = &decision.why;
                let is_known = |known: &&str| {
                    let rest = why.strip_prefix(*known);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
                };
                let mut all = REASONS.iter().chain(CODES).chain(CANCELS);
                assert!(all.any(is_known), "{name}: {why}");
            }
        }
    }
}
