//! Identifiers that people copy into tickets: sortable by time, impossible to guess, safe to show (ULID:
//! 48 bits of Unix milliseconds, 80 random bits, Crockford base 32). Pure: time and randomness are passed in.

use std::{fmt, str};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn ulid(unix_ms: u64, random: u128) -> [u8; 26] {
    let mut value = (u128::from(unix_ms & 0xFFFF_FFFF_FFFF) << 80) | (random & ((1 << 80) - 1));
    let mut out = [b'0'; 26];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
    out
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 30]);

        impl $name {
            /// From Unix milliseconds and at least 80 random bits.
            #[must_use]
            pub fn from_parts(unix_ms: u64, random: u128) -> Self {
                let mut out = [0; 30];
                out[..4].copy_from_slice($prefix);
                out[4..].copy_from_slice(&ulid(unix_ms, random));
                Self(out)
            }

            /// The id as text, 30 ASCII characters.
            #[must_use]
            pub fn as_str(&self) -> &str {
                str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

id!(
    /// Names one request in headers, error bodies, logs and audit: `req_01…`.
    RequestId,
    b"req_"
);
id!(
    /// Names one internal error or block: what the caller sees of it, and what the log is searched for: `inc_01…`.
    Incident,
    b"inc_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_match_the_ulid_reference_vector() {
        // Reference: the ULID specification's example 01ARZ3NDEKTSV4RRFFQ69G5FAV.
        let id = RequestId::from_parts(1_469_922_850_259, 0xD6764C61EFB99302BD5B);
        assert_eq!(id.as_str(), "req_01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert!(RequestId::from_parts(1, u128::MAX).as_str() < RequestId::from_parts(2, 0).as_str());
    }
}
