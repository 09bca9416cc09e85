//! What the threads of both tracks have in common: what waits for them, what holds at once, how they wait and how
//! they end.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nearcast_core::Epoch;
use nearcast_media::Sample;
use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::MediaTime;
use tokio::sync::mpsc;

use super::flush::{Flush, Flushes};
use super::{DecoderNote, Feed, Source, WORK_MAX, locked};

/// What waits for a thread.
pub(super) enum Work {
    Format(Source),
    Sample {
        generation: u32,
        epoch: Epoch,
        object: ObjectKey,
        sample: Sample,
    },
    End {
        generation: u32,
    },
}

/// What holds at once for either track, past everything that waits.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Counts flushes.
    pub(super) generation: u32,
    /// Since the thread last looked.
    pub(super) flushes: Flushes,
    /// What is presented before is only for decoding.
    pub(super) begin: Option<MediaTime>,
    /// Playback has ended: nothing more becomes due.
    pub(super) is_over: bool,
}

/// The driver's side: work waits in a channel, the course and `S` hold at once.
pub(super) struct DecoderThread<S> {
    work: SyncSender<Work>,
    steering: Arc<Mutex<Steering<S>>>,
    generation: u32,
    /// `None` when it was given away.
    joining: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Steering<S> {
    stop: bool,
    course: Course,
    holds: S,
}

impl<S: Default + Send + 'static> DecoderThread<S> {
    /// Runs `worker` on a thread; when it panics, its track counts as failed.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn spawn(
        track: TrackKind,
        notes: mpsc::Sender<DecoderNote>,
        worker: impl FnOnce(Station<S>) + Send + 'static,
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
            generation: 0,
            joining: Some(joining),
        })
    }

    /// Changes what holds.
    pub(super) fn steer(&self, change: impl FnOnce(&mut S)) {
        change(&mut locked(&self.steering).holds);
        self.wake();
    }

    /// What is presented before `from` is only for decoding.
    pub(super) fn begin(&self, from: MediaTime) {
        locked(&self.steering).course.begin = Some(from);
        self.wake();
    }

    /// Forgets what is presented from `from` on, or everything.
    pub(super) fn flush(&mut self, from: MediaTime, everything: bool) {
        self.generation = self.generation.wrapping_add(1);
        let course = &mut locked(&self.steering).course;
        course.generation = self.generation;
        course.flushes.add(Flush {
            generation: self.generation,
            from,
            everything,
        });
        self.wake();
    }

    /// Playback has ended: what is not due now never will be.
    pub(super) fn finish(&self) {
        locked(&self.steering).course.is_over = true;
        self.wake();
    }

    /// Has the thread look around.
    pub(super) fn wake(&self) {
        if let Some(joining) = &self.joining {
            joining.thread().unpark();
        }
    }

    /// Returns whether there was room.
    fn send(&self, work: Work) -> bool {
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

impl<S: Default + Send + 'static> Feed for DecoderThread<S> {
    fn format(&mut self, source: Source) -> bool {
        self.send(Work::Format(source))
    }

    fn sample(&mut self, epoch: Epoch, object: ObjectKey, sample: &Sample) -> bool {
        self.send(Work::Sample {
            generation: self.generation,
            epoch,
            object,
            sample: sample.clone(),
        })
    }

    fn end(&mut self) -> bool {
        self.send(Work::End {
            generation: self.generation,
        })
    }
}

impl<S> DecoderThread<S> {
    #[cfg(feature = "video")]
    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

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

impl<S> Drop for DecoderThread<S> {
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
pub(super) struct Station<S> {
    work: Receiver<Work>,
    steering: Arc<Mutex<Steering<S>>>,
    notes: mpsc::Sender<DecoderNote>,
}

/// Rare enough to cost nothing, soon enough for a pause that ends late.
const LOOK_AROUND_MAX: Duration = Duration::from_millis(250);

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Out,
}

impl<S> Station<S> {
    /// Reads what holds; `None` when the thread is to end.
    pub(super) fn look<T>(&self, read: impl FnOnce(&mut S) -> T) -> Option<(Course, T)> {
        let mut steering = locked(&self.steering);
        let course = Course {
            flushes: std::mem::take(&mut steering.course.flushes),
            begin: steering.course.begin.take(),
            ..steering.course
        };
        (!steering.stop).then(|| (course, read(&mut steering.holds)))
    }

    /// Returns what waits; if nothing does, returns after `wait` at the latest (`None`: whenever it may be), and
    /// sooner for no reason at all: look around, then call again.
    pub(super) fn next_work(&self, wait: Option<Duration>) -> Result<Option<Work>, Go> {
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
    /// everything is looked at before the next call, save what a sink that parks the thread itself, as channels do,
    /// took for its own: that is seen after [`LOOK_AROUND_MAX`].
    pub(super) fn wait(span: Option<Duration>) {
        std::thread::park_timeout(span.unwrap_or(LOOK_AROUND_MAX));
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
