//! One representation's segments: from a template, a list, or (later) a `sidx`.

use std::time::Duration;

use dash_mpd_core as dash;
use nearcast_protocol::manifest::{Container, SegmentIndex};
use nearcast_units::MediaTime;

use crate::ManifestError;
use crate::address::{Base, ByteRange, Location};
use crate::error::clip;
use crate::limits::Budget;
use crate::locations::{Arguments, FileList, IndexPlace, MediaPlace, Place, whole};
use crate::template::{Identity, Template};
use crate::timeline::{SegmentsBuilder, TickClock, after, out_of_range};

/// A period's place on the presentation timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: MediaTime,
    pub(crate) duration: Option<Duration>,
}

impl Span {
    pub(crate) fn end(self) -> Result<Option<MediaTime>, ManifestError> {
        self.duration
            .map(|duration| after(self.start, duration))
            .transpose()
    }

    fn end_or_missing(self) -> Result<MediaTime, ManifestError> {
        self.end()?
            .ok_or_else(|| ManifestError::missing("MPD", "mediaPresentationDuration"))
    }
}

/// What is known of a representation before its segments are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) base: &'a Base,
    pub(crate) identity: Identity<'a>,
    pub(crate) span: Span,
    pub(crate) container: Container,
}

/// A representation's segments and where they lie.
#[derive(Debug)]
pub(crate) struct Indexed {
    pub(crate) index: SegmentIndex,
    pub(crate) place: Place,
    pub(crate) media_offset_us: i64,
}

/// The elements that describe segments, from the representation outwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels<'a> {
    pub(crate) period: &'a dash::Period,
    pub(crate) set: &'a dash::AdaptationSet,
    pub(crate) representation: &'a dash::Representation,
    /// `SegmentList@presentationTimeOffset`, in ticks.
    pub(crate) list_offset: u64,
}

/// One kind of element as inherited: attributes of an inner level come before those of an outer one.
#[derive(Clone, Copy, Debug)]
struct Inherited<'a, T>([Option<&'a T>; 3]);

impl<'a, T> Inherited<'a, T> {
    fn get<U>(&self, field: impl Fn(&'a T) -> Option<U>) -> Option<U> {
        self.0.iter().flatten().find_map(|level| field(level))
    }
}

/// Places a representation's segments.
pub(crate) fn index(
    levels: Levels<'_>,
    site: Site<'_>,
    budget: &mut Budget,
) -> Result<Indexed, ManifestError> {
    let Levels {
        period,
        set,
        representation,
        list_offset,
    } = levels;
    let templates = Inherited([
        representation.SegmentTemplate.as_ref(),
        set.SegmentTemplate.as_ref(),
        period.SegmentTemplate.as_ref(),
    ]);
    let lists = Inherited([
        representation.SegmentList.as_ref(),
        set.SegmentList.as_ref(),
        period.SegmentList.as_ref(),
    ]);
    let bases = Inherited([
        representation.SegmentBase.as_ref(),
        set.SegmentBase.as_ref(),
        period.SegmentBase.as_ref(),
    ]);
    // The innermost level decides which kind it is; only then are outer elements of that kind looked at.
    for level in 0..3 {
        if templates.0.get(level).is_some_and(Option::is_some) {
            return by_template(templates, site, budget);
        }
        if lists.0.get(level).is_some_and(Option::is_some) {
            return by_list(lists, list_offset, site, budget);
        }
        if bases.0.get(level).is_some_and(Option::is_some) {
            return by_sidx(bases, site, budget);
        }
    }
    match site.container {
        Container::WebVtt => single_file(site, budget),
        Container::Fmp4 => Err(ManifestError::missing(
            &format!("Representation {:?}", clip(site.identity.id)),
            "SegmentTemplate, SegmentList or SegmentBase",
        )),
    }
}

/// A text file that covers the whole period.
fn single_file(site: Site<'_>, budget: &mut Budget) -> Result<Indexed, ManifestError> {
    let mut segments = SegmentsBuilder::new(budget);
    segments.reserve(1)?;
    segments.push(site.span.start, site.span.end_or_missing()?, None)?;
    let mut files = FileList::default();
    files.push(site.base.target(), None);
    Ok(Indexed {
        index: SegmentIndex::Known(segments.finish()?),
        place: Place {
            init: None,
            index: None,
            media: files.finish(),
        },
        media_offset_us: site.span.start.as_micros(),
    })
}

fn by_template(
    element: Inherited<'_, dash::SegmentTemplate>,
    site: Site<'_>,
    budget: &mut Budget,
) -> Result<Indexed, ManifestError> {
    let zero = element
        .get(|level| level.presentationTimeOffset)
        .unwrap_or(0);
    let timescale = element.get(|level| level.timescale).unwrap_or(1);
    let clock = TickClock::new(timescale, zero, site.span.start)?;
    let media = element
        .get(|level| level.media.as_deref())
        .ok_or_else(|| ManifestError::missing("SegmentTemplate", "media"))?;
    let template = Template::parse(media, site.identity)?;
    let first_number = element.get(|level| level.startNumber).unwrap_or(1);
    let run = Run {
        clock,
        zero,
        span: site.span,
        first_number,
        count_max: element
            .get(|level| level.endNumber)
            .map(|last| last.saturating_add(1).saturating_sub(first_number)),
        delta: element.get(|level| level.eptDelta).unwrap_or(0),
    };
    let mut segments = SegmentsBuilder::new(budget);
    let timeline = element.get(|level| level.SegmentTimeline.as_ref());
    let duration = element.get(|level| level.duration);
    let arguments = run.lay_out(timeline, duration, &mut segments)?;
    if arguments.len() > 1 && !template.varies() {
        return Err(ManifestError::malformed(format!(
            "URL template {:?} is the same for every segment",
            clip(media)
        )));
    }
    // Locations are filled in when asked for; what could go wrong with one does so here.
    for probe in [arguments.first(), arguments.last()].into_iter().flatten() {
        site.base.join(&template.expand(probe.number, probe.time))?;
    }
    let init = match element.get(|level| level.initialization.as_deref()) {
        _ if site.container == Container::WebVtt => None,
        Some(text) => {
            let template = Template::parse(text, site.identity)?;
            if template.varies() {
                return Err(ManifestError::malformed(
                    "SegmentTemplate@initialization names a segment",
                ));
            }
            Some(whole(site.base.join(&template.expand(0, 0))?.target()))
        }
        None => element
            .get(|level| level.Initialization.as_ref())
            .map(|init| initialization(init, site.base))
            .transpose()?,
    };
    Ok(Indexed {
        index: SegmentIndex::Known(segments.finish()?),
        place: Place {
            init,
            index: None,
            media: MediaPlace::Template {
                base: site.base.clone(),
                template,
                arguments,
            },
        },
        media_offset_us: clock.offset_us(),
    })
}

fn by_list(
    element: Inherited<'_, dash::SegmentList>,
    zero: u64,
    site: Site<'_>,
    budget: &mut Budget,
) -> Result<Indexed, ManifestError> {
    let timescale = element.get(|level| level.timescale).unwrap_or(1);
    let clock = TickClock::new(timescale, zero, site.span.start)?;
    let urls = element
        .get(|level| Some(&level.segment_urls).filter(|urls| !urls.is_empty()))
        .ok_or_else(|| ManifestError::missing("SegmentList", "SegmentURL"))?;
    let run = Run {
        clock,
        zero,
        span: site.span,
        first_number: 0,
        count_max: Some(u64::try_from(urls.len()).unwrap_or(u64::MAX)),
        delta: 0,
    };
    let timeline = element.get(|level| level.SegmentTimeline.as_ref());
    let duration = element.get(|level| level.duration).map(Step::Ticks);
    if timeline.is_none() && duration.is_none() && urls.len() > 1 {
        return Err(ManifestError::missing("SegmentList", "duration"));
    }
    let mut segments = SegmentsBuilder::new(budget);
    let arguments = match (timeline, duration) {
        (None, Some(step)) => run.by_duration(step, &mut segments)?,
        (timeline, _) => run.lay_out(timeline, None, &mut segments)?,
    };
    let mut files = FileList::default();
    for argument in &arguments {
        let url = usize::try_from(argument.number)
            .ok()
            .and_then(|index| urls.get(index))
            .ok_or_else(|| {
                ManifestError::malformed("SegmentTimeline is longer than SegmentList")
            })?;
        let range = url.mediaRange.as_deref().map(range).transpose()?;
        let file = match url.media.as_deref() {
            Some(media) => site.base.join(media)?.target(),
            None => site.base.target(),
        };
        segments.reserve_name(&file)?;
        files.push(file, range);
        segments.set_size(files.len() - 1, range.map(ByteRange::length));
    }
    let init = element
        .get(|level| level.Initialization.as_ref())
        .filter(|_| site.container == Container::Fmp4)
        .map(|init| initialization(init, site.base))
        .transpose()?;
    Ok(Indexed {
        index: SegmentIndex::Known(segments.finish()?),
        place: Place {
            init,
            index: None,
            media: files.finish(),
        },
        media_offset_us: clock.offset_us(),
    })
}

fn by_sidx(
    element: Inherited<'_, dash::SegmentBase>,
    site: Site<'_>,
    budget: &mut Budget,
) -> Result<Indexed, ManifestError> {
    let separate = element.get(|level| level.representation_index.as_ref());
    if separate.is_some_and(|index| index.sourceURL.is_some()) {
        return Err(ManifestError::feature("RepresentationIndex@sourceURL"));
    }
    let index_range = element
        .get(|level| level.indexRange.as_deref())
        .or_else(|| separate.and_then(|index| index.range.as_deref()));
    let Some(index_range) = index_range else {
        return match site.container {
            Container::WebVtt => single_file(site, budget),
            Container::Fmp4 => Err(ManifestError::missing("SegmentBase", "indexRange")),
        };
    };
    let index_range = range(index_range)?;
    let zero = element
        .get(|level| level.presentationTimeOffset)
        .unwrap_or(0);
    let timescale = element.get(|level| level.timescale).unwrap_or(1);
    let clock = TickClock::new(timescale, zero, site.span.start)?;
    let file = site.base.target();
    let init = match element.get(|level| level.Initialization.as_ref()) {
        Some(init) => Some(initialization(init, site.base)?),
        // What comes before the index is the init segment.
        None => ByteRange::from_length(0, index_range.first).map(|range| Location {
            target: file.clone(),
            range: Some(range),
        }),
    };
    Ok(Indexed {
        index: SegmentIndex::Deferred,
        place: Place {
            init,
            index: Some(IndexPlace::Sidx {
                file,
                range: index_range,
                clock,
            }),
            media: MediaPlace::Unknown,
        },
        media_offset_us: clock.offset_us(),
    })
}

fn initialization(element: &dash::Initialization, base: &Base) -> Result<Location, ManifestError> {
    let target = match element.sourceURL.as_deref() {
        Some(reference) => base.join(reference)?.target(),
        None => base.target(),
    };
    let range = element.range.as_deref().map(range).transpose()?;
    Ok(Location { target, range })
}

fn range(text: &str) -> Result<ByteRange, ManifestError> {
    ByteRange::parse_dash(text)
        .ok_or_else(|| ManifestError::malformed(format!("byte range {:?}", clip(text))))
}

/// What is common to all ways of laying out segments.
struct Run {
    clock: TickClock,
    /// Ticks at the period's start.
    zero: u64,
    span: Span,
    first_number: u64,
    /// Segments there are at most, where the manifest says.
    count_max: Option<u64>,
    /// How much later than nominal the first segment begins, in ticks.
    delta: i64,
}

/// A constant nominal duration in ticks.
#[derive(Clone, Copy)]
enum Step {
    Ticks(u64),
    /// `SegmentTemplate@duration` is an integer in the standard, but not in the wild.
    Fraction(f64),
}

/// How much shorter than a whole segment a period may be longer than its segments without another one being
/// looked for: FFmpeg rounds `mediaPresentationDuration` up to tenths of a second, and the segment that a
/// strict reading asks for does not exist.
const TAIL: Duration = Duration::from_millis(100);

/// The place of a segment that is told of and has none by its nominal time: a few frames.
const GUESSED: Duration = Duration::from_millis(100);

impl Run {
    fn lay_out(
        &self,
        timeline: Option<&dash::SegmentTimeline>,
        duration: Option<f64>,
        segments: &mut SegmentsBuilder<'_>,
    ) -> Result<Vec<Arguments>, ManifestError> {
        match (timeline, duration) {
            (Some(timeline), _) => self.by_timeline(timeline, segments),
            (None, Some(duration)) => self.by_duration(Step::Fraction(duration), segments),
            // Neither: one segment is the whole period.
            (None, None) => {
                segments.reserve(1)?;
                segments.push(self.span.start, self.span.end_or_missing()?, None)?;
                Ok(vec![Arguments {
                    number: self.first_number,
                    time: self.zero,
                }])
            }
        }
    }

    fn by_timeline(
        &self,
        timeline: &dash::SegmentTimeline,
        segments: &mut SegmentsBuilder<'_>,
    ) -> Result<Vec<Arguments>, ManifestError> {
        let period_end = self.span.end()?;
        let mut arguments = Vec::new();
        let mut time = 0_u64;
        let mut number = self.first_number;
        let mut left = self.count_max.unwrap_or(u64::MAX);
        let mut rows = timeline.segments.iter().peekable();
        while let Some(row) = rows.next().filter(|_| left > 0) {
            time = row.t.unwrap_or(time);
            number = row.n.unwrap_or(number);
            if row.d == 0 {
                return Err(ManifestError::malformed("S@d is 0 or missing"));
            }
            if row.k.is_some_and(|k| k > 1) {
                return Err(ManifestError::feature("S@k"));
            }
            let repeats = row.r.unwrap_or(0);
            let count = match u64::try_from(repeats) {
                Ok(repeats) => repeats.saturating_add(1),
                // Negative: up to the next row, or to the end of the period.
                Err(_) => {
                    let until = match rows.peek() {
                        Some(next) => next
                            .t
                            .ok_or_else(|| ManifestError::missing("S after a negative @r", "t"))?,
                        None => self.period_end_ticks()?,
                    };
                    let span = until
                        .checked_sub(time)
                        .filter(|span| *span > 0)
                        .ok_or_else(|| ManifestError::malformed("S@r repeats into the past"))?;
                    let count = span.div_ceil(row.d);
                    // A rest that is shorter than times are told apart is none.
                    let rest = time.saturating_add(row.d.saturating_mul(count - 1));
                    let nothing = count > 1 && self.clock.at(rest)? == self.clock.at(until)?;
                    if nothing { count - 1 } else { count }
                }
            };
            let count = segments.reserve(count.min(left))?;
            for _ in 0..count {
                let next = time.checked_add(row.d).ok_or_else(out_of_range)?;
                let (start, end) = (self.clock.at(time)?, self.clock.at(next)?);
                let ended = period_end.is_some_and(|period_end| start >= period_end);
                if end > self.span.start && !ended {
                    segments.push(start, end, None)?;
                    arguments.push(Arguments { number, time });
                }
                time = next;
                number = number.saturating_add(1);
            }
            left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(arguments)
    }

    fn by_duration(
        &self,
        step: Step,
        segments: &mut SegmentsBuilder<'_>,
    ) -> Result<Vec<Arguments>, ManifestError> {
        let (step, parts) = match step {
            Step::Ticks(ticks) => (ticks, 1),
            Step::Fraction(ticks) => in_parts(ticks)?,
        };
        if step == 0 {
            return Err(ManifestError::malformed("@duration is 0"));
        }
        let timescale = u64::from(self.clock.timescale())
            .checked_mul(parts)
            .ok_or_else(out_of_range)?;
        // Nominal times count from the start of the period, whatever the media's own times are.
        let clock = TickClock::new(timescale, 0, self.span.start)?;
        let within = |tail| {
            let period = self.span.duration?;
            Some(count_within(period, tail, step, timescale))
        };
        // What is listed or numbered is there: only where nothing else tells is the last one guessed at.
        let count = match (self.count_max, within(Duration::ZERO)) {
            // One more than the nominal duration leaves room for; the loop looks at it.
            (Some(told), Some(within)) => told.min(within.saturating_add(1)),
            (Some(told), None) => told,
            (None, Some(_)) => within(TAIL).unwrap_or(1),
            (None, None) => {
                return Err(ManifestError::missing("MPD", "mediaPresentationDuration"));
            }
        };
        let period_end = self.span.end()?.unwrap_or(MediaTime::from_micros(i64::MAX));
        let parts_signed = i64::try_from(parts).map_err(|_| out_of_range())?;
        let delta = self
            .delta
            .checked_mul(parts_signed)
            .ok_or_else(out_of_range)?;
        let at = |position: u64| {
            position
                .checked_mul(step)
                .and_then(|ticks| i64::try_from(ticks).ok()?.checked_add(delta))
                .ok_or_else(out_of_range)
                .and_then(|ticks| clock.at_signed(ticks))
        };
        let mut arguments = Vec::new();
        let count = segments.reserve(count)?;
        let mut previous = None;
        for position in 0..u64::try_from(count).unwrap_or(u64::MAX) {
            let (nominal, end) = (at(position)?, at(position + 1)?);
            let start = if nominal < period_end {
                nominal
            } else {
                // Real segments differ from the nominal duration by up to half of it: one that is told of
                // and may begin before the end has a place in the period. Where that is nobody tells; a short
                // one leaves the segment before it what it most likely has.
                let half = end.since(nominal) / 2;
                let begins_within = nominal.since(period_end) < half;
                match previous.filter(|_| self.count_max.is_some() && begins_within) {
                    Some(previous) => {
                        let half = period_end.since(previous) / 2;
                        period_end - half.min(GUESSED)
                    }
                    None => break,
                }
            };
            segments.push(start, end.min(period_end), None)?;
            previous = Some(start);
            arguments.push(Arguments {
                number: self.first_number.saturating_add(position),
                // Checked above: the product fits.
                time: (position * step / parts).saturating_add(self.zero),
            });
        }
        Ok(arguments)
    }

    fn period_end_ticks(&self) -> Result<u64, ManifestError> {
        let duration = self
            .span
            .duration
            .ok_or_else(|| ManifestError::missing("MPD", "mediaPresentationDuration"))?;
        let ticks = duration
            .as_nanos()
            .saturating_mul(u128::from(self.clock.timescale()))
            .div_ceil(NANOS_PER_SECOND);
        u64::try_from(ticks)
            .ok()
            .and_then(|ticks| ticks.checked_add(self.zero))
            .ok_or_else(out_of_range)
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Returns how many segments of `step` ticks a period without its `tail` has, at least one.
fn count_within(period: Duration, tail: Duration, step: u64, timescale: u64) -> u64 {
    let ticks = period
        .saturating_sub(tail)
        .as_nanos()
        .saturating_mul(u128::from(timescale));
    let count = ticks.div_ceil(u128::from(step).saturating_mul(NANOS_PER_SECOND));
    u64::try_from(count).unwrap_or(u64::MAX).max(1)
}

/// Returns a number of ticks as an integer number of parts, and how many parts a tick has.
fn in_parts(ticks: f64) -> Result<(u64, u64), ManifestError> {
    const PARTS: u64 = 1000;
    const EXACT_MAX: f64 = 9e15;
    if !(ticks > 0.0 && ticks < EXACT_MAX) {
        return Err(ManifestError::malformed(format!("@duration is {ticks}")));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and below 2^53"
    )]
    let round = |number: f64| number.round() as u64;
    if ticks.fract() == 0.0 {
        return Ok((round(ticks), 1));
    }
    Ok((round(ticks * 1000.0), PARTS))
}
