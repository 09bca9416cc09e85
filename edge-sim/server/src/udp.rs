//! The UDP socket of HTTP/3 behind the link: what does not pass is lost without a word.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use nearcast_appliance::fault::Fault;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::config::EdgeError;
use crate::edge::{Edge, NOBODY_KNOWN};

/// A socket behind the link.
#[derive(Debug)]
pub(crate) struct GatedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    edge: Arc<Edge>,
    /// Whether no datagram ever passes.
    blocked: bool,
    /// Who asked in vain, for receipts.
    lost: Mutex<Recent>,
    /// quinn closes the socket in its own time, after the last goodbye: until then the server has not ended.
    _open: TaskTrackerToken,
}

impl GatedSocket {
    /// Puts a socket behind the link. Must be called within a runtime.
    pub(crate) fn new(
        socket: UdpSocket,
        edge: Arc<Edge>,
        blocked: bool,
        open: TaskTrackerToken,
    ) -> Result<Self, EdgeError> {
        let inner = TokioRuntime.wrap_udp_socket(socket);
        let inner = inner.map_err(|error| EdgeError::Tls {
            reason: error.to_string(),
        })?;
        Ok(Self {
            inner,
            edge,
            blocked,
            lost: Mutex::default(),
            _open: open,
        })
    }

    fn passes(&self) -> bool {
        let gate = &self.edge.gate;
        !self.blocked && !gate.blocks_udp() && gate.is_up()
    }

    /// Notes what a fault of datagrams keeps from coming: one receipt for each attempt to connect.
    fn loses(&self, datagrams: &[IoSliceMut<'_>], meta: &[RecvMeta]) {
        if self.blocked || !self.edge.gate.blocks_udp() {
            return;
        }
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        for (datagram, meta) in datagrams.iter().zip(meta) {
            let first = datagram.get(..meta.stride.min(meta.len));
            let Some(attempt) = first.and_then(initial) else {
                continue;
            };
            if !lost.has(&attempt) {
                lost.add(attempt);
                self.edge.with(|appliance, now| {
                    appliance.connect_where(now, NOBODY_KNOWN, |fault| *fault == Fault::UdpBlocked)
                });
            }
        }
    }
}

impl AsyncUdpSocket for GatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.passes() {
            self.inner.try_send(transmit)
        } else {
            Ok(())
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // A flood must not keep the task from others.
        for _ in 0..64 {
            let received = std::task::ready!(self.inner.poll_recv(cx, bufs, meta))?;
            if self.passes() {
                return Poll::Ready(Ok(received));
            }
            let meta = meta.get(..received).unwrap_or_default();
            self.loses(bufs, meta);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// The connection identifier that a client draws for one attempt to connect, and repeats until it is answered.
pub(crate) type Attempt = Vec<u8>;

/// Returns whose a datagram is that begins a connection (RFC 9000 §17.2.2).
fn initial(datagram: &[u8]) -> Option<Attempt> {
    /// Long header, fixed bit, and two bits of zero for the type.
    const FORM: (u8, u8) = (0b1111_0000, 0b1100_0000);
    const ID_LENGTH_MAX: usize = 20;
    let (flags, rest) = datagram.split_first()?;
    let (length, rest) = rest.get(4..)?.split_first()?;
    let length = usize::from(*length);
    let is_initial = flags & FORM.0 == FORM.1 && length <= ID_LENGTH_MAX;
    Some(rest.get(..length)?.to_vec()).filter(|_| is_initial)
}

/// The last attempts that were left without an answer: more at once than clients make.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<Attempt>);

impl Recent {
    const MAX: usize = 256;

    pub(crate) fn has(&self, attempt: &Attempt) -> bool {
        self.0.contains(attempt)
    }

    pub(crate) fn add(&mut self, attempt: Attempt) {
        if self.0.len() == Self::MAX {
            self.0.pop_front();
        }
        self.0.push_back(attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_connection_is_told_from_all_else() {
        let begins = [0xC3, 0, 0, 0, 1, 2, 7, 8, 0, 0];
        assert_eq!(initial(&begins), Some(vec![7, 8]));
        // A short header, another type, one that ends early, one with more than an identifier may have.
        let mut short = begins;
        short[0] = 0x43;
        let mut handshake = begins;
        handshake[0] = 0xE3;
        let mut long = [0; 40];
        long[..6].copy_from_slice(&[0xC3, 0, 0, 0, 1, 21]);
        for other in [&short[..], &handshake, &begins[..7], &long, &[]] {
            assert_eq!(initial(other), None, "{other:?}");
        }
    }

    #[test]
    fn only_the_last_attempts_are_remembered() {
        let mut recent = Recent::default();
        for number in 0..=u8::MAX {
            recent.add(vec![number]);
        }
        assert!(recent.has(&vec![0]));
        recent.add(vec![1, 1]);
        assert!(!recent.has(&vec![0]) && recent.has(&vec![1]) && recent.has(&vec![1, 1]));
    }
}
