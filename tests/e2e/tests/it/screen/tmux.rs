//! `nearcast` in a real terminal, which is tmux: keys in, screenshots out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nearcast_title::barcode::Code;
use tokio::time::{interval, timeout};

use super::cells::Cells;
use crate::play::nearcast;
use crate::room::{Room, binary};

/// Nothing here takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often a screenshot is taken while something is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A terminal with one program in it; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    socket: PathBuf,
    folder: PathBuf,
}

/// A picture on the screen at a moment between two others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shot {
    pub(crate) code: Code,
    pub(crate) after: Instant,
    pub(crate) before: Instant,
}

/// How a program left its terminal.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) status: i32,
    /// What is to be read on the screen.
    pub(crate) text: String,
}

/// The program's pid, its status and the terminal's modes before and after, as files.
const SCRIPT: &str = r#"stty -a > before
sh -c 'echo $$ > pid; exec "$@"' sh "$@"
status=$?
stty -a > after
echo $status > status.new && mv status.new status
exec sleep 600"#;

impl Terminal {
    /// Starts `nearcast` with these arguments in a terminal of this size.
    pub(crate) fn start(
        room: &Room,
        name: &str,
        (columns, rows): (u16, u16),
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let folder = room.folder(name);
        let terminal = Self {
            socket: folder.join("tmux"),
            folder,
        };
        // The environment without anybody's settings, as all programs of the tests have it.
        let clean = nearcast(room);
        let mut tmux = terminal.tmux();
        for (name, value) in clean.as_std().get_envs() {
            match value {
                Some(value) => tmux.env(name, value),
                None => tmux.env_remove(name),
            };
        }
        for name in ["TMUX", "STY", "NO_COLOR", "TERM_PROGRAM", "KITTY_WINDOW_ID"] {
            tmux.env_remove(name);
        }
        tmux.env("LC_ALL", "C.UTF-8")
            .env("COLORTERM", "truecolor")
            .envs(environment.iter().copied())
            .args(["-u", "-f", "/dev/null", "new-session", "-d"])
            .args(["-x", &columns.to_string(), "-y", &rows.to_string()])
            .arg("-c")
            .arg(&terminal.folder)
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(binary("nearcast"))
            .args(arguments);
        run(tmux);
        terminal
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(&self.socket);
        tmux
    }

    /// Has everything that the program writes from now on copied to a file or pipe.
    pub(crate) fn copy_output(&self, to: &Path) {
        let mut tmux = self.tmux();
        tmux.args(["pipe-pane", "-O"])
            .arg(format!("exec cat > '{}'", to.display()));
        run(tmux);
    }

    /// Presses keys, by tmux's names for them.
    pub(crate) fn press(&self, keys: &[&str]) {
        let mut tmux = self.tmux();
        tmux.arg("send-keys").args(keys);
        run(tmux);
    }

    /// Makes the terminal another size while the program runs.
    pub(crate) fn resize(&self, (columns, rows): (u16, u16)) {
        let mut tmux = self.tmux();
        tmux.arg("resize-window")
            .args(["-x", &columns.to_string(), "-y", &rows.to_string()]);
        run(tmux);
    }

    /// Takes a screenshot.
    pub(crate) fn screenshot(&self) -> Cells {
        let mut tmux = self.tmux();
        tmux.args(["capture-pane", "-e", "-p"]);
        Cells::of_screenshot(&run(tmux))
    }

    /// Returns what tmux knows of the terminal.
    fn ask(&self, format: &str) -> String {
        let mut tmux = self.tmux();
        tmux.args(["display-message", "-p", format]);
        run(tmux).trim().to_owned()
    }

    /// Takes screenshots until one shows what is wanted.
    pub(crate) async fn wait_for<T>(&self, what: &str, wanted: impl Fn(&Cells) -> Option<T>) -> T {
        let seen = async {
            let mut look = interval(LOOK_EVERY);
            loop {
                look.tick().await;
                if let Some(seen) = wanted(&self.screenshot()) {
                    return seen;
                }
            }
        };
        match timeout(PATIENCE, seen).await {
            Ok(seen) => seen,
            Err(_) => {
                let cells = self.screenshot();
                panic!(
                    "{what} was not seen, but {:?}:\n{}",
                    cells.code(),
                    cells.text()
                )
            }
        }
    }

    /// Waits for a text on the screen.
    pub(crate) async fn wait_for_text(&self, text: &str) -> Cells {
        let holds = |cells: &Cells| cells.line(text).is_some().then(|| cells.clone());
        self.wait_for(text, holds).await
    }

    /// Takes screenshots until one holds a whole picture, and says between which moments it was taken.
    pub(crate) async fn shot(&self) -> Shot {
        let seen = async {
            let mut look = interval(LOOK_EVERY);
            loop {
                look.tick().await;
                let after = Instant::now();
                let cells = self.screenshot();
                let before = Instant::now();
                if let Some(code) = cells.code() {
                    return Shot {
                        code,
                        after,
                        before,
                    };
                }
            }
        };
        match timeout(PATIENCE, seen).await {
            Ok(shot) => shot,
            Err(_) => panic!("there is no picture:\n{}", self.screenshot().text()),
        }
    }

    /// Waits until the picture is where it should be.
    pub(crate) async fn wait_for_frame(&self, what: &str, is_wanted: impl Fn(u32) -> bool) -> u32 {
        let frame = |cells: &Cells| cells.code().map(|code| code.frame);
        self.wait_for(what, |cells| frame(cells).filter(|frame| is_wanted(*frame)))
            .await
    }

    /// Returns the program's process id.
    pub(crate) fn pid(&self) -> i32 {
        let pid = fs::read_to_string(self.folder.join("pid")).unwrap();
        pid.trim().parse().unwrap()
    }

    /// Waits for the program's end, asserts that the terminal is as before, and returns what was left on it.
    pub(crate) async fn left(&self) -> Left {
        let file = self.folder.join("status");
        self.wait_for("the end", |_| file.exists().then_some(()))
            .await;
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap();
        assert_eq!(read("before"), read("after"), "the terminal's modes");
        assert_eq!(self.ask("#{alternate_on}"), "0", "the main screen is back");
        assert_eq!(self.ask("#{cursor_flag}"), "1", "the cursor is visible");
        Left {
            status: read("status").trim().parse().unwrap(),
            text: self.screenshot().text(),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whatever runs in it gets a hang-up.
        self.tmux().arg("kill-server").output().ok();
    }
}

/// Runs a command to its end and returns what it printed.
fn run(mut command: Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
