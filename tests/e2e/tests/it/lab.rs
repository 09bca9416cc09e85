//! `nearcast-lab run` over real sockets: the whole player, the backend and edges, from one scenario file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::program::{Ended, Program};
use crate::room::{Room, binary};
use crate::title::{InMemory, title};

const PATIENCE: Duration = Duration::from_secs(120);

/// The edge in use dies, and once one piece of sound is not found.
const DEATH: &str = r#"
version = 1
expect = ["ended == 1", "stalled_s == 0", "handover_s.p99 <= 2", "failures.edge.not_found == 1", "served.near > 0"]
[title]
duration_s = 24
[[edges]]
name = "near"
link = { rate_kbps = 12000, delay_ms = 2 }
[[edges]]
name = "far"
distance_km = 500
link = { steps = [{ lasts_s = 5, rate_kbps = 9000 }, { lasts_s = 1, rate_kbps = 12000 }], delay_ms = 20 }
[last_mile]
rate_kbps = 15000
delay_ms = 2
[[faults]]
id = "dies"
at_s = 6
edge = "in_use"
fault = { kind = "kill" }
[[faults]]
id = "lost"
edge = "in_use"
fault = { kind = "status", status = 404 }
on = { object = "media", track = "audio", segment_from = 2, count = 1 }
"#;

async fn lab(room: &Room, scenario: &Path, more: &[&str]) -> Ended {
    let mut command = Command::new(binary("nearcast-lab"));
    command.arg("run").arg(scenario).args(more);
    command.arg("--title").arg(title());
    Program::start(room, "lab", command).ended(PATIENCE).await
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn receipts(run: &Value) -> Vec<&Value> {
    run["receipts"].as_array().unwrap().iter().collect()
}

async fn death(mode: &str) -> (Room, PathBuf) {
    let room = Room::alone().await;
    let _in_memory = InMemory::keep().await;
    let scenario = room.file("death.toml", DEATH);
    let (json, recorded) = (room.path().join("lab.json"), room.path().join("recorded"));
    let more = ["--mode", mode, "--json", json.to_str().unwrap()];
    let more = [&more[..], &["--record", recorded.to_str().unwrap()]].concat();
    let ended = lab(&room, &scenario, &more).await;
    assert_eq!(ended.status, Some(0), "{}{}", ended.out, ended.err);
    let report = read(&json);
    assert_eq!(report["mode"], mode);
    let run = &report["scenarios"][0]["runs"][0];
    let [lost, dies] = receipts(run)[..] else {
        panic!("{run:?}");
    };
    assert_eq!((&lost["id"], &dies["id"]), (&"lost".into(), &"dies".into()));
    assert_eq!(lost["player"], "player");
    let path = lost["path"].as_str().unwrap();
    assert!(path.starts_with("title/audio_en/"), "{path}");
    assert!(dies["at_s"].as_f64().is_some_and(|at| at >= 6.0), "{dies}");
    let player = &run["players"][0]["report"];
    assert_eq!(player["edges"][0]["id"], "near");
    let load = run["load"].as_array().unwrap();
    let sent = load
        .iter()
        .flat_map(|edge| edge["bytes"].as_array().unwrap());
    let sent: u64 = sent.filter_map(Value::as_u64).sum();
    let came = player["bytes"]["media"].as_u64().unwrap();
    assert!(sent >= came && came > 1_000_000, "{sent} {came}");
    (room, recorded)
}

#[tokio::test]
async fn a_scenario_is_played_over_sockets_and_its_recording_replays() {
    let (room, recorded) = death("app").await;
    let mut replay = Command::new(binary("nearcast-lab"));
    replay.args(["run", "--replay"]);
    replay.arg(recorded.join("death-app-0-player.jsonl"));
    replay.arg("--against");
    replay.arg(recorded.join("death-app-0-player.report.json"));
    let ended = Program::start(&room, "replay", replay)
        .ended(PATIENCE)
        .await;
    assert_eq!(ended.status, Some(0), "{}{}", ended.out, ended.err);
    assert!(
        ended.out.contains("decisions are those that were played"),
        "{}",
        ended.out
    );
}

/// Other systems than Linux have no namespaces.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_same_scenario_is_played_over_packets() {
    death("packet").await;
}

#[tokio::test]
async fn a_name_that_nobody_knows_and_other_ports_are_survived() {
    let text = r#"
        version = 1
        expect = ["ended == 1", "stalled_s == 0", "failures.net.dns_failed >= 1", "served.near == 0"]
        title = { duration_s = 12 }
        edges = [{ name = "near" }, { name = "far", distance_km = 500, link = { delay_ms = 20 } }]
        actions = [{ at_s = 3, do = "rebind" }]
        faults = [{ edge = "near", fault = { kind = "dns", problem = "fails" } }]
    "#;
    let room = Room::alone().await;
    let scenario = room.file("name.toml", text);
    let json = room.path().join("lab.json");
    let more = ["--mode", "app", "--json", json.to_str().unwrap()];
    let ended = lab(&room, &scenario, &more).await;
    assert_eq!(ended.status, Some(0), "{}{}", ended.out, ended.err);
    let report = read(&json);
    let found = receipts(&report["scenarios"][0]["runs"][0]);
    let dns = |one: &&&Value| one["fault"] == "dns" && one["edge"] == "near";
    assert_eq!(found.iter().filter(dns).count(), found.len(), "{found:?}");
}

#[tokio::test]
async fn viewers_side_by_side_are_told_apart() {
    let text = r#"
        version = 1
        expect = ["ended == 1", "stalled_s == 0", "startup_s < 3"]
        title = { duration_s = 12 }
        edges = [{ name = "near" }, { name = "far", distance_km = 500, link = { delay_ms = 20 } }]
        last_mile = { rate_kbps = 8000, delay_ms = 2 }
        players = [{ name = "plain" }, { name = "capped", cap_kbps = 600, starts_s = 1 }]
    "#;
    let room = Room::alone().await;
    let scenario = room.file("two.toml", text);
    let json = room.path().join("lab.json");
    let more = ["--mode", "app", "--json", json.to_str().unwrap()];
    let ended = lab(&room, &scenario, &more).await;
    assert_eq!(ended.status, Some(0), "{}{}", ended.out, ended.err);
    let report = read(&json);
    let players = report["scenarios"][0]["runs"][0]["players"]
        .as_array()
        .unwrap();
    let names: Vec<&Value> = players.iter().map(|one| &one["player"]).collect();
    assert_eq!(names, ["plain", "capped"]);
    let rate = |place: usize| {
        players[place]["report"]["mean_bitrate_bps"]
            .as_f64()
            .unwrap()
    };
    assert!(
        rate(1) <= 600_000.0 && rate(0) > 1_000_000.0,
        "{} {}",
        rate(0),
        rate(1)
    );
    let begins_s = players[1]["begins_s"].as_f64().unwrap();
    assert!((1.0..2.0).contains(&begins_s), "{begins_s}");
}

#[tokio::test]
async fn a_scenario_that_fails_or_cannot_be_played_over_sockets_says_so() {
    let room = Room::alone().await;
    let never = r#"
        version = 1
        title = { duration_s = 8 }
        edges = [{ name = "near" }]
        faults = [{ id = "never", at_s = 70, edge = "near", fault = { kind = "kill" } }]
    "#;
    let never = room.file("never.toml", never);
    let ended = lab(&room, &never, &["--mode", "app"]).await;
    assert_eq!(ended.status, Some(1), "{}", ended.out);
    let told = "the fault `never` never took effect";
    assert!(ended.out.contains(told), "{}", ended.out);
    assert!(ended.out.contains("--mode app --seed 0"), "{}", ended.out);

    let lossy = "version = 1\nedges = [{ name = \"near\", link = { loss_ratio = 0.1 } }]\n";
    let lossy = room.file("lossy.toml", lossy);
    let ended = lab(&room, &lossy, &["--mode", "app"]).await;
    assert_eq!(ended.status, Some(1), "{}", ended.out);
    let told = "the link `near` does things to packets, which sockets do not show";
    assert!(ended.err.contains(told), "{}", ended.err);
}
