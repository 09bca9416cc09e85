//! Connections kept for the next request, by origin.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::Instant;

use crate::connect::Connection;
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
    idle_http1: Vec<(Connection, Instant)>,
    shared: Vec<Connection>,
}

impl Pool {
    /// Returns the state of `origin`, making it if need be.
    pub(crate) fn ticket(&self, origin: &Origin) -> Ticket {
        locked(&self.0).entry(origin).ticket.clone()
    }

    /// Takes a kept connection: an idle one of HTTP/1.1, or a share of another.
    pub(crate) fn take(&self, wanted: &Wanted<'_>, now: Instant) -> Option<Connection> {
        let mut state = locked(&self.0);
        let entry = state.entry(wanted.origin);
        entry.shared.retain(Connection::is_open);
        entry
            .idle_http1
            .retain(|(connection, since)| connection.is_open() && now < *since + IDLE_MAX);
        let fits = |connection: &Connection| {
            wanted.addresses.is_empty() || wanted.addresses.contains(&connection.peer.ip())
        };
        let share = |protocol, allowed: bool| {
            let mut shared = entry.shared.iter();
            shared
                .find(|c| allowed && c.protocol == protocol && fits(c))
                .and_then(Connection::share)
        };
        let http3 = || share(Protocol::Http3, wanted.protocols.http3);
        let http2 = || share(Protocol::Http2, wanted.protocols.http2);
        let shared = if wanted.h3_first {
            http3().or_else(http2)
        } else {
            http2()
        };
        if shared.is_some() {
            return shared;
        }
        // The last one used is the least likely to have been closed.
        let idle = entry.idle_http1.iter().rposition(|(c, _)| fits(c));
        match idle {
            Some(index) if wanted.protocols.http1 => Some(entry.idle_http1.remove(index).0),
            Some(_) | None => share(Protocol::Http3, wanted.protocols.http3),
        }
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
        let Some(entry) = state.origins.get_mut(origin) else {
            return;
        };
        if entry.ticket.epoch != ticket.epoch || !connection.is_open() {
            return;
        }
        if connection.protocol == Protocol::Http1 {
            entry.idle_http1.push((connection, now));
            if entry.idle_http1.len() > HTTP1_MAX {
                entry.idle_http1.remove(0);
            }
        } else {
            // One of each protocol; a newer one replaces it, and requests on the old one go on.
            entry
                .shared
                .retain(|kept| kept.protocol != connection.protocol);
            entry.shared.push(connection);
        }
    }

    /// Notes that `origin` answers in HTTP/1.1.
    pub(crate) fn speaks_http1(&self, origin: &Origin) {
        locked(&self.0).entry(origin).ticket.speaks_http1 = true;
    }

    /// Throws the kept connections of `origin` away; those in use are not kept afterwards.
    pub(crate) fn forget(&self, origin: &Origin) {
        let entry = locked(&self.0).origins.remove(origin);
        drop(entry); // after the lock is free: dropping connections wakes tasks
    }

    /// Throws all kept connections away.
    pub(crate) fn clear(&self) {
        let origins = std::mem::take(&mut locked(&self.0).origins);
        drop(origins);
    }
}

impl State {
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
