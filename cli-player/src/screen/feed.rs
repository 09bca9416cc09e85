//! What the player says, put into what the screen shows; what the viewer wants, put into the player's words.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcast_player::{
    BreakerState, Decision as Decided, DecisionKind, EventKind, MediaTime, PlayState, Player,
    PlayerError, PlayerEvent, PlayerSnapshot, SessionError, Snapshot, TrackSnapshot,
};
use nearcast_units::Ratio;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::requests::Requests;
use super::{Edges, Screen, set_volume};
use crate::commands::{Failure, Place, Signals, Wishes};
use crate::sound::Sound;
use crate::tui::state::{Decision, Edge, EdgeState, Phase, Rung, RungChoice, Track};
use crate::tui::{Command, PixelSize, Playback};

/// Feeds the screen.
pub(super) struct Feed {
    player: Player,
    speaker: Arc<Mutex<Sound>>,
    edges: Option<Arc<dyn Edges>>,
    /// Edges that are being killed, which may take seconds; each gives what to say of it.
    kills: JoinSet<String>,
    size: watch::Sender<Option<PixelSize>>,
    playback: Playback,
    requests: Requests,
    decisions: VecDeque<Decision>,
    history: VecDeque<Duration>,
    sampled_at: Instant,
    stalled_since: Option<Duration>,
    /// Whether to say where playback was taken up again.
    tells_place: bool,
    wishes: Wishes,
    place: Place,
    /// Where this machine was last known to be.
    addresses: Vec<IpAddr>,
    /// When the notice goes, and when the place where playback was taken up does.
    notice_until: Option<Instant>,
    resumed_until: Option<Instant>,
}

/// What ends a feed beside the player.
pub(super) struct Limits {
    /// After this much wall time.
    pub(super) duration: Option<Duration>,
    pub(super) signals: Signals,
    /// When the screen stops, and to stop it.
    pub(super) stop: CancellationToken,
}

/// What ended a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FeedEnd {
    /// The player, the viewer or a signal.
    Done,
    /// The time that was asked for.
    TimeUp,
}

/// A notice is read by then.
const NOTICE_SPAN: Duration = Duration::from_secs(8);
/// Nearer to the start than this nothing was taken up again.
pub(crate) const RESUMED_MIN: MediaTime = MediaTime::from_micros(1_000_000);
/// The curve of the buffer: two minutes at a point a second.
const HISTORY_MAX: usize = 120;
const HISTORY_EVERY: Duration = Duration::from_secs(1);
/// More decisions than a tall terminal shows.
const DECISIONS_MAX: usize = 60;
/// As many edges as the demo has.
const KILLS_MAX: usize = 10;
/// The position on the seek bar moves a few times a second.
const REFRESH: Duration = Duration::from_millis(125);
/// After the end the last picture stays this long.
const CURTAIN: Duration = Duration::from_millis(700);

impl Feed {
    pub(super) fn new(
        player: Player,
        speaker: Arc<Mutex<Sound>>,
        screen: &Screen,
        size: watch::Sender<Option<PixelSize>>,
    ) -> Self {
        let picture_note = (!cfg!(feature = "video"))
            .then(|| "no picture: this nearcast was built without video".to_owned());
        let playback = Playback {
            title: screen.title.clone(),
            can_kill: screen.edges.is_some(),
            picture_note,
            ..Playback::default()
        };
        Self {
            player,
            speaker,
            edges: screen.edges.clone(),
            kills: JoinSet::new(),
            size,
            playback,
            requests: Requests::default(),
            decisions: VecDeque::new(),
            history: VecDeque::new(),
            sampled_at: Instant::now(),
            stalled_since: None,
            tells_place: screen.tells_place,
            wishes: screen.wishes.clone(),
            place: screen.place.clone(),
            addresses: crate::addresses::outward(),
            notice_until: None,
            resumed_until: None,
        }
    }

    /// Shows a line for a while.
    fn notice(&mut self, text: String) {
        self.playback.notice = Some(text);
        self.notice_until = Some(Instant::now() + NOTICE_SPAN);
    }

    /// Runs until the player ends, the time is up, a signal comes or the screen stops; stops the screen then.
    pub(super) fn start(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        limits: Limits,
    ) -> (watch::Receiver<Playback>, JoinHandle<FeedEnd>) {
        let Limits {
            duration,
            signals,
            stop,
        } = limits;
        let (to, playback) = watch::channel(self.playback.clone());
        let task = tokio::spawn(async move {
            let mut events = self.player.events();
            let mut refresh = interval(REFRESH);
            refresh.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let limit = async {
                match duration {
                    Some(duration) => tokio::time::sleep(duration).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(limit);
            loop {
                let over = tokio::select! {
                    () = stop.cancelled() => return FeedEnd::Done,
                    () = &mut limit => {
                        stop.cancel();
                        return FeedEnd::TimeUp;
                    }
                    // One that came before the screen listened.
                    _ = signals.next() => {
                        stop.cancel();
                        return FeedEnd::Done;
                    }
                    _ = refresh.tick() => false,
                    event = events.next() => match event {
                        Some(event) => self.event(&event),
                        None => true,
                    },
                    Some(command) = commands.recv() => {
                        self.command(command);
                        false
                    }
                    Some(killed) = self.kills.join_next() => {
                        let failed = "an edge was not killed: trying to went wrong; press K once more";
                        self.notice(killed.unwrap_or_else(|_| failed.to_owned()));
                        false
                    }
                };
                self.refresh();
                to.send_replace(self.playback.clone());
                if over {
                    tokio::time::sleep(CURTAIN).await;
                    stop.cancel();
                    return FeedEnd::Done;
                }
            }
        });
        (playback, task)
    }

    fn command(&mut self, command: Command) {
        self.playback.commands_heard += 1;
        let index = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
        let now = Instant::now();
        let requests = &mut self.requests;
        let done = match command {
            Command::Play => self.player.play().map(|()| requests.pause(false)),
            Command::Pause => self.player.pause().map(|()| requests.pause(true)),
            Command::SeekTo(to) => self.player.seek(to).map(|()| requests.seek(to, now)),
            Command::SetVolume(volume) => {
                self.playback.volume = volume;
                // As the screen does: whoever makes it louder wants to hear it.
                self.playback.muted = false;
                self.volume();
                Ok(())
            }
            Command::SetMuted(muted) => {
                self.playback.muted = muted;
                self.volume();
                Ok(())
            }
            Command::ChooseAudio(track) => {
                let done = self.player.select_audio(index(track));
                done.map(|()| requests.audio(track, now))
            }
            Command::ChooseSubtitles(track) => {
                let done = self.player.select_text(track.map(index));
                done.map(|()| requests.subtitles(track, now))
            }
            Command::LockRung(rung) => {
                let done = self.player.lock_rung(Some(index(rung)));
                done.map(|()| requests.rung(RungChoice::Locked(rung), now))
            }
            Command::AutoRung => {
                let done = self.player.lock_rung(None);
                done.map(|()| requests.rung(RungChoice::Auto, now))
            }
            Command::KillEdge(id) => {
                self.kill(id);
                Ok(())
            }
            Command::PictureSize(size) => {
                self.size.send_replace(size);
                Ok(())
            }
            Command::Continued => self.continued(crate::addresses::outward()),
            Command::Quit => self.player.stop(),
        };
        match done {
            Ok(()) | Err(PlayerError::Closed) => {}
            Err(error) => self.notice(error.to_string()),
        }
    }

    /// The process goes on after it was stopped: on another network perhaps, where nothing that was measured holds.
    fn continued(&mut self, addresses: Vec<IpAddr>) -> Result<(), PlayerError> {
        if addresses == self.addresses {
            return Ok(());
        }
        self.addresses = addresses;
        // Which one it is now nobody says.
        self.player.network_changed(None)
    }

    fn kill(&mut self, id: String) {
        let Some(edges) = self.edges.clone() else {
            return;
        };
        if self.kills.len() == KILLS_MAX {
            let text =
                format!("{id} was not killed: others are just now; press K when they are gone");
            return self.notice(text);
        }
        self.kills.spawn(async move {
            match edges.kill(id.clone()).await {
                Ok(()) => format!("{id} was killed"),
                Err(error) => error,
            }
        });
    }

    fn volume(&self) {
        let volume = Ratio::new(self.playback.volume.get()).unwrap_or(Ratio::ONE);
        set_volume(&self.speaker, volume, self.playback.muted);
    }

    /// Notes what happened; returns whether it was the end.
    fn event(&mut self, event: &PlayerEvent) -> bool {
        if let EventKind::Decision(decision) = &event.kind {
            self.decision(Decision {
                at: event.at,
                kind: decision.kind.name().to_owned(),
                text: format!("{}: {}", decision.chosen, decision.why),
                compared: compared(decision),
            });
            return false;
        }
        if matches!(event.kind, EventKind::State(_))
            && let Some(since) = self.stalled_since.take()
        {
            self.playback.stalled += event.at.saturating_sub(since);
        }
        match &event.kind {
            EventKind::State(PlayState::Stalled(_)) => self.stalled_since = Some(event.at),
            EventKind::State(PlayState::Playing) if self.tells_place => {
                self.tells_place = false;
                if event.position >= RESUMED_MIN {
                    self.playback.resumed_from = Some(event.position);
                    self.resumed_until = Some(Instant::now() + NOTICE_SPAN);
                }
            }
            EventKind::State(_)
            | EventKind::Decision(_)
            | EventKind::Granted { .. }
            | EventKind::TracksKnown
            | EventKind::RepresentationSwitched { .. } => {}
            EventKind::AllEdgesDown { .. } => {
                self.playback.trouble = Some(crate::commands::event_text(event));
            }
            EventKind::EdgesBack => {
                self.playback.trouble = None;
                self.notice(crate::commands::event_text(event));
            }
            EventKind::InsecureTls => {
                self.playback.tls_note = Some("any certificate is accepted".to_owned());
            }
            EventKind::GrantFailed { .. }
            | EventKind::TrackRefused { .. }
            | EventKind::FailedOver { .. }
            | EventKind::EdgeState { .. }
            | EventKind::NotDecoded { .. }
            | EventKind::RecordingFailed { .. }
            | EventKind::Missed { .. }
            | _ => self.notice(crate::commands::event_text(event)),
        }
        matches!(
            event.kind,
            EventKind::State(PlayState::Ended | PlayState::Stopped | PlayState::Failed(_))
        )
    }

    /// Keeps a decision; one that only repeats the last of its kind says no more than what was compared this time.
    fn decision(&mut self, decision: Decision) {
        let mut newest = self.decisions.iter_mut().rev();
        let last = newest.find(|last| last.kind == decision.kind);
        if let Some(last) = last.filter(|last| last.text == decision.text) {
            last.compared = decision.compared;
            return;
        }
        if self.decisions.len() == DECISIONS_MAX {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision);
    }

    fn refresh(&mut self) {
        let snapshot = self.player.snapshot();
        let now = Instant::now();
        if self.notice_until.is_some_and(|until| now >= until) {
            self.notice_until = None;
            self.playback.notice = None;
        }
        if self.resumed_until.is_some_and(|until| now >= until) {
            self.resumed_until = None;
            self.playback.resumed_from = None;
        }
        if now.duration_since(self.sampled_at) >= HISTORY_EVERY {
            self.sampled_at = now;
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(snapshot.session.video_level);
        }
        let in_vain = self.wishes.in_vain(&snapshot.session);
        if !in_vain.is_empty() {
            self.notice(in_vain.join("; "));
        }
        self.show(&snapshot);
    }

    fn show(&mut self, snapshot: &PlayerSnapshot) {
        let session = &snapshot.session;
        let chosen = |tracks: &[TrackSnapshot]| tracks.iter().position(|track| track.chosen);
        let playback = &mut self.playback;
        if let Some(title) = &snapshot.title {
            playback.title.clone_from(title);
        }
        let playhead = self.player.playhead();
        playback.phase = phase(&session.state);
        playback.obstacle = obstacle(session).map(|error| {
            let trouble = session.trouble.as_ref();
            let failure = Failure::of_playback(&error.code, &error.message, trouble);
            failure.at(&self.place).message().to_owned()
        });
        playback.position = playhead.position();
        playback.is_held = !playhead.is_running();
        playback.duration = session.duration;
        playback.video_buffer = session.video_level;
        playback.audio_buffer = session.audio_level;
        playback.buffer_history = self.history.iter().copied().collect();
        playback.ladder = session
            .ladder
            .iter()
            .map(|rung| Rung {
                name: rung.id.clone(),
                bitrate: rung.bitrate,
                height: rung.resolution.map(|(_, height)| height),
            })
            .collect();
        playback.rung = session.rung_shown.or(session.rung_next);
        playback.rung_choice = session
            .rung_locked
            .map_or(RungChoice::Auto, RungChoice::Locked);
        playback.audio_tracks = session.audio_tracks.iter().map(label).collect();
        playback.audio = chosen(&session.audio_tracks);
        playback.subtitle_tracks = session.text_tracks.iter().map(label).collect();
        playback.subtitles = chosen(&session.text_tracks);
        playback.cue = snapshot
            .cues
            .iter()
            .map(|cue| cue.text.as_str())
            .collect::<Vec<_>>()
            .join("\n");
        playback.sound_note = super::sound::note(&self.speaker);
        playback.stall_count = u32::try_from(session.stalls).unwrap_or(u32::MAX);
        playback.failover_count = u32::try_from(session.failovers).unwrap_or(u32::MAX);
        playback.decisions = self.decisions.iter().cloned().collect();
        let ours = self.edges.as_deref();
        playback.edges = session
            .edges
            .iter()
            .map(|edge| Edge {
                id: edge.name.clone(),
                site: ours
                    .and_then(|edges| edges.site(&edge.name))
                    .unwrap_or_default(),
                state: match edge.state {
                    BreakerState::Closed if edge.ttfb.is_none() => EdgeState::Untried,
                    BreakerState::Closed => EdgeState::Closed,
                    BreakerState::Open => EdgeState::Open,
                    BreakerState::HalfOpen => EdgeState::HalfOpen,
                },
                protocol: edge.protocol.map(|protocol| protocol.name().to_owned()),
                ttfb: edge.ttfb,
                throughput: edge.rate,
                bytes: edge.bytes,
                in_use: edge.in_use,
                killed: ours.is_some_and(|edges| edges.is_killed(&edge.name)),
            })
            .collect();
        self.requests.show(playback, Instant::now());
    }
}

/// So many of those compared are read at a glance.
const COMPARED_MAX: usize = 3;

/// Says what a decision was among, the best first: edges by the seconds that they were expected to take, rungs by what they are worth.
fn compared(decision: &Decided) -> String {
    let rungs = decision.kind == DecisionKind::Rung;
    let mut scores: Vec<(&String, f64)> = decision
        .scores
        .iter()
        .map(|(name, score)| (name, *score))
        .collect();
    scores.sort_by(|(_, a), (_, b)| {
        if rungs {
            b.total_cmp(a)
        } else {
            a.total_cmp(b)
        }
    });
    let each = scores.iter().take(COMPARED_MAX).map(|(name, score)| {
        if rungs {
            format!("{name} {score:.2}")
        } else {
            format!("{name} {score:.2} s")
        }
    });
    each.collect::<Vec<String>>().join(", ")
}

/// Returns what is in the way while nothing moves.
fn obstacle(session: &Snapshot) -> Option<&SessionError> {
    match &session.state {
        PlayState::Failed(error) => Some(error),
        PlayState::Starting | PlayState::Stalled(_) | PlayState::Seeking => {
            session.trouble.as_ref()
        }
        PlayState::Idle
        | PlayState::Playing
        | PlayState::Paused
        | PlayState::Ended
        | PlayState::Stopped => None,
    }
}

const fn phase(state: &PlayState) -> Phase {
    match state {
        PlayState::Idle | PlayState::Starting => Phase::Starting,
        PlayState::Playing => Phase::Playing,
        PlayState::Paused => Phase::Paused,
        PlayState::Stalled(_) => Phase::Stalled,
        PlayState::Seeking => Phase::Seeking,
        PlayState::Ended | PlayState::Stopped => Phase::Ended,
        PlayState::Failed(_) => Phase::Failed,
    }
}

fn label(track: &TrackSnapshot) -> Track {
    let label = track.label.clone().or_else(|| track.language.clone());
    Track {
        label: label.unwrap_or_else(|| "unnamed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::pin::Pin;

    use nearcast_player::Source;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::tui::graphics::Wish;

    /// Less than the player waits for its first frame.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// One edge, which is killed when the test says so.
    struct Reluctant(Mutex<Option<oneshot::Receiver<()>>>);

    impl Edges for Reluctant {
        fn kill(
            &self,
            _id: String,
        ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
            let dead = self.0.lock().unwrap().take().unwrap();
            Box::pin(async move { dead.await.map_err(|error| error.to_string()) })
        }

        fn is_killed(&self, _id: &str) -> bool {
            false
        }

        fn site(&self, _id: &str) -> Option<String> {
            None
        }
    }

    /// A player of what says nothing, and what belongs to its screen.
    async fn silent_feed(edges: Option<Arc<dyn Edges>>) -> (Feed, std::net::TcpListener) {
        // Takes a connection and says nothing, so that nothing else is told meanwhile.
        let silence = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x.mpd", silence.local_addr().unwrap());
        let source = Source::Url(url);
        let screen = Screen {
            picture: Wish::Auto,
            log: None,
            title: String::new(),
            tells_place: false,
            duration: None,
            silent: true,
            edges,
            place: Place::default(),
            wishes: Wishes::default(),
        };
        let speaker = super::super::sound::open(true, None).await;
        let player = Player::builder(source).start().unwrap();
        let (size, _) = watch::channel(None);
        (Feed::new(player, speaker, &screen, size), silence)
    }

    #[test]
    fn the_best_of_those_compared_are_named_first() {
        let decision = |kind, scores: &[(&str, f64)]| Decided {
            kind,
            chosen: "a".to_owned(),
            why: "why".to_owned(),
            inputs: BTreeMap::new(),
            scores: scores
                .iter()
                .map(|(name, score)| ((*name).to_owned(), *score))
                .collect(),
        };
        let rungs = [("v0", 1.0), ("v1", 2.456), ("v2", -3.0), ("v3", 2.0)];
        let told = compared(&decision(DecisionKind::Rung, &rungs));
        assert_eq!(told, "v1 2.46, v3 2.00, v0 1.00");
        let edges = [("a", 0.4), ("b", 0.05)];
        assert_eq!(
            compared(&decision(DecisionKind::Edge, &edges)),
            "b 0.05 s, a 0.40 s"
        );
        assert_eq!(compared(&decision(DecisionKind::Edge, &[])), "");
    }

    #[tokio::test]
    async fn a_stop_is_a_change_of_network_only_where_addresses_change() {
        let (mut feed, _silence) = silent_feed(None).await;
        let other = vec![IpAddr::from([192, 0, 2, 7])];
        for addresses in [feed.addresses.clone(), other.clone(), other] {
            feed.continued(addresses).unwrap();
        }
        let report = feed.player.close().await.unwrap();
        let decisions = report.decisions.iter().map(|decision| &decision.why);
        let changes = decisions.filter(|why| *why == "the network changed");
        assert_eq!(changes.count(), 1);
    }

    #[tokio::test]
    async fn nothing_waits_for_an_edge_that_takes_long_to_die() {
        let (dies, dead) = oneshot::channel();
        let edge: Arc<dyn Edges> = Arc::new(Reluctant(Mutex::new(Some(dead))));
        let (feed, _silence) = silent_feed(Some(edge)).await;
        let (commands, inbox) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let limits = Limits {
            duration: None,
            signals: Signals::none(),
            stop: stop.clone(),
        };
        let (mut playback, task) = feed.start(inbox, limits);

        commands
            .send(Command::KillEdge("a".to_owned()))
            .await
            .unwrap();
        commands.send(Command::SetMuted(true)).await.unwrap();
        let muted = timeout(PATIENCE, playback.wait_for(|playback| playback.muted)).await;
        assert_eq!(muted.unwrap().unwrap().notice, None);
        dies.send(()).unwrap();
        let told = |playback: &Playback| playback.notice.as_deref() == Some("a was killed");
        let told = timeout(PATIENCE, playback.wait_for(told)).await;
        drop(told.unwrap().unwrap());

        // It can die once: the second time is a fault of ours.
        commands
            .send(Command::KillEdge("a".to_owned()))
            .await
            .unwrap();
        let told = |playback: &Playback| {
            let notice = playback.notice.as_deref();
            notice.is_some_and(|notice| notice.contains("was not killed"))
        };
        let told = timeout(PATIENCE, playback.wait_for(told)).await;
        drop(told.unwrap().unwrap());
        stop.cancel();
        assert_eq!(task.await.unwrap(), FeedEnd::Done);
    }
}
