//! What the threads of both tracks have in common: what waits for them, what holds at once, how they wait and how
//! they end.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nearcast_protocol::manifest::TrackKind;
use tokio::sync::mpsc;

use super::{DecoderNote, WORK_MAX, locked};

/// The driver's side: `W` waits in a channel, `S` holds at once, past everything that waits.
pub(super) struct DecoderThread<W, S> {
    work: SyncSender<W>,
    steering: Arc<Mutex<Steering<S>>>,
    /// `None` when it was given away.
    joining: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Steering<S> {
    stop: bool,
    holds: S,
}

impl<W: Send + 'static, S: Default + Send + 'static> DecoderThread<W, S> {
    /// Runs `worker` on a thread; when it panics, its track counts as failed.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn spawn(
        track: TrackKind,
        notes: mpsc::Sender<DecoderNote>,
        worker: impl FnOnce(Station<W, S>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (work, receiver) = sync_channel(WORK_MAX);
        let steering = Arc::new(Mutex::new(Steering::default()));
        let alarm = Alarm {
            notes: notes.clone(),
            track,
        };
        let station = Station {
            work: receiver,
            steering: steering.clone(),
            notes,
        };
        let name = match track {
            TrackKind::Video => "nearcast-video",
            TrackKind::Audio => "nearcast-audio",
            TrackKind::Text => "nearcast-text",
        };
        let joining = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _alarm = alarm;
                worker(station);
            })?;
        Ok(Self {
            work,
            steering,
            joining: Some(joining),
        })
    }

    /// Changes what holds.
    pub(super) fn steer(&self, change: impl FnOnce(&mut S)) {
        change(&mut locked(&self.steering).holds);
        self.wake();
    }

    /// Has the thread look around.
    pub(super) fn wake(&self) {
        if let Some(joining) = &self.joining {
            joining.thread().unpark();
        }
    }

    /// Returns whether there was room.
    pub(super) fn send(&self, work: W) -> bool {
        match self.work.try_send(work) {
            Ok(()) => {
                self.wake();
                true
            }
            Err(TrySendError::Full(_)) => false,
            // It has panicked and said so: playback goes on without.
            Err(TrySendError::Disconnected(_)) => true,
        }
    }
}

impl<W, S> DecoderThread<W, S> {
    #[cfg(feature = "video")]
    pub(super) fn has_ended(&self) -> bool {
        self.joining.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the thread and returns it, to be waited for.
    pub(super) fn into_thread(mut self) -> Option<JoinHandle<()>> {
        self.stop();
        self.joining.take()
    }

    fn stop(&self) {
        locked(&self.steering).stop = true;
        if let Some(joining) = &self.joining {
            joining.thread().unpark();
        }
    }
}

impl<W, S> Drop for DecoderThread<W, S> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells of a panic, which leaves a sink or decoder behind that nobody drives any more.
struct Alarm {
    notes: mpsc::Sender<DecoderNote>,
    track: TrackKind,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let note = DecoderNote::SinkFailed {
                track: self.track,
                message: "its thread panicked".to_owned(),
            };
            // If the driver has gone, nobody waits for it.
            self.notes.blocking_send(note).ok();
        }
    }
}

/// The thread's side.
pub(super) struct Station<W, S> {
    work: Receiver<W>,
    steering: Arc<Mutex<Steering<S>>>,
    notes: mpsc::Sender<DecoderNote>,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Out,
}

impl<W, S> Station<W, S> {
    /// Reads what holds; `None` when the thread is to end.
    pub(super) fn look<T>(&self, read: impl FnOnce(&mut S) -> T) -> Option<T> {
        let mut steering = locked(&self.steering);
        (!steering.stop).then(|| read(&mut steering.holds))
    }

    /// Returns what waits; if nothing does, returns after `wait` at the latest (`None`: whenever it may be), and
    /// sooner for no reason at all: look around, then call again.
    pub(super) fn next_work(&self, wait: Option<Duration>) -> Result<Option<W>, Go> {
        match self.work.try_recv() {
            Ok(work) => Ok(Some(work)),
            Err(TryRecvError::Disconnected) => Err(Go::Out),
            Err(TryRecvError::Empty) => {
                Self::wait(wait);
                Ok(None)
            }
        }
    }

    /// Waits until woken. Whoever wakes the thread changes something first, so that nothing is missed as long as
    /// everything is looked at before the next call.
    pub(super) fn wait(span: Option<Duration>) {
        match span {
            Some(span) => std::thread::park_timeout(span),
            None => std::thread::park(),
        }
    }

    /// Tells the driver, and waits until it has room to hear.
    pub(super) fn note(&self, note: DecoderNote) -> Go {
        if self.notes.blocking_send(note).is_ok() {
            Go::On
        } else {
            Go::Out
        }
    }

    /// Tells the driver, unless it is too busy to hear.
    pub(super) fn try_note(&self, note: DecoderNote) {
        self.notes.try_send(note).ok();
    }
}
