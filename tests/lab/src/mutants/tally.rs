//! Who failed under what: mutations by the scenarios that they fail, and the other way round.

use std::io::{self, Write};

use anyhow::{Context as _, Result, ensure};
use nearcast_scenario::{Scenario, ScenarioResult};

use crate::run::first_problem;

/// What a scenario fails under beside mutations.
pub(super) const HEALTHY: &str = "without its healthy edges";

/// All scenarios, and what each failed under.
#[derive(Debug)]
pub(super) struct Tally {
    scenarios: Vec<Kept>,
    rounds: Vec<Round>,
}

/// A scenario, or a cell of a matrix.
#[derive(Debug)]
struct Kept {
    name: String,
    file: String,
    is_cell: bool,
    /// Under how many mutations it was run.
    mutations: usize,
}

/// What came of scenarios under one mutation.
#[derive(Debug)]
struct Round {
    /// The mutation's name, or [`HEALTHY`].
    name: String,
    /// Scenarios that failed, by their place.
    failed: Vec<usize>,
}

/// What is told of some scenarios under one mutation.
#[derive(Debug)]
pub(super) struct Noticed {
    /// The mutation's name.
    name: String,
    /// By so many of them.
    by: usize,
    first: Option<First>,
}

/// The first scenario that failed.
#[derive(Debug)]
struct First {
    name: String,
    problem: String,
    /// What is left of its schedule, in words; `None` where only many seeds together fail.
    needs: Option<Vec<String>>,
}

impl Tally {
    pub(super) fn new(scenarios: &[Scenario]) -> Self {
        let scenarios = scenarios.iter().map(|scenario| Kept {
            name: scenario.name.clone(),
            file: scenario.file.display().to_string(),
            is_cell: scenario.cell.is_some(),
            mutations: 0,
        });
        Self {
            scenarios: scenarios.collect(),
            rounds: Vec::new(),
        }
    }

    /// Takes what came of so many scenarios under a mutation, and returns that; other scenarios may have been run under it before.
    ///
    /// # Errors
    /// Where one of them is another than those that are kept, or was not run.
    pub(super) fn add(
        &mut self,
        name: &str,
        results: &[ScenarioResult],
        asked: usize,
    ) -> Result<Noticed> {
        let mut failed = Vec::new();
        let mut first = None;
        for result in results {
            let place = self.place(result).with_context(|| {
                format!("{name}: {} is not among those to run", result.scenario)
            })?;
            self.scenarios[place].mutations += usize::from(name != HEALTHY);
            if result.passed {
                continue;
            }
            failed.push(place);
            first.get_or_insert_with(|| First {
                name: result.scenario.clone(),
                problem: first_problem(result).unwrap_or_default(),
                needs: result.minimised.as_ref().map(|least| least.left.clone()),
            });
        }
        ensure!(
            results.len() == asked,
            "{name}: {} of {asked} scenarios were run",
            results.len(),
        );
        let by = failed.len();
        match self.rounds.iter_mut().find(|known| known.name == name) {
            Some(known) => known.failed.extend(failed),
            None => self.rounds.push(Round {
                name: name.to_owned(),
                failed,
            }),
        }
        Ok(Noticed {
            name: name.to_owned(),
            by,
            first,
        })
    }

    /// Returns how many scenarios fail under a mutation.
    pub(super) fn failed_under(&self, name: &str) -> usize {
        let known = self.rounds.iter().find(|round| round.name == name);
        known.map_or(0, |round| round.failed.len())
    }

    fn place(&self, result: &ScenarioResult) -> Option<usize> {
        let mut all = self.scenarios.iter();
        all.position(|one| one.name == result.scenario && one.file == result.file)
    }

    /// Returns the mutations that all scenarios passed under.
    pub(super) fn survivors(&self) -> Vec<&str> {
        let mutations = self.rounds.iter().filter(|round| round.name != HEALTHY);
        let blind = mutations.filter(|round| round.failed.is_empty());
        blind.map(|round| round.name.as_str()).collect()
    }

    /// Returns the scenarios that failed under nothing.
    pub(super) fn never_failed(&self) -> Vec<&str> {
        let all = self.scenarios.iter().enumerate();
        let idle = all.filter(|(place, _)| !self.rounds.iter().any(|round| round.fails(*place)));
        idle.map(|(_, kept)| kept.name.as_str()).collect()
    }

    /// Writes what each scenario failed under; of a matrix how many of its cells did.
    pub(super) fn write_scenarios(&self, out: &mut dyn Write) -> io::Result<()> {
        let mutations = self.mutations();
        let mut lines: Vec<(String, String)> = Vec::new();
        let mut files: Vec<&str> = Vec::new();
        for (place, kept) in self.scenarios.iter().enumerate() {
            if !kept.is_cell {
                let under = self.rounds.iter().filter(|round| round.fails(place));
                let under: Vec<&str> = under.map(|round| round.name.as_str()).collect();
                let mut under = listed(&under);
                if kept.mutations < mutations {
                    under += &format!(" (run under {} of {mutations})", kept.mutations);
                }
                lines.push((kept.name.clone(), under));
            } else if !files.contains(&kept.file.as_str()) {
                files.push(&kept.file);
                lines.push(self.matrix(kept));
            }
        }
        let width = lines.iter().map(|(name, _)| name.chars().count()).max();
        let width = width.unwrap_or(0);
        writeln!(out, "\n{:width$}  fails under", "scenario")?;
        for (name, under) in lines {
            writeln!(out, "{name:width$}  {under}")?;
        }
        Ok(())
    }

    /// What the cells failed under that are of the same file as this one.
    fn matrix(&self, one: &Kept) -> (String, String) {
        let all = self.scenarios.iter().enumerate();
        let cells: Vec<usize> = all
            .filter(|(_, kept)| kept.is_cell && kept.file == one.file)
            .map(|(place, _)| place)
            .collect();
        let fails = |round: &Round| cells.iter().filter(|cell| round.fails(**cell)).count();
        let under: Vec<String> = self
            .rounds
            .iter()
            .map(|round| (round, fails(round)))
            .filter(|(_, count)| *count > 0)
            .map(|(round, count)| format!("{} {count}", round.name))
            .collect();
        let under: Vec<&str> = under.iter().map(String::as_str).collect();
        let noticed = cells
            .iter()
            .filter(|cell| self.rounds.iter().any(|round| round.fails(**cell)))
            .count();
        let name = one.name.split(": ").next().unwrap_or(&one.name);
        let cells = cells.len();
        (
            format!("{name} ({cells} cells)"),
            format!("{noticed} cells: {}", listed(&under)),
        )
    }

    fn mutations(&self) -> usize {
        let mutations = self.rounds.iter().filter(|round| round.name != HEALTHY);
        mutations.count()
    }

    /// Writes what is wrong, if anything is.
    pub(super) fn write_verdict(&self, out: &mut dyn Write, all: bool) -> io::Result<()> {
        let blind = self.survivors();
        writeln!(
            out,
            "\n{} mutations, {} scenarios",
            self.mutations(),
            self.scenarios.len()
        )?;
        if !blind.is_empty() {
            writeln!(
                out,
                "no scenario notices: {}. Say in one what must hold, so that it fails",
                blind.join(", ")
            )?;
        }
        let idle = self.never_failed();
        if all && !idle.is_empty() {
            writeln!(
                out,
                "nothing fails these {}: expect more of them, or break what they are about",
                idle.len()
            )?;
            for name in idle {
                writeln!(out, "  {name}")?;
            }
        }
        Ok(())
    }
}

/// Writes what the columns of rounds are.
pub(super) fn write_heading(out: &mut dyn Write, width: usize) -> io::Result<()> {
    writeln!(
        out,
        "{:width$}  fail  what is broken, which scenario fails first, and what that needs of its schedule",
        "mutation"
    )
}

impl Round {
    fn fails(&self, place: usize) -> bool {
        self.failed.contains(&place)
    }
}

impl Noticed {
    /// Writes how many scenarios failed, and the first of them with the least that it needs.
    pub(super) fn write(&self, out: &mut dyn Write, about: &str, width: usize) -> io::Result<()> {
        writeln!(out, "{:width$}  {:>4}  {about}", self.name, self.by)?;
        let indent = width + 8;
        let Some(first) = &self.first else {
            return writeln!(out, "{:indent$}nobody notices", "");
        };
        writeln!(
            out,
            "{:indent$}first: {}: {}",
            "", first.name, first.problem
        )?;
        let needs = match &first.needs {
            None => "many seeds together".to_owned(),
            Some(left) if left.is_empty() => "none of its faults and actions".to_owned(),
            Some(left) => left.join("; "),
        };
        writeln!(out, "{:indent$}needs: {needs}", "")
    }
}

fn listed(under: &[&str]) -> String {
    if under.is_empty() {
        "nothing".to_owned()
    } else {
        under.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nearcast_scenario::{Minimised, Problem};

    use super::*;

    const PLAIN: &str = "version = 1\nexpect = [\"stalled_s == 0\"]\nedges = [{ name = \"a\" }]\n";
    const MATRIX: &str = r#"
        [matrix]
        edge = "a"
        objects = [{ name = "all", on = {} }]
        shapes = [{ fault = { kind = "kill" } }, { fault = { kind = "stop" } }]
    "#;

    fn scenarios() -> Vec<Scenario> {
        let parse = |file: &str, text: &str| Scenario::parse(file.as_ref(), text).unwrap();
        let mut all = parse("one.toml", PLAIN);
        all.extend(parse("two.toml", PLAIN));
        all.extend(parse("grid.toml", &(PLAIN.to_owned() + MATRIX)));
        assert_eq!(all.len(), 4);
        all
    }

    /// Results of all scenarios, of which those fail that are named.
    fn results(failing: &[&str]) -> Vec<ScenarioResult> {
        let all = scenarios();
        let result = |scenario: &Scenario| {
            let fails = failing.contains(&scenario.name.as_str());
            let problem = Problem {
                seed: 3,
                what: "it stalls".to_owned(),
                again: String::new(),
            };
            ScenarioResult {
                scenario: scenario.name.clone(),
                about: String::new(),
                file: scenario.file.display().to_string(),
                cell: None,
                passed: !fails,
                seeds: 1,
                sessions: 1,
                played_s: 1.0,
                verdicts: Vec::new(),
                problems: fails.then_some(problem).into_iter().collect(),
                minimised: fails.then(|| Minimised {
                    seed: 3,
                    problem: String::new(),
                    left: scenario.told(),
                    of: 1,
                }),
                receipts: BTreeMap::new(),
                runs: Vec::new(),
            }
        };
        all.iter().map(result).collect()
    }

    fn told(write: impl Fn(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn who_fails_under_what_is_told_both_ways() {
        let mut tally = Tally::new(&scenarios());
        tally
            .add(HEALTHY, &results(&["grid: stop of all"])[2..], 2)
            .unwrap();
        let round = tally
            .add("no-rest", &results(&["one", "grid: kill of all"]), 4)
            .unwrap();
        assert_eq!(
            told(|out| round.write(out, "It goes on.", 8)),
            "no-rest      2  It goes on.\n                \
             first: one: it stalls\n                \
             needs: none of its faults and actions\n"
        );
        let round = tally.add("blind", &results(&[]), 4).unwrap();
        assert_eq!(
            told(|out| round.write(out, "It does not see.", 8)),
            "blind        0  It does not see.\n                nobody notices\n"
        );
        // One that takes long is not run under each.
        let mut some = results(&["grid: kill of all"]);
        some.remove(1);
        let round = tally.add("deaf", &some, 3).unwrap();
        let text = told(|out| round.write(out, "", 8));
        assert!(text.ends_with("needs: kill at edge a, at 0 s\n"), "{text}");

        assert_eq!(tally.survivors(), ["blind"]);
        assert_eq!(tally.never_failed(), ["two"]);
        assert_eq!(tally.failed_under("no-rest"), 2);
        assert_eq!(
            told(|out| tally.write_scenarios(out)),
            "\nscenario        fails under\n\
             one             no-rest\n\
             two             nothing (run under 2 of 3)\n\
             grid (2 cells)  2 cells: without its healthy edges 1, no-rest 1, deaf 1\n"
        );
        let verdict = told(|out| tally.write_verdict(out, true));
        assert!(verdict.contains("no scenario notices: blind."), "{verdict}");
        assert!(verdict.ends_with(
            "nothing fails these 1: expect more of them, or break what they are about\n  two\n"
        ));
        let some = told(|out| tally.write_verdict(out, false));
        assert!(!some.contains("two"), "{some}");
    }

    /// Large worlds are run after all others.
    #[test]
    fn what_is_run_later_is_added_to_what_was_run_before() {
        let mut tally = Tally::new(&scenarios());
        let only = |name: &str| {
            let mut all = results(&[name]);
            all.retain(|one| one.scenario == name);
            all
        };
        tally.add("blind", &results(&[])[2..], 2).unwrap();
        tally
            .add("deaf", &results(&["grid: stop of all"])[2..], 2)
            .unwrap();
        assert_eq!(tally.survivors(), ["blind"]);
        let noticed = tally.add("blind", &only("two"), 1).unwrap();
        assert!(
            told(|out| noticed.write(out, "", 5)).contains("first: two: it stalls"),
            "told of what was just run"
        );
        tally.add("deaf", &only("one"), 1).unwrap();
        assert_eq!(
            (tally.failed_under("deaf"), tally.failed_under("none")),
            (2, 0)
        );
        assert_eq!(tally.survivors(), [""; 0]);
        assert_eq!(tally.never_failed(), ["grid: kill of all"]);
        let said = told(|out| tally.write_scenarios(out));
        assert!(
            said.contains("one             deaf (run under 1 of 2)"),
            "{said}"
        );
    }

    /// Each cell counts: others of its matrix do not speak for it.
    #[test]
    fn a_cell_that_nothing_fails_is_told() {
        let mut tally = Tally::new(&scenarios());
        tally
            .add("no-rest", &results(&["one", "two", "grid: kill of all"]), 4)
            .unwrap();
        assert_eq!(tally.never_failed(), ["grid: stop of all"]);
        assert!(told(|out| tally.write_scenarios(out)).contains("1 cells: no-rest 1"));
    }

    #[test]
    fn scenarios_that_were_not_run_do_not_count_as_passed() {
        let mut tally = Tally::new(&scenarios());
        let said = tally.add("lazy", &results(&[])[1..], 4).unwrap_err();
        assert_eq!(said.to_string(), "lazy: 3 of 4 scenarios were run");
        let mut other = results(&[]);
        other[0].scenario = "other".to_owned();
        let said = tally.add("other", &other, 4).unwrap_err();
        assert!(said.to_string().contains("other is not among"), "{said}");
    }
}
