//! Reports to the backend, and what is stored.

use std::sync::Arc;
use std::time::Duration;

use nearcast_protocol::appliance::ReportReceipt;

use crate::config::Backend;
use crate::edge::Edge;

/// A backend that takes longer is as good as silent: the next report is due by then.
const REPORT_MAX: Duration = Duration::from_secs(5);
/// A receipt holds some keys of 100 bytes each.
const RECEIPT_MAX: usize = 64 * 1024;
/// How often the root is looked through for new titles.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);

/// Keeps the catalogue up to date and reports when the model says so, until the edge is shut down.
pub(crate) async fn run(edge: Arc<Edge>, backend: Option<(Backend, reqwest::Client)>) {
    let mut scan = tokio::time::interval(SCAN_INTERVAL);
    scan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        let due = edge.with(|appliance, _| appliance.next_deadline());
        let due = due.unwrap_or(nearcast_units::Instant::from_nanos(u64::MAX));
        tokio::select! {
            () = edge.shutdown.cancelled() => return,
            _ = scan.tick() => look_through(&edge).await,
            () = edge.clock.sleep_until(due) => {
                edge.with(|appliance, now| appliance.handle_timeout(now));
            }
            () = edge.report.notified() => {
                let Some((backend, client)) = &backend else { continue };
                let sent = tokio::select! {
                    () = edge.shutdown.cancelled() => return,
                    sent = report(&edge, backend, client) => sent,
                };
                match sent {
                    Ok(receipt) => {
                        if failing {
                            tracing::info!(edge = %edge.id, "the control plane is back");
                        }
                        failing = false;
                        edge.with(|appliance, now| appliance.handle_receipt(now, receipt));
                    }
                    Err(reason) => {
                        edge.counters().reports_failed += 1;
                        if !failing {
                            tracing::warn!(edge = %edge.id, %reason, "a report was not taken");
                        }
                        failing = true;
                    }
                }
            }
        }
    }
}

/// Notes what is stored now.
pub(crate) async fn look_through(edge: &Edge) {
    let prefixes = match &edge.stores {
        Some(stores) => stores.clone(),
        None => {
            let files = edge.files.clone();
            let found = tokio::task::spawn_blocking(move || files.prefixes()).await;
            found.unwrap_or_default()
        }
    };
    edge.with(|appliance, now| appliance.handle_files(now, prefixes));
}

async fn report(
    edge: &Edge,
    backend: &Backend,
    client: &reqwest::Client,
) -> Result<ReportReceipt, String> {
    let report = edge.with(|appliance, now| appliance.report(now));
    let base = backend.url.trim_end_matches('/');
    let url = format!("{base}/v1/appliances/{}/report", edge.id);
    let request = client
        .post(url)
        .bearer_auth(&backend.secret)
        .timeout(REPORT_MAX)
        .json(&report);
    // Errors without the URL: it is in the configuration, and logs stay short.
    let mut response = request
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?;
    if !response.status().is_success() {
        return Err(format!("the backend answered {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| error.without_url().to_string())?
    {
        if body.len() + chunk.len() > RECEIPT_MAX {
            return Err(String::from("the receipt is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| format!("the receipt is not readable: {error}"))
}
