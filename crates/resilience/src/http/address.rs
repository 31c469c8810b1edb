//! Which addresses belong to the public internet. A table of exceptions from the IANA special-purpose registries,
//! because the standard library's `is_global` is not stable. What is not known to be public is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to the public internet: not this machine, a private or shared network, a cloud's metadata
/// server, a reserved or documentation range, many receivers, nor an IPv6 spelling of any of these.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        // A machine in Azure finds its metadata server at this address, although it is a public one.
        || v4.octets() == [168, 63, 129, 16])
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let inside = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    // NAT64: a network without IPv4 reaches it, all of it, through this prefix.
    if [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return is_public_v4(inside(g, h));
    }
    // Only 2000::/3 is handed out; parts of it lead back to IPv4 or are for documents.
    let special = (a == 0x2001 && b < 0x0200) || (a, b) == (0x2001, 0x0db8) || a & 0xfff0 == 0x3ff0;
    a & 0xe000 == 0x2000 && !special && (a != 0x2002 || is_public_v4(inside(b, c)))
}
