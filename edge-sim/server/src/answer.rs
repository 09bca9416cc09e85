//! One request in, one answer out, whatever carries it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use nearcast_appliance::token::{Token, parameter};
use nearcast_appliance::{Answer, Effect, ObjectName, Refusal, Target};
use nearcast_protocol::play::HttpProtocol;
use tokio::io::AsyncSeekExt;

use crate::body::{AnswerBody, LogLine, Source};
use crate::connection::Control;
use crate::course::Course;
use crate::edge::{Edge, name_of};
use crate::files::{FileError, Object, decode_path};
use crate::headers::{Wanted, answer_preflight, cmcd, names, open_to_browsers, problem, wanted};
use crate::tokens;

mod wrong;

/// Where a request came in.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) edge: Arc<Edge>,
    pub(crate) protocol: HttpProtocol,
    pub(crate) control: Arc<Control>,
    /// Whether HTTP/3 may be advertised here.
    pub(crate) over_tls: bool,
}

/// A status, headers and where the body comes from.
struct Draft {
    status: StatusCode,
    headers: HeaderMap,
    source: Source,
    first: u64,
    length: u64,
    /// Whether the body is a part of a file.
    of_file: bool,
}

/// The size of a probe's answer unless it asks for another, and the most it may ask for.
const PROBE_BYTES: u64 = 64 * 1024;
const PROBE_BYTES_MAX: u64 = 1024 * 1024;

/// Answers a request. The body's length is in its headers.
pub(crate) async fn answer(door: &Door, request: http::request::Parts) -> Response<AnswerBody> {
    let edge = &door.edge;
    let protocol = name_of(&door.protocol);
    let mut log = LogLine::new(
        Arc::clone(edge),
        Arc::clone(&door.control),
        protocol,
        &request,
    );
    let began = edge.clock.now();
    let query = request.uri.query().unwrap_or_default();
    log.entry.cmcd = cmcd(query, &request.headers);

    let path = decode_path(request.uri.path());
    let draft = match &path {
        Some(path) => find(edge, &request, path, query, &mut log).await,
        None => refusal(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such file here",
        ),
    };
    let work = edge.clock.now().since(began);
    // Decided on when it would have come over the link: of requests to several edges the nearest one's is the first, as in a network.
    edge.gate.cross().await;
    let path = path.unwrap_or_default();
    let is_head = request.method == Method::HEAD;
    let client = log.entry.playback_id.clone().unwrap_or_default();
    let target = Target {
        path: &path,
        object: ObjectName::of_path(&path),
        client: &client,
        first: draft.first,
        length: if is_head || !draft.of_file {
            0
        } else {
            draft.length
        },
    };
    let mut course = if wrong::is_in_loop(query) {
        Course::in_loop(edge)
    } else {
        Course::decide(edge, target)
    };
    let draft = wrong::answer(course.fault.answer, draft, &request).await;
    if !course.fault.late.is_zero() {
        course.takes_effect(edge, target, Effect::Late);
        // An error in its place has none of the body.
        let length = if draft.of_file { target.length } else { 0 };
        wait(edge, Target { length, ..target }, &mut course).await;
    }

    let Draft {
        status,
        mut headers,
        source,
        first,
        length,
        of_file,
    } = draft;
    if status != StatusCode::NOT_MODIFIED && status != StatusCode::NO_CONTENT {
        let said = if course.fault.answer == Answer::Longer {
            length / 2
        } else {
            length
        };
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(said));
    }
    open_to_browsers(&mut headers);
    describe(&mut headers, door, work);
    log.entry.status = Some(status.as_u16());
    let sent = if is_head { 0 } else { length };
    if of_file && sent > 0 {
        log.entry.first = Some(first);
        log.entry.last = Some(first + sent - 1);
    }
    let target = Target {
        first,
        length: sent,
        ..target
    };
    let course = of_file.then_some(course);
    let mut response = Response::new(AnswerBody::new(source, target, course, log));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Waits as long as the answer is to be late, or until that is called off.
async fn wait(edge: &Edge, target: Target<'_>, course: &mut Course) {
    let late = tokio::time::sleep(course.fault.late);
    let mut late = std::pin::pin!(late);
    loop {
        tokio::select! {
            () = &mut late => return,
            () = course.outdated() => {
                course.revise(edge, target, 0);
                if course.fault.late.is_zero() {
                    return;
                }
            }
        }
    }
}

async fn find(
    edge: &Edge,
    request: &http::request::Parts,
    path: &str,
    query: &str,
    log: &mut LogLine,
) -> Draft {
    match request.method {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => {
            let mut headers = HeaderMap::new();
            answer_preflight(&mut headers);
            return Draft::empty(StatusCode::NO_CONTENT, headers);
        }
        _ => {
            let mut draft = refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "only GET, HEAD and OPTIONS",
            );
            let allow = HeaderValue::from_static("GET, HEAD, OPTIONS");
            draft.headers.insert(header::ALLOW, allow);
            return draft;
        }
    }
    if let Some(refused) = check_token(edge, path, query, log) {
        return refused;
    }
    if path == "probe" {
        return probe(query);
    }
    let stored = edge.stores.as_ref();
    if stored.is_some_and(|stores| {
        !stores
            .iter()
            .any(|prefix| path.starts_with(prefix.as_str()))
    }) {
        return refusal(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such file here",
        );
    }
    let files = edge.files.clone();
    let wanted_path = path.to_owned();
    let found = tokio::task::spawn_blocking(move || files.find(&wanted_path)).await;
    match found {
        Ok(Ok(object)) => of_object(object, &request.headers).await,
        Ok(Err(FileError::NotFound)) => refusal(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such file here",
        ),
        Ok(Err(FileError::Unreadable(error))) => {
            tracing::warn!(edge = %edge.id, path, %error, "a file cannot be read");
            unreadable()
        }
        Err(error) => {
            tracing::warn!(edge = %edge.id, path, %error, "looking for a file failed");
            unreadable()
        }
    }
}

fn check_token(edge: &Edge, path: &str, query: &str, log: &mut LogLine) -> Option<Draft> {
    if !edge.needs_token {
        return None;
    }
    let checked = Token::parse(query).and_then(|token| {
        let key =
            edge.with(|appliance, now| appliance.verifying_key(now, &token.claims.key_id).cloned());
        tokens::verify(&token, key.as_ref())?;
        log.entry.playback_id = Some(token.claims.playback_id.clone());
        Ok(token.claims)
    });
    let refused = edge.with(|appliance, now| {
        let token = checked.as_ref().map_err(|error| *error);
        appliance.refuses(now, path, token)
    })?;
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::FORBIDDEN);
    Some(match refused {
        Refusal::Token(error) => refusal(status, error.code(), &error.to_string()),
        Refusal::ControlPlaneLost => refusal_until(
            status,
            "control_plane_lost",
            "this appliance has lost the control plane and takes no new sessions",
            refused.retry_after_s(),
        ),
    })
}

async fn of_object(object: Object, asked: &HeaderMap) -> Draft {
    // Until the digest is known, size and time tell versions of a file apart, as other servers have it.
    let stamp = object
        .modified
        .and_then(|modified| modified.duration_since(std::time::UNIX_EPOCH).ok());
    let stamp = format!(
        "\"{:x}-{:x}\"",
        object.length,
        stamp.unwrap_or_default().as_nanos()
    );
    let etag = object.sha256.map_or_else(
        || stamp.clone(),
        |sha256| {
            let hex = sha256[..16].iter();
            hex.fold(String::from("\""), |tag, byte| format!("{tag}{byte:02x}")) + "\""
        },
    );
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, object.content_type);
    set(header::ACCEPT_RANGES, "bytes");
    set(header::ETAG, &etag);
    set(header::CACHE_CONTROL, "public, max-age=3600");
    if let Some(sha256) = object.sha256 {
        set(
            HeaderName::from_static("repr-digest"),
            &format!("sha-256=:{}:", STANDARD.encode(sha256)),
        );
    }
    if let Some(modified) = object.modified {
        set(header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    }
    // A client may hold the tag from before the digest was known: it means the same bytes.
    let known = asked.get(header::IF_NONE_MATCH);
    if names(known, &etag) || names(known, &stamp) {
        return Draft::empty(StatusCode::NOT_MODIFIED, headers);
    }
    // `If-Range` with anything but this very tag asks for the whole.
    let same = asked.get(header::IF_RANGE).is_none_or(|tag| {
        [&etag, &stamp]
            .iter()
            .any(|own| tag.as_bytes() == own.as_bytes())
    });
    let range = asked.get(header::RANGE).filter(|_| same);
    let (status, first, length) = match wanted(range, object.length) {
        Wanted::Whole => (StatusCode::OK, 0, object.length),
        Wanted::Part { first, last } => {
            set(
                header::CONTENT_RANGE,
                &format!("bytes {first}-{last}/{}", object.length),
            );
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Wanted::Nothing => {
            let mut draft = refusal(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range_not_satisfiable",
                "the range begins behind the end of the file",
            );
            let total = HeaderValue::from_str(&format!("bytes */{}", object.length));
            if let Ok(total) = total {
                draft.headers.insert(header::CONTENT_RANGE, total);
            }
            return draft;
        }
    };
    let mut file = tokio::fs::File::from_std(object.file);
    if let Err(error) = file.seek(std::io::SeekFrom::Start(first)).await {
        tracing::warn!(%error, "a file cannot be read");
        return unreadable();
    }
    Draft {
        status,
        headers,
        source: Source::File(file),
        first,
        length,
        of_file: true,
    }
}

fn probe(query: &str) -> Draft {
    let bytes = match parameter(query, "bytes").map(|bytes| bytes.parse::<u64>()) {
        None => PROBE_BYTES,
        Some(Ok(bytes)) => bytes.min(PROBE_BYTES_MAX),
        Some(Err(_)) => {
            return refusal(
                StatusCode::BAD_REQUEST,
                "bad_probe",
                "`bytes` is not a number",
            );
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Draft {
        status: StatusCode::OK,
        headers,
        source: Source::Filler,
        first: 0,
        length: bytes,
        of_file: true,
    }
}

/// What the answer says of the appliance and of itself.
fn describe(headers: &mut HeaderMap, door: &Door, work: std::time::Duration) {
    let edge = &door.edge;
    let id: String = edge
        .id
        .chars()
        .filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
        .collect();
    let free = edge.with(|appliance, now| appliance.health(now).free_capacity_bps);
    let rate = edge
        .gate
        .rate()
        .map_or(free, |rate| rate.as_bps().min(free));
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let millis = work.as_secs_f64() * 1000.0;
    set(
        "server-timing",
        format!("edge;desc=\"{id}\";dur={millis:.1}"),
    );
    set("cmsd-dynamic", format!("\"{id}\";etp={}", rate / 1000));
    if let Some(alt_svc) = edge.alt_svc.as_ref().filter(|_| door.over_tls) {
        headers.insert(header::ALT_SVC, alt_svc.clone());
    }
}

impl Draft {
    fn empty(status: StatusCode, headers: HeaderMap) -> Self {
        Self {
            status,
            headers,
            source: Source::Filler,
            first: 0,
            length: 0,
            of_file: false,
        }
    }
}

fn unreadable() -> Draft {
    refusal(
        StatusCode::INTERNAL_SERVER_ERROR,
        "file_unreadable",
        "the file is there and cannot be read",
    )
}

/// An error answer (RFC 9457).
fn refusal(status: StatusCode, code: &str, detail: &str) -> Draft {
    refusal_until(status, code, detail, None)
}

/// An error answer that says when to ask again.
fn refusal_until(
    status: StatusCode,
    code: &str,
    detail: &str,
    retry_after_s: Option<u32>,
) -> Draft {
    let mut problem = problem(status, code, detail);
    problem.retry_after_ms = retry_after_s.map(|seconds| u64::from(seconds) * 1000);
    let text = Bytes::from(serde_json::to_vec(&problem).unwrap_or_default());
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Draft {
        status,
        headers,
        length: u64::try_from(text.len()).unwrap_or(u64::MAX),
        source: Source::Text(text),
        first: 0,
        of_file: false,
    }
}
