//! `nearcast demo`: the whole system on this machine, and what it is for: an edge dies, and the viewer
//! notices nothing.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use nearcast_player::{BackendOptions, Network, NetworkOptions, Player, Source, TrackKind};
use nearcast_title::{Progress, Title, TitleConfig};
use tokio::time::Instant;

use super::headless::times;
use super::play::{Files, PlayingArguments, Subject};
use super::source::HttpChoice;
use super::{Context, Failure, Place, print, say, settings};
use crate::screen::Edges;
use crate::system::System;

/// What `demo` can be told.
#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Where the title is: whatever its length, it is played; where none is, it is made; the user's cache folder unless given
    #[arg(long, value_name = "DIR", env = "NEARCAST_TITLE_DIR")]
    title_dir: Option<PathBuf>,
    /// Leave all edges alive; otherwise the one in use dies after about 20 s, in the middle of a segment, unless K has
    /// killed one before
    #[arg(long)]
    no_kill: bool,
    /// Use this version of HTTP only
    #[arg(long, value_enum)]
    http: Option<HttpChoice>,
    /// Keep the edges' access logs in this folder
    #[arg(long, value_name = "DIR")]
    access_logs: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Playing")]
    playing: PlayingArguments,
}

/// The title of the demo in the backend's catalogue.
const TITLE: &str = "demo";
/// From here on the edge in use is killed as soon as it is in the middle of a segment.
const KILL_AFTER: Duration = Duration::from_secs(20);
/// Where less than this is left, everything is fetched before the kill: then it is played from its beginning.
const LEFT_FOR_KILL: Duration = Duration::from_secs(60);
/// What counts as the middle, per cent of the segment.
const MIDDLE: std::ops::RangeInclusive<u64> = 25..=75;

pub(super) async fn run(arguments: &DemoArguments, context: &Context) -> Result<(), Failure> {
    let files = arguments.playing.open_files(context).await?;
    if let Some(folder) = &arguments.access_logs {
        std::fs::create_dir_all(folder).map_err(Failure::io(
            "demo.access_logs",
            format_args!("cannot make {}", folder.display()),
            "name a folder that can be made",
        ))?;
    }
    let signals = &context.signals;
    let title = signals
        .unless(make_title(arguments.title_dir.clone()))
        .await?;
    let starting = async {
        System::start(&title, arguments.access_logs.as_deref())
            .await
            .map_err(|error| Failure::new("demo.system", error))
    };
    let system = Arc::new(signals.unless(starting).await?);
    let network = Network::new(NetworkOptions {
        extra_ca_pem: vec![system.ca_pem().as_bytes().to_vec()],
        http: arguments.http.map(HttpChoice::version),
        ..NetworkOptions::default()
    })?;
    let mut backend = BackendOptions::new(system.backend_url());
    "demo".clone_into(&mut backend.account);
    let builder = Player::builder(Source::Title {
        backend,
        title: TITLE.to_owned(),
    })
    .network(network.clone());
    let latest = title.duration.saturating_sub(LEFT_FOR_KILL);
    let playing = arguments.playing.starting_over_if_left_after(TITLE, latest);
    let how = (&playing, !arguments.no_kill);
    let played = play(how, builder, files, context, &system).await;
    network.close().await;
    if let Some(system) = Arc::into_inner(system) {
        system.shutdown().await;
    }
    played
}

async fn play(
    (playing, kills): (&PlayingArguments, bool),
    builder: nearcast_player::PlayerBuilder,
    files: Files,
    context: &Context,
    system: &Arc<System>,
) -> Result<(), Failure> {
    let edges: Arc<dyn Edges> = Arc::<System>::clone(system);
    // The backend's address is another one each time.
    let subject = Subject {
        name: TITLE.to_owned(),
        key: TITLE.to_owned(),
        place: Place {
            url: system.backend_url().to_owned(),
            is_backend: true,
            proxy: None,
        },
    };
    let prints = playing.prints_lines();
    let mut killer = None;
    let played = playing
        .play(builder, files, &subject, context, Some(edges), |player| {
            if kills {
                killer = Some(tokio::spawn(kill_in_mid_segment(
                    player.clone(),
                    Arc::clone(system),
                    prints,
                )));
            }
        })
        .await;
    if let Some(killer) = killer {
        killer.abort();
        // Aborted or done, it holds the system no longer.
        if let Err(error) = killer.await
            && error.is_panic()
        {
            return Err(Failure::new("demo.kill", error));
        }
    }
    played
}

/// Makes the title, or takes the one that is there.
async fn make_title(dir: Option<PathBuf>) -> Result<Title, Failure> {
    let dir = dir
        .or_else(|| Some(settings::folders()?.cache_dir().join("title")))
        .ok_or_else(|| {
            Failure::new(
                "demo.title",
                "there is no home folder to keep the title in; give --title-dir DIR",
            )
        })?;
    // Its parent is the edges' root.
    let dir = std::path::absolute(dir).map_err(Failure::io(
        "demo.title",
        "cannot tell where the title is kept",
        "give --title-dir DIR with a whole path",
    ))?;
    let made = tokio::task::spawn_blocking(move || {
        let mut making = Making::new(dir.display().to_string());
        nearcast_title::take_or_make(&TitleConfig::new(dir), &mut |progress| {
            making.tell(progress)
        })
    });
    let made = made
        .await
        .map_err(|error| Failure::new("demo.title", error))?;
    made.map_err(|error| Failure::new("demo.title", error))
}

/// Shows how the title comes on: a bar on a terminal, elsewhere a line at the beginning and one at the end.
struct Making {
    place: String,
    bar: ProgressBar,
    /// When its first frames were under way.
    since: Option<Instant>,
}

impl Making {
    fn new(place: String) -> Self {
        Self {
            place,
            bar: ProgressBar::hidden(),
            since: None,
        }
    }

    fn tell(&mut self, progress: Progress) {
        match progress {
            Progress::Waiting => say("another nearcast makes the title; waiting for it"),
            Progress::Renewing => say(format_args!(
                "the title in {} is of an older version, or lacks files: it is made anew",
                self.place
            )),
            Progress::Making { percent } => {
                if self.since.is_none() {
                    self.since = Some(Instant::now());
                    self.begin();
                }
                self.bar.set_position(u64::from(percent));
            }
            Progress::Done { .. } => {
                self.bar.finish_and_clear();
                let is_seen = std::io::stderr().is_terminal();
                if let Some(since) = self.since.filter(|_| !is_seen) {
                    let seconds = since.elapsed().as_secs();
                    say(format_args!("the title is made, after {seconds} s"));
                }
            }
        }
    }

    fn begin(&mut self) {
        if !std::io::stderr().is_terminal() {
            say(format_args!(
                "making the title in {}: a minute or two, once",
                self.place
            ));
            return;
        }
        self.bar
            .set_draw_target(indicatif::ProgressDrawTarget::stderr());
        self.bar.set_length(100);
        if let Ok(style) = ProgressStyle::with_template("making the title {bar:40} {percent} %") {
            self.bar.set_style(style);
        }
    }
}

/// Kills the edge in use while it is in the middle of a video segment, once.
async fn kill_in_mid_segment(player: Player, system: Arc<System>, prints: bool) {
    let began = Instant::now();
    tokio::time::sleep(KILL_AFTER).await;
    let mut snapshots = player.snapshots();
    while snapshots.changed().await.is_ok() {
        let snapshot = snapshots.borrow_and_update().session.clone();
        let middle = snapshot.transfers.iter().find(|transfer| {
            let share = transfer
                .total
                .map(|total| transfer.received.get() * 100 / total.get().max(1));
            transfer.track == Some(TrackKind::Video)
                && !transfer.replaces
                && share.is_some_and(|share| MIDDLE.contains(&share))
        });
        let edge =
            middle.and_then(|transfer| snapshot.edges.iter().find(|edge| edge.id == transfer.edge));
        let Some(edge) = edge else { continue };
        // The viewer has seen already what happens then.
        if system.has_killed() {
            return;
        }
        match system.kill(&edge.name).await {
            // On a screen the table of edges and the decisions show it.
            Ok(()) if prints => print(format_args!(
                "{}edge {} was killed in mid-segment",
                times(began.elapsed(), snapshot.position),
                edge.name
            )),
            Ok(()) => tracing::info!(edge = edge.name, "killed in mid-segment"),
            Err(error) => tracing::warn!(%error, "the edge could not be killed"),
        }
        return;
    }
}
