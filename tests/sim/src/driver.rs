//! Drives one session over one world in virtual time: the earliest of what is due happens, the session
//! hears of it, does what follows, and so on until it ends.

use nearcast_core::{
    Action, AttemptId, EdgeOffer, Epoch, Event, FetchId, Grant, Input, Session, TransportEvent,
};
use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_protocol::report::SessionReport;
use nearcast_units::{ByteCount, Instant, MediaTime};

use crate::setup::{Setup, TimedFault};
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One session in one world.
#[derive(Debug)]
pub struct Simulation {
    setup: Setup,
    world: World,
    session: Session,
    now: Instant,
    /// Inputs that come later, in the order `(when, since when known)`.
    inputs: BTreeMap<(Instant, u64), Later>,
    sequence: u64,
    log: Vec<String>,
    violations: Vec<String>,
    grants: usize,
    /// What was handed on of each track and not taken back: from and to.
    handed: BTreeMap<TrackKind, Vec<(MediaTime, MediaTime)>>,
    /// What is handed on while it arrives.
    arriving: BTreeMap<FetchId, (Epoch, ObjectKey)>,
    fetch_of: BTreeMap<AttemptId, FetchId>,
    /// How much of each fetch is here without a gap.
    received: BTreeMap<FetchId, u64>,
    /// Fetches with wrong bytes in them.
    corrupt: BTreeSet<FetchId>,
}

#[derive(Debug)]
enum Later {
    Input(Input),
    Fault(TimedFault),
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The session's own report.
    pub report: SessionReport,
    /// Every input and event, a line of JSON each with its time.
    pub log: Vec<String>,
    /// Broken invariants; empty in a sound run.
    pub violations: Vec<String>,
    /// Virtual time at the end.
    pub ended_at: Instant,
    /// Whether the session ended by itself.
    pub over: bool,
    /// Body bytes that arrived from each appliance.
    pub bytes: Vec<ByteCount>,
}

/// How long the backend takes to answer.
const BACKEND: Duration = Duration::from_millis(40);
/// A run that needs more steps than this is a loop without progress.
const STEPS_MAX: u64 = 3_000_000;

impl Simulation {
    /// Makes the world and the session; nothing has happened yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut simulation = Self {
            world: World::new(&setup),
            session: Session::new(setup.config.clone()),
            now: Instant::ZERO,
            inputs: BTreeMap::new(),
            sequence: 0,
            log: Vec::new(),
            violations: Vec::new(),
            grants: 0,
            handed: BTreeMap::new(),
            arriving: BTreeMap::new(),
            fetch_of: BTreeMap::new(),
            received: BTreeMap::new(),
            corrupt: BTreeSet::new(),
            setup,
        };
        simulation.later(Duration::ZERO, Later::Input(Input::Load));
        for fault in simulation.setup.faults.clone() {
            simulation.later(fault.at, Later::Fault(fault));
        }
        for timed in simulation.setup.commands.clone() {
            simulation.later(timed.at, Later::Input(Input::Command(timed.command)));
        }
        simulation
    }

    /// Runs until the session ends or the limit is reached.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        let limit = Instant::ZERO + self.setup.limit;
        let mut steps = 0_u64;
        while !self.session.is_over() {
            let input = self.inputs.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = [
                input,
                self.world.next_deadline(),
                self.session.next_deadline(),
            ]
            .into_iter()
            .flatten()
            .min() else {
                self.violations.push(format!(
                    "nothing is due at {} s and the session is not over",
                    self.now.as_secs_f64()
                ));
                break;
            };
            if next > limit {
                break;
            }
            steps += 1;
            if steps > STEPS_MAX {
                self.violations.push(format!(
                    "more than {STEPS_MAX} steps by {} s",
                    self.now.as_secs_f64()
                ));
                break;
            }
            self.now = self.now.max(next);
            self.step();
        }
        let over = self.session.is_over();
        Outcome {
            report: self.session.report(self.now),
            log: self.log,
            violations: self.violations,
            ended_at: self.now,
            over,
            bytes: self.world.bytes_sent.clone(),
        }
    }

    fn later(&mut self, after: Duration, later: Later) {
        self.sequence += 1;
        self.inputs.insert((self.now + after, self.sequence), later);
    }

    fn step(&mut self) {
        let now = self.now;
        for (attempt, event) in self.world.advance(now) {
            let mut arrived = None;
            if let (TransportEvent::Progress { from, to }, Some(fetch)) =
                (&event, self.fetch_of.get(&attempt))
            {
                arrived = Some((*fetch, *from, *to));
            }
            self.tell(Input::Transport { attempt, event });
            if let Some((fetch, from, to)) = arrived {
                let received = self.received.entry(fetch).or_default();
                if from <= *received && to > *received {
                    *received = to;
                    if self.world.is_corrupt(attempt) {
                        self.corrupt.insert(fetch);
                    }
                }
                self.tell_playable(fetch);
            }
        }
        while let Some(entry) = self
            .inputs
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            match entry.remove() {
                Later::Input(input) => self.tell(input),
                Later::Fault(fault) => {
                    let healthy = self
                        .setup
                        .edges
                        .get(fault.edge)
                        .map(|edge| edge.link)
                        .unwrap_or_default();
                    self.write("fault", &format!("{:?}", fault.fault));
                    self.world
                        .fault(now, fault.edge, (fault.fault, fault.on), healthy);
                }
            }
        }
        if self.session.next_deadline().is_some_and(|due| due <= now) {
            self.tell(Input::Timeout);
        }
    }

    fn tell(&mut self, input: Input) {
        let text = serde_json::to_string(&input).unwrap_or_else(|error| error.to_string());
        self.write("input", &text);
        self.session.handle(self.now, input);
        while let Some(action) = self.session.poll_action() {
            self.act(action);
        }
        while let Some(event) = self.session.poll_event() {
            self.note(&event);
        }
        if let Err(violation) = self.session.check_invariants() {
            self.violations
                .push(format!("at {} s: {violation}", self.now.as_secs_f64()));
        }
    }

    fn note(&mut self, event: &Event) {
        let text = serde_json::to_string(event).unwrap_or_else(|error| error.to_string());
        self.write("event", &text);
    }

    fn write(&mut self, kind: &str, text: &str) {
        self.log.push(format!(
            "{{\"at_ns\":{},\"{kind}\":{text}}}",
            self.now.as_nanos()
        ));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::RequestGrant { .. } => {
                let all: Vec<usize> = (0..self.setup.edges.len()).collect();
                let named = match &self.setup.grants {
                    Some((first, _)) if self.grants == 0 => all[..*first].to_vec(),
                    Some((_, later)) => later.clone(),
                    None => all,
                };
                self.grants += 1;
                let edges = named.into_iter().zip(0..);
                let edges = edges
                    .map(|(edge, rank)| EdgeOffer {
                        name: self.setup.edges[edge].name.clone(),
                        rank,
                    })
                    .collect();
                let grant = Grant {
                    edges,
                    refresh_after: self.setup.refresh_after,
                };
                self.later(BACKEND, Later::Input(Input::Granted(grant)));
            }
            Action::StartAttempt(spec) => {
                self.fetch_of.insert(spec.attempt, spec.fetch);
                self.world.start(self.now, spec, &self.setup.title);
            }
            Action::CancelAttempt {
                attempt,
                drop_connections,
            } => self.world.cancel(self.now, attempt, drop_connections),
            Action::Verify { fetch, .. } => self.later(
                Duration::ZERO,
                Later::Input(Input::Verified {
                    fetch,
                    intact: !self.corrupt.contains(&fetch),
                }),
            ),
            Action::Parse { fetch, object } => {
                let said = self.parse(fetch, object);
                self.later(Duration::ZERO, Later::Input(said));
            }
            // Nothing is decoded here.
            Action::Prepare { epoch } => {
                self.later(Duration::ZERO, Later::Input(Input::Prepared { epoch }))
            }
            Action::ResetNetwork => self.world.reset(self.now),
            Action::HandOnPart {
                epoch,
                fetch,
                object,
                ..
            } => {
                self.arriving.insert(fetch, (epoch, object));
                self.tell_playable(fetch);
            }
            Action::HandOn {
                epoch,
                fetch,
                object,
                track,
            } => {
                self.arriving.remove(&fetch);
                self.decode(fetch, epoch, object);
                self.handed_on(object, track);
            }
            Action::Flush { track, from, .. } => {
                for (kind, handed) in &mut self.handed {
                    if track.is_none() {
                        // Elsewhere on the timeline: what follows need not join on.
                        handed.clear();
                    } else if track == Some(*kind) {
                        handed.retain(|(_, to)| *to <= from);
                    }
                }
            }
            // The session itself extrapolates, as with the player's null sink.
            Action::Release { fetch } => {
                self.arriving.remove(&fetch);
                self.received.remove(&fetch);
            }
            // Sessions here have no policy but those built in.
            Action::AskPolicy { .. } | Action::EndOfTrack { .. } | Action::Clock(_) => {}
        }
    }

    /// Returns what a parser says; wrong bytes are nonsense to it.
    fn parse(&self, fetch: FetchId, object: ObjectKey) -> Input {
        if self.corrupt.contains(&fetch) {
            return Input::ParseFailed {
                object,
                code: "manifest.malformed".into(),
                message: "nonsense".into(),
            };
        }
        let title = &self.setup.title;
        match object {
            ObjectKey::Index(key) => Input::IndexParsed {
                key,
                segments: title.index(key),
                init: true,
            },
            ObjectKey::Manifest | ObjectKey::Init(_) | ObjectKey::Media(..) | ObjectKey::Probe => {
                Input::ManifestParsed(title.outline())
            }
        }
    }

    /// Returns whether what is there of a fetch is wrong, which the decoder says then.
    fn decode(&mut self, fetch: FetchId, epoch: Epoch, object: ObjectKey) -> bool {
        let wrong = self.corrupt.contains(&fetch);
        if wrong {
            let said = Input::Undecodable {
                epoch,
                object,
                code: "media.malformed".into(),
            };
            self.later(DEMUX, Later::Input(said));
        }
        wrong
    }

    /// Samples lie evenly in a segment here.
    fn tell_playable(&mut self, fetch: FetchId) {
        let Some(&(epoch, object)) = self.arriving.get(&fetch) else {
            return;
        };
        if self.decode(fetch, epoch, object) {
            self.arriving.remove(&fetch);
            return;
        }
        let received = self.received.get(&fetch).copied().unwrap_or(0);
        if let Some((start, end)) = self.setup.title.span(object) {
            let size = self.setup.title.size(object).get().max(1);
            let span = u128::from(received) * end.since(start).as_micros() / u128::from(size);
            let until = start + Duration::from_micros(u64::try_from(span).unwrap_or(u64::MAX));
            let playable = Input::Playable {
                epoch,
                object,
                until,
            };
            self.later(Duration::ZERO, Later::Input(playable));
        }
    }

    /// Segments are handed on each once and in order, and without a hole but for subtitles: what nobody has of them is
    /// left out.
    fn handed_on(&mut self, object: ObjectKey, track: TrackKind) {
        let Some((from, to)) = self.setup.title.span(object) else {
            return;
        };
        let handed = self.handed.entry(track).or_default();
        if let Some((_, end)) = handed.last()
            && (from + JOINT < *end || track != TrackKind::Text && from > *end + JOINT)
        {
            self.violations.push(format!(
                "at {} s: {track:?} from {} s was handed on after what ends at {} s",
                self.now.as_secs_f64(),
                from.as_secs_f64(),
                end.as_secs_f64()
            ));
        }
        handed.push((from, to));
    }
}

/// How long taking a segment apart takes.
const DEMUX: Duration = Duration::from_millis(20);
/// Segments that meet within this join on.
const JOINT: Duration = Duration::from_millis(20);

impl Outcome {
    /// Returns the log as one text, to compare two runs byte for byte.
    #[must_use]
    pub fn text(&self) -> String {
        self.log.join("\n")
    }
}
