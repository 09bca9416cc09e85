//! What a request asks, and what is told about it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use crate::error::NetError;
use crate::headers::Headers;

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain text; HTTP/1.1 only.
    Http,
    /// TLS.
    Https,
}

/// Whom a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Whether it is encrypted.
    pub scheme: Scheme,
    /// Name or address, lower case; an IPv6 address without brackets.
    pub host: String,
    /// TCP port, and UDP port for HTTP/3.
    pub port: u16,
}

impl Origin {
    /// Returns `host:port` as it stands in a URL, the port only when it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        if self.port == usual {
            self.bracketed_host()
        } else {
            self.host_and_port()
        }
    }

    pub(crate) fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed_host(), self.port)
    }

    fn bracketed_host(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    /// Splits an absolute `http` or `https` URL into its origin and its path with query.
    ///
    /// # Errors
    /// [`NetError::InvalidRequest`] when it is no such URL.
    pub fn split(url: &str) -> Result<(Self, String), NetError> {
        let url = Url::parse(url).map_err(|error| invalid(format!("not a URL: {error}")))?;
        Self::split_url(&url)
    }

    pub(crate) fn split_url(url: &Url) -> Result<(Self, String), NetError> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(invalid(format!("scheme `{other}` is not http or https"))),
        };
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_ascii_lowercase(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            None => return Err(invalid("a URL without a host".to_owned())),
        };
        let port = url.port_or_known_default().unwrap_or(match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        });
        let mut path_and_query = url.path().to_owned();
        if let Some(query) = url.query() {
            path_and_query.push('?');
            path_and_query.push_str(query);
        }
        Ok((Self { scheme, host, port }, path_and_query))
    }
}

fn invalid(detail: String) -> NetError {
    NetError::InvalidRequest { detail }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1 over TCP, encrypted or not.
    Http1,
    /// HTTP/2 over TLS.
    Http2,
    /// HTTP/3 over QUIC.
    Http3,
}

/// Which protocols a request may use, and how they race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.1 may be used.
    pub http1: bool,
    /// HTTP/2 may be used.
    pub http2: bool,
    /// HTTP/3 may be used.
    pub http3: bool,
    /// HTTP/3 is tried first although the origin has not announced it by `Alt-Svc` (the play grant did).
    pub h3_first: bool,
    /// How much later TCP starts when HTTP/3 is tried first; the first to be connected wins.
    pub h3_head_start: Duration,
}

impl Protocols {
    /// Every protocol, HTTP/3 after an announcement; head start 300 ms.
    pub const ALL: Self = Self {
        http1: true,
        http2: true,
        http3: true,
        h3_first: false,
        h3_head_start: Duration::from_millis(300),
    };

    /// Returns a set of one.
    #[must_use]
    pub const fn only(protocol: Protocol) -> Self {
        Self {
            http1: matches!(protocol, Protocol::Http1),
            http2: matches!(protocol, Protocol::Http2),
            http3: matches!(protocol, Protocol::Http3),
            h3_first: matches!(protocol, Protocol::Http3),
            ..Self::ALL
        }
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self::ALL
    }
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, inclusive; `None` asks for all from `first` on.
    pub last: Option<u64>,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) => write!(f, "bytes={}-{last}", self.first),
            None => write!(f, "bytes={}-", self.first),
        }
    }
}

/// What a request is for; tells the server how urgent it is (RFC 9218).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Media, manifests: usual urgency.
    #[default]
    Media,
    /// Small answers others wait for: more urgent.
    Control,
}

/// One GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whom to ask.
    pub origin: Origin,
    /// The origin's addresses as the play grant gives them; then no name is looked up. Empty: look up.
    pub addresses: Vec<IpAddr>,
    /// What to ask for, beginning with `/`.
    pub path_and_query: String,
    /// Which bytes; `None` asks for the whole.
    pub range: Option<Range>,
    /// Headers beside those of the configuration.
    pub headers: Vec<(String, String)>,
    /// Which protocols may be used.
    pub protocols: Protocols,
    /// How long one address is tried alone before the next is tried beside it (RFC 8305).
    pub happy_eyeballs_delay: Duration,
    /// What it is for.
    pub purpose: Purpose,
}

impl Request {
    /// Makes a request for the whole of what an absolute URL names.
    ///
    /// # Errors
    /// [`NetError::InvalidRequest`] when it is no `http` or `https` URL.
    pub fn get(url: &str) -> Result<Self, NetError> {
        let (origin, path_and_query) = Origin::split(url)?;
        Ok(Self::new(origin, path_and_query))
    }

    /// Makes a request for the whole of `path_and_query`.
    #[must_use]
    pub fn new(origin: Origin, path_and_query: impl Into<String>) -> Self {
        Self {
            origin,
            addresses: Vec::new(),
            path_and_query: path_and_query.into(),
            range: None,
            headers: Vec::new(),
            protocols: Protocols::ALL,
            happy_eyeballs_delay: Duration::from_millis(250),
            purpose: Purpose::Media,
        }
    }
}

/// What happens to a request, in this order. After a redirect or when a kept connection turned out to be
/// dead, `Resolved`, `Connected` and `RequestSent` come again; the last count.
#[derive(Clone, Debug, PartialEq)]
pub enum NetEvent {
    /// The addresses to try are known. Missing when a kept connection is used.
    Resolved {
        /// In the order of trying.
        addresses: Vec<IpAddr>,
        /// No name server was asked: cached, fixed, given by the request, or an address itself.
        from_cache: bool,
    },
    /// A connection is there.
    Connected {
        /// It was opened for this request.
        cold: bool,
        /// What is spoken on it.
        protocol: Protocol,
        /// Round trip: measured by the TCP handshake when cold, by QUIC always, else `None`.
        rtt: Option<Duration>,
        /// The other end (the proxy, if there is one).
        peer: SocketAddr,
    },
    /// The request was handed to the connection.
    RequestSent,
    /// The answer has begun, whatever its status.
    Headers(Box<Headers>),
    /// Some of the body, never empty.
    Body(Pieces),
    /// Nothing more will come. Exactly once, last.
    Ended(Result<(), NetError>),
}

/// Bytes of a body that came together, in order, in the pieces in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Pieces {
    /// Returns the number of bytes in all pieces.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds a piece; an empty one is left out.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push(piece);
        }
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = std::vec::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_into_whom_and_what() {
        let (origin, path) = Origin::split("https://Edge.Example:8443/a/b?x=1#part").unwrap();
        assert_eq!(origin.to_string(), "https://edge.example:8443");
        assert_eq!(path, "/a/b?x=1");
        let (origin, path) = Origin::split("http://[::1]:80").unwrap();
        assert_eq!(
            (origin.host.as_str(), origin.authority().as_str()),
            ("::1", "[::1]")
        );
        assert_eq!(path, "/");
    }

    #[test]
    fn what_is_no_web_url_is_refused() {
        for url in [
            "ftp://edge/x",
            "edge/x",
            "",
            "https://",
            "file:///etc/passwd",
        ] {
            let error = Origin::split(url).unwrap_err();
            assert_eq!(error.code(), "net.invalid_request", "{url}");
        }
    }
}
