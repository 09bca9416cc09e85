//! The backend: who may play, and from which appliances. Its own model decides; what goes wrong with its connections and
//! answers is decided as that of appliances is, and what a call comes to is what the player makes of it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "for a caller, most of what goes wrong is the same"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultOrder, FaultReceipt, ObjectKind, TlsProblem};
use nearcast_appliance::{
    Answer, BodyEnd, Disposition, Effect, FaultBoard, LinkChange, ObjectName, OrderError, Spoil,
    Spoilt, StatusFault, Target,
};
use nearcast_backend_model::{
    Account, Ask, Backend, Catalogue, ModelConfig, Network, Plan, PlayError,
};
use nearcast_core::{EdgeOffer, Grant, Input};
use nearcast_link::LinkState;
use nearcast_protocol::appliance::{ApplianceReport, ReportReceipt};
use nearcast_protocol::play::{
    Capabilities, Intent, PlayGrant, PlayRequest, Refusal, SessionRequest,
};
use nearcast_units::{ByteCount, Instant, Seed};

use super::moment;
use crate::setup::BackendSetup;
use crate::title::FILES;

/// The backend of a world.
#[derive(Debug)]
pub(super) struct BackendModel {
    model: Backend,
    board: FaultBoard,
    state: LinkState,
    /// Whether all new connections are refused.
    refuses: bool,
    /// One way.
    delay: Duration,
    report_interval: Duration,
    clients: Vec<Viewer>,
    waiting: Vec<Waiting>,
}

/// A client that a black hole swallowed the calls of: they go on when that is gone, if they have not ended by then.
#[derive(Debug)]
struct Waiting {
    client: usize,
    refresh: bool,
    until: Instant,
    failed: Failed,
}

/// What the backend knows a client by.
#[derive(Debug)]
struct Viewer {
    name: String,
    /// Account, device and half of each playback's identifier.
    id: String,
    address: IpAddr,
    access_token: String,
    playback_id: Option<String>,
    session: Session,
    /// When the last sealed request was made, of a connection that stands since.
    sealed_line: Option<Instant>,
    /// Whether there is a connection over TLS: telemetry keeps it.
    direct_line: bool,
}

/// What a client asks with. Opening the first one takes no time here, and may fail all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    /// None yet, or one that the backend says is over.
    None,
    Open {
        /// Whether its key for sealed requests has brought answers so far.
        seals: bool,
    },
}

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
            None | Some(How::Answered | How::Expired) => true,
            Some(How::Unreadable) => self.way == Way::Direct,
            Some(How::Unheard) => false,
        }
    }
}

/// What came of asking.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// After how long the client hears of it.
    pub(crate) after: Duration,
    /// What it hears.
    pub(crate) said: Input,
}

/// Who is asked.
#[derive(Debug)]
pub(super) enum Asking {
    Answered(Answered, Option<Held>),
    /// Nobody answers before then, unless [`BackendModel::take_answers`] has something sooner.
    Waits(Instant),
}

/// A grant that a client holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) playback_id: String,
    pub(super) token_expires: Instant,
}

/// A call that brought no grant, as the player has it.
#[derive(Clone, Debug)]
struct Failed {
    code: String,
    message: String,
    /// Asking again cannot help.
    refused: bool,
    retry_after: Option<Duration>,
    how: How,
}

/// How much of an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// None, or not all of it.
    Unheard,
    /// All of it, and it is none.
    Unreadable,
    /// One that says no.
    Answered,
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
            how: if status == 401 {
                How::Expired
            } else {
                How::Answered
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

    fn of(error: PlayError) -> Self {
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

    fn said(self, after: Duration) -> Answered {
        let said = Input::GrantFailed {
            code: self.code,
            message: self.message,
            refused: self.refused,
            retry_after: self.retry_after,
        };
        Answered { after, said }
    }
}

/// Names of players are people's words; identifiers are not.
fn viewer(index: usize) -> String {
    format!("viewer-{index}")
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
/// Connections are made before anybody says who asks.
const NOBODY_KNOWN: &str = "";
/// Everything in one title.
const TITLE: &str = "demo";

impl BackendModel {
    pub(super) fn new(setup: &BackendSetup, names: &[String], seed: Seed) -> Self {
        let mut catalogue = Catalogue::demo(setup.duration_ms);
        for title in &mut catalogue.titles {
            title.files = FILES.to_owned();
            title.dash = Some(format!("{FILES}stream.mpd"));
            title.hls = None;
        }
        catalogue.plans = vec![Plan {
            id: "all".to_owned(),
            streams_max: 4,
        }];
        catalogue.accounts = (0..names.len())
            .map(|index| Account {
                id: viewer(index),
                plan: "all".to_owned(),
                country: "SE".to_owned(),
                maturity: 18,
            })
            .collect();
        catalogue.networks = vec![Network {
            prefix: "10.0.0.0/8".to_owned(),
            country: None,
            position_deg: Some((0.0, 0.0)),
        }];
        let config = ModelConfig {
            token_ttl: setup.token_ttl,
            refresh_after: setup.refresh_after,
            slot_ttl: setup.refresh_after * 2 + ModelConfig::default().slot_ttl,
            sessions_max: names.len() + 1,
            playbacks_max: names.len() * 2 + 1,
            ..ModelConfig::default()
        };
        #[expect(clippy::expect_used, reason = "the catalogue is made here")]
        let mut model =
            Backend::new(catalogue, config).expect("a catalogue without contradictions");
        let clients = (0_u32..).zip(names).enumerate();
        let clients = clients.map(|(place, (index, name))| Viewer {
            name: name.clone(),
            id: viewer(place),
            address: IpAddr::V4(Ipv4Addr::from(0x0A00_0001 + index)),
            access_token: format!("access-{place}"),
            playback_id: None,
            session: Session::None,
            sealed_line: None,
            direct_line: false,
        });
        let clients: Vec<Viewer> = clients.collect();
        for client in &clients {
            let request = SessionRequest {
                account: client.id.clone(),
                device_id: client.id.clone(),
                platform: "linux".to_owned(),
            };
            let opened = model.handle_session(Instant::ZERO, &request, &client.access_token);
            debug_assert!(opened.is_ok(), "{opened:?}");
        }
        Self {
            model,
            board: FaultBoard::new(seed.split("backend")),
            state: LinkState::Up,
            refuses: false,
            delay: setup.delay,
            report_interval: config.report_interval,
            clients,
            waiting: Vec::new(),
        }
    }

    pub(super) const fn delay(&self) -> Duration {
        self.delay
    }

    /// Takes an order of faults.
    pub(super) fn order(&mut self, now: Instant, order: FaultOrder) -> Result<(), OrderError> {
        debug_assert!(
            order
                .faults
                .iter()
                .all(|rule| rule.fault.not_of_backend().is_none()),
            "whoever reads scenarios refuses that: {order:?}"
        );
        let at = moment(now).unix_ms;
        for change in self.board.apply(at, order)? {
            self.change(change);
        }
        let refuses = self.board.has_for_all(&Fault::Refuse);
        if refuses && !std::mem::replace(&mut self.refuses, refuses) {
            // A port that is closed counts nobody: this receipt stands for them all.
            self.board.connect(at, NOBODY_KNOWN);
        }
        self.refuses = refuses;
        Ok(())
    }

    fn change(&mut self, change: Option<LinkChange>) {
        match change {
            None | Some(LinkChange::Restore { .. }) => self.state = LinkState::Up,
            Some(LinkChange::Stop) => self.state = LinkState::Stopped,
            Some(LinkChange::Kill) => {
                self.state = LinkState::Killed;
                for client in &mut self.clients {
                    (client.sealed_line, client.direct_line) = (None, false);
                }
            }
            // Refused as orders.
            Some(LinkChange::Rate(_) | LinkChange::Delay(_)) => {}
        }
    }

    pub(super) fn receipts(&self) -> impl Iterator<Item = &FaultReceipt> {
        self.board.receipts()
    }

    /// Takes an appliance's report; without an answer where none reaches it.
    pub(super) fn report(
        &mut self,
        now: Instant,
        id: &str,
        report: &ApplianceReport,
    ) -> Option<ReportReceipt> {
        if self.state != LinkState::Up {
            return None;
        }
        self.model.handle_report(now, id, report).ok()?;
        Some(ReportReceipt {
            verifying_keys: Vec::new(),
            next_report_ms: u64::try_from(self.report_interval.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Answers a client that wants to play, or to play on. A session that is said to be over is replaced once.
    pub(super) fn ask(&mut self, now: Instant, client: usize, refresh: bool) -> Asking {
        let (mut after, mut outcome) = self.ask_once(now, client, refresh);
        if outcome
            .as_ref()
            .is_err_and(|failed| failed.how == How::Expired)
        {
            self.clients[client].session = Session::None;
            let (more, again) = self.ask_once(now + after, client, refresh);
            (after, outcome) = (after + more, again);
        }
        let (answered, held) = match outcome {
            Ok(()) => self.answer(now, client, refresh, after),
            Err(failed) if self.state == LinkState::Stopped => {
                let until = now + after;
                self.waiting.push(Waiting {
                    client,
                    refresh,
                    until,
                    failed,
                });
                return Asking::Waits(until);
            }
            Err(failed) => (failed.said(after), None),
        };
        Asking::Answered(answered, held)
    }

    fn answer(
        &mut self,
        now: Instant,
        client: usize,
        refresh: bool,
        after: Duration,
    ) -> (Answered, Option<Held>) {
        match self.grant(now, client, refresh) {
            Ok(grant) => self.granted(client, after, &grant.grant, grant.token_expires),
            Err(error) => (Failed::of(error).said(after), None),
        }
    }

    /// Returns what clients are to hear that waited: by whom, what and what they hold then.
    pub(super) fn take_answers(&mut self, now: Instant) -> Vec<(usize, Answered, Option<Held>)> {
        let is_up = self.state == LinkState::Up;
        let ended = |one: &mut Waiting| is_up || one.until <= now;
        let ended: Vec<Waiting> = self.waiting.extract_if(.., ended).collect();
        let answers = ended.into_iter().map(|waiting| {
            let Waiting {
                client,
                refresh,
                until,
                failed,
            } = waiting;
            let (answered, held) = if until <= now {
                (failed.said(Duration::ZERO), None)
            } else {
                self.clients[client].session = Session::Open { seals: true };
                self.answer(now, client, refresh, self.delay)
            };
            (client, answered, held)
        });
        answers.collect()
    }

    /// Asks with a session. The player asks by a sealed request first, and over TLS where that fails or is not answered
    /// soon; the first answer counts.
    fn ask_once(
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
                (_, How::Unheard | How::Unreadable | How::Answered | How::Expired) => {}
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
            // Nobody asks for a range.
            Answer::Good | Answer::WrongRange => None,
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

    fn grant(
        &mut self,
        now: Instant,
        client: usize,
        refresh: bool,
    ) -> Result<nearcast_backend_model::Grant, PlayError> {
        let viewer = &mut self.clients[client];
        let ask = Ask {
            token: &viewer.access_token,
            client: viewer.address,
        };
        let id = viewer.playback_id.clone().filter(|_| refresh);
        let granted = match id {
            Some(id) => self.model.handle_refresh(now, ask, &id),
            None => {
                let id = format!("{}-{}", viewer.id, now.as_nanos());
                let request = PlayRequest {
                    title: TITLE.to_owned(),
                    capabilities: Capabilities {
                        codecs: vec!["avc1".to_owned(), "mp4a".to_owned()],
                        ..Capabilities::default()
                    },
                    intent: Intent::Play,
                    request_id: None,
                };
                let granted = self.model.handle_play(now, ask, &request, &id);
                if granted.is_ok() {
                    viewer.playback_id = Some(id);
                }
                granted
            }
        };
        // What would be stored is nobody's business here.
        while self.model.poll_action().is_some() {}
        granted
    }

    fn granted(
        &self,
        client: usize,
        after: Duration,
        grant: &PlayGrant,
        token_expires: Instant,
    ) -> (Answered, Option<Held>) {
        let mut edges: Vec<EdgeOffer> = grant
            .appliances
            .iter()
            .map(|offer| EdgeOffer {
                name: offer.id.clone(),
                rank: offer.rank,
            })
            .collect();
        if self.board.has(&Fault::Misrank) {
            edges.reverse();
            for (edge, rank) in edges.iter_mut().zip(0..) {
                edge.rank = rank;
            }
        }
        let said = Input::Granted(Grant {
            edges,
            refresh_after: (grant.refresh_after_ms > 0)
                .then(|| Duration::from_millis(grant.refresh_after_ms)),
        });
        let held = Held {
            playback_id: self.clients[client].playback_id.clone().unwrap_or_default(),
            token_expires,
        };
        (Answered { after, said }, Some(held))
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
