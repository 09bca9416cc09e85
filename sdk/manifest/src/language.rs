//! Language tags as packagers write them.

/// Three-letter codes (ISO 639-2) that BCP 47 writes with two letters.
const SHORT: [(&str, &str); 40] = [
    ("ara", "ar"),
    ("bul", "bg"),
    ("ces", "cs"),
    ("cze", "cs"),
    ("chi", "zh"),
    ("zho", "zh"),
    ("dan", "da"),
    ("deu", "de"),
    ("ger", "de"),
    ("dut", "nl"),
    ("nld", "nl"),
    ("ell", "el"),
    ("gre", "el"),
    ("eng", "en"),
    ("est", "et"),
    ("fin", "fi"),
    ("fra", "fr"),
    ("fre", "fr"),
    ("heb", "he"),
    ("hin", "hi"),
    ("hrv", "hr"),
    ("hun", "hu"),
    ("ind", "id"),
    ("ita", "it"),
    ("jpn", "ja"),
    ("kor", "ko"),
    ("nor", "no"),
    ("pol", "pl"),
    ("por", "pt"),
    ("ron", "ro"),
    ("rum", "ro"),
    ("rus", "ru"),
    ("slk", "sk"),
    ("slo", "sk"),
    ("spa", "es"),
    ("swe", "sv"),
    ("tha", "th"),
    ("tur", "tr"),
    ("ukr", "uk"),
    ("vie", "vi"),
];

/// Returns a BCP 47 tag; `None` for "undetermined" and for nothing.
pub(crate) fn tag(written: Option<&str>) -> Option<String> {
    let written = written?.trim();
    let (first, rest) = match written.split_once(['-', '_']) {
        Some((first, rest)) => (first, Some(rest)),
        None => (written, None),
    };
    let first = first.to_ascii_lowercase();
    if matches!(first.as_str(), "" | "und") {
        return None;
    }
    let short = SHORT.iter().find(|(long, _)| *long == first);
    let first = short.map_or(first.as_str(), |(_, short)| short);
    Some(match rest {
        Some(rest) => crate::error::clip(&format!("{first}-{rest}")),
        None => crate::error::clip(first),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_out_in_one_form() {
        let cases = [
            ("eng", Some("en")),
            ("fre", Some("fr")),
            ("de-AT", Some("de-AT")),
            ("PT_br", Some("pt-br")),
            ("gsw", Some("gsw")),
            ("und", None),
            (" ", None),
        ];
        for (written, expected) in cases {
            assert_eq!(tag(Some(written)).as_deref(), expected, "{written}");
        }
    }
}
