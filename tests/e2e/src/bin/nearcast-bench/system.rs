//! Edges, and a backend where one is asked for, in this process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nearcast_backend_server::{
    Backend, BackendConfig, BackendHandle, Catalogue, LOOPBACK_SECRET, Network, read_catalogue,
};
use nearcast_edge_server::{Authority, EdgeConfig, EdgeHandle, EdgeServer};
use nearcast_player::{BitRate, HttpVersion, NetworkOptions};
use nearcast_title::Title;

/// What an edge's link is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EdgePlan {
    pub(crate) id: &'static str,
    pub(crate) rate_kbps: u64,
    /// Added to every answer and every new connection.
    pub(crate) delay_ms: u64,
    /// Degrees latitude and longitude.
    pub(crate) position_deg: (f64, f64),
}

/// Appliances that run; dropping it stops them.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) edges: Vec<EdgeHandle>,
    backend: Option<BackendHandle>,
    ca_pem: String,
    /// Keys and certificates.
    folder: tempfile::TempDir,
}

/// The title's name in its catalogue.
pub(crate) const TITLE: &str = "demo";
/// An account that the catalogue has.
pub(crate) const ACCOUNT: &str = "demo";
const LOOPBACK: &str = "127.0.0.0/8";
/// Appliances report when they start; this is a slow machine's allowance.
const REPORTS_MAX: Duration = Duration::from_secs(10);

impl System {
    /// Starts edges that serve everybody.
    pub(crate) async fn open(title: &Title, plans: &[EdgePlan]) -> Result<Self> {
        Self::start(title, plans, None).await
    }

    /// Starts edges and a backend they report to; returns when it knows all of them. A backend that knows where
    /// the viewer is (degrees latitude and longitude) ranks edges by distance.
    pub(crate) async fn with_backend(
        title: &Title,
        plans: &[EdgePlan],
        viewer: Option<(f64, f64)>,
    ) -> Result<Self> {
        let mut catalogue = read_catalogue(&title.catalogue)?;
        catalogue.networks = vec![Network {
            prefix: LOOPBACK.to_owned(),
            country: None,
            position_deg: viewer,
        }];
        Self::start(title, plans, Some(catalogue)).await
    }

    async fn start(
        title: &Title,
        plans: &[EdgePlan],
        catalogue: Option<Catalogue>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for keys")?;
        let authority = Authority::load_or_create(&folder.path().join(CA))?;
        let backend = match catalogue {
            Some(catalogue) => {
                let config = BackendConfig {
                    ca_dir: Some(folder.path().join(CA)),
                    ..BackendConfig::loopback(catalogue)
                };
                Some(Backend::start(config).await?)
            }
            None => None,
        };
        let root = title.dir.parent().unwrap_or(Path::new("."));
        let mut edges = Vec::new();
        for plan in plans {
            let mut config = EdgeConfig::new(plan.id, root);
            config.authority = Some(authority.clone());
            config.backend = backend
                .as_ref()
                .map(|backend| nearcast_edge_server::Backend {
                    url: backend.url().to_owned(),
                    secret: LOOPBACK_SECRET.to_owned(),
                });
            config.stores = Some(vec![format!("{}/", folder_name(title))]);
            config.position_deg = plan.position_deg;
            config.prefixes = vec![LOOPBACK.to_owned()];
            config.rate = Some(BitRate::from_kbps(plan.rate_kbps));
            config.delay = Duration::from_millis(plan.delay_ms);
            edges.push(EdgeServer::start(config).await?);
        }
        let system = Self {
            edges,
            backend,
            ca_pem: authority.ca_pem().to_owned(),
            folder,
        };
        tokio::time::timeout(REPORTS_MAX, system.reported())
            .await
            .context("the edges did not report to the backend")?;
        Ok(system)
    }

    async fn reported(&self) {
        let Some(backend) = &self.backend else { return };
        let mut every = tokio::time::interval(Duration::from_millis(20));
        while backend.appliances() < self.edges.len() {
            every.tick().await;
        }
    }

    /// Returns the backend's URL; empty without one.
    pub(crate) fn backend_url(&self) -> &str {
        self.backend.as_ref().map_or("", BackendHandle::url)
    }

    /// Returns where the certificate to trust is kept.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join(CA).join("ca.pem")
    }

    /// Makes a network that knows nothing yet and trusts this system.
    pub(crate) fn network(&self, http: Option<HttpVersion>) -> Result<nearcast_player::Network> {
        Ok(nearcast_player::Network::new(NetworkOptions {
            extra_ca_pem: vec![self.ca_pem.clone().into_bytes()],
            http,
            ..NetworkOptions::default()
        })?)
    }

    pub(crate) fn base_urls(&self) -> Vec<String> {
        self.edges
            .iter()
            .map(|edge| edge.base_url().to_owned())
            .collect()
    }

    pub(crate) async fn shutdown(self) {
        for edge in self.edges {
            edge.shutdown().await;
        }
        if let Some(backend) = self.backend {
            backend.shutdown().await;
        }
    }
}

const CA: &str = "ca";

/// Returns the manifest's path below an edge's base URL.
pub(crate) fn manifest_path(title: &Title) -> String {
    let file = title.dash.file_name().unwrap_or_default().to_string_lossy();
    format!("{}/{file}", folder_name(title))
}

fn folder_name(title: &Title) -> String {
    title
        .dir
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
