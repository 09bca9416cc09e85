//! What outlives the process: an embedded store, written by a thread of its own.
//!
//! Requests hand work over through a bounded queue and never wait for a disk. When the queue is nearly full,
//! events are dropped and counted; what the backend itself needs to remember has the rest of it.
//!
//! A write that fails loses events, which are counted, and nothing else: records and keys are tried again until they
//! are written, on a store that is opened anew, because redb gives up one that failed. Meanwhile the queue fills,
//! and who pushes is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nearcast_backend_model::{Action, Record};
use nearcast_protocol::telemetry::{EventBatch, EventCount};
use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, WriteTransaction,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Records of the model, JSON by key.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Keys of the server, JSON by name.
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
/// Batches of events, JSON by playback and sequence number.
const EVENTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("events");
/// The order in which batches came, so that the oldest can go.
const ARRIVALS: TableDefinition<'_, u64, (&str, u64)> = TableDefinition::new("arrivals");
/// Bytes of all batches, under the empty name.
const SIZES: TableDefinition<'_, &str, u64> = TableDefinition::new("sizes");
/// Batches, events and dropped events by playback.
const COUNTS: TableDefinition<'_, &str, (u64, u64, u64)> = TableDefinition::new("counts");

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

/// A batch of events on its way to the store.
struct Batch {
    playback_id: String,
    sequence: u64,
    events: u64,
    dropped: u64,
    json: Vec<u8>,
    /// The place it takes while it waits.
    _room: OwnedSemaphorePermit,
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
    thread: JoinHandle<()>,
}

impl StoreThread {
    /// Waits until all work is done and the file is closed. All [`Store`]s must be gone.
    pub(crate) async fn join(self) {
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the store's thread did not end well");
        }
    }
}

/// The queue was full; the work is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// How much of events is kept; the oldest go.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    batches: u64,
    bytes: u64,
}

/// Days of some hundred viewers.
const BOUNDS: Bounds = Bounds {
    batches: 100_000,
    bytes: 256 << 20,
};

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
    start(open, bounds).map_err(|why| StoreError { path: place, why })
}

/// Starts the thread on a store that `open` opens, now and after a failure.
fn start(
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
    let thread = std::thread::Builder::new()
        .name("nearcast-store".to_owned())
        .spawn(move || writer.run(queue))
        .map_err(|error| error.to_string())?;
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    Ok((Store { work, room, state }, StoreThread { thread }, kept))
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
    write.open_table(EVENTS).map_err(failed)?;
    write.open_table(ARRIVALS).map_err(failed)?;
    write.open_table(COUNTS).map_err(failed)?;
    write.open_table(SIZES).map_err(failed)?;
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
                    if queue.is_closed() && queue.is_empty() {
                        tries_left -= 1;
                        if tries_left == 0 {
                            let lost = u64::try_from(work.len()).unwrap_or(u64::MAX);
                            self.state.records_lost.fetch_add(lost, Ordering::Relaxed);
                            tracing::error!(lost, "records of the backend are lost");
                            return;
                        }
                    }
                    std::thread::park_timeout(RETRY_REST);
                }
            }
        }
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
                Work::Events(batch) => write_events(&write, batch, self.bounds)?,
                Work::Count { playback_id, .. } => counts.push(count(&write, playback_id)?),
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

fn write_events(write: &WriteTransaction, batch: &Batch, bounds: Bounds) -> Result<(), Failed> {
    let mut events = write.open_table(EVENTS).map_err(failed)?;
    let mut arrivals = write.open_table(ARRIVALS).map_err(failed)?;
    let mut counts = write.open_table(COUNTS).map_err(failed)?;
    let mut sizes = write.open_table(SIZES).map_err(failed)?;
    let key = (batch.playback_id.as_str(), batch.sequence);
    // A batch whose answer was lost is sent again.
    if events.get(key).map_err(failed)?.is_some() {
        return Ok(());
    }
    events.insert(key, batch.json.as_slice()).map_err(failed)?;
    let stored = sizes
        .get(ALL)
        .map_err(failed)?
        .map_or(0, |size| size.value());
    let mut stored = stored.saturating_add(length(&batch.json));
    let arrival = match arrivals.last().map_err(failed)? {
        Some((last, _)) => last.value() + 1,
        None => 0,
    };
    arrivals.insert(arrival, key).map_err(failed)?;
    let (batches, seen, dropped) = count_of(&counts, key.0)?;
    let sum = (
        batches + 1,
        seen.saturating_add(batch.events),
        dropped.saturating_add(batch.dropped),
    );
    counts.insert(key.0, sum).map_err(failed)?;

    while arrivals.len().map_err(failed)? > bounds.batches || stored > bounds.bytes {
        let oldest = match arrivals.pop_first().map_err(failed)? {
            Some((_, oldest)) => {
                let (playback_id, sequence) = oldest.value();
                (playback_id.to_owned(), sequence)
            }
            None => break,
        };
        let (id, sequence) = (oldest.0.as_str(), oldest.1);
        let removed = events.remove((id, sequence)).map_err(failed)?;
        let removed = removed
            .map(|json| json.value().to_vec())
            .unwrap_or_default();
        stored = stored.saturating_sub(length(&removed));
        let removed: Option<EventBatch> = serde_json::from_slice(&removed).ok();
        let (batches, seen, dropped) = count_of(&counts, id)?;
        if batches <= 1 {
            counts.remove(id).map_err(failed)?;
        } else if let Some(removed) = removed {
            let fewer = u64::try_from(removed.events.len()).unwrap_or(u64::MAX);
            let rest = (
                batches - 1,
                seen.saturating_sub(fewer),
                dropped.saturating_sub(removed.dropped),
            );
            counts.insert(id, rest).map_err(failed)?;
        }
    }
    sizes.insert(ALL, stored).map_err(failed)?;
    Ok(())
}

/// The name of the one entry in [`SIZES`].
const ALL: &str = "";

fn length(json: &[u8]) -> u64 {
    u64::try_from(json.len()).unwrap_or(u64::MAX)
}

fn count(write: &WriteTransaction, playback_id: &str) -> Result<EventCount, Failed> {
    let counts = write.open_table(COUNTS).map_err(failed)?;
    let (batches, events, dropped) = count_of(&counts, playback_id)?;
    Ok(EventCount {
        batches,
        events,
        dropped,
    })
}

fn count_of(
    counts: &redb::Table<'_, &'static str, (u64, u64, u64)>,
    playback_id: &str,
) -> Result<(u64, u64, u64), Failed> {
    let count = counts.get(playback_id).map_err(failed)?;
    Ok(count.map_or((0, 0, 0), |count| count.value()))
}

fn failed(error: impl Into<redb::Error>) -> Failed {
    Box::new(error.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nearcast_protocol::telemetry::{QoeEvent, QoeEventKind};

    use super::*;

    fn batch(playback_id: &str, sequence: u64, events: usize) -> EventBatch {
        let event = QoeEvent {
            at_ms: 0,
            position_ms: 0,
            kind: QoeEventKind::Stalled,
            fields: BTreeMap::new(),
        };
        EventBatch {
            playback_id: playback_id.to_owned(),
            sequence,
            dropped: 1,
            events: vec![event; events],
        }
    }

    fn count(batches: u64, events: u64, dropped: u64) -> EventCount {
        EventCount {
            batches,
            events,
            dropped,
        }
    }

    #[tokio::test]
    async fn a_batch_counts_once_however_often_it_comes() {
        let (store, thread, _) = open(None).unwrap();
        for sequence in [0, 1, 0, 1] {
            store.events(&batch("p", sequence, 3)).unwrap();
        }
        store.events(&batch("q", 0, 1)).unwrap();
        assert_eq!(store.count("p".to_owned()).await, Ok(count(2, 6, 2)));
        assert_eq!(store.count("none".to_owned()).await, Ok(count(0, 0, 0)));
        drop(store);
        thread.join().await;
    }

    #[tokio::test]
    async fn the_oldest_batches_go() {
        let (store, _thread, _) = open_with(
            None,
            Bounds {
                batches: 3,
                ..BOUNDS
            },
        )
        .unwrap();
        for sequence in 0..3 {
            store.events(&batch("old", sequence, 2)).unwrap();
        }
        for sequence in 0..2 {
            store.events(&batch("new", sequence, 1)).unwrap();
        }
        assert_eq!(store.count("old".to_owned()).await, Ok(count(1, 2, 1)));
        store.events(&batch("new", 2, 1)).unwrap();
        assert_eq!(store.count("old".to_owned()).await, Ok(count(0, 0, 0)));
        assert_eq!(store.count("new".to_owned()).await, Ok(count(3, 3, 3)));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_bytes_too() {
        let size = serde_json::to_vec(&batch("p", 0, 3)).unwrap().len();
        let bounds = Bounds {
            bytes: u64::try_from(2 * size).unwrap(),
            ..BOUNDS
        };
        let (store, _thread, _) = open_with(None, bounds).unwrap();
        for sequence in 0..7 {
            store.events(&batch("p", sequence, 3)).unwrap();
        }
        assert_eq!(store.count("p".to_owned()).await, Ok(count(2, 6, 2)));
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let (work, mut queue) = mpsc::channel(QUEUE_MAX);
        let size = serde_json::to_vec(&batch("p", 0, 3)).unwrap().len();
        let room = Arc::new(Semaphore::new(2 * size));
        let store = Store {
            work,
            room,
            state: Arc::default(),
        };
        store.events(&batch("p", 0, 3)).unwrap();
        store.events(&batch("p", 1, 3)).unwrap();
        assert_eq!(store.events(&batch("p", 2, 3)), Err(QueueFull));
        store.keys("k", &vec![7]).unwrap();
        drop(queue.try_recv().unwrap());
        store.events(&batch("p", 2, 3)).unwrap();
    }

    #[tokio::test]
    async fn a_file_keeps_everything_and_is_open_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let (store, thread, kept) = open(Some(&path)).unwrap();
        assert!(kept.records.is_empty());
        let taken = open(Some(&path)).err().unwrap().to_string();
        assert!(taken.contains("state.redb"), "{taken}");
        store.events(&batch("p", 0, 2)).unwrap();
        store.keys("k", &vec![7]).unwrap();
        store
            .actions(vec![
                Action::Store {
                    key: "history/a/t".to_owned(),
                    record: serde_json::from_str(
                        r#"{"kind":"history","account":"a","entry":{"title":"t","position_ms":1,
                        "duration_ms":2,"finished":false,"watched_at_unix_ms":3}}"#,
                    )
                    .unwrap(),
                },
                Action::Forget {
                    key: "session/none".to_owned(),
                },
            ])
            .unwrap();
        drop(store);
        thread.join().await;
        let (store, _thread, kept) = open(Some(&path)).unwrap();
        assert_eq!(kept.records[0].key(), "history/a/t");
        assert_eq!(kept.keys::<u8>("k"), [7]);
        assert!(kept.keys::<u8>("other").is_empty());
        assert_eq!(store.count("p".to_owned()).await, Ok(count(1, 2, 1)));
    }

    /// A disk that can be full.
    #[derive(Clone, Debug)]
    struct Disk {
        inner: Arc<InMemoryBackend>,
        full: Arc<AtomicBool>,
    }

    impl Disk {
        fn check(&self) -> Result<(), std::io::Error> {
            if self.full.load(Ordering::SeqCst) {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }

    impl redb::StorageBackend for Disk {
        fn len(&self) -> Result<u64, std::io::Error> {
            self.inner.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
            self.inner.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
            self.check()?;
            self.inner.set_len(len)
        }

        fn sync_data(&self) -> Result<(), std::io::Error> {
            self.check()?;
            self.inner.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
            self.check()?;
            self.inner.write(offset, data)
        }
    }

    fn start_on(disk: &Disk) -> (Store, StoreThread, Kept) {
        let disk = disk.clone();
        let open = move || {
            Database::builder()
                .create_with_backend(disk.clone())
                .map_err(failed)
        };
        start(open, BOUNDS).unwrap()
    }

    #[tokio::test]
    async fn a_full_disk_costs_events_and_no_record() {
        let disk = Disk {
            inner: Arc::new(InMemoryBackend::new()),
            full: Arc::default(),
        };
        let (store, thread, _) = start_on(&disk);
        disk.full.store(true, Ordering::SeqCst);
        store.keys("k", &vec![7]).unwrap();
        store.events(&batch("p", 0, 3)).unwrap();
        // A count behind it is answered when that has failed.
        assert_eq!(store.count("p".to_owned()).await, Err(QueueFull));
        while store.state().events_lost() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(store.state().is_failing());
        disk.full.store(false, Ordering::SeqCst);
        let count_now = loop {
            if let Ok(count) = store.count("p".to_owned()).await {
                break count;
            }
        };
        assert_eq!(count_now, count(0, 0, 0));
        let state = store.state();
        assert!(!state.is_failing() && state.events_lost() == 3 && state.records_lost() == 0);
        drop(store);
        thread.join().await;
        let (_, _, kept) = start_on(&disk);
        assert_eq!(kept.keys::<u8>("k"), [7]);
    }

    #[tokio::test]
    async fn a_disk_that_stays_full_does_not_keep_the_backend_from_ending() {
        let disk = Disk {
            inner: Arc::new(InMemoryBackend::new()),
            full: Arc::default(),
        };
        let (store, thread, _) = start_on(&disk);
        disk.full.store(true, Ordering::SeqCst);
        store.keys("k", &vec![7]).unwrap();
        let state = Arc::clone(&store.state);
        drop(store);
        thread.join().await;
        assert_eq!(state.records_lost(), 1);
    }

    #[test]
    fn a_file_that_is_no_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        std::fs::write(&path, "this is not a store").unwrap();
        assert!(open(Some(&path)).is_err());
        assert!(open(Some(&folder.path().join("no/such/folder"))).is_err());
    }
}
