//! Fits to public sets of our own making: what comes out is of the right form, and a seed decides it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::{lab, refusal, stdout};

const SETS: [&str; 10] = [
    "norway-train",
    "oboe",
    "fcc-broadband",
    "puffer-2021",
    "fcc-sd",
    "fcc-hd",
    "lte-ghent",
    "hsdpa-sabre",
    "lumos-4g",
    "lumos-5g",
];

/// Two rungs, six segments of 4 s.
const MOVIE: &str = r#"{"segment_duration_ms": 4000, "bitrates_kbps": [1000, 2000], "segment_sizes_bits": [
    [4000000, 8000000], [4000000, 8000000], [4000000, 8000000],
    [4000000, 8000000], [4000000, 8000000], [4000000, 8000000]]}"#;

/// All public sets, each of four networks that go up and down between about 1 and 4 Mbit/s.
fn room() -> TempDir {
    let room = TempDir::new().unwrap();
    for set in SETS {
        let folder = room.path().join(set);
        fs::create_dir(&folder).unwrap();
        for nth in 0..4 {
            let text = format!("4000,4000,50\n{}000,{},50\n", 9 + nth * 3, 900 + 200 * nth);
            fs::write(folder.join(format!("{nth}.csv")), text).unwrap();
        }
    }
    fs::create_dir(room.path().join("movies")).unwrap();
    for movie in ["envivio.json", "bbb.json", "bbb4k.json"] {
        fs::write(room.path().join("movies").join(movie), MOVIE).unwrap();
    }
    room
}

fn run(room: &Path, arguments: &str, cores: usize) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearcast-lab"))
        .arg("fit")
        .args(arguments.split_whitespace())
        .current_dir(room)
        .env("NEARCAST_TRACES", room)
        .env("RAYON_NUM_THREADS", cores.to_string())
        .output()
        .unwrap()
}

/// Runs a fit that must end well; returns what it prints and what it tells beside.
fn fit(room: &Path, arguments: &str) -> (String, String) {
    let output = run(room, arguments, 2);
    (
        stdout(&output),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

#[test]
fn numbers_of_horizon_are_found_and_benched() {
    let room = room();
    let arguments = "horizon --generations 2 --seconds 3600 --sigma 0.5 --out found.json";
    let (text, told) = fit(room.path(), arguments);
    assert!(text.starts_with("Self { middle: ["), "{text}");
    assert!(told.contains("generation 2"), "{told}");
    let sets: Vec<&str> = SETS.into_iter().filter(|set| told.contains(set)).collect();
    assert_eq!(sets, SETS[..4], "{told}");
    let found = fs::read_to_string(room.path().join("found.json")).unwrap();
    let one_core = run(room.path(), &arguments.replace("found", "again"), 1);
    assert_eq!(stdout(&one_core), text, "cores change nothing");
    let again = fs::read_to_string(room.path().join("again.json")).unwrap();
    assert_eq!(again, found);
    fit(
        room.path(),
        "horizon --generations 1 --sabre --start found.json",
    );

    let bench = "abr --traces oboe --movie movies/envivio.json --profile pensieve --abr horizon";
    let own = stdout(&lab(room.path(), &format!("{bench} --json -")));
    // A planner that holds stalls to be nothing takes the top rung always.
    fs::write(room.path().join("bold.json"), r#"{"stall": 1e-6}"#).unwrap();
    let bold = stdout(&lab(
        room.path(),
        &format!("{bench} --json - --horizon bold.json"),
    ));
    assert_ne!(own, bold);
    fs::write(room.path().join("typing.json"), r#"{"stal": 1.0}"#).unwrap();
    let told = refusal(&lab(room.path(), &format!("{bench} --horizon typing.json")));
    assert!(
        told.contains("typing.json: there is no number \"stal\""),
        "{told}"
    );
}
