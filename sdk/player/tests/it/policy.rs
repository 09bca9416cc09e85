//! A policy of the application's own.

use std::time::Duration;

use nearcast_player::abr::{AbrChoice, AbrContext, AbrPolicy};
use nearcast_player::{Player, SessionReport, Source};

use crate::edge::Edge;

/// Always the highest rung, after `thinks`.
#[derive(Debug)]
struct Highest {
    thinks: Duration,
}

impl AbrPolicy for Highest {
    fn name(&self) -> &'static str {
        "highest"
    }

    fn decide(&mut self, context: &AbrContext) -> AbrChoice {
        // Whoever thinks for ever is woken only when the test is over.
        std::thread::park_timeout(self.thinks);
        AbrChoice::next(context.ladder.len() - 1, "the best or nothing")
    }
}

async fn play(thinks: Duration) -> SessionReport {
    let edge = Edge::start().await;
    let player = Player::builder(Source::Url(edge.url("stream.mpd")))
        .policy(Box::new(Highest { thinks }))
        .start()
        .unwrap();
    player.ended().await.unwrap();
    player.close().await.unwrap()
}

#[tokio::test]
async fn the_application_chooses_every_rung_by_a_policy_of_its_own() {
    let report = play(Duration::ZERO).await;
    let video = report.segments.iter().filter(|one| one.track == "video");
    let rungs: Vec<&str> = video.map(|one| one.representation.as_str()).collect();
    let highest = report
        .content
        .ladder
        .iter()
        .max_by_key(|rung| rung.bitrate_bps);
    let highest = &highest.unwrap().representation;
    assert!(!rungs.is_empty());
    assert!(rungs.iter().all(|rung| rung == highest), "{rungs:?}");
    assert!(
        report
            .decisions
            .iter()
            .any(|one| one.why.contains("the application's policy"))
    );
}

#[tokio::test]
async fn a_policy_that_thinks_too_long_holds_nothing_up() {
    let report = play(Duration::from_secs(3600)).await;
    assert!((4.9..5.3).contains(&report.played_s), "{}", report.played_s);
    let late = report
        .decisions
        .iter()
        .find(|one| one.kind == "policy")
        .unwrap();
    assert!(late.why.contains("did not answer in time"), "{}", late.why);
}
