//! Where the manifest says that a segment lies on the timeline, and whether its samples do.
//!
//! An edge that serves another segment in its place, or times far off, would leave the picture standing: what
//! never becomes due is never shown.

use std::time::Duration;

use nearcast_media::Sample;
use nearcast_protocol::manifest::Segment;
use nearcast_units::MediaTime;

/// The manifest's word for one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) start: MediaTime,
    end: MediaTime,
    /// How far off samples may be.
    slack: Duration,
    /// None follows: it may end early.
    last: bool,
}

/// In very short segments encoder delay and rounding are a large part.
pub(super) const SLACK_MIN: Duration = Duration::from_millis(250);

/// The code of samples of another place.
pub(super) const MISPLACED: &str = "media.misplaced";

impl Place {
    /// Returns the place of the segment at `index`.
    pub(crate) fn of(segments: &[Segment], index: usize) -> Option<Self> {
        let segment = segments.get(index)?;
        let before = index.checked_sub(1).and_then(|before| segments.get(before));
        // Packagers that give one nominal duration cut where pictures allow, which may be half a segment off
        // (ISO/IEC 23009-1, 5.3.9.5.3); the neighbour lies a whole one off. The last one may be a mere rest.
        let usual = before.map_or(segment.duration, |one| one.duration.max(segment.duration));
        Some(Self {
            start: segment.start,
            end: segment.start + segment.duration,
            slack: (usual * 3 / 4).max(SLACK_MIN),
            last: index + 1 == segments.len(),
        })
    }

    /// Returns whether the segment may begin there.
    pub(super) fn may_begin(&self, at: MediaTime) -> bool {
        at.distance(self.start) <= self.slack
    }

    /// Returns whether something of the segment may lie there.
    pub(super) fn may_hold(&self, at: MediaTime) -> bool {
        self.start <= at + self.slack && at <= self.end + self.slack
    }
}

/// What times the samples of a segment have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent(Option<Times>);

#[derive(Clone, Copy, Debug)]
struct Times {
    /// When the first is presented,
    first: MediaTime,
    /// when the last is,
    latest: MediaTime,
    /// and when it is over. Its duration is often a guess.
    end: MediaTime,
}

impl Extent {
    pub(super) fn add(&mut self, sample: &Sample) {
        let (pts, end) = (sample.pts, sample.pts + sample.duration);
        let times = self.0.get_or_insert(Times {
            first: pts,
            latest: pts,
            end,
        });
        times.first = times.first.min(pts);
        times.latest = times.latest.max(pts);
        times.end = times.end.max(end);
    }

    /// Compares with the manifest's word, where there is one.
    ///
    /// # Errors
    ///
    /// A stable code: no samples, or samples of another place.
    pub(super) fn check(self, place: Option<Place>) -> Result<(), &'static str> {
        let last = place.is_some_and(|place| place.last);
        let Some(times) = self.0 else {
            // Where tracks share files, one may be over before the other.
            return if last { Ok(()) } else { Err("media.empty") };
        };
        let Some(place) = place else { return Ok(()) };
        let begins = place.may_begin(times.first);
        let stays = times.latest <= place.end + place.slack;
        let goes_on = last || times.end + place.slack >= place.end;
        if begins && stays && goes_on {
            Ok(())
        } else {
            Err(MISPLACED)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use nearcast_media::SampleKind;

    use super::*;

    fn at(seconds: f64) -> MediaTime {
        MediaTime::ZERO + Duration::from_secs_f64(seconds + 100.0) - Duration::from_secs(100)
    }

    fn sample(pts_s: f64, duration_s: f64) -> Sample {
        Sample {
            track_id: 1,
            kind: SampleKind::Video,
            pts: at(pts_s),
            dts: at(pts_s),
            duration: Duration::from_secs_f64(duration_s),
            trim_start: Duration::ZERO,
            sync: true,
            data: Bytes::from_static(b"x"),
        }
    }

    /// Segments of four seconds, and a last one of a tenth.
    fn segments() -> Vec<Segment> {
        let segment = |start_s, duration_s| Segment {
            start: at(start_s),
            duration: Duration::from_secs_f64(duration_s),
            size: None,
        };
        vec![
            segment(0.0, 4.0),
            segment(4.0, 4.0),
            segment(8.0, 4.0),
            segment(12.0, 0.1),
        ]
    }

    /// Samples that cover `from_s..to_s`, as the segment at `index`.
    fn check(index: usize, from_s: f64, to_s: f64) -> Result<(), &'static str> {
        let mut extent = Extent::default();
        extent.add(&sample(from_s, 0.1));
        extent.add(&sample(to_s - 0.1, 0.1));
        extent.check(Place::of(&segments(), index))
    }

    #[test]
    fn the_segment_itself_is_where_it_should_be_with_what_packagers_do() {
        assert_eq!(check(1, 4.0, 8.0), Ok(()));
        assert_eq!(check(0, -0.09, 4.02), Ok(()), "encoder delay");
        assert_eq!(check(1, 2.1, 9.9), Ok(()), "cut where pictures allow");
        assert_eq!(check(1, 5.9, 6.2), Ok(()));
        assert_eq!(check(3, 12.1, 12.3), Ok(()), "a rest behind the end");
        assert_eq!(check(3, 11.0, 11.2), Ok(()));
    }

    #[test]
    fn another_segment_and_times_far_off_are_told() {
        for (index, from_s, to_s) in [
            (1, 0.0, 4.0),
            (1, 8.0, 12.0),
            (2, 12.0, 12.1),
            (3, 8.0, 12.0),
            (1, 4.0, 5.0 - 1.1),
            (1, 4004.0, 4008.0),
            (1, 4.0, 4008.0),
        ] {
            let told = check(index, from_s, to_s);
            assert_eq!(told, Err("media.misplaced"), "{index} {from_s} {to_s}");
        }
    }

    #[test]
    fn a_segment_holds_something_unless_it_is_the_last() {
        let check = |index| Extent::default().check(Place::of(&segments(), index));
        assert_eq!(check(2), Err("media.empty"));
        assert_eq!(check(3), Ok(()));
        assert_eq!(Extent::default().check(None), Err("media.empty"));
    }
}
