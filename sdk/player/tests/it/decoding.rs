//! Decoded sound and pictures, and what a recording is good for.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcast_core::Session;
use nearcast_player::{
    AudioFormat, AudioSink, EventKind, Player, PlayerBuilder, RecordedLine, Source, TrackKind,
};
use nearcast_units::Instant;

use crate::edge::{Edge, Serve};

const LIMIT: Duration = Duration::from_secs(40);

fn on_edge(edge: &Edge) -> PlayerBuilder {
    Player::builder(Source::Url(edge.url("stream.mpd"))).lock_rung(1)
}

/// A sound card with a fifth of a second of memory, or more, that plays in real time.
#[derive(Clone, Default)]
struct Card(Arc<Mutex<CardState>>);

#[derive(Default)]
struct CardState {
    /// Frames that there is room for beyond a fifth of a second.
    more_room: u64,
    format: Option<AudioFormat>,
    heard: Vec<f32>,
    /// Frames that were written.
    written: u64,
    /// Frames heard before it was last started, and when that was.
    heard_before: u64,
    playing_since: Option<tokio::time::Instant>,
    starts: usize,
}

impl Card {
    /// One that plays on for two seconds while the machine is busy elsewhere.
    fn roomy() -> Self {
        let card = Self::default();
        card.0.lock().unwrap().more_room = 86_400;
        card
    }
}

impl CardState {
    fn heard_frames(&self) -> u64 {
        let rate = self.format.map_or(48_000, |format| format.sample_rate);
        let played = self
            .playing_since
            .map_or(0.0, |since| since.elapsed().as_secs_f64() * f64::from(rate));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few seconds of frames"
        )]
        let played = played as u64;
        (self.heard_before + played).min(self.written)
    }
}

impl AudioSink for Card {
    fn configure(&mut self, format: AudioFormat) -> Result<(), String> {
        self.0.lock().unwrap().format = Some(format);
        Ok(())
    }

    fn write(&mut self, interleaved: &[f32]) -> usize {
        let mut state = self.0.lock().unwrap();
        let queued = state.written - state.heard_frames();
        let room = (9_600 + state.more_room).saturating_sub(queued);
        let take = interleaved.len().min(usize::try_from(room).unwrap());
        state.heard.extend_from_slice(&interleaved[..take]);
        state.written += take as u64;
        take
    }

    fn queued(&self) -> Duration {
        let state = self.0.lock().unwrap();
        let frames = u32::try_from(state.written - state.heard_frames()).unwrap();
        Duration::from_secs(1) * frames / 48_000
    }

    fn set_playing(&mut self, playing: bool) {
        let mut state = self.0.lock().unwrap();
        state.heard_before = state.heard_frames();
        state.playing_since = playing.then(tokio::time::Instant::now);
        state.starts += usize::from(playing);
    }

    fn flush(&mut self) {
        let mut state = self.0.lock().unwrap();
        state.written = state.heard_frames();
    }
}

/// Where the beeps begin, in milliseconds.
fn beeps(heard: &[f32]) -> Vec<usize> {
    let mut beeps: Vec<usize> = Vec::new();
    for (index, sample) in heard.iter().enumerate() {
        let at_ms = index / 48;
        if sample.abs() > 0.1 && beeps.last().is_none_or(|last| at_ms > last + 500) {
            beeps.push(at_ms);
        }
    }
    beeps
}

#[tokio::test]
async fn sound_is_decoded_in_order_and_drives_the_clock() {
    let edge = Edge::start().await;
    let card = Card::roomy();
    let player = on_edge(&edge).audio_sink(card.clone()).start().unwrap();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
    let report = player.close().await.unwrap();
    assert_eq!(report.stall_count, 0, "{:?}", report.stalls);
    let state = card.0.lock().unwrap();
    assert_eq!(
        state.format,
        Some(AudioFormat {
            sample_rate: 48_000,
            channels: 1
        })
    );
    assert_eq!(state.starts, 1);
    let length = state.heard.len() / 48;
    assert!((4_990..=5_100).contains(&length), "{length} ms");
    let beeps = beeps(&state.heard);
    assert_eq!(beeps.len(), 5, "{beeps:?}");
    for (second, at_ms) in beeps.iter().enumerate() {
        assert!(at_ms.abs_diff(second * 1000) <= 5, "{beeps:?}");
    }
}

#[tokio::test]
async fn after_a_seek_the_sound_begins_there() {
    let edge = Edge::start().await;
    let card = Card::default();
    let player = on_edge(&edge)
        .audio_sink(card.clone())
        .start_at(Duration::from_millis(2_500))
        .start()
        .unwrap();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
    player.close().await.unwrap();
    let beeps = beeps(&card.0.lock().unwrap().heard);
    assert_eq!(beeps.len(), 2, "{beeps:?}");
    assert!(
        beeps[0].abs_diff(500) <= 5 && beeps[1].abs_diff(1500) <= 5,
        "{beeps:?}"
    );
}

#[tokio::test]
async fn a_dropped_player_lets_go_of_its_sinks() {
    let edge = Edge::start().await;
    let card = Card::default();
    let player = on_edge(&edge).audio_sink(card.clone()).start().unwrap();
    let mut snapshots = player.snapshots();
    let playing = snapshots.wait_for(|snapshot| snapshot.session.position.as_micros() > 300_000);
    tokio::time::timeout(LIMIT, playing).await.unwrap().unwrap();
    assert!(Arc::strong_count(&card.0) > 1);
    drop(player);
    // The last snapshot channel closes with the driver; the thread lets go of its sink as it ends.
    let gone = async {
        while snapshots.changed().await.is_ok() {}
        while Arc::strong_count(&card.0) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone)
        .await
        .expect("the thread must end");
}

/// A sound card that is not there.
struct NoCard;

impl AudioSink for NoCard {
    fn configure(&mut self, _: AudioFormat) -> Result<(), String> {
        Err("no such device".to_owned())
    }

    fn write(&mut self, _: &[f32]) -> usize {
        0
    }

    fn queued(&self) -> Duration {
        Duration::ZERO
    }

    fn set_playing(&mut self, _: bool) {}

    fn flush(&mut self) {}
}

#[tokio::test]
async fn without_a_sound_device_playback_goes_on() {
    let edge = Edge::start().await;
    let player = on_edge(&edge).audio_sink(NoCard).start().unwrap();
    let told = not_decoded(player, TrackKind::Audio).await;
    assert_eq!(told, ["player.sink_failed"]);
}

/// A sound card whose driver is broken.
struct Broken;

impl AudioSink for Broken {
    fn configure(&mut self, _: AudioFormat) -> Result<(), String> {
        Ok(())
    }

    fn write(&mut self, _: &[f32]) -> usize {
        panic!("a broken driver, on purpose")
    }

    fn queued(&self) -> Duration {
        Duration::ZERO
    }

    fn set_playing(&mut self, _: bool) {}

    fn flush(&mut self) {}
}

/// Plays to the end; returns why a track was not decoded, each time that was told.
async fn not_decoded(player: Player, of: TrackKind) -> Vec<String> {
    let mut events = player.events();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
    let mut codes = Vec::new();
    while let Some(event) = events.next().await {
        if let EventKind::NotDecoded { track, code, .. } = event.kind
            && track == of
        {
            codes.push(code);
        }
    }
    let report = player.close().await.unwrap();
    assert!(report.played_s > 4.5, "{}", report.played_s);
    codes
}

#[tokio::test]
async fn a_sink_that_panics_is_told_once_and_playback_goes_on() {
    let edge = Edge::start().await;
    let player = on_edge(&edge).audio_sink(Broken).start().unwrap();
    let told = not_decoded(player, TrackKind::Audio).await;
    assert_eq!(told, ["player.sink_failed"]);
}

#[tokio::test]
async fn a_title_without_sound_plays_beside_a_sound_card() {
    let edge = Edge::start().await;
    let tape = Tape::default();
    let player = Player::builder(Source::Url(edge.url("media_1.m3u8")))
        .audio_sink(Card::default())
        .record(tape.clone())
        .start()
        .unwrap();
    assert!(not_decoded(player, TrackKind::Audio).await.is_empty());
    let text = String::from_utf8(tape.0.lock().unwrap().clone()).unwrap();
    let anchors = text.lines().filter(|line| line.contains("anchor"));
    assert!(anchors.count() > 5, "somebody says where playback is");
}

#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_recording_replays_to_the_same_decisions() {
    let first = Edge::with(|seen, _| {
        if seen.path.ends_with("/1-3.m4s") {
            Serve::DieAfter(9000)
        } else {
            Serve::Well
        }
    })
    .await;
    let second = Edge::start().await;
    let tape = Tape::default();
    let bases = vec![first.base(), second.base()];
    let source = Source::Edges {
        path: "title/stream.mpd".to_owned(),
        bases,
    };
    let player = Player::builder(source)
        .lock_rung(1)
        .race_width(1)
        .record(tape.clone())
        .start()
        .unwrap();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
    let report = player.close().await.unwrap();

    let text = String::from_utf8(tape.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("http://"), "a recording holds no URL");
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<RecordedLine>(line).unwrap());
    let Some(RecordedLine::Config(config)) = lines.next() else {
        panic!("the configuration comes first")
    };
    let mut session = Session::new(*config);
    let mut last = Instant::ZERO;
    for line in lines {
        let RecordedLine::Input { at_ns, input } = line else {
            panic!("the configuration comes once")
        };
        last = Instant::from_nanos(at_ns);
        session.handle(last, *input);
        while session.poll_action().is_some() {}
        while session.poll_event().is_some() {}
    }
    let replayed = session.report(last);
    assert!(!report.failovers.is_empty());
    assert_eq!(replayed.decisions, report.decisions);
    assert_eq!(replayed.fetches, report.fetches);
    assert_eq!(replayed.failovers, report.failovers);
}

#[cfg(feature = "video")]
mod pictures {
    use std::sync::OnceLock;

    use nearcast_player::{FrameDelivery, FrameInfo, FrameSink, MediaTime, Playhead, VideoFrame};

    use super::*;

    /// Remembers which pictures are shown and how light each is.
    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<(i64, u8)>>>);

    /// A screen that looks at the clock: with each picture's time the playhead's.
    #[derive(Clone, Default)]
    struct Watch {
        screen: Screen,
        playhead: Arc<OnceLock<Playhead>>,
        seen: Arc<Mutex<Vec<(MediaTime, MediaTime)>>>,
    }

    impl FrameSink for Watch {
        fn frame(&mut self, info: &FrameInfo, frame: VideoFrame) {
            if let Some(playhead) = self.playhead.get().filter(|one| one.is_running()) {
                let position = playhead.position();
                self.seen.lock().unwrap().push((info.pts, position));
            }
            self.screen.frame(info, frame);
        }
    }

    impl FrameSink for Screen {
        fn frame(&mut self, info: &FrameInfo, frame: VideoFrame) {
            assert_eq!(info.representation, "1");
            let picture = frame.to_rgb(16, 16).unwrap();
            self.0
                .lock()
                .unwrap()
                .push((info.pts.as_micros(), picture.data[0]));
        }
    }

    fn assert_all_in_order(screen: &Screen) {
        let shown = screen.0.lock().unwrap();
        let times: Vec<i64> = shown.iter().map(|(pts, _)| *pts).collect();
        assert_eq!(
            times,
            (0..50).map(|frame| frame * 100_000).collect::<Vec<_>>()
        );
        // The first 27 are flat greys, each lighter than the one before.
        let greys: Vec<u8> = shown.iter().take(27).map(|(_, grey)| *grey).collect();
        assert!(greys.is_sorted_by(|a, b| a < b), "{greys:?}");
    }

    #[tokio::test]
    async fn every_picture_comes_once_in_order_although_an_edge_dies() {
        let first = Edge::with(|seen, _| {
            if seen.path.ends_with("/1-3.m4s") {
                Serve::DieAfter(9000)
            } else {
                Serve::Well
            }
        })
        .await;
        let second = Edge::start().await;
        let screen = Screen::default();
        let bases = vec![first.base(), second.base()];
        let source = Source::Edges {
            path: "title/stream.mpd".to_owned(),
            bases,
        };
        let player = Player::builder(source)
            .lock_rung(1)
            .race_width(1)
            .frame_sink(screen.clone(), FrameDelivery::Every)
            .start()
            .unwrap();
        tokio::time::timeout(LIMIT, player.ended())
            .await
            .unwrap()
            .unwrap();
        let report = player.close().await.unwrap();
        assert_all_in_order(&screen);
        assert!(!report.failovers.is_empty());
        assert_eq!(
            (
                report.frames.decoded,
                report.frames.missing,
                report.frames.repeated
            ),
            (50, 0, 0)
        );
    }

    #[tokio::test]
    async fn a_screen_gets_each_picture_when_it_is_due() {
        let edge = Edge::start().await;
        let watch = Watch::default();
        let player = on_edge(&edge)
            .audio_sink(Card::default())
            .frame_sink(watch.clone(), FrameDelivery::WhenDue)
            .start()
            .unwrap();
        assert!(watch.playhead.set(player.playhead()).is_ok());
        tokio::time::timeout(LIMIT, player.ended())
            .await
            .unwrap()
            .unwrap();
        let report = player.close().await.unwrap();
        // Where the machine holds threads up, neither screen nor test looks at the clock in time.
        let in_time = report.frames.late == 0 && !report.busy;
        if in_time {
            assert_all_in_order(&watch.screen);
        } else {
            eprintln!("the machine is busy: not looked whether each picture comes, and when");
        }
        let seen = watch.seen.lock().unwrap();
        assert!(seen.len() > 10, "{}", seen.len());
        assert!(seen.is_sorted_by(|(a, _), (b, _)| a < b), "{seen:?}");
        // Never much before its time: anchors move the playhead by some milliseconds meanwhile.
        let early = |(pts, position): &(MediaTime, MediaTime)| pts.since(*position);
        let earliest = seen.iter().map(early).max().unwrap_or_default();
        assert!(!in_time || earliest < Duration::from_millis(40), "{seen:?}");
        assert_eq!(report.frames.decoded, 50);
    }

    /// Takes its time for the first picture, as a slow decoder does, and looks then whether sound has begun.
    struct Slow {
        card: Card,
        starts_at_first: Arc<Mutex<Option<usize>>>,
    }

    impl FrameSink for Slow {
        fn frame(&mut self, _: &FrameInfo, _: VideoFrame) {
            let mut starts = self.starts_at_first.lock().unwrap();
            if starts.is_none() {
                let until = std::time::Duration::from_millis(150);
                std::thread::park_timeout(until);
                *starts = Some(self.card.0.lock().unwrap().starts);
            }
        }
    }

    #[tokio::test]
    async fn sound_waits_for_the_first_picture() {
        let edge = Edge::start().await;
        let card = Card::default();
        let starts_at_first = Arc::new(Mutex::new(None));
        let slow = Slow {
            card: card.clone(),
            starts_at_first: starts_at_first.clone(),
        };
        let player = on_edge(&edge)
            .audio_sink(card.clone())
            .frame_sink(slow, FrameDelivery::WhenDue)
            .start()
            .unwrap();
        tokio::time::timeout(LIMIT, player.ended())
            .await
            .unwrap()
            .unwrap();
        let report = player.close().await.unwrap();
        let decisions = &report.decisions;
        let too_slow = decisions
            .iter()
            .any(|one| one.why.contains("too slow to wait for"));
        if too_slow {
            eprintln!("the machine is busy: not looked whether sound waits");
        } else {
            assert_eq!(*starts_at_first.lock().unwrap(), Some(0));
        }
        assert_eq!(card.0.lock().unwrap().starts, 1);
    }

    /// Does what it is told with the first picture.
    struct Stubborn<F>(F);

    impl<F: FnMut() + Send> FrameSink for Stubborn<F> {
        fn frame(&mut self, _: &FrameInfo, _: VideoFrame) {
            (self.0)();
        }
    }

    #[tokio::test]
    async fn a_screen_that_panics_is_told_once_and_playback_goes_on() {
        let edge = Edge::start().await;
        let screen = Stubborn(|| panic!("a broken screen, on purpose"));
        let player = on_edge(&edge)
            .frame_sink(screen, FrameDelivery::WhenDue)
            .start()
            .unwrap();
        let told = not_decoded(player, TrackKind::Video).await;
        assert_eq!(told, ["player.sink_failed"]);
    }

    #[tokio::test]
    async fn a_screen_that_does_not_return_holds_nobody_up_for_long() {
        let edge = Edge::start().await;
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let screen = Stubborn(move || {
            called.send(()).ok();
            released.recv().ok();
        });
        let player = on_edge(&edge)
            .frame_sink(screen, FrameDelivery::WhenDue)
            .start()
            .unwrap();
        calls.recv().await.unwrap();
        // It is still inside the sink when this returns.
        tokio::time::timeout(LIMIT, player.close())
            .await
            .unwrap()
            .unwrap();
        drop(release);
    }

    #[tokio::test]
    async fn after_a_start_in_mid_segment_the_picture_of_that_time_comes_first() {
        let edge = Edge::start().await;
        let screen = Screen::default();
        let player = on_edge(&edge)
            .start_at(Duration::from_millis(2_450))
            .frame_sink(screen.clone(), FrameDelivery::Every)
            .start()
            .unwrap();
        tokio::time::timeout(LIMIT, player.ended())
            .await
            .unwrap()
            .unwrap();
        player.close().await.unwrap();
        let times: Vec<i64> = screen
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|(pts, _)| *pts)
            .collect();
        assert_eq!(
            times,
            (24..50).map(|frame| frame * 100_000).collect::<Vec<_>>()
        );
    }
}

/// What a build without the feature says.
#[cfg(not(feature = "video"))]
mod no_pictures {
    use super::*;

    #[tokio::test]
    async fn sound_is_played_and_the_missing_picture_is_told_once() {
        let edge = Edge::start().await;
        let player = on_edge(&edge).audio_sink(Card::default()).start().unwrap();
        let told = not_decoded(player, TrackKind::Video).await;
        assert_eq!(told, ["unsupported.codec"]);
    }

    #[tokio::test]
    async fn headless_nobody_misses_a_picture() {
        let edge = Edge::start().await;
        let player = on_edge(&edge).start().unwrap();
        assert!(not_decoded(player, TrackKind::Video).await.is_empty());
    }
}
