//! The front door: shared state, the tasks of requests, and what is open.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{NetConfig, NetSetupError, ProxyConfig};
use crate::connect::QuicEndpoints;
use crate::dns::Names;
use crate::error::NetError;
use crate::exchange;
use crate::h3_memory::H3Memory;
use crate::pool::Pool;
use crate::request::{NetEvent, Origin, Request};
use crate::tls::Tls;

/// Events a request may be ahead of its reader. Few, because one of the body is up to 192 KiB and memory for
/// media is capped elsewhere; more than one, so that reading and writing overlap.
const EVENTS_AHEAD: usize = 8;
/// How long `close` waits for peers to be told. They find out by themselves.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Carries out requests. Cheap to clone; clones share connections, names and what was learnt. To be used
/// within a tokio runtime with time and I/O.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

/// What all requests share.
pub(crate) struct Inner {
    pub(crate) tls: Tls,
    pub(crate) quic: QuicEndpoints,
    pub(crate) names: Names,
    pub(crate) pool: Pool,
    pub(crate) h3: Mutex<H3Memory>,
    pub(crate) proxy: Option<ProxyConfig>,
    pub(crate) headers: HeaderMap,
    pub(crate) phase_limit: Duration,
    pub(crate) tasks: TaskTracker,
    stop: CancellationToken,
    open_requests: Arc<AtomicUsize>,
    open_connections: Arc<AtomicUsize>,
    openings: AtomicU64,
}

/// What is open now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenCounts {
    /// Requests that have not ended.
    pub requests: usize,
    /// Connections: in use, kept, or being opened.
    pub connections: usize,
}

/// Cancels its request when dropped. A request that has ended is not touched.
#[derive(Debug)]
#[must_use = "dropping the handle cancels the request"]
pub struct RequestHandle {
    stop: CancellationToken,
}

impl RequestHandle {
    /// Cancels: the connection or stream is given up, then [`NetEvent::Ended`] with
    /// [`NetError::Cancelled`] is sent.
    pub fn cancel(self) {
        drop(self);
    }
}

impl Drop for RequestHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Net {
    /// Makes one. Nothing is opened before the first request; the system's name server and hosts files are
    /// read.
    ///
    /// # Errors
    /// When the configuration holds what cannot be used: a certificate authority, a header.
    pub fn new(config: NetConfig) -> Result<Self, NetSetupError> {
        let headers = headers(&config)?;
        let tls = Tls::new(&config)?;
        Ok(Self {
            inner: Arc::new(Inner {
                quic: QuicEndpoints::new(tls.http3.clone())?,
                tls,
                names: Names::new(config.dns, &config.resolve),
                pool: Pool::default(),
                h3: Mutex::default(),
                proxy: config.proxy,
                headers,
                phase_limit: config.phase_limit,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                open_requests: Arc::default(),
                open_connections: Arc::default(),
                openings: AtomicU64::default(),
            }),
        })
    }

    /// Begins a request. Its events are to be read: when the channel is full, the connection is not read
    /// either. [`NetEvent::Ended`] is always the last, and never has to wait for room.
    ///
    /// # Cancel safety
    /// Dropping the handle or the receiver ends the request and frees what it holds.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(&self, request: Request) -> (RequestHandle, mpsc::Receiver<NetEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_AHEAD + 1);
        let stop = self.inner.stop.child_token();
        let handle = RequestHandle { stop: stop.clone() };
        let Ok(end) = events.clone().try_reserve_owned() else {
            return (handle, receiver); // a new channel has room
        };
        let inner = self.inner.clone();
        let counted = Counted::new(&inner.open_requests);
        self.inner.tasks.spawn(async move {
            let result = tokio::select! {
                biased;
                () = stop.cancelled() => Err(NetError::Cancelled),
                () = events.closed() => Err(NetError::Cancelled),
                result = exchange::run(inner, request, &events) => result,
            };
            drop(counted);
            end.send(NetEvent::Ended(result));
        });
        (handle, receiver)
    }

    /// Throws the kept connections of `origin` away, as after a stall. Requests on them go on until they
    /// end or are cancelled; their connections are not used again. If one spoke HTTP/3, the next one is
    /// opened over TCP: networks there are that let QUIC begin and not go on.
    pub fn drop_edge(&self, origin: &Origin) {
        if let Some(network) = self.inner.pool.forget(origin) {
            locked(&self.inner.h3).silent(origin, network, Instant::now());
        }
    }

    /// Throws away what belonged to another network: kept connections, names, what was learnt about UDP.
    /// Requests in flight over QUIC move to the new network, others end when their connection does.
    pub fn network_changed(&self) {
        // First: what is learnt from now on belongs to the new network.
        locked(&self.inner.h3).network_changed();
        self.inner.pool.clear();
        self.inner.names.forget();
        self.inner.quic.rebind();
    }

    /// Returns the TLS configuration, for clients of the caller's own: the same trust and session tickets,
    /// offering HTTP/2 and HTTP/1.1.
    #[must_use]
    pub fn tls_config(&self) -> Arc<rustls::ClientConfig> {
        self.inner.tls.any.clone()
    }

    /// Looks a host up the way requests do: fixed addresses, literals, cache, name servers.
    ///
    /// # Errors
    /// [`NetError::DnsFailed`] and [`NetError::DnsTimeout`].
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, NetError> {
        let found = self.inner.names.lookup(host).await?;
        Ok(found.addresses)
    }

    /// Counts what is open.
    #[must_use]
    pub fn open(&self) -> OpenCounts {
        OpenCounts {
            requests: self.inner.open_requests.load(Ordering::Acquire),
            connections: self.inner.open_connections.load(Ordering::Acquire),
        }
    }

    /// Cancels all requests, closes all connections and waits until their tasks have ended. Requests
    /// started afterwards end as cancelled.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.names.stop();
        self.inner.pool.clear();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        let farewell = tokio::time::timeout(FAREWELL_MAX, self.inner.quic.close()).await;
        if farewell.is_err() {
            tracing::debug!("some peers were not told that their connection is closed");
        }
    }
}

impl Inner {
    pub(crate) fn count_connection(&self) -> Counted {
        Counted::new(&self.open_connections)
    }

    pub(crate) fn next_opening(&self) -> u64 {
        self.openings.fetch_add(1, Ordering::Relaxed)
    }
}

/// One more of something, until dropped.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Locks; what a panicking holder left behind is whole, because no holder stops half-way.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The headers of every request. Encodings are refused because ranges and progress count plain bytes.
fn headers(config: &NetConfig) -> Result<HeaderMap, NetSetupError> {
    let usual = [
        ("user-agent", config.user_agent.as_str()),
        ("accept", "*/*"),
        ("accept-encoding", "identity"),
    ];
    let configured = config.header.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let mut map = HeaderMap::new();
    for (name, value) in usual.into_iter().chain(configured) {
        let parsed = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        );
        let (Ok(key), Ok(value)) = parsed else {
            return Err(NetSetupError::Header {
                name: name.to_owned(),
            });
        };
        map.insert(key, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_net_is_made_without_a_runtime() {
        let net = Net::new(NetConfig::default()).unwrap();
        let (requests, connections) = (0, 0);
        let nothing = OpenCounts {
            requests,
            connections,
        };
        assert_eq!(net.open(), nothing);
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_at_once() {
        for header in [("x y", "1"), ("", "1"), ("x", "a\r\nb: c")] {
            let config = NetConfig {
                header: vec![(header.0.to_owned(), header.1.to_owned())],
                ..NetConfig::default()
            };
            let refused = Net::new(config).map(|_| ()).unwrap_err();
            let name = header.0.to_owned();
            assert_eq!(refused, NetSetupError::Header { name });
        }
    }
}
