//! What came of one run, however it was run: the same for virtual time, sockets and packets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::expect::{Expectation, Judge, Session};
use crate::link::Link;
use crate::result::{EdgeLoad, LinkLine, PlayerResult, Receipt, RunResult, SCHEMA};
use crate::scenario::{FaultPlan, Scenario};
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
    /// Faults that never took effect and should have, and what viewers were to do when all was over, in words.
    pub missed: Vec<String>,
    /// Sessions that never began to play and should have, in words.
    pub unbegun: Vec<String>,
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
            .filter(|fault| fault.must_hit() && !happened.contains(fault.id.as_str()));
        let missed = missed.map(FaultPlan::missed);
        let missed = missed.chain(undone(scenario, &players)).collect();
        let named = scenario.edges.iter().zip(load);
        let load: Vec<EdgeLoad> = named
            .map(|(edge, bytes)| EdgeLoad {
                edge: edge.name.clone(),
                bytes,
            })
            .collect();
        let load_ratio = load_ratio(&players, &load, &receipts);
        let ends = players
            .iter()
            .map(|one| one.begins_s + one.report.wall_s)
            .fold(0.0, f64::max);
        Self {
            links: link_lines(scenario, Duration::from_secs_f64(ends)),
            unbegun: unbegun(scenario, &players),
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
        let around = (&self.receipts[..], &self.load_ratio[..]);
        look(seed, &self.players, around, judge)
    }

    /// Returns what is wrong whatever was expected: what must never be, sessions that never began to play, faults that never took
    /// effect.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let missed = self.missed.iter().cloned();
        let unbegun = self.unbegun.iter().cloned();
        let broken = self.broken.iter().cloned();
        broken.chain(unbegun).chain(missed).collect()
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
        let missed = verdicts.iter().filter(|one| !one.holds && !one.of_all);
        problems.extend(missed.map(|verdict| verdict.to_string()));
        let sessions = self.players.len() as u64;
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
            sessions,
            players: self.players,
            busy: self.busy,
        }
    }
}

/// Lets a judge look at sessions with what went wrong around them, and what edges carried. Returns whether all holds that can be told of
/// one session alone.
pub(crate) fn look(
    seed: u64,
    players: &[PlayerResult],
    (receipts, load_ratio): (&[Receipt], &[f64]),
    judge: &mut Judge,
) -> bool {
    let mut holds = true;
    for one in players {
        let session = Session {
            player: &one.player,
            begins_s: one.begins_s,
            report: &one.report,
            receipts,
            load_ratio,
        };
        holds &= judge.look(seed, &one.player, &session);
    }
    holds
}

/// Tells what viewers were to do when each session that it is about had played to its end. Who was stopped may have been by chance.
fn undone(scenario: &Scenario, players: &[PlayerResult]) -> Vec<String> {
    let told = scenario.actions.iter().filter_map(|action| {
        let player = action.player.map(|player| &scenario.players[player]);
        let is_its = |one: &&PlayerResult| player.is_none_or(|player| player.is_called(&one.player));
        let its = || players.iter().filter(is_its);
        let ends_s = its()
            .map(|one| one.report.wall_s)
            .reduce(f64::max)
            .filter(|_| its().all(|one| one.report.ended))?;
        let at_s = action.at.as_secs_f64();
        (at_s > ends_s).then(|| {
            format!(
                "`{}` at {at_s} s was never done: all was over after {ends_s:.1} s: an earlier `at_s` would be right",
                action.doing
            )
        })
    });
    told.collect()
}

/// Tells of sessions that never began to play, by how they ended: nothing stalls in them, and much else that is expected holds of
/// them for want of anything to look at. Those are left out of which an expectation says that they end so.
fn unbegun(scenario: &Scenario, players: &[PlayerResult]) -> Vec<String> {
    let mut by_end: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for one in players.iter().filter(|one| one.report.startup_s.is_none()) {
        let session = Session {
            player: &one.player,
            begins_s: one.begins_s,
            report: &one.report,
            receipts: &[],
            load_ratio: &[],
        };
        let is_told = |expectation: &Expectation| expectation.tells_end(&session);
        if !scenario.expectations.iter().any(is_told) {
            let code = one.report.error.as_ref().map(|error| error.code.as_str());
            by_end.entry(code).or_default().push(&one.player);
        }
    }
    let told = by_end.into_iter().map(|(code, players)| {
        let who = match &players[..] {
            [first, others @ ..] if !others.is_empty() => {
                format!("`{first}` and {} more", others.len())
            }
            _ => format!("`{}`", players.concat()),
        };
        let (how, right) = match code {
            Some(code) => (
                format!("ended with `{code}`"),
                format!("errors.{code} == 1"),
            ),
            None => (
                "ended without an error".to_owned(),
                "played_s == 0".to_owned(),
            ),
        };
        format!("{who} never began to play, and {how}: if that is meant, expect `{right}`")
    });
    told.collect()
}

/// How long after the last fault loads are settled, and how long they are looked at then.
const SETTLES_S: f64 = 5.0;
const LOOKED_AT_S: usize = 60;

/// What each edge carried after the last fault, over its fair share; empty with one player.
pub(crate) fn load_ratio(
    players: &[PlayerResult],
    load: &[EdgeLoad],
    receipts: &[Receipt],
) -> Vec<f64> {
    if players.len() < 2 {
        return Vec::new();
    }
    let from_s = receipts
        .last()
        .map_or(0.0, |receipt| receipt.at_s.max(0.0) + SETTLES_S);
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

#[cfg(test)]
mod tests {
    use nearcast_protocol::report::{ErrorReport, SessionReport};

    use super::*;

    /// What is wrong with sessions that never began, each with how it ended.
    fn problems(expect: &str, ends: &[Option<&str>]) -> Vec<String> {
        let text = format!("version = 1\nexpect = [{expect}]\nedges = [{{ name = \"a\" }}]\n");
        let scenario = Scenario::parse("x.toml".as_ref(), &text).unwrap().remove(0);
        let player = |(number, code): (usize, &Option<&str>)| PlayerResult {
            player: format!("player-{number}"),
            begins_s: 0.0,
            report: SessionReport {
                error: code.map(|code| ErrorReport {
                    code: code.to_owned(),
                    ..ErrorReport::default()
                }),
                ..SessionReport::default()
            },
        };
        let players = ends.iter().enumerate().map(player).collect();
        Ran::new(&scenario, players, Vec::new(), Vec::new()).problems()
    }

    #[test]
    fn who_never_began_to_play_is_a_problem_though_nothing_stalled() {
        let down = Some("backend.unreachable");
        assert_eq!(
            problems("\"stalled_s == 0\"", &[down, None, down]),
            [
                "`player-1` never began to play, and ended without an error: if that is meant, expect `played_s == 0`",
                "`player-0` and 1 more never began to play, and ended with `backend.unreachable`: if that is meant, expect \
                 `errors.backend.unreachable == 1`",
            ]
        );
    }

    #[test]
    fn who_is_expected_to_end_before_it_began_is_no_problem() {
        let down = Some("backend.unreachable");
        for (expect, end, holds) in [
            ("errors.backend.unreachable == 1", down, true),
            ("errors >= 1", down, true),
            ("errors.backend.unreachable.sum >= 1", down, true),
            ("failed == 1", down, true),
            ("ended == 0", None, true),
            ("ended.mean > 0.9", None, true),
            ("played_s < 1", None, true),
            ("startup_s >= 3600", None, true),
            // These hold of what never began as of what played to its end.
            ("errors.play.no_edges == 0", down, false),
            ("failed == 0", None, false),
            ("startup_s > 3", None, false),
            ("startup_s.count >= 1", None, false),
        ] {
            let problems = problems(&format!("\"{expect}\""), &[end]);
            assert_eq!(problems.is_empty(), holds, "{expect}: {problems:?}");
        }
    }
}
