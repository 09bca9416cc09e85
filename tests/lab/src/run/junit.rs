//! What came of a run, as continuous integration reads it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nearcast_scenario::{LabReport, ScenarioError, ScenarioResult};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// Returns JUnit XML: a suite for each file, a case for each scenario (each cell of a matrix).
pub(crate) fn text(report: &LabReport) -> Result<String> {
    let mut junit = Report::new("nearcast-lab");
    let mut suites: Vec<TestSuite> = Vec::new();
    for result in &report.scenarios {
        let case = case(result);
        match suites
            .iter_mut()
            .find(|suite| suite.name.as_str() == result.file)
        {
            Some(suite) => {
                suite.add_test_case(case);
            }
            None => {
                let mut suite = TestSuite::new(result.file.clone());
                suite.add_test_case(case);
                suites.push(suite);
            }
        }
    }
    if report.interrupted {
        // What is left out must not pass for all there was.
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message("interrupted: this is what was done by then");
        let mut suite = TestSuite::new("nearcast-lab");
        suite.add_test_case(TestCase::new("the whole run", status));
        suites.push(suite);
    }
    junit.add_test_suites(suites);
    junit.to_string().context("writing JUnit XML")
}

/// Returns JUnit XML of files that cannot be read, an error each.
pub(crate) fn errors(errors: &[ScenarioError]) -> Result<String> {
    let mut junit = Report::new("nearcast-lab");
    junit.add_test_suites(errors.iter().map(|error| {
        let file = error.file.display().to_string();
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(error.what.clone());
        status.set_description(error.to_string());
        let mut case = TestCase::new("reading the file", status);
        case.set_classname(file.clone());
        let mut suite = TestSuite::new(file);
        suite.add_test_case(case);
        suite
    }));
    junit.to_string().context("writing JUnit XML")
}

fn case(result: &ScenarioResult) -> TestCase {
    let mut status = if result.passed {
        TestCaseStatus::success()
    } else {
        TestCaseStatus::non_success(NonSuccessKind::Failure)
    };
    if !result.passed {
        let first = result.problems.first();
        status
            .set_message(first.map_or_else(|| "failed".to_owned(), |problem| problem.what.clone()));
        let all = result.problems.iter();
        let all = all.map(|problem| format!("{}\n  again: {}\n", problem.what, problem.again));
        status.set_description(all.collect::<String>());
    }
    let mut case = TestCase::new(result.scenario.clone(), status);
    case.set_classname(result.file.clone());
    case.set_time(Duration::try_from_secs_f64(result.played_s).unwrap_or_default());
    let told = result.verdicts.iter().map(|verdict| format!("{verdict}\n"));
    case.set_system_out(told.collect::<String>());
    case
}

#[cfg(test)]
mod tests {
    use nearcast_scenario::{Mode, SCHEMA};

    use super::*;

    #[test]
    fn a_run_that_was_interrupted_is_an_error() {
        let mut report = LabReport {
            schema: SCHEMA.to_owned(),
            mode: Mode::Sim,
            passed: true,
            interrupted: false,
            busy: false,
            scenarios: Vec::new(),
        };
        let whole = text(&report).unwrap();
        assert!(!whole.contains("<error"), "{whole}");
        report.interrupted = true;
        let part = text(&report).unwrap();
        assert!(
            part.contains("errors=\"1\"") && part.contains("interrupted: "),
            "{part}"
        );
    }
}
