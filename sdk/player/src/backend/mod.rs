//! The backend's client: session, titles, play grants, refreshes and telemetry.
//!
//! Play and refresh requests are sealed where the backend offers it; when no sealed answer has begun after
//! 400 ms, or sealing fails, the same request goes over TLS, and the first usable answer counts. What belongs
//! here: which call, which headers, what an answer means. When to call is the session's business.

mod error;
mod http;
mod sealed;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::{Method, StatusCode};
use nearcast_protocol::play::{
    HistoryUpdate, PlayGrant, PlayRequest, SealingKey, SessionGrant, SessionRequest, TitleList,
    TitleSummary,
};
use nearcast_protocol::telemetry::EventBatch;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

pub use error::BackendError;
use http::{Answer, Ask, ControlClient, SealedFailure};
use sealed::Plain;

use crate::network::Network;
use crate::telemetry::{Deliver, Delivery};

/// Which backend, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendOptions {
    /// Absolute URL; the calls' paths are joined to it.
    pub url: String,
    /// The account's name at the backend.
    pub account: String,
    /// A stable identifier of the device.
    pub device_id: String,
    /// Platform as the licence rules name it (`linux`, `ios`, `android_tv`…).
    pub platform: String,
    /// Seals play requests where the backend offers it.
    pub sealed: bool,
    /// How long a sealed request may take before the same goes over TLS: 400 ms. For tests, which may run on a machine
    /// that is slower than any network.
    #[doc(hidden)]
    pub sealed_alone: Duration,
}

impl BackendOptions {
    /// Makes options with a guest account on this platform.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            account: "guest".to_owned(),
            device_id: "nearcast".to_owned(),
            platform: std::env::consts::OS.to_owned(),
            sealed: true,
            sealed_alone: SEALED_ALONE,
        }
    }
}

/// How a grant came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantPath {
    /// By a sealed request.
    Sealed,
    /// Over TLS (or plain HTTP where the backend's URL says so).
    Direct,
}

/// A backend's client; clones share the session.
#[derive(Clone, Debug)]
pub struct Backend {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: ControlClient,
    base: Url,
    options: BackendOptions,
    session: Mutex<Option<Session>>,
}

/// What a session grant gave.
#[derive(Clone, Debug)]
struct Session {
    token: String,
    sealing: Option<SealingKey>,
}

impl Backend {
    /// Makes a client; asks nothing yet.
    ///
    /// # Errors
    ///
    /// [`BackendError::Setup`] when the URL or a network option cannot be used.
    pub fn new(options: BackendOptions, network: &Network) -> Result<Self, BackendError> {
        let base = http::base_url(&options.url)?;
        let client = ControlClient::new(network)?;
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                base,
                options,
                session: Mutex::new(None),
            }),
        })
    }

    /// Lists what can be watched here and now.
    ///
    /// # Errors
    ///
    /// When the backend refuses, fails or cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the request.
    pub async fn titles(&self) -> Result<Vec<TitleSummary>, BackendError> {
        let ask = Ask::new("titles", Method::GET, self.url(&["v1", "titles"])?);
        let list: TitleList = read(ask.call, &self.ask(&ask).await?.0)?;
        Ok(list.titles)
    }

    /// Asks to play a title.
    ///
    /// # Errors
    ///
    /// [`BackendError::Refused`] when the viewer may not, else when the backend fails or cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the request; the backend may count a stream until it times out.
    pub async fn play(
        &self,
        request: &PlayRequest,
    ) -> Result<(PlayGrant, GrantPath), BackendError> {
        self.granted("play", &["v1", "play"], request).await
    }

    /// Asks for new tokens and a fresh list of appliances for the same playback.
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the request.
    pub async fn refresh(&self, playback_id: &str) -> Result<(PlayGrant, GrantPath), BackendError> {
        self.granted(
            "refresh",
            &["v1", "play", playback_id, "refresh"],
            &serde_json::Map::new(),
        )
        .await
    }

    /// Tells how far the viewer is.
    ///
    /// # Errors
    ///
    /// When the backend refuses, fails or cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the request.
    pub async fn put_history(
        &self,
        title: &str,
        update: &HistoryUpdate,
    ) -> Result<(), BackendError> {
        let url = self.url(&["v1", "history", title])?;
        self.ask(&Ask::new("history", Method::PUT, url).with(update)?)
            .await
            .map(drop)
    }

    /// Returns where this client's telemetry of one playback goes.
    pub(crate) fn telemetry(&self, events_url: Option<&str>) -> Result<Telemetry, BackendError> {
        let url = match events_url {
            // A grant may give a path or a whole URL.
            Some(text) => self
                .shared
                .base
                .join(text)
                .map_err(|error| http::setup(&error))?,
            None => self.url(&["v1", "events"])?,
        };
        Ok(Telemetry {
            backend: self.clone(),
            url,
        })
    }

    async fn granted(
        &self,
        call: &'static str,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<(PlayGrant, GrantPath), BackendError> {
        let mut ask = Ask::new(call, Method::POST, self.url(path)?).with(body)?;
        ask.sealable = self.shared.options.sealed;
        let (answer, path) = self.ask(&ask).await?;
        Ok((read(call, &answer)?, path))
    }

    /// Asks with a session, making one where there is none, and once more with a fresh one when the backend
    /// says that it is old: also of one that was just made, which not every server behind one name may know yet.
    async fn ask(&self, ask: &Ask) -> Result<(Vec<u8>, GrantPath), BackendError> {
        let held = self.lock().clone();
        let session = match held {
            Some(session) => session,
            None => self.open_session().await?,
        };
        let result = self.ask_once(ask, session).await;
        if !result.as_ref().is_err_and(is_session_expired) {
            return result;
        }
        let session = self.open_session().await?;
        self.ask_once(ask, session).await
    }

    async fn ask_once(
        &self,
        ask: &Ask,
        session: Session,
    ) -> Result<(Vec<u8>, GrantPath), BackendError> {
        // A grant may send telemetry elsewhere; the token stays here.
        let token = (ask.url.origin() == self.shared.base.origin()).then_some(&*session.token);
        let direct = http::send(ask.call, self.shared.client.request(ask, token));
        let (answer, path) = match session.sealing.filter(|_| ask.sealable) {
            None => (direct.await?, GrantPath::Direct),
            Some(key) => {
                let begun = AtomicBool::new(false);
                let plain = Plain {
                    url: &ask.url,
                    token: &session.token,
                    body: &ask.body,
                };
                race(
                    self.ask_sealed(key, plain, &begun),
                    direct,
                    &begun,
                    self.shared.options.sealed_alone,
                )
                .await?
            }
        };
        Ok((answer.success(ask.call)?, path))
    }

    /// Asks by a sealed request, and once more when the answer brings a new key.
    async fn ask_sealed(
        &self,
        key: SealingKey,
        plain: Plain<'_>,
        begun: &AtomicBool,
    ) -> Result<Answer, SealedFailure> {
        let answer = self.ask_sealed_once(&key, plain, begun).await?;
        let Some(fresh) = answer.fresh_key() else {
            return Ok(answer);
        };
        self.keep_key(Some(fresh.clone()));
        let answer = self.ask_sealed_once(&fresh, plain, begun).await?;
        match answer.fresh_key() {
            Some(_) => Err(SealedFailure::Rejected(
                "the new key is old as well".to_owned(),
            )),
            None => Ok(answer),
        }
    }

    async fn ask_sealed_once(
        &self,
        key: &SealingKey,
        plain: Plain<'_>,
        begun: &AtomicBool,
    ) -> Result<Answer, SealedFailure> {
        let result = async {
            let url =
                Url::parse(&key.url).map_err(|error| SealedFailure::Rejected(error.to_string()))?;
            let sealed = sealed::seal(key, plain).map_err(SealedFailure::Rejected)?;
            let (body, opener) = sealed.into_parts();
            let request = self.shared.client.post_sealed(url, body);
            let answer = http::send_sealed(request, begun).await?;
            let opened = sealed::open(opener, &answer).map_err(SealedFailure::Rejected)?;
            Ok(Answer::from_opened(opened))
        }
        .await;
        if matches!(result, Err(SealedFailure::Rejected(_))) {
            // What does not work is not tried again before the next session brings a key.
            self.keep_key(None);
        }
        result
    }

    fn keep_key(&self, key: Option<SealingKey>) {
        if let Some(session) = &mut *self.lock() {
            session.sealing = key;
        }
    }

    async fn open_session(&self) -> Result<Session, BackendError> {
        let BackendOptions {
            account,
            device_id,
            platform,
            ..
        } = self.shared.options.clone();
        let ask = Ask::new("session", Method::POST, self.url(&["v1", "session"])?);
        let ask = ask.with(&SessionRequest {
            account,
            device_id,
            platform,
        })?;
        let answer = http::send(ask.call, self.shared.client.request(&ask, None)).await?;
        let grant: SessionGrant = read(ask.call, &answer.success(ask.call)?)?;
        let session = Session {
            token: grant.access_token,
            sealing: grant.sealing,
        };
        *self.lock() = Some(session.clone());
        Ok(session)
    }

    /// Each segment is encoded: a title's name may hold anything.
    fn url(&self, path: &[&str]) -> Result<Url, BackendError> {
        let mut url = self.shared.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => {
                let reason = "its URL takes no path".to_owned();
                return Err(BackendError::Setup { reason });
            }
        };
        Ok(url)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        // Only ever assigned whole.
        self.shared
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the sealed answer; starts the direct request when none has begun in time, or when sealing
/// failed. The first usable answer counts.
async fn race(
    sealed: impl Future<Output = Result<Answer, SealedFailure>>,
    direct: impl Future<Output = Result<Answer, BackendError>>,
    begun: &AtomicBool,
    alone: Duration,
) -> Result<(Answer, GrantPath), BackendError> {
    tokio::pin!(sealed, direct);
    let unanswered = async {
        tokio::time::sleep(alone).await;
        if begun.load(Ordering::Relaxed) {
            tokio::time::sleep(SEALED_BODY).await;
        }
    };
    tokio::select! {
        answer = &mut sealed => match answer {
            Ok(answer) => return Ok((answer, GrantPath::Sealed)),
            Err(reason) => {
                tracing::debug!(%reason, "a sealed request failed");
                return Ok((direct.await?, GrantPath::Direct));
            }
        },
        () = unanswered => {}
    }
    let mut sealed_failed = false;
    let mut direct_failed = None;
    loop {
        tokio::select! {
            answer = &mut sealed, if !sealed_failed => match (answer, direct_failed.take()) {
                (Ok(answer), _) => return Ok((answer, GrantPath::Sealed)),
                (Err(_), Some(error)) => return Err(error),
                (Err(reason), None) => {
                    tracing::debug!(%reason, "a sealed request failed");
                    sealed_failed = true;
                }
            },
            answer = &mut direct, if direct_failed.is_none() => match answer {
                Ok(answer) => return Ok((answer, GrantPath::Direct)),
                Err(error) if sealed_failed => return Err(error),
                Err(error) => direct_failed = Some(error),
            },
        }
    }
}

/// How long a sealed request may take before the same goes over TLS.
const SEALED_ALONE: Duration = Duration::from_millis(400);
/// How long its answer may take once it has begun: a grant is a few kilobytes, two round trips at most.
const SEALED_BODY: Duration = Duration::from_millis(800);

fn read<T: DeserializeOwned>(call: &'static str, body: &[u8]) -> Result<T, BackendError> {
    serde_json::from_slice(body).map_err(|error| BackendError::BadAnswer {
        call,
        reason: error.to_string(),
    })
}

fn is_session_expired(error: &BackendError) -> bool {
    error.code() == "play.session_expired"
        || matches!(error, BackendError::Problem { status, .. } if *status == StatusCode::UNAUTHORIZED.as_u16())
}

/// Where one playback's telemetry goes.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    backend: Backend,
    url: Url,
}

impl Deliver for Telemetry {
    async fn deliver(&self, batch: &EventBatch) -> Delivery {
        let sent = match Ask::new("events", Method::POST, self.url.clone()).with(batch) {
            Ok(ask) => self.backend.ask(&ask).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(_) => Delivery::Accepted,
            Err(error) if error.is_final() => {
                tracing::debug!(code = error.code(), "telemetry was rejected");
                Delivery::Rejected
            }
            Err(_) => Delivery::TryLater,
        }
    }
}
