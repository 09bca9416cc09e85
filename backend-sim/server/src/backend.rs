//! Starts and stops the backend.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nearcast_appliance::fault::{FaultOrder, FaultReceipt};
use nearcast_backend_model::{Backend as Model, Catalogue, CatalogueError, ModelConfig};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admin;
use crate::api::{self, App, Parts, SEALING_KEYS, SIGNING_KEYS, Urls};
use crate::ca::{Authority, CaError};
use crate::clock::WallClock;
use crate::faults::{FaultError, Faults};
use crate::listen::{self, Serving};
use crate::sealing::{SealingConfig, SealingKeys};
use crate::signing::{NoRandomness, SigningConfig, SigningKeys};
use crate::socket::Port;
use crate::store::{self, StoreError, StoreThread};
use crate::tls::Tls;

/// The bootstrap secret of a backend that only this machine reaches.
pub const LOOPBACK_SECRET: &str = "nearcast-loopback";

/// What a backend is to do.
#[derive(Clone, Debug)]
pub struct BackendConfig {
    /// Where the main API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where sealed play requests come in, over plain HTTP; `None` offers no sealing.
    pub sealed_listen: Option<SocketAddr>,
    /// Serves the main API without TLS; on loopback only.
    pub plain: bool,
    /// Where orders of faults come in; on loopback. `None` takes them from [`BackendHandle::apply`] alone.
    pub admin: Option<SocketAddr>,
    /// The name or address that clients reach this backend by; `None` is the address it listens on, which must be a
    /// certain one then.
    pub public_host: Option<String>,
    /// Titles, accounts, plans and networks.
    pub catalogue: Catalogue,
    /// File that keeps sessions, playbacks, history, events and keys; `None` keeps them in memory.
    pub state: Option<PathBuf>,
    /// Folder of the certificate authority, shared with the edges; `None` makes one in memory.
    pub ca_dir: Option<PathBuf>,
    /// What appliances prove themselves with.
    pub secret: String,
    /// Limits and spans of the model.
    pub model: ModelConfig,
    /// Limits and spans of sealing keys.
    pub sealing: SealingConfig,
}

impl BackendConfig {
    /// A backend on free ports of 127.0.0.1, all in memory.
    #[must_use]
    pub fn loopback(catalogue: Catalogue) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any_port,
            sealed_listen: Some(any_port),
            plain: false,
            admin: None,
            public_host: None,
            catalogue,
            state: None,
            ca_dir: None,
            secret: LOOPBACK_SECRET.to_owned(),
            model: ModelConfig::default(),
            sealing: SealingConfig::default(),
        }
    }
}

/// What a backend listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The main API.
    Main,
    /// Sealed play requests.
    Sealed,
    /// Orders of faults.
    Admin,
}

impl Listener {
    /// Returns the option of `nearcast-backend` that gives its address.
    const fn option(self) -> &'static str {
        match self {
            Self::Main => "--listen",
            Self::Sealed => "--sealed-listen",
            Self::Admin => "--admin",
        }
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Main => "main API",
            Self::Sealed => {
                "sealed play requests, by default on the port after the one of --listen"
            }
            Self::Admin => "admin",
        })
    }
}

/// A backend that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A port is taken.
    #[error(
        "port {} of {} is in use ({listener}); choose another one with {}, or end the program that has it",
        address.port(), address.ip(), listener.option()
    )]
    PortInUse {
        /// What the port is for.
        listener: Listener,
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on: it is not of this machine, or the port is not for everybody.
    #[error("cannot listen on {address} ({listener}): {source}; choose another address with {}", listener.option())]
    Listen {
        /// What the address is for.
        listener: Listener,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Nothing says by which name or address clients reach it.
    #[error(
        "clients cannot be told how to reach this backend: it would listen on any address ({0}); give the name or \
         address they use with --public-host, or a certain address with --listen and --sealed-listen"
    )]
    NoPublicHost(SocketAddr),
    /// The main API without TLS would be open to others.
    #[error("cannot serve {0} without TLS: that is for loopback addresses only")]
    PlainNotLoopback(SocketAddr),
    /// Orders of faults would be open to others.
    #[error(
        "cannot take orders of faults on {0}: --admin must be an address of 127.0.0.0/8 or ::1"
    )]
    AdminNotLoopback(SocketAddr),
    /// The catalogue contradicts itself.
    #[error("the catalogue makes no sense: {0}")]
    Catalogue(#[from] CatalogueError),
    /// The certificate authority cannot be used.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The state file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key can be made.
    #[error(transparent)]
    Keys(#[from] NoRandomness),
}

impl BackendError {
    /// Returns a code that stays the same for the same kind of error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PortInUse { .. } => "listen.in_use",
            Self::Listen { .. } => "listen.failed",
            Self::NoPublicHost(_) => "listen.no_host",
            Self::PlainNotLoopback(_) | Self::AdminNotLoopback(_) => "listen.not_loopback",
            Self::Catalogue(_) => "catalogue.contradiction",
            Self::Ca(error) => error.code(),
            Self::Store(_) => "state.unusable",
            Self::Keys(_) => "keys.no_randomness",
        }
    }
}

/// Starts backends.
#[derive(Debug)]
pub struct Backend;

impl Backend {
    /// Starts a backend on the current tokio runtime; it serves when this returns.
    ///
    /// # Errors
    /// When a port, the catalogue, the certificate authority or the state file cannot be used.
    ///
    /// # Cancel safety
    /// When dropped before it returns, nothing is left running.
    pub async fn start(config: BackendConfig) -> Result<BackendHandle, BackendError> {
        let clock = Arc::new(WallClock::default());
        let mut model = Model::new(config.catalogue.clone(), config.model)?;
        if config.plain && !config.listen.ip().is_loopback() {
            return Err(BackendError::PlainNotLoopback(config.listen));
        }
        if let Some(address) = config.admin.filter(|address| !address.ip().is_loopback()) {
            return Err(BackendError::AdminNotLoopback(address));
        }
        // Nobody can connect to "any address", and a name of our choice would be right for this machine alone.
        let mut listens = [config.listen].into_iter().chain(config.sealed_listen);
        if config.public_host.is_none()
            && let Some(any) = listens.find(|address| address.ip().is_unspecified())
        {
            return Err(BackendError::NoPublicHost(any));
        }
        let open = |listener, address| Port::open(address).map_err(failed(listener, address));
        let port = open(Listener::Main, config.listen)?;
        let sealed_port = config
            .sealed_listen
            .map(|address| open(Listener::Sealed, address))
            .transpose()?;
        let admin = match config.admin {
            Some(address) => Some(bind(Listener::Admin, address).await?),
            None => None,
        };
        let authority = Authority::open(config.ca_dir.as_deref(), clock.now())?;
        let ca_pem = authority.pem().to_owned();
        let tls = if config.plain {
            None
        } else {
            let names = names(config.listen.ip(), config.public_host.as_deref());
            Some(Tls::new(authority, names, clock.now())?)
        };
        let sealed_at = sealed_port.as_ref().map(|port| port.address);
        let urls = urls(&config, port.address, sealed_at);
        let listeners = 1 + usize::from(sealed_port.is_some());
        let faults = Arc::new(Faults::new(Arc::clone(&clock), listeners, tls.is_some()));

        let (store, store_thread, mut kept) = store::open(config.state.as_deref())?;
        let now = clock.now();
        for record in std::mem::take(&mut kept.records) {
            model.restore(now, record);
        }
        let signing_config = SigningConfig {
            rotate_after: SIGNING_ROTATE_AFTER,
            lead: config.model.report_interval * 4,
            token_ttl: config.model.token_ttl,
        };
        let app = Arc::new(App::new(Parts {
            model,
            signing: SigningKeys::new(now, signing_config, kept.keys(SIGNING_KEYS))?,
            sealing: SealingKeys::new(now, config.sealing, kept.keys(SEALING_KEYS))?,
            clock,
            faults: Arc::clone(&faults),
            store,
            urls: urls.clone(),
            secret: config.secret,
            report_interval_ms: millis(config.model.report_interval),
            steering_ttl_ms: millis(config.model.steering_ttl),
        }));

        let known = Arc::downgrade(&app);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let serving = |index, tls, router| Serving {
            index,
            tls,
            router,
            faults: Arc::clone(&faults),
            stop: stop.clone(),
        };
        let router = api::main_router(Arc::clone(&app));
        tasks.spawn(listen::serve(port, serving(0, tls, router)));
        if let Some(port) = sealed_port {
            let router = api::sealed_router(Arc::clone(&app));
            tasks.spawn(listen::serve(port, serving(1, None, router)));
        }
        let mut admin_url = None;
        if let Some((listener, address)) = admin {
            admin_url = Some(format!("http://{address}/"));
            tasks.spawn(admin::serve(listener, Arc::clone(&faults), stop.clone()));
        }
        tasks.spawn(keep_house(app, stop.clone()));
        tracing::info!(url = urls.main, "the backend serves");
        Ok(BackendHandle {
            app: known,
            faults,
            urls,
            admin_url,
            ca_pem,
            tasks,
            store_thread,
            stop: stop.drop_guard(),
        })
    }
}

/// A backend that runs. Dropping it stops it.
#[derive(Debug)]
pub struct BackendHandle {
    /// Weak, so that a handle that is waited for does not keep what it waits for.
    app: Weak<App>,
    faults: Arc<Faults>,
    urls: Urls,
    admin_url: Option<String>,
    ca_pem: String,
    tasks: JoinSet<()>,
    store_thread: StoreThread,
    stop: DropGuard,
}

impl BackendHandle {
    /// Returns where the main API is: absolute, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.urls.main
    }

    /// Returns where sealed requests go: absolute, the whole URL; `None` when sealing is not offered.
    #[must_use]
    pub fn sealed_url(&self) -> Option<&str> {
        self.urls.sealed.as_deref()
    }

    /// Returns the URL of the admin port, ending in a slash, if there is one.
    #[must_use]
    pub fn admin_url(&self) -> Option<&str> {
        self.admin_url.as_deref()
    }

    /// Carries out an order of faults. When it returns, a killed backend refuses connections and those it had are gone,
    /// and a revived one takes them.
    ///
    /// # Errors
    /// When the order makes no sense or is for somebody else, or a port could not be had again.
    pub async fn apply(&self, order: FaultOrder) -> Result<(), FaultError> {
        self.faults.apply(order).await
    }

    /// Returns the receipts of faults that took effect, oldest first.
    #[must_use]
    pub fn receipts(&self) -> Vec<FaultReceipt> {
        self.faults.receipts()
    }

    /// Returns how many appliances have reported lately enough to be named to clients.
    #[must_use]
    pub fn appliances(&self) -> usize {
        self.app.upgrade().map_or(0, |app| {
            app.with_model(|model, now| model.counts(now).appliances)
        })
    }

    /// Returns the certificate that clients are to trust, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Stops: lets requests that are being answered end, and writes everything to the state file. A disk that hangs is
    /// waited for half a minute.
    ///
    /// # Cancel safety
    /// When dropped, the backend stops without waiting.
    pub async fn shutdown(self) {
        let Self {
            mut tasks,
            store_thread,
            stop,
            ..
        } = self;
        drop(stop);
        while tasks.join_next().await.is_some() {}
        store_thread.join().await;
    }
}

/// A day: keys change while nobody looks, and often enough that it is a habit.
const SIGNING_ROTATE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What has to be done from time to time has seconds to spare.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(10);

async fn keep_house(app: Arc<App>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => app.handle_timeout(),
        }
    }
}

async fn bind(
    listener: Listener,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), BackendError> {
    let bound = async {
        let bound = TcpListener::bind(address).await?;
        let at = bound.local_addr()?;
        Ok((bound, at))
    };
    bound.await.map_err(failed(listener, address))
}

fn failed(listener: Listener, address: SocketAddr) -> impl Fn(io::Error) -> BackendError {
    move |source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            BackendError::PortInUse { listener, address }
        } else {
            BackendError::Listen {
                listener,
                address,
                source,
            }
        }
    }
}

fn urls(config: &BackendConfig, main: SocketAddr, sealed: Option<SocketAddr>) -> Urls {
    let host = |address: SocketAddr| -> String {
        match (&config.public_host, address.ip()) {
            (Some(host), _) => host.clone(),
            (None, IpAddr::V4(ip)) => ip.to_string(),
            (None, IpAddr::V6(ip)) => format!("[{ip}]"),
        }
    };
    let scheme = if config.plain { "http" } else { "https" };
    Urls {
        main: format!("{scheme}://{}:{}", host(main), main.port()),
        sealed: sealed
            .map(|address| format!("http://{}:{}/v1/sealed", host(address), address.port())),
    }
}

/// Names of this machine that the certificate is for.
fn names(listen: IpAddr, public_host: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names.extend(public_host.map(|host| host.trim_matches(['[', ']']).to_owned()));
    names.sort();
    names.dedup();
    names
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
