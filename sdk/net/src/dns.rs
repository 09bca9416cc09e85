//! Names to addresses: fixed ones, literals, a cache that obeys TTL and outlives failing name servers
//! (RFC 8767), and hickory for the questions themselves.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError as HickoryError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::time::{Instant, timeout};

use crate::config::DnsConfig;
use crate::error::{DnsProblem, NetError};
use crate::net::locked;

/// How long the second family of addresses may come after the first (RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long a refresh may take before the expired answer is used: a start must not wait for a name that
/// was known a moment ago.
const STALE_AFTER: Duration = Duration::from_millis(500);
/// How long an expired answer is used before the name servers are asked again (RFC 8767 §5).
const STALE_FOR: Duration = Duration::from_secs(30);
/// How long after its end an answer may still be used (RFC 8767 §5: one to three days).
const STALE_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// The longest time an answer is believed; hosts files have no TTL at all.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// Names kept; far above what one viewer's edges need.
const NAMES_MAX: usize = 256;
/// Addresses kept per name; a race tries no more.
const ADDRESSES_MAX: usize = 16;

/// Addresses found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) from_cache: bool,
}

pub(crate) struct Names {
    config: DnsConfig,
    fixed: BTreeMap<String, Vec<IpAddr>>,
    /// `None` when the system names no name server.
    resolver: Mutex<Option<Arc<TokioResolver>>>,
    cache: Mutex<NameCache>,
}

impl Names {
    pub(crate) fn new(config: DnsConfig, resolve: &[(String, IpAddr)]) -> Self {
        let mut fixed = BTreeMap::<String, Vec<IpAddr>>::new();
        for (host, address) in resolve {
            fixed
                .entry(host.to_ascii_lowercase())
                .or_default()
                .push(*address);
        }
        Self {
            resolver: Mutex::new(resolver(&config)),
            config,
            fixed,
            cache: Mutex::default(),
        }
    }

    /// Forgets the names and reads the system's configuration anew: another network answers otherwise.
    pub(crate) fn forget(&self) {
        *locked(&self.resolver) = resolver(&self.config);
        *locked(&self.cache) = NameCache::default();
    }

    /// Looks up a host: a name or an address.
    pub(crate) async fn lookup(&self, host: &str) -> Result<Found, NetError> {
        let host = host.to_ascii_lowercase();
        if let Some(addresses) = self.known(&host) {
            return Ok(Found {
                addresses,
                from_cache: true,
            });
        }
        let (fresh, stale) = {
            let now = Instant::now();
            let cache = locked(&self.cache);
            (cache.fresh(&host, now), cache.stale(&host, now))
        };
        if let Some(addresses) = fresh {
            return Ok(Found {
                addresses,
                from_cache: true,
            });
        }
        let answer = match stale {
            None => self.ask(&host).await,
            Some(stale) => {
                let answer = timeout(STALE_AFTER, self.ask(&host)).await;
                match answer {
                    Ok(Err(error)) if says_no(&error) => {
                        locked(&self.cache).remove(&host);
                        Err(error)
                    }
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(_)) | Err(_) => {
                        tracing::debug!(host, "name servers fail, expired addresses are used");
                        locked(&self.cache).insert(host, stale.clone(), Instant::now() + STALE_FOR);
                        return Ok(Found {
                            addresses: stale,
                            from_cache: true,
                        });
                    }
                }
            }
        };
        let (addresses, ttl) = answer?;
        locked(&self.cache).insert(host, addresses.clone(), Instant::now() + ttl);
        Ok(Found {
            addresses,
            from_cache: false,
        })
    }

    /// Returns the addresses that the configuration fixes for a host.
    pub(crate) fn fixed(&self, host: &str) -> Option<&[IpAddr]> {
        self.fixed.get(host).map(Vec::as_slice)
    }

    fn known(&self, host: &str) -> Option<Vec<IpAddr>> {
        if let Some(addresses) = self.fixed(host) {
            return Some(addresses.to_vec());
        }
        if let Ok(address) = host.parse() {
            return Some(vec![address]);
        }
        // RFC 6761 §6.3: such names never go to a name server.
        let name = host.strip_suffix('.').unwrap_or(host);
        if name == "localhost" || name.ends_with(".localhost") {
            return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        None
    }

    /// Asks for both families at once and waits for the second only briefly.
    async fn ask(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), NetError> {
        let Some(resolver) = locked(&self.resolver).clone() else {
            return Err(NetError::DnsFailed {
                host: host.to_owned(),
                problem: DnsProblem::NoServer,
            });
        };
        // A name with a dot is complete: search domains would only add questions.
        let name = if host.contains('.') && !host.ends_with('.') {
            format!("{host}.")
        } else {
            host.to_owned()
        };
        let mut v4 = std::pin::pin!(resolver.ipv4_lookup(name.as_str()));
        let mut v6 = std::pin::pin!(resolver.ipv6_lookup(name.as_str()));
        let (first, second) = tokio::select! {
            first = &mut v4 => {
                let second = if first.is_ok() {
                    timeout(RESOLUTION_DELAY, v6).await.ok()
                } else {
                    Some(v6.await)
                };
                (first, second)
            }
            first = &mut v6 => {
                let second = if first.is_ok() {
                    timeout(RESOLUTION_DELAY, v4).await.ok()
                } else {
                    Some(v4.await)
                };
                (first, second)
            }
        };
        let mut addresses = Vec::new();
        let mut ttl = TTL_MAX;
        let mut failures = Vec::new();
        for answer in [Some(first), second].into_iter().flatten() {
            match answer {
                Ok(lookup) => collect(&lookup, &mut addresses, &mut ttl),
                Err(error) => failures.push(classify(&error, host)),
            }
        }
        if !addresses.is_empty() {
            return Ok((addresses, ttl));
        }
        // An answer says more than silence.
        let said = failures.iter().position(says_no).unwrap_or(0);
        if said < failures.len() {
            return Err(failures.swap_remove(said));
        }
        Err(NetError::DnsFailed {
            host: host.to_owned(),
            problem: DnsProblem::NoAddress,
        })
    }
}

fn resolver(config: &DnsConfig) -> Option<Arc<TokioResolver>> {
    let mut builder = if config.nameservers.is_empty() {
        match TokioResolver::builder_tokio() {
            Ok(builder) => builder,
            Err(error) => {
                tracing::debug!(%error, "the system names no name server");
                return None;
            }
        }
    } else {
        let servers = config.nameservers.iter().map(|server| {
            let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
                let mut connection = ConnectionConfig::new(protocol);
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.to_vec())
        });
        TokioResolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), servers.collect()),
            TokioRuntimeProvider::default(),
        )
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = config.timeout;
    // hickory counts the tries after the first.
    options.attempts = config.attempts.saturating_sub(1);
    // The cache is ours: hickory's cannot serve what has expired, and reads a clock of its own.
    options.cache_size = 0;
    match builder.build() {
        Ok(resolver) => Some(Arc::new(resolver)),
        Err(error) => {
            tracing::debug!(%error, "the name servers cannot be used");
            None
        }
    }
}

fn collect(lookup: &Lookup, addresses: &mut Vec<IpAddr>, ttl: &mut Duration) {
    for record in lookup.answers() {
        // Aliases count too: whoever moves one expects it to be followed.
        *ttl = (*ttl).min(Duration::from_secs(u64::from(record.ttl)));
        if let Some(address) = record.data.ip_addr()
            && addresses.len() < ADDRESSES_MAX
        {
            addresses.push(address);
        }
    }
}

fn classify(error: &HickoryError, host: &str) -> NetError {
    let host = host.to_owned();
    if matches!(error, HickoryError::Timeout) {
        return NetError::DnsTimeout { host };
    }
    let problem = if error.is_nx_domain() {
        DnsProblem::NoSuchName
    } else if error.is_no_records_found() {
        DnsProblem::NoAddress
    } else if matches!(error, HickoryError::Io(_) | HickoryError::NoConnections) {
        DnsProblem::NoServer
    } else if matches!(error, HickoryError::Proto(_)) {
        DnsProblem::InvalidName
    } else {
        DnsProblem::ServerFailure
    };
    NetError::DnsFailed { host, problem }
}

/// Whether this is an answer, against which an expired address must not be held.
fn says_no(error: &NetError) -> bool {
    matches!(
        error,
        NetError::DnsFailed {
            problem: DnsProblem::NoSuchName | DnsProblem::NoAddress | DnsProblem::InvalidName,
            ..
        }
    )
}

/// Addresses with their time.
#[derive(Default)]
struct NameCache {
    names: BTreeMap<String, (Vec<IpAddr>, Instant)>,
}

impl NameCache {
    fn fresh(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let (addresses, until) = self.names.get(host)?;
        (now < *until).then(|| addresses.clone())
    }

    fn stale(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let (addresses, until) = self.names.get(host)?;
        (now < *until + STALE_LIMIT).then(|| addresses.clone())
    }

    fn insert(&mut self, host: String, addresses: Vec<IpAddr>, until: Instant) {
        if self.names.len() >= NAMES_MAX && !self.names.contains_key(&host) {
            let oldest = self.names.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.names.remove(&oldest);
            }
        }
        self.names.insert(host, (addresses, until));
    }

    fn remove(&mut self, host: &str) {
        self.names.remove(host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Vec<IpAddr> {
        vec![Ipv4Addr::new(192, 0, 2, last).into()]
    }

    #[test]
    fn an_answer_is_fresh_until_its_time_is_over_and_stale_for_a_day() {
        let t0 = Instant::now();
        let end = t0 + Duration::from_secs(60);
        let mut cache = NameCache::default();
        cache.insert("a".to_owned(), address(1), end);
        assert_eq!(
            cache.fresh("a", end - Duration::from_millis(1)),
            Some(address(1))
        );
        assert_eq!(cache.fresh("a", end), None);
        assert_eq!(cache.stale("a", end), Some(address(1)));
        assert_eq!(cache.stale("a", end + STALE_LIMIT), None);
        assert_eq!(cache.fresh("b", t0), None);
    }

    #[test]
    fn the_cache_is_bounded_and_loses_the_oldest() {
        let t0 = Instant::now();
        let mut cache = NameCache::default();
        for n in 0..=NAMES_MAX {
            let until = t0 + Duration::from_secs(u64::try_from(n).unwrap() + 1);
            cache.insert(format!("host{n}"), address(1), until);
        }
        assert_eq!(cache.names.len(), NAMES_MAX);
        assert_eq!(cache.fresh("host0", t0), None);
        assert!(cache.fresh("host1", t0).is_some());
    }

    #[tokio::test]
    async fn literals_localhost_and_fixed_hosts_need_no_name_server() {
        let nowhere = DnsConfig {
            nameservers: vec!["127.0.0.1:1".parse().unwrap()],
            ..DnsConfig::default()
        };
        let fixed = [("Edge.Test".to_owned(), "192.0.2.7".parse().unwrap())];
        let names = Names::new(nowhere, &fixed);
        for (host, first) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("localhost", "127.0.0.1"),
            ("edge.TEST", "192.0.2.7"),
        ] {
            let found = names.lookup(host).await.unwrap();
            assert_eq!(found.addresses[0], first.parse::<IpAddr>().unwrap());
            assert!(found.from_cache);
        }
    }
}
