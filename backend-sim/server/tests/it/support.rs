//! A backend, a client that trusts it, and an appliance that reports.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use nearcast_backend_server::{Backend, BackendConfig, BackendHandle, Catalogue, LOOPBACK_SECRET};
use nearcast_protocol::appliance::{ApplianceReport, Health, ReportReceipt};
use nearcast_protocol::play::{
    Capabilities, HttpProtocol, PlayGrant, PlayRequest, Problem, SessionGrant, SessionRequest,
    SiteKind,
};
use nearcast_units::Ratio;
use reqwest::{Client, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A running backend and a client of it.
pub(crate) struct Setup {
    pub(crate) backend: BackendHandle,
    pub(crate) client: Client,
}

pub(crate) fn demo() -> BackendConfig {
    BackendConfig::loopback(Catalogue::demo(120_000))
}

/// Another loopback than that of the other tests, where there is one: they take none of its ports once they are free.
pub(crate) fn loopback_apart() -> SocketAddr {
    let apart = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    match std::net::TcpListener::bind(apart) {
        Ok(_) => apart,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

pub(crate) async fn start(config: BackendConfig) -> Setup {
    let backend = Backend::start(config).await.unwrap();
    let client = client_of(&backend);
    Setup { backend, client }
}

/// A backend with one appliance.
pub(crate) async fn start_with_appliance(config: BackendConfig) -> Setup {
    let setup = start(config).await;
    setup.report("a", &report()).await;
    setup
}

pub(crate) fn client_of(backend: &BackendHandle) -> Client {
    client_builder(backend.ca_pem()).build().unwrap()
}

pub(crate) fn client_builder(ca_pem: &str) -> reqwest::ClientBuilder {
    // Every client needs one; whoever comes first sets it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).unwrap();
    Client::builder().no_proxy().tls_certs_only([ca])
}

pub(crate) fn report() -> ApplianceReport {
    ApplianceReport {
        site: "Berlin".to_owned(),
        kind: SiteKind::Isp,
        position_deg: (52.5, 13.4),
        base_url: "https://127.0.0.1:9000".to_owned(),
        protocols: vec![HttpProtocol::H3, HttpProtocol::H2],
        addresses: vec!["127.0.0.1".to_owned()],
        prefixes: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        health: Health {
            load: Ratio::ZERO,
            free_capacity_bps: 1_000_000_000,
            error_rate: Ratio::ZERO,
        },
        files: vec!["demo/".to_owned()],
    }
}

pub(crate) fn play_request() -> PlayRequest {
    PlayRequest {
        title: "demo".to_owned(),
        capabilities: Capabilities {
            codecs: vec!["avc1".to_owned(), "mp4a".to_owned()],
            height_max: Some(1080),
            drm_systems: vec![],
        },
        ..PlayRequest::default()
    }
}

impl Setup {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.backend.url())
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Response {
        let request = self.client.get(self.url(path)).bearer_auth(token);
        request.send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &impl Serialize) -> Response {
        let request = self.client.post(self.url(path)).bearer_auth(token);
        request.json(body).send().await.unwrap()
    }

    pub(crate) async fn report(&self, id: &str, report: &ApplianceReport) -> ReportReceipt {
        let path = format!("/v1/appliances/{id}/report");
        good(self.post(&path, LOOPBACK_SECRET, report).await).await
    }

    pub(crate) async fn session(&self, account: &str, device: &str) -> SessionGrant {
        let request = SessionRequest {
            account: account.to_owned(),
            device_id: device.to_owned(),
            platform: "linux".to_owned(),
        };
        good(self.post("/v1/session", "", &request).await).await
    }

    pub(crate) async fn token(&self) -> String {
        self.session("demo", "tv").await.access_token
    }

    pub(crate) async fn play(&self, token: &str) -> PlayGrant {
        good(self.post("/v1/play", token, &play_request()).await).await
    }
}

/// Reads a good answer.
pub(crate) async fn good<T: DeserializeOwned>(response: Response) -> T {
    let status = response.status();
    let body = response.text().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Reads an error answer.
pub(crate) async fn problem(response: Response) -> Problem {
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].clone();
    let body = response.text().await.unwrap();
    assert_eq!(kind, "application/problem+json", "{body}");
    let problem: Problem = serde_json::from_str(&body).unwrap();
    assert_eq!(problem.status, status);
    problem
}
