//! `nearcast-edge`: one edge appliance.

mod arguments;
mod root;

use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use nearcast_edge_server::{EdgeError, EdgeServer};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::arguments::Arguments;

/// Warnings, and the end of what they warn of. The verifier of certificates repeats with each report what the warning
/// about reports says once.
const LOG: &str = "warn,nearcast_edge_server::reporting=info,rustls_platform_verifier=off";

fn main() -> ExitCode {
    let arguments = Arguments::read();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("NEARCAST_LOG").unwrap_or_else(|_| EnvFilter::new(LOG)),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure("system.no_runtime", &error),
    };
    let ended = runtime.block_on(run(arguments));
    // What still waits for a disk then may wait forever.
    runtime.shutdown_timeout(DISK_REST);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(error.code(), &error),
    }
}

/// For files that are read or written as it ends; the access log has had its time before.
const DISK_REST: Duration = Duration::from_secs(1);

fn failure(code: &str, error: &dyn std::error::Error) -> ExitCode {
    // Nothing more can be done when standard error is closed.
    drop(writeln!(
        std::io::stderr(),
        "nearcast-edge: {code}: {error}"
    ));
    ExitCode::FAILURE
}

async fn run(arguments: Arguments) -> Result<(), EdgeError> {
    let (config, ca) = arguments.into_config()?;
    let has_backend = config.backend.is_some();
    let is_offered_to_nobody = has_backend && config.prefixes.is_empty();
    let root = config.root.clone();
    let edge = EdgeServer::start(config).await?;
    if is_offered_to_nobody {
        let hint = "nearcast-edge: no --prefix: the backend offers this edge to nobody; give the clients' networks, \
                    as --prefix 127.0.0.0/8";
        drop(writeln!(std::io::stderr(), "{hint}"));
    }
    if let Some(doubt) = root::doubt(&root, has_backend) {
        drop(writeln!(std::io::stderr(), "nearcast-edge: {doubt}"));
    }
    let mut line = format!(
        "ready id={} base_url={} admin_url={}",
        edge.id(),
        edge.base_url(),
        edge.admin_url()
    );
    if let Some(plain) = edge.plain_url() {
        line.push_str(&format!(" plain_url={plain}"));
    }
    line.push_str(&format!(" ca={}", ca.display()));
    // From its line on it can be told to end.
    let stopped = stop_signal();
    // Whoever started it may have closed the pipe; the edge serves all the same.
    drop(writeln!(std::io::stdout(), "{line}"));
    stopped.await;
    edge.shutdown().await;
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C: from the call on, not from the first poll.
#[cfg(unix)]
fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};

    let listen = |kind, name| {
        signal(kind)
            .inspect_err(|error| tracing::warn!(%error, "{name} cannot be heard"))
            .ok()
    };
    let heard = [
        listen(SignalKind::terminate(), "SIGTERM"),
        listen(SignalKind::interrupt(), "Ctrl-C"),
    ];
    async move {
        let [mut terminate, mut interrupt] = heard;
        tokio::select! {
            Some(_) = async { terminate.as_mut()?.recv().await } => {}
            Some(_) = async { interrupt.as_mut()?.recv().await } => {}
            else => std::future::pending().await,
        }
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn stop_signal() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!(%error, "Ctrl-C cannot be heard");
        std::future::pending::<()>().await;
    }
}
