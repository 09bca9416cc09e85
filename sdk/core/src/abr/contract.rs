//! What every policy promises, whatever it is told and in whatever order. A policy that is added to
//! [`AbrRule::ALL`] is held to it, too.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::tests::ladder;
use super::*;
use crate::throughput::{Forecast, HORIZONS, QUANTILES, SIGNS};

/// A policy that waits is asked again soon.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// More rungs than this are beyond every ladder in use: those above need not be compared.
const COMPARED_MAX: usize = 16;

/// What a policy is told, one after the other.
#[derive(Clone, Debug)]
enum Told {
    Decide(AbrContext),
    Review(AbrContext, UnderWay),
    Transferred(Transfer),
}

fn spans(ms: core::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    ms.prop_map(Duration::from_millis)
}

/// From nothing to far more than there will ever be, all magnitudes alike.
fn amounts() -> impl Strategy<Value = u64> {
    (0_u32..50, any::<u64>()).prop_map(|(bits, any)| any & ((1 << bits) - 1))
}

/// Ascending, but not strictly, with and without more rungs than any ladder in use has.
fn rates() -> impl Strategy<Value = Vec<BitRate>> {
    let usual = || prop::collection::vec(50_000_u64..50_000_000, 1..=COMPARED_MAX);
    let long = prop::collection::vec(100_000_u64..50_000_000, COMPARED_MAX..24);
    let odd = prop::collection::vec(amounts(), 1..8);
    prop_oneof![4 => usual(), 1 => long, 1 => odd].prop_map(|mut rates| {
        rates.sort_unstable();
        rates.into_iter().map(BitRate::from_bps).collect()
    })
}

/// The usual one, and whatever an application may think of.
fn objectives() -> impl Strategy<Value = Objective> {
    let weights = || {
        let odd = alloc::vec![0.0, 1e-300, 1e9, 1e300, f64::INFINITY, f64::NAN, -1.0];
        prop::option::of(prop_oneof![0.0..1000.0, select(odd)])
    };
    let scores = prop_oneof![-10.0..100.0, Just(f64::NAN), Just(-1e300), Just(1e300)];
    let value = prop_oneof![
        Just(RungValue::BitRate),
        Just(RungValue::LogBitRate),
        prop::collection::vec(scores, 0..8).prop_map(RungValue::Scores),
    ];
    let given = (value, weights(), weights(), weights());
    let given = given.prop_map(|(value, stall, stall_begins, switch)| Objective {
        value,
        stall,
        stall_begins,
        switch,
    });
    prop_oneof![Just(Objective::default()), given]
}

prop_compose! {
    /// Of a line that was not measured, of one that was a little, and of one that is well known.
    fn forecasts()(
        level in 0.0..30.0,
        rows in prop::collection::vec(prop::collection::vec(-6.0..6.0, QUANTILES), 2 * HORIZONS),
        roughness in 0.0..=1.0,
        ttfb in spans(0..20_000),
        sustained in prop::option::of(amounts()),
        signs in prop::collection::vec(-4.0_f32..4.0, SIGNS),
        measured in 0..3,
    ) -> Forecast {
        let mut forecast = Forecast::default();
        if measured == 0 {
            return forecast;
        }
        let quantiles = forecast.log_rates.iter_mut().chain(&mut forecast.usual);
        for (quantiles, offs) in quantiles.zip(&rows) {
            for (quantile, off) in quantiles.iter_mut().zip(offs) {
                *quantile = level + off;
            }
            quantiles.sort_by(f64::total_cmp);
        }
        forecast.ttfb = ttfb;
        if measured == 2 {
            forecast.roughness = roughness;
            forecast.sustained = sustained.map(BitRate::from_bps);
            forecast.signs.copy_from_slice(&signs);
        }
        forecast
    }
}

/// How large segments are against what their rungs declare.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    Times(f64),
    /// No row is there but so many.
    Rows(usize),
    Huge,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    prop_oneof![
        4 => (0.0..4.0).prop_map(Sizes::Times),
        1 => (0_usize..4).prop_map(Sizes::Rows),
        1 => Just(Sizes::Huge),
    ]
}

prop_compose! {
    fn contexts()(
        rates in rates(),
        objective in objectives(),
        forecast in forecasts(),
        sizes in sizes(),
        (buffer, room) in (spans(0..3_600_000), spans(0..3_600_000)),
        short in any::<bool>(),
        playing in any::<bool>(),
        last in prop::option::of(any::<Index>()),
        durations in prop::collection::vec(spans(40..12_000), 0..=LOOK_AHEAD),
        after in prop::option::of(prop_oneof![Just(0), 0_u32..10, Just(u32::MAX)]),
        held in prop::collection::vec((any::<Index>(), spans(0..60_000), spans(40..12_000)), 0..8),
    ) -> AbrContext {
        let rungs = rates.len();
        let ladder = ladder(&objective, &rates);
        let top = ladder.iter().map(|one| one.value).fold(0.0, f64::max);
        let mut context = AbrContext {
            now: Instant::ZERO,
            // Half a minute or less is usual.
            buffer: if short { buffer / 100 } else { buffer },
            buffer_max: if short { room / 100 } else { room },
            playing,
            last: last.map(|last| last.index(rungs)),
            left: after.map(|after| after.saturating_add(durations.len() as u32)),
            ahead: durations.iter().map(|duration| SegmentAhead { duration: *duration }).collect(),
            buffered: Vec::new(),
            sizes: Vec::new(),
            forecast,
            weights: objective.weights(top),
            ladder,
        };
        // With room for one segment at least.
        context.buffer_max += durations.first().copied().unwrap_or_default();
        let mut open_for = Duration::ZERO;
        for (rung, after, duration) in held {
            open_for += after;
            let rung = rung.index(rungs);
            context.buffered.push(SegmentBuffered { rung, open_for, duration });
        }
        let held = context.buffered.iter().map(|held| held.duration);
        let rows = durations.into_iter().chain(held);
        context.sizes = match sizes {
            Sizes::Times(times) => rows
                .flat_map(|plays| rates.iter().map(move |rate| rate.scaled(times).bytes_in(plays)))
                .collect(),
            Sizes::Rows(there) => rows
                .take(there)
                .flat_map(|plays| rates.iter().map(move |rate| rate.bytes_in(plays)))
                .collect(),
            Sizes::Huge => rows.flat_map(|_| rates.iter().map(|_| ByteCount::new(1 << 50))).collect(),
        };
        context
    }
}

/// Early and late, nothing of it and more than all of it.
fn under_way() -> impl Strategy<Value = (Index, u64, u64, Duration)> {
    (any::<Index>(), amounts(), amounts(), spans(0..100_000))
}

fn transfers() -> impl Strategy<Value = Transfer> {
    let spans = || prop_oneof![Just(0), amounts()].prop_map(Duration::from_nanos);
    (amounts(), spans(), spans()).prop_map(|(bytes, ttfb, body)| Transfer {
        bytes: ByteCount::new(bytes),
        ttfb,
        body,
    })
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        3 => contexts().prop_map(Told::Decide),
        1 => (contexts(), under_way()).prop_map(|(context, (rung, received, total, elapsed))| {
            let under_way = UnderWay {
                rung: rung.index(context.ladder.len()),
                received: ByteCount::new(received),
                total: ByteCount::new(total),
                elapsed,
            };
            Told::Review(context, under_way)
        }),
        2 => transfers().prop_map(Told::Transferred),
    ]
}

/// All that are built in, and the plan alone.
fn policies() -> Vec<Box<dyn AbrPolicy>> {
    let built_in = AbrRule::ALL.into_iter().map(AbrRule::policy);
    let plan: Box<dyn AbrPolicy> = Box::new(Horizon::uncorrected());
    built_in.chain([plan]).collect()
}

/// A decision can be carried out, and is one that this policy may take here.
fn can_be_done(
    policy: &dyn AbrPolicy,
    context: &AbrContext,
    choice: AbrChoice,
) -> Result<(), TestCaseError> {
    let rungs = context.ladder.len();
    prop_assert!(!choice.why.is_empty());
    match choice.decision {
        AbrDecision::Next { rung } => prop_assert!(rung < rungs, "rung {rung} of {rungs}"),
        AbrDecision::Wait { span } => {
            prop_assert!(!span.is_zero() && span <= WAIT_MAX, "waits for {span:?}");
            let next = context.ahead.first();
            let full = next.is_none_or(|next| context.buffer + next.duration > context.buffer_max);
            prop_assert!(full, "waits while there is room");
        }
        AbrDecision::Replace { segment, rung } => {
            prop_assert!(policy.replaces(), "was not asked to replace anything");
            let held = context.buffered.get(segment);
            prop_assert!(
                held.is_some(),
                "segment {segment} of {}",
                context.buffered.len()
            );
            let better = held.is_some_and(|held| rung > held.rung) && rung < rungs;
            prop_assert!(better, "rung {rung} of {rungs} instead of {held:?}");
        }
    }
    let scores = policy.scores();
    prop_assert!(scores.iter().all(|score| score.is_finite()), "{scores:?}");
    let compared = scores.is_empty() || scores.len() == rungs.min(COMPARED_MAX);
    prop_assert!(compared, "{} scores of {rungs} rungs", scores.len());
    Ok(())
}

/// What a policy says to one thing that it is told.
fn answer(policy: &mut dyn AbrPolicy, told: &Told) -> Option<AbrChoice> {
    match told {
        Told::Decide(context) => Some(policy.decide(context)),
        Told::Review(context, under_way) => policy.review(context, under_way),
        Told::Transferred(transfer) => {
            policy.transferred(transfer);
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_policy_keeps_its_promises(story in prop::collection::vec(told(), 1..32)) {
        for (mut policy, mut twin) in policies().into_iter().zip(policies()) {
            let kept = tell(policy.as_mut(), twin.as_mut(), &story);
            prop_assert!(kept.is_ok(), "{}: {kept:?}", policy.name());
        }
    }
}

/// Tells a policy a story, and its twin the same.
fn tell(
    policy: &mut dyn AbrPolicy,
    twin: &mut dyn AbrPolicy,
    story: &[Told],
) -> Result<(), TestCaseError> {
    for told in story {
        let choice = answer(policy, told);
        prop_assert_eq!(choice, answer(twin, told), "the same past, another answer");
        let bits = |policy: &dyn AbrPolicy| -> Vec<u64> {
            policy
                .scores()
                .iter()
                .map(|score| score.to_bits())
                .collect()
        };
        prop_assert_eq!(bits(policy), bits(twin), "the same past, other scores");
        match (told, choice) {
            (Told::Decide(context), Some(choice)) => can_be_done(policy, context, choice)?,
            (Told::Review(_, under_way), Some(choice)) => {
                let lower =
                    matches!(choice.decision, AbrDecision::Next { rung } if rung < under_way.rung);
                prop_assert!(lower, "{choice:?} instead of {under_way:?}");
            }
            (Told::Decide(_) | Told::Review(..) | Told::Transferred(_), None)
            | (Told::Transferred(_), Some(_)) => {}
        }
    }
    Ok(())
}
