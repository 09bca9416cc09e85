//! Names to addresses: fixed ones, literals, a cache that obeys TTL and outlives failing name servers
//! (RFC 8767; `cache`), and hickory for the questions themselves (`ask`). Here is who asks, and who waits.

mod ask;
mod cache;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::config::DnsConfig;
use crate::error::{DnsProblem, NetError};
use crate::net::locked;

use ask::{Answer, Servers, ask, says_no};
use cache::NameCache;

/// How long a refresh may take before the expired answer is used: a start must not wait for a name that
/// was known a moment ago.
const STALE_AFTER: Duration = Duration::from_millis(500);
/// How long failing name servers are left alone while an expired answer is used (RFC 8767 §5).
const STALE_FOR: Duration = Duration::from_secs(30);
/// How often one look-up is begun anew because the network changed meanwhile.
const ROUNDS_MAX: usize = 4;

/// Addresses found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) from_cache: bool,
}

pub(crate) struct Names {
    fixed: BTreeMap<String, Vec<IpAddr>>,
    shared: Arc<Shared>,
    /// One task for each name that is asked for. A task outlives the look-ups that wait for it, because its
    /// answer serves the next ones; it ends with this.
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    config: DnsConfig,
    state: Mutex<State>,
}

struct State {
    servers: Servers,
    cache: NameCache,
    asked: BTreeMap<String, Question>,
    /// Counts networks: what is answered on one must not be remembered on the next.
    epoch: u64,
}

/// A name that is being asked for.
#[derive(Clone)]
struct Question {
    begun: Instant,
    /// `None` until there is an answer. May improve once, when the second family comes late.
    answer: watch::Receiver<Option<Result<Vec<IpAddr>, NetError>>>,
}

/// What the cache can do for a look-up.
enum Look {
    /// These are to be used.
    Known(Vec<IpAddr>),
    /// An answer is on its way; these can be used if it does not come.
    Asked(Question, Option<Vec<IpAddr>>),
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
        let state = State {
            servers: Servers::new(&config),
            cache: NameCache::default(),
            asked: BTreeMap::new(),
            epoch: 0,
        };
        Self {
            fixed,
            shared: Arc::new(Shared {
                config,
                state: Mutex::new(state),
            }),
            tasks: Mutex::default(),
        }
    }

    /// Forgets the names and reads the system's configuration anew: another network answers otherwise.
    pub(crate) fn forget(&self) {
        let servers = Servers::new(&self.shared.config);
        let mut state = locked(&self.shared.state);
        state.servers = servers;
        state.cache = NameCache::default();
        state.asked.clear();
        state.epoch += 1;
        drop(state);
        self.stop();
    }

    /// Gives up what is being asked.
    pub(crate) fn stop(&self) {
        locked(&self.tasks).abort_all();
    }

    /// Looks up a host: a name or an address.
    pub(crate) async fn lookup(&self, host: &str) -> Result<Found, NetError> {
        let host = host.to_ascii_lowercase();
        let cached = |addresses| Found {
            addresses,
            from_cache: true,
        };
        if let Some(addresses) = self.known(&host) {
            return Ok(cached(addresses));
        }
        for _ in 0..ROUNDS_MAX {
            let (mut question, stale) = match self.look(&host) {
                Look::Known(addresses) => return Ok(cached(addresses)),
                Look::Asked(question, stale) => (question, stale),
            };
            let Some(stale) = stale else {
                match question.answered().await {
                    Some(Ok(addresses)) => {
                        return Ok(Found {
                            addresses,
                            from_cache: false,
                        });
                    }
                    Some(Err(error)) => return Err(error),
                    None => continue,
                }
            };
            let limit = question.begun + STALE_AFTER;
            match timeout_at(limit, question.answered()).await {
                Ok(Some(Ok(addresses))) => {
                    return Ok(Found {
                        addresses,
                        from_cache: false,
                    });
                }
                Ok(Some(Err(error))) if says_no(&error) => return Err(error),
                Ok(None) => {}
                Ok(Some(Err(_))) | Err(_) => {
                    tracing::debug!(host, "name servers fail, expired addresses are used");
                    return Ok(cached(stale));
                }
            }
        }
        Err(NetError::DnsFailed {
            host,
            problem: DnsProblem::ServerFailure,
        })
    }

    /// Returns the addresses that the configuration fixes for a host.
    pub(crate) fn fixed(&self, host: &str) -> Option<&[IpAddr]> {
        let addresses = self.fixed.get(&host.to_ascii_lowercase());
        addresses.map(Vec::as_slice)
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

    /// Looks into the cache, and asks when that is not enough and nobody does already.
    fn look(&self, host: &str) -> Look {
        let now = Instant::now();
        let mut state = locked(&self.shared.state);
        if let Some(addresses) = state.cache.usable(host, now) {
            return Look::Known(addresses);
        }
        let stale = state.cache.stale(host, now);
        if let Some(question) = state.asked.get(host).filter(|asked| asked.is_alive()) {
            return Look::Asked(question.clone(), stale);
        }
        let (sender, answer) = watch::channel(None);
        let question = Question { begun: now, answer };
        state.asked.insert(host.to_owned(), question.clone());
        let task = self
            .shared
            .clone()
            .find(host.to_owned(), state.epoch, sender);
        drop(state);
        let mut tasks = locked(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
        Look::Asked(question, stale)
    }
}

impl Question {
    /// Waits for the answer; `None` when there will be none, because the network changed.
    async fn answered(&mut self) -> Option<Result<Vec<IpAddr>, NetError>> {
        let answer = self.answer.wait_for(Option::is_some).await;
        answer.ok().and_then(|answer| answer.clone())
    }

    /// Whether somebody still works on it, or has answered.
    fn is_alive(&self) -> bool {
        self.answer.has_changed().is_ok() || self.answer.borrow().is_some()
    }
}

impl Shared {
    /// Asks, and brings the answer to the cache and to those who wait.
    async fn find(
        self: Arc<Self>,
        host: String,
        epoch: u64,
        answer: watch::Sender<Option<Result<Vec<IpAddr>, NetError>>>,
    ) {
        let result = match self.resolver() {
            Some(resolver) => {
                let half = |first: Answer| {
                    let addresses = first.addresses();
                    self.remember(epoch, |state| state.cache.take(&host, first));
                    answer.send_replace(Some(Ok(addresses)));
                };
                ask(&resolver, &host, half).await
            }
            None => Err(NetError::DnsFailed {
                host: host.clone(),
                problem: DnsProblem::NoServer,
            }),
        };
        let told = match result {
            Ok(found) => {
                let addresses = found.addresses();
                self.remember(epoch, |state| {
                    state.cache.take(&host, found);
                    state.asked.remove(&host);
                });
                Ok(addresses)
            }
            Err(error) => {
                self.remember(epoch, |state| {
                    if says_no(&error) {
                        state.cache.remove(&host);
                    } else {
                        state.cache.leave_alone(&host, Instant::now() + STALE_FOR);
                    }
                    state.asked.remove(&host);
                });
                Err(error)
            }
        };
        answer.send_replace(Some(told));
    }

    fn remember(&self, epoch: u64, change: impl FnOnce(&mut State)) {
        let mut state = locked(&self.state);
        if state.epoch == epoch {
            change(&mut state);
        }
    }

    /// Returns the name servers; where the system named none it may do so by now.
    fn resolver(&self) -> Option<Arc<TokioResolver>> {
        let (resolver, epoch) = {
            let state = locked(&self.state);
            match &state.servers {
                Servers::Named(resolver) => return Some(resolver.clone()),
                Servers::None(hosts) => (hosts.clone(), state.epoch),
            }
        };
        let servers = Servers::new(&self.config);
        let found = match &servers {
            Servers::Named(resolver) => Some(resolver.clone()),
            Servers::None(_) => resolver,
        };
        self.remember(epoch, |state| state.servers = servers);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
