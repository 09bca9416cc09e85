//! A scenario file in virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nearcast_core::{AbrRule, Command, Config};
use nearcast_link::LinkConfig;
use nearcast_scenario::{
    AbrName, Doing, EdgeLoad, Happening, Judge, Link, LinkLine, Mode, PlayerResult, Receipt,
    RunResult, SCHEMA, Scenario, Session,
};
use nearcast_units::{Instant, Seed};

use crate::driver::{Outcome, Simulation, WorldOutcome};
use crate::setup::{
    BackendSetup, ClientSetup, EdgeSetup, Impairment, LinkName, LinkSchedule, LinkStep,
    TimedCommand, TimedOrder, Watch, WorldSetup,
};
use crate::title::SimTitle;

/// What came of one run of a scenario.
#[derive(Debug)]
pub struct Simulated {
    /// Sessions: what each is called, when it began, and what came of it.
    pub players: Vec<(String, Duration, Outcome)>,
    /// What went wrong, in order.
    pub receipts: Vec<Receipt>,
    /// Faults that never took effect and should have.
    pub missed: Vec<String>,
    /// What each edge sent in each second.
    pub load: Vec<EdgeLoad>,
    /// What each edge carried after the last fault, over its fair share; empty with one player.
    pub load_ratio: Vec<f64>,
}

/// Runs a scenario. The same seed gives the same, to the byte.
#[must_use]
pub fn simulate(scenario: &Scenario, seed: u64, watch: Watch) -> Simulated {
    let (begins, simulation) = prepared(scenario, seed, watch);
    Simulated::new(scenario, begins, simulation.run_all())
}

/// Runs a scenario as [`simulate`] does; `None` where it is to stop before its end, which is asked now and then.
#[must_use]
pub fn simulate_unless(
    scenario: &Scenario,
    seed: u64,
    watch: Watch,
    stops: impl Fn() -> bool,
) -> Option<Simulated> {
    let (begins, simulation) = prepared(scenario, seed, watch);
    let outcome = simulation.run_unless(stops)?;
    Some(Simulated::new(scenario, begins, outcome))
}

/// Returns what each session is called, when it begins, and the world they are in.
fn prepared(scenario: &Scenario, seed: u64, watch: Watch) -> (Vec<(String, Duration)>, Simulation) {
    let clients = clients(scenario, seed);
    let begins = clients
        .iter()
        .map(|client| (client.name.clone(), client.arrives))
        .collect();
    let simulation = Simulation::world(world(scenario, seed, clients, watch));
    (begins, simulation)
}

impl Simulated {
    fn new(scenario: &Scenario, begins: Vec<(String, Duration)>, outcome: WorldOutcome) -> Self {
        let name = |edge: Option<usize>| {
            edge.map_or("backend", |edge| scenario.edges[edge].name.as_str())
                .to_owned()
        };
        let receipts = outcome.receipts.iter().map(|(edge, at, receipt)| Receipt {
            id: receipt.id.clone(),
            fault: receipt.fault.name().to_owned(),
            edge: name(*edge),
            at_s: at.as_secs_f64(),
            player: receipt.client.clone(),
            path: receipt.path.clone(),
            offset: receipt.offset,
        });
        let receipts: Vec<Receipt> = receipts.collect();
        let happened: BTreeSet<&str> = receipts
            .iter()
            .filter_map(|one| one.id.as_deref())
            .collect();
        let missed = scenario
            .faults
            .iter()
            .filter(|fault| !fault.may_miss && !happened.contains(fault.id.as_str()));
        let missed = missed.map(|fault| fault.id.clone()).collect();
        let load_of = |edge: usize| outcome.load.iter().map(|second| second[edge]).collect();
        let load: Vec<EdgeLoad> = (0..scenario.edges.len())
            .map(|edge| EdgeLoad {
                edge: name(Some(edge)),
                bytes: load_of(edge),
            })
            .collect();
        let load_ratio = if begins.len() > 1 {
            load_ratio(&load, receipts.last())
        } else {
            Vec::new()
        };
        let both = begins.into_iter().zip(outcome.clients);
        Self {
            players: both
                .map(|((name, at), outcome)| (name, at, outcome))
                .collect(),
            receipts,
            missed,
            load,
            load_ratio,
        }
    }

    /// Lets a judge look at each session. Returns whether all holds that can be told of one session.
    pub fn judge(&self, seed: u64, judge: &mut Judge) -> bool {
        let mut holds = true;
        for (name, begins, outcome) in &self.players {
            let session = Session {
                player: name,
                begins_s: begins.as_secs_f64(),
                report: &outcome.report,
                over: outcome.over,
                receipts: &self.receipts,
                load_ratio: &self.load_ratio,
            };
            holds &= judge.look(seed, name, &session);
        }
        holds
    }

    /// Returns what is wrong whatever was expected: broken invariants, faults that never took effect.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let broken = self.players.iter().flat_map(|(name, _, outcome)| {
            let violations = outcome.violations.iter();
            violations.map(move |what| format!("{name}: {what}"))
        });
        let missed = self.missed.iter().map(|id| {
            format!("the fault `{id}` never took effect: nothing asked for what it selects while it was there")
        });
        broken.chain(missed).collect()
    }

    /// Returns for how long sessions played, all together, in virtual time.
    #[must_use]
    pub fn virtual_time(&self) -> Duration {
        let each = self.players.iter().map(|(_, begins, outcome)| {
            let ended = outcome.ended_at.since(Instant::ZERO);
            ended.saturating_sub(*begins)
        });
        each.sum()
    }

    /// Returns all of it as a document, with the reports of at most so many players.
    #[must_use]
    pub fn into_result(
        self,
        scenario: &Scenario,
        seed: u64,
        again: String,
        players_max: usize,
    ) -> RunResult {
        let mut judge = Judge::new(scenario.expectations.clone());
        self.judge(seed, &mut judge);
        let verdicts = judge.verdicts();
        let mut problems = self.problems();
        let missed = verdicts.iter().filter(|verdict| !verdict.holds);
        problems.extend(missed.map(|verdict| verdict.to_string()));
        let ended = self.players.iter().map(|(_, _, outcome)| outcome.ended_at);
        let until = ended.max().unwrap_or(Instant::ZERO).since(Instant::ZERO);
        RunResult {
            schema: SCHEMA.to_owned(),
            scenario: scenario.name.clone(),
            file: scenario.file.display().to_string(),
            mode: Mode::Sim,
            seed,
            again,
            passed: problems.is_empty(),
            problems,
            verdicts,
            receipts: self.receipts,
            links: link_lines(scenario, until),
            load: self.load,
            players: self
                .players
                .into_iter()
                .take(players_max)
                .map(|(player, begins, outcome)| PlayerResult {
                    player,
                    begins_s: begins.as_secs_f64(),
                    over: outcome.over,
                    report: outcome.report,
                })
                .collect(),
            busy: false,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares need no more digits")]
fn number(number: u64) -> f64 {
    number as f64
}

/// How long after the last fault loads are settled, and how long they are looked at then.
const SETTLES_S: f64 = 5.0;
const LOOKED_AT_S: usize = 60;

fn load_ratio(load: &[EdgeLoad], last: Option<&Receipt>) -> Vec<f64> {
    let from_s = last.map_or(0.0, |receipt| receipt.at_s + SETTLES_S);
    let from = usize::try_from(Duration::from_secs_f64(from_s).as_secs()).unwrap_or(usize::MAX);
    let carried = load.iter().map(|edge| {
        let seconds = edge.bytes.iter().skip(from).take(LOOKED_AT_S);
        number(seconds.sum())
    });
    let carried: Vec<f64> = carried.filter(|bytes| *bytes > 0.0).collect();
    let fair = carried.iter().sum::<f64>() / number(carried.len().max(1) as u64);
    carried.iter().map(|bytes| bytes / fair).collect()
}

fn link_lines(scenario: &Scenario, until: Duration) -> Vec<LinkLine> {
    let line = |name: &str, link: &Link| {
        let mut at = Duration::ZERO;
        let mut rate_bps = Vec::new();
        'rounds: loop {
            for step in &link.steps {
                if at > until {
                    break 'rounds;
                }
                rate_bps.push((at.as_secs_f64(), step.link.rate.map(|rate| rate.as_bps())));
                at = at.saturating_add(step.lasts);
            }
            if !link.repeats {
                break;
            }
        }
        LinkLine {
            link: name.to_owned(),
            rate_bps,
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

fn clients(scenario: &Scenario, seed: u64) -> Vec<ClientSetup> {
    let title = Arc::new(SimTitle::made(scenario.duration, Seed::new(seed)));
    let schedule = scenario.schedule(seed);
    let mut clients = Vec::new();
    for (index, player) in scenario.players.iter().enumerate() {
        let of_player = schedule.iter().filter_map(|one| match one.what {
            Happening::Viewer(whose, doing) if whose.is_none_or(|whose| whose == index) => {
                Some((one.at, doing))
            }
            Happening::Viewer(..) | Happening::Order(..) => None,
        });
        let of_player: Vec<(Duration, Doing)> = of_player.collect();
        let commands = of_player.iter().filter_map(|(at, doing)| {
            Some(TimedCommand {
                at: *at,
                command: command(*doing)?,
            })
        });
        let commands: Vec<TimedCommand> = commands.collect();
        let rebinds = of_player
            .iter()
            .filter(|(_, doing)| *doing == Doing::Rebind);
        let rebinds: Vec<Duration> = rebinds.map(|(at, _)| *at).collect();
        let chance = Seed::new(seed).split(&player.name);
        for number in 0..player.count {
            let mut rng = chance.split_index(u64::from(number)).rng();
            let name = if player.count > 1 {
                format!("{}-{number}", player.name)
            } else {
                player.name.clone()
            };
            clients.push(ClientSetup {
                config: Config {
                    seed: Seed::new(rng.next_u64()),
                    buffer_goal: player.buffer_goal,
                    memory_cap: player.memory_cap,
                    start_at: player.start_at,
                    abr: rule(player.abr),
                    rung_cap: player.cap,
                    give_up: player.give_up,
                    race_width: player.race_width,
                    ..Config::default()
                },
                name,
                title: Arc::clone(&title),
                last_mile: clients.len(),
                arrives: player.starts + player.spread.mul_f64(rng.next_f64()),
                edges: Vec::new(),
                later_edges: Vec::new(),
                refresh_after: None,
                commands: commands.clone(),
                rebinds: rebinds.clone(),
            });
        }
    }
    clients
}

fn world(scenario: &Scenario, seed: u64, clients: Vec<ClientSetup>, watch: Watch) -> WorldSetup {
    let mut schedules = Vec::new();
    let mut impairments = Vec::new();
    let mut add = |name: LinkName, link: &Link| {
        if link.changes() {
            let steps = link.steps.iter().map(|step| LinkStep {
                lasts: step.lasts,
                link: step.link,
            });
            schedules.push(LinkSchedule {
                link: name,
                steps: steps.collect(),
                repeats: link.repeats,
            });
        }
        let impairment = Impairment {
            jitter: link.jitter(),
            loss: link.mean_loss(),
        };
        if impairment != Impairment::default() {
            impairments.push((name, impairment));
        }
    };
    for (index, edge) in scenario.edges.iter().enumerate() {
        add(LinkName::Edge(index), &edge.link);
    }
    for last_mile in 0..clients.len() {
        add(LinkName::LastMile(last_mile), &scenario.last_mile);
    }
    let orders = scenario
        .schedule(seed)
        .into_iter()
        .filter_map(|one| match one.what {
            Happening::Order(place, order) => Some(TimedOrder {
                at: one.at,
                place,
                order,
            }),
            Happening::Viewer(..) => None,
        });
    let last_mile: LinkConfig = scenario.last_mile.first();
    WorldSetup {
        edges: scenario
            .edges
            .iter()
            .map(|edge| EdgeSetup {
                prefixes: edge.prefixes.clone(),
                distance_km: edge.distance_km,
                capacity: edge.capacity,
                stores_title: edge.stores_title,
                clock_skew_ms: edge.clock_skew_ms,
                ..EdgeSetup::new(edge.name.clone(), edge.link.first())
            })
            .collect(),
        last_miles: vec![last_mile; clients.len()],
        clients,
        digests: scenario.digests,
        backend: Some(BackendSetup {
            token_ttl: scenario.token_ttl,
            refresh_after: scenario.refresh_after,
            delay: scenario.backend_delay,
            duration_ms: u64::try_from(scenario.duration.as_millis()).unwrap_or(u64::MAX),
        }),
        seed: Seed::new(seed),
        faults: orders.collect(),
        traps: Vec::new(),
        schedules,
        impairments,
        limit: scenario.limit,
        watch,
    }
}

const fn rule(name: AbrName) -> AbrRule {
    match name {
        AbrName::Horizon => AbrRule::Horizon,
        AbrName::Dynamic => AbrRule::Dynamic,
        AbrName::Throughput => AbrRule::Throughput,
        AbrName::Bola => AbrRule::Bola,
        AbrName::BufferBased => AbrRule::BufferBased,
        AbrName::RobustMpc => AbrRule::RobustMpc,
    }
}

/// Returns what the session is told; `None` where nobody tells it.
fn command(doing: Doing) -> Option<Command> {
    Some(match doing {
        Doing::Seek(to) => Command::Seek { to },
        Doing::Pause => Command::Pause,
        Doing::Play => Command::Play,
        Doing::Cap(bitrate) => Command::CapRung { bitrate },
        Doing::LockRung(rung) => Command::LockRung { rung },
        Doing::Audio(track) => Command::SelectAudio { track },
        Doing::Subtitles(track) => Command::SelectText { track },
        Doing::NetworkChange => Command::NetworkChanged { network: None },
        Doing::Rebind => return None,
        Doing::Stop => Command::Stop,
    })
}
