//! Network prefixes, IPv4 and IPv6.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// A network prefix in CIDR notation. IPv4 written as IPv6 (`::ffff:10.0.0.0/104`) is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The network address; bits beyond the length are zero.
    network: IpAddr,
    length: u8,
}

impl Prefix {
    /// Returns whether `address` lies in this network; an IPv4-mapped address counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.length) == self.network
    }

    /// Returns the number of bits that are given.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Makes the prefix of `length` bits that holds `address`.
    fn of(address: IpAddr, length: u8) -> Option<Self> {
        let canonical = address.to_canonical();
        // A mapped address has 96 bits before the IPv4 part.
        let length = if canonical.is_ipv4() && address.is_ipv6() {
            length.checked_sub(96)?
        } else {
            length
        };
        (length <= width(canonical)).then(|| Self {
            network: masked(canonical, length),
            length,
        })
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(length.min(32)))
                .unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(length.min(128)))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Reads `10.0.0.0/8`; an address alone is a network of one.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError)?;
        let length = match length {
            // `u8::from_str` takes "+8", which nobody means.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| PrefixError)?
            }
            Some(_) => return Err(PrefixError),
            None => width(address),
        };
        Self::of(address, length).ok_or(PrefixError)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

/// A text that is no network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a prefix must be an IP address and a length in bits, such as 192.0.2.0/24 or 2001:db8::/32"
)]
pub struct PrefixError;

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_holds_what_shares_its_bits() {
        assert!(prefix("10.0.0.0/8").contains(address("10.255.0.1")));
        assert!(!prefix("10.0.0.0/8").contains(address("11.0.0.1")));
        assert!(prefix("2001:db8::/33").contains(address("2001:db8:7fff::1")));
        assert!(!prefix("2001:db8::/33").contains(address("2001:db8:8000::1")));
        assert!(prefix("0.0.0.0/0").contains(address("203.0.113.9")));
        assert!(prefix("::/0").contains(address("2001:db8::1")));
        assert!(prefix("192.0.2.7").contains(address("192.0.2.7")));
        assert!(!prefix("192.0.2.7").contains(address("192.0.2.8")));
    }

    #[test]
    fn families_do_not_mix_but_a_mapped_address_is_ipv4() {
        assert!(!prefix("::/0").contains(address("192.0.2.1")));
        assert!(!prefix("0.0.0.0/0").contains(address("2001:db8::1")));
        assert!(prefix("192.0.2.0/24").contains(address("::ffff:192.0.2.1")));
        assert_eq!(prefix("::ffff:192.0.2.0/120"), prefix("192.0.2.0/24"));
    }

    #[test]
    fn bits_beyond_the_length_do_not_count() {
        assert_eq!(prefix("10.1.2.3/8").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0/8",
            "host/8",
            "::ffff:10.0.0.0/90",
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_of_an_address_holds_it_and_survives_printing(bits: u128, length in 0_u8..=128) {
            let v6 = IpAddr::V6(Ipv6Addr::from_bits(bits | 1 << 127)); // never a mapped address
            let made = Prefix::of(v6, length).unwrap();
            prop_assert!(made.contains(v6));
            prop_assert_eq!(prefix(&made.to_string()), made);
            if length > 0 {
                let flipped = bits | 1 << 127;
                let flipped = flipped ^ (1_u128 << (128 - u32::from(length)));
                let outside = IpAddr::V6(Ipv6Addr::from_bits(flipped));
                prop_assert!(!made.contains(outside));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            prop_assert!(text.parse::<Prefix>().is_err() || text.contains(['.', ':']));
        }
    }
}
