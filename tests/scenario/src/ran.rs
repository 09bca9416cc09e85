//! What came of one run, however it was run: the same for virtual time, sockets and packets.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::expect::{Judge, Session};
use crate::link::Link;
use crate::result::{EdgeLoad, LinkLine, PlayerResult, Receipt, RunResult, SCHEMA};
use crate::scenario::Scenario;
use crate::spec::Mode;

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Sessions.
    pub players: Vec<PlayerResult>,
    /// What must never be, whatever was expected: broken invariants, a player that did not end in order.
    pub broken: Vec<String>,
    /// What went wrong, in order.
    pub receipts: Vec<Receipt>,
    /// Faults that never took effect and should have.
    pub missed: Vec<String>,
    /// What links offered over time.
    pub links: Vec<LinkLine>,
    /// What each edge sent in each second.
    pub load: Vec<EdgeLoad>,
    /// What each edge carried after the last fault, over its fair share; empty with one player.
    pub load_ratio: Vec<f64>,
    /// Whether the machine was too busy for the timings to be trusted; never in virtual time.
    pub busy: bool,
}

impl Ran {
    /// Takes what came of a scenario. Loads are those of each edge, in the scenario's order, in each second.
    #[must_use]
    pub fn new(
        scenario: &Scenario,
        players: Vec<PlayerResult>,
        receipts: Vec<Receipt>,
        load: Vec<Vec<u64>>,
    ) -> Self {
        let happened: BTreeSet<&str> = receipts
            .iter()
            .filter_map(|one| one.id.as_deref())
            .collect();
        let missed = scenario
            .faults
            .iter()
            .filter(|fault| !fault.may_miss && !happened.contains(fault.id.as_str()));
        let missed = missed.map(|fault| fault.id.clone()).collect();
        let named = scenario.edges.iter().zip(load);
        let load: Vec<EdgeLoad> = named
            .map(|(edge, bytes)| EdgeLoad {
                edge: edge.name.clone(),
                bytes,
            })
            .collect();
        let load_ratio = if players.len() > 1 {
            load_ratio(&load, receipts.last())
        } else {
            Vec::new()
        };
        let ends = players
            .iter()
            .map(|one| one.begins_s + one.report.wall_s)
            .fold(0.0, f64::max);
        Self {
            links: link_lines(scenario, Duration::from_secs_f64(ends)),
            players,
            broken: Vec::new(),
            receipts,
            missed,
            load,
            load_ratio,
            busy: false,
        }
    }

    /// Lets a judge look at each session. Returns whether all holds that can be told of one session.
    pub fn judge(&self, seed: u64, judge: &mut Judge) -> bool {
        let mut holds = true;
        for one in &self.players {
            let session = Session {
                player: &one.player,
                begins_s: one.begins_s,
                report: &one.report,
                over: one.over,
                receipts: &self.receipts,
                load_ratio: &self.load_ratio,
            };
            holds &= judge.look(seed, &one.player, &session);
        }
        holds
    }

    /// Returns what is wrong whatever was expected: what must never be, faults that never took effect.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let missed = self.missed.iter().map(|id| {
            format!("the fault `{id}` never took effect: nothing asked for what it selects while it was there")
        });
        self.broken.iter().cloned().chain(missed).collect()
    }

    /// Returns for how long sessions played, all together.
    #[must_use]
    pub fn session_time(&self) -> Duration {
        let each = self.players.iter().map(|one| one.report.wall_s);
        Duration::from_secs_f64(each.sum())
    }

    /// Returns all of it as a document, with the reports of at most so many players.
    #[must_use]
    pub fn into_result(
        mut self,
        scenario: &Scenario,
        how: (Mode, u64),
        again: String,
        players_max: usize,
    ) -> RunResult {
        let (mode, seed) = how;
        let mut judge = Judge::new(scenario.expectations.clone());
        self.judge(seed, &mut judge);
        let verdicts = judge.verdicts();
        let mut problems = self.problems();
        let missed = verdicts.iter().filter(|verdict| !verdict.holds);
        problems.extend(missed.map(|verdict| verdict.to_string()));
        self.players.truncate(players_max);
        RunResult {
            schema: SCHEMA.to_owned(),
            scenario: scenario.name.clone(),
            file: scenario.file.display().to_string(),
            mode,
            seed,
            again,
            passed: problems.is_empty(),
            problems,
            verdicts,
            receipts: self.receipts,
            links: self.links,
            load: self.load,
            players: self.players,
            busy: self.busy,
        }
    }
}

/// How long after the last fault loads are settled, and how long they are looked at then.
const SETTLES_S: f64 = 5.0;
const LOOKED_AT_S: usize = 60;

fn load_ratio(load: &[EdgeLoad], last: Option<&Receipt>) -> Vec<f64> {
    let from_s = last.map_or(0.0, |receipt| receipt.at_s.max(0.0) + SETTLES_S);
    let from = usize::try_from(Duration::from_secs_f64(from_s).as_secs()).unwrap_or(usize::MAX);
    let carried = load.iter().map(|edge| {
        let seconds = edge.bytes.iter().skip(from).take(LOOKED_AT_S);
        number(seconds.sum())
    });
    let carried: Vec<f64> = carried.filter(|bytes| *bytes > 0.0).collect();
    let fair = carried.iter().sum::<f64>() / number(carried.len().max(1) as u64);
    carried.iter().map(|bytes| bytes / fair).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shares need no more digits")]
fn number(number: u64) -> f64 {
    number as f64
}

fn link_lines(scenario: &Scenario, until: Duration) -> Vec<LinkLine> {
    let line = |name: &str, link: &Link| {
        let turns = link.turns(until);
        let rate_bps =
            turns.map(|(at, link)| (at.as_secs_f64(), link.rate.map(|rate| rate.as_bps())));
        LinkLine {
            link: name.to_owned(),
            rate_bps: rate_bps.collect(),
        }
    };
    let edges = scenario
        .edges
        .iter()
        .map(|edge| line(&edge.name, &edge.link));
    edges
        .chain([line("last mile", &scenario.last_mile)])
        .collect()
}
