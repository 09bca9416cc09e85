//! Judges expectations over many sessions: each is looked at once and forgotten but for its numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Expectation, Over, Session};

/// What came of one expectation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// As it was written.
    pub expectation: String,
    /// Whether it is of all sessions together (`stalls.sum`), and not of each.
    #[serde(default)]
    pub of_all: bool,
    /// Whether it holds.
    pub holds: bool,
    /// What was found: the one number, or the worst of all; `None` where there was nothing to look at.
    pub found: Option<f64>,
    /// How many numbers it was looked at in.
    pub numbers: u64,
    /// The seed of the session that it fails in, or is nearest to it.
    pub seed: Option<u64>,
    /// The player of that session.
    pub player: Option<String>,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.expectation)?;
        f.write_str(if self.holds {
            " holds"
        } else {
            " does not hold"
        })?;
        match self.found {
            Some(found) => write!(f, ": {}", short(found))?,
            None => f.write_str(": there was nothing to look at")?,
        }
        match (&self.player, self.seed) {
            (Some(player), Some(seed)) if !self.holds => write!(f, " ({player}, seed {seed})"),
            _ => Ok(()),
        }
    }
}

/// Returns a number as people read it: four digits are enough.
fn short(number: f64) -> String {
    let digits = match number.abs() {
        size if size >= 1_000.0 => 0,
        size if size >= 10.0 => 2,
        _ => 4,
    };
    let text = format!("{number:.digits$}");
    if text.contains('.') {
        let text = text.trim_end_matches('0').trim_end_matches('.');
        return text.to_owned();
    }
    text
}

/// Takes sessions one after the other.
#[derive(Clone, Debug)]
pub struct Judge {
    expectations: Vec<Expectation>,
    /// By expectation: numbers, and whose they are.
    numbers: Vec<Vec<(f64, u32)>>,
    /// Seed and player of each session.
    sessions: Vec<(u64, String)>,
}

impl Judge {
    /// Makes one that has seen nothing.
    #[must_use]
    pub fn new(expectations: Vec<Expectation>) -> Self {
        Self {
            numbers: vec![Vec::new(); expectations.len()],
            expectations,
            sessions: Vec::new(),
        }
    }

    /// Looks at a session. Returns whether all holds in it that can be told of one session alone.
    pub fn look(&mut self, seed: u64, player: &str, session: &Session<'_>) -> bool {
        let whose = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        self.sessions.push((seed, player.to_owned()));
        let mut holds = true;
        for (expectation, numbers) in self.expectations.iter().zip(&mut self.numbers) {
            for found in expectation.figure.values(session) {
                holds &= expectation.over.is_some()
                    || expectation.comparison.holds(found, expectation.number);
                numbers.push((found, whose));
            }
        }
        holds
    }

    /// Whether another one looks for the same.
    #[must_use]
    pub fn expects_as(&self, other: &Self) -> bool {
        self.expectations == other.expectations
    }

    /// Takes what another one has seen, after what this one has.
    pub fn add(&mut self, other: Self) {
        let offset = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        self.sessions.extend(other.sessions);
        for (mine, theirs) in self.numbers.iter_mut().zip(other.numbers) {
            mine.extend(
                theirs
                    .into_iter()
                    .map(|(found, whose)| (found, whose.saturating_add(offset))),
            );
        }
    }

    /// Returns what came of each expectation.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let both = self.expectations.iter().zip(&self.numbers);
        both.map(|(expectation, numbers)| self.verdict(expectation, numbers))
            .collect()
    }

    /// Returns whether the sessions of one seed show by themselves that an expectation, given as it is written, does not hold.
    #[must_use]
    pub fn is_shown_by(&self, seed: u64, expectation: &str) -> bool {
        let of_seed = |whose: u32| {
            let session = usize::try_from(whose).ok();
            let session = session.and_then(|whose| self.sessions.get(whose));
            session.is_some_and(|(of, _)| *of == seed)
        };
        let both = self.expectations.iter().zip(&self.numbers);
        let mut named = both.filter(|(one, _)| one.to_string() == expectation);
        named.any(|(one, numbers)| {
            let numbers = numbers.iter().filter(|(_, whose)| of_seed(*whose));
            let numbers: Vec<(f64, u32)> = numbers.copied().collect();
            let verdict = self.verdict(one, &numbers);
            // Of one seed there are too few for what many together must reach: only too many say something.
            let grows = matches!(one.over, Some(Over::Count | Over::Sum));
            !verdict.holds && (!grows || verdict.found.is_some_and(|found| found > one.number))
        })
    }

    fn verdict(&self, expectation: &Expectation, numbers: &[(f64, u32)]) -> Verdict {
        let fails = |found: f64| !expectation.comparison.holds(found, expectation.number);
        let (found, whose, holds) = match expectation.over {
            Some(over) => {
                let found = over.of(numbers);
                // Nothing to look at: there was no failover, say, and none was slow.
                let holds = found.is_none_or(|found| !fails(found));
                (found, over.whose(numbers), holds)
            }
            None => {
                let worst = numbers.iter().max_by(|(a, _), (b, _)| {
                    let far = |found: f64| (fails(found), (found - expectation.number).abs());
                    let ((a_fails, a_far), (b_fails, b_far)) = (far(*a), far(*b));
                    a_fails.cmp(&b_fails).then(if a_fails {
                        a_far.total_cmp(&b_far)
                    } else {
                        b_far.total_cmp(&a_far)
                    })
                });
                let found = worst.map(|(found, _)| *found);
                (
                    found,
                    worst.map(|(_, whose)| *whose),
                    found.is_none_or(|found| !fails(found)),
                )
            }
        };
        let session = whose.and_then(|whose| self.sessions.get(usize::try_from(whose).ok()?));
        Verdict {
            expectation: expectation.to_string(),
            of_all: expectation.over.is_some(),
            holds,
            found,
            numbers: numbers.len() as u64,
            seed: session.map(|(seed, _)| *seed),
            player: session.map(|(_, player)| player.clone()),
        }
    }
}

impl Over {
    /// Makes one number of many; `None` of none, but for their count and sum.
    fn of(self, numbers: &[(f64, u32)]) -> Option<f64> {
        let mut sorted: Vec<f64> = numbers.iter().map(|(number, _)| *number).collect();
        sorted.sort_by(f64::total_cmp);
        let count = u32::try_from(sorted.len()).map_or(f64::INFINITY, f64::from);
        let sum: f64 = sorted.iter().sum();
        match self {
            Self::Count => Some(count),
            Self::Sum => Some(sum),
            Self::Mean => (count > 0.0).then_some(sum / count),
            Self::Min => sorted.first().copied(),
            Self::Max => sorted.last().copied(),
            Self::P50 => quantile(&sorted, 50),
            Self::P95 => quantile(&sorted, 95),
            Self::P99 => quantile(&sorted, 99),
        }
    }

    /// The session to look at first: the one with the largest number, or with the lowest of a minimum.
    fn whose(self, numbers: &[(f64, u32)]) -> Option<u32> {
        let least = numbers.iter().min_by(|a, b| a.0.total_cmp(&b.0));
        let most = numbers.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let one = if self == Self::Min { least } else { most };
        one.map(|(_, whose)| *whose)
    }
}

/// The least number that so many in a hundred do not exceed.
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use nearcast_protocol::report::{SessionReport, StallReport};

    use super::*;
    use crate::expect::World;

    fn judge(expectation: &str, stalls_s: &[&[f64]]) -> Verdict {
        looked(expectation, stalls_s).verdicts().remove(0)
    }

    fn looked(expectation: &str, stalls_s: &[&[f64]]) -> Judge {
        let expectation = Expectation::parse(expectation, &World::default()).unwrap();
        let mut judge = Judge::new(vec![expectation]);
        for (seed, stalls_s) in (0..).zip(stalls_s) {
            let stall = |duration_s: &f64| StallReport {
                duration_s: *duration_s,
                ..StallReport::default()
            };
            let report = SessionReport {
                stalls: stalls_s.iter().map(stall).collect(),
                stalled_s: stalls_s.iter().sum(),
                ..SessionReport::default()
            };
            let session = Session {
                player: "player",
                begins_s: 0.0,
                report: &report,
                receipts: &[],
                load_ratio: &[],
            };
            judge.look(seed, "player", &session);
        }
        judge
    }

    #[test]
    fn one_seed_shows_what_many_together_do_only_where_it_fails_alone() {
        let stalls_s: [&[f64]; 3] = [&[1.0, 2.0], &[4.0], &[]];
        for (expectation, seed, shown) in [
            ("stalled_s < 4", 1, true),
            ("stalled_s < 4", 0, false),
            ("stall_s.max < 4", 1, true),
            ("stall_s.mean < 2", 1, true),
            ("stall_s.mean < 2", 0, false),
            ("stall_s.sum < 7", 1, false),
            ("stall_s.sum < 2", 1, true),
            // Of one seed there would be fewer whatever happened.
            ("stall_s.count == 4", 1, false),
            ("stall_s.count > 3", 0, false),
            ("stall_s.count == 0", 0, true),
        ] {
            let judge = looked(expectation, &stalls_s);
            assert!(!judge.verdicts()[0].holds, "{expectation}");
            let alone = judge.is_shown_by(seed, expectation);
            assert_eq!(alone, shown, "{expectation}, seed {seed}");
        }
    }

    #[test]
    fn what_must_hold_of_each_fails_with_the_seed_that_is_worst() {
        let verdict = judge("stalled_s < 1", &[&[0.5], &[], &[2.0], &[1.5]]);
        assert!(!verdict.holds);
        assert_eq!((verdict.found, verdict.seed), (Some(2.0), Some(2)));
        assert!(judge("stalled_s < 1", &[&[0.5], &[]]).holds);
    }

    #[test]
    fn what_must_hold_of_all_together_is_of_all_together() {
        let found = |text: &str| judge(text, &[&[1.0, 2.0], &[4.0], &[]]);
        assert_eq!(found("stall_s.max < 5").found, Some(4.0));
        assert_eq!(found("stall_s.p50 < 5").found, Some(2.0));
        assert_eq!(found("stall_s.mean < 5").found, Some(7.0 / 3.0));
        assert_eq!(found("stall_s.count < 5").found, Some(3.0));
        assert!(!found("stall_s.p99 < 4").holds);
        assert_eq!(found("stall_s.p99 < 4").seed, Some(1));
        let nothing = judge("stall_s.p99 < 4", &[&[]]);
        assert_eq!(
            (nothing.holds, nothing.found, nothing.numbers),
            (true, None, 0)
        );
    }

    #[test]
    fn a_hundredth_of_many_may_be_worse() {
        let many: Vec<Vec<f64>> = (0..200)
            .map(|n| vec![if n < 2 { 9.0 } else { 1.0 }])
            .collect();
        let many: Vec<&[f64]> = many.iter().map(Vec::as_slice).collect();
        assert!(judge("stall_s.p99 < 2", &many).holds);
        assert!(!judge("stall_s.max < 2", &many).holds);
    }
}
