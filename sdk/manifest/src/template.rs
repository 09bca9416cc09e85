//! URL templates of DASH (ISO/IEC 23009-1, 5.3.9.4.4).

use crate::ManifestError;
use crate::error::clip;
use crate::limits::URL_BYTES_MAX;

/// A template with everything filled in but number and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Number { width: usize },
    Time { width: usize },
}

/// The widest zero padding anybody needs: 20 digits hold every 64-bit number.
const WIDTH_MAX: usize = 20;

/// What is known of a representation before its segments are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) id: &'a str,
    pub(crate) bandwidth: u64,
}

impl Template {
    pub(crate) fn parse(
        template: &str,
        representation: Identity<'_>,
    ) -> Result<Self, ManifestError> {
        if template.len() > URL_BYTES_MAX || representation.id.len() > URL_BYTES_MAX {
            return Err(ManifestError::TooLarge {
                what: "URL template in bytes",
                limit: URL_BYTES_MAX,
            });
        }
        let wrong = |why: &str| {
            ManifestError::malformed(format!("URL template {:?}: {why}", clip(template)))
        };
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            let (identifier, after) = after
                .split_once('$')
                .ok_or_else(|| wrong("a dollar sign has no partner"))?;
            rest = after;
            let (name, width) = match identifier.split_once('%') {
                Some((name, format)) => (
                    name,
                    Some(parse_width(format).ok_or_else(|| wrong("unknown number format"))?),
                ),
                None => (identifier, None),
            };
            let digits = width.unwrap_or(1);
            match name {
                "" if width.is_none() => text.push('$'),
                "RepresentationID" if width.is_none() => text.push_str(representation.id),
                "Bandwidth" => {
                    text.push_str(&format!("{:0digits$}", representation.bandwidth));
                }
                "Number" | "Time" => {
                    if !text.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    pieces.push(match name {
                        "Number" => Piece::Number { width: digits },
                        _ => Piece::Time { width: digits },
                    });
                }
                "SubNumber" => return Err(ManifestError::feature("$SubNumber$")),
                _ => return Err(wrong("unknown identifier")),
            }
            // Thousands of identifiers would multiply the 8 KiB.
            if text.len() > URL_BYTES_MAX || pieces.len() > PIECES_MAX {
                return Err(wrong("too long when filled in"));
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self { pieces })
    }

    /// Fills in a segment's number and time.
    pub(crate) fn expand(&self, number: u64, time: u64) -> String {
        let mut url = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => url.push_str(text),
                Piece::Number { width } => url.push_str(&format!("{number:0width$}")),
                Piece::Time { width } => url.push_str(&format!("{time:0width$}")),
            }
        }
        url
    }

    /// Tells whether different segments get different URLs.
    pub(crate) fn varies(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Number { .. } | Piece::Time { .. }))
    }
}

const PIECES_MAX: usize = 64;

fn parse_width(format: &str) -> Option<usize> {
    let digits = format.strip_suffix('d')?;
    let digits = digits.strip_prefix('0').unwrap_or(digits);
    if digits.is_empty() {
        return Some(1);
    }
    digits
        .parse()
        .ok()
        .filter(|width| (1..=WIDTH_MAX).contains(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str) -> Result<String, ManifestError> {
        let representation = Identity {
            id: "v3",
            bandwidth: 1_500_000,
        };
        Ok(Template::parse(template, representation)?.expand(7, 96_256))
    }

    #[test]
    fn every_identifier_is_filled_in() {
        assert_eq!(
            expand("$RepresentationID$/$Bandwidth$-$Number%05d$-$Time$.m4s").as_deref(),
            Ok("v3/1500000-00007-96256.m4s")
        );
        assert_eq!(
            expand("price$$$Number$$$.m4s").as_deref(),
            Ok("price$7$.m4s")
        );
        assert_eq!(expand("plain.m4s").as_deref(), Ok("plain.m4s"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for template in [
            "$Number",
            "$Foo$",
            "$Number%5x$",
            "$Number%099d$",
            "$RepresentationID%05d$",
        ] {
            assert_eq!(
                expand(template).map_err(|error| error.code()),
                Err("manifest.malformed"),
                "{template}"
            );
        }
        assert_eq!(
            expand("$SubNumber$").map_err(|error| error.code()),
            Err("unsupported.feature")
        );
    }

    #[test]
    fn a_template_cannot_grow_without_bound() {
        let id = "x".repeat(8000);
        let template = "$RepresentationID$".repeat(400);
        let representation = Identity {
            id: &id,
            bandwidth: 1,
        };
        assert!(Template::parse(&template, representation).is_err());
        assert!(expand(&"$Number$-".repeat(900)).is_err());
    }
}
