//! A session that is told whatever bytes say: any input, at any time, about what exists, what existed and what never did.
//! Whatever it is told, it keeps its invariants, asks for what can be done, and does not spin. The fuzz target (`tests/fuzz`) and a short
//! test in `tests/it` drive it alike.
//!
//! Bytes are not a recording of inputs: each says what happens next, and most of what they can say is what a player would say at that
//! moment, so that sessions come far enough for the rest to hurt.

mod bytes;
mod title;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use nearcast_core::abr::AbrDecision;
use nearcast_core::{
    Action, AskId, AttemptId, AttemptSpec, CertificateProblem, Command, Epoch, Event, Failure,
    FetchId, Input, PlayState, Protocol, Session, TransportEvent, Validators,
};
use nearcast_protocol::manifest::{ObjectKey, RepresentationKey};
use nearcast_units::{BitRate, Instant};

use bytes::Bytes;

/// What came of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// How often the session was told something.
    pub inputs: usize,
    /// How often each state was reached and each kind of decision taken, by its name: to see that runs come anywhere.
    pub happened: BTreeMap<&'static str, usize>,
    /// A digest of every action, and of the report at the end.
    pub digest: u64,
}

/// More bytes than this say nothing new.
pub const BYTES_MAX: usize = 4096;
/// One input makes no more actions than this.
const ACTIONS_MAX: usize = 2_000;
/// While nothing happens, a session is woken no more often than this in [`IDLE`].
const WAKES_MAX: usize = 200;
const IDLE: Duration = Duration::from_secs(2);

/// Runs a session that hears what `bytes` say.
///
/// # Errors
/// Says in words what the session did not keep, and after how many inputs.
pub fn run(bytes: &[u8]) -> Result<Run, String> {
    run_and_tell(bytes, &mut |_| {})
}

/// The same, and each line of the story is told while it happens: when, and what the session was told or asks for.
///
/// # Errors
/// Says in words what the session did not keep, and after how many inputs.
pub fn run_and_tell(bytes: &[u8], line: &mut dyn FnMut(fmt::Arguments<'_>)) -> Result<Run, String> {
    let bytes = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    let mut bytes = Bytes::new(bytes);
    let config = title::config(&mut bytes);
    line(format_args!("{config:?}"));
    let mut driver = Driver::new(Session::new(config), line);
    driver
        .go(&mut bytes)
        .map_err(|broken| format!("after {} inputs: {broken}", driver.run.inputs))?;
    Ok(driver.run)
}

/// An attempt as its driver knows it.
#[derive(Clone, Debug)]
struct Known {
    spec: AttemptSpec,
    /// Offset of the next byte.
    next: u64,
    headed: bool,
}

/// Everything that the session ever asked for.
struct Driver<'a> {
    line: &'a mut dyn FnMut(fmt::Arguments<'_>),
    session: Session,
    now: Instant,
    /// Attempts that go on, and those that do not any more.
    live: Vec<Known>,
    ended: Vec<AttemptId>,
    verify: Vec<FetchId>,
    parse: Vec<ObjectKey>,
    prepare: Vec<Epoch>,
    asked: Vec<AskId>,
    /// What was handed on, whole or in part.
    handed: Vec<(Epoch, ObjectKey)>,
    released: BTreeSet<FetchId>,
    wants_grant: bool,
    run: Run,
}

impl<'a> Driver<'a> {
    fn new(session: Session, line: &'a mut dyn FnMut(fmt::Arguments<'_>)) -> Self {
        Self {
            line,
            session,
            now: Instant::ZERO,
            live: Vec::new(),
            ended: Vec::new(),
            verify: Vec::new(),
            parse: Vec::new(),
            prepare: Vec::new(),
            asked: Vec::new(),
            handed: Vec::new(),
            released: BTreeSet::new(),
            wants_grant: false,
            run: Run {
                digest: FNV_BASIS,
                ..Run::default()
            },
        }
    }

    fn go(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        if !bytes.chance(8) {
            self.tell(Input::Load)?;
            self.tell(Input::Granted(title::usual_grant()))?;
        }
        while !bytes.is_over() && !self.session.is_over() {
            self.step(bytes)?;
        }
        self.idle()?;
        // The report of a session that goes on can be had at any time, and says nothing twice.
        let report = self.session.report(self.now);
        self.digest(&format!("{report:?} {:?}", self.session.memory()));
        if !self.session.is_over() {
            self.tell(Input::Command(Command::Stop))?;
        }
        match self.live.first() {
            None => Ok(()),
            Some(left) => Err(format!("the session is over, and {left:?} goes on")),
        }
    }

    fn tell(&mut self, input: Input) -> Result<(), String> {
        self.run.inputs += 1;
        (self.line)(format_args!("{:.3} s: {input:?}", self.now.as_secs_f64()));
        self.session.handle(self.now, input);
        let mut actions = 0;
        while let Some(action) = self.session.poll_action() {
            actions += 1;
            if actions > ACTIONS_MAX {
                return Err(format!("actions without end, now {action:?}"));
            }
            (self.line)(format_args!("  {action:?}"));
            self.act(action)?;
        }
        while let Some(event) = self.session.poll_event() {
            self.note(&event);
        }
        self.session.check_invariants()?;
        match self.session.next_deadline() {
            Some(due) if due <= self.now => Err("a deadline that has passed".into()),
            Some(_) | None => Ok(()),
        }
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        // What a policy is told is long, and follows from the rest.
        if !matches!(action, Action::AskPolicy { .. }) {
            self.digest(&format!("{action:?}"));
        }
        let held = |driver: &Self, fetch: FetchId, what: &str| {
            if driver.released.contains(&fetch) {
                return Err(format!("{what} of {fetch:?}, which was released"));
            }
            Ok(())
        };
        match action {
            Action::StartAttempt(spec) => {
                held(self, spec.fetch, "an attempt")?;
                if self.started(spec.attempt) {
                    return Err(format!("{:?} starts twice", spec.attempt));
                }
                if spec.to.is_some_and(|to| to <= spec.from) {
                    return Err(format!("nothing is asked for: {spec:?}"));
                }
                let next = spec.from;
                self.live.push(Known {
                    spec,
                    next,
                    headed: false,
                });
            }
            Action::CancelAttempt { attempt, .. } => {
                if !self.started(attempt) {
                    return Err(format!("{attempt:?} never began and is cancelled"));
                }
                self.end(attempt);
            }
            Action::Verify { fetch, .. } => {
                held(self, fetch, "the digest")?;
                self.verify.push(fetch);
            }
            Action::Parse { fetch, object } => {
                held(self, fetch, "parsing")?;
                self.parse.push(object);
            }
            Action::HandOn {
                epoch,
                fetch,
                object,
                ..
            }
            | Action::HandOnPart {
                epoch,
                fetch,
                object,
                ..
            } => {
                held(self, fetch, "handing on")?;
                self.handed.push((epoch, object));
            }
            Action::Prepare { epoch } => self.prepare.push(epoch),
            Action::AskPolicy { ask, .. } => self.asked.push(ask),
            Action::RequestGrant { .. } => self.wants_grant = true,
            Action::Release { fetch } => {
                self.released.insert(fetch);
            }
            Action::Flush { .. }
            | Action::EndOfTrack { .. }
            | Action::Clock(_)
            | Action::ResetNetwork => {}
        }
        Ok(())
    }

    fn started(&self, attempt: AttemptId) -> bool {
        self.ended.contains(&attempt) || self.live.iter().any(|one| one.spec.attempt == attempt)
    }

    /// Nothing more comes of an attempt.
    fn end(&mut self, attempt: AttemptId) {
        let lives = |one: &Known| one.spec.attempt == attempt;
        if let Some(at) = self.live.iter().position(lives) {
            self.live.remove(at);
            self.ended.push(attempt);
        }
    }

    fn note(&mut self, event: &Event) {
        if let Event::Decision(decision) = event {
            self.happens(decision.kind.name());
        }
        if let Event::State(state) = event {
            self.happens(match state {
                PlayState::Idle => "idle",
                PlayState::Starting => "starting",
                PlayState::Playing => "playing",
                PlayState::Paused => "paused",
                PlayState::Seeking => "seeking",
                PlayState::Stalled(_) => "stalled",
                PlayState::Ended => "ended",
                PlayState::Failed(_) => "failed",
                PlayState::Stopped => "stopped",
            });
        }
    }

    fn happens(&mut self, what: &'static str) {
        *self.run.happened.entry(what).or_default() += 1;
    }

    /// FNV-1a (Fowler, Noll, Vo): enough to tell one run from another.
    fn digest(&mut self, text: &str) {
        self.run.digest = text.bytes().fold(self.run.digest, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
    }

    /// Nothing happens but that time passes.
    fn idle(&mut self) -> Result<(), String> {
        let end = self.now + IDLE;
        let mut woken = 0;
        while let Some(due) = self.session.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            woken += 1;
            if woken > WAKES_MAX {
                return Err(format!("spins at {:?}", self.now));
            }
            self.tell(Input::Timeout)?;
        }
        Ok(())
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        match bytes.byte() {
            0..64 => self.goes_on(bytes),
            64..112 => self.serves(bytes),
            112..144 => {
                let at = bytes.byte();
                self.now = self.now + bytes.span(if at < 8 { 45 } else { 22 });
                self.tell(Input::Timeout)
            }
            144..168 => {
                self.now = self.session.next_deadline().unwrap_or(self.now);
                self.tell(Input::Timeout)
            }
            168..208 => self.answers(bytes),
            208..224 => {
                let command = command(bytes);
                self.tell(Input::Command(command))
            }
            224..240 => {
                let attempt = self.attempt(bytes);
                let event = transport(bytes);
                self.say(attempt, event)
            }
            240..244 => {
                // A driver that looks at its clock in the wrong order.
                let now = self.now;
                self.now = self.now - bytes.span(24);
                self.session.handle(self.now, Input::Timeout);
                self.now = now;
                self.tell(Input::Timeout)
            }
            _ => {
                let input = self.anything(bytes);
                self.tell(input)
            }
        }
    }

    /// One that goes on, one that did, or one that never was.
    fn attempt(&self, bytes: &mut Bytes<'_>) -> AttemptId {
        let live: Vec<AttemptId> = self.live.iter().map(|one| one.spec.attempt).collect();
        let picked = match bytes.below(8) {
            0 => None,
            1 | 2 => bytes.pick(&self.ended).copied(),
            _ => bytes.pick(&live).copied(),
        };
        picked.unwrap_or_else(|| AttemptId(bytes.short().into()))
    }

    fn say(&mut self, attempt: AttemptId, event: TransportEvent) -> Result<(), String> {
        let known = self.live.iter_mut().find(|one| one.spec.attempt == attempt);
        match &event {
            TransportEvent::Headers { from, status, .. } => {
                if let Some(known) = known {
                    (known.headed, known.next) = (true, *from);
                }
                if !(200..300).contains(status) {
                    self.end(attempt);
                }
            }
            TransportEvent::Progress { to, .. } => {
                if let Some(known) = known {
                    known.next = *to;
                }
            }
            TransportEvent::Complete | TransportEvent::Failed(_) => self.end(attempt),
            TransportEvent::Resolved
            | TransportEvent::Connected { .. }
            | TransportEvent::RequestSent => {}
        }
        self.tell(Input::Transport { attempt, event })
    }

    /// An attempt comes one step further, as attempts do.
    fn goes_on(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let Some(one) = bytes.pick(&self.live).cloned() else {
            return self.answers(bytes);
        };
        self.now = self.now + bytes.span(18);
        let attempt = one.spec.attempt;
        let end = one.spec.to.unwrap_or(size(one.spec.object));
        if !one.headed {
            let connected = TransportEvent::Connected {
                cold: bytes.chance(128),
                protocol: Protocol::H2,
                rtt: bytes.chance(128).then(|| bytes.span(18)),
            };
            self.say(attempt, connected)?;
            self.now = self.now + bytes.span(18);
            return self.say(attempt, headers(&one.spec));
        }
        if one.next >= end {
            return self.say(attempt, TransportEvent::Complete);
        }
        let from = one.next;
        let to = end.min(from + 1 + bytes.number(17));
        self.say(attempt, TransportEvent::Progress { from, to })
    }

    /// An attempt brings all that it was asked for.
    fn serves(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let Some(one) = bytes.pick(&self.live).cloned() else {
            return self.answers(bytes);
        };
        let (attempt, from) = (one.spec.attempt, one.next);
        let to = one.spec.to.unwrap_or(size(one.spec.object));
        if !one.headed {
            self.say(attempt, headers(&one.spec))?;
        }
        self.now = self.now + bytes.span(20);
        if from < to {
            self.say(attempt, TransportEvent::Progress { from, to })?;
        }
        self.say(attempt, TransportEvent::Complete)
    }

    /// The player, the application and the backend answer what is open, as they should.
    fn answers(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        if std::mem::take(&mut self.wants_grant) {
            self.tell(Input::Granted(title::usual_grant()))?;
        }
        for object in std::mem::take(&mut self.parse) {
            let odd = bytes.chance(48);
            let input = match object {
                ObjectKey::Manifest if odd => Input::ManifestParsed(title::outline(bytes)),
                ObjectKey::Index(key) => Input::IndexParsed {
                    key,
                    segments: if odd {
                        title::segments(bytes)
                    } else {
                        title::usual_segments()
                    },
                    init: true,
                },
                ObjectKey::Manifest
                | ObjectKey::Init(_)
                | ObjectKey::Media(..)
                | ObjectKey::Probe => Input::ManifestParsed(title::usual_outline()),
            };
            self.tell(input)?;
        }
        for fetch in std::mem::take(&mut self.verify) {
            self.tell(Input::Verified {
                fetch,
                intact: true,
            })?;
        }
        for ask in std::mem::take(&mut self.asked) {
            let rung = bytes.below(3).into();
            let decision = AbrDecision::Next { rung };
            self.tell(Input::PolicyAnswered { ask, decision })?;
        }
        if let Some(epoch) = self.prepare.pop() {
            self.tell(Input::Prepared { epoch })?;
        }
        Ok(())
    }

    /// Any input at all.
    fn anything(&mut self, bytes: &mut Bytes<'_>) -> Input {
        let (epoch, object) = match bytes.pick(&self.handed) {
            Some(handed) if bytes.chance(192) => *handed,
            Some(_) | None => (Epoch(bytes.below(8).into()), object(bytes)),
        };
        match bytes.below(13) {
            0 => Input::Load,
            1 => Input::Granted(title::grant(bytes)),
            2 => Input::GrantFailed {
                code: "backend.unreachable".into(),
                message: String::new(),
                refused: bytes.chance(32),
                retry_after: bytes.chance(64).then(|| bytes.span(64)),
            },
            3 => Input::ManifestParsed(title::outline(bytes)),
            4 => Input::IndexParsed {
                key: key(bytes),
                segments: title::segments(bytes),
                init: bytes.chance(128),
            },
            5 => Input::ParseFailed {
                object: self.parse.pop().unwrap_or(object),
                code: "manifest.malformed".into(),
                message: String::new(),
            },
            6 => Input::PolicyAnswered {
                ask: self.asked.pop().unwrap_or(AskId(bytes.byte().into())),
                decision: match bytes.below(3) {
                    0 => AbrDecision::Next {
                        rung: bytes.byte().into(),
                    },
                    1 => AbrDecision::Wait {
                        span: bytes.span(64),
                    },
                    _ => AbrDecision::Replace {
                        segment: bytes.below(8).into(),
                        rung: bytes.below(8).into(),
                    },
                },
            },
            7 => Input::Verified {
                fetch: self.verify.pop().unwrap_or(FetchId(bytes.byte().into())),
                intact: bytes.chance(128),
            },
            8 => Input::Playable {
                epoch,
                object,
                until: bytes.place(),
            },
            9 => Input::Undecodable {
                epoch,
                object,
                code: "media.malformed".into(),
            },
            10 => Input::Prepared { epoch },
            11 => Input::Anchor {
                epoch,
                position: bytes.place(),
            },
            _ => Input::Underrun { epoch },
        }
    }
}

const FNV_BASIS: u64 = 0xCBF2_9CE4_8422_2325;

/// What an object weighs wherever it comes from.
fn size(object: ObjectKey) -> u64 {
    match object {
        ObjectKey::Manifest | ObjectKey::Index(_) | ObjectKey::Probe => 4_000,
        ObjectKey::Init(_) => 900,
        ObjectKey::Media(key, index) => {
            40_000 + u64::from(key.representation) * 150_000 + u64::from(index % 3) * 9_000
        }
    }
}

/// What an edge answers that has an object: what was asked for.
fn headers(spec: &AttemptSpec) -> TransportEvent {
    TransportEvent::Headers {
        status: if spec.from == 0 && spec.to.is_none() {
            200
        } else {
            206
        },
        from: spec.from,
        validators: Validators {
            total: Some(size(spec.object)),
            ..Validators::default()
        },
        retry_after: None,
    }
}

fn key(bytes: &mut Bytes<'_>) -> RepresentationKey {
    RepresentationKey {
        period: bytes.below(3).into(),
        track: bytes.below(5).into(),
        representation: bytes.below(5).into(),
    }
}

fn object(bytes: &mut Bytes<'_>) -> ObjectKey {
    match bytes.below(6) {
        0 => ObjectKey::Manifest,
        1 => ObjectKey::Index(key(bytes)),
        2 => ObjectKey::Init(key(bytes)),
        3 => ObjectKey::Probe,
        _ => ObjectKey::Media(key(bytes), bytes.below(16).into()),
    }
}

/// Anything that can be said of an attempt. Edges say what sizes they like; what came is counted by the player, who counts no further than
/// 2^48.
fn transport(bytes: &mut Bytes<'_>) -> TransportEvent {
    match bytes.below(12) {
        0 => TransportEvent::Resolved,
        1 => TransportEvent::Connected {
            cold: bytes.chance(128),
            protocol: [Protocol::H3, Protocol::H2, Protocol::Http1][usize::from(bytes.below(3))],
            rtt: bytes.chance(128).then(|| bytes.span(64)),
        },
        2 => TransportEvent::RequestSent,
        3..=5 => TransportEvent::Headers {
            status: [
                200, 206, 204, 304, 401, 403, 404, 410, 416, 429, 500, 503, 0, 999,
            ][usize::from(bytes.below(14))],
            from: bytes.number(48),
            validators: Validators {
                total: bytes.chance(192).then(|| bytes.number(64)),
                digest: bytes
                    .chance(128)
                    .then(|| ["x", "y"][usize::from(bytes.below(2))].into()),
            },
            retry_after: bytes.chance(64).then(|| bytes.span(64)),
        },
        6..=8 => TransportEvent::Progress {
            from: bytes.number(48),
            to: bytes.number(48),
        },
        9 => TransportEvent::Complete,
        _ => TransportEvent::Failed(failure(bytes)),
    }
}

fn failure(bytes: &mut Bytes<'_>) -> Failure {
    let http = Failure::Http {
        status: bytes.short() % 600,
        retry_after: None,
    };
    let all = [
        http,
        Failure::Dns,
        Failure::Refused,
        Failure::ConnectTimeout,
        Failure::Unreachable,
        Failure::TlsCertificate(CertificateProblem::Expired),
        Failure::TlsHandshake,
        Failure::Reset,
        Failure::Truncated,
        Failure::Stalled,
        Failure::Protocol,
        Failure::WrongRange,
        Failure::RedirectLoop,
        Failure::Proxy,
        Failure::Mismatch,
        Failure::Corrupt,
        Failure::SizeChanged,
        Failure::Internal,
    ];
    bytes.pick(&all).cloned().unwrap_or(Failure::Reset)
}

fn command(bytes: &mut Bytes<'_>) -> Command {
    match bytes.below(24) {
        0..4 => Command::Play,
        4 | 5 => Command::Pause,
        6..11 => Command::Seek { to: bytes.place() },
        11 => Command::LockRung {
            rung: bytes.chance(128).then(|| bytes.below(8).into()),
        },
        12 => Command::CapRung {
            bitrate: bytes
                .chance(128)
                .then(|| BitRate::from_bps(bytes.number(24))),
        },
        13..16 => Command::SelectAudio {
            track: bytes.below(4).into(),
        },
        16..18 => Command::SelectText {
            track: bytes.chance(128).then(|| bytes.below(3).into()),
        },
        18..20 => Command::NetworkChanged {
            network: bytes.pick(&title::LANGUAGES).map(|one| (*one).into()),
        },
        20..23 => Command::Background {
            hidden: bytes.chance(128),
        },
        _ if bytes.chance(32) => Command::Stop,
        _ => Command::Play,
    }
}
