//! Keeps a session's inputs, so that the session can be replayed: JSON lines, the configuration first.
//!
//! Inputs hold neither URLs nor tokens, so a recording may be handed to others.

use std::io::{self, BufWriter, Write};

use nearcast_core::{Config, Input};
use nearcast_units::Instant;
use serde::{Deserialize, Serialize};

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedLine {
    /// The first line: what the session was told at its start.
    Config(Box<Config>),
    /// Every other line: what happened, in nanoseconds since the play intent.
    Input {
        /// When.
        at_ns: u64,
        /// What.
        input: Box<Input>,
    },
}

/// Writes a recording; after the first failure it stays silent.
pub(crate) struct Recorder {
    out: Option<BufWriter<Box<dyn Write + Send>>>,
}

impl Recorder {
    pub(crate) fn new(out: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            out: out.map(BufWriter::new),
        }
    }

    /// # Errors
    ///
    /// The writer's error, once: nothing is recorded from then on.
    pub(crate) fn config(&mut self, config: &Config) -> io::Result<()> {
        if self.out.is_none() {
            return Ok(());
        }
        self.line(&RecordedLine::Config(Box::new(config.clone())))
    }

    /// # Errors
    ///
    /// The writer's error, once: nothing is recorded from then on.
    pub(crate) fn input(&mut self, now: Instant, input: &Input) -> io::Result<()> {
        if self.out.is_none() {
            return Ok(());
        }
        self.line(&RecordedLine::Input {
            at_ns: now.as_nanos(),
            input: Box::new(input.clone()),
        })
    }

    /// # Errors
    ///
    /// The writer's error.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.out.take().map_or(Ok(()), |mut out| out.flush())
    }

    fn line(&mut self, line: &RecordedLine) -> io::Result<()> {
        let Some(out) = &mut self.out else {
            return Ok(());
        };
        let written = serde_json::to_vec(line)
            .map_err(io::Error::other)
            .and_then(|mut text| {
                text.push(b'\n');
                out.write_all(&text)
            });
        if written.is_err() {
            self.out = None;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_recording_reads_back_line_by_line() {
        let shared = Shared::default();
        let mut recorder = Recorder::new(Some(Box::new(shared.clone())));
        recorder.config(&Config::default()).unwrap();
        recorder
            .input(Instant::from_nanos(7), &Input::Load)
            .unwrap();
        recorder.finish().unwrap();
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<RecordedLine> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0], RecordedLine::Config(Box::default()));
        assert_eq!(
            lines[1],
            RecordedLine::Input {
                at_ns: 7,
                input: Box::new(Input::Load)
            }
        );
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let mut recorder = Recorder::new(Some(Box::new(Full)));
        // What is written waits in a buffer before it reaches the disk.
        let told = (0..10_000).filter(|_| recorder.input(Instant::ZERO, &Input::Load).is_err());
        assert_eq!(told.count(), 1);
        assert!(recorder.finish().is_ok());
    }
}
