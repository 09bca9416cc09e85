//! `nearcast doctor`: what this machine has and lacks, a line each.

use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use nearcast_player::{Backend, Network};
use serde::Serialize;

use super::settings::Settings;
use super::source::{BackendArguments, NetworkArguments};
use super::{Context, Failure, Place, counted, print, print_json};
use crate::tui::terminal::hush_stderr;

/// What `doctor` can be told.
#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Look this name up too
    #[arg(long, value_name = "HOST")]
    lookup: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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

/// A finding for programs.
#[derive(Serialize)]
struct Found<'a> {
    what: &'static str,
    state: &'static str,
    text: &'a str,
}

impl Finding {
    /// Returns how it is called in JSON, how it is marked for people, and what it says.
    const fn parts(&self) -> (&'static str, &'static str, &String) {
        match self {
            Self::Good(text) => ("ok", "ok  ", text),
            Self::Note(text) => ("note", "note", text),
            Self::Bad(text) => ("bad", "BAD ", text),
        }
    }
}

pub(super) async fn run(
    arguments: &DoctorArguments,
    context: &mut Context,
    settings: Result<Settings, Failure>,
) -> Result<(), Failure> {
    let mut findings = vec![
        ("version", version()),
        ("terminal", terminal()),
        ("pictures", pictures()),
        ("sound", sound()),
        ("ffmpeg", ffmpeg().await),
        ("settings", read_settings(settings, context)),
    ];
    match network(arguments, context) {
        Ok(network) => {
            findings.push(("network", way_out(&crate::addresses::outward())));
            if let Some(host) = &arguments.lookup {
                findings.push(("name", lookup(&network, host).await));
            }
            findings.push(("backend", backend(arguments, context, &network).await));
            network.close().await;
        }
        Err(failure) => findings.push(("network", Finding::Bad(failure.message().to_owned()))),
    }
    let bad = findings
        .iter()
        .filter(|(_, finding)| matches!(finding, Finding::Bad(_)))
        .count();
    if arguments.json {
        let found: Vec<_> = findings
            .iter()
            .map(|(what, finding)| {
                let (state, _, text) = finding.parts();
                Found { what, state, text }
            })
            .collect();
        print_json(&found)?;
    } else {
        for (what, finding) in &findings {
            let (_, mark, text) = finding.parts();
            print(format_args!("{mark}  {what:<9} {text}"));
        }
    }
    if bad > 0 {
        return Err(Failure::new(
            "doctor.bad",
            format_args!(
                "{bad} of {} findings {} bad, see above",
                findings.len(),
                if bad == 1 { "is" } else { "are" }
            ),
        ));
    }
    Ok(())
}

fn version() -> Finding {
    let first = super::version().lines().next().unwrap_or_default();
    Finding::Good(first.to_owned())
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

/// The rest goes on with the settings, or without those that cannot be read.
fn read_settings(settings: Result<Settings, Failure>, context: &mut Context) -> Finding {
    match settings {
        Ok(settings) => context.settings = settings,
        Err(failure) => return Finding::Bad(failure.message().to_owned()),
    }
    let path =
        Settings::path().map_or_else(|| "nowhere".to_owned(), |path| path.display().to_string());
    if context.settings == Settings::default() {
        Finding::Good(format!("none ({path})"))
    } else {
        Finding::Good(format!("read from {path}"))
    }
}

fn network(arguments: &DoctorArguments, context: &Context) -> Result<Network, Failure> {
    let backend = Some(&arguments.backend);
    arguments.network.network(context, backend)
}

fn way_out(addresses: &[IpAddr]) -> Finding {
    if addresses.is_empty() {
        return Finding::Note(
            "no way leads out of this machine: only what runs on it can be played".to_owned(),
        );
    }
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Finding::Good(format!("goes out from {}", list.join(" and ")))
}

async fn lookup(network: &Network, host: &str) -> Finding {
    match network.net().lookup(host).await {
        Ok(addresses) => {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            Finding::Good(format!("{host} is {}", list.join(" ")))
        }
        Err(error) => Finding::Bad(error.to_string()),
    }
}

async fn backend(arguments: &DoctorArguments, context: &Context, network: &Network) -> Finding {
    let Some(options) = arguments.backend.options(context) else {
        return Finding::Note(
            "none is set (NEARCAST_BACKEND): play by URL, or with --edge".to_owned(),
        );
    };
    let place = Place {
        url: options.url.clone(),
        is_backend: true,
        proxy: arguments.network.proxy.clone(),
    };
    let titles = async { Backend::new(options, network)?.titles().await };
    match titles.await {
        Ok(titles) => {
            let titles = counted(titles.len(), "title");
            Finding::Good(format!("{} offers {titles}", place.url))
        }
        Err(error) => Finding::Bad(Failure::from(error).at(&place).message().to_owned()),
    }
}
