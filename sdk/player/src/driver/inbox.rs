//! Everything the driver waits for, in one place.

use nearcast_core::abr::AbrDecision;
use nearcast_core::{AskId, AttemptId, Command, FetchId, Memory};
use nearcast_manifest::{Index, Manifest, ManifestError};
use nearcast_protocol::manifest::{ObjectKey, RepresentationKey};
use nearcast_protocol::report::SessionReport;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::control::Granted;
use crate::decode::DecoderNote;
use crate::transport::Note;

/// What the application asks of the driver.
#[derive(Debug)]
pub(crate) enum Order {
    Command(Command),
    Report(oneshot::Sender<SessionReport>),
    Memory(oneshot::Sender<Memory>),
}

/// What a job came to.
#[derive(Debug)]
pub(super) enum Job {
    Granted(Granted),
    Parsed(Box<Result<Manifest, ManifestError>>),
    IndexRead {
        key: RepresentationKey,
        read: Result<Box<Index>, ManifestError>,
    },
    ParseCrashed(ObjectKey),
    /// `None` where the application's policy gave no answer.
    PolicyAnswered {
        ask: AskId,
        decision: Option<AbrDecision>,
    },
    Verified {
        fetch: FetchId,
        intact: bool,
    },
    /// Nobody waits for it.
    Done,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Happened {
    Note(Note),
    Decoder(DecoderNote),
    Order(Order),
    Job(Job),
    /// An attempt's task ended, with its last word before it.
    Reaped,
    /// An attempt's task panicked and says nothing more.
    Crashed(Id),
    /// The time has come.
    Due,
}

/// The channels and tasks that belong to the driver; dropping it ends the tasks.
pub(super) struct Inbox {
    notes: mpsc::Receiver<Note>,
    sender: mpsc::Sender<Note>,
    decoders: mpsc::Receiver<DecoderNote>,
    orders: mpsc::Receiver<Order>,
    attempts: JoinSet<()>,
    jobs: JoinSet<Job>,
    /// What it means when a job panics; few run at a time.
    crashes: Vec<(Id, Job)>,
}

impl Inbox {
    pub(super) fn new(
        orders: mpsc::Receiver<Order>,
        decoders: mpsc::Receiver<DecoderNote>,
    ) -> Self {
        let (sender, notes) = mpsc::channel(crate::transport::NOTES_MAX);
        Self {
            notes,
            sender,
            decoders,
            orders,
            attempts: JoinSet::new(),
            jobs: JoinSet::new(),
            crashes: Vec::new(),
        }
    }

    /// Waits until something happens, or for `at`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped: every branch is a receive, a join or a sleep.
    pub(super) async fn next(&mut self, at: Instant) -> Happened {
        tokio::select! {
            Some(note) = self.notes.recv() => Happened::Note(note),
            Some(note) = self.decoders.recv() => Happened::Decoder(note),
            Some(order) = self.orders.recv() => Happened::Order(order),
            Some(ended) = self.jobs.join_next_with_id() => Happened::Job(self.ended(ended)),
            Some(ended) = self.attempts.join_next() => reaped(ended),
            () = tokio::time::sleep_until(at) => Happened::Due,
        }
    }

    /// Hears decoders no more.
    pub(super) fn close_decoders(&mut self) {
        self.decoders.close();
    }

    /// Returns a note that waits already.
    pub(super) fn waiting_note(&mut self) -> Option<Note> {
        self.notes.try_recv().ok()
    }

    /// Returns the channel of a new attempt.
    pub(super) fn notes(&self) -> mpsc::Sender<Note> {
        self.sender.clone()
    }

    pub(super) fn spawn_attempt(
        &mut self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.attempts.spawn(task)
    }

    /// Runs a task; `crashed` stands for its outcome if it panics.
    pub(super) fn spawn_job(
        &mut self,
        crashed: Job,
        task: impl Future<Output = Job> + Send + 'static,
    ) {
        let id = self.jobs.spawn(task).id();
        self.crashes.push((id, crashed));
    }

    /// Runs what takes time; `crashed` stands for its outcome if it panics.
    pub(super) fn spawn_work(&mut self, crashed: Job, work: impl FnOnce() -> Job + Send + 'static) {
        let id = self.jobs.spawn_blocking(work).id();
        self.crashes.push((id, crashed));
    }

    fn ended(&mut self, ended: Result<(Id, Job), JoinError>) -> Job {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let index = self.crashes.iter().position(|(known, _)| *known == id);
        let crashed = index.map(|index| self.crashes.swap_remove(index).1);
        match ended {
            Ok((_, job)) => job,
            Err(error) => {
                tracing::error!(%error, "a job panicked");
                crashed.unwrap_or(Job::Done)
            }
        }
    }
}

fn reaped(ended: Result<(), JoinError>) -> Happened {
    match ended {
        Err(error) if error.is_panic() => {
            tracing::error!(%error, "an attempt panicked");
            Happened::Crashed(error.id())
        }
        Ok(()) | Err(_) => Happened::Reaped,
    }
}

/// An attempt that runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) fetch: FetchId,
    pub(super) probe: bool,
    pub(super) edge: nearcast_core::EdgeId,
    pub(super) task: AbortHandle,
}

/// Attempts that run, few at a time.
#[derive(Debug, Default)]
pub(super) struct LiveAttempts(std::collections::BTreeMap<AttemptId, Live>);

impl LiveAttempts {
    pub(super) fn insert(&mut self, id: AttemptId, live: Live) {
        self.0.insert(id, live);
    }

    pub(super) fn get(&self, id: AttemptId) -> Option<&Live> {
        self.0.get(&id)
    }

    /// Returns the attempt that is carried out by a task, if it still runs.
    pub(super) fn of_task(&self, task: Id) -> Option<AttemptId> {
        let mut all = self.0.iter();
        all.find_map(|(id, live)| (live.task.id() == task).then_some(*id))
    }

    /// Ends an attempt; what it still says is not heard.
    pub(super) fn end(&mut self, id: AttemptId) -> Option<Live> {
        let live = self.0.remove(&id)?;
        live.task.abort();
        Some(live)
    }

    /// Ends all attempts for a fetch.
    pub(super) fn end_all_for(&mut self, fetch: FetchId) {
        self.0.retain(|_, live| {
            let other = live.fetch != fetch;
            if !other {
                live.task.abort();
            }
            other
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_attempt_that_panics_is_known_by_its_task() {
        let mut inbox = Inbox::new(mpsc::channel(1).1, mpsc::channel(1).1);
        let mut attempts = LiveAttempts::default();
        for id in [1, 2, 3] {
            let task = inbox.spawn_attempt(async move {
                match id {
                    1 => {}
                    2 => panic!("on purpose"),
                    _ => std::future::pending().await,
                }
            });
            let live = Live {
                fetch: FetchId(id),
                probe: false,
                edge: nearcast_core::EdgeId(0),
                task,
            };
            attempts.insert(AttemptId(id), live);
        }
        let mut crashed = Vec::new();
        for _ in 0..2 {
            let at = crate::clock::after(std::time::Duration::from_secs(3600));
            let happened = inbox.next(at).await;
            if let Happened::Crashed(task) = happened {
                crashed.extend(attempts.of_task(task));
            } else {
                assert!(matches!(happened, Happened::Reaped), "{happened:?}");
            }
        }
        assert_eq!(crashed, [AttemptId(2)]);
    }

    #[tokio::test]
    async fn a_job_that_panics_ends_as_what_it_was() {
        let mut inbox = Inbox::new(mpsc::channel(1).1, mpsc::channel(1).1);
        let fetch = FetchId(7);
        let intact = false;
        inbox.spawn_work(Job::Verified { fetch, intact }, || panic!("on purpose"));
        inbox.spawn_job(Job::Done, std::future::pending());
        let happened = inbox
            .next(crate::clock::after(std::time::Duration::from_secs(3600)))
            .await;
        assert!(
            matches!(
                happened,
                Happened::Job(Job::Verified {
                    fetch: FetchId(7),
                    intact: false
                })
            ),
            "{happened:?}"
        );
        assert_eq!(inbox.crashes.len(), 1);
    }
}
