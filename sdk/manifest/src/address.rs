//! Where things lie: references resolved against the manifest, kept relative to its origin.

use url::Url;

use crate::ManifestError;
use crate::error::clip;
use crate::limits::URL_BYTES_MAX;

/// Where an object lies: a file, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The file.
    pub target: Target,
    /// The bytes of the file that make up the object; `None` for all of it.
    pub range: Option<ByteRange>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// On the origin the manifest came from, so that any edge holding the same files can serve it. An
    /// absolute path (`/demo/v3/seg-1.m4s`) when the manifest was named by an absolute URL; a path relative
    /// to an appliance's base (`demo/v3/seg-1.m4s`) when it was named by a bare path. Holds no dot segments;
    /// percent-encoding and query are kept.
    Path(String),
    /// An absolute URL on another origin.
    Url(String),
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, not less than `first`.
    pub last: u64,
}

impl ByteRange {
    /// Makes a range from the offset of its first byte and its length; `None` when it would be empty or end
    /// beyond 2⁶³ bytes.
    #[must_use]
    pub const fn from_length(first: u64, length: u64) -> Option<Self> {
        let Some(end) = first.checked_add(length) else {
            return None;
        };
        if length == 0 || end > i64::MAX.cast_unsigned() {
            return None;
        }
        Some(Self {
            first,
            last: end - 1,
        })
    }

    /// Returns the number of bytes, at least one.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.last - self.first + 1
    }

    /// Reads the `first-last` form of DASH.
    pub(crate) fn parse_dash(text: &str) -> Option<Self> {
        let (first, last) = text.trim().split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Self::from_length(first, last.checked_sub(first)?.checked_add(1)?)
    }
}

/// A URL that further references are resolved against, and what counts as home.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    url: Url,
    home: Home,
}

#[derive(Clone, Debug)]
struct Home {
    origin: url::Origin,
    /// The manifest was named by a bare path: there is no origin yet, any appliance is home.
    bare: bool,
}

/// Stands for the appliance while a bare path is resolved; reserved, so no manifest can mean it.
const ANY_APPLIANCE: &str = "https://appliance.invalid/";

impl Base {
    /// Starts from the manifest's own address: an absolute http(s) URL or a bare path.
    pub(crate) fn of_manifest(address: &str) -> Result<Self, ManifestError> {
        if address.len() > URL_BYTES_MAX {
            return Err(too_long());
        }
        let absolute = address
            .split_once("://")
            .is_some_and(|(scheme, _)| is_scheme(scheme));
        if absolute {
            let url = Url::parse(address).map_err(|_| bad(address, "no valid URL"))?;
            let url = checked(url, address)?;
            let origin = url.origin();
            return Ok(Self {
                url,
                home: Home {
                    origin,
                    bare: false,
                },
            });
        }
        let appliance =
            Url::parse(ANY_APPLIANCE).map_err(|_| bad(ANY_APPLIANCE, "no valid URL"))?;
        let origin = appliance.origin();
        let root = Self {
            url: appliance,
            home: Home { origin, bare: true },
        };
        // "./" keeps a colon in the first segment from being taken for a scheme.
        root.join(&format!("./{}", address.trim_start_matches('/')))
    }

    /// Resolves a reference.
    pub(crate) fn join(&self, reference: &str) -> Result<Self, ManifestError> {
        if reference.len() > URL_BYTES_MAX {
            return Err(too_long());
        }
        let reference = reference.trim();
        if self.climbs_above_root(reference) {
            return Err(bad(reference, "it climbs above the root"));
        }
        let url = self
            .url
            .join(reference)
            .map_err(|_| bad(reference, "no valid URL"))?;
        Ok(Self {
            url: checked(url, reference)?,
            home: self.home.clone(),
        })
    }

    /// Returns the file this address names.
    pub(crate) fn target(&self) -> Target {
        if self.url.origin() != self.home.origin {
            return Target::Url(self.url.as_str().to_owned());
        }
        let mut path = self.url.path().to_owned();
        if self.home.bare {
            path.remove(0);
        }
        if let Some(query) = self.url.query() {
            path.push('?');
            path.push_str(query);
        }
        Target::Path(path)
    }

    /// Returns the folder that references are resolved in, with its slash at the end.
    pub(crate) fn folder(&self) -> Result<Self, ManifestError> {
        self.join(".")
    }

    /// Returns the end of the file name after its last dot, in lower case.
    pub(crate) fn extension(&self) -> String {
        let name = self.url.path().rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.')
            .map(|(_, extension)| extension.to_ascii_lowercase())
            .unwrap_or_default()
    }

    /// Tells whether dot segments would leave the root. The URL standard silently stops at the root, so a
    /// wrong manifest would fetch a wrong file; here it is an error. Sees what the URL parser sees:
    /// backslashes, encoded dots, and tabs and newlines in between.
    fn climbs_above_root(&self, reference: &str) -> bool {
        let reference: String = reference
            .chars()
            .filter(|c| !matches!(c, '\t' | '\n' | '\r'))
            .map(|c| if c == '\\' { '/' } else { c })
            .take_while(|c| !matches!(c, '?' | '#'))
            .collect();
        // A scheme may also stand before a relative path ("https:../x").
        let reference = match reference.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => rest,
            _ => reference.as_str(),
        };
        let (mut depth, path) = if let Some(rest) = reference.strip_prefix("//") {
            (0, rest.split_once('/').map_or("", |(_, path)| path))
        } else if let Some(path) = reference.strip_prefix('/') {
            (0, path)
        } else {
            (self.depth(), reference)
        };
        for segment in path.split('/') {
            match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
                "." => {}
                ".." => match depth {
                    0 => return true,
                    _ => depth -= 1,
                },
                _ => depth += 1,
            }
        }
        false
    }

    fn depth(&self) -> usize {
        self.url.path().matches('/').count().saturating_sub(1)
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn checked(mut url: Url, reference: &str) -> Result<Url, ManifestError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(reference, "only http and https are supported"));
    }
    url.set_fragment(None);
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(too_long());
    }
    Ok(url)
}

fn bad(reference: &str, why: &'static str) -> ManifestError {
    ManifestError::BadUrl {
        reference: clip(reference),
        why,
    }
}

const fn too_long() -> ManifestError {
    ManifestError::TooLarge {
        what: "URL in bytes",
        limit: URL_BYTES_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(manifest: &str, reference: &str) -> Result<Target, ManifestError> {
        Ok(Base::of_manifest(manifest)?.join(reference)?.target())
    }

    fn path(text: &str) -> Result<Target, ManifestError> {
        Ok(Target::Path(text.to_owned()))
    }

    #[test]
    fn a_reference_on_the_same_origin_is_a_path() {
        let manifest = "https://edge.example:8443/demo/stream.mpd?token=x";
        assert_eq!(resolve(manifest, "v3/1.m4s"), path("/demo/v3/1.m4s"));
        assert_eq!(resolve(manifest, "../other/1.m4s"), path("/other/1.m4s"));
        assert_eq!(resolve(manifest, "/root.m4s?a=b#c"), path("/root.m4s?a=b"));
        assert_eq!(
            resolve(manifest, "https://edge.example:8443/demo/a%20b.m4s"),
            path("/demo/a%20b.m4s")
        );
    }

    #[test]
    fn a_reference_to_another_origin_is_a_url() {
        let manifest = "https://edge.example/demo/stream.mpd";
        for other in ["https://cdn.example/x", "http://edge.example/x"] {
            assert_eq!(
                resolve(manifest, other),
                Ok(Target::Url(other.to_owned())),
                "{other}"
            );
        }
        assert_eq!(
            resolve("demo/stream.mpd", "//cdn.example/x"),
            Ok(Target::Url("https://cdn.example/x".to_owned()))
        );
    }

    #[test]
    fn a_bare_path_stays_relative_to_any_appliance() {
        assert_eq!(
            resolve("demo/stream.mpd", "v3/seg-1.m4s"),
            path("demo/v3/seg-1.m4s")
        );
        assert_eq!(resolve("/demo/stream.mpd", "../x.m4s"), path("x.m4s"));
        assert_eq!(
            resolve("demo/at 10:30.mpd", ""),
            path("demo/at%2010:30.mpd")
        );
        assert_eq!(resolve("10:30.mpd", "x"), path("x"));
    }

    #[test]
    fn climbing_above_the_root_is_an_error_however_it_is_spelt() {
        for reference in [
            "../../x",
            "a/../../../x",
            "..\\..\\x",
            "%2e%2e/.%2E/x",
            ".\t./../x",
            "/../x",
            "https://appliance.invalid/../x",
            "https:../../x",
            "../../x/b://c",
        ] {
            let error = resolve("demo/stream.mpd", reference).unwrap_err();
            assert_eq!(error.code(), "manifest.bad_url", "{reference}");
        }
        assert_eq!(
            resolve("../demo/stream.mpd", "x").unwrap_err().code(),
            "manifest.bad_url"
        );
    }

    #[test]
    fn other_schemes_are_refused() {
        for reference in ["data:text/plain,x", "file:///etc/passwd", "javascript:1"] {
            let error = resolve("demo/stream.mpd", reference).unwrap_err();
            assert_eq!(error.code(), "manifest.bad_url", "{reference}");
        }
        assert_eq!(
            Base::of_manifest("file:///demo/stream.mpd")
                .unwrap_err()
                .code(),
            "manifest.bad_url"
        );
    }

    #[test]
    fn ranges_are_checked() {
        assert_eq!(
            ByteRange::parse_dash("834-21898").map(ByteRange::length),
            Some(21_065)
        );
        for wrong in ["", "5", "5-", "-5", "7-6", "0-18446744073709551615", "a-b"] {
            assert_eq!(ByteRange::parse_dash(wrong), None, "{wrong}");
        }
        assert_eq!(ByteRange::from_length(u64::MAX, 1), None);
        assert_eq!(ByteRange::from_length(0, 0), None);
    }
}
