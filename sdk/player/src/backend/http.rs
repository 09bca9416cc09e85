//! Requests and answers of control calls: bounded in time and size.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::Method;
use ::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use nearcast_net::Net;
use nearcast_protocol::play::{Problem, SealingKey};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, RequestBuilder, Response};
use serde::Serialize;
use url::Url;

use super::error::BackendError;
use super::sealed::{ANSWER_TYPE, Opened, REQUEST_TYPE};
use crate::network::Network;

/// Makes requests that share connections, names and trust.
#[derive(Clone, Debug)]
pub(super) struct ControlClient {
    client: Client,
}

impl ControlClient {
    pub(super) fn new(network: &Network) -> Result<Self, BackendError> {
        let options = network.options();
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let name = HeaderName::try_from(name).map_err(|error| setup(&error))?;
            headers.append(
                name,
                HeaderValue::try_from(value).map_err(|error| setup(&error))?,
            );
        }
        let user_agent = options
            .user_agent
            .as_deref()
            .unwrap_or(concat!("nearcast/", env!("CARGO_PKG_VERSION")));
        let builder = Client::builder()
            .user_agent(user_agent)
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .tls_backend_preconfigured((*network.net().tls_config()).clone())
            .dns_resolver(Names(network.net().clone()));
        let builder = match &options.proxy {
            Some(proxy) => {
                builder.proxy(reqwest::Proxy::all(proxy).map_err(|error| setup(&error))?)
            }
            // What the environment says about proxies does not hold for media, so not for control either.
            None => builder.no_proxy(),
        };
        Ok(Self {
            client: builder.build().map_err(|error| setup(&error))?,
        })
    }

    pub(super) fn request(&self, ask: &Ask, token: Option<&str>) -> RequestBuilder {
        let mut request = self.client.request(ask.method.clone(), ask.url.clone());
        if !ask.body.is_empty() {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(ask.body.clone());
        }
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(super) fn post_sealed(&self, url: Url, body: Vec<u8>) -> RequestBuilder {
        self.client
            .post(url)
            .header(CONTENT_TYPE, REQUEST_TYPE)
            .header(ACCEPT, ANSWER_TYPE)
            .body(body)
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// The call's name, for errors.
    pub(super) call: &'static str,
    method: Method,
    pub(super) url: Url,
    /// JSON; empty for none.
    pub(super) body: Vec<u8>,
    /// Whether it may be sealed.
    pub(super) sealable: bool,
}

impl Ask {
    pub(super) const fn new(call: &'static str, method: Method, url: Url) -> Self {
        Self {
            call,
            method,
            url,
            body: Vec::new(),
            sealable: false,
        }
    }

    pub(super) fn with(mut self, body: &impl Serialize) -> Result<Self, BackendError> {
        self.body = serde_json::to_vec(body).map_err(|error| setup(&error))?;
        Ok(self)
    }
}

/// Looks names up where media requests do.
struct Names(Net);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let net = self.0.clone();
        Box::pin(async move {
            let addresses = net.lookup(name.as_str()).await?;
            // The port of the URL takes the place of 0.
            let addresses: Addrs = Box::new(
                addresses
                    .into_iter()
                    .map(|address| SocketAddr::new(address, 0)),
            );
            Ok(addresses)
        })
    }
}

/// Longer than any start-up may take; the session's own deadline comes first.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Two packets that are lost in a row cost three seconds (RFC 6298); a new attempt is then as good as a third.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A grant has a few kilobytes, a list of ten thousand titles two megabytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Reads a base URL: paths joined to it keep its own path.
pub(super) fn base_url(text: &str) -> Result<Url, BackendError> {
    let mut url = Url::parse(text).map_err(|error| BackendError::Setup {
        reason: format!("`{text}` is no URL: {error}"),
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(BackendError::Setup {
            reason: format!("`{text}` is no http or https URL"),
        });
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

pub(super) fn setup(error: &dyn std::error::Error) -> BackendError {
    BackendError::Setup {
        reason: error.to_string(),
    }
}

/// An answer of any status, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn from_opened(opened: Opened) -> Self {
        Self {
            status: opened.status,
            retry_after: opened.retry_after.as_deref().and_then(retry_after),
            body: opened.body,
        }
    }

    /// Returns the body of a success; everything else is an error.
    pub(super) fn success(self, call: &'static str) -> Result<Vec<u8>, BackendError> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let problem = self.problem().unwrap_or_else(|| {
            let detail = "the answer is no problem document; is this the address of a backend?";
            Problem::new(
                self.status,
                "",
                &format!("status {}", self.status),
                detail.to_owned(),
            )
        });
        Err(BackendError::from_problem(call, problem, self.retry_after))
    }

    /// Returns the new sealing key of an answer that says that the one used is old.
    pub(super) fn fresh_key(&self) -> Option<SealingKey> {
        if (200..300).contains(&self.status) {
            return None;
        }
        self.problem()
            .filter(|problem| problem.code == "sealing_key_expired")?
            .sealing
    }

    fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Sends a request and reads its whole answer.
pub(super) async fn send(
    call: &'static str,
    request: RequestBuilder,
) -> Result<Answer, BackendError> {
    let response = request.send().await;
    let response = response.map_err(|error| BackendError::from_transport(call, &error))?;
    let status = response.status().as_u16();
    let header = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(retry_after);
    let body = read(response).await.map_err(|error| match error {
        ReadError::TooLarge => BackendError::BadAnswer {
            call,
            reason: too_large(),
        },
        ReadError::Transport(error) => BackendError::from_body(call, &error),
    })?;
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}

/// Why there is no answer to a sealed request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealedFailure {
    /// Sealing does not work with this backend, or this key.
    #[error("rejected: {0}")]
    Rejected(String),
    /// The network is in the way; another time it may not be.
    #[error("no answer: {0}")]
    Unanswered(String),
}

/// Sends a sealed request and reads the sealed answer; `begun` becomes true when it begins.
pub(super) async fn send_sealed(
    request: RequestBuilder,
    begun: &AtomicBool,
) -> Result<Vec<u8>, SealedFailure> {
    let unanswered =
        |error: reqwest::Error| SealedFailure::Unanswered(error.without_url().to_string());
    let response = request.send().await.map_err(unanswered)?;
    begun.store(true, Ordering::Relaxed);
    if !response.status().is_success() {
        let status = response.status().as_u16();
        return Err(SealedFailure::Rejected(format!("status {status}")));
    }
    read(response).await.map_err(|error| match error {
        ReadError::TooLarge => SealedFailure::Rejected(too_large()),
        ReadError::Transport(error) => unanswered(error),
    })
}

enum ReadError {
    TooLarge,
    Transport(reqwest::Error),
}

fn too_large() -> String {
    format!("it is longer than {ANSWER_BYTES_MAX} bytes")
}

async fn read(mut response: Response) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(ReadError::Transport)? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Seconds only: a date would need a wall clock that agrees with the server's.
fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}
