//! Scenarios: appliances, their links, players, what goes wrong and when, and what must hold in the end, in one TOML file
//! that is run in three ways (virtual time, real sockets, real packets).
//!
//! This crate reads and checks the file ([`Scenario`]), says what happens when for a seed ([`Scenario::schedule`]), and judges
//! what came of it ([`Judge`]). It runs nothing.
//!
//! - A file that cannot be meant as it stands is refused with its line and what would be right ([`ScenarioError`]): an unknown key, a
//!   key without its unit, a number out of range, an edge that is not there, a fault that can never take effect, an expectation that
//!   can never hold or never fail.
//! - Everything that chance decides comes from the seed.
//!
//! ```
//! use nearcast_scenario::Scenario;
//!
//! let text = r#"
//! version = 1
//! expect = ["stalled_s == 0", "handover_s.p99 < 2"]
//!
//! [[edges]]
//! name = "near"
//! link = { rate_kbps = 20000, delay_ms = 5 }
//!
//! [[edges]]
//! name = "far"
//! link = { rate_kbps = 20000, delay_ms = 15 }
//!
//! [[faults]]
//! at_s = 20
//! within_s = 20
//! edge = "in_use"
//! fault = { kind = "kill" }
//! "#;
//! let scenarios = Scenario::parse("death.toml".as_ref(), text).unwrap();
//! assert_eq!(scenarios[0].name, "death");
//!
//! let wrong = text.replace("rate_kbps", "rate");
//! let error = Scenario::parse("death.toml".as_ref(), &wrong).unwrap_err();
//! assert!(error.to_string().starts_with("death.toml:7: `rate` lacks its unit"), "{error}");
//! ```

mod check;
mod error;
mod expect;
mod healthy;
mod in_use;
mod link;
mod matrix;
mod minimise;
mod network;
mod quantity;
mod ran;
mod result;
mod scenario;
mod schedule;
mod schema;
mod spec;

pub use error::ScenarioError;
pub use expect::{
    CANCELS, CAUSES, CODES, DECISIONS, Expectation, FIGURES, Figure, FigureKind, Judge, Names,
    REASONS, Session, Verdict,
};
pub use in_use::{InUse, Told};
pub use link::{BurstSpec, Link, LinkSpec, Step, StepSpec, UpSpec};
pub use network::{Network, NetworkError, Period};
pub use quantity::{Bytes, Kbps, Millis, Seconds, Share};
pub use ran::Ran;
pub use result::{
    CellResult, EdgeLoad, LabReport, LinkLine, Minimised, PlayerResult, Problem, Receipt,
    RunResult, SCHEMA, ScenarioResult,
};
pub use scenario::{Action, Cell, Doing, Edge, FaultPlan, Place, Player, Scenario};
pub use schedule::{Happening, Scheduled, Viewer};
pub use schema::{link_schema, report_schema, result_schema, scenario_schema};
pub use spec::{
    AbrName, ActionSpec, BackendSpec, EdgeSpec, FaultSpec, MatrixSpec, Mode, ObjectSpec,
    PlayerSpec, ScenarioSpec, ShapeSpec, TitleSpec, What,
};
