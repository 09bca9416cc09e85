//! A temporary folder and a share of the machine for each test, and where the built programs are.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A folder that goes when the test ends, and stays when it fails. With it comes a share of the machine until then.
#[derive(Debug)]
pub(crate) struct Room {
    folder: Option<TempDir>,
    _share: Option<SemaphorePermit<'static>>,
}

/// The whole machine. More tests at once than it has shares wait for each other.
const WHOLE: u32 = 64;
static MACHINE: Semaphore = Semaphore::const_new(WHOLE as usize);

impl Room {
    /// Waits while a test has the machine to itself.
    pub(crate) async fn new() -> Self {
        Self::with(Some(MACHINE.acquire().await.unwrap()))
    }

    /// Waits until no other test runs, and keeps others waiting until this one ends: for tests that judge how long
    /// something took, or that need all processors to keep up with real time.
    pub(crate) async fn alone() -> Self {
        Self::with(Some(MACHINE.acquire_many(WHOLE).await.unwrap()))
    }

    /// Makes another room within the share of the first, which must outlive it.
    ///
    /// A test that waited for a second share would wait for ever for one that waits to be alone.
    pub(crate) fn another(&self) -> Self {
        Self::with(None)
    }

    fn with(share: Option<SemaphorePermit<'static>>) -> Self {
        let folder = tempfile::Builder::new().prefix("nearcast-e2e-").tempdir();
        Self {
            folder: Some(folder.unwrap()),
            _share: share,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// Makes a folder in the room.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file in the room.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Room {
    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it with the failure"
    )]
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!(
                "what the programs wrote is kept in {}",
                folder.keep().display()
            );
        }
    }
}

/// Returns the workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap().to_owned()
}

/// Returns a program of ours, as built beside this test.
pub(crate) fn binary(name: &str) -> PathBuf {
    // The test itself is target/<profile>/deps/it-<hash>.
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let path = profile
        .join(name)
        .with_extension(env::consts::EXE_EXTENSION);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace --bins` first (`make test` does)",
        path.display()
    );
    path
}

/// Returns a port of 127.0.0.1 that nobody has, for programs that cannot choose one themselves.
///
/// Below the range that the system takes ports of outgoing connections from, so that none of those comes
/// in between.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1000 {
        let process = u16::try_from(std::process::id() % 100).unwrap();
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        let port = 20_000 + process * 100 + step;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("there is no free port between 20000 and 30000")
}
