//! Edges that are measured with spare time.

use super::script::{Answer, Script, known, pictures, reads, success};
use super::*;

#[test]
fn a_probe_that_trickles_does_not_keep_others_from_being_measured() {
    let config = Config {
        race_width: 1,
        ..Config::default()
    };
    let answer = |spec: &AttemptSpec| match spec.probe {
        true => Answer::Nothing,
        false => Answer::Whole,
    };
    let mut script = Script::new(3, config, answer, reads(pictures(&[known(40)])));
    // Both others are asked whether they are back.
    for edge in [1, 2] {
        let rest = Duration::from_secs(2);
        script.session.edge_failed(EdgeId(edge), rest, "net.reset");
    }
    for _ in 0..60 {
        if script.open.is_empty() {
            script.run(Duration::from_secs(1));
        }
    }
    let first = script.open[0].clone();
    script.say(&first, success(0, Some(40_000)));
    for second in 0..20 {
        let to = (second + 1) * 100;
        if script.open.contains(&first) {
            let from = to - 100;
            script.say(&first, TransportEvent::Progress { from, to });
        }
        script.run(Duration::from_secs(1));
    }
    assert!(!script.open.contains(&first), "it is given up");
    let mut probed = script.started.iter().filter(|(_, spec)| spec.probe);
    assert!(
        probed.any(|(_, spec)| spec.edge != first.edge),
        "another edge has its turn"
    );
}
