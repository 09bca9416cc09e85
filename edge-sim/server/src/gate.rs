//! The link in front of one appliance, for real sockets: rate, delay, black hole and death.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nearcast_appliance::LinkChange;
use nearcast_link::{LinkState, Pacer};
use nearcast_units::{BitRate, ByteCount};
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;

/// What everything that crosses the link looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) state: LinkState,
    pub(crate) delay: Duration,
    /// Counts changes, so that listeners can say which they have followed.
    pub(crate) epoch: u64,
    /// Whether all new connections are refused; those that stand go on.
    pub(crate) refuses: bool,
    /// Counts deaths: who looks only now and then misses a short one, and what began before it is dead all the same.
    pub(crate) kills: u64,
}

impl View {
    /// Whether what began when there had been so many deaths has not lived through another one.
    pub(crate) fn spares(self, kills: u64) -> bool {
        self.state != LinkState::Killed && self.kills == kills
    }
}

/// A connection that lives, for [`Gate::dead_are_gone`].
#[derive(Debug)]
pub(crate) struct Alive {
    gate: Arc<Gate>,
    /// The deaths there had been when it began.
    pub(crate) kills: u64,
}

impl Alive {
    /// Counts a connection that was accepted when there had been so many deaths.
    pub(crate) fn new(gate: &Arc<Gate>, kills: u64) -> Self {
        gate.alive
            .send_modify(|alive| *alive.entry(kills).or_default() += 1);
        Self {
            gate: Arc::clone(gate),
            kills,
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.gate.alive.send_modify(|alive| {
            if let Some(count) = alive.get_mut(&self.kills) {
                *count -= 1;
                if *count == 0 {
                    alive.remove(&self.kills);
                }
            }
        });
    }
}

/// The link. Sockets ask it before they move bytes, bodies before they hand some on.
#[derive(Debug)]
pub(crate) struct Gate {
    clock: Clock,
    /// The same as in the view, for the datagrams' path, which must not lock.
    is_up: AtomicBool,
    /// Whether no datagram passes, by a fault.
    blocks_udp: AtomicBool,
    view: watch::Sender<View>,
    pacer: Mutex<Pacer>,
    /// Bodies take turns, first come first served, so that they share the rate fairly.
    turn: Semaphore,
    /// Connections by the number of deaths before them.
    alive: watch::Sender<BTreeMap<u64, usize>>,
}

impl Gate {
    pub(crate) fn new(clock: Clock, rate: Option<BitRate>, delay: Duration) -> Self {
        let view = View {
            state: LinkState::Up,
            delay,
            epoch: 0,
            refuses: false,
            kills: 0,
        };
        Self {
            is_up: AtomicBool::new(true),
            blocks_udp: AtomicBool::new(false),
            view: watch::Sender::new(view),
            pacer: Mutex::new(Pacer::new(clock.now(), rate)),
            turn: Semaphore::new(1),
            alive: watch::Sender::default(),
            clock,
        }
    }

    /// Carries out a change; returns its epoch.
    pub(crate) fn change(&self, change: LinkChange) -> u64 {
        let now = self.clock.now();
        let mut view = *self.view.borrow();
        match change {
            LinkChange::Restore { rate, delay } => {
                self.pacer().set_rate(now, rate);
                view.delay = delay;
                view.state = LinkState::Up;
            }
            LinkChange::Rate(rate) => self.pacer().set_rate(now, rate),
            LinkChange::Delay(delay) => view.delay = delay,
            LinkChange::Stop => view.state = LinkState::Stopped,
            LinkChange::Kill => {
                view.state = LinkState::Killed;
                view.kills += 1;
            }
        }
        view.epoch += 1;
        // Datagrams first: a killed QUIC connection must not say goodbye.
        self.is_up
            .store(view.state == LinkState::Up, Ordering::SeqCst);
        self.view.send_replace(view);
        view.epoch
    }

    /// Closes the port to new connections, or opens it. Returns whether that is news.
    pub(crate) fn refuse(&self, refuses: bool) -> bool {
        self.view.send_if_modified(|view| {
            let is_news = view.refuses != refuses;
            if is_news {
                view.refuses = refuses;
                view.epoch += 1;
            }
            is_news
        })
    }

    /// Lets no datagram pass, or all.
    pub(crate) fn block_udp(&self, blocks: bool) {
        self.blocks_udp.store(blocks, Ordering::SeqCst);
    }

    pub(crate) fn blocks_udp(&self) -> bool {
        self.blocks_udp.load(Ordering::SeqCst)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    pub(crate) fn view(&self) -> View {
        *self.view.borrow()
    }

    /// Waits until no connection is left that should have died.
    pub(crate) async fn dead_are_gone(&self) {
        let kills = self.view().kills;
        let mut alive = self.alive.subscribe();
        // The sender is `self`: it cannot be gone.
        drop(
            alive
                .wait_for(|alive| alive.range(..kills).next().is_none())
                .await,
        );
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::SeqCst)
    }

    pub(crate) fn rate(&self) -> Option<BitRate> {
        self.pacer().rate()
    }

    /// Waits for one crossing of the link.
    pub(crate) async fn cross(&self) {
        let delay = self.view().delay;
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
    }

    /// Waits until some of `want` bytes may be sent; returns how many, at least one. With a private
    /// pacer beside the link's, both allow it.
    ///
    /// # Cancel safety
    /// When dropped before it returns, nothing is taken.
    pub(crate) async fn allowance(&self, want: u64, private: Option<&mut Pacer>) -> u64 {
        let mut want = ByteCount::new(want);
        let mut taken = Taken {
            pacer: private,
            unsent: ByteCount::ZERO,
        };
        if let Some(pacer) = &mut taken.pacer {
            want = self
                .paced(want, |now, want| pacer.next_send(now, want))
                .await;
            taken.unsent = want;
        }
        if self.rate().is_none() && self.is_up() {
            taken.are_sent(want);
            return want.get();
        }
        // The semaphore is never closed; without a turn it would be less fair, not wrong.
        let turn = self.turn.acquire().await.ok();
        let allowed = self
            .paced(want, |now, want| self.pacer().next_send(now, want))
            .await;
        drop(turn);
        taken.are_sent(allowed);
        allowed.get()
    }

    async fn paced(
        &self,
        want: ByteCount,
        mut ask: impl FnMut(
            nearcast_units::Instant,
            ByteCount,
        ) -> Result<ByteCount, nearcast_units::Instant>,
    ) -> ByteCount {
        let mut view = self.subscribe();
        loop {
            let up = view.borrow_and_update().state == LinkState::Up;
            let due = if up {
                match ask(self.clock.now(), want) {
                    Ok(bytes) => return bytes,
                    Err(at) => at,
                }
            } else {
                nearcast_units::Instant::from_nanos(u64::MAX)
            };
            tokio::select! {
                () = self.clock.sleep_until(due) => {}
                changed = view.changed() => {
                    // The sender is `self`: it cannot be gone.
                    if changed.is_err() {
                        return ByteCount::ZERO;
                    }
                }
            }
        }
    }

    fn pacer(&self) -> MutexGuard<'_, Pacer> {
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a private pacer has allowed and the link has not: it is given back.
struct Taken<'a> {
    pacer: Option<&'a mut Pacer>,
    unsent: ByteCount,
}

impl Taken<'_> {
    fn are_sent(mut self, bytes: ByteCount) {
        self.unsent = self.unsent.saturating_sub(bytes);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(pacer) = &mut self.pacer {
            pacer.give_back(self.unsent);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Time stands still, or it would fill the pacer again.
    #[tokio::test(start_paused = true)]
    async fn what_the_link_does_not_allow_stays_with_the_private_pacer() {
        let clock = Clock::start();
        // 10,000 bytes at once, where the link allows 256.
        let fast = Some(BitRate::from_kbps(8000));
        let slow = Some(BitRate::from_bps(800));
        for is_up in [true, false] {
            let gate = Gate::new(clock, slow, Duration::ZERO);
            if !is_up {
                gate.change(LinkChange::Stop);
            }
            let mut pacer = Pacer::new(clock.now(), fast);
            let allowance = gate.allowance(1000, Some(&mut pacer));
            // A link that is down lets nothing pass; whoever waits for it turns away.
            let allowed = allowance.now_or_never();
            assert_eq!(allowed, is_up.then_some(256));
            let left = ByteCount::new(10_000 - allowed.unwrap_or(0));
            let more = ByteCount::new(20_000);
            assert_eq!(pacer.next_send(clock.now(), more), Ok(left));
        }
    }
}
