//! The tasks of one connection: they end with it, and it waits for them.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Requests and streams of one connection. They are bounded by the protocol's limit of streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    ended: CancellationToken,
    running: TaskTracker,
}

impl Tasks {
    /// Runs a task until it is done or the connection ends.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let ended = self.ended.clone();
        drop(self.running.spawn(async move {
            tokio::select! {
                () = ended.cancelled_owned() => {}
                _ = task => {}
            }
        }));
    }

    /// Ends all of them and waits until they have let go of what they hold: their log lines are written.
    pub(crate) async fn end(self) {
        self.ended.cancel();
        self.running.close();
        self.running.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
