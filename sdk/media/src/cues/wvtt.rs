//! WebVTT in samples of fragmented MP4 (ISO/IEC 14496-30, 7).

use super::text::plain;
use super::webvtt::apply_settings;
use super::{Cue, CueAlign, CueError, SAMPLE_CUES_MAX};
use crate::fmp4::{DemuxError, Reader, Sample};

/// Reads the cues of one sample of a `wvtt` track; each is shown for as long as the sample lasts.
///
/// A packager cuts a cue where another one begins and where a segment ends, so that the same text may come in
/// several samples that touch.
///
/// # Errors
/// [`CueError::Sample`] when the sample is not made of cue boxes.
pub fn parse_wvtt(sample: &Sample) -> Result<Vec<Cue>, CueError> {
    let mut boxes = Reader::new(&sample.data, 0);
    let mut cues = Vec::new();
    while let Some(child) = boxes.next_box().map_err(in_sample)? {
        if &child.kind != b"vttc" {
            continue; // vtte: nothing is shown; vtta: a remark
        }
        let mut cue = Cue {
            start: sample.pts + sample.trim_start,
            end: sample.pts + sample.duration,
            text: String::new(),
            line: None,
            align: CueAlign::default(),
        };
        let mut parts = child.body;
        while let Some(part) = parts.next_box().map_err(in_sample)? {
            let text = String::from_utf8_lossy(part.body.rest());
            match &part.kind {
                b"payl" => cue.text = plain(&text),
                b"sttg" => apply_settings(&mut cue, &text),
                _ => {}
            }
        }
        if cue.end > cue.start && !cue.text.is_empty() && cues.len() < SAMPLE_CUES_MAX {
            cues.push(cue);
        }
    }
    Ok(cues)
}

fn in_sample(error: DemuxError) -> CueError {
    let (offset, what) = match error {
        DemuxError::Malformed { offset, what }
        | DemuxError::Truncated { offset, what }
        | DemuxError::Unsupported { offset, what } => (offset, what),
        DemuxError::Encrypted { .. } => (0, "encrypted"),
    };
    CueError::Sample { offset, what }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use nearcast_units::MediaTime;

    use super::*;
    use crate::fmp4::SampleKind;

    fn sample(data: &'static [u8]) -> Sample {
        Sample {
            track_id: 1,
            kind: SampleKind::Text,
            pts: MediaTime::from_micros(1_000_000),
            dts: MediaTime::from_micros(1_000_000),
            duration: Duration::from_millis(500),
            trim_start: Duration::ZERO,
            sync: true,
            data: data.into(),
        }
    }

    #[test]
    fn cues_last_as_long_as_their_sample() {
        let cues = parse_wvtt(&sample(
            b"\0\0\0\x22vttc\0\0\0\x0dpayl<i>Hi\0\0\0\x0dsttgline:\0\0\0\x08vtte",
        ));
        let cues = cues.unwrap();
        assert_eq!(cues.len(), 1);
        assert_eq!(cues[0].text, "Hi");
        assert_eq!(cues[0].end, MediaTime::from_micros(1_500_000));
        assert!(parse_wvtt(&sample(b"\0\0\0\x08vtte")).unwrap().is_empty());
    }

    #[test]
    fn a_sample_that_is_no_box_is_refused() {
        for data in [&b"\0\0\0\0\0\0\0\0"[..], b"\0\0\0\xffvttc", b"\0\0\0"] {
            assert!(matches!(
                parse_wvtt(&sample(data)),
                Err(CueError::Sample { offset: 0, .. })
            ));
        }
    }
}
