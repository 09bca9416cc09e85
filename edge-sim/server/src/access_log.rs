//! One line per request, whatever became of it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

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
    /// Path as it was asked for, percent-encoded, without the query.
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
}

#[derive(Debug)]
struct Kept {
    entries: VecDeque<AccessEntry>,
    file: Option<File>,
    lost: u64,
}

/// Ten hours of one viewer; some 300 bytes each.
const ENTRIES_MAX: usize = 50_000;

impl AccessLog {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, EdgeError> {
        let file = path
            .map(|path| {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                opened.map_err(|source| EdgeError::AccessLog {
                    path: path.to_owned(),
                    source,
                })
            })
            .transpose()?;
        Ok(Self {
            kept: Mutex::new(Kept {
                entries: VecDeque::new(),
                file,
                lost: 0,
            }),
        })
    }

    pub(crate) fn add(&self, entry: AccessEntry) {
        let line = line_of(&entry);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut kept.file
            && let Err(error) = file.write_all(line.as_bytes())
        {
            kept.lost += 1;
            // Once is enough: a full disk fails for every line.
            if kept.lost == 1 {
                tracing::warn!(%error, "access log lines are lost");
            }
        }
        if kept.entries.len() == ENTRIES_MAX {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
    }

    pub(crate) fn entries(&self) -> Vec<AccessEntry> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entries.iter().cloned().collect()
    }

    pub(crate) fn lines(&self) -> String {
        self.entries().iter().map(line_of).collect()
    }
}

fn line_of(entry: &AccessEntry) -> String {
    let mut line = serde_json::to_string(entry).unwrap_or_default();
    line.push('\n');
    line
}
