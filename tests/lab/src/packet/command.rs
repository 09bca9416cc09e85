//! `packet`: runs a program behind a link.

use std::io::{IsTerminal as _, stdin};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nearcast_scenario::Link;
use nearcast_units::Seed;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::time::timeout;

use super::course::Course;
use super::links::{Both, Everywhere, Place};
use super::namespace::missing;
use super::network::{NetworkConfig, PacketNetwork};
use super::{Arguments, privileges, server, table, warn};
use crate::write;

/// Makes the network, starts the servers, runs the program and tells what its packets met.
pub(super) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    privileges::gain()?;
    let course = Course::new(&Link::read(&arguments.link)?);
    // Of one thread: a guard tells this process from those behind the link by where its first thread is.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let run = run(arguments, &course);
    runtime.context("starting a runtime")?.block_on(run)
}

async fn run(arguments: &Arguments, course: &Course) -> Result<ExitCode> {
    // From here on these end what was started, and not this program before that.
    let mut ends = Ends::new()?;
    let config = NetworkConfig {
        links: Everywhere {
            last_mile: course.first(),
            servers: vec![Both::default(); arguments.servers.len().max(1)],
        },
        congestion_control: arguments.congestion_control.clone(),
    };
    let network = PacketNetwork::start(&config, Seed::new(arguments.seed))?;
    if let Some(reason) = network.not_real_time() {
        warn(&format!(
            "packets are carried without real-time scheduling, and late where the machine is busy: {reason}"
        ));
    }
    let code = tokio::select! {
        started = server::start(&network, &arguments.servers) => {
            started?;
            let mut program = start(arguments, &network)?;
            tokio::select! {
                status = program.wait() => passed_on(status.context("waiting for the program")?),
                end = ends.next() => finish(&mut program, end).await?,
                failed = course.follow(&network, Place::LastMile) => match failed? {},
            }
        }
        end = ends.next() => told(end),
    };
    let (counted, overflowed) = (network.count(), network.overflowed());
    // If packets were no longer carried, this says why, and the others only that.
    network.end()?;
    write::tell(&table::text(&counted?, overflowed?))?;
    Ok(ExitCode::from(code))
}

fn start(arguments: &Arguments, network: &PacketNetwork) -> Result<Child> {
    let address = network.addresses().next().context("there is no server")?;
    let mut words = arguments
        .program
        .iter()
        .map(|word| word.replace(ADDRESS, &address.to_string()));
    let mut command = network.client().command(words.next().unwrap_or_default());
    command.args(words);
    let mut command = Command::from(command);
    let spawned = command.spawn();
    spawned.map_err(|error| missing(command.as_std(), error))
}

/// What stands for a server's address.
pub(super) const ADDRESS: &str = "{address}";

/// How long a program may take to end once it was told to.
const GRACE: Duration = Duration::from_secs(5);

/// Tells the program to end; what does not obey is killed with everything else.
async fn finish(program: &mut Child, end: SignalKind) -> Result<u8> {
    // A terminal has told all of its foreground already, and twice means something else to many programs.
    let is_told = end == SignalKind::interrupt() && stdin().is_terminal();
    let id = program
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let signal = Signal::from_named_raw(end.as_raw_value());
    if let (false, Some(id), Some(signal)) = (is_told, id, signal) {
        kill_process(id, signal).context("telling the program to end")?;
    }
    match timeout(GRACE, program.wait()).await {
        Ok(status) => Ok(passed_on(status.context("waiting for the program")?)),
        Err(_) => Ok(told(end)),
    }
}

/// Returns a program's exit status as a shell would.
fn passed_on(status: ExitStatus) -> u8 {
    let by_signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(by_signal);
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

fn told(end: SignalKind) -> u8 {
    u8::try_from(128 + end.as_raw_value()).unwrap_or(u8::MAX)
}

/// The signals that tell this program to end.
struct Ends([(SignalKind, Stream); 3]);

impl Ends {
    fn new() -> Result<Self> {
        let listen = |kind| -> Result<_> {
            let signals = signal(kind).context("listening to signals")?;
            Ok((kind, signals))
        };
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) -> SignalKind {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.1.recv() => interrupt.0,
            _ = terminate.1.recv() => terminate.0,
            _ = hangup.1.recv() => hangup.0,
        }
    }
}
