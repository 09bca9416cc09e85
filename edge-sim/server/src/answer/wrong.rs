//! Answers that are wrong as a whole, because a fault wants them so.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use nearcast_appliance::bodies::{PORTAL, gzip_bomb};
use nearcast_appliance::token::TokenError;
use nearcast_appliance::{Answer, StatusFault};

use super::{Draft, refusal, refusal_until};
use crate::body::Source;

/// Returns what is answered in place of a good answer.
pub(super) fn answer(wrong: Answer, good: Draft, request: &Parts) -> Draft {
    match wrong {
        // Its length is said where it is sent.
        Answer::Good | Answer::Longer => good,
        Answer::Status(StatusFault {
            status,
            retry_after_s,
        }) => refusal_until(
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            "fault",
            "this appliance was told to answer so",
            retry_after_s,
        ),
        Answer::TokenExpired => refusal(
            StatusCode::from_u16(TokenError::Expired.status()).unwrap_or(StatusCode::FORBIDDEN),
            TokenError::Expired.code(),
            &TokenError::Expired.to_string(),
        ),
        Answer::Portal => whole(
            Bytes::from_static(PORTAL.as_bytes()),
            "text/html; charset=utf-8",
        ),
        Answer::GzipBomb => {
            let mut draft = whole(Bytes::from_static(gzip_bomb()), "application/octet-stream");
            let gzip = HeaderValue::from_static("gzip");
            draft.headers.insert(header::CONTENT_ENCODING, gzip);
            draft
        }
        Answer::RedirectLoop => {
            let mut draft = Draft::empty(StatusCode::FOUND, HeaderMap::new());
            if let Ok(itself) = HeaderValue::from_str(&itself(request)) {
                draft.headers.insert(header::LOCATION, itself);
            }
            draft
        }
        Answer::WrongRange => another_range(good),
    }
}

/// In the query of what follows a redirect: a rule that hits one request makes one loop, not one hop.
const LOOP: &str = "nearcast-loop";

/// Whether a request follows a redirect to itself.
pub(super) fn is_in_loop(query: &str) -> bool {
    query.split('&').any(|word| word == LOOP)
}

fn itself(request: &Parts) -> String {
    let path = request.uri.path();
    match request.uri.query() {
        Some(query) if is_in_loop(query) => format!("{path}?{query}"),
        Some(query) => format!("{path}?{query}&{LOOP}"),
        None => format!("{path}?{LOOP}"),
    }
}

fn whole(text: Bytes, content_type: &'static str) -> Draft {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Draft {
        status: StatusCode::OK,
        headers,
        length: u64::try_from(text.len()).unwrap_or(u64::MAX),
        source: Source::Text(text),
        first: 0,
        of_file: false,
    }
}

/// The bytes are those that were asked for; the answer says that they are one further on.
fn another_range(mut good: Draft) -> Draft {
    // What is refused has no ranges.
    if good.length == 0 || !good.of_file {
        return good;
    }
    let (first, last) = (good.first + 1, good.first + good.length);
    if let Ok(range) = HeaderValue::from_str(&format!("bytes {first}-{last}/{}", last + 1)) {
        good.status = StatusCode::PARTIAL_CONTENT;
        good.headers.insert(header::CONTENT_RANGE, range);
    }
    good
}
