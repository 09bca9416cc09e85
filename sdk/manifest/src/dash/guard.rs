//! What must hold before an MPD is handed to its parser: bounded depth and width, no entities of its own, no
//! remote elements, and no number that the parser would overflow on.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use crate::ManifestError;
use crate::error::clip;
use crate::limits::{
    PERIODS_MAX, REPRESENTATIONS_MAX, XML_DEPTH_MAX, XML_OTHERS_MAX, XML_SEGMENTS_MAX,
};

/// Attributes of one element. The parser looks for duplicates in quadratic time.
const ATTRIBUTES_MAX: usize = 64;

/// Digits of each number in an `xs:duration`: the parser multiplies up to a year (3 × 10⁷ s) unchecked.
const DURATION_DIGITS_MAX: usize = 9;

/// Attributes that may hold an `xs:duration`.
const DURATIONS: [&str; 11] = [
    "duration",
    "start",
    "starttime",
    "skipAfter",
    "mediaPresentationDuration",
    "minimumUpdatePeriod",
    "minBufferTime",
    "timeShiftBufferDepth",
    "suggestedPresentationDelay",
    "maxSegmentDuration",
    "maxSubsegmentDuration",
];

/// Checks the text of an MPD, and reads out of it what the parser drops.
pub(crate) fn check(text: &str) -> Result<ListOffsets, ManifestError> {
    let mut reader = Reader::from_str(text);
    let mut depth = 0_usize;
    let mut elements = Elements::default();
    let mut ended = false;
    let mut place = Place::default();
    let mut offsets = ListOffsets::default();
    loop {
        let event = reader
            .read_event()
            .map_err(|error| ManifestError::malformed(clip(&error.to_string())))?;
        match event {
            Event::Start(element) => {
                check_element(&element, &mut elements, depth, ended)?;
                place.enter(depth, element.local_name().as_ref());
                offsets.take(&element, place)?;
                depth += 1;
                if depth > XML_DEPTH_MAX {
                    return Err(ManifestError::TooLarge {
                        what: "depth of XML elements",
                        limit: XML_DEPTH_MAX,
                    });
                }
            }
            Event::Empty(element) => {
                check_element(&element, &mut elements, depth, ended)?;
                place.enter(depth, element.local_name().as_ref());
                offsets.take(&element, place)?;
                ended |= depth == 0;
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                ended |= depth == 0;
            }
            // What comes most often in a manifest's place: a web page that says that there is none.
            Event::DocType(name) if is_html(&name) => {
                return Err(ManifestError::NotAManifest {
                    found: String::from("a web page"),
                });
            }
            Event::DocType(_) => {
                return Err(ManifestError::malformed(
                    "document type declarations are not allowed",
                ));
            }
            Event::GeneralRef(reference) => {
                let known = reference.is_char_ref()
                    || matches!(&*reference, "lt" | "gt" | "amp" | "quot" | "apos");
                if !known {
                    return Err(ManifestError::malformed(format!(
                        "unknown entity {:?}",
                        clip(&reference)
                    )));
                }
            }
            Event::Eof => break,
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_) => {}
        }
    }
    if depth > 0 || elements.others == 0 {
        return Err(ManifestError::malformed("the document is cut off"));
    }
    Ok(offsets)
}

/// `SegmentList@presentationTimeOffset`, which the parser does not know, by the number of the period, of the
/// adaptation set in it and of the representation in that, each from 1; 0 where the list stands further out.
#[derive(Debug, Default)]
pub(crate) struct ListOffsets(BTreeMap<[usize; 3], u64>);

impl ListOffsets {
    /// Returns the offset that holds for a representation: that of the innermost list which has one. Numbers
    /// count from 0.
    pub(crate) fn of(&self, period: usize, set: usize, representation: usize) -> u64 {
        let (period, set, representation) = (period + 1, set + 1, representation + 1);
        let levels = [
            [period, set, representation],
            [period, set, 0],
            [period, 0, 0],
        ];
        let mut found = levels.iter().filter_map(|level| self.0.get(level));
        found.next().copied().unwrap_or(0)
    }

    fn take(&mut self, element: &BytesStart<'_>, place: Place) -> Result<(), ManifestError> {
        if element.local_name().as_ref() != "SegmentList" || !place.is_known() {
            return Ok(());
        }
        for attribute in element.attributes().with_checks(false).flatten() {
            if attribute.key.local_name().as_ref() != "presentationTimeOffset" {
                continue;
            }
            let value = attribute.normalized_value(XmlVersion::default()).ok();
            let offset = value.and_then(|value| value.trim().parse().ok());
            let offset = offset.ok_or_else(|| {
                ManifestError::malformed("SegmentList@presentationTimeOffset is no number of ticks")
            })?;
            self.0.insert(place.numbers, offset);
        }
        Ok(())
    }
}

/// Where in the document an element stands.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Periods so far, adaptation sets of the last one, representations of the last one of those.
    numbers: [usize; 3],
    /// How many elements around the present one are of these kinds, from the root.
    known: usize,
    depth: usize,
}

impl Place {
    /// Goes on to an element with `depth` elements around it.
    fn enter(&mut self, depth: usize, name: &str) {
        const NAMES: [&str; 4] = ["MPD", "Period", "AdaptationSet", "Representation"];
        self.depth = depth;
        self.known = self.known.min(depth);
        if self.known < depth || NAMES.get(depth) != Some(&name) {
            return;
        }
        self.known = depth + 1;
        // The root is not numbered.
        let Some(level) = depth.checked_sub(1) else {
            return;
        };
        for (number, place) in self.numbers.iter_mut().enumerate() {
            match number.cmp(&level) {
                Ordering::Less => {}
                Ordering::Equal => *place += 1,
                Ordering::Greater => *place = 0,
            }
        }
    }

    /// Whether the element stands directly in a period, an adaptation set or a representation.
    const fn is_known(self) -> bool {
        self.depth > 1 && self.known == self.depth
    }
}

fn is_html(doctype: &str) -> bool {
    let name = doctype.split_whitespace().next();
    name.is_some_and(|name| name.eq_ignore_ascii_case("html"))
}

/// Elements seen so far, by what the parser makes of them: a few bytes of an element may become kilobytes.
#[derive(Default)]
struct Elements {
    segments: usize,
    periods: usize,
    sets: usize,
    representations: usize,
    others: usize,
}

impl Elements {
    fn count(&mut self, name: &str) -> Result<(), ManifestError> {
        let (count, limit, what) = match name {
            "S" | "SegmentURL" => (
                &mut self.segments,
                XML_SEGMENTS_MAX,
                "number of S and SegmentURL elements",
            ),
            "Period" => (&mut self.periods, PERIODS_MAX, "number of Period elements"),
            "AdaptationSet" => (
                &mut self.sets,
                REPRESENTATIONS_MAX,
                "number of AdaptationSet elements",
            ),
            "Representation" => (
                &mut self.representations,
                REPRESENTATIONS_MAX,
                "number of Representation elements",
            ),
            _ => (&mut self.others, XML_OTHERS_MAX, "number of XML elements"),
        };
        *count += 1;
        if *count > limit {
            return Err(ManifestError::TooLarge { what, limit });
        }
        Ok(())
    }
}

fn check_element(
    element: &BytesStart<'_>,
    elements: &mut Elements,
    depth: usize,
    ended: bool,
) -> Result<(), ManifestError> {
    let name = element.local_name();
    let name: &str = name.as_ref();
    elements.count(name)?;
    if depth == 0 && (ended || name != "MPD") {
        return Err(ManifestError::NotAManifest {
            found: format!("XML with the root element {:?}", clip(name)),
        });
    }
    let mut attributes = 0;
    for attribute in element.attributes().with_checks(false) {
        attributes += 1;
        if attributes > ATTRIBUTES_MAX {
            return Err(ManifestError::TooLarge {
                what: "number of XML attributes",
                limit: ATTRIBUTES_MAX,
            });
        }
        let wrong = |error: &dyn std::fmt::Display| {
            ManifestError::malformed(clip(&format!("in <{name}>: {error}")))
        };
        let attribute = attribute.map_err(|error| wrong(&error))?;
        let value = attribute
            .normalized_value(XmlVersion::default())
            .map_err(|error| wrong(&error))?;
        let key = attribute.key.local_name();
        let key: &str = key.as_ref();
        if key == "href"
            && matches!(
                name,
                "Period" | "AdaptationSet" | "Representation" | "SegmentList"
            )
        {
            return Err(ManifestError::Xlink);
        }
        if DURATIONS.contains(&key) && overflows(&value) {
            return Err(wrong(&format_args!("@{key} is too long a time")));
        }
    }
    Ok(())
}

/// Tells whether a value has the shape of a duration, with a number too large to add up.
fn overflows(value: &str) -> bool {
    let (whole, _fraction) = value.split_once(['.', ',']).unwrap_or((value, ""));
    let shaped = whole.trim_start_matches(['+', '-']).starts_with('P');
    shaped
        && whole
            .split(|c: char| !c.is_numeric())
            .any(|digits| digits.chars().count() > DURATION_DIGITS_MAX)
}
