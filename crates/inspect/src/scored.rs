//! The copy that rules look at: without what hides, compatibility-folded, confusables folded in tokens that mix
//! scripts and then are wholly ASCII, lower case, white space as single blanks. Cyrillic, Greek and CJK words stay
//! what they are. Linear, and at most a few times as long as the text (NFKC expands; the product is cut).
//!
//! Source: inspect.md section 1; the pairs are from Unicode's confusables.txt, the letters that attacks use.

use crate::sanitise::{Removed, visible};
use portcullis_kernels::Isa;
use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfkc_quick};

/// See the module. What hidden characters spelled stands at the end.
#[derive(Debug, Default)]
pub(crate) struct Scored {
    pub(crate) text: String,
    /// The text before its letters were folded, without what hides; nothing where that is the text itself.
    pub(crate) clean: Option<String>,
    pub(crate) removed: Removed,
}

impl Scored {
    /// The copy, and whether it is known to be plain ASCII.
    pub(crate) fn folded(self) -> (String, bool) {
        let plain = self.clean.is_none();
        (self.text, plain)
    }
}

/// Longest expansion by NFKC, in characters for each byte of text.
const EXPANSION: usize = 2;

pub(crate) fn scored(text: &str) -> Scored {
    let mut plain = Folded::with_capacity(text.len());
    if plain.push(text.as_bytes()) {
        return Scored { text: plain.into_text(), ..Scored::default() };
    }
    let seen = visible(text);
    let (clean, hidden, removed) = match &seen {
        Some(seen) => (seen.text.as_str(), seen.hidden.as_str(), seen.removed),
        None => (text, "", Removed::default()),
    };
    let folded: Cow<'_, str> = match is_nfkc_quick(clean.chars()) {
        IsNormalized::Yes => clean.into(),
        IsNormalized::No | IsNormalized::Maybe => compatible(clean).into(),
    };
    let mut out = String::with_capacity(folded.len() + hidden.len() + 1);
    for token in folded.split(char::is_whitespace).chain(hidden.split(' ')).filter(|token| !token.is_empty())
    {
        if !out.is_empty() {
            out.push(' ');
        }
        push_token(&mut out, token);
    }
    Scored { text: out, clean: Some(folded.into_owned()), removed }
}

/// NFKC. Runs of combining marks are cut first: sorting them is what makes normalising slow, and no word has so many.
fn compatible(text: &str) -> String {
    text.chars()
        .map(short)
        .scan(0_u32, cut_runs)
        .flatten()
        .nfkc()
        .take(text.len().saturating_mul(EXPANSION))
        .collect()
}

/// Two ligatures of Arabic are whole sentences that become up to eighteen characters: a blank says as much.
const fn short(c: char) -> char {
    if matches!(c, '\u{fdfa}' | '\u{fdfb}') { ' ' } else { c }
}

/// Most combining marks on one letter that are kept; Unicode's stream-safe format allows thirty.
const MARKS: u32 = 30;

#[expect(clippy::unnecessary_wraps, reason = "the form that `scan` asks for")]
fn cut_runs(run: &mut u32, c: char) -> Option<Option<char>> {
    *run = if unicode_normalization::char::is_combining_mark(c) { *run + 1 } else { 0 };
    Some((*run <= MARKS).then_some(c))
}

/// The scored copy of plain ASCII, made piece by piece: lower case, white space as single blanks, none at the ends.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    pub(crate) bytes: Vec<u8>,
    /// Whether something was written and the last of it was no blank.
    word: bool,
}

impl Folded {
    /// For so many bytes at once.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), word: false }
    }

    /// Folds a further piece; false when it is not plain, and then nothing more may be made of this.
    pub(crate) fn push(&mut self, piece: &[u8]) -> bool {
        let isa = Isa::best();
        let mut rest = piece;
        loop {
            let done = isa.fold(rest, self.word, &mut self.bytes);
            if done > 0 {
                self.word = self.bytes.last() != Some(&b' ');
            }
            // Where white space follows white space it goes on byte by byte, for a while.
            let (next, after) = rest[done..].split_at(LINE.min(rest.len() - done));
            if !self.squeeze(next) {
                return false;
            }
            if after.is_empty() {
                return true;
            }
            rest = after;
        }
    }

    fn squeeze(&mut self, piece: &[u8]) -> bool {
        for byte in piece {
            let folded = match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0c => b' ',
                b'!'..=b'~' => byte.to_ascii_lowercase(),
                _ => return false,
            };
            if folded != b' ' || self.word {
                self.bytes.push(folded);
            }
            self.word = folded != b' ';
        }
        true
    }

    fn into_text(mut self) -> String {
        if self.bytes.last() == Some(&b' ') {
            self.bytes.pop();
        }
        // Plain ASCII is always text.
        String::from_utf8(self.bytes).unwrap_or_default()
    }
}

/// Bytes that are folded one by one before the kernel is asked again.
const LINE: usize = 64;

fn push_token(out: &mut String, token: &str) {
    let start = out.len();
    if token.is_ascii() {
        out.push_str(token);
        out[start..].make_ascii_lowercase();
        return;
    }
    // A token must have an ASCII letter already: a wholly Cyrillic word is a word, whatever it looks like.
    if token.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        for c in token.chars() {
            match looks_like(c) {
                Some(ascii) => out.push(ascii),
                None => break,
            }
        }
        if out[start..].chars().count() == token.chars().count() {
            return;
        }
        out.truncate(start);
    }
    out.extend(token.chars().flat_map(char::to_lowercase));
}

/// The ASCII letter, in lower case, that a character is or looks like.
const fn looks_like(c: char) -> Option<char> {
    Some(match c {
        '\0'..='\x7f' => c.to_ascii_lowercase(),
        'а' | 'А' | 'α' | 'Α' | 'ɑ' | 'ᴀ' | 'Ꭺ' | 'ꓮ' | 'ａ' => 'a',
        'В' | 'Β' | 'ʙ' | 'Ᏼ' | 'ꓐ' | 'Ь' | 'ƅ' => 'b',
        'с' | 'С' | 'ϲ' | 'Ϲ' | 'ᴄ' | 'Ꮯ' | 'ꓚ' | 'ⅽ' => 'c',
        'ԁ' | 'ᴅ' | 'Ꭰ' | 'ꓓ' | 'ժ' | 'ɗ' => 'd',
        'е' | 'Е' | 'ё' | 'ε' | 'Ε' | 'ᴇ' | 'Ꭼ' | 'ꓰ' | 'ҽ' | 'є' => 'e',
        'ꜰ' | 'ꓝ' | 'Ϝ' | 'ƒ' => 'f',
        'ɡ' | 'ɢ' | 'Ꮐ' | 'ꓖ' | 'ց' | 'Ԍ' => 'g',
        'һ' | 'Н' | 'Η' | 'ʜ' | 'Ꮋ' | 'ꓧ' | 'հ' => 'h',
        'і' | 'І' | 'ι' | 'Ι' | 'ı' | 'ɪ' | 'Ꭵ' | 'ꓲ' | 'ӏ' | 'Ӏ' => 'i',
        'ј' | 'Ј' | 'ϳ' | 'ᴊ' | 'Ꭻ' | 'ꓙ' => 'j',
        'к' | 'К' | 'κ' | 'Κ' | 'ᴋ' | 'Ꮶ' | 'ꓗ' => 'k',
        'ʟ' | 'Ꮮ' | 'ꓡ' | 'ⅼ' | 'ǀ' => 'l',
        'М' | 'Μ' | 'ᴍ' | 'Ꮇ' | 'ꓟ' | 'ⅿ' | 'м' => 'm',
        'Ν' | 'ɴ' | 'ꓠ' | 'ո' | 'η' | 'п' => 'n',
        'о' | 'О' | 'ο' | 'Ο' | 'ᴏ' | 'ꓳ' | 'օ' | 'σ' | '०' | '০' => 'o',
        'р' | 'Р' | 'ρ' | 'Ρ' | 'ᴘ' | 'Ꮲ' | 'ꓑ' => 'p',
        'ԛ' | 'զ' | 'ǫ' => 'q',
        'г' | 'ʀ' | 'Ꭱ' | 'ꓣ' | 'ᴦ' => 'r',
        'ѕ' | 'Ѕ' | 'ꜱ' | 'Ꮪ' | 'ꓢ' | 'ƽ' => 's',
        'Т' | 'Τ' | 'τ' | 'т' | 'ᴛ' | 'Ꭲ' | 'ꓔ' => 't',
        'υ' | 'ᴜ' | 'ꓴ' | 'ս' | 'ʋ' => 'u',
        'ѵ' | 'ν' | 'ᴠ' | 'Ꮩ' | 'ꓦ' | 'ⅴ' => 'v',
        'ԝ' | 'ѡ' | 'ᴡ' | 'Ꮃ' | 'ꓪ' | 'ω' => 'w',
        'х' | 'Х' | 'χ' | 'Χ' | 'ꓫ' | 'ⅹ' => 'x',
        'у' | 'У' | 'γ' | 'Υ' | 'ʏ' | 'ꓬ' | 'ү' => 'y',
        'ᴢ' | 'Ζ' | 'Ꮓ' | 'ꓜ' => 'z',
        '’' | '‘' | 'ʼ' | '＇' => '\'',
        '“' | '”' => '"',
        '‐' | '‑' | '–' | '—' | '−' => '-',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn copy(text: &str) -> String {
        scored(text).text
    }

    // req: S2-1.2
    #[test]
    fn disguised_words_read_as_what_they_look_like() {
        for disguised in [
            "ignоre  Ｔhis",
            "𝐢𝐠𝐧𝐨𝐫𝐞 𝓽𝓱𝓲𝓼",
            "Ig\u{ad}no\u{200b}re\u{a0}\u{2003}THIS",
            "ⓘⓖⓝⓞⓡⓔ this",
            "ignore\u{0} \u{7}this",
            "ɪɢɴᴏre this",
        ] {
            assert_eq!(copy(disguised), "ignore this", "{disguised}");
        }
        let tags: String = " this".chars().filter_map(|c| char::from_u32(0xe0000 + u32::from(c))).collect();
        let found = scored(&format!("Ignore{tags}"));
        assert_eq!((found.text.as_str(), found.removed.tags), ("ignore this", 5));
    }

    // req: S2-1.2
    #[test]
    fn words_of_other_scripts_stay_what_they_are() {
        for (text, expected) in [
            ("Привет, СССР и Москва", "привет, ссср и москва"),
            ("Η Αθήνα", "η αθήνα"),
            ("你好 世界", "你好 世界"),
            ("naïve CAFÉ", "naïve café"),
            ("نص عربي", "نص عربي"),
        ] {
            assert_eq!(copy(text), expected);
        }
    }

    proptest! {
        #[test]
        fn plain_text_folds_alike_in_blocks_in_pieces_and_word_by_word(
            text in "[ -~\t\n\r\u{c}]{0,300}|([a-zA-Z,]{1,9}[ \n]{1,3}){0,60}", cut in 0_usize..300,
        ) {
            let words: Vec<String> = text.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
            prop_assert_eq!(copy(&text), words.join(" "));
            let mut pieces = Folded::default();
            let (a, b) = text.as_bytes().split_at(cut.min(text.len()));
            prop_assert!(pieces.push(a) && pieces.push(b));
            prop_assert_eq!(pieces.into_text(), words.join(" "));
        }

        #[test]
        fn text_that_hides_something_is_never_plain(
            text in "[a-z ]{0,200}", odd in "[\u{0}-\u{8}\u{b}\u{e}-\u{1f}\u{7f}-\u{2ff}]", at in 0_usize..200,
        ) {
            let at = at.min(text.len());
            let text = format!("{}{odd}{}", &text[..at], &text[at..]);
            prop_assert!(!Folded::default().push(text.as_bytes()));
        }

        #[test]
        fn a_copy_is_bounded_has_single_blanks_and_reads_the_same_again(
            text in "\\PC{0,80}|[\\sA-Zа-яА-Я\u{200b}-\u{200f}ﷺｱ㍿\u{300}-\u{340}]{0,60}",
        ) {
            let once = copy(&text);
            prop_assert!(once.len() <= text.len() * EXPANSION * 4 + 1);
            prop_assert!(!once.contains("  ") && once.trim() == once);
        }
    }
}
