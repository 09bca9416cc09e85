//! `nearcast-backend`: the backend in a process of its own.

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{NonEmptyStringValueParser, Resettable};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use nearcast_backend_server::{
    Backend, BackendConfig, BackendError, CA_CERTIFICATE_FILE, Catalogue, CatalogueFileError,
    LOOPBACK_SECRET, PlayRate, read_catalogue,
};

/// Decides who may play what, and from which edges.
#[derive(Debug, Parser)]
#[command(name = "nearcast-backend", version)]
struct Options {
    /// Where to listen (port 0 takes a free one)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Where sealed play requests come in over plain HTTP [default: the next port]
    #[arg(long, value_name = "ADDR")]
    sealed_listen: Option<SocketAddr>,
    /// Serve without TLS (loopback addresses only; the edge's --plain is an address beside the one for TLS)
    #[arg(long)]
    plain: bool,
    /// Where orders of faults come in (loopback addresses only; port 0 takes a free one) [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Name or address that clients reach this backend by
    #[arg(long, value_name = "HOST", value_parser = host)]
    public_host: Option<String>,
    /// Catalogue file, or a folder with a catalogue.toml, as target/media/title [default: one title, "demo"]
    #[arg(long, value_name = "PATH")]
    titles: Option<PathBuf>,
    /// File that keeps sessions, history, events and keys [default: memory]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Folder of the certificate authority shared with the edges; made when missing
    #[arg(long, value_name = "DIR", default_value = "nearcast-ca")]
    ca_dir: PathBuf,
    /// Bootstrap secret of the edges; needed unless listening on loopback
    #[arg(
        long,
        value_name = "TEXT",
        env = "NEARCAST_EDGE_SECRET",
        hide_env_values = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    secret: Option<String>,
    /// Play requests let through each second; the rest is refused as overloaded (0 refuses all)
    #[arg(long, value_name = "N")]
    plays_per_second: Option<u32>,
}

impl Options {
    /// Reads the command line. An environment variable that is set to nothing is how scripts unset one.
    fn read() -> Self {
        let command = Self::command().mut_args(|argument| {
            let value = argument.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                argument.env(Resettable::Reset)
            } else {
                argument
            }
        });
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// A name or an address as URLs have it.
fn host(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let why = match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            "that is any address, which nobody can connect to; give the one that clients use, or a host name"
        }
        Ok(IpAddr::V6(ip)) => return Ok(format!("[{ip}]")),
        Ok(IpAddr::V4(ip)) if bare.is_none() => return Ok(ip.to_string()),
        Err(_) if is_name(text) => return Ok(text.to_owned()),
        Err(_) if text.strip_suffix('.').is_some_and(is_name) => {
            "give the host name without the dot at its end"
        }
        Ok(IpAddr::V4(_)) | Err(_) => "give a host name or an address, without a port",
    };
    Err(why.to_owned())
}

/// Whether it is a name that DNS can hold. One that ends in a number is taken for an address.
fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| matches!(label.len(), 1..=63) && label.bytes().all(good);
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// A catalogue is written for a title; without one, the title that `make demo` makes is meant.
const DEMO_DURATION_MS: u64 = 120_000;

fn main() -> ExitCode {
    let options = Options::read();
    let secret = match &options.secret {
        Some(secret) => secret.clone(),
        None if options.listen.ip().is_loopback() => LOOPBACK_SECRET.to_owned(),
        None => Options::command()
            .error(
                ErrorKind::MissingRequiredArgument,
                "--secret is needed when others than this machine can reach the backend",
            )
            .exit(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("NEARCAST_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(options, secret) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a closed stderr.
            writeln!(std::io::stderr(), "nearcast-backend: {error}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

/// Why it ends, with a code first that stays the same. Each says its cause itself.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}: {_0}", _0.code())]
    Catalogue(#[from] CatalogueFileError),
    #[error("{}: {_0}", _0.code())]
    Start(#[from] BackendError),
    #[error("signals.unheard: cannot wait for signals: {0}")]
    Signals(std::io::Error),
    #[error("output.closed: cannot write to stdout: {0}")]
    Output(std::io::Error),
}

#[tokio::main]
async fn run(options: Options, secret: String) -> Result<(), Failure> {
    let catalogue = match &options.titles {
        Some(path) => read_catalogue(path)?,
        None => Catalogue::demo(DEMO_DURATION_MS),
    };
    let sealed_listen = options.sealed_listen.unwrap_or_else(|| {
        let port = match options.listen.port() {
            0 => 0,
            port => port.checked_add(1).unwrap_or(0),
        };
        SocketAddr::new(options.listen.ip(), port)
    });
    let mut config = BackendConfig {
        listen: options.listen,
        sealed_listen: Some(sealed_listen),
        plain: options.plain,
        admin: options.admin,
        public_host: options.public_host,
        state: options.state,
        ca_dir: Some(options.ca_dir.clone()),
        secret,
        ..BackendConfig::loopback(catalogue)
    };
    config.model.play_rate = options.plays_per_second.map(|per_second| PlayRate {
        per_second,
        burst: per_second,
    });

    let stopped = stop_signal().map_err(Failure::Signals)?;
    let backend = Backend::start(config).await?;
    let ca = options.ca_dir.join(CA_CERTIFICATE_FILE);
    let mut line = format!(
        "nearcast-backend ready: url={} sealed={} ca={}",
        backend.url(),
        backend.sealed_url().unwrap_or("none"),
        ca.display()
    );
    if let Some(admin) = backend.admin_url() {
        line.push_str(&format!(" admin_url={admin}"));
    }
    writeln!(std::io::stdout(), "{line}").map_err(Failure::Output)?;
    stopped.await;
    backend.shutdown().await;
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        drop(tokio::signal::ctrl_c().await);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_that_a_url_can_hold() {
        for (good, in_url) in [
            ("localhost", "localhost"),
            ("backend-1.Example.test", "backend-1.Example.test"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(host(good).as_deref(), Ok(in_url));
        }
        for bad in [
            "",
            "no name",
            "a:80",
            "https://a",
            "a/b",
            "me@a",
            "a..b",
            "ä.test",
            "1.2.3",
            "[::1",
            "[192.0.2.1]",
            "[a]",
            "*",
        ] {
            let why = host(bad).unwrap_err();
            assert!(why.contains("without a port"), "{bad}: {why}");
        }
        for (bad, why) in [
            ("0.0.0.0", "nobody can connect"),
            ("::", "nobody can connect"),
            ("[::]", "nobody can connect"),
            ("a.", "without the dot"),
        ] {
            let told = host(bad).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
    }
}
