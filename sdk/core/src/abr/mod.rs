//! Which rung comes next: rules over the ladder, the buffer and the rate. Rules are plain functions of
//! what they are given plus their own small state; they know nothing of edges or fetches.

use core::time::Duration;

use nearcast_protocol::manifest::Representation;
use nearcast_units::{BitRate, ByteCount};

use crate::config::AbrRule;

/// What a rule may look at.
#[derive(Clone, Copy)]
pub(crate) struct AbrContext<'a> {
    /// Representations by ascending bit rate, already cut to the cap.
    pub(crate) ladder: &'a [Representation],
    /// Video level.
    pub(crate) buffer: Duration,
    /// Media kept ahead at most.
    pub(crate) goal: Duration,
    /// Duration of the segment to come.
    pub(crate) segment: Duration,
    /// Estimated rate of the edge in use; `None` before anything was measured.
    pub(crate) rate: Option<BitRate>,
    /// Rung of the segment before; `None` for the first.
    pub(crate) last: Option<usize>,
    /// Size of the segment to come at a rung.
    pub(crate) size: &'a dyn Fn(usize) -> ByteCount,
}

/// A rung and the reason for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) rung: usize,
    pub(crate) why: &'static str,
}

/// The rules, with what they remember.
#[derive(Clone, Debug)]
pub(crate) struct Abr {
    rule: AbrRule,
    long: bool,
}

/// What DYNAMIC calls a long buffer (Spiteri, Sitaraman and Sparacio, "From theory to practice", MMSys 2018).
const LONG_BUFFER: Duration = Duration::from_secs(10);
/// Share of the estimate that may be planned with.
const SAFETY: f64 = 0.9;
/// What to begin with when nothing is known: a rung that nearly every line carries, so that the first
/// frame comes soon.
const FIRST_RATE: BitRate = BitRate::from_kbps(1_600);
/// The first segment is to be there within about half its duration.
const FIRST_SAFETY: f64 = 0.5;

impl Abr {
    pub(crate) const fn new(rule: AbrRule) -> Self {
        Self { rule, long: false }
    }

    pub(crate) fn choose(&mut self, context: &AbrContext<'_>) -> Choice {
        let Some(last) = context.last else {
            let rate = context.rate.unwrap_or(FIRST_RATE).scaled(FIRST_SAFETY);
            return Choice {
                rung: sustained(context.ladder, rate),
                why: "first segment: half the estimated rate",
            };
        };
        let by_rate = throughput(context);
        match self.rule {
            AbrRule::Throughput => Choice {
                rung: by_rate,
                why: "highest rung the rate sustains",
            },
            AbrRule::Bola => Choice {
                rung: bola(context),
                why: "best utility for this buffer level",
            },
            AbrRule::Dynamic => {
                let wanted = bola(context);
                // Over to BOLA when the buffer is long and BOLA asks for no less; back when it is short and
                // BOLA asks for less.
                self.long = if self.long {
                    context.buffer >= LONG_BUFFER || wanted >= by_rate
                } else {
                    context.buffer >= LONG_BUFFER && wanted >= by_rate
                };
                if !self.long {
                    return Choice {
                        rung: by_rate,
                        why: "highest rung the rate sustains",
                    };
                }
                // BOLA-O: up no further than the rate sustains or the rung before, lest it swing.
                if wanted > last && wanted > by_rate {
                    Choice {
                        rung: by_rate.max(last),
                        why: "long buffer, but the rate sustains no more",
                    }
                } else {
                    Choice {
                        rung: wanted,
                        why: "long buffer: best utility for this level",
                    }
                }
            }
        }
    }
}

fn throughput(context: &AbrContext<'_>) -> usize {
    let rate = context.rate.unwrap_or(FIRST_RATE);
    // A buffer that is nearly dry leaves no room for an estimate that is a little too high.
    let safety = if context.buffer < context.segment {
        SAFETY * 0.8
    } else {
        SAFETY
    };
    let rung = sustained(context.ladder, rate.scaled(safety));
    // Declared rates are means: the segment itself must be here before the buffer is empty.
    let room = context.buffer.mul_f64(IN_TIME);
    let in_time = |rung: &usize| {
        rate.time_for((context.size)(*rung))
            .is_some_and(|takes| takes <= room)
    };
    (0..=rung).rev().find(in_time).unwrap_or(0)
}

/// Share of the buffer that the next transfer may use up.
const IN_TIME: f64 = 0.75;

fn sustained(ladder: &[Representation], rate: BitRate) -> usize {
    ladder
        .partition_point(|one| one.bitrate <= rate)
        .saturating_sub(1)
}

/// BOLA-BASIC (Spiteri, Urgaonkar and Sitaraman, INFOCOM 2016): the rung with the highest
/// (V (utility + gamma p) - buffer) / size, where utility is the logarithm of the rate over the lowest.
fn bola(context: &AbrContext<'_>) -> usize {
    let Some(lowest) = context.ladder.first() else {
        return 0;
    };
    let utility =
        |one: &Representation| libm::log(one.bitrate.as_f64() / lowest.bitrate.as_f64().max(1.0));
    let top = context.ladder.last().map_or(0.0, utility);
    let v = context.goal.saturating_sub(context.segment).as_secs_f64() / (top + GAMMA_P);
    let buffer = context.buffer.as_secs_f64();
    let mut best = (0, f64::NEG_INFINITY);
    for (rung, one) in context.ladder.iter().enumerate() {
        let score = (v * (utility(one) + GAMMA_P) - buffer) / one.bitrate.as_f64().max(1.0);
        if score > best.1 {
            best = (rung, score);
        }
    }
    best.0
}

/// Weight of smoothness against utility, as in the paper's evaluation.
const GAMMA_P: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::representation;
    use alloc::vec::Vec;
    use nearcast_protocol::manifest::SegmentIndex;

    const LADDER: [u64; 6] = [235, 560, 1050, 1750, 3000, 5800];

    fn ladder() -> Vec<Representation> {
        LADDER
            .iter()
            .map(|kbps| representation("v", *kbps, SegmentIndex::Deferred))
            .collect()
    }

    fn context(
        ladder: &[Representation],
        buffer_s: u64,
        mbps: Option<u64>,
        last: Option<usize>,
    ) -> AbrContext<'_> {
        AbrContext {
            ladder,
            buffer: Duration::from_secs(buffer_s),
            goal: Duration::from_secs(30),
            segment: Duration::from_secs(4),
            rate: mbps.map(|mbps| BitRate::from_kbps(mbps * 1000)),
            last,
            size: &|rung| BitRate::from_kbps(LADDER[rung]).bytes_in(Duration::from_secs(4)),
        }
    }

    #[test]
    fn the_first_rung_is_one_that_comes_soon() {
        let ladder = ladder();
        let mut abr = Abr::new(AbrRule::Dynamic);
        assert_eq!(abr.choose(&context(&ladder, 0, None, None)).rung, 1);
        assert_eq!(abr.choose(&context(&ladder, 0, Some(20), None)).rung, 5);
    }

    #[test]
    fn a_short_buffer_follows_the_rate_with_a_margin() {
        let ladder = ladder();
        let mut abr = Abr::new(AbrRule::Dynamic);
        assert_eq!(abr.choose(&context(&ladder, 5, Some(3), Some(3))).rung, 3);
        assert_eq!(abr.choose(&context(&ladder, 5, Some(4), Some(3))).rung, 4);
    }

    #[test]
    fn a_segment_that_is_larger_than_its_rung_declares_must_still_come_in_time() {
        let ladder = ladder();
        let mut abr = Abr::new(AbrRule::Dynamic);
        let size =
            |rung: usize| BitRate::from_kbps(LADDER[rung] * 2).bytes_in(Duration::from_secs(4));
        let context = AbrContext {
            size: &size,
            ..context(&ladder, 5, Some(4), Some(3))
        };
        assert_eq!(abr.choose(&context).rung, 3);
    }

    #[test]
    fn a_full_buffer_takes_the_top_and_never_more_than_the_rate_sustains_on_the_way_up() {
        let ladder = ladder();
        let mut abr = Abr::new(AbrRule::Dynamic);
        assert_eq!(abr.choose(&context(&ladder, 29, Some(20), Some(4))).rung, 5);
        assert_eq!(abr.choose(&context(&ladder, 29, Some(2), Some(3))).rung, 3);
    }

    #[test]
    fn bola_falls_with_the_buffer() {
        let ladder = ladder();
        let mut abr = Abr::new(AbrRule::Bola);
        let rungs: Vec<usize> = (1..30)
            .map(|buffer| {
                abr.choose(&context(&ladder, buffer, Some(20), Some(3)))
                    .rung
            })
            .collect();
        assert!(rungs.is_sorted(), "{rungs:?}");
        assert_eq!((rungs.first(), rungs.last()), (Some(&0), Some(&5)));
    }

    #[test]
    fn an_empty_ladder_is_no_reason_to_panic() {
        for rule in [AbrRule::Dynamic, AbrRule::Bola, AbrRule::Throughput] {
            assert_eq!(
                Abr::new(rule)
                    .choose(&context(&[], 29, Some(2), Some(3)))
                    .rung,
                0
            );
        }
    }
}
