//! The nine refusals of a play, as the person at the terminal sees them.

use std::path::PathBuf;
use std::time::Duration;

use nearcast_backend_server::{Backend as Server, BackendConfig, Catalogue, ModelConfig};
use nearcast_protocol::play::Refusal;

use crate::edges::{Backend, System};
use crate::play::{Failing, Play};
use crate::room::Room;

/// A title for each condition, beside the one that anybody may watch.
fn catalogue(room: &Room) -> PathBuf {
    let mut text = String::from(
        r#"
plan = [{ id = "basic", streams_max = 1 }, { id = "premium", streams_max = 4 }]

[[account]]
id = "demo"
plan = "basic"
country = "DE"
maturity = 16
"#,
    );
    for (id, condition) in [
        ("demo", ""),
        ("french", "countries = [\"FR\"]"),
        ("tv_only", "platforms = [\"tvos\"]"),
        ("dear", "plan = \"premium\""),
        ("grim", "maturity = 18"),
        ("modern", "codecs = [\"none.such\"]"),
    ] {
        text.push_str(&format!(
            r#"
[[title]]
id = "{id}"
name = "The {id} one"
duration_ms = 126000
files = "title/"
dash = "title/stream.mpd"
{condition}
"#
        ));
    }
    room.file("catalogue.toml", text)
}

/// Each that is final is told at once, in one line, with what was wrong with which title.
#[tokio::test]
async fn a_refusal_is_final_and_says_what_to_do() {
    let room = Room::new().await;
    let system = System::start_with(&room, &catalogue(&room), &[("a", &[])]).await;
    for (title, refusal, texts) in [
        (
            "nothing",
            Refusal::TitleUnknown,
            ["no such title", "\"nothing\"", "`nearcast titles` lists"],
        ),
        (
            "french",
            Refusal::RegionBlocked,
            ["not available in this country", "The french one", "DE"],
        ),
        (
            "tv_only",
            Refusal::PlatformBlocked,
            [
                "not available on this platform",
                "The tv_only one",
                "another device",
            ],
        ),
        (
            "dear",
            Refusal::PlanRequired,
            ["plan does not include", "The dear one", "\"premium\""],
        ),
        (
            "grim",
            Refusal::MaturityBlocked,
            ["maturity setting", "The grim one", "age 18"],
        ),
        (
            "modern",
            Refusal::DeviceUnsupported,
            ["cannot play", "The modern one", "none.such"],
        ),
    ] {
        let failed = Failing::start(&room, title, &system.backend.play(title))
            .failed(5)
            .await;
        failed.assert_says(&format!("play.{}", refusal.code()), &texts);
    }

    // One stream is what the plan allows.
    let mut first = Play::start(&room, "first", &system.play());
    first.program.line("playing", Duration::from_secs(20)).await;
    // Another home is another device: the same one would take the stream over.
    let elsewhere = room.another();
    let second = Failing::start(&elsewhere, "second", &system.play())
        .failed(5)
        .await;
    second.assert_says(
        "play.too_many_streams",
        &["As many streams", "allows 1", "stop one"],
    );
    assert!(first.program.is_running());
}

/// A busy backend is asked again until it is time to give up.
#[tokio::test]
async fn an_overloaded_backend_is_waited_for_and_then_told() {
    let room = Room::new().await;
    let backend = Backend::start(&room, &catalogue(&room), &["--plays-per-second", "0"]).await;
    let failed = Failing::start(&room, "play", &backend.play("demo"))
        .failed(20)
        .await;
    failed.assert_says("play.overloaded", &["too busy", "ask again in 1000 ms"]);
    assert!(
        failed.out().matches("play.overloaded").count() > 1,
        "it was asked again: {}",
        failed.out()
    );

    // It says `Retry-After: 1`: nobody asks sooner, and nobody backs off further than that of their own accord,
    // which would leave time for four requests.
    let asked_s = failed.asked_s();
    assert!(asked_s.len() > 5, "{asked_s:?}");
    for pair in asked_s.windows(2) {
        assert!(pair[1] - pair[0] >= 1.0, "{asked_s:?}");
    }
}

/// A session that ends at once, again and again, does not keep the player asking.
#[tokio::test]
async fn a_session_that_does_not_last_is_told() {
    let room = Room::new().await;
    let config = BackendConfig {
        model: ModelConfig {
            session_ttl: Duration::ZERO,
            ..ModelConfig::default()
        },
        ..BackendConfig::loopback(Catalogue::demo(126_000))
    };
    let server = Server::start(config).await.unwrap();
    let ca = room.file("ca.pem", server.ca_pem());
    let arguments = [
        "play",
        "demo",
        "--backend",
        server.url(),
        "--ca",
        ca.to_str().unwrap(),
    ];
    let failed = Failing::start(&room, "play", &arguments).failed(20).await;
    failed.assert_says(
        "play.session_expired",
        &["session has expired", "open a new session"],
    );
}
