//! What a session's report says about edges.

use std::collections::BTreeMap;

use nearcast_protocol::report::{AttemptReport, FetchReport, SessionReport};
use serde::Serialize;

/// A video segment and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) segment: u64,
    /// The edge that brought most of what was used.
    pub(crate) edge: String,
    pub(crate) bitrate_bps: u64,
    pub(crate) done_s: f64,
}

/// What races, probes and help cost.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Extra {
    pub(crate) bytes: u64,
    /// All that came in the session.
    pub(crate) of: u64,
}

/// Design §6: what may be spent whatever comes, and the share on top.
const ALLOWANCE: u64 = 256 << 10;
const PER_CENT: u64 = 3;

impl Extra {
    pub(crate) fn of(report: &SessionReport) -> Self {
        let bytes = &report.bytes;
        let beside = |one: &&AttemptReport| {
            let code = one.code.as_deref();
            // All of it was wrong: that is a failure's price and not that of help.
            let wrong = one.result == "ok" && one.wasted_bytes == one.bytes;
            // It had taken over by then, and was given up for something else.
            let over = matches!(code, Some("lower_rung" | "superseded"));
            (one.hedge && !wrong && !over) || matches!(code, Some("lost_race" | "not_needed"))
        };
        let attempts = report.fetches.iter().flat_map(|fetch| &fetch.attempts);
        let spent: u64 = attempts.filter(beside).map(|one| one.wasted_bytes).sum();
        Self {
            bytes: spent + bytes.probe,
            of: bytes.media + bytes.manifest + bytes.wasted + bytes.probe,
        }
    }

    /// Whether it is more than a session may spend.
    pub(crate) const fn is_over(self) -> bool {
        self.bytes > ALLOWANCE + self.of * PER_CENT / 100
    }
}

/// Returns all video segments in order, each once.
pub(crate) fn served(report: &SessionReport) -> Vec<Served> {
    let mut from: BTreeMap<u64, &FetchReport> = BTreeMap::new();
    for fetch in &report.fetches {
        if let Some(segment) = fetch.segment
            && is_video(fetch)
            && fetch.attempts.iter().any(|one| one.result == "ok")
        {
            from.insert(segment, fetch);
        }
    }
    let bitrate = |segment: u64| {
        let mut segments = report.segments.iter().rev();
        segments.find(|one| one.track == "video" && one.index == segment)
    };
    from.into_iter()
        .filter_map(|(segment, fetch)| {
            let done = bitrate(segment)?;
            Some(Served {
                segment,
                edge: most_from(fetch)?,
                bitrate_bps: done.bitrate_bps,
                done_s: done.done_s,
            })
        })
        .collect()
}

pub(crate) fn is_video(fetch: &FetchReport) -> bool {
    fetch.kind == "media" && fetch.track.as_deref() == Some("video")
}

fn most_from(fetch: &FetchReport) -> Option<String> {
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    for attempt in &fetch.attempts {
        *bytes.entry(&attempt.edge).or_default() += attempt.bytes - attempt.wasted_bytes;
    }
    let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes)?;
    Some(most.0.to_owned())
}

/// Returns what was in the buffer at a time: the shorter of picture and sound.
pub(crate) fn buffered_s(report: &SessionReport, at_s: f64) -> f64 {
    let before = report.buffer.iter().rev().find(|(at, ..)| *at <= at_s);
    before.map_or(0.0, |(at, video, audio)| {
        video.min(*audio) - (at_s - at).max(0.0)
    })
}

/// Returns how often playback stood still within so long after a time.
pub(crate) fn stalls(report: &SessionReport, after_s: f64, within_s: f64) -> usize {
    let span = after_s..after_s + within_s;
    let stalls = report.stalls.iter();
    stalls.filter(|one| span.contains(&one.at_s)).count()
}

/// Counts how often an edge was left and come back to; leaving `failing` for one used before is not coming back but looking for shelter.
pub(crate) fn flaps(served: &[Served], failing: Option<&str>) -> usize {
    let mut used: Vec<&str> = served.iter().map(|one| one.edge.as_str()).collect();
    used.dedup();
    let changes = (1..used.len()).filter(|n| Some(used[n - 1]) != failing);
    changes.filter(|n| used[..*n].contains(&used[*n])).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flap_is_coming_back_and_not_being_driven_back() {
        let flaps = |used: &str, failing: Option<&str>| {
            let served = used.chars().map(|edge| Served {
                segment: 0,
                edge: edge.to_string(),
                bitrate_bps: 0,
                done_s: 0.0,
            });
            flaps(&served.collect::<Vec<_>>(), failing)
        };
        assert_eq!(flaps("aabbc", Some("a")), 0);
        assert_eq!(
            flaps("abab", Some("a")),
            1,
            "b is what is left when a fails again"
        );
        assert_eq!(flaps("abab", None), 2);
        assert_eq!(
            flaps("abcba", Some("a")),
            2,
            "however many were used in between"
        );
    }
}
