//! Starts the processes of a run, carries what they tell each other, takes what is left.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nearcast_scenario::{Mode, PlayerResult, Ran, Receipt, Scenario};
use tokio::io::BufReader;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::line::{self, Backend, FromServers, FromViewer, Served, ToServers, ToViewer, Viewed};

/// Where processes of a run live, and what lies between them.
pub(crate) trait Stage {
    /// Returns a command that runs a program where servers are.
    fn servers(&self, program: &Path) -> std::process::Command;
    /// Returns a command that runs a program where viewers are.
    fn viewers(&self, program: &Path) -> std::process::Command;
    /// Returns one address for each edge, and the backend's; none where all are on one machine.
    fn addresses(&self) -> Vec<Ipv4Addr>;
    /// Follows the links as the scenario has them, from when this is called; ends with an error alone.
    fn follow(&self, scenario: &Scenario) -> impl Future<Output = anyhow::Error>;
}

/// Everything on this machine, links in the servers' send path.
pub(crate) struct OneMachine;

impl Stage for OneMachine {
    fn servers(&self, program: &Path) -> std::process::Command {
        std::process::Command::new(program)
    }

    fn viewers(&self, program: &Path) -> std::process::Command {
        std::process::Command::new(program)
    }

    fn addresses(&self) -> Vec<Ipv4Addr> {
        Vec::new()
    }

    async fn follow(&self, _: &Scenario) -> anyhow::Error {
        std::future::pending().await
    }
}

/// A process may take so long until it is ready, or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a run finds things, and leaves some.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// Holds the title, as long as the scenario has it.
    pub(crate) root: PathBuf,
    /// Gets the inputs of each session, and its report; `None` where nobody wants them.
    pub(crate) recordings: Option<PathBuf>,
}

/// Runs a scenario once.
pub(crate) async fn perform(
    scenario: &Scenario,
    how: (Mode, u64),
    folders: &Folders,
    stage: &impl Stage,
) -> Result<Ran> {
    let seed = how.1;
    let recordings = folders.recordings.as_deref();
    let starting = async {
        let servers = Servers::start(scenario, seed, &folders.root, stage).await?;
        let viewers = start_viewers(scenario, how, recordings, stage).await?;
        Ok::<_, anyhow::Error>((servers, viewers))
    };
    let (servers, viewers) = timeout(PATIENCE * 2, starting)
        .await
        .context("servers and viewers did not start: is this machine very busy?")??;
    let ended = tokio::select! {
        ended = play(scenario, seed, servers, viewers) => ended?,
        error = stage.follow(scenario) => return Err(error),
    };
    let ran = ended.into_ran(scenario);
    if let Some(folder) = recordings {
        keep_reports(folder, scenario, how, &ran)?;
    }
    Ok(ran)
}

/// Writes what each session of a run reported.
pub(crate) fn keep_reports(
    folder: &Path,
    scenario: &Scenario,
    how: (Mode, u64),
    ran: &Ran,
) -> Result<()> {
    for one in &ran.players {
        let path = recording(folder, scenario, how, &one.player, "report.json");
        let text = serde_json::to_vec(&one.report).context("writing a report")?;
        let written = std::fs::write(&path, text);
        written.with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Returns a name, which is people's words, as a part of a file's.
pub(crate) fn plain(name: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
    name.replace(|letter| !fits(letter), "-")
}

/// Names a file of a session.
fn recording(
    folder: &Path,
    scenario: &Scenario,
    (mode, seed): (Mode, u64),
    player: &str,
    ending: &str,
) -> PathBuf {
    let (scenario, player) = (plain(&scenario.name), plain(player));
    folder.join(format!(
        "{scenario}-{}-{seed}-{player}.{ending}",
        mode.name()
    ))
}

/// Time of day in milliseconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "processes of one machine agree on what happened when by its time of day"
)]
pub(super) fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A process that is told lines and tells some. It is killed when this is dropped.
struct Process {
    child: Child,
    /// `None` once there is no more to tell.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(
        mut command: std::process::Command,
        arguments: impl FnOnce(&mut std::process::Command),
    ) -> Result<Self> {
        arguments(&mut command);
        let mut command = Command::from(command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal's Ctrl-C is for the lab, which ends them.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().context("starting a process of the run")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            child,
            input,
            output: BufReader::new(output.context("a process has no output")?),
        })
    }

    async fn ended(&mut self) -> Result<()> {
        self.input = None;
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.context("a process did not end")??;
        if !status.success() {
            bail!("a process of the run ended with {status}");
        }
        Ok(())
    }
}

fn of_run(command: &mut std::process::Command, process: &str, scenario: &Scenario, seed: u64) {
    command.args(["stage", process, "--file"]);
    command.arg(&scenario.file);
    command.arg("--name").arg(&scenario.name);
    command.arg("--seed").arg(seed.to_string());
}

fn program() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("looking for this program's own file")
}

struct Servers {
    process: Process,
    backend: Backend,
}

impl Servers {
    async fn start(
        scenario: &Scenario,
        seed: u64,
        root: &Path,
        stage: &impl Stage,
    ) -> Result<Self> {
        let mut process = Process::start(stage.servers(&program()?), |command| {
            of_run(command, "servers", scenario, seed);
            command.arg("--root").arg(root);
            for address in stage.addresses() {
                command.arg("--address").arg(address.to_string());
            }
        })?;
        match line::read(&mut process.output).await? {
            Some(FromServers::Ready(backend)) => Ok(Self { process, backend }),
            Some(FromServers::Ended(_)) | None => bail!("the servers did not start"),
        }
    }

    async fn tell(&mut self, told: &ToServers) -> Result<()> {
        match &mut self.process.input {
            Some(input) => line::write(input, told).await,
            None => Ok(()),
        }
    }

    /// Tells them that it is over; returns what they did.
    async fn end(mut self) -> Result<Served> {
        self.process.input = None;
        let served = match timeout(PATIENCE, line::read(&mut self.process.output)).await {
            Ok(Ok(Some(FromServers::Ended(served)))) => served,
            Ok(Err(error)) => return Err(error),
            Ok(_) | Err(_) => bail!("the servers did not tell what they did"),
        };
        self.process.ended().await?;
        Ok(served)
    }
}

async fn start_viewers(
    scenario: &Scenario,
    how: (Mode, u64),
    recordings: Option<&Path>,
    stage: &impl Stage,
) -> Result<Vec<Process>> {
    let (seed, program) = (how.1, program()?);
    let mut viewers = Vec::new();
    for (session, of_session) in scenario.viewers(seed).iter().enumerate() {
        let mut viewer = Process::start(stage.viewers(&program), |command| {
            of_run(command, "viewer", scenario, seed);
            command.arg("--session").arg(session.to_string());
            if let Some(folder) = recordings {
                let path = recording(folder, scenario, how, &of_session.name, "jsonl");
                command.arg("--record").arg(path);
            }
        })?;
        match line::read(&mut viewer.output).await? {
            Some(FromViewer::Ready) => viewers.push(viewer),
            _ => bail!("a viewer did not start"),
        }
    }
    Ok(viewers)
}

/// What is left of a run.
struct Ended {
    served: Served,
    /// By session; what went wrong where it told nothing.
    viewed: Vec<(String, Result<Viewed>)>,
}

async fn play(
    scenario: &Scenario,
    seed: u64,
    mut servers: Servers,
    viewers: Vec<Process>,
) -> Result<Ended> {
    let sessions = scenario.viewers(seed);
    // Everybody has told everything by then.
    let last = Instant::now() + scenario.limit + PATIENCE;
    servers.tell(&ToServers::Begin).await?;
    let began = Instant::now();
    let (sender, mut told) = mpsc::channel(64);
    let mut watched = tokio::task::JoinSet::new();
    for (index, (process, session)) in viewers.into_iter().zip(&sessions).enumerate() {
        let at = began + session.arrives;
        let (backend, sender) = (servers.backend.clone(), sender.clone());
        watched.spawn(async move {
            let viewed = watch(process, at, backend, index == 0, sender);
            let viewed = timeout_at(last, viewed).await;
            let viewed = viewed.unwrap_or_else(|_| bail!("it did not end"));
            (index, viewed)
        });
    }
    drop(sender);
    while let Some(told) = told.recv().await {
        servers.tell(&told).await?;
    }
    let served = servers.end().await?;
    let mut viewed: Vec<_> = watched.join_all().await;
    viewed.sort_by_key(|(index, _)| *index);
    let names = sessions.into_iter().map(|session| session.name);
    Ok(Ended {
        served,
        viewed: names
            .zip(viewed.into_iter().map(|(_, viewed)| viewed))
            .collect(),
    })
}

/// Lets a viewer play, and passes on what it has to tell the servers.
async fn watch(
    mut process: Process,
    at: Instant,
    backend: Backend,
    is_first: bool,
    to_servers: mpsc::Sender<ToServers>,
) -> Result<Viewed> {
    sleep_until(at).await;
    if let Some(input) = &mut process.input {
        line::write(input, &ToViewer::Play(backend)).await?;
    }
    loop {
        let told = match line::read(&mut process.output).await? {
            Some(FromViewer::Ended(viewed)) => {
                process.ended().await?;
                return Ok(*viewed);
            }
            Some(FromViewer::Uses(edge)) if is_first => ToServers::Uses(edge),
            Some(FromViewer::Rebind) => ToServers::Rebind,
            Some(FromViewer::Ready | FromViewer::Uses(_)) => continue,
            None => {
                process.ended().await?;
                bail!("it ended without a word");
            }
        };
        if to_servers.send(told).await.is_err() {
            bail!("the servers are gone");
        }
    }
}

impl Ended {
    fn into_ran(self, scenario: &Scenario) -> Ran {
        let Served {
            began_unix_ms,
            receipts,
            load,
            problems,
        } = self.served;
        let since_s = |unix_ms: u64| {
            let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX)
                - i64::try_from(began_unix_ms).unwrap_or(i64::MAX);
            // What is wrong from the beginning is so a little before it.
            milliseconds(ms.max(0)) / 1e3
        };
        let (mut players, mut broken, mut named) = (Vec::new(), problems, Vec::new());
        for (player, viewed) in self.viewed {
            match viewed {
                Ok(viewed) => {
                    named.extend(viewed.playback_id.map(|id| (id, player.clone())));
                    players.push(PlayerResult {
                        player,
                        begins_s: since_s(viewed.began_unix_ms),
                        report: viewed.report,
                    });
                }
                Err(error) => broken.push(format!("{player}: {error:#}")),
            }
        }
        let receipts = receipts.into_iter().map(|(edge, receipt)| Receipt {
            fault: receipt.fault.name().to_owned(),
            edge: edge
                .map_or("backend", |edge| &*scenario.edges[edge].name)
                .to_owned(),
            at_s: since_s(receipt.at_unix_ms),
            player: receipt.client.and_then(|id| {
                let mut named = named.iter();
                let known = named.find(|(playback, _)| *playback == id)?;
                Some(known.1.clone())
            }),
            id: receipt.id,
            path: receipt.path,
            offset: receipt.offset,
        });
        let busy = players.iter().any(|one| one.report.busy);
        let mut ran = Ran::new(scenario, players, receipts.collect(), load);
        ran.broken = broken;
        ran.busy = busy;
        ran
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run is shorter than years")]
const fn milliseconds(ms: i64) -> f64 {
    ms as f64
}
