//! An attempt leaves the rest of its object to another edge.

use nearcast_units::ByteCount;

use super::offset;
use crate::event::{DecisionKind, Event, seconds};
use crate::fetch::{Attempt, Fetch, Handover, Role};
use crate::input::EdgeId;
use crate::session::Session;

impl Session {
    /// An attempt left the rest of its object to others.
    pub(super) fn hand_over(&mut self, fetch: &mut Fetch, attempt: &Attempt, reason: &'static str) {
        fetch.handover.get_or_insert(Handover {
            from: attempt.edge,
            at: attempt.last_byte_at(),
            detected_at: attempt.noticed_at.unwrap_or(self.now),
            reason,
            // What came twice before this help began belongs to earlier stories.
            wasted: if fetch.attempts.iter().any(|one| one.role == Role::Helper) {
                attempt.wasted - attempt.wasted_before_help
            } else {
                ByteCount::ZERO
            },
            offset: attempt.next,
        });
    }

    /// An attempt that runs already takes over.
    pub(super) fn take_over(&mut self, fetch: &mut Fetch, to: EdgeId, delivering: bool) {
        let Some(handover) = fetch.handover else {
            return;
        };
        // Another object may have led to another edge meanwhile: one failure is one change.
        if self.edges.current().is_none_or(|id| id == handover.from) {
            self.edges.use_from_now(self.now, to);
        }
        self.announce_handover(fetch, handover, to);
        if delivering {
            fetch.handover = None;
            self.recorder.handed_over(self.now, fetch.id, &handover);
        }
    }

    pub(super) fn announce_handover(&mut self, fetch: &Fetch, handover: Handover, to: EdgeId) {
        if handover.from == to {
            return;
        }
        self.recorder.handover_begins(
            fetch,
            &handover,
            self.edges.name(handover.from),
            self.edges.name(to),
        );
        self.events.push_back(Event::FailedOver {
            fetch: fetch.id,
            track: fetch.track,
            from: handover.from,
            to,
            reason: handover.reason.into(),
            offset: handover.offset,
        });
        let chosen = alloc::format!(
            "{} to {}",
            self.edges.name(handover.from),
            self.edges.name(to)
        );
        let inputs = [
            ("offset", offset(handover.offset)),
            (
                "detected_s",
                seconds(handover.detected_at.since(handover.at)),
            ),
        ];
        self.decide(DecisionKind::Failover, chosen, handover.reason, &inputs);
    }
}
