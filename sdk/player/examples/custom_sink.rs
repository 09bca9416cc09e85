//! Gives encoded samples to a sink of one's own, as a platform decoder would take them, from two edges:
//! `cargo run --release --example custom_sink -- title/stream.mpd http://127.0.0.1:8081 http://127.0.0.1:8082`

use nearcast_player::{
    MediaTime, Player, PlayerError, Sample, SampleSink, Source, TrackFormat, TrackKind,
};

/// Stands for a platform decoder.
#[derive(Default)]
struct Decoder {
    bytes: usize,
}

impl SampleSink for Decoder {
    #[expect(clippy::print_stdout, reason = "that is what it is for")]
    fn format(&mut self, format: &TrackFormat) {
        println!(
            "{:?}: {} ({} bit/s)",
            format.kind,
            format.representation,
            format.bitrate.as_bps()
        );
    }

    fn sample(&mut self, _kind: TrackKind, sample: &Sample, _preroll: bool) {
        self.bytes += sample.data.len();
    }

    fn flush(&mut self, _kind: TrackKind, _from: MediaTime) {
        self.bytes = 0;
    }
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
async fn main() -> Result<(), PlayerError> {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        println!("usage: custom_sink MANIFEST_PATH EDGE_URL...");
        return Ok(());
    };
    let source = Source::Edges {
        path,
        bases: arguments.collect(),
    };
    let player = Player::builder(source)
        .sample_sink(Decoder::default())
        .start()?;
    let result = player.ended().await;
    player.close().await?;
    result
}
