//! The title's subtitles: cues of two to four seconds that name the time they stand for.

use crate::config::Language;

/// Cue lengths, in turn, in seconds; one second is left empty between cues.
const CUE_SECONDS: [u32; 3] = [2, 3, 4];

/// Returns a WebVTT file for the whole title.
pub(crate) fn webvtt(language: Language, seconds: u32) -> String {
    let mut text = String::from("WEBVTT\n");
    let mut start = 0;
    for (number, length) in (1..).zip(CUE_SECONDS.into_iter().cycle()) {
        let end = (start + length).min(seconds);
        if start >= end {
            break;
        }
        let line = match language.tag {
            "sv" => format!("Text {number}: klockan är {}", clock(start)),
            _ => format!("Cue {number}: the time is {}", clock(start)),
        };
        text.push_str(&format!(
            "\n{number}\n{}.000 --> {}.000\n{line}\n",
            clock(start),
            clock(end)
        ));
        start = end + 1;
    }
    text
}

fn clock(seconds: u32) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LANGUAGES;

    #[test]
    fn cues_name_their_time_and_end_with_the_title() {
        let [english, swedish] = LANGUAGES;
        let expected = "WEBVTT\n\n\
            1\n00:00:00.000 --> 00:00:02.000\nCue 1: the time is 00:00:00\n\n\
            2\n00:00:03.000 --> 00:00:05.000\nCue 2: the time is 00:00:03\n";
        assert_eq!(webvtt(english, 5), expected);
        assert!(webvtt(swedish, 5).contains("klockan är 00:00:03"));
    }
}
