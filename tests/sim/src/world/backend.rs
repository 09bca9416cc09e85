//! The backend: who may play, and from which appliances. Its own model decides; what goes wrong with its answers is
//! decided as that of appliances is.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "for a caller, most of what goes wrong is the same"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultOrder, FaultReceipt, ObjectKind};
use nearcast_appliance::{
    Answer, BodyEnd, Effect, FaultBoard, LinkChange, ObjectName, OrderError, StatusFault, Target,
};
use nearcast_backend_model::{
    Account, Ask, Backend, Catalogue, ModelConfig, Network, Plan, PlayError,
};
use nearcast_core::{EdgeOffer, Grant, Input};
use nearcast_link::LinkState;
use nearcast_protocol::appliance::{ApplianceReport, ReportReceipt};
use nearcast_protocol::play::{Capabilities, Intent, PlayGrant, PlayRequest, SessionRequest};
use nearcast_units::{Instant, Seed};

use super::moment;
use crate::setup::BackendSetup;
use crate::title::FILES;

/// The backend of a world.
#[derive(Debug)]
pub(super) struct BackendModel {
    model: Backend,
    board: FaultBoard,
    state: LinkState,
    /// One way.
    delay: Duration,
    /// One way, while nothing is wrong.
    usual_delay: Duration,
    report_interval: Duration,
    clients: Vec<Viewer>,
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
}

/// What came of asking.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// After how long the client hears of it.
    pub(crate) after: Duration,
    /// What it hears.
    pub(crate) said: Input,
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
    /// The backend said so itself.
    is_answer: bool,
}

impl Failed {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            refused: false,
            retry_after: None,
            is_answer: false,
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

    fn bad_answer() -> Self {
        let message = "the backend's answer (play) cannot be understood";
        Self::new("backend.bad_answer", message)
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
            is_answer: true,
            ..Self::new("backend.problem", message)
        }
    }

    fn of(error: PlayError) -> Self {
        match error {
            PlayError::Refused(refused) => Self {
                refused: true,
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

/// How long a sealed request is waited for before the same goes over TLS.
const SEALED_ALONE: Duration = Duration::from_millis(400);
/// How long the player waits for an answer, and for a connection.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The size of an answer, for places within it.
const ANSWER_BYTES: u64 = 4_000;
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
            delay: setup.delay,
            usual_delay: setup.delay,
            report_interval: config.report_interval,
            clients,
        }
    }

    pub(super) const fn delay(&self) -> Duration {
        self.delay
    }

    /// Takes an order of faults.
    pub(super) fn order(&mut self, now: Instant, order: FaultOrder) -> Result<(), OrderError> {
        for change in self.board.apply(moment(now).unix_ms, order)? {
            self.change(change);
        }
        Ok(())
    }

    fn change(&mut self, change: Option<LinkChange>) {
        match change {
            None | Some(LinkChange::Restore { .. }) => {
                self.state = LinkState::Up;
                self.delay = self.usual_delay;
            }
            Some(LinkChange::Delay(delay)) => self.delay = self.usual_delay + delay,
            // Its answers are small.
            Some(LinkChange::Rate(_)) => {}
            Some(LinkChange::Stop) => self.state = LinkState::Stopped,
            Some(LinkChange::Kill) => self.state = LinkState::Killed,
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

    /// Answers a client that wants to play, or to play on. The player asks by a sealed request first, and over TLS where
    /// that fails or is not answered soon; the first answer counts.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        client: usize,
        refresh: bool,
    ) -> (Answered, Option<Held>) {
        let (sealed_after, sealed) = self.call(now, client, refresh);
        let mut answers = Vec::new();
        let began = match &sealed {
            Err(failed) if failed.is_answer && sealed_after <= SEALED_ALONE => None,
            Ok(()) if sealed_after <= SEALED_ALONE => None,
            Ok(()) => Some(SEALED_ALONE),
            Err(_) => Some(sealed_after.min(SEALED_ALONE)),
        };
        if let Some(began) = began {
            // A connection of its own: TCP and TLS 1.3.
            let began = began + self.delay * 4;
            let (after, direct) = self.call(now + began, client, refresh);
            answers.push((began + after, direct));
        }
        // Where neither way is answered, what is heard over TLS counts.
        let is_answer = sealed.as_ref().err().is_none_or(|failed| failed.is_answer);
        if is_answer || answers.is_empty() {
            answers.push((sealed_after, sealed));
        }
        let answered = answers.iter().filter(|(_, one)| {
            !matches!(
                one,
                Err(Failed {
                    is_answer: false,
                    ..
                })
            )
        });
        let first = answered
            .min_by_key(|(after, _)| *after)
            .or_else(|| answers.iter().max_by_key(|(after, _)| *after));
        let Some((after, outcome)) = first.cloned() else {
            let failed = Failed::unreachable("nobody was asked");
            return (failed.said(CALL_TIMEOUT), None);
        };
        if let Err(failed) = outcome {
            return (failed.said(after), None);
        }
        match self.grant(now, client, refresh) {
            Ok(grant) => self.granted(client, after, &grant.grant, grant.token_expires),
            Err(error) => (Failed::of(error).said(after), None),
        }
    }

    /// Makes one call: after how long something is heard of it, and what, if that is no grant.
    fn call(
        &mut self,
        now: Instant,
        client: usize,
        refresh: bool,
    ) -> (Duration, Result<(), Failed>) {
        let round_trip = self.delay * 2;
        match self.state {
            LinkState::Up => {}
            LinkState::Stopped => {
                return (CONNECT_TIMEOUT, Err(Failed::unreachable("nothing answers")));
            }
            LinkState::Killed => {
                return (round_trip, Err(Failed::unreachable("connection refused")));
            }
        }
        let at = moment(now + self.delay).unix_ms;
        let name = self.clients[client].name.clone();
        if let Some(fault) = self.board.connect(at, &name) {
            let after = if fault == Fault::Refuse {
                round_trip
            } else {
                CONNECT_TIMEOUT
            };
            return (after, Err(Failed::unreachable(fault.name())));
        }
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
        let decided = self.board.decide(at, target);
        let mut takes_effect = |effect| self.board.handle_effect(at, target, &decided, effect);
        if !decided.late.is_zero() {
            takes_effect(Effect::Late);
        }
        let after = round_trip + decided.late;
        if after >= CALL_TIMEOUT {
            return (CALL_TIMEOUT, Err(Failed::timeout()));
        }
        match decided.answer {
            Answer::Good => {}
            Answer::Status(fault) => return (after, Err(Failed::status(fault))),
            _ => return (after, Err(Failed::bad_answer())),
        }
        if decided.spoilt.is_some() {
            takes_effect(Effect::Spoilt { at: 0 });
            return (after, Err(Failed::bad_answer()));
        }
        if decided.slowed.is_some() {
            takes_effect(Effect::Slowed { at: 0 });
            return (CALL_TIMEOUT, Err(Failed::timeout()));
        }
        if decided.end == BodyEnd::Complete {
            return (after, Ok(()));
        }
        let change = takes_effect(Effect::Cut);
        if change.is_some() {
            self.change(change);
        }
        match decided.end {
            BodyEnd::Truncate { .. } => (after, Err(Failed::bad_answer())),
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
            length: (grant.title.duration_ms > 0)
                .then(|| Duration::from_millis(grant.title.duration_ms)),
        });
        let held = Held {
            playback_id: self.clients[client].playback_id.clone().unwrap_or_default(),
            token_expires,
        };
        (Answered { after, said }, Some(held))
    }
}
