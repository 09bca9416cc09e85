//! Joins a player to the terminal: state and pictures to the screen, sound to the device, keys back to the
//! player.

mod feed;
#[cfg(feature = "video")]
mod pictures;
pub(crate) mod sound;

use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nearcast_player::{MediaTime, Player, PlayerBuilder, SessionReport};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::sound::{AudioOutput as _, Sound};
use crate::tui::graphics::Wish;
use crate::tui::{self, Command, End, Feeds, Picture, PixelSize, TuiError};
use feed::Feed;
pub(crate) use feed::RESUMED_MIN;

/// What the screen needs beside the player.
pub(crate) struct Screen {
    /// How pictures are shown.
    pub(crate) picture: Wish,
    /// Where standard error goes meanwhile.
    pub(crate) log: Option<File>,
    /// The title's name until the player knows better.
    pub(crate) title: String,
    /// Whether to say where playback is taken up again: the viewer did not say where to start.
    pub(crate) tells_place: bool,
    /// Ends by itself after this much wall time.
    pub(crate) duration: Option<Duration>,
    /// Leaves the sound device alone.
    pub(crate) silent: bool,
    /// The edges, where they are ours to kill.
    pub(crate) edges: Option<Arc<dyn Edges>>,
}

/// Edges that the screen may kill, and knows the sites of.
pub(crate) trait Edges: Send + Sync {
    /// Kills an edge; the error is a sentence.
    fn kill(&self, id: String) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
    /// Returns where an edge stands.
    fn site(&self, id: &str) -> Option<String>;
}

/// How a play on the screen ended.
#[derive(Debug)]
pub(crate) struct Shown {
    /// What was done.
    pub(crate) report: SessionReport,
    /// Where the playhead was.
    pub(crate) position: MediaTime,
    /// How long the title is.
    pub(crate) length: Option<Duration>,
    /// Whether a signal ended it, and which.
    pub(crate) signal: Option<i32>,
}

/// Why nothing could be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScreenError {
    /// The player.
    #[error(transparent)]
    Player(#[from] nearcast_player::PlayerError),
    /// The terminal.
    #[error(transparent)]
    Terminal(#[from] TuiError),
    /// Something panicked; its message was printed.
    #[error("the screen ended by a defect; the message above says where")]
    Panicked,
}

/// The player's commands come one by one from keys; this many may wait.
const COMMANDS_MAX: usize = 32;

/// Plays on the terminal until the viewer quits or the title ends. `with_player` gets the player once it
/// runs.
pub(crate) async fn show(
    builder: PlayerBuilder,
    screen: Screen,
    with_player: impl FnOnce(&Player),
) -> Result<Shown, ScreenError> {
    let speaker = sound::open(screen.silent, screen.log.as_ref()).await;
    let (pictures, pictures_rx) = watch::channel::<Option<Picture>>(None);
    let (size, size_rx) = watch::channel::<Option<PixelSize>>(None);
    let builder = builder.audio_sink(sound::Speaker::new(Arc::clone(&speaker)));
    #[cfg(feature = "video")]
    let builder = builder.frame_sink(
        pictures::Projector::new(pictures, size_rx),
        nearcast_player::FrameDelivery::WhenDue,
    );
    #[cfg(not(feature = "video"))]
    let unused = (pictures, size_rx);
    let player = builder.start()?;
    with_player(&player);

    let stop = CancellationToken::new();
    let (commands, commands_rx) = mpsc::channel::<Command>(COMMANDS_MAX);
    let feed = Feed::new(
        player.clone(),
        speaker,
        screen.edges,
        screen.title,
        screen.tells_place,
        size,
    );
    let (playback, driving) = feed.start(commands_rx, screen.duration, stop.clone());
    let options = tui::Options {
        picture: screen.picture,
        stderr_to: screen.log,
    };
    let feeds = Feeds {
        playback,
        pictures: pictures_rx,
        commands,
        stop: stop.clone(),
    };
    let ended = tui::run(options, feeds).await;
    stop.cancel();
    if let Err(error) = driving.await
        && error.is_panic()
    {
        return Err(ScreenError::Panicked);
    }
    #[cfg(not(feature = "video"))]
    drop(unused);
    let snapshot = player.snapshot().session;
    let report = player.close().await?;
    let signal = match ended? {
        End::Quit | End::Stopped => None,
        End::Signal(number) => Some(number),
        End::Panicked => return Err(ScreenError::Panicked),
    };
    Ok(Shown {
        report,
        position: snapshot.position,
        length: snapshot.duration,
        signal,
    })
}

/// Sets loudness and muting.
fn set_volume(speaker: &Mutex<Sound>, volume: nearcast_units::Ratio, muted: bool) {
    let mut sound = speaker.lock().unwrap_or_else(PoisonError::into_inner);
    sound.set_volume(volume);
    sound.set_muted(muted);
}
