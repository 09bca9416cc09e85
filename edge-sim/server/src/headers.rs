//! What requests and answers say in their headers.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use nearcast_appliance::token::parameter;
use nearcast_protocol::play::Problem;

/// Which part of an object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// From the first up to and including the last byte.
    Part { first: u64, last: u64 },
    /// Nothing that it has.
    Nothing,
}

/// Reads `Range` for an object of `length` bytes (RFC 9110 section 14). What is not one range of bytes is
/// ignored, as the standard allows: several ranges are never needed here.
pub(crate) fn wanted(range: Option<&HeaderValue>, length: u64) -> Wanted {
    let spec = range.and_then(|range| range.to_str().ok());
    let Some(spec) = spec.and_then(|range| range.strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((from, to)) = spec.trim().split_once('-') else {
        return Wanted::Whole;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // More digits than fit are a number beyond every object.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    match (digits(from), digits(to)) {
        (true, _) if digits(to) || to.is_empty() => {
            let first = number(from);
            let last = if to.is_empty() { u64::MAX } else { number(to) };
            if last < first {
                Wanted::Whole
            } else if first >= length {
                Wanted::Nothing
            } else {
                Wanted::Part {
                    first,
                    last: last.min(length - 1),
                }
            }
        }
        (false, true) if from.is_empty() => match number(to).min(length) {
            0 => Wanted::Nothing,
            tail => Wanted::Part {
                first: length - tail,
                last: length - 1,
            },
        },
        _ => Wanted::Whole,
    }
}

/// Whether a list of entity tags (`If-None-Match`) names this one.
pub(crate) fn names(list: Option<&HeaderValue>, etag: &str) -> bool {
    let list = list.and_then(|list| list.to_str().ok()).unwrap_or_default();
    list.split(',').any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag
    })
}

/// Finds CMCD (CTA-5004) in the query or in the four headers; bounded, it goes into the log.
pub(crate) fn cmcd(query: &str, headers: &HeaderMap) -> Option<String> {
    const NAMES: [&str; 4] = ["cmcd-request", "cmcd-object", "cmcd-status", "cmcd-session"];
    let found = parameter(query, "CMCD").or_else(|| {
        let values: Vec<&str> = NAMES
            .iter()
            .filter_map(|name| headers.get(*name)?.to_str().ok())
            .collect();
        (!values.is_empty()).then(|| values.join(","))
    });
    found.map(|mut text| {
        let end = (0..=text.len().min(CMCD_MAX))
            .rev()
            .find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text
    })
}

const CMCD_MAX: usize = 2048;

/// Headers of every answer: browsers may read it from other origins.
pub(crate) fn open_to_browsers(headers: &mut HeaderMap) {
    let all = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, all.clone());
    headers.insert(HeaderName::from_static("timing-allow-origin"), all);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "Accept-Ranges, Alt-Svc, CMSD-Dynamic, Content-Length, Content-Range, ETag, Repr-Digest, \
             Retry-After, Server-Timing",
        ),
    );
}

/// Answers a browser's question whether it may ask.
pub(crate) fn answer_preflight(headers: &mut HeaderMap) {
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Range, If-None-Match, If-Range, CMCD-Request, CMCD-Object, CMCD-Status, CMCD-Session",
        ),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("86400"),
    );
}

/// Makes an error answer (RFC 9457).
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Problem {
    let title = status.canonical_reason().unwrap_or("Error");
    Problem::new(status.as_u16(), code, title, detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str) -> Wanted {
        wanted(Some(&HeaderValue::from_str(range).unwrap()), 1000)
    }

    #[test]
    fn one_range_is_understood() {
        let part = |first, last| Wanted::Part { first, last };
        assert_eq!(of("bytes=0-0"), part(0, 0));
        assert_eq!(of("bytes=10-19"), part(10, 19));
        assert_eq!(of("bytes=990-"), part(990, 999));
        assert_eq!(of("bytes=990-5000"), part(990, 999));
        assert_eq!(of("bytes=-10"), part(990, 999));
        assert_eq!(of("bytes=-5000"), part(0, 999));
        assert_eq!(of("bytes=0-99999999999999999999999"), part(0, 999));
        assert_eq!(wanted(None, 1000), Wanted::Whole);
    }

    #[test]
    fn beyond_the_end_there_is_nothing() {
        for range in [
            "bytes=1000-",
            "bytes=1000-1001",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            assert_eq!(of(range), Wanted::Nothing, "{range}");
        }
        let of_empty = wanted(Some(&HeaderValue::from_static("bytes=-1")), 0);
        assert_eq!(of_empty, Wanted::Nothing);
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        for range in [
            "bytes=0-1,5-6",
            "bytes=5-1",
            "bytes=a-b",
            "bytes=-",
            "bytes=+1-2",
            "lines=1-2",
            "bytes",
        ] {
            assert_eq!(of(range), Wanted::Whole, "{range}");
        }
    }

    #[test]
    fn cmcd_comes_from_the_query_or_the_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(cmcd("a=b", &headers), None);
        headers.insert("cmcd-object", HeaderValue::from_static("br=3200,d=4004"));
        headers.insert("cmcd-session", HeaderValue::from_static("sid=\"x\""));
        assert_eq!(
            cmcd("a=b", &headers).as_deref(),
            Some("br=3200,d=4004,sid=\"x\"")
        );
        assert_eq!(
            cmcd("CMCD=bl%3D4000%2Cbs", &headers).as_deref(),
            Some("bl=4000,bs")
        );
        let long = format!("CMCD={}", "ä".repeat(5000));
        assert_eq!(cmcd(&long, &headers).map(|text| text.len()), Some(2048));
    }

    #[test]
    fn etags_are_compared_in_lists() {
        let list = HeaderValue::from_static("\"x\", W/\"abc\"");
        assert!(names(Some(&list), "\"abc\""));
        assert!(!names(Some(&list), "\"ab\""));
        assert!(!names(None, "\"abc\""));
    }
}
