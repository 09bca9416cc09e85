//! Segments placed on media time: which representation has which segment where. Knows nothing of
//! buffers or edges.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{
    Container, Outline, Period, Representation, RepresentationKey, Segment, SegmentIndex, Track,
    TrackKind,
};
use nearcast_units::{BitRate, ByteCount, MediaTime};

/// An outline that was checked once: every period has tracks, every track representations in
/// ascending order, every known index ascending segments.
#[derive(Debug)]
pub(crate) struct Timeline {
    outline: Outline,
    /// How large segments turned out to be against their rung's declared rate, where sizes are not known.
    ratios: BTreeMap<RepresentationKey, f64>,
}

/// Where the next segment of a track lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// This segment of this representation.
    Segment { index: u32, segment: Segment },
    /// The representation's index must be fetched first.
    IndexMissing,
    /// The period holds no more segments of this track.
    PeriodOver,
}

impl Timeline {
    /// Checks an outline; the error says in words what is wrong with it.
    pub(crate) fn new(mut outline: Outline) -> Result<Self, &'static str> {
        if outline.periods.is_empty() {
            return Err("the manifest has no period");
        }
        for period in &mut outline.periods {
            period
                .tracks
                .retain(|track| !track.representations.is_empty());
            for track in &mut period.tracks {
                for representation in &track.representations {
                    if let SegmentIndex::Known(segments) = &representation.index {
                        check_segments(segments)?;
                    }
                }
            }
            if !period
                .tracks
                .iter()
                .any(|track| track.kind != TrackKind::Text)
            {
                return Err("a period has neither picture nor sound");
            }
        }
        Ok(Self {
            outline,
            ratios: BTreeMap::new(),
        })
    }

    pub(crate) fn set_index(
        &mut self,
        key: RepresentationKey,
        segments: Vec<Segment>,
        init: bool,
    ) -> Result<(), &'static str> {
        check_segments(&segments)?;
        let representation = self
            .outline
            .periods
            .get_mut(usize::from(key.period))
            .and_then(|period| period.tracks.get_mut(usize::from(key.track)))
            .and_then(|track| {
                track
                    .representations
                    .get_mut(usize::from(key.representation))
            })
            .ok_or("an index for a representation that is not there")?;
        representation.index = SegmentIndex::Known(segments);
        representation.init = init;
        Ok(())
    }

    pub(crate) fn representation(&self, key: RepresentationKey) -> Option<&Representation> {
        self.outline.representation(key)
    }

    pub(crate) fn outline(&self) -> &Outline {
        &self.outline
    }

    pub(crate) fn period(&self, period: u16) -> Option<&Period> {
        self.outline.periods.get(usize::from(period))
    }

    pub(crate) fn periods(&self) -> u16 {
        u16::try_from(self.outline.periods.len()).unwrap_or(u16::MAX)
    }

    /// Returns the tracks of one kind in a period, with their index in it.
    pub(crate) fn tracks(
        &self,
        period: u16,
        kind: TrackKind,
    ) -> impl Iterator<Item = (u16, &Track)> {
        self.period(period)
            .into_iter()
            .flat_map(|period| period.tracks.iter().enumerate())
            .filter(move |(_, track)| track.kind == kind)
            .filter_map(|(index, track)| Some((u16::try_from(index).ok()?, track)))
    }

    pub(crate) fn ladder(&self, period: u16, track: u16) -> &[Representation] {
        self.period(period)
            .and_then(|period| period.tracks.get(usize::from(track)))
            .map_or(&[], |track| track.representations.as_slice())
    }

    /// Returns the period that holds `position`: the last that begins at or before it.
    pub(crate) fn period_at(&self, position: MediaTime) -> u16 {
        let after = self
            .outline
            .periods
            .partition_point(|period| period.start <= position);
        u16::try_from(after.saturating_sub(1)).unwrap_or(u16::MAX)
    }

    /// Finds the segment of a representation that covers `position`, or the first one after it.
    ///
    /// Representations of one track may be cut a little differently: a segment that ends within a
    /// quarter of its length (at most 100 ms) of `position` counts as over.
    pub(crate) fn place(&self, key: RepresentationKey, position: MediaTime) -> Place {
        let Some(representation) = self.representation(key) else {
            return Place::PeriodOver;
        };
        let SegmentIndex::Known(segments) = &representation.index else {
            return Place::IndexMissing;
        };
        let index = segments.partition_point(|segment| {
            let tolerance = (segment.duration / 4).min(Duration::from_millis(100));
            segment.start + segment.duration.saturating_sub(tolerance) <= position
        });
        match (u32::try_from(index), segments.get(index)) {
            (Ok(index), Some(&segment)) if !self.starts_after_period(key.period, segment.start) => {
                Place::Segment { index, segment }
            }
            _ => Place::PeriodOver,
        }
    }

    fn starts_after_period(&self, period: u16, start: MediaTime) -> bool {
        self.outline
            .periods
            .get(usize::from(period) + 1)
            .is_some_and(|next| start + Duration::from_millis(1) >= next.start)
    }

    /// Returns the size of a segment: true where it is known, else what the declared rate makes of it, times what
    /// that was worth for the segments before.
    pub(crate) fn size(&self, key: RepresentationKey, segment: &Segment) -> ByteCount {
        segment.size.unwrap_or_else(|| {
            let ratio = self.ratios.get(&key).copied().unwrap_or(1.0);
            self.representation(key).map_or(ByteCount::ZERO, |one| {
                one.bitrate.scaled(ratio).bytes_in(segment.duration)
            })
        })
    }

    /// Takes a segment's true size for what others of its representation will have.
    pub(crate) fn learn_size(&mut self, key: RepresentationKey, index: u32, size: ByteCount) {
        let Some(segment) = self.segment(key, index) else {
            return;
        };
        let declared = self.representation(key).map(|one| one.bitrate);
        let (None, Some(declared), Some(rate)) =
            (segment.size, declared, size.rate_over(segment.duration))
        else {
            return;
        };
        let ratio = rate.as_f64() / declared.as_f64().max(1.0);
        let ratio = ratio.clamp(1.0 / RATIO_MAX, RATIO_MAX);
        let held = self.ratios.entry(key).or_insert(ratio);
        *held += (ratio - *held) * RATIO_GAIN;
    }

    pub(crate) fn segment(&self, key: RepresentationKey, index: u32) -> Option<Segment> {
        let SegmentIndex::Known(segments) = &self.representation(key)?.index else {
            return None;
        };
        segments.get(usize::try_from(index).ok()?).copied()
    }

    /// Returns how many segments a representation has in its period from this one on; `None` without an index.
    pub(crate) fn left(&self, key: RepresentationKey, index: u32) -> Option<u32> {
        let SegmentIndex::Known(segments) = &self.representation(key)?.index else {
            return None;
        };
        let all = u32::try_from(segments.len()).ok()?;
        Some(all.saturating_sub(index))
    }

    /// Returns a segment's place in its track, counted over all periods.
    pub(crate) fn ordinal(&self, key: RepresentationKey, index: u32) -> u64 {
        let kind = self.outline.track(key).map(|track| track.kind);
        let before = self.outline.periods.iter().take(usize::from(key.period));
        let segments = |period: &Period| {
            let mut tracks = period.tracks.iter();
            let track = tracks.find(|track| Some(track.kind) == kind)?;
            // Rungs of a track are cut alike; those that were never played may have no index.
            track
                .representations
                .iter()
                .find_map(|one| match &one.index {
                    SegmentIndex::Known(segments) => u64::try_from(segments.len()).ok(),
                    SegmentIndex::Deferred => None,
                })
        };
        before.filter_map(segments).sum::<u64>() + u64::from(index)
    }

    /// Returns the total length: declared, else the end of the last known segment.
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.outline.duration.or_else(|| {
            let last = self.outline.periods.last()?;
            let end = last
                .tracks
                .iter()
                .filter(|track| track.kind != TrackKind::Text)
                .flat_map(|track| &track.representations)
                .filter_map(|one| match &one.index {
                    SegmentIndex::Known(segments) => {
                        segments.last().map(|last| last.start + last.duration)
                    }
                    SegmentIndex::Deferred => None,
                })
                .max()?;
            Some(end.since(MediaTime::ZERO))
        })
    }

    /// Chooses the track of a kind in a period that suits a wish best.
    pub(crate) fn choose_track(
        &self,
        period: u16,
        kind: TrackKind,
        wish: &TrackWish,
    ) -> Option<u16> {
        let score = |track: &Track| {
            let language = match (&wish.language, &track.language) {
                (Some(wanted), Some(has)) => matches_language(wanted, has),
                _ => false,
            };
            let role = wish.role.is_some() && wish.role == track.role;
            (
                language,
                role,
                track.default,
                track.role.as_deref() == Some("main"),
            )
        };
        let mut best: Option<(u16, &Track)> = None;
        for (index, track) in self.tracks(period, kind) {
            if best.is_none_or(|(_, held)| score(track) > score(held)) {
                best = Some((index, track));
            }
        }
        let (index, track) = best?;
        // Subtitles that nobody asked for are worse than none.
        let suits = kind != TrackKind::Text
            || match (&wish.language, &track.language) {
                (Some(wanted), Some(has)) => matches_language(wanted, has),
                _ => false,
            };
        suits.then_some(index)
    }
}

/// A rung that is this far from what it declares has no size to be learnt.
const RATIO_MAX: f64 = 4.0;
/// Scenes differ: the newest segment says the most, and not all.
const RATIO_GAIN: f64 = 0.3;

/// What the viewer wants of a track, kept over periods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrackWish {
    pub(crate) language: Option<String>,
    pub(crate) role: Option<String>,
}

/// BCP 47 lookup, simplified: equal tags, or equal primary subtags (RFC 4647 section 3.4 drops the rest
/// step by step, which ends there).
fn matches_language(wanted: &str, has: &str) -> bool {
    let primary = |tag: &str| {
        tag.split(['-', '_'])
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    wanted.eq_ignore_ascii_case(has) || primary(wanted) == primary(has)
}

fn check_segments(segments: &[Segment]) -> Result<(), &'static str> {
    let ascending = segments.windows(2).all(|pair| match pair {
        [one, next] => next.start > one.start,
        _ => true,
    });
    if !ascending {
        return Err("segments do not ascend in time");
    }
    if segments.iter().any(|segment| segment.duration.is_zero()) {
        return Err("a segment has no duration");
    }
    Ok(())
}

/// Returns the container a representation's bytes are in, for the hand-on order: text needs no init.
pub(crate) fn needs_init(representation: &Representation) -> bool {
    representation.init && representation.container == Container::Fmp4
}

/// Returns the rung above which the ladder may not be used, as an index.
pub(crate) fn capped(ladder: &[Representation], cap: Option<BitRate>) -> usize {
    let top = ladder.len().saturating_sub(1);
    cap.map_or(top, |cap| {
        ladder
            .partition_point(|one| one.bitrate <= cap)
            .saturating_sub(1)
            .min(top)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::vec;

    pub(crate) fn segments(count: u32, each: Duration) -> Vec<Segment> {
        (0..count)
            .map(|n| Segment {
                start: MediaTime::ZERO + each * n,
                duration: each,
                size: None,
            })
            .collect()
    }

    pub(crate) fn representation(id: &str, kbps: u64, index: SegmentIndex) -> Representation {
        Representation {
            id: id.into(),
            bitrate: BitRate::from_kbps(kbps),
            codecs: String::new(),
            resolution: None,
            container: Container::Fmp4,
            init: true,
            index,
            media_offset_us: 0,
        }
    }

    fn track(
        kind: TrackKind,
        language: Option<&str>,
        representations: Vec<Representation>,
    ) -> Track {
        Track {
            kind,
            language: language.map(Into::into),
            label: None,
            role: None,
            default: false,
            representations,
        }
    }

    fn timeline() -> Timeline {
        let four = Duration::from_secs(4);
        let known = SegmentIndex::Known(segments(3, four));
        Timeline::new(Outline {
            duration: None,
            periods: vec![Period {
                start: MediaTime::ZERO,
                duration: None,
                tracks: vec![
                    track(
                        TrackKind::Video,
                        None,
                        vec![representation("v1", 500, known.clone())],
                    ),
                    track(
                        TrackKind::Audio,
                        Some("en"),
                        vec![representation("a1", 64, known.clone())],
                    ),
                    track(
                        TrackKind::Audio,
                        Some("sv-SE"),
                        vec![representation("a2", 64, SegmentIndex::Deferred)],
                    ),
                    track(
                        TrackKind::Text,
                        Some("en"),
                        vec![representation("t1", 1, known)],
                    ),
                ],
            }],
        })
        .unwrap()
    }

    const V1: RepresentationKey = RepresentationKey {
        period: 0,
        track: 0,
        representation: 0,
    };

    #[test]
    fn a_size_that_is_not_known_is_learnt_from_the_segments_before() {
        let mut timeline = timeline();
        let next = Segment {
            start: MediaTime::from_micros(8_000_000),
            duration: Duration::from_secs(4),
            size: None,
        };
        assert_eq!(timeline.size(V1, &next), ByteCount::new(250_000));
        timeline.learn_size(V1, 0, ByteCount::new(125_000));
        assert_eq!(timeline.size(V1, &next), ByteCount::new(125_000));
        timeline.learn_size(V1, 1, ByteCount::new(250_000));
        assert_eq!(timeline.size(V1, &next), ByteCount::new(162_500));
        let true_size = Segment {
            size: Some(ByteCount::new(7)),
            ..next
        };
        assert_eq!(timeline.size(V1, &true_size), ByteCount::new(7));
    }

    #[test]
    fn a_position_finds_its_segment_and_a_boundary_the_next() {
        let timeline = timeline();
        let index = |micros| match timeline.place(V1, MediaTime::from_micros(micros)) {
            Place::Segment { index, .. } => Some(index),
            Place::IndexMissing | Place::PeriodOver => None,
        };
        assert_eq!(index(0), Some(0));
        assert_eq!(index(3_800_000), Some(0));
        assert_eq!(
            index(3_999_000),
            Some(1),
            "a rung cut 1 ms earlier goes on with the next segment"
        );
        assert_eq!(index(4_000_000), Some(1));
        assert_eq!(index(12_000_000), None);
        assert_eq!(timeline.duration(), Some(Duration::from_secs(12)));
    }

    #[test]
    fn an_index_that_was_not_loaded_is_asked_for() {
        let mut timeline = timeline();
        let key = RepresentationKey {
            period: 0,
            track: 2,
            representation: 0,
        };
        assert_eq!(timeline.place(key, MediaTime::ZERO), Place::IndexMissing);
        timeline
            .set_index(key, segments(1, Duration::from_secs(1)), false)
            .unwrap();
        assert!(matches!(
            timeline.place(key, MediaTime::ZERO),
            Place::Segment { index: 0, .. }
        ));
    }

    #[test]
    fn languages_match_by_primary_subtag_and_subtitles_only_when_wanted() {
        let timeline = timeline();
        let wish = |language: &str| TrackWish {
            language: Some(language.into()),
            role: None,
        };
        assert_eq!(
            timeline.choose_track(0, TrackKind::Audio, &wish("sv")),
            Some(2)
        );
        assert_eq!(
            timeline.choose_track(0, TrackKind::Audio, &TrackWish::default()),
            Some(1)
        );
        assert_eq!(
            timeline.choose_track(0, TrackKind::Text, &TrackWish::default()),
            None
        );
        assert_eq!(
            timeline.choose_track(0, TrackKind::Text, &wish("en-GB")),
            Some(3)
        );
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let outline = Outline {
            duration: None,
            periods: vec![],
        };
        assert_eq!(
            Timeline::new(outline).err(),
            Some("the manifest has no period")
        );
        let twice = [
            segments(1, Duration::from_secs(1)),
            segments(1, Duration::from_secs(1)),
        ]
        .concat();
        assert!(timeline().set_index(V1, twice, true).is_err());
    }
}
