//! Defaults: a flag counts more than the environment, the environment more than the configuration file.

use std::time::Duration;

use rustix::process::Signal;

use crate::edges::{Backend, System};
use crate::play::nearcast;
use crate::program::{Ended, Program};
use crate::room::{Room, free_port};
use crate::title::title;

const SOON: Duration = Duration::from_secs(30);

/// Where the three places send the player; `None` where one says nothing.
struct Said<'a> {
    flag: Option<&'a str>,
    environment: Option<&'a str>,
    file: Option<&'a str>,
}

/// Lists the titles of the backend that counts.
async fn titles(room: &Room, backend: &Backend, said: Said<'_>) -> Ended {
    let mut text = format!("ca = {:?}\n", backend.ca.to_str().unwrap());
    if let Some(url) = said.file {
        text.push_str(&format!("backend = {url:?}\n"));
    }
    room.file("home/.config/nearcast/config.toml", text);
    let mut command = nearcast(room);
    command.arg("titles");
    if let Some(url) = said.environment {
        command.env("NEARCAST_BACKEND", url);
    }
    if let Some(url) = said.flag {
        command.args(["--backend", url]);
    }
    Program::start(room, "titles", command).ended(SOON).await
}

#[tokio::test]
async fn a_flag_counts_more_than_the_environment_and_that_more_than_the_file() {
    let room = Room::new().await;
    let backend = Backend::start(&room, &title().join("catalogue.toml"), &[]).await;
    let right = Some(backend.url.as_str());
    let nobody = format!("https://127.0.0.1:{}", free_port());
    let wrong = Some(nobody.as_str());
    let said = |flag, environment, file| Said {
        flag,
        environment,
        file,
    };
    for found in [
        said(None, None, right),
        said(None, right, None),
        said(None, right, wrong),
        said(right, wrong, wrong),
    ] {
        let ended = titles(&room, &backend, found).await;
        assert_eq!((ended.status, ended.err.as_str()), (Some(0), ""));
        assert!(ended.out.starts_with("demo "), "{}", ended.out);
    }
    for lost in [
        said(None, None, wrong),
        said(None, wrong, right),
        said(wrong, right, right),
    ] {
        let ended = titles(&room, &backend, lost).await;
        assert_eq!(ended.status, Some(1), "{}", ended.out);
        assert!(
            ended.err.starts_with("nearcast: backend.unreachable: ") && ended.err.contains(&nobody),
            "{}",
            ended.err
        );
    }
}

/// A player that is told nothing else plays by the file alone.
#[tokio::test]
async fn the_file_alone_is_enough_to_play() {
    let room = Room::new().await;
    let system = System::start(&room, &[("a", &[])]).await;
    let config = room.file(
        "elsewhere.toml",
        format!(
            "backend = {:?}\nca = {:?}\naudio = \"sv\"\n",
            system.backend.url,
            system.backend.ca.to_str().unwrap()
        ),
    );
    let mut command = nearcast(&room);
    command
        .args(["play", "demo", "--headless"])
        .env("NEARCAST_CONFIG", &config);
    let mut play = Program::start(&room, "play", command);
    play.line("audio begins with audio_sv", SOON).await;
    play.line("playing", SOON).await;
    play.signal(Signal::INT);
    let ended = play.ended(SOON).await;
    assert_eq!((ended.status, ended.err.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_slip_in_the_file_is_told_with_its_place() {
    let room = Room::new().await;
    let config = room.file("home/.config/nearcast/config.toml", "backnd = \"x\"\n");
    let mut command = nearcast(&room);
    command.args(["play", "demo", "--headless"]);
    let ended = Program::start(&room, "play", command).ended(SOON).await;
    assert_eq!(ended.status, Some(1), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    for text in ["cli.config", config.to_str().unwrap(), "line 1", "backnd"] {
        assert!(ended.err.contains(text), "no {text:?} in {}", ended.err);
    }
}
