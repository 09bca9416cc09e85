//! The one table from *what happened* to *what to do*.

use core::time::Duration;

use crate::input::Failure;

/// What to do about a failure. Whatever it says, bytes that arrived are kept unless they are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The edge is at fault: another edge, and this one rests (at least this long).
    OtherEdge {
        /// Shortest rest.
        rest_min: Duration,
    },
    /// The edge lacks this object only: another edge for it, the edge stays in use.
    OtherEdgeForObject,
    /// The token was not accepted: ask the backend again, then the same or another edge.
    AskBackend,
    /// The bytes are wrong: fetch the object again, from another edge.
    FetchAgain,
    /// Nothing an edge can do about: tell the application.
    Tell,
}

/// Returns what to do about a failure.
#[must_use]
pub const fn remedy(failure: &Failure) -> Remedy {
    match failure {
        Failure::Dns
        | Failure::Refused
        | Failure::ConnectTimeout
        | Failure::Unreachable
        | Failure::TlsCertificate(_)
        | Failure::TlsHandshake
        | Failure::Reset
        | Failure::Truncated
        | Failure::Stalled
        | Failure::Protocol
        | Failure::WrongRange
        | Failure::RedirectLoop
        | Failure::Proxy => Remedy::OtherEdge {
            rest_min: Duration::ZERO,
        },
        Failure::Http {
            status,
            retry_after,
        } => match status {
            401 | 403 => Remedy::AskBackend,
            404 | 410 | 416 => Remedy::OtherEdgeForObject,
            429 | 503 => Remedy::OtherEdge {
                // A server that says how long is believed, up to two minutes.
                rest_min: match retry_after {
                    Some(wanted) if wanted.as_secs() < RETRY_AFTER_MAX.as_secs() => *wanted,
                    Some(_) => RETRY_AFTER_MAX,
                    None => Duration::ZERO,
                },
            },
            _ => Remedy::OtherEdge {
                rest_min: Duration::ZERO,
            },
        },
        Failure::Mismatch | Failure::Corrupt | Failure::SizeChanged => Remedy::FetchAgain,
        Failure::Internal => Remedy::Tell,
    }
}

/// Who wants to be left alone for longer is asked all the same: the viewer waits.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16, retry_after_s: Option<u64>) -> Failure {
        Failure::Http {
            status,
            retry_after: retry_after_s.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_missing_file_is_not_a_dead_edge_and_an_old_token_neither() {
        assert_eq!(remedy(&http(404, None)), Remedy::OtherEdgeForObject);
        assert_eq!(remedy(&http(403, None)), Remedy::AskBackend);
    }

    #[test]
    fn retry_after_is_believed_within_reason() {
        let rest = |seconds| Remedy::OtherEdge {
            rest_min: Duration::from_secs(seconds),
        };
        assert_eq!(remedy(&http(503, Some(7))), rest(7));
        assert_eq!(remedy(&http(429, Some(9_999))), rest(120));
    }
}
