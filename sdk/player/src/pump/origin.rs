//! Where the media of an HLS title begins: a playlist does not say (RFC 8216, section 3), and what was cut out of a
//! live stream begins hours after zero. The first segment that is taken apart tells, for all tracks.

use nearcast_media::Sample;
use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::MediaTime;

use super::Facts;
use super::place::{MISPLACED, Place, SLACK_MIN};

/// How far media times lie behind the timeline's. An HLS title has one period: a discontinuity is refused.
#[derive(Debug, Default)]
pub(super) struct Origin {
    word: Word,
    /// The segment whose word was the wrong one.
    wrong: Option<ObjectKey>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Word {
    #[default]
    None,
    /// One segment says so. It may be the wrong one.
    Told { by: ObjectKey, shift_us: i64 },
    /// Another one lies where it should.
    Agreed {
        shift_us: i64,
        /// The latest one does not.
        denied_by: Option<ObjectKey>,
    },
}

impl Origin {
    /// Returns what to take off the times of a segment, the first sample of which is `first`.
    pub(super) fn of_segment(&mut self, object: ObjectKey, facts: &Facts, first: &Sample) -> i64 {
        let Some(place) = facts.place.filter(|_| facts.origin_unknown) else {
            return 0;
        };
        let first = first.pts + first.trim_start;
        let own_us = own_shift(place, first);
        let shift_us = match self.word {
            // Those that agree that there is none may all be off by it: only where the title begins it shows.
            Word::Agreed { shift_us: 0, .. }
                if place.start == MediaTime::ZERO && own_us != 0 && place.may_begin(first) =>
            {
                own_us
            }
            Word::Agreed { shift_us, .. } => return shift_us,
            Word::Told { by, shift_us } if by != object => {
                // Where neither fits it is told to be misplaced, and comes anew.
                if place.may_begin(shifted(first, shift_us)) || !place.may_begin(first) {
                    return shift_us;
                }
                // This one and the playlist agree without any shift.
                self.wrong = Some(by);
                0
            }
            Word::None | Word::Told { .. } => own_us,
        };
        self.word = Word::Told {
            by: object,
            shift_us,
        };
        shift_us
    }

    /// A segment lies where it should, or does not. What only one says is forgotten when the next denies it: either
    /// may be the wrong one, and the latter comes anew. What two say is forgotten when two others in a row deny it.
    pub(super) fn settle(&mut self, object: ObjectKey, checked: Result<(), &'static str>) {
        let fits = match checked {
            Ok(()) => true,
            Err(MISPLACED) => false,
            Err(_) => return,
        };
        match &mut self.word {
            Word::None => {}
            Word::Told { by, shift_us } if fits => {
                if *by != object {
                    self.word = Word::Agreed {
                        shift_us: *shift_us,
                        denied_by: None,
                    };
                }
            }
            Word::Agreed { denied_by, .. } if fits || denied_by.is_none_or(|by| by == object) => {
                *denied_by = (!fits).then_some(object);
            }
            Word::Told { .. } | Word::Agreed { .. } => self.word = Word::None,
        }
    }

    /// Returns the segment that told another beginning than there is, once.
    pub(super) const fn take_wrong(&mut self) -> Option<ObjectKey> {
        self.wrong.take()
    }

    /// Returns what to take off times that no segment of their own vouches for; `None` when that is not known yet.
    pub(super) const fn known(&self, facts: &Facts) -> Option<i64> {
        match self.word {
            _ if !facts.origin_unknown => Some(0),
            Word::None => None,
            Word::Told { shift_us, .. } | Word::Agreed { shift_us, .. } => Some(shift_us),
        }
    }
}

/// Returns how far off a segment is that begins at `first`. Playlists tell only about where a segment begins, save the
/// first one, and encoders delay: that is no shift.
fn own_shift(place: Place, first: MediaTime) -> i64 {
    let is_home = if place.start == MediaTime::ZERO {
        first.distance(place.start) <= SLACK_MIN
    } else {
        place.may_begin(first)
    };
    if is_home {
        0
    } else {
        first.as_micros().saturating_sub(place.start.as_micros())
    }
}

/// Takes `shift_us` off the times of a sample.
pub(super) fn shift(sample: &mut Sample, shift_us: i64) {
    sample.pts = shifted(sample.pts, shift_us);
    sample.dts = shifted(sample.dts, shift_us);
}

/// Takes `shift_us` off a time.
pub(super) const fn shifted(time: MediaTime, shift_us: i64) -> MediaTime {
    MediaTime::from_micros(time.as_micros().saturating_sub(shift_us))
}
