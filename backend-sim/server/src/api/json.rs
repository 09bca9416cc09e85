//! JSON bodies, capped and with a deadline.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::App;
use super::problem::Fail;

/// A request's body as JSON, of at most `SIZE_BYTES_MAX`.
pub(crate) struct Json<T, const SIZE_BYTES_MAX: usize>(pub(crate) T);

/// The most a request of a client may have. A play request has a few hundred bytes, a batch of events some ten
/// thousand.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 10;

/// The most an appliance's report may have.
pub(crate) const REPORT_BYTES_MAX: usize = 1 << 20;

impl<T: DeserializeOwned, const SIZE_BYTES_MAX: usize> FromRequest<Arc<App>>
    for Json<T, SIZE_BYTES_MAX>
{
    type Rejection = Fail;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Fail> {
        let body = read(request, SIZE_BYTES_MAX).await?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Fail::bad_request(format!("The body is not as expected: {error}.")))
    }
}

/// Reads a whole body.
pub(crate) async fn read(request: Request, size_bytes_max: usize) -> Result<bytes::Bytes, Fail> {
    let body = Limited::new(request.into_body(), size_bytes_max).collect();
    match tokio::time::timeout(BODY_DEADLINE, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fail::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The request is too large.",
            format!("At most {size_bytes_max} bytes are taken."),
        )),
        Ok(Err(_)) => Err(Fail::bad_request("The body was cut off.")),
        Err(_) => Err(Fail::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "The request came too slowly.",
            String::new(),
        )),
    }
}

/// A whole report passes in this time at 1 Mbit/s.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// An answer as JSON. Answers are for one viewer: nothing on the way may keep them.
pub(crate) struct Answer<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => (
                [
                    (
                        header::CONTENT_TYPE,
                        HeaderValue::from_static("application/json"),
                    ),
                    (
                        header::CACHE_CONTROL,
                        HeaderValue::from_static("private, no-store"),
                    ),
                ],
                body,
            )
                .into_response(),
            Err(_) => Fail::internal("The answer could not be written.").into_response(),
        }
    }
}
