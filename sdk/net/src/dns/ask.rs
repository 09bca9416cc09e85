//! Questions to name servers, and what they say.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError as HickoryError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::time::timeout;

use crate::config::DnsConfig;
use crate::error::{DnsProblem, NetError};

/// How long the second family of addresses may come after the first (RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long the addresses of one family are believed when the other family got no answer: they serve a start,
/// and the next connection finds out again.
const HALF_FOR: Duration = Duration::from_secs(5);
/// The longest time an answer is believed; hosts files have no TTL at all.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// Addresses kept per name and family; a race tries no more.
const ADDRESSES_MAX: usize = 8;

/// Asks for both families at once. When the second takes longer than a start should wait, the first goes to
/// `half` before the second is waited for.
pub(super) async fn ask(
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
pub(super) struct Answer {
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

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.v4.iter().chain(&self.v6).copied().collect()
    }

    pub(super) fn believed_for(&self) -> Duration {
        if self.missing {
            self.ttl.min(HALF_FOR)
        } else {
            self.ttl
        }
    }
}

/// Whom to ask.
pub(super) enum Servers {
    Named(Arc<TokioResolver>),
    /// The system names no name server (yet); the hosts file still holds.
    None(Option<Arc<TokioResolver>>),
}

impl Servers {
    pub(super) fn new(config: &DnsConfig) -> Self {
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
pub(super) fn says_no(error: &NetError) -> bool {
    matches!(
        error,
        NetError::DnsFailed {
            problem: DnsProblem::NoSuchName | DnsProblem::NoAddress | DnsProblem::InvalidName,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

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
}
