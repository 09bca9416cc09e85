//! What playing costs: `nearcast play --headless` in a process of its own over HTTP/2 with TLS, against one `curl`
//! process that fetches the same URLs and ranges from the same edge.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nearcast_edge_server::AccessEntry;
use nearcast_player::SessionReport;
use nearcast_title::Title;
use serde::Serialize;

use crate::measured::{self, Usage};
use crate::reports::Reports;
use crate::system::{EdgePlan, System, manifest_path};
use crate::table::{Table, number, verdict};

#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    played_s: f64,
    /// Media time of the video segments that were fetched.
    fetched_s: f64,
    requests: usize,
    bytes: u64,
    /// The median of several runs, by processor time; what else is said of playing is of this run.
    play: Usage,
    play_runs: Vec<Usage>,
    /// The same of curl, which fetched what that run had fetched.
    curl: Usage,
    curl_runs: Vec<Usage>,
    /// `nearcast --version`: the program and its libraries, before it does anything.
    idle: Usage,
    /// Processor seconds per minute played.
    play_cpu_s_per_min: f64,
    curl_cpu_s_per_min: f64,
    cpu_ratio: f64,
    cpu_difference_s_per_min: f64,
    rss_ratio: f64,
    /// The most encoded media that was held or on its way at any time, computed from the report.
    buffers_bytes_max: u64,
    /// Peak memory that the bare program does not need.
    rss_of_playing_bytes: u64,
    /// Peak memory by the player's own account.
    reported_rss_bytes: Option<u64>,
    stalls: u64,
    busy: bool,
    cpu_holds: bool,
    memory_holds: bool,
}

/// Fast enough that the top rung is played, slow enough that bodies come in pieces, as over a real access line.
const EDGE: EdgePlan = EdgePlan {
    id: "a",
    rate_kbps: 25_000,
    delay_ms: 5,
    position_deg: (0.0, 0.0),
};
/// Design §6.
const CPU_ALLOWANCE_S_PER_MIN: f64 = 0.15;
const MEMORY_MAX_BYTES: u64 = 32 << 20;

pub(crate) async fn measure(
    title: &Title,
    nearcast: &Path,
    media: Duration,
    runs: usize,
    reports: &Reports,
) -> Result<Cost> {
    ensure!(
        nearcast.is_file(),
        "{} is missing: build it first (`make build`), or give --nearcast",
        nearcast.display()
    );
    let system = System::open(title, &[EDGE]).await?;
    let folder = tempfile::tempdir()?;
    let base_urls = system.base_urls();
    let base = base_urls.first().context("no edge")?;

    let (idle, _) = measured::run(nearcast, vec!["--version".into()], folder.path()).await?;
    let report_file = folder.path().join("report.json");
    let arguments: Vec<OsString> = vec![
        "play".into(),
        manifest_path(title).into(),
        "--edge".into(),
        base.into(),
        "--ca".into(),
        system.ca_file().into(),
        "--http".into(),
        "h2".into(),
        "--headless".into(),
        "--duration".into(),
        format!("{}s", media.as_secs_f64()).into(),
        "--report".into(),
        report_file.clone().into(),
    ];
    let mut plays = Vec::new();
    for run in 0..runs {
        let seen = access_log(&system)?.len();
        let (usage, _) = measured::run(nearcast, arguments.clone(), folder.path()).await?;
        let report: SessionReport = serde_json::from_slice(&std::fs::read(&report_file)?)?;
        reports.keep(&format!("cost-{run}"), &report)?;
        plays.push((usage, report, requests(&system, seen)?));
    }
    let play_runs = plays.iter().map(|(usage, _, _)| *usage).collect();
    let (play, report, requests) = take_median(plays, |(usage, _, _)| *usage)?;

    let list = folder.path().join("requests");
    std::fs::write(&list, curl_list(base, &system.ca_file(), &requests)?)?;
    let mut curl_runs = Vec::new();
    for _ in 0..runs {
        let arguments = vec![
            "--silent".into(),
            "--show-error".into(),
            "--config".into(),
            list.clone().into(),
        ];
        let (usage, printed) = measured::run(Path::new("curl"), arguments, folder.path()).await?;
        check_curl(&printed, &requests)?;
        curl_runs.push(usage);
    }
    system.shutdown().await;
    let curl = take_median(curl_runs.clone(), |usage| *usage)?;

    let minutes = report.played_s / 60.0;
    ensure!(minutes > 0.0, "nothing was played: {:?}", report.error);
    let video = report
        .segments
        .iter()
        .filter(|segment| segment.track == "video");
    let cpu_difference_s_per_min = (play.cpu_s() - curl.cpu_s()) / minutes;
    let buffers_bytes_max = buffers_bytes_max(&report);
    let rss_of_playing_bytes = play.peak_rss_bytes.saturating_sub(idle.peak_rss_bytes);
    Ok(Cost {
        played_s: report.played_s,
        fetched_s: video.map(|segment| segment.duration_s).sum(),
        requests: requests.len(),
        bytes: requests.iter().map(Request::length).sum(),
        play_cpu_s_per_min: play.cpu_s() / minutes,
        curl_cpu_s_per_min: curl.cpu_s() / minutes,
        cpu_ratio: play.cpu_s() / curl.cpu_s(),
        cpu_difference_s_per_min,
        rss_ratio: play.peak_rss_bytes as f64 / curl.peak_rss_bytes as f64,
        rss_of_playing_bytes,
        reported_rss_bytes: report.peak_rss_bytes,
        stalls: report.stall_count,
        busy: report.busy,
        cpu_holds: cpu_difference_s_per_min <= CPU_ALLOWANCE_S_PER_MIN,
        buffers_bytes_max,
        memory_holds: buffers_bytes_max <= MEMORY_MAX_BYTES,
        play,
        play_runs,
        curl,
        curl_runs,
        idle,
    })
}

/// Returns the middle one of several runs, by processor time.
fn take_median<T>(mut runs: Vec<T>, usage: impl Fn(&T) -> Usage) -> Result<T> {
    runs.sort_by(|a, b| usage(a).cpu_s().total_cmp(&usage(b).cpu_s()));
    ensure!(!runs.is_empty(), "nothing was run");
    Ok(runs.swap_remove(runs.len() / 2))
}

/// Returns the most encoded media that was needed still or on its way, at the moments the report tells of. A
/// segment counts in full from its request until the playhead has left it.
fn buffers_bytes_max(report: &SessionReport) -> u64 {
    let mut ends = BTreeMap::<&str, f64>::new();
    let mut segments = Vec::new();
    for segment in &report.segments {
        let end_s = ends.entry(&segment.track).or_default();
        *end_s += segment.duration_s;
        segments.push((segment.requested_s, *end_s, segment.bytes));
    }
    let startup_s = report.startup_s.unwrap_or_default();
    let held_at = |at_s: f64| {
        let stalls = report.stalls.iter().filter(|stall| stall.at_s < at_s);
        let stood_s: f64 = stalls
            .map(|stall| stall.duration_s.min(at_s - stall.at_s))
            .sum();
        let playhead_s = (at_s - startup_s - stood_s).max(0.0);
        let held = segments
            .iter()
            .filter(|(requested_s, end_s, _)| *requested_s <= at_s && *end_s > playhead_s);
        held.map(|(_, _, bytes)| bytes).sum()
    };
    report
        .segments
        .iter()
        .map(|segment| held_at(segment.done_s))
        .max()
        .unwrap_or(0)
}

/// A file, or a part of one, that the player was sent.
#[derive(Debug)]
struct Request {
    path: String,
    first: u64,
    last: u64,
    partial: bool,
}

impl Request {
    const fn length(&self) -> u64 {
        self.last - self.first + 1
    }
}

fn access_log(system: &System) -> Result<Vec<AccessEntry>> {
    Ok(system.edges.first().context("no edge")?.access_log())
}

/// Reads off the access log what the player fetched, in the order of the requests; the first `seen` lines are of
/// earlier ones. What was cut off short at the end counts with the bytes that were sent.
fn requests(system: &System, seen: usize) -> Result<Vec<Request>> {
    let mut log = access_log(system)?.split_off(seen);
    log.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    ensure!(
        log.iter().all(|entry| entry.protocol == "h2"),
        "the player used another protocol than HTTP/2"
    );
    let request = |entry: AccessEntry| {
        let (first, last) = entry.first.zip(entry.last)?;
        let sent_to = first + entry.bytes.checked_sub(1)?;
        let partial = entry.status == Some(206) || sent_to < last;
        Some(Request {
            path: entry.path,
            first,
            last: sent_to,
            partial,
        })
    };
    let requests: Vec<Request> = log.into_iter().filter_map(request).collect();
    ensure!(!requests.is_empty(), "the player fetched nothing");
    Ok(requests)
}

/// Writes curl's list: one request after the other over one connection.
fn curl_list(base: &str, ca: &Path, requests: &[Request]) -> Result<String> {
    let base = base.trim_end_matches('/');
    let mut list = String::new();
    for (index, request) in requests.iter().enumerate() {
        if index > 0 {
            writeln!(list, "next")?;
        }
        writeln!(
            list,
            "url = \"{base}/{}\"",
            request.path.trim_start_matches('/')
        )?;
        writeln!(list, "cacert = \"{}\"\nhttp2\nfail", ca.display())?;
        writeln!(list, "output = \"/dev/null\"")?;
        writeln!(
            list,
            "write-out = \"%{{http_version}} %{{num_connects}} %{{size_download}}\\n\""
        )?;
        if request.partial {
            writeln!(list, "range = \"{}-{}\"", request.first, request.last)?;
        }
    }
    Ok(list)
}

/// Makes sure that curl did the same: the same bytes, over one connection of HTTP/2.
fn check_curl(printed: &str, requests: &[Request]) -> Result<()> {
    let mut connections = 0;
    let mut lines = printed.lines();
    for request in requests {
        let line = lines.next().context("curl made fewer requests")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[version, connected, size] = words.as_slice() else {
            anyhow::bail!("curl said `{line}`");
        };
        ensure!(version == "2", "curl used HTTP/{version}");
        ensure!(
            size.parse() == Ok(request.length()),
            "curl got {size} bytes of {} instead of {}",
            request.path,
            request.length()
        );
        connections += connected.parse::<u32>()?;
    }
    ensure!(connections == 1, "curl made {connections} connections");
    Ok(())
}

impl Cost {
    pub(crate) fn table(&self) -> Table {
        let title = format!(
            "Cost: nearcast play --headless for {:.0} s of media against one curl, HTTP/2 with TLS",
            self.played_s
        );
        let mut table = Table::new(
            title,
            &[
                "",
                "user",
                "system",
                "CPU s per media minute",
                "peak memory",
            ],
        );
        let minutes = self.played_s / 60.0;
        let mut row = |name: &str, usage: Usage| {
            table.row([
                name.to_owned(),
                number(Some(usage.user_s), 2, " s"),
                number(Some(usage.system_s), 2, " s"),
                number(Some(usage.cpu_s() / minutes), 3, ""),
                mebibytes(usage.peak_rss_bytes),
            ]);
        };
        row("nearcast play", self.play);
        row("curl, same URLs", self.curl);
        row("nearcast --version", self.idle);
        table.remark(format!(
            "ratio {:.2} in CPU, {:.2} in memory; {} requests, {:.1} MB, {:.0} s of media fetched for {:.0} s played",
            self.cpu_ratio,
            self.rss_ratio,
            self.requests,
            self.bytes as f64 / 1e6,
            self.fetched_s,
            self.played_s
        ));
        table.remark(format!(
            "bar: CPU at most curl's + 0.15 s per media minute: {:+.3} s: {}",
            self.cpu_difference_s_per_min,
            verdict(self.cpu_holds)
        ));
        table.remark(format!(
            "bar: buffers within 32 MiB: encoded media held, from the report, {}: {}; all memory beyond the bare program {}",
            mebibytes(self.buffers_bytes_max),
            verdict(self.memory_holds),
            mebibytes(self.rss_of_playing_bytes)
        ));
        for (name, runs) in [("nearcast", &self.play_runs), ("curl", &self.curl_runs)] {
            let runs: Vec<String> = runs
                .iter()
                .map(|run| format!("{:.2} + {:.2}", run.user_s, run.system_s))
                .collect();
            table.remark(format!(
                "{name}'s runs, user + system: {} s; the middle one counts",
                runs.join(", ")
            ));
        }
        if self.stalls > 0 || self.busy {
            table.remark(format!(
                "{} stalls; the session says busy: {}",
                self.stalls, self.busy
            ));
        }
        table
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1_u32 << 20))
}
