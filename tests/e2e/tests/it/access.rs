//! The edges' own access logs, joined with what the player reports.

use std::path::Path;

use nearcast_protocol::report::{AttemptReport, FetchReport, SessionReport};
use serde::Deserialize;

use crate::program::whole_lines;

/// What a test needs of an edge's access-log line.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Entry {
    pub(crate) unix_ms: u64,
    pub(crate) appliance: String,
    pub(crate) protocol: String,
    pub(crate) path: String,
    pub(crate) first: Option<u64>,
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

/// Asserts that report and access logs tell the same story: every attempt that brought bytes has its line,
/// every line that gave bytes has its attempt, with edge, object, range, protocol and bytes, in one order.
///
/// The title lies under `title/` on the edges, its representations in folders of their names, its segments as
/// `00001.m4s` and so on.
pub(crate) fn assert_report_is_what_edges_logged(report: &SessionReport, entries: &[Entry]) {
    let mut left: Vec<&Entry> = entries.iter().collect();
    left.sort_by_key(|entry| entry.unix_ms);
    let mut attempts: Vec<(&FetchReport, &AttemptReport)> = report
        .fetches
        .iter()
        .filter(|fetch| fetch.kind != "play")
        .flat_map(|fetch| fetch.attempts.iter().map(move |attempt| (fetch, attempt)))
        .filter(|(_, attempt)| attempt.bytes > 0)
        .collect();
    attempts.sort_by(|a, b| a.1.start_s.total_cmp(&b.1.start_s));

    let joined: Vec<Joined<'_>> = attempts
        .into_iter()
        .map(|(fetch, attempt)| {
            let place = left.iter().position(|entry| is_same(fetch, attempt, entry));
            let place = place.unwrap_or_else(|| panic!("no edge logged {attempt:?} of {fetch:?}"));
            Joined {
                fetch,
                attempt,
                entry: left.remove(place),
            }
        })
        .collect();
    assert!(joined.len() > 5, "that is hardly a play: {}", joined.len());

    for Joined {
        fetch,
        attempt,
        entry,
    } in &joined
    {
        if attempt.result == "ok" {
            assert_eq!(attempt.bytes, entry.bytes, "{fetch:?} {entry:?}");
            assert_eq!(entry.end, "complete", "{fetch:?} {entry:?}");
        } else {
            assert!(
                attempt.bytes <= entry.bytes,
                "more came than was sent: {fetch:?} {entry:?}"
            );
        }
    }
    // An attempt that loses a race, or is stopped before its first byte came, reports none.
    let silent = |entry: &&Entry| {
        let unused = |fetch: &FetchReport, attempt: &AttemptReport| {
            attempt.bytes == 0 && attempt.result != "ok" && is_same(fetch, attempt, entry)
        };
        report
            .fetches
            .iter()
            .any(|fetch| fetch.attempts.iter().any(|attempt| unused(fetch, attempt)))
    };
    for entry in left.iter().filter(|entry| entry.bytes > 0) {
        assert!(silent(entry), "the report hides {entry:?}");
    }

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

/// Whether a line is of this attempt: the same edge, object, first byte and protocol.
fn is_same(fetch: &FetchReport, attempt: &AttemptReport, entry: &Entry) -> bool {
    let wanted = match (fetch.kind.as_str(), &fetch.representation, fetch.segment) {
        ("manifest", _, _) => String::from("/title/stream.mpd"),
        ("init", Some(name), _) => format!("/title/{name}/init.mp4"),
        ("media", Some(name), Some(index)) => format!("/title/{name}/{:05}.m4s", index + 1),
        // What is probed is not said, only that it is a piece of the title.
        ("probe", _, _) => String::from("/title/"),
        (kind, _, _) => panic!("what is {kind}? {fetch:?}"),
    };
    let path = if fetch.kind == "probe" {
        entry.path.starts_with(&wanted)
    } else {
        entry.path == wanted
    };
    // Whole objects are asked for without a range, probes and the first bytes of a race with one.
    let whole = attempt.offset == 0 && fetch.kind != "probe";
    let status = match entry.status {
        Some(200) => whole,
        Some(206) => !whole || attempt.hedge,
        _ => false,
    };
    path && entry.appliance == attempt.edge
        && entry.first == Some(attempt.offset)
        && Some(&entry.protocol) == attempt.protocol.as_ref()
        && status
}
