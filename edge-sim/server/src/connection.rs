//! One TCP connection behind the link: it can be frozen, and torn down with a reset.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nearcast_units::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::gate::Gate;

/// What the requests on a connection and its task know of each other.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// The connection is to be reset, or was.
    reset: AtomicBool,
    reset_wanted: Notify,
    /// Bytes written to the socket, and whether it took the last ones.
    written: AtomicU64,
    blocked: AtomicBool,
    /// Who waits for a frozen connection: the reading and the writing side.
    frozen: Mutex<[Option<Waker>; 2]>,
    /// Requests that have come, and those of them that are over.
    begun: AtomicU64,
    ended: AtomicU64,
    /// The bodies under way. Those that are done are swept out.
    bodies: Mutex<Vec<Weak<HandOver>>>,
}

/// When the transport was given the bytes of a body that it still has, in nanoseconds on the edge's clock; zero when
/// it has none.
#[derive(Debug, Default)]
pub(crate) struct HandOver(AtomicU64);

impl HandOver {
    pub(crate) fn begins(&self, now: Instant) {
        self.0.store(now.as_nanos().max(1), Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

/// A client that takes nothing of a body for this long is not waited for, as other servers do.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(60);

/// A connection without a request is not kept longer than this.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(60);

impl Control {
    /// Has the connection's task reset it.
    pub(crate) fn request_reset(&self) {
        self.mark_reset();
        self.reset_wanted.notify_one();
    }

    pub(crate) async fn reset_wanted(&self) {
        self.reset_wanted.notified().await;
    }

    /// From now on, closing the socket is a reset.
    pub(crate) fn mark_reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::SeqCst)
    }

    /// Lets both sides look at the link again.
    pub(crate) fn thaw(&self) {
        let wakers =
            std::mem::take(&mut *self.frozen.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// A request has come.
    pub(crate) fn begins(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.begun.load(Ordering::SeqCst) > 0
    }

    /// A request is over: its answer was handed over, or it is gone.
    pub(crate) fn ends(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until there has been no request for [`IDLE_MAX`], or some more.
    pub(crate) async fn idle(&self) {
        loop {
            let begun = self.begun.load(Ordering::SeqCst);
            tokio::time::sleep(IDLE_MAX).await;
            let ended = self.ended.load(Ordering::SeqCst);
            if ended == begun && self.begun.load(Ordering::SeqCst) == begun {
                return;
            }
        }
    }

    /// Begins to watch over a body.
    pub(crate) fn watch(&self) -> Arc<HandOver> {
        let body = Arc::new(HandOver::default());
        let mut bodies = self.bodies();
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Arc::downgrade(&body));
        body
    }

    /// Whether the client has not taken a body for too long. While the link is not up, that is not its fault.
    pub(crate) fn has_stalled(&self, now: Instant, link_is_up: bool) -> bool {
        let bodies = self.bodies();
        bodies.iter().filter_map(Weak::upgrade).any(|body| {
            let since = body.0.load(Ordering::SeqCst);
            if since > 0 && !link_is_up {
                body.begins(now);
            }
            since > 0 && link_is_up && now.since(Instant::from_nanos(since)) >= STALL_MAX
        })
    }

    fn bodies(&self) -> MutexGuard<'_, Vec<Weak<HandOver>>> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was handed to HTTP has reached the socket: nothing more was written for some
    /// milliseconds. Neither hyper nor h2 says so itself. Bounded, for clients that do not read.
    pub(crate) async fn settle(&self) {
        let mut calm = 0;
        let mut seen = self.written.load(Ordering::SeqCst);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(4)).await;
            let written = self.written.load(Ordering::SeqCst);
            calm = if written == seen && !self.blocked.load(Ordering::SeqCst) {
                calm + 1
            } else {
                0
            };
            seen = written;
            if calm == 2 {
                return;
            }
        }
    }

    fn freeze(&self, side: usize, waker: &Waker) {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner)[side] = Some(waker.clone());
    }
}

/// A socket behind the link.
#[derive(Debug)]
pub(crate) struct GatedStream {
    pub(crate) stream: TcpStream,
    pub(crate) gate: Arc<Gate>,
    pub(crate) control: Arc<Control>,
}

const READ: usize = 0;
const WRITE: usize = 1;

impl GatedStream {
    fn poll_open(&self, side: usize, cx: &Context<'_>) -> Poll<()> {
        if self.gate.is_up() {
            return Poll::Ready(());
        }
        self.control.freeze(side, cx.waker());
        // It may have come up between the two lines above.
        if self.gate.is_up() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        self.control
            .blocked
            .store(written.is_pending(), Ordering::SeqCst);
        if let Poll::Ready(Ok(bytes)) = written {
            let bytes = u64::try_from(*bytes).unwrap_or(u64::MAX);
            self.control.written.fetch_add(bytes, Ordering::SeqCst);
        }
    }
}

impl Drop for GatedStream {
    fn drop(&mut self) {
        // A socket that is closed with a linger time of zero sends a reset.
        if self.control.is_reset()
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "a connection could not be reset");
        }
    }
}

impl AsyncRead for GatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_open(READ, cx));
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.poll_open(WRITE, cx).is_pending() {
            self.control.blocked.store(true, Ordering::SeqCst);
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.poll_open(WRITE, cx).is_pending() {
            self.control.blocked.store(true, Ordering::SeqCst);
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_open(WRITE, cx));
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_open(WRITE, cx));
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_nothing_has_stalled_unless_nothing_could_reach_it() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let control = Control::default();
        let idle = control.watch();
        let body = control.watch();
        assert!(
            !control.has_stalled(at(1000), true),
            "nothing was handed over"
        );
        body.begins(at(1000));
        assert!(!control.has_stalled(at(1059), true));
        assert!(control.has_stalled(at(1060), true));
        // A black hole for ten minutes: the client has a minute from its end on.
        assert!(!control.has_stalled(at(1600), false));
        assert!(!control.has_stalled(at(1659), true));
        assert!(control.has_stalled(at(1660), true));
        body.is_over();
        assert!(!control.has_stalled(at(5000), true));
        body.begins(at(5000));
        drop(body);
        assert!(!control.has_stalled(at(6000), true), "it was served");
        drop(idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_after_a_minute_without_a_request() {
        let control = Control::default();
        let began = tokio::time::Instant::now();
        control.idle().await;
        assert_eq!(began.elapsed(), IDLE_MAX);
        // However long a request takes, it is none.
        control.begins();
        let idle = tokio::time::timeout(10 * IDLE_MAX, control.idle());
        assert!(idle.await.is_err());
        control.ends();
        let began = tokio::time::Instant::now();
        control.idle().await;
        assert!(began.elapsed() <= 2 * IDLE_MAX);
        // One that came and went within a minute counts too.
        let began = tokio::time::Instant::now();
        let busy = async {
            tokio::time::sleep(IDLE_MAX / 2).await;
            control.begins();
            control.ends();
        };
        tokio::join!(control.idle(), busy);
        assert!(began.elapsed() >= IDLE_MAX * 3 / 2);
    }
}
