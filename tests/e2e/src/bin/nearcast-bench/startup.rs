//! Start-up with ten edges against the same player told the best edge beforehand.
//!
//! Two backends run side by side: one grants ten edges, the other only the edge that is best of those ten in rate and
//! delay both. Players that know nothing from before ask the one and the other in turns.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
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
    ten_edges_s: Spread,
    best_edge_s: Spread,
    /// Ten edges minus the best edge, round by round.
    difference_s: Spread,
    /// Edges that brought the first video segment to the player with ten, and how often.
    first_segment_from: BTreeMap<String, usize>,
    /// Round trip to the best edge.
    rtt_s: f64,
    holds: bool,
    busy_sessions: usize,
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
/// What design §6 allows beside one round trip.
const ALLOWANCE: f64 = 0.050;
/// A player that has not started by then never does.
const START_MAX: Duration = Duration::from_secs(20);

pub(crate) async fn measure(title: &Title, rounds: usize, reports: &Reports) -> Result<Startup> {
    let ten = System::with_backend(title, &PLANS).await?;
    let best = System::with_backend(title, &[BEST]).await?;
    // The first pair warms caches of files and keys, and does not count.
    start(&ten).await?;
    start(&best).await?;
    let mut pairs = Vec::new();
    let mut first_segment_from = BTreeMap::new();
    let mut busy_sessions = 0;
    for round in 0..rounds {
        // Who goes first alternates too: what a pair's first player leaves behind evens out.
        let (a, b) = if round % 2 == 0 {
            let a = start(&ten).await?;
            (a, start(&best).await?)
        } else {
            let b = start(&best).await?;
            (start(&ten).await?, b)
        };
        reports.keep(&format!("startup-ten-{round}"), &a)?;
        reports.keep(&format!("startup-best-{round}"), &b)?;
        *first_segment_from.entry(first_edge(&a)).or_default() += 1;
        busy_sessions += usize::from(a.busy) + usize::from(b.busy);
        let a = a
            .startup_s
            .context("a player with ten edges did not start")?;
        let b = b
            .startup_s
            .context("a player with the best edge did not start")?;
        pairs.push((a, b));
    }
    ten.shutdown().await;
    best.shutdown().await;
    let difference: Sample = pairs.iter().map(|(a, b)| a - b).collect();
    // These edges delay an answer and not its request: one delay is one round trip.
    let rtt_s = Duration::from_millis(BEST.delay_ms).as_secs_f64();
    Ok(Startup {
        rounds,
        ten_edges_s: pairs.iter().map(|pair| pair.0).collect::<Sample>().spread(),
        best_edge_s: pairs.iter().map(|pair| pair.1).collect::<Sample>().spread(),
        difference_s: difference.spread(),
        first_segment_from,
        rtt_s,
        holds: difference
            .quantile(0.95)
            .is_some_and(|p95| p95 <= rtt_s + ALLOWANCE),
        busy_sessions,
    })
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
            ("ten edges", self.ten_edges_s),
            ("the best edge alone", self.best_edge_s),
            ("difference within a round", self.difference_s),
        ];
        for (name, spread) in rows {
            let cells = [spread.p50, spread.p95, spread.max].map(millis);
            table.row([name.to_owned()].into_iter().chain(cells));
        }
        let edges: Vec<String> = self
            .first_segment_from
            .iter()
            .map(|(edge, count)| format!("{edge} {count}x"))
            .collect();
        table.remark(format!(
            "first video segment of the ten-edge player from: {} (best is {})",
            edges.join(", "),
            BEST.id
        ));
        table.remark(format!(
            "bar: p95 of the difference at most one RTT ({:.0} ms) + 50 ms: {}",
            self.rtt_s * 1000.0,
            verdict(self.holds)
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
