//! The text of a cue (WebVTT, 6.4): tags out, character references in.

use super::TEXT_BYTES_MAX;

/// Returns what is to be read: no tags, no control characters but line feeds, no blank ends, not too much.
pub(super) fn plain(payload: &str) -> String {
    let mut plain = String::with_capacity(payload.len());
    let mut rest = payload;
    while let Some(special) = rest.find(['<', '&']) {
        let (before, from) = rest.split_at(special);
        plain.push_str(before);
        rest = if from.starts_with('<') {
            // A tag that is never closed swallows the rest, as the standard's tokenizer does.
            from.split_once('>').map_or("", |(_, after)| after)
        } else {
            character_reference(from, &mut plain)
        };
    }
    plain.push_str(rest);
    plain.retain(|character| character == '\n' || !character.is_control());
    let text = plain.trim();
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// Puts the character that `from` begins with a reference to into `plain`; returns what follows.
fn character_reference<'a>(from: &'a str, plain: &mut String) -> &'a str {
    /// The longest is `&#x10ffff;`.
    const LONGEST: usize = 10;
    let end = from.bytes().take(LONGEST).position(|byte| byte == b';');
    let character = end.and_then(|end| match &from[1..end] {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        "lrm" => Some('\u{200e}'),
        "rlm" => Some('\u{200f}'),
        name => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    });
    match (character, end) {
        (Some(character), Some(end)) => {
            plain.push(character);
            &from[end + 1..]
        }
        _ => {
            plain.push('&');
            &from[1..]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_and_references_become_characters() {
        for (payload, expected) in [
            ("<i>Hello</i> <b.loud>you</b>", "Hello you"),
            ("<v Esme Smith>Who?\n<00:01.000>I.", "Who?\nI."),
            ("Tom &amp; Jerry &lt;3 &#233;&#x41;", "Tom & Jerry <3 éA"),
            ("R&D & so on &nonsense; &", "R&D & so on &nonsense; &"),
            ("cut <i", "cut"),
            ("\u{1b}[31mred&#27;[0m\0", "[31mred[0m"),
            ("&éééééé;", "&éééééé;"),
            (
                "\u{20ac}".repeat(1000).as_str(),
                "\u{20ac}".repeat(682).as_str(),
            ),
        ] {
            assert_eq!(plain(payload), expected);
        }
    }
}
