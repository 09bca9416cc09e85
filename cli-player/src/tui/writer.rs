//! Frames on their way to the terminal, on a thread of their own.
//!
//! A pty pushes back: when the terminal is slow, a write waits. The loop must not wait with it, so it
//! draws the next frame only when the last one is out, and the frames between are never made.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Writes one frame at a time.
#[derive(Debug)]
pub(super) struct FrameWriter {
    frames: Option<SyncSender<Vec<u8>>>,
    ended: Receiver<()>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    busy: AtomicBool,
    failed: AtomicBool,
}

impl FrameWriter {
    /// Starts the thread; `write` writes one whole frame and may block.
    pub(super) fn start(
        mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        // One frame waits at most: the next is made when this one is out.
        let (frames, inbox) = sync_channel::<Vec<u8>>(1);
        let (end, ended) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || {
                while let Ok(frame) = inbox.recv() {
                    if write(&frame).is_err() {
                        of_thread.failed.store(true, Ordering::Release);
                        break;
                    }
                    of_thread.busy.store(false, Ordering::Release);
                }
                drop(end);
            })?;
        Ok(Self {
            frames: Some(frames),
            ended,
            shared,
        })
    }

    /// Tells whether a frame may be sent.
    pub(super) fn is_idle(&self) -> bool {
        !self.shared.busy.load(Ordering::Acquire)
    }

    /// Tells whether the terminal is gone.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Sends a frame; only when idle.
    pub(super) fn send(&self, frame: Vec<u8>) {
        self.shared.busy.store(true, Ordering::Release);
        let sent = self.frames.as_ref().map(|frames| frames.try_send(frame));
        if !matches!(sent, Some(Ok(()))) {
            self.shared.failed.store(true, Ordering::Release);
        }
    }

    /// Ends the thread and waits until the last frame is out, but not for a terminal that takes nothing.
    pub(super) fn finish(&mut self, patience: Duration) {
        self.frames = None;
        // Either way the terminal is given back next.
        self.ended.recv_timeout(patience).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_pushes_back_makes_the_writer_busy_not_the_caller() {
        let (gate, opens) = sync_channel::<()>(0);
        let (wrote, written) = sync_channel(8);
        let writer = FrameWriter::start(move |frame| {
            wrote.send(frame.to_vec()).map_err(io::Error::other)?;
            opens.recv().map_err(io::Error::other)
        })
        .unwrap();
        assert!(writer.is_idle());
        writer.send(b"one".to_vec());
        assert_eq!(written.recv().unwrap(), b"one");
        assert!(!writer.is_idle(), "the write has begun and does not end");
        gate.send(()).unwrap();
        let patience = std::iter::repeat_n((), 10_000);
        assert!(patience.into_iter().any(|()| {
            std::thread::yield_now();
            writer.is_idle()
        }));
        drop(gate);
        writer.send(b"two".to_vec());
        assert_eq!(written.recv().unwrap(), b"two");
        let mut writer = writer;
        writer.finish(Duration::from_secs(10));
        assert!(writer.has_failed(), "a terminal that is gone is noticed");
    }
}
