//! Sealed play requests, as a client makes them.

use std::io::Cursor;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bhttp::{Message, Mode};
use nearcast_backend_server::SealingConfig;
use nearcast_protocol::play::{PlayGrant, Problem, SealingKey};
use ohttp::{ClientRequest, ClientResponse};
use reqwest::{Client, Response, StatusCode};

use crate::support::{Setup, demo, good, play_request, problem, start_with_appliance};

/// Seals a request as the protocol says; the outer request must then be a `message/ohttp-req`.
pub(crate) fn seal(
    key: &SealingKey,
    path: &str,
    token: &str,
    body: &[u8],
) -> (Vec<u8>, ClientResponse) {
    let mut message = Message::request(
        b"POST".to_vec(),
        b"https".to_vec(),
        b"backend".to_vec(),
        path.as_bytes().to_vec(),
    );
    message.put_header("authorization", format!("Bearer {token}"));
    message.put_header("content-type", "application/json");
    message.write_content(body);
    let mut plain = Vec::new();
    message.write_bhttp(Mode::KnownLength, &mut plain).unwrap();
    let config = STANDARD.decode(&key.key_config_base64).unwrap();
    let client = ClientRequest::from_encoded_config_list(&config).unwrap();
    client.encapsulate(&plain).unwrap()
}

pub(crate) async fn send(client: &Client, url: &str, sealed: Vec<u8>) -> Response {
    let request = client.post(url).header("content-type", "message/ohttp-req");
    request.body(sealed).send().await.unwrap()
}

/// Opens a sealed answer: status and body.
pub(crate) async fn unseal(response: Response, reply: ClientResponse) -> (u16, Vec<u8>) {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "message/ohttp-res");
    let sealed = response.bytes().await.unwrap();
    let plain = reply.decapsulate(&sealed).unwrap();
    let message = Message::read_bhttp(&mut Cursor::new(plain)).unwrap();
    let status = message.control().status().unwrap().code();
    (status, message.content().to_vec())
}

fn body() -> Vec<u8> {
    serde_json::to_vec(&play_request()).unwrap()
}

async fn key_and_token(setup: &Setup) -> (SealingKey, String) {
    let session = setup.session("demo", "tv").await;
    (session.sealing.unwrap(), session.access_token)
}

#[tokio::test]
async fn a_sealed_play_and_a_sealed_refresh_get_a_sealed_grant() {
    let setup = start_with_appliance(demo()).await;
    let (key, token) = key_and_token(&setup).await;
    assert_eq!(setup.backend.sealed_url(), Some(key.url.as_str()));
    let offered: SealingKey = good(setup.get("/v1/sealing-key", "").await).await;
    assert_eq!(offered, key);

    let (sealed, reply) = seal(&key, "/v1/play", &token, &body());
    let answer = send(&setup.client, &key.url, sealed).await;
    let (status, grant) = unseal(answer, reply).await;
    assert_eq!(status, 200);
    let grant: PlayGrant = serde_json::from_slice(&grant).unwrap();
    assert_eq!(grant.appliances[0].id, "a");
    assert!(grant.appliances[0].token.is_some());

    let path = format!("/v1/play/{}/refresh", grant.playback_id);
    let (sealed, reply) = seal(&key, &path, &token, b"");
    let answer = send(&setup.client, &key.url, sealed).await;
    let (status, again) = unseal(answer, reply).await;
    assert_eq!(status, 200);
    let again: PlayGrant = serde_json::from_slice(&again).unwrap();
    assert_eq!(again.playback_id, grant.playback_id);
}

#[tokio::test]
async fn the_same_request_sealed_and_over_tls_is_one_stream() {
    let setup = start_with_appliance(demo()).await;
    let (key, token) = key_and_token(&setup).await;
    let mut request = play_request();
    request.request_id = Some("race-1".to_owned());
    let body = serde_json::to_vec(&request).unwrap();
    let (sealed, reply) = seal(&key, "/v1/play", &token, &body);
    let (sealed, plain) = tokio::join!(
        send(&setup.client, &key.url, sealed),
        setup.post("/v1/play", &token, &request),
    );
    let (_, sealed) = unseal(sealed, reply).await;
    let sealed: PlayGrant = serde_json::from_slice(&sealed).unwrap();
    let plain: PlayGrant = good(plain).await;
    assert_eq!(sealed.playback_id, plain.playback_id);
}

#[tokio::test]
async fn a_replayed_request_is_refused_and_a_fresh_one_is_not() {
    let setup = start_with_appliance(demo()).await;
    let (key, token) = key_and_token(&setup).await;
    let (sealed, reply) = seal(&key, "/v1/play", &token, &body());
    let first = send(&setup.client, &key.url, sealed.clone()).await;
    assert_eq!(unseal(first, reply).await.0, 200);
    for _ in 0..2 {
        let replayed = send(&setup.client, &key.url, sealed.clone()).await;
        assert_eq!(problem(replayed).await.code, "sealed_replayed");
    }
    let (sealed, reply) = seal(&key, "/v1/play", &token, &body());
    let fresh = send(&setup.client, &key.url, sealed).await;
    assert_eq!(unseal(fresh, reply).await.0, 200);
}

#[tokio::test]
async fn an_old_key_is_refused_with_the_fresh_one_inside_the_sealed_answer() {
    let mut config = demo();
    config.sealing = SealingConfig {
        accept: Duration::ZERO,
        ..SealingConfig::default()
    };
    let setup = start_with_appliance(config).await;
    let (key, token) = key_and_token(&setup).await;
    let (sealed, reply) = seal(&key, "/v1/play", &token, &body());
    let answer = send(&setup.client, &key.url, sealed).await;
    let (status, body) = unseal(answer, reply).await;
    let refused: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 400);
    assert_eq!(refused.code, "sealing_key_expired");
    assert!(refused.sealing.is_some());
}

#[tokio::test]
async fn a_full_replay_window_changes_the_key() {
    let mut config = demo();
    config.sealing.replay_window_max = 1;
    let setup = start_with_appliance(config).await;
    let (key, token) = key_and_token(&setup).await;
    let (sealed, reply) = seal(&key, "/v1/play", &token, &body());
    let answer = send(&setup.client, &key.url, sealed).await;
    assert_eq!(unseal(answer, reply).await.0, 200);
    let (sealed, _) = seal(&key, "/v1/play", &token, &body());
    let full = send(&setup.client, &key.url, sealed).await;
    assert_eq!(problem(full).await.code, "sealing_key_expired");
    // From now on the old key is told about the new one, and that one works.
    let (sealed, reply) = seal(&key, "/v1/play", &token, &body());
    let told = send(&setup.client, &key.url, sealed).await;
    let (_, told) = unseal(told, reply).await;
    let told: Problem = serde_json::from_slice(&told).unwrap();
    let (sealed, reply) = seal(&told.sealing.unwrap(), "/v1/play", &token, &body());
    let answer = send(&setup.client, &key.url, sealed).await;
    assert_eq!(unseal(answer, reply).await.0, 200);
}

#[tokio::test]
async fn refusals_come_sealed_and_strangers_do_not_fill_the_window() {
    let mut config = demo();
    config.sealing.replay_window_max = 1;
    let setup = start_with_appliance(config).await;
    let (key, _) = key_and_token(&setup).await;
    for _ in 0..3 {
        let (sealed, reply) = seal(&key, "/v1/play", "guess", &body());
        let answer = send(&setup.client, &key.url, sealed).await;
        let (status, body) = unseal(answer, reply).await;
        let refused: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, refused.code.as_str()), (401, "session_expired"));
    }
}

#[tokio::test]
async fn only_play_requests_come_sealed_and_only_on_their_port() {
    let setup = start_with_appliance(demo()).await;
    let (key, token) = key_and_token(&setup).await;
    let (sealed, reply) = seal(&key, "/v1/events", &token, b"{}");
    let answer = send(&setup.client, &key.url, sealed).await;
    let (status, _) = unseal(answer, reply).await;
    assert_eq!(status, 404);

    let (sealed, _) = seal(&key, "/v1/play", &token, &body());
    let over_tls = send(&setup.client, &setup.url("/v1/sealed"), sealed).await;
    assert_eq!(problem(over_tls).await.code, "not_found");
    let base = key.url.strip_suffix("/v1/sealed").unwrap();
    let in_the_clear = setup.client.post(format!("{base}/v1/play"));
    let in_the_clear = in_the_clear.json(&play_request()).send().await.unwrap();
    assert_eq!(problem(in_the_clear).await.code, "not_found");
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_apart() {
    let setup = start_with_appliance(demo()).await;
    let (key, token) = key_and_token(&setup).await;
    let url = key.url.as_str();
    let (sealed, _) = seal(&key, "/v1/play", &token, &body());
    let mut unknown_key = sealed.clone();
    unknown_key[0] ^= 0x40;
    let mut changed = sealed.clone();
    *changed.last_mut().unwrap() ^= 1;
    let config = STANDARD.decode(&key.key_config_base64).unwrap();
    let nonsense = ClientRequest::from_encoded_config_list(&config).unwrap();
    let (nonsense, _) = nonsense.encapsulate(b"\x07nonsense").unwrap();
    for (sealed, code) in [
        (unknown_key, "sealing_key_unknown"),
        (changed, "sealed_unreadable"),
        (sealed[..20].to_vec(), "sealed_unreadable"),
        (Vec::new(), "sealed_unreadable"),
        (vec![0; (64 << 10) + 1], "too_large"),
        (nonsense, "bad_request"),
    ] {
        let answer = problem(send(&setup.client, url, sealed).await).await;
        assert_eq!(answer.code, code);
        // A key that came in the clear could be anybody's.
        assert_eq!(answer.sealing, None);
    }
    let untyped = setup.client.post(url).body("x").send().await.unwrap();
    assert_eq!(problem(untyped).await.code, "sealed_media_type");
}
