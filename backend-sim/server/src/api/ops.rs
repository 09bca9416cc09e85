//! For operators: liveness, and numbers in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;

use super::problem::Code;
use super::{App, locked};
use crate::store::StoreState;

/// What is counted. Labels come from routes and codes of our own, so there are some hundred series at most.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    problems: Mutex<BTreeMap<String, u64>>,
    events: AtomicU64,
    events_dropped: AtomicU64,
    events_unknown: AtomicU64,
    unstored: AtomicU64,
}

impl Metrics {
    pub(crate) fn count_events(&self, count: usize) {
        add(&self.events, count);
    }

    pub(crate) fn count_dropped_events(&self, count: usize) {
        add(&self.events_dropped, count);
    }

    /// Events of playbacks that nobody knows.
    pub(crate) fn count_unknown_events(&self, count: usize) {
        add(&self.events_unknown, count);
    }

    /// Something the backend wanted to remember was not stored.
    pub(crate) fn count_unstored(&self) {
        add(&self.unstored, 1);
    }

    fn count_request(&self, route: &str, response: &Response) {
        let key = (route.to_owned(), response.status().as_u16());
        *locked(&self.requests).entry(key).or_default() += 1;
        if let Some(Code(code)) = response.extensions().get() {
            *locked(&self.problems).entry(code.clone()).or_default() += 1;
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}

pub(crate) async fn count_request(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    app.metrics.count_request(&route, &response);
    response
}

/// Answers 200 while requests are answered: a restart would not mend a disk, and lose what waits for it.
pub(crate) async fn healthz(State(app): State<Arc<App>>) -> &'static str {
    health(app.store.state())
}

fn health(store: &StoreState) -> &'static str {
    if store.is_failing() {
        "degraded: the state file cannot be written\n"
    } else {
        "ok\n"
    }
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = render(&app);
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, text).into_response()
}

fn render(app: &App) -> String {
    let counts = app.with_model(|model, now| model.counts(now));
    let Metrics {
        requests,
        problems,
        events,
        events_dropped,
        events_unknown,
        unstored,
    } = &app.metrics;
    let mut page = Page::default();
    page.family("requests_total", "counter", "Requests by route and status.");
    for ((route, status), count) in &*locked(requests) {
        let labels = format!("{{route=\"{route}\",status=\"{status}\"}}");
        page.sample("requests_total", &labels, *count);
    }
    page.family("problems_total", "counter", "Error answers by code.");
    for (code, count) in &*locked(problems) {
        page.sample("problems_total", &format!("{{code=\"{code}\"}}"), *count);
    }
    let store = app.store.state();
    for (name, help, count) in [
        (
            "store_events_lost_total",
            "Events that were taken and could not be written.",
            store.events_lost(),
        ),
        (
            "store_records_lost_total",
            "Records of the backend that could not be written.",
            store.records_lost(),
        ),
    ] {
        page.family(name, "counter", help);
        page.sample(name, "", count);
    }
    page.family("store_failing", "gauge", "Whether the last write failed.");
    page.sample("store_failing", "", u64::from(store.is_failing()));
    for (name, help, counter) in [
        ("events_total", "Events taken.", events),
        (
            "events_dropped_total",
            "Events dropped because the store was busy.",
            events_dropped,
        ),
        (
            "events_unknown_total",
            "Events of playbacks that are not known.",
            events_unknown,
        ),
        (
            "unstored_total",
            "Records of the backend that were not stored.",
            unstored,
        ),
    ] {
        page.family(name, "counter", help);
        page.sample(name, "", counter.load(Ordering::Relaxed));
    }
    for (name, help, count) in [
        ("sessions", "Sessions that are good.", counts.sessions),
        ("streams", "Streams that play.", counts.streams),
        (
            "appliances",
            "Appliances that reported lately.",
            counts.appliances,
        ),
    ] {
        page.family(name, "gauge", help);
        page.sample(name, "", u64::try_from(count).unwrap_or(u64::MAX));
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {PREFIX}{name} {help}"));
        self.line(format_args!("# TYPE {PREFIX}{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        self.line(format_args!("{PREFIX}{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        writeln!(self.text, "{line}").unwrap_or_default();
    }
}

const PREFIX: &str = "nearcast_backend_";
