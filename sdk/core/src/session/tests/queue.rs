//! What stands in a queue before a slow line is late, and its edge is not at fault.

use super::answered;
use super::script::{Answer, Script, known, of_track, pictures, reads, success, v, with_track};
use crate::action::AttemptSpec;
use crate::fetch::{Comparison, HeldTo};
use crate::input::{AttemptId, EdgeId, TransportEvent};
use crate::session::*;
use crate::throughput::RecentRate;

const PICTURE: ObjectKey = ObjectKey::Media(v(0), 0);
const SOUND: ObjectKey = ObjectKey::Media(of_track(1, 0), 0);

#[test]
fn what_stands_in_the_queue_of_a_slow_line_is_no_silence_of_its_edge() {
    // What is known of the line, whether the edge brings something else, and whether it is left.
    let cases = [
        ("slow", true, false),
        ("compared", true, false),
        ("slow", false, true),
        ("well", true, true),
    ];
    for (line, brings, left) in cases {
        let what = (line, brings);
        let answer = |spec: &AttemptSpec| match spec.object {
            ObjectKey::Media(..) => Answer::Nothing,
            ObjectKey::Manifest | ObjectKey::Index(_) | ObjectKey::Init(_) | ObjectKey::Probe => {
                Answer::Whole
            }
        };
        let config = Config {
            race_width: 1,
            ..Config::default()
        };
        let outline = with_track(pictures(&[known(40)]), TrackKind::Audio, "en", known(40));
        let mut script = Script::new(2, config, answer, reads(outline));
        let (picture, sound) = (script.take(PICTURE), script.take(SOUND));
        assert_eq!((picture.edge, sound.edge), (EdgeId(0), EdgeId(0)));
        let rate = BitRate::from_kbps(250);
        if line == "slow" {
            script.session.line_slow_until = script.now + Duration::from_secs(20);
            script.session.line_slow_rate = Some(rate);
        } else if line == "compared" {
            let other = (AttemptId(u32::MAX), EdgeId(1));
            let held_to = (None, HeldTo::Usual(rate));
            let slow = (picture.attempt, EdgeId(0));
            let comparison = Comparison::new(slow, other, held_to, RecentRate::default());
            script.session.comparison = Some(comparison);
        }
        script.say(&picture, success(0, Some(150_000)));
        for from in (0..15).map(|nth| nth * 3_000) {
            script.run(Duration::from_millis(100));
            let to = from + 3_000;
            if brings {
                script.say(&picture, TransportEvent::Progress { from, to });
            }
        }
        let helper = |spec: &&AttemptSpec| spec.object == SOUND && spec.edge == EdgeId(1);
        let helper = script
            .open
            .iter()
            .find(helper)
            .cloned()
            .expect("sound is helped");
        for input in answered(&helper) {
            script.tell(input);
        }
        assert!(
            script.handed.iter().any(|(_, object)| *object == SOUND),
            "{what:?}"
        );
        let edge = script.session.edges.get(EdgeId(0)).unwrap();
        assert_eq!(edge.rested_at().is_some(), left, "{what:?}");
        let in_use = script.session.edges.current();
        assert_eq!(in_use == Some(EdgeId(0)), !left, "{what:?}");
    }
}
