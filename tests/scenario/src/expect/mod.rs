//! What must hold in the end: `figure < number`, of every session, or `figure.p99 < number`, of all together.

mod figure;
mod handover;
mod judge;
mod told;

use std::fmt;

pub use figure::{FIGURES, Figure, FigureKind, Names, Session};
pub use judge::{Judge, Verdict};
pub use told::{CANCELS, CAUSES, CODES, DECISIONS, REASONS};

use crate::error::nearest;
use crate::result::RunResult;
use crate::scenario::{Doing, Scenario};
use figure::NEVER_S;

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    pub(crate) figure: Figure,
    /// Of all numbers together; `None` is of each.
    pub(crate) over: Option<Over>,
    pub(crate) comparison: Comparison,
    pub(crate) number: f64,
}

/// How many numbers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    P50,
    P95,
    P99,
    Min,
    Max,
    Mean,
    Sum,
    Count,
}

impl Over {
    const ALL: [(Self, &'static str); 8] = [
        (Self::P50, "p50"),
        (Self::P95, "p95"),
        (Self::P99, "p99"),
        (Self::Min, "min"),
        (Self::Max, "max"),
        (Self::Mean, "mean"),
        (Self::Sum, "sum"),
        (Self::Count, "count"),
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::Count => "count",
        }
    }
}

/// How a figure is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Below,
    AtMost,
    Equal,
    NotEqual,
    AtLeast,
    Above,
}

impl Comparison {
    /// Longer ones first: `<=` begins as `<` does.
    const ALL: [(Self, &'static str); 6] = [
        (Self::AtMost, "<="),
        (Self::AtLeast, ">="),
        (Self::Equal, "=="),
        (Self::NotEqual, "!="),
        (Self::Below, "<"),
        (Self::Above, ">"),
    ];

    const fn sign(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::AtLeast => ">=",
            Self::Above => ">",
        }
    }

    /// Whether a number is as it should be. Figures are sums of many: what differs in the twelfth digit is equal.
    pub(crate) fn holds(self, found: f64, number: f64) -> bool {
        let equal = (found - number).abs() <= 1e-12 * number.abs().max(1.0);
        match self {
            Self::Below => found < number && !equal,
            Self::AtMost => found <= number || equal,
            Self::Equal => equal,
            Self::NotEqual => !equal,
            Self::AtLeast => found >= number || equal,
            Self::Above => found > number && !equal,
        }
    }
}

/// A text that is no expectation: what is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoExpectation {
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

/// What a scenario has, and what figures can be in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct World<'a> {
    /// Their names, which `served` may have.
    edges: Vec<&'a str>,
    sessions: u64,
    /// More of the title than this nobody sees; `None` where viewers go back.
    played_s_max: Option<f64>,
}

impl<'a> World<'a> {
    /// Takes it from a run; how much of a title can be seen in one, it does not say.
    pub(crate) fn of_run(run: &'a RunResult) -> Self {
        Self {
            edges: run.load.iter().map(|load| load.edge.as_str()).collect(),
            sessions: run.players.len() as u64,
            played_s_max: None,
        }
    }

    /// Takes it from a scenario, whatever that expects.
    pub(crate) fn of(scenario: &'a Scenario) -> Self {
        let mut actions = scenario.actions.iter();
        let seeks = actions.any(|action| matches!(action.doing, Doing::Seek(_)));
        let played_s_max = scenario.duration.as_secs_f64() + SEGMENT_S_MAX;
        Self {
            edges: scenario.edge_names(),
            sessions: scenario.sessions(),
            played_s_max: (!seeks).then_some(played_s_max),
        }
    }
}

/// A title may end within its last segment, and that be shown to its end.
const SEGMENT_S_MAX: f64 = 10.0;

const SHAPE: &str = "`stalled_s == 0` or `failover_s.p99 < 2` would be right";

impl Expectation {
    /// Reads one.
    pub(crate) fn parse(text: &str, world: &World<'_>) -> Result<Self, NoExpectation> {
        let no = |what: String, hint: Option<String>| NoExpectation { what, hint };
        let found = Comparison::ALL.iter().find_map(|(comparison, sign)| {
            let (left, right) = text.split_once(sign)?;
            Some((*comparison, left.trim(), right.trim()))
        });
        let Some((comparison, left, right)) = found else {
            return Err(no(
                format!("`{text}` compares nothing"),
                Some(SHAPE.to_owned()),
            ));
        };
        if [left, right].concat().contains(['<', '>', '=']) {
            return Err(no(
                format!("`{text}` compares more than once"),
                Some("write each comparison by itself".to_owned()),
            ));
        }
        let number = right.parse().ok().filter(|number: &f64| number.is_finite());
        let Some(number) = number else {
            return Err(no(
                format!("`{right}` is no number"),
                Some(SHAPE.to_owned()),
            ));
        };
        let (left, over) = match left.rsplit_once('.') {
            Some((rest, last)) => {
                let over = Over::ALL.iter().find(|(_, name)| *name == last);
                over.map_or((left, None), |(over, _)| (rest, Some(*over)))
            }
            None => (left, None),
        };
        let (name, of) = match left.split_once('.') {
            Some((name, of)) => (name, Some(of)),
            None => (left, None),
        };
        let Some(kind) = FIGURES.iter().find(|kind| kind.name == name) else {
            let names: Vec<&str> = FIGURES.iter().map(|kind| kind.name).collect();
            let hint = match nearest(name, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("these are known: {}", names.join(", ")),
            };
            return Err(no(format!("there is no figure `{name}`"), Some(hint)));
        };
        check_of(kind, of, &world.edges)?;
        let it = Self {
            figure: kind.figure(of.map(str::to_owned)),
            over,
            comparison,
            number,
        };
        it.check_whole()?;
        it.check_reach(world)?;
        Ok(it)
    }

    /// Where this does not hold: whether too much was found, or else too little.
    #[must_use]
    pub fn is_exceeded_by(&self, found: f64) -> bool {
        match self.comparison {
            Comparison::Below | Comparison::AtMost => true,
            Comparison::AtLeast | Comparison::Above => false,
            Comparison::Equal | Comparison::NotEqual => found > self.number,
        }
    }

    /// Whether it says how a session ends that never began to play: it holds of that one and not of one that plays to the end, or the
    /// other way round.
    pub(crate) fn tells_end(&self, session: &Session<'_>) -> bool {
        let of_others = match self.figure.kind.name {
            "ended" => 1.0,
            "failed" | "errors" => 0.0,
            "played_s" => f64::INFINITY,
            // A start that takes long is a start.
            "startup_s" if self.number >= NEVER_S => 0.0,
            _ => return false,
        };
        let holds = |number| self.comparison.holds(number, self.number);
        let mut found = self.figure.values(session).into_iter();
        self.over != Some(Over::Count) && found.any(|found| holds(found) != holds(of_others))
    }

    /// What counts whole things is no fraction.
    fn check_whole(&self) -> Result<(), NoExpectation> {
        let is_whole = match self.over {
            Some(Over::Count) => true,
            Some(Over::Mean) => false,
            _ => self.figure.kind.whole,
        };
        let equals = matches!(self.comparison, Comparison::Equal | Comparison::NotEqual);
        if !is_whole || !equals || self.number.fract().abs() <= 0.0 {
            return Ok(());
        }
        let (below, above) = (self.number.floor(), self.number.ceil());
        Err(NoExpectation {
            what: format!("`{self}` compares a count with a fraction"),
            hint: Some(format!("{below} or {above} would be right")),
        })
    }

    /// An expectation that cannot fail says nothing, one that cannot hold says it of nobody.
    fn check_reach(&self, world: &World<'_>) -> Result<(), NoExpectation> {
        let kind = self.figure.kind;
        if kind.name == "load_ratio" && world.sessions < 2 {
            return Err(NoExpectation {
                what: format!("`{self}` has nothing to look at: one player is no load"),
                hint: Some("more `players`, or another `count` of them, would be right".to_owned()),
            });
        }
        let min = if kind.name == "qoe" {
            f64::NEG_INFINITY
        } else {
            0.0
        };
        let max = match self.over {
            Some(Over::Count | Over::Sum) => f64::INFINITY,
            _ => self.max(world),
        };
        let number = self.number;
        let never = match self.comparison {
            Comparison::Below => number <= min,
            Comparison::AtMost => number < min,
            Comparison::Equal => number < min || number > max,
            Comparison::NotEqual => false,
            Comparison::AtLeast => number > max,
            Comparison::Above => number >= max,
        };
        let always = match self.comparison {
            Comparison::Below => number > max,
            Comparison::AtMost => number >= max,
            Comparison::NotEqual => number < min || number > max,
            Comparison::Equal => max <= min && !never,
            Comparison::AtLeast => number <= min,
            Comparison::Above => number < min,
        };
        let can_be = if max.is_finite() {
            format!("`{}` is from {min} to {max}", self.figure.text())
        } else {
            format!("`{}` is {min} or more", self.figure.text())
        };
        if never {
            return Err(NoExpectation {
                what: format!("`{self}` can never hold"),
                hint: Some(can_be),
            });
        }
        if always {
            return Err(NoExpectation {
                what: format!("`{self}` always holds, and so says nothing"),
                hint: Some(can_be),
            });
        }
        Ok(())
    }
}

impl Expectation {
    /// The largest number that the figure can be.
    fn max(&self, world: &World<'_>) -> f64 {
        match self.figure.kind.name {
            // There is none to change to.
            "edge_switches" if world.edges.len() < 2 => 0.0,
            "played_s" => world.played_s_max.unwrap_or(f64::INFINITY),
            _ => self.figure.kind.max,
        }
    }
}

fn check_of(kind: &FigureKind, of: Option<&str>, edges: &[&str]) -> Result<(), NoExpectation> {
    let known = kind.of.known(edges);
    let Some(of) = of else {
        return if matches!(kind.of, Names::Edge) {
            Err(NoExpectation {
                what: format!("`{}` of which edge?", kind.name),
                hint: Some(format!(
                    "write `{}.{}`, say",
                    kind.name,
                    edges.first().unwrap_or(&"edge")
                )),
            })
        } else {
            Ok(())
        };
    };
    if known.contains(&of) {
        return Ok(());
    }
    let overs = || Over::ALL.map(|(_, name)| name).join(", ");
    let one = of.rsplit_once('.').filter(|(one, _)| known.contains(one));
    let hint = if known.is_empty() {
        format!("`{}` alone, or with one of: {}", kind.name, overs())
    } else if let Some((one, _)) = one {
        format!("`{}.{one}` alone, or with one of: {}", kind.name, overs())
    } else {
        match nearest(of, &known) {
            Some(near) => format!("did you mean `{}.{near}`?", kind.name),
            None => match alike(of, &known) {
                many if many.len() > LISTED_MAX => {
                    "`nearcast-lab figures` lists those that are known".to_owned()
                }
                few => format!("these are known: {}", few.join(", ")),
            },
        }
    };
    Err(NoExpectation {
        what: format!("there is no `{}.{of}`", kind.name),
        hint: Some(hint),
    })
}

/// More names are no help in a line of text.
const LISTED_MAX: usize = 100;

/// Returns the names of the same family (`net.`, say), or all where there are none.
fn alike<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
    let family = |name: &str| name.split_once('.').map(|(first, _)| first.to_owned());
    let wanted = family(name);
    let same = |one: &&&str| wanted.is_some() && family(one) == wanted;
    let found: Vec<&str> = known.iter().filter(same).copied().collect();
    if found.is_empty() {
        known.to_vec()
    } else {
        found
    }
}

impl Figure {
    pub(crate) fn text(&self) -> String {
        match &self.of {
            Some(of) => format!("{}.{of}", self.kind.name),
            None => self.kind.name.to_owned(),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.figure.text())?;
        if let Some(over) = self.over {
            write!(f, ".{}", over.name())?;
        }
        write!(f, " {} {}", self.comparison.sign(), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let world = World {
            edges: vec!["near", "far"],
            sessions: 2,
            played_s_max: Some(70.0),
        };
        read_in(text, &world)
    }

    fn read_in(text: &str, world: &World<'_>) -> Result<String, String> {
        let read = Expectation::parse(text, world);
        read.map(|one| one.to_string())
            .map_err(|error| format!("{} ({})", error.what, error.hint.unwrap_or_default()))
    }

    #[test]
    fn expectations_read_as_they_are_written() {
        for text in [
            "stalled_s == 0",
            "failover_s.p99 < 2",
            "failures.net.reset >= 1",
            "served.near > 0.5",
            "stalls.edge_silent == 0",
            "handover_s.count >= 1",
            "wasted_ratio <= 0.02",
            "decisions.edge != 0",
            "failovers.edge.corrupt == 1",
            "failovers.edge.corrupt.sum >= 1",
            "reasons.an edge did not accept the token >= 1",
        ] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
        assert_eq!(read(" stalled_s==0 ").as_deref(), Ok("stalled_s == 0"));
    }

    #[test]
    fn what_cannot_be_is_told_with_what_would_be_right() {
        for (text, says) in [
            ("stalled == 0", "did you mean `stalled_s`"),
            ("stalled_s", "compares nothing"),
            ("stalled_s == none", "no number"),
            ("stalled_s < 0", "can never hold"),
            ("stalled_s >= 0", "always holds"),
            ("wasted_ratio > 1", "can never hold"),
            ("wasted_ratio <= 1", "always holds"),
            ("served.nar > 0.5", "did you mean `served.near`"),
            ("served > 0.5", "of which edge"),
            ("reasons.no such reason == 0", "`nearcast-lab figures`"),
            (
                "reasons.an edge did not acept the token >= 1",
                "did you mean `reasons.an edge did not accept the token`?",
            ),
            ("stalls.edge == 0", "stalls.edge_silent"),
            ("startup_s.p98 < 2", "p95"),
            (
                "served.near.p98 > 0.1",
                "`served.near` alone, or with one of: p50, p95, p99",
            ),
            (
                "failures.net.reset.p98 < 2",
                "`failures.net.reset` alone, or with one of: p50",
            ),
            (
                "startup_s < 1 and stalled_s == 0",
                "compares more than once",
            ),
            ("0 < startup_s < 1", "compares more than once"),
            (
                "failures.net.rset == 0",
                "did you mean `failures.net.reset`",
            ),
            (
                "errors.playback.no_edges == 0",
                "did you mean `errors.play.no_edges`",
            ),
            ("cancelled.xyz == 0", "these are known: lost_race, "),
            (
                "failures.net.qqqqqqqqqqqqqqqqqqqqqqqq == 0",
                "these are known: net.dns_failed, ",
            ),
            (
                "cancelled.edge_silence == 0",
                "did you mean `cancelled.edge_silent`",
            ),
            (
                "failovers.edge_silence == 0",
                "did you mean `failovers.edge_silent`",
            ),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
    }
    #[test]
    fn what_counts_whole_things_is_no_fraction() {
        for text in ["ended == 0.5", "stalls != 0.5", "stall_s.count == 1.5"] {
            let said = read(text).unwrap_err();
            assert!(said.contains("compares a count with a fraction"), "{said}");
        }
        for text in ["ended.mean == 0.5", "stalls <= 0.5", "stalled_s == 0.5"] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_a_world_cannot_show_is_refused() {
        let one = World {
            edges: vec!["near"],
            sessions: 1,
            played_s_max: Some(70.0),
        };
        for (text, says) in [
            ("edge_switches >= 1", "can never hold"),
            ("edge_switches == 0", "always holds"),
            ("edge_switches < 2", "always holds"),
            ("load_ratio.max <= 1.2", "one player is no load"),
            ("played_s > 500", "can never hold"),
            ("played_s.mean > 500", "can never hold"),
        ] {
            let said = read_in(text, &one).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
        for text in [
            "edge_switches >= 1",
            "load_ratio.max <= 1.2",
            "played_s > 59",
        ] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
        let sum = "played_s.sum > 500";
        assert_eq!(read_in(sum, &one).as_deref(), Ok(sum));
        let back = World {
            played_s_max: None,
            ..one
        };
        let text = "played_s > 500";
        assert_eq!(read_in(text, &back).as_deref(), Ok(text));
    }
}
