//! Reports to the backend, and what is stored.

use std::sync::Arc;
use std::time::Duration;

use nearcast_protocol::appliance::ReportReceipt;
use nearcast_protocol::play::Problem;

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
    let mut outage = Outage::default();
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
                        if let Some(reports) = outage.ends() {
                            tracing::info!(edge = %edge.id, reports_lost = reports, "the backend takes reports again");
                        }
                        edge.with(|appliance, now| appliance.handle_receipt(now, receipt));
                    }
                    Err(lost) => {
                        edge.counters().reports_failed += 1;
                        if outage.is_news(lost.check) {
                            tracing::warn!(
                                edge = %edge.id,
                                backend = backend.origin(),
                                reason = %lost.reason,
                                check = lost.check.text(),
                                "the backend does not have this edge's report, and sends nobody here without"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Reports that failed in a row, so that what is told once is not told again with each of them.
#[derive(Debug, Default)]
struct Outage {
    reports: u64,
    told: Vec<Check>,
}

impl Outage {
    /// Counts one more report that failed; whether it did for something that has not been told.
    fn is_news(&mut self, check: Check) -> bool {
        self.reports += 1;
        let is_news = !self.told.contains(&check);
        if is_news {
            self.told.push(check);
        }
        is_news
    }

    /// A report was taken; returns how many were not before it.
    fn ends(&mut self) -> Option<u64> {
        let Self { reports, .. } = std::mem::take(self);
        (reports > 0).then_some(reports)
    }
}

/// Why a report was not taken.
#[derive(Debug)]
struct Lost {
    reason: String,
    check: Check,
}

/// What whoever runs the edge can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Address,
    Authority,
    Secret,
    Options,
    Backend,
}

impl Check {
    const fn text(self) -> &'static str {
        match self {
            Self::Address => {
                "is --backend the URL of a backend that runs, and http or https as it was started?"
            }
            Self::Authority => "is --ca-dir the same folder for this edge and for the backend?",
            Self::Secret => "is --secret the same for this edge and for the backend?",
            Self::Options => "what the backend says of this edge's options",
            Self::Backend => "the log of the backend, which is asked again",
        }
    }
}

impl Lost {
    fn on_the_way(error: reqwest::Error) -> Self {
        // Without the URL, which is told beside it.
        let error = error.without_url();
        let (reason, is_certificate) = causes(&error);
        let check = if is_certificate {
            Check::Authority
        } else {
            Check::Address
        };
        Self { reason, check }
    }

    fn refused(status: reqwest::StatusCode, body: &[u8]) -> Self {
        let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
            return Self {
                reason: format!("the answer is {status}, not as a backend says it"),
                check: Check::Address,
            };
        };
        let check = match status.as_u16() {
            401 => Check::Secret,
            404 => Check::Address,
            500.. => Check::Backend,
            _ => Check::Options,
        };
        // The detail of a wrong secret speaks to programmers.
        let says = if check == Check::Options {
            &problem.detail
        } else {
            &problem.title
        };
        let code = &problem.code;
        Self {
            reason: format!("the backend answers {} {code:?}: {says:?}", status.as_u16()),
            check,
        }
    }

    fn unreadable(reason: impl std::fmt::Display) -> Self {
        Self {
            reason: format!("the receipt is not readable: {reason}"),
            check: Check::Address,
        }
    }
}

/// Returns an error with its causes, each said once, and whether a certificate is among them.
fn causes(error: &(dyn std::error::Error + 'static)) -> (String, bool) {
    let mut text = String::new();
    let mut is_certificate = false;
    let mut next = Some(error);
    while let Some(cause) = next {
        is_certificate |= is_of_certificate(cause);
        let says = cause.to_string();
        if !text.ends_with(&says) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&says);
        }
        next = cause.source();
    }
    (text, is_certificate)
}

fn is_of_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    // An I/O error says what it wraps, and leaves it out of its sources; it may wrap another one.
    let io = error.downcast_ref::<std::io::Error>();
    if let Some(wrapped) = io.and_then(std::io::Error::get_ref) {
        return is_of_certificate(wrapped);
    }
    matches!(
        error.downcast_ref(),
        Some(rustls::Error::InvalidCertificate(_))
    )
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
) -> Result<ReportReceipt, Lost> {
    let report = edge.with(|appliance, now| appliance.report(now));
    let base = backend.url.trim_end_matches('/');
    let url = format!("{base}/v1/appliances/{}/report", edge.id);
    let request = client
        .post(url)
        .bearer_auth(&backend.secret)
        .timeout(REPORT_MAX)
        .json(&report);
    let mut response = request.send().await.map_err(Lost::on_the_way)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Lost::on_the_way)? {
        body.extend_from_slice(&chunk);
        if body.len() > RECEIPT_MAX {
            break;
        }
    }
    if !response.status().is_success() {
        return Err(Lost::refused(response.status(), &body));
    }
    if body.len() > RECEIPT_MAX {
        return Err(Lost::unreadable("it is too long"));
    }
    serde_json::from_slice(&body).map_err(Lost::unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_for_each_reason_and_counted_when_it_ends() {
        let mut outage = Outage::default();
        assert_eq!(outage.ends(), None);
        let failures = [
            Check::Address,
            Check::Address,
            Check::Secret,
            Check::Address,
        ];
        let told = failures.map(|check| outage.is_news(check));
        assert_eq!(told, [true, false, true, false]);
        assert_eq!(outage.ends(), Some(4));
        assert_eq!(outage.ends(), None);
        assert!(outage.is_news(Check::Secret), "the next one is news again");
    }
}
