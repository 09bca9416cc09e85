//! Where the media of an HLS title begins: a playlist does not say (RFC 8216, section 3), and what was cut out of a
//! live stream begins hours after zero. The first segment that is taken apart tells, for all tracks.

use nearcast_media::Sample;
use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::MediaTime;

use super::Facts;
use super::place::SLACK_MIN;

/// How far media times lie behind the timeline's. An HLS title has one period: a discontinuity is refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Origin {
    #[default]
    Unknown,
    /// One segment says so. It may be the wrong one.
    Told { by: ObjectKey, shift_us: i64 },
    /// Another one lies where it should.
    Agreed { shift_us: i64 },
}

impl Origin {
    /// Returns what to take off the times of a segment, the first sample of which is `first`.
    pub(super) fn of_segment(&mut self, object: ObjectKey, facts: &Facts, first: &Sample) -> i64 {
        let Some(place) = facts.place.filter(|_| facts.origin_unknown) else {
            return 0;
        };
        match *self {
            Self::Agreed { shift_us } => shift_us,
            Self::Told { by, shift_us } if by != object => shift_us,
            Self::Unknown | Self::Told { .. } => {
                let first = first.pts + first.trim_start;
                let far = first.distance(place.start) > SLACK_MIN;
                // Rounded times of a playlist and the delay of encoders are no such shift.
                let shift_us = if far {
                    first.as_micros().saturating_sub(place.start.as_micros())
                } else {
                    0
                };
                *self = Self::Told {
                    by: object,
                    shift_us,
                };
                shift_us
            }
        }
    }

    /// A segment lies where it should, or does not. What only one says is forgotten when the next denies it: either
    /// may be the wrong one, and the latter comes anew.
    pub(super) fn settle(&mut self, object: ObjectKey, fits: bool) {
        if let Self::Told { by, shift_us } = *self {
            *self = match fits {
                true if by != object => Self::Agreed { shift_us },
                true => *self,
                false => Self::Unknown,
            };
        }
    }

    /// Returns what to take off times that no segment of their own vouches for; `None` when that is not known yet.
    pub(super) const fn known(self, facts: &Facts) -> Option<i64> {
        match self {
            _ if !facts.origin_unknown => Some(0),
            Self::Unknown => None,
            Self::Told { shift_us, .. } | Self::Agreed { shift_us } => Some(shift_us),
        }
    }
}

/// Takes `shift_us` off the times of a sample.
pub(super) fn shift(sample: &mut Sample, shift_us: i64) {
    let shifted =
        |time: MediaTime| MediaTime::from_micros(time.as_micros().saturating_sub(shift_us));
    sample.pts = shifted(sample.pts);
    sample.dts = shifted(sample.dts);
}
