//! Quantities as people read them.

use std::time::Duration;

use nearcast_units::{BitRate, ByteCount, MediaTime, Ratio};
use ratatui::text::Span;

/// Writes a place on the timeline as `m:ss`, or `h:mm:ss` where the title is an hour or longer.
pub(super) fn position(at: MediaTime, duration: Option<Duration>) -> String {
    let seconds = at.since(MediaTime::ZERO).as_secs();
    let longest = duration.map_or(seconds, |duration| duration.as_secs().max(seconds));
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if longest >= 3600 {
        format!("{hours}:{minutes:02}:{rest:02}")
    } else {
        format!("{minutes}:{rest:02}")
    }
}

/// Writes a rate as `235k` or `3.0M` bits per second.
pub(super) fn rate(rate: BitRate) -> String {
    let bps = rate.as_bps();
    if bps >= 999_500 {
        let tenths = (bps + 50_000) / 100_000;
        format!("{}.{}M", tenths / 10, tenths % 10)
    } else {
        format!("{}k", (bps + 500) / 1000)
    }
}

/// Writes an amount as `12 kB`, `3.4 MB` or `1.2 GB`.
pub(super) fn amount(bytes: ByteCount) -> String {
    let tenths_of = |unit: u64| {
        let tenths = bytes.get() / (unit / 10);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bytes.get() {
        0..1_000_000 => format!("{} kB", bytes.get() / 1000),
        1_000_000..1_000_000_000 => format!("{} MB", tenths_of(1_000_000)),
        1_000_000_000.. => format!("{} GB", tenths_of(1_000_000_000)),
    }
}

/// Writes a span as `12.3 s`.
pub(super) fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

/// Returns a share in whole per cent.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a share is within 0.0 to 1.0"
)]
pub(in crate::tui) fn percent(share: Ratio) -> i32 {
    (share.get() * 100.0).round() as i32
}

/// Returns how many of `whole` steps a span is of `full`, rounded; all of them when it is longer.
pub(super) fn steps(span: Duration, full: Duration, whole: u16) -> u16 {
    let full = full.as_millis().max(1);
    let steps = (span.as_millis() * u128::from(whole) + full / 2) / full;
    u16::try_from(steps).unwrap_or(whole).min(whole)
}

/// As [`cell`], but cuts out of the middle: names of edges on one host differ at their end.
pub(super) fn cell_with_ends(text: &str, width: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if Span::raw(text).width() <= width || width < 3 || !text.is_ascii() {
        return cell(text, width);
    }
    let head = (width - 1) / 3;
    let tail = width - 1 - head;
    let head: String = characters[..head].iter().collect();
    let tail: String = characters[characters.len() - tail..].iter().collect();
    format!("{head}…{tail}")
}

/// Cuts or fills a text to a number of cells.
pub(super) fn cell(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        let blanks = width - Span::raw(text).width();
        return format!("{text}{}", " ".repeat(blanks));
    }
    let mut cut = String::new();
    for character in text.chars() {
        let longer = format!("{cut}{character}");
        if Span::raw(&longer).width() + 1 > width {
            break;
        }
        cut = longer;
    }
    let blanks = width.saturating_sub(Span::raw(&cut).width() + 1);
    if width == 0 {
        return String::new();
    }
    format!("{cut}…{}", " ".repeat(blanks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        let at = |seconds| MediaTime::from_duration(Duration::from_secs(seconds));
        assert_eq!(position(at(83), None), "1:23");
        assert_eq!(position(at(83), Some(Duration::from_secs(7200))), "0:01:23");
        assert_eq!(position(MediaTime::from_micros(-5), None), "0:00");
        assert_eq!(rate(BitRate::from_kbps(235)), "235k");
        assert_eq!(rate(BitRate::from_bps(999_600)), "1.0M");
        assert_eq!(rate(BitRate::from_kbps(18_040)), "18.0M");
        assert_eq!(amount(ByteCount::new(12_345_678)), "12.3 MB");
        assert_eq!(amount(ByteCount::new(999)), "0 kB");
        assert_eq!(seconds(Duration::from_millis(12_345)), "12.3 s");
    }

    #[test]
    fn a_cell_is_as_wide_as_asked_even_for_wide_characters() {
        assert_eq!(cell("ab", 4), "ab  ");
        assert_eq!(cell("abcdef", 4), "abc…");
        assert_eq!(cell("日本語", 4), "日… ");
        assert_eq!(cell("abc", 0), "");
    }

    #[test]
    fn steps_never_leave_the_bar() {
        let second = Duration::from_secs(1);
        assert_eq!(steps(second, second * 2, 10), 5);
        assert_eq!(steps(second * 9, second * 2, 10), 10);
        assert_eq!(steps(second, Duration::ZERO, 10), 10);
        assert_eq!(steps(Duration::MAX, Duration::from_millis(1), 10), 10);
    }
}
