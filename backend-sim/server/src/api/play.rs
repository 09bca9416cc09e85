//! Sessions, play requests and refreshes.

use std::sync::Arc;

use axum::extract::{Path, State};
use nearcast_backend_model::Grant;
use nearcast_protocol::play::{
    PlayGrant, PlayRequest, SessionGrant, SessionRequest, SteeringOffer,
};
use nearcast_units::Instant;

use super::caller::Caller;
use super::json::{Answer, Json, REQUEST_BYTES_MAX};
use super::problem::Fail;
use super::{App, locked};
use crate::clock::unix_ms;

pub(crate) async fn session(
    State(app): State<Arc<App>>,
    Json(request): Json<SessionRequest, REQUEST_BYTES_MAX>,
) -> Result<Answer<SessionGrant>, Fail> {
    let access_token = app.fresh_id()? + &app.fresh_id()?;
    let expires =
        app.with_model(|model, now| model.handle_session(now, &request, &access_token))?;
    tracing::debug!(platform = request.platform, "a session was opened");
    Ok(Answer(SessionGrant {
        access_token,
        expires_at_unix_ms: unix_ms(expires),
        sealing: app.sealing_offer(),
    }))
}

pub(crate) async fn play(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(request): Json<PlayRequest, REQUEST_BYTES_MAX>,
) -> Result<Answer<PlayGrant>, Fail> {
    let playback_id = app.fresh_id()?;
    let (now, grant) = app.with_model(|model, now| {
        (
            now,
            model.handle_play(now, caller.ask(), &request, &playback_id),
        )
    });
    let grant = grant.inspect_err(|error| {
        tracing::debug!(title = request.title, %error, "a play request got no grant");
    })?;
    completed(&app, now, grant)
}

pub(crate) async fn refresh(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(playback_id): Path<String>,
) -> Result<Answer<PlayGrant>, Fail> {
    let (now, grant) =
        app.with_model(|model, now| (now, model.handle_refresh(now, caller.ask(), &playback_id)));
    completed(&app, now, grant?)
}

/// Adds what the model does not know: tokens and this server's URLs.
fn completed(app: &App, now: Instant, granted: Grant) -> Result<Answer<PlayGrant>, Fail> {
    let Grant {
        mut grant,
        files,
        token_expires,
    } = granted;
    let playback_id = &grant.playback_id;
    let token = locked(&app.signing)
        .token(now, playback_id, &files, token_expires)
        .ok_or_else(|| Fail::internal("There is no key to sign with."))?;
    if app.faults.misranks() {
        let ranks: Vec<u32> = grant.appliances.iter().map(|one| one.rank).collect();
        grant.appliances.reverse();
        for (appliance, rank) in grant.appliances.iter_mut().zip(ranks) {
            appliance.rank = rank;
        }
    }
    for appliance in &mut grant.appliances {
        appliance.token = Some(token.clone());
    }
    let main = &app.urls.main;
    grant.steering = Some(SteeringOffer {
        url: format!("{main}/v1/steering/{playback_id}"),
        ttl_ms: app.steering_ttl_ms,
    });
    grant.events_url = Some(format!("{main}/v1/events"));
    Ok(Answer(grant))
}
