//! A tunnel through an HTTP proxy (RFC 9110 §9.3.6).

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::tcp::Socket;
use crate::config::ProxyConfig;
use crate::error::{NetError, ProxyProblem};
use crate::request::Origin;

/// The longest answer to `CONNECT` that is read.
const ANSWER_MAX: usize = 8 * 1024;

/// Asks the proxy for a way to `origin`; afterwards the socket leads there.
pub(super) async fn open_tunnel(
    socket: &mut Socket,
    proxy: &ProxyConfig,
    origin: &Origin,
) -> Result<(), NetError> {
    let target = origin.host_and_port();
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    let broken = |error: io::Error| failed(proxy, ProxyProblem::Answer(error.to_string()));
    socket.write_all(request.as_bytes()).await.map_err(broken)?;

    // Byte by byte: what follows the head belongs to the tunnel.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= ANSWER_MAX {
            let detail = "its answer has no end".to_owned();
            return Err(failed(proxy, ProxyProblem::Answer(detail)));
        }
        head.push(socket.read_u8().await.map_err(broken)?);
    }
    match status(&head) {
        Some(200..=299) => Ok(()),
        Some(status) => Err(failed(proxy, ProxyProblem::Status(status))),
        None => {
            let detail = "its answer is not HTTP".to_owned();
            Err(failed(proxy, ProxyProblem::Answer(detail)))
        }
    }
}

pub(super) fn failed(proxy: &ProxyConfig, problem: ProxyProblem) -> NetError {
    NetError::Proxy {
        proxy: format!("{}:{}", proxy.host, proxy.port),
        problem,
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}
