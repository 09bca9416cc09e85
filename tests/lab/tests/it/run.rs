//! `nearcast-lab run`: scenarios, their verdict, and what is written.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use nearcast_protocol::report::{SCHEMA, SessionReport};
use nearcast_scenario::{LabReport, RunResult};
use tempfile::TempDir;

/// An edge that hangs, and one that does not; a pause that has nothing to do with it.
const SCENARIO: &str = r#"
version = 1
about = "For tests."
expect = ["stalled_s == 0", "failures.edge.server_error == 0", "startup_s < 2"]
edges = [
    { name = "near", link = { rate_kbps = 12000, delay_ms = 5 } },
    { name = "far", distance_km = 500, link = { rate_kbps = 12000, delay_ms = 18 } },
]
last_mile = { rate_kbps = 15000, delay_ms = 5 }
title = { duration_s = 40 }
faults = [
    { id = "hangs", at_s = 4, edge = "in_use", fault = { kind = "hang" }, on = { object = "media", after = 0.5, count = 1 } },
    { id = "breaks", at_s = 8, edge = "all", fault = { kind = "status", status = 500 }, on = { object = "media", count = 1 } },
]
actions = [{ at_s = 5, do = "pause" }, { at_s = 6, do = "play" }]
"#;

fn run(room: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearcast-lab"))
        .arg("run")
        .args(arguments)
        .current_dir(room)
        .output()
        .unwrap()
}

fn room(text: &str) -> TempDir {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("s.toml"), text).unwrap();
    room
}

fn passing() -> String {
    SCENARIO.replace("\"failures.edge.server_error == 0\", ", "")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The kept scenarios but for the one with thousands of viewers, with few seeds: `make lab` runs all, with many.
#[test]
fn kept_scenarios_pass() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let failures = fs::read_dir(kept.join("failures")).unwrap();
    let failures = failures.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = failures
        .filter(|path| !path.ends_with("herd.toml"))
        .collect();
    files.sort();
    for folder in ["matrix", "characterisation", "control"] {
        files.push(kept.join(folder));
    }
    let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let output = run(Path::new("."), &[&files[..], &["--seeds", "2"]].concat());
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("313 of 313 cells held"), "{told}");
    assert!(told.contains("times real time"), "{told}");
}

#[test]
fn a_failure_is_made_smaller_and_told_with_the_command_that_shows_it_again() {
    let room = room(SCENARIO);
    let output = run(room.path(), &["s.toml", "--seeds", "3", "--json", "r.json"]);
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    assert!(told.contains("FAIL s"), "{told}");
    assert!(
        told.contains("again: nearcast-lab run s.toml --mode sim --seed "),
        "{told}"
    );
    assert!(
        told.contains("needs of its 4 faults and actions only:\n    status at all edges, at 8 s"),
        "{told}"
    );
    assert!(!told.contains("hang at"), "{told}");

    let report: LabReport =
        serde_json::from_slice(&fs::read(room.path().join("r.json")).unwrap()).unwrap();
    assert!(!report.passed);
    let result = &report.scenarios[0];
    assert_eq!((result.seeds, result.sessions), (3, 3));
    assert_eq!(result.minimised.as_ref().unwrap().left.len(), 1);
    assert!(
        result.receipts["hangs"] >= 3 && result.receipts["breaks"] >= 3,
        "{:?}",
        result.receipts
    );

    let seed = report.scenarios[0].problems[0].seed.to_string();
    let again = run(room.path(), &["s.toml", "--mode", "sim", "--seed", &seed]);
    assert_eq!(again.status.code(), Some(1));
}

fn report(room: &TempDir, name: &str) -> LabReport {
    serde_json::from_slice(&fs::read(room.path().join(name)).unwrap()).unwrap()
}

#[test]
fn the_smaller_schedule_is_that_of_the_problem_told_first() {
    // The second fails whatever is broken.
    let both = "\"failures.edge.server_error == 0\", \"startup_s < 0.001\"";
    let room = room(&SCENARIO.replace("\"failures.edge.server_error == 0\"", both));
    let output = run(room.path(), &["s.toml", "--json", "r.json"]);
    let told = told(&output);
    let first = "failures.edge.server_error == 0 does not hold";
    assert!(told.contains(&format!("  of these, `{first}")), "{told}");
    assert!(
        told.contains("needs of its 4 faults and actions only:\n    status at all edges, at 8 s"),
        "{told}"
    );
    let minimised = report(&room, "r.json").scenarios.remove(0).minimised;
    let problem = minimised.unwrap().problem;
    assert!(problem.starts_with(first), "{problem}");
}

#[test]
fn a_smaller_schedule_fails_in_the_same_direction() {
    let once = "\"failures.edge.server_error == 1\"";
    let again = "    { id = \"again\", at_s = 12, edge = \"all\", fault = { kind = \"status\", status = 500 }, on = { object = \"media\", count = 1 } },\n]\nactions";
    let text = SCENARIO.replace("\"failures.edge.server_error == 0\"", once);
    let room = room(&text.replace("]\nactions", again));
    let output = run(room.path(), &["s.toml", "--json", "r.json"]);
    // With no fault at all there are none, which is another failure.
    let told = told(&output);
    assert!(told.contains("== 1 does not hold: "), "{told}");
    assert!(
        told.contains("needs of its 5 faults and actions only:\n    status at all edges"),
        "{told}"
    );
}

#[test]
fn too_much_is_too_much_where_it_is_as_much_as_must_not_be() {
    let below = "\"failures.edge.server_error < 1\"";
    let again = "    { id = \"again\", at_s = 12, edge = \"all\", fault = { kind = \"status\", status = 500 }, on = { object = \"media\", count = 1 } },\n]\nactions";
    let text = SCENARIO.replace("\"failures.edge.server_error == 0\"", below);
    let room = room(&text.replace("]\nactions", again));
    run(room.path(), &["s.toml", "--json", "r.json"]);
    let minimised = report(&room, "r.json").scenarios.remove(0).minimised;
    let left = minimised.unwrap().left;
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn what_an_earlier_run_wrote_does_not_stand_for_one_that_comes_to_nothing() {
    let room = room(&passing());
    let written = ["r.json", "r.xml", "r.html", "r.jsonl"];
    let arguments = [
        "s.toml", "--json", "r.json", "--junit", "r.xml", "--html", "r.html", "--jsonl", "r.jsonl",
    ];
    assert!(run(room.path(), &arguments).status.success());
    assert!(written.iter().all(|name| room.path().join(name).exists()));
    let nothing = run(
        room.path(),
        &[&arguments[..], &["--only", "nothing"]].concat(),
    );
    assert_eq!(nothing.status.code(), Some(2));
    assert!(!written.iter().any(|name| room.path().join(name).exists()));
}

#[test]
fn what_only_many_seeds_show_is_told_with_the_command_that_runs_them() {
    let many = "\"failures.edge.server_error.sum < 4\", \"startup_s.max < 0.001\"";
    let room = room(&SCENARIO.replace("\"failures.edge.server_error == 0\"", many));
    run(room.path(), &["s.toml", "--seeds", "5", "--json", "r.json"]);
    let problems = report(&room, "r.json").scenarios.remove(0).problems;
    let [many, one] = &problems[..] else {
        panic!("{problems:?}");
    };
    assert_eq!(many.again, "nearcast-lab run s.toml --mode sim --seeds 5");
    let seed = one.seed;
    assert_eq!(
        one.again,
        format!("nearcast-lab run s.toml --mode sim --seed {seed}")
    );
    for problem in &problems {
        let words: Vec<&str> = problem.again.split_whitespace().skip(2).collect();
        let again = told(&run(room.path(), &words));
        let expectation = problem.what.split(" does").next().unwrap();
        assert!(
            again.contains(&format!("{expectation} does not hold")),
            "{again}"
        );
    }
}

#[test]
fn the_runs_that_problems_name_are_kept() {
    // Startup varies little between seeds, and is longest in any of them.
    let room = room(&SCENARIO.replace("startup_s < 2", "startup_s < 0.001"));
    run(
        room.path(),
        &["s.toml", "--seeds", "20", "--json", "r.json"],
    );
    let result = report(&room, "r.json").scenarios.remove(0);
    let kept: Vec<u64> = result.runs.iter().map(|run| run.seed).collect();
    let named = result.problems.iter().map(|problem| problem.seed);
    let named: Vec<u64> = named.collect();
    assert!(named.iter().any(|seed| *seed > 1), "{named:?}");
    assert!(
        named.iter().all(|seed| kept.contains(seed)),
        "{kept:?} {named:?}"
    );
    assert_eq!(kept.first(), Some(&0));
    assert!(kept.len() <= 2 + named.len(), "{kept:?}");
}

#[test]
fn the_same_seeds_write_the_same_bytes() {
    let room = room(&passing());
    let write = |name: &str| {
        let lines = format!("{name}l");
        let output = run(
            room.path(),
            &["s.toml", "--seeds", "5", "--json", name, "--jsonl", &lines],
        );
        assert!(output.status.success(), "{}", told(&output));
        let read = |name: &str| fs::read(room.path().join(name)).unwrap();
        (read(name), read(&lines))
    };
    let (one, lines) = write("one.json");
    assert_eq!((one, lines.clone()), write("two.json"));
    let lines = String::from_utf8(lines).unwrap();
    let runs: Vec<RunResult> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
    assert_eq!(seeds, [0, 1, 2, 3, 4]);
    for run in runs {
        assert!(
            run.passed && run.players.len() == 1 && run.receipts.len() >= 2,
            "{}",
            run.seed
        );
        assert!(!run.links.is_empty() && !run.load.is_empty());
    }
}

#[test]
fn junit_has_a_case_for_each_scenario_and_says_why_one_failed() {
    let room = room(SCENARIO);
    fs::write(room.path().join("t.toml"), passing()).unwrap();
    let output = run(room.path(), &["s.toml", "t.toml", "--junit", "r.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let file = fs::File::open(room.path().join("r.xml")).unwrap();
    let suites = junit_parser::from_reader(std::io::BufReader::new(file)).unwrap();
    assert_eq!((suites.tests, suites.failures), (2, 1));
    // Of the clock on the wall, not of the 40 s that each plays.
    let cases_s = suites.suites.iter().flat_map(|suite| &suite.cases);
    let cases_s: f64 = cases_s.map(|case| case.time).sum();
    // Each is told in whole milliseconds.
    let rounded_s = 0.002;
    assert!(
        0.0 < cases_s && cases_s <= suites.time + rounded_s,
        "{suites:?}"
    );
    assert!(suites.time < 40.0, "{suites:?}");
    let failed = suites
        .suites
        .iter()
        .flat_map(|suite| &suite.cases)
        .find(|case| case.status.is_failure());
    let failed = failed.unwrap();
    assert!(failed.name.ends_with('s'), "{}", failed.name);
    let text = format!("{:?}", failed.status);
    assert!(
        text.contains("failures.edge.server_error") && text.contains("--seed 0"),
        "{text}"
    );
}

#[test]
fn what_could_not_be_written_is_told_before_anything_runs() {
    let room = room(passing().as_str());
    for path in ["nowhere/r.xml", "kept"] {
        fs::create_dir_all(room.path().join("kept")).unwrap();
        let output = run(room.path(), &["s.toml", "--junit", path]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(&format!("{path} cannot be written")),
            "{said}"
        );
    }
}

#[test]
fn what_is_read_is_not_written_over() {
    let room = room(&passing());
    fs::create_dir(room.path().join("kept")).unwrap();
    fs::write(room.path().join("kept/t.toml"), passing()).unwrap();
    for (arguments, why) in [
        ("s.toml --json s.toml", "s.toml is what this is made from"),
        (
            "s.toml --jsonl ./s.toml",
            "s.toml is what this is made from",
        ),
        (
            "kept --html kept/t.toml",
            "t.toml is what this is made from",
        ),
        ("s.toml --json r --junit r", "r is asked for twice"),
        ("s.toml --json r --jsonl ./r", "r is asked for twice"),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let output = run(room.path(), &words);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why), "{arguments}: {said}");
    }
    for name in ["s.toml", "kept/t.toml"] {
        let text = fs::read_to_string(room.path().join(name)).unwrap();
        assert_eq!(text, passing(), "{name}");
    }
    assert!(!room.path().join("r").exists());
}

#[cfg(unix)]
#[test]
fn links_are_written_through() {
    let room = room(&passing());
    fs::write(room.path().join("there.json"), "of an earlier run").unwrap();
    let link = room.path().join("latest.json");
    std::os::unix::fs::symlink("there.json", &link).unwrap();
    run(room.path(), &["s.toml", "--json", "latest.json"]);
    assert!(link.is_symlink());
    assert!(report(&room, "there.json").passed);
    // What comes to nothing leaves nothing there, either.
    run(room.path(), &["none.toml", "--json", "latest.json"]);
    assert_eq!(fs::read(room.path().join("there.json")).unwrap(), b"");
    fs::remove_file(room.path().join("there.json")).unwrap();
    let both = ["s.toml", "--json", "latest.json", "--html", "there.json"];
    let said = String::from_utf8(run(room.path(), &both).stderr).unwrap();
    assert!(said.contains("there.json is asked for twice"), "{said}");
}

/// Readers of such files forgive each other nothing: the same file by a library of another language.
#[test]
fn junit_is_read_by_a_reader_of_another_make_too() {
    let room = room(SCENARIO);
    fs::write(room.path().join("t.toml"), passing()).unwrap();
    run(room.path(), &["s.toml", "t.toml", "--junit", "r.xml"]);
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = lab.ancestors().nth(2).unwrap();
    let reader = root.join("target/tools/junit/node_modules/junit2json");
    assert!(
        reader.is_dir(),
        "no reader of JUnit XML: `make setup-test` installs it"
    );
    let output = Command::new("node")
        .arg(lab.join("tests/it/junit.mjs"))
        .arg(reader.join("dist/esm/index.js"))
        .arg(room.path().join("r.xml"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&read["tests"], &read["failures"]), (&2.into(), &1.into()));
    let suites = read["testsuite"].as_array().unwrap().iter();
    let cases = suites.flat_map(|suite| suite["testcase"].as_array().unwrap());
    let failed = cases.filter(|case| !case["failure"].is_null());
    let failed: Vec<String> = failed.map(ToString::to_string).collect();
    assert_eq!(failed.len(), 1, "{read}");
    assert!(failed[0].contains("failures.edge.server_error"), "{read}");
}

#[test]
fn what_cannot_be_run_is_refused_with_2_and_told_all_at_once() {
    let room = room(&SCENARIO.replace("rate_kbps = 12000", "rate = 12000"));
    fs::write(
        room.path().join("t.toml"),
        SCENARIO.replace("in_use", "nowhere"),
    )
    .unwrap();
    fs::write(room.path().join("r.xml"), "of an earlier run").unwrap();
    let output = run(room.path(), &["s.toml", "t.toml", "--junit", "r.xml"]);
    assert_eq!(output.status.code(), Some(2));
    let junit = fs::read_to_string(room.path().join("r.xml")).unwrap();
    assert!(
        junit.contains("tests=\"2\"") && junit.contains("errors=\"2\""),
        "{junit}"
    );
    assert!(junit.contains("s.toml:6: `rate` lacks its unit"), "{junit}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("s.toml:6: `rate` lacks its unit"), "{said}");
    assert!(
        said.contains("t.toml:") && said.contains("there is no edge `nowhere`"),
        "{said}"
    );
    let missing = run(room.path(), &["none.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("none.toml: cannot be read"));
}

#[test]
fn a_fault_that_never_happened_fails_the_scenario() {
    let room = room(&passing().replace("at_s = 8", "at_s = 100"));
    let output = run(room.path(), &["s.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("the fault `breaks` never took effect"),
        "{}",
        told(&output)
    );
}

#[test]
fn what_a_viewer_was_to_do_when_all_was_over_fails_the_scenario() {
    let late = "{ at_s = 99, do = \"seek\", to_s = 3 }, { at_s = 5, do = \"pause\" }";
    let room = room(&passing().replace("{ at_s = 5, do = \"pause\" }", late));
    let output = run(room.path(), &["s.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    assert!(
        told.contains("`seek to 3 s` at 99 s was never done"),
        "{told}"
    );
    // Who is stopped before may have been by chance.
    let room = self::room(
        &passing()
            .replace("at_s = 5, do = \"pause\" }", "at_s = 10, do = \"stop\" }")
            .replace("at_s = 6,", "at_s = 12,"),
    );
    let stopped = run(room.path(), &["s.toml"]);
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
}

#[test]
fn chance_that_never_struck_fails_several_seeds_and_not_one() {
    // Nobody asks for keys.
    let by_chance = "on = { object = \"key\", probability = 0.5 } },\n]";
    let room = room(&passing().replace("on = { object = \"media\", count = 1 } },\n]", by_chance));
    let one = run(room.path(), &["s.toml", "--seed", "3"]);
    assert_eq!(one.status.code(), Some(0), "{}", told(&one));
    let several = run(room.path(), &["s.toml", "--seeds", "4"]);
    assert_eq!(several.status.code(), Some(1));
    let told = told(&several);
    assert!(
        told.contains("the fault `breaks` took effect with none of 4 seeds"),
        "{told}"
    );
    assert!(
        told.contains("again: nearcast-lab run s.toml --mode sim --seeds 4"),
        "{told}"
    );
}

#[test]
fn what_a_command_would_not_do_is_refused() {
    let room = room(&passing());
    let report = serde_json::to_string_pretty(&SessionReport {
        schema: SCHEMA.to_owned(),
        ..SessionReport::default()
    });
    fs::write(room.path().join("report.json"), report.unwrap()).unwrap();
    let named = |name: &str, what: &str| {
        let text = format!("{what}\n{}", passing());
        fs::write(room.path().join(name), text).unwrap();
    };
    named("s.toml", "name = \"same one\"");
    named("t.toml", "name = \"same-one\"");
    named("u.toml", "modes = [\"app\", \"packet\"]");
    for (arguments, why) in [
        ("--replay x.jsonl --html x.html", "--html <FILE>"),
        ("--replay x.jsonl --jsonl y.jsonl", "--jsonl <FILE>"),
        ("--replay x.jsonl --junit x.xml", "--junit <FILE>"),
        ("--replay x.jsonl --mode app", "--mode <MODE>"),
        ("--replay x.jsonl --seeds 3", "--seeds <N>"),
        ("--replay x.jsonl --seed 3", "--seed <N>"),
        ("--replay x.jsonl --record y", "--record <DIR>"),
        ("--against x.json", "  --replay <FILE>\n\n"),
        (
            "--replay report.json",
            "report.json is the report of a session, which --against takes",
        ),
        ("s.toml --seeds 0", "0 is not in 1.."),
        ("s.toml --record y", "give --mode app or packet"),
        (
            "s.toml t.toml --mode app --record y",
            "two are called `same-one`",
        ),
        ("s.toml --only x", "no name of these scenarios contains `x`"),
        (
            "u.toml",
            "none of these scenarios is for --mode sim: --mode app or packet would be right",
        ),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let output = run(room.path(), &words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(why), "{said}");
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}

/// A folder of scenarios with a seed each takes long enough to be interrupted.
#[test]
fn an_interrupted_run_writes_what_it_has_done() {
    let room = room(&passing());
    let child = Command::new(env!("CARGO_BIN_EXE_nearcast-lab"))
        .args(["run", "s.toml", "--seeds", "1000000", "--json", "r.json"])
        .current_dir(room.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Long enough for some batches, far too short for all of them.
    let pid = child.id().to_string();
    let waited = Command::new("sleep").arg("3").status().unwrap();
    assert!(waited.success());
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("interrupted"), "{}", told(&output));
    let report: LabReport =
        serde_json::from_slice(&fs::read(room.path().join("r.json")).unwrap()).unwrap();
    let seeds = report.scenarios[0].seeds;
    assert!(
        report.interrupted && seeds > 0 && seeds < 1_000_000,
        "{seeds}"
    );
    assert!(!report.passed && report.scenarios[0].passed);
    let opened = Command::new(env!("CARGO_BIN_EXE_nearcast-lab"))
        .args(["report", "r.json"])
        .current_dir(room.path())
        .output()
        .unwrap();
    assert_eq!(opened.status.code(), Some(1), "{}", self::told(&opened));
}
