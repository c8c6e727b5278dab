//! Which addresses may be connected to.
//!
//! Private addresses only where `allow` of the destination (or of keys) names them;
//! link-local and metadata addresses never. IPv6 forms that carry an IPv4
//! address (mapped, compatible, NAT64, 6to4) are judged by what they carry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(segments: [u16; 8], bits: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), bits)
}

/// Never connected to, whatever `allow` says.
const NEVER_V4: [Ipv4Net; 7] = [
    v4(0, 0, 0, 0, 8),          // this network; Linux takes 0.0.0.0 for localhost
    v4(169, 254, 0, 0, 16),     // link-local: metadata of AWS, Azure, GCP, …
    v4(100, 100, 100, 200, 32), // metadata of Alibaba
    v4(192, 0, 0, 192, 32),     // metadata of Oracle
    v4(168, 63, 129, 16, 32),   // Azure's host
    v4(224, 0, 0, 0, 4),        // multicast
    v4(255, 255, 255, 255, 32), // broadcast
];

const NEVER_V6: [Ipv6Net; 5] = [
    v6([0; 8], 128),                                // unspecified
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),          // link-local
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),           // multicast
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), // metadata of AWS
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),  // metadata of GCP
];

/// Connected to only where `allow` names them.
const PRIVATE_V4: [Ipv4Net; 12] = [
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10), // carrier-grade NAT
    v4(127, 0, 0, 0, 8),   // loopback
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),   // protocol assignments
    v4(192, 0, 2, 0, 24),   // documentation
    v4(192, 88, 99, 0, 24), // 6to4 relays
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),   // benchmarks
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
    v4(240, 0, 0, 0, 4),     // reserved
];

const PRIVATE_V6: [Ipv6Net; 8] = [
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128),         // loopback
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),  // local NAT64
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),      // discard
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),     // Teredo
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),     // documentation
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),      // unique local
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),     // site-local
];

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Link-local, metadata, multicast or unspecified.
    #[error("address {0} is link-local, metadata or no host at all: never allowed")]
    Never(IpAddr),
    /// Private, and not named in `allow`.
    #[error("address {0} is private: name its network in `allow` to permit it")]
    Private(IpAddr),
}

/// Judges addresses, for one destination or for keys.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allow: Vec<IpNet>,
}

impl Guard {
    /// One that lets private networks through that are named here.
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Whether this address may be connected to.
    ///
    /// # Errors
    /// [`Refused`] says whether `allow` could lift it.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let address = address.to_canonical();
        let carried = carried_v4(address).map(IpAddr::V4);
        let forms = || [Some(address), carried].into_iter().flatten();
        if forms().any(is_never) {
            return Err(Refused::Never(address));
        }
        let named = forms().any(|form| self.allow.iter().any(|net| net.contains(&form)));
        if !named && forms().any(is_private) {
            return Err(Refused::Private(address));
        }
        Ok(())
    }
}

fn is_never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => NEVER_V4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => NEVER_V6.iter().any(|net| net.contains(&ip)),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => PRIVATE_V4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => PRIVATE_V6.iter().any(|net| net.contains(&ip)),
    }
}

/// The IPv4 address inside a compatible, NAT64 or 6to4 address.
fn carried_v4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = address else {
        return None;
    };
    let from = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // `::` and `::1` are addresses of their own
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] => from(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str]) -> Guard {
        Guard::new(allow.iter().map(|net| net.parse().unwrap()).collect())
    }

    fn check(guard: &Guard, address: &str) -> Result<(), Refused> {
        guard.check(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_connected_to() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "2606:4700::1111",
            "64:ff9b::101:101",
        ] {
            assert_eq!(check(&guard(&[]), address), Ok(()), "{address}");
        }
    }

    #[test]
    fn private_addresses_are_refused_in_every_form() {
        for address in [
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "240.0.0.1",
            "::1",
            "fc00::1",
            "fd12::1",
            "2001:0:1::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
        ] {
            assert!(
                matches!(check(&guard(&[]), address), Err(Refused::Private(_))),
                "{address}"
            );
        }
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_whatever_is_allowed() {
        let everything = guard(&["0.0.0.0/0", "::/0"]);
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::ffff:0.0.0.0",
        ] {
            assert!(
                matches!(check(&everything, address), Err(Refused::Never(_))),
                "{address}"
            );
        }
    }

    #[test]
    fn allow_lifts_exactly_what_it_names() {
        let guard = guard(&["10.1.0.0/16", "::1/128"]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            assert_eq!(check(&guard, address), Ok(()), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.1", "fc00::1"] {
            assert!(check(&guard, address).is_err(), "{address}");
        }
    }
}
