//! What a play came to, in a few lines for people, and the report as a file.

use std::path::Path;

use nearcast_player::SessionReport;

use super::output::Output;
use super::{Failure, counted, json, print};

/// Prints start-up, stalls, edges and failovers.
pub(crate) fn print_summary(report: &SessionReport) {
    for line in lines(report) {
        print(line);
    }
}

fn lines(report: &SessionReport) -> Vec<String> {
    // Of what was never shown there is nothing to count.
    let mut lines = match report.startup_s {
        Some(startup_s) => played(report, startup_s),
        None => vec!["never started".to_owned()],
    };
    let mut used: Vec<_> = report.edges.iter().filter(|edge| edge.bytes > 0).collect();
    used.sort_by_key(|edge| std::cmp::Reverse(edge.bytes));
    for edge in used {
        let rate = edge
            .throughput_bps
            .map_or_else(String::new, |bps| format!(", {:.1} Mbit/s", mega(bps)));
        let ttfb = edge
            .ttfb_ms
            .p50
            .map_or_else(String::new, |ms| format!(", first byte after {ms:.0} ms"));
        lines.push(format!(
            "  {}: {:.1} MB{rate}{ttfb}, {}",
            edge.id,
            mega(edge.bytes),
            counted(
                usize::try_from(edge.failures).unwrap_or(usize::MAX),
                "failure"
            )
        ));
    }
    for failover in report.failovers.iter().take(10) {
        let track = failover.track.as_deref().unwrap_or("manifest");
        let first = failover.first_byte_s.map_or_else(
            || "no byte yet".to_owned(),
            |s| format!("first byte after {s:.2} s"),
        );
        lines.push(format!(
            "  at {:.1} s {track} went from {} to {} at byte {} ({}; noticed after {:.2} s, {first}, {} bytes twice)",
            failover.at_s, failover.from, failover.to, failover.offset, failover.reason, failover.detected_s, failover.wasted_bytes,
        ));
    }
    lines
}

/// Says how it was to watch.
fn played(report: &SessionReport, startup_s: f64) -> Vec<String> {
    let stalls = match report.stall_count {
        0 => "no stall".to_owned(),
        1 => format!("1 stall of {:.1} s", report.stalled_s),
        many => format!("{many} stalls, {:.1} s in all", report.stalled_s),
    };
    // "switch" is the only one here that takes more than an s.
    let switches = match report.switches {
        1 => "1 rung switch".to_owned(),
        many => format!("{many} rung switches"),
    };
    let failovers = counted(report.failovers.len(), "failover");
    vec![
        format!(
            "played {:.1} s, started after {startup_s:.2} s, mean {:.2} Mbit/s",
            report.played_s,
            report.mean_bitrate_bps / 1e6
        ),
        format!("{stalls}, {switches}, {failovers}"),
    ]
}

fn mega(number: u64) -> f64 {
    let thousands = u32::try_from(number / 1000).unwrap_or(u32::MAX);
    f64::from(thousands) / 1000.0
}

/// Writes the report to where it was to go.
pub(crate) fn write_report(report: &SessionReport, to: Output, path: &Path) -> Result<(), Failure> {
    let text = json(report)? + "\n";
    to.write(text.as_bytes()).map_err(cannot_write(path))
}

/// Says that a report cannot be written.
pub(crate) fn cannot_write(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    Failure::io(
        "cli.report",
        format!("cannot write the report {}", path.display()),
        "give a place that can be written and has room, or - for standard output",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        use nearcast_protocol::report::EdgeReport;
        let text = |number| {
            let edge = EdgeReport {
                bytes: 1,
                failures: number,
                ..EdgeReport::default()
            };
            let report = SessionReport {
                startup_s: Some(0.1),
                switches: number,
                edges: vec![edge],
                ..SessionReport::default()
            };
            lines(&report).join("\n")
        };
        let one = text(1);
        assert!(
            one.contains("1 rung switch,") && one.ends_with("1 failure"),
            "{one}"
        );
        let two = text(2);
        assert!(
            two.contains("2 rung switches,") && two.ends_with("2 failures"),
            "{two}"
        );
    }

    #[test]
    fn a_play_that_never_started_counts_nothing() {
        assert_eq!(lines(&SessionReport::default()), ["never started"]);
    }
}
