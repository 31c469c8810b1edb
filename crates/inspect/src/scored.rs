//! The copy that rules look at: without what hides, compatibility-folded, confusables folded in tokens that mix
//! scripts and then are wholly ASCII, lower case, white space as single blanks. Cyrillic, Greek and CJK words stay
//! what they are. Linear, and at most a few times as long as the text (NFKC expands; the product is cut).
//!
//! Source: inspect.md section 1; the pairs are from Unicode's confusables.txt, the letters that attacks use.

mod cleaned;

use crate::sanitise::Removed;
use cleaned::cleaned;
use portcullis_kernels::Isa;
use std::borrow::Cow;

/// See the module. What hidden characters spelled stands at the end.
#[derive(Debug, Default)]
pub(crate) struct Scored<'a> {
    pub(crate) text: String,
    /// The text before its letters were folded, without what hides; nothing where that is the text itself.
    pub(crate) clean: Option<Cow<'a, str>>,
    pub(crate) removed: Removed,
}

impl Scored<'_> {
    /// The copy, and whether it is known to be plain ASCII.
    pub(crate) fn folded(self) -> (String, bool) {
        let plain = self.clean.is_none();
        (self.text, plain)
    }
}

pub(crate) fn scored(text: &str) -> Scored<'_> {
    if let Some(text) = Folded::whole(text) {
        return Scored { text, ..Scored::default() };
    }
    let seen = cleaned(text);
    let mut out = String::with_capacity(seen.text.len() + seen.hidden.len() + 1);
    push_words(&mut out, &seen.text);
    push_words(&mut out, &seen.hidden);
    Scored { text: out, clean: Some(seen.text), removed: seen.removed }
}

/// Folds clean text of any script: stretches of plain text by the kernel, everything else word by word.
fn push_words(out: &mut String, text: &str) {
    let isa = Isa::best();
    let mut stretch = Vec::new();
    let mut rest = text.trim_start();
    if !rest.is_empty() && !out.is_empty() {
        out.push(' ');
    }
    while !rest.is_empty() {
        stretch.clear();
        let done = isa.fold(rest.as_bytes(), false, &mut stretch);
        out.push_str(str::from_utf8(&stretch).unwrap_or_default());
        // The word that is not plain may have begun in what is folded; a word is folded byte by byte.
        let begun = out.len() - out.rfind(' ').map_or(0, |blank| blank + 1);
        out.truncate(out.len() - begun);
        rest = text[text.len() - rest.len() + done - begun..].trim_start();
        while !rest.is_empty() {
            let (token, after) = rest.split_at(word_end(rest));
            push_token(out, token);
            if !after.is_empty() {
                out.push(' ');
            }
            rest = after.trim_start();
            // The kernel is asked again as soon as it gets on by more than asking costs.
            if rest.as_bytes().first_chunk::<SOME>().is_some_and(|some| some.is_ascii()) {
                break;
            }
        }
    }
    if out.ends_with(' ') {
        out.pop();
    }
}

/// The scored copy of plain ASCII, made piece by piece: lower case, white space as single blanks, none at the ends.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    pub(crate) bytes: Vec<u8>,
    /// Whether something was written and the last of it was no blank.
    word: bool,
}

impl Folded {
    /// The copy of a text, if it is plain.
    fn whole(text: &str) -> Option<String> {
        let mut folded = Self { bytes: Vec::with_capacity(text.len()), word: false };
        folded.push(text.as_bytes()).then(|| folded.into_text())
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
            // Where white space follows white space it goes on byte by byte, for a while; to the end of the rest that is too
            // short for the kernel.
            let left = rest.len() - done;
            let (next, after) = rest[done..].split_at(if left < LINE { left } else { SOME });
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

/// A rest shorter than this is not folded by the kernel.
const LINE: usize = 64;
/// Bytes that are folded one by one, or looked at, before the kernel is asked again.
const SOME: usize = 16;

/// Where the word ends that a text begins with.
fn word_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let white = match byte {
            b'\t'..=b'\r' | b' ' => true,
            // First bytes of characters of which some are white.
            0xc2 | 0xe1..=0xe3 => text[at..].chars().next().is_some_and(char::is_whitespace),
            _ => false,
        };
        if white {
            break;
        }
        at += 1;
    }
    at
}

/// Adds a word as it is compared.
fn push_token(out: &mut String, token: &str) {
    if token.is_ascii() {
        let start = out.len();
        out.push_str(token);
        out[start..].make_ascii_lowercase();
        return;
    }
    // A token must have an ASCII letter already: a wholly Cyrillic word is a word, whatever it looks like.
    if token.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        let start = out.len();
        if token.chars().all(|c| looks_like(c).map(|alike| out.push(alike)).is_some()) {
            return;
        }
        out.truncate(start);
    }
    for c in token.chars() {
        match lower(c) {
            Some(lower) => out.push(lower),
            None => out.extend(c.to_lowercase()),
        }
    }
}

/// The lower case of a character of the common ranges: the tables of the standard library are several times slower.
const fn lower(c: char) -> Option<char> {
    let code = c as u32;
    let lower = match c {
        '\0'..='\x7f' => return Some(c.to_ascii_lowercase()),
        '\u{430}'..='\u{45f}'
        | '\u{df}'..='\u{ff}'
        | '\u{2000}'..='\u{2100}'
        | '\u{2e80}'..='\u{a63f}'
        | '\u{ac00}'..='\u{d7a3}' => return Some(c),
        '\u{410}'..='\u{42f}' => code + 0x20,
        '\u{400}'..='\u{40f}' => code + 0x50,
        '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{de}' => code + 0x20,
        _ => return None,
    };
    char::from_u32(lower)
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
    use super::{
        cleaned::{Cleaned, EXPANSION},
        *,
    };
    use proptest::prelude::*;

    fn copy(text: &str) -> String {
        scored(text).text
    }

    #[test]
    fn lower_case_is_that_of_the_standard_library() {
        for (c, found) in ('\0'..=char::MAX).filter_map(|c| Some((c, lower(c)?))) {
            assert!(c.to_lowercase().eq([found]), "{c:?}");
        }
    }

    #[test]
    fn a_word_ends_at_white_space_of_every_kind_and_nowhere_else() {
        for c in '\0'..=char::MAX {
            let text = format!("a{c}b");
            assert_eq!(word_end(&text), if c.is_whitespace() { 1 } else { text.len() }, "{c:?}");
        }
    }

    /// Word by word, all of it.
    fn naive(text: &str) -> String {
        let Cleaned { text, hidden, .. } = cleaned(text);
        let words = text.split(char::is_whitespace).chain(hidden.split(' ')).filter(|word| !word.is_empty());
        let fold = |word: &str| match word.chars().map(looks_like).collect() {
            Some(alike) if word.bytes().any(|byte| byte.is_ascii_alphabetic()) => alike,
            _ => word.chars().flat_map(char::to_lowercase).collect::<String>(),
        };
        words.map(fold).collect::<Vec<_>>().join(" ")
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
        let text = format!("Ignore{tags}");
        let found = scored(&text);
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
        fn text_of_any_script_folds_alike_in_stretches_and_word_by_word(
            text in prop::collection::vec(
                prop_oneof![
                    "[A-Za-z,]{1,30}", "([A-Za-z]{1,9}[ \n]){0,40}", "[ \t\n\u{a0}\u{1680}\u{2028}\u{3000}]{1,3}", "[А-Яа-яЀ-ӿ]{1,9}",
                    "[a-zоеА]{1,6}", "[’“–é文😀İǅẞß]", "\\PC{1,5}", "\u{e0041}\u{e0020}\u{e0062}",
                ],
                0..14,
            ),
        ) {
            let text = text.concat();
            prop_assert_eq!(copy(&text), naive(&text));
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
