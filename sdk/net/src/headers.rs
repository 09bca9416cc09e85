//! The beginning of an answer, read once.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{self, HeaderName};

use crate::error::NetError;
use crate::request::{Protocol, Range};

/// What an answer says about itself. Sizes and offsets are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// HTTP status, any.
    pub status: u16,
    /// What it was spoken in.
    pub protocol: Protocol,
    /// Length of this body, if announced.
    pub content_length: Option<u64>,
    /// Which part of the object this body is (status 206).
    pub content_range: Option<ContentRange>,
    /// Length of the whole object, if known: from `Content-Range`, else from `Content-Length` of a 200.
    pub total: Option<u64>,
    /// SHA-256 of the whole object (`Repr-Digest`).
    pub repr_digest_sha256: Option<[u8; 32]>,
    /// How long to leave the server alone. A date is taken relative to the answer's own `Date`.
    pub retry_after: Option<Duration>,
    /// `Server-Timing` as sent.
    pub server_timing: Option<String>,
    /// `CMSD-Dynamic` as sent.
    pub cmsd_dynamic: Option<String>,
    /// `Content-Type` as sent.
    pub content_type: Option<String>,
    /// `Location` as sent, in a 201 or in a redirect that could not be followed.
    pub location: Option<String>,
    /// The absolute URL that answered, when it is not the one asked; may hold a token.
    pub redirected_to: Option<String>,
}

/// A part of an object, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, inclusive.
    pub last: u64,
}

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const CMSD_DYNAMIC: HeaderName = HeaderName::from_static("cmsd-dynamic");

/// Reads the headers of an answer to a request for `asked`, and refuses one that is not what was asked.
pub(crate) fn read(
    status: u16,
    map: &HeaderMap,
    protocol: Protocol,
    asked: Option<Range>,
) -> Result<Headers, NetError> {
    let text = |name: &HeaderName| {
        let value = map.get(name)?.to_str().ok()?;
        Some(value.trim().to_owned())
    };
    let content_length = content_length(map)?;
    let sent_range = text(&header::CONTENT_RANGE);
    let parsed = sent_range.as_deref().and_then(parse_content_range);
    if status == 206 {
        check_range(asked, parsed, sent_range.as_deref(), content_length)?;
    }
    if (200..300).contains(&status)
        && let Some(encoding) = text(&header::CONTENT_ENCODING)
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(NetError::ContentEncoding { encoding });
    }
    let (content_range, range_total) = parsed.unwrap_or_default();
    let total = match status {
        206 | 416 => range_total,
        200 => content_length,
        _ => None,
    };
    Ok(Headers {
        status,
        protocol,
        content_length,
        content_range: content_range.filter(|_| status == 206),
        total,
        repr_digest_sha256: list(map, &REPR_DIGEST).and_then(|value| sha256(&value)),
        retry_after: text(&header::RETRY_AFTER)
            .and_then(|value| retry_after(&value, text(&header::DATE).as_deref())),
        server_timing: text(&SERVER_TIMING),
        cmsd_dynamic: text(&CMSD_DYNAMIC),
        content_type: text(&header::CONTENT_TYPE),
        location: text(&header::LOCATION),
        redirected_to: None,
    })
}

/// Reads a header whose value is a list, which may stand in several lines (RFC 9110 §5.3).
pub(crate) fn list(map: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = map
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Reads the length; two different ones are an attack or a broken server (RFC 9112 §6.3).
fn content_length(map: &HeaderMap) -> Result<Option<u64>, NetError> {
    let mut length = None;
    for value in map.get_all(header::CONTENT_LENGTH) {
        let parsed = value
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok());
        match (parsed, length) {
            (Some(parsed), None) => length = Some(parsed),
            (Some(parsed), Some(known)) if parsed == known => {}
            (Some(_) | None, _) => {
                return Err(NetError::Protocol {
                    detail: "the Content-Length is no number, or two".to_owned(),
                });
            }
        }
    }
    Ok(length)
}

/// Reads `bytes 0-99/200`, `bytes 0-99/*`, `bytes */200`.
fn parse_content_range(value: &str) -> Option<(Option<ContentRange>, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    if range.trim() == "*" {
        return Some((None, total));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let beyond = total.is_some_and(|total| last >= total);
    // The length of the part must be a number too.
    let sound = first <= last && last < u64::MAX && !beyond;
    sound.then_some((Some(ContentRange { first, last }), total))
}

fn check_range(
    asked: Option<Range>,
    parsed: Option<(Option<ContentRange>, Option<u64>)>,
    sent: Option<&str>,
    content_length: Option<u64>,
) -> Result<(), NetError> {
    let wrong = |what: &str| NetError::WrongRange {
        detail: format!(
            "{what}: asked {}, got {}",
            asked.map_or_else(|| "the whole".to_owned(), |range| range.to_string()),
            sent.unwrap_or("no Content-Range")
        ),
    };
    let Some(asked) = asked else {
        return Err(wrong("a part nobody asked for"));
    };
    let Some((Some(got), total)) = parsed else {
        return Err(wrong("a part that does not say which"));
    };
    if got.first != asked.first {
        return Err(wrong("another beginning"));
    }
    // The last byte due: what was asked, or the object's own end if that comes first.
    let end = total.map(|total| total.saturating_sub(1));
    let due = match (asked.last, end) {
        (Some(last), Some(end)) => Some(last.min(end)),
        (Some(last), None) if got.last > last => Some(last),
        (Some(_), None) | (None, None) => None,
        (None, Some(end)) => Some(end),
    };
    // Less is allowed (RFC 9110 §15.3.7), and a caller asks for the rest.
    if due.is_some_and(|due| got.last > due) {
        return Err(wrong("another end"));
    }
    if content_length.is_some_and(|length| length != got.last - got.first + 1) {
        return Err(wrong("a Content-Length that does not fit"));
    }
    Ok(())
}

/// Reads `sha-256=:BASE64:` out of a `Repr-Digest` (RFC 9530); parameters of a member say nothing here.
fn sha256(value: &str) -> Option<[u8; 32]> {
    let member = value
        .split(',')
        .find_map(|member| member.trim().strip_prefix("sha-256=:"))?;
    let (digest, rest) = member.split_once(':')?;
    let alone = rest.trim().is_empty() || rest.trim_start().starts_with(';');
    let bytes = STANDARD.decode(Some(digest).filter(|_| alone)?).ok()?;
    bytes.try_into().ok()
}

fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = httpdate::parse_http_date(date?).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn ranged(
        first: u64,
        last: Option<u64>,
        lines: &[(&'static str, &str)],
    ) -> Result<Headers, NetError> {
        read(
            206,
            &map(lines),
            Protocol::Http1,
            Some(Range { first, last }),
        )
    }

    #[test]
    fn a_part_tells_the_whole() {
        let lines = [
            ("content-range", "bytes 10-19/100"),
            ("content-length", "10"),
        ];
        let headers = ranged(10, Some(19), &lines).unwrap();
        assert_eq!(headers.total, Some(100));
        assert_eq!(
            headers.content_range,
            Some(ContentRange {
                first: 10,
                last: 19
            })
        );
        assert!(ranged(10, None, &[("content-range", "bytes 10-99/100")]).is_ok());
        assert!(ranged(90, Some(500), &[("content-range", "bytes 90-99/100")]).is_ok());
        assert!(ranged(0, Some(9), &[("content-range", "bytes 0-9/*")]).is_ok());
    }

    #[test]
    fn a_shorter_part_is_an_answer_too() {
        for (last, line) in [
            (Some(19), "bytes 10-18/100"),
            (Some(19), "bytes 10-10/*"),
            (None, "bytes 10-18/100"),
        ] {
            assert!(
                ranged(10, last, &[("content-range", line)]).is_ok(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_part_that_was_not_asked_for_is_refused() {
        for line in [
            "bytes 0-9/100",
            "bytes 10-20/100",
            "bytes 19-10/100",
            "bytes 10-19/15",
            "bytes 10-20/*",
            "bytes */100",
            "items 10-19/100",
            "bytes 10-18446744073709551615/*",
            "bytes a-b/c",
            "",
        ] {
            let refused = ranged(10, Some(19), &[("content-range", line)]).unwrap_err();
            assert_eq!(refused.code(), "net.wrong_range", "{line}");
        }
        assert!(ranged(10, Some(19), &[]).is_err());
        let unfit = [
            ("content-range", "bytes 10-19/100"),
            ("content-length", "11"),
        ];
        assert!(ranged(10, Some(19), &unfit).is_err());
        let whole = read(
            206,
            &map(&[("content-range", "bytes 0-9/10")]),
            Protocol::Http2,
            None,
        );
        assert_eq!(whole.unwrap_err().code(), "net.wrong_range");
    }

    #[test]
    fn two_lengths_are_refused_unless_they_agree() {
        let twice = |second| {
            let lines = [("content-length", "5"), ("content-length", second)];
            read(200, &map(&lines), Protocol::Http1, None)
        };
        assert_eq!(twice("5").unwrap().total, Some(5));
        for bad in ["6", "-1", "x", "99999999999999999999999"] {
            assert_eq!(twice(bad).unwrap_err().code(), "net.protocol");
        }
    }

    #[test]
    fn an_unsatisfiable_range_still_tells_the_size() {
        let headers = read(
            416,
            &map(&[("content-range", "bytes */100")]),
            Protocol::Http1,
            Some(Range {
                first: 200,
                last: None,
            }),
        );
        assert_eq!(headers.unwrap().total, Some(100));
    }

    #[test]
    fn an_encoded_body_is_refused_and_an_encoded_error_page_is_not() {
        let gzip = map(&[("content-encoding", "gzip")]);
        let refused = read(200, &gzip, Protocol::Http1, None).unwrap_err();
        assert_eq!(refused.code(), "net.content_encoding");
        assert!(read(500, &gzip, Protocol::Http1, None).is_ok());
    }

    #[test]
    fn retry_after_is_seconds_or_relative_to_the_answers_date() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after("120", None), Some(Duration::from_secs(120)));
        let later = "Sun, 06 Nov 1994 08:50:07 GMT";
        assert_eq!(
            retry_after(later, Some(date)),
            Some(Duration::from_secs(30))
        );
        assert_eq!(retry_after(date, Some(later)), Some(Duration::ZERO));
        assert_eq!(retry_after(later, None), None);
        assert_eq!(retry_after("soon", Some(date)), None);
    }

    #[test]
    fn a_digest_is_read_among_others() {
        let value = format!("sha-512=:AA==:, sha-256=:{}:", STANDARD.encode([7; 32]));
        assert_eq!(sha256(&value), Some([7; 32]));
        let parameters = format!("sha-256=:{}:;a=1; b, md5=:AA==:", STANDARD.encode([7; 32]));
        assert_eq!(sha256(&parameters), Some([7; 32]));
        let lines = [
            ("repr-digest", "sha-512=:AA==:"),
            ("repr-digest", &parameters),
        ];
        let headers = read(200, &map(&lines), Protocol::Http1, None).unwrap();
        assert_eq!(headers.repr_digest_sha256, Some([7; 32]));
        assert_eq!(sha256("sha-256=:AA==:"), None);
        assert_eq!(sha256("sha-256=AA=="), None);
    }
}
