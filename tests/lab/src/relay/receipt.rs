//! What a relay did, so that a fault that never happened can be told from one that did.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nearcast_units::Instant;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::clock::Clock;
use super::dns::NameFault;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

/// One thing that a relay did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// When, since the relay was started.
    #[serde(rename = "at_ns")]
    pub at: Instant,
    /// To which connection, or to whose datagrams: one and the same client's have one number. They are counted from 0
    /// on, for TCP and UDP apart; `None` is all of them.
    pub connection: Option<u64>,
    /// Which way; `None` is both.
    pub direction: Option<Direction>,
    /// At which byte of what the sender has sent that way on this connection; of datagrams, at which one, from 0 on.
    pub offset: Option<u64>,
    /// Which toxic did it, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toxic: Option<String>,
    /// What was done.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "deed", rename_all = "snake_case")]
pub enum Deed {
    /// From now on everything passes.
    Opened,
    /// From now on TCP connections are refused. The system refuses them unseen: single ones leave no receipt.
    Refusing,
    /// From now on nothing passes. The system drops them unseen: single connections that are not answered leave no receipt.
    BlackHole {
        /// Whether new connections are left unanswered; otherwise the system opens them, and they are silent.
        unanswered: bool,
    },
    /// From now on datagrams are dropped (`true`), or pass again.
    UdpBlocked {
        /// Whether they are dropped.
        blocked: bool,
    },
    /// Bytes came that a black hole keeps from passing: the first ones since it is there.
    Silenced,
    /// The connection was reset, both ends of it.
    Reset(Handed),
    /// The connection was closed, both ends of it.
    Closed(Handed),
    /// The connection was killed by a rebinding: nothing passes any more and nobody is told.
    Killed(Handed),
    /// From now on the server sees another port of this client's datagrams; the old one is dead.
    Rebound {
        /// The port that it saw.
        old_port: u16,
        /// The port that it will see.
        new_port: u16,
    },
    /// The server could not be reached, and the connection was closed.
    UpstreamDead {
        /// What the system said.
        error: String,
    },
    /// There were more clients than a relay takes, and this one's connection or datagram was dropped.
    TooMany,
    /// Bytes were held for as long as this: the first ones on this connection.
    Delayed {
        /// Milliseconds, cut off to whole ones.
        by_ms: u64,
    },
    /// Bytes had to wait for the rate: the first ones on this connection.
    Throttled,
    /// Bytes were cut into slices: the first ones on this connection.
    Sliced,
    /// Bytes were dropped: the first ones on this connection.
    Dropped,
    /// The end of what is sent was held for as long as this.
    CloseHeld {
        /// Milliseconds.
        by_ms: u64,
    },
    /// The rest was cut off, and the connection was closed.
    Cut,
    /// A datagram was lost by chance.
    Lost,
    /// A datagram found the queue full.
    QueueFull,
    /// A datagram was larger than the MTU.
    TooLarge,
    /// A datagram was sent twice.
    Duplicated,
    /// A datagram was dropped because UDP is blocked, or by a black hole.
    Blocked,
    /// A datagram came for a port that a rebinding has closed.
    Stray,
    /// A name server answered wrongly, late or not at all.
    Misnamed {
        /// About which name.
        name: String,
        /// What of it was asked for: `A` or `AAAA`, mostly.
        record: String,
        /// What was wrong.
        by: NameFault,
    },
}

/// How far a connection had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Handed {
    /// Bytes handed to the server.
    pub upstream_bytes: u64,
    /// Bytes handed to the client.
    pub downstream_bytes: u64,
}

/// What passed through a relay in all, and how many of its receipts are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// TCP connections taken.
    pub connections: u64,
    /// Bytes of TCP handed to the server.
    pub upstream_bytes: u64,
    /// Bytes of TCP handed to the client.
    pub downstream_bytes: u64,
    /// Datagrams handed to the server, copies included.
    pub upstream_datagrams: u64,
    /// Datagrams handed to the client, copies included.
    pub downstream_datagrams: u64,
    /// Datagrams that overtook another one, either way.
    pub reordered: u64,
    /// Receipts that were dropped, the oldest first, because there were too many.
    pub receipts_dropped: u64,
}

/// A loss of 1 % over a million datagrams; some 100 bytes each.
const RECEIPTS_MAX: usize = 10_000;

/// Where all parts of a relay write down what they do.
#[derive(Debug)]
pub(super) struct Ledger {
    clock: Clock,
    pages: Mutex<Pages>,
    written: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Pages {
    receipts: VecDeque<Receipt>,
    counts: Counts,
}

impl Ledger {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            pages: Mutex::default(),
            written: watch::Sender::default(),
        }
    }

    /// Writes down what was done to all.
    pub(super) fn note(&self, deed: Deed) {
        self.write(Receipt {
            at: self.clock.now(),
            connection: None,
            direction: None,
            offset: None,
            toxic: None,
            deed,
        });
    }

    /// Writes down what was done to one connection.
    pub(super) fn note_of(&self, connection: u64, place: Option<(Direction, u64)>, deed: Deed) {
        self.write(Receipt {
            at: self.clock.now(),
            connection: Some(connection),
            direction: place.map(|(direction, _)| direction),
            offset: place.map(|(_, offset)| offset),
            toxic: None,
            deed,
        });
    }

    pub(super) fn write(&self, receipt: Receipt) {
        let mut pages = self.pages();
        if pages.receipts.len() == RECEIPTS_MAX {
            pages.receipts.pop_front();
            pages.counts.receipts_dropped += 1;
        }
        pages.receipts.push_back(receipt);
        drop(pages);
        self.written.send_replace(());
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.pages().counts);
    }

    pub(super) fn counts(&self) -> Counts {
        self.pages().counts
    }

    pub(super) fn receipts(&self) -> Vec<Receipt> {
        self.pages().receipts.iter().cloned().collect()
    }

    /// Waits for a receipt; one that is there already will do.
    pub(super) async fn wait_for(&self, is_it: impl Fn(&Receipt) -> bool) -> Receipt {
        let mut written = self.written.subscribe();
        loop {
            written.mark_unchanged();
            if let Some(found) = self.receipts().into_iter().find(&is_it) {
                return found;
            }
            if written.changed().await.is_err() {
                // Whoever waits borrows the sender: it is there.
                std::future::pending::<()>().await;
            }
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
