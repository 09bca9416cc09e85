//! What outlives the process: an embedded store, written by a thread of its own.
//!
//! Requests hand work over through a bounded queue and never wait for a disk. When the queue is nearly full,
//! events are dropped and counted; what the backend itself needs to remember has the rest of it.
//!
//! A write that fails loses events, which are counted, and nothing else: records and keys are tried again until they
//! are written, on a store that is opened anew, because redb gives up one that failed. Meanwhile the queue fills,
//! and who pushes is told.
//!
//! Here are the queue, its thread, and what the backend itself remembers; how events are kept is in [`events`].

mod events;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nearcast_backend_model::{Action, Record};
use nearcast_protocol::telemetry::{EventBatch, EventCount};
use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::events::{BOUNDS, Batch, Bounds};

/// Records of the model, JSON by key.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Keys of the server, JSON by name.
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the state file {path}: {why}")]
pub struct StoreError {
    path: PathBuf,
    why: String,
}

/// A redb operation that failed; boxed, because its error is large.
type Failed = Box<redb::Error>;

/// Work for the store's thread.
enum Work {
    Actions(Vec<Action>),
    Keys {
        name: &'static str,
        json: Vec<u8>,
    },
    Events(Batch),
    Count {
        playback_id: String,
        reply: oneshot::Sender<EventCount>,
    },
}

impl Work {
    /// Returns how many records and keys it would write or forget.
    fn records(&self) -> u64 {
        match self {
            Self::Actions(actions) => u64::try_from(actions.len()).unwrap_or(u64::MAX),
            Self::Keys { .. } => 1,
            Self::Events(_) | Self::Count { .. } => 0,
        }
    }
}

/// The queue to the store's thread.
#[derive(Clone)]
pub(crate) struct Store {
    work: mpsc::Sender<Work>,
    /// Bytes of events that may still wait.
    room: Arc<Semaphore>,
    state: Arc<StoreState>,
}

/// How the store is.
#[derive(Debug, Default)]
pub(crate) struct StoreState {
    failing: AtomicBool,
    events_lost: AtomicU64,
    records_lost: AtomicU64,
}

impl StoreState {
    /// Whether the last write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Returns how many events were taken and could not be written.
    pub(crate) fn events_lost(&self) -> u64 {
        self.events_lost.load(Ordering::Relaxed)
    }

    /// Returns how many records and keys were given up at the end.
    pub(crate) fn records_lost(&self) -> u64 {
        self.records_lost.load(Ordering::Relaxed)
    }
}

/// The store's thread. It ends when all [`Store`]s are gone and all work is done.
#[derive(Debug)]
pub(crate) struct StoreThread {
    file: PathBuf,
    /// Told when the file is closed.
    ended: oneshot::Receiver<()>,
}

impl StoreThread {
    /// Waits until all work is done and the file is closed; no longer than [`JOIN_MAX`]. All [`Store`]s must be gone.
    pub(crate) async fn join(self) {
        match tokio::time::timeout(JOIN_MAX, self.ended).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("the store's thread did not end well"),
            Err(_) => tracing::error!(
                file = %self.file.display(),
                "the state file takes no more, and what it has not taken is lost; look at its disk before the next start"
            ),
        }
    }
}

/// A disk that takes this long for the last work does not do it any more: a full queue takes a second or two.
const JOIN_MAX: Duration = Duration::from_secs(30);

/// The queue was full; the work is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// Bytes of events that may wait: a batch has some kilobytes, and a disk takes this in a second.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Work that waits. The thread takes hundreds at a time, in milliseconds.
const QUEUE_MAX: usize = 4096;

/// Places in the queue that events leave free for the backend's own records.
const QUEUE_RESERVED: usize = QUEUE_MAX / 4;

/// Work done in one transaction: one flush to disk serves them all.
const TRANSACTION_MAX: usize = 256;

/// What an earlier process left.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) records: Vec<Record>,
    keys: Vec<(String, Vec<u8>)>,
}

impl Kept {
    /// Returns the keys that were stored under a name; none when they cannot be read.
    pub(crate) fn keys<T: serde::de::DeserializeOwned>(&self, name: &str) -> Vec<T> {
        self.keys
            .iter()
            .find(|(stored, _)| stored == name)
            .and_then(|(_, json)| serde_json::from_slice(json).ok())
            .unwrap_or_default()
    }
}

/// Opens a file, or a store in memory, and starts its thread.
pub(crate) fn open(path: Option<&Path>) -> Result<(Store, StoreThread, Kept), StoreError> {
    open_with(path, BOUNDS)
}

fn open_with(
    path: Option<&Path>,
    bounds: Bounds,
) -> Result<(Store, StoreThread, Kept), StoreError> {
    let place = path.unwrap_or_else(|| Path::new("(memory)")).to_owned();
    let path = path.map(Path::to_owned);
    let open = move || match &path {
        Some(path) => {
            reserve(path).map_err(|error| failed(redb::StorageError::from(error)))?;
            Database::create(path).map_err(failed)
        }
        // It cannot fail, so it is never opened again.
        None => Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .map_err(failed),
    };
    start(&place, open, bounds).map_err(|why| StoreError { path: place, why })
}

/// Starts the thread on a store that `open` opens, now and after a failure.
fn start(
    file: &Path,
    open: impl Fn() -> Result<Database, Failed> + Send + 'static,
    bounds: Bounds,
) -> Result<(Store, StoreThread, Kept), String> {
    let database = open().map_err(|error| error.to_string())?;
    make_tables(&database).map_err(|error| error.to_string())?;
    let kept = read_kept(&database).map_err(|error| error.to_string())?;
    let (work, queue) = mpsc::channel(QUEUE_MAX);
    let state = Arc::new(StoreState::default());
    let writer = Writer {
        open,
        database: Some(database),
        bounds,
        state: Arc::clone(&state),
    };
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("nearcast-store".to_owned())
        .spawn(move || {
            writer.run(queue);
            if end.send(()).is_err() {
                tracing::trace!("nobody waits for the store's end");
            }
        })
        .map_err(|error| error.to_string())?;
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    let file = file.to_owned();
    let thread = StoreThread { file, ended };
    Ok((Store { work, room, state }, thread, kept))
}

/// Makes the file, readable by its owner alone: it holds keys and access tokens.
fn reserve(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

impl Store {
    /// Returns how the store is.
    pub(crate) fn state(&self) -> &StoreState {
        &self.state
    }

    /// Remembers what the model wants remembered.
    pub(crate) fn actions(&self, actions: Vec<Action>) -> Result<(), QueueFull> {
        if actions.is_empty() {
            return Ok(());
        }
        self.push(Work::Actions(actions))
    }

    /// Remembers keys under a name, in place of earlier ones.
    pub(crate) fn keys<T: serde::Serialize>(
        &self,
        name: &'static str,
        keys: &T,
    ) -> Result<(), QueueFull> {
        let json = serde_json::to_vec(keys).map_err(|_| QueueFull)?;
        self.push(Work::Keys { name, json })
    }

    /// Remembers a batch of events.
    pub(crate) fn events(&self, batch: &EventBatch) -> Result<(), QueueFull> {
        if self.work.capacity() <= QUEUE_RESERVED {
            return Err(QueueFull);
        }
        let json = serde_json::to_vec(batch).map_err(|_| QueueFull)?;
        let size = u32::try_from(json.len()).map_err(|_| QueueFull)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(size);
        self.push(Work::Events(Batch {
            playback_id: batch.playback_id.clone(),
            sequence: batch.sequence,
            events: u64::try_from(batch.events.len()).unwrap_or(u64::MAX),
            dropped: batch.dropped,
            json,
            _room: room.map_err(|_| QueueFull)?,
        }))
    }

    /// Counts the events of a playback, those included that came before this call.
    pub(crate) async fn count(&self, playback_id: String) -> Result<EventCount, QueueFull> {
        let (reply, answer) = oneshot::channel();
        self.push(Work::Count { playback_id, reply })?;
        answer.await.map_err(|_| QueueFull)
    }

    fn push(&self, work: Work) -> Result<(), QueueFull> {
        self.work.try_send(work).map_err(|_| QueueFull)
    }
}

fn make_tables(database: &Database) -> Result<(), Failed> {
    let write = database.begin_write().map_err(failed)?;
    write.open_table(RECORDS).map_err(failed)?;
    write.open_table(KEYS).map_err(failed)?;
    events::make_tables(&write)?;
    write.commit().map_err(failed)
}

fn read_kept(database: &Database) -> Result<Kept, Failed> {
    let read = database.begin_read().map_err(failed)?;
    let mut kept = Kept::default();
    for entry in read
        .open_table(RECORDS)
        .map_err(failed)?
        .iter()
        .map_err(failed)?
    {
        let (key, json) = entry.map_err(failed)?;
        match serde_json::from_slice(json.value()) {
            Ok(record) => kept.records.push(record),
            // One bad record must not keep everybody from playing.
            Err(error) => {
                let kind = key.value().split('/').next().unwrap_or_default().to_owned();
                tracing::warn!(kind, %error, "a stored record is not readable and is left out");
            }
        }
    }
    for entry in read
        .open_table(KEYS)
        .map_err(failed)?
        .iter()
        .map_err(failed)?
    {
        let (name, json) = entry.map_err(failed)?;
        kept.keys
            .push((name.value().to_owned(), json.value().to_vec()));
    }
    Ok(kept)
}

/// The thread.
struct Writer<F> {
    open: F,
    /// `None` after a failure, until it is open again.
    database: Option<Database>,
    bounds: Bounds,
    state: Arc<StoreState>,
}

/// A full disk or a share that is away is not back sooner.
const RETRY_REST: Duration = Duration::from_secs(1);

/// How often it is tried once nobody sends work any more.
const LAST_TRIES: u32 = 3;

impl<F: Fn() -> Result<Database, Failed>> Writer<F> {
    fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        // What is to be written. After a failure: what still is, so that it is bounded, as the queue is.
        let mut work = Vec::new();
        let mut tries_left = LAST_TRIES;
        loop {
            if work.is_empty() {
                match queue.blocking_recv() {
                    Some(first) => work.push(first),
                    None => return,
                }
            }
            while work.len() < TRANSACTION_MAX
                && let Ok(next) = queue.try_recv()
            {
                work.push(next);
            }
            match self.perform(&work) {
                Ok(counts) => {
                    self.state.failing.store(false, Ordering::Relaxed);
                    answer(work.drain(..), counts);
                }
                Err(error) => {
                    self.database = None;
                    if !self.state.failing.swap(true, Ordering::Relaxed) {
                        tracing::error!(%error, "the store cannot be written; it is tried again");
                    }
                    work.retain(|work| self.is_kept(work));
                    // What waits behind does not count: while work is kept, not all of it is taken.
                    if queue.is_closed() {
                        tries_left -= 1;
                        if tries_left == 0 {
                            self.give_up(work, queue);
                            return;
                        }
                    }
                    std::thread::park_timeout(RETRY_REST);
                }
            }
        }
    }

    /// Counts what will not be written any more.
    fn give_up(&self, mut work: Vec<Work>, mut queue: mpsc::Receiver<Work>) {
        while let Ok(next) = queue.try_recv() {
            if self.is_kept(&next) {
                work.push(next);
            }
        }
        let lost = work.iter().map(Work::records).sum();
        self.state.records_lost.fetch_add(lost, Ordering::Relaxed);
        tracing::error!(lost, "records of the backend are lost");
    }

    /// Whether work that failed is to be tried again; counts what is not.
    fn is_kept(&self, work: &Work) -> bool {
        match work {
            Work::Actions(_) | Work::Keys { .. } => true,
            Work::Events(batch) => {
                let lost = &self.state.events_lost;
                lost.fetch_add(batch.events, Ordering::Relaxed);
                false
            }
            // Whoever asked is told that there is no answer.
            Work::Count { .. } => false,
        }
    }

    /// Does all of it in one transaction; returns the counts that were asked for, in order.
    fn perform(&mut self, work: &[Work]) -> Result<Vec<EventCount>, Failed> {
        let database = match &mut self.database {
            Some(database) => database,
            closed @ None => closed.insert((self.open)()?),
        };
        let write = database.begin_write().map_err(failed)?;
        let mut counts = Vec::new();
        for work in work {
            match work {
                Work::Actions(actions) => write_actions(&write, actions)?,
                Work::Keys { name, json } => {
                    let mut keys = write.open_table(KEYS).map_err(failed)?;
                    keys.insert(*name, json.as_slice()).map_err(failed)?;
                }
                Work::Events(batch) => events::write(&write, batch, self.bounds)?,
                Work::Count { playback_id, .. } => counts.push(events::count(&write, playback_id)?),
            }
        }
        write.commit().map_err(failed)?;
        Ok(counts)
    }
}

/// Hands counts to those who asked for them.
fn answer(work: impl Iterator<Item = Work>, counts: Vec<EventCount>) {
    let asked = work.filter_map(|work| match work {
        Work::Count { reply, .. } => Some(reply),
        Work::Actions(_) | Work::Keys { .. } | Work::Events(_) => None,
    });
    for (reply, count) in asked.zip(counts) {
        if reply.send(count).is_err() {
            tracing::trace!("whoever asked for a count has gone");
        }
    }
}

fn write_actions(write: &WriteTransaction, actions: &[Action]) -> Result<(), Failed> {
    let mut records = write.open_table(RECORDS).map_err(failed)?;
    for action in actions {
        match action {
            Action::Store { key, record } => match serde_json::to_vec(record) {
                Ok(json) => {
                    records
                        .insert(key.as_str(), json.as_slice())
                        .map_err(failed)?;
                }
                Err(error) => tracing::error!(%error, "a record could not be written"),
            },
            Action::Forget { key } => {
                records.remove(key.as_str()).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn failed(error: impl Into<redb::Error>) -> Failed {
    Box::new(error.into())
}

#[cfg(test)]
mod tests;
