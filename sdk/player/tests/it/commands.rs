//! What an application asks for before and during playback.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcast_core::{Command, Input};
use nearcast_player::{
    BitRate, ByteCount, EventKind, MediaTime, Memory, NetworkOptions, PlayState, Player,
    PlayerBuilder, PlayerSnapshot, RecordedLine, Source, TrackKind,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::edge::{Edge, Serve, fixtures};
use crate::sinks::{Collector, Got, Subtitles};

const LIMIT: Duration = Duration::from_secs(40);

fn on_edge(edge: &Edge) -> PlayerBuilder {
    Player::builder(Source::Url(edge.url("stream.mpd")))
}

async fn until(player: &Player, wanted: impl FnMut(&PlayerSnapshot) -> bool) {
    let mut snapshots = player.snapshots();
    tokio::time::timeout(LIMIT, snapshots.wait_for(wanted))
        .await
        .expect("it must come to that")
        .expect("the player ended before");
}

async fn to_the_end(player: &Player) {
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
}

fn is_playing(snapshot: &PlayerSnapshot) -> bool {
    snapshot.session.state == PlayState::Playing
}

/// Serves the title with its sound a second time, in another language.
async fn edge_with_two_languages() -> Edge {
    let mpd = String::from_utf8(fixtures()["/title/stream.mpd"].clone()).unwrap();
    let from = mpd.find("<AdaptationSet id=\"1\"").unwrap();
    let to = mpd.find("<AdaptationSet id=\"2\"").unwrap();
    let sound = mpd[from..to].replace("contentType", "lang=\"en\" contentType");
    let other = (sound.replace("\"1\" lang=\"en\"", "\"7\" lang=\"de\""))
        .replace("<Representation id=\"2\"", "<Representation id=\"german\"")
        .replace("$RepresentationID$", "2");
    let both = format!("{}{sound}{other}{}", &mpd[..from], &mpd[to..]);
    let both: &'static [u8] = both.leak().as_bytes();
    Edge::with(move |seen, _| {
        if seen.path.ends_with("stream.mpd") {
            Serve::Instead(both)
        } else {
            Serve::Well
        }
    })
    .await
}

#[tokio::test]
async fn another_language_is_heard_when_it_is_chosen() {
    let edge = edge_with_two_languages().await;
    let collector = Collector::default();
    let player = on_edge(&edge)
        .lock_rung(1)
        .audio_language("en")
        .sample_sink(collector.clone())
        .start()
        .unwrap();
    until(&player, is_playing).await;
    let languages = |snapshot: &PlayerSnapshot| -> Vec<_> {
        let tracks = snapshot.session.audio_tracks.iter();
        tracks
            .map(|track| (track.language.clone().unwrap(), track.chosen))
            .collect()
    };
    let (en, de) = ("en".to_owned(), "de".to_owned());
    assert_eq!(
        languages(&player.snapshot()),
        [(en.clone(), true), (de.clone(), false)]
    );
    player.select_audio(1).unwrap();
    until(&player, |snapshot| {
        languages(snapshot) == [(en.clone(), false), (de.clone(), true)]
    })
    .await;
    to_the_end(&player).await;
    let formats: Vec<_> = (collector.all().into_iter())
        .filter_map(|got| match got {
            Got::Format(TrackKind::Audio, id) => Some(id),
            _ => None,
        })
        .collect();
    assert_eq!(formats.first().map(String::as_str), Some("2"));
    assert_eq!(formats.last().map(String::as_str), Some("german"));
    // It is heard to the end.
    let last = collector.samples(TrackKind::Audio).pop().unwrap();
    assert!(last.pts > MediaTime::from_micros(4_900_000));
}

#[tokio::test]
async fn subtitles_come_and_go_as_they_are_chosen() {
    let edge = Edge::start().await;
    let subtitles = Subtitles::default();
    let player = on_edge(&edge).cue_sink(subtitles.clone()).start().unwrap();
    until(&player, is_playing).await;
    assert!(!player.snapshot().session.text_tracks[0].chosen);
    player.select_text(Some(0)).unwrap();
    until(&player, |snapshot| !snapshot.cues.is_empty()).await;
    player.select_text(None).unwrap();
    until(&player, |snapshot| {
        snapshot.cues.is_empty() && !snapshot.session.text_tracks[0].chosen
    })
    .await;
    to_the_end(&player).await;
    let shown = subtitles.0.lock().unwrap().concat();
    assert_eq!(shown, ["first line"]);
}

#[tokio::test]
async fn no_rung_above_the_cap_is_fetched() {
    let cap = BitRate::from_kbps(100);
    for early in [true, false] {
        let edge = Edge::start().await;
        let builder = on_edge(&edge);
        let player = if early {
            builder.cap_rung(cap).start().unwrap()
        } else {
            let player = builder.start().unwrap();
            player.cap_rung(Some(cap)).unwrap();
            player
        };
        to_the_end(&player).await;
        let seen = edge.seen();
        assert!(seen.iter().any(|seen| seen.path.ends_with("/0-1.m4s")));
        assert!(
            !seen.iter().any(|seen| seen.path.contains("/1-")),
            "{early}"
        );
    }
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let builder = || Player::builder(Source::Url("http://127.0.0.1:9/x.mpd".to_owned()));
    for (builder, option) in [
        (builder().memory_cap(ByteCount::new(1000)), "memory_cap"),
        (builder().race_width(0), "race_width"),
        (builder().buffer_goal(Duration::ZERO), "buffer_goal"),
    ] {
        let error = builder.start().unwrap_err();
        assert_eq!(error.code(), "player.invalid_option");
        assert!(error.to_string().contains(option), "{error}");
    }
}

#[tokio::test]
async fn after_a_change_of_network_nothing_goes_over_old_connections() {
    let edge = Edge::start().await;
    // Once the buffer is full, nothing is asked for before it plays.
    let goal = Duration::from_millis(1500);
    let player = on_edge(&edge)
        .lock_rung(1)
        .buffer_goal(goal)
        .paused(true)
        .start()
        .unwrap();
    until(&player, |snapshot| {
        let session = &snapshot.session;
        session.video_level >= goal && session.audio_level >= goal && session.transfers.is_empty()
    })
    .await;
    let before = player.report().await.unwrap().fetches.len();
    player.network_changed(None).unwrap();
    player.play().unwrap();
    to_the_end(&player).await;
    let report = player.close().await.unwrap();
    let next = report.fetches[before..]
        .iter()
        .flat_map(|fetch| &fetch.attempts);
    assert_eq!(next.map(|attempt| attempt.cold).next(), Some(true));
}

#[tokio::test]
async fn a_player_that_begins_paused_loads_and_waits() {
    let edge = Edge::start().await;
    let player = on_edge(&edge).paused(true).start().unwrap();
    until(&player, |snapshot| {
        snapshot.session.state == PlayState::Paused
            && snapshot.session.video_level > Duration::from_secs(1)
    })
    .await;
    assert!(!player.playhead().is_running());
    assert_eq!(player.playhead().position(), MediaTime::ZERO);
    player.play().unwrap();
    to_the_end(&player).await;
    let report = player.close().await.unwrap();
    assert!((4.9..5.3).contains(&report.played_s), "{}", report.played_s);
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
async fn every_command_reaches_the_session() {
    let edge = Edge::start().await;
    let tape = Tape::default();
    let player = on_edge(&edge).record(tape.clone()).start().unwrap();
    let to = MediaTime::from_micros(1_000_000);
    let bitrate = Some(BitRate::from_kbps(100));
    player.pause().unwrap();
    player.play().unwrap();
    player.seek(to).unwrap();
    player.lock_rung(Some(0)).unwrap();
    player.cap_rung(bitrate).unwrap();
    player.select_audio(0).unwrap();
    player.select_text(Some(0)).unwrap();
    player.network_changed(Some("hotel".to_owned())).unwrap();
    player.background(true).unwrap();
    player.background(false).unwrap();
    player.stop().unwrap();
    to_the_end(&player).await;
    let text = String::from_utf8(tape.0.lock().unwrap().clone()).unwrap();
    let commands: Vec<Command> = text
        .lines()
        .filter_map(|line| match serde_json::from_str(line).unwrap() {
            RecordedLine::Input { input, .. } => match *input {
                Input::Command(command) => Some(command),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(
        commands,
        [
            Command::Pause,
            Command::Play,
            Command::Seek { to },
            Command::LockRung { rung: Some(0) },
            Command::CapRung { bitrate },
            Command::SelectAudio { track: 0 },
            Command::SelectText { track: Some(0) },
            Command::NetworkChanged {
                network: Some("hotel".to_owned())
            },
            Command::Background { hidden: true },
            Command::Background { hidden: false },
            Command::Stop,
        ]
    );
}

/// Opens one tunnel, and returns what it was asked for.
async fn tunnel(client: TcpStream) -> std::io::Result<String> {
    let mut client = BufReader::new(client);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let target = head[0].split(' ').nth(1).unwrap().to_owned();
    let mut server = TcpStream::connect(&target).await?;
    client.write_all(b"HTTP/1.1 200 Opened\r\n\r\n").await?;
    let asked = head.swap_remove(0);
    tokio::spawn(async move {
        // Either side may go away.
        tokio::io::copy_bidirectional(&mut client, &mut server)
            .await
            .ok();
    });
    Ok(asked)
}

#[tokio::test]
async fn through_a_proxy_every_connection_is_a_tunnel() {
    let edge = Edge::start().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = NetworkOptions {
        proxy: Some(format!("http://{}", proxy.local_addr().unwrap())),
        ..NetworkOptions::default()
    };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let tunnels = tokio::spawn(async move {
        loop {
            let (client, _) = proxy.accept().await.unwrap();
            let log = log.clone();
            tokio::spawn(async move {
                let asked = tunnel(client).await.unwrap();
                log.lock().unwrap().push(asked);
            });
        }
    });
    let player = on_edge(&edge)
        .lock_rung(1)
        .network_options(options)
        .start()
        .unwrap();
    to_the_end(&player).await;
    tunnels.abort();
    let asked = asked.lock().unwrap();
    let expected = format!("CONNECT {} HTTP/1.1", edge.address);
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|line| *line == expected), "{asked:?}");
}

#[tokio::test]
async fn without_a_proxy_that_answers_the_start_fails_by_its_name() {
    let edge = Edge::start().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let options = NetworkOptions {
        proxy: Some(format!("http://{address}")),
        ..NetworkOptions::default()
    };
    let player = on_edge(&edge)
        .network_options(options)
        .start_timeout(Duration::from_secs(3))
        .start()
        .unwrap();
    let mut events = player.events();
    let failed = async {
        while let Some(event) = events.next().await {
            if let EventKind::State(PlayState::Failed(error)) = event.kind {
                return error.code;
            }
        }
        panic!("it cannot play")
    };
    let code = tokio::time::timeout(LIMIT, failed).await.unwrap();
    assert_eq!(code, "net.proxy");
    assert!(edge.seen().is_empty());
}

#[tokio::test]
async fn what_is_learnt_of_a_network_with_an_identity_is_given_back_for_the_next_session() {
    let edge = Edge::start().await;
    let unnamed = on_edge(&edge).start().unwrap();
    to_the_end(&unnamed).await;
    assert_eq!(unnamed.memory().await.unwrap(), Memory::default());
    unnamed.close().await.unwrap();

    let player = on_edge(&edge).network_identity("home").start().unwrap();
    until(&player, is_playing).await;
    let early = player.memory().await.unwrap();
    assert_ne!(early, Memory::default(), "while it plays");
    to_the_end(&player).await;
    let again = player.clone();
    player.close().await.unwrap();
    let memory = again.memory().await.unwrap();
    let text = serde_json::to_string(&memory).unwrap();
    assert!(text.contains(r#""home""#), "{text}");
    for secret in ["stream", "http", "title"] {
        assert!(!text.contains(secret), "{text}");
    }

    let player = on_edge(&edge)
        .network_identity("home")
        .memory(serde_json::from_str(&text).unwrap())
        .start()
        .unwrap();
    to_the_end(&player).await;
    let report = player.close().await.unwrap();
    let mut why = report.decisions.iter().map(|one| &one.why);
    assert!(
        why.any(|why| why.contains("remembered")),
        "{:?}",
        report.decisions
    );
}

#[tokio::test]
async fn a_network_needs_a_name_that_can_be_remembered() {
    let edge = Edge::start().await;
    let player = on_edge(&edge).start().unwrap();
    for identity in [String::new(), "x".repeat(Memory::NAME_MAX + 1)] {
        let refused = on_edge(&edge).network_identity(identity.clone()).start();
        for error in [
            refused.err().unwrap(),
            player.network_changed(Some(identity)).unwrap_err(),
        ] {
            assert_eq!(error.code(), "player.invalid_option");
            assert!(error.to_string().contains("128 bytes"), "{error}");
        }
    }
}
