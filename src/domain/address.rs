//! Whose an address is: where may requests go that others asked for?
//!
//! Invariant: an IPv4 address counts the same however it is written into an IPv6 one. What is not known to be public is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where Azure's own agent listens on every machine of it: a public address that leads to no public host
/// (learn.microsoft.com, "What is IP address 168.63.129.16?").
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// How near an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearness {
    /// Somewhere in the internet.
    Public,
    /// This machine's, or its private networks'.
    Private,
    /// The link's (a cloud's metadata service is there), or no host's at all.
    Never,
}

impl Nearness {
    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => of_v4(v4),
                None => of_v6(v6),
            },
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Nearness {
    let [a, b, c, _] = address.octets();
    let nobodys = address.is_unspecified() || address.is_multicast() || a == 0 || a >= 240;
    if address.is_link_local() || nobodys || address == AZURE_WIRE_SERVER {
        return Nearness::Never;
    }
    let carrier_grade = a == 100 && (64..128).contains(&b);
    // IETF assignments (a metadata service of a cloud is there), and benchmarks of networks.
    let special = (a, b, c) == (192, 0, 0) || (a == 198 && (b == 18 || b == 19));
    let near = address.is_loopback() || address.is_private() || carrier_grade || special;
    if near { Nearness::Private } else { Nearness::Public }
}

fn of_v6(address: Ipv6Addr) -> Nearness {
    /// Addresses of IPv4 behind a translator (RFC 6052).
    const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    /// The same in a network of one's own (RFC 8215), and sites of old (RFC 3879).
    const LOCAL_NAT64: [u16; 3] = [0x64, 0xff9b, 1];
    const SITE_LOCAL: (u16, u16) = (0xfec0, 0xffc0);
    /// IPv4 with its address in the prefix (RFC 3056).
    const SIX_TO_FOUR: u16 = 0x2002;
    let segments = address.segments();
    if segments[..6] == NAT64 || (segments[..6] == [0; 6] && !address.is_loopback() && !address.is_unspecified()) {
        let [.., a, b, c, d] = address.octets();
        return of_v4(Ipv4Addr::new(a, b, c, d));
    }
    if segments[0] == SIX_TO_FOUR {
        let [_, _, a, b, c, d, ..] = address.octets();
        return of_v4(Ipv4Addr::new(a, b, c, d));
    }
    if address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast() {
        return Nearness::Never;
    }
    let near = address.is_loopback() || address.is_unique_local() || segments[..3] == LOCAL_NAT64 || segments[0] & SITE_LOCAL.1 == SITE_LOCAL.0;
    if near { Nearness::Private } else { Nearness::Public }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_an_address_is() {
        let cases: [(Nearness, &[&str]); 3] = [
            (Nearness::Public, &["203.0.113.9", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]),
            (
                Nearness::Private,
                &[
                    "127.0.0.1",
                    "10.1.2.3",
                    "172.16.5.5",
                    "192.168.0.1",
                    "100.64.0.1",
                    "192.0.0.192",
                    "198.18.0.1",
                    "::1",
                    "fd00::1",
                    "fd00:ec2::254",
                    "::ffff:10.0.0.1",
                    "::ffff:127.0.0.1",
                    "::127.0.0.1",
                    "64:ff9b::a00:1",
                    "64:ff9b:1::808:808",
                    "fec0::1",
                    "2002:7f00:1::1",
                ],
            ),
            (
                Nearness::Never,
                &[
                    "169.254.169.254",
                    "168.63.129.16",
                    "0.0.0.0",
                    "0.1.2.3",
                    "224.0.0.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "fe80::1",
                    "::",
                    "ff02::1",
                    "::ffff:169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                    "2002:a9fe:a9fe::1",
                ],
            ),
        ];
        for (nearness, addresses) in cases {
            for address in addresses {
                assert_eq!(Nearness::of(address.parse().expect("address")), nearness, "{address}");
            }
        }
    }
}
