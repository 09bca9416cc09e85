//! Error answers: `application/problem+json` (RFC 9457) with a stable code.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use nearcast_backend_model::{HistoryError, PlayError, Refused, ReportError, SessionError};
use nearcast_protocol::play::{Problem, Refusal};

/// An answer that is an error; boxed, because a problem is large and rare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fail(pub(crate) Box<Problem>);

impl Fail {
    pub(crate) fn new(status: StatusCode, code: &str, title: &str, detail: String) -> Self {
        Self(Box::new(Problem::new(status.as_u16(), code, title, detail)))
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "The request does not make sense.",
            detail.into(),
        )
    }

    pub(crate) fn internal(detail: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The backend failed.",
            detail.to_owned(),
        )
    }

    pub(crate) fn playback_unknown() -> Self {
        PlayError::PlaybackUnknown.into()
    }

    /// The backend or what it needs is busy.
    pub(crate) fn unavailable(code: &str, title: &str, detail: String, retry: Duration) -> Self {
        let mut fail = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail);
        fail.0.retry_after_ms = Some(millis(retry));
        fail
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait_ms) = problem.retry_after_ms {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait_ms.div_ceil(1000)),
            );
        }
        response.extensions_mut().insert(Code(problem.code));
        response
    }
}

/// The code of an error answer, for those who count.
#[derive(Clone, Debug)]
pub(crate) struct Code(pub(crate) String);

impl From<Refused> for Fail {
    fn from(refused: Refused) -> Self {
        let (status, title) = describe(&refused.refusal);
        let mut fail = Self::new(status, refused.refusal.code(), title, refused.detail);
        fail.0.retry_after_ms = refused.retry_after.map(millis);
        fail
    }
}

/// Status and title of each refusal. Clients go by the code; the status is for what stands between.
const fn describe(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::PlanRequired => (
            StatusCode::FORBIDDEN,
            "The plan does not include this title.",
        ),
        Refusal::RegionBlocked => (
            StatusCode::FORBIDDEN,
            "The title is not available in this country.",
        ),
        Refusal::PlatformBlocked => (
            StatusCode::FORBIDDEN,
            "The title is not available on this platform.",
        ),
        Refusal::TooManyStreams => (
            StatusCode::FORBIDDEN,
            "As many streams play as the plan allows.",
        ),
        Refusal::MaturityBlocked => (
            StatusCode::FORBIDDEN,
            "The profile's maturity setting forbids this title.",
        ),
        Refusal::TitleUnknown => (StatusCode::NOT_FOUND, "There is no such title."),
        Refusal::DeviceUnsupported => (
            StatusCode::FORBIDDEN,
            "The device cannot play any version of this title.",
        ),
        Refusal::SessionExpired => (StatusCode::UNAUTHORIZED, "The session has expired."),
        Refusal::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "The backend is too busy."),
        Refusal::Other(_) => (StatusCode::FORBIDDEN, "The title may not be played."),
    }
}

impl From<PlayError> for Fail {
    fn from(error: PlayError) -> Self {
        match error {
            PlayError::Refused(refused) => refused.into(),
            PlayError::NoAppliance(why) => Self::unavailable(
                "no_appliance",
                "No edge can serve this title here and now.",
                why,
                NO_APPLIANCE_RETRY,
            ),
            PlayError::PlaybackUnknown => Self::new(
                StatusCode::NOT_FOUND,
                "playback_unknown",
                "There is no such playback.",
                "It ended long ago or is of another account; send a new play request.".to_owned(),
            ),
            PlayError::BadRequest(detail) => Self::bad_request(detail),
        }
    }
}

/// Appliances report every few seconds.
const NO_APPLIANCE_RETRY: Duration = Duration::from_secs(2);

impl From<SessionError> for Fail {
    fn from(error: SessionError) -> Self {
        let detail = error.to_string();
        match error {
            SessionError::AccountUnknown(_) => Self::new(
                StatusCode::FORBIDDEN,
                "account_unknown",
                "There is no such account.",
                detail,
            ),
            SessionError::BadField(_) => Self::bad_request(detail),
        }
    }
}

impl From<HistoryError> for Fail {
    fn from(error: HistoryError) -> Self {
        let detail = error.to_string();
        let refusal = match error {
            HistoryError::TitleUnknown(_) => Refusal::TitleUnknown,
            HistoryError::SessionExpired => Refusal::SessionExpired,
        };
        let (status, title) = describe(&refusal);
        Self::new(status, refusal.code(), title, detail)
    }
}

impl From<ReportError> for Fail {
    fn from(error: ReportError) -> Self {
        let detail = error.to_string();
        match error {
            ReportError::BadId(_) | ReportError::Bad { .. } | ReportError::TooMany { .. } => {
                Self::new(
                    StatusCode::BAD_REQUEST,
                    "report_invalid",
                    "The report does not make sense.",
                    detail,
                )
            }
            ReportError::TooManyAppliances(_) => Self::unavailable(
                "too_many_appliances",
                "No more appliances are taken.",
                detail,
                Duration::from_secs(60),
            ),
        }
    }
}

pub(crate) async fn not_found() -> Fail {
    Fail::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "There is no such call.",
        String::new(),
    )
}

pub(crate) async fn method_not_allowed() -> Fail {
    Fail::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This call has another method.",
        String::new(),
    )
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
