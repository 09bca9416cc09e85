//! The state machine that drivers talk to. It joins the rooms: control (grant, manifest, tracks), plan (what
//! comes next), rung (at which bit rate), hand_on (what the sinks get), transfer (attempts across edges), wrong (bytes that are wrong, objects that nobody has), probe
//! (measuring with spare time), playback (clock, start, stalls), replace (buffered segments), edit (seeks, other tracks) and watch (what waits, and for how long at most). Each of them is an `impl` of the one [`Session`]; decisions
//! that need no session live in their own modules.

mod abandon;
mod ask;
mod control;
mod edit;
mod hand_on;
mod invariants;
mod plan;
mod playback;
mod policy;
mod probe;
mod replace;
mod rung;
mod snapshot;
mod transfer;
mod watch;
mod wrong;

#[cfg(test)]
mod tests;

use playback::START_LEVEL;
use policy::Policy;
use wrong::Wrongs;

pub use snapshot::{EdgeSnapshot, RungSnapshot, Snapshot, TrackSnapshot, TransferSnapshot};
pub use watch::{Owner, Wait};

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};
use nearcast_protocol::report::SessionReport;
use nearcast_units::{BitRate, ByteCount, Instant, MediaTime, Rng};

use crate::abr::AbrContext;
use crate::action::{Action, CancelReason};
use crate::clock::PlayClock;
use crate::config::Config;
use crate::edge::Edges;
use crate::event::{Decision, DecisionKind, Event, PlayState, SessionError, seconds};
use crate::fetch::{Comparison, Fetch};
use crate::input::{AttemptId, Command, EdgeId, Epoch, FetchId, Input};
use crate::memory::Memory;
use crate::qoe::Recorder;
use crate::schedule::TrackState;
use crate::throughput::RecentRate;
use crate::timeline::{Timeline, TrackWish};

/// One playback: decides, and never acts.
#[derive(Debug)]
pub struct Session {
    config: Config,
    now: Instant,
    loaded_at: Option<Instant>,
    state: PlayState,
    epoch: Epoch,
    grant: GrantState,
    /// Counts grants: an attempt carries the token of one.
    grant_number: u32,
    granted_at: Instant,
    /// How long the title is, by the latest grant that says so.
    granted_length: Option<Duration>,
    /// When an edge that did not accept a token had a new one asked for.
    token_asked_at: Option<Instant>,
    /// Requests that failed since the last grant.
    grant_failures: u32,
    /// Why the backend gave no new tokens.
    refused: Option<SessionError>,
    rng: Rng,
    edges: Edges,
    timeline: Option<Timeline>,
    tracks: [TrackState; 3],
    clock: PlayClock,
    /// The clock does not run beyond this before something is heard.
    shown_until: Option<MediaTime>,
    sinks: Sinks,
    rate: f64,
    /// The viewer asked for a pause, whatever the buffers say.
    paused: bool,
    hidden: bool,
    policy: Policy,
    /// What the policy is told, filled anew each time.
    told: AbrContext,
    /// When the policy looked at a transfer under way last.
    reviewed_at: Instant,
    lock: Option<u16>,
    /// A transfer was given up for this lower rung: it is taken next, whatever the rule would say.
    given_up_for: Option<RepresentationKey>,
    cap: Option<BitRate>,
    fetches: Vec<Fetch>,
    parsing: Vec<Parsing>,
    inits: BTreeMap<RepresentationKey, Init>,
    /// Whose init was handed on last, per track.
    handed_init: [Option<RepresentationKey>; 3],
    wrongs: Wrongs,
    /// Time spent paused before the first frame: it does not count as waiting.
    paused_for: Duration,
    paused_since: Option<Instant>,
    /// The race for the first media segment was run.
    raced: bool,
    probe_at: Instant,
    /// A slow body and another edge's beside it.
    comparison: Option<Comparison>,
    /// No edge that may have been slow from the beginning is compared before.
    compare_at: Instant,
    /// How many comparisons in a row told neither the edge nor the line.
    untold: u32,
    /// A comparison showed that others are no faster: until then slowness is the line's.
    line_slow_until: Instant,
    /// What the line was found to carry then.
    line_slow_rate: Option<BitRate>,
    /// Bytes that races, help and probes have cost.
    pub(crate) extra: ByteCount,
    /// Bytes that were of use.
    useful: ByteCount,
    /// All that came of late, from whichever edge.
    arriving: RecentRate,
    /// When something last moved: bytes, the playhead, or the session's state.
    progress_at: Instant,
    edges_down: bool,
    last_failure: Option<SessionError>,
    next_fetch: u32,
    next_attempt: u32,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    recorder: Recorder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GrantState {
    Absent,
    /// Asked for, or asked for again.
    Asked {
        since: Instant,
        refresh: bool,
    },
    /// Asking failed; `refresh` says that an old one still serves.
    Waiting {
        until: Instant,
        refresh: bool,
    },
    Held {
        refresh_at: Option<Instant>,
    },
}

/// Whether the sinks can show what comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sinks {
    Unasked,
    /// Asked; at this time playback starts without their answer.
    Asked {
        until: Instant,
    },
    Prepared,
}

/// A manifest or index that the driver parses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parsing {
    object: ObjectKey,
    /// Then the answer was lost.
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Init {
    Fetching,
    Ready {
        fetch: FetchId,
        /// When it came: what is heard of it from before means another.
        since: Epoch,
    },
}

const KINDS: [TrackKind; 3] = [TrackKind::Video, TrackKind::Audio, TrackKind::Text];

const fn slot(kind: TrackKind) -> usize {
    match kind {
        TrackKind::Video => 0,
        TrackKind::Audio => 1,
        TrackKind::Text => 2,
    }
}

/// Parsing and comparing take milliseconds; an answer that is not there by then was lost.
const WORK_LOST: Duration = Duration::from_secs(5);

impl Session {
    /// Makes a session that waits for [`Input::Load`].
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        config.buffer_goal = config.buffer_goal.max(START_LEVEL);
        let mut edges = Edges::new(config.seed.split("edges").rng());
        let network = config.network.as_deref();
        edges.recall(config.memory.recall(network, config.began_s));
        let wish = |language: &Option<String>| TrackWish {
            language: language.clone(),
            role: None,
        };
        Self {
            now: Instant::ZERO,
            loaded_at: None,
            state: PlayState::Idle,
            epoch: Epoch(0),
            grant: GrantState::Absent,
            grant_number: 0,
            granted_at: Instant::ZERO,
            granted_length: None,
            token_asked_at: None,
            grant_failures: 0,
            refused: None,
            rng: config.seed.split("control").rng(),
            edges,
            timeline: None,
            tracks: [
                TrackState::new(TrackKind::Video, TrackWish::default()),
                TrackState::new(TrackKind::Audio, wish(&config.audio_language)),
                TrackState::new(TrackKind::Text, wish(&config.text_language)),
            ],
            clock: PlayClock::held(config.start_at),
            shown_until: None,
            sinks: Sinks::Unasked,
            rate: 1.0,
            paused: config.paused,
            hidden: false,
            policy: Policy::new(config.abr, config.custom_policy),
            told: AbrContext::default(),
            reviewed_at: Instant::ZERO,
            lock: None,
            given_up_for: None,
            cap: config.rung_cap,
            fetches: Vec::new(),
            parsing: Vec::new(),
            inits: BTreeMap::new(),
            handed_init: [None; 3],
            wrongs: Wrongs::default(),
            paused_for: Duration::ZERO,
            paused_since: None,
            raced: false,
            probe_at: Instant::ZERO,
            comparison: None,
            compare_at: Instant::ZERO,
            untold: 0,
            line_slow_until: Instant::ZERO,
            line_slow_rate: None,
            extra: ByteCount::ZERO,
            useful: ByteCount::ZERO,
            arriving: RecentRate::default(),
            progress_at: Instant::ZERO,
            edges_down: false,
            last_failure: None,
            next_fetch: 1,
            next_attempt: 1,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            recorder: Recorder::default(),
            config,
        }
    }

    /// Takes what happened at `now`. Time never goes back: an earlier `now` counts as the latest one.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if self.is_over() {
            return;
        }
        self.clamp_clock();
        match input {
            Input::Load => self.load(),
            Input::Granted(grant) => self.granted(&grant),
            Input::GrantFailed {
                code,
                message,
                refused,
                retry_after,
            } => {
                self.grant_failed(SessionError { code, message }, refused, retry_after);
            }
            Input::ManifestParsed(outline) => self.manifest_parsed(outline),
            Input::IndexParsed {
                key,
                segments,
                init,
            } => self.index_parsed(key, segments, init),
            Input::ParseFailed {
                object,
                code,
                message,
            } => self.parse_failed(object, SessionError { code, message }),
            Input::Transport { attempt, event } => self.transport(attempt, event),
            Input::PolicyAnswered { ask, decision } => self.policy.answered(ask, decision),
            Input::Verified { fetch, intact } => self.verified(fetch, intact),
            Input::Playable {
                epoch,
                object,
                until,
            } => self.playable(epoch, object, until),
            Input::Undecodable {
                epoch,
                object,
                code,
            } => self.undecodable(epoch, object, &code),
            Input::Prepared { epoch } => self.prepared(epoch),
            Input::Anchor { epoch, position } => self.anchor(epoch, position),
            Input::Underrun { epoch } => self.underrun(epoch),
            Input::Command(command) => self.command(command),
            Input::Timeout => {}
        }
        self.advance();
        if self.is_over() {
            while let Some(fetch) = self.fetches.pop() {
                self.end_fetch(fetch, CancelReason::Stopped);
            }
        }
    }

    /// Whether it is known what is played: a manifest that comes later is of no use.
    #[must_use]
    pub const fn has_title(&self) -> bool {
        self.timeline.is_some()
    }

    /// Returns the next thing to do; call until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the next thing to tell; call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when [`Input::Timeout`] is due if nothing else happens; `None` when nothing waits.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.is_over() || self.loaded_at.is_none() {
            return None;
        }
        let reviews = self
            .fetches
            .iter()
            .filter_map(|fetch| fetch.next_review(self.now, &self.edges));
        [
            self.control_deadline(),
            self.playback_deadline(),
            self.plan_deadline(),
            self.watchdog_deadline(),
        ]
        .into_iter()
        .flatten()
        .chain(reviews)
        .min()
        // Never in the past: a deadline that was just handled must not make the driver spin.
        .map(|due| due.max(self.now + Duration::from_millis(1)))
    }

    /// Returns the report so far.
    #[must_use]
    pub fn report(&self, now: Instant) -> SessionReport {
        self.build_report(now.max(self.now))
    }

    /// Returns what is to be remembered so far: what the session began with, and what it found of the network that it is on,
    /// where that has a name. Still there after the end.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let mut memory = self.config.memory.clone();
        if let Some(network) = &self.config.network {
            memory.keep(network, self.edges.remembered(self.time_s()));
        }
        memory
    }

    /// The time of day, in seconds since the Unix epoch.
    fn time_s(&self) -> u64 {
        let lasts = self.now.since(Instant::ZERO).as_secs();
        self.config.began_s.saturating_add(lasts)
    }

    /// Returns whether the session has ended: nothing more will come.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(
            self.state,
            PlayState::Ended | PlayState::Failed(_) | PlayState::Stopped
        )
    }

    /// Everything that follows from what was just heard, in the one order that there is.
    fn advance(&mut self) {
        if self.loaded_at.is_none() || self.is_over() {
            return;
        }
        // Before it is asked for again for want of an answer.
        self.drop_lost_parses();
        self.end_doubt();
        if self.is_over() {
            return;
        }
        self.drive_control();
        self.review_fetches();
        self.drive_playback();
        self.plan();
        self.watch();
        self.limit_clock();
        self.recorder
            .sample_buffer(self.now, &self.tracks, self.clock.position(self.now));
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Play => self.set_paused(false),
            Command::Pause => self.set_paused(true),
            Command::Seek { to } => self.seek(to),
            Command::LockRung { rung } => self.lock = rung,
            Command::CapRung { bitrate } => self.cap = bitrate,
            Command::SelectAudio { track } => self.select_audio(track),
            Command::SelectText { track } => self.select_text(track),
            Command::NetworkChanged { network } => self.network_changed(network),
            Command::Background { hidden } => self.hidden = hidden,
            Command::Stop => self.stop(PlayState::Stopped),
        }
    }

    fn track(&self, kind: TrackKind) -> &TrackState {
        &self.tracks[slot(kind)]
    }

    fn track_mut(&mut self, kind: TrackKind) -> &mut TrackState {
        &mut self.tracks[slot(kind)]
    }

    fn playhead(&self) -> MediaTime {
        self.clock.position(self.now)
    }

    fn set_state(&mut self, state: PlayState) {
        if self.state != state {
            self.recorder.state(self.now, &self.state, &state);
            self.state = state.clone();
            self.events.push_back(Event::State(state));
            self.progress_at = self.now;
        }
    }

    fn fail(&mut self, error: SessionError) {
        self.stop(PlayState::Failed(error));
    }

    /// Ends everything that is under way.
    fn stop(&mut self, state: PlayState) {
        if self.clock.is_running() {
            self.hold_clock();
        }
        self.set_state(state);
    }

    fn decide(&mut self, kind: DecisionKind, chosen: String, why: &str, inputs: &[(&str, f64)]) {
        self.decide_among(kind, chosen, why, inputs, BTreeMap::new());
    }

    /// What edges are expected to take, as scores.
    fn scores_of(&self, expected: &[(EdgeId, Duration)]) -> BTreeMap<String, f64> {
        let named = expected
            .iter()
            .map(|(edge, expected)| (self.edges.name(*edge).into(), seconds(*expected)));
        named.collect()
    }

    fn decide_among(
        &mut self,
        kind: DecisionKind,
        chosen: String,
        why: &str,
        inputs: &[(&str, f64)],
        scores: BTreeMap<String, f64>,
    ) {
        let inputs = inputs
            .iter()
            .map(|(name, value)| (String::from(*name), *value))
            .collect();
        let decision = Decision {
            kind,
            chosen,
            why: why.into(),
            inputs,
            scores,
        };
        self.recorder.decision(self.now, &decision);
        self.events.push_back(Event::Decision(decision));
    }

    /// Whether races, help and probes may cost `more` bytes on top of what they have cost.
    fn extra_allowed(&self, more: ByteCount) -> bool {
        let share = self
            .useful
            .get()
            .saturating_mul(u64::from(self.config.extra_percent))
            / 100;
        (self.extra + more).get() <= self.config.extra_allowance.get().saturating_add(share)
    }

    fn new_attempt_id(&mut self) -> AttemptId {
        let id = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        id
    }
}
