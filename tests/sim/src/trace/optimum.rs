//! The best that any rule could have done, knowing the whole network beforehand.
//!
//! A label-setting dynamic programme. For each segment and rung there are labels: when the segment was there, how long
//! playback had stood still by then, and what bitrates minus changes had added up to; the buffer follows from the
//! first two. Later is never better on a link that serves in order, so a label is of no use beside another one that
//! is no later and is worth no less even after both have stood still for the longer of the two times. That holds
//! between rungs too, after paying for the change. There are no grids of time or buffer.
//!
//! The cap on the buffer makes that inexact now and then. Who stood still for longer at the same time has more in the
//! buffer, is at the cap sooner and waits there, while the label that was dropped for it would have gone on fetching,
//! perhaps at the better rate. A session through that label may then be better by more than the tolerance. Of 800 small
//! worlds in which all paths were tried, with 8 segments and room for one and a half, 2 lost something so, the worse
//! one 0.11 Mbit/s for each segment; with room for two and more none did.
//!
//! Left out, as foresight makes it useless: waiting, giving up, replacement. The path is played again in the profile
//! itself, so that the answer is a session that exists.

use super::{
    Cursor, Network, PENSIEVE_RATE, PENSIEVE_RTT_MS, Played, Profile, Rule, SessionError, Setup,
    Step, View, run,
};

/// How hard to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// A label worth no more than this, in Mbit/s of one segment, beyond another one is dropped.
    pub tolerance: f64,
    /// Labels kept of a segment and rung; where there are more, the tolerance of that segment is
    /// raised until they fit.
    pub labels: usize,
}

impl Effort {
    /// For a limit that other figures are compared with. Half a second for 48 segments and six rungs, some seconds for
    /// 199 and ten; on the public sets within 0.001 of what twice as many labels find.
    pub const USUAL: Self = Self {
        tolerance: 0.002,
        labels: 2_500,
    };
}

/// The best session found.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimum {
    /// What the profile makes of its path.
    pub played: Played,
    /// No session is better by more than this, in Mbit/s for each segment that counts, but for what the cap on the
    /// buffer hides (see the module). Else proven, and far from what is really lost.
    pub tolerance: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    /// When the segment is there, on the network's clock.
    pub(super) ready_ms: f64,
    /// Stood still so far, with start-up where that counts.
    pub(super) stall_ms: f64,
    /// Bitrates minus changes, in Mbit/s.
    pub(super) gain: f64,
    pub(super) buffer_ms: f64,
    pub(super) rung: usize,
    /// Index into the arena of paths.
    pub(super) path: usize,
}

impl Label {
    fn worth(&self, mu: f64) -> f64 {
        self.gain - mu * self.stall_ms / 1e3
    }
}

/// Finds the best session.
///
/// # Errors
/// As [`run`].
#[expect(clippy::cast_precision_loss, reason = "a count of segments")]
pub fn optimum(setup: &Setup<'_>, effort: Effort) -> Result<Optimum, SessionError> {
    // Refuses what cannot be run at all, and is what to beat.
    let lowest = run(setup, &mut Path(&[], 0))?;
    let link = Link::new(setup);
    let mut paths: Vec<(usize, usize)> = Vec::new();
    let mut labels = link.first();
    keep_paths(&mut labels, &mut paths);
    let (mut lost, mut tolerance) = (0.0, 0.0);
    for segment in 1..setup.segments {
        let mut reached = Vec::with_capacity(labels.len() * setup.movie.rungs());
        for label in &labels {
            link.extend(label, segment, &mut reached);
        }
        let (kept, took) = thin(setup, reached, effort, tolerance);
        tolerance = took;
        lost += took;
        labels = kept;
        keep_paths(&mut labels, &mut paths);
    }
    let best = labels
        .iter()
        .max_by(|a, b| a.worth(setup.mu).total_cmp(&b.worth(setup.mu)));
    let mut rungs = Vec::with_capacity(setup.segments);
    let mut at = best.map(|label| label.path);
    while let Some(index) = at {
        let (before, rung) = paths[index];
        rungs.push(rung);
        at = (before != index).then_some(before);
    }
    rungs.reverse();
    let played = run(setup, &mut Path(&rungs, 0))?;
    let played = if played.qoe(setup.mu) < lowest.qoe(setup.mu) {
        lowest
    } else {
        played
    };
    Ok(Optimum {
        tolerance: lost / played.counts().max(1) as f64,
        played,
    })
}

/// Writes the labels' way here down, each as the place of its forerunner and its rung; a first one is its own.
fn keep_paths(labels: &mut [Label], paths: &mut Vec<(usize, usize)>) {
    for label in labels {
        let here = paths.len();
        let before = if label.path == usize::MAX {
            here
        } else {
            label.path
        };
        paths.push((before, label.rung));
        label.path = here;
    }
}

/// A rule that follows a path; past its end, the lowest rung.
struct Path<'a>(&'a [usize], usize);

impl Rule for Path<'_> {
    fn first(&mut self, _view: &View<'_>) -> usize {
        self.0.first().copied().unwrap_or(self.1)
    }

    fn next(&mut self, view: &View<'_>) -> Step {
        Step::Next {
            rung: self.0.get(view.index).copied().unwrap_or(self.1),
            wait_ms: 0.0,
        }
    }
}

/// How a profile moves from one label to the next.
pub(super) struct Link<'a> {
    setup: &'a Setup<'a>,
    network: &'a Network,
    segment_ms: f64,
    /// Whether all periods have this latency.
    latency_ms: Option<f64>,
}

impl<'a> Link<'a> {
    pub(super) fn new(setup: &'a Setup<'a>) -> Self {
        let periods = setup.network.periods();
        let first = periods[0].latency_ms;
        let same = periods
            .iter()
            .all(|period| (period.latency_ms - first).abs() < f64::EPSILON);
        Self {
            setup,
            network: setup.network,
            segment_ms: setup.movie.segment_ms(),
            latency_ms: same.then_some(first),
        }
    }

    /// Returns the labels of the first segment.
    fn first(&self) -> Vec<Label> {
        let ladder = self.setup.movie.bitrates_kbps();
        let rungs = match self.setup.profile {
            Profile::Sabre => 0..ladder.len(),
            // Forced, and not counted.
            Profile::Pensieve => 1..2,
        };
        let sizes = self.setup.movie.sizes_bits(0);
        let label = |rung: usize| {
            let begun_ms = self.begun(0.0);
            let ready_ms = self.ready(begun_ms, sizes[rung]);
            let (stall_ms, gain) = match self.setup.profile {
                Profile::Sabre => (ready_ms, ladder[rung] / 1e3),
                Profile::Pensieve => (0.0, 0.0),
            };
            let mut label = Label {
                ready_ms,
                stall_ms,
                gain,
                buffer_ms: self.segment_ms,
                rung,
                path: usize::MAX,
            };
            self.settle(&mut label);
            label
        };
        rungs.map(label).collect()
    }

    /// Adds what may follow a label.
    pub(super) fn extend(&self, label: &Label, segment: usize, reached: &mut Vec<Label>) {
        let ladder = self.setup.movie.bitrates_kbps();
        let begun_ms = self.begun(label.ready_ms);
        let beside_ms = match self.setup.profile {
            Profile::Sabre => 0.0,
            Profile::Pensieve => PENSIEVE_RTT_MS,
        };
        for (rung, size) in self.setup.movie.sizes_bits(segment).iter().enumerate() {
            let ready_ms = self.ready(begun_ms, *size);
            let took_ms = ready_ms - label.ready_ms + beside_ms;
            let change = (ladder[rung] - ladder[label.rung]).abs();
            let mut next = Label {
                ready_ms,
                stall_ms: label.stall_ms + (took_ms - label.buffer_ms).max(0.0),
                gain: label.gain + (ladder[rung] - change) / 1e3,
                buffer_ms: (label.buffer_ms - took_ms).max(0.0) + self.segment_ms,
                rung,
                path: label.path,
            };
            self.settle(&mut next);
            reached.push(next);
        }
    }

    /// Waits until there is room for another segment.
    pub(super) fn settle(&self, label: &mut Label) {
        const SLEEP_MS: f64 = 500.0;
        let wait_ms = match self.setup.profile {
            Profile::Sabre => label.buffer_ms + self.segment_ms - self.setup.cap_ms,
            Profile::Pensieve => {
                ((label.buffer_ms - self.setup.cap_ms) / SLEEP_MS).ceil() * SLEEP_MS
            }
        };
        let wait_ms = wait_ms.max(0.0);
        label.ready_ms += wait_ms;
        label.buffer_ms -= wait_ms;
    }

    /// Returns when the first bit of what is asked for at this time comes.
    fn begun(&self, at_ms: f64) -> f64 {
        match (self.setup.profile, self.latency_ms) {
            (Profile::Pensieve, _) => at_ms,
            (Profile::Sabre, Some(latency_ms)) => at_ms + latency_ms,
            (Profile::Sabre, None) => {
                let mut cursor = Cursor::new(self.network, 1.0);
                cursor.wait(at_ms);
                at_ms + cursor.latency()
            }
        }
    }

    /// Returns when so much is there.
    fn ready(&self, begun_ms: f64, bits: f64) -> f64 {
        let bits = match self.setup.profile {
            Profile::Sabre => bits,
            Profile::Pensieve => bits / PENSIEVE_RATE,
        };
        let ready_ms = self
            .network
            .delivered_at_ms(self.network.delivered_bits(begun_ms) + bits);
        ready_ms.max(begun_ms)
    }
}

/// Drops labels of no use. `last` is the tolerance that the segment before took; returns the one that this took.
fn thin(setup: &Setup<'_>, mut labels: Vec<Label>, effort: Effort, last: f64) -> (Vec<Label>, f64) {
    const STEP: f64 = 1.3;
    labels.sort_by(|a, b| {
        let sooner = a.ready_ms.total_cmp(&b.ready_ms);
        sooner.then(b.worth(setup.mu).total_cmp(&a.worth(setup.mu)))
    });
    let most = effort.labels.max(1) * setup.movie.rungs();
    let mut tolerance = effort.tolerance.max(last / STEP).max(1e-9);
    loop {
        let kept = undominated(setup, &labels, tolerance);
        if kept.len() <= most {
            return (kept, tolerance);
        }
        tolerance *= STEP;
    }
}

/// Labels in the order of time: each is kept that none before it makes useless.
fn undominated(setup: &Setup<'_>, labels: &[Label], tolerance: f64) -> Vec<Label> {
    let ladder = setup.movie.bitrates_kbps();
    let mut fronts = vec![Front(Vec::new(), setup.mu / 1e3); ladder.len()];
    let mut kept = Vec::new();
    for label in labels {
        let mut useless = fronts.iter().zip(ladder).map(|(front, kbps)| {
            let change = (kbps - ladder[label.rung]).abs() / 1e3;
            front.covers(label, tolerance - change)
        });
        if !useless.any(|useless| useless) {
            fronts[label.rung].insert(label);
            kept.push(*label);
        }
    }
    kept
}

/// Stall and gain of labels of one rung, none of which makes another one useless but for time: stall and gain ascend,
/// and what they are worth together falls. And what a millisecond of stall costs.
#[derive(Clone)]
struct Front(Vec<(f64, f64)>, f64);

impl Front {
    /// Returns whether a label in it is worth as much as this one, or less by no more than `tolerance`.
    fn covers(&self, label: &Label, tolerance: f64) -> bool {
        let Self(front, mu) = self;
        let at = front.partition_point(|(stall_ms, _)| *stall_ms <= label.stall_ms);
        // Of those that stood still no longer the last one gains most, of the others the first one is worth most.
        let shorter = at.checked_sub(1).map(|before| front[before].1 - label.gain);
        let longer = front
            .get(at)
            .map(|(stall_ms, gain)| gain - mu * stall_ms - (label.gain - mu * label.stall_ms));
        [shorter, longer]
            .into_iter()
            .flatten()
            .any(|more| more + tolerance >= 0.0)
    }

    /// Takes in a label that nothing in it makes useless.
    fn insert(&mut self, label: &Label) {
        let Self(front, mu) = self;
        let worth = label.gain - *mu * label.stall_ms;
        let at = front.partition_point(|(stall_ms, _)| *stall_ms < label.stall_ms);
        let before = front[..at].iter().rev();
        let before = before
            .take_while(|(stall_ms, gain)| gain - *mu * stall_ms <= worth)
            .count();
        let behind = front[at..]
            .iter()
            .take_while(|(_, gain)| *gain <= label.gain)
            .count();
        front.splice(at - before..at + behind, [(label.stall_ms, label.gain)]);
    }
}
