//! Starting, steering and ending one edge.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use nearcast_appliance::fault::{FaultOrder, FaultReceipt};
use nearcast_appliance::{Appliance, ApplianceConfig};
use nearcast_protocol::play::HttpProtocol;
use nearcast_units::BitRate;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use crate::access_log::{AccessEntry, AccessLog};
use crate::authority::Authority;
use crate::clock::Clock;
use crate::config::{Backend, EdgeConfig, EdgeError, FaultError, Listener};
use crate::edge::{Edge, Parts};
use crate::files::Files;
use crate::gate::Gate;
use crate::identity::Identity;
use crate::tcp::{self, Port, Serving, Tls};
use crate::udp::GatedSocket;
use crate::{admin, quic, reporting};

/// Starts edges.
#[derive(Debug)]
pub struct EdgeServer;

/// A running edge. Dropping it stops everything; [`shutdown`](Self::shutdown) also waits for that.
#[derive(Debug)]
pub struct EdgeHandle {
    edge: Arc<Edge>,
    base_url: String,
    plain_url: Option<String>,
    admin_url: String,
    authority: Authority,
    tasks: TaskTracker,
    _stop: DropGuard,
}

/// A free TCP port whose UDP twin is taken is given back and another one tried.
const PORT_TRIES: u32 = 32;
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

impl EdgeServer {
    /// Opens the ports and begins to serve. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the identifier, the root, a port, the authority, the log or the backend's URL cannot be used; nothing runs then.
    pub async fn start(config: EdgeConfig) -> Result<EdgeHandle, EdgeError> {
        EdgeConfig::check_id(&config.id)?;
        if !config.admin.ip().is_loopback() {
            return Err(EdgeError::AdminNotLoopback {
                address: config.admin,
            });
        }
        let reach = Reach::of(&config)?;
        let files = Files::open(&config.root)?;
        let log = AccessLog::open(config.access_log.as_deref())?;
        let authority = match &config.authority {
            Some(authority) => authority.clone(),
            None => Authority::new()?,
        };
        let backend = config
            .backend
            .clone()
            .map(|backend| client(backend, &authority))
            .transpose()?;
        let has = |protocol: HttpProtocol| config.protocols.contains(&protocol);
        let identity = Arc::new(Identity {
            authority: authority.clone(),
            names: reach.names,
            speaks_http2: has(HttpProtocol::H2),
        });
        let (port, udp) = open_port(config.listen, has(HttpProtocol::H3))?;
        let address = port.address;
        let plain = config
            .plain
            .map(|at| Port::open(at).map_err(|error| in_use(Listener::Plain, at, error)))
            .transpose()?;
        let admin = TcpListener::bind(config.admin)
            .await
            .map_err(|error| in_use(Listener::Admin, config.admin, error))?;
        let admin_at = admin
            .local_addr()
            .map_err(|error| in_use(Listener::Admin, config.admin, error))?;

        let clock = Clock::start();
        let gate = Arc::new(Gate::new(clock, config.rate, config.delay));
        let host = reach.host;
        let public_port = config.public_port.unwrap_or(address.port());
        let base_url = format!("https://{host}:{public_port}/");
        let plain_url = plain
            .as_ref()
            .map(|plain| format!("http://{host}:{}/", plain.address.port()));
        let model = ApplianceConfig {
            site: config.site.clone(),
            kind: config.kind.clone(),
            position_deg: config.position_deg,
            base_url: base_url.clone(),
            protocols: config.protocols.clone(),
            addresses: reach.addresses,
            prefixes: config.prefixes.clone(),
            capacity: config.capacity,
            rate: config.rate,
            delay: config.delay,
            has_backend: backend.is_some(),
            ..ApplianceConfig::named(&config.id)
        };
        let alt_svc = format!("h3=\":{public_port}\"; ma=86400");
        let alt_svc = udp
            .is_some()
            .then(|| http::HeaderValue::from_str(&alt_svc).ok());
        let edge = Arc::new(Edge::new(Parts {
            clock,
            gate,
            last_mile: config.last_mile.clone(),
            files,
            stores: config.stores.clone(),
            log,
            alt_svc: alt_svc.flatten(),
            listeners: 1 + usize::from(plain.is_some()) + usize::from(udp.is_some()),
            appliance: Appliance::new(clock.moment(), model),
        }));

        let tls = Tls {
            acceptor: identity.over_tcp(None)?,
            identity: Arc::clone(&identity),
        };
        let tasks = TaskTracker::new();
        let endpoint = udp
            .map(|socket| {
                let takes = quic::server_config(identity.over_quic(None)?)?;
                let socket =
                    GatedSocket::new(socket, Arc::clone(&edge), config.udp_blocked, tasks.token())?;
                quic::endpoint(socket, takes)
            })
            .transpose()?;

        // What is stored is known before the first report.
        reporting::look_through(&edge).await;
        let serving = |tls, index| Serving {
            edge: Arc::clone(&edge),
            tls,
            index,
        };
        let mut indices = 0..;
        let mut index = || indices.next().unwrap_or_default();
        tasks.spawn(tcp::listen(serving(Some(tls), index()), port));
        if let Some(plain) = plain {
            tasks.spawn(tcp::listen(serving(None, index()), plain));
        }
        if let Some(endpoint) = endpoint {
            tasks.spawn(quic::listen(Arc::clone(&edge), endpoint, identity, index()));
        }
        tasks.spawn(admin::serve(Arc::clone(&edge), admin));
        tasks.spawn(reporting::run(Arc::clone(&edge), backend));
        tasks.close();
        Ok(EdgeHandle {
            base_url,
            plain_url,
            admin_url: format!("http://{admin_at}/"),
            authority,
            tasks,
            _stop: edge.shutdown.clone().drop_guard(),
            edge,
        })
    }
}

impl EdgeHandle {
    /// Returns the appliance's identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.edge.id
    }

    /// Returns the URL of HTTPS and HTTP/3, ending in a slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns the URL of plain HTTP, ending in a slash, if that was asked for.
    #[must_use]
    pub fn plain_url(&self) -> Option<&str> {
        self.plain_url.as_deref()
    }

    /// Returns the URL of the admin port, ending in a slash.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// Returns the certificate that clients must trust, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.authority.ca_pem()
    }

    /// Carries out an order of faults. When it returns, a killed appliance refuses connections and those it had
    /// are gone, and a revived one takes them.
    ///
    /// # Errors
    /// When the order makes no sense, or the port could not be had again.
    pub async fn apply(&self, order: FaultOrder) -> Result<(), FaultError> {
        self.edge.apply(order).await
    }

    /// Changes what its link is like when nothing is wrong, from now on. A rate or delay that a fault gives it stays until
    /// that is removed.
    pub fn set_link(&self, rate: Option<BitRate>, delay: Duration) {
        self.edge
            .with(|appliance, _| appliance.set_link(rate, delay));
    }

    /// Returns the number of receipts there were, those that are kept no longer among them: it changes when a fault takes
    /// effect.
    #[must_use]
    pub fn receipt_count(&self) -> watch::Receiver<usize> {
        self.edge.receipt_count.subscribe()
    }

    /// Returns the receipts of faults that took effect, oldest first: the last 4096, the first of each name of a rule
    /// among them however old it is.
    #[must_use]
    pub fn receipts(&self) -> Vec<FaultReceipt> {
        self.edge.receipts()
    }

    /// Returns how many more receipts there were that are kept no longer.
    #[must_use]
    pub fn receipts_dropped(&self) -> u64 {
        self.edge.receipts_dropped()
    }

    /// Returns the last requests that ended, in the order they ended: 50,000, or 16 MiB of lines.
    #[must_use]
    pub fn access_log(&self) -> Vec<AccessEntry> {
        self.edge.log.entries()
    }

    /// Ends all connections and closes the ports; waits up to 5 s for that, and as long for the access log's file.
    pub async fn shutdown(self) {
        self.edge.shutdown.cancel();
        let ended = tokio::time::timeout(SHUTDOWN_MAX, self.tasks.wait()).await;
        if ended.is_err() {
            tracing::warn!(edge = %self.edge.id, "connections outlived the server");
        }
        let edge = Arc::clone(&self.edge);
        let closed = tokio::task::spawn_blocking(move || edge.log.close());
        if tokio::time::timeout(SHUTDOWN_MAX, closed).await.is_err() {
            tracing::warn!(edge = %self.edge.id, "access log lines are lost: the file was not written in time");
        }
    }
}

/// Opens TCP and, if wanted, UDP under one port number.
fn open_port(address: SocketAddr, with_udp: bool) -> Result<(Port, Option<UdpSocket>), EdgeError> {
    let mut tries = 0;
    loop {
        tries += 1;
        // A free port may be taken by another edge between two steps; a given one is what it is.
        let retry = address.port() == 0 && tries < PORT_TRIES;
        let port = match Port::open(address) {
            Ok(port) => port,
            Err(error) if retry && error.kind() == io::ErrorKind::AddrInUse => continue,
            Err(error) => return Err(in_use(Listener::Https, address, error)),
        };
        if !with_udp {
            return Ok((port, None));
        }
        match UdpSocket::bind(port.address) {
            Ok(socket) => return Ok((port, Some(socket))),
            Err(error) if retry && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(in_use(Listener::Http3, address, error)),
        }
    }
}

fn in_use(listener: Listener, address: SocketAddr, source: io::Error) -> EdgeError {
    if source.kind() == io::ErrorKind::AddrInUse {
        EdgeError::PortInUse { listener, address }
    } else {
        EdgeError::Bind {
            listener,
            address,
            source,
        }
    }
}

/// How clients reach an edge.
struct Reach {
    /// Host as URLs have it.
    host: String,
    /// What the certificate is for.
    names: Vec<String>,
    /// What clients may dial without asking for the name.
    addresses: Vec<String>,
}

impl Reach {
    fn of(config: &EdgeConfig) -> Result<Self, EdgeError> {
        let listen = config.listen.ip();
        let Some(host) = &config.host else {
            // Nobody can dial "any address", and an address of our choice would be right for this machine alone.
            if listen.is_unspecified() {
                return Err(EdgeError::NoHost {
                    address: config.listen,
                });
            }
            return Ok(Self {
                host: in_url(listen),
                names: vec![listen.to_string()],
                addresses: vec![listen.to_string()],
            });
        };
        let host = host.trim_matches(['[', ']']);
        let listens_on = (!listen.is_unspecified()).then_some(listen);
        let names = listens_on.map(|ip| ip.to_string());
        let names = [host.to_owned()].into_iter().chain(names).collect();
        let (host, addresses) = match host.parse() {
            Ok(ip) => (in_url(ip), vec![ip]),
            // Whoever gives a name means clients elsewhere: loopback would be their own.
            Err(_) => {
                let outward = listens_on.filter(|ip| !ip.is_loopback());
                (host.to_owned(), outward.into_iter().collect())
            }
        };
        Ok(Self {
            host,
            names,
            addresses: addresses.iter().map(IpAddr::to_string).collect(),
        })
    }
}

fn in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Makes the client for reports: it trusts the edge's own authority too, which a backend on the same machine shares.
fn client(
    backend: Backend,
    authority: &Authority,
) -> Result<(Backend, reqwest::Client), EdgeError> {
    let url = reqwest::Url::parse(&backend.url).ok();
    let good = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !good {
        return Err(EdgeError::BackendUrl { url: backend.url });
    }
    // Fails when one is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let failed = |error: reqwest::Error| EdgeError::Tls {
        reason: error.to_string(),
    };
    let own = reqwest::Certificate::from_pem(authority.ca_pem().as_bytes()).map_err(failed)?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_merge([own])
        .connect_timeout(Duration::from_secs(2))
        .build()
        .map_err(failed)?;
    Ok((backend, client))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(listen: &str, host: Option<&str>) -> Result<(String, Vec<String>), EdgeError> {
        let mut config = EdgeConfig::new("a", ".");
        config.listen = SocketAddr::new(listen.parse().unwrap(), 0);
        config.host = host.map(str::to_owned);
        Reach::of(&config).map(|reach| (reach.host, reach.addresses))
    }

    #[test]
    fn clients_are_told_addresses_that_are_right_for_them() {
        let told = |host: &str, addresses: &[&str]| {
            let addresses = addresses.iter().map(|&address| address.to_owned());
            (host.to_owned(), addresses.collect::<Vec<_>>())
        };
        for (listen, host, expected) in [
            ("127.0.0.1", None, told("127.0.0.1", &["127.0.0.1"])),
            ("::1", None, told("[::1]", &["::1"])),
            (
                "192.0.2.1",
                Some("edge.test"),
                told("edge.test", &["192.0.2.1"]),
            ),
            ("0.0.0.0", Some("edge.test"), told("edge.test", &[])),
            ("127.0.0.1", Some("edge.test"), told("edge.test", &[])),
            (
                "0.0.0.0",
                Some("192.0.2.1"),
                told("192.0.2.1", &["192.0.2.1"]),
            ),
            (
                "::",
                Some("[2001:db8::1]"),
                told("[2001:db8::1]", &["2001:db8::1"]),
            ),
        ] {
            assert_eq!(reach(listen, host).unwrap(), expected, "{listen} {host:?}");
        }
        for listen in ["0.0.0.0", "::"] {
            assert!(matches!(reach(listen, None), Err(EdgeError::NoHost { .. })));
        }
    }
}
