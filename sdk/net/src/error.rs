//! Everything that can go wrong, and its stable names.

use std::fmt;
use std::net::SocketAddr;

use crate::request::Origin;

/// How a request failed. It says what happened, never what to do about it. Plain data rather than a chain
/// of causes, because it is compared, reported and sent on; `detail` holds what the cause said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// A name could not be turned into addresses.
    #[error("the name {host} was not resolved: {problem}")]
    DnsFailed {
        /// The name.
        host: String,
        /// What the name servers said.
        problem: DnsProblem,
    },
    /// No name server answered in time.
    #[error("no name server answered in time for {host}")]
    DnsTimeout {
        /// The name.
        host: String,
    },
    /// Nobody listens there.
    #[error("{peer} refused the connection")]
    ConnectRefused {
        /// The address tried.
        peer: SocketAddr,
    },
    /// No connection within the backstop.
    #[error("{origin} did not take the connection in time ({stage})")]
    ConnectTimeout {
        /// Whom it should have led to.
        origin: Origin,
        /// How far it came.
        stage: ConnectStage,
    },
    /// No way leads there.
    #[error("{peer} cannot be reached: {detail}")]
    Unreachable {
        /// The address tried.
        peer: SocketAddr,
        /// What the system said.
        detail: String,
    },
    /// The server's certificate does not prove that it is the one asked for.
    #[error("the certificate of {host} is not accepted: {problem} ({detail})")]
    TlsCertificate {
        /// The name it should have been for.
        host: String,
        /// What is wrong with it.
        problem: CertificateProblem,
        /// What the verifier said.
        detail: String,
    },
    /// TLS failed for another reason than the certificate.
    #[error("no TLS with {host}: {detail}")]
    TlsHandshake {
        /// The name asked for.
        host: String,
        /// What went wrong.
        detail: String,
    },
    /// The other side reset the connection or the stream.
    #[error("{peer} reset the connection after {received} body bytes")]
    Reset {
        /// The other end.
        peer: SocketAddr,
        /// Bytes of the body received until then.
        received: u64,
    },
    /// The connection was closed where an answer, or the rest of one of unknown length, was due.
    #[error("{peer} closed the connection before the end, after {received} body bytes")]
    ClosedEarly {
        /// The other end.
        peer: SocketAddr,
        /// Bytes of the body received until then.
        received: u64,
    },
    /// The body ended before the announced length.
    #[error("the body ended after {received} of {expected} bytes")]
    Truncated {
        /// Bytes announced.
        expected: u64,
        /// Bytes received.
        received: u64,
    },
    /// Nothing came for as long as the backstop allows.
    #[error("nothing came any more ({phase}, after {received} body bytes)")]
    Stalled {
        /// What was waited for.
        phase: Phase,
        /// Bytes of the body received until then.
        received: u64,
    },
    /// What came is not HTTP, or breaks its rules or our limits.
    #[error("not understood as HTTP: {detail}")]
    Protocol {
        /// What was wrong.
        detail: String,
    },
    /// A partial answer that is not the part asked for.
    #[error("a wrong range was sent: {detail}")]
    WrongRange {
        /// What was asked and what came.
        detail: String,
    },
    /// The body is encoded although identity was asked for.
    #[error("the body is encoded as `{encoding}`, which was not asked for")]
    ContentEncoding {
        /// The encoding named.
        encoding: String,
    },
    /// Redirected too often.
    #[error("redirected {hops} times without an answer")]
    RedirectLoop {
        /// How often.
        hops: u32,
    },
    /// Redirected to where we do not go: from `https` to `http`, or to no web address.
    #[error("a redirect is not followed: {detail}")]
    RedirectRefused {
        /// Why.
        detail: String,
    },
    /// QUIC got no answer: the server does not speak it, or the network blocks UDP.
    #[error("{peer} does not answer over QUIC")]
    QuicTimeout {
        /// The address tried.
        peer: SocketAddr,
    },
    /// The proxy did not open a tunnel.
    #[error("the proxy {proxy} gives no way: {problem}")]
    Proxy {
        /// The proxy, `host:port`.
        proxy: String,
        /// What it did.
        problem: ProxyProblem,
    },
    /// The request asks for a combination that does not exist.
    #[error("not supported: {detail}")]
    Unsupported {
        /// What.
        detail: String,
    },
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {detail}")]
    InvalidRequest {
        /// What is wrong with it.
        detail: String,
    },
    /// This machine is the trouble: no file handles, no memory, no permission.
    #[error("this machine refuses: {detail}")]
    Local {
        /// What the system said.
        detail: String,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl NetError {
    /// Returns the stable code that reports and applications know it by.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::DnsFailed { .. } => "net.dns_failed",
            Self::DnsTimeout { .. } => "net.dns_timeout",
            Self::ConnectRefused { .. } => "net.connect_refused",
            Self::ConnectTimeout { .. } => "net.connect_timeout",
            Self::Unreachable { .. } => "net.unreachable",
            Self::TlsCertificate { .. } => "net.tls_certificate",
            Self::TlsHandshake { .. } => "net.tls_handshake",
            Self::Reset { .. } => "net.reset",
            Self::ClosedEarly { .. } => "net.closed_early",
            Self::Truncated { .. } => "net.truncated",
            Self::Stalled { .. } => "net.stalled",
            Self::Protocol { .. } => "net.protocol",
            Self::WrongRange { .. } => "net.wrong_range",
            Self::ContentEncoding { .. } => "net.content_encoding",
            Self::RedirectLoop { .. } => "net.redirect_loop",
            Self::RedirectRefused { .. } => "net.redirect_refused",
            Self::QuicTimeout { .. } => "net.quic_timeout",
            Self::Proxy { .. } => "net.proxy",
            Self::Unsupported { .. } => "net.unsupported",
            Self::InvalidRequest { .. } => "net.invalid_request",
            Self::Local { .. } => "net.local",
            Self::Cancelled => "net.cancelled",
        }
    }
}

/// What name servers said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsProblem {
    /// There is no such name.
    NoSuchName,
    /// The name exists and has no address.
    NoAddress,
    /// They could not or would not answer.
    ServerFailure,
    /// There is no name server to ask, or none can be reached.
    NoServer,
    /// It cannot be a name.
    InvalidName,
}

impl fmt::Display for DnsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "there is no such name",
            Self::NoAddress => "it has no address",
            Self::ServerFailure => "the name servers failed",
            Self::NoServer => "no name server can be reached",
            Self::InvalidName => "it is not a valid name",
        })
    }
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It is for another name.
    WrongName,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Nobody we trust has signed it.
    UnknownIssuer,
    /// It was revoked.
    Revoked,
    /// Anything else.
    Other,
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongName => "it is for another name",
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::UnknownIssuer => "its issuer is unknown",
            Self::Revoked => "it was revoked",
            Self::Other => "it is unusable",
        })
    }
}

/// How far a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectStage {
    /// A free connection was waited for.
    Slot,
    /// TCP.
    Tcp,
    /// The proxy's tunnel.
    Tunnel,
    /// TLS.
    Tls,
    /// HTTP's own start.
    Http,
}

impl fmt::Display for ConnectStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slot => "waiting for a free connection",
            Self::Tcp => "tcp",
            Self::Tunnel => "proxy tunnel",
            Self::Tls => "tls",
            Self::Http => "http",
        })
    }
}

/// What a request was waiting for when nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The beginning of the answer.
    Headers,
    /// The next piece of the body.
    Body,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Headers => "waiting for headers",
            Self::Body => "waiting for the body",
        })
    }
}

/// How a proxy failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyProblem {
    /// It answered with this status.
    Status(u16),
    /// It did not answer in HTTP.
    Answer(String),
    /// It could not be reached.
    Connect(Box<NetError>),
}

impl fmt::Display for ProxyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(407) => f.write_str("it wants other credentials (status 407)"),
            Self::Status(status) => write!(f, "it answered with status {status}"),
            Self::Answer(detail) => f.write_str(detail),
            Self::Connect(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports, telemetry and bindings know failures by these names: add, never change.
    #[test]
    fn codes_and_texts_stay() {
        let host = || "edge.test".to_owned();
        let peer: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let origin = || Origin::split("https://edge.test/").unwrap().0;
        let detail = || "why".to_owned();
        let received = 5;
        let problem = CertificateProblem::Expired;
        let stage = ConnectStage::Tls;
        let phase = Phase::Body;
        let proxy = ProxyProblem::Status(407);
        let encoding = "gzip".to_owned();
        use NetError as E;
        let all = [
            E::DnsFailed {
                host: host(),
                problem: DnsProblem::NoSuchName,
            },
            E::DnsTimeout { host: host() },
            E::ConnectRefused { peer },
            E::ConnectTimeout {
                origin: origin(),
                stage,
            },
            E::Unreachable {
                peer,
                detail: detail(),
            },
            E::TlsCertificate {
                host: host(),
                problem,
                detail: detail(),
            },
            E::TlsHandshake {
                host: host(),
                detail: detail(),
            },
            E::Reset { peer, received },
            E::ClosedEarly { peer, received },
            E::Truncated {
                expected: 9,
                received,
            },
            E::Stalled { phase, received },
            E::Protocol { detail: detail() },
            E::WrongRange { detail: detail() },
            E::ContentEncoding { encoding },
            E::RedirectLoop { hops: 6 },
            E::RedirectRefused { detail: detail() },
            E::QuicTimeout { peer },
            E::Proxy {
                proxy: "proxy:8080".to_owned(),
                problem: proxy,
            },
            E::Unsupported { detail: detail() },
            E::InvalidRequest { detail: detail() },
            E::Local { detail: detail() },
            E::Cancelled,
        ];
        let told: Vec<_> = all.iter().map(|e| format!("{}: {e}", e.code())).collect();
        let expected = [
            "net.dns_failed: the name edge.test was not resolved: there is no such name",
            "net.dns_timeout: no name server answered in time for edge.test",
            "net.connect_refused: 192.0.2.1:443 refused the connection",
            "net.connect_timeout: https://edge.test did not take the connection in time (tls)",
            "net.unreachable: 192.0.2.1:443 cannot be reached: why",
            "net.tls_certificate: the certificate of edge.test is not accepted: it has expired (why)",
            "net.tls_handshake: no TLS with edge.test: why",
            "net.reset: 192.0.2.1:443 reset the connection after 5 body bytes",
            "net.closed_early: 192.0.2.1:443 closed the connection before the end, after 5 body bytes",
            "net.truncated: the body ended after 5 of 9 bytes",
            "net.stalled: nothing came any more (waiting for the body, after 5 body bytes)",
            "net.protocol: not understood as HTTP: why",
            "net.wrong_range: a wrong range was sent: why",
            "net.content_encoding: the body is encoded as `gzip`, which was not asked for",
            "net.redirect_loop: redirected 6 times without an answer",
            "net.redirect_refused: a redirect is not followed: why",
            "net.quic_timeout: 192.0.2.1:443 does not answer over QUIC",
            "net.proxy: the proxy proxy:8080 gives no way: it wants other credentials (status 407)",
            "net.unsupported: not supported: why",
            "net.invalid_request: the request cannot be sent: why",
            "net.local: this machine refuses: why",
            "net.cancelled: cancelled",
        ];
        assert_eq!(told, expected);
    }
}
