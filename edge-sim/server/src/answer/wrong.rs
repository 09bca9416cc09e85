//! Answers that are wrong as a whole, because a fault wants them so.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use nearcast_appliance::bodies::{PORTAL, gzip_bomb};
use nearcast_appliance::token::TokenError;
use nearcast_appliance::{Answer, StatusFault};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Draft, refusal, refusal_until};
use crate::body::Source;

/// Returns what is answered in place of a good answer.
pub(super) async fn answer(wrong: Answer, good: Draft, request: &Parts) -> Draft {
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
        // What is refused has no editions.
        Answer::StaleManifest if !good.of_file => good,
        Answer::StaleManifest => match older_edition(good.source).await {
            Some(text) => whole(text.into(), "application/dash+xml"),
            None => refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "fault",
                "this appliance was told to answer with an older manifest, and this one does not say how long the title is",
            ),
        },
    }
}

/// Longer than any manifest that is read for this.
const MANIFEST_MAX: u64 = 4 << 20;
/// What says in an MPD how long the title is (ISO/IEC 23009-1 section 5.3.1.2).
const LENGTH: &str = "mediaPresentationDuration=\"";

/// Returns an MPD in which the title ends halfway; `None` where it does not say how long that is.
async fn older_edition(source: Source) -> Option<String> {
    let Source::File(mut file) = source else {
        return None;
    };
    if file.metadata().await.ok()?.len() > MANIFEST_MAX {
        return None;
    }
    file.rewind().await.ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).await.ok()?;
    halved(&text)
}

fn halved(mpd: &str) -> Option<String> {
    let (before, rest) = mpd.split_once(LENGTH)?;
    let (length, after) = rest.split_once('"')?;
    let half = seconds(length)? / 2.0;
    Some(format!("{before}{LENGTH}PT{half}S\"{after}"))
}

/// Reads a duration below a day: `PT1H2M3.5S`.
fn seconds(duration: &str) -> Option<f64> {
    let mut rest = duration.strip_prefix("PT")?;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(['H', 'M', 'S'])?;
        let number: f64 = rest[..end].parse().ok()?;
        sum += match &rest[end..=end] {
            "H" => number * 3600.0,
            "M" => number * 60.0,
            _ => number,
        };
        rest = &rest[end + 1..];
    }
    (sum > 0.0).then_some(sum)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_edition_ends_halfway() {
        let mpd = |length: &str| format!("<MPD type=\"static\" {LENGTH}{length}\"/>");
        for (length, half) in [
            ("PT126S", "PT63S"),
            ("PT1H1M0.5S", "PT1830.25S"),
            ("PT1M", "PT30S"),
        ] {
            assert_eq!(halved(&mpd(length)), Some(mpd(half)), "{length}");
        }
        for length in ["", "126", "PT0S", "PT1Y", "P1DT5S", "PTxS"] {
            assert_eq!(halved(&mpd(length)), None, "{length}");
        }
        assert_eq!(halved("#EXTM3U"), None);
    }
}
