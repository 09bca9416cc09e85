//! Tokens, and the control plane that gives the keys for them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router, routing::post};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nearcast_appliance::fault::{Fault, FaultRule};
use nearcast_edge_server::Backend;
use nearcast_protocol::appliance::{ApplianceReport, ReportReceipt, VerifyingKey};
use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio::sync::watch;

use crate::client::{ALL, Protocol};
use crate::fixture::{Fixture, edge_with, soon};

#[expect(clippy::disallowed_methods, reason = "tokens hold wall time")]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}

/// A backend that only takes reports.
#[derive(Clone)]
struct ControlPlane {
    public: String,
    reports: watch::Sender<Vec<ApplianceReport>>,
    answers: Arc<Mutex<bool>>,
    next_report_ms: u64,
}

async fn take_report(
    State(plane): State<ControlPlane>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(report): Json<ApplianceReport>,
) -> Result<Json<ReportReceipt>, StatusCode> {
    if headers
        .get("authorization")
        .is_none_or(|secret| secret != "Bearer open sesame")
    {
        return Err(StatusCode::UNAUTHORIZED);
    }
    assert_eq!(id, "a");
    if !*plane.answers.lock().unwrap() {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    plane.reports.send_modify(|reports| reports.push(report));
    Ok(Json(ReportReceipt {
        verifying_keys: vec![VerifyingKey {
            id: String::from("k1"),
            public_key_base64: plane.public,
            not_before_unix_ms: 0,
            not_after_unix_ms: u64::MAX,
        }],
        next_report_ms: plane.next_report_ms,
    }))
}

struct World {
    plane: ControlPlane,
    key: Ed25519KeyPair,
    edge: Fixture,
    /// Requests that it took until the edge knew the key.
    asked: usize,
}

async fn world(next_report_ms: u64) -> World {
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let plane = ControlPlane {
        public: STANDARD.encode(key.public_key()),
        reports: watch::Sender::new(Vec::new()),
        answers: Arc::new(Mutex::new(true)),
        next_report_ms,
    };
    let router = Router::new()
        .route("/v1/appliances/{id}/report", post(take_report))
        .with_state(plane.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let edge = edge_with(|config| {
        config.backend = Some(Backend {
            url,
            secret: String::from("open sesame"),
        });
        config.site = String::from("Turin");
        config.position_deg = (45.1, 7.7);
        config.prefixes = vec![String::from("10.0.0.0/8")];
    })
    .await;
    let mut reports = plane.reports.subscribe();
    soon(reports.wait_for(|reports| !reports.is_empty()))
        .await
        .unwrap();
    let mut world = World {
        plane,
        key,
        edge,
        asked: 0,
    };
    // The receipt is on its way to the edge: wait until it knows the key.
    let mut client = world.edge.connect(Protocol::H2).await;
    let path = world.url("/demo/stream.mpd", &Claims::default());
    soon(async {
        loop {
            world.asked += 1;
            if client.get(&path).await.unwrap().status == 200 {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    world
}

struct Claims {
    playback: &'static str,
    prefix: &'static str,
    expires: u64,
    key: &'static str,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            playback: "p 1",
            prefix: "demo/",
            expires: unix_ms() + 60_000,
            key: "k1",
        }
    }
}

impl World {
    fn url(&self, path: &str, claims: &Claims) -> String {
        let Claims {
            playback,
            prefix,
            expires,
            key,
        } = claims;
        let text = format!("nearcast-token/1\n{playback}\n{prefix}\n{expires}\n{key}");
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()));
        let playback = playback.replace(' ', "%20");
        let prefix = prefix.replace('/', "%2F");
        format!("{path}?pb={playback}&px={prefix}&exp={expires}&kid={key}&sig={signature}")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_token_opens_its_prefix_and_no_other_does() {
    let world = world(60_000).await;
    let file = "/demo/stream.mpd";
    let good = world.url(file, &Claims::default());
    let expired = Claims {
        expires: unix_ms() - 1,
        ..Claims::default()
    };
    let elsewhere = Claims {
        prefix: "dem",
        ..Claims::default()
    };
    let unknown = Claims {
        key: "k2",
        ..Claims::default()
    };
    let cases = [
        (good.clone(), 200, ""),
        (format!("{good}&CMCD=bl%3D1"), 200, ""),
        (file.to_owned(), 401, "token_missing"),
        (format!("{file}?pb=x"), 401, "token_malformed"),
        (world.url(file, &expired), 403, "token_expired"),
        (world.url(file, &elsewhere), 403, "token_wrong_path"),
        (world.url(file, &unknown), 403, "token_unknown_key"),
        (good.replace("p%201", "p%202"), 403, "token_bad_signature"),
        (
            good.replace("px=demo%2F", "px="),
            403,
            "token_bad_signature",
        ),
        (good.replace("stream.mpd?", "../secret?"), 404, "not_found"),
        (world.url("/probe", &Claims::default()), 200, ""),
        (String::from("/probe"), 401, "token_missing"),
        (world.url("/probe", &expired), 403, "token_expired"),
    ];
    let first = world.edge.log(world.asked).await.len();
    for protocol in ALL {
        let mut client = world.edge.connect(protocol).await;
        for (url, status, code) in &cases {
            let before = world.edge.edge.access_log().len();
            let answer = soon(client.get(url)).await.unwrap();
            assert_eq!(answer.status, *status, "{protocol:?} {url}");
            if !code.is_empty() {
                assert_eq!(answer.code(), *code, "{protocol:?} {url}");
            }
            // One line after the other, so that lines can be told by their place.
            world.edge.log(before + 1).await;
        }
    }
    let log = world.edge.edge.access_log();
    let served = log.iter().find(|line| line.status == Some(200)).unwrap();
    assert_eq!(served.playback_id.as_deref(), Some("p 1"));
    // Whatever made the token bad, a name in it is believed only once its signature is.
    let forged = [
        "token_missing",
        "token_malformed",
        "token_unknown_key",
        "token_bad_signature",
    ];
    let named = log.iter().map(|line| line.playback_id.is_some());
    assert_eq!(
        named.skip(first).collect::<Vec<_>>(),
        cases
            .iter()
            .cycle()
            .take(ALL.len() * cases.len())
            .map(|(_, _, code)| !forged.contains(code))
            .collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_may_be_for_one_playback_alone() {
    let world = world(60_000).await;
    let mut rule = FaultRule::everywhere(Fault::TokenExpired);
    rule.on.client = Some("p 1".to_owned());
    world.edge.rule(rule).await;
    let file = "/demo/stream.mpd";
    let other = Claims {
        playback: "p 2",
        ..Claims::default()
    };
    for protocol in ALL {
        let mut client = world.edge.connect(protocol).await;
        let refused = soon(client.get(&world.url(file, &Claims::default()))).await;
        assert_eq!(refused.unwrap().code(), "token_expired", "{protocol:?}");
        let served = soon(client.get(&world.url(file, &other))).await.unwrap();
        assert_eq!(served.status, 200, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_say_what_it_is_and_come_again_on_change() {
    let world = world(60_000).await;
    let first = world.plane.reports.borrow()[0].clone();
    assert_eq!(first.site, "Turin");
    assert_eq!(first.base_url, world.edge.edge.base_url());
    assert_eq!(first.files, ["demo/"]);
    assert_eq!(first.prefixes, ["10.0.0.0/8"]);
    assert_eq!(first.addresses, ["127.0.0.1"]);
    assert_eq!(first.protocols.len(), 3);
    let mut reports = world.plane.reports.subscribe();
    std::fs::create_dir(world.edge.path("media/new")).unwrap();
    let seen = soon(reports.wait_for(|reports| {
        reports
            .last()
            .is_some_and(|report| report.files == ["demo/", "new/"])
    }));
    assert!(seen.await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_control_plane_old_sessions_go_on_and_new_ones_are_turned_away() {
    let world = world(300).await;
    let mut client = world.edge.connect(Protocol::H2).await;
    let other = Claims {
        playback: "new",
        ..Claims::default()
    };
    *world.plane.answers.lock().unwrap() = false;
    // Three intervals without a receipt. Each try is a session of its own.
    let answer = soon(async {
        for number in 0.. {
            let playback: &'static str = format!("try{number}").leak();
            let claims = Claims {
                playback,
                ..Claims::default()
            };
            let url = world.url("/demo/stream.mpd", &claims);
            let answer = client.get(&url).await.unwrap();
            if answer.status == 503 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("it tries on")
    })
    .await;
    assert_eq!(answer.code(), "control_plane_lost");
    assert_eq!(answer.header("retry-after"), "5");
    let old = world.url("/demo/stream.mpd", &Claims::default());
    assert_eq!(soon(client.get(&old)).await.unwrap().status, 200);
    *world.plane.answers.lock().unwrap() = true;
    soon(async {
        while client
            .get(&world.url("/demo/stream.mpd", &other))
            .await
            .unwrap()
            .status
            != 200
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_has_no_keys_yet_calls_no_token_bad() {
    // Nobody listens there.
    let edge = edge_with(|config| {
        config.backend = Some(Backend {
            url: String::from("http://127.0.0.1:9"),
            secret: String::from("open sesame"),
        });
    })
    .await;
    let signature = URL_SAFE_NO_PAD.encode([0; 64]);
    let expires = unix_ms() + 60_000;
    let url = format!("/demo/stream.mpd?pb=p&px=demo%2F&exp={expires}&kid=k1&sig={signature}");
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let answer = soon(client.get(&url)).await.unwrap();
        assert_eq!(answer.status, 503, "{protocol:?}");
        assert_eq!(answer.code(), "control_plane_lost");
        assert_eq!(answer.header("retry-after"), "5");
        // What is no token at all is told as before.
        let answer = soon(client.get("/demo/stream.mpd")).await.unwrap();
        assert_eq!(answer.code(), "token_missing");
    }
}
