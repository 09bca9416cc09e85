//! Connections kept for the next request, by origin.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::Instant;

use crate::connect::Connection;
use crate::h3_memory::Network;
use crate::net::locked;
use crate::request::{Origin, Protocol, Protocols};

/// HTTP/1.1 connections in use to one origin, as browsers do; also how many are kept idle.
const HTTP1_MAX: usize = 6;
/// Servers close idle connections after 60 to 75 s; one near that age is not worth the gamble.
const IDLE_MAX: Duration = Duration::from_secs(55);
/// Origins with kept connections; a session has about ten.
const ORIGINS_MAX: usize = 64;

/// What a request accepts of the kept connections.
pub(crate) struct Wanted<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) protocols: Protocols,
    /// HTTP/3 before the others.
    pub(crate) h3_first: bool,
    /// Only connections to one of these; empty: to any.
    pub(crate) addresses: &'a [IpAddr],
}

/// The state of an origin that outlives single connections.
#[derive(Clone)]
pub(crate) struct Ticket {
    /// Changes when the origin's connections are thrown away; an older connection is not kept.
    epoch: u64,
    /// One permit per HTTP/1.1 connection in use.
    pub(crate) slots: Arc<Semaphore>,
    /// Held while connecting, so that simultaneous requests share what can be shared.
    pub(crate) gate: Arc<AsyncMutex<()>>,
    /// The origin answered in HTTP/1.1: nothing to share there.
    pub(crate) speaks_http1: bool,
}

#[derive(Default)]
pub(crate) struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    origins: BTreeMap<Origin, Entry>,
    /// Counts entries made, so that each has an epoch of its own.
    epochs: u64,
    /// Counts uses, to find the origin not used for longest.
    uses: u64,
}

struct Entry {
    ticket: Ticket,
    last_use: u64,
    /// With the time since when it is idle.
    idle_http1: Vec<(Connection, Instant)>,
    /// With the time of the last use known.
    shared: Vec<(Connection, Instant)>,
}

impl Pool {
    /// Returns the state of `origin`, making it if need be.
    pub(crate) fn ticket(&self, origin: &Origin) -> Ticket {
        locked(&self.0).entry(origin).ticket.clone()
    }

    /// Takes a kept connection: an idle one of HTTP/1.1, or a share of another.
    pub(crate) fn take(&self, wanted: &Wanted<'_>, now: Instant) -> Option<Connection> {
        let mut state = locked(&self.0);
        let reaped = state.reap(now);
        let entry = state.entry(wanted.origin);
        let fits = |connection: &Connection| {
            wanted.addresses.is_empty() || wanted.addresses.contains(&connection.peer.ip())
        };
        let shared = &mut entry.shared;
        let mut share = |protocol, allowed: bool| {
            let mut shared = shared.iter_mut();
            let (kept, used) =
                shared.find(|(c, _)| allowed && c.protocol == protocol && fits(c))?;
            *used = now;
            kept.share()
        };
        let taken = if wanted.h3_first {
            share(Protocol::Http3, wanted.protocols.http3)
        } else {
            None
        };
        let taken = taken.or_else(|| share(Protocol::Http2, wanted.protocols.http2));
        // The last one used is the least likely to have been closed.
        let idle = || {
            let index = entry.idle_http1.iter().rposition(|(c, _)| fits(c))?;
            let allowed = wanted.protocols.http1;
            allowed.then(|| entry.idle_http1.remove(index).0)
        };
        let taken = taken.or_else(idle);
        let taken = taken.or_else(|| share(Protocol::Http3, wanted.protocols.http3));
        drop(state);
        drop(reaped);
        taken
    }

    /// Keeps a connection for others, unless its origin was forgotten since `ticket` was given.
    pub(crate) fn put(
        &self,
        origin: &Origin,
        ticket: &Ticket,
        connection: Connection,
        now: Instant,
    ) {
        let mut state = locked(&self.0);
        let mut replaced = state.reap(now);
        let entry = state.origins.get_mut(origin);
        let entry = entry.filter(|entry| entry.ticket.epoch == ticket.epoch);
        if let Some(entry) = entry
            && connection.is_open()
        {
            if connection.protocol == Protocol::Http1 {
                entry.idle_http1.push((connection, now));
                if entry.idle_http1.len() > HTTP1_MAX {
                    replaced.push(entry.idle_http1.remove(0).0);
                }
            } else {
                // One of each protocol; a newer one replaces it, and requests on the old one go on.
                let protocol = connection.protocol;
                replaced.extend(take_out(&mut entry.shared, |(kept, _)| {
                    kept.protocol == protocol
                }));
                entry.shared.push((connection, now));
            }
        }
        drop(state);
        drop(replaced);
    }

    /// Notes that a request on a shared connection has ended.
    pub(crate) fn used(&self, origin: &Origin, connection: &Connection, now: Instant) {
        let mut state = locked(&self.0);
        let reaped = state.reap(now);
        let entry = state.origins.get_mut(origin);
        let kept = entry.and_then(|entry| entry.shared.iter_mut().find(|(c, _)| c.is(connection)));
        if let Some((_, used)) = kept {
            *used = now;
        }
        drop(state);
        drop(reaped);
    }

    /// Throws a shared connection away.
    pub(crate) fn remove(&self, origin: &Origin, unwanted: &Connection) {
        let mut state = locked(&self.0);
        let entry = state.origins.get_mut(origin);
        let removed = entry.map(|entry| take_out(&mut entry.shared, |(kept, _)| kept.is(unwanted)));
        drop(state);
        drop(removed);
    }

    /// Throws a dead connection away, and those that were kept beside it: what closed it has most likely closed
    /// them. Where it is kept no longer, another request may have done so already: what is younger stays then.
    /// HTTP/1.1 does not know, because it has a connection out of the pool while it is in use.
    pub(crate) fn died(&self, origin: &Origin, dead: &Connection) {
        let mut state = locked(&self.0);
        let mut removed = Vec::new();
        if let Some(entry) = state.origins.get_mut(origin) {
            let all = dead.protocol == Protocol::Http1
                || entry.shared.iter().any(|(kept, _)| kept.is(dead));
            for kept in [&mut entry.idle_http1, &mut entry.shared] {
                removed.extend(take_out(kept, |(kept, _)| {
                    all || kept.opening < dead.opening
                }));
            }
        }
        drop(state);
        drop(removed);
    }

    /// Notes that `origin` answers in HTTP/1.1.
    pub(crate) fn speaks_http1(&self, origin: &Origin) {
        locked(&self.0).entry(origin).ticket.speaks_http1 = true;
    }

    /// Throws the kept connections of `origin` away; those in use are not kept afterwards. Returns the network
    /// of one that spoke HTTP/3, if there was one.
    pub(crate) fn forget(&self, origin: &Origin) -> Option<Network> {
        let entry = locked(&self.0).origins.remove(origin)?;
        // The lock is free: dropping connections wakes tasks.
        let mut shared = entry.shared.iter().map(|(connection, _)| connection);
        shared
            .find(|connection| connection.protocol == Protocol::Http3 && connection.is_open())
            .map(|connection| connection.network)
    }

    /// Throws all kept connections away.
    pub(crate) fn clear(&self) {
        let origins = std::mem::take(&mut locked(&self.0).origins);
        drop(origins);
    }
}

impl State {
    /// Takes out what is closed or has been idle for too long, of all origins: one that is not asked any more
    /// would keep its connections otherwise. To be dropped when the lock is free.
    fn reap(&mut self, now: Instant) -> Vec<Connection> {
        let mut reaped = Vec::new();
        for entry in self.origins.values_mut() {
            let gone = |connection: &Connection, since: Instant| {
                !connection.is_open() || connection.is_unshared() && now >= since + IDLE_MAX
            };
            for kept in [&mut entry.idle_http1, &mut entry.shared] {
                reaped.extend(take_out(kept, |(connection, since)| {
                    gone(connection, *since)
                }));
            }
        }
        reaped
    }

    fn entry(&mut self, origin: &Origin) -> &mut Entry {
        self.uses += 1;
        if self.origins.len() >= ORIGINS_MAX && !self.origins.contains_key(origin) {
            let oldest = self.origins.iter().min_by_key(|(_, entry)| entry.last_use);
            if let Some(oldest) = oldest.map(|(origin, _)| origin.clone()) {
                self.origins.remove(&oldest);
            }
        }
        let epochs = &mut self.epochs;
        let entry = self.origins.entry(origin.clone()).or_insert_with(|| {
            *epochs += 1;
            Entry {
                ticket: Ticket {
                    epoch: *epochs,
                    slots: Arc::new(Semaphore::new(HTTP1_MAX)),
                    gate: Arc::default(),
                    speaks_http1: false,
                },
                last_use: 0,
                idle_http1: Vec::new(),
                shared: Vec::new(),
            }
        });
        entry.last_use = self.uses;
        entry
    }
}

fn take_out(
    kept: &mut Vec<(Connection, Instant)>,
    wanted: impl Fn(&(Connection, Instant)) -> bool,
) -> Vec<Connection> {
    kept.extract_if(.., |kept| wanted(kept))
        .map(|(connection, _)| connection)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Scheme;

    /// Which of the kept connections, numbers 1 and 3, are left when number 2 has died.
    async fn left(dead_is_kept: bool) -> Vec<u64> {
        let origin = Origin {
            scheme: Scheme::Https,
            host: "edge".to_owned(),
            port: 1,
        };
        let (pool, now) = (Pool::default(), Instant::now());
        let ticket = pool.ticket(&origin);
        let dead = Connection::to_nobody(Protocol::Http2, 2).await;
        if dead_is_kept {
            pool.put(&origin, &ticket, dead.share().unwrap(), now);
        }
        for opening in [1, 3] {
            let kept = Connection::to_nobody(Protocol::Http1, opening).await;
            pool.put(&origin, &ticket, kept, now);
        }
        pool.died(&origin, &dead);
        let wanted = Wanted {
            origin: &origin,
            protocols: Protocols::ALL,
            h3_first: false,
            addresses: &[],
        };
        let take = || pool.take(&wanted, now);
        std::iter::from_fn(take).map(|kept| kept.opening).collect()
    }

    #[tokio::test]
    async fn a_dead_connection_takes_what_is_older_along_though_it_is_kept_no_longer() {
        assert_eq!(left(true).await, []);
        assert_eq!(left(false).await, [3]);
    }
}
