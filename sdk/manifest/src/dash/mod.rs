//! DASH: an MPD to the manifest model. `guard` bounds the text before it is parsed, `sets` turns adaptation
//! sets into tracks, `index` places a representation's segments.

mod guard;
mod index;
mod sets;

use std::time::Duration;

use dash_mpd_core as dash;
use nearcast_protocol::manifest::{Outline, Period, SegmentIndex};
use nearcast_units::MediaTime;

use crate::address::Base;
use crate::error::clip;
use crate::limits::Budget;
use crate::locations::Locations;
use crate::timeline::after;
use crate::{Manifest, ManifestError, Pathway};

use index::Span;

/// Reads the text of an MPD.
pub(crate) fn parse(text: &str, address: &Base) -> Result<Manifest, ManifestError> {
    let list_offsets = guard::check(text)?;
    let mpd =
        dash::parse(text).map_err(|error| ManifestError::malformed(clip(&error.to_string())))?;
    match mpd.mpdtype.as_deref() {
        None | Some("static") => {}
        Some("dynamic") => {
            return Err(ManifestError::Live {
                why: "the MPD is dynamic",
            });
        }
        Some(other) => {
            return Err(ManifestError::malformed(format!(
                "MPD@type is {:?}",
                clip(other)
            )));
        }
    }
    let pathways = pathways(&mpd.base_url, address)?;
    let base = inner_base(address, &mpd.base_url)?;
    let mut budget = Budget::new(0);
    let mut locations = Locations::new(address);
    let mut refused = Vec::new();
    let mut periods = Vec::new();
    for ((position, period), span) in mpd.periods.iter().enumerate().zip(spans(&mpd)?) {
        if span.duration == Some(Duration::ZERO) {
            continue;
        }
        let base = inner_base(&base, &period.BaseURL)?;
        let site = sets::Site {
            position,
            base: &base,
            span,
            list_offsets: &list_offsets,
        };
        let tracks = sets::tracks(period, site, &mut budget, &mut refused)?;
        let number = small(periods.len())?;
        let tracks = sets::place(tracks, number, &mut locations)?;
        periods.push(Period {
            start: span.start,
            duration: span.duration,
            tracks,
        });
    }
    if periods.is_empty() {
        return Err(ManifestError::NoTracks);
    }
    let duration = mpd
        .mediaPresentationDuration
        .or_else(|| end_of_last(&periods));
    Ok(Manifest {
        outline: Outline { duration, periods },
        locations,
        pathways,
        refused,
    })
}

/// Works out where each period begins and how long it is.
fn spans(mpd: &dash::MPD) -> Result<Vec<Span>, ManifestError> {
    let mut starts = Vec::new();
    let mut previous_end = Some(Duration::ZERO);
    for period in &mpd.periods {
        let start = period
            .start
            .or(previous_end)
            .ok_or_else(|| ManifestError::missing("Period", "start"))?;
        if starts.last().is_some_and(|previous| start < *previous) {
            return Err(ManifestError::malformed("periods do not ascend"));
        }
        starts.push(start);
        previous_end = period
            .duration
            .and_then(|duration| start.checked_add(duration));
    }
    let mut spans = Vec::new();
    for (number, (period, start)) in mpd.periods.iter().zip(&starts).enumerate() {
        let next = starts.get(number + 1).copied();
        // The next period cuts this one off, whatever this one says.
        let until_next = next.map(|next| next.saturating_sub(*start));
        let until_end = mpd
            .mediaPresentationDuration
            .filter(|_| next.is_none())
            .map(|end| end.saturating_sub(*start));
        let duration = match (period.duration, until_next) {
            (Some(own), Some(next)) => Some(own.min(next)),
            (own, next) => own.or(next).or(until_end),
        };
        spans.push(Span {
            start: after(MediaTime::ZERO, *start)?,
            duration,
        });
    }
    Ok(spans)
}

/// Resolves the first `BaseURL` of a level; the others are alternatives.
fn inner_base(outer: &Base, bases: &[dash::BaseURL]) -> Result<Base, ManifestError> {
    match by_priority(bases).first() {
        Some(first) => outer.join(&first.base),
        None => Ok(outer.clone()),
    }
}

fn by_priority(bases: &[dash::BaseURL]) -> Vec<&dash::BaseURL> {
    let mut bases: Vec<_> = bases.iter().collect();
    bases.sort_by_key(|base| base.priority.unwrap_or(1));
    bases
}

/// Alternatives that are worth naming; more are cut off.
const PATHWAYS_MAX: usize = 32;

fn pathways(bases: &[dash::BaseURL], address: &Base) -> Result<Vec<Pathway>, ManifestError> {
    by_priority(bases)
        .into_iter()
        .take(PATHWAYS_MAX)
        .map(|element| {
            let base = address.join(&element.base)?.folder()?.target();
            let name = match element.serviceLocation.as_deref() {
                Some(name) => clip(name),
                None => clip(&element.base),
            };
            Ok(Pathway { name, base })
        })
        .collect()
}

/// Returns where the last period ends, by its segments where nothing else tells.
fn end_of_last(periods: &[Period]) -> Option<Duration> {
    let last = periods.last()?;
    let by_segments = || {
        let representations = last.tracks.iter().flat_map(|track| &track.representations);
        representations
            .filter_map(|representation| match &representation.index {
                SegmentIndex::Known(segments) => segments.last(),
                SegmentIndex::Deferred => None,
            })
            .map(|segment| (segment.start + segment.duration).since(MediaTime::ZERO))
            .max()
    };
    match last.duration {
        Some(duration) => Some(last.start.since(MediaTime::ZERO) + duration),
        None => by_segments(),
    }
}

/// Makes an index for a key.
fn small(index: usize) -> Result<u16, ManifestError> {
    u16::try_from(index).map_err(|_| ManifestError::TooLarge {
        what: "number of periods, tracks or representations",
        limit: usize::from(u16::MAX),
    })
}
