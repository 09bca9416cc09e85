//! Whatever comes in: no panic, and what parses keeps its promises. `PROPTEST_CASES=20000` looks longer.

use nearcast_manifest::parse;
use nearcast_protocol::manifest::SegmentIndex;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::fixtures::{check_invariants, files, folder, key, keys, representation};

const FIXTURES: [&str; 10] = [
    "ffmpeg-timeline/stream.mpd",
    "ffmpeg-number/stream.mpd",
    "ffmpeg-single-file/stream.mpd",
    "shaka-ondemand/stream.mpd",
    "shaka-template/stream.mpd",
    "shaka-wvtt/stream.mpd",
    "ffmpeg-hls/master.m3u8",
    "ffmpeg-hls-single-file/p0.m3u8",
    "shaka-ondemand/master.m3u8",
    "shaka-ondemand/lo.m3u8",
];

/// Words that take the place of others: limits, signs, syntax.
const WORDS: [&str; 22] = [
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "18446744073709551615",
    "4294967296",
    "NaN",
    "1e400",
    "",
    " ",
    "\"",
    "<",
    ">",
    "&a;",
    "$",
    "$Number%99d$",
    "../",
    "\n",
    "PT99999999999999999999S",
    "P1Y",
    "=",
    ",",
];

fn read(file: &str) -> Vec<u8> {
    std::fs::read(folder(file)).unwrap()
}

/// Parses, loads `index` wherever one is expected, and checks what came of it.
fn take_in(bytes: &[u8], index: &[u8]) {
    let Ok(mut manifest) = parse(bytes, "title/x") else {
        return;
    };
    check_invariants(&manifest);
    for key in keys(&manifest) {
        if representation(&manifest, key).index == SegmentIndex::Deferred {
            // Failing is fine; the invariants hold either way.
            drop(manifest.load_index(key, index));
        }
    }
    check_invariants(&manifest);
}

/// Replaces, removes or doubles stretches of a fixture.
fn mutate(text: &mut Vec<u8>, edits: &[(Index, usize, &str)]) {
    for (at, length, word) in edits {
        if text.is_empty() {
            return;
        }
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, word.bytes());
    }
}

/// Replaces numbers, so that more edits get past the syntax.
fn mutate_numbers(text: &[u8], edits: &[(Index, &str)]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let numbers: Vec<_> = text
        .char_indices()
        .filter(|(at, c)| {
            let before = text[..*at].chars().next_back();
            c.is_ascii_digit() && !before.is_some_and(|before| before.is_ascii_digit())
        })
        .map(|(at, _)| at)
        .collect();
    let mut chosen: Vec<_> = edits
        .iter()
        .filter(|_| !numbers.is_empty())
        .map(|(index, word)| (numbers[index.index(numbers.len())], *word))
        .collect();
    chosen.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    chosen.dedup_by_key(|(at, _)| *at);
    let mut text = text.into_owned();
    for (at, word) in chosen {
        let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
        text.replace_range(at..at + digits, word);
    }
    text.into_bytes()
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        take_in(&bytes, &bytes);
        for start in ["<MPD>", "#EXTM3U\n", "#EXTM3U\n#EXTINF:1,\n"] {
            let mut text = start.as_bytes().to_vec();
            text.extend_from_slice(&bytes);
            take_in(&text, &bytes);
        }
    }

    #[test]
    fn mutated_fixtures_never_panic(
        file in select(&FIXTURES[..]),
        edits in proptest::collection::vec((any::<Index>(), 0_usize..40, select(&WORDS[..])), 1..6),
        index_edits in proptest::collection::vec((any::<Index>(), 0_usize..4, select(&WORDS[..])), 0..3),
    ) {
        let mut text = read(file);
        mutate(&mut text, &edits);
        let mut index = read(if file.ends_with("mpd") { "shaka-ondemand/lo.sidx" } else { "shaka-ondemand/lo.m3u8" });
        mutate(&mut index, &index_edits);
        take_in(&text, &index);
    }

    #[test]
    fn mutated_numbers_never_panic(
        file in select(&FIXTURES[..]),
        edits in proptest::collection::vec((any::<Index>(), select(&WORDS[..8])), 1..8),
    ) {
        let text = mutate_numbers(&read(file), &edits);
        take_in(&text, &read("shaka-ondemand/lo.sidx"));
    }

    #[test]
    fn any_sidx_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 40..200), version in 0_u8..2) {
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(b"sidx");
        bytes[8..12].copy_from_slice(&[version, 0, 0, 0]);
        take_in(&read("shaka-ondemand/stream.mpd"), &bytes);
    }

    #[test]
    fn any_timeline_ascends_without_overlap(
        rows in proptest::collection::vec((proptest::option::of(0_u64..5_000), 20_u64..2_000, -1_i64..20), 1..20),
        timescale in select(&[1_u32, 10, 1000, 12_800, 48_000, 90_000, 10_000_000][..]),
        offset in any::<Index>(),
    ) {
        // Rows as a packager writes them: each begins where the last one ends, or a gap later. A negative
        // repeat reaches up to the next row, which says where it begins.
        let mut timeline = String::new();
        let mut time = 0;
        let mut starts = Vec::new();
        let mut rows = rows.into_iter().peekable();
        let mut after_open = false;
        while let Some((gap, d, r)) = rows.next() {
            let gap = gap.or(after_open.then_some(0));
            time += gap.unwrap_or(0);
            let t = gap.map(|_| format!("t=\"{time}\"")).unwrap_or_default();
            after_open = r < 0 && rows.peek().is_some();
            let r = if after_open { r } else { r.max(0) };
            let count = if after_open { 3 } else { u64::try_from(r).unwrap() + 1 };
            timeline.push_str(&format!("<S {t} d=\"{d}\" r=\"{r}\"/>"));
            starts.extend((0..count).map(|number| time + number * d));
            time += count * d;
        }
        let offset = starts[offset.index(starts.len())];
        let text = format!(
            r#"<MPD><Period start="PT3.000001S"><AdaptationSet mimeType="video/mp4">
            <Representation id="v" bandwidth="1"><SegmentTemplate media="$Time$" timescale="{timescale}"
            presentationTimeOffset="{offset}"><SegmentTimeline>{timeline}</SegmentTimeline></SegmentTemplate>
            </Representation></AdaptationSet></Period></MPD>"#
        );
        let manifest = parse(text.as_bytes(), "title/x").map_err(|error| {
            TestCaseError::fail(format!("{error}: {text}"))
        })?;
        check_invariants(&manifest);
        let files = files(&manifest, key(0, 0, 0));
        for start in starts.iter().filter(|start| **start >= offset) {
            prop_assert!(files.contains(&format!("title/{start}")), "{start} is missing: {text}");
        }
    }
}
