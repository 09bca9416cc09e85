//! `nearcast-edge`: one edge appliance.

mod arguments;

use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;

use clap::Parser;
use nearcast_edge_server::{EdgeError, EdgeServer};
use tracing_subscriber::EnvFilter;

use crate::arguments::Arguments;

/// Warnings, and the end of what they warn of. The verifier of certificates repeats with each report what the warning
/// about reports says once.
const LOG: &str = "warn,nearcast_edge_server::reporting=info,rustls_platform_verifier=off";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("NEARCAST_LOG").unwrap_or_else(|_| EnvFilter::new(LOG)),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing more can be done when standard error is closed.
            drop(writeln!(std::io::stderr(), "nearcast-edge: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> Result<(), EdgeError> {
    let config = arguments.into_config()?;
    if config.0.backend.is_some() && config.0.prefixes.is_empty() {
        let hint = "nearcast-edge: no --prefix: the backend offers this edge to nobody; give the clients' networks, \
                    as --prefix 127.0.0.0/8";
        drop(writeln!(std::io::stderr(), "{hint}"));
    }
    let ca = config.1;
    let edge = EdgeServer::start(config.0).await?;
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
    // Whoever started it may have closed the pipe; the edge serves all the same.
    drop(writeln!(std::io::stdout(), "{line}"));
    stopped().await;
    edge.shutdown().await;
    Ok(())
}

/// Waits for Ctrl-C or a request to end.
async fn stopped() {
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C cannot be heard");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be heard");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = interrupted => {}
        () = terminated => {}
    }
}
