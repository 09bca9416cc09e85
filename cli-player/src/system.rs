//! The whole system in this process: a made title, a backend and ten edges, for `nearcast demo`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nearcast_backend_server::{
    Backend, BackendConfig, BackendHandle, CA_CERTIFICATE_FILE, LOOPBACK_SECRET, Network,
    read_catalogue,
};
use nearcast_edge_server::fault::{Fault, FaultOrder, FaultRule};
use nearcast_edge_server::{Authority, EdgeConfig, EdgeHandle, EdgeServer};
use nearcast_player::BitRate;
use nearcast_protocol::play::SiteKind;
use tokio::runtime::Runtime;

/// Everything that runs; dropping it stops it.
#[derive(Debug)]
pub(crate) struct System {
    servers: Servers,
    ca_pem: String,
    runtime: ServerRuntime,
    /// Edges that were killed.
    killed: Mutex<BTreeSet<String>>,
    /// Keys and certificates; removed at the end.
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Servers {
    backend: BackendHandle,
    edges: Vec<EdgeHandle>,
}

/// Where the servers run: not where the player does, which none of them may hold up.
#[derive(Debug)]
struct ServerRuntime(Option<Runtime>);

/// Eleven servers that mostly wait: one thread for what a slow disk holds up, one for the rest.
const SERVER_WORKERS: usize = 2;

/// Why the system does not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemError {
    /// The folder for keys cannot be made.
    #[error(
        "cannot make a folder for keys: {0}; free some space, or let TMPDIR name another place"
    )]
    Folder(std::io::Error),
    /// The servers' threads cannot be started.
    #[error("cannot start the servers' threads: {0}; close other programs")]
    Runtime(std::io::Error),
    /// The title's catalogue cannot be read.
    #[error("{0}; remove the folder of the title, and it is made anew")]
    Catalogue(#[from] nearcast_backend_server::CatalogueFileError),
    /// The backend does not start.
    #[error("the backend does not start: {0}; close other programs and try again")]
    Backend(#[from] nearcast_backend_server::BackendError),
    /// An edge does not start.
    #[error("an edge does not start: {0}; close other programs and try again")]
    Edge(#[from] nearcast_edge_server::EdgeError),
    /// A server panicked; its message was printed.
    #[error("a server ended by a defect ({0}); report it with what was printed")]
    Panicked(tokio::task::JoinError),
    /// No edge has reported within the time it takes.
    #[error(
        "the edges did not report to the backend within {0} s; try again when this machine is less busy, \
         --log FILE says more"
    )]
    NoReports(u64),
}

/// One appliance of the demo: name, site, kilobits per second, milliseconds one way, degrees.
struct Plan {
    id: &'static str,
    site: &'static str,
    rate_kbps: u64,
    delay_ms: u64,
    position_deg: (f64, f64),
}

const fn plan(
    id: &'static str,
    site: &'static str,
    rate_kbps: u64,
    delay_ms: u64,
    position_deg: (f64, f64),
) -> Plan {
    Plan {
        id,
        site,
        rate_kbps,
        delay_ms,
        position_deg,
    }
}

/// Ten appliances round a viewer in Stockholm. The nearest is not the best one, as in life; rates leave the
/// top rung about a second for each segment, so that there is something to see.
const PLANS: [Plan; 10] = [
    plan("sto-1", "Stockholm", 9_000, 6, (59.33, 18.06)),
    plan("sto-2", "Stockholm", 20_000, 4, (59.34, 18.07)),
    plan("upp-1", "Uppsala", 18_000, 8, (59.86, 17.64)),
    plan("got-1", "Gothenburg", 16_000, 11, (57.71, 11.97)),
    plan("osl-1", "Oslo", 16_000, 14, (59.91, 10.75)),
    plan("hel-1", "Helsinki", 15_000, 12, (60.17, 24.94)),
    plan("cph-1", "Copenhagen", 15_000, 16, (55.68, 12.57)),
    plan("ham-1", "Hamburg", 14_000, 21, (53.55, 9.99)),
    plan("ams-1", "Amsterdam", 14_000, 25, (52.37, 4.90)),
    plan("lon-1", "London", 12_000, 32, (51.51, -0.13)),
];
const VIEWER_POSITION_DEG: (f64, f64) = (59.30, 18.00);
const VIEWER_PREFIX: &str = "127.0.0.0/8";
/// Appliances report when they start; this is a slow machine's allowance.
const REPORTS_MAX: Duration = Duration::from_secs(10);

impl ServerRuntime {
    fn start() -> Result<Self, SystemError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SERVER_WORKERS)
            .thread_name("servers")
            .enable_all()
            .build()
            .map_err(SystemError::Runtime)?;
        Ok(Self(Some(runtime)))
    }

    /// Does something there; a panic there is an error here.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, SystemError> {
        match &self.0 {
            Some(runtime) => runtime.spawn(work).await.map_err(SystemError::Panicked),
            // It goes with its owner, who is here.
            None => std::future::pending().await,
        }
    }
}

impl Drop for ServerRuntime {
    fn drop(&mut self) {
        // This may be a thread of the player's runtime, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl System {
    /// Brings everything up for a title that was made.
    ///
    /// # Cancel safety
    /// When dropped before it returns, the servers end and nothing is left.
    pub(crate) async fn start(
        title: &nearcast_title::Title,
        access_logs: Option<&Path>,
    ) -> Result<Self, SystemError> {
        let folder = tempfile::tempdir().map_err(SystemError::Folder)?;
        let runtime = ServerRuntime::start()?;
        let authority_folder = folder.path().join("ca");
        let authority = Authority::load_or_create(&authority_folder)?;
        let ca_pem = authority.ca_pem().to_owned();
        let (title, access_logs) = (title.clone(), access_logs.map(Path::to_path_buf));
        let servers = runtime
            .run(async move {
                let servers =
                    Servers::start(&title, access_logs.as_deref(), authority, authority_folder)
                        .await?;
                servers.reported().await?;
                Ok::<_, SystemError>(servers)
            })
            .await??;
        Ok(Self {
            servers,
            ca_pem,
            runtime,
            killed: Mutex::default(),
            _folder: folder,
        })
    }

    /// Returns the backend's URL.
    pub(crate) fn backend_url(&self) -> &str {
        self.servers.backend.url()
    }

    /// Returns the certificate to trust.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Kills an edge: TCP connections are reset and then refused, QUIC falls silent.
    pub(crate) async fn kill(&self, id: &str) -> Result<(), String> {
        let edge = self
            .servers
            .edges
            .iter()
            .find(|edge| edge.id() == id)
            .ok_or_else(|| format!("there is no edge {id}"))?;
        let dies = FaultRule::everywhere(Fault::Kill);
        edge.apply(FaultOrder::add([dies]))
            .await
            .map_err(|error| error.to_string())?;
        let mut killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
        killed.insert(id.to_owned());
        Ok(())
    }

    /// Whether any edge was killed.
    pub(crate) fn has_killed(&self) -> bool {
        let killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
        !killed.is_empty()
    }

    /// Stops everything in order.
    pub(crate) async fn shutdown(self) {
        let Servers { backend, edges } = self.servers;
        let stopping = self.runtime.run(async move {
            for edge in edges {
                edge.shutdown().await;
            }
            backend.shutdown().await;
        });
        if let Err(error) = stopping.await {
            tracing::warn!(%error, "the servers did not stop in order");
        }
    }
}

impl Servers {
    async fn start(
        title: &nearcast_title::Title,
        access_logs: Option<&Path>,
        authority: Authority,
        authority_folder: PathBuf,
    ) -> Result<Self, SystemError> {
        let mut catalogue = read_catalogue(&title.catalogue)?;
        // Whoever comes from this machine is taken to be where the demo's viewer is.
        catalogue.networks.push(Network {
            prefix: VIEWER_PREFIX.to_owned(),
            country: None,
            position_deg: Some(VIEWER_POSITION_DEG),
        });
        tracing::debug!(ca = %authority_folder.join(CA_CERTIFICATE_FILE).display(), "one authority for all");
        let backend = Backend::start(BackendConfig {
            ca_dir: Some(authority_folder),
            ..BackendConfig::loopback(catalogue)
        })
        .await?;
        let root = title
            .dir
            .parent()
            .map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        let stored = title
            .dir
            .file_name()
            .map(|name| format!("{}/", name.to_string_lossy()));
        let mut edges = Vec::new();
        for plan in &PLANS {
            let mut config = EdgeConfig::new(plan.id, root.clone());
            config.stores = stored.clone().map(|path| vec![path]);
            config.authority = Some(authority.clone());
            config.backend = Some(nearcast_edge_server::Backend {
                url: backend.url().to_owned(),
                secret: LOOPBACK_SECRET.to_owned(),
            });
            config.site = plan.site.to_owned();
            config.kind = if plan.id.ends_with("-1") {
                SiteKind::Isp
            } else {
                SiteKind::Ixp
            };
            config.position_deg = plan.position_deg;
            config.prefixes = vec![VIEWER_PREFIX.to_owned()];
            config.rate = Some(BitRate::from_kbps(plan.rate_kbps));
            config.delay = Duration::from_millis(plan.delay_ms);
            config.access_log = access_logs.map(|folder| folder.join(format!("{}.jsonl", plan.id)));
            edges.push(EdgeServer::start(config).await?);
        }
        Ok(Self { backend, edges })
    }

    /// Waits until the backend knows all edges.
    async fn reported(&self) -> Result<(), SystemError> {
        let all = self.edges.len();
        let known = async {
            let mut every = tokio::time::interval(Duration::from_millis(50));
            while self.backend.appliances() < all {
                every.tick().await;
            }
        };
        tokio::time::timeout(REPORTS_MAX, known)
            .await
            .map_err(|_| SystemError::NoReports(REPORTS_MAX.as_secs()))
    }
}

impl crate::screen::Edges for System {
    fn kill(
        &self,
        id: String,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async move { Self::kill(self, &id).await })
    }

    fn is_killed(&self, id: &str) -> bool {
        let killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
        killed.contains(id)
    }

    fn site(&self, id: &str) -> Option<String> {
        PLANS
            .iter()
            .find(|plan| plan.id == id)
            .map(|plan| plan.site.to_owned())
    }
}
