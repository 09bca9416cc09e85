//! What only the running player knows of a session report: the machine, the frames, the names.

use nearcast_protocol::report::{FrameReport, PlayerName, SessionReport};

use crate::machine::{self, Lateness};

/// What is added to the session's own report.
#[derive(Clone, Debug)]
pub(crate) struct Additions {
    pub(crate) player: PlayerName,
    pub(crate) source: String,
    pub(crate) frames: Option<FrameReport>,
    pub(crate) cpu_at_load: Option<std::time::Duration>,
    pub(crate) lateness: Lateness,
}

impl Additions {
    pub(crate) fn complete(&self, mut report: SessionReport) -> SessionReport {
        report.player = self.player.clone();
        report.content.source.clone_from(&self.source);
        if let Some(frames) = &self.frames {
            report.frames = frames.clone();
        }
        report.cpu_s = machine::cpu_time().map(|cpu| {
            cpu.saturating_sub(self.cpu_at_load.unwrap_or_default())
                .as_secs_f64()
        });
        report.peak_rss_bytes = machine::peak_rss_bytes();
        report.busy = self.lateness.busy();
        report
    }
}
