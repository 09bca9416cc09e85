//! Takes TCP connections, and follows what is wrong with the relay.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Surroundings};
use super::handle::Applied;
use super::port::Port;
use super::receipt::Deed;

/// Some ten connections for each of some hundred viewers; each takes two sockets and what its toxics hold.
const CONNECTIONS_MAX: usize = 1024;
/// Until then a file may have been closed.
const REST: Duration = Duration::from_millis(20);

/// Serves a port until the relay is closed; all its connections end with it.
pub(super) async fn listen(
    mut port: Port,
    mut around: Surroundings,
    applied: watch::Sender<Applied>,
    closed: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = closed.cancelled() => break,
            changed = around.control.changed() => {
                if changed.is_err() {
                    break;
                }
                follow(&mut port, &mut around, &applied).await;
                continue;
            }
            accepted = port.accept() => accepted,
        };
        let client = match accepted {
            Ok(client) => client,
            Err(error) => {
                // The client has gone already, or files have run out: the next one may fare better.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        around.ledger.count(|counts| counts.connections += 1);
        let connection = number;
        number += 1;
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            around.ledger.note_of(connection, None, Deed::TooMany);
            continue;
        };
        let served = connection::serve(connection, client, around.clone());
        let closed = closed.clone();
        connections.spawn(async move {
            tokio::select! {
                biased;
                () = closed.cancelled() => {}
                () = served => {}
            }
            drop(permit);
        });
    }
    drop(port);
    connections.close();
    connections.wait().await;
}

/// Brings the port to where it is to be, and says so.
async fn follow(port: &mut Port, around: &mut Surroundings, applied: &watch::Sender<Applied>) {
    let (version, reach) = {
        let control = around.control.borrow_and_update();
        (control.version, control.reach)
    };
    let problem = match port.reach() == reach {
        true => None,
        false => port.set_reach(reach).await.err().map(Arc::new),
    };
    applied.send_replace(Applied {
        version,
        problem,
        is_unanswered: port.is_plugged(),
    });
}
