//! One scan for many words: which rows of a table can match a text at all, as bits. It costs about two nanoseconds a
//! byte, whatever the size of the table; only the patterns of the rows it names are run.
//! Invariant: it may name rows that do not match, never miss one that does (case of ASCII letters aside).

use aho_corasick::{Anchored, automaton::Automaton as _, dfa::DFA};

/// Words of up to 64 rows.
#[derive(Debug)]
pub(crate) struct Words {
    words: Option<DFA>,
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
        let words = DFA::builder().ascii_case_insensitive(true).build(&words).ok();
        Self { words, wanted_by, single }
    }

    /// The rows that can match.
    pub(crate) fn wanted(&self, text: &str) -> u64 {
        let every = u64::MAX;
        let Some(words) = &self.words else { return every };
        let Ok(mut state) = words.start_state(Anchored::No) else { return every };
        let mut found = [0, self.single];
        // The automaton is stepped by hand: its own overlapping search costs several times as much.
        for byte in text.bytes() {
            state = words.next_state(Anchored::No, state, byte);
            if !words.is_special(state) || !words.is_match(state) {
                continue;
            }
            for index in 0..words.match_len(state) {
                let word = words.match_pattern(state, index).as_usize();
                if let Some([needs, also]) = self.wanted_by.get(word) {
                    found[0] |= needs;
                    found[1] |= also;
                }
            }
        }
        found[0] & found[1]
    }
}

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
}
