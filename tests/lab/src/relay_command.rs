//! `nearcast-lab relay`: the relay behind Toxiproxy's API.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use nearcast_lab::relay::Api;
use nearcast_units::Seed;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Which API to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the API listens; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:8474", value_name = "ADDRESS:PORT")]
    api: SocketAddr,
    /// Decides which connections a toxicity below 1 hits, jitter, and sizes of slices
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// Serves until it is told to end.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("NEARCAST_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(serve(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    // From its line on it can be told to end.
    let stopped = stop_signal()?;
    let listener = TcpListener::bind(arguments.api).await.with_context(|| {
        format!(
            "listening on {}: choose a free port by --api, or port 0 for any free one",
            arguments.api
        )
    })?;
    let api = Api::start(listener, Seed::new(arguments.seed))?;
    let mut out = std::io::stdout().lock();
    // Whoever started it may have closed the pipe; it serves all the same.
    drop(writeln!(out, "ready api=http://{}", api.address()).and_then(|()| out.flush()));
    drop(out);
    stopped.await;
    api.close().await;
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C: from the call on, not from the first poll.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
