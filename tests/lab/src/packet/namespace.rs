//! Network namespaces that live as long as this process wants them to.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::process::getpid;

/// A network namespace without a name: an open file keeps it, so that nothing is left of it once this process and
/// the programs in it have ended, however they end.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    /// Makes one whose loopback device is up, without IPv6.
    pub(crate) fn new() -> Result<Self> {
        let made = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(Error::from)
                .context("making a network namespace")?;
            let path = "/proc/thread-self/ns/net";
            File::open(path).with_context(|| format!("opening {path}"))
        });
        let namespace = Self {
            file: finished(made.join())?,
        };
        namespace.within(|| {
            // Nobody here answers what IPv6 asks of each new device.
            let switch = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
            if fs::exists(switch)? {
                fs::write(switch, "1").with_context(|| format!("writing {switch}"))?;
            }
            run(Command::new("ip").args(["link", "set", "lo", "up"]))
        })?;
        Ok(namespace)
    }

    /// Moves the calling thread into the namespace, for good: the sockets it opens from now on, and the programs it
    /// starts, are in there. Not for a process's first thread, by which [`Guard`](super::guard::Guard) knows where
    /// the process belongs.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(Error::from)
            .context("entering a network namespace")
    }

    /// Does something on a thread of its own within the namespace, and waits for it.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter()?;
                work()
            });
            finished(worker.join())
        })
    }

    /// Returns a command that runs `program` in the namespace; arguments, streams and so on are up to the caller.
    /// The process that it starts becomes `program` without another one in between.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path()));
        command.arg("--").arg(program);
        command
    }

    /// Returns where other processes find the namespace while this one runs.
    pub(super) fn path(&self) -> String {
        let process = getpid().as_raw_nonzero();
        format!("/proc/{process}/fd/{}", self.file.as_raw_fd())
    }
}

fn finished<T>(joined: thread::Result<Result<T>>) -> Result<T> {
    joined.unwrap_or_else(|_| Err(anyhow!("a thread in a network namespace panicked")))
}

/// Runs a program that sets something up; what it complains about is the error.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|error| missing(command, error))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    let line = words.join(" ");
    ensure!(output.status.success(), "`{line}` failed: {}", told.trim());
    Ok(())
}

/// Says which package a program is in that could not be started.
pub(super) fn missing(command: &Command, error: Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy().into_owned();
    let advice = match (error.kind(), program.as_str()) {
        (ErrorKind::NotFound, "ip") => ": it is in the package iproute2",
        (ErrorKind::NotFound, "nsenter" | "chrt") => ": it is in the package util-linux",
        _ => "",
    };
    anyhow::Error::new(error).context(format!("`{program}` could not be started{advice}"))
}
