//! What a rule is asked and told.

use super::Movie;

/// A session as its rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What is played.
    pub movie: &'a Movie,
    /// How many segments the session has; those of the movie repeat when it has fewer.
    pub segments: usize,
    /// The next segment that was never fetched.
    pub index: usize,
    /// Time since the session began.
    pub now_ms: f64,
    /// What can be played before playback stops.
    pub buffer_ms: f64,
    /// What the buffer may hold.
    pub cap_ms: f64,
    /// Rung of each segment in the buffer, from the one being played to the one before `index`.
    pub buffered: &'a [usize],
    /// How much of the first of them was played already.
    pub played_ms: f64,
    /// Rung of the segment before `index`, if there is one.
    pub last: Option<usize>,
    /// What a second of stall costs, in Mbit/s of one segment.
    pub mu: f64,
}

impl View<'_> {
    /// Returns the sizes of the next segment on all rungs.
    #[must_use]
    pub fn next_sizes_bits(&self) -> &[f64] {
        self.movie.sizes_bits(self.index)
    }
}

/// What is fetched next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The next segment, after a wait.
    Next {
        /// Which rung.
        rung: usize,
        /// How long nothing is fetched before.
        wait_ms: f64,
    },
    /// A segment that is in the buffer already, once more.
    Replace {
        /// Its number in the session.
        segment: usize,
        /// Which rung.
        rung: usize,
    },
}

/// How often a transfer is looked at: as soon as both are reached since the last look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// So much came.
    pub bits: f64,
    /// So much time passed; the first look counts from the request.
    pub ms: f64,
}

/// What came between two looks, without latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    /// How long it took.
    pub ms: f64,
    /// How much it was.
    pub bits: f64,
}

/// A transfer that goes on.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Which segment.
    pub segment: usize,
    /// Which rung.
    pub rung: usize,
    /// Whether the segment was in the buffer already when it was asked for.
    pub replaces: bool,
    /// All of it.
    pub size_bits: f64,
    /// What is here.
    pub got_bits: f64,
    /// From the request to the first bit.
    pub latency_ms: f64,
    /// Since the first bit.
    pub transfer_ms: f64,
    /// What came from look to look, the newest last.
    pub slices: &'a [Slice],
}

/// What becomes of a transfer that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It is given up and what came of it is lost. The rule is asked again at once.
    Abandon {
        /// The rung that the rule has in mind instead; kept for [`Delivered`] only.
        instead: Option<usize>,
    },
}

/// A transfer that is over.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// The transfer at its end.
    pub transfer: Progress<'a>,
    /// How it ended: [`Verdict::Continue`] when all is here.
    pub verdict: Verdict,
}

/// A rule that chooses rungs.
///
/// The order of calls: [`first`](Self::first), then for each transfer any number of [`progress`](Self::progress)
/// and one [`delivered`](Self::delivered); between them [`idle`](Self::idle), [`waited`](Self::waited) and
/// [`next`](Self::next).
pub trait Rule {
    /// Chooses the rung of the first segment, where the profile lets it.
    fn first(&mut self, _view: &View<'_>) -> usize {
        0
    }

    /// Chooses what is fetched. Rungs past the ladder end the session with an error.
    fn next(&mut self, view: &View<'_>) -> Step;

    /// Says how often transfers are looked at and cut into slices; `None`: never.
    fn pace(&self) -> Option<Pace> {
        None
    }

    /// Judges a transfer that goes on, as often as [`pace`](Self::pace) says. Not asked where the profile knows no
    /// giving up.
    fn progress(&mut self, _view: &View<'_>, _progress: &Progress<'_>) -> Verdict {
        Verdict::Continue
    }

    /// Offered instead of a wait for room in the buffer, which would take `wait_ms`: a segment to replace and its
    /// rung. `None` waits. Not asked where the profile knows no replacement.
    fn idle(&mut self, _view: &View<'_>, _wait_ms: f64) -> Option<(usize, usize)> {
        None
    }

    /// Told that nothing was fetched for so long because the buffer was full.
    fn waited(&mut self, _view: &View<'_>, _ms: f64) {}

    /// Told that a transfer is over, with the buffer as it is then.
    fn delivered(&mut self, _view: &View<'_>, _delivered: &Delivered<'_>) {}
}
