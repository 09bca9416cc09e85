//! `nearcast play`: a title, a manifest URL, or a manifest path on several edges.

use std::fmt;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nearcast_player::{AbrRule, BitRate, MediaTime, Player, PlayerBuilder, Source};

use super::headless::{Watch, watch};
use super::networks::{Networks, parse_network};
use super::output::{Output, Watched, WriteError};
use super::settings::Positions;
use super::source::{
    BackendArguments, NetworkArguments, parse_file, parse_rate, parse_span, parse_url,
};
use super::summary::{cannot_write, print_summary, write_report};
use super::{Context, Failure, Place, Wishes, on_terminal, print};
use crate::screen::{self, Edges, Screen, sound};
use crate::tui::graphics::Wish;

/// What `play` can be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nearcast play demo --backend https://127.0.0.1:8443 --ca nearcast-ca/ca.pem
  nearcast play https://cdn.example/title/stream.mpd
  nearcast play title/stream.mpd --edge https://a.example --edge https://b.example
On the screen, ? shows the keys.")]
pub(super) struct PlayArguments {
    /// A title of the backend, a manifest URL, or (with --edge) a manifest path
    source: String,
    /// Base URL of an edge that has the path; give several, best first
    #[arg(long, value_name = "BASE_URL", value_parser = parse_url)]
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
    /// Decode, up to two seconds ahead, and write a line for each frame: presentation time, rung (0 is the lowest)
    /// and number as the bar code says
    #[arg(long, value_name = "FILE", requires = "headless", value_parser = parse_file)]
    pub(super) frames: Option<PathBuf>,
    /// Stop after this much wall time, as 90s, 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub(super) duration: Option<Duration>,
    /// Write the session report here (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Keep the session's inputs for replay
    #[arg(long, value_name = "FILE", value_parser = parse_file)]
    record: Option<PathBuf>,
    /// How the next rung is chosen: horizon unless given
    #[arg(long, value_enum, value_name = "NAME")]
    abr: Option<AbrChoice>,
    /// Name of the network that this machine is on: what is learnt of its line and edges is kept in the user's cache folder, so that
    /// the next play over it begins better. Without a name nothing is kept or used
    #[arg(long = "network", id = "network_name", value_name = "NAME", env = "NEARCAST_NETWORK", value_parser = parse_network)]
    network: Option<String>,
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
    /// A plan over the segments to come, for several rates that the line may have
    Horizon,
    /// Throughput while the buffer is short, then buffer level
    Dynamic,
    /// Throughput only
    Throughput,
    /// Buffer level only
    Bola,
    /// In proportion to the buffer
    Bb,
    /// A plan of five segments at a cautious rate
    Rmpc,
}

/// A headless player that nobody watches ends by itself.
const GIVE_UP_HEADLESS: Duration = Duration::from_secs(60);

pub(super) async fn run(arguments: &PlayArguments, context: &Context) -> Result<(), Failure> {
    let source = if !arguments.edge.is_empty() {
        Source::Edges {
            path: arguments.source.clone(),
            bases: arguments.edge.clone(),
        }
    } else if is_local(&arguments.source) {
        let source = &arguments.source;
        let name = Path::new(source).file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        return Err(Failure::usage(format_args!(
            "{source} is a file of this machine, and files are not played: serve its folder, as \
             `nearcast-edge --id e1 --root FOLDER --plain 127.0.0.1:8080` does, and play \
             http://127.0.0.1:8080/{name}; or name a title of a backend"
        )));
    } else if arguments.source.contains("://") {
        Source::Url(arguments.source.clone())
    } else if is_address(&arguments.source) {
        return Err(Failure::usage(format_args!(
            "{0} is an address without its beginning: did you mean http://{0}, or https://{0}?",
            arguments.source
        )));
    } else {
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
    let mut subject = Subject::of(&source);
    subject.place.proxy.clone_from(&arguments.network.proxy);
    match &source {
        Source::Url(url) => arguments.network.check_http([url])?,
        Source::Edges { bases, .. } => arguments.network.check_http(bases)?,
        // Its edges have addresses of their own.
        Source::Title { .. } => {}
    }
    let backend = subject.place.is_backend.then_some(&arguments.backend);
    let network = arguments.network.network(context, backend)?;
    let files = arguments.playing.open_files(context).await?;
    let builder = Player::builder(source).network(network.clone());
    let played = arguments
        .playing
        .play(builder, files, &subject, context, None, |_| {})
        .await;
    network.close().await;
    played.map_err(|failure| failure.at(&subject.place))
}

/// Whether it is written as only a file is, or is the path of one.
fn is_local(source: &str) -> bool {
    let starts = ["/", "./", "../", "~/", "file:"];
    let is_written_so = starts.iter().any(|start| source.starts_with(start));
    // A title may be called like a file that happens to lie here.
    let is_path = source.contains('/') || is_manifest(source);
    is_written_so || (is_path && Path::new(source).exists())
}

/// Whether it begins with a host, which no title does.
fn is_address(source: &str) -> bool {
    let (host, path) = source.split_once('/').unwrap_or((source, ""));
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let has_port = !path.is_empty() && port.is_some_and(|port| port.parse::<u16>().is_ok());
    let is_host = name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok();
    let is_name = name.contains('.') && !path.is_empty() && is_manifest(path);
    !name.is_empty() && (has_port || is_host || is_name)
}

fn is_manifest(path: &str) -> bool {
    let kind = Path::new(path).extension();
    kind.is_some_and(|kind| kind == "mpd" || kind == "m3u8")
}

/// What is played.
pub(super) struct Subject {
    /// For people, until the player knows better.
    pub(super) name: String,
    /// What its position is kept under.
    pub(super) key: String,
    /// Where it is asked for.
    pub(super) place: Place,
}

impl Subject {
    fn of(source: &Source) -> Self {
        let name = source.name();
        let key = match source {
            // Another backend's title of that name is another title.
            Source::Title { backend, .. } => format!("{name} at {}", backend.url),
            // So is another server's file of that path. The first edge is the best one.
            Source::Edges { path, bases } => {
                let first = bases.first().map(String::as_str).unwrap_or_default();
                whole(first, path)
            }
            Source::Url(_) => name.clone(),
        };
        let url = match source {
            Source::Title { backend, .. } => backend.url.clone(),
            Source::Edges { path, bases } => {
                let urls: Vec<_> = bases.iter().map(|base| whole(base, path)).collect();
                urls.join(" ")
            }
            Source::Url(_) => name.clone(),
        };
        let place = Place {
            url,
            is_backend: matches!(source, Source::Title { .. }),
            proxy: None,
        };
        Self { name, key, place }
    }
}

/// Returns the address of a path on an edge, without what is nobody's business.
fn whole(base: &str, path: &str) -> String {
    let (base, path) = (base.trim_end_matches('/'), path.trim_start_matches('/'));
    Source::Url(format!("{base}/{path}")).name()
}

/// What is written beside playing.
pub(super) struct Files {
    report: Option<Output>,
    frames: Option<File>,
    record: Option<File>,
}

impl Files {
    fn open(arguments: &PlayingArguments) -> Result<Self, Failure> {
        let report = |path: &PathBuf| Output::open(path).map_err(cannot_write(path));
        let frames =
            |path: &PathBuf| File::create(path).map_err(|error| frames_failed(path, error));
        let record =
            |path: &PathBuf| File::create(path).map_err(|error| record_failed(path, error));
        Ok(Self {
            report: arguments.report.as_ref().map(report).transpose()?,
            frames: arguments.frames.as_ref().map(frames).transpose()?,
            record: arguments.record.as_ref().map(record).transpose()?,
        })
    }
}

fn frames_failed(path: &Path, error: impl fmt::Display) -> Failure {
    Failure::new(
        "cli.frames",
        format_args!(
            "cannot write the frames {}: {error}; give a file that can be written and has room",
            path.display()
        ),
    )
}

fn record_failed(path: &Path, error: impl fmt::Display) -> Failure {
    Failure::new(
        "cli.record",
        format_args!(
            "cannot write the recording {}: {error}; give a file that can be written and has room",
            path.display()
        ),
    )
}

/// Files under way, which may fill the disk.
#[derive(Default)]
struct Writing {
    frames: WriteError,
    record: WriteError,
}

impl PlayingArguments {
    /// Opens everything that is to be written: what cannot be is told before anything is played.
    pub(super) async fn open_files(&self, context: &Context) -> Result<Files, Failure> {
        if cfg!(not(feature = "video")) && self.frames.is_some() {
            return Err(Failure::usage(
                "--frames needs pictures, and this nearcast was built without video",
            ));
        }
        let arguments = self.clone();
        tracing::debug!("opening the files to write");
        // A pipe with a name waits for its reader.
        let opening = tokio::task::spawn_blocking(move || Files::open(&arguments));
        let opened = async {
            opening
                .await
                .map_err(|error| Failure::new("cli.files", error))?
        };
        context.signals.unless(opened).await
    }

    /// Whether it is shown on the screen.
    pub(super) fn on_screen(&self) -> bool {
        !self.headless && on_terminal()
    }

    /// Whether it is told in lines what happens: there is no screen, and standard output is not for a report.
    pub(super) fn prints_lines(&self) -> bool {
        !self.on_screen() && !self.report_is_printed()
    }

    fn report_is_printed(&self) -> bool {
        self.report.as_deref() == Some(Path::new("-"))
    }

    /// Plays to the end, on the screen where there is one, and tells what it came to.
    ///
    /// `edges` are ours to kill; `with_player` gets the player once it runs.
    pub(super) async fn play(
        &self,
        builder: PlayerBuilder,
        files: Files,
        subject: &Subject,
        context: &Context,
        edges: Option<Arc<dyn Edges>>,
        with_player: impl FnOnce(&Player),
    ) -> Result<(), Failure> {
        let mut writing = Writing::default();
        let mut builder = self.prepare(builder, &subject.key, context);
        if let Some(file) = files.record {
            let (to, failed) = Watched::new(BufWriter::new(file));
            writing.record = failed;
            builder = builder.record(to);
        }
        let networks = self.network.as_ref().zip(Networks::open());
        if let Some((name, networks)) = &networks {
            builder = networks.begin(builder, name);
        }
        let mut learnt = None;
        let with_player = |player: &Player| {
            learnt = networks.is_some().then(|| player.clone());
            with_player(player);
        };
        let mut played = if self.on_screen() {
            let screen = Screen {
                picture: self.picture.unwrap_or_default(),
                log: context.log.as_ref().and_then(|log| log.try_clone().ok()),
                title: subject.name.clone(),
                tells_place: self.tells_place(),
                duration: self.duration,
                silent: self.no_sound,
                edges,
                wishes: self.wishes(),
                place: subject.place.clone(),
            };
            screen::show(builder, screen, &context.signals, with_player).await?
        } else {
            if let Some(file) = files.frames {
                let (to, failed) = Watched::new(BufWriter::new(file));
                writing.frames = failed;
                builder = with_frames(builder, to);
            }
            let builder = self.with_sound(builder, context).await?;
            let player = builder.start()?;
            with_player(&player);
            let how = Watch {
                duration: self.duration,
                prints: self.prints_lines(),
                explain: self.explain,
                tells_place: self.tells_place(),
                wishes: self.wishes(),
            };
            watch(player, how, &context.signals).await?
        };
        if let Some(((_, networks), player)) = networks.zip(learnt) {
            networks.keep(&player).await;
        }
        if !self.headless {
            keep_position(&subject.key, played.position, played.length);
        }
        let failure = played.judge(self.unwritten(&writing));
        if !self.report_is_printed() {
            print_summary(&played.report);
        }
        let written = match (files.report, &self.report) {
            (Some(to), Some(path)) => write_report(&played.report, to, path),
            _ => Ok(()),
        };
        match (failure, written) {
            (None, written) => written,
            (Some(failure), Ok(())) => Err(failure),
            (Some(failure), Err(later)) => Err(failure.and(&later)),
        }
    }

    /// Returns what was asked of the title here; what the settings say is for all titles.
    fn wishes(&self) -> Wishes {
        Wishes {
            start: self.start,
            cap: self.cap,
            audio: self.audio.clone(),
            subtitles: self.subtitles.clone(),
        }
    }

    /// Returns what could not be written while it played.
    fn unwritten(&self, writing: &Writing) -> Option<Failure> {
        let failed =
            |path: &Option<PathBuf>, error: &WriteError, failure: fn(&Path, &str) -> Failure| {
                Some(failure(path.as_deref()?, error.get()?))
            };
        failed(&self.frames, &writing.frames, |path, error| {
            frames_failed(path, error)
        })
        .or_else(|| {
            failed(&self.record, &writing.record, |path, error| {
                record_failed(path, error)
            })
        })
    }

    /// Whether playback is taken up again where it was left, and that is worth a line.
    const fn tells_place(&self) -> bool {
        self.start.is_none() && !self.headless
    }

    /// Plays from the beginning where it was left at `latest` or later.
    pub(super) fn starting_over_if_left_after(&self, key: &str, latest: Duration) -> Self {
        let late = self.position(key).is_some_and(|left| left >= latest);
        Self {
            start: if late {
                Some(Duration::ZERO)
            } else {
                self.start
            },
            ..self.clone()
        }
    }

    /// Returns where to take the source up again.
    fn position(&self, key: &str) -> Option<Duration> {
        if !self.tells_place() {
            return None;
        }
        Positions::open().and_then(|positions| positions.of(key))
    }

    /// Without a screen there is still sound, where there is a device.
    async fn with_sound(
        &self,
        builder: PlayerBuilder,
        context: &Context,
    ) -> Result<PlayerBuilder, Failure> {
        if self.headless || self.no_sound {
            return Ok(builder);
        }
        let opening = async { Ok(sound::open(false, context.log.as_ref()).await) };
        let speaker = context.signals.unless(opening).await?;
        let note = sound::note(&speaker);
        Ok(match note {
            None => builder.audio_sink(sound::Speaker::new(speaker)),
            Some(note) => {
                if self.prints_lines() {
                    print(note);
                }
                builder
            }
        })
    }

    /// Applies what was asked for.
    fn prepare(&self, mut builder: PlayerBuilder, key: &str, context: &Context) -> PlayerBuilder {
        builder = builder.program("nearcast", env!("CARGO_PKG_VERSION"));
        if let Some(start) = self.start {
            builder = builder.start_at(start);
        } else if self.headless {
            builder = builder.resume(false);
        } else if let Some(position) = self.position(key) {
            builder = builder.start_at(position);
        }
        if let Some(cap) = self.cap {
            builder = builder.cap_rung(cap);
        }
        if let Some(abr) = self.abr {
            builder = builder.abr(match abr {
                AbrChoice::Horizon => AbrRule::Horizon,
                AbrChoice::Dynamic => AbrRule::Dynamic,
                AbrChoice::Throughput => AbrRule::Throughput,
                AbrChoice::Bola => AbrRule::Bola,
                AbrChoice::Bb => AbrRule::BufferBased,
                AbrChoice::Rmpc => AbrRule::RobustMpc,
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
        builder
    }
}

#[cfg(feature = "video")]
fn with_frames(builder: PlayerBuilder, to: Watched<BufWriter<File>>) -> PlayerBuilder {
    let sink = crate::frames::FrameLines::new(to);
    builder.frame_sink(sink, nearcast_player::FrameDelivery::Every)
}

/// Nobody comes here: such a wish is refused before its file is opened.
#[cfg(not(feature = "video"))]
fn with_frames(builder: PlayerBuilder, _: Watched<BufWriter<File>>) -> PlayerBuilder {
    builder
}

/// A position that cannot be kept is a pity, and no failure.
fn keep_position(key: &str, position: MediaTime, length: Option<Duration>) {
    let Some(positions) = Positions::open() else {
        return;
    };
    if let Err(error) = positions.keep(key, position.since(MediaTime::ZERO), length) {
        tracing::warn!(%error, "the position is not kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearcast_player::BackendOptions;

    #[test]
    fn the_same_title_of_two_backends_has_two_places() {
        let subject = |url: &str| {
            Subject::of(&Source::Title {
                backend: BackendOptions::new(url),
                title: "demo".to_owned(),
            })
        };
        let (one, other) = (subject("https://a"), subject("https://b"));
        assert_eq!((one.name.as_str(), other.name.as_str()), ("demo", "demo"));
        assert_ne!(one.key, other.key);
    }

    #[test]
    fn an_address_is_told_from_a_title() {
        for (source, is) in [
            ("127.0.0.1:8080/title/stream.mpd", true),
            ("127.0.0.1/x", true),
            ("localhost/title", true),
            ("localhost:8080", true),
            ("edge.example:8443/title/stream.mpd", true),
            ("cdn.example/title/master.m3u8", true),
            ("demo", false),
            ("demo:2", false),
            ("season.1", false),
            ("season.1/episode", false),
            ("title/stream.mpd", false),
            (":8080/x", false),
        ] {
            assert_eq!(is_address(source), is, "{source}");
        }
    }

    #[test]
    fn what_edges_are_asked_for_is_told_whole() {
        let subject = Subject::of(&Source::Edges {
            path: "demo".to_owned(),
            bases: vec!["http://a/".to_owned(), "http://me:secret@b/x".to_owned()],
        });
        let failure = Failure::new("edge.not_found", "no edge has the manifest");
        let told = failure.at(&subject.place).to_string();
        assert!(told.contains("(http://a/demo http://b/x/demo)"), "{told}");
    }

    #[test]
    fn the_same_path_of_two_servers_has_two_places() {
        let key = |path: &str, base: &str| {
            Subject::of(&Source::Edges {
                path: path.to_owned(),
                bases: vec![base.to_owned()],
            })
            .key
        };
        assert_ne!(key("x.mpd", "https://a"), key("x.mpd", "https://b"));
        let whole = Source::Url("https://a/x.mpd?token=1".to_owned());
        for (path, base) in [
            ("x.mpd", "https://a"),
            ("/x.mpd?token=2", "https://a/"),
            ("x.mpd", "https://me:secret@a"),
        ] {
            assert_eq!(key(path, base), Subject::of(&whole).key);
        }
    }
}
