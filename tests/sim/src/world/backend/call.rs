//! One call of the backend, as the player makes it: by which ways, over which connections, how long it takes, and what the
//! player makes of what comes.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "for a caller, most of what goes wrong is the same"
)]

use std::time::Duration;

use nearcast_appliance::fault::{Fault, ObjectKind, TlsProblem};
use nearcast_appliance::{
    Answer, BodyEnd, Disposition, Effect, LinkChange, ObjectName, Spoil, Spoilt, StatusFault,
    Target,
};
use nearcast_backend_model::PlayError;
use nearcast_core::Input;
use nearcast_link::LinkState;
use nearcast_protocol::play::Refusal;
use nearcast_units::{ByteCount, Instant};

use super::{Answered, BackendModel, NOBODY_KNOWN, Session};
use crate::world::moment;

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Sealed, over plain HTTP/1.1.
    Sealed,
    /// Over TLS, with HTTP/2.
    Direct,
}

/// What came of one call.
#[derive(Clone, Debug)]
struct Called {
    way: Way,
    /// After how long its answer began; `None` where none did.
    begun: Option<Duration>,
    /// After how long all is known.
    after: Duration,
    outcome: Result<(), Failed>,
}

impl Called {
    /// Whether nothing else needs to be heard: an answer that says no is one. What is wrong opens no seal; over TLS nobody
    /// waits for another.
    fn is_answered(&self) -> bool {
        match self.outcome.as_ref().err().map(|failed| failed.how) {
            None | Some(How::Answered | How::AboutNothing | How::Expired) => true,
            Some(How::Unreadable) => self.way == Way::Direct,
            Some(How::Unheard) => false,
        }
    }
}

/// A call that brought no grant, as the player has it.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    code: String,
    message: String,
    /// Asking again cannot help.
    refused: bool,
    retry_after: Option<Duration>,
    pub(super) how: How,
}

/// How much of an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// None, or not all of it.
    Unheard,
    /// All of it, and it is none.
    Unreadable,
    /// One that says no.
    Answered,
    /// One that says that there is nothing of what it is about.
    AboutNothing,
    /// One that says that the session is over.
    Expired,
}

impl Failed {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            refused: false,
            retry_after: None,
            how: How::Unheard,
        }
    }

    fn unreachable(why: &str) -> Self {
        let message = format!("the backend cannot be reached: {why}");
        Self::new("backend.unreachable", message)
    }

    fn timeout() -> Self {
        let message = "the backend did not answer in time (play)";
        Self::new("backend.timeout", message)
    }

    /// A certificate that is not accepted ends what has not begun.
    fn certificate(begun: bool) -> Self {
        let message = "no TLS with the backend: its certificate is not accepted";
        Self {
            refused: !begun,
            ..Self::new("backend.tls", message)
        }
    }

    fn bad_answer(how: How) -> Self {
        let message = "the backend's answer (play) cannot be understood";
        Self {
            how,
            ..Self::new("backend.bad_answer", message)
        }
    }

    fn status(fault: StatusFault) -> Self {
        let StatusFault {
            status,
            retry_after_s,
        } = fault;
        let message = format!("the backend answered with {status} (play)");
        Self {
            // A request that is wrong stays wrong.
            refused: (400..500).contains(&status) && status != 408 && status != 429,
            retry_after: retry_after_s.map(|s| Duration::from_secs(u64::from(s))),
            how: match status {
                401 => How::Expired,
                404 | 410 => How::AboutNothing,
                _ => How::Answered,
            },
            ..Self::new("backend.problem", message)
        }
    }

    fn expired() -> Self {
        Self {
            refused: true,
            how: How::Expired,
            ..Self::new("play.session_expired", "The session has expired.")
        }
    }

    pub(super) fn of(error: PlayError) -> Self {
        match error {
            PlayError::Refused(refused) => Self {
                refused: !matches!(refused.refusal, Refusal::Overloaded),
                retry_after: refused.retry_after,
                ..Self::new(&format!("play.{}", refused.refusal.code()), refused.detail)
            },
            PlayError::NoAppliance(why) => Self::new("play.no_edges", why),
            error @ (PlayError::PlaybackUnknown | PlayError::BadRequest(_)) => Self {
                refused: true,
                ..Self::new("backend.problem", error.to_string())
            },
        }
    }

    pub(super) fn said(self, after: Duration) -> Answered {
        let said = Input::GrantFailed {
            code: self.code,
            message: self.message,
            refused: self.refused,
            retry_after: self.retry_after,
        };
        Answered { after, said }
    }
}

/// How long a sealed request is waited for before the same goes over TLS, and how long its answer once it has begun.
const SEALED_ALONE: Duration = Duration::from_millis(400);
const SEALED_BODY: Duration = Duration::from_millis(800);
/// How long the player waits for an answer, and for a connection.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Redirects that the player follows.
const REDIRECTS_MAX: u32 = 10;
/// How long the backend keeps a connection on which nobody asks. Over TLS there is telemetry.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// The size of an answer, for places within it.
const ANSWER_BYTES: u64 = 4_000;

impl BackendModel {
    /// Asks with a session. The player asks by a sealed request first, and over TLS where that fails or is not answered
    /// soon; the first answer counts.
    pub(super) fn ask_once(
        &mut self,
        now: Instant,
        client: usize,
        refresh: bool,
    ) -> (Duration, Result<(), Failed>) {
        let opened = match self.open_session(now, client) {
            Ok(opened) => opened,
            Err((after, failed)) => return (after, Err(failed)),
        };
        let began = now + opened;
        if self.clients[client].session == (Session::Open { seals: false }) {
            let direct = self.call(began, client, refresh, Way::Direct);
            return (opened + direct.after, direct.outcome);
        }
        let sealed = self.call(began, client, refresh, Way::Sealed);
        let begins_soon = sealed.begun.is_some_and(|after| after <= SEALED_ALONE);
        let alone = if begins_soon {
            SEALED_ALONE + SEALED_BODY
        } else {
            SEALED_ALONE
        };
        if sealed.is_answered() && sealed.after <= alone {
            return (opened + sealed.after, sealed.outcome);
        }
        let waited = alone.min(sealed.after);
        let direct = self.call(began + waited, client, refresh, Way::Direct);
        let direct = Called {
            after: waited + direct.after,
            ..direct
        };
        let (after, outcome) = match (sealed.is_answered(), direct.is_answered()) {
            (true, true) if sealed.after <= direct.after => (sealed.after, sealed.outcome),
            (true, false) => (sealed.after, sealed.outcome),
            (_, true) => (direct.after, direct.outcome),
            // What is heard over TLS counts, once both are.
            (false, false) => (direct.after.max(sealed.after), direct.outcome),
        };
        (opened + after, outcome)
    }

    /// Opens a session where there is none, over TLS. No fault selects that call: what goes wrong is its connection.
    fn open_session(
        &mut self,
        now: Instant,
        client: usize,
    ) -> Result<Duration, (Duration, Failed)> {
        if self.clients[client].session != Session::None {
            return Ok(Duration::ZERO);
        }
        let is_first = !self.clients[client].direct_line;
        self.connect(now, client, Way::Direct)?;
        self.clients[client].session = Session::Open { seals: true };
        let took = if is_first {
            Duration::ZERO
        } else {
            self.delay * 2
        };
        Ok(took)
    }

    /// Sees to it that there is a connection.
    fn connect(&mut self, now: Instant, client: usize, way: Way) -> Result<(), (Duration, Failed)> {
        let viewer = &self.clients[client];
        let stands = match way {
            Way::Sealed => viewer.sealed_line.is_some_and(|at| now <= at + IDLE_MAX),
            Way::Direct => viewer.direct_line,
        };
        let round_trip = self.delay * 2;
        match self.state {
            LinkState::Up => {}
            // The system takes connections, and nobody shakes hands.
            LinkState::Stopped if !stands && way == Way::Direct => {
                return Err((CONNECT_TIMEOUT, Failed::timeout()));
            }
            LinkState::Stopped => return Err((CALL_TIMEOUT, Failed::timeout())),
            LinkState::Killed => {
                return Err((round_trip, Failed::unreachable("connection refused")));
            }
        }
        if !stands {
            if self.refuses {
                return Err((round_trip, Failed::unreachable("connection refused")));
            }
            let at = moment(now + self.delay).unix_ms;
            let can_happen = |fault: &Fault| {
                *fault == Fault::Refuse || way == Way::Direct && matches!(fault, Fault::Tls { .. })
            };
            match self.board.connect_where(at, NOBODY_KNOWN, can_happen) {
                None => {}
                Some(Fault::Tls {
                    problem: TlsProblem::Stall,
                }) => return Err((CONNECT_TIMEOUT, Failed::timeout())),
                Some(Fault::Tls { .. }) => {
                    let begun = viewer.playback_id.is_some();
                    return Err((round_trip * 2, Failed::certificate(begun)));
                }
                Some(_) => return Err((round_trip, Failed::unreachable("connection reset"))),
            }
        }
        let viewer = &mut self.clients[client];
        match way {
            Way::Sealed => viewer.sealed_line = Some(now),
            Way::Direct => viewer.direct_line = true,
        }
        Ok(())
    }

    /// Makes one call.
    fn call(&mut self, now: Instant, client: usize, refresh: bool, way: Way) -> Called {
        // A connection of its own: TCP and TLS 1.3.
        let stood = way == Way::Sealed || self.clients[client].direct_line;
        if let Err((after, failed)) = self.connect(now, client, way) {
            return self.called(client, way, None, (after, Err(failed)));
        }
        let connected = if stood {
            Duration::ZERO
        } else {
            self.delay * 4
        };
        let name = self.clients[client].name.clone();
        let (path, kind) = if refresh {
            ("v1/play/refresh", ObjectKind::Refresh)
        } else {
            ("v1/play", ObjectKind::Play)
        };
        let target = Target {
            path,
            object: ObjectName::of_kind(kind),
            client: &name,
            first: 0,
            length: ANSWER_BYTES,
        };
        let at = moment(now + connected + self.delay).unix_ms;
        let decided = self.board.decide(at, target);
        if !decided.late.is_zero() {
            self.board.handle_effect(at, target, &decided, Effect::Late);
        }
        let begun = connected + self.delay * 2 + decided.late;
        if begun >= CALL_TIMEOUT {
            let outcome = Err(Failed::timeout());
            return self.called(client, way, None, (CALL_TIMEOUT, outcome));
        }
        let came = match Self::in_place_of(decided.answer, way) {
            None => self.body(at, begun, (target, &decided)),
            Some(failed) if decided.answer == Answer::RedirectLoop => {
                (begun + self.delay * 2 * REDIRECTS_MAX, Err(failed))
            }
            Some(failed) => (begun, Err(failed)),
        };
        self.called(client, way, Some(begun), came)
    }

    /// Notes what a call leaves of its connection, and of the key that it was sealed with.
    fn called(
        &mut self,
        client: usize,
        way: Way,
        begun: Option<Duration>,
        (after, outcome): (Duration, Result<(), Failed>),
    ) -> Called {
        let viewer = &mut self.clients[client];
        if let Err(failed) = &outcome {
            match (way, failed.how) {
                // HTTP/1.1 has no other way to give an answer up.
                (Way::Sealed, How::Unheard) => viewer.sealed_line = None,
                // What does not open is not tried again with this key.
                (Way::Sealed, How::Unreadable) => viewer.session = Session::Open { seals: false },
                (Way::Direct, How::Unheard) if failed.code == "backend.unreachable" => {
                    viewer.direct_line = false;
                }
                (
                    _,
                    How::Unheard
                    | How::Unreadable
                    | How::Answered
                    | How::AboutNothing
                    | How::Expired,
                ) => {}
            }
        }
        Called {
            way,
            begun,
            after,
            outcome,
        }
    }

    /// Returns what is made of an answer that is none.
    fn in_place_of(answer: Answer, way: Way) -> Option<Failed> {
        match answer {
            // Nobody asks for a range, or a manifest.
            Answer::Good | Answer::WrongRange | Answer::StaleManifest => None,
            Answer::Status(fault) => Some(Failed::status(fault)),
            Answer::TokenExpired => Some(Failed::expired()),
            Answer::Portal | Answer::GzipBomb => Some(Failed::bad_answer(How::Unreadable)),
            // HTTP/1.1 takes half of it for all; HTTP/2 ends the stream where more comes than was said.
            Answer::Longer if way == Way::Sealed => Some(Failed::bad_answer(How::Unreadable)),
            Answer::Longer | Answer::RedirectLoop => Some(Failed::bad_answer(How::Unheard)),
        }
    }

    /// Returns how a body that begins then goes on.
    fn body(
        &mut self,
        at_unix_ms: u64,
        begun: Duration,
        (target, decided): (Target<'_>, &Disposition),
    ) -> (Duration, Result<(), Failed>) {
        let mut takes_effect = |effect| {
            self.board
                .handle_effect(at_unix_ms, target, decided, effect)
        };
        let length = target.length;
        let end = decided.end.after().unwrap_or(length);
        let mut after = begun;
        if let Some(slowed) = decided.slowed
            && slowed.after < end
        {
            takes_effect(Effect::Slowed { at: slowed.after });
            let rest = ByteCount::new(end - slowed.after);
            after += slowed.rate.time_for(rest).unwrap_or(CALL_TIMEOUT);
        }
        if after >= CALL_TIMEOUT {
            return (CALL_TIMEOUT, Err(Failed::timeout()));
        }
        let spoilt_at = decided
            .spoilt
            .map(|spoilt| first_wrong(spoilt, length))
            .filter(|at| *at < end);
        if let Some(at) = spoilt_at {
            takes_effect(Effect::Spoilt { at });
        }
        if decided.end == BodyEnd::Complete {
            let wrong = spoilt_at.map(|_| Failed::bad_answer(How::Unreadable));
            return (after, wrong.map_or(Ok(()), Err));
        }
        let change = takes_effect(Effect::Cut);
        if change.is_some() {
            self.change(change);
        }
        match decided.end {
            BodyEnd::Truncate { .. } => (after, Err(Failed::bad_answer(How::Unheard))),
            BodyEnd::Reset { .. }
            | BodyEnd::Link {
                change: LinkChange::Kill,
                ..
            } => (after, Err(Failed::unreachable("connection reset"))),
            _ => (CALL_TIMEOUT, Err(Failed::timeout())),
        }
    }
}

/// Returns which byte of a body of this length is the first wrong one.
fn first_wrong(spoilt: Spoilt, length: u64) -> u64 {
    let Spoilt { after, how } = spoilt;
    let within = match how {
        Spoil::Flipped => (length.saturating_sub(after) / 2).min(500),
        Spoil::Zeros | Spoil::NoText => 0,
    };
    after + within
}
