//! Child processes: their output goes to files, and none outlives its test.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use crate::room::Room;

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status; `None` when a signal ended it.
    pub(crate) status: Option<i32>,
    /// All of its standard output.
    pub(crate) out: String,
    /// All of its standard error.
    pub(crate) err: String,
}

impl Program {
    /// Starts a program; `name` is for the files with its output.
    pub(crate) fn start(room: &Room, name: &str, mut command: Command) -> Self {
        let out = room.path().join(format!("{name}.out"));
        let err = room.path().join(format!("{name}.err"));
        command
            .stdin(std::process::Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .kill_on_drop(true);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {command:?}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            out,
            err,
        }
    }

    /// Waits for a line on standard output that contains `text`, and returns it.
    pub(crate) async fn line(&mut self, text: &str, within: Duration) -> String {
        let found = async {
            let mut soon = interval(Duration::from_millis(10));
            loop {
                soon.tick().await;
                let ended = self.child.try_wait().unwrap();
                let out = self.out();
                if let Some(line) = whole_lines(&out).find(|line| line.contains(text)) {
                    return line.to_owned();
                }
                if let Some(status) = ended {
                    panic!(
                        "{} ended ({status}) before it said {text:?}: {}",
                        self.name,
                        self.err()
                    );
                }
            }
        };
        match timeout(within, found).await {
            Ok(line) => line,
            Err(_) => panic!(
                "{} did not say {text:?}:\n{}\n{}",
                self.name,
                self.out(),
                self.err()
            ),
        }
    }

    /// Waits for its end; `within` is what a broken program may take at most.
    pub(crate) async fn ended(mut self, within: Duration) -> Ended {
        let status = match timeout(within, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("{} did not end:\n{}\n{}", self.name, self.out(), self.err()),
        };
        Ended {
            status: status.code(),
            out: self.out(),
            err: self.err(),
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal to this process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn sigterm(&mut self) {
        self.signal(Signal::TERM);
        self.child.wait().await.unwrap();
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub(crate) async fn sigkill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().await.unwrap();
    }
}

/// Lines that were written to their end.
pub(crate) fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
}

/// Waits until `check` gives something; `what` says in a failure what did not come.
pub(crate) async fn eventually<T>(
    what: &str,
    within: Duration,
    check: impl FnMut() -> Option<T>,
) -> T {
    eventually_every(Duration::from_millis(10), what, within, check).await
}

/// The same for what takes some time to look at, and is looked at every `span`.
pub(crate) async fn eventually_every<T>(
    span: Duration,
    what: &str,
    within: Duration,
    mut check: impl FnMut() -> Option<T>,
) -> T {
    let found = async {
        let mut soon = interval(span);
        loop {
            soon.tick().await;
            if let Some(found) = check() {
                return found;
            }
        }
    };
    match timeout(within, found).await {
        Ok(found) => found,
        Err(_) => panic!("{what} within {within:?}: it did not happen"),
    }
}
