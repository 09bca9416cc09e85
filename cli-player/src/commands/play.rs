//! `nearcast play`: a title, a manifest URL, or a manifest path on several edges.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nearcast_player::{AbrRule, BitRate, MediaTime, Network, Player, PlayerBuilder, Source};

use super::headless::{Watch, watch};
use super::settings::Positions;
use super::source::{BackendArguments, NetworkArguments, parse_rate, parse_span};
use super::summary::{print_summary, write_report};
use super::{Context, Failure, on_terminal, print, say};
use crate::screen::{self, Edges, Screen, ScreenError, sound};
use crate::tui::graphics::Wish;

/// What `play` can be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nearcast play demo --backend http://127.0.0.1:8080
  nearcast play https://cdn.example/title/stream.mpd
  nearcast play title/stream.mpd --edge https://a.example --edge https://b.example
On the screen, ? shows the keys.")]
pub(super) struct PlayArguments {
    /// A title of the backend, a manifest URL, or (with --edge) a manifest path
    source: String,
    /// Base URL of an edge that has the path; give several, best first
    #[arg(long, value_name = "BASE_URL")]
    edge: Vec<String>,
    #[command(flatten, next_help_heading = "Backend")]
    backend: BackendArguments,
    #[command(flatten, next_help_heading = "Network")]
    network: NetworkArguments,
    #[command(flatten, next_help_heading = "Playing")]
    playing: PlayingArguments,
}

/// How it is played; the same for `play` and `demo`.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct PlayingArguments {
    /// Play against the clock without screen or sound device
    #[arg(long)]
    pub(super) headless: bool,
    /// Decode, and write a line for each frame: presentation time, rung and number as the bar code says
    #[arg(long, value_name = "FILE", requires = "headless")]
    pub(super) frames: Option<PathBuf>,
    /// Stop after this much wall time, as 90s, 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub(super) duration: Option<Duration>,
    /// Write the session report here (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Keep the session's inputs for replay
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// How the next rung is chosen: dynamic unless given
    #[arg(long, value_enum, value_name = "NAME")]
    abr: Option<AbrChoice>,
    /// Where to start, as 90s or 10m, or 0 for the beginning; otherwise where it was left
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    start: Option<Duration>,
    /// No video rung above this rate, as 1500kbps or 1.5Mbps
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    cap: Option<BitRate>,
    /// Give up after stalling this long (headless: 60s unless given)
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    give_up: Option<Duration>,
    /// Preferred audio language, a tag such as `sv`
    #[arg(long, value_name = "LANGUAGE")]
    audio: Option<String>,
    /// Show subtitles in this language, a tag such as `sv`
    #[arg(long, value_name = "LANGUAGE")]
    subtitles: Option<String>,
    /// Print every decision with its reason (without a screen)
    #[arg(long)]
    pub(super) explain: bool,
    /// How pictures are shown: auto, kitty, sixel, half (blocks of two pixels) or none
    #[arg(long, value_name = "HOW")]
    picture: Option<Wish>,
    /// Leave the sound device alone
    #[arg(long)]
    no_sound: bool,
}

/// Rules by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AbrChoice {
    /// Throughput while the buffer is short, then buffer level
    Dynamic,
    /// Throughput only
    Throughput,
    /// Buffer level only
    Bola,
}

/// A headless player that nobody watches ends by itself.
const GIVE_UP_HEADLESS: Duration = Duration::from_secs(60);

pub(super) async fn run(arguments: &PlayArguments, context: &Context) -> Result<(), Failure> {
    let mut network = arguments.network.options(context)?;
    if network.insecure {
        say(
            "nearcast: WARNING: --insecure accepts any certificate: whoever is in between can read and change everything",
        );
    }
    let source = if !arguments.edge.is_empty() {
        Source::Edges {
            path: arguments.source.clone(),
            bases: arguments.edge.clone(),
        }
    } else if arguments.source.contains("://") {
        Source::Url(arguments.source.clone())
    } else {
        arguments.backend.add_headers(&mut network);
        let backend = arguments.backend.options(context).ok_or_else(|| {
            Failure::usage(format_args!(
                "`{}` is a title, and no backend is known: give --backend URL (or set NEARCAST_BACKEND), \
                 or --edge BASE_URL, or a whole manifest URL",
                arguments.source
            ))
        })?;
        Source::Title {
            backend,
            title: arguments.source.clone(),
        }
    };
    let name = source.name();
    let place = place(&source);
    let network = Network::new(network)?;
    let builder = Player::builder(source).network(network.clone());
    let played = arguments.playing.play(builder, &name, context).await;
    network.close().await;
    played.map_err(|failure| failure.at(&place))
}

/// Returns where a source is, for people.
fn place(source: &Source) -> String {
    match source {
        Source::Title { backend, .. } => backend.url.clone(),
        Source::Edges { bases, .. } => bases.join(" "),
        Source::Url(_) => source.name(),
    }
}

impl PlayingArguments {
    /// Plays to the end, on the screen or headless, and tells what it came to.
    pub(super) async fn play(
        &self,
        builder: PlayerBuilder,
        name: &str,
        context: &Context,
    ) -> Result<(), Failure> {
        let builder = self.prepare(builder, name, context)?;
        self.show(builder, name, context, None, |_| {}).await
    }

    /// Plays with everything prepared, on the screen where there is one, and tells what it came to.
    ///
    /// `edges` are ours to kill; `with_player` gets the player once it runs.
    pub(super) async fn show(
        &self,
        builder: PlayerBuilder,
        name: &str,
        context: &Context,
        edges: Option<Arc<dyn Edges>>,
        with_player: impl FnOnce(&Player),
    ) -> Result<(), Failure> {
        let quiet = self.report.as_deref() == Some(std::path::Path::new("-"));
        let (report, failure) = if self.headless || !on_terminal() {
            let builder = self.with_frames(builder)?;
            let builder = self.with_sound(builder, context, quiet).await;
            let player = builder.start()?;
            with_player(&player);
            let last = player.clone();
            let played = watch(
                player,
                Watch {
                    duration: self.duration,
                    explain: self.explain,
                    quiet,
                    tells_place: self.tells_place(),
                },
            )
            .await?;
            if !self.headless {
                let snapshot = last.snapshot().session;
                keep_position(name, snapshot.position, snapshot.duration);
            }
            (played.report, played.failure)
        } else {
            let screen = Screen {
                picture: self.picture.unwrap_or_default(),
                log: context.log.as_ref().and_then(|log| log.try_clone().ok()),
                title: name.to_owned(),
                tells_place: self.tells_place(),
                duration: self.duration,
                silent: self.no_sound,
                edges,
            };
            let shown = screen::show(builder, screen, with_player)
                .await
                .map_err(|error| match error {
                    ScreenError::Player(error) => error.into(),
                    error @ (ScreenError::Terminal(_) | ScreenError::Panicked) => {
                        Failure::new("player.screen", error)
                    }
                })?;
            keep_position(name, shown.position, shown.length);
            let failure = shown
                .report
                .error
                .as_ref()
                .map(|error| Failure::new(error.code.clone(), &error.message));
            let signal = shown.signal.map(Failure::signal);
            (shown.report, failure.or(signal))
        };
        if !quiet {
            print_summary(&report);
        }
        if let Some(path) = &self.report {
            write_report(&report, path)?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Whether playback is taken up again where it was left, and that is worth a line.
    const fn tells_place(&self) -> bool {
        self.start.is_none() && !self.headless
    }

    /// Returns where to take the source up again.
    fn position(&self, name: &str) -> Option<Duration> {
        if !self.tells_place() {
            return None;
        }
        Positions::open().and_then(|positions| positions.of(name))
    }

    /// Without a screen there is still sound, where there is a device.
    async fn with_sound(
        &self,
        builder: PlayerBuilder,
        context: &Context,
        quiet: bool,
    ) -> PlayerBuilder {
        if self.headless || self.no_sound {
            return builder;
        }
        let speaker = sound::open(false, context.log.as_ref()).await;
        let note = sound::note(&speaker);
        match note {
            None => builder.audio_sink(sound::Speaker::new(speaker)),
            Some(note) => {
                if !quiet {
                    print(note);
                }
                builder
            }
        }
    }

    /// Applies what was asked for.
    pub(super) fn prepare(
        &self,
        mut builder: PlayerBuilder,
        name: &str,
        context: &Context,
    ) -> Result<PlayerBuilder, Failure> {
        builder = builder.program("nearcast", env!("CARGO_PKG_VERSION"));
        if let Some(start) = self.start {
            builder = builder.start_at(start);
        } else if self.headless {
            builder = builder.resume(false);
        } else if let Some(position) = self.position(name) {
            builder = builder.start_at(position);
        }
        if let Some(cap) = self.cap {
            builder = builder.cap_rung(cap);
        }
        if let Some(abr) = self.abr {
            builder = builder.abr(match abr {
                AbrChoice::Dynamic => AbrRule::Dynamic,
                AbrChoice::Throughput => AbrRule::Throughput,
                AbrChoice::Bola => AbrRule::Bola,
            });
        }
        if let Some(give_up) = self.give_up.or(self.headless.then_some(GIVE_UP_HEADLESS)) {
            builder = builder.give_up(give_up);
        }
        if let Some(language) = self
            .audio
            .clone()
            .or_else(|| context.settings.audio.clone())
        {
            builder = builder.audio_language(language);
        }
        if let Some(language) = self
            .subtitles
            .clone()
            .or_else(|| context.settings.subtitles.clone())
        {
            builder = builder.text_language(language);
        }
        if let Some(path) = &self.record {
            let file = File::create(path).map_err(Failure::io(
                "player.record",
                format_args!("cannot write the recording {}", path.display()),
            ))?;
            builder = builder.record(BufWriter::new(file));
        }
        Ok(builder)
    }

    #[cfg(feature = "video")]
    fn with_frames(&self, builder: PlayerBuilder) -> Result<PlayerBuilder, Failure> {
        let Some(path) = &self.frames else {
            return Ok(builder);
        };
        let file = File::create(path).map_err(Failure::io(
            "player.frames",
            format_args!("cannot write the frames {}", path.display()),
        ))?;
        let sink = crate::frames::FrameLines::new(BufWriter::new(file));
        Ok(builder.frame_sink(sink, nearcast_player::FrameDelivery::Every))
    }

    #[cfg(not(feature = "video"))]
    fn with_frames(&self, builder: PlayerBuilder) -> Result<PlayerBuilder, Failure> {
        if self.frames.is_some() {
            return Err(Failure::usage(
                "--frames needs pictures, and this nearcast was built without video",
            ));
        }
        Ok(builder)
    }
}

/// A position that cannot be kept is a pity, and no failure.
fn keep_position(name: &str, position: MediaTime, length: Option<Duration>) {
    let Some(positions) = Positions::open() else {
        return;
    };
    if let Err(error) = positions.keep(name, position.since(MediaTime::ZERO), length) {
        tracing::warn!(%error, "the position is not kept");
    }
}
