//! The ranking as a document for other players, and its explanation.
//!
//! Other players send no `Authorization` for a steering document; the playback's identifier, 128 random
//! bits, is what entitles to it.

use std::sync::Arc;

use axum::extract::{Path, State};
use nearcast_protocol::steering::{SteeringExplanation, SteeringManifest};

use super::App;
use super::caller::Caller;
use super::json::Answer;
use super::problem::Fail;

pub(crate) async fn manifest(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(playback_id): Path<String>,
) -> Result<Answer<SteeringManifest>, Fail> {
    let mut document = app
        .with_model(|model, now| model.steering(now, caller.client, &playback_id))
        .ok_or_else(Fail::playback_unknown)?;
    let main = &app.urls.main;
    document.reload_uri = Some(format!("{main}/v1/steering/{playback_id}"));
    Ok(Answer(document))
}

pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(playback_id): Path<String>,
) -> Result<Answer<SteeringExplanation>, Fail> {
    let explanation = app
        .with_model(|model, now| model.explain(now, caller.client, &playback_id))
        .ok_or_else(Fail::playback_unknown)?;
    Ok(Answer(explanation))
}
