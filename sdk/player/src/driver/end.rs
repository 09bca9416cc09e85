//! The end: last frames, last words, the report.

use std::sync::Arc;
use std::time::Duration;

use nearcast_core::PlayState;
use nearcast_protocol::manifest::TrackKind;
use tokio::sync::broadcast;

use super::inbox::Happened;
use super::{Driver, FLUSH_MAX, Finished, TICK};
use crate::event::EventKind;

/// How long decoders may take to give their last frames at the end.
const DRAIN_MAX: Duration = Duration::from_secs(10);

impl Driver {
    /// Whether a decoder has frames left to give.
    fn is_draining(&self) -> bool {
        let done = |kind| self.drained.contains(&kind) || self.failed.contains(&kind);
        let left = |kind| self.pump.decodes(kind) && !done(kind);
        left(TrackKind::Video) || left(TrackKind::Audio)
    }

    /// Does what is left to do once the session is over.
    pub(super) async fn finish(&mut self) {
        if *self.qoe.state() == PlayState::Ended {
            self.pump.wind_up();
            let until = crate::clock::after(DRAIN_MAX);
            while self.is_draining() {
                self.wake = self.pump.finish();
                let retry = crate::clock::after(self.wake.after.unwrap_or(TICK)).min(until);
                let happened = self.inbox.next(retry).await;
                let timed_out = matches!(happened, Happened::Due) && retry == until;
                self.happened(happened);
                self.pending.clear();
                if timed_out {
                    tracing::debug!("a decoder did not give its last frames in time");
                    break;
                }
            }
            if self.pump.outputs().samples.is_some() {
                self.pump.finish();
            }
        }
        if let Err(error) = self.recorder.finish() {
            self.tell(EventKind::RecordingFailed {
                message: error.to_string(),
            });
        }
        self.publish();
        let report = self.report();
        let memory = self.session.memory();
        let finished = Finished { report, memory };
        self.finished.send_replace(Some(Arc::new(finished)));
        // The application hears that there are no more events before the backend hears the last of them.
        self.events = broadcast::channel(1).0;
        let history = self.history();
        let farewell = async {
            if let Some(history) = history {
                history.await;
            }
        };
        let sender = self.sender.take();
        let flush = async {
            if let Some(sender) = sender {
                sender.close(FLUSH_MAX).await;
            }
        };
        if tokio::time::timeout(FLUSH_MAX, async { tokio::join!(farewell, flush) })
            .await
            .is_err()
        {
            tracing::debug!("the backend did not hear of the end in time");
        }
        // A decoder that waits to be heard goes out instead.
        self.inbox.close_decoders();
        self.pump.shut_down().await;
    }
}
