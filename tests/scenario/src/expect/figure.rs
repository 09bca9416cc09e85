//! The figures that expectations are about, each taken from one session.

use std::collections::BTreeMap;

use nearcast_protocol::report::{FetchReport, SessionReport};

use super::handover::handovers;
use super::told::{CANCELS, CAUSES, CODES, DECISIONS, REASONS};
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
    /// What went wrong in its world, in order.
    pub receipts: &'a [Receipt],
    /// What each edge carried after the last fault, over its fair share; empty where nobody counts.
    pub load_ratio: &'a [f64],
}

/// A figure: a plain one, or one of a kind of thing by name (`decisions.edge`).
#[derive(Clone, Debug)]
pub struct Figure {
    pub(crate) kind: &'static FigureKind,
    /// After the dot.
    pub(crate) of: Option<String>,
}

/// What may follow the dot of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Names {
    /// Nothing.
    None,
    /// The name of an edge, which must be there.
    Edge,
    /// One of these.
    Of(&'static [&'static [&'static str]]),
}

impl Names {
    /// Returns all names that may follow, of these edges.
    pub(crate) fn known<'a>(self, edges: &[&'a str]) -> Vec<&'a str> {
        match self {
            Self::None => Vec::new(),
            Self::Edge => edges.to_vec(),
            Self::Of(lists) => lists.concat(),
        }
    }
}

/// How a figure is described, what it can be, and how it is taken.
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
    /// Whether it counts whole things.
    pub whole: bool,
    /// Takes it from a session: of the name after the dot, if there is one.
    take: fn(&Session<'_>, Option<&str>) -> Vec<f64>,
}

const ANY: f64 = f64::INFINITY;

/// A plain figure: one number, however large, of each session.
const fn figure(
    name: &'static str,
    take: fn(&Session<'_>, Option<&str>) -> Vec<f64>,
    about: &'static str,
) -> FigureKind {
    FigureKind {
        name,
        about,
        of: Names::None,
        max: ANY,
        many: false,
        whole: false,
        take,
    }
}

/// A count of things.
const fn counted(
    name: &'static str,
    take: fn(&Session<'_>, Option<&str>) -> Vec<f64>,
    about: &'static str,
) -> FigureKind {
    FigureKind {
        whole: true,
        ..figure(name, take, about)
    }
}

/// One number of each thing.
const fn many(
    name: &'static str,
    take: fn(&Session<'_>, Option<&str>) -> Vec<f64>,
    about: &'static str,
) -> FigureKind {
    FigureKind {
        many: true,
        ..figure(name, take, about)
    }
}

impl FigureKind {
    const fn of(self, of: Names) -> Self {
        Self { of, ..self }
    }

    const fn up_to(self, max: f64) -> Self {
        Self { max, ..self }
    }

    /// Returns the figure of this kind, with what follows its dot; `None` is the plain one.
    #[must_use]
    pub const fn figure(&'static self, of: Option<String>) -> Figure {
        Figure { kind: self, of }
    }
}

/// All figures.
pub const FIGURES: &[FigureKind] = &[
    figure(
        "startup_s",
        |session, _| vec![session.report.startup_s.unwrap_or(NEVER_S)],
        "from the play intent to the first picture; 3600 where none came",
    ),
    figure(
        "stalled_s",
        |session, _| vec![session.report.stalled_s],
        "how long playback stood still for want of media",
    ),
    counted(
        "stalls",
        |session, of| {
            let stalls = session.report.stalls.iter();
            count(stalls.filter(|stall| is_of(of, &stall.cause)))
        },
        "how often it did; `stalls.edge_silent` (or `throughput`, `all_edges_down`, `sink`) for that reason",
    )
    .of(Names::Of(&[CAUSES])),
    many(
        "stall_s",
        |session, _| {
            let stalls = session.report.stalls.iter();
            stalls.map(|stall| stall.duration_s).collect()
        },
        "how long each stall was",
    ),
    figure(
        "played_s",
        |session, _| vec![session.report.played_s],
        "how much of the title was shown",
    ),
    counted(
        "ended",
        |session, _| is_so(session.report.ended && session.report.error.is_none()),
        "1 where playback came to the end of the title, 0 where it was stopped before, failed, or went on",
    )
    .up_to(1.0),
    counted(
        "failed",
        |session, _| is_so(session.report.error.is_some()),
        "1 where playback ended with an error",
    )
    .up_to(1.0),
    figure(
        "mean_bitrate_kbps",
        |session, _| vec![session.report.mean_bitrate_bps / 1e3],
        "mean rate of what was shown",
    ),
    counted(
        "switches",
        |session, _| vec![number(session.report.switches)],
        "rung changes",
    ),
    counted(
        "edge_switches",
        |session, _| edge_switches(session.report),
        "changes of the edge that brings the picture",
    ),
    counted(
        "failovers",
        |session, of| {
            let failovers = session.report.failovers.iter();
            count(failovers.filter(|one| is_of(of, &one.reason)))
        },
        "objects that another edge took over; `failovers.edge.corrupt` for that reason",
    )
    .of(Names::Of(&[CODES, CANCELS])),
    many(
        "failover_s",
        |session, _| {
            let failovers = session.report.failovers.iter();
            let firsts = failovers.map(|one| one.first_byte_s.unwrap_or(NEVER_S));
            firsts.collect()
        },
        "from the last byte of a failing edge to the first of another",
    ),
    many(
        "detected_s",
        |session, _| {
            let failovers = session.report.failovers.iter();
            failovers.map(|one| one.detected_s).collect()
        },
        "from the last byte of a failing edge to when that was noticed",
    ),
    many(
        "handover_s",
        |session, _| handovers(session),
        "from when a fault took effect on a request to when bytes of that object come again, from whomever; 3600 where none came",
    ),
    many(
        "twice_ratio",
        |session, _| session.report.fetches.iter().filter_map(twice).collect(),
        "bytes of a segment that were fetched more than once, over its size, of segments that more than one edge was asked for",
    ),
    figure(
        "wasted_ratio",
        |session, _| {
            let report = session.report;
            vec![share(report.bytes.wasted, all_bytes(report))]
        },
        "bytes that came and were not handed on, over all bytes",
    )
    .up_to(1.0),
    figure(
        "extra_ratio",
        |session, _| {
            let report = session.report;
            vec![share(report.bytes.extra, all_bytes(report))]
        },
        "bytes that races, help and probes cost, over all bytes",
    )
    .up_to(1.0),
    figure(
        "qoe",
        |session, _| vec![session.report.qoe_lin],
        "linear quality of experience (Mbit/s of each segment, 4.3 a stalled second, changes)",
    ),
    counted(
        "decisions",
        |session, of| {
            let decisions = session.report.decisions.iter();
            count(decisions.filter(|one| is_of(of, &one.kind)))
        },
        "decisions of a kind: `decisions.edge`",
    )
    .of(Names::Of(&[DECISIONS])),
    counted(
        "reasons",
        |session, of| {
            let decisions = session.report.decisions.iter();
            count(decisions.filter(|one| is_because(of, &one.why)))
        },
        "decisions with this reason, as reports say it, or as far as its colon: `reasons.an edge did not accept the token`",
    )
    .of(Names::Of(&[REASONS, CODES, CANCELS])),
    counted(
        "failures",
        |session, of| attempts(session.report, "failed", of),
        "attempts that failed with a code: `failures.net.reset` (an object that is found wrong once it is whole fails no attempt: `failovers`)",
    )
    .of(Names::Of(&[CODES])),
    counted(
        "cancelled",
        |session, of| attempts(session.report, "cancelled", of),
        "attempts that were ended for a reason: `cancelled.edge_silent`",
    )
    .of(Names::Of(&[CANCELS])),
    counted(
        "edge_failures",
        |session, _| {
            let edges = session.report.edges.iter();
            vec![number(edges.map(|edge| edge.failures).sum())]
        },
        "failures that were counted against edges: one that lacks an object is no bad edge",
    ),
    figure(
        "served",
        |session, of| {
            let edges = &session.report.edges;
            let edge = edges.iter().find(|edge| Some(edge.id.as_str()) == of);
            let all = edges.iter().map(|edge| edge.bytes).sum();
            vec![share(edge.map_or(0, |edge| edge.bytes), all)]
        },
        "the share of media bytes that an edge brought: `served.near`",
    )
    .of(Names::Edge)
    .up_to(1.0),
    counted(
        "errors",
        |session, of| {
            let error = session.report.error.as_ref();
            is_so(error.is_some_and(|error| is_of(of, &error.code)))
        },
        "1 where playback ended with this code: `errors.play.no_edges`",
    )
    .of(Names::Of(&[CODES]))
    .up_to(1.0),
    many(
        "load_ratio",
        |session, _| session.load_ratio.to_vec(),
        "what each living edge carried after the last fault, over its fair share (worlds with many players)",
    ),
];

/// What took longer than any run, or never came, counts as this.
pub(crate) const NEVER_S: f64 = 3_600.0;

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        (self.kind.name, &self.of) == (other.kind.name, &other.of)
    }
}

impl Eq for Figure {}

impl Figure {
    /// Returns the edge that it is about, where it is about one.
    pub(crate) fn edge(&self) -> Option<&str> {
        let is_of_edge = matches!(self.kind.of, Names::Edge);
        self.of.as_deref().filter(|_| is_of_edge)
    }

    /// Takes the figure from a session: one number, or as many as there are of it.
    #[must_use]
    pub fn values(&self, session: &Session<'_>) -> Vec<f64> {
        (self.kind.take)(session, self.of.as_deref())
    }
}

/// Whether something is what follows the dot, or nothing does.
fn is_of(of: Option<&str>, found: &str) -> bool {
    of.is_none_or(|of| of == found)
}

/// Whether a decision has this reason, with whatever particulars after a colon.
fn is_because(of: Option<&str>, why: &str) -> bool {
    let particulars = |of: &str| why.strip_prefix(of).map(|rest| rest.starts_with(": "));
    of.is_none_or(|of| of == why || particulars(of) == Some(true))
}

fn is_so(is_so: bool) -> Vec<f64> {
    vec![f64::from(u8::from(is_so))]
}

fn number(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

fn count<T>(items: impl Iterator<Item = T>) -> Vec<f64> {
    vec![number(items.count() as u64)]
}

#[expect(clippy::cast_precision_loss, reason = "shares need no more digits")]
fn share(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

fn all_bytes(report: &SessionReport) -> u64 {
    let bytes = &report.bytes;
    bytes.media + bytes.wasted + bytes.probe + bytes.manifest
}

fn attempts(report: &SessionReport, result: &str, code: Option<&str>) -> Vec<f64> {
    let attempts = report.fetches.iter().flat_map(|fetch| &fetch.attempts);
    let ended = attempts.filter(|one| one.result == result);
    count(ended.filter(|one| code.is_none() || one.code.as_deref() == code))
}

/// Counts changes of the edge that brought the end of each segment of the picture (of the sound, where there is none).
fn edge_switches(report: &SessionReport) -> Vec<f64> {
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
    use crate::expect::{Expectation, World};

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
            decisions: vec![
                decision("expected to deliver first"),
                decision("expected to deliver first, as this network is remembered"),
                decision("far slower than this edge was before: the soonest helps"),
            ],
            edges: vec![edge(2), edge(0), edge(1)],
            ..SessionReport::default()
        };
        let session = Session {
            player: "player",
            begins_s: 0.0,
            report: &report,
            receipts: &[],
            load_ratio: &[],
        };
        for (text, found) in [
            ("failovers == 0", 2.0),
            ("failovers.edge.corrupt == 0", 1.0),
            ("failovers.edge_silent == 0", 0.0),
            ("reasons.expected to deliver first == 0", 1.0),
            ("reasons.far slower than this edge was before == 0", 1.0),
            ("edge_failures == 0", 3.0),
        ] {
            let expectation = Expectation::parse(text, &World::default()).unwrap();
            assert_eq!(expectation.figure.values(&session), [found], "{text}");
        }
    }
}
