//! The rules of the policies, each by what it does where.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

use super::*;
use crate::throughput::Forecast;

const LADDER_KBPS: [u64; 6] = [235, 560, 1050, 1750, 3000, 5800];
const SEGMENT: Duration = Duration::from_secs(4);

/// A line that has carried the same rate all along.
fn steady(bps: f64) -> Forecast {
    Forecast {
        ttfb: Duration::from_millis(50),
        sustained: Some(BitRate::from_bps(1).scaled(bps)),
        ..Forecast::around(bps, 0.1)
    }
}

/// The rungs of these rates, each with its worth.
pub(super) fn ladder(objective: &Objective, rates: &[BitRate]) -> Vec<Rung> {
    let rungs = rates.iter().enumerate();
    let rungs = rungs.map(|(rung, bitrate)| Rung {
        bitrate: *bitrate,
        value: objective.value(rung, *bitrate, rates[0]),
    });
    rungs.collect()
}

fn context(ladder_kbps: &[u64], buffer: Duration, mbps: f64, last: Option<usize>) -> AbrContext {
    let objective = Objective::default();
    let rates: Vec<BitRate> = ladder_kbps
        .iter()
        .map(|kbps| BitRate::from_kbps(*kbps))
        .collect();
    let ladder = ladder(&objective, &rates);
    let sizes = (0..LOOK_AHEAD).flat_map(|_| rates.iter().map(|rate| rate.bytes_in(SEGMENT)));
    AbrContext {
        now: Instant::ZERO,
        buffer,
        buffer_max: Duration::from_secs(30),
        playing: true,
        last,
        ahead: alloc::vec![SegmentAhead { duration: SEGMENT }; LOOK_AHEAD],
        left: Some(100),
        buffered: Vec::new(),
        sizes: sizes.collect(),
        forecast: steady(mbps * 1e6),
        weights: objective.weights(ladder.last().map_or(0.0, |top| top.value)),
        ladder,
    }
}

fn at(buffer_s: u64, mbps: f64, last: usize) -> AbrContext {
    context(
        &LADDER_KBPS,
        Duration::from_secs(buffer_s),
        mbps,
        Some(last),
    )
}

fn rung(policy: &mut dyn AbrPolicy, context: &AbrContext) -> usize {
    match policy.decide(context).decision {
        AbrDecision::Next { rung } => rung,
        other @ (AbrDecision::Wait { .. } | AbrDecision::Replace { .. }) => {
            panic!("no rung but {other:?}")
        }
    }
}

#[test]
fn classical_rules_begin_with_half_the_rate_or_with_one_that_nearly_every_line_carries() {
    let mut unknown = context(&LADDER_KBPS, Duration::ZERO, 20.0, None);
    assert_eq!(rung(&mut Dynamic::default(), &unknown), 5);
    unknown.forecast = Forecast::default();
    assert_eq!(rung(&mut Dynamic::default(), &unknown), 1);
}

#[test]
fn a_short_buffer_follows_the_rate_with_a_margin() {
    assert_eq!(rung(&mut Dynamic::default(), &at(5, 3.0, 3)), 3);
    assert_eq!(rung(&mut Dynamic::default(), &at(5, 4.0, 3)), 4);
}

#[test]
fn a_segment_that_is_larger_than_its_rung_declares_must_still_come_in_time() {
    let mut large = at(5, 4.0, 3);
    for size in &mut large.sizes {
        *size = ByteCount::new(size.get() * 2);
    }
    assert_eq!(rung(&mut Dynamic::default(), &large), 3);
}

#[test]
fn a_full_buffer_takes_the_top_and_never_more_than_the_rate_sustains_on_the_way_up() {
    assert_eq!(rung(&mut Dynamic::default(), &at(25, 20.0, 4)), 5);
    assert_eq!(rung(&mut Dynamic::default(), &at(25, 2.0, 3)), 3);
}

#[test]
fn buffer_rules_fall_with_the_buffer() {
    let policies: [Box<dyn AbrPolicy>; 2] = [Box::new(Bola), Box::new(BufferBased)];
    for mut policy in policies {
        let rungs: Vec<usize> = (1..26)
            .map(|buffer_s| rung(policy.as_mut(), &at(buffer_s, 20.0, 3)))
            .collect();
        assert!(rungs.is_sorted(), "{} {rungs:?}", policy.name());
        assert_eq!((rungs[0], rungs[24]), (0, 5), "{}", policy.name());
    }
}

#[test]
fn robust_mpc_trusts_its_prediction_less_after_it_was_wrong() {
    let transfer = |mbps: u64| Transfer {
        bytes: BitRate::from_kbps(mbps * 1000).bytes_in(Duration::from_secs(1)),
        ttfb: Duration::ZERO,
        body: Duration::from_secs(1),
    };
    let mut calm = RobustMpc::default();
    let mut wild = RobustMpc::default();
    for mbps in [4, 4, 4, 4] {
        calm.transferred(&transfer(mbps));
        calm.decide(&at(8, 4.0, 3));
    }
    for mbps in [12, 2, 12, 2] {
        wild.transferred(&transfer(mbps));
        wild.decide(&at(8, 4.0, 3));
    }
    assert!(rung(&mut calm, &at(8, 4.0, 3)) > rung(&mut wild, &at(8, 4.0, 3)));
}

#[test]
fn horizon_takes_what_a_calm_line_carries_and_no_more() {
    let mut horizon = Horizon::default();
    let rungs: Vec<usize> = [0.1, 1.0, 2.0, 4.0, 20.0]
        .map(|mbps| {
            let buffer_s = 12;
            rung(&mut horizon, &at(buffer_s, mbps, 3))
        })
        .into();
    assert!(rungs.is_sorted(), "{rungs:?}");
    assert_eq!((rungs[0], rungs[4]), (0, 5));
    let carried = [0.1, 1.0, 2.0, 4.0].map(|mbps| {
        LADDER_KBPS
            .iter()
            .filter(|kbps| **kbps as f64 <= mbps * 1000.0)
            .count()
    });
    for (rung, below) in rungs.iter().zip(carried) {
        assert!(*rung <= below, "{rungs:?}");
    }
}

#[test]
fn horizon_keeps_a_rung_at_rates_at_which_it_would_not_go_there() {
    let mut horizon = Horizon::default();
    let mut lowest_rate_for_rung_4 = |last: usize| {
        let rates = (15..60).map(|tenths| f64::from(tenths) / 10.0);
        rates
            .into_iter()
            .find(|mbps| rung(&mut horizon, &at(14, *mbps, last)) >= 4)
    };
    let (keeps, goes) = (lowest_rate_for_rung_4(4), lowest_rate_for_rung_4(3));
    assert!(keeps < goes && goes.is_some(), "{keeps:?} {goes:?}");
}

#[test]
fn horizon_sees_a_large_segment_coming() {
    let mut large = at(6, 3.2, 4);
    for size in &mut large.sizes[..6] {
        *size = ByteCount::new(size.get() * 3);
    }
    let mut horizon = Horizon::default();
    assert!(rung(&mut horizon, &large) < rung(&mut horizon, &at(6, 3.2, 4)));
}

#[test]
fn horizon_uses_the_buffer_up_where_the_title_ends() {
    let mut horizon = Horizon::default();
    // Between the rungs of 3.0 and 5.8 Mbit/s: what is buffered carries the higher one for a while.
    let mut goes_up_from = |left: usize| {
        (4..50).find(|buffer_s| {
            let middle = AbrContext {
                buffer_max: Duration::from_secs(60),
                ..at(*buffer_s, 4.2, 4)
            };
            let end = AbrContext {
                left: u32::try_from(left).ok(),
                ahead: alloc::vec![SegmentAhead { duration: SEGMENT }; left.min(LOOK_AHEAD)],
                sizes: middle.sizes[..left.min(LOOK_AHEAD) * LADDER_KBPS.len()].to_vec(),
                ..middle
            };
            rung(&mut horizon, &end) == 5
        })
    };
    let (middle, end) = (goes_up_from(100), goes_up_from(12));
    assert!(end.is_some() && end < middle, "{end:?} {middle:?}");
}

#[test]
fn horizon_is_corrected_only_by_what_was_measured_and_near_what_it_planned() {
    let (mut plan, mut horizon) = (Horizon::uncorrected(), Horizon::default());
    let mut measured = at(14, 3.0, 3);
    let uncorrected = |plan: &mut Horizon, horizon: &mut Horizon, context: &AbrContext| {
        assert_eq!(plan.decide(context), horizon.decide(context));
        plan.scores() == horizon.scores() && horizon.candidates().is_empty()
    };
    assert!(
        uncorrected(&mut plan, &mut horizon, &measured),
        "unmeasured"
    );
    for (nth, sign) in measured.forecast.signs.iter_mut().enumerate() {
        *sign = if nth % 2 == 0 { 0.5 } else { -0.5 };
    }
    let planned = rung(&mut plan, &measured);
    let chosen = rung(&mut horizon, &measured);
    assert!(chosen.abs_diff(planned) <= 2);
    let scores = horizon.scores();
    assert!(scores.iter().all(|score| *score <= scores[chosen]));
    for (rung, (planned_score, score)) in plan.scores().iter().zip(scores).enumerate() {
        let near = rung.abs_diff(planned) <= 2;
        let candidate = horizon.candidates().iter().find(|one| one.rung == rung);
        assert_eq!(candidate.is_some(), near, "rung {rung}");
        let corrected = planned_score.to_bits() != score.to_bits();
        assert_eq!(corrected, near && rung != planned, "rung {rung}");
        if let Some(candidate) = candidate {
            let behind = planned_score - plan.scores()[planned];
            assert!((f64::from(candidate.behind) - behind).abs() < 1e-6);
        }
    }
    let begins = AbrContext {
        last: None,
        ..measured.clone()
    };
    assert!(
        uncorrected(&mut plan, &mut horizon, &begins),
        "no rung before"
    );
    let mut other = measured.clone();
    other.weights.stall *= 10.0;
    assert!(
        uncorrected(&mut plan, &mut horizon, &other),
        "an objective of its own"
    );
    other.weights = Weights {
        switch: 0.0,
        ..measured.weights
    };
    assert!(
        uncorrected(&mut plan, &mut horizon, &other),
        "changes are free"
    );
}

#[test]
fn horizon_is_more_careful_on_a_line_that_strays() {
    let mut horizon = Horizon::default();
    let mut wild = at(7, 3.5, 3);
    wild.forecast.log_rates = Forecast::around(3_500_000.0, 1.0).log_rates;
    assert!(rung(&mut horizon, &wild) < rung(&mut horizon, &at(7, 3.5, 3)));
}

#[test]
fn horizon_plans_with_any_number_that_an_objective_may_hold() {
    let mut horizon = Horizon::default();
    for (worth, stall, stall_begins, switch) in [
        (-1e300, 1.0, 1.0, 1.0),
        (1e300, 1e-300, 1.0, 1.0),
        (1.0, 1e300, 1.0, 1.0),
        (1.0, 1.0, 1e300, 1.0),
        (1.0, 1.0, 1.0, 1e300),
        (0.0, 1e300, 1e300, 1e300),
    ] {
        let mut odd = at(5, 3.0, 3);
        odd.weights = Weights {
            stall,
            stall_begins,
            switch,
        };
        for one in &mut odd.ladder {
            one.value *= worth;
        }
        rung(&mut horizon, &odd);
        let scores = horizon.scores();
        assert!(scores.iter().all(|score| score.is_finite()), "{scores:?}");
    }
}

/// Five buffered segments at the lowest rung, behind a full buffer.
fn low_buffered(mbps: f64) -> AbrContext {
    let mut full = at(28, mbps, 0);
    full.buffered = (0..5)
        .map(|place| SegmentBuffered {
            rung: 0,
            open_for: SEGMENT * (place + 2),
            duration: SEGMENT,
        })
        .collect();
    let row: Vec<ByteCount> = full.sizes[..6].to_vec();
    for _ in 0..5 {
        full.sizes.extend(row.iter().copied());
    }
    full
}

#[test]
fn horizon_replaces_what_is_poor_while_the_buffer_is_full() {
    let choice = Horizon::default().decide(&low_buffered(30.0));
    let AbrDecision::Replace { segment, rung } = choice.decision else {
        panic!("{choice:?}");
    };
    assert!(segment < 5 && rung > 0);
}

#[test]
fn horizon_waits_where_the_buffer_is_full_and_nothing_would_come_in_time() {
    let mut slow = low_buffered(0.25);
    for held in &mut slow.buffered {
        held.open_for = Duration::from_millis(1);
    }
    let choice = Horizon::default().decide(&slow);
    assert!(
        matches!(choice.decision, AbrDecision::Wait { span } if span > Duration::ZERO),
        "{choice:?}"
    );
}

#[test]
fn horizon_gives_up_what_would_stall_for_long_and_only_that() {
    let under_way = UnderWay {
        rung: 5,
        received: ByteCount::new(100_000),
        total: BitRate::from_kbps(5800).bytes_in(SEGMENT),
        elapsed: Duration::from_secs(2),
    };
    let mut horizon = Horizon::default();
    let instead = horizon.review(&at(2, 0.4, 5), &under_way);
    assert!(
        matches!(
            instead.map(|choice| choice.decision),
            Some(AbrDecision::Next { rung: 0 | 1 })
        ),
        "{instead:?}"
    );
    assert_eq!(horizon.review(&at(20, 8.0, 5), &under_way), None);
    let young = UnderWay {
        elapsed: Duration::from_millis(300),
        ..under_way
    };
    assert_eq!(horizon.review(&at(2, 0.4, 5), &young), None);
}

#[test]
fn horizon_takes_the_highest_rung_where_the_line_carries_many_times_of_it() {
    for ladder in [&[560, 1_050, 1_750][..], &LADDER_KBPS[..]] {
        for mbps in [25, 40, 100, 1_000] {
            for samples in [1, 4, 40] {
                let mut estimate = crate::throughput::RateEstimate::default();
                for nth in 0..samples {
                    // Bursts stray.
                    let kbps = mbps * (700 + 600 * (nth % 2));
                    estimate.sample(BitRate::from_kbps(kbps), Duration::from_millis(40));
                    estimate.transferred();
                }
                for buffer_s in [2, 4, 8, 16, 24] {
                    for last in 0..ladder.len() {
                        for left in [Some(3), Some(6), Some(30), None] {
                            let buffer = Duration::from_secs(buffer_s);
                            let mut rich = context(ladder, buffer, 1.0, Some(last));
                            rich.forecast = estimate.forecast(Duration::from_millis(2)).unwrap();
                            rich.left = left;
                            rich.ahead.truncate(left.unwrap_or(24) as usize);
                            let highest = ladder.len() - 1;
                            let chosen = rung(&mut Horizon::default(), &rich);
                            // Hardly measured, six times the highest rung may turn out to be less, and a stall is minded.
                            let careful = ladder[highest] > 4_000 && mbps == 25 && samples < 40;
                            assert!(
                                chosen == highest || careful && chosen + 1 == highest,
                                "rung {chosen}: {mbps} Mbit/s, {samples} samples, {buffer_s} s buffered, after {last}, {left:?} left"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn horizon_does_not_stall_to_keep_a_rung_where_stalls_are_minded() {
    // A segment of the highest rung takes a little longer than is buffered, and then playback has enough again.
    let mut horizon = Horizon::default();
    let mut tight = at(5, 5.2, 4);
    tight.last = Some(tight.ladder.len() - 1);
    let chosen = |horizon: &mut Horizon, begins: f64| {
        let mut context = tight.clone();
        context.weights.stall_begins = begins;
        rung(horizon, &context)
    };
    let top = tight.ladder.len() - 1;
    let of_no_matter = chosen(&mut horizon, 0.0);
    let minded = chosen(&mut horizon, 2.0 * tight.weights.stall);
    assert!(
        minded < top && minded <= of_no_matter,
        "{minded}, {of_no_matter}"
    );
}
