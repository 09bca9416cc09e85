//! WebVTT files, whole or one segment of them (W3C WebVTT; RFC 8216, 3.5 for the timestamp map).

use nearcast_units::{MediaTime, Ratio};

use super::text::plain;
use super::{Cue, CueAlign, CueError, CueLine, WEBVTT_BYTES_MAX, WEBVTT_CUES_MAX};

/// Reads the cues of a WebVTT file.
///
/// `offset_us` is added to every time, in microseconds. When the file has an `X-TIMESTAMP-MAP` its cues count from
/// there on the timeline of the media. A cue with a broken time, or one that ends before it begins, is left out, as
/// the standard asks; what is not UTF-8 becomes a replacement character.
///
/// # Errors
/// When the file is not WebVTT, is larger than 8 MiB, has more than 20,000 cues, or has a broken timestamp map.
pub fn parse_webvtt(bytes: &[u8], offset_us: i64) -> Result<Vec<Cue>, CueError> {
    if bytes.len() > WEBVTT_BYTES_MAX {
        return Err(CueError::TooLarge {
            size_bytes: bytes.len(),
        });
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    match text.strip_prefix("WEBVTT") {
        Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']) => {}
        _ => return Err(CueError::NotWebVtt),
    }
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.lines();
    let mut offset_us = offset_us;
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        if let Some(map) = line.strip_prefix(MAP) {
            let shift = timestamp_map(map).ok_or(CueError::TimestampMap)?;
            offset_us = offset_us.checked_add(shift).ok_or(CueError::TimestampMap)?;
        }
    }
    let mut cues = Vec::new();
    while let Some(block) = next_block(&mut lines) {
        cues.extend(parse_block(&block, offset_us));
        if cues.len() > WEBVTT_CUES_MAX {
            return Err(CueError::TooMany);
        }
    }
    Ok(cues)
}

const MAP: &str = "X-TIMESTAMP-MAP=";

/// Returns whether a WebVTT file says that its cues count on the timeline of the media. Where it does not, they are to
/// do so all the same in HLS (RFC 8216, section 3.5), but many count from the start of the title.
#[must_use]
pub fn has_timestamp_map(bytes: &[u8]) -> bool {
    let head = bytes.get(..HEAD_MAX).unwrap_or(bytes);
    let head = String::from_utf8_lossy(head)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let mut lines = head.lines().take_while(|line| !line.is_empty());
    lines.any(|line| line.starts_with(MAP))
}

/// The map is on the first lines.
const HEAD_MAX: usize = 1024;

/// Returns the lines up to the next blank one; `None` at the end of the file.
fn next_block<'a>(lines: &mut core::str::Lines<'a>) -> Option<Vec<&'a str>> {
    let first = lines.find(|line| !line.is_empty())?;
    let mut block = vec![first];
    block.extend(lines.take_while(|line| !line.is_empty()));
    Some(block)
}

/// `None` for a block that is no cue (`NOTE`, `STYLE`, `REGION`) or a broken one.
fn parse_block(block: &[&str], offset_us: i64) -> Option<Cue> {
    // A cue may have a line with its name before its times.
    let times = block.iter().take(2).position(|line| line.contains("-->"))?;
    let (start, rest) = block[times].split_once("-->")?;
    let rest = rest.trim_start();
    let (end, settings) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let start = timestamp(start.trim())?.checked_add(offset_us)?;
    let end = timestamp(end.trim())?.checked_add(offset_us)?;
    let text = plain(&block[times + 1..].join("\n"));
    if end <= start || text.is_empty() {
        return None;
    }
    let mut cue = Cue {
        start: MediaTime::from_micros(start),
        end: MediaTime::from_micros(end),
        text,
        line: None,
        align: CueAlign::default(),
    };
    apply_settings(&mut cue, settings);
    Some(cue)
}

/// Reads `align` and `line`; every other setting, and every broken one, is passed over.
pub(super) fn apply_settings(cue: &mut Cue, settings: &str) {
    for setting in settings.split_ascii_whitespace() {
        let Some((name, value)) = setting.split_once(':') else {
            continue;
        };
        match (name, value) {
            ("align", "start" | "left") => cue.align = CueAlign::Start,
            ("align", "end" | "right") => cue.align = CueAlign::End,
            ("line", place) => {
                let place = place.split_once(',').map_or(place, |(place, _)| place);
                cue.line = match place.strip_suffix('%') {
                    Some(percent) => (percent.parse::<f64>().ok())
                        .and_then(|percent| Ratio::new(percent / 100.0).ok())
                        .map(CueLine::Height),
                    None => place.parse().ok().map(CueLine::Number),
                };
            }
            _ => {}
        }
    }
}

/// Reads `MPEGTS:900000,LOCAL:00:00:00.000`; returns what to add to the times of the file, in microseconds.
fn timestamp_map(map: &str) -> Option<i64> {
    let (mut mpegts, mut local) = (None, None);
    for part in map.trim().split(',') {
        match part.split_once(':')? {
            // 33 bits, as the clock of MPEG-2 has.
            ("MPEGTS", ticks) => {
                mpegts =
                    (ticks.trim().parse().ok()).filter(|ticks: &i64| (0..1 << 33).contains(ticks));
            }
            ("LOCAL", time) => local = timestamp(time.trim()),
            _ => {}
        }
    }
    Some(mpegts? * 1_000 / 90 - local?)
}

/// Reads `[hours:]minutes:seconds.milliseconds`; returns microseconds.
fn timestamp(text: &str) -> Option<i64> {
    let (clock, millis) = text.split_once('.')?;
    let mut parts = clock.rsplit(':');
    let seconds = number(parts.next()?, 2)?;
    let minutes = number(parts.next()?, 2)?;
    let hours = match parts.next() {
        Some(hours) => number(hours, 9)?,
        None => 0,
    };
    if parts.next().is_some() || seconds > 59 || minutes > 59 || millis.len() != 3 {
        return None;
    }
    let millis = number(millis, 3)?;
    Some((((hours * 60 + minutes) * 60 + seconds) * 1000 + millis) * 1000)
}

/// Reads up to `digits_max` decimal digits and nothing else.
fn number(digits: &str, digits_max: usize) -> Option<i64> {
    if digits.len() > digits_max || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(cues: &[Cue]) -> Vec<(i64, i64, &str)> {
        cues.iter()
            .map(|cue| {
                (
                    cue.start.as_micros(),
                    cue.end.as_micros(),
                    cue.text.as_str(),
                )
            })
            .collect()
    }

    #[test]
    fn a_file_with_everything_gives_its_cues() {
        let file = "\u{feff}WEBVTT - a title\r\nKind: captions\r\n\r\nNOTE a --> remark\r\nof two lines\r\n\r\nSTYLE\r\n\
            ::cue { color: lime }\r\n\r\n1\r\n00:01.000 --> 00:02.500 align:left line:10%\r\n- <i>One</i>\r\n- Two\r\n\r\n\r\n\
            01:00:00.000-->01:00:01.000\tline:-2,end align:end\r\nThree";
        let cues = parse_webvtt(file.as_bytes(), 500_000).unwrap();
        assert_eq!(
            spans(&cues),
            [
                (1_500_000, 3_000_000, "- One\n- Two"),
                (3_600_500_000, 3_601_500_000, "Three")
            ]
        );
        assert_eq!(cues[0].align, CueAlign::Start);
        assert_eq!(
            cues[0].line,
            Some(CueLine::Height(Ratio::new(0.1).unwrap()))
        );
        assert_eq!(cues[1].align, CueAlign::End);
        assert_eq!(cues[1].line, Some(CueLine::Number(-2)));
    }

    #[test]
    fn a_timestamp_map_moves_the_cues() {
        let file = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:10.000,MPEGTS:1800000\n\n00:11.000 --> 00:12.000\nx\n";
        let cues = parse_webvtt(file.as_bytes(), 1).unwrap();
        assert_eq!(spans(&cues), [(21_000_001, 22_000_001, "x")]);
        assert!(has_timestamp_map(file.as_bytes()));
        assert!(!has_timestamp_map(
            b"WEBVTT\n\nX-TIMESTAMP-MAP=LOCAL:00:00.000,MPEGTS:0\n"
        ));
        for broken in [
            "MPEGTS:1",
            "LOCAL:0,MPEGTS:0",
            "MPEGTS:-1,LOCAL:00:00.000",
            "",
        ] {
            let file = format!("WEBVTT\nX-TIMESTAMP-MAP={broken}\n\n");
            assert_eq!(
                parse_webvtt(file.as_bytes(), 0),
                Err(CueError::TimestampMap),
                "{broken}"
            );
        }
    }

    #[test]
    fn broken_cues_are_left_out_and_the_others_stay() {
        let file = "WEBVTT\n\n00:01.000 --> 00:00.500\nbackwards\n\n00:99.000 --> 02:00.000\nno time\n\n\
            00:01.00 --> 00:02.000\ntwo digits\n\n999999999999:00:00.000 --> 999999999999:00:01.000\nfar\n\n\
            00:03.000 --> 00:04.000\n\n00:05.000 --> 00:06.000\nstays";
        let cues = parse_webvtt(file.as_bytes(), 0).unwrap();
        assert_eq!(spans(&cues), [(5_000_000, 6_000_000, "stays")]);
    }

    #[test]
    fn what_is_not_webvtt_is_refused() {
        for file in [
            &b""[..],
            b"WEBVT",
            b"WEBVTTX\n",
            b"1\n00:01,000 --> 00:02,000\n",
            &[0; 64],
        ] {
            assert_eq!(parse_webvtt(file, 0), Err(CueError::NotWebVtt));
        }
        assert!(parse_webvtt(b"WEBVTT", 0).unwrap().is_empty());
        let many = |count| format!("WEBVTT{}", "\n\n00:00.000 --> 00:01.000\nx".repeat(count));
        let most = parse_webvtt(many(WEBVTT_CUES_MAX).as_bytes(), 0);
        assert_eq!(most.map(|cues| cues.len()), Ok(WEBVTT_CUES_MAX));
        let more = parse_webvtt(many(WEBVTT_CUES_MAX + 1).as_bytes(), 0);
        assert_eq!(more, Err(CueError::TooMany));
        let large = vec![b' '; WEBVTT_BYTES_MAX + 1];
        assert!(matches!(
            parse_webvtt(&large, 0),
            Err(CueError::TooLarge { .. })
        ));
    }
}
