//! The backend as a whole: one request in, one answer out.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use nearcast_protocol::appliance::ApplianceReport;
use nearcast_protocol::play::{
    HistoryList, HistoryUpdate, Intent, ManifestPaths, PlayGrant, PlayRequest, Refusal,
    SessionRequest, TitleList, TitleSummary,
};
use nearcast_protocol::steering::{SteeringExplanation, SteeringManifest};
use nearcast_protocol::telemetry::EventBatch;
use nearcast_units::Instant;

use crate::catalogue::{Account, Catalogue, CatalogueError, Index, Title};
use crate::config::ModelConfig;
use crate::history::{History, HistoryError};
use crate::licence::{Refused, Viewer, check_device, check_licence};
use crate::playback::{AllSlotsTaken, Playback, Playbacks, Slot};
use crate::rate::RateGate;
use crate::record::{Action, Record, history_key, playback_key, session_key};
use crate::session::{Session, SessionError, Sessions};
use crate::steering::{Client, Ranking, ReportError, Steering};

/// The backend's state and every decision of it.
#[derive(Clone, Debug)]
pub struct Backend {
    config: ModelConfig,
    index: Index,
    sessions: Sessions,
    playbacks: Playbacks,
    history: History,
    steering: Steering,
    gate: RateGate,
    prune_at: Instant,
    /// Drained after each call; a call adds few, but for pruning, which adds at most one for each thing kept.
    actions: VecDeque<Action>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The access token; empty when none came.
    pub token: &'a str,
    /// The client's address.
    pub client: IpAddr,
}

/// A play grant but for what needs keys and addresses of the server: tokens and URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The grant, its appliances without tokens.
    pub grant: PlayGrant,
    /// Path prefix that tokens are for, relative to an appliance.
    pub files: String,
    /// When tokens are to end.
    pub token_expires: Instant,
}

/// A play or refresh request that got no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlayError {
    /// One of the nine refusals: an answer, not an outage.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The viewer may watch, but there is no appliance to watch from.
    #[error("no appliance can serve this title here and now. {0}")]
    NoAppliance(String),
    /// There is no such playback of this account.
    #[error("there is no such playback; ask for a new one")]
    PlaybackUnknown,
    /// A request that does not make sense.
    #[error("{0}")]
    BadRequest(&'static str),
}

/// Numbers for an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions whose access token is good.
    pub sessions: usize,
    /// Streams that play.
    pub streams: usize,
    /// Appliances that reported lately.
    pub appliances: usize,
}

impl Backend {
    /// Makes a backend with nobody signed in and no appliances.
    ///
    /// # Errors
    /// When the catalogue contradicts itself.
    pub fn new(catalogue: Catalogue, config: ModelConfig) -> Result<Self, CatalogueError> {
        Ok(Self {
            index: Index::try_from(catalogue)?,
            sessions: Sessions::new(config.sessions_max),
            playbacks: Playbacks::new(config.slot_ttl, config.playback_ttl, config.playbacks_max),
            history: History::new(config.history_max),
            steering: Steering::new(&config),
            gate: RateGate::new(config.play_rate),
            prune_at: Instant::ZERO,
            actions: VecDeque::new(),
            config,
        })
    }

    /// Takes back what an earlier process stored.
    pub fn restore(&mut self, now: Instant, record: Record) {
        match record {
            Record::Session { token, session } => {
                let gone = self.sessions.insert(now, &token, session);
                self.forget_all(gone.iter().map(|token| session_key(token)));
            }
            Record::Playback { id, playback } => {
                let gone = self.playbacks.insert(now, &id, playback);
                self.forget_all(gone.iter().map(|id| playback_key(id)));
            }
            Record::History { account, entry } => {
                let gone = self.history.insert(&account, entry);
                self.forget_all(gone.iter().map(|title| history_key(&account, title)));
            }
        }
    }

    /// Opens a session under a fresh, secret access token; returns when it ends.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn handle_session(
        &mut self,
        now: Instant,
        request: &SessionRequest,
        token: &str,
    ) -> Result<Instant, SessionError> {
        if self.index.account(&request.account).is_none() {
            return Err(SessionError::AccountUnknown(
                request.account.chars().take(64).collect(),
            ));
        }
        let expires = now + self.config.session_ttl;
        let session = Session::of(request, expires)?;
        let gone = self.sessions.insert(now, token, session.clone());
        self.forget_all(gone.iter().map(|token| session_key(token)));
        self.store(Record::Session {
            token: token.to_string(),
            session,
        });
        Ok(expires)
    }

    /// Returns whether an access token is good.
    #[must_use]
    pub fn is_session(&self, now: Instant, token: &str) -> bool {
        self.sessions.find(now, token).is_some()
    }

    /// Lists what the viewer may watch here and now.
    ///
    /// # Errors
    /// `session_expired`.
    pub fn titles(&self, now: Instant, ask: Ask<'_>) -> Result<TitleList, Refused> {
        let (session, account) = self.session(now, ask)?;
        let viewer = self.viewer(session, account, ask.client);
        let titles = self
            .index
            .titles()
            .iter()
            .filter(|title| check_licence(&self.index, title, viewer).is_ok())
            .map(summary)
            .collect();
        Ok(TitleList { titles })
    }

    /// Decides on a play request. `playback_id` is a fresh identifier that nobody can guess; a request that
    /// comes twice keeps the first one's.
    ///
    /// The checks, in this order: `session_expired`, `overloaded`, `title_unknown`, `region_blocked`,
    /// `platform_blocked`, `plan_required`, `maturity_blocked`, `device_unsupported`, `too_many_streams`.
    /// Cheap ones come first, then what the viewer cannot change, and last the only one that takes something.
    ///
    /// # Errors
    /// With one of the refusals above, or when no appliance can serve; then no slot is taken.
    pub fn handle_play(
        &mut self,
        now: Instant,
        ask: Ask<'_>,
        request: &PlayRequest,
        playback_id: &str,
    ) -> Result<Grant, PlayError> {
        let (session, _) = self.session(now, ask)?;
        if let Some(id) = &request.request_id
            && id.len() > REQUEST_ID_LENGTH_MAX
        {
            return Err(PlayError::BadRequest("request_id: at most 64 characters"));
        }
        let mut wanted = Playback {
            account: session.account.clone(),
            device_id: session.device_id.clone(),
            title: request.title.clone(),
            request_id: request.request_id.clone(),
            slot: Slot::Uncounted,
            seen: now,
        };
        if let Some(id) = self.playbacks.find_request(now, &wanted) {
            let id = id.to_string();
            return self.handle_refresh(now, ask, &id);
        }
        self.gate.handle_request(now).map_err(overloaded)?;

        let (session, account) = self.session(now, ask)?;
        let title = self.title(&request.title)?;
        let viewer = self.viewer(session, account, ask.client);
        check_licence(&self.index, title, viewer)?;
        check_device(title, &request.capabilities)?;
        let taken_over = if is_stream(&request.intent) {
            wanted.slot = self.playbacks.new_slot(now);
            let streams_max = self.streams_max(account);
            self.playbacks
                .free_slot(now, &wanted, streams_max)
                .map_err(|AllSlotsTaken| too_many_streams(streams_max))?
        } else {
            None
        };
        let grant = self.grant(now, ask.client, &wanted.account, title, playback_id)?;

        if let Some(id) = taken_over
            && let Some(playback) = self.playbacks.take_over(&id).cloned()
        {
            self.store(Record::Playback { id, playback });
        }
        let gone = self.playbacks.insert(now, playback_id, wanted.clone());
        self.forget_all(gone.iter().map(|id| playback_key(id)));
        self.store(Record::Playback {
            id: playback_id.to_string(),
            playback: wanted,
        });
        Ok(grant)
    }

    /// Grants the same playback anew: fresh tokens, a fresh list of appliances, the slot held on.
    ///
    /// # Errors
    /// `session_expired`; `too_many_streams` when the slot was lost meanwhile and none is free;
    /// `title_unknown` when the title has gone; when there is no such playback of this account; when no
    /// appliance can serve.
    pub fn handle_refresh(
        &mut self,
        now: Instant,
        ask: Ask<'_>,
        playback_id: &str,
    ) -> Result<Grant, PlayError> {
        let (session, account) = self.session(now, ask)?;
        let playback = self
            .playbacks
            .find(now, playback_id)
            .filter(|playback| playback.account == session.account)
            .ok_or(PlayError::PlaybackUnknown)?;
        let title = self.title(&playback.title)?;
        let streams_max = self.streams_max(account);
        let grant = self.grant(now, ask.client, &playback.account, title, playback_id);
        // The slot is held on even when there is no appliance just now: the viewer is still there.
        let refreshed = self
            .playbacks
            .refresh(now, playback_id, streams_max)
            .map_err(|AllSlotsTaken| too_many_streams(streams_max))?
            .cloned();
        if let Some(playback) = refreshed {
            self.store(Record::Playback {
                id: playback_id.to_string(),
                playback,
            });
        }
        grant
    }

    /// Takes a batch of events as a sign of life; one that says that playback is over frees the slot.
    /// Returns whether the playback is known.
    pub fn handle_events(&mut self, now: Instant, batch: &EventBatch) -> bool {
        let id = batch.playback_id.as_str();
        let known = self.playbacks.handle_sign_of_life(now, id);
        let over = batch.events.iter().any(|event| event.kind.is_end());
        if over && let Some(playback) = self.playbacks.release(id).cloned() {
            self.store(Record::Playback {
                id: id.to_string(),
                playback,
            });
        }
        known
    }

    /// Takes an appliance's report.
    ///
    /// # Errors
    /// When the report does not make sense, or there are too many appliances.
    pub fn handle_report(
        &mut self,
        now: Instant,
        id: &str,
        report: &ApplianceReport,
    ) -> Result<(), ReportError> {
        self.steering.handle_report(now, id, report)
    }

    /// Takes a viewing position.
    ///
    /// # Errors
    /// When the session has expired or there is no such title.
    pub fn handle_history(
        &mut self,
        now: Instant,
        ask: Ask<'_>,
        title: &str,
        update: &HistoryUpdate,
    ) -> Result<(), HistoryError> {
        let session = self
            .sessions
            .find(now, ask.token)
            .ok_or(HistoryError::SessionExpired)?;
        let title = self.index.title(title).ok_or_else(|| {
            HistoryError::TitleUnknown(title.chars().take(REQUEST_ID_LENGTH_MAX).collect())
        })?;
        let account = session.account.clone();
        let (entry, gone) = self.history.record(unix_ms(now), &account, title, update);
        self.forget_all(gone.iter().map(|title| history_key(&account, title)));
        self.store(Record::History { account, entry });
        Ok(())
    }

    /// Lists what the viewer has watched, latest first.
    ///
    /// # Errors
    /// `session_expired`.
    pub fn history(&self, now: Instant, ask: Ask<'_>) -> Result<HistoryList, Refused> {
        let (session, _) = self.session(now, ask)?;
        Ok(self.history.list(&session.account))
    }

    /// Returns the ranking for a playback as a content-steering document; `None` when there is no such
    /// playback.
    #[must_use]
    pub fn steering(
        &self,
        now: Instant,
        client: IpAddr,
        playback_id: &str,
    ) -> Option<SteeringManifest> {
        let title = self.title_of(now, playback_id)?;
        let ranking = self.rank(now, client, title, playback_id);
        Some(SteeringManifest {
            version: 1,
            ttl: u32::try_from(self.config.steering_ttl.as_secs()).unwrap_or(u32::MAX),
            reload_uri: None,
            pathway_priority: ranking.offers.into_iter().map(|offer| offer.id).collect(),
        })
    }

    /// Explains the ranking for a playback; `None` when there is no such playback.
    #[must_use]
    pub fn explain(
        &self,
        now: Instant,
        client: IpAddr,
        playback_id: &str,
    ) -> Option<SteeringExplanation> {
        let title = self.title_of(now, playback_id)?;
        let network = self.index.network(client).map(|network| network.prefix);
        let ranking = self.rank(now, client, title, playback_id);
        Some(ranking.explain(self.client(client, title, playback_id), network))
    }

    /// Moves time forward: forgets what has ended. Harmless when called early.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.prune_at {
            return;
        }
        self.prune_at = now + PRUNE_INTERVAL;
        let sessions = self.sessions.prune(now);
        self.forget_all(sessions.iter().map(|token| session_key(token)));
        let playbacks = self.playbacks.prune(now);
        self.forget_all(playbacks.iter().map(|id| playback_key(id)));
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Instant> {
        Some(self.prune_at)
    }

    /// Returns the next thing to do; call until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns numbers for an operator.
    #[must_use]
    pub fn counts(&self, now: Instant) -> Counts {
        Counts {
            sessions: self.sessions.count(now),
            streams: self.playbacks.streams(now),
            appliances: self.steering.fresh(now),
        }
    }

    fn session(&self, now: Instant, ask: Ask<'_>) -> Result<(&Session, &Account), Refused> {
        self.sessions
            .find(now, ask.token)
            .and_then(|session| Some((session, self.index.account(&session.account)?)))
            .ok_or_else(|| {
                Refused::new(
                    Refusal::SessionExpired,
                    "The access token is old or unknown; open a new session.".to_string(),
                )
            })
    }

    fn title(&self, id: &str) -> Result<&Title, Refused> {
        self.index.title(id).ok_or_else(|| {
            let shown: String = id.chars().take(REQUEST_ID_LENGTH_MAX).collect();
            Refused::new(
                Refusal::TitleUnknown,
                format!("You asked for {shown:?}; `nearcast titles` lists what there is."),
            )
        })
    }

    fn title_of(&self, now: Instant, playback_id: &str) -> Option<&Title> {
        let playback = self.playbacks.find(now, playback_id)?;
        self.index.title(&playback.title)
    }

    fn viewer<'a>(
        &'a self,
        session: &'a Session,
        account: &'a Account,
        client: IpAddr,
    ) -> Viewer<'a> {
        let here = self.index.network(client);
        Viewer {
            account,
            country: here
                .and_then(|network| network.country.as_deref())
                .unwrap_or(&account.country),
            platform: &session.platform,
        }
    }

    fn streams_max(&self, account: &Account) -> u32 {
        self.index
            .plan(&account.plan)
            .map_or(0, |(_, plan)| plan.streams_max)
    }

    fn client<'a>(&self, address: IpAddr, title: &'a Title, playback_id: &'a str) -> Client<'a> {
        Client {
            address,
            position_deg: self
                .index
                .network(address)
                .and_then(|network| network.position_deg),
            files: &title.files,
            playback_id,
        }
    }

    fn rank(&self, now: Instant, client: IpAddr, title: &Title, playback_id: &str) -> Ranking {
        self.steering
            .rank(now, self.client(client, title, playback_id))
    }

    fn grant(
        &self,
        now: Instant,
        client: IpAddr,
        account: &str,
        title: &Title,
        playback_id: &str,
    ) -> Result<Grant, PlayError> {
        let ranking = self.rank(now, client, title, playback_id);
        if ranking.offers.is_empty() {
            return Err(PlayError::NoAppliance(ranking.why_empty()));
        }
        let grant = PlayGrant {
            playback_id: playback_id.to_string(),
            title: summary(title),
            manifests: ManifestPaths {
                dash: title.dash.clone(),
                hls: title.hls.clone(),
            },
            appliances: ranking.offers,
            sizes: title.sizes.clone(),
            steering: None,
            issued_at_unix_ms: unix_ms(now),
            resume_position_ms: self.history.resume_position_ms(account, &title.id),
            refresh_after_ms: millis(self.config.refresh_after),
            events_url: None,
            license_url: title.license_url.clone(),
        };
        Ok(Grant {
            grant,
            files: title.files.clone(),
            token_expires: now + self.config.token_ttl,
        })
    }

    fn store(&mut self, record: Record) {
        self.actions.push_back(Action::Store {
            key: record.key(),
            record,
        });
    }

    fn forget_all(&mut self, keys: impl Iterator<Item = String>) {
        let forgotten: Vec<Action> = keys.map(|key| Action::Forget { key }).collect();
        self.actions.extend(forgotten);
    }
}

/// A UUID with a word before it fits.
const REQUEST_ID_LENGTH_MAX: usize = 64;

/// What has ended already does no harm; a minute keeps the work small.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// What is not known to be no stream is one.
const fn is_stream(intent: &Intent) -> bool {
    match intent {
        Intent::Play | Intent::Other(_) => true,
        Intent::Preview | Intent::Prefetch => false,
    }
}

fn summary(title: &Title) -> TitleSummary {
    TitleSummary {
        id: title.id.clone(),
        name: title.name.clone(),
        duration_ms: title.duration_ms,
        description: title.description.clone(),
    }
}

fn overloaded(wait: Duration) -> Refused {
    Refused {
        refusal: Refusal::Overloaded,
        detail: format!("Too many play requests; ask again in {} ms.", millis(wait)),
        retry_after: Some(wait),
    }
}

fn too_many_streams(streams_max: u32) -> Refused {
    Refused::new(
        Refusal::TooManyStreams,
        format!("The plan allows {streams_max} at a time; stop one on another device."),
    )
}

const fn unix_ms(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
