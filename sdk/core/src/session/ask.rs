//! What a policy is told before it chooses a rung: the ladder, the segments to come with their sizes, the buffer and
//! the forecast.

use core::time::Duration;

use nearcast_protocol::manifest::{RepresentationKey, Segment, TrackKind};
use nearcast_units::MediaTime;

use super::Session;
use crate::abr::{AbrContext, LOOK_AHEAD, Rung, SegmentAhead};
use crate::throughput::Forecast;
use crate::timeline::{Place, Timeline};

/// How long a segment plays that no index tells of yet.
const USUAL: Duration = Duration::from_secs(4);

/// A segment is to be here so long before it is shown: it has to be compared with its digest and decoded yet, and a plan that comes true to
/// the last moment stalls at the next hiccup. With 0.3 s recorded networks play best (`bench abr --profile player --audio-kbps 0`: with nothing, and with
/// 0.5 s, there is more stalling on puffer-2021 and fcc-hd).
pub(super) const READY_BEFORE: Duration = Duration::from_millis(300);

/// What the policy is asked about.
pub(super) struct Question {
    pub(super) kind: TrackKind,
    /// The lowest rung of the ladder.
    pub(super) lowest: RepresentationKey,
    /// The highest that may be chosen.
    pub(super) top: usize,
    /// Rung of the segment before.
    pub(super) last: Option<usize>,
    /// Where the segment begins.
    pub(super) from: MediaTime,
}

impl Session {
    /// Fills in what the policy may look at.
    pub(super) fn tell_policy(&self, context: &mut AbrContext, question: &Question) {
        let &Question {
            kind,
            lowest,
            top,
            last,
            from,
        } = question;
        let Some(timeline) = &self.timeline else {
            return;
        };
        let track = self.track(kind);
        let all = timeline.ladder(lowest.period, lowest.track);
        let ladder = all.get(..=top).unwrap_or(all);
        let lowest_rate = ladder.first().map(|one| one.bitrate).unwrap_or_default();
        let objective = &self.config.objective;
        context.ladder.clear();
        context
            .ladder
            .extend(ladder.iter().enumerate().map(|(rung, one)| Rung {
                bitrate: one.bitrate,
                value: objective.value(rung, one.bitrate, lowest_rate),
            }));
        let highest = context
            .ladder
            .iter()
            .map(|rung| rung.value)
            .fold(0.0, f64::max);
        context.weights = objective.weights(highest);
        context.now = self.now;
        let level = track.level(self.clock.position(self.now));
        context.buffer = level.saturating_sub(READY_BEFORE);
        context.playing = self.clock.is_running();
        context.last = last;
        context.forecast = self.forecast();
        fill_ahead(context, timeline, lowest, last.unwrap_or(0), from);
        self.tell_buffered(context, kind, lowest);
        // A segment is asked for while there is less than the goal: with it there may be so much more.
        let segment = context.ahead.first().map_or(USUAL, |next| next.duration);
        context.buffer_max = self.config.buffer_goal.saturating_add(segment);
    }

    /// What the edge in use is expected to deliver; where it was not measured yet, what the line carried last.
    pub(super) fn forecast(&self) -> Forecast {
        self.edges.forecast(self.now).unwrap_or_default()
    }
}

/// The segments from `next` on, as the rung of before has them, and the sizes that they have at each rung.
fn fill_ahead(
    context: &mut AbrContext,
    timeline: &Timeline,
    lowest: RepresentationKey,
    last: usize,
    next: MediaTime,
) {
    context.ahead.clear();
    context.sizes.clear();
    context.left = None;
    let key = |rung: usize| RepresentationKey {
        representation: u16::try_from(rung).unwrap_or(u16::MAX),
        ..lowest
    };
    let place = |rung: usize, at: MediaTime| -> Option<(u32, Segment)> {
        match timeline.place(key(rung), at) {
            Place::Segment { index, segment } => Some((index, segment)),
            Place::IndexMissing | Place::PeriodOver => None,
        }
    };
    let rungs = context.ladder.len();
    let mut at = next;
    for ahead in 0..LOOK_AHEAD {
        // Any rung's index tells how segments lie; they agree to within a frame.
        let Some((index, segment)) =
            place(last, at).or_else(|| (0..rungs).find_map(|rung| place(rung, at)))
        else {
            break;
        };
        if ahead == 0 && lowest.period + 1 == timeline.periods() {
            context.left = timeline.left(key(last), index);
        }
        for rung in 0..rungs {
            let size = match place(rung, at) {
                Some((_, own)) => timeline.size(key(rung), &own),
                None => context
                    .ladder
                    .get(rung)
                    .map(|one| one.bitrate.bytes_in(segment.duration))
                    .unwrap_or_default(),
            };
            context.sizes.push(size);
        }
        context.ahead.push(SegmentAhead {
            duration: segment.duration,
        });
        at = segment.start + segment.duration;
    }
    // Before any index is here: one segment of a usual length.
    if context.ahead.is_empty() {
        context.ahead.push(SegmentAhead { duration: USUAL });
        let sizes = context.ladder.iter().map(|one| one.bitrate.bytes_in(USUAL));
        context.sizes.extend(sizes);
    }
}
