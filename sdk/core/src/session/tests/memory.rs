//! What is remembered of networks: taken up, given back, and never a reason to break.

use proptest::prelude::*;

use super::script::{Answer, Script, known, pictures, reads};
use super::*;
use crate::input::EdgeId;
use crate::memory::Memory;

const BEGAN_S: u64 = 1_790_000_000;

/// A home with a fast line and one edge, the last of six, that is near; a work with another.
const KEPT: &str = r#"{"networks":{
    "home":{"at_s":1790000000,"rate_bps":{"typical":4e7,"sessions":3},"edges":{
        "e5":{"at_s":1790000000,"round_trip_ms":{"typical":12,"sessions":3},"rate_bps":{"typical":4e7,"sessions":3}}}},
    "work":{"at_s":1790000000,"rate_bps":{"typical":4e7,"sessions":3},"edges":{
        "e4":{"at_s":1790000000,"round_trip_ms":{"typical":12,"sessions":3}}}}}}"#;

fn on(network: Option<&str>, memory: &str) -> Config {
    Config {
        memory: serde_json::from_str(memory).unwrap(),
        network: network.map(Into::into),
        began_s: BEGAN_S,
        ..Config::default()
    }
}

fn starting(config: Config) -> Script {
    let nothing = |_: &AttemptSpec| Answer::Nothing;
    Script::new(6, config, nothing, reads(pictures(&[known(8)])))
}

fn asked(script: &Script) -> Vec<u16> {
    let asked = script.asked(ObjectKey::Manifest);
    asked.iter().map(|id| id.0).collect()
}

fn moved(network: Option<&str>) -> Input {
    Input::Command(Command::NetworkChanged {
        network: network.map(Into::into),
    })
}

#[test]
fn who_was_near_on_this_network_races_first_and_the_race_stays() {
    let script = starting(on(Some("home"), KEPT));
    assert_eq!(asked(&script), [5, 0, 1]);
    let remembers = |event: &Event| matches!(event, Event::Decision(one) if one.kind == DecisionKind::Race && one.why.contains("remembered"));
    assert!(script.events.iter().any(remembers));
    for nobody in [
        on(None, KEPT),
        on(Some("hotel"), KEPT),
        on(Some("home"), "{}"),
    ] {
        assert_eq!(asked(&starting(nobody)), [0, 1, 2]);
    }
    let mut week_later = on(Some("home"), KEPT);
    week_later.began_s += 14 * 86_400;
    assert_eq!(asked(&starting(week_later)), [0, 1, 2]);
}

#[test]
fn another_network_brings_its_own_memory_and_the_old_one_is_kept() {
    let mut script = starting(on(Some("home"), KEPT));
    let near = script.open.remove(0);
    let rtt = Some(Duration::from_millis(200));
    script.say(
        &near,
        TransportEvent::Connected {
            cold: true,
            protocol: crate::input::Protocol::H2,
            rtt,
        },
    );
    script.tell(moved(Some("work")));
    let goes_on = script.started.last().unwrap();
    assert_eq!(goes_on.1.edge, EdgeId(4));
    let home = script.session.memory().recall(Some("home"), BEGAN_S);
    let round_trip = home.edge("e5").round_trip_ms;
    assert!(round_trip.sessions() > 3.0 && round_trip.typical() > 15.0);
    let work = script.session.memory().recall(Some("work"), BEGAN_S);
    assert!(!work.edge("e4").is_nothing());
    // Back without a name: nothing is taken up.
    script.tell(moved(None));
    let kept = script.session.memory();
    assert_eq!(script.started.last().unwrap().1.edge, EdgeId(0));
    script.run(Duration::from_secs(1));
    assert_eq!(script.session.memory(), kept);
}

#[test]
fn without_a_name_nothing_is_remembered() {
    let mut script = starting(on(None, "{}"));
    script.serve(|_| Answer::Whole);
    script.run(Duration::from_secs(5));
    assert_eq!(script.session.memory(), Memory::default());
}

/// A number as a hostile file may have it.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_map(|number| alloc::format!("{number:e}")),
        any::<u64>().prop_map(|number| alloc::format!("{number}")),
        prop_oneof![
            Just("-1"),
            Just("0"),
            Just("5e-324"),
            Just("1.7e308"),
            Just("null"),
            Just("1e7"),
            Just("3"),
        ]
        .prop_map(Into::into),
    ]
}

fn usual() -> impl Strategy<Value = String> {
    (number(), number()).prop_map(|(typical, sessions)| {
        alloc::format!(r#"{{"typical":{typical},"sessions":{sessions}}}"#)
    })
}

fn memory() -> impl Strategy<Value = String> {
    let edge = (0..3_u8, any::<u64>(), usual(), usual()).prop_map(|(nth, at_s, near, rate)| {
        alloc::format!(r#""e{nth}":{{"at_s":{at_s},"round_trip_ms":{near},"rate_bps":{rate}}}"#)
    });
    let edges = prop::collection::vec(edge, 0..4);
    (any::<u64>(), usual(), edges).prop_map(|(at_s, rate, edges)| {
        let edges = edges.join(",");
        alloc::format!(
            r#"{{"networks":{{"n":{{"at_s":{at_s},"rate_bps":{rate},"edges":{{{edges}}}}}}}}}"#
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_reads_as_a_memory_breaks_nothing(
        text in memory(),
        slips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        began_s: u64,
        seed: u64,
    ) {
        let mut bytes = text.into_bytes();
        for (at, byte) in slips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let Ok(memory) = serde_json::from_slice::<Memory>(&bytes) else {
            return Ok(());
        };
        let mut chance = Chance::new(seed);
        let config = Config { memory, network: Some("n".into()), began_s, ..chance.session.config.clone() };
        chance.session = Session::new(config);
        chance.tell(Input::Load);
        chance.tell(Input::Granted(grant(3)));
        for _ in 0..100 {
            chance.step();
        }
        let kept = serde_json::to_string(&chance.session.memory()).unwrap();
        prop_assert!(serde_json::from_str::<Memory>(&kept).is_ok());
        prop_assert!(kept.len() < 200_000);
    }
}
