//! What the model sees of a copy: hashed pieces of two to five characters inside each word, and hashed runs of one to
//! three words, an end of a sentence counting as a word. One pass, a few steps for each character, no allocation.
//! Invariant: the same text gives the same features in the same order on every machine; training and judging share
//! this code.
//!
//! Source: Joulin et al., "Bag of tricks for efficient text classification", 2016; Weinberger et al., "Feature
//! hashing for large scale multitask learning", 2009.

/// How many weights there are; a feature is a number below it.
pub const TABLE: usize = 490_000;

/// Longest piece of a word.
const LONGEST: usize = 5;

/// Multipliers of the hashes, odd and random.
const CHARS: u64 = 0x9E37_79B9_7F4A_7C15;
const WORDS: u64 = 0xD6E8_FEB8_6659_FD93;

/// Hands on every feature of a copy, repeated ones too.
#[inline]
pub fn features(copy: &str, mut each: impl FnMut(u32)) {
    if copy.is_empty() {
        return;
    }
    let start = Pieces::start();
    let mut pieces = start;
    let mut words = Words { runs: [END; 2], word: EMPTY };
    // A blank ends the last word too.
    for c in copy.chars().chain([' ']) {
        let code = u64::from(u32::from(c));
        pieces.push(code, &mut each);
        if c == ' ' {
            pieces = start;
        }
        words.push(c, code, &mut each);
    }
}

/// Hands on only the runs of words: a fifth of the features, at a quarter of the cost.
pub(crate) fn words(copy: &str, mut each: impl FnMut(u32)) {
    let mut words = Words { runs: [END; 2], word: EMPTY };
    if copy.is_ascii() {
        copy.bytes().for_each(|byte| words.push_ascii(byte, &mut each));
    } else {
        copy.chars().for_each(|c| words.push(c, u64::from(u32::from(c)), &mut each));
    }
    words.end(&mut each);
}

/// Rolling hashes of the last one to five characters.
#[derive(Clone, Copy, Default)]
struct Pieces {
    hashes: [u64; LONGEST],
    seen: usize,
}

impl Pieces {
    /// Before a word: the blank that it begins with has been seen.
    #[inline]
    fn start() -> Self {
        Self { hashes: Self::default().stepped(u64::from(b' ')), seen: 1 }
    }

    /// The hashes one character on. Written out: the steps do not wait for each other.
    #[inline]
    const fn stepped(&self, code: u64) -> [u64; LONGEST] {
        const fn step(hash: u64, code: u64) -> u64 {
            (hash ^ code).wrapping_mul(CHARS).rotate_left(23)
        }
        let [one, two, three, four, _] = self.hashes;
        [step(EMPTY, code), step(one, code), step(two, code), step(three, code), step(four, code)]
    }

    #[inline(always)]
    fn push(&mut self, code: u64, each: &mut impl FnMut(u32)) {
        self.hashes = self.stepped(code);
        let [_, two, three, four, five] = self.hashes;
        if self.seen >= LONGEST - 1 {
            each(place(two ^ 2));
            each(place(three ^ 3));
            each(place(four ^ 4));
            each(place(five ^ 5));
            return;
        }
        self.seen += 1;
        for (length, hash) in [(2, two), (3, three), (4, four)] {
            if self.seen >= length {
                each(place(hash ^ length as u64));
            }
        }
    }
}

/// Start of a word's hash.
const EMPTY: u64 = 0x243F_6A88_85A3_08D3;
/// The beginning of a text and the end of a sentence.
const END: u64 = 0x1319_8A2E_0370_7344;

struct Words {
    /// The word before, and the one before that.
    runs: [u64; 2],
    word: u64,
}

impl Words {
    #[inline]
    fn push(&mut self, c: char, code: u64, each: &mut impl FnMut(u32)) {
        // Han, Kana and Hangul are written without blanks: each character is a word.
        let single = ('\u{2e80}'..='\u{d7ff}').contains(&c);
        if !single && is_letter(c) {
            self.word = (self.word ^ code).wrapping_mul(WORDS).rotate_left(29);
            return;
        }
        self.end(each);
        if single {
            self.word = (EMPTY ^ code).wrapping_mul(WORDS).rotate_left(29);
            self.end(each);
        }
        if matches!(c, '.' | '!' | '?' | ':' | '。' | '！' | '？') {
            self.runs = [END, self.runs[0]];
        }
    }

    /// The same for a character of ASCII: where a long text is looked through, decoding and the ranges of letters are what
    /// it costs.
    #[inline(always)]
    fn push_ascii(&mut self, byte: u8, each: &mut impl FnMut(u32)) {
        if LETTERS[usize::from(byte)] {
            self.word = (self.word ^ u64::from(byte)).wrapping_mul(WORDS).rotate_left(29);
            return;
        }
        self.end(each);
        if matches!(byte, b'.' | b'!' | b'?' | b':') {
            self.runs = [END, self.runs[0]];
        }
    }

    fn end(&mut self, each: &mut impl FnMut(u32)) {
        if self.word == EMPTY {
            return;
        }
        let two = (self.runs[0].rotate_left(7) ^ self.word).wrapping_mul(WORDS);
        let three = (self.runs[1].rotate_left(13) ^ two).wrapping_mul(WORDS);
        each(place(self.word ^ 0x11));
        each(place(two ^ 0x22));
        each(place(three ^ 0x33));
        self.runs = [self.word, self.runs[0]];
        self.word = EMPTY;
    }
}

/// The bytes of ASCII that are letters.
static LETTERS: [bool; 256] = {
    let mut letters = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        letters[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    letters
};

/// Letters and digits; the common ranges are known without the tables of Unicode.
fn is_letter(c: char) -> bool {
    match c {
        'a'..='z' | '0'..='9' | 'A'..='Z' | '_' | 'а'..='я' | 'ß'..='ö' | 'ø'..='ſ' => true,
        '\0'..='\x7f' => false,
        _ => c.is_alphanumeric(),
    }
}

/// A hash as the number of a weight.
#[inline]
fn place(hash: u64) -> u32 {
    let mixed = (hash ^ (hash >> 31)).wrapping_mul(CHARS);
    (((mixed >> 32) * TABLE as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_of_ascii_are_those_of_its_characters(text in "[ -~\t\n]{0,120}") {
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            words(&text, |place| found.push(place));
            let mut each = |place| expected.push(place);
            let mut words = Words { runs: [END; 2], word: EMPTY };
            text.chars().for_each(|c| words.push(c, u64::from(u32::from(c)), &mut each));
            words.end(&mut each);
            prop_assert_eq!(found, expected);
        }
    }
}
