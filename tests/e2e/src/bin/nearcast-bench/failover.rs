//! An edge goes wrong while it sends the middle of a video segment: how long until another edge delivers, and how
//! many bytes are fetched twice.
//!
//! Each fault has four edges and a player of its own; the faults of one protocol run side by side, so that a round
//! takes a few seconds and all faults meet the same machine. A 503 hits the next request; all others
//! hit the transfer on its way.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nearcast_edge_server::EdgeHandle;
use nearcast_edge_server::fault::{Fault, FaultOrder, FaultRule, Scope};
use nearcast_player::{HttpVersion, Player, PlayerSnapshot, SessionReport, Source, TrackKind};
use nearcast_protocol::report::FetchReport;
use nearcast_title::Title;
use nearcast_units::Ratio;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::reports::Reports;
use crate::statistics::{Sample, Spread};
use crate::system::{EdgePlan, System, manifest_path};
use crate::table::{Table, millis, number, verdict};

/// All rounds of all faults.
#[derive(Debug, Serialize)]
pub(crate) struct Failover {
    rounds: usize,
    rows: Vec<Row>,
    /// All faults and protocols together, in seconds.
    all_first_byte_s: Spread,
    /// Players that no other edge delivered to in time.
    not_moved: usize,
    time_holds: bool,
    bytes_hold: bool,
    stalls_hold: bool,
    /// The most encoded bytes that any of the players held.
    held_bytes_max: u64,
    busy_sessions: usize,
}

/// One fault over one protocol.
#[derive(Debug, Serialize)]
struct Row {
    fault: &'static str,
    protocol: &'static str,
    rounds: usize,
    /// Rounds in which another edge delivered.
    handed_over: usize,
    /// From the fault to the first byte from another edge.
    first_byte_s: Spread,
    /// From the last byte of the failing edge until the player noticed, as it reports.
    detected_s: Spread,
    /// Bytes received and not handed on, of the video segment that was hit.
    wasted_bytes: Spread,
    /// The same as a share of the segment.
    wasted_share: Spread,
    stalls: u64,
}

/// One player that met one fault.
#[derive(Debug)]
struct Meeting {
    kind: Kind,
    protocol: HttpVersion,
    first_byte_s: Option<f64>,
    detected_s: Option<f64>,
    wasted_bytes: Option<f64>,
    wasted_share: Option<f64>,
    stalls: u64,
    held_bytes_max: u64,
    busy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    BlackHole,
    Trickle,
    Reset,
    Unavailable,
}

const KINDS: [Kind; 5] = [
    Kind::Kill,
    Kind::BlackHole,
    Kind::Trickle,
    Kind::Reset,
    Kind::Unavailable,
];
const PROTOCOLS: [HttpVersion; 2] = [HttpVersion::H2, HttpVersion::H3];

const fn plan(id: &'static str, rate_kbps: u64, delay_ms: u64) -> EdgePlan {
    EdgePlan {
        id,
        rate_kbps,
        delay_ms,
        position_deg: (0.0, 0.0),
    }
}

/// The top rung takes most of these rates, so that its segments have a long middle.
const PLANS: [EdgePlan; 4] = [
    plan("a", 10_000, 5),
    plan("b", 10_000, 10),
    plan("c", 9_000, 15),
    plan("d", 9_000, 25),
];
/// Paths of video hold this, other paths do not.
const VIDEO: &str = "/v";
/// What counts as the middle of a segment, per cent.
const MIDDLE: std::ops::RangeInclusive<u64> = 25..=75;
/// With this much in the buffer no failure may stall playback (design §6).
const BUFFERED: Duration = Duration::from_secs(6);
/// The buffer is filled and a segment in its middle long before that.
const READY_MAX: Duration = Duration::from_secs(40);
/// A player that has not moved by then did not.
const HANDOVER_MAX: Duration = Duration::from_secs(12);
/// So long the player goes on after a hand-over, for stalls to show.
const AFTERMATH: Duration = Duration::from_secs(3);
/// How often the report is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Design §6.
const TIME_MAX_S: (f64, f64) = (1.0, 2.0);
const WASTED_MAX: f64 = 0.1;

pub(crate) async fn measure(title: &Title, rounds: usize, reports: &Reports) -> Result<Failover> {
    let mut systems = Vec::new();
    for kind in KINDS {
        systems.push((kind, System::open(title, &PLANS).await?));
    }
    let path = manifest_path(title);
    let mut meetings = Vec::new();
    for round in 0..rounds {
        for protocol in PROTOCOLS {
            let mut players = JoinSet::new();
            for (kind, system) in systems {
                let path = path.clone();
                players.spawn(async move {
                    let meeting = meet(&system, &path, kind, protocol).await;
                    (kind, system, meeting)
                });
            }
            systems = Vec::new();
            while let Some(met) = players.join_next().await {
                let (kind, system, meeting) = met?;
                let (meeting, report) =
                    meeting.with_context(|| format!("round {round}, {}", kind.name()))?;
                let name = format!("{}-{}-{round}", kind.name(), protocol_name(protocol));
                reports.keep(&name, &report)?;
                meetings.push(meeting);
                systems.push((kind, system));
            }
        }
    }
    for (_, system) in systems {
        system.shutdown().await;
    }
    Ok(summary(rounds, &meetings))
}

/// Plays, breaks the edge in use while it sends the middle of a segment, and sees what becomes of it.
async fn meet(
    system: &System,
    path: &str,
    kind: Kind,
    protocol: HttpVersion,
) -> Result<(Meeting, SessionReport)> {
    let network = system.network(Some(protocol))?;
    let source = Source::Edges {
        path: path.to_owned(),
        bases: system.base_urls(),
    };
    let began = Instant::now();
    let player = Player::builder(source).network(network.clone()).start()?;
    let mut snapshots = player.snapshots();
    let mut held_bytes_max = 0;
    let ready = snapshots.wait_for(|snapshot| {
        held_bytes_max = held_bytes_max.max(snapshot.stored_bytes);
        edge_in_mid_segment(snapshot).is_some()
    });
    let name = match tokio::time::timeout(READY_MAX, ready).await {
        Ok(Ok(snapshot)) => edge_in_mid_segment(&snapshot),
        Ok(Err(_)) | Err(_) => None,
    };
    let edge = name.as_deref().and_then(|name| {
        let named = |edge: &&EdgeHandle| edge.base_url().contains(name);
        system.edges.iter().find(named)
    });
    let (Some(name), Some(edge)) = (&name, edge) else {
        let report = player.close().await?;
        bail!(
            "no segment was ever in its middle; error {:?}",
            report.error
        );
    };
    let fault_s = began.elapsed().as_secs_f64();
    edge.apply(FaultOrder::add([kind.rule()])).await?;
    let give_up = Instant::now() + HANDOVER_MAX;
    let hit = Hit {
        edge: name,
        kind,
        fault_s,
    };
    while Instant::now() < give_up {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if hit.first_byte_s(&player.report().await?).is_some() {
            tokio::time::sleep(AFTERMATH).await;
            break;
        }
    }
    held_bytes_max = held_bytes_max.max(player.snapshot().stored_bytes);
    let report = player.close().await?;
    network.close().await;
    edge.apply(FaultOrder::clear()).await?;
    let (wasted_bytes, wasted_share) = hit.wasted(&report).unzip();
    let failover = report
        .failovers
        .iter()
        .find(|failover| failover.from == *name && failover.at_s + failover.detected_s >= fault_s);
    let meeting = Meeting {
        kind,
        protocol,
        first_byte_s: hit.first_byte_s(&report),
        detected_s: failover.map(|failover| failover.detected_s),
        wasted_bytes,
        wasted_share,
        stalls: report.stall_count,
        held_bytes_max,
        busy: report.busy,
    };
    Ok((meeting, report))
}

/// Returns the name of the edge that has sent the middle of a video segment, once enough is buffered.
fn edge_in_mid_segment(snapshot: &PlayerSnapshot) -> Option<String> {
    let session = &snapshot.session;
    if session.video_level < BUFFERED || session.audio_level < BUFFERED {
        return None;
    }
    let middle = session.transfers.iter().find(|transfer| {
        let total = transfer.total.map_or(0, |total| total.get());
        transfer.track == Some(TrackKind::Video)
            && (transfer.received.get() * 100)
                .checked_div(total)
                .is_some_and(|share| MIDDLE.contains(&share))
    })?;
    let edge = session.edges.iter().find(|edge| edge.id == middle.edge)?;
    Some(edge.name.clone())
}

/// A fault that was done to an edge during a session.
struct Hit<'a> {
    edge: &'a str,
    kind: Kind,
    /// When, in the session's time.
    fault_s: f64,
}

impl Hit<'_> {
    /// Returns the first media object of each track that met the fault, and when it met it.
    fn met<'r>(&self, report: &'r SessionReport) -> Vec<(&'r FetchReport, f64)> {
        let mut first: BTreeMap<&str, (&FetchReport, f64)> = BTreeMap::new();
        for fetch in report.fetches.iter().filter(|fetch| fetch.kind == "media") {
            let hurt = fetch.attempts.iter().find(|attempt| {
                attempt.edge == self.edge
                    && attempt.end_s > self.fault_s
                    && attempt.result != "ok"
                    // A status does not hurt a request that began before; all else reaches bodies under way.
                    && (!matches!(self.kind, Kind::Unavailable) || attempt.start_s >= self.fault_s)
            });
            let Some(attempt) = hurt else { continue };
            let at_s = match self.kind {
                Kind::Kill | Kind::BlackHole | Kind::Trickle | Kind::Unavailable => {
                    attempt.start_s.max(self.fault_s)
                }
                // Until then the body came as it should.
                Kind::Reset => report
                    .failovers
                    .iter()
                    .find(|failover| {
                        failover.from == self.edge
                            && failover.track == fetch.track
                            && (attempt.start_s..=attempt.end_s).contains(&failover.at_s)
                    })
                    .map_or(attempt.end_s, |failover| failover.at_s),
            };
            let track = fetch.track.as_deref().unwrap_or("");
            let known = first.entry(track).or_insert((fetch, at_s));
            if at_s < known.1 {
                *known = (fetch, at_s);
            }
        }
        first.into_values().collect()
    }

    /// Returns the longest time, of all tracks, from meeting the fault to the first byte from another edge; `None`
    /// while one waits.
    fn first_byte_s(&self, report: &SessionReport) -> Option<f64> {
        let waits = self.met(report).into_iter().map(|(fetch, at_s)| {
            let others = fetch
                .attempts
                .iter()
                .filter(|other| other.edge != self.edge);
            let bytes = others.filter_map(|other| other.first_byte_s);
            let next = bytes
                .filter(|byte_s| *byte_s >= at_s)
                .min_by(f64::total_cmp);
            next.map(|byte_s| byte_s - at_s)
        });
        let waits: Option<Sample> = waits.collect::<Option<Vec<f64>>>().map(Sample::from_iter);
        waits?.max()
    }

    /// Returns the bytes of the hit video segment that were not handed on, and their share of the segment.
    fn wasted(&self, report: &SessionReport) -> Option<(f64, f64)> {
        let met = self.met(report);
        let (fetch, _) = met
            .iter()
            .find(|(fetch, _)| fetch.track.as_deref() == Some("video"))?;
        let wasted: u64 = fetch
            .attempts
            .iter()
            .map(|attempt| attempt.wasted_bytes)
            .sum();
        let segment = report
            .segments
            .iter()
            .find(|segment| segment.track == "video" && Some(segment.index) == fetch.segment)?;
        let wasted = wasted as f64;
        Some((wasted, wasted / segment.bytes.max(1) as f64))
    }
}

fn summary(rounds: usize, meetings: &[Meeting]) -> Failover {
    let mut rows = Vec::new();
    for kind in KINDS {
        for protocol in PROTOCOLS {
            let of: Vec<&Meeting> = meetings
                .iter()
                .filter(|one| one.kind == kind && one.protocol == protocol)
                .collect();
            let spread = |pick: fn(&Meeting) -> Option<f64>| {
                of.iter()
                    .filter_map(|one| pick(one))
                    .collect::<Sample>()
                    .spread()
            };
            rows.push(Row {
                fault: kind.name(),
                protocol: protocol_name(protocol),
                rounds: of.len(),
                handed_over: of.iter().filter(|one| one.first_byte_s.is_some()).count(),
                first_byte_s: spread(|one| one.first_byte_s),
                detected_s: spread(|one| one.detected_s),
                wasted_bytes: spread(|one| one.wasted_bytes),
                wasted_share: spread(|one| one.wasted_share),
                stalls: of.iter().map(|one| one.stalls).sum(),
            });
        }
    }
    let all: Sample = meetings.iter().filter_map(|one| one.first_byte_s).collect();
    let not_moved = meetings.len() - all.len();
    Failover {
        rounds,
        all_first_byte_s: all.spread(),
        not_moved,
        time_holds: not_moved == 0
            && all.median().is_some_and(|p50| p50 <= TIME_MAX_S.0)
            && all.quantile(0.99).is_some_and(|p99| p99 <= TIME_MAX_S.1),
        // The bar is for edges that are killed.
        bytes_hold: meetings
            .iter()
            .filter(|one| one.kind == Kind::Kill)
            .all(|one| one.wasted_share.is_some_and(|share| share <= WASTED_MAX)),
        stalls_hold: meetings.iter().all(|one| one.stalls == 0),
        held_bytes_max: meetings
            .iter()
            .map(|one| one.held_bytes_max)
            .max()
            .unwrap_or(0),
        busy_sessions: meetings.iter().filter(|one| one.busy).count(),
        rows,
    }
}

impl Failover {
    pub(crate) fn table(&self) -> Table {
        let title = format!(
            "Failover: from the fault to the first byte from another edge ({} rounds of each, five players at a time)",
            self.rounds
        );
        let headings = [
            "",
            "http",
            "moved",
            "p50",
            "p99",
            "noticed p50",
            "twice p50",
            "twice max",
            "of segment",
            "stalls",
        ];
        let mut table = Table::new(title, &headings);
        let kilobytes = |bytes: Option<f64>| number(bytes.map(|bytes| bytes / 1000.0), 1, " kB");
        for row in &self.rows {
            table.row([
                row.fault.to_owned(),
                row.protocol.to_owned(),
                format!("{}/{}", row.handed_over, row.rounds),
                millis(row.first_byte_s.p50),
                millis(row.first_byte_s.p99),
                millis(row.detected_s.p50),
                kilobytes(row.wasted_bytes.p50),
                kilobytes(row.wasted_bytes.max),
                number(row.wasted_share.max.map(|share| share * 100.0), 1, " %"),
                row.stalls.to_string(),
            ]);
        }
        let all = self.all_first_byte_s;
        table.remark(format!(
            "all {}: p50 {}, p99 {}, slowest {}; the 99th percentile of fewer than 100 is their largest",
            all.count,
            millis(all.p50),
            millis(all.p99),
            millis(all.max)
        ));
        if self.not_moved > 0 {
            table.remark(format!(
                "{} of {} players got nothing from another edge within {} s, which misses the bar; --reports keeps what they did",
                self.not_moved,
                self.not_moved + all.count,
                HANDOVER_MAX.as_secs()
            ));
        }
        table.remark(format!(
            "bar: first byte from another edge after 1 s at p50 and 2 s at p99 at most: {}",
            verdict(self.time_holds)
        ));
        table.remark(format!(
            "bar: killed in mid-segment, at most 10 % of that segment twice: {}; no stall with 6 s buffered: {}",
            verdict(self.bytes_hold),
            verdict(self.stalls_hold)
        ));
        table.remark(
            "kill, black hole, trickle (its link falls to 16 kbit/s): of the transfer in its middle, from the fault's order;",
        );
        table.remark(
            "reset: of a body once half of it has come, from its last byte; 503: of the next request, from its start",
        );
        table.remark(
            "noticed: as the player reports it, from the failing edge's last byte (a trickle's last byte comes late)",
        );
        table.remark(format!(
            "the most that a player held: {:.1} MiB of encoded media (cap: 32 MiB)",
            self.held_bytes_max as f64 / f64::from(1_u32 << 20)
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

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::BlackHole => "black hole",
            Self::Trickle => "trickle",
            Self::Reset => "reset",
            Self::Unavailable => "503",
        }
    }

    /// What is ordered while a segment of the picture is in its middle.
    fn rule(self) -> FaultRule {
        let fault = match self {
            Self::Kill => Fault::Kill,
            Self::BlackHole => Fault::Stop,
            // The link itself, so that what is on its way and what is asked for next are slow alike.
            Self::Trickle => Fault::Rate {
                rate_bps: Some(16_000),
            },
            Self::Reset => Fault::Reset,
            Self::Unavailable => Fault::Status {
                status: 503,
                retry_after_s: None,
            },
        };
        let mut rule = FaultRule::everywhere(fault);
        if rule.fault.scope() != Scope::Link {
            rule.on.path_contains = Some(VIDEO.to_owned());
        }
        if self == Self::Reset {
            rule.on.after = Ratio::new(0.5).ok();
        }
        rule
    }
}

const fn protocol_name(protocol: HttpVersion) -> &'static str {
    match protocol {
        HttpVersion::H3 => "h3",
        HttpVersion::H2 => "h2",
        HttpVersion::Http1 => "http1",
    }
}
