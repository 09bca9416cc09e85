//! Names to addresses: fixed ones, literals, a cache that obeys TTL and outlives failing name servers
//! (RFC 8767), and hickory for the questions themselves.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::select;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError as HickoryError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::DnsConfig;
use crate::error::{DnsProblem, NetError};
use crate::net::locked;

/// How long the second family of addresses may come after the first (RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long the addresses of one family are believed when the other family got no answer: they serve a start,
/// and the next connection finds out again.
const HALF_FOR: Duration = Duration::from_secs(5);
/// How long a refresh may take before the expired answer is used: a start must not wait for a name that
/// was known a moment ago.
const STALE_AFTER: Duration = Duration::from_millis(500);
/// How long failing name servers are left alone while an expired answer is used (RFC 8767 §5).
const STALE_FOR: Duration = Duration::from_secs(30);
/// How long after its end an answer may still be used (RFC 8767 §5: one to three days).
const STALE_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// The longest time an answer is believed; hosts files have no TTL at all.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// Names kept; far above what one viewer's edges need.
const NAMES_MAX: usize = 256;
/// Addresses kept per name and family; a race tries no more.
const ADDRESSES_MAX: usize = 8;
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

/// Asks for both families at once. When the second takes longer than a start should wait, the first goes to
/// `half` before the second is waited for.
async fn ask(
    resolver: &TokioResolver,
    host: &str,
    half: impl FnOnce(Answer),
) -> Result<Answer, NetError> {
    // A name with a dot is complete: search domains would only add questions.
    let name = if host.contains('.') && !host.ends_with('.') {
        format!("{host}.")
    } else {
        host.to_owned()
    };
    let v4 = Box::pin(resolver.ipv4_lookup(name.as_str()));
    let v6 = Box::pin(resolver.ipv6_lookup(name.as_str()));
    let (first, mut rest) = select(v4, v6).await.factor_first();
    let mut answer = Answer::default();
    let mut failures = Vec::new();
    answer.add(first, host, &mut failures);
    let second = if answer.is_empty() {
        rest.await
    } else {
        match timeout(RESOLUTION_DELAY, &mut rest).await {
            Ok(second) => second,
            Err(_) => {
                half(Answer {
                    missing: true,
                    ..answer.clone()
                });
                rest.await
            }
        }
    };
    answer.add(second, host, &mut failures);
    if !answer.is_empty() {
        answer.missing = !failures.iter().all(says_no);
        return Ok(answer);
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

/// What the name servers said about a name.
#[derive(Clone)]
struct Answer {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    ttl: Duration,
    /// A family got no answer, not even that there are no addresses.
    missing: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            v4: Vec::new(),
            v6: Vec::new(),
            ttl: TTL_MAX,
            missing: false,
        }
    }
}

impl Answer {
    fn add(
        &mut self,
        answer: Result<Lookup, HickoryError>,
        host: &str,
        failures: &mut Vec<NetError>,
    ) {
        let lookup = match answer {
            Ok(lookup) => lookup,
            Err(error) => return failures.push(classify(&error, host)),
        };
        for record in lookup.answers() {
            // Aliases count too: whoever moves one expects it to be followed.
            self.ttl = self.ttl.min(Duration::from_secs(u64::from(record.ttl)));
            if let Some(address) = record.data.ip_addr() {
                self.push(address);
            }
        }
    }

    fn push(&mut self, address: IpAddr) {
        let family = if address.is_ipv6() {
            &mut self.v6
        } else {
            &mut self.v4
        };
        // Each family has its own room: one alone must not crowd out the other.
        if family.len() < ADDRESSES_MAX {
            family.push(address);
        }
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.v4.iter().chain(&self.v6).copied().collect()
    }

    fn believed_for(&self) -> Duration {
        if self.missing {
            self.ttl.min(HALF_FOR)
        } else {
            self.ttl
        }
    }
}

/// Whom to ask.
enum Servers {
    Named(Arc<TokioResolver>),
    /// The system names no name server (yet); the hosts file still holds.
    None(Option<Arc<TokioResolver>>),
}

impl Servers {
    fn new(config: &DnsConfig) -> Self {
        let configured = |servers| {
            TokioResolver::builder_with_config(
                ResolverConfig::from_parts(None, Vec::new(), servers),
                TokioRuntimeProvider::default(),
            )
        };
        let (mut builder, named) = if config.nameservers.is_empty() {
            match TokioResolver::builder_tokio() {
                Ok(builder) => (builder, true),
                Err(error) => {
                    tracing::debug!(%error, "the system names no name server");
                    (configured(Vec::new()), false)
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
            (configured(servers.collect()), true)
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = config.timeout;
        // hickory counts the tries after the first.
        options.attempts = config.attempts.saturating_sub(1);
        // The cache is ours: hickory's cannot serve what has expired, and reads a clock of its own.
        options.cache_size = 0;
        match builder.build() {
            Ok(resolver) if named => Self::Named(Arc::new(resolver)),
            Ok(resolver) => Self::None(Some(Arc::new(resolver))),
            Err(error) => {
                tracing::debug!(%error, "the name servers cannot be used");
                Self::None(None)
            }
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
    names: BTreeMap<String, Known>,
}

struct Known {
    addresses: Vec<IpAddr>,
    /// Until when the answer is believed.
    until: Instant,
    /// Until when failing name servers are left alone and the expired answer is used.
    left_alone: Instant,
}

impl NameCache {
    /// Returns what is to be used without asking.
    fn usable(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let known = self.names.get(host)?;
        if now < known.until {
            return Some(known.addresses.clone());
        }
        self.stale(host, now).filter(|_| now < known.left_alone)
    }

    /// Returns what may be used when nobody answers.
    fn stale(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let known = self.names.get(host)?;
        (now < known.until + STALE_LIMIT).then(|| known.addresses.clone())
    }

    fn take(&mut self, host: &str, answer: Answer) {
        let now = Instant::now();
        self.insert(host, answer.addresses(), now, now + answer.believed_for());
    }

    fn insert(&mut self, host: &str, addresses: Vec<IpAddr>, now: Instant, until: Instant) {
        if self.names.len() >= NAMES_MAX && !self.names.contains_key(host) {
            let oldest = self.names.iter().min_by_key(|(_, known)| known.until);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.names.remove(&oldest);
            }
        }
        let known = Known {
            addresses,
            until,
            left_alone: now,
        };
        self.names.insert(host.to_owned(), known);
    }

    /// Notes that the name servers failed. The answer's own end stays: failing does not make it younger.
    fn leave_alone(&mut self, host: &str, until: Instant) {
        if let Some(known) = self.names.get_mut(host) {
            known.left_alone = until;
        }
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
        cache.insert("a", address(1), t0, end);
        assert_eq!(
            cache.usable("a", end - Duration::from_millis(1)),
            Some(address(1))
        );
        assert_eq!(cache.usable("a", end), None);
        assert_eq!(cache.stale("a", end), Some(address(1)));
        assert_eq!(cache.stale("a", end + STALE_LIMIT), None);
        assert_eq!(cache.usable("b", t0), None);
    }

    #[test]
    fn failing_name_servers_do_not_make_an_answer_younger() {
        let t0 = Instant::now();
        let mut cache = NameCache::default();
        cache.insert("a", address(1), t0, t0);
        let mut now = t0;
        while now < t0 + STALE_LIMIT {
            assert_eq!(cache.usable("a", now), None);
            cache.leave_alone("a", now + STALE_FOR);
            assert_eq!(cache.usable("a", now), Some(address(1)));
            now += STALE_FOR;
        }
        assert_eq!(cache.stale("a", now), None);
        cache.leave_alone("a", now + STALE_FOR);
        assert_eq!(cache.usable("a", now), None, "its day is over");
    }

    #[test]
    fn a_half_answer_is_believed_for_a_moment() {
        let mut answer = Answer::default();
        for last in 0..30 {
            answer.push(Ipv4Addr::new(192, 0, 2, last).into());
        }
        answer.push(Ipv6Addr::LOCALHOST.into());
        let addresses = answer.addresses();
        assert_eq!(addresses.len(), ADDRESSES_MAX + 1);
        assert!(addresses.contains(&Ipv6Addr::LOCALHOST.into()));
        assert_eq!(answer.believed_for(), TTL_MAX);
        answer.missing = true;
        assert_eq!(answer.believed_for(), HALF_FOR);
        answer.ttl = Duration::ZERO;
        assert_eq!(answer.believed_for(), Duration::ZERO);
    }

    #[test]
    fn the_cache_is_bounded_and_loses_the_oldest() {
        let t0 = Instant::now();
        let mut cache = NameCache::default();
        for n in 0..=NAMES_MAX {
            let until = t0 + Duration::from_secs(u64::try_from(n).unwrap() + 1);
            cache.insert(&format!("host{n}"), address(1), t0, until);
        }
        assert_eq!(cache.names.len(), NAMES_MAX);
        assert_eq!(cache.usable("host0", t0), None);
        assert!(cache.usable("host1", t0).is_some());
    }

    #[test]
    fn without_a_name_server_the_hosts_file_still_holds() {
        let builder = TokioResolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), Vec::new()),
            TokioRuntimeProvider::default(),
        );
        assert!(
            builder.build().is_ok(),
            "a resolver without servers is allowed"
        );
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
