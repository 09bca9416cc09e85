//! What came of a run, as continuous integration reads it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nearcast_scenario::{LabReport, ScenarioError, ScenarioResult};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// How long runs took on the wall clock: the same run never takes the same, so that it is in no report.
#[derive(Clone, Debug)]
pub(crate) struct Took {
    pub(crate) all_s: f64,
    /// By scenario, in the report's order; real runs go on beside each other.
    pub(crate) each_s: Vec<f64>,
}

/// Returns JUnit XML: a suite for each file, a case for each scenario (each cell of a matrix).
pub(crate) fn text(report: &LabReport, took: Option<&Took>) -> Result<String> {
    let mut junit = Report::new("nearcast-lab");
    let mut suites: Vec<TestSuite> = Vec::new();
    for (place, result) in report.scenarios.iter().enumerate() {
        let mut case = case(result);
        if let Some(took_s) = took.and_then(|took| took.each_s.get(place)) {
            case.set_time(duration(*took_s));
        }
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
    if let Some(took) = took {
        let all = duration(took.all_s);
        for suite in &mut suites {
            let cases = suite.test_cases.iter().filter_map(|case| case.time);
            suite.set_time(cases.sum::<Duration>().min(all));
        }
        junit.set_time(all);
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
        let all = all.map(|problem| {
            let again = Some(&problem.again).filter(|again| !again.is_empty());
            let again = again.map_or_else(String::new, |again| format!("  again: {again}\n"));
            format!("{}\n{again}", problem.what)
        });
        status.set_description(all.collect::<String>());
    }
    let mut case = TestCase::new(result.scenario.clone(), status);
    case.set_classname(result.file.clone());
    let told = result.verdicts.iter().map(|verdict| format!("{verdict}\n"));
    case.set_system_out(told.collect::<String>());
    case
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
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
        let whole = text(&report, None).unwrap();
        assert!(!whole.contains("<error"), "{whole}");
        report.interrupted = true;
        let part = text(&report, None).unwrap();
        assert!(
            part.contains("errors=\"1\"") && part.contains("interrupted: "),
            "{part}"
        );
    }
}
