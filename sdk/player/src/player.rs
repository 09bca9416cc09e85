//! The player as the application holds it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nearcast_core::{Command, Memory, SessionError};
use nearcast_protocol::report::SessionReport;
use nearcast_units::{BitRate, MediaTime};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

use crate::builder::{Orders, PlayerBuilder, check_identity};
use crate::driver::{Finished, Order};
use crate::error::PlayerError;
use crate::event::{Events, PlayerEvent};
use crate::network::Network;
use crate::playhead::Playhead;
use crate::snapshot::PlayerSnapshot;
use crate::source::Source;

/// One playback. Cheap to clone; when the last clone is dropped, everything it does ends at once.
/// [`close`](Self::close) ends it in order and tells the backend first.
#[derive(Clone)]
pub struct Player {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) orders: Orders,
    pub(crate) events: broadcast::WeakSender<PlayerEvent>,
    /// Holds the events from the first on until somebody asks for them.
    pub(crate) first_events: Mutex<Option<broadcast::Receiver<PlayerEvent>>>,
    pub(crate) snapshot: watch::Receiver<PlayerSnapshot>,
    pub(crate) finished: watch::Receiver<Option<Arc<Finished>>>,
    pub(crate) playhead: Playhead,
    /// Ends with the player, if it is the player's own.
    pub(crate) own_network: Option<Network>,
    pub(crate) task: Mutex<Option<JoinHandle<()>>>,
    pub(crate) _stop: DropGuard,
}

impl Player {
    /// Begins to make a player.
    pub fn builder(source: Source) -> PlayerBuilder {
        PlayerBuilder::new(source)
    }

    /// Plays on.
    ///
    /// # Errors
    ///
    /// [`PlayerError::Closed`] after the end, [`PlayerError::Busy`] when too many commands wait; as for every
    /// command.
    pub fn play(&self) -> Result<(), PlayerError> {
        self.command(Command::Play)
    }

    /// Holds the picture; loading goes on.
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play).
    pub fn pause(&self) -> Result<(), PlayerError> {
        self.command(Command::Pause)
    }

    /// Goes to a place on the timeline.
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play).
    pub fn seek(&self, to: MediaTime) -> Result<(), PlayerError> {
        self.command(Command::Seek { to })
    }

    /// Uses this video rung only, counted by ascending bit rate from 0; `None` lets the rule choose again.
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play).
    pub fn lock_rung(&self, rung: Option<u16>) -> Result<(), PlayerError> {
        self.command(Command::LockRung { rung })
    }

    /// Uses no video representation above this declared bit rate; `None` removes the cap.
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play).
    pub fn cap_rung(&self, bitrate: Option<BitRate>) -> Result<(), PlayerError> {
        self.command(Command::CapRung { bitrate })
    }

    /// Plays another audio track, by its index in the snapshot; as soon as tracks are known, where they are not yet.
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play).
    pub fn select_audio(&self, track: u16) -> Result<(), PlayerError> {
        self.command(Command::SelectAudio { track })
    }

    /// Shows another subtitle track, by its index in the snapshot, or none; as soon as tracks are known, where they are not yet.
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play).
    pub fn select_text(&self, track: Option<u16>) -> Result<(), PlayerError> {
        self.command(Command::SelectText { track })
    }

    /// Says that the device is on another network: what was learnt about edges no longer holds. Where the network that was left
    /// had an identity, that is remembered; where the new one has, what is remembered of it is taken up
    /// ([`PlayerBuilder::network_identity`] says what identities are good).
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play), and [`PlayerError::InvalidOption`] for an identity that has not 1 to 128 bytes.
    pub fn network_changed(&self, identity: Option<String>) -> Result<(), PlayerError> {
        identity.as_deref().map_or(Ok(()), check_identity)?;
        self.command(Command::NetworkChanged { network: identity })
    }

    /// Says that the application went to the background, or came back.
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play).
    pub fn background(&self, hidden: bool) -> Result<(), PlayerError> {
        self.command(Command::Background { hidden })
    }

    /// Ends playback; the report stays available.
    ///
    /// # Errors
    ///
    /// As for [`play`](Self::play).
    pub fn stop(&self) -> Result<(), PlayerError> {
        self.command(Command::Stop)
    }

    /// Returns events: to the first caller all from the beginning on (the latest 512 of them), to later
    /// callers those from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let first = self
            .inner
            .first_events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let receiver =
            first.or_else(|| self.inner.events.upgrade().map(|events| events.subscribe()));
        Events::new(receiver.unwrap_or_else(|| broadcast::channel(1).1))
    }

    /// Returns how things are now; at most a quarter of a second old.
    #[must_use]
    pub fn snapshot(&self) -> PlayerSnapshot {
        self.inner.snapshot.borrow().clone()
    }

    /// Returns snapshots as they are made, the latest kept.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<PlayerSnapshot> {
        self.inner.snapshot.clone()
    }

    /// Returns the playhead, to show pictures and subtitles by.
    #[must_use]
    pub fn playhead(&self) -> Playhead {
        self.inner.playhead.clone()
    }

    /// Waits until playback has ended, by itself or by [`stop`](Self::stop).
    ///
    /// # Errors
    ///
    /// [`PlayerError::Playback`] when it failed.
    ///
    /// # Cancel safety
    ///
    /// Playback goes on when the future is dropped.
    pub async fn ended(&self) -> Result<(), PlayerError> {
        let finished = self.finished().await.ok_or(PlayerError::Closed)?;
        match &finished.report.error {
            Some(error) => {
                let (code, message) = (error.code.clone(), error.message.clone());
                Err(PlayerError::Playback(SessionError { code, message }))
            }
            None => Ok(()),
        }
    }

    /// Returns the session report so far, or the final one after the end.
    ///
    /// # Errors
    ///
    /// [`PlayerError::Closed`] when the player was torn down.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn report(&self) -> Result<SessionReport, PlayerError> {
        self.ask(Order::Report, |finished| finished.report.clone())
            .await
    }

    /// Returns what is to be remembered for the next session ([`PlayerBuilder::memory`]): what this one was given, and what it
    /// has found so far of the networks that it was told the identity of. The application keeps it, as JSON for instance: it
    /// can be serialised. It has names of edges, rates in bit/s, round trips in milliseconds, times in seconds since the Unix
    /// epoch, and at most 16 networks with 32 edges each. It fades by half in a day. What a file says in its place may be anything: what
    /// cannot be is dropped.
    ///
    /// ```no_run
    /// # async fn example(kept: &str, source: nearcast_player::Source) -> Result<String, Box<dyn std::error::Error>> {
    /// use nearcast_player::Player;
    ///
    /// let builder = Player::builder(source)
    ///     .network_identity("sha256:5f1c")
    ///     .memory(serde_json::from_str(kept).unwrap_or_default());
    /// let player = builder.start()?;
    /// player.ended().await?;
    /// let keep = serde_json::to_string(&player.memory().await?)?;
    /// # Ok(keep)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PlayerError::Closed`] when the player was torn down.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn memory(&self) -> Result<Memory, PlayerError> {
        self.ask(Order::Memory, |finished| finished.memory.clone())
            .await
    }

    /// Asks the driver for something; after the end, takes it from what is left.
    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
        of: impl Fn(&Finished) -> T,
    ) -> Result<T, PlayerError> {
        let finished = self.inner.finished.borrow().clone();
        if let Some(finished) = finished {
            return Ok(of(&finished));
        }
        let (to, answer) = oneshot::channel();
        if self.inner.orders.0.send(order(to)).await.is_ok()
            && let Ok(answer) = answer.await
        {
            return Ok(answer);
        }
        // It ended meanwhile.
        let finished = self.finished().await.ok_or(PlayerError::Closed)?;
        Ok(of(&finished))
    }

    /// Ends playback in order: the last telemetry is sent, connections are closed, tasks and threads have
    /// ended when this returns. It waits two seconds at most where the backend does not answer, and one more
    /// where a sink does not return, whose thread is then left behind. Just after the last segment was shown,
    /// decoders give their last first: ten seconds at most, where a sink takes its time.
    ///
    /// # Errors
    ///
    /// [`PlayerError::Closed`] when the player was torn down before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the player ending; dropping the player then ends it at once.
    pub async fn close(self) -> Result<SessionReport, PlayerError> {
        match self.stop() {
            Ok(()) | Err(PlayerError::Closed) => {}
            Err(_) => {
                self.inner
                    .orders
                    .0
                    .send(Order::Command(Command::Stop))
                    .await
                    .map_err(|_| PlayerError::Closed)?;
            }
        }
        let finished = self.finished().await;
        let task = self
            .inner
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task
            && tokio::time::timeout(CLOSE_MAX, task).await.is_err()
        {
            tracing::debug!("the player did not end in time");
        }
        if let Some(network) = &self.inner.own_network {
            network.close().await;
        }
        finished
            .map(|finished| finished.report.clone())
            .ok_or(PlayerError::Closed)
    }

    fn command(&self, command: Command) -> Result<(), PlayerError> {
        self.inner
            .orders
            .0
            .try_send(Order::Command(command))
            .map_err(|error| match error {
                TrySendError::Full(_) => PlayerError::Busy,
                TrySendError::Closed(_) => PlayerError::Closed,
            })
    }

    async fn finished(&self) -> Option<Arc<Finished>> {
        let mut finished = self.inner.finished.clone();
        finished.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// Telemetry has two seconds of its own within this, sinks have one.
const CLOSE_MAX: Duration = Duration::from_secs(5);

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player")
            .field("position", &self.inner.playhead.position())
            .finish_non_exhaustive()
    }
}
