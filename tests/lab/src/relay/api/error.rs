//! What is wrong with a call, in Toxiproxy's words as far as it has some.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::relay::{AttributeError, RelayError};

/// Why a call is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::relay) enum ApiError {
    #[error("bad request body: {0}")]
    Body(String),
    #[error("missing required field: {0}")]
    Missing(String),
    #[error("proxy not found: {0}")]
    ProxyNotFound(String),
    #[error("proxy already exists: {0}")]
    ProxyExists(String),
    #[error("stream was invalid, can be either upstream or downstream: {0}")]
    Stream(String),
    #[error("toxic not found: {0}")]
    ToxicNotFound(String),
    #[error("toxic already exists: {0}")]
    ToxicExists(String),
    #[error("{0}")]
    Attribute(AttributeError),
    #[error(
        "\"{text}\" is nowhere to listen: {reason}; host:port would be right, as 127.0.0.1:0 for any free port"
    )]
    Listen { text: String, reason: String },
    #[error("{0}")]
    Relay(RelayError),
    #[error(
        "there is no {0}; /proxies, /proxies/NAME/toxics, /populate, /reset or /version would be right"
    )]
    NoSuchPath(String),
    #[error("{0} is nothing that can be done here")]
    NoSuchMethod(String),
    #[error("user agent not allowed: browsers are kept out")]
    Browser,
    #[error("the relay is being closed")]
    Closing,
}

impl ApiError {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Body(_)
            | Self::Missing(_)
            | Self::Stream(_)
            | Self::Attribute(_)
            | Self::Listen { .. }
            | Self::Relay(RelayError::Upstream { .. }) => StatusCode::BAD_REQUEST,
            Self::ProxyNotFound(_) | Self::ToxicNotFound(_) | Self::NoSuchPath(_) => {
                StatusCode::NOT_FOUND
            }
            Self::ProxyExists(_) | Self::ToxicExists(_) => StatusCode::CONFLICT,
            Self::Relay(RelayError::Listen { .. } | RelayError::Change { .. }) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::NoSuchMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Browser => StatusCode::FORBIDDEN,
            Self::Closing => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the body that says so.
    pub(super) fn body(&self) -> serde_json::Value {
        json!({ "error": self.to_string(), "status": self.status().as_u16() })
    }
}

impl From<AttributeError> for ApiError {
    fn from(error: AttributeError) -> Self {
        match error {
            AttributeError::Kind { .. } => Self::Attribute(error),
            AttributeError::Unknown { .. } | AttributeError::Value { .. } => {
                Self::Body(error.to_string())
            }
        }
    }
}

impl From<RelayError> for ApiError {
    fn from(error: RelayError) -> Self {
        Self::Relay(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status(), axum::Json(self.body())).into_response()
    }
}
