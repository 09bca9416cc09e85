//! Each call, over TLS.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nearcast_backend_server::{Backend, BackendError, LOOPBACK_SECRET, Listener, Network, Plan};
use nearcast_protocol::play::{HistoryList, HistoryUpdate, PlayGrant, TitleList};
use nearcast_protocol::steering::{SteeringExplanation, SteeringManifest};
use nearcast_protocol::telemetry::{EventBatch, EventCount, QoeEvent, QoeEventKind};
use reqwest::{StatusCode, Version};
use ring::signature::{ED25519, UnparsedPublicKey};
use tokio::net::TcpListener;

use crate::support::{
    client_builder, demo, good, loopback_apart, play_request, problem, report, start,
    start_with_appliance,
};

pub(crate) fn batch(playback_id: &str, sequence: u64) -> EventBatch {
    batch_of(
        playback_id,
        sequence,
        [QoeEventKind::Started, QoeEventKind::Stalled],
    )
}

fn batch_of(
    playback_id: &str,
    sequence: u64,
    kinds: impl IntoIterator<Item = QoeEventKind>,
) -> EventBatch {
    let event = |kind| QoeEvent {
        at_ms: 1,
        position_ms: 2,
        kind,
        fields: std::collections::BTreeMap::new(),
    };
    EventBatch {
        playback_id: playback_id.to_owned(),
        sequence,
        dropped: 0,
        events: kinds.into_iter().map(event).collect(),
    }
}

#[tokio::test]
async fn a_viewer_signs_in_chooses_plays_and_refreshes() {
    let setup = start(demo()).await;
    let receipt = setup.report("near", &report()).await;
    let mut far = report();
    far.position_deg = (-33.9, 18.4);
    far.prefixes = vec!["10.0.0.0/8".to_owned()];
    setup.report("far", &far).await;

    let session = setup.session("demo", "tv").await;
    let token = session.access_token;
    let titles: TitleList = good(setup.get("/v1/titles", &token).await).await;
    assert_eq!(titles.titles[0].id, "demo");

    let grant = setup.play(&token).await;
    assert_eq!(grant.manifests.hls.as_deref(), Some("demo/master.m3u8"));
    let ids: Vec<&str> = grant.appliances.iter().map(|a| a.id.as_str()).collect();
    assert_eq!(ids, ["near"]); // the other one serves other networks

    // The edge checks the token with the keys it got for its report.
    let signed = grant.appliances[0].token.clone().unwrap();
    let (head, signature) = signed.query.split_once("&sig=").unwrap();
    let key = &receipt.verifying_keys[0];
    let (id, exp) = (&grant.playback_id, signed.expires_at_unix_ms);
    assert_eq!(head, format!("pb={id}&px=demo%2F&exp={exp}&kid={}", key.id));
    assert!(exp > grant.issued_at_unix_ms + grant.refresh_after_ms);
    assert!((key.not_before_unix_ms..key.not_after_unix_ms).contains(&exp));
    let text = format!("nearcast-token/1\n{id}\ndemo/\n{exp}\n{}", key.id);
    UnparsedPublicKey::new(&ED25519, STANDARD.decode(&key.public_key_base64).unwrap())
        .verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();

    let path = format!("/v1/play/{id}/refresh");
    let again: PlayGrant = good(setup.post(&path, &token, &()).await).await;
    assert_eq!(&again.playback_id, id);
    assert!(
        again.appliances[0]
            .token
            .as_ref()
            .unwrap()
            .expires_at_unix_ms
            >= exp
    );
    let stranger = setup.session("demo", "phone").await.access_token;
    let unknown = problem(setup.post("/v1/play/nothing/refresh", &stranger, &()).await).await;
    assert_eq!(unknown.code, "playback_unknown");
    setup.backend.shutdown().await;
}

#[tokio::test]
async fn other_players_get_the_ranking_as_a_steering_document() {
    let setup = start_with_appliance(demo()).await;
    let mut exact = report();
    exact.prefixes = vec!["127.0.0.1/32".to_owned()];
    setup.report("exact", &exact).await;
    let token = setup.token().await;
    let grant = setup.play(&token).await;
    let steering = grant.steering.unwrap();
    assert_eq!(steering.ttl_ms, 10_000);
    // Without Authorization, as other players ask.
    let document = setup.client.get(&steering.url).send().await.unwrap();
    assert_eq!(
        document.headers()["content-type"],
        "application/vnd.apple.steering-list"
    );
    // In browsers, which show a page nothing of another origin unless that allows it.
    assert_eq!(document.headers()["access-control-allow-origin"], "*");
    let document: SteeringManifest = good(document).await;
    assert_eq!(document.pathway_priority, ["exact", "a"]);
    assert_eq!(document.reload_uri.as_ref(), Some(&steering.url));

    let explained = setup.client.get(format!("{}/explain", steering.url));
    let explained: SteeringExplanation = good(explained.send().await.unwrap()).await;
    assert_eq!(explained.client_address, "127.0.0.1");
    assert_eq!(
        explained.appliances[0].prefix.as_deref(),
        Some("127.0.0.1/32")
    );
    assert_eq!(explained.appliances[1].rank, Some(1));
    for call in ["", "/explain"] {
        let answer = setup.get(&format!("/v1/steering/nothing{call}"), "").await;
        let open = answer.headers().get("access-control-allow-origin");
        assert_eq!(open.is_some(), call.is_empty());
        assert_eq!(problem(answer).await.code, "playback_unknown");
    }
}

#[tokio::test]
async fn from_this_machine_another_address_can_be_tried() {
    let mut config = demo();
    config.catalogue.networks = vec![Network {
        prefix: "2001:db8::/32".to_owned(),
        country: Some("FR".to_owned()),
        position_deg: Some((48.9, 2.4)),
    }];
    config.catalogue.titles[0].countries = vec!["FR".to_owned()];
    let setup = start_with_appliance(config).await;
    let token = setup.token().await;
    let play = |address: &'static str| {
        let request = setup.client.post(setup.url("/v1/play"));
        let request = request.bearer_auth(&token).json(&play_request());
        request.header("Nearcast-Client-Address", address).send()
    };
    let grant: PlayGrant = good(play("2001:db8::1").await.unwrap()).await;
    let refused = problem(play("192.0.2.1").await.unwrap()).await;
    assert_eq!(refused.code, "region_blocked");
    let nonsense = problem(play("home").await.unwrap()).await;
    assert_eq!(nonsense.code, "bad_request");
    let url = format!("{}/explain", grant.steering.unwrap().url);
    let explained = setup.client.get(url);
    let explained = explained.header("Nearcast-Client-Address", "2001:db8::1");
    let explained: SteeringExplanation = good(explained.send().await.unwrap()).await;
    assert_eq!(explained.client_network.as_deref(), Some("2001:db8::/32"));
    assert!(explained.appliances[0].distance_km > Some(500));
}

#[tokio::test]
async fn events_are_taken_and_counted_once() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    let grant = setup.play(&token).await;
    let id = &grant.playback_id;
    for sequence in [0, 1, 1] {
        let answer = setup.client.post(grant.events_url.as_ref().unwrap());
        let answer = answer.json(&batch(id, sequence)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    let path = format!("/v1/events/count?playback_id={id}");
    let count: EventCount = good(setup.get(&path, "").await).await;
    assert_eq!((count.batches, count.events), (2, 4));
    // Whoever knows no playback is not kept, and is not told so.
    let answer = setup.post("/v1/events", "", &batch("nobody", 0)).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let nobody: EventCount = good(setup.get("/v1/events/count?playback_id=nobody", "").await).await;
    assert_eq!(nobody, EventCount::default());
    let metrics = setup.get("/metrics", "").await.text().await.unwrap();
    for line in [
        "nearcast_backend_events_total 6",
        "nearcast_backend_events_unknown_total 2",
    ] {
        assert!(
            metrics.lines().any(|seen| seen == line),
            "{line}\n{metrics}"
        );
    }
    let many = batch_of(id, 2, vec![QoeEventKind::Stalled; 257]);
    let refused = problem(setup.post("/v1/events", "", &many).await).await;
    assert_eq!(refused.code, "bad_request");
    let missing = problem(setup.get("/v1/events/count", "").await).await;
    assert_eq!(missing.code, "bad_request");
}

#[tokio::test]
async fn who_stops_makes_room_for_the_next_device() {
    let mut config = demo();
    config.catalogue.plans = vec![Plan {
        id: "only".to_owned(),
        streams_max: 1,
    }];
    let setup = start_with_appliance(config).await;
    let tv = setup.session("demo", "tv").await.access_token;
    let phone = setup.session("demo", "phone").await.access_token;
    let grant = setup.play(&tv).await;
    let refused = problem(setup.post("/v1/play", &phone, &play_request()).await).await;
    assert_eq!(refused.code, "too_many_streams");

    let over = batch_of(&grant.playback_id, 0, [QoeEventKind::Stopped]);
    let answer = setup.post("/v1/events", "", &over).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    setup.play(&phone).await;
}

#[tokio::test]
async fn a_viewing_position_is_kept() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    let update = HistoryUpdate {
        position_ms: 61_000,
        language: Some("de".to_owned()),
    };
    let put = |title: &str, token: &str| {
        let request = setup.client.put(setup.url(&format!("/v1/history/{title}")));
        request.bearer_auth(token).json(&update).send()
    };
    let answer = put("demo", &token).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let unknown = problem(put("nothing", &token).await.unwrap()).await;
    assert_eq!(unknown.code, "title_unknown");
    let expired = problem(put("demo", "guess").await.unwrap()).await;
    assert_eq!(expired.code, "session_expired");
    let list: HistoryList = good(setup.get("/v1/history", &token).await).await;
    assert_eq!(list.entries[0].position_ms, 61_000);
    assert_eq!(setup.play(&token).await.resume_position_ms, 61_000);
}

#[tokio::test]
async fn appliances_need_the_secret_and_a_sensible_report() {
    let setup = start(demo()).await;
    let path = "/v1/appliances/a/report";
    let wrong = problem(setup.post(path, "guess", &report()).await).await;
    assert_eq!((wrong.status, wrong.code.as_str()), (401, "secret_wrong"));
    let mut bad = report();
    bad.prefixes = vec!["everywhere".to_owned()];
    let invalid = problem(setup.post(path, LOOPBACK_SECRET, &bad).await).await;
    assert_eq!(invalid.code, "report_invalid");
    assert_eq!(
        invalid.detail,
        "prefixes: \"everywhere\" makes no sense there"
    );
    let receipt = setup.report("a", &report()).await;
    assert_eq!(receipt.next_report_ms, 5000);
}

#[tokio::test]
async fn bad_requests_get_a_problem_with_a_code() {
    let setup = start(demo()).await;
    let send = |path: &str, body: String| {
        let request = setup.client.post(setup.url(path));
        request.body(body).send()
    };
    for (path, body) in [
        ("/v1/session", "{"),
        ("/v1/session", "{\"account\":\"demo\"}"),
        ("/v1/session", ""),
        ("/v1/play", "[]"),
        ("/v1/events", "{\"playback_id\":1}"),
        ("/v1/events", "\u{0}"),
    ] {
        let answer = problem(send(path, body.to_owned()).await.unwrap()).await;
        assert_eq!(answer.code, "bad_request", "{path} {body}");
        assert!(!answer.detail.is_empty());
    }
    let unknown = problem(setup.get("/v1/nothing", "").await).await;
    assert_eq!((unknown.status, unknown.code.as_str()), (404, "not_found"));
    let method = problem(setup.get("/v1/play", "").await).await;
    assert_eq!(method.code, "method_not_allowed");
    let body = r#"{"account":"nobody","device_id":"d","platform":"p"}"#;
    let account = problem(send("/v1/session", body.to_owned()).await.unwrap()).await;
    assert_eq!(account.code, "account_unknown");
}

#[tokio::test]
async fn big_bodies_are_capped() {
    let setup = start(demo()).await;
    for (path, size) in [
        ("/v1/session", 64 << 10),
        ("/v1/play", 64 << 10),
        ("/v1/events", 64 << 10),
    ] {
        let request = setup.client.post(setup.url(path));
        let answer = request.body(" ".repeat(size + 1)).send().await.unwrap();
        let answer = problem(answer).await;
        assert_eq!((answer.status, answer.code.as_str()), (413, "too_large"));
    }
}

#[tokio::test]
async fn it_speaks_http_2_and_1_and_tells_how_it_is() {
    let setup = start_with_appliance(demo()).await;
    let answer = setup.get("/healthz", "").await;
    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "ok\n");
    let old = client_builder(setup.backend.ca_pem()).http1_only().build();
    let answer = old.unwrap().get(setup.url("/healthz")).send().await;
    assert_eq!(answer.unwrap().version(), Version::HTTP_11);

    let token = setup.token().await;
    setup.play(&token).await;
    problem(setup.get("/v1/titles", "guess").await).await;
    let text = setup.get("/metrics", "").await.text().await.unwrap();
    for line in [
        "nearcast_backend_requests_total{route=\"/v1/play\",status=\"200\"} 1",
        "nearcast_backend_problems_total{code=\"session_expired\"} 1",
        "nearcast_backend_streams 1",
        "nearcast_backend_sessions 1",
        "nearcast_backend_appliances 1",
        "# TYPE nearcast_backend_events_total counter",
    ] {
        assert!(text.lines().any(|seen| seen == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn a_client_that_trusts_another_authority_does_not_connect() {
    let setup = start(demo()).await;
    let other = start(demo()).await;
    let answer = other.client.get(setup.url("/healthz")).send().await;
    assert!(answer.unwrap_err().is_connect());
}

#[tokio::test]
async fn plain_http_is_for_this_machine_alone() {
    let mut config = demo();
    config.plain = true;
    config.sealed_listen = None;
    let setup = start(config.clone()).await;
    assert!(setup.backend.url().starts_with("http://127.0.0.1:"));
    assert_eq!(setup.backend.sealed_url(), None);
    assert_eq!(
        setup.get("/healthz", "").await.text().await.unwrap(),
        "ok\n"
    );
    assert_eq!(setup.session("demo", "tv").await.sealing, None);
    config.listen = SocketAddr::from(([0, 0, 0, 0], 0));
    assert!(matches!(
        Backend::start(config).await,
        Err(BackendError::PlainNotLoopback(_))
    ));
}

#[tokio::test]
async fn who_listens_everywhere_must_say_how_it_is_reached() {
    let mut config = demo();
    config.listen = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = Backend::start(config.clone()).await;
    assert!(matches!(refused, Err(BackendError::NoPublicHost(_))));
    config.public_host = Some("backend.test".to_owned());
    let backend = Backend::start(config).await.unwrap();
    assert!(backend.url().starts_with("https://backend.test:"));
}

#[tokio::test]
async fn a_taken_port_is_named_and_a_stopped_backend_frees_its_own() {
    let mut config = demo();
    config.listen = loopback_apart();
    let setup = start(config.clone()).await;
    let address: SocketAddr = setup.backend.url()["https://".len()..].parse().unwrap();
    config.listen = address;
    let taken = Backend::start(config.clone()).await;
    assert!(matches!(
        taken,
        Err(BackendError::PortInUse { listener: Listener::Main, address: at }) if at == address
    ));
    // One connection is open and idle: it must not hold the end up.
    setup.get("/healthz", "").await;
    setup.backend.shutdown().await;
    let again = Backend::start(config).await.unwrap();

    drop(again);
    let freed = async {
        while TcpListener::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let freed = tokio::time::timeout(Duration::from_secs(30), freed).await;
    assert!(freed.is_ok(), "a dropped backend still listens");
}
