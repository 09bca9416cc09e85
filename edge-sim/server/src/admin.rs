//! The admin port: faults, receipts, the log and metrics. Loopback only.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use nearcast_appliance::fault::{FaultOrder, FaultReceipt};
use nearcast_link::LinkState;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::config::FaultError;
use crate::edge::Edge;
use crate::headers;

/// An order of 64 rules is some 10 KiB.
const ORDER_MAX: usize = 256 * 1024;

/// Serves the admin port until the edge is shut down.
pub(crate) async fn serve(edge: Arc<Edge>, listener: TcpListener) {
    let shutdown = edge.shutdown.clone();
    let router = Router::new()
        .route("/control/faults", post(faults))
        .route("/control/receipts", get(receipts))
        .route("/control/log", get(log))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(ORDER_MAX))
        .with_state(edge);
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::warn!(%error, "the admin port has failed");
    }
}

#[derive(Serialize)]
struct LinkReport {
    appliance: String,
    link: &'static str,
    rate_bps: Option<u64>,
    delay_ms: u64,
}

fn link_report(edge: &Edge) -> LinkReport {
    let view = edge.gate.view();
    LinkReport {
        appliance: edge.id.clone(),
        link: match view.state {
            LinkState::Up => "up",
            LinkState::Stopped => "stopped",
            LinkState::Killed => "killed",
        },
        rate_bps: edge.gate.rate().map(nearcast_units::BitRate::as_bps),
        delay_ms: u64::try_from(view.delay.as_millis()).unwrap_or(u64::MAX),
    }
}

async fn faults(
    State(edge): State<Arc<Edge>>,
    order: Result<Json<FaultOrder>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let Json(order) = match order {
        Ok(order) => order,
        Err(rejected) => {
            return problem(rejected.status(), "bad_order", rejected.body_text());
        }
    };
    match edge.apply(order).await {
        Ok(()) => Json(link_report(&edge)).into_response(),
        Err(error @ FaultError::Order { .. }) => {
            problem(StatusCode::BAD_REQUEST, "bad_order", error.to_string())
        }
        Err(error @ FaultError::Listener) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "listener_failed",
            error.to_string(),
        ),
    }
}

async fn receipts(
    State(edge): State<Arc<Edge>>,
) -> ([(HeaderName, HeaderValue); 1], Json<Vec<FaultReceipt>>) {
    let dropped = HeaderValue::from(edge.receipts_dropped());
    ([(RECEIPTS_DROPPED, dropped)], Json(edge.receipts()))
}

/// How many receipts there were beside those in the body, which are the first of each name and the latest.
const RECEIPTS_DROPPED: HeaderName = HeaderName::from_static("nearcast-receipts-dropped");

async fn log(State(edge): State<Arc<Edge>>) -> impl IntoResponse {
    let lines = edge.log.texts().map(Ok::<_, std::convert::Infallible>);
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(futures_util::stream::iter(lines)),
    )
}

async fn health(State(edge): State<Arc<Edge>>) -> Json<LinkReport> {
    Json(link_report(&edge))
}

async fn metrics(State(edge): State<Arc<Edge>>) -> impl IntoResponse {
    let text = metrics_of(&edge);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn metrics_of(edge: &Edge) -> String {
    let mut text = String::new();
    let id = edge.id.replace('\\', "\\\\").replace('"', "\\\"");
    let mut line = |name: &str, labels: &str, value: String| {
        // Writing to a string cannot fail.
        let written = writeln!(text, "{name}{{appliance=\"{id}\"{labels}}} {value}");
        debug_assert!(written.is_ok());
    };
    {
        let counters = edge.counters();
        for ((protocol, status, end), count) in &counters.requests {
            let labels = format!(",protocol=\"{protocol}\",status=\"{status}\",end=\"{end}\"");
            line("nearcast_edge_requests_total", &labels, count.to_string());
        }
        for (protocol, count) in &counters.connections {
            let labels = format!(",protocol=\"{protocol}\"");
            line(
                "nearcast_edge_connections_total",
                &labels,
                count.to_string(),
            );
        }
        line(
            "nearcast_edge_body_bytes_total",
            "",
            counters.bytes.to_string(),
        );
        line(
            "nearcast_edge_connections_refused_total",
            "",
            counters.connections_refused.to_string(),
        );
        line(
            "nearcast_edge_reports_failed_total",
            "",
            counters.reports_failed.to_string(),
        );
    }
    line(
        "nearcast_edge_receipts_dropped_total",
        "",
        edge.receipts_dropped().to_string(),
    );
    line(
        "nearcast_edge_log_lines_dropped_total",
        "",
        edge.log.dropped().to_string(),
    );
    let (health, lost) =
        edge.with(|appliance, now| (appliance.health(now), appliance.has_lost_control_plane(now)));
    line(
        "nearcast_edge_load_ratio",
        "",
        health.load.get().to_string(),
    );
    line(
        "nearcast_edge_error_ratio",
        "",
        health.error_rate.get().to_string(),
    );
    line(
        "nearcast_edge_free_capacity_bps",
        "",
        health.free_capacity_bps.to_string(),
    );
    line(
        "nearcast_edge_control_plane_lost",
        "",
        u8::from(lost).to_string(),
    );
    line(
        "nearcast_edge_link_up",
        "",
        u8::from(edge.gate.is_up()).to_string(),
    );
    text
}

fn problem(status: StatusCode, code: &str, detail: String) -> Response {
    let mut response = (status, Json(headers::problem(status, code, &detail))).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    response
}
