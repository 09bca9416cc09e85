//! `nearcast play` and `nearcast demo`, headless, with report and frames.

use std::path::PathBuf;
use std::time::Duration;

use nearcast_protocol::report::{AttemptReport, FetchReport, SCHEMA, SessionReport};
use tokio::process::Command;

use crate::frames::{Frame, assert_every_frame_once, read_frames};
use crate::network::Network;
use crate::program::{Ended, Program};
use crate::room::{Room, binary};

/// A headless play that runs.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) program: Program,
    report: PathBuf,
    frames: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) ended: Ended,
    pub(crate) report: SessionReport,
    pub(crate) frames: Vec<Frame>,
}

/// What a machine that is busy with other tests may need on top of the time a play takes.
const MARGIN: Duration = Duration::from_secs(45);

/// Returns `nearcast` in an environment without anybody's settings.
pub(crate) fn nearcast(room: &Room) -> Command {
    let mut command = Command::new(binary("nearcast"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let proxy = name.to_ascii_lowercase().ends_with("_proxy");
        if name.starts_with("NEARCAST_") || name.starts_with("XDG_") || proxy {
            command.env_remove(name);
        }
    }
    command
        .env("HOME", room.folder("home"))
        .current_dir(room.path());
    command
}

impl Play {
    /// Starts `nearcast` with these arguments, headless, with a report and the frames.
    pub(crate) fn start(room: &Room, name: &str, arguments: &[&str]) -> Self {
        Self::start_with(room, name, arguments, |command| command)
    }

    /// The same in a network of its own.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "other systems have no namespaces")
    )]
    pub(crate) fn start_in(
        (room, network): (&Room, &Network),
        name: &str,
        arguments: &[&str],
    ) -> Self {
        Self::start_with(room, name, arguments, |command| network.inside(&command))
    }

    fn start_with(
        room: &Room,
        name: &str,
        arguments: &[&str],
        place: impl FnOnce(Command) -> Command,
    ) -> Self {
        let report = room.path().join(format!("{name}.json"));
        let frames = room.path().join(format!("{name}.frames"));
        let mut command = nearcast(room);
        command
            .args(arguments)
            .arg("--headless")
            .arg("--report")
            .arg(&report)
            .arg("--frames")
            .arg(&frames);
        Self {
            program: Program::start(room, name, place(command)),
            report,
            frames,
        }
    }

    /// Waits for its end, `seconds` from now, whatever that end is.
    pub(crate) async fn ended(self, seconds: u64) -> Played {
        let ended = self
            .program
            .ended(Duration::from_secs(seconds) + MARGIN)
            .await;
        let text = std::fs::read(&self.report)
            .unwrap_or_else(|error| panic!("there is no report: {error}: {}", ended.err));
        let report: SessionReport = serde_json::from_slice(&text).unwrap();
        assert_eq!(report.schema, SCHEMA);
        Played {
            ended,
            report,
            frames: read_frames(&self.frames),
        }
    }

    /// Waits for its end, which must be a good one: see [`Played::assert_good`].
    pub(crate) async fn played(self, seconds: u64) -> Played {
        let played = self.ended(seconds).await;
        played.assert_good();
        played
    }
}

impl Played {
    /// Asserts what every good play has: exit status 0, not a word on standard error, no stall, every frame
    /// once and in order, and a report whose parts agree with each other.
    pub(crate) fn assert_good(&self) {
        let Self {
            ended,
            report,
            frames,
        } = self;
        assert_eq!(ended.status, Some(0), "{}\n{}", ended.err, ended.out);
        assert_eq!(ended.err, "");
        assert_eq!(report.error, None);
        assert_eq!(
            (report.stall_count, report.stalls.len()),
            (0, 0),
            "{:?}\n{}",
            report.stalls,
            ended.out
        );
        assert!(
            ended.out.contains("no stall"),
            "the summary says so too: {}",
            ended.out
        );
        assert_every_frame_once(frames, report.played_s);
        assert_consistent(report, frames.len());
    }

    /// Asserts a play whose stalls are the point.
    pub(crate) fn assert_complete_with_stalls(&self) {
        let Self {
            ended,
            report,
            frames,
        } = self;
        assert_eq!(ended.status, Some(0), "{}\n{}", ended.err, ended.out);
        assert!(report.stall_count > 0, "{}", ended.out);
        assert_every_frame_once(frames, report.played_s);
        assert_consistent(report, frames.len());
    }

    /// Returns the protocols over which media came, each once.
    pub(crate) fn media_protocols(&self) -> Vec<String> {
        let fetches = self
            .report
            .fetches
            .iter()
            .filter(|fetch| fetch.kind == "media");
        let mut seen: Vec<String> = fetches
            .flat_map(|fetch| &fetch.attempts)
            .filter(|attempt| attempt.bytes > 0)
            .filter_map(|attempt| attempt.protocol.clone())
            .collect();
        seen.sort();
        seen.dedup();
        seen
    }
}

/// Asserts that the parts of a report agree.
fn assert_consistent(report: &SessionReport, frames: usize) {
    assert_eq!(report.player.name, "nearcast");
    assert!(!report.content.ladder.is_empty());
    let decoded = usize::try_from(report.frames.decoded).unwrap();
    // A play that is stopped reports before its decoder gives the last frames it holds.
    let late = frames.checked_sub(decoded);
    assert!(
        late.is_some_and(|late| late <= 8),
        "{decoded} frames are reported, {frames} were written"
    );
    assert_eq!((report.frames.missing, report.frames.repeated), (0, 0));
    let startup_s = report.startup_s.unwrap();
    assert!(startup_s > 0.0 && startup_s < report.wall_s);
    let spent = startup_s + report.played_s + report.stalled_s;
    assert!(
        spent <= report.wall_s + 0.25,
        "{spent} s in {} s",
        report.wall_s
    );
    assert_eq!(
        u64::try_from(report.stalls.len()).unwrap(),
        report.stall_count
    );

    let attempts = || report.fetches.iter().flat_map(|fetch| &fetch.attempts);
    for fetch in &report.fetches {
        for attempt in &fetch.attempts {
            assert!(attempt.start_s <= attempt.end_s, "{fetch:?}");
            assert!(attempt.wasted_bytes <= attempt.bytes, "{fetch:?}");
            assert!(
                ["ok", "failed", "cancelled"].contains(&attempt.result.as_str()),
                "{fetch:?}"
            );
            assert_eq!(attempt.code.is_none(), attempt.result == "ok", "{fetch:?}");
        }
    }
    let got: u64 = attempts().map(|attempt| attempt.bytes).sum();
    let by_edge: u64 = report.edges.iter().map(|edge| edge.bytes).sum();
    assert_eq!(got, by_edge, "what attempts brought is what edges gave");
    let wasted: u64 = attempts().map(|attempt| attempt.wasted_bytes).sum();
    let bytes = &report.bytes;
    assert_eq!(bytes.wasted, wasted);
    let told = bytes.media + bytes.wasted + bytes.probe + bytes.manifest;
    assert_eq!(told, got, "{bytes:?}");

    for failover in &report.failovers {
        // What turned out to be wrong is taken back, maybe after all of it had come.
        let was_wrong = matches!(
            failover.reason.as_str(),
            "edge.bytes_differ" | "edge.corrupt"
        );
        let ended_there = |attempt: &AttemptReport| {
            let end = attempt.offset + attempt.bytes;
            if was_wrong {
                return attempt.start_s <= failover.at_s
                    && (attempt.offset..=end).contains(&failover.offset);
            }
            attempt.result != "ok"
                && end == failover.offset
                && (attempt.start_s..=attempt.end_s).contains(&failover.at_s)
        };
        let is_of = |fetch: &FetchReport| {
            fetch.track == failover.track
                && fetch
                    .attempts
                    .iter()
                    .any(|attempt| attempt.edge == failover.from && ended_there(attempt))
        };
        assert!(
            report.fetches.iter().any(is_of),
            "nothing ended where {failover:?} says"
        );
    }

    for segment in report
        .segments
        .iter()
        .filter(|segment| segment.track != "text")
    {
        assert!(
            segment.requested_s <= segment.first_byte_s && segment.first_byte_s <= segment.done_s,
            "{segment:?}"
        );
    }
    for track in ["video", "audio"] {
        let mut indices: Vec<u64> = report
            .segments
            .iter()
            .filter(|segment| segment.track == track)
            .map(|segment| segment.index)
            .collect();
        indices.sort_unstable();
        indices.dedup();
        let first = indices.first().copied().unwrap();
        assert!(
            indices
                .iter()
                .copied()
                .eq(first..first + u64::try_from(indices.len()).unwrap()),
            "{track}: {indices:?}"
        );
    }
}

/// A headless play that is to fail.
#[derive(Debug)]
pub(crate) struct Failing {
    program: Program,
    report: PathBuf,
}

/// A play that failed: how it ended and what it reported.
#[derive(Debug)]
pub(crate) struct Failed {
    ended: Ended,
    report: SessionReport,
}

impl Failing {
    /// Starts `nearcast` with these arguments, headless, with a report.
    pub(crate) fn start(room: &Room, name: &str, arguments: &[&str]) -> Self {
        let report = room.path().join(format!("{name}.json"));
        let mut command = nearcast(room);
        command
            .args(arguments)
            .arg("--headless")
            .arg("--report")
            .arg(&report);
        Self {
            program: Program::start(room, name, command),
            report,
        }
    }

    /// Waits for its end: status 1, one line on standard error, a whole report, no panic.
    pub(crate) async fn failed(self, seconds: u64) -> Failed {
        let ended = self
            .program
            .ended(Duration::from_secs(seconds) + MARGIN)
            .await;
        assert_eq!(ended.status, Some(1), "{}\n{}", ended.err, ended.out);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(
            !ended.out.contains("panicked") && !ended.err.contains("panicked"),
            "{}",
            ended.err
        );
        let report = serde_json::from_slice(&std::fs::read(&self.report).unwrap()).unwrap();
        Failed { ended, report }
    }
}

impl Failed {
    /// Asserts the code, in the line and in the report, and these texts in the line.
    pub(crate) fn assert_says(&self, code: &str, texts: &[&str]) {
        let line = self.ended.err.trim_end();
        assert!(
            line.starts_with(&format!("nearcast: {code}")),
            "{code} was due: {line}"
        );
        for text in texts {
            assert!(line.contains(text), "no {text:?} in {line:?}");
        }
        let error = self.report.error.as_ref().unwrap();
        assert!(error.code.starts_with(code), "{error:?}");
        // Media that turns out to be broken once it is taken apart may have been counted on before.
        assert!(
            self.report.startup_s.is_none() || code.starts_with("media."),
            "{:?}",
            self.report.startup_s
        );
        assert!(self.report.played_s < 1.0);
    }

    pub(crate) fn out(&self) -> &str {
        &self.ended.out
    }

    /// Returns when the backend was asked for the title.
    pub(crate) fn asked_s(&self) -> Vec<f64> {
        let plays = self.report.fetches.iter().filter(|one| one.kind == "play");
        plays
            .flat_map(|fetch| &fetch.attempts)
            .map(|attempt| attempt.start_s)
            .collect()
    }
}
