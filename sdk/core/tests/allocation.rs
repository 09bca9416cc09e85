//! Deciding allocates nothing: phones and televisions decide while frames are due.

use std::time::Duration;

use nearcast_core::abr::{
    AbrContext, AbrPolicy, Horizon, LOOK_AHEAD, Objective, Rung, SegmentAhead, SegmentBuffered,
    Transfer, UnderWay,
};
use nearcast_core::{AbrRule, Forecast, RateEstimate};
use nearcast_units::{BitRate, ByteCount, Instant};

const SEGMENT: Duration = Duration::from_secs(4);

fn context(buffer: Duration) -> AbrContext {
    let objective = Objective::default();
    let rates = [235, 560, 1050, 1750, 3000, 5800].map(BitRate::from_kbps);
    let ladder = rates.iter().enumerate().map(|(rung, bitrate)| Rung {
        bitrate: *bitrate,
        value: objective.value(rung, *bitrate, rates[0]),
    });
    let held = (1..4).map(|place| SegmentBuffered {
        rung: 0,
        open_for: SEGMENT * place,
        duration: SEGMENT,
    });
    let rows = LOOK_AHEAD + 3;
    AbrContext {
        now: Instant::ZERO,
        buffer,
        buffer_max: Duration::from_secs(30),
        playing: true,
        ladder: ladder.collect(),
        last: Some(1),
        ahead: vec![SegmentAhead { duration: SEGMENT }; LOOK_AHEAD],
        // All of it is planned, which takes most.
        left: u32::try_from(LOOK_AHEAD).ok(),
        buffered: held.collect(),
        sizes: (0..rows)
            .flat_map(|_| rates.map(|rate| rate.bytes_in(SEGMENT)))
            .collect(),
        forecast: measured(),
        weights: objective.weights(5.8),
    }
}

fn measured() -> Forecast {
    let mut estimate = RateEstimate::default();
    for mbps in [3, 5, 2, 4] {
        estimate.sample(BitRate::from_kbps(mbps * 1000), Duration::from_secs(1));
    }
    estimate
        .forecast(Duration::from_millis(40))
        .unwrap_or_default()
}

fn decide(policy: &mut dyn AbrPolicy, contexts: &[AbrContext]) {
    let transfer = Transfer {
        bytes: ByteCount::new(700_000),
        ttfb: Duration::from_millis(40),
        body: Duration::from_secs(2),
    };
    let under_way = UnderWay {
        rung: 4,
        received: ByteCount::new(100_000),
        total: ByteCount::new(1_500_000),
        elapsed: Duration::from_secs(3),
    };
    for context in contexts {
        assert!(!policy.decide(context).why.is_empty());
        let _ = policy.review(context, &under_way);
        assert!(policy.scores().len() <= context.ladder.len());
        policy.transferred(&transfer);
    }
}

#[test]
fn no_policy_allocates_while_it_decides() {
    let contexts: Vec<AbrContext> = (0..8).map(|n| context(SEGMENT * n)).collect();
    for context in &contexts {
        let mut horizon = Horizon::default();
        horizon.decide(context);
        assert!(!horizon.candidates().is_empty(), "plans are corrected");
    }
    for rule in AbrRule::ALL {
        let mut policy = rule.policy();
        let measured = allocation_counter::measure(|| decide(policy.as_mut(), &contexts));
        assert_eq!(measured.count_total, 0, "{}", policy.name());
    }
}

#[test]
fn no_forecast_allocates() {
    let mut estimate = RateEstimate::default();
    let measured = allocation_counter::measure(|| {
        for n in 0..100 {
            let rate = BitRate::from_kbps(1_000 + n * 37 % 900);
            estimate.sample(rate, Duration::from_millis(250));
            if n % 8 == 7 {
                estimate.transferred();
            }
            assert!(estimate.forecast(Duration::from_millis(40)).is_some());
        }
    });
    assert_eq!(measured.count_total, 0);
}
