//! What the program answers, over networks of our own making.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests may panic as tests do"
)]

mod browser;
mod edges;
mod fit;
mod mutants;
#[cfg(target_os = "linux")]
mod packet;
mod page;
mod relay;
mod report;
mod run;
mod toxiproxy;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use nearcast_core::AbrRule;
use tempfile::TempDir;

/// Two rungs, three segments of 4 s; a rung's segments are all of nominal size.
const MOVIE: &str = r#"{"segment_duration_ms": 4000,
 "bitrates_kbps": [1000, 2000],
 "segment_sizes_bits": [
  [4000000, 8000000],
  [4000000, 8000000],
  [4000000, 8000000]]}
"#;

/// A folder with one set of two networks: 4 Mbit/s and, after a long outage, 1 Mbit/s; latency 100 ms.
fn room() -> TempDir {
    let room = TempDir::new().unwrap();
    let set = room.path().join("set");
    fs::create_dir(&set).unwrap();
    fs::write(set.join("fast.csv"), "# made\n1000,4000,100\n").unwrap();
    fs::write(set.join("slow.csv"), "10000,0,100\n90000,1000,100\n").unwrap();
    fs::write(room.path().join("movie.json"), MOVIE).unwrap();
    room
}

fn lab(room: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearcast-lab"))
        .args(["bench"])
        .args(arguments.split_whitespace())
        .current_dir(room)
        .env_remove("NEARCAST_TRACES")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{text}");
    text
}

/// Returns what is told of a failure.
fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

const LOWEST: &str = "abr --traces set --movie movie.json --profile sabre --abr lowest";

#[test]
fn a_row_holds_what_was_worked_out_by_hand() {
    // fast: the first segment takes 0.1 + 1 s, nothing stalls: (3 x 1 - 4.3 x 1.1) / 3 = -0.5766667.
    // slow: 0.1 s of latency, then 9.9 s of outage and 4 s of transfer: start-up 14 s. The others take 4.1 s each of
    // a buffer of 4 s: 0.2 s of stall. (3 - 4.3 x 14.2) / 3 = -19.3533333. Mean of both: -9.965.
    let room = room();
    let text = stdout(&lab(room.path(), &format!("{LOWEST} --json -")));
    let table: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(table["schema"], "nearcast.bench/1");
    assert_eq!(table["profile"], "sabre");
    assert_eq!(table["traces"], 2);
    let row = &table["rows"][0];
    assert_eq!(row["rule"], "lowest");
    for (field, expected) in [
        ("qoe_per_segment", -9.965),
        ("mean_bitrate_bps", 1e6),
        ("stall_s", 0.1),
        ("switches", 0.0),
        ("paired_vs_best", 0.0),
        ("paired_se", 0.0),
    ] {
        let ours = row[field].as_f64().unwrap();
        assert!((ours - expected).abs() < 1e-9, "{field}: {ours}");
    }
    assert!(row["optimum"].is_null());
}

#[test]
fn differences_to_the_best_rule_are_paired() {
    // bb has the lowest rung here too, but on the fast network, where the buffer reaches 6.9 s: (6.9 - 5) / 10 of one
    // rung up is none. So both are equal, trace by trace.
    let room = room();
    let arguments = LOWEST.replace("lowest", "lowest,bb");
    let text = stdout(&lab(room.path(), &format!("{arguments} --json -")));
    let table: serde_json::Value = serde_json::from_str(&text).unwrap();
    for row in table["rows"].as_array().unwrap() {
        assert_eq!(row["paired_vs_best"], 0.0, "{row}");
    }
}

#[test]
fn a_difference_and_its_error_are_what_was_worked_out_by_hand() {
    // fast: lowest has -0.5766667, as above. rmpc goes up after its first sample, and stays there: (1 + 2 + 2 - 1 - 4.3
    // x 1.1) / 3 = -0.2433333. It is 1/3 ahead.
    // falling: 4 Mbit/s for the first segment, then 1. lowest stalls for 0.1 s in each of the others: (3 - 4.3 x 1.3) /
    // 3 = -0.8633333. rmpc has its second rung for 8.1 s, 4.1 of them of stall, and at such a rate its lowest again,
    // 0.1 s of stall: (1 + 2 + 1 - 1 - 1 - 4.3 x 5.3) / 3 = -6.93. It is 18.2 / 3 behind.
    // Mean of both: (1 - 18.2) / 6. Either is 3.2 from that: the root of 2 x 3.2 x 3.2 / (2 - 1) / 2.
    let room = room();
    fs::remove_file(room.path().join("set/slow.csv")).unwrap();
    let falling = "1100,4000,100\n90000,1000,100\n";
    fs::write(room.path().join("set/falling.csv"), falling).unwrap();
    let arguments = LOWEST.replace("lowest", "lowest,rmpc");
    let text = stdout(&lab(room.path(), &format!("{arguments} --json -")));
    let table: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (row, figures) in [
        (0, [-0.72, 0.0, 0.0]),
        (1, [-3.586_666_667, -17.2 / 6.0, 3.2]),
    ] {
        let fields = ["qoe_per_segment", "paired_vs_best", "paired_se"];
        for (field, expected) in fields.into_iter().zip(figures) {
            let ours = table["rows"][row][field].as_f64().unwrap();
            assert!((ours - expected).abs() < 1e-6, "{row}, {field}: {ours}");
        }
    }
}

#[test]
fn the_limit_stands_below_the_rules_and_shares_are_of_it() {
    // fast only. Second rung from the first segment on: start-up 2.1 s, (3 x 2 - 4.3 x 2.1) / 3 = -1.01; from the second
    // on: (1 + 2 + 2 - 1 - 4.3 x 1.1) / 3 = -0.2433; in the last alone: the change costs what it gains. Always the lowest: -0.5767.
    let room = room();
    fs::remove_file(room.path().join("set/slow.csv")).unwrap();
    let text = stdout(&lab(room.path(), &format!("{LOWEST} --optimum --json -")));
    let table: serde_json::Value = serde_json::from_str(&text).unwrap();
    let limit = table["optimum_qoe_per_segment"].as_f64().unwrap();
    assert!((limit - (4.0 - 4.3 * 1.1) / 3.0).abs() < 1e-9, "{limit}");
    // Below 0 a share says nothing.
    assert!(table["rows"][0]["optimum"].is_null());
    let text = stdout(&lab(room.path(), &format!("{LOWEST} --optimum --mu 1")));
    // mu 1: always the second rung gives (6 - 2.1) / 3 = 1.3, which is the most; the lowest (3 - 1.1) / 3 = 0.633, 48.7 % of it.
    assert!(
        text.contains("48.7 %") && text.contains("(limit)"),
        "{text}"
    );
    for words in [
        "no session is better by more than",
        "but for what a full buffer hides",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn files_hold_a_line_for_each_session_and_a_page() {
    let room = room();
    stdout(&lab(
        room.path(),
        &format!("{LOWEST} --csv out.csv --html out.html --json out.json"),
    ));
    let csv = fs::read_to_string(room.path().join("out.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("alg,trace,qoe,"), "{csv}");
    assert!(
        lines[1].starts_with("lowest,fast,-1.730000,-0.576667,1000.000,0.000000,0,1.100000"),
        "{csv}"
    );
    assert!(lines[2].ends_with(",0 0 0"), "{csv}");
    let page = fs::read_to_string(room.path().join("out.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http"), "{page}");
    assert!(
        fs::read_to_string(room.path().join("out.json"))
            .unwrap()
            .contains("nearcast.bench/1")
    );
}

#[test]
fn known_results_are_compared_and_a_difference_fails() {
    let room = room();
    let known = "# ours\nalg,trace,segments,startup_s,rebuffer_s,rebuffer_events,total_play_time_s\n\
                 lowest,fast,3,1.1,0,0,13.1\nlowest,slow,3,14.0,0.2,2,26.2\n";
    let file = room.path().join("known.csv");
    fs::write(&file, known).unwrap();
    let arguments = format!("{LOWEST} --expect known.csv");
    let text = stdout(&lab(room.path(), &arguments));
    assert!(text.contains("2 of 2 equal"), "{text}");
    fs::write(&file, known.replace("14.0", "14.01")).unwrap();
    let told = refusal(&lab(room.path(), &arguments));
    assert!(
        told.contains("1 of 2 comparisons with known.csv differ"),
        "{told}"
    );
    let enough = lab(room.path(), &format!("{arguments} --expect-share 0.5"));
    assert!(stdout(&enough).contains("startup_s is 14, not 14.01"));
    fs::write(&file, known.replace("lowest", "highest")).unwrap();
    let told = refusal(&lab(room.path(), &arguments));
    assert!(told.contains("it has none of these rules"), "{told}");
}

#[test]
fn refusals_say_what_is_wrong_and_what_would_be_right() {
    let room = room();
    let write = |name: &str, text: &str| fs::write(room.path().join(name), text).unwrap();
    fs::create_dir(room.path().join("empty")).unwrap();
    for name in ["bad", "dead"] {
        fs::create_dir(room.path().join(name)).unwrap();
    }
    write("bad/one.csv", "1000,4000,100\n1000,-3,100\n");
    // One such network is enough, whatever lies beside it.
    write("dead/live.csv", "1000,4000,100\n");
    write("dead/one.csv", "1000,0,100\n");
    fs::create_dir(room.path().join("gaps")).unwrap();
    write("gaps/one.txt", "0 1.5\n1 2.5\n5000 2.5\n");
    write(
        "unsorted.json",
        &MOVIE.replace("[1000, 2000]", "[2000, 1000]"),
    );
    for (from, to, told) in [
        (
            "--traces set",
            "--traces nowhere",
            "the set of traces is not there: nowhere",
        ),
        (
            "--traces set",
            "--traces nowhere",
            "NEARCAST_TRACES does not name a folder",
        ),
        (
            "--traces set",
            "--traces empty",
            "there are no traces in it",
        ),
        (
            "--traces set",
            "--traces bad",
            "bad/one.csv: line 2: kbps is -3, not 0 or a number from 0.001 to 1e9",
        ),
        (
            "--traces set",
            "--traces dead",
            "dead/one.csv: it never delivers: at least one period needs a rate above 0 kbps",
        ),
        (
            "--traces set",
            "--traces gaps",
            "gaps/one.txt: line 3: time_s is \"5000\", not a number of seconds above that of the line before, by at most 300",
        ),
        (
            "movie.json",
            "film.json",
            "the movie is not there: film.json",
        ),
        (
            "movie.json",
            "unsorted.json",
            "unsorted.json: line 2: bitrates_kbps[1] is 1000 after 2000",
        ),
        (
            "--abr lowest",
            "--abr lowest,hightest",
            "no rule is named \"hightest\" in this profile: it knows throughput,",
        ),
        (
            "--profile sabre --abr lowest",
            "--profile player --abr lowest",
            "no rule is named \"lowest\" in this profile: it knows horizon, dynamic, throughput, bola, bb, rmpc",
        ),
        (
            "--profile sabre --abr lowest",
            "--profile player --abr bb --max-buffer 4",
            "it must hold at least that",
        ),
        (
            "--profile sabre --abr lowest",
            "--profile player --abr bb --optimum",
            "profile player has no offline optimum: playback begins there before the first segment is whole",
        ),
        (
            "--profile sabre",
            "--profile sabre --audio-kbps 96",
            "profile sabre has no sound",
        ),
        (
            "--profile sabre",
            "--profile sabre --max-buffer 3",
            "it must hold at least that",
        ),
        (
            "--profile sabre",
            "--profile sabre --mu NaN",
            "not a number from 0 to 1e9",
        ),
        ("--profile sabre", "--profile sabre --limit 0", "--limit"),
    ] {
        let output = lab(room.path(), &LOWEST.replace(from, to));
        let text = refusal(&output);
        assert!(text.contains(told), "{to}: {text}");
    }
}

#[test]
fn a_limit_takes_evenly_spaced_traces_in_name_order() {
    let room = room();
    let set = room.path().join("set");
    for name in ["a", "b", "c"] {
        fs::write(set.join(name), "0 1\n10 2\n").unwrap();
    }
    // a, b, c, fast, slow: of five, three are the first, the second and the fourth.
    stdout(&lab(
        room.path(),
        &format!("{LOWEST} --limit 3 --csv out.csv"),
    ));
    let csv = fs::read_to_string(room.path().join("out.csv")).unwrap();
    let names: Vec<&str> = csv
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').nth(1))
        .collect();
    assert_eq!(names, ["a", "b", "fast"]);
}

#[test]
fn sets_that_are_missing_are_named() {
    let room = room();
    let told = refusal(&lab(room.path(), "sets"));
    assert!(
        told.contains(
            "norway-train, oboe, fcc-broadband, puffer-2021, fcc-sd, fcc-hd, lte-ghent, hsdpa-sabre"
        ),
        "{told}"
    );
    assert!(told.contains("NEARCAST_TRACES names no folder"), "{told}");
}

#[test]
fn bars_are_judged_where_all_traces_and_rules_are_taken() {
    let room = room();
    let movies = room.path().join("movies");
    fs::create_dir(&movies).unwrap();
    for movie in ["envivio.json", "bbb.json", "bbb4k.json"] {
        fs::write(movies.join(movie), MOVIE).unwrap();
    }
    for set in fit::SETS {
        let set = room.path().join(set);
        fs::create_dir(&set).unwrap();
        for network in ["fast.csv", "slow.csv"] {
            fs::copy(room.path().join("set").join(network), set.join(network)).unwrap();
        }
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast-lab"));
        let command = command.args(["bench", "sets"]).args(arguments);
        let command = command.env("NEARCAST_TRACES", room.path());
        command.current_dir(room.path()).output().unwrap()
    };
    // What nobody can reach on three segments of at most 2 Mbit/s.
    let all = run(&[]);
    let told = refusal(&all);
    assert!(
        told.contains("bars are missed: norway-train, horizon, QoE/segment; "),
        "{told}"
    );
    let text = String::from_utf8(all.stdout).unwrap();
    for words in [
        "at least 0.705",
        "MISSED",
        "horizon over bola-e, an exception",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for arguments in [["--limit", "2"], ["--abr", "bb,horizon"]] {
        let text = stdout(&run(&arguments));
        assert!(!text.contains("at least"), "{text}");
    }
}

/// Runs one rule over the set that is called `oboe` in this room.
fn oboe(room: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast-lab"));
    let command = command.args(["bench", "sets", "--abr"]).args(arguments);
    let command = command.env("NEARCAST_TRACES", room);
    command.current_dir(room).output().unwrap()
}

#[test]
fn known_results_beside_the_sets_are_compared() {
    // 0.95 of the rate, and 80 ms for each segment. The first has the second rung: 8000 kbit, the others 4000.
    // fast: 8000 / 3800 + 0.08 = 2.185263 s of start-up. Then 1.132632 s of a buffer of 4 s.
    // slow: 10 s of outage, 8000 / 950 + 0.08: 18.501053 s. Then 4.290526 s each, of a buffer of 4 s: twice 0.290526 s
    // of stall, and 1 + 1 - 1 - 4.3 x 0.581053 in all.
    let room = room();
    fs::rename(room.path().join("set"), room.path().join("oboe")).unwrap();
    fs::write(room.path().join("envivio.json"), MOVIE).unwrap();
    let known = room.path().join("expected");
    fs::create_dir(&known).unwrap();
    let text = "alg,trace,qoe_tail,bitrate_kbps,rebuf_s,startup_s,change_mbps,events,play_time_s\n\
                bb,fast,1,1333.333,0,2.185263,1,0,14.185263\n\
                bb,slow,-1.498526,1333.333,0.581053,18.501053,1,2,31.082105\n";
    let file = known.join("pensieve_oboe.csv");
    fs::write(&file, text).unwrap();
    // The second time they come from what was kept.
    for _ in 0..2 {
        let output = oboe(room.path(), &["bb", "--keep", "kept"]);
        let told = refusal(&output);
        assert!(
            told.contains("missing") && !told.contains("differ"),
            "{told}"
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("compared with pensieve_oboe.csv, where bb, rmpc have to be equal"));
        assert!(text.contains("2 of 2 equal"), "{text}");
    }
    fs::write(&file, text.replace("18.501053", "18.51")).unwrap();
    let output = oboe(room.path(), &["bb", "--keep", "kept"]);
    let told = refusal(&output);
    assert!(told.contains("known results differ: oboe, bb"), "{told}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("1 of 2 equal") && told.contains("slow: startup_s is 18.50"),
        "{told}"
    );
    // Of rules that need not be equal it is only told.
    fs::write(&file, text.replace("bb,", "throughput,")).unwrap();
    let output = oboe(room.path(), &["throughput"]);
    let told = refusal(&output);
    assert!(
        told.contains("missing") && !told.contains("differ"),
        "{told}"
    );
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("of 2 equal"), "{told}");
    // One that has to be equal and is not there is not.
    let told = refusal(&oboe(room.path(), &["bb"]));
    assert!(told.contains("known results differ: oboe, bb"), "{told}");
    // A file that is not there is told of; so is the folder, and where it was asked for, that is the end.
    fs::remove_file(&file).unwrap();
    let output = oboe(room.path(), &["bb"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("there is no pensieve_oboe.csv"), "{told}");
    fs::remove_dir(&known).unwrap();
    let told = refusal(&oboe(room.path(), &["bb"]));
    assert!(
        told.contains("nothing is compared with known results"),
        "{told}"
    );
    let told = refusal(&oboe(room.path(), &["bb", "--expected", "nowhere"]));
    assert!(
        told.contains("the folder of known results is not there: nowhere"),
        "{told}"
    );
}

#[test]
fn what_was_measured_is_taken_from_where_it_is_kept() {
    let room = room();
    fs::rename(room.path().join("set"), room.path().join("oboe")).unwrap();
    fs::write(room.path().join("envivio.json"), MOVIE).unwrap();
    let run = || {
        let output = oboe(room.path(), &["bb", "--keep", "kept"]);
        let told = refusal(&output);
        assert!(told.contains("missing") && !told.contains("oboe"), "{told}");
        String::from_utf8(output.stdout).unwrap()
    };
    let first = run();
    assert!(
        first.contains("oboe: 2 traces, profile pensieve"),
        "{first}"
    );
    // What is kept is believed: a number in it shows up in the table.
    let file = room.path().join("kept/oboe/bb.json");
    let kept = fs::read_to_string(&file).unwrap();
    let switches = kept.replace("\"switches\":", "\"switches\":7");
    fs::write(&file, switches).unwrap();
    assert_ne!(run(), first);
    // Another input is measured anew.
    fs::write(room.path().join("oboe/slow.csv"), "90000,1001,100\n").unwrap();
    run();
    assert_ne!(fs::read_to_string(&file).unwrap(), kept);
}

#[test]
fn the_player_plays_what_was_recorded() {
    let room = room();
    let text = stdout(&lab(
        room.path(),
        "abr --traces set --movie movie.json --profile player --alg bb,horizon --json -",
    ));
    let table: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(table["profile"], "player");
    assert_eq!(table["max_buffer_s"], 25.0);
    let bb = &table["rows"][0];
    assert_eq!(bb["rule"], "bb");
    let number = |field: &str| bb[field].as_f64().unwrap();
    // Both begin before their first segment is whole, the slow one after ten seconds of outage.
    let startup_s = number("startup_s");
    assert!((5.0..8.0).contains(&startup_s), "{startup_s}");
    assert!((1e6..=2e6).contains(&number("mean_bitrate_bps")), "{bb}");
    assert!(number("qoe_per_segment") < 0.0);
    // Sound comes over the same line.
    assert_eq!(table["audio_kbps"], 128.0);
    let startup_s = |kbps| {
        let text = stdout(&lab(
            room.path(),
            &format!(
                "abr --traces set --movie movie.json --profile player --alg bb --audio-kbps {kbps} --json -"
            ),
        ));
        let table: serde_json::Value = serde_json::from_str(&text).unwrap();
        table["rows"][0]["startup_s"].as_f64().unwrap()
    };
    let (none_s, some_s, much_s) = (startup_s(0), startup_s(128), startup_s(1000));
    assert!((some_s - number("startup_s")).abs() < 1e-9);
    assert!(
        none_s <= some_s && some_s < much_s,
        "{none_s}, {some_s}, {much_s}"
    );
}

#[test]
fn a_network_that_as_good_as_never_delivers_is_told_and_not_waited_for() {
    let room = room();
    let dead = room.path().join("dead");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("one.csv"), "1000,0.001,100\n").unwrap();
    // One that does lies beside it.
    fs::copy(room.path().join("set/fast.csv"), dead.join("fast.csv")).unwrap();
    let day = "segment 0 was not there after a day: the network as good as never delivers, and each segment has to come";
    for (profile, words) in [
        ("player", ["0 of 3 segments", "net.stalled"]),
        ("sabre", [day, "within one"]),
        ("pensieve", [day, "within one"]),
    ] {
        let arguments =
            format!("abr --traces dead --movie movie.json --profile {profile} --abr bb");
        let told = refusal(&lab(room.path(), &arguments));
        for what in ["bb over dead/one", words[0], words[1]] {
            assert!(told.contains(what), "{what}: {told}");
        }
    }
}

#[test]
fn every_rule_has_its_cost() {
    let room = room();
    let text = stdout(&lab(room.path(), "decide --decisions 3"));
    let rows: Vec<&str> = text.lines().skip(1).collect();
    let rules: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row.split(' ').next())
        .collect();
    assert_eq!(rows.len(), 4 * AbrRule::ALL.len(), "{text}");
    assert_eq!(rules.len(), AbrRule::ALL.len(), "{text}");
    let numbers = rows[0]
        .split_whitespace()
        .filter_map(|word| word.parse().ok());
    let numbers: Vec<f64> = numbers.collect();
    // The first is of rungs.
    assert!(numbers.len() >= 4 && numbers[1] > 0.0, "{text}");
}
