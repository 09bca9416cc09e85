//! The admin port: orders of faults and their receipts. Loopback only, plain HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use nearcast_appliance::fault::{FaultOrder, FaultReceipt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::Fail;
use crate::faults::{FaultError, Faults};

/// An order of 64 rules is some 10 KiB.
const ORDER_BYTES_MAX: usize = 256 << 10;

/// Serves the admin port until `stop`.
pub(crate) async fn serve(listener: TcpListener, faults: Arc<Faults>, stop: CancellationToken) {
    let router = Router::new()
        .route("/control/faults", post(order))
        .route("/control/receipts", get(receipts))
        .layer(DefaultBodyLimit::max(ORDER_BYTES_MAX))
        .with_state(faults);
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::warn!(%error, "the admin port has failed");
    }
}

async fn order(
    State(faults): State<Arc<Faults>>,
    order: Result<Json<FaultOrder>, JsonRejection>,
) -> axum::response::Response {
    let bad = |status, detail| {
        let title = "The order was not carried out.";
        Fail::new(status, "bad_order", title, detail).into_response()
    };
    let Json(order) = match order {
        Ok(order) => order,
        Err(rejected) => return bad(rejected.status(), rejected.body_text()),
    };
    match faults.apply(order).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error @ FaultError::Order { .. }) => bad(StatusCode::BAD_REQUEST, error.to_string()),
        Err(error @ FaultError::Listener) => Fail::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "listener_failed",
            "The backend did not follow.",
            error.to_string(),
        )
        .into_response(),
    }
}

async fn receipts(State(faults): State<Arc<Faults>>) -> Json<Vec<FaultReceipt>> {
    Json(faults.receipts())
}
