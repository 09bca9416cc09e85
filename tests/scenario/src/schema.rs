//! JSON schemas, for editors and for whoever reads results.

use crate::link::LinkSpec;
use crate::result::{LabReport, RunResult};
use crate::spec::ScenarioSpec;

/// Returns the schema of scenario files.
#[must_use]
pub fn scenario_schema() -> serde_json::Value {
    schemars::schema_for!(ScenarioSpec).to_value()
}

/// Returns the schema of a link's file.
#[must_use]
pub fn link_schema() -> serde_json::Value {
    schemars::schema_for!(LinkSpec).to_value()
}

/// Returns the schema of a run's result: of each line of `--jsonl`.
#[must_use]
pub fn result_schema() -> serde_json::Value {
    schemars::schema_for!(RunResult).to_value()
}

/// Returns the schema of a report: the document of `--json`.
#[must_use]
pub fn report_schema() -> serde_json::Value {
    schemars::schema_for!(LabReport).to_value()
}
