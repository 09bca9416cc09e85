//! The addresses this machine has towards others, which tell one network from another.

use std::net::{IpAddr, UdpSocket};

/// Returns the addresses that connections to others would come from: none where there is no way out.
pub(crate) fn outward() -> Vec<IpAddr> {
    // Addresses for documentation. A datagram socket only looks up the way there: nothing is sent.
    let ways = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let ours = ways.iter().filter_map(|(from, to)| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    ours.collect()
}
