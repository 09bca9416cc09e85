//! What is known about HTTP/3: who announced it, and where UDP gets through.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::request::{Origin, Protocols, Scheme};

/// After this time a UDP path that was silent is tried again.
const BLOCKED_FOR: Duration = Duration::from_secs(300);
/// An announcement is believed this long unless it says otherwise (RFC 7838 §3.1), and never longer.
const ANNOUNCED_FOR: Duration = Duration::from_secs(24 * 3600);
/// Origins remembered; a session has about ten.
const ORIGINS_MAX: usize = 64;

/// Which way to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over TCP only.
    Tcp,
    /// Over QUIC only, to this UDP port.
    Quic { port: u16 },
    /// Over QUIC to this port, and over TCP as much later; the first to be connected wins.
    Race { port: u16, head_start: Duration },
}

/// What was learnt on the network the machine is in now.
#[derive(Default)]
pub(crate) struct H3Memory {
    announced: BTreeMap<Origin, Announced>,
    /// Origins that were silent, and until when TCP alone is used. The entry outlives that time: the next try
    /// costs nothing, because both race from the start.
    blocked: BTreeMap<Origin, Instant>,
    /// QUIC has brought an answer on this network, and not been silent too often since.
    worked: bool,
    /// Origins that were silent since the last answer over QUIC; no more than [`SILENCES_MAX`].
    silences: Vec<Origin>,
    network: Network,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    port: u16,
    until: Instant,
    /// It holds on every network.
    persists: bool,
}

/// Which network something was learnt on: what comes out later says nothing about the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network(u64);

/// As many origins silent in a row are no accident: the network is suspected although QUIC has worked before.
const SILENCES_MAX: usize = 2;

impl H3Memory {
    /// Returns the way for a new connection, or `None` if `protocols` leaves none.
    pub(crate) fn way(&self, origin: &Origin, protocols: Protocols, now: Instant) -> Option<Way> {
        let tcp = protocols.http2 || protocols.http1;
        if origin.scheme == Scheme::Http {
            return protocols.http1.then_some(Way::Tcp);
        }
        if !protocols.http3 {
            return tcp.then_some(Way::Tcp);
        }
        let announced = self.announced.get(origin).filter(|it| now < it.until);
        let port = announced.map_or(origin.port, |it| it.port);
        if !tcp {
            return Some(Way::Quic { port });
        }
        if !protocols.h3_first && announced.is_none() {
            return Some(Way::Tcp);
        }
        if self.blocked.get(origin).is_some_and(|until| now < *until) {
            return Some(Way::Tcp);
        }
        // One silent origin may be its own fault. As long as QUIC has not worked for any other, the
        // network itself is suspected, and the next origins do not pay for finding out. Nor does one pay
        // twice.
        let suspected = !self.worked && !self.silences.is_empty();
        let head_start = if suspected || self.blocked.contains_key(origin) {
            Duration::ZERO
        } else {
            protocols.h3_head_start
        };
        Some(Way::Race { port, head_start })
    }

    /// Returns the network the machine is in now.
    pub(crate) const fn network(&self) -> Network {
        self.network
    }

    /// Whether HTTP/3 is to be preferred among kept connections.
    pub(crate) fn prefers(&self, origin: &Origin, protocols: Protocols, now: Instant) -> bool {
        let announced = self.announced.get(origin).is_some_and(|it| now < it.until);
        let blocked = self.blocked.get(origin).is_some_and(|until| now < *until);
        protocols.http3 && (protocols.h3_first || announced) && !blocked
    }

    /// Notes that QUIC reached `origin`.
    pub(crate) fn connected(&mut self, origin: &Origin, network: Network) {
        if network == self.network {
            self.blocked.remove(origin);
        }
    }

    /// Notes that an answer came over QUIC to its end. A handshake alone proves less: some networks let the
    /// first packets through.
    pub(crate) fn served(&mut self, network: Network) {
        if network == self.network {
            self.worked = true;
            self.silences.clear();
        }
    }

    /// Notes that `origin` did not answer over QUIC within the head start. It still may.
    pub(crate) fn late(&mut self, origin: &Origin, network: Network) {
        if network != self.network || self.silences.contains(origin) {
            return;
        }
        if self.silences.len() < SILENCES_MAX {
            self.silences.push(origin.clone());
        }
        if self.silences.len() >= SILENCES_MAX {
            self.worked = false;
        }
    }

    /// Notes that `origin` answered over TCP and not over QUIC, or that QUIC to it broke.
    pub(crate) fn silent(&mut self, origin: &Origin, network: Network, now: Instant) {
        if network != self.network {
            return;
        }
        self.late(origin, network);
        make_room(&mut self.blocked, origin, |until| *until);
        self.blocked.insert(origin.clone(), now + BLOCKED_FOR);
    }

    /// Takes in the value of an `Alt-Svc` header. What was heard on another network holds here if it says so.
    pub(crate) fn announce(
        &mut self,
        origin: &Origin,
        value: &str,
        network: Network,
        now: Instant,
    ) {
        match parse_alt_svc(origin, value) {
            AltSvc::Clear => {
                self.announced.remove(origin);
            }
            AltSvc::Http3 {
                port,
                max_age,
                persists,
            } if persists || network == self.network => {
                make_room(&mut self.announced, origin, |it| it.until);
                let announced = Announced {
                    port,
                    until: now + max_age.min(ANNOUNCED_FOR),
                    persists,
                };
                self.announced.insert(origin.clone(), announced);
            }
            AltSvc::Http3 { .. } | AltSvc::Other => {}
        }
    }

    /// Forgets what another network taught. An announcement holds elsewhere if it says so (RFC 7838 §3.1).
    pub(crate) fn network_changed(&mut self) {
        self.announced.retain(|_, announced| announced.persists);
        self.blocked.clear();
        self.silences.clear();
        self.worked = false;
        self.network.0 += 1;
    }
}

fn make_room<T>(map: &mut BTreeMap<Origin, T>, origin: &Origin, end: impl Fn(&T) -> Instant) {
    if map.len() >= ORIGINS_MAX && !map.contains_key(origin) {
        let first = map.iter().min_by_key(|(_, value)| end(value));
        if let Some(first) = first.map(|(origin, _)| origin.clone()) {
            map.remove(&first);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum AltSvc {
    Clear,
    Http3 {
        port: u16,
        max_age: Duration,
        persists: bool,
    },
    Other,
}

/// Reads the first usable `h3` alternative: on the same host, at any port.
fn parse_alt_svc(origin: &Origin, value: &str) -> AltSvc {
    if value.trim() == "clear" {
        return AltSvc::Clear;
    }
    for alternative in value.split(',') {
        let mut parts = alternative.split(';').map(str::trim);
        let authority = parts
            .next()
            .and_then(|part| part.strip_prefix("h3="))
            .map(|quoted| quoted.trim_matches('"'));
        let Some((host, port)) = authority.and_then(|text| text.rsplit_once(':')) else {
            continue;
        };
        let Ok(port) = port.parse::<u16>() else {
            continue;
        };
        if port == 0 || !(host.is_empty() || host.eq_ignore_ascii_case(&origin.host)) {
            continue;
        }
        let (mut max_age, mut persists) = (ANNOUNCED_FOR, false);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim_matches('"');
            match (name, value.parse()) {
                ("ma", Ok(seconds)) => max_age = Duration::from_secs(seconds),
                ("persist", Ok(1)) => persists = true,
                _ => {}
            }
        }
        return AltSvc::Http3 {
            port,
            max_age,
            persists,
        };
    }
    AltSvc::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Protocols = Protocols {
        h3_first: true,
        ..Protocols::ALL
    };

    fn origin(port: u16) -> Origin {
        Origin {
            scheme: Scheme::Https,
            host: "edge".to_owned(),
            port,
        }
    }

    fn race(port: u16, head_start: Duration) -> Option<Way> {
        Some(Way::Race { port, head_start })
    }

    fn silent(memory: &mut H3Memory, port: u16, now: Instant) {
        memory.silent(&origin(port), memory.network(), now);
    }

    fn announce(memory: &mut H3Memory, port: u16, value: &str, now: Instant) {
        memory.announce(&origin(port), value, memory.network(), now);
    }

    #[test]
    fn a_blocked_network_costs_one_head_start_and_is_tried_again_for_nothing() {
        let t0 = Instant::now();
        let mut memory = H3Memory::default();
        let full = FIRST.h3_head_start;
        assert_eq!(memory.way(&origin(1), FIRST, t0), race(1, full));
        silent(&mut memory, 1, t0);
        assert_eq!(memory.way(&origin(1), FIRST, t0), Some(Way::Tcp));
        assert!(!memory.prefers(&origin(1), FIRST, t0));
        assert_eq!(memory.way(&origin(2), FIRST, t0), race(2, Duration::ZERO));
        let later = t0 + BLOCKED_FOR;
        for port in [1, 2] {
            assert_eq!(
                memory.way(&origin(port), FIRST, later),
                race(port, Duration::ZERO)
            );
        }
        let network = memory.network();
        memory.connected(&origin(1), network);
        memory.served(network);
        assert_eq!(memory.way(&origin(1), FIRST, later), race(1, full));
    }

    #[test]
    fn an_elapsed_head_start_is_suspicious_by_itself() {
        let t0 = Instant::now();
        let mut memory = H3Memory::default();
        memory.late(&origin(1), memory.network());
        for port in [1, 2] {
            assert_eq!(
                memory.way(&origin(port), FIRST, t0),
                race(port, Duration::ZERO)
            );
        }
    }

    #[test]
    fn one_silent_origin_is_its_own_fault_where_quic_works_and_two_are_not() {
        let t0 = Instant::now();
        let full = FIRST.h3_head_start;
        let mut memory = H3Memory::default();
        memory.served(memory.network());
        silent(&mut memory, 1, t0);
        silent(&mut memory, 1, t0);
        assert_eq!(memory.way(&origin(1), FIRST, t0), Some(Way::Tcp));
        assert_eq!(memory.way(&origin(3), FIRST, t0), race(3, full));
        // An answer in between, and they are not two in a row.
        memory.served(memory.network());
        silent(&mut memory, 2, t0);
        assert_eq!(memory.way(&origin(3), FIRST, t0), race(3, full));
        // A handshake is no answer.
        memory.connected(&origin(3), memory.network());
        silent(&mut memory, 3, t0);
        assert_eq!(memory.way(&origin(4), FIRST, t0), race(4, Duration::ZERO));
    }

    #[test]
    fn what_comes_out_after_the_network_changed_is_not_held_against_the_new_one() {
        let t0 = Instant::now();
        let mut memory = H3Memory::default();
        let old = memory.network();
        memory.network_changed();
        memory.silent(&origin(1), old, t0);
        memory.late(&origin(1), old);
        assert_eq!(
            memory.way(&origin(1), FIRST, t0),
            race(1, FIRST.h3_head_start)
        );
        silent(&mut memory, 1, t0);
        memory.served(old);
        memory.connected(&origin(1), old);
        assert_eq!(memory.way(&origin(1), FIRST, t0), Some(Way::Tcp));
    }

    #[test]
    fn another_network_starts_without_prejudice() {
        let t0 = Instant::now();
        let mut memory = H3Memory::default();
        silent(&mut memory, 1, t0);
        announce(&mut memory, 3, "h3=\":443\"; ma=60; persist=0", t0);
        announce(&mut memory, 4, "h3=\":444\"; persist=1; ma=60", t0);
        memory.network_changed();
        assert_eq!(
            memory.way(&origin(1), FIRST, t0),
            race(1, FIRST.h3_head_start)
        );
        assert_eq!(memory.way(&origin(3), Protocols::ALL, t0), Some(Way::Tcp));
        assert_eq!(
            memory.way(&origin(4), Protocols::ALL, t0),
            race(444, FIRST.h3_head_start)
        );
    }

    #[test]
    fn what_is_heard_on_the_old_network_is_said_of_the_new_one_only_if_it_persists() {
        let t0 = Instant::now();
        let mut memory = H3Memory::default();
        let old = memory.network();
        memory.network_changed();
        memory.announce(&origin(3), "h3=\":443\"; ma=60", old, t0);
        memory.announce(&origin(4), "h3=\":444\"; ma=60; persist=1", old, t0);
        assert_eq!(memory.way(&origin(3), Protocols::ALL, t0), Some(Way::Tcp));
        assert_eq!(
            memory.way(&origin(4), Protocols::ALL, t0),
            race(444, FIRST.h3_head_start)
        );
    }

    #[test]
    fn without_a_grant_h3_waits_for_an_announcement() {
        let t0 = Instant::now();
        let mut memory = H3Memory::default();
        assert_eq!(memory.way(&origin(1), Protocols::ALL, t0), Some(Way::Tcp));
        announce(&mut memory, 1, "h2=\":1\", h3=\":8443\"; ma=60", t0);
        assert_eq!(
            memory.way(&origin(1), Protocols::ALL, t0),
            race(8443, FIRST.h3_head_start)
        );
        let late = t0 + Duration::from_secs(60);
        assert_eq!(memory.way(&origin(1), Protocols::ALL, late), Some(Way::Tcp));
        announce(&mut memory, 1, "clear", t0);
        assert_eq!(memory.way(&origin(1), Protocols::ALL, t0), Some(Way::Tcp));
    }

    #[test]
    fn what_is_allowed_bounds_what_is_tried() {
        let memory = H3Memory::default();
        let way = |protocols| memory.way(&origin(1), protocols, Instant::now());
        use crate::request::Protocol::{Http1, Http2, Http3};
        assert_eq!(way(Protocols::only(Http1)), Some(Way::Tcp));
        assert_eq!(way(Protocols::only(Http2)), Some(Way::Tcp));
        assert_eq!(way(Protocols::only(Http3)), Some(Way::Quic { port: 1 }));
        let plain = Origin {
            scheme: Scheme::Http,
            ..origin(1)
        };
        let now = Instant::now();
        assert_eq!(memory.way(&plain, FIRST, now), Some(Way::Tcp));
        assert_eq!(memory.way(&plain, Protocols::only(Http3), now), None);
    }

    #[test]
    fn a_malformed_announcement_is_none() {
        for value in [
            "",
            "h3",
            "h3=",
            "h3=\":\"",
            "h3=\":0\"",
            "h3=\":99999\"",
            "h3=\"other:1\"",
            "x,,;",
        ] {
            assert_eq!(parse_alt_svc(&origin(1), value), AltSvc::Other, "{value}");
        }
    }
}
