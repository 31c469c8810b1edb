//! What a source published. Invariant: its text is plain and clean.

use crate::text::{line, without_links};

/// Dates before this are a program's zero or a broken clock, not a date: 1 January 1990, Unix milliseconds.
const EARLIEST: i64 = 631_152_000_000;
/// How far a source's clock or time zone may be ahead, in milliseconds.
const AHEAD: i64 = 24 * 60 * 60 * 1000;

/// A post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// What it is known by at its source: a number, an address or a hash; never empty.
    pub id: String,
    /// When it was published, Unix milliseconds, not later than now; none: the source does not say, or nothing that can be.
    pub at: Option<i64>,
    /// Its title, where it has one.
    pub title: Option<String>,
    /// Its words.
    pub text: String,
    /// Where it can be read.
    pub url: String,
    /// How often it was seen, where the source says.
    pub views: Option<u64>,
    /// Changed after it was published.
    pub edited: bool,
}

/// A title on one line; none where nothing is left of it.
pub(crate) fn title(text: &str) -> Option<String> {
    Some(line(&without_links(text))).filter(|title| !title.is_empty())
}

/// A date that can be: a little in the future is now, what is far off is none.
pub(crate) fn plausible(at: i64, now: i64) -> Option<i64> {
    (EARLIEST..=now.saturating_add(AHEAD)).contains(&at).then(|| at.min(now))
}

/// A name for a post that has none: the same words have the same.
pub(crate) fn fingerprint(parts: &[&str]) -> String {
    // FNV-1a in 128 bits: the same on every machine and in every version.
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in parts.iter().flat_map(|part| part.bytes().chain(std::iter::once(0xff))) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_cannot_be_are_none_and_a_clock_that_is_ahead_is_now() {
        let now = 1_790_000_000_000;
        assert_eq!(plausible(0, now), None);
        assert_eq!(plausible(4_086_000_000_000, now), None, "2099");
        assert_eq!(plausible(now + 3_600_000, now), Some(now));
        assert_eq!(plausible(now - 5, now), Some(now - 5));
        assert_eq!(plausible(i64::MIN, i64::MAX), None);
    }
}
