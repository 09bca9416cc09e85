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
    start(Path::new("(memory)"), open, BOUNDS).unwrap()
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
    let forget = |number: usize| Action::Forget {
        key: format!("session/{number}"),
    };
    // More than one transaction takes, each more than one record.
    for number in 0..TRANSACTION_MAX + 44 {
        store.actions(vec![forget(number), forget(number)]).unwrap();
    }
    // Behind all that is kept, where no transaction comes to it.
    store.events(&batch("p", 0, 3)).unwrap();
    let state = Arc::clone(&store.state);
    drop(store);
    thread.join().await;
    assert_eq!(state.records_lost(), 601);
    assert_eq!(state.events_lost(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_does_not_keep_the_backend_from_ending() {
    let (end, ended) = oneshot::channel();
    let file = PathBuf::from("state");
    StoreThread { file, ended }.join().await;
    assert!(end.is_closed());
}

#[test]
fn a_file_that_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    std::fs::write(&path, "this is not a store").unwrap();
    assert!(open(Some(&path)).is_err());
    assert!(open(Some(&folder.path().join("no/such/folder"))).is_err());
}
