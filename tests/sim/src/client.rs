//! One session, what it is told and what it has done: everything of a player but the network.

use std::collections::BTreeMap;
use std::time::Duration;

use nearcast_core::{
    Action, AttemptId, EdgeOffer, Epoch, Event, FetchId, Grant, Input, Session, TransportEvent,
};
use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::{ByteCount, Instant, MediaTime};

use crate::driver::Outcome;
use crate::setup::{ClientSetup, Watch};
use crate::world::{Asked, World, Wrong};

/// One session and what its driver knows.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its place among the world's clients.
    index: usize,
    setup: ClientSetup,
    watch: Watch,
    session: Session,
    log: Vec<String>,
    violations: Vec<String>,
    grants: usize,
    /// Appliances in the order in which the session came to know them, which is how it names them.
    known: Vec<usize>,
    /// What was handed on of each track and not taken back: from and to.
    handed: BTreeMap<TrackKind, Vec<(MediaTime, MediaTime)>>,
    /// Rung of each video segment that was handed on last.
    shown: BTreeMap<u32, u16>,
    replaced: usize,
    /// What is handed on while it arrives.
    arriving: BTreeMap<FetchId, (Epoch, ObjectKey)>,
    fetch_of: BTreeMap<AttemptId, FetchId>,
    /// How much of each fetch is here without a gap.
    received: BTreeMap<FetchId, u64>,
    /// Fetches that brought something else than they should.
    wrong: BTreeMap<FetchId, Wrong>,
    /// What the session is to hear later, and after how long.
    later: Vec<(Duration, Input)>,
    end: End,
}

/// How far a session is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// It has ended, and its driver does not know yet.
    Reached(Instant),
    Told(Instant),
}

/// How long the backend takes to answer.
const BACKEND: Duration = Duration::from_millis(40);
/// How long taking a segment apart takes.
const DEMUX: Duration = Duration::from_millis(20);
/// Segments that meet within this join on.
const JOINT: Duration = Duration::from_millis(20);

impl Client {
    pub(crate) fn new(index: usize, setup: ClientSetup, watch: Watch) -> Self {
        Self {
            index,
            session: Session::new(setup.config.clone()),
            setup,
            watch,
            log: Vec::new(),
            violations: Vec::new(),
            grants: 0,
            known: Vec::new(),
            handed: BTreeMap::new(),
            shown: BTreeMap::new(),
            replaced: 0,
            arriving: BTreeMap::new(),
            fetch_of: BTreeMap::new(),
            received: BTreeMap::new(),
            wrong: BTreeMap::new(),
            later: Vec::new(),
            end: End::Open,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.session.is_over()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.session.next_deadline()
    }

    /// Returns what the session is to hear later, and after how long; empty when called again.
    pub(crate) fn take_later(&mut self) -> Vec<(Duration, Input)> {
        std::mem::take(&mut self.later)
    }

    /// Returns whether the session has ended, once.
    pub(crate) fn take_ended(&mut self) -> bool {
        let End::Reached(at) = self.end else {
            return false;
        };
        self.end = End::Told(at);
        true
    }

    /// Notes what went wrong with the run.
    pub(crate) fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    pub(crate) fn outcome(self, now: Instant, bytes: Vec<ByteCount>) -> Outcome {
        let ended_at = match self.end {
            End::Open => now,
            End::Reached(at) | End::Told(at) => at,
        };
        let report = self.session.report(ended_at);
        Outcome {
            over: report.ended || report.error.is_some(),
            report,
            memory: self.session.memory(),
            log: self.log,
            violations: self.violations,
            ended_at,
            bytes,
            shown: self.shown,
            replaced: self.replaced,
        }
    }

    /// Tells the session what happened to an attempt, and what can be shown of what it brought.
    pub(crate) fn heard(
        &mut self,
        now: Instant,
        world: &mut World,
        attempt: AttemptId,
        event: TransportEvent,
    ) {
        let mut arrived = None;
        if let (TransportEvent::Progress { from, to }, Some(fetch)) =
            (&event, self.fetch_of.get(&attempt))
        {
            arrived = Some((*fetch, *from, *to));
        }
        // Asked for now: the session may give the attempt up when it hears of it.
        let wrong = world.wrong((self.index, attempt));
        self.tell(now, world, Input::Transport { attempt, event });
        if let Some((fetch, from, to)) = arrived {
            let received = self.received.entry(fetch).or_default();
            if from <= *received && to > *received {
                *received = to;
                self.wrong.extend(wrong.map(|wrong| (fetch, wrong)));
            }
            self.tell_playable(fetch);
        }
    }

    /// Tells the session what happened and does what follows.
    pub(crate) fn tell(&mut self, now: Instant, world: &mut World, input: Input) {
        if self.session.is_over() {
            return;
        }
        if self.watch.log {
            let text = serde_json::to_string(&input).unwrap_or_else(|error| error.to_string());
            self.write(now, "input", &text);
        }
        self.session.handle(now, input);
        while let Some(action) = self.session.poll_action() {
            self.act(now, world, action);
        }
        while let Some(event) = self.session.poll_event() {
            self.note(now, &event);
        }
        if self.session.is_over() {
            self.end = End::Reached(now);
        }
        if self.watch.invariants
            && let Err(violation) = self.session.check_invariants()
        {
            self.violated(format!("at {} s: {violation}", now.as_secs_f64()));
        }
    }

    fn note(&mut self, now: Instant, event: &Event) {
        if self.watch.log {
            let text = serde_json::to_string(event).unwrap_or_else(|error| error.to_string());
            self.write(now, "event", &text);
        }
    }

    /// Notes what the world does.
    pub(crate) fn write(&mut self, now: Instant, kind: &str, text: &str) {
        if self.watch.log {
            self.log.push(format!(
                "{{\"at_ns\":{},\"{kind}\":{text}}}",
                now.as_nanos()
            ));
        }
    }

    fn later(&mut self, after: Duration, input: Input) {
        self.later.push((after, input));
    }

    fn act(&mut self, now: Instant, world: &mut World, action: Action) {
        match action {
            Action::RequestGrant { refresh } => {
                if !world.ask(now, self.index, refresh) {
                    let grant = self.grant(world);
                    self.later(BACKEND, Input::Granted(grant));
                }
            }
            Action::StartAttempt(spec) => {
                self.fetch_of.insert(spec.attempt, spec.fetch);
                if let Some(&edge) = self.known.get(usize::from(spec.edge.0)) {
                    let title = &self.setup.title;
                    let asked = Asked {
                        total: title.size(spec.object),
                        label: title.label(spec.object),
                        spec,
                    };
                    world.start(now, self.index, edge, asked);
                }
            }
            Action::CancelAttempt {
                attempt,
                drop_connections,
            } => world.cancel(now, (self.index, attempt), drop_connections),
            Action::Verify { fetch, .. } => self.later(
                Duration::ZERO,
                Input::Verified {
                    fetch,
                    intact: !self.is_corrupt(fetch),
                },
            ),
            Action::Parse { fetch, object } => {
                let said = self.parse(fetch, object);
                self.later(Duration::ZERO, said);
            }
            // Not before what was handed on is found to be wrong, if it is.
            Action::Prepare { epoch } => self.later(DEMUX, Input::Prepared { epoch }),
            Action::ResetNetwork => world.reset(now, self.index),
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
                self.handed_on(now, object, track);
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

    /// Notes the appliances that a grant names: the session names them by their place.
    pub(crate) fn know(&mut self, world: &World, said: &Input) {
        if let Input::Granted(grant) = said {
            for offer in &grant.edges {
                if let Some(edge) = world.edge(&offer.name)
                    && !self.known.contains(&edge)
                {
                    self.known.push(edge);
                }
            }
        }
    }

    /// Returns what the client's own list says.
    fn grant(&mut self, world: &World) -> Grant {
        let named = match self.grants {
            0 => &self.setup.edges,
            _ => &self.setup.later_edges,
        };
        self.grants += 1;
        let offer = |(edge, rank): (&usize, u32)| EdgeOffer {
            name: world.name(*edge).to_owned(),
            rank,
        };
        let offers = named.iter().zip(0..).map(offer).collect();
        for edge in named {
            if !self.known.contains(edge) {
                self.known.push(*edge);
            }
        }
        Grant {
            edges: offers,
            refresh_after: self.setup.refresh_after,
            length: None,
        }
    }

    /// Returns what a parser says; wrong bytes are nonsense to it.
    fn parse(&self, fetch: FetchId, object: ObjectKey) -> Input {
        if self.is_corrupt(fetch) {
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
                let is_older = self.wrong.get(&fetch) == Some(&Wrong::Edition);
                Input::ManifestParsed(if is_older {
                    title.older_outline()
                } else {
                    title.outline()
                })
            }
        }
    }

    fn is_corrupt(&self, fetch: FetchId) -> bool {
        self.wrong.get(&fetch) == Some(&Wrong::Bytes)
    }

    /// Returns whether what is there of a fetch is wrong, which the decoder says then.
    fn decode(&mut self, fetch: FetchId, epoch: Epoch, object: ObjectKey) -> bool {
        let wrong = self.is_corrupt(fetch);
        if wrong {
            let said = Input::Undecodable {
                epoch,
                object,
                code: "media.malformed".into(),
            };
            self.later(DEMUX, said);
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
            self.later(Duration::ZERO, playable);
        }
    }

    /// Segments are handed on each once and in order, and without a hole but for subtitles: what nobody has of them is
    /// left out.
    fn handed_on(&mut self, now: Instant, object: ObjectKey, track: TrackKind) {
        let Some((from, to)) = self.setup.title.span(object) else {
            return;
        };
        if let (ObjectKey::Media(key, index), TrackKind::Video) = (object, track) {
            let before = self.shown.insert(index, key.representation);
            self.replaced += usize::from(before.is_some_and(|rung| rung != key.representation));
        }
        let handed = self.handed.entry(track).or_default();
        if let Some((_, end)) = handed.last()
            && (from + JOINT < *end || track != TrackKind::Text && from > *end + JOINT)
        {
            self.violations.push(format!(
                "at {} s: {track:?} from {} s was handed on after what ends at {} s",
                now.as_secs_f64(),
                from.as_secs_f64(),
                end.as_secs_f64()
            ));
        }
        handed.push((from, to));
    }
}
