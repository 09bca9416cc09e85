//! What can be watched, and what was.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use nearcast_protocol::play::{HistoryList, HistoryUpdate, TitleList};

use super::App;
use super::caller::Caller;
use super::json::{Answer, Json, REQUEST_BYTES_MAX};
use super::problem::Fail;

pub(crate) async fn titles(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Answer<TitleList>, Fail> {
    let titles = app.with_model(|model, now| model.titles(now, caller.ask()));
    Ok(Answer(titles?))
}

pub(crate) async fn history(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Answer<HistoryList>, Fail> {
    let history = app.with_model(|model, now| model.history(now, caller.ask()));
    Ok(Answer(history?))
}

pub(crate) async fn put_history(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(title): Path<String>,
    Json(update): Json<HistoryUpdate, REQUEST_BYTES_MAX>,
) -> Result<StatusCode, Fail> {
    app.with_model(|model, now| model.handle_history(now, caller.ask(), &title, &update))?;
    Ok(StatusCode::NO_CONTENT)
}
