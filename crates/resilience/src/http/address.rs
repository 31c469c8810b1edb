//! Which addresses belong to the public internet. A table of exceptions from the IANA special-purpose registries,
//! because the standard library's `is_global` is not stable. What is not known to be public is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to the public internet (IANA special-purpose registries; `is_global` is not stable).
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
        || (a, b, c) == (192, 88, 99))
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    // Only 2000::/3 is handed out; parts of it lead back to IPv4 or are for documents.
    let embedded = match (a, b) {
        (0x2002, _) => Some(Ipv4Addr::from(u32::from(b) << 16 | u32::from(v6.segments()[2]))),
        _ => None,
    };
    let special = (a == 0x2001 && b < 0x0200) || (a, b) == (0x2001, 0x0db8) || a & 0xfff0 == 0x3ff0;
    a & 0xe000 == 0x2000 && !special && embedded.is_none_or(is_public_v4)
}
