//! Plays the fixtures from edges that fail in every way, and looks at what sinks got.

use std::time::Duration;

use nearcast_media::SampleKind;
use nearcast_player::{
    EventKind, MediaTime, Network, NetworkOptions, PlayState, Player, PlayerBuilder, PlayerError,
    SessionReport, Source, TrackKind,
};
use nearcast_protocol::report::FailoverReport;

use crate::edge::{Edge, Serve, fixtures};
use crate::sinks::{Collector, Got, Subtitles, samples_of, samples_of_file};

/// Longer than any of these plays takes; a hang must not hang the tests.
const LIMIT: Duration = Duration::from_secs(40);

/// The upper rung all the way, so that what is expected is known.
fn on_edges(edges: &[&Edge]) -> PlayerBuilder {
    let bases = edges.iter().map(|edge| edge.base()).collect();
    Player::builder(Source::Edges {
        path: "title/stream.mpd".to_owned(),
        bases,
    })
    .lock_rung(1)
    .give_up(Duration::from_secs(20))
}

async fn to_the_end(builder: PlayerBuilder) -> (SessionReport, Collector) {
    let collector = Collector::default();
    let player = builder.sample_sink(collector.clone()).start().unwrap();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .expect("it must end")
        .unwrap();
    (player.close().await.unwrap(), collector)
}

fn assert_every_sample_once_in_order(collector: &Collector) {
    for (kind, representation, sample_kind) in [
        (TrackKind::Video, 1, SampleKind::Video),
        (TrackKind::Audio, 2, SampleKind::Audio),
    ] {
        let got = collector.samples(kind);
        let expected = samples_of(representation, sample_kind);
        let times = |samples: &[nearcast_player::Sample]| {
            samples
                .iter()
                .map(|one| one.dts.as_micros())
                .collect::<Vec<_>>()
        };
        assert_eq!(times(&got), times(&expected), "{kind:?}");
        assert!(got == expected, "{kind:?}: the bytes differ");
        assert!(
            collector.all().contains(&Got::End(kind)),
            "{kind:?}: no end was told"
        );
    }
}

#[tokio::test]
async fn a_dash_title_plays_headless_to_the_end_with_every_sample_once() {
    let edge = Edge::start().await;
    let builder = Player::builder(Source::Url(edge.url("stream.mpd"))).lock_rung(1);
    let (report, collector) = to_the_end(builder).await;
    assert_every_sample_once_in_order(&collector);
    assert_eq!(report.stall_count, 0, "{:?}", report.stalls);
    assert_eq!(report.error, None);
    assert!((4.9..5.3).contains(&report.played_s), "{}", report.played_s);
    assert_eq!(report.content.source, edge.url("stream.mpd"));
    assert_eq!(report.schema, nearcast_protocol::report::SCHEMA);
    assert!(report.cpu_s.is_some());
}

#[tokio::test]
async fn an_hls_title_plays_headless_to_the_end_with_every_sample_once() {
    let edge = Edge::start().await;
    let builder = Player::builder(Source::Url(edge.url("master.m3u8"))).lock_rung(1);
    let (report, collector) = to_the_end(builder).await;
    assert_every_sample_once_in_order(&collector);
    assert_eq!(report.stall_count, 0, "{:?}", report.stalls);
}

#[tokio::test]
async fn a_playlist_that_takes_its_time_to_be_read_plays() {
    let long = |path: &str| -> &'static [u8] {
        let mut text = fixtures()[path].clone();
        text.extend("# nothing to see here\n".repeat(10_000).bytes());
        text.leak()
    };
    let edge = Edge::with(move |seen, _| {
        if seen.path.contains("/media_") {
            Serve::Instead(long(&seen.path))
        } else {
            Serve::Well
        }
    })
    .await;
    let builder = Player::builder(Source::Url(edge.url("master.m3u8"))).lock_rung(1);
    let (_, collector) = to_the_end(builder).await;
    assert_every_sample_once_in_order(&collector);
}

#[tokio::test]
async fn an_hls_title_that_was_cut_out_of_a_live_stream_plays_from_its_beginning() {
    // Media times begin 4000 seconds after zero, in ticks of each track.
    let late = |path: &str| -> Option<&'static [u8]> {
        let mut bytes = fixtures()[path].clone();
        let tfdt = bytes.windows(4).position(|name| name == b"tfdt")?;
        let ticks: &mut [u8; 8] = (&mut bytes[tfdt + 8..tfdt + 16]).try_into().unwrap();
        let per_second = if path.contains("/2-") { 48_000 } else { 10_240 };
        *ticks = (u64::from_be_bytes(*ticks) + 4000 * per_second).to_be_bytes();
        Some(bytes.leak())
    };
    let edge =
        Edge::with(move |seen, _| late(&seen.path).map_or(Serve::Well, Serve::Instead)).await;
    let builder = Player::builder(Source::Url(edge.url("master.m3u8"))).lock_rung(1);
    let (report, collector) = to_the_end(builder).await;
    assert!((4.9..5.3).contains(&report.played_s), "{}", report.played_s);
    // In step, whichever track told where the media begins: sound does so by its encoder's delay too early.
    let offsets = |kind, representation, sample_kind| -> Vec<i64> {
        let (got, expected) = (
            collector.samples(kind),
            samples_of(representation, sample_kind),
        );
        assert_eq!(got.len(), expected.len(), "{kind:?}");
        let pairs = got.iter().zip(&expected);
        pairs
            .map(|(got, expected)| got.pts.as_micros() - expected.pts.as_micros())
            .collect()
    };
    let mut offsets = [
        offsets(TrackKind::Video, 1, SampleKind::Video),
        offsets(TrackKind::Audio, 2, SampleKind::Audio),
    ]
    .concat();
    offsets.sort_unstable();
    let (least, most) = (offsets[0], offsets[offsets.len() - 1]);
    assert!(
        most - least <= 1 && (0..=21_334).contains(&most),
        "{least} to {most}"
    );
}

/// The one failover of the pictures. A piece of sound that was just asked for may have had one of its own.
fn failover_of_pictures(report: &SessionReport) -> &FailoverReport {
    let pictures = |failover: &&FailoverReport| failover.track.as_deref() == Some("video");
    let all: Vec<_> = report.failovers.iter().filter(pictures).collect();
    let [failover] = all.as_slice() else {
        panic!("{:?}", report.failovers)
    };
    failover
}

/// An edge that dies in the middle of the upper rung's third segment.
async fn dying_edge() -> Edge {
    Edge::with(|seen, _| {
        if seen.path.ends_with("/1-3.m4s") {
            Serve::DieAfter(9000)
        } else {
            Serve::Well
        }
    })
    .await
}

#[tokio::test]
async fn when_an_edge_dies_in_mid_segment_the_rest_comes_from_another() {
    let (first, second) = (dying_edge().await, Edge::start().await);
    let (report, collector) = to_the_end(on_edges(&[&first, &second]).race_width(1)).await;
    assert_every_sample_once_in_order(&collector);
    assert_eq!(report.stall_count, 0, "{:?}", report.stalls);
    let failover = failover_of_pictures(&report);
    assert_eq!(
        (&failover.from, &failover.to),
        (&first.name(), &second.name())
    );
    assert_eq!(failover.offset, 9000);
    // It goes on where the first one stopped, less what is compared.
    let continued = second
        .seen()
        .into_iter()
        .find(|seen| seen.path.ends_with("/1-3.m4s"))
        .unwrap();
    let size = fixtures()["/title/1-3.m4s"].len() as u64;
    let from = format!("bytes={}-", 9000 - size / 16);
    assert_eq!(continued.range.as_deref(), Some(from.as_str()));
    assert!(
        report.bytes.wasted * 4 < size,
        "{:?} of {size}",
        report.bytes
    );
}

#[tokio::test]
async fn a_whole_answer_to_a_continuation_is_as_good() {
    let first = dying_edge().await;
    let second = Edge::with(|_, _| Serve::IgnoreRange).await;
    let (report, collector) = to_the_end(on_edges(&[&first, &second]).race_width(1)).await;
    assert_every_sample_once_in_order(&collector);
    failover_of_pictures(&report);
    let mut attempts = report.fetches.iter().flat_map(|fetch| &fetch.attempts);
    assert!(
        attempts.all(|attempt| attempt.edge == first.name() || attempt.result == "ok"),
        "the whole file is no failure: {:?}",
        report.fetches
    );
}

#[tokio::test]
async fn parts_of_one_file_are_continued_within_their_part() {
    // The second edge may know no ranges: what comes before the part is passed over.
    for serve in [Serve::Well, Serve::IgnoreRange] {
        let first = Edge::with(|seen, _| {
            let third = seen.range.as_deref() == Some("bytes=49222-71167");
            if third {
                Serve::DieAfter(9000)
            } else {
                Serve::Well
            }
        })
        .await;
        let second = Edge::with(move |_, _| serve.clone()).await;
        let bases = vec![first.base(), second.base()];
        let source = Source::Edges {
            path: "title/single.mpd".to_owned(),
            bases,
        };
        let (report, collector) = to_the_end(Player::builder(source).race_width(1)).await;
        assert!(
            collector.samples(TrackKind::Video)
                == samples_of_file("single-0.mp4", SampleKind::Video)
        );
        // By its manifest the last piece of sound lies behind the end.
        let sound = collector.samples(TrackKind::Audio);
        assert!(
            sound.len() > 200
                && samples_of_file("single-1.mp4", SampleKind::Audio).starts_with(&sound)
        );
        assert_eq!(report.stall_count, 0, "{:?}", report.stalls);
        assert_eq!(
            report.failovers.first().map(|failover| failover.offset),
            Some(9000)
        );
    }
}

#[tokio::test]
async fn a_silent_edge_is_left_for_another() {
    let silent = Edge::with(|seen, _| {
        if seen.path.ends_with("/1-3.m4s") {
            Serve::HangAfter(9000)
        } else {
            Serve::Well
        }
    })
    .await;
    let second = Edge::start().await;
    let (report, collector) = to_the_end(on_edges(&[&silent, &second]).race_width(1)).await;
    assert_every_sample_once_in_order(&collector);
    assert!(
        report
            .failovers
            .iter()
            .any(|failover| failover.from == silent.name()),
        "{:?}",
        report.failovers
    );
}

#[tokio::test]
async fn what_does_not_match_its_digest_is_fetched_elsewhere() {
    let corrupt = Edge::with(|seen, _| {
        if seen.path.ends_with("/1-2.m4s") {
            Serve::Corrupt
        } else {
            Serve::Well
        }
    })
    .await;
    let second = Edge::start().await;
    let (report, collector) = to_the_end(on_edges(&[&corrupt, &second]).race_width(1)).await;
    assert_every_sample_once_in_order(&collector);
    assert!(
        second
            .seen()
            .iter()
            .any(|seen| seen.path.ends_with("/1-2.m4s")),
        "{:?}",
        report.fetches
    );
}

#[tokio::test]
async fn a_segment_that_is_none_is_fetched_elsewhere() {
    let broken = Edge::with(|seen, _| {
        if seen.path.ends_with("/1-3.m4s") {
            Serve::Instead(b"<html>not here</html>")
        } else {
            Serve::Well
        }
    })
    .await;
    let second = Edge::start().await;
    let (_, collector) = to_the_end(on_edges(&[&broken, &second]).race_width(1)).await;
    assert_every_sample_once_in_order(&collector);
}

#[tokio::test]
async fn a_refused_or_missing_object_is_fetched_elsewhere() {
    for status in [404, 503, 500] {
        let refusing = Edge::with(move |seen, _| {
            if seen.path.ends_with("/1-2.m4s") {
                Serve::Status(status)
            } else {
                Serve::Well
            }
        })
        .await;
        let second = Edge::start().await;
        let (_, collector) = to_the_end(on_edges(&[&refusing, &second]).race_width(1)).await;
        assert_every_sample_once_in_order(&collector);
    }
}

#[tokio::test]
async fn racing_edges_bring_one_object_between_them() {
    let edges = [
        Edge::start().await,
        Edge::start().await,
        Edge::start().await,
    ];
    let (_, collector) = to_the_end(on_edges(&[&edges[0], &edges[1], &edges[2]])).await;
    assert_every_sample_once_in_order(&collector);
    let asked = |edge: &Edge| {
        edge.seen()
            .iter()
            .any(|seen| seen.path.ends_with("stream.mpd"))
    };
    assert!(edges.iter().all(asked), "all three race for the manifest");
}

#[tokio::test]
async fn a_seek_shows_what_is_there_and_nothing_else() {
    let edge = Edge::start().await;
    let collector = Collector::default();
    let player = on_edges(&[&edge])
        .sample_sink(collector.clone())
        .start()
        .unwrap();
    wait_for(&player, |kind| {
        matches!(kind, EventKind::State(PlayState::Playing))
    })
    .await;
    player.seek(MediaTime::from_micros(3_450_000)).unwrap();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
    let all = collector.all();
    let flushed = all
        .iter()
        .rposition(|got| *got == Got::Flush(TrackKind::Video))
        .expect("a seek flushes");
    let after: Vec<(i64, bool)> = all[flushed..]
        .iter()
        .filter_map(|got| match got {
            Got::Sample(TrackKind::Video, sample, preroll) => {
                Some((sample.pts.as_micros(), *preroll))
            }
            _ => None,
        })
        .collect();
    let mut times: Vec<i64> = after.iter().map(|(pts, _)| *pts).collect();
    times.sort_unstable();
    assert_eq!(
        times,
        (30..50).map(|frame| frame * 100_000).collect::<Vec<_>>(),
        "the segment under the seek, and on"
    );
    assert!(
        after
            .iter()
            .all(|(pts, preroll)| *preroll == (*pts < 3_400_000)),
        "{after:?}"
    );
    player.close().await.unwrap();
}

#[tokio::test]
async fn a_pause_holds_the_playhead_until_play() {
    let edge = Edge::start().await;
    let player = on_edges(&[&edge]).start().unwrap();
    let state = async |wanted: PlayState| {
        let mut snapshots = player.snapshots();
        let waiting = snapshots.wait_for(|snapshot| snapshot.session.state == wanted);
        let position = tokio::time::timeout(LIMIT, waiting)
            .await
            .unwrap()
            .unwrap()
            .session
            .position;
        (snapshots, position)
    };
    state(PlayState::Playing).await;
    player.pause().unwrap();
    let (mut snapshots, held) = state(PlayState::Paused).await;
    for _ in 0..2 {
        snapshots.changed().await.unwrap();
    }
    assert_eq!(snapshots.borrow().session.position, held);
    assert!(!player.playhead().is_running());
    player.play().unwrap();
    state(PlayState::Playing).await;
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
    let report = player.close().await.unwrap();
    assert_eq!(report.stall_count, 0);
    assert!((4.9..5.3).contains(&report.played_s), "{}", report.played_s);
}

#[tokio::test]
async fn subtitles_appear_and_go() {
    let edge = Edge::start().await;
    let subtitles = Subtitles::default();
    let (_, collector) = to_the_end(
        on_edges(&[&edge])
            .text_language("en")
            .cue_sink(subtitles.clone()),
    )
    .await;
    assert_every_sample_once_in_order(&collector);
    let shown = subtitles.0.lock().unwrap().clone();
    let empty: Vec<String> = Vec::new();
    assert_eq!(
        shown,
        [
            vec!["first line".to_owned()],
            empty.clone(),
            vec!["second line".to_owned()],
            empty
        ]
    );
}

#[tokio::test]
async fn a_segment_that_arrives_is_shown_whole_although_another_track_changes() {
    let slow = Edge::with(|seen, _| {
        if seen.path.ends_with("/1-1.m4s") {
            Serve::Slowly(100)
        } else {
            Serve::Well
        }
    })
    .await;
    let collector = Collector::default();
    let player = on_edges(&[&slow])
        .sample_sink(collector.clone())
        .start()
        .unwrap();
    wait_until(|| !collector.samples(TrackKind::Video).is_empty()).await;
    player.select_text(Some(0)).unwrap();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .expect("it must end")
        .unwrap();
    assert_every_sample_once_in_order(&collector);
}

#[tokio::test]
async fn headers_of_the_application_reach_the_edge() {
    let edge = Edge::start().await;
    let options = NetworkOptions {
        user_agent: Some("testbed/7".to_owned()),
        headers: vec![("X-Team".to_owned(), "blue".to_owned())],
        ..NetworkOptions::default()
    };
    let player = on_edges(&[&edge]).network_options(options).start().unwrap();
    wait_for(&player, |kind| {
        matches!(kind, EventKind::State(PlayState::Playing))
    })
    .await;
    player.close().await.unwrap();
    for seen in edge.seen() {
        assert_eq!(
            seen.headers.get("user-agent").map(String::as_str),
            Some("testbed/7")
        );
        assert_eq!(seen.headers.get("x-team").map(String::as_str), Some("blue"));
    }
}

#[tokio::test]
async fn a_dropped_player_leaves_no_task_and_no_socket() {
    let slow = Edge::with(|seen, _| {
        if seen.path.ends_with(".m4s") {
            Serve::Slowly(1)
        } else {
            Serve::Well
        }
    })
    .await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    // By itself it would not end before the test does.
    let player = on_edges(&[&slow])
        .start_timeout(LIMIT * 3)
        .give_up(LIMIT * 3)
        .sample_sink(Collector::default())
        .start()
        .unwrap();
    wait_until(|| slow.seen().iter().any(|seen| seen.path.ends_with(".m4s"))).await;
    assert!(tasks() > before && slow.open() > 0);
    drop(player);
    wait_until(|| slow.open() == 0 && tasks() <= before).await;
}

#[tokio::test]
async fn a_closed_player_has_ended_when_close_returns() {
    let slow = Edge::with(|seen, _| {
        if seen.path.ends_with(".m4s") {
            Serve::Slowly(100)
        } else {
            Serve::Well
        }
    })
    .await;
    let network = Network::new(NetworkOptions::default()).unwrap();
    let player = on_edges(&[&slow]).network(network.clone()).start().unwrap();
    let again = player.clone();
    wait_until(|| slow.seen().iter().any(|seen| seen.path.ends_with(".m4s"))).await;
    let report = player.close().await.unwrap();
    assert_eq!(report.error, None);
    assert_eq!(again.play(), Err(PlayerError::Closed));
    assert_eq!(
        again.report().await.unwrap().fetches.len(),
        report.fetches.len()
    );
    network.close().await;
    assert_eq!(network.open_connections(), 0);
    wait_until(|| slow.open() == 0).await;
}

#[tokio::test]
async fn with_no_edge_alive_the_start_fails_with_what_was_wrong() {
    let gone = Edge::start().await;
    let address = gone.base();
    drop(gone);
    let source = Source::Edges {
        path: "title/stream.mpd".to_owned(),
        bases: vec![address],
    };
    let player = Player::builder(source)
        .start_timeout(Duration::from_millis(1200))
        .start()
        .unwrap();
    let error = tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), "net.connect_refused", "{error}");
    assert!(nearcast_player::explain(error.code()).is_some());
    let report = player.close().await.unwrap();
    assert_eq!(report.error.unwrap().code, "net.connect_refused");
    assert!(report.wall_s > 1.1, "{}", report.wall_s);
}

#[tokio::test]
async fn a_silent_start_ends_in_a_typed_error() {
    let silent = Edge::with(|_, _| Serve::HangAfter(10)).await;
    let player = on_edges(&[&silent])
        .start_timeout(Duration::from_millis(1200))
        .start()
        .unwrap();
    let error = tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        ["playback.start_timeout", "net.stalled"].contains(&error.code()),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_manifest_is_refused_by_name() {
    let edge = Edge::with(|_, _| Serve::Instead(b"hello")).await;
    let player = Player::builder(Source::Url(edge.url("stream.mpd")))
        .start()
        .unwrap();
    let error = tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), "manifest.not_a_manifest");
}

#[tokio::test]
async fn a_title_that_is_not_there_is_told_at_once() {
    let edge = Edge::start().await;
    let player = Player::builder(Source::Url(edge.url("nothing.mpd")))
        .start()
        .unwrap();
    let error = tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), "edge.not_found");
}

async fn wait_for(player: &Player, wanted: impl Fn(&EventKind) -> bool) {
    let mut events = player.events();
    let waiting = async {
        while let Some(event) = events.next().await {
            if wanted(&event.kind) {
                return;
            }
        }
        panic!("the player ended before");
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .expect("the event must come");
}

/// Waits for something that has no event of its own.
async fn wait_until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .expect("the condition must come true");
}
