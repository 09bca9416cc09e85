//! Answers that go wrong because a fault wants them so.
//!
//! An answer is decided on where its call is made, within what was sealed, too; what becomes of its body happens where it
//! leaves, so that it is the sealed answer that is cut off.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use nearcast_appliance::bodies::{PORTAL, gzip_bomb};
use nearcast_appliance::fault::ObjectKind;
use nearcast_appliance::{
    Answer, Asked, BodyEnd, Disposition, Effect, ObjectName, Slowed, Spoilt, StatusFault, Target,
};
use nearcast_protocol::play::Refusal;
use nearcast_units::{BitRate, ByteCount};
use tokio::sync::{Notify, watch};

use crate::api::{App, Fail};
use crate::faults::{Faults, Link, View};

/// How long an answer is is known when it is made, after what goes wrong with it is decided: until then shares of it are
/// counted in parts of this.
const WHOLE: u64 = 1 << 32;

/// What comes before a cut is written while the body waits, and leaves the system within this.
const SETTLE: Duration = Duration::from_millis(20);

/// Longer than any answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How often a body that trickles goes on.
const DRIP: Duration = Duration::from_millis(50);

/// Resets a connection; the listener puts it into every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<(AtomicBool, Notify)>);

impl Cut {
    fn ask(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_one();
    }

    pub(crate) async fn asked(&self) {
        self.0.1.notified().await;
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }
}

/// What a request is for, as faults select it, with the playback that it names.
fn object_of<'a>(method: &Method, path: &'a str) -> Option<(ObjectKind, &'a str)> {
    let path = path.strip_prefix("v1/")?;
    if *method == Method::GET {
        let playback = path.strip_prefix("steering/")?;
        return (!playback.contains('/')).then_some((ObjectKind::Steering, playback));
    }
    match path {
        "play" => Some((ObjectKind::Play, "")),
        "events" => Some((ObjectKind::Event, "")),
        _ => {
            let rest = path.strip_prefix("play/")?;
            Some((ObjectKind::Refresh, rest.strip_suffix("/refresh")?))
        }
    }
    .filter(|_| *method == Method::POST)
}

/// Decides what goes wrong with an answer. A body's faults go with it to [`happen`].
pub(crate) async fn decide(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let Some((kind, client)) = object_of(request.method(), &path) else {
        return next.run(request).await;
    };
    let asked = Named {
        kind,
        client: client.to_owned(),
        path: path.clone(),
    };
    let mut course = Course::decide(&app.faults, asked);
    course.wait(&app.faults).await;
    match course.decided.answer {
        Answer::Status(StatusFault {
            status,
            retry_after_s,
        }) => refused(status, retry_after_s),
        Answer::TokenExpired => Fail::new(
            StatusCode::UNAUTHORIZED,
            Refusal::SessionExpired.code(),
            "The session has expired.",
            "This backend was told to say so.".to_owned(),
        )
        .into_response(),
        // Put in place of the answer where that leaves.
        Answer::Portal | Answer::GzipBomb | Answer::RedirectLoop => {
            with(Response::default(), course)
        }
        // Nobody asks for a range, or a manifest.
        Answer::Good | Answer::Longer | Answer::WrongRange | Answer::StaleManifest => {
            with(next.run(request).await, course)
        }
    }
}

fn with(mut response: Response, course: Course) -> Response {
    response.extensions_mut().insert(course);
    response
}

fn refused(status: u16, retry_after_s: Option<u32>) -> Response {
    let mut fail = Fail::new(
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        "fault",
        "This backend was told to answer so.",
        String::new(),
    );
    fail.0.retry_after_ms = retry_after_s.map(|seconds| u64::from(seconds) * 1000);
    fail.into_response()
}

/// In the query of what follows a redirect: a rule that hits one request makes one loop, not one hop.
const LOOP: &str = "nearcast-loop";

/// Redirects a request to itself. What is asked stays the same: after 302 a POST would be a GET, and no loop.
fn redirect_to_itself(uri: &Uri) -> Response {
    let itself = format!("{}?{LOOP}", uri.path());
    let to = [(header::LOCATION, itself)];
    (StatusCode::TEMPORARY_REDIRECT, to).into_response()
}

/// Lets happen to a body what was decided.
pub(crate) async fn happen(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    if uri.query() == Some(LOOP) {
        return redirect_to_itself(&uri);
    }
    let cut = request.extensions().get::<Cut>().cloned();
    let mut response = next.run(request).await;
    let Some(course) = response.extensions_mut().remove::<Course>() else {
        return response;
    };
    match course.decided.answer {
        Answer::Portal => {
            let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            return (html, PORTAL).into_response();
        }
        Answer::GzipBomb => {
            let packed = [
                (header::CONTENT_TYPE, "application/json"),
                (header::CONTENT_ENCODING, "gzip"),
            ];
            return (packed, gzip_bomb()).into_response();
        }
        Answer::RedirectLoop => return redirect_to_itself(&uri),
        Answer::Good
        | Answer::Longer
        | Answer::Status(_)
        | Answer::TokenExpired
        | Answer::WrongRange
        | Answer::StaleManifest => {}
    }
    let is_longer = course.decided.answer == Answer::Longer;
    if !is_longer && !course.concerns_body() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let Ok(whole) = collected.map(http_body_util::Collected::to_bytes) else {
        return Fail::internal("The answer could not be read.").into_response();
    };
    let said = if is_longer {
        whole.len() / 2
    } else {
        whole.len()
    };
    head.headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(said));
    let body = Leaving {
        faults: Arc::clone(&app.faults),
        cut: cut.unwrap_or_default(),
        course,
        whole,
        taken: 0,
        trickle: None,
        spoilt: false,
        hangs: false,
    };
    let pieces = futures_util::stream::unfold(body, |mut body| async move {
        let piece = body.next().await?;
        Some((Ok::<_, Infallible>(piece), body))
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

/// What a request is for.
#[derive(Clone, Debug)]
struct Named {
    kind: ObjectKind,
    client: String,
    path: String,
}

impl Named {
    fn target(&self, length: u64) -> Target<'_> {
        Target {
            path: &self.path,
            object: ObjectName::of_kind(self.kind),
            client: &self.client,
            first: 0,
            // A batch of events is answered without a body: there is nothing to cut off.
            length: if self.kind == ObjectKind::Event {
                0
            } else {
                length
            },
        }
    }
}

/// What goes wrong with one answer: orders that come while it is under way count for it.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    named: Named,
    /// Of a body of [`WHOLE`] bytes.
    decided: Disposition,
    known: Asked,
    orders: watch::Receiver<u64>,
}

impl Course {
    fn decide(faults: &Faults, named: Named) -> Self {
        // First: an order between the two lines is looked at once too often, not missed.
        let orders = faults.orders();
        let (decided, known) = faults.with(|board, unix_ms| {
            let decided = board.decide(unix_ms, named.target(WHOLE));
            (decided, board.asked())
        });
        Self {
            named,
            decided,
            known,
            orders,
        }
    }

    /// Waits as long as the answer is to be late, or until that is called off.
    async fn wait(&mut self, faults: &Faults) {
        if self.decided.late.is_zero() {
            return;
        }
        let target = self.named.target(0);
        faults.with(|board, unix_ms| {
            board.handle_effect(unix_ms, target, &self.decided, Effect::Late)
        });
        let late = tokio::time::sleep(self.decided.late);
        let mut late = std::pin::pin!(late);
        loop {
            tokio::select! {
                () = &mut late => return,
                () = self.outdated() => self.revise(faults, 0),
            }
            if self.decided.late.is_zero() {
                return;
            }
        }
    }

    async fn outdated(&mut self) {
        if self.orders.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes the orders that came meanwhile; so much of [`WHOLE`] was sent.
    fn revise(&mut self, faults: &Faults, sent: u64) {
        self.orders.mark_unchanged();
        let before = std::mem::take(&mut self.decided);
        let target = self.named.target(WHOLE);
        (self.decided, self.known) = faults.with(|board, _| {
            let decided = board.revise(target, sent, before, self.known);
            (decided, board.asked())
        });
    }

    /// Whether anything is to become of its body.
    fn concerns_body(&self) -> bool {
        let Disposition {
            end,
            spoilt,
            slowed,
            ..
        } = &self.decided;
        *end != BodyEnd::Complete || spoilt.is_some() || slowed.is_some()
    }

    /// Returns what was decided, of a body of this length.
    fn measured(&self, length: u64) -> Disposition {
        let of = |after: &mut u64| {
            let share = u128::from(*after) * u128::from(length) / u128::from(WHOLE);
            *after = u64::try_from(share).unwrap_or(u64::MAX);
        };
        let mut measured = self.decided.clone();
        match &mut measured.end {
            BodyEnd::Complete => {}
            BodyEnd::Reset { after }
            | BodyEnd::Truncate { after }
            | BodyEnd::Hang { after }
            | BodyEnd::Link { after, .. } => of(after),
        }
        if let Some(Spoilt { after, .. }) = &mut measured.spoilt {
            of(after);
        }
        if let Some(Slowed { after, .. }) = &mut measured.slowed {
            of(after);
        }
        measured
    }
}

/// A body on its way out.
struct Leaving {
    faults: Arc<Faults>,
    cut: Cut,
    course: Course,
    whole: Bytes,
    taken: usize,
    /// At which rate it is held back now.
    trickle: Option<BitRate>,
    /// Whether a wrong byte has left.
    spoilt: bool,
    hangs: bool,
}

impl Leaving {
    /// Returns the next bytes; `None` at its end, however that comes.
    async fn next(&mut self) -> Option<Bytes> {
        let length = bytes(self.whole.len());
        loop {
            let fault = self.course.measured(length);
            let end = fault.end.after().unwrap_or(length).min(length);
            if bytes(self.taken) < end {
                let Some(end) = self.held_back(end, &fault).await else {
                    continue;
                };
                return Some(self.take(end, &fault));
            }
            match fault.end {
                BodyEnd::Complete => return None,
                BodyEnd::Truncate { .. } => {
                    tokio::time::sleep(SETTLE).await;
                    self.takes_effect(&fault, Effect::Cut);
                    return None;
                }
                BodyEnd::Reset { .. } => {
                    tokio::time::sleep(SETTLE).await;
                    self.takes_effect(&fault, Effect::Cut);
                    self.cut.ask();
                    std::future::pending::<()>().await;
                }
                BodyEnd::Hang { .. } => {
                    if !std::mem::replace(&mut self.hangs, true) {
                        self.takes_effect(&fault, Effect::Cut);
                    }
                    self.course.outdated().await;
                    self.revise();
                    self.hangs &= self.course.measured(length).end == fault.end;
                }
                // A connection that outlives it goes on when the link is up again.
                BodyEnd::Link { .. } => {
                    tokio::time::sleep(SETTLE).await;
                    let kills = self.faults.view().kills;
                    self.takes_effect(&fault, Effect::Cut);
                    self.course.decided.end = BodyEnd::Complete;
                    let mut view = self.faults.subscribe();
                    let is_up = |view: &View| view.link == Link::Up && view.kills == kills;
                    // The sender is in `self`: it cannot be gone.
                    drop(view.wait_for(is_up).await);
                }
            }
        }
    }

    /// Waits until more may leave of what comes before `end`, and returns how far that goes; `None` where orders came
    /// meanwhile.
    async fn held_back(&mut self, end: u64, fault: &Disposition) -> Option<usize> {
        let taken = bytes(self.taken);
        let until = match fault.slowed {
            Some(slowed) if taken < slowed.after => slowed.after.min(end),
            Some(Slowed { rate, .. }) => {
                if self.trickle.replace(rate) != Some(rate) {
                    self.takes_effect(fault, Effect::Slowed { at: taken });
                }
                let drop = rate.bytes_in(DRIP).max(ByteCount::new(1));
                let drop = drop.min(ByteCount::new(end - taken));
                // At no rate at all, nothing comes.
                let due = rate.time_for(drop).unwrap_or(Duration::MAX);
                tokio::select! {
                    () = tokio::time::sleep(due) => {}
                    () = self.course.outdated() => {
                        self.revise();
                        return None;
                    }
                }
                taken + drop.get()
            }
            None => {
                self.trickle = None;
                end
            }
        };
        Some(usize::try_from(until).unwrap_or(usize::MAX))
    }

    /// Takes the orders that came meanwhile.
    fn revise(&mut self) {
        let sent = bytes(self.taken) * WHOLE / bytes(self.whole.len()).max(1);
        self.course.revise(&self.faults, sent);
        // A body that is wrong for another time says so once more.
        self.spoilt &= self.course.decided.spoilt.is_some();
    }

    fn take(&mut self, end: usize, fault: &Disposition) -> Bytes {
        let from = self.taken;
        self.taken = end;
        let piece = self.whole.slice(from..end);
        let Some(Spoilt { after, how }) = fault.spoilt else {
            return piece;
        };
        let length = bytes(self.whole.len()).saturating_sub(after);
        let mut spoilt = BytesMut::from(&piece[..]);
        let mut first = None;
        for (index, byte) in (bytes(from)..).zip(spoilt.iter_mut()) {
            let place = index.checked_sub(after);
            if let Some(other) = place.and_then(|place| how.spoils(*byte, place, length)) {
                *byte = other;
                first.get_or_insert(index);
            }
        }
        if let Some(at) = first.filter(|_| !std::mem::replace(&mut self.spoilt, true)) {
            self.takes_effect(fault, Effect::Spoilt { at });
        }
        spoilt.freeze()
    }

    fn takes_effect(&self, fault: &Disposition, effect: Effect) {
        let target = self.course.named.target(bytes(self.whole.len()));
        let change = self
            .faults
            .with(|board, unix_ms| board.handle_effect(unix_ms, target, fault, effect));
        if change.is_some() {
            self.faults.change(change);
        }
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_their_path() {
        let of = |method: Method, path| object_of(&method, path);
        assert_eq!(of(Method::POST, "v1/play"), Some((ObjectKind::Play, "")));
        assert_eq!(
            of(Method::POST, "v1/play/p1/refresh"),
            Some((ObjectKind::Refresh, "p1"))
        );
        assert_eq!(
            of(Method::GET, "v1/steering/p1"),
            Some((ObjectKind::Steering, "p1"))
        );
        assert_eq!(of(Method::POST, "v1/events"), Some((ObjectKind::Event, "")));
        for (method, path) in [
            (Method::GET, "v1/play"),
            (Method::POST, "v1/steering/p1"),
            (Method::GET, "v1/steering/p1/explain"),
            (Method::POST, "v1/sealed"),
            (Method::GET, "v1/events/count"),
            (Method::POST, "v1/session"),
            (Method::GET, "healthz"),
        ] {
            assert_eq!(of(method.clone(), path), None, "{method} {path}");
        }
    }
}
