//! The edges' own access logs, joined with what the player reports.

use std::path::{Path, PathBuf};

use nearcast_protocol::report::{AttemptReport, FailoverReport, FetchReport, SessionReport};
use serde::Deserialize;

use crate::program::whole_lines;
use crate::title::title;

/// What a test needs of an edge's access-log line.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Entry {
    pub(crate) unix_ms: u64,
    pub(crate) appliance: String,
    pub(crate) protocol: String,
    pub(crate) path: String,
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) duration_ms: f64,
    pub(crate) end: String,
}

/// Reads one edge's log; an edge that was never asked may have none.
pub(crate) fn read_entries(path: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    whole_lines(&text)
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// An attempt of the report with what it was for, and its line in the log.
struct Joined<'a> {
    fetch: &'a FetchReport,
    attempt: &'a AttemptReport,
    entry: &'a Entry,
}

/// A probe is asked for this much.
const PROBE_BYTES: u64 = 80 << 10;
/// What may be on its way, or in buffers, when an edge is killed: lost, though the edge had sent it. Less than
/// this says nothing.
const ON_ITS_WAY: u64 = 256 << 10;

/// Asserts that report and access logs tell the same story: every attempt that brought bytes has a line of its
/// own, every line that gave bytes has its attempt, with edge, object, range, protocol and bytes, in one order.
///
/// The title lies under `title/` on the edges, its representations in folders of their names, its segments as
/// `00001.m4s` and so on.
pub(crate) fn assert_report_is_what_edges_logged(report: &SessionReport, entries: &[Entry]) {
    assert_joined(report, entries, None);
}

/// The same where the process of one edge was killed, which did not come to write its last lines.
pub(crate) fn assert_report_is_what_edges_logged_but(
    report: &SessionReport,
    entries: &[Entry],
    dead: &str,
) {
    assert_joined(report, entries, Some(dead));
}

fn assert_joined(report: &SessionReport, entries: &[Entry], dead: Option<&str>) {
    assert_in_order(report);
    let mut left: Vec<&Entry> = entries.iter().collect();
    left.sort_by_key(|entry| entry.unix_ms);

    let mut joined: Vec<Joined<'_>> = Vec::new();
    for (fetch, attempt) in attempts(report).filter(|(_, attempt)| attempt.bytes > 0) {
        let place = left
            .iter()
            .position(|entry| is_same(report, fetch, attempt, entry));
        if place.is_none() && dead == Some(&attempt.edge) {
            continue;
        }
        let place = place.unwrap_or_else(|| panic!("no edge logged {attempt:?} of {fetch:?}"));
        joined.push(Joined {
            fetch,
            attempt,
            entry: left.remove(place),
        });
    }
    assert!(joined.len() > 5, "that is hardly a play: {}", joined.len());
    for one in &joined {
        assert_bytes_agree(report, one);
    }

    // An attempt that loses a race, or is stopped before its first byte came, reports none; its edge may have
    // sent some all the same.
    for (fetch, attempt) in attempts(report).filter(|(_, attempt)| attempt.bytes == 0) {
        assert_ne!(attempt.result, "ok", "{attempt:?} of {fetch:?}");
        let place = left
            .iter()
            .position(|entry| is_same(report, fetch, attempt, entry));
        if let Some(place) = place {
            left.remove(place);
        }
    }
    left.retain(|entry| entry.bytes > 0);
    assert!(left.is_empty(), "the report hides {left:?}");

    // One clock on the edges, another in the report: what ended before another began did so on both.
    for earlier in &joined {
        for later in joined
            .iter()
            .filter(|later| later.attempt.start_s > earlier.attempt.end_s)
        {
            // Entries are stamped in whole milliseconds.
            assert!(
                earlier.entry.unix_ms <= later.entry.unix_ms + 1,
                "{:?} came after {:?}",
                earlier.entry,
                later.entry
            );
        }
    }
}

/// All attempts on edges, in the report's own order.
fn attempts(report: &SessionReport) -> impl Iterator<Item = (&FetchReport, &AttemptReport)> {
    report
        .fetches
        .iter()
        .filter(|fetch| fetch.kind != "play")
        .flat_map(|fetch| fetch.attempts.iter().map(move |attempt| (fetch, attempt)))
}

/// Asserts that the report tells its fetches as they began, and the attempts of each in an order that time allows.
fn assert_in_order(report: &SessionReport) {
    for (number, fetch) in (1..).zip(&report.fetches) {
        assert_eq!(fetch.id, number, "fetches are counted");
        for (index, earlier) in fetch.attempts.iter().enumerate() {
            for later in &fetch.attempts[index + 1..] {
                // Attempts that ran side by side stand in the order of their ends.
                assert!(later.end_s >= earlier.start_s, "{fetch:?}");
            }
        }
    }
    let began = report.fetches.iter().filter_map(|fetch| {
        let starts = fetch.attempts.iter().map(|attempt| attempt.start_s);
        starts.min_by(f64::total_cmp)
    });
    let began: Vec<f64> = began.collect();
    assert!(began.is_sorted(), "{began:?}");
}

/// Asserts that a line tells of as many bytes as the attempt does.
fn assert_bytes_agree(report: &SessionReport, joined: &Joined<'_>) {
    let Joined {
        fetch,
        attempt,
        entry,
    } = joined;
    let asked = entry.last.unwrap() - entry.first.unwrap() + 1;
    assert!(
        attempt.bytes <= entry.bytes && entry.bytes <= asked,
        "more came than was sent, or was sent than was asked for: {fetch:?} {entry:?}"
    );
    let first_byte_s = attempt.first_byte_s.unwrap();
    assert!(
        (attempt.start_s..=attempt.end_s).contains(&first_byte_s),
        "{attempt:?}"
    );
    if attempt.result == "ok" {
        assert_eq!(attempt.bytes, entry.bytes, "{fetch:?} {entry:?}");
        assert_eq!(attempt.bytes, asked, "{fetch:?} {entry:?}");
        assert_eq!(entry.end, "complete", "{fetch:?} {entry:?}");
    }
    if entry.end != "killed" {
        return;
    }
    // The edge died while it sent this, and what it had sent is what had come, but for the last piece of it.
    assert_ne!(attempt.result, "ok", "{attempt:?} {entry:?}");
    assert!(
        attempt.bytes + ON_ITS_WAY >= entry.bytes,
        "much was sent and lost: {attempt:?} {entry:?}"
    );
    let given_up = matches!(attempt.code.as_deref(), Some("edge_silent" | "edge_slow"));
    if attempt.hedge || fetch.kind != "media" || !(attempt.result == "failed" || given_up) {
        return;
    }
    let failover = report.failovers.iter().find(|failover| {
        failover.from == attempt.edge
            && failover.track == fetch.track
            && (attempt.start_s..=attempt.end_s).contains(&failover.at_s)
    });
    let failover = failover.unwrap_or_else(|| panic!("nobody took over from {attempt:?}"));
    assert_eq!(
        failover.offset,
        attempt.offset + attempt.bytes,
        "{failover:?} {attempt:?}"
    );
}

/// Whether a line is of this attempt: the same edge, object, range and protocol.
fn is_same(
    report: &SessionReport,
    fetch: &FetchReport,
    attempt: &AttemptReport,
    entry: &Entry,
) -> bool {
    if entry.path != path(report, fetch) || entry.appliance != attempt.edge {
        return false;
    }
    let Some(size) = size(&entry.path) else {
        return false;
    };
    // Of two requests for the same, the one that was reset is not the one that came to its end.
    if attempt.result == "ok" && entry.end == "reset" {
        return false;
    }
    // What an edge says in place of the object is no byte of it.
    if entry.status.is_some_and(|status| status >= 400) {
        return attempt.bytes == 0 && matches!(&*attempt.result, "failed" | "cancelled");
    }
    // Whole objects and what is left of them are asked for to the end, probes not.
    let (status, end) = match entry.status {
        Some(206) if fetch.kind == "probe" => (206, PROBE_BYTES.min(size)),
        _ if attempt.offset == 0 && fetch.kind != "probe" => (200, size),
        _ => (206, size),
    };
    entry.status == Some(status)
        && (entry.first, entry.last) == (Some(attempt.offset), Some(end - 1))
        && match &attempt.protocol {
            Some(protocol) => *protocol == entry.protocol,
            // It was not needed any more before it was known how the edge was reached.
            None => attempt.bytes == 0,
        }
}

/// Returns the path on an edge of what an attempt was to bring.
fn path(report: &SessionReport, fetch: &FetchReport) -> String {
    let folder = fetch.representation.as_deref().map(folder);
    match (fetch.kind.as_str(), folder, fetch.segment) {
        ("manifest", _, _) => format!("/title/{}", manifest(report)),
        ("index" | "playlist", Some(folder), _) => format!("/title/{folder}/media.m3u8"),
        ("init", Some(folder), _) => format!("/title/{folder}/init.mp4"),
        // A probe asks for what the player has already.
        ("media" | "probe", Some(folder), Some(index)) => {
            format!("/title/{folder}/{:05}.m4s", index + 1)
        }
        ("subtitle", Some(folder), Some(0)) => format!("/title/{folder}/all.vtt"),
        (kind, _, _) => panic!("what is {kind}? {fetch:?}"),
    }
}

/// Returns the name of the manifest that was played: of a backend's title it is the MPD.
fn manifest(report: &SessionReport) -> &str {
    let source = report.content.source.as_str();
    source.strip_prefix("title/").unwrap_or("stream.mpd")
}

/// Returns a representation's folder: HLS calls sound and subtitles by their groups, of which the first language
/// is played.
fn folder(representation: &str) -> &str {
    match representation {
        "audio" => "audio_en",
        "subs" => "subs_en",
        other => other,
    }
}

/// Returns how long a file of the title is.
fn size(path: &str) -> Option<u64> {
    let file: PathBuf = title().join(path.strip_prefix("/title/")?);
    Some(std::fs::metadata(file).ok()?.len())
}

/// Six segments from one edge, and what it logged.
fn story() -> (SessionReport, Vec<Entry>) {
    let mut report = SessionReport::default();
    let mut entries = Vec::new();
    for (index, start_s) in (0_u32..6).zip([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]) {
        let path = format!("/title/v1/{:05}.m4s", index + 1);
        let bytes = size(&path).unwrap();
        let attempt = AttemptReport {
            edge: "a".to_owned(),
            protocol: Some("h3".to_owned()),
            bytes,
            start_s,
            first_byte_s: Some(start_s),
            end_s: start_s + 0.5,
            result: "ok".to_owned(),
            ..AttemptReport::default()
        };
        report.fetches.push(FetchReport {
            id: u64::from(index) + 1,
            kind: "media".to_owned(),
            track: Some("video".to_owned()),
            representation: Some("v1".to_owned()),
            segment: Some(index.into()),
            attempts: vec![attempt],
        });
        entries.push(Entry {
            unix_ms: u64::from(index) * 1000,
            appliance: "a".to_owned(),
            protocol: "h3".to_owned(),
            path,
            first: Some(0),
            last: Some(bytes - 1),
            status: Some(200),
            bytes,
            duration_ms: 500.0,
            end: "complete".to_owned(),
        });
    }
    (report, entries)
}

#[test]
fn one_story_told_twice_is_good() {
    let (mut report, mut entries) = story();
    assert_report_is_what_edges_logged(&report, &entries);
    // The last one dies on the way, and says where.
    let attempt = &mut report.fetches[5].attempts[0];
    attempt.result = "failed".to_owned();
    attempt.bytes = 50_000;
    entries[5].end = "killed".to_owned();
    entries[5].bytes = 60_000;
    report.failovers.push(FailoverReport {
        at_s: 5.2,
        track: Some("video".to_owned()),
        from: "a".to_owned(),
        offset: 50_000,
        ..FailoverReport::default()
    });
    assert_report_is_what_edges_logged(&report, &entries);
}

#[test]
#[should_panic(expected = "nobody took over")]
fn a_death_that_nobody_took_over_from_is_noticed() {
    let (mut report, mut entries) = story();
    let attempt = &mut report.fetches[5].attempts[0];
    attempt.result = "failed".to_owned();
    attempt.bytes = 50_000;
    entries[5].end = "killed".to_owned();
    assert_report_is_what_edges_logged(&report, &entries);
}

#[test]
#[should_panic(expected = "the report hides")]
fn an_attempt_that_brought_nothing_explains_one_line_only() {
    let (mut report, mut entries) = story();
    let mut lost = report.fetches[0].attempts[0].clone();
    lost.bytes = 0;
    lost.result = "cancelled".to_owned();
    report.fetches[0].attempts.push(lost);
    let again = entries[0].clone();
    entries.push(again.clone());
    assert_report_is_what_edges_logged(&report, &entries);
    entries.push(again);
    assert_report_is_what_edges_logged(&report, &entries);
}

/// A request that was refused, as the edge logged it; in the report an attempt with this result.
fn refused(result: &str) -> (SessionReport, Vec<Entry>) {
    let (mut report, mut entries) = story();
    let mut refused = report.fetches[0].attempts[0].clone();
    refused.bytes = 0;
    refused.result = result.to_owned();
    report.fetches[0].attempts.push(refused);
    entries.push(Entry {
        first: None,
        last: None,
        status: Some(503),
        bytes: 128,
        ..entries[0].clone()
    });
    (report, entries)
}

#[test]
fn a_refusal_is_no_byte_of_the_object() {
    for result in ["failed", "cancelled"] {
        let (report, entries) = refused(result);
        assert_report_is_what_edges_logged(&report, &entries);
    }
}

#[test]
#[should_panic(expected = "the report hides")]
fn a_refusal_explains_one_attempt_only() {
    let (report, mut entries) = refused("failed");
    entries.push(entries.last().unwrap().clone());
    assert_report_is_what_edges_logged(&report, &entries);
}

#[test]
#[should_panic(expected = "no edge logged")]
fn a_line_of_another_range_is_not_taken() {
    let (report, mut entries) = story();
    entries[3].last = Some(9);
    assert_report_is_what_edges_logged(&report, &entries);
}

#[test]
#[should_panic(expected = "came after")]
fn another_order_is_noticed() {
    let (report, mut entries) = story();
    entries[3].unix_ms = 9_000;
    assert_report_is_what_edges_logged(&report, &entries);
}
