//! Runs the session: waits for one of {something happened, a deadline, the end}, tells the session, does what
//! the session asks. Decides nothing.

mod actions;
mod end;
mod inbox;
mod tell;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nearcast_core::{
    Command, Config, EdgeOffer, Epoch, Failure, FetchId, Input, Memory, Session, TransportEvent,
};
use nearcast_manifest::Manifest;
use nearcast_protocol::manifest::TrackKind;
use nearcast_protocol::play::HistoryUpdate;
use nearcast_protocol::report::SessionReport;
use nearcast_units::{Instant, MediaTime};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::control::{Granter, take_failure, take_grant};
use crate::decode::DecoderNote;
use crate::edges::EdgeBook;
use crate::event::{EventKind, PlayerEvent};
use crate::network::Network;
use crate::playhead::Playhead;
use crate::policy::PolicyThread;
use crate::pump::{Outputs, Pump, Wake};
use crate::qoe::Qoe;
use crate::record::Recorder;
use crate::report::Additions;
use crate::snapshot::PlayerSnapshot;
use crate::store::{Comparison, Store, TooLong};
use crate::telemetry::{EventQueue, Sender};
use crate::transport::{NOTES_MAX, Note, What};

pub(crate) use inbox::Order;
use inbox::{Happened, Inbox, Job, LiveAttempts};

/// How often sinks' places are told, statistics are made anew, and lateness is measured.
const TICK: Duration = Duration::from_millis(250);
/// How long telemetry may hold the end up.
pub(crate) const FLUSH_MAX: Duration = Duration::from_secs(2);
/// How often the backend is told how far the viewer is.
const HISTORY_EVERY: Duration = Duration::from_secs(30);

/// What is left of a session.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) report: SessionReport,
    pub(crate) memory: Memory,
}

/// What a driver begins with.
pub(crate) struct Setup {
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) network: Network,
    pub(crate) granter: Granter,
    /// Begins where the backend says that the viewer left off.
    pub(crate) resume: bool,
    pub(crate) locked_rung: Option<u16>,
    pub(crate) outputs: Outputs,
    pub(crate) playhead: Playhead,
    pub(crate) recorder: Recorder,
    /// The application's own ABR policy.
    pub(crate) policy: Option<PolicyThread>,
    pub(crate) additions: Additions,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) decoders: mpsc::Receiver<DecoderNote>,
    pub(crate) events: broadcast::Sender<PlayerEvent>,
    pub(crate) snapshot: watch::Sender<PlayerSnapshot>,
    pub(crate) finished: watch::Sender<Option<Arc<Finished>>>,
}

pub(crate) struct Driver {
    clock: Clock,
    session: Session,
    config: Config,
    network: Network,
    granter: Granter,
    resume: bool,
    book: EdgeBook,
    /// Offers of a source without backend.
    fixed: Vec<EdgeOffer>,
    manifest_name: Option<String>,
    manifest: Option<Manifest>,
    /// The manifest is one of HLS.
    is_playlist: bool,
    store: Store,
    /// Segments that are handed on while they arrive; only a flush of their track ends that before they are there.
    arriving: BTreeMap<FetchId, Arriving>,
    live: LiveAttempts,
    inbox: Inbox,
    pump: Pump,
    wake: Wake,
    playhead: Playhead,
    /// Nobody but us says where playback is: no sound is heard, or none yet.
    own_anchors: bool,
    /// Tracks whose sinks do not work.
    failed: Vec<TrackKind>,
    /// Tracks whose decoders have given their last.
    drained: Vec<TrackKind>,
    epoch: Epoch,
    /// The session waits for the first picture of this epoch.
    preparing: Option<Epoch>,
    pending: VecDeque<Input>,
    tick_at: Instant,
    history_at: Instant,
    recorder: Recorder,
    policy: Option<PolicyThread>,
    additions: Additions,
    telemetry: EventQueue,
    sender: Option<Sender>,
    qoe: Qoe,
    title: Option<(String, String)>,
    stale: bool,
    events: broadcast::Sender<PlayerEvent>,
    snapshot: watch::Sender<PlayerSnapshot>,
    finished: watch::Sender<Option<Arc<Finished>>>,
}

impl Driver {
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup {
            clock,
            config,
            network,
            granter,
            resume,
            locked_rung,
            outputs,
            playhead,
            ..
        } = setup;
        let mut pending = VecDeque::from([Input::Load]);
        if locked_rung.is_some() {
            pending.push_front(Input::Command(Command::LockRung { rung: locked_rung }));
        }
        let manifest_name = match &granter {
            Granter::Fixed(fixed) => Some(fixed.manifest.clone()),
            Granter::Backend { .. } => None,
        };
        // The session plans within its cap; this is for an edge that sends without end.
        let object_max = (config.memory_cap.get().saturating_mul(2)).max(OBJECT_MIN);
        Self {
            session: Session::new(config.clone()),
            clock,
            config,
            network,
            granter,
            resume,
            book: EdgeBook::default(),
            fixed: Vec::new(),
            manifest_name,
            manifest: None,
            is_playlist: false,
            store: Store::new(object_max),
            arriving: BTreeMap::new(),
            live: LiveAttempts::default(),
            inbox: Inbox::new(setup.orders, setup.decoders),
            own_anchors: true,
            drained: Vec::new(),
            failed: Vec::new(),
            pump: Pump::new(outputs),
            wake: Wake::default(),
            playhead,
            epoch: Epoch::default(),
            preparing: None,
            pending,
            tick_at: clock.now() + TICK,
            history_at: clock.now() + HISTORY_EVERY,
            recorder: setup.recorder,
            policy: setup.policy,
            additions: setup.additions,
            telemetry: EventQueue::default(),
            sender: None,
            qoe: Qoe::default(),
            title: None,
            stale: true,
            events: setup.events,
            snapshot: setup.snapshot,
            finished: setup.finished,
        }
    }

    /// Plays to the end, or until `stop`; whatever runs for this session ends with it.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.play() => {}
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = self.finish() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn play(&mut self) {
        if let Err(error) = self.recorder.config(&self.config) {
            self.tell(EventKind::RecordingFailed {
                message: error.to_string(),
            });
        }
        if self.network.options().insecure {
            self.tell(EventKind::InsecureTls);
        }
        self.settle();
        while !self.session.is_over() {
            let due = self.next_wake();
            let happened = self.inbox.next(self.clock.at(due)).await;
            if matches!(happened, Happened::Due) {
                self.additions.lateness.record(due, self.clock.now());
            }
            self.happened(happened);
            self.take_waiting_notes();
            self.settle();
        }
    }

    /// Media is moved on once for all notes that came meanwhile, and the session hears of consecutive pieces at
    /// once: both cost more than what a note tells.
    fn take_waiting_notes(&mut self) {
        for _ in 0..NOTES_MAX {
            let Some(note) = self.inbox.waiting_note() else {
                return;
            };
            if !self.goes_on(&note) {
                self.tell_session();
            }
            self.note(note);
        }
    }

    /// Whether a note goes on where the last input ends, so that both are one.
    fn goes_on(&self, note: &Note) -> bool {
        matches!(
            (self.pending.back(), &note.what),
            (
                Some(&Input::Transport {
                    attempt,
                    event: TransportEvent::Progress { to, .. },
                }),
                &What::Body { at, .. },
            ) if attempt == note.attempt && to == at
        )
    }

    fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Note(note) => self.note(note),
            Happened::Decoder(note) => self.decoder_note(note),
            Happened::Order(Order::Command(command)) => {
                self.pending.push_back(Input::Command(command))
            }
            Happened::Order(Order::Report(to)) => {
                // Whoever asked may have gone.
                to.send(self.report()).ok();
            }
            Happened::Order(Order::Memory(to)) => {
                to.send(self.session.memory()).ok();
            }
            Happened::Job(job) => self.job(job),
            Happened::Reaped => {}
            Happened::Crashed(task) => {
                if let Some(attempt) = self.live.of_task(task) {
                    self.live.end(attempt);
                    self.cannot_fetch(attempt);
                }
            }
            Happened::Due => self.due(),
        }
    }

    /// Tells the session what waits, does what it asks and moves media on, until nothing more follows.
    fn settle(&mut self) {
        loop {
            self.tell_session();
            if self.session.is_over() {
                break;
            }
            self.wake = self.pump.advance(self.playhead.position());
            self.hear_pump();
            self.tell_prepared();
            if self.pending.is_empty() {
                break;
            }
        }
        if std::mem::take(&mut self.stale) {
            self.publish();
        }
    }

    fn hear_pump(&mut self) {
        while let Some(input) = self.pump.poll_input() {
            self.pending.push_back(input);
        }
    }

    fn tell_session(&mut self) {
        while let Some(input) = self.pending.pop_front() {
            self.handle(input);
        }
    }

    /// One input, then everything that follows from it.
    fn handle(&mut self, input: Input) {
        let now = self.clock.now();
        if let Err(error) = self.recorder.input(now, &input) {
            self.tell(EventKind::RecordingFailed {
                message: error.to_string(),
            });
        }
        self.session.handle(now, input);
        while let Some(action) = self.session.poll_action() {
            self.act(now, action);
        }
        while let Some(event) = self.session.poll_event() {
            self.tell_session_event(event);
        }
    }

    fn note(&mut self, note: Note) {
        let goes_on = self.goes_on(&note);
        let Note { attempt, what } = note;
        let Some(live) = self.live.get(attempt) else {
            return;
        };
        let event = match what {
            What::Event(event) => {
                if let TransportEvent::Headers { validators, .. } = &event
                    && let Some(total) = validators.total.filter(|_| !live.probe)
                {
                    self.store.expect(live.fetch, total);
                }
                if matches!(event, TransportEvent::Complete | TransportEvent::Failed(_)) {
                    self.live.end(attempt);
                }
                event
            }
            What::Body { at, pieces } => {
                let (fetch, probe) = (live.fetch, live.probe);
                let mut to = at;
                for piece in &pieces {
                    if !probe && let Err(failure) = self.keep(fetch, to, piece) {
                        self.live.end(attempt);
                        let event = TransportEvent::Failed(failure);
                        self.pending.push_back(Input::Transport { attempt, event });
                        return;
                    }
                    to += piece.len() as u64;
                }
                self.hand_more(fetch);
                if goes_on
                    && let Some(Input::Transport {
                        event: TransportEvent::Progress { to: end, .. },
                        ..
                    }) = self.pending.back_mut()
                {
                    *end = to;
                    return;
                }
                TransportEvent::Progress { from: at, to }
            }
        };
        self.pending.push_back(Input::Transport { attempt, event });
    }

    fn keep(&mut self, fetch: FetchId, at: u64, piece: &bytes::Bytes) -> Result<(), Failure> {
        if let Comparison::Differs { at } = self.store.compare(fetch, at, piece) {
            tracing::debug!(fetch_id = fetch.0, at, "two edges gave different bytes");
            return Err(Failure::Mismatch);
        }
        let written = self.store.write(fetch, at, piece);
        written.map(drop).map_err(|TooLong| Failure::SizeChanged)
    }

    fn decoder_note(&mut self, note: DecoderNote) {
        match note {
            DecoderNote::Anchor {
                epoch,
                at,
                position,
            } => {
                self.own_anchors = false;
                // The note was under way for a moment, and the sink played on. The playhead knows already.
                let position = position + self.clock.now().since(at);
                self.pending.push_back(Input::Anchor { epoch, position });
            }
            DecoderNote::Underrun { epoch } => {
                // Until there is sound again.
                self.own_anchors = true;
                self.pending.push_back(Input::Underrun { epoch });
            }
            DecoderNote::Undecodable {
                epoch,
                object,
                code,
            } => {
                self.pending.push_back(Input::Undecodable {
                    epoch,
                    object,
                    code: code.to_owned(),
                });
            }
            DecoderNote::SinkFailed { track, message } => {
                self.failed.push(track);
                self.not_decoded(track, "player.sink_failed", message);
            }
            DecoderNote::Unsupported {
                track,
                code,
                message,
            } => self.not_decoded(track, code, message),
            DecoderNote::Drained { track } => self.drained.push(track),
        }
    }

    /// Playback goes on without a track. Where that is the sound, it no longer says where playback is.
    pub(super) fn not_decoded(&mut self, track: TrackKind, code: &str, message: String) {
        self.own_anchors |= track == TrackKind::Audio;
        self.tell(EventKind::NotDecoded {
            track,
            code: code.to_owned(),
            message,
        });
    }

    fn job(&mut self, job: Job) {
        match job {
            Job::Granted(Ok((grant, path))) => {
                self.begin_playback(&grant);
                let (input, event) = take_grant(&mut self.book, &grant, path);
                self.tell(event);
                self.pending.push_back(input);
            }
            Job::Granted(Err(error)) => {
                let (input, event) = take_failure(&error, self.granter.has_granted());
                self.tell(event);
                self.pending.push_back(input);
            }
            Job::Parsed(parsed) => self.manifest_parsed(*parsed),
            Job::IndexRead { key, read } => self.index_read(key, read),
            Job::PolicyAnswered { ask, decision } => {
                let answer = decision.map(|decision| Input::PolicyAnswered { ask, decision });
                self.pending.extend(answer);
            }
            Job::ParseCrashed(object) => self.pending.push_back(Input::ParseFailed {
                object,
                code: "player.internal".to_owned(),
                message: "what came cannot be parsed: the parser panicked".to_owned(),
            }),
            Job::Verified { fetch, intact } => {
                self.pending.push_back(Input::Verified { fetch, intact })
            }
            Job::Done => {}
        }
    }

    /// What the first grant of a playback brings beside edges. Where the backend has forgotten a playback, another one goes on
    /// with what is played.
    fn begin_playback(&mut self, grant: &nearcast_protocol::play::PlayGrant) {
        let Granter::Backend {
            backend,
            playback_id,
            ..
        } = &mut self.granter
        else {
            return;
        };
        if playback_id.as_ref() == Some(&grant.playback_id) {
            return;
        }
        let begins = playback_id.replace(grant.playback_id.clone()).is_none();
        if begins {
            let manifests = &grant.manifests;
            self.manifest_name = manifests.dash.clone().or_else(|| manifests.hls.clone());
        }
        self.title = Some((grant.playback_id.clone(), grant.title.name.clone()));
        match backend.telemetry(grant.events_url.as_deref()) {
            Ok(to) => {
                self.sender = Some(Sender::spawn(
                    self.telemetry.clone(),
                    grant.playback_id.clone(),
                    to,
                ))
            }
            Err(error) => tracing::debug!(code = error.code(), "telemetry has nowhere to go"),
        }
        if begins && self.resume && grant.resume_position_ms > 0 {
            let to = MediaTime::from_duration(Duration::from_millis(grant.resume_position_ms));
            self.pending.push_back(Input::Command(Command::Seek { to }));
        }
    }

    fn due(&mut self) {
        let now = self.clock.now();
        if self.session.next_deadline().is_some_and(|due| now >= due) {
            self.pending.push_back(Input::Timeout);
        }
        if now >= self.tick_at {
            self.tick_at = now + TICK;
            self.stale = true;
            if self.own_anchors && self.playhead.is_running() {
                let position = self.playhead.position_at(now);
                self.pending.push_back(Input::Anchor {
                    epoch: self.epoch,
                    position,
                });
            }
        }
        if now >= self.history_at {
            self.history_at = now + HISTORY_EVERY;
            self.put_history();
        }
    }

    fn put_history(&mut self) {
        if let Some(task) = self.history() {
            self.inbox.spawn_job(Job::Done, async {
                task.await;
                Job::Done
            });
        }
    }

    /// Tells the backend how far the viewer is; it may fail in silence.
    fn history(&self) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        let Granter::Backend {
            backend,
            title,
            playback_id: Some(_),
            ..
        } = &self.granter
        else {
            return None;
        };
        let position_ms = u64::try_from(self.playhead.position().as_micros() / 1000).ok()?;
        let (backend, title) = (backend.clone(), title.clone());
        let update = HistoryUpdate {
            position_ms,
            language: self.audio_language(),
        };
        Some(async move {
            if let Err(error) = backend.put_history(&title, &update).await {
                tracing::debug!(code = error.code(), "the viewing position was not kept");
            }
        })
    }

    fn next_wake(&self) -> Instant {
        let now = self.clock.now();
        let pump = self.wake.after.map(|span| now + span);
        let position = self
            .wake
            .position
            .and_then(|at| self.playhead.time_until(at))
            .map(|span| now + span);
        let picture = self.preparing.map(|_| now + PICTURE_LOOK);
        [self.session.next_deadline(), pump, position, picture]
            .into_iter()
            .flatten()
            .fold(self.tick_at, Instant::min)
    }

    fn report(&mut self) -> SessionReport {
        if let Some(video) = &self.pump.outputs().video {
            self.additions.frames = Some(video.counts());
        }
        self.additions
            .complete(self.session.report(self.clock.now()))
    }

    fn publish(&mut self) {
        let session = self.session.snapshot(self.clock.now());
        self.playhead.place(session.position);
        let snapshot = PlayerSnapshot {
            session,
            cues: self.pump.cues().shown().to_vec(),
            frames: self
                .pump
                .outputs()
                .video
                .as_ref()
                .map(crate::decode::VideoTrack::counts)
                .unwrap_or_default(),
            stored_bytes: self.store.bytes(),
            telemetry_dropped: self.telemetry.dropped(),
            playback_id: self.title.as_ref().map(|(id, _)| id.clone()),
            title: self.title.as_ref().map(|(_, name)| name.clone()),
        };
        self.snapshot.send_replace(snapshot);
    }
}

/// A segment that is handed on while it arrives.
struct Arriving {
    track: TrackKind,
    /// So many bytes of it were passed on.
    handed: u64,
}

/// How often to look for the first picture.
const PICTURE_LOOK: Duration = Duration::from_millis(4);

/// However small the cap, an object may be this long: a manifest may have 16 MiB.
const OBJECT_MIN: u64 = 64 << 20;
