//! The figures that expectations are about, each taken from one session.

use std::collections::BTreeMap;

use nearcast_protocol::report::{FetchReport, SessionReport};

use super::handover::handovers;
use super::told::{CANCELS, CAUSES, CODES, DECISIONS};
use crate::result::Receipt;

/// One session of a run, and what happened around it.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The player's name in the run.
    pub player: &'a str,
    /// When it began, since the run did.
    pub begins_s: f64,
    /// What it did.
    pub report: &'a SessionReport,
    /// Whether it ended by itself.
    pub over: bool,
    /// What went wrong in its world, in order.
    pub receipts: &'a [Receipt],
    /// What each edge carried after the last fault, over its fair share; empty where nobody counts.
    pub load_ratio: &'a [f64],
}

/// A figure: a plain one, or one of a kind of thing by name (`decisions.edge`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    pub(crate) name: &'static str,
    /// After the dot.
    pub(crate) of: Option<String>,
}

/// What may follow the dot of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Names {
    /// Nothing.
    None,
    /// Any text.
    Any,
    /// The name of an edge, which must be there.
    Edge,
    /// One of these.
    Of(&'static [&'static [&'static str]]),
}

impl Names {
    /// Returns all names that may follow, of these edges.
    pub(crate) fn known<'a>(self, edges: &[&'a str]) -> Option<Vec<&'a str>> {
        match self {
            Self::None => Some(Vec::new()),
            Self::Any => None,
            Self::Edge => Some(edges.to_vec()),
            Self::Of(lists) => Some(lists.concat()),
        }
    }
}

/// How a figure is described, and what it can be.
#[derive(Clone, Copy, Debug)]
pub struct FigureKind {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// What may follow a dot.
    pub of: Names,
    /// The largest number it can be; the lowest is 0 but for `qoe`.
    pub max: f64,
    /// Whether one session has many of them.
    pub many: bool,
}

const ANY: f64 = f64::INFINITY;

const fn plain(name: &'static str, about: &'static str, max: f64) -> FigureKind {
    FigureKind {
        name,
        about,
        of: Names::None,
        max,
        many: false,
    }
}

const fn many(name: &'static str, about: &'static str, max: f64) -> FigureKind {
    FigureKind {
        name,
        about,
        of: Names::None,
        max,
        many: true,
    }
}

/// All figures.
pub const FIGURES: &[FigureKind] = &[
    plain(
        "startup_s",
        "from the play intent to the first picture; 3600 where none came",
        ANY,
    ),
    plain(
        "stalled_s",
        "how long playback stood still for want of media",
        ANY,
    ),
    FigureKind {
        name: "stalls",
        about: "how often it did; `stalls.edge_silent` (or `throughput`, `all_edges_down`, `sink`) for that reason",
        of: Names::Of(&[CAUSES]),
        max: ANY,
        many: false,
    },
    many("stall_s", "how long each stall was", ANY),
    plain("played_s", "how much of the title was shown", ANY),
    plain(
        "ended",
        "1 where playback came to its end, 0 where it did not",
        1.0,
    ),
    plain("failed", "1 where playback ended with an error", 1.0),
    plain("mean_bitrate_kbps", "mean rate of what was shown", ANY),
    plain("switches", "rung changes", ANY),
    plain(
        "edge_switches",
        "changes of the edge that brings the picture",
        ANY,
    ),
    FigureKind {
        name: "failovers",
        about: "objects that another edge took over; `failovers.edge.corrupt` for that reason",
        of: Names::Of(&[CODES, CANCELS]),
        max: ANY,
        many: false,
    },
    many(
        "failover_s",
        "from the last byte of a failing edge to the first of another",
        ANY,
    ),
    many(
        "detected_s",
        "from the last byte of a failing edge to when that was noticed",
        ANY,
    ),
    many(
        "handover_s",
        "from when a fault took effect on a request to when bytes of that object come again, from whomever; 3600 where none came",
        ANY,
    ),
    many(
        "twice_ratio",
        "bytes of a segment that were fetched more than once, over its size, of segments that more than one edge was asked for",
        ANY,
    ),
    plain(
        "wasted_ratio",
        "bytes that came and were not handed on, over all bytes",
        1.0,
    ),
    plain(
        "extra_ratio",
        "bytes that races, help and probes cost, over all bytes",
        1.0,
    ),
    plain(
        "qoe",
        "linear quality of experience (Mbit/s of each segment, 4.3 a stalled second, changes)",
        ANY,
    ),
    FigureKind {
        name: "decisions",
        about: "decisions of a kind: `decisions.edge`",
        of: Names::Of(&[DECISIONS]),
        max: ANY,
        many: false,
    },
    FigureKind {
        name: "reasons",
        about: "decisions with this reason, as reports say it: `reasons.an edge did not accept the token`",
        of: Names::Any,
        max: ANY,
        many: false,
    },
    FigureKind {
        name: "failures",
        about: "attempts that failed with a code: `failures.net.reset`",
        of: Names::Of(&[CODES]),
        max: ANY,
        many: false,
    },
    FigureKind {
        name: "cancelled",
        about: "attempts that were ended for a reason: `cancelled.edge_silent`",
        of: Names::Of(&[CANCELS]),
        max: ANY,
        many: false,
    },
    plain(
        "edge_failures",
        "failures that were counted against edges: one that lacks an object is no bad edge",
        ANY,
    ),
    FigureKind {
        name: "served",
        about: "the share of media bytes that an edge brought: `served.near`",
        of: Names::Edge,
        max: 1.0,
        many: false,
    },
    FigureKind {
        name: "errors",
        about: "1 where playback ended with this code: `errors.play.no_edges`",
        of: Names::Of(&[CODES]),
        max: 1.0,
        many: false,
    },
    many(
        "load_ratio",
        "what each living edge carried after the last fault, over its fair share (worlds with many players)",
        ANY,
    ),
];

/// What took longer than any run, or never came, counts as this.
pub(crate) const NEVER_S: f64 = 3_600.0;

impl FigureKind {
    /// Returns the figure of this kind, with what follows its dot; `None` is the plain one.
    #[must_use]
    pub const fn figure(&self, of: Option<String>) -> Figure {
        Figure {
            name: self.name,
            of,
        }
    }
}

impl Figure {
    pub(crate) fn kind(&self) -> &'static FigureKind {
        let mut all = FIGURES.iter();
        all.find(|kind| kind.name == self.name)
            .unwrap_or(&FIGURES[0])
    }

    /// Returns the edge that it is about, where it is about one.
    pub(crate) fn edge(&self) -> Option<&str> {
        self.of.as_deref().filter(|_| self.name == "served")
    }

    /// Takes the figure from a session: one number, or as many as there are of it.
    #[must_use]
    pub fn values(&self, session: &Session<'_>) -> Vec<f64> {
        let report = session.report;
        let of = self.of.as_deref();
        let one = |number: f64| vec![number];
        match self.name {
            "startup_s" => one(report.startup_s.unwrap_or(NEVER_S)),
            "stalled_s" => one(report.stalled_s),
            "stalls" => {
                one(count(report.stalls.iter().filter(|stall| {
                    of.is_none_or(|cause| cause == stall.cause)
                })))
            }
            "stall_s" => report.stalls.iter().map(|stall| stall.duration_s).collect(),
            "played_s" => one(report.played_s),
            "ended" => one(f64::from(u8::from(session.over && report.error.is_none()))),
            "failed" => one(f64::from(u8::from(report.error.is_some()))),
            "mean_bitrate_kbps" => one(report.mean_bitrate_bps / 1e3),
            "switches" => one(number(report.switches)),
            "edge_switches" => one(edge_switches(report)),
            "failovers" => one(count(
                report
                    .failovers
                    .iter()
                    .filter(|one| of.is_none_or(|reason| reason == one.reason)),
            )),
            "failover_s" => report
                .failovers
                .iter()
                .map(|one| one.first_byte_s.unwrap_or(NEVER_S))
                .collect(),
            "detected_s" => report.failovers.iter().map(|one| one.detected_s).collect(),
            "handover_s" => handovers(session),
            "twice_ratio" => report.fetches.iter().filter_map(twice).collect(),
            "wasted_ratio" => one(share(report.bytes.wasted, all_bytes(report))),
            "extra_ratio" => one(share(report.bytes.extra, all_bytes(report))),
            "qoe" => one(report.qoe_lin),
            "decisions" => one(count(
                report
                    .decisions
                    .iter()
                    .filter(|one| of.is_none_or(|kind| kind == one.kind)),
            )),
            "reasons" => one(count(
                report
                    .decisions
                    .iter()
                    .filter(|one| of.is_none_or(|why| why == one.why)),
            )),
            "failures" => one(ended(report, "failed", of)),
            "cancelled" => one(ended(report, "cancelled", of)),
            "edge_failures" => one(number(report.edges.iter().map(|edge| edge.failures).sum())),
            "served" => {
                let edge = report
                    .edges
                    .iter()
                    .find(|edge| Some(edge.id.as_str()) == of);
                let all = report.edges.iter().map(|edge| edge.bytes).sum();
                one(share(edge.map_or(0, |edge| edge.bytes), all))
            }
            "errors" => {
                let code = report.error.as_ref().map(|error| error.code.as_str());
                one(f64::from(u8::from(
                    code.is_some() && (of.is_none() || code == of),
                )))
            }
            "load_ratio" => session.load_ratio.to_vec(),
            _ => Vec::new(),
        }
    }
}

fn number(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

fn count<T>(items: impl Iterator<Item = T>) -> f64 {
    number(items.count() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "shares need no more digits")]
fn share(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

fn all_bytes(report: &SessionReport) -> u64 {
    let bytes = &report.bytes;
    bytes.media + bytes.wasted + bytes.probe + bytes.manifest
}

fn ended(report: &SessionReport, result: &str, code: Option<&str>) -> f64 {
    let attempts = report.fetches.iter().flat_map(|fetch| &fetch.attempts);
    count(
        attempts
            .filter(|one| one.result == result && (code.is_none() || one.code.as_deref() == code)),
    )
}

/// Counts changes of the edge that brought the end of each segment of the picture (of the sound, where there is none).
fn edge_switches(report: &SessionReport) -> f64 {
    let of = |track: &str| {
        let media = report
            .fetches
            .iter()
            .filter(|one| one.kind == "media" && one.track.as_deref() == Some(track));
        let whole = media.filter_map(|fetch| {
            let last = fetch.attempts.iter().rfind(|one| one.result == "ok")?;
            Some((fetch.segment?, last.edge.as_str()))
        });
        let by_segment: BTreeMap<u64, &str> = whole.collect();
        by_segment.into_values().collect::<Vec<_>>()
    };
    let video = of("video");
    let edges = if video.is_empty() { of("audio") } else { video };
    count(edges.windows(2).filter(|two| two[0] != two[1]))
}

/// Returns what came of a segment more than once, as a share of it; `None` where one edge brought it alone.
fn twice(fetch: &FetchReport) -> Option<f64> {
    if fetch.kind != "media" || fetch.attempts.len() < 2 {
        return None;
    }
    let spans = fetch.attempts.iter().filter(|one| one.bytes > 0);
    let mut spans: Vec<(u64, u64)> = spans
        .map(|one| (one.offset, one.offset + one.bytes))
        .collect();
    spans.sort_unstable();
    let (mut twice, mut reached) = (0, 0);
    for (from, to) in spans {
        twice += to.min(reached).saturating_sub(from);
        reached = reached.max(to);
    }
    (reached > 0).then(|| share(twice, reached))
}

#[cfg(test)]
mod tests {
    use nearcast_protocol::report::{DecisionReport, EdgeReport, FailoverReport};

    use super::*;
    use crate::expect::Expectation;

    #[test]
    fn what_took_over_and_why_is_counted_by_its_reason() {
        let failover = |reason: &str| FailoverReport {
            reason: reason.to_owned(),
            ..FailoverReport::default()
        };
        let decision = |why: &str| DecisionReport {
            why: why.to_owned(),
            ..DecisionReport::default()
        };
        let edge = |failures| EdgeReport {
            failures,
            ..EdgeReport::default()
        };
        let report = SessionReport {
            failovers: vec![failover("edge.corrupt"), failover("net.reset")],
            decisions: vec![decision("it is slow"), decision("it is slow, too")],
            edges: vec![edge(2), edge(0), edge(1)],
            ..SessionReport::default()
        };
        let session = Session {
            player: "player",
            begins_s: 0.0,
            report: &report,
            over: true,
            receipts: &[],
            load_ratio: &[],
        };
        for (text, found) in [
            ("failovers == 0", 2.0),
            ("failovers.edge.corrupt == 0", 1.0),
            ("failovers.edge_silent == 0", 0.0),
            ("reasons.it is slow == 0", 1.0),
            ("edge_failures == 0", 3.0),
        ] {
            let expectation = Expectation::parse(text, &[]).unwrap();
            assert_eq!(expectation.figure.values(&session), [found], "{text}");
        }
    }
}
