//! What the player makes of each fault, over sockets and in the simulator: the same, and never a stall while another
//! edge is well.

use std::path::PathBuf;
use std::time::Duration;

use nearcast_appliance::fault::{
    Fault, FaultOrder, FaultReceipt, FaultRule, FaultSelector, ObjectKind, TlsProblem,
};
use nearcast_edge_server::{Authority, EdgeConfig, EdgeHandle, EdgeServer};
use nearcast_link::LinkConfig;
use nearcast_protocol::manifest::TrackKind;
use nearcast_protocol::report::SessionReport;
use nearcast_sim::{EdgeSetup, Setup, Simulation, Watch};
use nearcast_units::Ratio;
use tokio::task::JoinSet;

use crate::play::nearcast;
use crate::program::Program;
use crate::room::Room;
use crate::simulated::packaged;
use crate::title::{InMemory, title};

/// The edge that goes wrong: it is nearer, and preferred.
const NEAR: &str = "near";
/// The edge that is well.
const FAR: &str = "far";
/// So far that no pause of a busy machine makes it the nearer one.
const FAR_DELAY: Duration = Duration::from_millis(200);
const LASTS: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(90);
/// As many players at once as two processors carry without a stall of their own.
const AT_ONCE: usize = 4;

/// What is told of an edge whose bytes were found to be wrong after they had come whole.
const BLAMED: &str = "blamed";

/// A fault, and what the player tells of the first thing that failed at the edge that has it: the code of an attempt.
struct Case {
    fault: Fault,
    on: FaultSelector,
    /// By the version of HTTP. The first one is what the simulator says, too.
    told: Vec<(&'static str, &'static str)>,
}

/// A segment of the picture some seconds into playback, from this share of it on.
fn segments(after: f64) -> FaultSelector {
    FaultSelector {
        object: Some(ObjectKind::Media),
        track: Some(TrackKind::Video),
        segment_from: Some(3),
        after: Ratio::new(after).ok().filter(|_| after > 0.0),
        ..FaultSelector::EVERYTHING
    }
}

fn all(object: ObjectKind) -> FaultSelector {
    FaultSelector {
        object: Some(object),
        ..FaultSelector::EVERYTHING
    }
}

fn cases() -> Vec<Case> {
    const EVERYTHING: FaultSelector = FaultSelector::EVERYTHING;
    let status = |status| Fault::Status {
        status,
        retry_after_s: None,
    };
    let late = Fault::LateFirstByte { delay_ms: 20_000 };
    let trickle = Fault::Trickle { rate_bps: 8_000 };
    let tls = |problem| Fault::Tls { problem };
    let whole = || segments(0.0);
    let half = || segments(0.5);
    let case = |fault, on, told: &[(&'static str, &'static str)]| Case {
        fault,
        on,
        told: told.to_vec(),
    };
    vec![
        case(status(401), whole(), &[("h2", "edge.token_rejected")]),
        case(status(403), whole(), &[("h3", "edge.token_rejected")]),
        case(status(404), whole(), &[("http1", "edge.not_found")]),
        case(status(410), whole(), &[("h2", "edge.not_found")]),
        case(
            status(416),
            whole(),
            &[("h3", "edge.range_not_satisfiable")],
        ),
        case(status(429), whole(), &[("http1", "edge.too_many_requests")]),
        case(status(500), whole(), &[("h2", "edge.server_error")]),
        case(status(503), whole(), &[("h3", "edge.unavailable")]),
        case(
            Fault::TokenExpired,
            whole(),
            &[("h2", "edge.token_rejected")],
        ),
        case(
            Fault::RedirectLoop,
            whole(),
            &[("h2", "net.redirect_loop"), ("h3", "net.redirect_loop")],
        ),
        case(
            Fault::WrongRange,
            whole(),
            &[("h2", "net.wrong_range"), ("http1", "net.wrong_range")],
        ),
        case(
            Fault::GzipBomb,
            whole(),
            &[("h2", "net.protocol"), ("h3", "net.protocol")],
        ),
        // HTTP/2 has one word for too much and too little.
        case(
            Fault::Longer,
            whole(),
            &[("h2", "net.truncated"), ("h3", "net.protocol")],
        ),
        case(late, whole(), &[("h2", "edge_silent")]),
        case(trickle, half(), &[("h3", "edge_silent")]),
        case(Fault::Hang, half(), &[("h2", "edge_silent")]),
        case(
            Fault::Reset,
            half(),
            &[("h2", "net.reset"), ("h3", "net.reset")],
        ),
        case(Fault::Truncate, half(), &[("http1", "net.truncated")]),
        case(Fault::Stop, half(), &[("h2", "edge_silent")]),
        // Over QUIC a death is silence.
        case(
            Fault::Kill,
            half(),
            &[("h2", "net.reset"), ("h3", "edge_silent")],
        ),
        case(Fault::Corrupt, whole(), &[("h2", BLAMED)]),
        case(Fault::Zeros, half(), &[("h3", BLAMED)]),
        case(Fault::Portal, whole(), &[("h2", BLAMED)]),
        case(Fault::Portal, all(ObjectKind::Manifest), &[("h2", BLAMED)]),
        case(Fault::Portal, all(ObjectKind::Init), &[("h2", BLAMED)]),
        case(Fault::BadText, all(ObjectKind::Manifest), &[("h3", BLAMED)]),
        case(
            Fault::Refuse,
            EVERYTHING,
            &[("h2", "net.connect_refused"), ("h3", "net.connect_refused")],
        ),
        case(
            tls(TlsProblem::Expired),
            EVERYTHING,
            &[("h2", "net.tls_certificate"), ("h3", "net.tls_certificate")],
        ),
        case(
            tls(TlsProblem::WrongName),
            EVERYTHING,
            &[
                ("http1", "net.tls_certificate"),
                ("h3", "net.tls_certificate"),
            ],
        ),
        // Whoever is silent from the beginning on loses the race.
        case(
            tls(TlsProblem::Stall),
            EVERYTHING,
            &[("h2", "lost_race"), ("h3", "lost_race")],
        ),
    ]
}

impl Case {
    fn order(&self) -> FaultOrder {
        FaultOrder::add([FaultRule {
            id: Some("fault".to_owned()),
            fault: self.fault.clone(),
            on: self.on.clone(),
        }])
    }
}

/// Two edges, one of which goes wrong, and a player.
struct World {
    room: Room,
    edges: Vec<EdgeHandle>,
    ca: PathBuf,
}

impl World {
    async fn start(room: Room, authority: Authority) -> Self {
        let mut edges = Vec::new();
        for (id, delay) in [(NEAR, Duration::ZERO), (FAR, FAR_DELAY)] {
            let mut config = EdgeConfig::new(id, title().parent().unwrap());
            config.delay = delay;
            config.authority = Some(authority.clone());
            edges.push(EdgeServer::start(config).await.unwrap());
        }
        let ca = room.file("ca.pem", authority.ca_pem());
        Self { room, edges, ca }
    }

    /// Plays, and returns what the player told, edges by the names they have here.
    async fn play(&self, http: &str) -> SessionReport {
        let path = self.room.path().join("report.json");
        let lasts = format!("{}s", LASTS.as_secs());
        let mut command = nearcast(&self.room);
        command
            .args(["play", "title/stream.mpd", "--headless", "--http", http])
            .args(["--duration", &lasts, "--report"])
            .arg(&path)
            .arg("--ca")
            .arg(&self.ca);
        for edge in &self.edges {
            command.args(["--edge", edge.base_url()]);
        }
        let ended = Program::start(&self.room, "play", command)
            .ended(PATIENCE)
            .await;
        let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{}", ended.err));
        let named = self.edges.iter().fold(text, |text, edge| {
            let host = edge.base_url().trim_start_matches("https://");
            text.replace(host.trim_end_matches('/'), edge.id())
        });
        let report: SessionReport = serde_json::from_str(&named).unwrap();
        assert_eq!(report.error, None, "{}", ended.out);
        report
    }
}

/// Returns what a session tells of the first thing that failed at the edge that goes wrong.
fn told(report: &SessionReport) -> Option<&str> {
    let attempts = report.fetches.iter().flat_map(|fetch| &fetch.attempts);
    // What is asked for anew once wrong bytes were found takes the place of what is under way: no failure of that.
    let failed = attempts.filter(|one| {
        let code = one.code.as_deref();
        one.edge == NEAR && one.result != "ok" && code != Some("superseded")
    });
    if let Some(first) = failed.min_by(|a, b| a.end_s.total_cmp(&b.end_s)) {
        return first.code.as_deref();
    }
    let near = report.edges.iter().find(|edge| edge.id == NEAR)?;
    (near.failures > 0).then_some(BLAMED)
}

fn simulated(case: &Case) -> SessionReport {
    let mut setup = Setup::quiet(packaged(), 0);
    let link = |delay| LinkConfig {
        delay,
        ..LinkConfig::default()
    };
    setup.edges = vec![
        EdgeSetup::new(NEAR, link(Duration::from_micros(100))),
        EdgeSetup::new(FAR, link(FAR_DELAY)),
    ];
    setup.last_mile = LinkConfig::default();
    setup.digests = true;
    setup.limit = LASTS;
    let [rule] = case.order().faults.try_into().unwrap();
    let world = setup.fault_on(0.0, 0, rule).world(Watch::ALL);
    Simulation::world(world).run_all().clients.remove(0).report
}

/// What came of one fault.
struct Met {
    what: String,
    expected: &'static str,
    real: SessionReport,
    simulated: Option<SessionReport>,
    receipts: Vec<FaultReceipt>,
}

impl Met {
    /// Returns what is not as it should be.
    fn problems(&self) -> Vec<String> {
        let Self {
            what,
            expected,
            real,
            simulated,
            receipts,
        } = self;
        let mut problems = Vec::new();
        let named = |receipt: &FaultReceipt| receipt.id.as_deref() == Some("fault");
        if receipts.is_empty() || !receipts.iter().all(named) {
            problems.push(format!("{what}: receipts are {receipts:?}"));
        }
        if real.stall_count > 0 || real.played_s < 3.0 {
            let (played_s, stalls) = (real.played_s, &real.stalls);
            problems.push(format!("{what}: {played_s} s, stalls are {stalls:?}"));
        }
        for report in [Some(real), simulated.as_ref()].into_iter().flatten() {
            let told = told(report);
            if told != Some(expected) {
                let player = &report.player.name;
                problems.push(format!("{what}: {player} tells {told:?}, not {expected}"));
            }
        }
        problems
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_is_told_as_in_the_simulator_and_played_around() {
    let room = Room::alone().await;
    let _in_memory = InMemory::keep().await;
    let authority = Authority::new().unwrap();
    let mut problems = Vec::new();
    let mut running = JoinSet::new();
    for case in cases() {
        for (index, (http, expected)) in case.told.iter().copied().enumerate() {
            if running.len() == AT_ONCE
                && let Some(met) = running.join_next().await
            {
                problems.extend(Met::problems(&met.unwrap()));
            }
            let (room, authority, order) = (room.another(), authority.clone(), case.order());
            let what = format!("{} of {:?} over {http}", case.fault.name(), case.on.object);
            let simulated = (index == 0).then(|| simulated(&case));
            running.spawn(async move {
                let world = World::start(room, authority).await;
                world.edges[0].apply(order).await.unwrap();
                let real = world.play(http).await;
                Met {
                    what,
                    expected,
                    real,
                    simulated,
                    receipts: world.edges[0].receipts(),
                }
            });
        }
    }
    while let Some(met) = running.join_next().await {
        problems.extend(Met::problems(&met.unwrap()));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}
