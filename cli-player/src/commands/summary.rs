//! What a play came to, in a few lines for people, and the report as a file.

use std::path::Path;

use nearcast_player::SessionReport;

use super::output::Output;
use super::{Failure, counted, json, print};

/// Prints start-up, stalls, edges and hand-overs.
pub(crate) fn print_summary(report: &SessionReport) {
    for line in lines(report) {
        print(line);
    }
}

fn lines(report: &SessionReport) -> Vec<String> {
    let mut lines = Vec::new();
    let startup = report.startup_s.map_or_else(
        || "never started".to_owned(),
        |seconds| format!("started after {seconds:.2} s"),
    );
    lines.push(format!(
        "played {:.1} s, {startup}, mean {:.2} Mbit/s",
        report.played_s,
        report.mean_bitrate_bps / 1e6
    ));
    let stalls = match report.stall_count {
        0 => "no stall".to_owned(),
        1 => format!("1 stall of {:.1} s", report.stalled_s),
        many => format!("{many} stalls, {:.1} s in all", report.stalled_s),
    };
    lines.push(format!(
        "{stalls}, {}, {}",
        // "switch" is the only one here that takes more than an s.
        match report.switches {
            1 => "1 rung switch".to_owned(),
            many => format!("{many} rung switches"),
        },
        counted(report.failovers.len(), "hand-over")
    ));
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
    fn a_play_that_never_started_says_so() {
        let text = lines(&SessionReport::default()).join("\n");
        assert!(
            text.contains("never started") && text.contains("no stall"),
            "{text}"
        );
    }
}
