//! A scenario file in virtual time.

use std::sync::Arc;
use std::time::Duration;

use nearcast_core::{AbrRule, Command, Config};
use nearcast_link::{LinkConfig, LossBursts};
use nearcast_scenario::{AbrName, Doing, Link, PlayerResult, Ran, Receipt, Scenario, Viewer};
use nearcast_units::Seed;

use crate::driver::{Simulation, WorldOutcome};
use crate::setup::{
    BackendSetup, Bursts, ClientSetup, EdgeSetup, Impairment, LinkName, LinkSchedule, LinkStep,
    TimedCommand, TimedOrder, Watch, WorldSetup,
};
use crate::title::SimTitle;

/// What came of one run of a scenario.
#[derive(Debug)]
pub struct Simulated {
    /// What anybody may see of it.
    pub ran: Ran,
    /// What each session heard and told, a line of JSON each; empty where that was not watched.
    pub logs: Vec<Vec<String>>,
}

/// Runs a scenario. The same seed gives the same, to the byte.
#[must_use]
pub fn simulate(scenario: &Scenario, seed: u64, watch: Watch) -> Simulated {
    let title = made(scenario, seed);
    let (begins, simulation) = prepared(scenario, &title, seed, watch);
    Simulated::new(scenario, begins, simulation.run_all())
}

/// Runs a scenario with this title. `nth` is which of the runs of a seed: all of these have the same viewers, and faults at the same times,
/// and differ in what else is chance.
#[must_use]
pub fn simulate_nth(
    scenario: &Scenario,
    title: &Arc<SimTitle>,
    seed: u64,
    nth: u64,
    watch: Watch,
) -> Simulated {
    let clients = clients(scenario, title, seed);
    let begins = begins(&clients);
    let mut world = world(scenario, seed, clients, watch);
    world.seed = world.seed.split_index(nth);
    Simulated::new(scenario, begins, Simulation::world(world).run_all())
}

/// Runs a scenario as [`simulate`] does; `None` where it is to stop before its end, which is asked now and then.
#[must_use]
pub fn simulate_unless(
    scenario: &Scenario,
    seed: u64,
    watch: Watch,
    stops: impl Fn() -> bool,
) -> Option<Simulated> {
    let title = made(scenario, seed);
    let (begins, simulation) = prepared(scenario, &title, seed, watch);
    let outcome = simulation.run_unless(stops)?;
    Some(Simulated::new(scenario, begins, outcome))
}

fn made(scenario: &Scenario, seed: u64) -> Arc<SimTitle> {
    Arc::new(SimTitle::made(scenario.duration, Seed::new(seed)))
}

/// Returns what each session is called, when it begins, and the world they are in.
fn prepared(
    scenario: &Scenario,
    title: &Arc<SimTitle>,
    seed: u64,
    watch: Watch,
) -> (Vec<(String, Duration)>, Simulation) {
    let clients = clients(scenario, title, seed);
    let begins = begins(&clients);
    let simulation = Simulation::world(world(scenario, seed, clients, watch));
    (begins, simulation)
}

fn begins(clients: &[ClientSetup]) -> Vec<(String, Duration)> {
    let begins = clients.iter();
    begins
        .map(|client| (client.name.clone(), client.arrives))
        .collect()
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
        let receipts = receipts.collect();
        let load_of = |edge: usize| outcome.load.iter().map(|second| second[edge]).collect();
        let load = (0..scenario.edges.len()).map(load_of).collect();
        let (mut players, mut broken, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        for ((player, begins), outcome) in begins.into_iter().zip(outcome.clients) {
            let violations = outcome.violations.iter();
            broken.extend(violations.map(|what| format!("{player}: {what}")));
            logs.push(outcome.log);
            players.push(PlayerResult {
                player,
                begins_s: begins.as_secs_f64(),
                report: outcome.report,
            });
        }
        let mut ran = Ran::new(scenario, players, receipts, load);
        ran.broken = broken;
        Self { ran, logs }
    }
}

fn clients(scenario: &Scenario, title: &Arc<SimTitle>, seed: u64) -> Vec<ClientSetup> {
    let viewers = scenario.viewers(seed).into_iter().enumerate();
    let client = |(index, viewer): (usize, Viewer)| {
        let player = &scenario.players[viewer.player];
        let doings: Vec<(Duration, Doing)> = scenario.doings(seed, viewer.player).collect();
        let commands = doings.iter().filter_map(|(at, doing)| {
            Some(TimedCommand {
                at: *at,
                command: command(*doing)?,
            })
        });
        let rebinds = doings.iter().filter(|(_, doing)| *doing == Doing::Rebind);
        ClientSetup {
            config: Config {
                seed: viewer.seed,
                buffer_goal: player.buffer_goal,
                memory_cap: player.memory_cap,
                start_at: player.start_at,
                abr: rule(player.abr),
                rung_cap: player.cap,
                give_up: player.give_up,
                race_width: player.race_width,
                ..Config::default()
            },
            name: viewer.name,
            title: Arc::clone(title),
            last_mile: index,
            arrives: viewer.arrives,
            edges: Vec::new(),
            later_edges: Vec::new(),
            refresh_after: None,
            commands: commands.collect(),
            rebinds: rebinds.map(|(at, _)| *at).collect(),
        }
    };
    viewers.map(client).collect()
}

fn world(scenario: &Scenario, seed: u64, clients: Vec<ClientSetup>, watch: Watch) -> WorldSetup {
    let scenario = &scenario.of_bodies();
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
            bursts: link.spec.burst_loss.map(|spec| Bursts {
                within: LossBursts {
                    enter: spec.enter_ratio.into(),
                    leave: spec.leave_ratio.into(),
                    loss: spec.loss_ratio.into(),
                },
                outside: link.spec.loss_ratio.into(),
            }),
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
        .orders(seed)
        .map(|(at, place, order)| TimedOrder { at, place, order });
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
                http3: edge.http3,
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

/// Returns the rule of this name.
#[must_use]
pub const fn rule(name: AbrName) -> AbrRule {
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
