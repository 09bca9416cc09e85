//! What goes wrong on purpose: the orders in force, and what they make of the whole server.
//!
//! The vocabulary and its rules are those of the edges (`nearcast_appliance::fault`). What a fault does to one answer is
//! in [`crate::wrong`], what it does to connections in [`crate::listen`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultOrder, FaultReceipt, FaultRule, FaultSelector, Scope};
use nearcast_appliance::{FaultBoard, LinkChange, OrderError};
use nearcast_units::Instant;
use tokio::sync::watch;

use crate::clock::{WallClock, unix_ms};

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The order makes no sense, or is for somebody else; nothing of it was carried out.
    #[error("{reason}")]
    Order {
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The backend was to come back and its port has been taken meanwhile, or it has ended.
    #[error("the listener did not follow within 5 s: is the port taken?")]
    Listener,
}

/// The orders in force, and the state of the server that follows from them.
#[derive(Debug)]
pub(crate) struct Faults {
    board: Mutex<FaultBoard>,
    clock: Arc<WallClock>,
    view: watch::Sender<View>,
    /// Counts orders, for answers under way.
    orders: watch::Sender<u64>,
    /// Per listener, the epoch of the view that it has followed.
    followed: Vec<watch::Sender<u64>>,
    /// Whether any of them shakes hands.
    speaks_tls: bool,
}

/// What everybody can see of the whole server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) link: Link,
    /// Whether all new connections are refused; those that stand go on.
    pub(crate) refuses: bool,
    /// Counts deaths: who looks only now and then misses a short one.
    pub(crate) kills: u64,
    epoch: u64,
}

/// Whether the server can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    #[default]
    Up,
    /// A black hole.
    Stopped,
    /// Connections are reset and refused.
    Killed,
}

/// How long an order waits for the listeners.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// Who makes a connection: that is told by requests.
const NOBODY_KNOWN: &str = "";

impl Faults {
    /// Nothing is wrong yet with a server of so many listeners, of which the first may speak TLS.
    pub(crate) fn new(clock: Arc<WallClock>, listeners: usize, speaks_tls: bool) -> Self {
        Self {
            board: Mutex::default(),
            clock,
            view: watch::Sender::default(),
            orders: watch::Sender::default(),
            followed: (0..listeners).map(|_| watch::Sender::default()).collect(),
            speaks_tls,
        }
    }

    /// Carries out an order, and waits until the listeners have followed.
    pub(crate) async fn apply(&self, order: FaultOrder) -> Result<(), FaultError> {
        check(&order, self.speaks_tls)?;
        self.with(|board, unix_ms| {
            for change in board.apply(unix_ms, order)? {
                self.change(change);
            }
            let refuses = board.has_for_all(&Fault::Refuse);
            if self.refuse(refuses) && refuses {
                // The system refuses whoever comes, and tells nobody: this receipt stands for them all.
                board.connect_where(unix_ms, NOBODY_KNOWN, |fault| *fault == Fault::Refuse);
            }
            Ok(())
        })
        .map_err(|error: OrderError| FaultError::Order {
            reason: error.to_string(),
        })?;
        self.orders.send_modify(|orders| *orders += 1);
        let epoch = self.view().epoch;
        for listener in &self.followed {
            let mut followed = listener.subscribe();
            let wait = followed.wait_for(|at| *at >= epoch);
            if !matches!(tokio::time::timeout(FOLLOW_MAX, wait).await, Ok(Ok(_))) {
                return Err(FaultError::Listener);
            }
        }
        Ok(())
    }

    pub(crate) fn receipts(&self) -> Vec<FaultReceipt> {
        self.board().receipts().cloned().collect()
    }

    /// Whether the worst appliance is named first.
    pub(crate) fn misranks(&self) -> bool {
        self.board().has(&Fault::Misrank)
    }

    /// Decides what goes wrong with a new connection, with TLS or without.
    pub(crate) fn connect(&self, over_tls: bool) -> Option<Fault> {
        let can_happen = |fault: &Fault| {
            *fault == Fault::Refuse || over_tls && matches!(fault, Fault::Tls { .. })
        };
        self.with(|board, unix_ms| board.connect_where(unix_ms, NOBODY_KNOWN, can_happen))
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Does something with the board at this time.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut FaultBoard, u64) -> T) -> T {
        act(&mut self.board(), unix_ms(self.clock.now()))
    }

    /// Carries out what becomes of the link: `None` is that it is restored.
    pub(crate) fn change(&self, change: Option<LinkChange>) {
        self.view.send_modify(|view| {
            match change {
                Some(LinkChange::Stop) => view.link = Link::Stopped,
                Some(LinkChange::Kill) => {
                    view.link = Link::Killed;
                    view.kills += 1;
                }
                None | Some(LinkChange::Restore { .. }) => view.link = Link::Up,
                // Not taken by `check`.
                Some(LinkChange::Rate(_) | LinkChange::Delay(_)) => {}
            }
            view.epoch += 1;
        });
    }

    fn refuse(&self, refuses: bool) -> bool {
        self.view.send_if_modified(|view| {
            let is_news = view.refuses != refuses;
            if is_news {
                view.refuses = refuses;
                view.epoch += 1;
            }
            is_news
        })
    }

    pub(crate) fn view(&self) -> View {
        *self.view.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// A listener does as the view says.
    pub(crate) fn follows(&self, listener: usize, view: View) {
        if let Some(followed) = self.followed.get(listener) {
            followed.send_replace(view.epoch);
        }
    }

    /// Tells of orders.
    pub(crate) fn orders(&self) -> watch::Receiver<u64> {
        self.orders.subscribe()
    }

    fn board(&self) -> MutexGuard<'_, FaultBoard> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what a backend cannot do: silence about it would look like a fault that hits nobody.
fn check(order: &FaultOrder, speaks_tls: bool) -> Result<(), FaultError> {
    for FaultRule { fault, on, .. } in &order.faults {
        let name = fault.name();
        let chosen = FaultSelector {
            count: on.count,
            probability: on.probability,
            ..FaultSelector::EVERYTHING
        };
        let reason = if let Some(why) = fault.not_of_backend() {
            format!("a backend does no `{name}`: {why}; send it to an edge, or to the lab")
        } else if matches!(fault, Fault::Tls { .. }) && !speaks_tls {
            format!("this backend speaks no TLS: nobody could meet `{name}`")
        } else if fault.scope() == Scope::Connection && *on != chosen {
            format!(
                "connections are made before anybody says who asks for what; of selectors `{name}` takes only `count` \
                 and `probability`"
            )
        } else {
            continue;
        };
        return Err(FaultError::Order { reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_for_somebody_else_say_so() {
        let refused_where = |speaks_tls: bool, rule: &str| {
            let rule: FaultRule = serde_json::from_str(rule).unwrap();
            check(&FaultOrder::add([rule]), speaks_tls).map_err(|error| error.to_string())
        };
        let refused = |rule: &str| refused_where(true, rule);
        for (not, why) in [
            (
                r#"{"fault":{"kind":"dns","problem":"fails"}}"#,
                "does no `dns`: it is asked by",
            ),
            (r#"{"fault":{"kind":"udp_blocked"}}"#, "over TCP alone"),
            (r#"{"fault":{"kind":"wrong_range"}}"#, "for ranges"),
            (r#"{"fault":{"kind":"rate","rate_bps":1000}}"#, "`trickle`"),
            (
                r#"{"fault":{"kind":"delay","delay_ms":1000}}"#,
                "`late_first_byte`",
            ),
            (r#"{"fault":{"kind":"says_well"}}"#, "makes none"),
        ] {
            let told = refused(not).unwrap_err();
            assert!(told.contains(why) && told.contains("to an edge"), "{told}");
        }
        let some = r#"{"fault":{"kind":"refuse"},"on":{"object":"play"}}"#;
        assert!(refused(some).unwrap_err().contains("`refuse` takes only"));
        let tls = r#"{"fault":{"kind":"tls","problem":"expired"},"on":{"client":"p1"}}"#;
        assert!(refused(tls).unwrap_err().contains("`tls` takes only"));
        let tls = r#"{"fault":{"kind":"tls","problem":"expired"},"on":{"count":1}}"#;
        assert_eq!(refused(tls), Ok(()));
        assert!(
            refused_where(false, tls)
                .unwrap_err()
                .contains("speaks no TLS")
        );
        let few = r#"{"fault":{"kind":"refuse"},"on":{"count":2}}"#;
        assert_eq!(refused(few), Ok(()));
        let play = r#"{"fault":{"kind":"hang"},"on":{"object":"play","after":0.5}}"#;
        assert_eq!(refused(play), Ok(()));
    }
}
