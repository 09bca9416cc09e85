//! Subtitles that nobody has: playback goes on without a piece of them, or without them.

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};

use crate::action::CancelReason;
use crate::event::{DecisionKind, SessionError};
use crate::session::Session;
use crate::timeline::Place;

/// Subtitles that lack more pieces than this are no subtitles.
const TEXT_HOLES_MAX: usize = 3;
impl Session {
    /// A piece of the subtitles is left out; when too many are, or they cannot be read at all, the period has none.
    pub(super) fn go_on_without_cues(&mut self, object: ObjectKey, error: &SessionError) {
        if let ObjectKey::Media(key, _) = object
            && self.wrongs.pieces_missing(key) <= TEXT_HOLES_MAX
        {
            let chosen = alloc::format!("without a piece of the subtitles ({})", error.code);
            let why = "it cannot be had";
            return self.decide(DecisionKind::Failover, chosen, why, &[]);
        }
        if let Some(fetching) = self.track_mut(TrackKind::Text).fetching.take() {
            self.abandon(fetching.fetch, CancelReason::Superseded);
        }
        // What was not handed on will not be.
        while let Some(last) = self.track(TrackKind::Text).buffered.back().copied()
            && !last.handed_on
        {
            self.drop_from(TrackKind::Text, last.start, CancelReason::Superseded);
        }
        self.track_mut(TrackKind::Text).chosen = None;
        let why = "they cannot be had: playback goes on without them";
        self.decide(
            DecisionKind::Failover,
            alloc::format!("no subtitles ({})", error.code),
            why,
            &[],
        );
    }

    /// Steps over a piece of the subtitles that nobody has, or leaves the track where nothing of it can be read.
    pub(in crate::session) fn step_over_missing_cues(&mut self) {
        let track = self.track(TrackKind::Text);
        let (Some(timeline), Some(chosen)) = (&self.timeline, track.chosen) else {
            return;
        };
        let key = RepresentationKey {
            period: track.period,
            track: chosen,
            representation: 0,
        };
        if let Place::Segment { index, segment } = timeline.place(key, track.next)
            && self.wrongs.missing.contains(&ObjectKey::Media(key, index))
        {
            self.track_mut(TrackKind::Text).next = segment.start + segment.duration;
            return;
        }
        self.track_mut(TrackKind::Text).chosen = None;
        let why = "they could not be had before: playback goes on without them";
        self.decide(DecisionKind::Failover, "no subtitles".into(), why, &[]);
    }
}
