//! `nearcast titles`: what a backend offers.

use std::time::Duration;

use clap::Args;
use nearcast_player::{Backend, TitleSummary};

use super::source::{BackendArguments, NetworkArguments};
use super::{Context, Failure, Place, clock, print, print_json};

/// What `titles` can be told.
#[derive(Debug, Args)]
pub(super) struct TitlesArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = "Backend")]
    backend: BackendArguments,
    #[command(flatten, next_help_heading = "Network")]
    network: NetworkArguments,
}

pub(super) async fn run(arguments: &TitlesArguments, context: &Context) -> Result<(), Failure> {
    let options = arguments.backend.options(context).ok_or_else(|| {
        Failure::usage("which backend? Give --backend URL, or set NEARCAST_BACKEND")
    })?;
    let network = arguments
        .network
        .network(context, Some(&arguments.backend))?;
    let place = Place {
        url: options.url.clone(),
        is_backend: true,
        proxy: arguments.network.proxy.clone(),
    };
    let backend = Backend::new(options, &network)?;
    let titles = backend.titles().await;
    let titles = titles.map_err(|error| Failure::from(error).at(&place))?;
    network.close().await;
    if arguments.json {
        return print_json(&titles);
    }
    if titles.is_empty() {
        print("nothing can be watched here and now");
    }
    for title in &titles {
        print(line(title));
    }
    Ok(())
}

fn line(title: &TitleSummary) -> String {
    let length = clock(Duration::from_millis(title.duration_ms));
    format!("{:<20} {length}  {}", title.id, title.name)
}
