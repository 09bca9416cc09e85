//! The ranking as a document for other players, and its explanation.
//!
//! Other players send no `Authorization` for a steering document; the playback's identifier, 128 random
//! bits, is what entitles to it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use nearcast_protocol::steering::SteeringExplanation;

use super::App;
use super::caller::Caller;
use super::json::Answer;
use super::problem::Fail;

pub(crate) async fn manifest(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(playback_id): Path<String>,
) -> Result<Response, Fail> {
    let mut document = app
        .with_model(|model, now| model.steering(now, caller.client, &playback_id))
        .ok_or_else(Fail::playback_unknown)?;
    if app.faults.misranks() {
        document.pathway_priority.reverse();
    }
    let main = &app.urls.main;
    document.reload_uri = Some(format!("{main}/v1/steering/{playback_id}"));
    let mut response = Answer(document).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/vnd.apple.steering-list"),
    );
    Ok(response)
}

/// Lets players in browsers read the answer, and an error's too, whatever page they are on: the document holds no
/// secret, and whoever knows its URL has it anyway.
pub(crate) async fn open_to_browsers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("retry-after"),
    );
    response
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
