//! What was played over sockets is replayed in virtual time, decision by decision.

use std::time::Duration;

use tokio::process::Command;

use crate::edges::System;
use crate::play::Play;
use crate::program::{Program, eventually};
use crate::room::{Room, binary};

const REPLAYED_MAX: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_recorded_session_replays_to_the_same_decisions() {
    let room = Room::new().await;
    let mut system = System::start(&room, &[("one", &[]), ("two", &["--delay", "20ms"])]).await;
    let recording = room.folder("recorded").join("session.jsonl");
    let mut arguments = system
        .play()
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    arguments.extend(["--duration", "15s", "--record"].map(str::to_owned));
    arguments.push(recording.to_str().unwrap().to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let play = Play::start(&room, "play", &arguments);
    let what = "ten objects are served";
    eventually(what, REPLAYED_MAX, || {
        let served: usize = system.edges.iter().map(|edge| edge.entries().len()).sum();
        (served >= 10).then_some(())
    })
    .await;
    system.edge("one").program.sigkill().await;
    let played = play.ended(60).await;
    assert!(
        played.report.decisions.len() > 10,
        "{:?}",
        played.report.decisions
    );
    let text = std::fs::read_to_string(&recording).unwrap();
    assert!(
        !text.contains("http") && !text.contains("token"),
        "neither URLs nor tokens"
    );

    let report = room.path().join("play.json");
    let mut lab = Command::new(binary("nearcast-lab"));
    lab.args(["run", "--replay"])
        .arg(&recording)
        .arg("--against")
        .arg(&report);
    let ended = Program::start(&room, "lab", lab).ended(REPLAYED_MAX).await;
    assert_eq!(ended.status, Some(0), "{}{}", ended.out, ended.err);
    let count = played.report.decisions.len();
    let all = format!("all {count} decisions are those that were played");
    assert!(ended.out.contains(&all), "{}", ended.out);

    // Something else was played.
    let mut other = played.report.clone();
    other.decisions.swap(3, 4);
    let other = room.file("other.json", serde_json::to_vec(&other).unwrap());
    let mut lab = Command::new(binary("nearcast-lab"));
    lab.args(["run", "--replay"])
        .arg(&recording)
        .arg("--against")
        .arg(&other);
    let ended = Program::start(&room, "lab-other", lab)
        .ended(REPLAYED_MAX)
        .await;
    assert_eq!(ended.status, Some(1), "{}", ended.out);
    assert!(ended.out.contains("decisions differ"), "{}", ended.out);
}
