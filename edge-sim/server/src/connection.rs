//! One TCP connection behind the link: it can be frozen, and torn down with a reset.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nearcast_units::Instant;
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;
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
    /// What `written` reaches once the bytes that were handed to HTTP last are among them.
    due: AtomicU64,
    /// The socket, as long as it is open; none over QUIC.
    socket: Weak<TcpStream>,
    quic: Option<quinn::Connection>,
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
    /// The control of a connection over TCP.
    pub(crate) fn of(socket: &Arc<TcpStream>) -> Self {
        Self {
            socket: Arc::downgrade(socket),
            ..Self::default()
        }
    }

    /// The control of one request over QUIC.
    pub(crate) fn of_quic(connection: quinn::Connection) -> Self {
        Self {
            quic: Some(connection),
            ..Self::default()
        }
    }

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
            let (begun, ended) = self.requests();
            tokio::time::sleep(IDLE_MAX).await;
            if begun == ended && self.requests() == (begun, ended) {
                return;
            }
        }
    }

    fn requests(&self) -> (u64, u64) {
        let [begun, ended] = [&self.begun, &self.ended];
        (begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst))
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

    /// Bytes are handed to HTTP.
    pub(crate) fn hands_on(&self, bytes: u64) {
        let due = self.written.load(Ordering::SeqCst) + bytes;
        self.due.fetch_max(due, Ordering::SeqCst);
    }

    pub(crate) const fn is_quic(&self) -> bool {
        self.quic.is_some()
    }

    /// Waits until what was handed to HTTP has reached the socket: nothing more was written for some
    /// milliseconds. Neither hyper nor h2 says so itself. Then it has to leave the socket, because a reset throws
    /// away what is still in there. Bounded, for clients that do not read.
    pub(crate) async fn settle(&self) {
        if let Some(connection) = &self.quic {
            return crate::quic::settle(connection).await;
        }
        let mut calm = 0;
        let mut seen = self.written.load(Ordering::SeqCst);
        for _ in 0..SETTLE_LOOKS {
            tokio::time::sleep(SETTLE_LOOK).await;
            let written = self.written.load(Ordering::SeqCst);
            let still = written == seen && !self.blocked.load(Ordering::SeqCst);
            let socket = self.socket.upgrade();
            let has_left = socket.as_deref().is_none_or(all_has_left);
            calm = if still && has_left { calm + 1 } else { 0 };
            seen = written;
            let has_come = socket.is_none() || written >= self.due.load(Ordering::SeqCst);
            if calm >= if has_come { CALM } else { CALM_LATE } {
                return;
            }
        }
    }

    fn freeze(&self, side: usize, waker: &Waker) {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner)[side] = Some(waker.clone());
    }
}

/// Two seconds: longer than a client that reads is kept from it on a busy machine.
const SETTLE_LOOKS: u32 = 500;
const SETTLE_LOOK: Duration = Duration::from_millis(4);
/// Looks that must see no change.
const CALM: u32 = 2;
/// The same while bytes have not come to the socket: its task had no turn yet, or the client's window is shut.
const CALM_LATE: u32 = 25;

/// Whether the system has sent all that was written.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn all_has_left(socket: &TcpStream) -> bool {
    let options = SockRef::from(socket);
    // With this mark a socket with a single byte to send is not writable. Zero is the mark it had.
    if options.set_tcp_notsent_lowat(1).is_err() {
        return true;
    }
    let mut look = [PollFd::new(socket, PollFlags::OUT)];
    let writable = rustix::event::poll(&mut look, Some(&Timespec::default()));
    let restored = options.set_tcp_notsent_lowat(0);
    restored.is_err() || writable != Ok(0)
}

/// Not every system says.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn all_has_left(_: &TcpStream) -> bool {
    true
}

/// A socket behind the link.
#[derive(Debug)]
pub(crate) struct GatedStream {
    /// Nobody else keeps it open.
    pub(crate) stream: Arc<TcpStream>,
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

    /// Writes when link and socket let it, and notes how that went.
    fn poll_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let written = self.poll_unnoted(cx, write);
        self.control
            .blocked
            .store(written.is_pending(), Ordering::SeqCst);
        if let Poll::Ready(Ok(bytes)) = &written {
            let bytes = u64::try_from(*bytes).unwrap_or(u64::MAX);
            self.control.written.fetch_add(bytes, Ordering::SeqCst);
        }
        written
    }

    fn poll_unnoted(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_open(WRITE, cx));
        loop {
            std::task::ready!(self.stream.poll_write_ready(cx))?;
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_open(READ, cx));
        loop {
            std::task::ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_open(WRITE, cx).map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_open(WRITE, cx));
        Poll::Ready(SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

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
        // The minute begins when the last one is over.
        let second = Duration::from_secs(1);
        control.begins();
        let began = tokio::time::Instant::now();
        let busy = async {
            tokio::time::sleep(IDLE_MAX - second).await;
            control.ends();
        };
        tokio::join!(control.idle(), busy);
        assert!(began.elapsed() >= IDLE_MAX * 2 - second);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_reset_throws_away_nothing_that_a_slow_client_still_reads() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (mut client, stream) = (client.unwrap(), Arc::new(accepted.unwrap().0));
        let control = Arc::new(Control::of(&stream));
        let mut server = GatedStream {
            stream,
            gate: Arc::new(Gate::new(Clock::start(), None, Duration::ZERO)),
            control: Arc::clone(&control),
        };
        let mut written = 0;
        let filling = async {
            while all_has_left(&server.stream) {
                written += server.write(&[7; 16 * 1024]).await.unwrap();
            }
        };
        // Where the system always says that all has left, the last write waits for a client that does not read yet.
        let filled = tokio::time::timeout(Duration::from_secs(30), filling).await;
        filled.expect("the socket is full before it says that something has not left");
        // Long after the last byte was written, soon for a client.
        let reading = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let mut read = Vec::new();
            let end = client.read_to_end(&mut read).await;
            (read.len(), end.map_err(|error| error.kind()))
        });
        control.settle().await;
        control.mark_reset();
        drop(server);
        let expected = (written, Err(io::ErrorKind::ConnectionReset));
        let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
        assert_eq!(read.unwrap().unwrap(), expected);
    }
}
