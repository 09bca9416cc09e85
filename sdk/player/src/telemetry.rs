//! QoE events on their way to the backend: bounded, in batches, never in playback's way.
//!
//! When the queue is full the oldest event goes and is counted; a batch that did not get through is sent
//! again under the same sequence number, so that the backend counts it once.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nearcast_protocol::telemetry::{EventBatch, QoeEvent};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Events wait here; about ten minutes of a session in which something happens every second.
pub(crate) const QUEUE_MAX: usize = 600;
/// Events of one batch: some 20 KB of JSON.
pub(crate) const BATCH_MAX: usize = 100;
/// How long an event waits for company.
const BATCH_EVERY: Duration = Duration::from_secs(5);
/// First and longest rest after a batch that did not get through.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Carries one batch to the backend.
pub(crate) trait Deliver: Send + Sync + 'static {
    /// Tries once.
    fn deliver(&self, batch: &EventBatch) -> impl Future<Output = Delivery> + Send;
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The backend has it.
    Accepted,
    /// The backend will never take it.
    Rejected,
    /// It may work later.
    TryLater,
}

/// The queue; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    full_batch: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<QoeEvent>,
    dropped_unsent: u64,
    dropped_total: u64,
}

impl EventQueue {
    /// Adds an event; never waits.
    pub(crate) fn push(&self, event: QoeEvent) {
        let mut state = self.lock();
        if state.events.len() == QUEUE_MAX {
            state.events.pop_front();
            state.dropped_unsent += 1;
            state.dropped_total += 1;
        }
        state.events.push_back(event);
        if state.events.len() >= BATCH_MAX {
            self.shared.full_batch.notify_one();
        }
    }

    /// Returns how many events were dropped for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped_total
    }

    /// Takes up to a batch; `None` when there is nothing to say.
    fn take(&self, playback_id: &str, sequence: u64) -> Option<EventBatch> {
        let mut state = self.lock();
        if state.events.is_empty() {
            return None;
        }
        let count = state.events.len().min(BATCH_MAX);
        let events = state.events.drain(..count).collect();
        let dropped = std::mem::take(&mut state.dropped_unsent);
        Some(EventBatch {
            playback_id: playback_id.to_owned(),
            sequence,
            dropped,
            events,
        })
    }

    fn reject(&self, batch: &EventBatch) {
        let lost = batch.events.len() as u64;
        let mut state = self.lock();
        state.dropped_total += lost;
        state.dropped_unsent += lost + batch.dropped;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so one that panicked left it whole too.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that empties the queue. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Sender {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl Sender {
    /// Begins to send what is and comes in `queue` as events of `playback_id`.
    pub(crate) fn spawn(queue: EventQueue, playback_id: String, to: impl Deliver) -> Self {
        let closing = CancellationToken::new();
        let task = tokio::spawn(run(queue, playback_id, to, closing.clone()));
        Self { closing, task }
    }

    /// Sends what is left, for at most `bound`.
    pub(crate) async fn close(mut self, bound: Duration) {
        self.closing.cancel();
        if tokio::time::timeout(bound, &mut self.task).await.is_err() {
            tracing::debug!("telemetry was not flushed in time");
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(queue: EventQueue, playback_id: String, to: impl Deliver, closing: CancellationToken) {
    let mut sequence = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(BATCH_EVERY) => {}
            () = queue.shared.full_batch.notified() => {}
            () = closing.cancelled() => {}
        }
        while let Some(batch) = queue.take(&playback_id, sequence) {
            sequence += 1;
            if !delivered(&to, &batch, &closing).await {
                queue.reject(&batch);
                // What comes next may be refused as well: it waits for its turn.
                break;
            }
        }
        if closing.is_cancelled() {
            return;
        }
    }
}

/// Tries until the backend has the batch, will never take it, or the session ends.
async fn delivered(to: &impl Deliver, batch: &EventBatch, closing: &CancellationToken) -> bool {
    let mut rest = RETRY_FIRST;
    loop {
        let last = closing.is_cancelled();
        match to.deliver(batch).await {
            Delivery::Accepted => return true,
            Delivery::Rejected => return false,
            Delivery::TryLater if last => return false,
            Delivery::TryLater => {
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    () = closing.cancelled() => {}
                }
                rest = (rest * 2).min(RETRY_MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nearcast_protocol::telemetry::QoeEventKind;

    use super::*;

    fn event(at_ms: u64) -> QoeEvent {
        QoeEvent {
            at_ms,
            position_ms: 0,
            kind: QoeEventKind::Stalled,
            fields: BTreeMap::new(),
        }
    }

    /// Answers as told, then accepts; keeps what it saw.
    #[derive(Clone, Default)]
    struct Fake {
        seen: Arc<Mutex<Vec<EventBatch>>>,
        answers: Arc<Mutex<VecDeque<Delivery>>>,
        hangs: bool,
    }

    impl Deliver for Fake {
        async fn deliver(&self, batch: &EventBatch) -> Delivery {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.seen.lock().unwrap().push(batch.clone());
            self.answers
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or(Delivery::Accepted)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_the_oldest_and_says_how_many() {
        let queue = EventQueue::default();
        for at in 0..(QUEUE_MAX as u64 + 7) {
            queue.push(event(at));
        }
        assert_eq!(queue.dropped(), 7);
        let fake = Fake::default();
        let sender = Sender::spawn(queue, "p".to_owned(), fake.clone());
        sender.close(Duration::from_secs(1)).await;
        let seen = fake.seen.lock().unwrap();
        assert_eq!(seen[0].dropped, 7);
        assert_eq!(seen[0].events[0].at_ms, 7);
        assert_eq!(
            seen.iter().map(|batch| batch.events.len()).sum::<usize>(),
            QUEUE_MAX
        );
        assert!(seen.iter().all(|batch| batch.events.len() <= BATCH_MAX));
        assert!(
            seen.iter()
                .enumerate()
                .all(|(index, batch)| batch.sequence == index as u64)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_did_not_get_through_is_sent_again_under_its_number() {
        let queue = EventQueue::default();
        let fake = Fake::default();
        fake.answers
            .lock()
            .unwrap()
            .extend([Delivery::TryLater, Delivery::TryLater]);
        let sender = Sender::spawn(queue.clone(), "p".to_owned(), fake.clone());
        queue.push(event(1));
        tokio::time::sleep(Duration::from_secs(20)).await;
        queue.push(event(2));
        sender.close(Duration::from_secs(1)).await;
        let numbers: Vec<_> = fake
            .seen
            .lock()
            .unwrap()
            .iter()
            .map(|b| (b.sequence, b.events[0].at_ms))
            .collect();
        assert_eq!(numbers, [(0, 1), (0, 1), (0, 1), (1, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_waits_no_longer_than_its_bound() {
        let queue = EventQueue::default();
        queue.push(event(1));
        let sender = Sender::spawn(
            queue,
            "p".to_owned(),
            Fake {
                hangs: true,
                ..Fake::default()
            },
        );
        let before = tokio::time::Instant::now();
        sender.close(Duration::from_secs(2)).await;
        assert_eq!(before.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_batch_is_counted_as_dropped_and_not_sent_again() {
        let queue = EventQueue::default();
        let fake = Fake::default();
        fake.answers.lock().unwrap().push_back(Delivery::Rejected);
        let sender = Sender::spawn(queue.clone(), "p".to_owned(), fake.clone());
        queue.push(event(1));
        queue.push(event(2));
        tokio::time::sleep(Duration::from_secs(6)).await;
        queue.push(event(3));
        sender.close(Duration::from_secs(1)).await;
        assert_eq!(queue.dropped(), 2);
        let seen = fake.seen.lock().unwrap();
        assert_eq!(
            seen.iter().map(|batch| batch.dropped).collect::<Vec<_>>(),
            [0, 2]
        );
    }
}
