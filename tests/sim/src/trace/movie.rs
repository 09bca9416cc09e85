//! What is played: a ladder and the true size of every segment on every rung.

use serde::Deserialize;
use thiserror::Error;

/// A title as published simulators describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct Movie {
    segment_ms: f64,
    bitrates_kbps: Vec<f64>,
    /// Row after row: all rungs of a segment beside each other.
    sizes_bits: Vec<f64>,
}

/// Why a text is no movie.
#[derive(Debug, Error)]
pub enum MovieError {
    /// It is no JSON, or a field is missing or of another type.
    #[error(
        "line {line}, column {column}: {what}; a movie is {{\"segment_duration_ms\": 4000, \
         \"bitrates_kbps\": [300, …], \"segment_sizes_bits\": [[1454408, …], …]}}"
    )]
    Form {
        /// Counted from 1; 0 when the text is empty.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What the parser says.
        what: String,
    },
    /// The segment duration is no span of time.
    #[error("line {line}: segment_duration_ms is {found}, not a number above 0, at most 1e6")]
    Duration {
        /// Counted from 1.
        line: usize,
        /// What is there.
        found: f64,
    },
    /// The ladder has no rungs.
    #[error("line {line}: bitrates_kbps is empty: at least one rung is needed, ascending")]
    NoRungs {
        /// Counted from 1.
        line: usize,
    },
    /// A rung is not above the one before, or no rate.
    #[error(
        "line {line}: bitrates_kbps[{rung}] is {found} after {before}: the ladder ascends, from above 0 to at most 1e9"
    )]
    Ladder {
        /// Counted from 1.
        line: usize,
        /// Which one, from 0.
        rung: usize,
        /// What is there.
        found: f64,
        /// The rung before it, or 0.
        before: f64,
    },
    /// There are no segments.
    #[error("line {line}: segment_sizes_bits is empty: one list for each segment is needed")]
    NoSegments {
        /// Counted from 1.
        line: usize,
    },
    /// A segment has too few or too many sizes.
    #[error(
        "line {line}: segment_sizes_bits[{segment}] has {found} size(s), not {wanted}, one for each rung"
    )]
    Sizes {
        /// Counted from 1.
        line: usize,
        /// Which one, from 0.
        segment: usize,
        /// How many are there.
        found: usize,
        /// How many rungs the ladder has.
        wanted: usize,
    },
    /// A segment's size is none.
    #[error(
        "line {line}: segment_sizes_bits[{segment}][{rung}] is {found}, not a number from 1 to 1e12"
    )]
    Size {
        /// Counted from 1.
        line: usize,
        /// Which one, from 0.
        segment: usize,
        /// Which one, from 0.
        rung: usize,
        /// What is there.
        found: f64,
    },
}

#[derive(Deserialize)]
struct Form {
    segment_duration_ms: f64,
    bitrates_kbps: Vec<f64>,
    segment_sizes_bits: Vec<Vec<f64>>,
}

const SEGMENT_MS_MAX: f64 = 1e6;
const KBPS_MAX: f64 = 1e9;
const SIZE_BITS_MAX: f64 = 1e12;

impl Movie {
    /// Reads the JSON of a movie.
    ///
    /// # Errors
    /// When it is none; the error names the line, what is wrong and what would be right.
    pub fn read(text: &str) -> Result<Self, MovieError> {
        let form: Form = serde_json::from_str(text).map_err(|error| MovieError::Form {
            line: error.line(),
            column: error.column(),
            what: plain(&error),
        })?;
        let line = |key| line_of(text, key, None);
        if !(form.segment_duration_ms > 0.0 && form.segment_duration_ms <= SEGMENT_MS_MAX) {
            return Err(MovieError::Duration {
                line: line("segment_duration_ms"),
                found: form.segment_duration_ms,
            });
        }
        check_ladder(&form.bitrates_kbps, line("bitrates_kbps"))?;
        if form.segment_sizes_bits.is_empty() {
            return Err(MovieError::NoSegments {
                line: line("segment_sizes_bits"),
            });
        }
        for (segment, sizes) in form.segment_sizes_bits.iter().enumerate() {
            let line = || line_of(text, "segment_sizes_bits", Some(segment));
            if sizes.len() != form.bitrates_kbps.len() {
                return Err(MovieError::Sizes {
                    line: line(),
                    segment,
                    found: sizes.len(),
                    wanted: form.bitrates_kbps.len(),
                });
            }
            let wrong = |size: &f64| !(1.0..=SIZE_BITS_MAX).contains(size);
            if let Some(rung) = sizes.iter().position(wrong) {
                return Err(MovieError::Size {
                    line: line(),
                    segment,
                    rung,
                    found: sizes[rung],
                });
            }
        }
        Ok(Self {
            segment_ms: form.segment_duration_ms,
            bitrates_kbps: form.bitrates_kbps,
            sizes_bits: form.segment_sizes_bits.concat(),
        })
    }

    /// Returns how long a segment plays.
    #[must_use]
    pub fn segment_ms(&self) -> f64 {
        self.segment_ms
    }

    /// Returns the ladder, ascending, by nominal rate.
    #[must_use]
    pub fn bitrates_kbps(&self) -> &[f64] {
        &self.bitrates_kbps
    }

    /// Returns how many rungs there are; at least one.
    #[must_use]
    pub fn rungs(&self) -> usize {
        self.bitrates_kbps.len()
    }

    /// Returns how many segments there are before they repeat; at least one.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.sizes_bits.len() / self.rungs()
    }

    /// Returns the sizes of a segment on all rungs. Past the end, segments repeat.
    #[must_use]
    pub fn sizes_bits(&self, segment: usize) -> &[f64] {
        let from = segment % self.segments() * self.rungs();
        &self.sizes_bits[from..from + self.rungs()]
    }
}

fn check_ladder(ladder: &[f64], line: usize) -> Result<(), MovieError> {
    if ladder.is_empty() {
        return Err(MovieError::NoRungs { line });
    }
    let mut before = 0.0;
    for (rung, kbps) in ladder.iter().enumerate() {
        if !(*kbps > before && *kbps <= KBPS_MAX) {
            return Err(MovieError::Ladder {
                line,
                rung,
                found: *kbps,
                before,
            });
        }
        before = *kbps;
    }
    Ok(())
}

/// Returns the parser's words without the place, which is told apart.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Returns the line of a key or of the list with this number in its list. The text is a movie's by form, so that a
/// bracket is never part of a string in it.
fn line_of(text: &str, key: &str, row: Option<usize>) -> usize {
    let key = text.find(&format!("\"{key}\"")).unwrap_or_default();
    let lists = text[key..].match_indices('[').map(|(at, _)| key + at);
    // The first bracket opens the list of lists.
    let at = row.and_then(|row| lists.skip(1).nth(row)).unwrap_or(key);
    text[..at].matches('\n').count() + 1
}
