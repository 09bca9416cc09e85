//! Joins a player to the terminal: state and pictures to the screen, sound to the device, keys back to the
//! player.

mod feed;
#[cfg(feature = "video")]
mod pictures;
mod requests;
pub(crate) mod sound;

use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nearcast_player::{Player, PlayerBuilder};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::commands::{End, Failure, Place, Played, Signals, Wishes};
use crate::sound::{AudioOutput as _, Sound};
use crate::tui::graphics::Wish;
use crate::tui::{self, Command, Feeds, Picture, PixelSize, TuiError};
pub(crate) use feed::RESUMED_MIN;
use feed::{Feed, FeedEnd, Limits};

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
    /// Where it is asked for: advice depends on it.
    pub(crate) place: Place,
    /// What was asked of the title.
    pub(crate) wishes: Wishes,
}

/// Edges that the screen may kill, and knows the sites of.
pub(crate) trait Edges: Send + Sync {
    /// Kills an edge; the error is a sentence.
    fn kill(&self, id: String) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
    /// Whether an edge was killed, by whomever.
    fn is_killed(&self, id: &str) -> bool;
    /// Returns where an edge stands.
    fn site(&self, id: &str) -> Option<String>;
}

/// The player's commands come one by one from keys; this many may wait.
const COMMANDS_MAX: usize = 32;

/// Plays on the terminal until the viewer quits, the title ends, its time is up or a signal comes. However
/// that goes, what was played is told. `with_player` gets the player once it runs.
pub(crate) async fn show(
    builder: PlayerBuilder,
    mut screen: Screen,
    signals: &Signals,
    with_player: impl FnOnce(&Player),
) -> Result<Played, Failure> {
    let opening = async { Ok(sound::open(screen.silent, screen.log.as_ref()).await) };
    let speaker = signals.unless(opening).await?;
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
    let feed = Feed::new(player.clone(), speaker, &screen, size);
    let limits = Limits {
        duration: screen.duration,
        signals: signals.clone(),
        stop: stop.clone(),
    };
    let (playback, driving) = feed.start(commands_rx, limits);
    let options = tui::Options {
        picture: screen.picture,
        answers_within: tui::graphics::detect::TIMEOUT,
        stderr_to: screen.log,
    };
    let feeds = Feeds {
        playback,
        pictures: pictures_rx,
        commands,
        stop: stop.clone(),
    };
    let shown = tui::run(options, feeds).await;
    stop.cancel();
    let driven = driving.await;
    #[cfg(not(feature = "video"))]
    drop(unused);
    let last = player.snapshot().session;
    // On the screen there was room for a line, and for a moment.
    screen.wishes.tell(&last);
    let report = player.close().await?;
    let end = end(shown, driven, signals.came());
    Ok(Played::new(report, last, end))
}

/// Tells who ended it. A terminal that goes away takes the keys first and sends its signal a moment later.
fn end(
    shown: Result<tui::End, TuiError>,
    driven: Result<FeedEnd, JoinError>,
    signal: Option<i32>,
) -> End {
    match (shown, driven) {
        (Ok(tui::End::Panicked), _) | (_, Err(_)) => End::Broken(Failure::new(
            "cli.screen",
            "the screen ended by a defect; report it with the message above",
        )),
        (Ok(tui::End::Signal(number)), _) => End::Signal(number),
        (Ok(tui::End::Quit), _) => End::Quit,
        (Ok(tui::End::Stopped), Ok(FeedEnd::TimeUp)) => End::TimeUp,
        (Ok(tui::End::Stopped), Ok(FeedEnd::Done)) => signal.map_or(End::Done, End::Signal),
        (Err(error), _) => signal.map_or_else(
            || {
                End::Broken(Failure::new(
                    "cli.screen",
                    format_args!("{error}; try another terminal, or --headless"),
                ))
            },
            End::Signal,
        ),
    }
}

/// Sets loudness and muting.
fn set_volume(speaker: &Mutex<Sound>, volume: nearcast_units::Ratio, muted: bool) {
    let mut sound = speaker.lock().unwrap_or_else(PoisonError::into_inner);
    sound.set_volume(volume);
    sound.set_muted(muted);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_broke_because_it_was_closed_is_a_hang_up() {
        let broken = || {
            Err(TuiError::Terminal {
                doing: "drawing",
                source: std::io::Error::other("it is gone"),
            })
        };
        assert!(matches!(
            end(broken(), Ok(FeedEnd::Done), Some(1)),
            End::Signal(1)
        ));
        let End::Broken(failure) = end(broken(), Ok(FeedEnd::Done), None) else {
            unreachable!("nothing else ended it");
        };
        assert!(failure.message().contains("it is gone"), "{failure}");
    }

    #[test]
    fn who_ended_it_is_told_apart() {
        let stopped = |driven, signal| end(Ok(tui::End::Stopped), Ok(driven), signal);
        assert!(matches!(stopped(FeedEnd::TimeUp, None), End::TimeUp));
        assert!(matches!(stopped(FeedEnd::Done, None), End::Done));
        // It came before the screen listened.
        assert!(matches!(stopped(FeedEnd::Done, Some(15)), End::Signal(15)));
        let quit = end(Ok(tui::End::Quit), Ok(FeedEnd::Done), None);
        assert!(matches!(quit, End::Quit));
        let panicked = end(Ok(tui::End::Panicked), Ok(FeedEnd::Done), Some(1));
        assert!(matches!(panicked, End::Broken(_)));
    }
}
