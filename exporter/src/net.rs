//! Addresses as the kernel side gives them: always 16 bytes, IPv4 as IPv4-mapped IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// IPv6, or IPv4-mapped IPv6.
    pub address: Ipv6Addr,
    /// In host order.
    pub port: u16,
}

/// Maps IPv4 into IPv6, so that there is one kind of address.
#[must_use]
pub fn canonical(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Whether an address means something else in each network namespace.
#[must_use]
pub fn is_loopback(address: Ipv6Addr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether an address belongs to a private network: a peer there is inside, though perhaps on another
/// node. RFC 1918, RFC 6598 (shared), RFC 2544 (benchmarking), RFC 3927 and RFC 4291 (link-local),
/// RFC 4193 (unique local).
#[must_use]
pub fn is_private(address: Ipv6Addr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// An address or a network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    base: u128,
    /// Of the 128 bits, also for IPv4.
    prefix: u8,
}

impl Network {
    /// Whether an address lies within.
    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        mask(u128::from(address), self.prefix) == self.base
    }

    /// The address, if there is only one.
    #[must_use]
    pub fn host(&self) -> Option<Ipv6Addr> {
        (self.prefix == 128).then(|| Ipv6Addr::from(self.base))
    }

    /// Bits that are fixed; the more, the more specific.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

fn mask(bits: u128, prefix: u8) -> u128 {
    if prefix == 0 { 0 } else { bits & (u128::MAX << (128 - u32::from(prefix))) }
}

/// A text that is no address and no network.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is neither an IP address nor a network such as 10.0.0.0/8")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || NetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let (bits, shift) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let prefix = match prefix {
            Some(digits) => digits.parse::<u8>().ok().filter(|prefix| *prefix <= bits).ok_or_else(error)?,
            None => bits,
        } + shift;
        Ok(Self { base: mask(u128::from(canonical(address)), prefix), prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Ipv6Addr::from(self.base).to_canonical() {
            IpAddr::V4(v4) => write!(f, "{v4}/{}", self.prefix.saturating_sub(96)),
            IpAddr::V6(v6) => write!(f, "{v6}/{}", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        canonical(text.parse().unwrap())
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let network: Network = "198.18.0.0/24".parse().unwrap();
        assert!(network.contains(address("198.18.0.255")));
        assert!(!network.contains(address("198.18.1.0")));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains(address("1.2.3.4")));
        assert!(!"0.0.0.0/0".parse::<Network>().unwrap().contains(address("fd00::1")));
        assert!("fd00::/8".parse::<Network>().unwrap().contains(address("fd12::1")));
    }

    #[test]
    fn a_lone_address_is_the_most_specific_network() {
        let lone: Network = "127.77.0.1".parse().unwrap();
        assert_eq!(lone.prefix(), 128);
        assert!(lone.contains(address("127.77.0.1")));
        assert_eq!(lone.to_string(), "127.77.0.1/32");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "cart", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3/8"] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn private_networks_are_inside_and_public_ones_are_not() {
        for inside in ["10.1.2.3", "172.16.0.1", "198.18.0.5", "100.64.0.1", "fd00::1", "fe80::1", "127.0.0.1"] {
            assert!(is_private(address(inside)), "{inside}");
        }
        for outside in ["8.8.8.8", "198.20.0.1", "2001:4860::1"] {
            assert!(!is_private(address(outside)), "{outside}");
        }
    }
}
