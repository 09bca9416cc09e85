//! Sealed play requests: encapsulated HTTP (RFC 9458) over binary HTTP (RFC 9292).
//!
//! What is inside goes through the same router as what comes over TLS, after it was opened and found to be
//! new. Requests that are not of a good session are answered without being remembered: they change nothing,
//! so repeating them is harmless, and strangers cannot fill the replay window.

use std::io::Cursor;
use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bhttp::{Message, Mode};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use nearcast_protocol::play::SealingKey;
use tower::ServiceExt as _;

use super::caller::{CLIENT_ADDRESS_HEADER, Peer};
use super::json::{self, Answer, REQUEST_BYTES_MAX};
use super::problem::Fail;
use super::{App, locked};
use crate::sealing::{Admission, OpenError};
use crate::wrong::Course;

/// Media type of a sealed request.
const REQUEST_TYPE: &str = "message/ohttp-req";
/// Media type of a sealed answer.
const ANSWER_TYPE: &str = "message/ohttp-res";

/// The calls that may come sealed.
#[derive(Clone)]
pub(crate) struct Inner(pub(crate) Router);

/// `GET /v1/sealing-key`: the key that is offered now, over TLS.
pub(crate) async fn key(State(app): State<Arc<App>>) -> Result<Answer<SealingKey>, Fail> {
    app.sealing_offer().map(Answer).ok_or_else(|| {
        Fail::new(
            StatusCode::NOT_FOUND,
            "sealing_not_offered",
            "This backend takes no sealed requests.",
            String::new(),
        )
    })
}

pub(crate) async fn sealed(
    State(app): State<Arc<App>>,
    Extension(Inner(inner)): Extension<Inner>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Fail> {
    let media_type = request.headers().get(header::CONTENT_TYPE);
    if media_type.is_none_or(|value| value.as_bytes() != REQUEST_TYPE.as_bytes()) {
        return Err(Fail::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "sealed_media_type",
            "Sealed requests are of the type message/ohttp-req.",
            String::new(),
        ));
    }
    let outer_address = request.headers().get(CLIENT_ADDRESS_HEADER).cloned();
    let sealed = json::read(request, REQUEST_BYTES_MAX).await?;
    let opened = locked(&app.sealing)
        .open(app.clock.now(), &sealed)
        .map_err(not_opened)?;
    let answer = if opened.accepted {
        let mut request = plain_request(&opened.request)?;
        request.extensions_mut().insert(peer);
        if let Some(address) = outer_address {
            request
                .headers_mut()
                .entry(CLIENT_ADDRESS_HEADER)
                .or_insert(address);
        }
        admit(&app, &request, opened.mark)?;
        let Ok(answer) = inner.oneshot(request).await;
        answer
    } else {
        key_expired(&app)
    };
    let course = answer.extensions().get::<Course>().cloned();
    let plain = binary(answer).await?;
    let body = opened
        .reply
        .encapsulate(&plain)
        .map_err(|_| Fail::internal("The answer could not be sealed."))?;
    let mut response = (
        [
            (header::CONTENT_TYPE, ANSWER_TYPE),
            (header::CACHE_CONTROL, "private, no-store"),
        ],
        body,
    )
        .into_response();
    // What goes wrong with the answer goes wrong with what it is sealed in.
    if let Some(course) = course {
        response.extensions_mut().insert(course);
    }
    Ok(response)
}

/// Refuses what was seen before.
fn admit(app: &App, request: &Request, mark: crate::sealing::Mark) -> Result<(), Fail> {
    let token = super::caller::bearer(request.headers()).unwrap_or_default();
    if !app.with_model(|model, now| model.is_session(now, token)) {
        return Ok(());
    }
    let admission = locked(&app.sealing).admit(mark);
    match admission {
        Admission::New => Ok(()),
        Admission::Replayed => Err(Fail::new(
            StatusCode::CONFLICT,
            "sealed_replayed",
            "This sealed request came before.",
            "Seal a request anew each time it is sent.".to_owned(),
        )),
        Admission::WindowFull => {
            let now = app.clock.now();
            let rotated = locked(&app.sealing).rotate(now);
            app.keys_changed(rotated);
            Err(Fail::new(
                StatusCode::BAD_REQUEST,
                "sealing_key_expired",
                "The sealing key has ended.",
                "Ask for the new one over TLS: GET /v1/sealing-key.".to_owned(),
            ))
        }
    }
}

/// The answer for an ended key. It goes out sealed, so the client may trust the key in it.
fn key_expired(app: &App) -> Response {
    let mut fail = Fail::new(
        StatusCode::BAD_REQUEST,
        "sealing_key_expired",
        "The sealing key has ended.",
        "Seal with the key that comes with this answer.".to_owned(),
    );
    fail.0.sealing = app.sealing_offer();
    fail.into_response()
}

fn not_opened(error: OpenError) -> Fail {
    match error {
        OpenError::KeyUnknown => {
            let mut fail = Fail::new(
                StatusCode::BAD_REQUEST,
                "sealing_key_unknown",
                "The sealing key is not known.",
                "Ask for the new one over TLS: GET /v1/sealing-key.".to_owned(),
            );
            // Registered for this by RFC 9458 section 5.3.
            "https://iana.org/assignments/http-problem-types#ohttp-key"
                .clone_into(&mut fail.0.kind);
            fail
        }
        OpenError::Unreadable => Fail::new(
            StatusCode::BAD_REQUEST,
            "sealed_unreadable",
            "The sealed request cannot be opened.",
            "It was cut off or changed on the way, or sealed for another backend.".to_owned(),
        ),
    }
}

/// Turns binary HTTP into a request. Only what play requests need goes in.
fn plain_request(binary: &[u8]) -> Result<Request, Fail> {
    let bad = || Fail::bad_request("What was sealed is no request in binary HTTP.");
    let message = Message::read_bhttp(&mut Cursor::new(binary)).map_err(|_| bad())?;
    let control = message.control();
    let method = control
        .method()
        .and_then(|method| Method::from_bytes(method).ok())
        .ok_or_else(bad)?;
    let path = control
        .path()
        .and_then(|path| std::str::from_utf8(path).ok())
        .ok_or_else(bad)?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(message.content().to_vec()))
        .map_err(|_| bad())?;
    for field in message.header().iter() {
        let name = HeaderName::from_bytes(field.name()).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(field.value()).map_err(|_| bad())?;
        request.headers_mut().append(name, value);
    }
    Ok(request)
}

/// Turns an answer into binary HTTP.
async fn binary(answer: Response) -> Result<Vec<u8>, Fail> {
    let broken = || Fail::internal("The answer could not be sealed.");
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|_| broken())?
        .to_bytes();
    let status = bhttp::StatusCode::try_from(parts.status.as_u16()).map_err(|_| broken())?;
    let mut message = Message::response(status);
    for (name, value) in &parts.headers {
        message.put_header(name.as_str(), value.as_bytes());
    }
    message.write_content(&body);
    let mut bytes = Vec::new();
    message
        .write_bhttp(Mode::KnownLength, &mut bytes)
        .map_err(|_| broken())?;
    Ok(bytes)
}

/// A grant has some kilobytes for each of ten appliances at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
