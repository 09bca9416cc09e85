//! Backward induction over (segment, buffer, last rung), once for each path of the rate: what the rest of playback is
//! worth from each state on. The look-ahead of Yin et al. (SIGCOMM 2015) with true sizes, as a dynamic programme in
//! place of its enumeration; several rates at once as in Fugu (Yan et al., NSDI 2020).

use alloc::vec::Vec;

use super::config::HorizonConfig;
use super::grid::{Grid, LEVELS_MAX, Place};
use super::outlook::{Outlook, PATHS};
use crate::abr::{AbrContext, LOOK_AHEAD};

/// Segments planned: with more of them plans cost more and rest on less.
const STEPS: usize = 8;
/// Where the title ends within so many, all that are left are planned: what the buffer holds is to be used up by then, and a plan
/// that does not see the end keeps it.
const STEPS_MAX: usize = LOOK_AHEAD;
/// Segments of this length were played where the numbers were found, in seconds. With others a plan is longer or shorter.
const SEGMENT_S: f64 = 4.0;
/// A switch in such a plan counts at least and at most so many times as much.
const SWITCH_LEAST: f64 = 0.4;
const SWITCH_MOST: f64 = 1.5;
/// Over so many last segments a switch comes to count once at most, as the objective has it: the fewer are left, the less can flip.
const LAST: f64 = 5.0;
/// A stall that the next segment would bring counts as so much longer than it is, in seconds: what is planned to the last moment comes late half of
/// the time.
const LATE_S: f64 = 0.25;
/// More rungs than this are beyond every ladder in use; those above are not planned with.
pub(super) const RUNGS_MAX: usize = 16;
/// An objective's numbers, in values of the highest rung, count as this much at most: beyond it nothing else matters, and sums of
/// infinite ones are no numbers.
const MOST: f64 = 1e6;

type Row = [f32; RUNGS_MAX];
/// Worth by last rung and level: the levels of a rung lie side by side, so that one walk over them does.
type Table = [[f32; LEVELS_MAX]; RUNGS_MAX];

/// The problem in the planner's units (values over the highest rung's, seconds, bits), and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Planner {
    rungs: usize,
    /// Values of the rungs, the highest being 1.
    worth: Row,
    /// What a switch costs between a rung and the one below.
    step: Row,
    steps: usize,
    bits: [Row; STEPS_MAX],
    durations_s: [f32; STEPS_MAX],
    /// What a second of stalling costs.
    pub(super) stall: f32,
    /// What each stall costs beside that; nothing while nothing is played.
    stall_begins: f32,
    /// What a change of value costs, per unit.
    pub(super) switch: f32,
    pub(super) full_s: f32,
    grid: Grid,
    /// Worth of the rest of playback before the next decision, by last rung and level, for each path.
    before: Vec<Table>,
    /// The same once the next segment is there.
    after: Vec<Table>,
    /// The same once the one after it is there.
    later: Vec<Table>,
}

impl Default for Planner {
    fn default() -> Self {
        Self {
            rungs: 0,
            worth: [0.0; RUNGS_MAX],
            step: [0.0; RUNGS_MAX],
            steps: 0,
            bits: [[0.0; RUNGS_MAX]; STEPS_MAX],
            durations_s: [0.0; STEPS_MAX],
            stall: 0.0,
            stall_begins: 0.0,
            switch: 0.0,
            full_s: 0.0,
            grid: Grid::new(1.0),
            before: alloc::vec![[[0.0; LEVELS_MAX]; RUNGS_MAX]; PATHS],
            after: alloc::vec![[[0.0; LEVELS_MAX]; RUNGS_MAX]; PATHS],
            later: alloc::vec![[[0.0; LEVELS_MAX]; RUNGS_MAX]; PATHS],
        }
    }
}

impl Planner {
    /// Plans from what is known; afterwards [`Self::next`] and [`Self::before`] may be asked.
    pub(super) fn plan(&mut self, context: &AbrContext, outlook: &Outlook, config: &HorizonConfig) {
        self.pose(context, outlook, config);
        // Buffer that is left when the title ends is worth nothing.
        let goes_on = context
            .left
            .is_none_or(|left| usize::try_from(left).is_ok_and(|left| left > self.steps));
        let buffer_s = context.buffer.as_secs_f64() as f32;
        for path in 0..PATHS {
            let mut rest = [[0.0; LEVELS_MAX]; RUNGS_MAX];
            if goes_on {
                self.end(&mut rest, context, outlook, path, config);
            }
            for step in (1..self.steps).rev() {
                if step == 1 {
                    self.later[path] = rest;
                }
                rest = self.back(&rest, step, buffer_s, path, outlook);
            }
            self.before[path] = self.back(&rest, 0, buffer_s, path, outlook);
            self.after[path] = rest;
        }
    }

    fn pose(&mut self, context: &AbrContext, outlook: &Outlook, config: &HorizonConfig) {
        let top = context.top_value();
        self.rungs = context.ladder.len().min(RUNGS_MAX);
        let stall = config.stall * config.stall_by.times(&outlook.signs, 1.5);
        self.stall = narrow(context.weights.stall / top * stall);
        // Where nothing is played no stall can begin.
        let begins = context.weights.stall_begins / top + context.weights.stall / top * LATE_S;
        self.stall_begins = if context.playing {
            narrow(begins * stall)
        } else {
            0.0
        };
        // The shorter a plan, the less of what a switch brings is in it, and the less of it is known at its end. The square
        // is from recorded networks played with segments of 3 s.
        let ahead = context.ahead.iter().take(STEPS);
        let longest = ahead.map(|one| one.duration).max();
        let plan = longest.map_or(1.0, |longest| longest.as_secs_f64() / SEGMENT_S);
        let switch = config.switch
            * config.switch_by.times(&outlook.signs, 1.0)
            * (plan * plan).clamp(SWITCH_LEAST, SWITCH_MOST);
        let after = context.left.map(|left| f64::from(left.saturating_sub(1)));
        let flips = after.map_or(1.0, |after| (after / LAST).min(1.0));
        let switch = switch * flips + switch.min(1.0) * (1.0 - flips);
        self.switch = narrow(context.weights.switch * switch);
        for (worth, rung) in self.worth.iter_mut().zip(&context.ladder) {
            *worth = narrow(rung.value / top);
        }
        for rung in 1..self.rungs {
            self.step[rung] = self.switch * (self.worth[rung] - self.worth[rung - 1]).abs();
        }
        let known = context.ahead.len().min(STEPS_MAX);
        let ends = context
            .left
            .is_some_and(|left| usize::try_from(left).is_ok_and(|left| left <= known));
        self.steps = if ends { known } else { known.min(STEPS) };
        for (step, segment) in context.ahead.iter().take(self.steps).enumerate() {
            self.durations_s[step] = segment.duration.as_secs_f64() as f32;
            for rung in 0..self.rungs {
                self.bits[step][rung] = context.size_ahead(step, rung).get() as f32 * 8.0;
            }
        }
        let full_s = context.buffer_max.as_secs_f64() as f32;
        if full_s.to_bits() != self.full_s.to_bits() {
            self.full_s = full_s;
            self.grid = Grid::new(full_s);
        }
    }

    /// What is left where the plan ends before the title does: buffer, each second of it worth less than the one
    /// before, and being at the rung that the rate sustains.
    fn end(
        &self,
        rest: &mut Table,
        context: &AbrContext,
        outlook: &Outlook,
        path: usize,
        config: &HorizonConfig,
    ) {
        let rate_bps = outlook.settles_at_bps(path);
        let signs = &outlook.signs;
        let highest = context
            .ladder
            .last()
            .map_or(1.0, |one| one.bitrate.as_f64().max(1.0));
        let sustained = context
            .ladder
            .partition_point(|one| one.bitrate.as_f64() <= rate_bps)
            .clamp(1, self.rungs.max(1))
            - 1;
        let duration_s = self.durations_s.first().map_or(4.0, |one| one.max(0.1));
        let enough_s = (config.kept_until.as_secs_f64() as f32).min(self.full_s * 0.9);
        let kept = (config.kept * config.kept_by.times(signs, 1.5) * (rate_bps / highest).min(1.0))
            as f32
            * enough_s
            / duration_s
            / 4.0;
        let level = (config.level * config.level_by.times(signs, 1.5)) as f32;
        let levels_s = self.grid.levels_s();
        for (row, of_rung) in rest.iter_mut().zip(&self.worth).take(self.rungs) {
            let off = (of_rung - self.worth[sustained]).abs();
            for (worth, level_s) in row.iter_mut().zip(levels_s) {
                let filled = (level_s / enough_s).min(1.0);
                *worth = kept * filled * (2.0 - filled) - level * off;
            }
        }
    }

    /// One segment earlier: for each level and last rung, the best rung's worth.
    fn back(
        &self,
        rest: &Table,
        step: usize,
        buffer_s: f32,
        path: usize,
        outlook: &Outlook,
    ) -> Table {
        let played_s: f32 = self.durations_s.iter().take(step).sum();
        // The buffer cannot grow beyond this until then; one level more is there to interpolate with.
        let most_s = buffer_s + played_s + 1e-3;
        let reached = self
            .grid
            .levels_s()
            .partition_point(|level_s| *level_s <= most_s)
            + 1;
        let levels_s = self.grid.levels_s();
        let levels_s = levels_s.get(..reached).unwrap_or(levels_s);
        // Without stalls and pauses, what is played since now and the level say how late it is.
        let mut slowness = [0.0; LEVELS_MAX];
        for (slowness, level_s) in slowness.iter_mut().zip(levels_s) {
            *slowness = outlook.slowness(path, played_s + buffer_s - level_s);
        }
        let lasts_s = self.durations_s[step];
        let mut table: Table = [[0.0; LEVELS_MAX]; RUNGS_MAX];
        for (rung, (row, rest)) in table.iter_mut().zip(rest).enumerate().take(self.rungs) {
            let (bits, of_rung) = (self.bits[step][rung], self.worth[rung]);
            // The higher the level, the higher the one after it, but where the rate falls: it is looked for beside the last one.
            let mut place = Place::default();
            for ((worth, level_s), slowness) in row.iter_mut().zip(levels_s).zip(&slowness) {
                let spare_s = level_s - outlook.ttfb_s - bits * slowness;
                let then_s = (spare_s.max(0.0) + lasts_s).min(self.full_s);
                place = self.grid.beside(place, then_s);
                *worth = of_rung - self.stall * (-spare_s).max(0.0) + place.of(rest);
            }
        }
        // The best over all rungs with the cost of the switch: two sweeps, as the cost adds up from rung to rung.
        for rung in 1..self.rungs {
            let (lower, higher) = table.split_at_mut(rung);
            let (lower, higher) = (&lower[rung - 1], &mut higher[0]);
            for (worth, below) in higher.iter_mut().zip(lower).take(reached) {
                *worth = worth.max(below - self.step[rung]);
            }
        }
        for rung in (1..self.rungs).rev() {
            let (lower, higher) = table.split_at_mut(rung);
            let (lower, higher) = (&mut lower[rung - 1], &higher[0]);
            for (worth, above) in lower.iter_mut().zip(higher).take(reached) {
                *worth = worth.max(above - self.step[rung]);
            }
        }
        table
    }

    /// Worth of fetching a segment at a rung from a level, what follows included, without the switch.
    fn fetched(&self, rest: &Table, step: usize, rung: usize, level_s: f32, takes_s: f32) -> f32 {
        let spare_s = level_s - takes_s;
        let then_s = (spare_s.max(0.0) + self.durations_s[step]).min(self.full_s);
        self.worth[rung] - self.stall * (-spare_s).max(0.0) + self.look_up(rest, then_s, rung)
    }

    fn look_up(&self, table: &Table, buffer_s: f32, rung: usize) -> f32 {
        self.grid.place(buffer_s).of(&table[rung])
    }

    /// How many rungs are planned with.
    pub(super) fn rungs(&self) -> usize {
        self.rungs
    }

    /// What a rung is worth, the highest being 1.
    pub(super) fn worth(&self, rung: usize) -> f32 {
        self.worth.get(rung).copied().unwrap_or(0.0)
    }

    /// What it costs to go from one rung to another.
    pub(super) fn switching(&self, from: usize, to: usize) -> f32 {
        self.switch * (self.worth(to) - self.worth(from)).abs()
    }

    /// Worth of the next segment at a rung for all paths together, if it takes so long on each of them. The one after it
    /// has the same rung on all of them, too: which of them it is shows only by and by.
    pub(super) fn next(
        &self,
        outlook: &Outlook,
        rung: usize,
        buffer_s: f32,
        takes_s: [f32; PATHS],
    ) -> f32 {
        let rung = rung.min(self.rungs.saturating_sub(1));
        let mut worth = self.worth[rung];
        let mut then_s = [0.0; PATHS];
        for path in 0..PATHS {
            let spare_s = buffer_s - takes_s[path];
            if spare_s < 0.0 {
                let late = self.stall_begins - self.stall * spare_s;
                worth -= outlook.share[path] * late;
            }
            then_s[path] = (spare_s.max(0.0) + self.durations_s[0]).min(self.full_s);
        }
        if self.steps < 2 {
            let rest = |path: usize| {
                outlook.share[path] * self.look_up(&self.after[path], then_s[path], rung)
            };
            return worth + (0..PATHS).map(rest).sum::<f32>();
        }
        let ends_s = buffer_s + self.durations_s[0];
        let second = |second: usize| {
            let all = |path: usize| {
                // While playback stalls, nothing is played.
                let asked_s = takes_s[path].max(ends_s - then_s[path]);
                let slowness = outlook.slowness(path, asked_s);
                let takes_s = outlook.ttfb_s + self.bits[1][second] * slowness;
                let rest = &self.later[path];
                outlook.share[path] * self.fetched(rest, 1, second, then_s[path], takes_s)
            };
            (0..PATHS).map(all).sum::<f32>() - self.switching(rung, second)
        };
        let best = (0..self.rungs)
            .map(second)
            .fold(f32::NEG_INFINITY, f32::max);
        worth + best
    }

    /// Worth of playback from the next decision on.
    pub(super) fn before(&self, path: usize, buffer_s: f32, last: usize) -> f32 {
        self.before.get(path).map_or(0.0, |table| {
            self.look_up(
                table,
                buffer_s.max(0.0),
                last.min(self.rungs.saturating_sub(1)),
            )
        })
    }

    /// Bits of the next segment at a rung.
    pub(super) fn bits_next(&self, rung: usize) -> f32 {
        self.bits[0].get(rung).copied().unwrap_or(0.0)
    }

    /// How long the next segment plays.
    pub(super) fn duration_next_s(&self) -> f32 {
        self.durations_s[0]
    }
}

fn narrow(number: f64) -> f32 {
    number.clamp(-MOST, MOST) as f32
}
