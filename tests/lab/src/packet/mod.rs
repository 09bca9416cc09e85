//! Links for real packets: a client and its servers in network namespaces of their own, and between them links that do
//! to each packet what [`PacketLink`](nearcast_link::PacketLink) says. Linux only.
//!
//! [`PacketNetwork`](network::PacketNetwork) makes a network, says how to run something at either side, changes its
//! links while they are in use and counts what they pass and drop. [`privileges::gain`] comes first.

#[cfg(target_os = "linux")]
mod bench;
#[cfg(target_os = "linux")]
mod command;
#[cfg(target_os = "linux")]
mod course;
#[cfg(target_os = "linux")]
mod forward;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(target_os = "linux")]
mod links;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod privileges;
#[cfg(target_os = "linux")]
mod real_time;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(target_os = "linux")]
pub(crate) use stage::PacketStage;

use anyhow::Result;

/// What `packet` is told.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Servers have the addresses 10.77.0.1, 10.77.0.2 and so on, one for each --server; the program is \
    10.77.1.1, and reaches nothing else. `{address}` stands for a server's own address in --server, for the first \
    server's in ARGS. What ran behind the link is killed when the program has ended, whose exit status is passed on.\n\n\
    For example:\n  nearcast-lab packet --link dsl.toml --server 'python3 -m http.server 8000 --bind {address}' -- \
    curl -so /dev/null http://{address}:8000/film.mp4"
)]
pub(crate) struct Arguments {
    /// The link that the program is behind, both directions, as TOML
    #[arg(long, value_name = "FILE")]
    link: PathBuf,
    /// What chance does to packets
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A shell command that runs a server at the other side of the link; may be given several times
    #[arg(long = "server", value_name = "CMDLINE")]
    servers: Vec<String>,
    /// How TCP reacts to loss, at both sides
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    congestion_control: String,
    /// The program to run, and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    program: Vec<String>,
}

/// Runs a program behind a link.
#[cfg(target_os = "linux")]
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    command::execute(arguments)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn execute(_: &Arguments) -> Result<ExitCode> {
    Err(anyhow::anyhow!(ELSEWHERE))
}

/// What `bench packet` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArguments {
    /// Which packets are lost
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Succeed when bars are missed too
    #[arg(long)]
    figures_only: bool,
}

/// Measures what links make of their configuration.
#[cfg(target_os = "linux")]
pub(crate) fn bench(arguments: &BenchArguments) -> Result<ExitCode> {
    bench::execute(arguments)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn bench(_: &BenchArguments) -> Result<ExitCode> {
    Err(anyhow::anyhow!(ELSEWHERE))
}

/// Makes sure that networks can be made; before the process has a second thread.
///
/// # Errors
/// Where they cannot: what is missing, and how to get it.
pub(crate) fn gain() -> Result<()> {
    #[cfg(target_os = "linux")]
    return privileges::gain();
    #[cfg(not(target_os = "linux"))]
    return Err(anyhow::anyhow!(ELSEWHERE));
}

#[cfg(not(target_os = "linux"))]
const ELSEWHERE: &str = "packets are carried between network namespaces, which only Linux has: run this there, in a \
    virtual machine for instance";

/// Tells something that the result does not show.
#[cfg(target_os = "linux")]
fn warn(text: &str) {
    // Without standard error there is nobody to tell.
    drop(crate::write::tell(&format!("nearcast-lab: {text}\n")));
}
