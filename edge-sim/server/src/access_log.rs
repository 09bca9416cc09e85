//! One line per request, whatever became of it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use crate::config::EdgeError;

/// What the access log says of one request; a line of JSON in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessEntry {
    /// When the request had arrived, wall time.
    pub unix_ms: u64,
    /// The same, in milliseconds since the appliance started.
    pub at_ms: f64,
    /// The appliance's identifier.
    pub appliance: String,
    /// `h3`, `h2` or `http1`.
    pub protocol: String,
    /// HTTP method.
    pub method: String,
    /// Path as it was asked for, percent-encoded, without the query; the first 1,024 bytes of it.
    pub path: String,
    /// First byte of the object that the answer holds; `None` when it has no body of a file.
    pub first: Option<u64>,
    /// Last byte of the object that the answer holds.
    pub last: Option<u64>,
    /// HTTP status; `None` when the request ended before there was an answer.
    pub status: Option<u16>,
    /// Bytes of the body that were handed to the transport.
    pub bytes: u64,
    /// From the request's arrival until the last byte was handed over or it was cut off.
    pub duration_ms: f64,
    /// How it ended.
    pub end: End,
    /// CMCD as it came, from the query or the headers.
    pub cmcd: Option<String>,
    /// The playback its token was made for.
    pub playback_id: Option<String>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The whole answer was handed to the transport.
    Complete,
    /// The client went away, or its connection did.
    Cancelled,
    /// A fault reset the connection or the stream.
    Reset,
    /// A fault ended the body early.
    Truncated,
    /// The appliance was killed.
    Killed,
    /// The server was shut down.
    Shutdown,
    /// The file could not be read to its end.
    Failed,
}

/// The last entries in memory, all of them in a file if asked for.
#[derive(Debug)]
pub(crate) struct AccessLog {
    kept: Mutex<Kept>,
    /// Lines that are not in the file: its thread did not keep up.
    dropped: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Kept {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// To the file's thread.
    file: Option<SyncSender<Arc<Line>>>,
}

/// One entry, and as it is in the file.
#[derive(Debug)]
struct Line {
    entry: AccessEntry,
    text: String,
}

/// Ten hours of one viewer.
const ENTRIES_MAX: usize = 50_000;
/// A usual line has some 300 bytes, and the entry beside it as many.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Lines that wait for the file: half a minute of a busy edge, some megabytes.
const QUEUE_MAX: usize = 10_000;
/// Of a path and of a method, what is logged: nobody's real ones are longer.
const PATH_MAX: usize = 1024;
const METHOD_MAX: usize = 32;

impl AccessLog {
    /// Opens the file, if there is to be one, and starts the thread that writes it: a disk that hangs must not stop
    /// what is served.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, EdgeError> {
        let failed = |source| EdgeError::AccessLog {
            path: path.unwrap_or_else(|| Path::new("")).to_owned(),
            source,
        };
        let mut sender = None;
        let mut writer = None;
        if let Some(path) = path {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            let file = opened.map_err(failed)?;
            let (lines, queue) = sync_channel(QUEUE_MAX);
            let thread = std::thread::Builder::new().name(String::from("nearcast-log"));
            writer = Some(thread.spawn(move || write(file, &queue)).map_err(failed)?);
            sender = Some(lines);
        }
        Ok(Self {
            kept: Mutex::new(Kept {
                lines: VecDeque::new(),
                bytes: 0,
                file: sender,
            }),
            dropped: AtomicU64::new(0),
            writer: Mutex::new(writer),
        })
    }

    pub(crate) fn add(&self, mut entry: AccessEntry) {
        shorten(&mut entry.path, PATH_MAX);
        shorten(&mut entry.method, METHOD_MAX);
        let text = line_of(&entry);
        let line = Arc::new(Line { entry, text });
        let mut kept = self.kept();
        if let Some(file) = &kept.file
            && file.try_send(Arc::clone(&line)).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        kept.bytes += line.text.len();
        kept.lines.push_back(line);
        while kept.lines.len() > ENTRIES_MAX || kept.bytes > BYTES_MAX {
            let gone = kept.lines.pop_front();
            kept.bytes -= gone.map_or(0, |line| line.text.len());
        }
    }

    /// Ends the file: when it returns, all lines that were not dropped are in it. Blocks.
    pub(crate) fn close(&self) {
        self.kept().file = None;
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::warn!("the access log's thread did not end well");
        }
    }

    /// Returns how many lines the file lacks because it was too slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn entries(&self) -> Vec<AccessEntry> {
        let lines = self.lines();
        lines.iter().map(|line| line.entry.clone()).collect()
    }

    /// Returns the text of the log in pieces, made one by one: whole, it would be as large as all that is kept.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> + use<> {
        self.lines().into_iter().map(|line| line.text.clone())
    }

    fn lines(&self) -> Vec<Arc<Line>> {
        self.kept().lines.iter().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes lines until nobody sends any.
fn write(mut file: File, queue: &Receiver<Arc<Line>>) {
    let mut lost = 0_u64;
    while let Ok(line) = queue.recv() {
        if let Err(error) = file.write_all(line.text.as_bytes()) {
            lost += 1;
            // Once is enough: a full disk fails for every line.
            if lost == 1 {
                tracing::warn!(%error, "access log lines are lost");
            }
        }
    }
}

fn shorten(text: &mut String, max: usize) {
    let end = (0..=text.len().min(max))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
}

fn line_of(entry: &AccessEntry) -> String {
    let mut line = serde_json::to_string(entry).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> AccessEntry {
        AccessEntry {
            unix_ms: 1,
            at_ms: 1.5,
            appliance: String::from("a"),
            protocol: String::from("h2"),
            method: String::from("GET"),
            path: path.to_owned(),
            first: None,
            last: None,
            status: Some(200),
            bytes: 0,
            duration_ms: 0.5,
            end: End::Complete,
            cmcd: None,
            playback_id: None,
        }
    }

    #[test]
    fn long_paths_are_cut_and_what_is_kept_is_bounded_in_bytes() {
        let log = AccessLog::open(None).unwrap();
        let long = format!("/{}", "ä".repeat(5000));
        for _ in 0..20_000 {
            log.add(entry(&long));
        }
        let entries = log.entries();
        assert_eq!(entries[0].path, long[..1023]);
        assert!(entries.len() < 20_000);
        let bytes: usize = log.texts().map(|text| text.len()).sum();
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX - 4096, "{bytes}");
        // The last one is the one that stays.
        log.add(entry("/last"));
        assert_eq!(log.entries().last().unwrap().path, "/last");
    }

    #[test]
    fn a_closed_log_has_every_line_in_its_file_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = AccessLog::open(Some(&path)).unwrap();
        for number in 0..5000 {
            log.add(entry(&format!("/{number}")));
        }
        log.close();
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written == log.texts().collect::<String>());
        assert_eq!(log.dropped(), 0);
        // What comes after the end is kept in memory alone, as it was before.
        log.add(entry("/late"));
        assert_eq!(log.entries().len(), 5001);
    }

    #[cfg(unix)]
    #[test]
    fn a_disk_that_hangs_costs_lines_and_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        // Nobody reads the pipe: its buffer fills, and its writer waits.
        let reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let log = AccessLog::open(Some(&path)).unwrap();
        for number in 0..QUEUE_MAX + 5000 {
            log.add(entry(&format!("/{number}")));
        }
        assert!(log.dropped() > 0);
        assert_eq!(log.entries().len(), QUEUE_MAX + 5000);
        drop(reader);
    }
}
