//! A backend for tests, and what the player makes of its answers.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bhttp::{Message, Mode};
use nearcast_player::{
    Backend, BackendOptions, EventKind, GrantPath, Network, NetworkOptions, PlayState, Player,
    PlayerBuilder, Refusal, Source, explain,
};
use nearcast_protocol::play::{PlayRequest, Problem};
use nearcast_protocol::telemetry::{EventBatch, QoeEventKind};
use ohttp::hpke::{Aead, Kdf, Kem};
use ohttp::{KeyConfig, Server, SymmetricSuite};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::edge::{Edge, Serve};

const LIMIT: Duration = Duration::from_secs(30);

/// What happens to sealed requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sealing {
    #[default]
    NotOffered,
    Works,
    /// Accepts connections and says nothing.
    Silent,
    /// Answers 400 in the clear.
    Rejects,
    /// The first key is old; the answer brings the next.
    KeyRotated,
}

/// What the backend is to do.
#[derive(Default)]
struct Plan {
    sealing: Sealing,
    /// Answers play requests with this problem.
    refusal: Option<Problem>,
    /// For how many calls the first access token is good; `None` is for all.
    token_good_for: Option<usize>,
    refresh_after_ms: u64,
    resume_position_ms: u64,
    /// Grants name no manifest.
    no_manifests: bool,
    /// Nothing is known any more of the first playback when it is to be refreshed.
    forgets: bool,
}

/// What it has seen.
#[derive(Default)]
struct Log {
    sessions: usize,
    calls: usize,
    direct: Vec<PlayRequest>,
    sealed: Vec<PlayRequest>,
    refreshes: usize,
    batches: Vec<EventBatch>,
    history: BTreeMap<String, u64>,
}

struct TestBackend {
    url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    plan: Plan,
    edges: Vec<SocketAddr>,
    log: Mutex<Log>,
    sealed_url: String,
    keys: [(Server, String); 2],
}

impl TestBackend {
    async fn start(plan: Plan, edges: &[&Edge]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sealed_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            sealed_url: format!("http://{}/v1/sealed", sealed_listener.local_addr().unwrap()),
            keys: [key(1), key(2)],
            plan,
            edges: edges.iter().map(|edge| edge.address).collect(),
            log: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/session", post(session))
            .route("/v1/titles", get(titles))
            .route("/v1/play", post(play))
            .route("/v1/play/{id}/refresh", post(refresh))
            .route("/v1/events", post(events))
            .route("/v1/history/{title}", put(history))
            .with_state(shared.clone());
        let sealed_router = Router::new()
            .route("/v1/sealed", post(sealed))
            .with_state(shared.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        tasks.spawn(async move { axum::serve(sealed_listener, sealed_router).await.unwrap() });
        Self {
            url,
            shared,
            _tasks: tasks,
        }
    }

    /// Where sealed requests are answered they are waited for, however busy the machine is.
    fn options(&self) -> BackendOptions {
        let mut options = BackendOptions::new(&self.url);
        if matches!(
            self.shared.plan.sealing,
            Sealing::Works | Sealing::KeyRotated
        ) {
            options.sealed_alone = LIMIT;
        }
        options
    }

    fn play(&self) -> PlayerBuilder {
        Player::builder(Source::Title {
            backend: self.options(),
            title: "t1".to_owned(),
        })
    }

    fn log<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.shared.log.lock().unwrap())
    }
}

fn key(id: u8) -> (Server, String) {
    let suites = vec![SymmetricSuite::new(Kdf::HkdfSha256, Aead::Aes128Gcm)];
    let config = KeyConfig::new(id, Kem::X25519Sha256, suites).unwrap();
    let list = STANDARD.encode(KeyConfig::encode_list(&[&config]).unwrap());
    (Server::new(config).unwrap(), list)
}

impl Shared {
    fn sealing(&self, key: usize) -> Value {
        json!({"key_config_base64": self.keys[key].1, "expires_at_unix_ms": u64::MAX, "url": self.sealed_url})
    }

    fn grant(&self, token: &str) -> Value {
        let appliances: Vec<Value> = self
            .edges
            .iter()
            .enumerate()
            .map(|(rank, address)| {
                json!({"id": format!("edge-{rank}"), "site": "here", "kind": "isp", "base_url": format!("http://{address}"),
                    "protocols": ["http1"], "rank": rank, "token": {"query": format!("token={token}"), "expires_at_unix_ms": 1}})
            })
            .collect();
        let manifests = if self.plan.no_manifests {
            json!({})
        } else {
            json!({"dash": "title/stream.mpd"})
        };
        let (playback, left_off_ms) = if self.has_forgotten() {
            ("p2", 4_500)
        } else {
            ("p1", self.plan.resume_position_ms)
        };
        json!({"playback_id": playback, "title": {"id": "t1", "name": "The title", "duration_ms": 5000},
            "manifests": manifests, "appliances": appliances, "issued_at_unix_ms": 0,
            "refresh_after_ms": self.plan.refresh_after_ms, "resume_position_ms": left_off_ms,
            "events_url": "/v1/events"})
    }

    fn has_forgotten(&self) -> bool {
        self.plan.forgets && self.log.lock().unwrap().refreshes > 0
    }

    fn answer_to_play(&self) -> (StatusCode, Value) {
        match &self.plan.refusal {
            Some(problem) => (
                StatusCode::from_u16(problem.status).unwrap(),
                json!(problem),
            ),
            None if self.has_forgotten() => (StatusCode::OK, self.grant("second")),
            None => (StatusCode::OK, self.grant("first")),
        }
    }
}

type Shares = State<Arc<Shared>>;

async fn session(State(shared): Shares) -> Response {
    let mut log = shared.log.lock().unwrap();
    log.sessions += 1;
    let sealing = (shared.plan.sealing != Sealing::NotOffered).then(|| shared.sealing(0));
    axum::Json(json!({"access_token": format!("session-{}", log.sessions), "expires_at_unix_ms": 0, "sealing": sealing})).into_response()
}

/// `None` when the access token is good.
fn expired(shared: &Shared, headers: &HeaderMap) -> Option<Response> {
    let mut log = shared.log.lock().unwrap();
    log.calls += 1;
    let is_over = shared
        .plan
        .token_good_for
        .is_some_and(|good_for| log.calls > good_for);
    let old = is_over && headers["authorization"] == "Bearer session-1";
    old.then(|| {
        problem(&Problem::new(
            401,
            "session_expired",
            "The session is over.",
            String::new(),
        ))
    })
}

fn problem(problem: &Problem) -> Response {
    (
        StatusCode::from_u16(problem.status).unwrap(),
        axum::Json(json!(problem)),
    )
        .into_response()
}

async fn titles(State(shared): Shares, headers: HeaderMap) -> Response {
    if let Some(refused) = expired(&shared, &headers) {
        return refused;
    }
    axum::Json(json!({"titles": [{"id": "t1", "name": "The title", "duration_ms": 5000}]}))
        .into_response()
}

async fn play(State(shared): Shares, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refused) = expired(&shared, &headers) {
        return refused;
    }
    shared
        .log
        .lock()
        .unwrap()
        .direct
        .push(serde_json::from_slice(&body).unwrap());
    let (status, answer) = shared.answer_to_play();
    (status, axum::Json(answer)).into_response()
}

async fn refresh(State(shared): Shares, Path(id): Path<String>) -> Response {
    shared.log.lock().unwrap().refreshes += 1;
    if shared.plan.forgets && id == "p1" {
        let title = "There is no such playback.";
        return problem(&Problem::new(404, "playback_unknown", title, String::new()));
    }
    assert_eq!(id, if shared.plan.forgets { "p2" } else { "p1" });
    axum::Json(shared.grant("second")).into_response()
}

async fn events(State(shared): Shares, axum::Json(batch): axum::Json<EventBatch>) -> StatusCode {
    shared.log.lock().unwrap().batches.push(batch);
    StatusCode::ACCEPTED
}

async fn history(
    State(shared): Shares,
    Path(title): Path<String>,
    axum::Json(update): axum::Json<Value>,
) -> StatusCode {
    shared
        .log
        .lock()
        .unwrap()
        .history
        .insert(title, update["position_ms"].as_u64().unwrap());
    StatusCode::NO_CONTENT
}

async fn sealed(State(shared): Shares, body: Bytes) -> Response {
    let which = usize::from(body[0] - 1);
    match shared.plan.sealing {
        Sealing::Silent => std::future::pending().await,
        Sealing::Rejects => return (StatusCode::BAD_REQUEST, "no").into_response(),
        Sealing::NotOffered | Sealing::Works | Sealing::KeyRotated => {}
    }
    let (encoded, answerer) = shared.keys[which].0.decapsulate(&body).unwrap();
    let request = Message::read_bhttp(&mut Cursor::new(&encoded[..])).unwrap();
    assert_eq!(request.control().path(), Some(&b"/v1/play"[..]));
    let authorization = request.header().get(b"authorization").unwrap();
    assert!(authorization.starts_with(b"Bearer session-"));
    let (status, answer) = if shared.plan.sealing == Sealing::KeyRotated && which == 0 {
        let mut problem = Problem::new(
            400,
            "sealing_key_expired",
            "The key has ended.",
            String::new(),
        );
        problem.sealing = serde_json::from_value(shared.sealing(1)).unwrap();
        (StatusCode::BAD_REQUEST, json!(problem))
    } else {
        shared
            .log
            .lock()
            .unwrap()
            .sealed
            .push(serde_json::from_slice(request.content()).unwrap());
        shared.answer_to_play()
    };
    let mut message =
        Message::response(bhttp::StatusCode::try_from(u64::from(status.as_u16())).unwrap());
    message.write_content(serde_json::to_vec(&answer).unwrap());
    let mut encoded = Vec::new();
    message
        .write_bhttp(Mode::KnownLength, &mut encoded)
        .unwrap();
    (
        [("content-type", "message/ohttp-res")],
        answerer.encapsulate(&encoded).unwrap(),
    )
        .into_response()
}

/// Plays until it plays; returns how the grant came.
async fn grant_path(backend: &TestBackend) -> GrantPath {
    let player = backend.play().start().unwrap();
    let mut events = player.events();
    let path = loop {
        match tokio::time::timeout(LIMIT, events.next())
            .await
            .unwrap()
            .expect("it must be granted")
            .kind
        {
            EventKind::Granted {
                path,
                playback_id,
                title,
                edges,
            } => {
                assert_eq!((playback_id.as_str(), title.as_str()), ("p1", "The title"));
                assert_eq!(edges, ["edge-0"]);
                break path.unwrap();
            }
            EventKind::GrantFailed { code, message } => panic!("{code}: {message}"),
            _ => {}
        }
    };
    player.close().await.unwrap();
    path
}

#[tokio::test]
async fn a_title_plays_by_a_sealed_request_and_the_backend_hears_how_it_went() {
    let edge = Edge::start().await;
    let plan = Plan {
        sealing: Sealing::Works,
        ..Plan::default()
    };
    let backend = TestBackend::start(plan, &[&edge]).await;
    let player = backend.play().start().unwrap();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
    let report = player.close().await.unwrap();
    assert_eq!(
        (report.content.source.as_str(), report.stall_count),
        ("t1", 0)
    );
    assert_eq!(report.edges[0].id, "edge-0");
    backend.log(|log| {
        assert_eq!(
            (log.sessions, log.direct.len(), log.sealed.len()),
            (1, 0, 1)
        );
        assert!(!log.sealed[0].capabilities.codecs.is_empty());
        let kinds: Vec<&QoeEventKind> = log
            .batches
            .iter()
            .flat_map(|batch| &batch.events)
            .map(|event| &event.kind)
            .collect();
        assert_eq!(
            (kinds.first(), kinds.last()),
            (Some(&&QoeEventKind::Started), Some(&&QoeEventKind::Ended)),
            "{kinds:?}"
        );
        assert!(
            log.batches
                .iter()
                .enumerate()
                .all(|(index, batch)| batch.sequence == index as u64 && batch.playback_id == "p1")
        );
        assert!(log.history["t1"] >= 4_900, "{:?}", log.history);
    });
    assert!(
        edge.seen()
            .iter()
            .all(|seen| seen.query.as_deref() == Some("token=first"))
    );
}

#[tokio::test]
async fn a_sealed_request_without_answer_goes_over_tls_as_well() {
    let edge = Edge::start().await;
    let backend = TestBackend::start(
        Plan {
            sealing: Sealing::Silent,
            ..Plan::default()
        },
        &[&edge],
    )
    .await;
    assert_eq!(grant_path(&backend).await, GrantPath::Direct);
    backend.log(|log| assert!(log.direct[0].request_id.is_some(), "both name one playback"));
}

#[tokio::test]
async fn a_rejected_sealed_request_goes_over_tls() {
    let edge = Edge::start().await;
    let backend = TestBackend::start(
        Plan {
            sealing: Sealing::Rejects,
            ..Plan::default()
        },
        &[&edge],
    )
    .await;
    assert_eq!(grant_path(&backend).await, GrantPath::Direct);
}

#[tokio::test]
async fn without_sealing_the_request_goes_over_tls() {
    let edge = Edge::start().await;
    let backend = TestBackend::start(Plan::default(), &[&edge]).await;
    assert_eq!(grant_path(&backend).await, GrantPath::Direct);
}

#[tokio::test]
async fn an_old_sealing_key_is_replaced_by_the_one_in_the_sealed_answer() {
    let edge = Edge::start().await;
    let backend = TestBackend::start(
        Plan {
            sealing: Sealing::KeyRotated,
            ..Plan::default()
        },
        &[&edge],
    )
    .await;
    assert_eq!(grant_path(&backend).await, GrantPath::Sealed);
    backend.log(|log| assert_eq!((log.sealed.len(), log.direct.len()), (1, 0)));
}

#[tokio::test]
async fn a_grant_that_names_no_manifest_is_a_bad_answer() {
    let edge = Edge::start().await;
    let plan = Plan {
        no_manifests: true,
        ..Plan::default()
    };
    let backend = TestBackend::start(plan, &[&edge]).await;
    // It is asked again until then.
    let player = backend
        .play()
        .start_timeout(Duration::from_secs(3))
        .start()
        .unwrap();
    let error = tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), "backend.bad_answer");
    player.close().await.unwrap();
}

#[tokio::test]
async fn every_refusal_is_typed_whichever_way_it_comes() {
    for sealing in [Sealing::NotOffered, Sealing::Works] {
        for refusal in Refusal::ALL {
            let is_answer = !matches!(refusal, Refusal::Overloaded);
            let mut problem = Problem::new(
                403,
                refusal.code(),
                "Not for you.",
                "Do something else.".to_owned(),
            );
            problem.retry_after_ms = Some(60_000);
            let plan = Plan {
                sealing,
                refusal: Some(problem),
                ..Plan::default()
            };
            let backend = TestBackend::start(plan, &[]).await;
            let mut player = backend.play();
            if !is_answer {
                // It is asked again until then.
                player = player.start_timeout(Duration::from_secs(3));
            }
            let player = player.start().unwrap();
            let error = tokio::time::timeout(LIMIT, player.ended())
                .await
                .unwrap()
                .unwrap_err();
            assert_eq!(error.code(), format!("play.{}", refusal.code()));
            assert!(error.to_string().contains("Do something else."), "{error}");
            assert!(explain(error.code()).is_some());
            let report = player.close().await.unwrap();
            assert_eq!(report.error.unwrap().code, error.code());
            if is_answer {
                let asked = backend.log(|log| log.direct.len() + log.sealed.len());
                // A session that is over is replaced once.
                let most = if matches!(refusal, Refusal::SessionExpired) {
                    2
                } else {
                    1
                };
                assert_eq!(asked, most, "{refusal:?} is an answer, not an outage");
            }
        }
    }
}

#[tokio::test]
async fn an_old_access_token_is_replaced_and_one_that_is_not_known_yet() {
    for good_for in [1, 0] {
        let plan = Plan {
            token_good_for: Some(good_for),
            ..Plan::default()
        };
        let backend = TestBackend::start(plan, &[]).await;
        let network = Network::new(NetworkOptions::default()).unwrap();
        let client = Backend::new(backend.options(), &network).unwrap();
        let titles = client.titles().await.unwrap();
        assert_eq!(titles[0].id, "t1");
        client.titles().await.unwrap();
        backend.log(|log| assert_eq!(log.sessions, 2));
    }
}

#[tokio::test]
async fn no_backend_and_what_is_none_are_told_apart() {
    let network = Network::new(NetworkOptions::default()).unwrap();
    let edge = Edge::start().await;
    let code = async |url: &str| {
        Backend::new(BackendOptions::new(url), &network)
            .unwrap()
            .titles()
            .await
            .unwrap_err()
            .code()
    };
    assert_eq!(code("http://127.0.0.1:1").await, "backend.unreachable");
    assert_eq!(code(&edge.base()).await, "backend.problem");
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let https = format!("https://{}", plain.local_addr().unwrap());
    let talk = async {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        code = code(&https) => assert_eq!(code, "backend.tls"),
        () = talk => {}
    }
    for url in ["ftp://x", "", "127.0.0.1:80"] {
        assert_eq!(
            Backend::new(BackendOptions::new(url), &network)
                .unwrap_err()
                .code(),
            "backend.setup",
            "{url}"
        );
    }
}

#[tokio::test]
async fn no_edges_is_an_error_of_its_own() {
    let backend = TestBackend::start(Plan::default(), &[]).await;
    let player = backend.play().start().unwrap();
    let error = tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), "play.no_edges");
}

/// An edge that does not accept the first token for the third segment.
async fn rejecting_the_first_token() -> Edge {
    Edge::with(|seen, _| {
        let old = seen.query.as_deref() == Some("token=first");
        if old && seen.path.ends_with("-3.m4s") {
            Serve::Status(403)
        } else {
            Serve::Well
        }
    })
    .await
}

#[tokio::test]
async fn a_token_that_an_edge_rejects_is_refreshed_and_playback_goes_on() {
    let edge = rejecting_the_first_token().await;
    let plan = Plan {
        refresh_after_ms: 60_000,
        ..Plan::default()
    };
    let backend = TestBackend::start(plan, &[&edge]).await;
    let player = backend.play().start().unwrap();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
    assert!(backend.log(|log| log.refreshes) >= 1);
    let seen = edge.seen();
    assert_eq!(seen.first().unwrap().query.as_deref(), Some("token=first"));
    assert_eq!(seen.last().unwrap().query.as_deref(), Some("token=second"));
    let report = player.close().await.unwrap();
    assert_eq!(report.stall_count, 0, "{:?}", report.stalls);
}

#[tokio::test]
async fn a_playback_that_the_backend_forgot_goes_on_as_another_one() {
    let edge = rejecting_the_first_token().await;
    let plan = Plan {
        refresh_after_ms: 60_000,
        resume_position_ms: 1_000,
        forgets: true,
        ..Plan::default()
    };
    let backend = TestBackend::start(plan, &[&edge]).await;
    let player = backend.play().start().unwrap();
    let mut events = player.events();
    tokio::time::timeout(LIMIT, player.ended())
        .await
        .unwrap()
        .unwrap();
    let mut playbacks = Vec::new();
    while playbacks.len() < 2 {
        let event = tokio::time::timeout(LIMIT, events.next()).await.unwrap();
        let kind = event.expect("there are two grants").kind;
        assert!(!matches!(kind, EventKind::GrantFailed { .. }), "{kind:?}");
        if let EventKind::Granted { playback_id, .. } = kind {
            playbacks.push(playback_id);
        }
    }
    assert_eq!(playbacks, ["p1", "p2"]);
    assert_eq!(
        edge.seen().last().unwrap().query.as_deref(),
        Some("token=second")
    );
    let requests = backend.log(|log| log.direct.clone());
    let [first, second] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert_eq!(first.request_id, second.request_id);
    let report = player.close().await.unwrap();
    assert_eq!(report.stall_count, 0, "{:?}", report.stalls);
    // Where a viewer left off is where playback begins, and not where it jumps to: 4 s are left from there.
    assert!(report.played_s > 3.5, "{} s", report.played_s);
}

#[tokio::test]
async fn playback_begins_where_the_viewer_left_off_unless_told_otherwise() {
    let edge = Edge::start().await;
    let backend = TestBackend::start(
        Plan {
            resume_position_ms: 3_000,
            ..Plan::default()
        },
        &[&edge],
    )
    .await;
    let begins_at = async |builder: PlayerBuilder| {
        let player = builder.start().unwrap();
        let mut events = player.events();
        while let Some(event) = tokio::time::timeout(LIMIT, events.next()).await.unwrap() {
            if event.kind == EventKind::State(PlayState::Playing) {
                player.close().await.unwrap();
                return event.position.as_micros() / 100_000;
            }
        }
        panic!("it must play");
    };
    assert_eq!(begins_at(backend.play()).await, 30);
    assert_eq!(
        begins_at(backend.play().start_at(Duration::from_secs(1))).await,
        10
    );
    assert_eq!(begins_at(backend.play().resume(false)).await, 0);
}
