//! The page: one file that holds reports, styles and scripts, opens without a network and asks nobody for anything.
//!
//! What it shows is worked out by its scripts (`page/*.js`) from the same documents that `--json` writes. Names in them are
//! input: they come in as JSON with every `<` escaped, and get into the page as text, never as markup; a policy in the page's
//! head lets nothing be loaded and no script run that is not the page's own.

use std::collections::BTreeMap;
use std::io::{self, Write};

use nearcast_scenario::{
    CellResult, LabReport, Minimised, Mode, Problem, RunResult, ScenarioResult, Verdict,
};
use serde::Serialize;

use crate::compare::Pair;

/// A report and what the page calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub(crate) label: &'a str,
    pub(crate) report: &'a LabReport,
}

/// What the page shows first. Runs are apart: one is read when somebody looks at it.
#[derive(Serialize)]
struct Summary<'a> {
    reports: Vec<Head<'a>>,
    comparison: &'a [Pair],
}

#[derive(Serialize)]
struct Head<'a> {
    label: &'a str,
    mode: Mode,
    passed: bool,
    interrupted: bool,
    busy: bool,
    scenarios: Vec<ScenarioHead<'a>>,
}

#[derive(Serialize)]
struct ScenarioHead<'a> {
    scenario: &'a str,
    about: &'a str,
    file: &'a str,
    cell: Option<&'a CellResult>,
    passed: bool,
    seeds: u64,
    sessions: u64,
    played_s: f64,
    verdicts: &'a [Verdict],
    problems: &'a [Problem],
    minimised: Option<&'a Minimised>,
    receipts: &'a BTreeMap<String, u64>,
    runs: Vec<RunHead<'a>>,
}

#[derive(Serialize)]
struct RunHead<'a> {
    id: usize,
    seed: u64,
    passed: bool,
    players: Vec<&'a str>,
}

/// In the order in which they build on each other.
const SCRIPTS: [&str; 10] = [
    include_str!("../page/format.js"),
    include_str!("../page/data.js"),
    include_str!("../page/view.js"),
    include_str!("../page/chart.js"),
    include_str!("../page/lanes.js"),
    include_str!("../page/timeline.js"),
    include_str!("../page/overview.js"),
    include_str!("../page/lists.js"),
    include_str!("../page/details.js"),
    include_str!("../page/page.js"),
];
const STYLE: &str = include_str!("../page/page.css");
const CHARTS: &str = include_str!(concat!(env!("OUT_DIR"), "/uplot.js"));
const CHARTS_STYLE: &str = include_str!(concat!(env!("OUT_DIR"), "/uplot.css"));
const CHARTS_LICENCE: &str = include_str!(concat!(env!("OUT_DIR"), "/uplot.licence"));

/// Writes the page of one report, or of two that are compared.
pub(crate) fn write(
    out: &mut dyn Write,
    sides: &[Side<'_>],
    comparison: &[Pair],
) -> io::Result<()> {
    let mut runs = Vec::new();
    let reports = sides.iter().map(|side| head(*side, &mut runs)).collect();
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'nonce-page'; \
         style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>nearcast-lab report</title>\n\
         <!-- Charts: uPlot (https://github.com/leeoniya/uPlot)\n{CHARTS_LICENCE}-->\n\
         <style>{CHARTS_STYLE}</style>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <noscript>This page draws what it holds by scripts: please allow them.</noscript>\n"
    )?;
    json(
        out,
        "summary",
        &Summary {
            reports,
            comparison,
        },
    )?;
    for (id, run) in runs.iter().enumerate() {
        json(out, &format!("run-{id}"), run)?;
    }
    write!(
        out,
        "<script nonce=\"page\">{CHARTS}</script>\n<script nonce=\"page\">\n(() => {{\n\"use strict\";\n"
    )?;
    for script in SCRIPTS {
        out.write_all(script.as_bytes())?;
    }
    out.write_all(b"})();\n</script>\n</body>\n</html>\n")
}

fn head<'a>(side: Side<'a>, runs: &mut Vec<&'a RunResult>) -> Head<'a> {
    let report = side.report;
    let mut scenario_head = |result: &'a ScenarioResult| ScenarioHead {
        scenario: &result.scenario,
        about: &result.about,
        file: &result.file,
        cell: result.cell.as_ref(),
        passed: result.passed,
        seeds: result.seeds,
        sessions: result.sessions,
        played_s: result.played_s,
        verdicts: &result.verdicts,
        problems: &result.problems,
        minimised: result.minimised.as_ref(),
        receipts: &result.receipts,
        runs: result.runs.iter().map(|run| run_head(run, runs)).collect(),
    };
    Head {
        label: side.label,
        mode: report.mode,
        passed: report.passed,
        interrupted: report.interrupted,
        busy: report.busy,
        scenarios: report.scenarios.iter().map(&mut scenario_head).collect(),
    }
}

fn run_head<'a>(run: &'a RunResult, runs: &mut Vec<&'a RunResult>) -> RunHead<'a> {
    let id = runs.len();
    runs.push(run);
    RunHead {
        id,
        seed: run.seed,
        passed: run.passed,
        players: run.players.iter().map(|one| one.player.as_str()).collect(),
    }
}

/// Writes a document that scripts read. In JSON a `<` is only ever part of a string, where it may be written otherwise: what is
/// in a name can then end no element.
fn json(out: &mut dyn Write, id: &str, document: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(document)?;
    writeln!(
        out,
        "<script type=\"application/json\" id=\"{id}\">{}</script>",
        text.replace('<', "\\u003c")
    )
}
