//! The backend: who may play, and from which appliances. Its own model decides; what goes wrong with its connections and
//! answers is decided as that of appliances is, and what a call comes to is what the player makes of it.

mod call;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultOrder, FaultReceipt};
use nearcast_appliance::{FaultBoard, LinkChange, OrderError};
use nearcast_backend_model::{
    Account, Ask, Backend, Catalogue, ModelConfig, Network, Plan, PlayError,
};
use nearcast_core::{EdgeOffer, Grant, Input};
use nearcast_link::LinkState;
use nearcast_protocol::appliance::{ApplianceReport, ReportReceipt};
use nearcast_protocol::play::{Capabilities, Intent, PlayGrant, PlayRequest, SessionRequest};
use nearcast_units::{Instant, Seed};

use self::call::{Failed, How};
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

/// Names of players are people's words; identifiers are not.
fn viewer(index: usize) -> String {
    format!("viewer-{index}")
}

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
            let is_refusal = |fault: &Fault| *fault == Fault::Refuse;
            self.board.connect_where(at, NOBODY_KNOWN, is_refusal);
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

    /// Answers a client that wants to play, or to play on. A session that is said to be over is replaced once, and so is a
    /// playback of which the backend knows nothing.
    pub(super) fn ask(&mut self, now: Instant, client: usize, mut refresh: bool) -> Asking {
        let (mut after, mut outcome) = self.ask_in_session(now, client, refresh);
        if refresh && is(&outcome, How::AboutNothing) {
            refresh = false;
            let (more, again) = self.ask_in_session(now + after, client, refresh);
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

    fn ask_in_session(
        &mut self,
        now: Instant,
        client: usize,
        refresh: bool,
    ) -> (Duration, Result<(), Failed>) {
        let (after, outcome) = self.ask_once(now, client, refresh);
        if !is(&outcome, How::Expired) {
            return (after, outcome);
        }
        self.clients[client].session = Session::None;
        let (more, again) = self.ask_once(now + after, client, refresh);
        (after + more, again)
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

fn is(outcome: &Result<(), Failed>, how: How) -> bool {
    outcome.as_ref().is_err_and(|failed| failed.how == how)
}
