//! The HTTP API that Toxiproxy's client libraries speak (version 2 of it), in front of relays.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /version` | 200, the version of Toxiproxy that is followed, and ours |
//! | `GET /proxies`, `POST /proxies`, `POST /populate` | 200 by name; 201, the proxy; 201, all that were named |
//! | `GET`, `POST` or `PATCH`, `DELETE /proxies/{proxy}` | 200, the proxy; 204 when it is gone |
//! | `GET`, `POST /proxies/{proxy}/toxics` | 200, a list; 200, the toxic |
//! | `GET`, `POST` or `PATCH`, `DELETE /proxies/{proxy}/toxics/{toxic}` | 200, the toxic; 204 when it is gone |
//! | `POST /reset` | 204: all proxies are enabled and all toxics gone |
//! | `GET /proxies/{proxy}/receipts` | 200, what was done: ours alone |
//!
//! Errors are `{"error": "…", "status": 404}`. Where this differs from Toxiproxy: attributes and toxicities that make no
//! sense are refused (400) instead of taken for something else, an end of one side is passed on as such, and a
//! connection that a server resets is reset, not closed. An empty `listen` is a free port of this machine only.

mod error;
mod proxies;
mod proxy;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use nearcast_units::Seed;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use error::ApiError;
use proxies::Proxies;

/// The API at work. Dropping it closes its port and all proxies.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    tasks: TaskTracker,
    closed: DropGuard,
}

/// What may be asked of the proxies: which call, and the body where it has one.
#[derive(Debug)]
pub(super) enum Call {
    List,
    Create(Bytes),
    Populate(Bytes),
    Reset,
    Show(String),
    Update(String, Bytes),
    Delete(String),
    Receipts(String),
    Toxics(String),
    AddToxic(String, Bytes),
    ShowToxic(String, String),
    UpdateToxic(String, String, Bytes),
    RemoveToxic(String, String),
}

/// What is answered; without a value there is nothing to be said.
pub(super) type Answer = Result<(StatusCode, Option<Value>), ApiError>;

/// A call, and who waits for its answer.
type Asked = (Call, oneshot::Sender<Answer>);

/// Calls that wait for those before them; clients ask one at a time.
const CALLS_MAX: usize = 64;
/// So long a request that has begun may take to end when the API is closed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The version of Toxiproxy whose API this is: clients choose by it what they ask for.
const TOXIPROXY: &str = "2.12.0";

impl Api {
    /// Serves the API on a port; must be called within a runtime. Chance in all relays depends on the seed.
    ///
    /// # Errors
    /// When the port has no address.
    pub fn start(listener: TcpListener, seed: Seed) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (calls, asked) = mpsc::channel(CALLS_MAX);
        let tasks = TaskTracker::new();
        let closed = CancellationToken::new();
        tasks.spawn(attend(Proxies::new(seed), asked, closed.clone()));
        let stopped = closed.clone().cancelled_owned();
        let serving = axum::serve(listener, router(calls)).with_graceful_shutdown(stopped);
        let overdue = closed.clone();
        tasks.spawn(async move {
            tokio::select! {
                served = serving => if let Err(error) = served {
                    tracing::error!(%error, "the API has failed");
                },
                () = async { overdue.cancelled().await; tokio::time::sleep(LAST_WORDS).await } => {}
            }
        });
        tasks.close();
        Ok(Self {
            address,
            tasks,
            closed: closed.drop_guard(),
        })
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the API's port, all proxies and all connections; when this returns, they are gone.
    pub async fn close(self) {
        drop(self.closed);
        self.tasks.wait().await;
    }
}

/// Answers one call after the other, until it is closed.
async fn attend(mut proxies: Proxies, mut asked: mpsc::Receiver<Asked>, closed: CancellationToken) {
    while let Some(Some((call, whom))) = closed.run_until_cancelled(asked.recv()).await {
        // Who no longer waits has made the call all the same.
        drop(whom.send(proxies.answer(call).await));
    }
    proxies.close().await;
}

fn router(calls: mpsc::Sender<Asked>) -> Router {
    let proxy = get(|State(desk): State<Desk>, Path(name)| desk.ask(Call::Show(name)))
        .post(update)
        .patch(update)
        .delete(|State(desk): State<Desk>, Path(name)| desk.ask(Call::Delete(name)));
    let toxics = get(|State(desk): State<Desk>, Path(name)| desk.ask(Call::Toxics(name)))
        .post(|State(desk): State<Desk>, Path(name), body| desk.ask(Call::AddToxic(name, body)));
    let toxic =
        get(|State(desk): State<Desk>, Path((name, toxic))| desk.ask(Call::ShowToxic(name, toxic)))
            .post(update_toxic)
            .patch(update_toxic)
            .delete(|State(desk): State<Desk>, Path((name, toxic))| {
                desk.ask(Call::RemoveToxic(name, toxic))
            });
    let all = get(|State(desk): State<Desk>| desk.ask(Call::List))
        .post(|State(desk): State<Desk>, body| desk.ask(Call::Create(body)));
    Router::new()
        .route("/version", get(version))
        .route(
            "/reset",
            post(|State(desk): State<Desk>| desk.ask(Call::Reset)),
        )
        .route(
            "/populate",
            post(|State(desk): State<Desk>, body| desk.ask(Call::Populate(body))),
        )
        .route("/proxies", all)
        .route("/proxies/{proxy}", proxy)
        .route(
            "/proxies/{proxy}/receipts",
            get(|State(desk): State<Desk>, Path(name)| desk.ask(Call::Receipts(name))),
        )
        .route("/proxies/{proxy}/toxics", toxics)
        .route("/proxies/{proxy}/toxics/{toxic}", toxic)
        .fallback(|request: Request| async move {
            ApiError::NoSuchPath(request.uri().path().to_owned()).into_response()
        })
        .method_not_allowed_fallback(|request: Request| async move {
            ApiError::NoSuchMethod(request.method().to_string()).into_response()
        })
        .layer(middleware::from_fn(stop_browsers))
        .with_state(Desk(calls))
}

/// Where calls are handed in.
#[derive(Clone)]
struct Desk(mpsc::Sender<Asked>);

impl Desk {
    async fn ask(self, call: Call) -> Response {
        let (whom, answer) = oneshot::channel();
        if self.0.send((call, whom)).await.is_err() {
            return ApiError::Closing.into_response();
        }
        match answer.await.unwrap_or(Err(ApiError::Closing)) {
            Ok((status, Some(value))) => (status, axum::Json(value)).into_response(),
            Ok((status, None)) => status.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

async fn update(State(desk): State<Desk>, Path(name): Path<String>, body: Bytes) -> Response {
    desk.ask(Call::Update(name, body)).await
}

async fn update_toxic(
    State(desk): State<Desk>,
    Path((name, toxic)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    desk.ask(Call::UpdateToxic(name, toxic, body)).await
}

fn version() -> std::future::Ready<Response> {
    let ours = concat!("nearcast-lab ", env!("CARGO_PKG_VERSION"));
    let version = json!({ "version": TOXIPROXY, "server": ours });
    std::future::ready(axum::Json(version).into_response())
}

/// A page that somebody looks at must not be able to break connections here.
async fn stop_browsers(request: Request, next: Next) -> Response {
    let agent = request.headers().get(header::USER_AGENT);
    if agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/")) {
        return ApiError::Browser.into_response();
    }
    next.run(request).await
}
