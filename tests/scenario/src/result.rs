//! What came of a run: one document for people's tools, `nearcast.lab/1`. Each line of a JSON Lines file is one run.

use nearcast_protocol::report::SessionReport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::expect::Verdict;
use crate::spec::Mode;

/// The value of [`RunResult::schema`].
pub const SCHEMA: &str = "nearcast.lab/1";

/// One run of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The scenario's name; of one cell of a matrix, its shape, object and place too.
    pub scenario: String,
    /// Its file.
    pub file: String,
    /// How it was run.
    pub mode: Mode,
    /// The seed; in `app` and `packet` it decides less than everything.
    pub seed: u64,
    /// The command that runs it again.
    pub again: String,
    /// Whether it passed.
    pub passed: bool,
    /// Why not, in words; empty where it passed.
    pub problems: Vec<String>,
    /// What came of each expectation.
    pub verdicts: Vec<Verdict>,
    /// What went wrong in the world, in order.
    pub receipts: Vec<Receipt>,
    /// What links offered over time.
    pub links: Vec<LinkLine>,
    /// What each edge sent in each second, in bytes.
    pub load: Vec<EdgeLoad>,
    /// Sessions.
    pub players: Vec<PlayerResult>,
    /// Whether the machine was too busy for the timings to be trusted; never in `sim`.
    pub busy: bool,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayerResult {
    /// Its name in the scenario; with a number where there are many of it.
    pub player: String,
    /// When it began, since the run did.
    pub begins_s: f64,
    /// Whether it ended by itself.
    pub over: bool,
    /// What it did.
    pub report: SessionReport,
}

/// A fault that took effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// What the scenario calls it.
    pub id: Option<String>,
    /// Its kind.
    pub fault: String,
    /// With which edge, or `backend`.
    pub edge: String,
    /// When, since the run began.
    pub at_s: f64,
    /// Path of the request it hit; `None` where it hit none in particular.
    pub path: Option<String>,
    /// Offset in the object at which it took effect.
    pub offset: Option<u64>,
}

/// A link over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkLine {
    /// Whose: an edge's name, or `last mile`.
    pub link: String,
    /// From when on, and what it passes in bit/s then; `None` is no limit.
    pub rate_bps: Vec<(f64, Option<u64>)>,
}

/// What an edge sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EdgeLoad {
    /// Which.
    pub edge: String,
    /// Bytes in each second since the run began.
    pub bytes: Vec<u64>,
}
