//! What is buffered and what comes next, per track. Places objects on the playhead's way; how they are
//! obtained is `fetch`'s business.

use alloc::collections::VecDeque;
use core::time::Duration;

use nearcast_protocol::manifest::{RepresentationKey, TrackKind};
use nearcast_units::{ByteCount, MediaTime};

use crate::input::{Epoch, FetchId};
use crate::timeline::TrackWish;

/// One track of the session: what the viewer wants of it, what is buffered, what is on its way.
#[derive(Debug)]
pub(crate) struct TrackState {
    pub(crate) kind: TrackKind,
    pub(crate) wish: TrackWish,
    /// What the viewer chose before the tracks were known, as it was said.
    pub(crate) early: Option<Option<u16>>,
    /// Index of the chosen track in the period that `next` lies in; `None` when there is none.
    pub(crate) chosen: Option<u16>,
    /// Period of the next segment.
    pub(crate) period: u16,
    /// Presentation time of the next segment to fetch.
    pub(crate) next: MediaTime,
    /// No segment is left.
    pub(crate) over: bool,
    /// Completed segments in order, from the one that is shown on.
    pub(crate) buffered: VecDeque<Buffered>,
    /// The media fetch in flight.
    pub(crate) fetching: Option<Fetching>,
    /// The one in flight that is to take a buffered segment's place; never beside the other.
    pub(crate) replacing: Option<Replacing>,
    /// Representation of the last segment decided on.
    pub(crate) last: Option<RepresentationKey>,
    /// Whether the end was said to the sink.
    pub(crate) end_said: bool,
}

/// A completed segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffered {
    pub(crate) fetch: FetchId,
    pub(crate) key: RepresentationKey,
    pub(crate) index: u32,
    pub(crate) start: MediaTime,
    pub(crate) end: MediaTime,
    pub(crate) bytes: ByteCount,
    pub(crate) handed_on: bool,
    /// When it came, or was taken back from the sinks last: what is heard of it from before means another, or is said
    /// again.
    pub(crate) since: Epoch,
}

/// A segment on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetching {
    pub(crate) fetch: FetchId,
    pub(crate) key: RepresentationKey,
    pub(crate) index: u32,
    pub(crate) start: MediaTime,
    pub(crate) end: MediaTime,
    /// It is handed on while it arrives.
    pub(crate) part: Option<Part>,
}

/// A better picture of a buffered segment on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replacing {
    pub(crate) fetch: FetchId,
    pub(crate) key: RepresentationKey,
    /// The buffered segment whose place it is to take, by the fetch that brought it.
    pub(crate) instead_of: FetchId,
}

/// What the sinks have of a segment that still arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// When it was handed on: what is heard of it from before means another.
    pub(crate) since: Epoch,
    /// What there is to be shown of it ends here.
    pub(crate) until: MediaTime,
}

/// Boundaries of different representations differ by less than a frame.
const MEETS: Duration = Duration::from_millis(20);
/// Two segments that meet within this are contiguous (rounding of timescales, audio frames).
pub(crate) const GAP: Duration = Duration::from_millis(120);

impl TrackState {
    pub(crate) fn new(kind: TrackKind, wish: TrackWish) -> Self {
        Self {
            kind,
            wish,
            early: None,
            chosen: None,
            period: 0,
            next: MediaTime::ZERO,
            over: false,
            buffered: VecDeque::new(),
            fetching: None,
            replacing: None,
            last: None,
            end_said: false,
        }
    }

    /// Whether playback has to wait for this track.
    pub(crate) fn counts(&self) -> bool {
        self.chosen.is_some() && self.kind != TrackKind::Text
    }

    /// Returns up to where complete segments are buffered without a gap from `playhead` on; `playhead` when none is.
    pub(crate) fn buffered_end(&self, playhead: MediaTime) -> MediaTime {
        let mut end = playhead;
        for segment in &self.buffered {
            if segment.end <= playhead {
                continue;
            }
            if segment.start > end + GAP {
                break;
            }
            end = end.max(segment.end);
        }
        end
    }

    /// Returns up to where there is media without a gap from `playhead` on, what can be shown of an arriving segment
    /// included.
    pub(crate) fn contiguous_end(&self, playhead: MediaTime) -> MediaTime {
        let end = self.buffered_end(playhead);
        self.fetching
            .filter(|fetching| fetching.start <= end + GAP)
            .and_then(|fetching| fetching.part)
            .map_or(end, |part| end.max(part.until))
    }

    /// Returns the buffer level: media playable after the playhead.
    pub(crate) fn level(&self, playhead: MediaTime) -> Duration {
        self.contiguous_end(playhead).since(playhead)
    }

    pub(crate) fn bytes(&self) -> ByteCount {
        self.buffered.iter().map(|segment| segment.bytes).sum()
    }

    /// Whether everything up to the end of the track is buffered.
    pub(crate) fn complete(&self) -> bool {
        self.over && self.fetching.is_none()
    }

    /// Takes out segments that were shown.
    pub(crate) fn pop_shown(&mut self, playhead: MediaTime) -> Option<Buffered> {
        // Kept a moment longer, so that a sink that is a little behind still finds its samples.
        let shown = self
            .buffered
            .front()
            .is_some_and(|segment| segment.handed_on && segment.end + SHOWN_MARGIN <= playhead);
        if shown {
            self.buffered.pop_front()
        } else {
            None
        }
    }

    /// Puts a completed segment in its place, and goes on behind what lies there already. Of two that begin together, as those of rungs
    /// that are cut differently may, the shorter one comes first.
    pub(crate) fn put(&mut self, segment: Buffered) {
        let place = self
            .buffered
            .partition_point(|one| (one.start, one.end) < (segment.start, segment.end));
        self.buffered.insert(place, segment);
        self.skip_buffered();
    }

    /// Takes a segment that is not over at `playhead` out of the middle; it is fetched again, after what comes before
    /// it.
    pub(crate) fn take_out(
        &mut self,
        epoch: Epoch,
        key: RepresentationKey,
        index: u32,
        playhead: MediaTime,
    ) -> Option<Buffered> {
        let place = self.buffered.iter().position(|one| {
            (one.key, one.index) == (key, index) && epoch >= one.since && one.end > playhead
        })?;
        let taken = self.buffered.remove(place)?;
        self.go_back_to(taken.start, key);
        Some(taken)
    }

    /// What begins here is fetched next, unless something before it is; within its period the viewer's choice stays.
    pub(crate) fn go_back_to(&mut self, start: MediaTime, key: RepresentationKey) {
        if start < self.next {
            self.next = start;
            self.over = false;
            if self.period != key.period {
                self.period = key.period;
                self.chosen = Some(key.track);
            }
        }
    }

    /// Whether a media fetch of this track is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        self.fetching.is_some() || self.replacing.is_some()
    }

    /// Returns the segment that a replacement is for, if it can still take its place.
    pub(crate) fn replaceable(&self, playhead: MediaTime, by: &Replacing) -> Option<Buffered> {
        let held = self
            .buffered
            .iter()
            .find(|held| held.fetch == by.instead_of)?;
        (held.start >= playhead + REPLACE_AHEAD).then_some(*held)
    }

    /// Puts another rung of a buffered segment into its place; returns where the segment before it ends.
    pub(crate) fn swap(
        &mut self,
        by: &Replacing,
        index: u32,
        bytes: ByteCount,
        since: Epoch,
    ) -> MediaTime {
        let mut before = MediaTime::from_micros(i64::MIN);
        let is_last = self
            .buffered
            .back()
            .is_some_and(|last| last.fetch == by.instead_of);
        for held in &mut self.buffered {
            if held.fetch == by.instead_of {
                (held.fetch, held.key, held.index, held.bytes) = (by.fetch, by.key, index, bytes);
                (held.handed_on, held.since) = (false, since);
                break;
            }
            before = held.end;
        }
        if is_last && self.fetching.is_none() {
            self.last = Some(by.key);
        }
        before
    }

    /// Whether the segment may be handed on: nothing that comes before it is still to be fetched.
    pub(crate) fn is_next_in_line(&self, segment: &Buffered) -> bool {
        segment.start < self.next
            && self
                .fetching
                .is_none_or(|fetching| segment.start < fetching.start)
    }

    /// What is fetched next begins behind what is buffered already.
    pub(crate) fn skip_buffered(&mut self) {
        for held in &self.buffered {
            if held.start <= self.next + MEETS && held.end > self.next + MEETS {
                self.next = held.end;
                if self.period != held.key.period {
                    self.period = held.key.period;
                    self.chosen = Some(held.key.track);
                }
            }
        }
    }

    /// Takes out the last segment that begins at or after `from`.
    pub(crate) fn pop_from(&mut self, from: MediaTime) -> Option<Buffered> {
        let later = self
            .buffered
            .back()
            .is_some_and(|segment| segment.start >= from);
        if later {
            self.buffered.pop_back()
        } else {
            None
        }
    }
}

/// What is shown sooner than this stays as it is: decoders have begun with it.
pub(crate) const REPLACE_AHEAD: Duration = Duration::from_secs(3);
const SHOWN_MARGIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: i64) -> MediaTime {
        MediaTime::from_micros(n * 1_000_000)
    }

    fn track(spans: &[(i64, i64)]) -> TrackState {
        let mut track = TrackState::new(TrackKind::Video, TrackWish::default());
        for (index, &(start, end)) in spans.iter().enumerate() {
            track.buffered.push_back(Buffered {
                fetch: FetchId(1),
                key: RepresentationKey {
                    period: 0,
                    track: 0,
                    representation: 0,
                },
                index: u32::try_from(index).unwrap(),
                start: seconds(start),
                end: seconds(end),
                bytes: ByteCount::new(100),
                handed_on: true,
                since: Epoch(0),
            });
        }
        track
    }

    #[test]
    fn the_level_ends_at_a_gap() {
        let track = track(&[(0, 4), (4, 8), (12, 16)]);
        assert_eq!(track.level(seconds(1)), Duration::from_secs(7));
        assert_eq!(track.level(seconds(9)), Duration::ZERO);
        assert_eq!(track.level(seconds(13)), Duration::from_secs(3));
    }

    #[test]
    fn what_was_shown_or_is_spoken_of_from_before_it_came_is_not_taken_out() {
        let mut track = track(&[(0, 4), (4, 8)]);
        track.next = seconds(8);
        for segment in &mut track.buffered {
            segment.since = Epoch(2);
        }
        let key = track.buffered[0].key;
        assert!(track.take_out(Epoch(2), key, 0, seconds(4)).is_none());
        assert!(track.take_out(Epoch(1), key, 1, seconds(4)).is_none());
        assert_eq!(track.next, seconds(8));
        assert!(track.take_out(Epoch(2), key, 1, seconds(4)).is_some());
        assert_eq!(track.next, seconds(4));
    }

    #[test]
    fn a_hole_that_is_found_later_is_filled_after_the_one_before_it() {
        let mut track = track(&[(0, 4), (4, 8), (8, 12)]);
        track.next = seconds(12);
        let key = track.buffered[0].key;
        for (index, next) in [(1, 4), (2, 4), (0, 0)] {
            assert!(track.take_out(Epoch(0), key, index, seconds(0)).is_some());
            assert_eq!(track.next, seconds(next));
        }
    }

    #[test]
    fn a_hole_in_the_period_before_keeps_the_viewers_choice_in_its_own() {
        let mut track = track(&[(0, 4)]);
        let key = track.buffered[0].key;
        (track.next, track.chosen) = (seconds(4), Some(3));
        track.go_back_to(seconds(0), key);
        assert_eq!(track.chosen, Some(3), "of the same period");
        (track.next, track.period) = (seconds(4), 1);
        track.go_back_to(seconds(0), key);
        assert_eq!((track.period, track.chosen), (0, Some(0)));
    }

    #[test]
    fn of_segments_that_begin_together_the_shorter_one_comes_first() {
        let mut track = track(&[(0, 2)]);
        let short = track.buffered[0];
        for end in [4, 1] {
            let end = seconds(end);
            track.put(Buffered { end, ..short });
        }
        let ends: alloc::vec::Vec<_> = track.buffered.iter().map(|one| one.end).collect();
        assert_eq!(ends, [1, 2, 4].map(seconds));
        assert_eq!(track.next, seconds(4));
    }

    #[test]
    fn shown_segments_leave_in_order() {
        let mut track = track(&[(0, 4), (4, 8)]);
        assert!(track.pop_shown(seconds(4)).is_none());
        assert_eq!(track.pop_shown(seconds(5)).map(|one| one.index), Some(0));
        assert!(track.pop_shown(seconds(5)).is_none());
        assert_eq!(track.bytes(), ByteCount::new(100));
    }
}
