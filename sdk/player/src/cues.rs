//! Subtitles of the title: which are to be seen at a time.

use nearcast_media::Cue;
use nearcast_units::MediaTime;

/// Cues by when they appear.
#[derive(Clone, Debug, Default)]
pub(crate) struct CueBook {
    cues: Vec<Cue>,
    shown: Vec<Cue>,
}

/// An hour of dense subtitles has about a thousand; past cues go first.
const CUES_MAX: usize = 10_000;

impl CueBook {
    /// Adds cues. One that touches or overlaps an equal one continues it: packagers cut cues where segments end.
    pub(crate) fn add(&mut self, cues: impl IntoIterator<Item = Cue>) {
        for cue in cues {
            let same = |known: &&mut Cue| {
                known.text == cue.text
                    && known.line == cue.line
                    && known.align == cue.align
                    && known.start <= cue.end
                    && cue.start <= known.end
            };
            match self.cues.iter_mut().rev().take(LOOK_BACK).find(same) {
                Some(known) => {
                    known.start = known.start.min(cue.start);
                    known.end = known.end.max(cue.end);
                }
                None => {
                    let at = self.cues.partition_point(|known| known.start <= cue.start);
                    self.cues.insert(at, cue);
                    if self.cues.len() > CUES_MAX {
                        self.cues.remove(0);
                    }
                }
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.cues.clear();
    }

    /// Returns what is to be seen at `position`, if that is something else than before.
    pub(crate) fn advance(&mut self, position: MediaTime) -> Option<&[Cue]> {
        let active = || {
            self.cues
                .iter()
                .filter(|cue| cue.start <= position && position < cue.end)
        };
        if active().eq(self.shown.iter()) {
            return None;
        }
        self.shown = active().cloned().collect();
        Some(&self.shown)
    }

    /// Returns what is to be seen now.
    pub(crate) fn shown(&self) -> &[Cue] {
        &self.shown
    }

    /// Returns when something else is to be seen after `position`.
    pub(crate) fn next_change(&self, position: MediaTime) -> Option<MediaTime> {
        self.cues
            .iter()
            .flat_map(|cue| [cue.start, cue.end])
            .filter(|at| *at > position)
            .min()
    }
}

/// Cues that are cut touch their other half within a segment's worth of cues.
const LOOK_BACK: usize = 64;

#[cfg(test)]
mod tests {
    use nearcast_media::CueAlign;

    use super::*;

    fn cue(start_s: i64, end_s: i64, text: &str) -> Cue {
        Cue {
            start: at(start_s),
            end: at(end_s),
            text: text.to_owned(),
            line: None,
            align: CueAlign::Center,
        }
    }

    fn at(seconds: i64) -> MediaTime {
        MediaTime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn cues_are_told_when_they_appear_and_when_they_go() {
        let mut book = CueBook::default();
        book.add([cue(1, 3, "one"), cue(2, 4, "two")]);
        assert_eq!(book.advance(at(0)), None);
        assert_eq!(book.next_change(at(0)), Some(at(1)));
        assert_eq!(book.advance(at(1)).map(<[Cue]>::len), Some(1));
        assert_eq!(book.advance(at(1)), None);
        assert_eq!(book.advance(at(2)).map(<[Cue]>::len), Some(2));
        assert_eq!(book.advance(at(4)).map(<[Cue]>::len), Some(0));
        assert_eq!(book.next_change(at(4)), None);
    }

    #[test]
    fn a_cue_that_was_cut_at_a_segment_is_one_cue() {
        let mut book = CueBook::default();
        book.add([cue(2, 4, "long")]);
        book.add([cue(4, 6, "long"), cue(4, 5, "other")]);
        book.add([cue(4, 6, "long")]);
        assert_eq!(book.advance(at(4)).map(<[Cue]>::len), Some(2));
        assert_eq!(book.advance(at(5)).unwrap(), [cue(2, 6, "long")]);
    }
}
