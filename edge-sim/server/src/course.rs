//! What goes wrong with one answer, and how that changes under way.

use nearcast_appliance::{Answer, Asked, Disposition, Effect, Target};
use tokio::sync::watch;

use crate::edge::Edge;

/// The faults of one answer: orders that come while it is under way count for it.
pub(crate) struct Course {
    pub(crate) fault: Disposition,
    asked: Asked,
    orders: watch::Receiver<u64>,
}

impl Course {
    pub(crate) fn decide(edge: &Edge, target: Target<'_>) -> Self {
        // First: an order between the two lines is looked at once too often, not missed.
        let orders = edge.orders.subscribe();
        let (fault, asked) =
            edge.with(|appliance, now| (appliance.decide(now, target), appliance.asked()));
        Self {
            fault,
            asked,
            orders,
        }
    }

    /// What follows one of our redirects gets the next one: it was decided on once.
    pub(crate) fn in_loop(edge: &Edge) -> Self {
        let mut fault = Disposition::default();
        fault.answer = Answer::RedirectLoop;
        Self {
            fault,
            orders: edge.orders.subscribe(),
            asked: edge.with(|appliance, _| appliance.asked()),
        }
    }

    /// Waits until there are orders that it does not know.
    pub(crate) async fn outdated(&mut self) {
        if self.orders.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes the orders that came meanwhile.
    pub(crate) fn revise(&mut self, edge: &Edge, target: Target<'_>, sent: u64) {
        self.orders.mark_unchanged();
        let before = std::mem::take(&mut self.fault);
        (self.fault, self.asked) = edge.with(|appliance, _| {
            let fault = appliance.revise(target, sent, before, self.asked);
            (fault, appliance.asked())
        });
    }

    /// Records that a fault takes effect.
    pub(crate) fn takes_effect(&self, edge: &Edge, target: Target<'_>, effect: Effect) {
        edge.with(|appliance, now| appliance.handle_effect(now, target, &self.fault, effect));
    }
}
