//! `nearcast doctor`: what this machine has and lacks, a line each.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use nearcast_net::{Net, NetConfig};
use nearcast_player::{Backend, Network};

use super::settings::Settings;
use super::source::{BackendArguments, NetworkArguments};
use super::{Context, Failure, print};
use crate::tui::terminal::hush_stderr;

/// What `doctor` can be told.
#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Look this name up too
    #[arg(long, value_name = "HOST")]
    lookup: Option<String>,
    #[command(flatten, next_help_heading = "Backend")]
    backend: BackendArguments,
    #[command(flatten, next_help_heading = "Network")]
    network: NetworkArguments,
}

/// One finding.
enum Finding {
    Good(String),
    /// Works, but something is missing, with what to do.
    Note(String),
    /// Does not work.
    Bad(String),
}

pub(super) async fn run(arguments: &DoctorArguments, context: &Context) -> Result<(), Failure> {
    let mut findings = vec![
        (
            "version",
            Finding::Good(
                super::version()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ),
        ),
        ("terminal", terminal()),
        ("pictures", pictures()),
        ("sound", sound()),
        ("ffmpeg", ffmpeg().await),
        ("settings", settings(context)),
    ];
    if let Some(host) = &arguments.lookup {
        findings.push(("name", lookup(host).await));
    }
    findings.push(("backend", backend(arguments, context).await?));
    let mut bad = 0;
    for (what, finding) in &findings {
        let (mark, text) = match finding {
            Finding::Good(text) => ("ok  ", text),
            Finding::Note(text) => ("note", text),
            Finding::Bad(text) => {
                bad += 1;
                ("BAD ", text)
            }
        };
        print(format_args!("{mark}  {what:<9} {text}"));
    }
    if bad > 0 {
        return Err(Failure::new(
            "doctor.bad",
            format_args!("{bad} of {} findings are bad, see above", findings.len()),
        ));
    }
    Ok(())
}

fn terminal() -> Finding {
    if !std::io::stdout().is_terminal() {
        return Finding::Note(
            "standard output is no terminal: commands print plain lines".to_owned(),
        );
    }
    let term = std::env::var("TERM").unwrap_or_else(|_| "unset".to_owned());
    let size = crossterm::terminal::size().map_or_else(
        |_| "unknown size".to_owned(),
        |(w, h)| format!("{w}x{h} cells"),
    );
    let colours = std::env::var("COLORTERM")
        .unwrap_or_else(|_| "256 at most (COLORTERM is unset)".to_owned());
    Finding::Good(format!("TERM={term}, {size}, colours: {colours}"))
}

fn pictures() -> Finding {
    if cfg!(feature = "video") {
        Finding::Good("decoded by FFmpeg's libraries".to_owned())
    } else {
        Finding::Note("this nearcast was built without video: it plays sound only".to_owned())
    }
}

fn sound() -> Finding {
    let _hush = hush_stderr(None);
    let clock = std::sync::Arc::new(|| nearcast_units::Instant::ZERO);
    match crate::sound::DeviceOutput::open(clock, crate::sound::Format::USUAL) {
        Ok(_) => Finding::Good("the default device plays".to_owned()),
        Err(error) => Finding::Note(format!("{error}; nearcast plays without sound")),
    }
}

async fn ffmpeg() -> Finding {
    let version = tokio::process::Command::new("ffmpeg")
        .arg("-version")
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(Duration::from_secs(5), version).await {
        Ok(Ok(output)) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::Good(text.lines().next().unwrap_or_default().to_owned())
        }
        _ => Finding::Note(
            "the program ffmpeg is not there: only `demo` needs it, to make its title".to_owned(),
        ),
    }
}

fn settings(context: &Context) -> Finding {
    let path =
        Settings::path().map_or_else(|| "nowhere".to_owned(), |path| path.display().to_string());
    if context.settings == Settings::default() {
        Finding::Good(format!("none ({path})"))
    } else {
        Finding::Good(format!("read from {path}"))
    }
}

async fn lookup(host: &str) -> Finding {
    let net = match Net::new(NetConfig::default()) {
        Ok(net) => net,
        Err(error) => return Finding::Bad(error.to_string()),
    };
    match net.lookup(host).await {
        Ok(addresses) => {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            Finding::Good(format!("{host} is {}", list.join(" ")))
        }
        Err(error) => Finding::Bad(error.to_string()),
    }
}

async fn backend(arguments: &DoctorArguments, context: &Context) -> Result<Finding, Failure> {
    let Some(options) = arguments.backend.options(context) else {
        return Ok(Finding::Note(
            "none is set (NEARCAST_BACKEND): play by URL, or with --edge".to_owned(),
        ));
    };
    let mut network = arguments.network.options(context)?;
    arguments.backend.add_headers(&mut network);
    let network = Network::new(network)?;
    let url = options.url.clone();
    let titles = Backend::new(options, &network)?.titles().await;
    network.close().await;
    Ok(match titles {
        Ok(titles) => Finding::Good(format!("{url} offers {} titles", titles.len())),
        Err(error) => Finding::Bad(format!("{url}: {error}")),
    })
}
