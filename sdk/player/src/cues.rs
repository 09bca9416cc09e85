//! Subtitles of the title: which are to be seen at a time.

use std::collections::VecDeque;

use nearcast_media::Cue;
use nearcast_units::MediaTime;

/// Cues by when they appear.
#[derive(Clone, Debug, Default)]
pub(crate) struct CueBook {
    /// Not seen yet.
    coming: VecDeque<Cue>,
    /// To be seen since the last look, by when they appeared.
    active: Vec<Cue>,
    shown: Vec<Cue>,
}

/// An hour of dense subtitles has about a thousand. Past cues are gone already, so that the last ones are left out.
const CUES_MAX: usize = 10_000;
/// No screen has room for more at a time.
const ACTIVE_MAX: usize = 64;
/// Cues that are cut touch their other half within a segment's worth of cues.
const LOOK_BACK: usize = 64;

impl CueBook {
    /// Adds cues. One that touches or overlaps an equal one continues it: packagers cut cues where segments end.
    pub(crate) fn add(&mut self, cues: impl IntoIterator<Item = Cue>) {
        for cue in cues {
            let same = |known: &&mut Cue| {
                known.start <= cue.end
                    && cue.start <= known.end
                    && known.line == cue.line
                    && known.align == cue.align
                    && known.text == cue.text
            };
            let latest = self.coming.iter_mut().rev().take(LOOK_BACK);
            match latest.chain(&mut self.active).find(same) {
                Some(known) => {
                    known.start = known.start.min(cue.start);
                    known.end = known.end.max(cue.end);
                }
                None => self.coming.push_back(cue),
            }
        }
        // Two sorted runs, nearly always: this merges them.
        self.coming.make_contiguous().sort_by_key(|cue| cue.start);
        self.coming.truncate(CUES_MAX);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.coming.clear();
        self.active.clear();
    }

    /// Returns what is to be seen at `position`, if that is something else than before. What was over by then is
    /// forgotten.
    pub(crate) fn advance(&mut self, position: MediaTime) -> Option<&[Cue]> {
        self.active.retain(|cue| position < cue.end);
        while let Some(cue) = self.coming.pop_front_if(|cue| cue.start <= position) {
            if position < cue.end && self.active.len() < ACTIVE_MAX {
                self.active.push(cue);
            }
        }
        if self.active == self.shown {
            return None;
        }
        self.shown.clone_from(&self.active);
        Some(&self.shown)
    }

    /// Returns what is to be seen now.
    pub(crate) fn shown(&self) -> &[Cue] {
        &self.shown
    }

    /// Returns when something else is to be seen after the last look.
    pub(crate) fn next_change(&self) -> Option<MediaTime> {
        let ends = self.active.iter().map(|cue| cue.end);
        ends.chain(self.coming.front().map(|cue| cue.start)).min()
    }
}

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
        assert_eq!(book.next_change(), Some(at(1)));
        assert_eq!(book.advance(at(1)).map(<[Cue]>::len), Some(1));
        assert_eq!(book.advance(at(1)), None);
        assert_eq!(book.advance(at(2)).map(<[Cue]>::len), Some(2));
        assert_eq!(book.advance(at(4)).map(<[Cue]>::len), Some(0));
        assert_eq!(book.next_change(), None);
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

    #[test]
    fn cues_may_come_in_any_order_and_what_is_over_is_forgotten() {
        let mut book = CueBook::default();
        book.add([cue(5, 6, "third"), cue(1, 2, "first")]);
        book.add([cue(3, 4, "second")]);
        let mut seen = Vec::new();
        for second in 0..7 {
            if let Some([cue]) = book.advance(at(second)) {
                seen.push(cue.text.clone());
            }
        }
        assert_eq!(seen, ["first", "second", "third"]);
        assert!(book.coming.is_empty() && book.active.is_empty());
    }

    #[test]
    fn of_too_many_cues_the_next_ones_are_kept() {
        let mut book = CueBook::default();
        let most = i64::try_from(CUES_MAX).unwrap();
        book.add((0..most + 5).map(|second| cue(second, second + 1, &second.to_string())));
        assert_eq!(book.coming.len(), CUES_MAX);
        assert_eq!(book.advance(at(0)).unwrap(), [cue(0, 1, "0")]);
        // All at once: no more than a screen holds.
        book.clear();
        book.add((0..most).map(|index| cue(0, 1, &index.to_string())));
        assert_eq!(book.advance(at(0)).map(<[Cue]>::len), Some(ACTIVE_MAX));
    }
}
