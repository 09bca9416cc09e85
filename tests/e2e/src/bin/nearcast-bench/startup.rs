//! Start-up with ten edges against the same player told the best edge beforehand.
//!
//! Three backends run side by side: one grants ten edges ranked by distance, one the same ten without knowing where
//! the viewer is, one only the edge that is best of the ten in rate and delay both. Players that know nothing from
//! before ask them in turns.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use nearcast_player::{BackendOptions, PlayState, Player, SessionReport, Source};
use nearcast_title::Title;
use serde::Serialize;

use crate::reports::Reports;
use crate::statistics::{Sample, Spread};
use crate::system::{ACCOUNT, EdgePlan, System, TITLE};
use crate::table::{Table, millis, verdict};

#[derive(Debug, Serialize)]
pub(crate) struct Startup {
    rounds: usize,
    best_edge_s: Spread,
    ranked: TenEdges,
    unranked: TenEdges,
    /// Round trip to the best edge.
    rtt_s: f64,
    busy_sessions: usize,
}

/// Players with ten edges.
#[derive(Debug, Serialize)]
struct TenEdges {
    startup_s: Spread,
    /// More than the best edge alone, round by round.
    difference_s: Spread,
    /// Edges that brought the first video segment, and how often.
    first_segment_from: BTreeMap<String, usize>,
    holds: bool,
}

const fn plan(
    id: &'static str,
    rate_kbps: u64,
    delay_ms: u64,
    position_deg: (f64, f64),
) -> EdgePlan {
    EdgePlan {
        id,
        rate_kbps,
        delay_ms,
        position_deg,
    }
}

/// Ten appliances round a viewer in Stockholm, as in the demo; the nearest is not the best.
const PLANS: [EdgePlan; 10] = [
    plan("sto-1", 9_000, 6, (59.33, 18.06)),
    plan("sto-2", 20_000, 4, (59.34, 18.07)),
    plan("upp-1", 18_000, 8, (59.86, 17.64)),
    plan("got-1", 16_000, 11, (57.71, 11.97)),
    plan("osl-1", 16_000, 14, (59.91, 10.75)),
    plan("hel-1", 15_000, 12, (60.17, 24.94)),
    plan("cph-1", 15_000, 16, (55.68, 12.57)),
    plan("ham-1", 14_000, 21, (53.55, 9.99)),
    plan("ams-1", 14_000, 25, (52.37, 4.90)),
    plan("lon-1", 12_000, 32, (51.51, -0.13)),
];
/// The best of them, in rate and delay both.
const BEST: EdgePlan = PLANS[1];
/// Where the viewer is.
const STOCKHOLM: (f64, f64) = (59.33, 18.06);
/// What design §6 allows beside one round trip.
const ALLOWANCE: f64 = 0.050;
/// A player that has not started by then never does.
const START_MAX: Duration = Duration::from_secs(20);

pub(crate) async fn measure(title: &Title, rounds: usize, reports: &Reports) -> Result<Startup> {
    let systems = [
        System::with_backend(title, &[BEST], Some(STOCKHOLM)).await?,
        System::with_backend(title, &PLANS, Some(STOCKHOLM)).await?,
        System::with_backend(title, &PLANS, None).await?,
    ];
    // The first of each warms caches of files and keys, and does not count.
    for system in &systems {
        start(system).await?;
    }
    let mut sessions: [Vec<SessionReport>; 3] = Default::default();
    for round in 0..rounds {
        for turn in 0..systems.len() {
            // Who goes first changes: what one player leaves behind for the next evens out.
            let which = (round + turn) % systems.len();
            let report = start(&systems[which]).await?;
            reports.keep(&format!("startup-{}-{round}", NAMES[which]), &report)?;
            sessions[which].push(report);
        }
    }
    for system in systems {
        system.shutdown().await;
    }
    let [best, ranked, unranked] = &sessions;
    Ok(Startup {
        rounds,
        best_edge_s: best
            .iter()
            .filter_map(|report| report.startup_s)
            .collect::<Sample>()
            .spread(),
        ranked: TenEdges::new(ranked, best),
        unranked: TenEdges::new(unranked, best),
        rtt_s: rtt_s(),
        busy_sessions: sessions
            .iter()
            .flatten()
            .filter(|report| report.busy)
            .count(),
    })
}

const NAMES: [&str; 3] = ["best", "ranked", "unranked"];

/// These edges delay an answer and not its request: one delay is one round trip.
const fn rtt_s() -> f64 {
    Duration::from_millis(BEST.delay_ms).as_secs_f64()
}

impl TenEdges {
    fn new(sessions: &[SessionReport], best: &[SessionReport]) -> Self {
        let pairs = sessions.iter().zip(best);
        let difference: Sample = pairs
            .filter_map(|(ten, best)| Some(ten.startup_s? - best.startup_s?))
            .collect();
        let mut first_segment_from = BTreeMap::new();
        for report in sessions {
            *first_segment_from.entry(first_edge(report)).or_default() += 1;
        }
        Self {
            startup_s: sessions
                .iter()
                .filter_map(|report| report.startup_s)
                .collect::<Sample>()
                .spread(),
            difference_s: difference.spread(),
            first_segment_from,
            holds: difference
                .quantile(0.95)
                .is_some_and(|p95| p95 <= rtt_s() + ALLOWANCE),
        }
    }
}

/// Plays until the first frame.
async fn start(system: &System) -> Result<SessionReport> {
    let network = system.network(None)?;
    let mut backend = BackendOptions::new(system.backend_url());
    ACCOUNT.clone_into(&mut backend.account);
    let source = Source::Title {
        backend,
        title: TITLE.to_owned(),
    };
    let player = Player::builder(source)
        .network(network.clone())
        .resume(false)
        .start()?;
    let mut snapshots = player.snapshots();
    let started = snapshots.wait_for(|snapshot| {
        !matches!(
            snapshot.session.state,
            PlayState::Idle | PlayState::Starting
        )
    });
    let in_time = tokio::time::timeout(START_MAX, started).await.is_ok();
    let report = player.close().await?;
    network.close().await;
    if !in_time || report.error.is_some() {
        bail!("a player did not start: {:?}", report.error);
    }
    Ok(report)
}

fn first_edge(report: &SessionReport) -> String {
    let media = report
        .fetches
        .iter()
        .filter(|fetch| fetch.kind == "media" && fetch.track.as_deref() == Some("video"));
    let attempts = media.flat_map(|fetch| &fetch.attempts);
    let first = attempts
        .filter_map(|attempt| Some((attempt.first_byte_s?, attempt)))
        .filter(|(_, attempt)| attempt.wasted_bytes < attempt.bytes)
        .min_by(|a, b| a.0.total_cmp(&b.0));
    first.map_or_else(|| "unknown".to_owned(), |(_, attempt)| attempt.edge.clone())
}

impl Startup {
    pub(crate) fn table(&self) -> Table {
        let title = format!(
            "Start-up: ten edges against the best one known beforehand ({} rounds of each, in turns)",
            self.rounds
        );
        let mut table = Table::new(title, &["", "p50", "p95", "max"]);
        let rows = [
            ("the best edge alone", self.best_edge_s),
            ("ten edges, ranked by distance", self.ranked.startup_s),
            ("  more than the best alone", self.ranked.difference_s),
            ("ten edges, viewer's place unknown", self.unranked.startup_s),
            ("  more than the best alone", self.unranked.difference_s),
        ];
        for (name, spread) in rows {
            let cells = [spread.p50, spread.p95, spread.max].map(millis);
            table.row([name.to_owned()].into_iter().chain(cells));
        }
        for (name, ten) in [("ranked", &self.ranked), ("unknown", &self.unranked)] {
            let edges: Vec<String> = ten
                .first_segment_from
                .iter()
                .map(|(edge, count)| format!("{edge} {count}x"))
                .collect();
            table.remark(format!(
                "{name}: first video segment from {} (best is {})",
                edges.join(", "),
                BEST.id
            ));
        }
        table.remark(format!(
            "bar: p95 of the difference at most one RTT ({:.0} ms) + 50 ms: ranked {}, unknown {}",
            self.rtt_s * 1000.0,
            verdict(self.ranked.holds),
            verdict(self.unranked.holds)
        ));
        if self.busy_sessions > 0 {
            table.remark(format!(
                "{} sessions say that the machine was busy",
                self.busy_sessions
            ));
        }
        table
    }
}
