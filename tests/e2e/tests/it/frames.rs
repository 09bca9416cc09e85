//! What `--frames` wrote: one line for each decoded frame, read from the picture itself.

use std::path::Path;

use crate::program::whole_lines;
use crate::title::FRAMES_PER_SECOND;

/// One decoded frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) pts_s: f64,
    pub(crate) rung: u8,
    pub(crate) number: u32,
}

/// Reads the file; every frame must have had a bar code that can be read.
pub(crate) fn read_frames(path: &Path) -> Vec<Frame> {
    let text = std::fs::read_to_string(path).unwrap();
    whole_lines(&text).map(parse).collect()
}

fn parse(line: &str) -> Frame {
    let words: Vec<&str> = line.split(' ').collect();
    let parsed = match words.as_slice() {
        [pts_s, rung, number] => pts_s
            .parse()
            .ok()
            .zip(rung.parse().ok())
            .zip(number.parse().ok()),
        _ => None,
    };
    let ((pts_s, rung), number) =
        parsed.unwrap_or_else(|| panic!("no frame was read here: {line:?}"));
    Frame {
        pts_s,
        rung,
        number,
    }
}

/// Asserts that every frame from the first one on came once, in order, at its time, up to `until_s` at least.
pub(crate) fn assert_every_frame_once(frames: &[Frame], until_s: f64) {
    for (expected, frame) in (0_u32..).zip(frames) {
        assert_eq!(
            frame.number, expected,
            "{frame:?} came where frame {expected} was due"
        );
        let due_s = f64::from(expected) / FRAMES_PER_SECOND;
        // Presentation times are kept in microseconds.
        assert!(
            (frame.pts_s - due_s).abs() < 0.000_002,
            "{frame:?} should be at {due_s} s"
        );
    }
    let end_s = frames.last().map_or(0.0, |frame| frame.pts_s) + 1.0 / FRAMES_PER_SECOND;
    // At the end of a title sound may go on a little longer than the picture.
    assert!(
        end_s > until_s - 0.1,
        "frames end at {end_s} s, {until_s} s were played"
    );
}

fn frames(numbers: &[u32]) -> Vec<Frame> {
    let frame = |(place, number): (u32, &u32)| Frame {
        pts_s: f64::from(place) / FRAMES_PER_SECOND,
        rung: 0,
        number: *number,
    };
    (0..).zip(numbers).map(frame).collect()
}

#[test]
fn frames_in_order_are_good() {
    assert_every_frame_once(&frames(&[0, 1, 2, 3]), 4.0 / FRAMES_PER_SECOND);
}

#[test]
#[should_panic(expected = "where frame 2 was due")]
fn a_lost_frame_is_noticed() {
    assert_every_frame_once(&frames(&[0, 1, 3, 4]), 0.0);
}

#[test]
#[should_panic(expected = "where frame 2 was due")]
fn a_frame_that_comes_twice_is_noticed() {
    assert_every_frame_once(&frames(&[0, 1, 1, 2]), 0.0);
}

#[test]
#[should_panic(expected = "frames end at")]
fn frames_that_end_early_are_noticed() {
    assert_every_frame_once(&frames(&[0, 1, 2]), 1.0);
}
