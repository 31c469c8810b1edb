//! Which rows of the table can match a text at all, as bits. A look at the bytes comes first: without a sign (`@ = :`)
//! and without a long word nothing can be hidden in a text but numbers, and where there are few digits not even those.
//! Only then one scan for the words of every row, whose cost does not depend on the size of the table. A step of an
//! automaton waits for the one before, about two nanoseconds; long texts are walked at eight places at once, which
//! hides most of that wait.
//!
//! Invariants: it may name rows that do not match, never miss one that does (case of ASCII letters aside; the vectors
//! of every row prove it); it allocates nothing.

use super::shapes::Shape;
use aho_corasick::{Anchored, automaton::Automaton as _, automaton::StateID, dfa::DFA};
use std::array;

/// What the first look at a text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// ASCII digits in it.
    pub(super) digits: usize,
    /// Whether one of `@ = :` is in it.
    sign: bool,
}

impl Look {
    pub(super) fn at(text: &str) -> Self {
        let (mut digits, mut sign) = (0, false);
        // Small counters in short pieces: the compiler makes vector instructions of them.
        for piece in text.as_bytes().chunks(128) {
            let (mut count, mut signs) = (0_u8, 0_u8);
            for byte in piece {
                count += u8::from(byte.is_ascii_digit());
                signs |= u8::from(*byte == b'@') | u8::from(*byte == b'=') | u8::from(*byte == b':');
            }
            digits += usize::from(count);
            sign |= signs != 0;
        }
        Self { digits, sign }
    }
}

/// Shortest word in which a key without a sign beside it can hide.
pub(super) const SHORTEST_KEY: usize = 13;

/// Bytes of which keys are made.
const OF_KEYS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/');
        byte += 1;
    }
    table
};

/// Most bytes of keys that stand side by side, if more than `known`. Looks at the ends of windows first: ordinary words
/// let it skip.
fn longest_run(bytes: &[u8], known: usize) -> usize {
    let (mut from, mut longest) = (0, known);
    while let Some(window) = bytes.get(from..from + longest + 1) {
        match window.iter().rposition(|byte| !OF_KEYS[usize::from(*byte)]) {
            Some(at) => from += at + 1,
            None => {
                longest = bytes[from..].iter().take_while(|byte| OF_KEYS[usize::from(**byte)]).count();
                from += longest;
            }
        }
    }
    longest
}

/// Which rows of the table of shapes can match.
#[derive(Debug)]
pub(super) struct Scan {
    words: Words,
    /// Rows whose matches may hold no sign and no long word.
    plain: u128,
    /// Rows that need a long word or digits, with how long and how many.
    needs: Vec<(u128, usize, usize)>,
}

impl Scan {
    pub(super) fn new(rows: impl Iterator<Item = &'static Shape> + Clone) -> Self {
        let (mut plain, mut needs) = (0, Vec::new());
        for (row, shape) in rows.clone().enumerate() {
            plain |= u128::from(shape.plain()) << row;
            if shape.run > 0 || shape.digits > 0 {
                needs.push((1 << row, shape.run, shape.digits));
            }
        }
        Self { words: Words::new(rows.map(|shape| shape.hints)), plain, needs }
    }

    /// Which of the rows in `applies` can match.
    pub(super) fn wanted(&self, text: &str, look: Look, applies: u128) -> u128 {
        let longest = longest_run(text.as_bytes(), SHORTEST_KEY - 1);
        if !look.sign && applies & self.plain == 0 && longest < SHORTEST_KEY {
            return 0;
        }
        let found = self.words.rows(text) & applies;
        if found == 0 {
            return 0;
        }
        let met = |run: usize, digits: usize| run <= longest && digits <= look.digits;
        let unmet = self.needs.iter().filter(|(_, run, digits)| !met(*run, *digits));
        found & !unmet.fold(0, |rows, (row, _, _)| rows | row)
    }
}

/// Bytes of a word that are looked for. Hardly any other word begins like one of these and goes on differently, and the
/// automata take half of the memory.
const BEGINNING: usize = 8;

/// The words of up to 128 rows.
#[derive(Debug)]
pub(super) struct Words {
    words: Option<DFA>,
    /// Length of the longest beginning, in bytes.
    longest: usize,
    /// For each word, the rows that have it, as bits.
    rows: Vec<u128>,
}

impl Words {
    pub(super) fn new(rows: impl Iterator<Item = &'static [&'static str]>) -> Self {
        let (mut words, mut of_word): (Vec<&'static [u8]>, Vec<u128>) = (Vec::new(), Vec::new());
        for (row, list) in rows.enumerate() {
            for needed in list.iter().map(|needed| needed.as_bytes()) {
                let needed = &needed[..needed.len().min(BEGINNING)];
                let at = words.iter().position(|word| *word == needed).unwrap_or_else(|| {
                    words.push(needed);
                    of_word.push(0);
                    words.len() - 1
                });
                of_word[at] |= 1 << row;
            }
        }
        let longest = words.iter().map(|word| word.len()).max().unwrap_or(0);
        // Should a table ever be too large for an automaton, every row is tried: slower, not blind.
        let words = DFA::builder().ascii_case_insensitive(true).build(&words).ok();
        Self { words, longest, rows: of_word }
    }

    /// The rows of which a word is in the text.
    pub(super) fn rows(&self, text: &str) -> u128 {
        let (every, bytes) = (u128::MAX, text.as_bytes());
        let Some(words) = &self.words else { return every };
        let Ok(mut state) = words.start_state(Anchored::No) else { return every };
        let mut found = 0;
        if bytes.len() < LONG {
            self.walk(words, &mut state, bytes, &mut found);
        } else {
            self.walk_long(words, state, bytes, &mut found);
        }
        found
    }

    /// Steps the automaton by hand: its own overlapping search costs several times as much.
    fn walk(&self, words: &DFA, state: &mut StateID, bytes: &[u8], found: &mut u128) {
        for byte in bytes {
            *state = words.next_state(Anchored::No, *state, *byte);
            if words.is_special(*state) {
                self.note(words, *state, found);
            }
        }
    }

    fn note(&self, words: &DFA, state: StateID, found: &mut u128) {
        if !words.is_match(state) {
            return;
        }
        for index in 0..words.match_len(state) {
            let word = words.match_pattern(state, index).as_usize();
            *found |= self.rows.get(word).copied().unwrap_or(0);
        }
    }

    /// The same from `PLACES` places at once. Each walks on into the next one's part, so that a word on the border is
    /// seen by the one before it.
    fn walk_long(&self, words: &DFA, start: StateID, bytes: &[u8], found: &mut u128) {
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
    use proptest::prelude::*;

    fn words(rows: &[&'static [&'static str]]) -> Words {
        Words::new(rows.iter().copied())
    }

    #[test]
    fn a_row_is_wanted_when_its_words_are_there_also_inside_and_across_each_other() {
        let words = words(&[&["abc"], &["bc", "x"], &["д"]]);
        assert!(words.words.is_some());
        for (text, rows) in [("", 0), ("aBC", 3), ("xab", 2), ("cd", 0), ("где", 4)] {
            assert_eq!(words.rows(text), rows, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_long_text_is_seen_like_a_short_one_wherever_its_words_stand(
            at in prop::collection::vec((0_usize..3000, 0_usize..3), 0..6),
            length in LONG..3000,
        ) {
            let words = words(&[&["abc"], &["bcd", "xxxx"], &["longer word"]]);
            let mut text = vec![b'-'; length];
            for (at, which) in at {
                let word = ["abcd", "xxxx", "longer word"][which].as_bytes();
                let at = at.min(length - word.len());
                text[at..at + word.len()].copy_from_slice(word);
            }
            let text = String::from_utf8(text).unwrap();
            let mut found = 0;
            let dfa = words.words.as_ref().unwrap();
            let mut state = dfa.start_state(Anchored::No).unwrap();
            words.walk(dfa, &mut state, text.as_bytes(), &mut found);
            prop_assert_eq!(words.rows(&text), found);
        }

        #[test]
        fn the_first_look_counts_what_is_there(text in "[a-z0-9@=: _.+-]{0,300}", least in 1_usize..20) {
            let look = Look::at(&text);
            prop_assert_eq!(look.digits, text.bytes().filter(u8::is_ascii_digit).count());
            prop_assert_eq!(look.sign, text.contains(['@', '=', ':']));
            let longest = text.split(|c: char| !OF_KEYS[c as usize]).map(str::len).max().unwrap_or(0);
            prop_assert_eq!(longest_run(text.as_bytes(), least), longest.max(least));
        }
    }
}
