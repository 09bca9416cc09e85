//! How long it takes until another edge brings what a fault kept back.

use nearcast_appliance::ObjectName;
use nearcast_appliance::fault::ObjectKind;
use nearcast_protocol::report::{AttemptReport, FetchReport, SessionReport};

use super::figure::{NEVER_S, Session};
use crate::result::Receipt;

/// For each request that a fault hit: how long until bytes of that object come again.
pub(super) fn handovers(session: &Session<'_>) -> Vec<f64> {
    let of_player = session.receipts.iter().filter(|receipt| {
        let whose = receipt.player.as_deref();
        whose.is_none_or(|player| player == session.player)
    });
    // A report counts from the play intent.
    let shifted = of_player.map(|receipt| Receipt {
        at_s: receipt.at_s - session.begins_s,
        ..receipt.clone()
    });
    let handovers = shifted.flat_map(|receipt| {
        let hit = hit(session.report, &receipt).into_iter();
        let again = hit.filter(|(_, attempt)| !is_given_up(attempt));
        let again = again.map(|(fetch, attempt)| {
            let from_s = begins_to_matter(&receipt, attempt);
            comes_again(session.report, fetch, attempt, from_s)
        });
        again.collect::<Vec<_>>()
    });
    handovers.collect()
}

/// Returns the requests that a fault hit: the one with its path, or where it has none, all media under way at its edge.
fn hit<'a>(
    report: &'a SessionReport,
    receipt: &Receipt,
) -> Vec<(&'a FetchReport, &'a AttemptReport)> {
    let at_edge = |fetch: &'a FetchReport| {
        let attempts = fetch.attempts.iter();
        let attempts = attempts.filter(|one| one.edge == receipt.edge);
        attempts.map(move |one| (fetch, one))
    };
    let Some(path) = receipt.path.as_deref() else {
        let media = report.fetches.iter().filter(|fetch| fetch.kind == "media");
        let under_way = media.flat_map(at_edge).filter(|(_, one)| {
            // What had left the edge before arrives all the same.
            let unhurt = one.result == "ok" && one.end_s <= receipt.at_s + UNDER_WAY_S;
            one.start_s <= receipt.at_s && one.end_s >= receipt.at_s && !unhurt
        });
        return under_way.collect();
    };
    let name = ObjectName::of_path(path);
    let of_object = report.fetches.iter().filter(|fetch| is_of(fetch, &name));
    let during = of_object.flat_map(at_edge).filter(|(_, one)| {
        one.start_s <= receipt.at_s + SLACK_S && one.end_s >= receipt.at_s - SLACK_S
    });
    let last = during.max_by(|(_, a), (_, b)| a.start_s.total_cmp(&b.start_s));
    last.into_iter().collect()
}

/// What was given up for another reason waits for nothing.
fn is_given_up(attempt: &AttemptReport) -> bool {
    let code = attempt.code.as_deref().unwrap_or_default();
    attempt.result == "cancelled" && NOT_NEEDED.contains(&code)
}

/// What an edge had sent before it failed arrives within this.
const UNDER_WAY_S: f64 = 0.5;
/// A server's clock and a player's are the same, but what one notes the other hears of a little later.
const SLACK_S: f64 = 1.0;
const NOT_NEEDED: [&str; 6] = [
    "lost_race",
    "abandoned",
    "lower_rung",
    "superseded",
    "network_changed",
    "stopped",
];

/// Wrong bytes are noticed when all of them are there (or cannot be decoded); all else when it happens.
fn begins_to_matter(receipt: &Receipt, attempt: &AttemptReport) -> f64 {
    match receipt.fault.as_str() {
        "corrupt" | "zeros" | "bad_text" | "portal" | "longer" | "stale_manifest" => {
            attempt.end_s.max(receipt.at_s)
        }
        // The edge's clock may be a little behind the player's: what has ended was hit before.
        _ => receipt.at_s.max(attempt.start_s).min(attempt.end_s),
    }
}

/// Whether a fetch is of an object, at whatever rung.
fn is_of(fetch: &FetchReport, name: &ObjectName<'_>) -> bool {
    let kinds: &[&str] = match name.kind {
        ObjectKind::Manifest => &["manifest"],
        ObjectKind::Index => &["index", "playlist"],
        ObjectKind::Init => &["init"],
        ObjectKind::Media => &["media"],
        ObjectKind::Subtitle => &["subtitle", "media"],
        ObjectKind::Key => &["key"],
        ObjectKind::Probe
        | ObjectKind::Play
        | ObjectKind::Refresh
        | ObjectKind::Steering
        | ObjectKind::Event => &[],
    };
    let track = name.track.map(|track| match track {
        nearcast_protocol::manifest::TrackKind::Video => "video",
        nearcast_protocol::manifest::TrackKind::Audio => "audio",
        nearcast_protocol::manifest::TrackKind::Text => "text",
    });
    kinds.contains(&fetch.kind.as_str())
        && fetch.track.as_deref() == track
        && fetch.segment == name.segment.map(u64::from)
}

fn comes_again(
    report: &SessionReport,
    fetch: &FetchReport,
    hit: &AttemptReport,
    from_s: f64,
) -> f64 {
    let same = |one: &&FetchReport| {
        one.kind == fetch.kind && one.track == fetch.track && one.segment == fetch.segment
    };
    let attempts = report
        .fetches
        .iter()
        .filter(same)
        .flat_map(|one| &one.attempts);
    let others = attempts.filter(|one| !std::ptr::eq(*one, hit) && one.end_s >= from_s);
    let firsts = others
        .filter_map(|one| one.first_byte_s)
        .map(|first_s| (first_s - from_s).max(0.0));
    let itself = (hit.result == "ok").then_some((hit.end_s - from_s).max(0.0));
    firsts.chain(itself).fold(NEVER_S, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handovers_of(failed: AttemptReport, other: AttemptReport, at_s: f64) -> Vec<f64> {
        let attempts = vec![failed, other];
        let report = SessionReport {
            fetches: vec![FetchReport {
                kind: "manifest".to_owned(),
                attempts,
                ..FetchReport::default()
            }],
            ..SessionReport::default()
        };
        let receipt = Receipt {
            id: None,
            fault: "reset".to_owned(),
            edge: "near".to_owned(),
            at_s,
            player: None,
            path: Some("demo/stream.mpd".to_owned()),
            offset: Some(0),
        };
        handovers(&Session {
            player: "player",
            begins_s: 0.0,
            report: &report,
            receipts: &[receipt],
            load_ratio: &[],
        })
    }

    #[test]
    fn a_handover_lasts_until_somebody_brings_it() {
        let attempt = |edge: &str, start_s, end_s, first_byte_s, result: &str| AttemptReport {
            edge: edge.to_owned(),
            start_s,
            end_s,
            first_byte_s,
            result: result.to_owned(),
            ..AttemptReport::default()
        };
        let failed = |end_s| attempt("near", 1.0, end_s, None, "failed");
        let other = attempt("far", 1.0, 3.0, Some(2.5), "ok");
        assert_eq!(handovers_of(failed(2.0), other.clone(), 2.0), [0.5]);
        assert_eq!(
            handovers_of(failed(2.75), other.clone(), 2.75),
            [0.0],
            "is coming"
        );
        // The edge's clock is behind the player's.
        let soon = attempt("far", 1.0, 2.25, Some(2.25), "ok");
        assert_eq!(handovers_of(failed(2.0), soon, 2.5), [0.25]);
        let nobody = attempt("far", 1.0, 3.0, None, "failed");
        assert_eq!(handovers_of(failed(2.0), nobody, 2.0), [NEVER_S]);
    }
}
