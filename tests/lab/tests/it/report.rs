//! Earlier results: opened, converted, compared, or refused.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::{refusal, stdout};

/// A world in which nothing holds with the seed 1 that does not hold with others.
const SCENARIO: &str = r#"
version = 1
name = "quick"
expect = ["stalled_s == 0", "played_s < 1"]
title = { duration_s = 20 }
[[edges]]
name = "near"
link = { rate_kbps = 20000, delay_ms = 5 }
[[faults]]
edge = "near"
fault = { kind = "late_first_byte", delay_ms = 20 }
"#;

fn lab(room: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearcast-lab"))
        .args(arguments.split_whitespace())
        .current_dir(room)
        .output()
        .unwrap()
}

fn json(room: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(room.join(name)).unwrap()).unwrap()
}

/// A folder with a report, its lines, and the report of its player alone.
fn room() -> TempDir {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("quick.toml"), SCENARIO).unwrap();
    let done = lab(
        room.path(),
        "run quick.toml --seeds 3 --json all.json --jsonl all.jsonl",
    );
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let all = json(room.path(), "all.json");
    let player = &all["scenarios"][0]["runs"][0]["players"][0]["report"];
    fs::write(room.path().join("player.json"), player.to_string()).unwrap();
    room
}

#[test]
fn reports_and_lines_are_as_their_schemas_say() {
    let room = room();
    let validator = |of: &str| {
        let schema = stdout(&lab(room.path(), &format!("schema {of}")));
        jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap()
    };
    let first = |errors: jsonschema::ValidationError<'_>| errors.to_string();
    let report = json(room.path(), "all.json");
    assert_eq!(validator("report").validate(&report).map_err(first), Ok(()));
    let lines = fs::read_to_string(room.path().join("all.jsonl")).unwrap();
    let result = validator("result");
    assert_eq!(lines.lines().count(), 3);
    for line in lines.lines() {
        let mut run: Value = serde_json::from_str(line).unwrap();
        assert_eq!(result.validate(&run).map_err(first), Ok(()));
        run["players"][0]["report"]["stalls"] = Value::from("none");
        assert!(!result.is_valid(&run), "a session is described, too");
    }
}

#[test]
fn a_report_is_opened_and_written_again() {
    let room = room();
    let told = stdout(&lab(
        room.path(),
        "report all.json --json again.json --junit again.xml --html again.html",
    ));
    assert!(told.contains("FAIL quick (3 seeds, 3 sessions)"), "{told}");
    assert!(told.ends_with("1 scenarios, 1 failed\n"), "{told}");
    assert_eq!(
        json(room.path(), "all.json"),
        json(room.path(), "again.json")
    );
    let junit = fs::read_to_string(room.path().join("again.xml")).unwrap();
    assert!(junit.contains("failures=\"1\""), "{junit}");
    let page = fs::read_to_string(room.path().join("again.html")).unwrap();
    assert!(page.contains("Leon Sorokin") && page.contains("Permission is hereby granted"));
}

/// A player's own report says whether playback came to its end.
#[test]
fn a_play_that_was_cut_short_has_not_ended() {
    let room = room();
    let cut = "actions = [{ at_s = 8, do = \"stop\" }]\n[[edges]]";
    let cut = SCENARIO.replacen("[[edges]]", cut, 1);
    fs::write(room.path().join("cut.toml"), cut).unwrap();
    lab(room.path(), "run cut.toml --json cut.json");
    let player = &json(room.path(), "cut.json")["scenarios"][0]["runs"][0]["players"][0]["report"];
    fs::write(room.path().join("short.json"), player.to_string()).unwrap();
    // Not of where; a process would say what it used of the machine.
    for (name, ended) in [("player", true), ("short", false)] {
        stdout(&lab(
            room.path(),
            &format!("report {name}.json --json read.json"),
        ));
        let read = json(room.path(), "read.json");
        let player = &read["scenarios"][0]["runs"][0]["players"][0];
        assert_eq!(player["report"]["ended"], ended, "{name}");
        assert_eq!(read["mode"], "sim");
    }
}

#[test]
fn lines_become_a_report_of_their_scenarios() {
    let room = room();
    stdout(&lab(room.path(), "report all.jsonl --json lines.json"));
    let (lines, all) = (
        json(room.path(), "lines.json"),
        json(room.path(), "all.json"),
    );
    let (ours, theirs) = (&lines["scenarios"][0], &all["scenarios"][0]);
    for field in [
        "scenario", "file", "passed", "seeds", "sessions", "receipts", "verdicts",
    ] {
        assert_eq!(ours[field], theirs[field], "{field}");
    }
    // Those that problems name are kept in full; here that is each.
    assert_eq!(ours["runs"].as_array().unwrap().len(), 3);
    assert_eq!(ours["runs"][0], theirs["runs"][0]);
    let problems = ours["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 3);
    assert_eq!(
        problems[2]["again"],
        "nearcast-lab run quick.toml --mode sim --seed 2"
    );
}

/// What no run shows alone is neither held against each, nor forgotten.
#[test]
fn of_lines_all_together_is_judged_what_must_hold_of_all_together() {
    let room = TempDir::new().unwrap();
    for (least, passes) in [(2, true), (4, false)] {
        let expect =
            format!("[\"played_s.count > {least}\", \"startup_s.max < 9\", \"startup_s < 9\"]");
        let text = SCENARIO.replace("[\"stalled_s == 0\", \"played_s < 1\"]", &expect);
        fs::write(room.path().join("s.toml"), text).unwrap();
        lab(
            room.path(),
            "run s.toml --seeds 3 --json all.json --jsonl all.jsonl",
        );
        let lines = fs::read_to_string(room.path().join("all.jsonl")).unwrap();
        for line in lines.lines() {
            let run: Value = serde_json::from_str(line).unwrap();
            assert_eq!(run["passed"], true, "{}", run["problems"]);
        }
        stdout(&lab(room.path(), "report all.jsonl --json lines.json"));
        let (lines, all) = (
            json(room.path(), "lines.json"),
            json(room.path(), "all.json"),
        );
        assert_eq!(lines["passed"], passes);
        let (ours, theirs) = (&lines["scenarios"][0], &all["scenarios"][0]);
        for field in ["passed", "verdicts", "problems"] {
            assert_eq!(ours[field], theirs[field], "{field}");
        }
    }
}

#[test]
fn lines_of_one_sweep_are_one_scenario_however_many_files_they_are_in() {
    let room = room();
    let all = fs::read_to_string(room.path().join("all.jsonl")).unwrap();
    let first = all.split_inclusive('\n').next().unwrap();
    fs::write(room.path().join("a.jsonl"), first).unwrap();
    fs::write(room.path().join("b.jsonl"), &all[first.len()..]).unwrap();
    stdout(&lab(
        room.path(),
        "report a.jsonl b.jsonl --json split.json",
    ));
    stdout(&lab(room.path(), "report all.jsonl --json whole.json"));
    assert_eq!(
        json(room.path(), "split.json"),
        json(room.path(), "whole.json")
    );
    let told = stdout(&lab(
        room.path(),
        "report a.jsonl b.jsonl --compare all.jsonl",
    ));
    assert!(!told.contains("only in"), "{told}");
}

#[test]
fn what_a_player_wrote_of_itself_is_opened_too() {
    let room = room();
    let told = stdout(&lab(
        room.path(),
        "report player.json --json of-player.json",
    ));
    assert!(
        told.starts_with("ok   player (1 seed, 1 sessions)"),
        "{told}"
    );
    let report = json(room.path(), "of-player.json");
    let run = &report["scenarios"][0]["runs"][0];
    assert_eq!(
        run["players"][0]["report"],
        json(room.path(), "player.json")
    );
}

#[test]
fn a_folder_of_recorded_sessions_is_opened_by_its_reports() {
    let room = room();
    let kept = room.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let none = refusal(&lab(room.path(), "report kept"));
    assert!(
        none.contains("kept holds no file that ends in .report.json"),
        "{none}"
    );
    for name in ["b", "a"] {
        let report = kept.join(format!("quick-app-0-{name}.report.json"));
        fs::copy(room.path().join("player.json"), report).unwrap();
        fs::write(kept.join(format!("quick-app-0-{name}.jsonl")), "{}").unwrap();
    }
    let told = stdout(&lab(room.path(), "report kept"));
    let first: Vec<&str> = told
        .lines()
        .map(|line| line.split(' ').nth(3).unwrap())
        .collect();
    assert_eq!(
        first[..2],
        ["quick-app-0-a.report", "quick-app-0-b.report"],
        "{told}"
    );
}

#[test]
fn two_files_are_told_side_by_side() {
    let room = room();
    let slow = SCENARIO.replace("20000", "2000");
    fs::write(room.path().join("slow.toml"), slow).unwrap();
    lab(room.path(), "run slow.toml --json slow.json");
    let told = stdout(&lab(room.path(), "report all.json --compare slow.json"));
    assert!(told.starts_with("quick, player: seed 0\n"), "{told}");
    assert!(told.contains("compare what --jsonl wrote"), "{told}");
    let mean = |name: &str| {
        let report = json(room.path(), name);
        let player = &report["scenarios"][0]["runs"][0]["players"][0];
        player["report"]["mean_bitrate_bps"].as_f64().unwrap() / 1e3
    };
    let (a, b) = (mean("all.json"), mean("slow.json"));
    let row = told.lines().find(|line| line.contains("mean_bitrate_kbps"));
    let row: Vec<&str> = row.unwrap().split_whitespace().skip(1).collect();
    assert_eq!(row, [a, b, b - a].map(|number| format!("{number:.4}")));
    assert!(told.contains("served.near"), "{told}");
}

#[test]
fn two_sweeps_are_compared_by_scenario_and_over_the_seeds_of_both() {
    let room = room();
    let slow = SCENARIO.replace("20000", "2000");
    fs::write(room.path().join("slow.toml"), &slow).unwrap();
    let other = slow.replace("\"quick\"", "\"other\"");
    fs::write(room.path().join("other.toml"), other).unwrap();
    lab(
        room.path(),
        "run other.toml slow.toml --seeds 4 --jsonl slow.jsonl",
    );
    let told = stdout(&lab(room.path(), "report all.jsonl --compare slow.jsonl"));
    assert!(
        told.starts_with("quick, player: means of 3 seeds\n"),
        "{told}"
    );
    assert!(told.ends_with("only in B: other\n"), "{told}");
    let startup_s = |name: &str| {
        let lines = fs::read_to_string(room.path().join(name)).unwrap();
        let runs = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let runs = runs.filter(|run| run["scenario"] == "quick").take(3);
        let each = runs.map(|run| run["players"][0]["report"]["startup_s"].as_f64().unwrap());
        each.sum::<f64>() / 3.0
    };
    let (a, b) = (startup_s("all.jsonl"), startup_s("slow.jsonl"));
    let row = told
        .lines()
        .find(|line| line.trim().starts_with("startup_s "));
    let row: Vec<&str> = row.unwrap().split_whitespace().skip(1).collect();
    assert_eq!(row, [a, b, b - a].map(|number| format!("{number:.4}")));
    // Alone in each they are compared, whatever they are called.
    lab(room.path(), "run other.toml --seed 9 --jsonl other.jsonl");
    let told = stdout(&lab(room.path(), "report all.jsonl --compare other.jsonl"));
    let first = "quick beside other, player: means of 3 seeds and seed 9, none of them in both\n";
    assert!(told.starts_with(first), "{told}");
}

#[test]
fn of_two_scenarios_of_one_name_each_is_compared_with_that_of_its_file() {
    let room = room();
    for folder in ["a", "b"] {
        fs::create_dir(room.path().join(folder)).unwrap();
        fs::copy(
            room.path().join("quick.toml"),
            room.path().join(folder).join("quick.toml"),
        )
        .unwrap();
    }
    lab(room.path(), "run a b --jsonl both.jsonl");
    lab(room.path(), "run b --jsonl one.jsonl");
    let page = "report both.jsonl --compare one.jsonl --html page.html";
    let told = stdout(&lab(room.path(), page));
    assert!(told.ends_with("only in A: quick\n"), "{told}");
    let page = fs::read_to_string(room.path().join("page.html")).unwrap();
    assert!(page.contains("{\"a\":1,\"b\":0,"), "the second of A");
}

#[test]
fn what_is_read_is_not_written_over() {
    let room = room();
    fs::copy(room.path().join("all.json"), room.path().join("other.json")).unwrap();
    for arguments in [
        "report all.json --json all.json",
        "report all.json --html ./all.json",
        "report other.json --compare all.json --html all.json",
    ] {
        let before = fs::read(room.path().join("all.json")).unwrap();
        let refusal = refusal(&lab(room.path(), arguments));
        assert!(
            refusal.contains("all.json is what this is made from"),
            "{refusal}"
        );
        assert_eq!(fs::read(room.path().join("all.json")).unwrap(), before);
    }
}

#[test]
fn files_that_are_no_results_are_refused_by_what_they_are() {
    let room = room();
    let write = |name: &str, text: &str| fs::write(room.path().join(name), text).unwrap();
    write("empty.json", "");
    write("other.json", "{\"schema\": \"nearcast.bench/1\"}");
    write("cut.json", "{\"schema\": \"nearcast.lab/1\", ");
    let twice = fs::read_to_string(room.path().join("all.json"))
        .unwrap()
        .repeat(2);
    write("twice.json", &twice);
    let part = "{\"schema\": \"nearcast.lab/1\", \"scenarios\": 3}";
    write("part.json", part);
    let app = fs::read_to_string(room.path().join("all.json")).unwrap();
    write(
        "app.json",
        &app.replacen("\"mode\":\"sim\"", "\"mode\":\"app\"", 1),
    );
    for (arguments, what) in [
        ("none.json", "reading none.json"),
        ("empty.json", "empty.json is empty"),
        (
            "other.json",
            "other.json, document 1: schema nearcast.bench/1, and nearcast.lab/1",
        ),
        ("cut.json", "cut.json is no JSON"),
        ("twice.json", "twice.json holds more than one report"),
        ("part.json", "part.json, document 1"),
        ("all.json app.json", "different ways"),
        (
            "all.json --compare all.json --json x.json",
            "cannot be used with",
        ),
        (
            "all.json --html none/x.html",
            "none/x.html cannot be written",
        ),
    ] {
        let told = refusal(&lab(room.path(), &format!("report {arguments}")));
        assert!(told.contains(what), "{arguments}: {told}");
    }
}
