//! Plays a manifest URL without screen or sound and prints what happens:
//! `cargo run --release --example play_url -- http://127.0.0.1:8080/title/stream.mpd`

use nearcast_player::{EventKind, Player, PlayerError, Source};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
async fn main() -> Result<(), PlayerError> {
    let Some(url) = std::env::args().nth(1) else {
        println!("usage: play_url MANIFEST_URL");
        return Ok(());
    };
    let player = Player::builder(Source::Url(url)).start()?;
    let mut events = player.events();
    while let Some(event) = events.next().await {
        let at = event.at.as_secs_f64();
        if let EventKind::Decision(decision) = event.kind {
            println!("{at:8.3} {}: {}", decision.chosen, decision.why);
        } else if let EventKind::State(state) = event.kind {
            println!("{at:8.3} {}", nearcast_player::state_name(&state));
        } else {
            println!("{at:8.3} {}", event.kind.name());
        }
    }
    let result = player.ended().await;
    let report = player.close().await?;
    println!(
        "played {:.1} s, {} stalls, {} failovers",
        report.played_s,
        report.stall_count,
        report.failovers.len()
    );
    result
}
