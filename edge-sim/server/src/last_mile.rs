//! The last link before each client, which several edges share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nearcast_link::Pacer;
use nearcast_units::{BitRate, ByteCount, Instant};
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::gate::Gate;

/// The last link before each client. Edges that are given clones of one share it: what they send to one client at the same
/// time shares its rate. Clients are told apart by the playback that their token names; all without one are one client.
#[derive(Clone, Debug)]
pub struct LastMile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    rate: watch::Sender<Option<BitRate>>,
    /// By client, while anything is sent to it.
    lines: Mutex<BTreeMap<String, Weak<Line>>>,
}

/// The link before one client.
#[derive(Debug)]
pub(crate) struct Line {
    shared: Arc<Shared>,
    pacer: Mutex<Pacer>,
    /// Bodies take turns, first come first served.
    turn: Semaphore,
}

impl LastMile {
    /// Makes one of this rate; `None` is no limit.
    #[must_use]
    pub fn new(rate: Option<BitRate>) -> Self {
        Self(Arc::new(Shared {
            clock: Clock::start(),
            rate: watch::Sender::new(rate),
            lines: Mutex::default(),
        }))
    }

    /// Changes its rate for every client, from now on.
    pub fn set_rate(&self, rate: Option<BitRate>) {
        self.0.rate.send_replace(rate);
    }

    pub(crate) fn line(&self, client: &str) -> Arc<Line> {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(client).and_then(Weak::upgrade) {
            return line;
        }
        lines.retain(|_, line| line.strong_count() > 0);
        let rate = *self.0.rate.borrow();
        let line = Arc::new(Line {
            shared: Arc::clone(&self.0),
            pacer: Mutex::new(Pacer::new(self.0.clock.now(), rate)),
            turn: Semaphore::new(1),
        });
        lines.insert(client.to_owned(), Arc::downgrade(&line));
        line
    }
}

impl Line {
    /// Waits until some of `want` bytes may be sent over both, the line and the edge's link (and its private pacer, if there is
    /// one); returns how many, at least one.
    ///
    /// # Cancel safety
    /// When dropped before it returns, nothing is taken.
    pub(crate) async fn allowance(
        &self,
        gate: &Gate,
        want: u64,
        private: Option<&mut Pacer>,
    ) -> u64 {
        // The semaphore is never closed; without a turn it would be less fair, not wrong.
        let turn = self.turn.acquire().await.ok();
        let mut taken = Taken {
            line: self,
            unsent: self.take(ByteCount::new(want)).await,
        };
        drop(turn);
        let allowed = gate.allowance(taken.unsent.get(), private).await;
        taken.unsent = taken.unsent.saturating_sub(ByteCount::new(allowed));
        allowed
    }

    async fn take(&self, want: ByteCount) -> ByteCount {
        let mut rate = self.shared.rate.subscribe();
        loop {
            let now = *rate.borrow_and_update();
            let due = match self.with(|pacer, at| {
                if pacer.rate() != now {
                    pacer.set_rate(at, now);
                }
                pacer.next_send(at, want)
            }) {
                Ok(bytes) => return bytes,
                Err(due) => due,
            };
            tokio::select! {
                () = self.shared.clock.sleep_until(due) => {}
                // The sender is `self`'s: it cannot be gone.
                _ = rate.changed() => {}
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Pacer, Instant) -> T) -> T {
        let mut pacer = self.pacer.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut pacer, self.shared.clock.now())
    }
}

/// What the line has allowed and the link has not: it is given back.
struct Taken<'a> {
    line: &'a Line,
    unsent: ByteCount,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.line.with(|pacer, _| pacer.give_back(self.unsent));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Sends so many bytes over a gate and the line; returns after how long they were allowed.
    async fn send(line: Arc<Line>, gate: Gate, bytes: u64) -> Duration {
        let began = tokio::time::Instant::now();
        let mut left = bytes;
        while left > 0 {
            left -= line.allowance(&gate, left.min(8_192), None).await;
        }
        began.elapsed()
    }

    fn near(took: Duration, expected_s: f64) -> bool {
        (took.as_secs_f64() - expected_s).abs() < 0.1
    }

    #[tokio::test(start_paused = true)]
    async fn edges_share_the_line_to_one_client_and_others_have_their_own() {
        let mile = LastMile::new(Some(BitRate::from_kbps(800)));
        let gate = |kbps| Gate::new(Clock::start(), kbps, Duration::ZERO);
        let (a, b, other) = (mile.line("a"), mile.line("a"), mile.line("b"));
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &other));
        // 100 kB each second: two share it, one has it alone, and a slow edge leaves the rest to the other.
        let (first, second, alone) = tokio::join!(
            send(a, gate(None), 200_000),
            send(b, gate(None), 200_000),
            send(other, gate(None), 200_000)
        );
        assert!(near(first.max(second), 4.0), "{first:?} {second:?}");
        assert!(near(alone, 2.0), "{alone:?}");
        let slow = Some(BitRate::from_kbps(80));
        let (slow, fast) = tokio::join!(
            send(mile.line("a"), gate(slow), 20_000),
            send(mile.line("a"), gate(None), 180_000)
        );
        assert!(near(slow, 2.0) && near(fast, 2.0), "{slow:?} {fast:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_line_hears_that_its_rate_has_changed() {
        let mile = LastMile::new(Some(BitRate::ZERO));
        let gate = Gate::new(Clock::start(), None, Duration::ZERO);
        let waiting = tokio::spawn(send(mile.line("a"), gate, 100_000));
        tokio::time::sleep(Duration::from_secs(5)).await;
        mile.set_rate(Some(BitRate::from_kbps(800)));
        assert!(near(waiting.await.unwrap(), 6.0));
    }
}
