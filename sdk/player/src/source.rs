//! What is to be played, and from where.

use nearcast_net::Origin;
use url::Url;

use crate::backend::BackendOptions;
use crate::error::PlayerError;

/// What is to be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A title of a backend, which says from which edges.
    Title {
        /// Which backend, and who asks.
        backend: BackendOptions,
        /// The title's identifier.
        title: String,
    },
    /// A manifest by its absolute URL. Its origin is the edge; further base URLs in the manifest are further
    /// edges.
    Url(String),
    /// A manifest path, relative to each of these base URLs, best first.
    Edges {
        /// The manifest's path.
        path: String,
        /// Base URLs of the edges.
        bases: Vec<String>,
    },
}

/// A source that was checked.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Title {
        backend: BackendOptions,
        title: String,
    },
    /// No backend is asked.
    Fixed(FixedSource),
}

/// A manifest and the edges that have it.
#[derive(Clone, Debug)]
pub(crate) struct FixedSource {
    /// What the manifest is called when it is parsed: its URL, or its path relative to each edge.
    pub(crate) manifest: String,
    pub(crate) bases: Vec<Url>,
}

impl Source {
    /// Returns the source's name for reports: without query, user or password.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Title { title, .. } => title.clone(),
            Self::Url(url) => without_secrets(url),
            Self::Edges { path, .. } => path.split('?').next().unwrap_or_default().to_owned(),
        }
    }

    /// # Errors
    ///
    /// [`PlayerError::InvalidSource`] saying what is wrong.
    pub(crate) fn check(self) -> Result<Plan, PlayerError> {
        let invalid = |reason: String| PlayerError::InvalidSource { reason };
        match self {
            Self::Title { backend, title } => {
                if title.is_empty() {
                    return Err(invalid("the title's name is empty".to_owned()));
                }
                Ok(Plan::Title { backend, title })
            }
            Self::Url(text) => {
                let mut url = web_url(&text)?;
                url.set_fragment(None);
                let mut base = url.clone();
                base.set_path("/");
                base.set_query(None);
                Ok(Plan::Fixed(FixedSource {
                    manifest: url.into(),
                    bases: vec![base],
                }))
            }
            Self::Edges { path, bases } => {
                if bases.is_empty() {
                    return Err(invalid(
                        "no edge is given; name at least one base URL".to_owned(),
                    ));
                }
                if bases.len() > EDGES_MAX {
                    return Err(invalid(format!("more than {EDGES_MAX} edges are given")));
                }
                let path = path.trim_start_matches('/');
                if path.is_empty() {
                    return Err(invalid("the manifest's path is empty".to_owned()));
                }
                let bases = bases
                    .iter()
                    .map(|base| base_url(base))
                    .collect::<Result<_, _>>()?;
                Ok(Plan::Fixed(FixedSource {
                    manifest: path.to_owned(),
                    bases,
                }))
            }
        }
    }
}

/// As many as a grant may hold, with room for those that a refresh adds.
pub(crate) const EDGES_MAX: usize = 64;

/// Reads a base URL; its path ends in a slash, so that paths are joined below it.
pub(crate) fn base_url(text: &str) -> Result<Url, PlayerError> {
    let mut url = web_url(text)?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn web_url(text: &str) -> Result<Url, PlayerError> {
    let invalid = |why: String| PlayerError::InvalidSource {
        reason: format!("`{}`: {why}", without_secrets(text)),
    };
    let url = Url::parse(text)
        .map_err(|error| invalid(format!("{error}; it must begin with http:// or https://")))?;
    Origin::split(url.as_str()).map_err(|error| invalid(error.to_string()))?;
    Ok(url)
}

fn without_secrets(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return text.split('?').next().unwrap_or_default().to_owned();
    };
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for URLs that cannot hold either.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return url.scheme().to_owned();
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_url_is_played_from_its_origin() {
        let Plan::Fixed(fixed) =
            Source::Url("https://cdn.example:8443/a/b.mpd?key=1#t=3".to_owned())
                .check()
                .unwrap()
        else {
            panic!("a URL needs no backend")
        };
        assert_eq!(fixed.manifest, "https://cdn.example:8443/a/b.mpd?key=1");
        assert_eq!(fixed.bases[0].as_str(), "https://cdn.example:8443/");
    }

    #[test]
    fn a_path_is_played_from_each_edge() {
        let bases = vec![
            "http://127.0.0.1:1/media".to_owned(),
            "https://b.example".to_owned(),
        ];
        let source = Source::Edges {
            path: "/demo/stream.mpd".to_owned(),
            bases,
        };
        let Plan::Fixed(fixed) = source.check().unwrap() else {
            panic!("edges need no backend")
        };
        assert_eq!(fixed.manifest, "demo/stream.mpd");
        let bases: Vec<_> = fixed.bases.iter().map(Url::as_str).collect();
        assert_eq!(bases, ["http://127.0.0.1:1/media/", "https://b.example/"]);
    }

    #[test]
    fn nonsense_is_refused_and_told_without_secrets() {
        let edges = |path: &str, bases: &[&str]| Source::Edges {
            path: path.to_owned(),
            bases: bases.iter().map(|&base| base.to_owned()).collect(),
        };
        let bad = [
            Source::Url("ftp://host/x.mpd?secret".to_owned()),
            Source::Url("not a url?secret".to_owned()),
            edges("x.mpd", &[]),
            edges("/", &["http://host"]),
            edges("x.mpd", &["file:///secret"]),
            Source::Title {
                backend: BackendOptions::new("http://host"),
                title: String::new(),
            },
        ];
        for source in bad {
            let error = source.check().unwrap_err();
            assert_eq!(error.code(), "player.invalid_source");
            assert!(!error.to_string().contains("?secret"), "{error}");
        }
    }

    #[test]
    fn a_report_names_the_source_without_secrets() {
        let source = Source::Url("https://me:pw@host/x.mpd?token=1#y".to_owned());
        assert_eq!(source.name(), "https://host/x.mpd");
    }
}
