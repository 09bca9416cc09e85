//! Levels of the buffer that the planner tells apart: fine where a stall is near, coarse above.

/// How many there are at most.
pub(super) const LEVELS_MAX: usize = 50;
/// Fine steps and coarse steps, in seconds.
const FINE_S: f32 = 0.7;
const COARSE_S: f32 = 2.4;

/// The levels, and where a buffer lies between them.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    levels_s: [f32; LEVELS_MAX],
    count: usize,
    /// Where the steps become coarse: the level in seconds, and its place.
    knee_s: f32,
    knee: f32,
    per_fine: f32,
    per_coarse: f32,
}

/// Between which two levels a buffer lies, and how far from the lower one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) level: usize,
    pub(super) share: f32,
}

impl Place {
    /// What lies there, of numbers that the levels have.
    pub(super) fn of(self, levels: &[f32; LEVELS_MAX]) -> f32 {
        let below = levels[self.level];
        below + (levels[self.level + 1] - below) * self.share
    }
}

impl Grid {
    /// Lays levels from empty to full.
    pub(super) fn new(full_s: f32) -> Self {
        let full_s = full_s.max(1.0);
        let knee_s = (full_s * 0.4).min(12.0);
        let fine = libm::roundf(knee_s / FINE_S).max(8.0);
        let room = (LEVELS_MAX - 1) as f32 - fine;
        let coarse = libm::roundf((full_s - knee_s) / COARSE_S).clamp(6.0, room);
        let mut levels_s = [0.0; LEVELS_MAX];
        let count = (fine + coarse) as usize + 1;
        for (place, level) in levels_s.iter_mut().enumerate().take(count) {
            let place = place as f32;
            *level = if place <= fine {
                place * knee_s / fine
            } else {
                knee_s + (place - fine) * (full_s - knee_s) / coarse
            };
        }
        Self {
            levels_s,
            count,
            knee_s,
            knee: fine,
            per_fine: fine / knee_s,
            per_coarse: coarse / (full_s - knee_s),
        }
    }

    /// Returns the levels in seconds, from empty to full.
    pub(super) fn levels_s(&self) -> &[f32] {
        self.levels_s.get(..self.count).unwrap_or_default()
    }

    /// Finds a buffer near where another one was: quicker than [`Self::place`] for one after the other.
    pub(super) fn beside(&self, last: Place, buffer_s: f32) -> Place {
        let mut level = last.level.min(self.count - 2);
        while level + 2 < self.count && buffer_s >= self.levels_s[level + 1] {
            level += 1;
        }
        while level > 0 && buffer_s < self.levels_s[level] {
            level -= 1;
        }
        let per = if level < self.knee as usize {
            self.per_fine
        } else {
            self.per_coarse
        };
        let share = ((buffer_s - self.levels_s[level]) * per).min(1.0);
        Place { level, share }
    }

    /// Finds a buffer between the levels; beyond the highest it counts as full.
    pub(super) fn place(&self, buffer_s: f32) -> Place {
        let place = if buffer_s < self.knee_s {
            buffer_s.max(0.0) * self.per_fine
        } else {
            self.knee + (buffer_s - self.knee_s) * self.per_coarse
        };
        let place = place.min((self.count - 1) as f32);
        let level = (place as usize).min(self.count - 2);
        Place {
            level,
            share: place - level as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_lies_where_its_level_is() {
        for full_s in [1.0, 4.0, 10.0, 25.0, 30.0, 60.0, 600.0] {
            let grid = Grid::new(full_s);
            let levels = grid.levels_s();
            assert!(levels.is_sorted() && levels.len() <= LEVELS_MAX);
            for buffer_s in [0.0, 0.3, 1.7, 9.9, 23.4, 59.0, 1000.0] {
                // Looked for at once, and from either end.
                let from = |level| Place { level, share: 0.0 };
                let beside = |level| grid.beside(from(level), buffer_s);
                for at in [grid.place(buffer_s), beside(0), beside(LEVELS_MAX)] {
                    let found = at.of(&grid.levels_s);
                    assert!(
                        (found - buffer_s.min(full_s)).abs() < 1e-3,
                        "{full_s} {buffer_s} {found}"
                    );
                }
            }
        }
    }
}
