//! How a control call can end without an answer one can use.

use std::time::Duration;

use nearcast_protocol::play::{Problem, Refusal};

/// Why the backend gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The play request was refused: an answer, not an outage.
    #[error("{message}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// One sentence for people.
        message: String,
        /// When to ask again, where that helps.
        retry_after: Option<Duration>,
    },
    /// The backend answered with an error.
    #[error("the backend answered with {status} ({call}): {message}")]
    Problem {
        /// Which call.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// The backend's own code; empty when its answer held none.
        problem: String,
        /// One sentence for people.
        message: String,
        /// When to ask again, where that helps.
        retry_after: Option<Duration>,
    },
    /// The backend cannot be reached.
    #[error("the backend cannot be reached: {reason}")]
    Unreachable {
        /// Which call.
        call: &'static str,
        /// What the connection said.
        reason: String,
    },
    /// The backend did not answer in time.
    #[error("the backend did not answer in time ({call})")]
    Timeout {
        /// Which call.
        call: &'static str,
    },
    /// The backend's certificate is not accepted, or TLS failed otherwise.
    #[error("no TLS with the backend: {reason}")]
    Tls {
        /// Which call.
        call: &'static str,
        /// Whether it is the certificate: waiting does not mend that.
        certificate: bool,
        /// What the verifier said.
        reason: String,
    },
    /// The answer is not what it should be.
    #[error("the backend's answer ({call}) cannot be understood: {reason}")]
    BadAnswer {
        /// Which call.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The client could not be set up, or the backend's address is unusable.
    #[error("the backend cannot be asked: {reason}")]
    Setup {
        /// What is wrong.
        reason: String,
    },
}

impl BackendError {
    /// Returns the stable code: `play.<refusal>` for a refusal, `play.no_edges` where no edge can serve the
    /// title, `backend.…` for everything else.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { refusal, .. } => refusal_code(refusal),
            Self::Problem { problem, .. } if problem == NO_APPLIANCE => "play.no_edges",
            Self::Problem { .. } => "backend.problem",
            Self::Unreachable { .. } => "backend.unreachable",
            Self::Timeout { .. } => "backend.timeout",
            Self::Tls { .. } => "backend.tls",
            Self::BadAnswer { .. } => "backend.bad_answer",
            Self::Setup { .. } => "backend.setup",
        }
    }

    /// Returns whether asking again cannot help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => !matches!(refusal, Refusal::Overloaded),
            Self::Problem { status, .. } => {
                *status >= 400 && *status < 500 && *status != 408 && *status != 429
            }
            Self::Setup { .. } => true,
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::BadAnswer { .. } => false,
        }
    }

    /// Whether the backend does not know what it was asked about: a playback that it had granted, say, before it began anew.
    pub(crate) const fn is_about_nothing(&self) -> bool {
        matches!(
            self,
            Self::Problem {
                status: 404 | 410,
                ..
            }
        )
    }

    /// Returns when to ask again, where the backend said so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Problem { retry_after, .. } => *retry_after,
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::BadAnswer { .. }
            | Self::Setup { .. } => None,
        }
    }

    pub(super) fn from_problem(
        call: &'static str,
        problem: Problem,
        retry_after: Option<Duration>,
    ) -> Self {
        let retry_after = problem
            .retry_after_ms
            .map(Duration::from_millis)
            .or(retry_after);
        let message = match (problem.title.as_str(), problem.detail.as_str()) {
            ("", "") => problem.code.clone(),
            (text, "") | ("", text) => text.to_owned(),
            // Both are sentences; the first one becomes the heading of the second.
            (title, detail) => format!("{}: {detail}", title.trim_end_matches('.')),
        };
        match Refusal::from_code(&problem.code) {
            Some(refusal) => Self::Refused {
                refusal,
                message,
                retry_after,
            },
            None => Self::Problem {
                call,
                status: problem.status,
                problem: problem.code,
                message,
                retry_after,
            },
        }
    }

    pub(super) fn from_transport(call: &'static str, error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout { call };
        }
        if let Some(tls) = tls_cause(error) {
            return Self::Tls {
                call,
                certificate: matches!(tls, rustls::Error::InvalidCertificate(_)),
                reason: tls.to_string(),
            };
        }
        let reason = innermost(error);
        if error.is_builder() {
            return Self::Setup { reason };
        }
        // Somebody answers, and nobody who could be a backend.
        if error.is_redirect() {
            return Self::BadAnswer { call, reason };
        }
        Self::Unreachable { call, reason }
    }

    /// The same of what came after an answer began: one that has another length than it says is wrong, and whoever
    /// sends it can be reached.
    pub(super) fn from_body(call: &'static str, error: &reqwest::Error) -> Self {
        let told = Self::from_transport(call, error);
        if let Self::Unreachable { reason, .. } = &told
            && has_wrong_length(error)
        {
            let reason = reason.clone();
            return Self::BadAnswer { call, reason };
        }
        told
    }
}

/// What a backend calls having nobody to send the viewer to.
const NO_APPLIANCE: &str = "no_appliance";

const fn refusal_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::PlanRequired => "play.plan_required",
        Refusal::RegionBlocked => "play.region_blocked",
        Refusal::PlatformBlocked => "play.platform_blocked",
        Refusal::TooManyStreams => "play.too_many_streams",
        Refusal::MaturityBlocked => "play.maturity_blocked",
        Refusal::TitleUnknown => "play.title_unknown",
        Refusal::DeviceUnsupported => "play.device_unsupported",
        Refusal::SessionExpired => "play.session_expired",
        Refusal::Overloaded => "play.overloaded",
        Refusal::Other(_) => "play.refused",
    }
}

fn tls_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = cause_of(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        cause = cause_of(error);
    }
    None
}

/// Whether a body ended too early, or went on too long, in good order: over HTTP/1.1 that is an end of its connection without a reset.
fn has_wrong_length(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = cause_of(error);
    while let Some(error) = cause {
        // This side finds that HTTP/2 was breached, and ends the stream alone.
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_reset() && h2.is_library();
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::UnexpectedEof
        {
            return true;
        }
        cause = cause_of(error);
    }
    false
}

/// An I/O error names as its source the source of what it wraps, and so hides what it wraps.
fn cause_of<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a (dyn std::error::Error + 'static)> {
    match error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The outer layers repeat the URL, which may hold what is nobody's business.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = cause_of(last) {
        last = cause;
    }
    last.to_string()
}
