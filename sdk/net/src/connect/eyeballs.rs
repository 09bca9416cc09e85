//! Racing the addresses of a host (RFC 8305).

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use crate::error::NetError;

/// Addresses tried at most; a host with more has others that work.
const ADDRESSES_MAX: usize = 8;

/// Tries addresses one after the other, the next one `delay` after the last or as soon as one fails.
/// Returns the first success, and drops the rest.
pub(super) async fn race<T, F>(
    addresses: &[IpAddr],
    delay: Duration,
    attempt: impl Fn(IpAddr) -> F,
) -> Result<T, NetError>
where
    F: Future<Output = Result<T, NetError>>,
{
    let mut queue = in_turn(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    let mut failure = None;
    running.extend(queue.next().map(&attempt));
    loop {
        let more = !queue.as_slice().is_empty();
        tokio::select! {
            result = running.next() => match result {
                Some(Ok(won)) => return Ok(won),
                Some(Err(error)) => {
                    failure = Some(tell(failure, error));
                    running.extend(queue.next().map(&attempt));
                }
                None => break,
            },
            () = sleep(delay), if more => running.extend(queue.next().map(&attempt)),
        }
    }
    Err(failure.unwrap_or(NetError::InvalidRequest {
        detail: "no address to connect to".to_owned(),
    }))
}

/// Puts the families in turn, IPv6 first, each in its own order.
pub(crate) fn in_turn(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut v6 = addresses.iter().filter(|address| address.is_ipv6());
    let mut v4 = addresses.iter().filter(|address| address.is_ipv4());
    let mut turns = Vec::with_capacity(addresses.len());
    loop {
        let before = turns.len();
        turns.extend(v6.next());
        turns.extend(v4.next());
        if turns.len() == before {
            break;
        }
    }
    turns.truncate(ADDRESSES_MAX);
    turns
}

/// Keeps the failure that says more: a machine without IPv6 finds half of all addresses unreachable.
fn tell(before: Option<NetError>, now: NetError) -> NetError {
    match before {
        Some(before) if matches!(now, NetError::Unreachable { .. }) => before,
        Some(_) | None => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_families_take_turns() {
        let given = ["192.0.2.1", "192.0.2.2", "::1", "192.0.2.3", "::2"].map(ip);
        let expected = ["::1", "192.0.2.1", "::2", "192.0.2.2", "192.0.2.3"].map(ip);
        assert_eq!(in_turn(&given), expected);
        assert_eq!(in_turn(&vec![ip("::1"); 100]).len(), ADDRESSES_MAX);
    }

    const DELAY: Duration = Duration::from_millis(250);

    #[tokio::test(start_paused = true)]
    async fn a_silent_first_address_costs_one_delay() {
        let start = tokio::time::Instant::now();
        let won = race(&["::1", "192.0.2.1"].map(ip), DELAY, |address| async move {
            if address.is_ipv6() {
                std::future::pending::<()>().await;
            }
            Ok(address)
        })
        .await;
        assert_eq!(won, Ok(ip("192.0.2.1")));
        assert_eq!(start.elapsed(), DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_address_costs_nothing_and_the_better_reason_is_told() {
        let start = tokio::time::Instant::now();
        let lost = race::<(), _>(&["192.0.2.1", "::1"].map(ip), DELAY, |address| async move {
            let peer = SocketAddr::new(address, 1);
            if address.is_ipv4() {
                sleep(Duration::from_millis(5)).await;
                return Err(NetError::ConnectRefused { peer });
            }
            Err(NetError::Unreachable {
                peer,
                detail: String::new(),
            })
        })
        .await;
        assert_eq!(lost.unwrap_err().code(), "net.connect_refused");
        assert_eq!(start.elapsed(), Duration::from_millis(5));
    }

    #[tokio::test]
    async fn no_address_is_an_error() {
        let lost = race::<(), _>(&[], DELAY, |_| async { Ok(()) }).await;
        assert_eq!(lost.unwrap_err().code(), "net.invalid_request");
    }
}
