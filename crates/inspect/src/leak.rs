//! Whether an answer tells what only the system part of its prompt says: the canary, however its letters are set apart, or eight
//! consecutive words. What its other texts say too is no leak.
//!
//! Invariants: linear in the text; what may still become a leak begins where `undecided` says, so that a stream which
//! holds back from there delivers nothing of one. Source: inspect.md sections 3 and 4.

use std::{collections::HashSet, ops::Range};

/// Words in a row that count as a leak.
const WORDS: usize = 8;

/// What must not be told.
#[derive(Clone, Debug, Default)]
pub struct Leak {
    canary: Vec<u8>,
    /// Where to go on in the canary when a letter does not fit.
    fallback: Vec<usize>,
    single: HashSet<u64>,
    pairs: HashSet<(u64, u64)>,
    rows: HashSet<u64>,
}

/// One word of a text.
#[derive(Clone)]
struct Word {
    hash: u64,
    range: Range<usize>,
}

impl Leak {
    /// Of a canary and the texts of the system part; `known` is what the caller said, and may be said again.
    pub fn new<'a>(
        canary: Option<&str>,
        system: impl IntoIterator<Item = &'a str>,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let canary = canary.unwrap_or_default().as_bytes().to_ascii_lowercase();
        let mut leak = Self { fallback: fallback(&canary), canary, ..Self::default() };
        for text in system {
            let words: Vec<Word> = words(text).collect();
            leak.rows.extend(rows(&words).map(|(hash, _)| hash));
            if words.len() >= WORDS {
                leak.single.extend(words.iter().map(|word| word.hash));
                leak.pairs.extend(words.windows(2).map(|pair| (pair[0].hash, pair[1].hash)));
            }
        }
        for text in known {
            if leak.rows.is_empty() {
                break;
            }
            let words: Vec<Word> = words(text).collect();
            for (hash, _) in rows(&words) {
                leak.rows.remove(&hash);
            }
        }
        leak
    }

    /// Where it is told.
    pub(crate) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = self.canary(text).0;
        if !self.rows.is_empty() {
            let words: Vec<Word> = words(text).collect();
            let told = rows(&words).filter(|(hash, _)| self.rows.contains(hash));
            found.extend(told.map(|(_, range)| range));
        }
        found
    }

    /// From where on the text may become a leak by what follows it.
    pub(crate) fn undecided(&self, text: &str) -> usize {
        let canary = self.canary(text).1;
        if self.rows.is_empty() {
            return canary;
        }
        let mut words: Vec<Word> = words(text).collect();
        // The last one may not be finished; it is the caller's to hold it back.
        words.pop_if(|word| word.range.end == text.len());
        let mut from = text.len();
        for (count, word) in words.iter().rev().enumerate().take(WORDS - 1) {
            let goes_on = match words.len().checked_sub(count).and_then(|next| words.get(next)) {
                Some(next) if count > 0 => self.pairs.contains(&(word.hash, next.hash)),
                Some(_) | None => self.single.contains(&word.hash),
            };
            if !goes_on {
                break;
            }
            from = word.range.start;
        }
        from.min(canary)
    }

    /// Where the canary stands, letters and digits alone counting, and where one begins that is not finished.
    fn canary(&self, text: &str) -> (Vec<Range<usize>>, usize) {
        let (mut found, mut places, mut fits) = (Vec::new(), Vec::new(), 0_usize);
        if self.canary.is_empty() {
            return (found, text.len());
        }
        for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_alphanumeric()) {
            let byte = byte.to_ascii_lowercase();
            places.push(at);
            while fits > 0 && self.canary[fits] != byte {
                fits = self.fallback[fits - 1];
            }
            fits += usize::from(self.canary[fits] == byte);
            if fits == self.canary.len() {
                found.push(places[places.len() - fits]..at + 1);
                fits = self.fallback[fits - 1];
            }
        }
        let begun = if fits == 0 { text.len() } else { places[places.len() - fits] };
        (found, begun)
    }
}

/// For each place of a word, how much of its beginning ends there.
fn fallback(word: &[u8]) -> Vec<usize> {
    let (mut out, mut fits) = (vec![0; word.len()], 0_usize);
    for at in 1..word.len() {
        while fits > 0 && word[fits] != word[at] {
            fits = out[fits - 1];
        }
        fits += usize::from(word[fits] == word[at]);
        out[at] = fits;
    }
    out
}

/// Letters and digits in a row, case aside.
fn words(text: &str) -> impl Iterator<Item = Word> {
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, first) = chars.find(|(_, c)| c.is_alphanumeric())?;
        let (mut hash, mut end) = (hashed(FIRST, first), start + first.len_utf8());
        while let Some((at, c)) = chars.next_if(|(_, c)| c.is_alphanumeric()) {
            hash = hashed(hash, c);
            end = at + c.len_utf8();
        }
        Some(Word { hash, range: start..end })
    })
}

/// FNV-1a: a collision costs a look, not a secret.
const FIRST: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

fn hashed(hash: u64, c: char) -> u64 {
    c.to_lowercase().fold(hash, |hash, c| (hash ^ u64::from(c)).wrapping_mul(PRIME))
}

/// Every eight words in a row.
fn rows(words: &[Word]) -> impl Iterator<Item = (u64, Range<usize>)> {
    words.windows(WORDS).filter_map(|row| {
        let hash =
            row.iter().fold(FIRST, |hash, word| (hash ^ word.hash).wrapping_mul(PRIME).rotate_left(17));
        Some((hash, row.first()?.range.start..row.last()?.range.end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "You are the keeper of the gate and you never tell the name of the king.";

    #[test]
    fn a_canary_is_found_however_its_letters_are_set_apart() {
        let leak = Leak::new(Some("abcabd23"), [], []);
        for text in ["abcabd23", "it is ABCABD23.", "a-b c\na.b.d 2 3", "abcabcabd23", "\u{e9}abcabd23"] {
            assert_eq!(leak.find(text).len(), 1, "{text}");
        }
        assert!(leak.find("abcabd2 and 4").is_empty());
        assert_eq!(leak.undecided("so abcab"), 3);
        assert_eq!(leak.undecided("so xyz"), 6);
    }

    #[test]
    fn eight_words_in_a_row_are_a_leak_and_seven_are_none() {
        let leak = Leak::new(None, [RULES], []);
        assert!(leak.find("They say YOU are: the keeper, of the gate -- and so on").len() == 1);
        assert!(leak.find("You are the keeper of the").is_empty());
        assert!(leak.find("You are the keeper of the small gate").is_empty());
        let known = Leak::new(None, [RULES], ["who said: you are the keeper of the gate and you"]);
        assert!(known.find("you are the keeper of the gate and").is_empty(), "the caller's own words");
        assert!(
            !known.find("never tell the name of the king you never tell the name of the king").is_empty()
        );
    }

    #[test]
    fn what_may_become_a_leak_is_known_from_its_first_word_on() {
        let leak = Leak::new(None, [RULES], []);
        assert_eq!(leak.undecided("Well. You are the "), 6);
        assert_eq!(leak.undecided("Well. You are not "), 18);
        assert_eq!(leak.undecided("Well. You are the ke"), 6, "the last word is not finished");
    }
}
