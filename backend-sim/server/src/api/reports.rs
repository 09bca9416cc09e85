//! The control plane of the appliances.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use nearcast_protocol::appliance::{ApplianceReport, ReportReceipt};

use super::caller::Bearer;
use super::json::{Answer, Json, REPORT_BYTES_MAX};
use super::problem::Fail;
use super::{App, locked};

/// Whether a caller knows the bootstrap secret is asked before its body is read.
pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Bearer(secret): Bearer,
    Path(id): Path<String>,
    request: axum::extract::Request,
) -> Result<Answer<ReportReceipt>, Fail> {
    use axum::extract::FromRequest as _;

    if !app.secret.is(&secret) {
        return Err(Fail::new(
            StatusCode::UNAUTHORIZED,
            "secret_wrong",
            "The bootstrap secret is wrong.",
            "Send it as Authorization: Bearer; it is the backend's --secret.".to_owned(),
        ));
    }
    let Json(report) =
        Json::<ApplianceReport, REPORT_BYTES_MAX>::from_request(request, &app).await?;
    app.with_model(|model, now| model.handle_report(now, &id, &report))?;
    Ok(Answer(ReportReceipt {
        verifying_keys: locked(&app.signing).verifying_keys(),
        next_report_ms: app.report_interval_ms,
    }))
}
