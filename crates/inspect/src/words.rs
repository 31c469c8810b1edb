//! One scan for many words: which rows of a table can match a text at all, as bits. Its cost does not depend on the
//! size of the table; only the patterns of the rows it names are run. A step of an automaton waits for the one before,
//! about two nanoseconds; long texts are therefore walked at eight places at once, which hides most of that wait.
//! Invariant: it may name rows that do not match, never miss one that does (case of ASCII letters aside).

use aho_corasick::{Anchored, automaton::Automaton as _, automaton::StateID, dfa::DFA};
use std::array;

/// Words of up to 64 rows.
#[derive(Debug)]
pub(crate) struct Words {
    words: Option<DFA>,
    /// Length of the longest word, in bytes.
    longest: usize,
    /// For each word, the rows that need it and the rows that also need it, as bits.
    wanted_by: Vec<[u64; 2]>,
    /// Rows that need no second word.
    single: u64,
}

impl Words {
    /// From the rows' words: one of the first list and, where the second is not empty, one of that.
    pub(crate) fn new(rows: impl IntoIterator<Item = [&'static [&'static str]; 2]>) -> Self {
        let mut words: Vec<&'static str> = Vec::new();
        let mut wanted_by: Vec<[u64; 2]> = Vec::new();
        let mut single = 0;
        for (row, lists) in rows.into_iter().enumerate() {
            single |= u64::from(lists[1].is_empty()) << row;
            for (which, list) in lists.into_iter().enumerate() {
                for needed in list {
                    let at = words.iter().position(|word| word == needed).unwrap_or_else(|| {
                        words.push(needed);
                        wanted_by.push([0; 2]);
                        words.len() - 1
                    });
                    wanted_by[at][which] |= 1 << row;
                }
            }
        }
        // Should a table ever be too large for an automaton, every row is tried: slower, not blind.
        let longest = words.iter().map(|word| word.len()).max().unwrap_or(0);
        let words = DFA::builder().ascii_case_insensitive(true).build(&words).ok();
        Self { words, longest, wanted_by, single }
    }

    /// The rows that can match.
    pub(crate) fn wanted(&self, text: &str) -> u64 {
        let every = u64::MAX;
        let Some(words) = &self.words else { return every };
        let Ok(mut state) = words.start_state(Anchored::No) else { return every };
        let mut found = [0, self.single];
        let bytes = text.as_bytes();
        if bytes.len() < LONG {
            self.walk(words, &mut state, bytes, &mut found);
        } else {
            self.walk_long(words, state, bytes, &mut found);
        }
        found[0] & found[1]
    }

    /// Steps the automaton by hand: its own overlapping search costs several times as much.
    fn walk(&self, words: &DFA, state: &mut StateID, bytes: &[u8], found: &mut [u64; 2]) {
        for byte in bytes {
            *state = words.next_state(Anchored::No, *state, *byte);
            if words.is_special(*state) {
                self.note(words, *state, found);
            }
        }
    }

    fn note(&self, words: &DFA, state: StateID, found: &mut [u64; 2]) {
        if !words.is_match(state) {
            return;
        }
        for index in 0..words.match_len(state) {
            let word = words.match_pattern(state, index).as_usize();
            if let Some([needs, also]) = self.wanted_by.get(word) {
                found[0] |= needs;
                found[1] |= also;
            }
        }
    }

    /// The same from `PLACES` places at once. Each walks on into the next one's part, so that a word on the border is
    /// seen by the one before it.
    fn walk_long(&self, words: &DFA, start: StateID, bytes: &[u8], found: &mut [u64; 2]) {
        let part = bytes.len() / PLACES;
        let parts: [&[u8]; PLACES] = array::from_fn(|place| &bytes[place * part..(place + 1) * part]);
        let mut states = [start; PLACES];
        for at in 0..part {
            for (state, part) in states.iter_mut().zip(&parts) {
                *state = words.next_state(Anchored::No, *state, part[at]);
            }
            if states.iter().any(|state| words.is_special(*state)) {
                for state in states {
                    self.note(words, state, found);
                }
            }
        }
        for (place, state) in states.iter_mut().enumerate() {
            let from = (place + 1) * part;
            let to = if place + 1 == PLACES { bytes.len() } else { bytes.len().min(from + self.longest) };
            self.walk(words, state, &bytes[from..to], found);
        }
    }
}

/// From so many bytes on a text is walked at several places.
const LONG: usize = 1024;
/// At how many.
const PLACES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_wanted_when_its_words_are_there_also_inside_and_across_each_other() {
        let words =
            Words::new([[&["abc"][..], &[][..]], [&["bc", "x"][..], &["cd"][..]], [&["д"][..], &[][..]]]);
        assert!(words.words.is_some());
        for (text, wanted) in [("", 0), ("aBC", 1), ("xabcd", 3), ("cd", 0), ("x", 0), ("cdx", 2), ("где", 4)]
        {
            assert_eq!(words.wanted(text), wanted, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_long_text_is_seen_like_a_short_one_wherever_its_words_stand(
            at in proptest::collection::vec((0_usize..3000, 0_usize..3), 0..6),
            length in LONG..3000,
        ) {
            let words = Words::new([[&["abc"][..], &[][..]], [&["bcd", "xxxx"][..], &["cd"][..]], [&["longer word"][..], &[][..]]]);
            let mut text = vec![b'-'; length];
            for (at, which) in at {
                let word = ["abcd", "xxxx", "longer word"][which].as_bytes();
                let at = at.min(length - word.len());
                text[at..at + word.len()].copy_from_slice(word);
            }
            let text = String::from_utf8(text).unwrap();
            let mut found = [0, words.single];
            let dfa = words.words.as_ref().unwrap();
            let mut state = dfa.start_state(Anchored::No).unwrap();
            words.walk(dfa, &mut state, text.as_bytes(), &mut found);
            proptest::prop_assert_eq!(words.wanted(&text), found[0] & found[1]);
        }
    }
}
