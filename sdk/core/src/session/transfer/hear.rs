//! What is heard of an attempt while it goes well.

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{ByteCount, Instant};

use crate::abr::Transfer;
use crate::event::Event;
use crate::fetch::{Fetch, Phase, Role};
use crate::input::{AttemptId, EdgeId, Failure, TransportEvent};
use crate::session::Session;
use crate::throughput::Told;

impl Session {
    pub(in crate::session) fn transport(&mut self, id: AttemptId, event: TransportEvent) {
        // An attempt that was cancelled may still be heard of.
        let Some(index) = self
            .fetches
            .iter()
            .position(|fetch| fetch.attempts.iter().any(|one| one.id == id))
        else {
            return;
        };
        let mut fetch = self.fetches.swap_remove(index);
        let keep = self.transport_event(&mut fetch, id, event);
        if keep {
            self.fetches.push(fetch);
        }
    }

    /// Returns whether the fetch is still on its way.
    pub(super) fn transport_event(
        &mut self,
        fetch: &mut Fetch,
        id: AttemptId,
        event: TransportEvent,
    ) -> bool {
        let now = self.now;
        let Some(attempt) = fetch.attempt_mut(id) else {
            return true;
        };
        let edge_id = attempt.edge;
        match event {
            TransportEvent::Resolved => true,
            TransportEvent::Connected {
                cold,
                protocol,
                rtt,
            } => {
                attempt.cold = cold;
                attempt.protocol = Some(protocol);
                let took = now.since(attempt.started_at);
                attempt.phase = Phase::Waiting { since: now };
                attempt.answers_at = rtt.map(|rtt| now + rtt);
                attempt.rtt = rtt;
                if let Some(edge) = self.edges.get_mut(edge_id) {
                    edge.connected(took, rtt, cold, protocol);
                }
                self.settle_race(fetch);
                true
            }
            TransportEvent::RequestSent => {
                attempt.phase = Phase::Waiting { since: now };
                true
            }
            TransportEvent::Headers {
                status,
                from,
                validators,
                retry_after,
            } => {
                let asked_at = attempt.quiet_since();
                let waited = now.since(asked_at);
                attempt.phase = Phase::Body { last_byte_at: now };
                attempt.answered_in = waited;
                let success = (200..300).contains(&status);
                if let Some(edge) = self.edges.get_mut(edge_id) {
                    // A refusal is quick and says nothing about how soon media comes.
                    if success {
                        edge.answered(now, waited);
                    }
                    edge.body_begins(now);
                }
                if !success {
                    return self.attempt_failed(
                        fetch,
                        id,
                        &Failure::Http {
                            status,
                            retry_after,
                        },
                    );
                }
                if let Some(attempt) = fetch.attempt_mut(id) {
                    attempt.next = from;
                }
                if let Some(comparison) = &mut self.comparison {
                    comparison.body_begins(now, id, asked_at);
                }
                let probe = fetch.is_probe();
                if !probe && let Err(other) = fetch.identify(edge_id, &validators) {
                    self.cancel_connection(id, false);
                    return self.attempt_failed(fetch, id, &other);
                }
                true
            }
            TransportEvent::Progress { from, to } => {
                // More than there is, is another object.
                if fetch.total.is_some_and(|total| to > total) && !fetch.is_probe() {
                    self.cancel_connection(id, false);
                    return self.attempt_failed(fetch, id, &Failure::SizeChanged);
                }
                self.progress(fetch, id, edge_id, from, to);
                true
            }
            TransportEvent::Complete => self.attempt_complete(fetch, id),
            TransportEvent::Failed(failure) => self.attempt_failed(fetch, id, &failure),
        }
    }

    pub(super) fn progress(
        &mut self,
        fetch: &mut Fetch,
        id: AttemptId,
        edge_id: EdgeId,
        from: u64,
        to: u64,
    ) {
        let mut attempts = fetch.attempts.iter();
        let since = attempts.find_map(|one| match one.phase {
            Phase::Body { last_byte_at } if one.id == id => Some(last_byte_at),
            Phase::Body { .. } | Phase::Connecting { .. } | Phase::Waiting { .. } => None,
        });
        let new = fetch.progress(self.now, id, from, to);
        let told = Told {
            since: since.unwrap_or(self.now),
            now: self.now,
            all_until: self.told_until(fetch, edge_id),
        };
        let bytes = ByteCount::new(to.saturating_sub(from));
        self.progress_at = self.now;
        self.arriving.progress(self.now, bytes.get());
        if let Some(attempt) = fetch.attempts.iter().find(|one| one.id == id) {
            self.learn_first_rate(attempt);
        }
        if let Some(edge) = self.edges.get_mut(edge_id) {
            edge.body_progress(told, bytes);
            if let Some(attempt) = fetch.attempt_mut(id) {
                attempt.note_well(self.now, edge);
            }
        }
        if let Some(comparison) = &mut self.comparison {
            comparison.progress(told, (id, edge_id), bytes.get());
        }
        if fetch.is_probe() {
            self.extra += bytes;
            return;
        }
        self.useful += new;
        self.extra += bytes - new;
        if self.edges_down && new > ByteCount::ZERO {
            self.edges_down = false;
            self.events.push_back(Event::EdgesBack);
        }
        // Where the same edge goes on after all, nothing was handed over.
        if new > ByteCount::ZERO
            && let Some(handover) = fetch.handover.take()
            && handover.from != edge_id
        {
            self.recorder.handed_over(self.now, fetch.id, &handover);
        }
        if fetch.is_complete() {
            return;
        }
        self.settle_race(fetch);
    }

    /// Until when all that came from an edge was told.
    fn told_until(&self, fetch: &Fetch, edge: EdgeId) -> Instant {
        let fetches = self.fetches.iter().chain([fetch]);
        let bodies = fetches
            .flat_map(|one| &one.attempts)
            .filter(|one| one.edge == edge)
            .filter_map(|one| match one.phase {
                Phase::Body { last_byte_at } => Some(last_byte_at),
                Phase::Connecting { .. } | Phase::Waiting { .. } => None,
            });
        bodies.min().unwrap_or(self.now)
    }

    pub(super) fn attempt_complete(&mut self, fetch: &mut Fetch, id: AttemptId) -> bool {
        let Some(attempt) = fetch.attempts.iter().find(|one| one.id == id) else {
            return true;
        };
        let (role, edge, limit) = (attempt.role, attempt.edge, attempt.to);
        if fetch.total.is_none() && limit.is_none() {
            // Another edge has given more of it already.
            if attempt.next < fetch.received {
                return self.attempt_failed(fetch, id, &Failure::Truncated);
            }
            fetch.total = Some(fetch.received);
        }
        if role == Role::Probe {
            self.close_attempt(fetch, id, "ok", None);
            self.edge_gave(edge);
            self.probed(edge);
            return false;
        }
        if !fetch.is_complete() {
            return self.attempt_failed(fetch, id, &Failure::Truncated);
        }
        self.measured(fetch, id);
        self.close_attempt(fetch, id, "ok", None);
        self.edge_gave(edge);
        if role == Role::Racer {
            self.race_won(edge, "brought all of it first", &[]);
        }
        self.finish_transfer(fetch)
    }

    /// A whole segment of the track whose rungs are chosen says what the edge and the line are like.
    fn measured(&mut self, fetch: &Fetch, id: AttemptId) {
        let leads =
            fetch.track == Some(self.leading()) && matches!(fetch.object, ObjectKey::Media(..));
        let attempt = fetch.attempts.iter().find(|one| one.id == id);
        let Some((attempt, first)) = attempt.and_then(|one| Some((one, one.first_byte_at?))) else {
            return;
        };
        if !leads {
            return;
        }
        let transfer = Transfer {
            bytes: attempt.bytes,
            ttfb: attempt.answered_in,
            body: self.now.since(first),
        };
        let edge = attempt.edge;
        self.policy.transferred(&transfer);
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.transferred();
        }
    }

    pub(super) fn edge_gave(&mut self, id: EdgeId) {
        if self.edge_served(id) {
            // It may have what nobody had while it was away.
            self.wrongs.look_again();
        }
    }

    /// An edge gave what it was asked for: it is in use again if it was not, which is returned.
    pub(in crate::session) fn edge_served(&mut self, id: EdgeId) -> bool {
        let Some(edge) = self.edges.get_mut(id) else {
            return false;
        };
        let was = edge.state(self.now);
        edge.served(self.now);
        let back = was != crate::edge::BreakerState::Closed;
        if back {
            self.edge_state_changed(id, None);
        }
        back
    }
}
