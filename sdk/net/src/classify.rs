//! What the system, TLS, HTTP and QUIC say about a failure, turned into ours. The only place that does.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;

use crate::error::{CertificateProblem, ConnectStage, NetError};
use crate::request::Origin;

/// Classifies what the system says about opening a connection.
pub(crate) fn from_connect(error: &io::Error, peer: SocketAddr, origin: &Origin) -> NetError {
    let kind = error.kind();
    if kind == io::ErrorKind::ConnectionRefused {
        NetError::ConnectRefused { peer }
    } else if kind == io::ErrorKind::TimedOut {
        NetError::ConnectTimeout {
            origin: origin.clone(),
            stage: ConnectStage::Tcp,
        }
    } else if is_reset(kind) {
        NetError::Reset { peer, received: 0 }
    } else if is_local(error) {
        NetError::Local {
            detail: error.to_string(),
        }
    } else {
        NetError::Unreachable {
            peer,
            detail: error.to_string(),
        }
    }
}

/// Classifies what the system says about an open connection.
pub(crate) fn from_io(error: &io::Error, peer: SocketAddr, received: u64) -> NetError {
    let kind = error.kind();
    if is_reset(kind) {
        NetError::Reset { peer, received }
    } else if matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotConnected
    ) {
        NetError::ClosedEarly { peer, received }
    } else if matches!(
        kind,
        io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    ) {
        NetError::Unreachable {
            peer,
            detail: error.to_string(),
        }
    } else if is_local(error) {
        NetError::Local {
            detail: error.to_string(),
        }
    } else {
        NetError::Protocol {
            detail: error.to_string(),
        }
    }
}

/// Classifies a failed TLS handshake.
pub(crate) fn from_tls(error: &io::Error, peer: SocketAddr, host: &str) -> NetError {
    let cause = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(problem)) => NetError::TlsCertificate {
            host: host.to_owned(),
            problem: certificate_problem(problem),
            detail: problem.to_string(),
        },
        Some(other) => NetError::TlsHandshake {
            host: host.to_owned(),
            detail: other.to_string(),
        },
        None if is_reset(error.kind()) => NetError::Reset { peer, received: 0 },
        None => NetError::TlsHandshake {
            host: host.to_owned(),
            detail: error.to_string(),
        },
    }
}

fn certificate_problem(error: &rustls::CertificateError) -> CertificateProblem {
    use rustls::CertificateError as E;
    if matches!(error, E::NotValidForName | E::NotValidForNameContext { .. }) {
        CertificateProblem::WrongName
    } else if matches!(error, E::Expired | E::ExpiredContext { .. }) {
        CertificateProblem::Expired
    } else if matches!(error, E::NotValidYet | E::NotValidYetContext { .. }) {
        CertificateProblem::NotYetValid
    } else if matches!(error, E::UnknownIssuer) {
        CertificateProblem::UnknownIssuer
    } else if matches!(error, E::Revoked) {
        CertificateProblem::Revoked
    } else {
        CertificateProblem::Other
    }
}

/// Classifies what hyper says about a request or a body.
pub(crate) fn from_hyper(error: &hyper::Error, peer: SocketAddr, received: u64) -> NetError {
    let mut cause = error.source();
    while let Some(e) = cause {
        if let Some(h2) = e.downcast_ref::<h2::Error>() {
            return from_h2(h2, peer, received);
        }
        if let Some(io) = e.downcast_ref::<io::Error>() {
            return from_io(io, peer, received);
        }
        cause = e.source();
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        NetError::ClosedEarly { peer, received }
    } else {
        NetError::Protocol {
            detail: chain(error),
        }
    }
}

/// Whether a stream was given up for breaking a rule. While a body arrives the one rule it can break is to
/// keep its announced length.
pub(crate) fn is_h2_stream_breach(error: &hyper::Error) -> bool {
    let h2 = error.source().and_then(|e| e.downcast_ref::<h2::Error>());
    h2.is_some_and(|h2| h2.is_library() && h2.is_reset())
}

/// Whether the server gave up one stream and goes on with the connection: an answer of a kind. One that it
/// refuses unread (RFC 9113 §8.7) is none.
pub(crate) fn is_stream_reset(error: &hyper::Error) -> bool {
    let h2 = error.source().and_then(|e| e.downcast_ref::<h2::Error>());
    h2.is_some_and(|h2| h2.is_reset() && h2.reason() != Some(h2::Reason::REFUSED_STREAM))
}

/// The same for HTTP/3 (RFC 9114 §4.1.1), where the connection is known to be open.
pub(crate) fn is_h3_stream_reset(error: &h3::error::StreamError) -> bool {
    use h3::error::StreamError as S;
    matches!(error, S::RemoteTerminate { code, .. } if *code != h3::error::Code::H3_REQUEST_REJECTED)
}

fn from_h2(error: &h2::Error, peer: SocketAddr, received: u64) -> NetError {
    if let Some(io) = error.get_io() {
        from_io(io, peer, received)
    } else if error.is_library() {
        NetError::Protocol {
            detail: error.to_string(),
        }
    } else if error.is_reset() {
        NetError::Reset { peer, received }
    } else {
        NetError::ClosedEarly { peer, received }
    }
}

/// Classifies what h3 says about a stream; `closed` is why its connection is closed, if it is.
pub(crate) fn from_h3(
    error: &h3::error::StreamError,
    closed: Option<&quinn::ConnectionError>,
    peer: SocketAddr,
    received: u64,
) -> NetError {
    use h3::error::StreamError as S;
    match (closed, error) {
        // Closed by us because of what h3 has seen: h3's words say more.
        (Some(quinn::ConnectionError::LocallyClosed), error) => NetError::Protocol {
            detail: error.to_string(),
        },
        (Some(closed), _) => from_quic(closed, peer, "", received),
        (None, S::RemoteTerminate { .. }) => NetError::Reset { peer, received },
        // Its end came within a frame.
        (None, S::Undefined { .. }) => NetError::ClosedEarly { peer, received },
        (None, S::RemoteClosing { .. }) => NetError::ClosedEarly { peer, received },
        (None, other) => NetError::Protocol {
            detail: other.to_string(),
        },
    }
}

/// Classifies what quinn says about a connection.
pub(crate) fn from_quic(
    error: &quinn::ConnectionError,
    peer: SocketAddr,
    host: &str,
    received: u64,
) -> NetError {
    use quinn::ConnectionError as Q;
    match error {
        Q::TimedOut => NetError::QuicTimeout { peer },
        Q::Reset => NetError::Reset { peer, received },
        Q::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
        {
            NetError::ConnectRefused { peer }
        }
        Q::ConnectionClosed(_) | Q::ApplicationClosed(_) | Q::LocallyClosed => {
            NetError::ClosedEarly { peer, received }
        }
        Q::TransportError(error) => from_transport(u64::from(error.code), &error.reason, host),
        Q::VersionMismatch | Q::CidsExhausted => NetError::Protocol {
            detail: error.to_string(),
        },
    }
}

/// QUIC carries a TLS failure as an alert number and the verifier's words.
fn from_transport(code: u64, reason: &str, host: &str) -> NetError {
    const CRYPTO: std::ops::Range<u64> = 0x100..0x200;
    const EXPIRED: u64 = 0x100 + 45;
    const UNKNOWN_ISSUER: u64 = 0x100 + 48;
    const REVOKED: u64 = 0x100 + 44;
    let detail = reason.to_owned();
    if !CRYPTO.contains(&code) {
        return NetError::Protocol { detail };
    }
    let host = host.to_owned();
    if !detail.starts_with("invalid peer certificate") {
        return NetError::TlsHandshake { host, detail };
    }
    let problem = match code {
        EXPIRED if detail.contains("not valid yet") => CertificateProblem::NotYetValid,
        EXPIRED => CertificateProblem::Expired,
        UNKNOWN_ISSUER => CertificateProblem::UnknownIssuer,
        REVOKED => CertificateProblem::Revoked,
        _ if detail.contains("not valid for name") => CertificateProblem::WrongName,
        _ => CertificateProblem::Other,
    };
    NetError::TlsCertificate {
        host,
        problem,
        detail,
    }
}

fn is_reset(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

fn is_local(error: &io::Error) -> bool {
    /// Too many open files, in this process and in the system (POSIX).
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::OutOfMemory
    ) || (cfg!(unix) && matches!(error.raw_os_error(), Some(EMFILE | ENFILE)))
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}
