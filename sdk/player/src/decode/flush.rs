//! What is to be forgotten of what waits for a decoder. Everything that waits bears the number of flushes before it.

use nearcast_units::MediaTime;

/// One flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flush {
    /// What was sent before it has a lower number.
    pub(super) generation: u32,
    pub(super) from: MediaTime,
    /// Also what comes before `from`.
    pub(super) everything: bool,
}

/// Flushes in a row, without those that a later one covers: at most one of everything, which is the first, then ever
/// later places.
#[derive(Clone, Debug, Default)]
pub(super) struct Flushes(Vec<Flush>);

/// Nobody chooses so often before a decoder looks; of more, the latest become one.
const FLUSHES_MAX: usize = 16;

impl Flushes {
    pub(super) fn add(&mut self, flush: Flush) {
        self.0.retain(|earlier| {
            !flush.everything && (earlier.everything || earlier.from < flush.from)
        });
        let is_full = self.0.len() == FLUSHES_MAX;
        match self.0.last_mut() {
            // The place of the one before is the earlier: nothing that is to be forgotten is kept.
            Some(last) if is_full => last.generation = flush.generation,
            _ => self.0.push(flush),
        }
    }

    /// Returns whether what was sent with this number, to be presented at `pts`, is to be forgotten.
    pub(super) fn forget(&self, generation: u32, pts: MediaTime) -> bool {
        let mut later = self.0.iter().filter(|flush| flush.generation > generation);
        later.any(|flush| flush.everything || pts >= flush.from)
    }

    /// Nothing with a lower number comes any more.
    pub(super) fn reached(&mut self, generation: u32) {
        self.0.retain(|flush| flush.generation > generation);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Flush> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flushes numbered from 1 on, by second; negative ones are of everything.
    fn flushes(all: &[i64]) -> Flushes {
        let mut flushes = Flushes::default();
        for (generation, second) in (1..).zip(all) {
            flushes.add(Flush {
                generation,
                from: MediaTime::from_micros(second.abs() * 1_000_000),
                everything: *second < 0,
            });
        }
        flushes
    }

    #[test]
    fn each_sample_is_judged_by_the_flushes_after_it() {
        // Which flushes, then a sample's number and second, and whether it is stale.
        for (all, generation, second, stale) in [
            (&[][..], 0, 5, false),
            (&[5], 0, 4, false),
            (&[5], 0, 5, true),
            (&[5], 1, 5, false),
            (&[-5], 0, 9, true),
            (&[-5], 0, 1, true),
            // A seek, then another language: what came between them and before the change is to be heard.
            (&[-5, 8], 1, 6, false),
            (&[-5, 8], 1, 8, true),
            (&[-5, 8], 0, 6, true),
            // The other way round.
            (&[8, -5], 1, 6, true),
            (&[8, -5], 2, 9, false),
            // Two changes, either order.
            (&[5, 8], 0, 6, true),
            (&[5, 8], 1, 6, false),
            (&[8, 5], 0, 6, true),
            (&[8, 5], 1, 6, true),
            (&[8, 5], 2, 6, false),
        ] {
            let pts = MediaTime::from_micros(second * 1_000_000);
            let mut flushes = flushes(all);
            assert_eq!(
                flushes.forget(generation, pts),
                stale,
                "{all:?} {generation} {second}"
            );
            flushes.reached(generation);
            assert_eq!(
                flushes.forget(generation, pts),
                stale,
                "{all:?} {generation} {second}"
            );
        }
    }

    #[test]
    fn however_many_there_are_few_are_kept() {
        let all: Vec<i64> = (1..100).collect();
        let mut kept = flushes(&all);
        assert_eq!(kept.iter().count(), FLUSHES_MAX);
        kept.reached(99);
        assert_eq!(kept.iter().count(), 0);
        assert_eq!(flushes(&[9, 8, 7]).iter().count(), 1);
    }

    #[test]
    fn what_was_to_be_forgotten_stays_so_however_many_there_are() {
        let at = |second| MediaTime::from_micros(second * 1_000_000);
        // A seek, then ever later places.
        let mut all = vec![-1];
        all.extend(100..100 + 3 * i64::try_from(FLUSHES_MAX).unwrap());
        let kept = flushes(&all);
        assert_eq!(kept.iter().count(), FLUSHES_MAX);
        assert!(kept.forget(0, at(50)), "what came before the seek");
        assert!(!kept.forget(1, at(50)), "what came after it");
        for (generation, second) in (1..).zip(&all).skip(1) {
            assert!(kept.forget(generation - 1, at(*second)), "{second}");
        }
        let latest = u32::try_from(all.len()).unwrap();
        assert!(!kept.forget(latest, at(999)));
    }
}
