//! QoE events: taken at once, stored later.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use http::StatusCode;
use nearcast_protocol::telemetry::{EventBatch, EventCount};
use serde::Deserialize;

use super::App;
use super::json::{Answer, Json, REQUEST_BYTES_MAX};
use super::problem::Fail;

/// Answers 202 whatever becomes of the batch: telemetry must not make a client wait or try again. Nobody has to
/// prove anything here but that they know a playback; what is said of others is counted and forgotten.
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Json(batch): Json<EventBatch, REQUEST_BYTES_MAX>,
) -> Result<StatusCode, Fail> {
    if batch.playback_id.is_empty() || batch.playback_id.len() > PLAYBACK_ID_LENGTH_MAX {
        return Err(Fail::bad_request("playback_id: 1 to 64 characters"));
    }
    let count = batch.events.len();
    if count > EVENTS_MAX {
        let detail = format!("events: at most {EVENTS_MAX} in a batch");
        return Err(Fail::bad_request(detail));
    }
    if !app.with_model(|model, now| model.handle_events(now, &batch)) {
        app.metrics.count_unknown_events(count);
        return Ok(StatusCode::ACCEPTED);
    }
    match app.store.events(&batch) {
        Ok(()) => app.metrics.count_events(count),
        Err(_) => app.metrics.count_dropped_events(count),
    }
    Ok(StatusCode::ACCEPTED)
}

/// Our player sends at most 100 at once.
const EVENTS_MAX: usize = 256;

/// Ours have 32.
const PLAYBACK_ID_LENGTH_MAX: usize = 64;

#[derive(Deserialize)]
pub(crate) struct CountQuery {
    playback_id: String,
}

pub(crate) async fn count(
    State(app): State<Arc<App>>,
    query: Result<Query<CountQuery>, QueryRejection>,
) -> Result<Answer<EventCount>, Fail> {
    let Ok(Query(CountQuery { playback_id })) = query else {
        return Err(Fail::bad_request("playback_id is missing"));
    };
    let count = tokio::time::timeout(COUNT_DEADLINE, app.store.count(playback_id)).await;
    match count {
        Ok(Ok(count)) => Ok(Answer(count)),
        Ok(Err(_)) | Err(_) => Err(Fail::unavailable(
            "store_busy",
            "The store is busy.",
            String::new(),
            Duration::from_secs(1),
        )),
    }
}

/// A full queue is written in less.
const COUNT_DEADLINE: Duration = Duration::from_secs(5);
