//! What survives a restart.

use nearcast_protocol::play::{HistoryList, HistoryUpdate, PlayGrant, Problem};
use nearcast_protocol::telemetry::EventCount;

use crate::calls::batch;
use crate::sealed::{seal, send, unseal};
use crate::support::{demo, good, play_request, problem, report, start, start_with_appliance};

#[tokio::test]
async fn a_backend_that_comes_back_knows_what_it_knew() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = demo();
    config.state = Some(folder.path().join("state.redb"));
    config.ca_dir = Some(folder.path().join("ca"));
    // One stream, so that a lost slot would show.
    config.catalogue.plans = vec![nearcast_backend_server::Plan {
        id: "only".to_owned(),
        streams_max: 1,
    }];

    let before = start_with_appliance(config.clone()).await;
    let session = before.session("demo", "tv").await;
    let token = session.access_token;
    let grant = before.play(&token).await;
    let id = &grant.playback_id;
    before.post("/v1/events", "", &batch(id, 0)).await;
    let update = HistoryUpdate {
        position_ms: 30_000,
        language: None,
    };
    let put = before.client.put(before.url("/v1/history/demo"));
    put.bearer_auth(&token).json(&update).send().await.unwrap();
    let keys = before.report("a", &report()).await.verifying_keys;
    before.backend.shutdown().await;

    let mut after = start(config).await;
    // The same authority: the client that trusted the first trusts the second.
    after.client = before.client;
    assert_eq!(after.report("a", &report()).await.verifying_keys, keys);
    let list: HistoryList = good(after.get("/v1/history", &token).await).await;
    assert_eq!(list.entries[0].position_ms, 30_000);
    // The batch that is sent again is not counted again.
    after.post("/v1/events", "", &batch(id, 0)).await;
    after.post("/v1/events", "", &batch(id, 1)).await;
    let path = format!("/v1/events/count?playback_id={id}");
    let count: EventCount = good(after.get(&path, "").await).await;
    assert_eq!((count.batches, count.events), (2, 4));
    let path = format!("/v1/play/{id}/refresh");
    let again: PlayGrant = good(after.post(&path, &token, &()).await).await;
    assert_eq!(again.resume_position_ms, 30_000);
    let phone = after.session("demo", "phone").await.access_token;
    let refused = after.post("/v1/play", &phone, &play_request()).await;
    assert_eq!(problem(refused).await.code, "too_many_streams");

    // Requests sealed before could be replays now; the old key is told about the new one.
    let old = session.sealing.unwrap();
    let body = serde_json::to_vec(&play_request()).unwrap();
    let (sealed, reply) = seal(&old, "/v1/play", &token, &body);
    let url = after.backend.sealed_url().unwrap().to_owned();
    let answer = send(&after.client, &url, sealed).await;
    let (_, told) = unseal(answer, reply).await;
    let told: Problem = serde_json::from_slice(&told).unwrap();
    assert_eq!(told.code, "sealing_key_expired");
    let (sealed, reply) = seal(&told.sealing.unwrap(), "/v1/play", &token, &body);
    let answer = send(&after.client, &url, sealed).await;
    assert_eq!(unseal(answer, reply).await.0, 200);
    after.backend.shutdown().await;
}

#[tokio::test]
async fn a_state_file_belongs_to_one_backend() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = demo();
    config.state = Some(folder.path().join("state.redb"));
    let first = start(config.clone()).await;
    let error = nearcast_backend_server::Backend::start(config.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot use the state file"), "{error}");
    first.backend.shutdown().await;
    start(config).await.backend.shutdown().await;
}
