//! Fits to public sets of our own making: what comes out is of the right form, and a seed decides it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::{lab, refusal, stdout};

pub(crate) const SETS: [&str; 10] = [
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

/// Returns the number that follows a word.
fn after(text: &str, word: &str) -> f64 {
    let (_, rest) = text.split_once(word).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_forecast_is_learned_and_its_table_written() {
    let room = room();
    let (table, told) = fit(room.path(), "forecast --limit 4 --epochs 2");
    let lines: Vec<&str> = told.lines().collect();
    let [_, plain, product, first, second, written] = lines[..] else {
        panic!("{told}");
    };
    assert!(plain.starts_with("average over 8 s"), "{told}");
    assert!(product.starts_with("product"), "{told}");
    assert!(
        after(second, "fitted") < after(first, "fitted"),
        "more of it is known after more: {told}"
    );
    let rounding = (after(written, "validated") - after(second, "validated")).abs();
    assert!(rounding < 0.01, "{told}");
    assert!(
        table.contains("static WEIGHTS: [i16; super::network::COUNT] = ["),
        "{table}"
    );
    let (_, numbers) = table.split_once("= [").unwrap();
    let numbers = numbers.matches(',').count();
    assert_eq!(numbers, 28 * 32 + 28 * 29 + 20 * 29);

    fit(room.path(), "forecast --epochs 2 --out weights.rs");
    let file = fs::read_to_string(room.path().join("weights.rs")).unwrap();
    assert_eq!(file, table, "the same seed gives the same table");
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

#[test]
fn a_correction_is_learned_and_its_table_written() {
    let room = room();
    let arguments = "residual --rounds 2 --lines 1";
    let (table, told) = fit(room.path(), arguments);
    assert!(told.starts_with("round 2, "), "{told}");
    assert!(after(&told, "lte-ghent-10s    fitted") != 0.0, "{told}");
    let count = "static WEIGHTS: [i16; super::residual::COUNT] = [";
    let (_, numbers) = table.split_once(count).unwrap();
    assert_eq!(
        numbers.matches(',').count(),
        24 * 53 + 24 * 25 + 25,
        "{table}"
    );
    let last = numbers.split(',').rev().skip(1).take(25);
    let learned = |weight: &str| weight.trim() != "0";
    assert!(last.clone().any(learned), "the last layer began with none");

    let one_core = run(room.path(), &format!("{arguments} --out one.rs"), 1);
    assert_eq!(stdout(&one_core), "");
    let file = fs::read_to_string(room.path().join("one.rs")).unwrap();
    assert_eq!(file, table, "cores change nothing");
    let (further, _) = fit(room.path(), "residual --rounds 1 --lines 1 --start one.rs");
    assert_ne!(further, table);
}

#[test]
fn a_fit_to_fewer_sets_is_none() {
    let room = room();
    fs::remove_dir_all(room.path().join("oboe")).unwrap();
    for (arguments, told) in [
        ("forecast", "sets of recorded networks are missing in"),
        ("horizon", "the set of traces is not there: oboe"),
        ("residual", "the set of traces is not there: oboe"),
    ] {
        let text = refusal(&run(room.path(), arguments, 1));
        assert!(text.contains(told) && text.contains("oboe"), "{text}");
    }
    let text = refusal(&run(room.path(), "forecast --traces none", 1));
    assert!(text.contains("norway-train, oboe"), "{text}");
}
