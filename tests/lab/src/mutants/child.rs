//! Another program, which ends with this one.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt::Interrupt;
use crate::moment::Moment;

/// How a program came to its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    By {
        status: ExitStatus,
        /// What it wrote to standard error.
        said: String,
    },
    /// It took too long.
    TooLate,
    /// Somebody wants all to end.
    Interrupted,
}

/// How often it is looked whether somebody wants all to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs a program to its end, or until somebody wants all to end, or for so long; then it is ended, and whatever it has started.
pub(super) fn run(
    command: &mut Command,
    interrupt: &Interrupt,
    patience: Option<Duration>,
) -> Result<Ended> {
    let began = Moment::now();
    let name = command.get_program().to_owned();
    // A group of its own, so that what it starts can be ended with it.
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", name.display()))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (tell, told) = mpsc::channel();
    let waits = thread::spawn(move || {
        // Nobody listens where the other end was given up.
        tell.send(child.wait_with_output()).is_ok()
    });
    let ended = loop {
        match told.recv_timeout(LOOK_EVERY) {
            Ok(output) => {
                let output = output.with_context(|| format!("waiting for {}", name.display()))?;
                break Ended::By {
                    status: output.status,
                    said: String::from_utf8_lossy(&output.stderr).into_owned(),
                };
            }
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("nobody waits for {} any more", name.display())
            }
            Err(RecvTimeoutError::Timeout) => {
                let late = patience.is_some_and(|patience| began.elapsed() >= patience);
                if !late && !interrupt.is_wanted() {
                    continue;
                }
                if let Some(group) = group {
                    // It may have ended just now.
                    let _gone = kill_process_group(group, Signal::KILL);
                }
                break if late {
                    Ended::TooLate
                } else {
                    Ended::Interrupted
                };
            }
        }
    };
    if waits.join().is_err() {
        anyhow::bail!("waiting for {} failed", name.display());
    }
    Ok(ended)
}
