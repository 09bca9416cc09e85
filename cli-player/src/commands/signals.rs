//! The signals that end a program: heard from its first moment on, whatever it is doing.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Failure;

/// Tells which signal asked for the end. Clones tell the same, and one that came stays: nobody has to wait at
/// the moment it comes.
#[derive(Clone, Debug)]
pub(crate) struct Signals(watch::Receiver<Option<i32>>);

impl Signals {
    /// Listens from now on: Ctrl-C, `SIGTERM` and `SIGHUP` end nothing by themselves any more.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let (came, heard) = watch::channel(None);
        // It ends with the runtime.
        tokio::spawn(async move {
            loop {
                let kind = tokio::select! {
                    _ = interrupt.recv() => SignalKind::interrupt(),
                    _ = terminate.recv() => SignalKind::terminate(),
                    _ = hang_up.recv() => SignalKind::hangup(),
                };
                // The first one is why it ends.
                came.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert(kind.as_raw_value());
                    is_first
                });
            }
        });
        Ok(Self(heard))
    }

    /// Hears none: this process also runs tests that send it some.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(watch::channel(None).1)
    }

    /// Returns the number of the signal that came, if one did.
    pub(crate) fn came(&self) -> Option<i32> {
        *self.0.borrow()
    }

    /// Waits for a signal; returns at once when one came before. Cancel safe.
    pub(crate) async fn next(&self) -> i32 {
        let mut heard = self.0.clone();
        let number = heard.wait_for(Option::is_some).await.map(|number| *number);
        match number {
            Ok(Some(number)) => number,
            // The task that tells ends with the runtime only.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Does something unless a signal comes first; it is dropped then.
    pub(crate) async fn unless<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            number = self.next() => Err(Failure::signal(number)),
            done = work => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_that_nobody_waited_for_is_not_lost() {
        let signals = Signals::listen().unwrap();
        assert_eq!(signals.unless(async { Ok(1) }).await.unwrap(), 1);
        assert_eq!(signals.came(), None);
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP)
            .unwrap();
        // Work that never ends is ended, and so is all that comes after.
        let never = std::future::pending::<Result<(), Failure>>();
        assert_eq!(signals.unless(never).await.unwrap_err().status(), 129);
        assert_eq!(signals.clone().next().await, 1);
        assert_eq!(
            signals.unless(async { Ok(()) }).await.unwrap_err().status(),
            129
        );
    }
}
