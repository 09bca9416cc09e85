//! The calls of design §3.1, each family in a file of its own: HTTP in, one call of the model, HTTP out.
//! Nothing is decided here.

mod caller;
mod catalogue;
mod events;
mod json;
mod ops;
mod play;
mod problem;
mod reports;
mod sealed;
mod steering;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::middleware;
use axum::routing::{get, post, put};
use nearcast_backend_model::{Action, Backend};
use nearcast_protocol::play::SealingKey;
use nearcast_units::Instant;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

pub(crate) use caller::Peer;
pub(crate) use ops::Metrics;
pub(crate) use problem::Fail;

use crate::clock::WallClock;
use crate::faults::Faults;
use crate::sealing::SealingKeys;
use crate::signing::{NoRandomness, SigningKeys};
use crate::store::Store;
use crate::wrong;

/// What all calls share.
pub(crate) struct App {
    model: Mutex<Backend>,
    signing: Mutex<SigningKeys>,
    sealing: Mutex<SealingKeys>,
    clock: Arc<WallClock>,
    pub(crate) faults: Arc<Faults>,
    store: Store,
    metrics: Metrics,
    random: SystemRandom,
    urls: Urls,
    secret: Secret,
    report_interval_ms: u64,
    steering_ttl_ms: u64,
}

/// What an [`App`] is made of.
pub(crate) struct Parts {
    pub(crate) model: Backend,
    pub(crate) signing: SigningKeys,
    pub(crate) sealing: SealingKeys,
    pub(crate) clock: Arc<WallClock>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) store: Store,
    pub(crate) urls: Urls,
    pub(crate) secret: String,
    pub(crate) report_interval_ms: u64,
    pub(crate) steering_ttl_ms: u64,
}

/// Where clients find this backend.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    /// Absolute, without a slash at its end.
    pub(crate) main: String,
    /// Absolute, of `/v1/sealed`; `None` when sealing is not offered.
    pub(crate) sealed: Option<String>,
}

/// The bootstrap secret of the appliances, as a digest: comparing digests tells nothing by its duration.
struct Secret([u8; 32]);

impl Secret {
    fn of(text: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }

    fn is(&self, text: &str) -> bool {
        self.0 == Self::of(text).0
    }
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        let app = Self {
            model: Mutex::new(parts.model),
            signing: Mutex::new(parts.signing),
            sealing: Mutex::new(parts.sealing),
            clock: parts.clock,
            faults: parts.faults,
            store: parts.store,
            metrics: Metrics::default(),
            random: SystemRandom::new(),
            urls: parts.urls,
            secret: Secret::of(&parts.secret),
            report_interval_ms: parts.report_interval_ms,
            steering_ttl_ms: parts.steering_ttl_ms,
        };
        app.store_keys();
        app
    }

    /// Forgets what has ended and changes keys when it is time. To be called every few seconds.
    pub(crate) fn handle_timeout(&self) {
        self.with_model(|model, now| model.handle_timeout(now));
        let now = self.clock.now();
        let signing = locked(&self.signing).rotate(now);
        let sealing = locked(&self.sealing).rotate(now);
        self.keys_changed(signing);
        self.keys_changed(sealing);
    }

    /// Makes one call of the model, and hands over what it wants remembered.
    pub(crate) fn with_model<T>(&self, call: impl FnOnce(&mut Backend, Instant) -> T) -> T {
        let now = self.clock.now();
        let mut actions: Vec<Action> = Vec::new();
        let answer = {
            let mut model = locked(&self.model);
            let answer = call(&mut model, now);
            while let Some(action) = model.poll_action() {
                actions.push(action);
            }
            answer
        };
        if self.store.actions(actions).is_err() {
            self.metrics.count_unstored();
        }
        answer
    }

    /// Returns 128 random bits in hexadecimal.
    fn fresh_id(&self) -> Result<String, Fail> {
        let mut bytes = [0; 16];
        self.random
            .fill(&mut bytes)
            .map_err(|_| Fail::internal("The system gives no random numbers."))?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn sealing_offer(&self) -> Option<SealingKey> {
        let url = self.urls.sealed.as_deref()?;
        locked(&self.sealing).offer(url)
    }

    fn keys_changed(&self, changed: Result<bool, NoRandomness>) {
        match changed {
            Ok(true) => self.store_keys(),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "no new key could be made; the old one goes on"),
        }
    }

    fn store_keys(&self) {
        let signing = locked(&self.signing).stored();
        let sealing = locked(&self.sealing).stored();
        if self.store.keys(SIGNING_KEYS, &signing).is_err()
            || self.store.keys(SEALING_KEYS, &sealing).is_err()
        {
            self.metrics.count_unstored();
        }
    }
}

/// The name under which signing keys are stored.
pub(crate) const SIGNING_KEYS: &str = "signing";
/// The name under which sealing keys are stored.
pub(crate) const SEALING_KEYS: &str = "sealing";

/// A thread that panicked left the state as it was between two calls at worst.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The calls that may also come sealed.
fn sealable() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/play", post(play::play))
        .route("/v1/play/{playback_id}/refresh", post(play::refresh))
}

/// The main API.
pub(crate) fn main_router(app: Arc<App>) -> Router {
    let router = sealable()
        .route("/v1/session", post(play::session))
        .route("/v1/sealing-key", get(sealed::key))
        .route("/v1/titles", get(catalogue::titles))
        .route("/v1/history", get(catalogue::history))
        .route("/v1/history/{title}", put(catalogue::put_history))
        .route(
            "/v1/steering/{playback_id}",
            get(steering::manifest).layer(middleware::map_response(steering::open_to_browsers)),
        )
        .route("/v1/steering/{playback_id}/explain", get(steering::explain))
        .route("/v1/events", post(events::events))
        .route("/v1/events/count", get(events::count))
        .route("/v1/appliances/{id}/report", post(reports::report))
        .route("/healthz", get(ops::healthz))
        .route("/metrics", get(ops::metrics));
    let router = finished(router, Arc::clone(&app));
    router.layer(middleware::from_fn_with_state(app, wrong::happen))
}

/// The plain-HTTP API, for sealed requests alone.
pub(crate) fn sealed_router(app: Arc<App>) -> Router {
    let inner = finished(sealable(), Arc::clone(&app));
    let router = Router::new()
        .route("/v1/sealed", post(sealed::sealed))
        .route("/healthz", get(ops::healthz))
        .layer(axum::Extension(sealed::Inner(inner)));
    let router = finished(router, Arc::clone(&app));
    router.layer(middleware::from_fn_with_state(app, wrong::happen))
}

fn finished(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            wrong::decide,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            ops::count_request,
        ))
        .with_state(app)
}
