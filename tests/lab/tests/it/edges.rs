//! What `bench edges` answers.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::{lab, refusal, room, stdout};

/// One seed of the world with a thousand clients takes longer than all others together.
const WORLDS: &str = "start,worst-first,death,brown-out,attribution,flap";

fn figures(table: &Value) -> BTreeMap<(String, String), Value> {
    let worlds = table["worlds"].as_array().unwrap().iter();
    let all = worlds.flat_map(|world| {
        let name = world["world"].as_str().unwrap().to_owned();
        let figures = world["figures"].as_array().unwrap().iter();
        figures.map(move |figure| {
            let key = (name.clone(), figure["name"].as_str().unwrap().to_owned());
            (key, figure.clone())
        })
    });
    all.collect()
}

#[test]
fn every_world_has_its_figures_and_they_add_up() {
    let room = room();
    let arguments =
        format!("edges --world {WORLDS} --seeds 3 --figures-only --csv out.csv --html out.html");
    let text = stdout(&lab(room.path(), &format!("{arguments} --json out.json")));
    let json = fs::read_to_string(room.path().join("out.json")).unwrap();
    let table: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(table["schema"], "nearcast.edges/1");
    let all = figures(&table);
    let value = |world: &str, name: &str| {
        let figure = all.get(&(world.to_owned(), name.to_owned()));
        figure.and_then(|figure| figure["value"].as_f64()).unwrap()
    };
    let cells = [
        "edge taken for edge",
        "edge taken for line",
        "line taken for edge",
        "line taken for line",
        "nothing to see",
    ];
    let seen: f64 = cells.iter().map(|cell| value("attribution", cell)).sum();
    assert!((seen - 3.0).abs() < 1e-9, "{seen}");
    let oracle = value("start", "oracle p50");
    assert!(oracle > 0.0 && value("start", "start-up p50") >= oracle);
    for shape in ["kill", "stop", "503", "corrupt"] {
        assert!(value("death", &format!("{shape}: hand-over p50")) >= 0.0);
    }
    assert!(value("brown-out", "segments until another edge p50") >= 0.0);
    assert!(value("flap", "edge changes in 10 min max") >= value("flap", "flaps in 10 min max"));
    let waste = value("waste", "share of all bytes");
    assert!(waste > 0.0 && waste < 100.0, "{waste}");
    // A bar holds or is missed as its value has it.
    for (key, figure) in &all {
        let value = figure["value"].as_f64();
        let most = figure["bar"]["at_most"].as_f64();
        if let (Some(value), Some(most)) = (value, most) {
            assert_eq!(figure["holds"], value <= most, "{key:?}");
        }
    }
    assert!(
        text.contains("attribution") && text.contains("at least 95.00 %"),
        "{text}"
    );
    let csv = fs::read_to_string(room.path().join("out.csv")).unwrap();
    assert!(
        csv.starts_with("world,seed,figure,value\n") && csv.contains("\nflap,2,"),
        "{csv}"
    );
    let page = fs::read_to_string(room.path().join("out.html")).unwrap();
    assert!(
        page.contains("worst-first") && !page.contains("http"),
        "{page}"
    );
}

#[test]
fn figures_do_not_depend_on_the_number_of_threads() {
    let room = room();
    let run = |threads: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nearcast-lab"));
        let arguments = "bench edges --world worst-first,attribution --seeds 4 --figures-only";
        command
            .args(arguments.split_whitespace())
            .current_dir(room.path());
        stdout(&command.env("RAYON_NUM_THREADS", threads).output().unwrap())
    };
    assert_eq!(run("1"), run("3"));
}

#[test]
fn a_missed_bar_fails_and_is_named() {
    let room = room();
    // A world in which too little is lost for anything to be said of it: another seed, once that is.
    let output = lab(
        room.path(),
        "edges --world attribution --first 151 --seeds 1",
    );
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && table.contains("MISSED"),
        "{table}"
    );
    assert!(
        told.contains("bars are missed: attribution, right"),
        "{told}"
    );
    for (arguments, wrong) in [
        (
            "edges --world strat",
            "no world is named \"strat\": there are start,",
        ),
        ("edges --seeds 0", "--seeds"),
    ] {
        let told = refusal(&lab(room.path(), arguments));
        assert!(told.contains(wrong), "{arguments}: {told}");
    }
}

/// A slow body that moves on while help comes from afar, one that is helped twice, and an edge far away that takes over: of two
/// thousand worlds, those that come closest to a bar.
#[test]
fn bars_hold_in_the_hardest_worlds() {
    let room = room();
    for seed in [70, 136, 269, 403, 464, 737, 1104] {
        let arguments = format!("edges --world death --first {seed} --seeds 1 --figures-only");
        let table = stdout(&lab(room.path(), &arguments));
        let missed = table
            .lines()
            .find(|line| line.contains("MISSED") && !line.contains("p50"));
        assert_eq!(missed, None, "{seed}: half of all are sooner than a median");
    }
}

#[test]
fn reports_are_kept_where_asked_for() {
    let room = room();
    let arguments = "edges --world worst-first --seeds 1 --first 7 --figures-only --reports kept";
    stdout(&lab(room.path(), arguments));
    let report = fs::read_to_string(room.path().join("kept/worst-first-7-0.json")).unwrap();
    assert!(report.contains("nearcast.report/1"));
}
