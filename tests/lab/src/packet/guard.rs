//! Nothing keeps running in namespaces that are given up.

use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::namespace::{Namespace, missing};

/// Ends whatever runs in some namespaces once it is dropped, or once this process has ended in any other way, killed
/// included: a shell that waits at a pipe whose other end only this process holds. Without it, a server that a program
/// left in the background would keep its namespace, and itself, forever.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    /// `None` once it has been told.
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(crate) fn new(namespaces: [&Namespace; 2]) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "guard"]);
        command.args(namespaces.map(Namespace::path));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| missing(&command, error))?;
        let output = child.stdout.take();
        let guard = Self {
            pipe: child.stdin.take(),
            child,
        };
        // It says so, and ends its output, when it holds the namespaces.
        let told = output.map(std::io::read_to_string).transpose();
        ensure!(
            told.context("waiting for the guard")?.as_deref() == Some("ready\n"),
            "the shell that ends what runs behind the link could not open its namespaces"
        );
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Err(error) = self.child.wait() {
            super::warn(&format!(
                "waiting for what runs behind the link to end: {error}"
            ));
        }
    }
}

/// The open files keep the namespaces, so that their numbers do not pass to others while they are looked for. A
/// process that is in one may start another before it is killed: hence the repetition. What cannot be killed within
/// about ten seconds hangs in the kernel.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM TSTP
exec 3<"$1" 4<"$2" && echo ready && exec >/dev/null || exit 1
read -r end
tries=0
while [ $tries -lt 1000 ]; do
    found=
    for process in /proc/[0-9]*; do
        if [ "$process/ns/net" -ef /proc/$$/fd/3 ] || [ "$process/ns/net" -ef /proc/$$/fd/4 ]; then
            kill -KILL "${process#/proc/}" 2>/dev/null && found=yes
        fi
    done
    [ "$found" ] || exit 0
    tries=$((tries + 1))
    sleep 0.01
done
exit 1
"#;
