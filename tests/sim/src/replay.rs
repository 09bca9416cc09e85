//! A recorded session once more, in virtual time: the same inputs at the same times give the same decisions.

use std::io::BufRead;

use nearcast_core::{Config, Input, Session};
use nearcast_protocol::report::SessionReport;
use nearcast_units::Instant;
use serde::Deserialize;
use thiserror::Error;

/// A line of a recording, as the player writes it (`nearcast play --record FILE`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Config(Box<Config>),
    Input { at_ns: u64, input: Box<Input> },
}

/// What came of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// The session's report, as far as the session knows it: what was played is in none of its inputs.
    pub report: SessionReport,
    /// How many inputs there were.
    pub inputs: u64,
    /// Broken invariants; empty in a sound run.
    pub violations: Vec<String>,
    /// Whether the session is over after the last of them: else the recording was cut off, or its player was.
    pub is_over: bool,
}

/// Why a recording cannot be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("line {line}: {error}")]
    Read {
        /// Counted from 1.
        line: u64,
        /// What the system says.
        error: std::io::Error,
    },
    /// A line is none of a recording.
    #[error("line {line}: not a line of a recording: {error}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// The first line is not a session's settings, or another line is.
    #[error(
        "line {line}: a recording begins with the session's settings, and has them once: record one with `nearcast play --record FILE`"
    )]
    Settings {
        /// Counted from 1.
        line: u64,
    },
    /// It goes back in time.
    #[error("line {line}: earlier than the line before")]
    Order {
        /// Counted from 1.
        line: u64,
    },
    /// There is nothing in it.
    #[error("there is no line in it")]
    Empty,
}

/// Replays a recording. One that was cut off in the middle of its last line is replayed up to there.
///
/// # Errors
/// When it is no recording.
pub fn replay(recording: impl BufRead) -> Result<Replayed, ReplayError> {
    let mut session: Option<Session> = None;
    let mut now = Instant::ZERO;
    let mut inputs = 0;
    let mut violations = Vec::new();
    let mut lines = (1..).zip(recording.lines()).peekable();
    while let Some((line, text)) = lines.next() {
        let text = text.map_err(|error| ReplayError::Read { line, error })?;
        let parsed = match serde_json::from_str(&text) {
            Ok(parsed) => parsed,
            Err(error) if error.is_eof() && lines.peek().is_none() && line > 1 => break,
            Err(error) => return Err(ReplayError::Line { line, error }),
        };
        match (parsed, &mut session) {
            (Line::Config(config), None) => session = Some(Session::new(*config)),
            (Line::Input { at_ns, input }, Some(session)) => {
                let at = Instant::from_nanos(at_ns);
                if at < now {
                    return Err(ReplayError::Order { line });
                }
                now = at;
                inputs += 1;
                session.handle(now, *input);
                // What it wants done was done then.
                while session.poll_action().is_some() {}
                while session.poll_event().is_some() {}
                if let Err(violation) = session.check_invariants() {
                    violations.push(format!("line {line}: {violation}"));
                }
            }
            (Line::Config(_), Some(_)) | (Line::Input { .. }, None) => {
                return Err(ReplayError::Settings { line });
            }
        }
    }
    let session = session.ok_or(ReplayError::Empty)?;
    Ok(Replayed {
        is_over: session.is_over(),
        report: session.report(now),
        inputs,
        violations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_that_ends_before_its_session_says_so() {
        let config = serde_json::to_string(&Config::default()).unwrap();
        let stop = r#"{"input":{"at_ns":2,"input":{"command":"stop"}}}"#;
        let text = format!(
            "{{\"config\":{config}}}\n{{\"input\":{{\"at_ns\":1,\"input\":\"timeout\"}}}}\n{stop}\n"
        );
        let whole = replay(text.as_bytes()).unwrap();
        assert!(whole.is_over && whole.inputs == 2);
        // In the middle of a line, and after one.
        for cut in [10, stop.len() + 1] {
            let part = replay(&text.as_bytes()[..text.len() - cut]).unwrap();
            assert!(!part.is_over && part.inputs == 1, "{cut}");
        }
    }
}
