//! What all parts of one running appliance share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nearcast_appliance::fault::{Fault, FaultOrder, FaultReceipt, FaultRule, FaultSelector, Scope};
use nearcast_appliance::{Action, Appliance, Moment, OrderError, Outcome};
use nearcast_protocol::play::HttpProtocol;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::access_log::AccessLog;
use crate::clock::Clock;
use crate::config::FaultError;
use crate::files::Files;
use crate::gate::Gate;
use crate::last_mile::LastMile;

/// One running appliance.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) id: String,
    pub(crate) clock: Clock,
    pub(crate) gate: Arc<Gate>,
    pub(crate) last_mile: Option<LastMile>,
    pub(crate) files: Files,
    /// `None` serves whatever is there.
    pub(crate) stores: Option<Vec<String>>,
    pub(crate) needs_token: bool,
    pub(crate) log: AccessLog,
    /// `Alt-Svc` of answers over TLS.
    pub(crate) alt_svc: Option<http::HeaderValue>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) counters: Mutex<Counters>,
    /// A report is due: wakes the reporter.
    pub(crate) report: Notify,
    /// Counts orders of faults, for answers under way.
    pub(crate) orders: watch::Sender<u64>,
    /// Counts receipts, for whoever waits for one.
    pub(crate) receipt_count: watch::Sender<usize>,
    /// Per listener, the epoch of the link it has followed.
    pub(crate) followed: Vec<watch::Sender<u64>>,
    appliance: Mutex<Appliance>,
}

/// For the metrics.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Requests by protocol, status (0 for none) and end.
    pub(crate) requests: BTreeMap<(&'static str, u16, &'static str), u64>,
    pub(crate) bytes: u64,
    pub(crate) connections: BTreeMap<&'static str, u64>,
    pub(crate) connections_refused: u64,
    pub(crate) reports_failed: u64,
}

/// Everything but what is shared for its own sake.
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) gate: Arc<Gate>,
    pub(crate) last_mile: Option<LastMile>,
    pub(crate) files: Files,
    pub(crate) stores: Option<Vec<String>>,
    pub(crate) log: AccessLog,
    pub(crate) alt_svc: Option<http::HeaderValue>,
    pub(crate) listeners: usize,
    pub(crate) appliance: Appliance,
}

impl Edge {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            id: parts.appliance.config().id.clone(),
            needs_token: parts.appliance.config().has_backend,
            clock: parts.clock,
            gate: parts.gate,
            last_mile: parts.last_mile,
            files: parts.files,
            stores: parts.stores,
            log: parts.log,
            alt_svc: parts.alt_svc,
            shutdown: CancellationToken::new(),
            counters: Mutex::default(),
            report: Notify::new(),
            orders: watch::Sender::default(),
            receipt_count: watch::Sender::default(),
            followed: (0..parts.listeners)
                .map(|_| watch::Sender::new(0))
                .collect(),
            appliance: Mutex::new(parts.appliance),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.moment()
    }

    /// Does something with the model, then what the model asks for.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Appliance, Moment) -> T) -> T {
        let now = self.now();
        let mut appliance = self.appliance();
        let result = act(&mut appliance, now);
        while let Some(action) = appliance.poll_action() {
            match action {
                Action::Report => self.report.notify_one(),
                Action::Link(change) => {
                    tracing::info!(edge = %self.id, ?change, "the link changes");
                    self.gate.change(change);
                }
            }
        }
        let dropped = usize::try_from(appliance.receipts_dropped()).unwrap_or(usize::MAX);
        let receipts = appliance.receipts().len().saturating_add(dropped);
        self.receipt_count.send_if_modified(|count| {
            let is_news = *count != receipts;
            *count = receipts;
            is_news
        });
        result
    }

    /// Carries out an order and waits until the listeners have followed and whoever was to die has died.
    pub(crate) async fn apply(&self, order: FaultOrder) -> Result<(), FaultError> {
        check(&order)?;
        self.with(|appliance, now| {
            appliance.handle_order(now, order)?;
            self.gate
                .block_udp(appliance.has_for_all(&Fault::UdpBlocked));
            let refuses = appliance.has_for_all(&Fault::Refuse);
            if self.gate.refuse(refuses) && refuses {
                // The system refuses whoever comes over TCP, and tells nobody: this receipt stands for them all.
                appliance.connect_where(now, NOBODY_KNOWN, |fault| *fault == Fault::Refuse);
            }
            Ok(())
        })
        .map_err(|error: OrderError| FaultError::Order {
            reason: error.to_string(),
        })?;
        self.orders.send_modify(|orders| *orders += 1);
        let epoch = self.gate.view().epoch;
        for listener in &self.followed {
            let mut followed = listener.subscribe();
            let wait = followed.wait_for(|at| *at >= epoch);
            tokio::select! {
                () = self.shutdown.cancelled() => return Err(FaultError::Listener),
                waited = tokio::time::timeout(FOLLOW_MAX, wait) => {
                    if !matches!(waited, Ok(Ok(_))) {
                        return Err(FaultError::Listener);
                    }
                }
            }
        }
        let died = tokio::time::timeout(FOLLOW_MAX, self.gate.dead_are_gone()).await;
        if died.is_err() {
            tracing::warn!(edge = %self.id, "connections outlive the appliance's death");
        }
        Ok(())
    }

    pub(crate) fn receipts(&self) -> Vec<FaultReceipt> {
        self.appliance().receipts().cloned().collect()
    }

    pub(crate) fn receipts_dropped(&self) -> u64 {
        self.appliance().receipts_dropped()
    }

    /// A request has ended, for load, metrics and errors.
    pub(crate) fn count(
        &self,
        protocol: &'static str,
        status: u16,
        end: &'static str,
        outcome: Outcome,
    ) {
        let mut counters = self.counters();
        *counters
            .requests
            .entry((protocol, status, end))
            .or_default() += 1;
        drop(counters);
        self.with(|appliance, now| appliance.handle_end(now, outcome));
    }

    pub(crate) fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn appliance(&self) -> MutexGuard<'_, Appliance> {
        self.appliance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what an edge cannot do: silence about it would look like a fault that hits nobody.
fn check(order: &FaultOrder) -> Result<(), FaultError> {
    for FaultRule { fault, on, .. } in &order.faults {
        let of_connections = fault.scope() == Scope::Connection;
        let chosen = FaultSelector {
            count: on.count,
            probability: on.probability,
            ..FaultSelector::EVERYTHING
        };
        let name = fault.name();
        let reason = if matches!(fault, Fault::Dns { .. }) {
            "an edge answers no questions of DNS; `dns` is for the lab, which has a name server"
                .to_owned()
        } else if *fault == Fault::Misrank {
            "an edge ranks nobody; send `misrank` to the backend".to_owned()
        } else if of_connections && *on != chosen {
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

/// Who makes a connection: that is told by requests.
pub(crate) const NOBODY_KNOWN: &str = "";

/// How long an order waits for the listeners.
const FOLLOW_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// A protocol's name in logs and metrics.
pub(crate) const fn name_of(protocol: &HttpProtocol) -> &'static str {
    match protocol {
        HttpProtocol::H3 => "h3",
        HttpProtocol::H2 => "h2",
        HttpProtocol::Http1 => "http1",
        HttpProtocol::Other(_) => "other",
    }
}
