//! What came of a run: one document for people's tools, `nearcast.lab/1`. Each line of a JSON Lines file is one run.

use nearcast_protocol::report::SessionReport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::expect::{Expectation, Judge, Verdict, World};
use crate::ran::{load_ratio, look};
use crate::spec::Mode;

/// The value of [`RunResult::schema`].
pub const SCHEMA: &str = "nearcast.lab/1";

/// One run of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Whether it passed, as far as one run tells: what must hold of all sessions together is judged over all runs.
    pub passed: bool,
    /// Why not, in words; empty where it passed.
    pub problems: Vec<String>,
    /// What came of each expectation in this run alone.
    pub verdicts: Vec<Verdict>,
    /// What went wrong in the world, in order.
    pub receipts: Vec<Receipt>,
    /// What links offered over time.
    pub links: Vec<LinkLine>,
    /// What each edge sent in each second, in bytes.
    pub load: Vec<EdgeLoad>,
    /// How many sessions there were.
    #[serde(default)]
    pub sessions: u64,
    /// Sessions, at most the first eight.
    pub players: Vec<PlayerResult>,
    /// Whether the machine was too busy for the timings to be trusted; never in `sim`.
    pub busy: bool,
}

impl RunResult {
    /// Judges again what was expected, so that runs can be put together. `None` where that cannot be told any more: not every
    /// session's report is here, or what was expected is not read by this version.
    #[must_use]
    pub fn judge(&self) -> Option<Judge> {
        if self.sessions != self.players.len() as u64 {
            return None;
        }
        let world = World::of_run(self);
        let written = self.verdicts.iter().map(|verdict| &verdict.expectation);
        let read = written.map(|text| Expectation::parse(text, &world).ok());
        let mut judge = Judge::new(read.collect::<Option<_>>()?);
        let load_ratio = load_ratio(&self.players, &self.load, &self.receipts);
        look(
            self.seed,
            &self.players,
            (&self.receipts, &load_ratio),
            &mut judge,
        );
        Some(judge)
    }
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlayerResult {
    /// Its name in the scenario; with a number where there are many of it.
    pub player: String,
    /// When it began, since the run did.
    pub begins_s: f64,
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
    /// Which player's request it was; `None` where it was none's in particular.
    pub player: Option<String>,
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

/// What came of scenarios, each with as many seeds as were asked for: the document of `--json`, and what pages are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabReport {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// How they were run.
    pub mode: Mode,
    /// Whether all was run, and passed.
    pub passed: bool,
    /// Whether the run was ended before its end; what is here is what was done by then.
    pub interrupted: bool,
    /// Whether the machine was too busy for timings to be trusted; never in `sim`.
    pub busy: bool,
    /// What came of each.
    pub scenarios: Vec<ScenarioResult>,
}

/// What came of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioResult {
    /// Its name.
    pub scenario: String,
    /// What is tried, and why.
    pub about: String,
    /// Its file.
    pub file: String,
    /// Which cell of a matrix it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellResult>,
    /// Whether it passed.
    pub passed: bool,
    /// Seeds that were run.
    pub seeds: u64,
    /// Sessions in all of them.
    pub sessions: u64,
    /// For how long they played, all together.
    pub played_s: f64,
    /// What came of each expectation, over all seeds.
    pub verdicts: Vec<Verdict>,
    /// What was wrong, at most the first twenty.
    pub problems: Vec<Problem>,
    /// What is left of the scenario when all is left out that the first problem does not need which one seed alone shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimised: Option<Minimised>,
    /// How often each fault took effect, by its name.
    pub receipts: std::collections::BTreeMap<String, u64>,
    /// Runs in full: the first one, the first that failed, and those that `problems` name.
    pub runs: Vec<RunResult>,
}

/// A cell of a matrix: what is broken, of what, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct CellResult {
    /// The shape of failure.
    pub shape: String,
    /// The object.
    pub object: String,
    /// The place in its body; `None` where the whole answer is meant.
    pub place: Option<String>,
}

/// Something that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// With which seed.
    pub seed: u64,
    /// What.
    pub what: String,
    /// The command that shows it again.
    pub again: String,
}

/// A failure with as little around it as it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Minimised {
    /// With which seed.
    pub seed: u64,
    /// Which problem that is, as `problems` tells it.
    #[serde(default)]
    pub problem: String,
    /// Faults and viewers' actions that are left, in words.
    pub left: Vec<String>,
    /// How many there were.
    pub of: u64,
}
