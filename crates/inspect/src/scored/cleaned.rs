//! A text without what hides, in compatible form (NFKC). Most text has nothing to clean but a mark here and there: what is
//! calm is kept as it stands, and only the stretches around everything else are looked at letter by letter.
//! Invariant: the same as cleaning the whole at once. A stretch begins with the calm character before it, which what follows
//! may be composed with, and ends before a calm one, which is composed with nothing before it.
//!
//! Source: Unicode TR 15, section 9 (stable characters and concatenation); inspect.md section 1.

use crate::sanitise::{Removed, visible};
use std::{borrow::Cow, ops::Range};
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfkc_quick};

/// See the module.
#[derive(Debug)]
pub(super) struct Cleaned<'a> {
    /// Borrowed where nothing had to be done.
    pub(super) text: Cow<'a, str>,
    /// What the hidden characters spelled.
    pub(super) hidden: String,
    pub(super) removed: Removed,
}

pub(super) fn cleaned(text: &str) -> Cleaned<'_> {
    let mut out = Cleaned { text: text.into(), hidden: String::new(), removed: Removed::default() };
    let (mut clean, mut kept) = (String::new(), 0);
    while let Some(odd) = next_odd(text, kept) {
        if clean.capacity() == 0 {
            clean.reserve(text.len());
        }
        clean.push_str(&text[kept..odd.start]);
        kept = odd.end;
        let seen = visible(&text[odd.clone()]);
        let part = seen.as_ref().map_or(&text[odd], |seen| seen.text.as_str());
        match is_nfkc_quick(part.chars()) {
            IsNormalized::Yes => clean.push_str(part),
            IsNormalized::No | IsNormalized::Maybe => clean.extend(compatible(part)),
        }
        if let Some(seen) = seen {
            out.hidden.push_str(&seen.hidden);
            out.removed.add(seen.removed);
        }
    }
    if kept > 0 {
        clean.push_str(&text[kept..]);
        out.text = clean.into();
    }
    out
}

/// So many calm characters in a row end a stretch: fewer are not worth beginning another.
const CALM_RUN: usize = 16;

/// The next stretch from there on that is not calm.
fn next_odd(text: &str, from: usize) -> Option<Range<usize>> {
    let first = first_odd(text, from)?;
    let start = text[from..first].char_indices().next_back().map_or(first, |(at, _)| from + at);
    let (mut calm, mut since) = (0, first);
    for (at, c) in text[first..].char_indices() {
        if !is_calm(c) {
            calm = 0;
            continue;
        }
        if calm == 0 {
            since = first + at;
        }
        calm += 1;
        if calm == CALM_RUN {
            return Some(start..since);
        }
    }
    Some(start..text.len())
}

/// Bytes that are asked together whether they are plain.
const BLOCK: usize = 32;
/// So many plain characters behind one that is not, and blocks are worth asking again.
const PLAIN_RUN: usize = 8;

fn first_odd(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        while let Some(block) = bytes[at..].first_chunk::<BLOCK>()
            && block.iter().fold(true, |plain, byte| plain & is_plain(*byte))
        {
            at += BLOCK;
        }
        at += bytes[at..].iter().position(|byte| !is_plain(*byte))?;
        let mut plain = 0;
        for c in text[at..].chars() {
            if !is_calm(c) {
                return Some(at);
            }
            at += c.len_utf8();
            plain = if c.is_ascii() { plain + 1 } else { 0 };
            if plain == PLAIN_RUN {
                break;
            }
        }
    }
}

#[inline]
const fn is_plain(byte: u8) -> bool {
    // Without branches, so that many are asked at once.
    (byte >= b' ') & (byte <= b'~') | (byte == b'\t') | (byte == b'\n') | (byte == b'\r')
}

/// Whether a character never hides, is its own compatible form, and is composed with nothing before it; some of those that
/// are. The flag that tags may follow is not: what stands after it depends on it.
#[inline]
fn is_calm(c: char) -> bool {
    let code = u32::from(c) as usize;
    match CALM.get(code / 64) {
        Some(bits) => bits >> (code % 64) & 1 != 0,
        None => matches!(c,
            '\u{1f300}'..='\u{1f3f3}' | '\u{1f3f5}'..='\u{1f64f}' | '\u{1f680}'..='\u{1f6ff}'
            | '\u{1f900}'..='\u{1f9ff}'),
    }
}

/// A bit for each character of Unicode's first plane: a table is several times faster than its ranges.
static CALM: [u64; 1024] = {
    let mut bits = [0; 1024];
    let mut code = 0;
    while code < 64 * bits.len() {
        if let Some(c) = char::from_u32(code as u32)
            && in_calm_range(c)
        {
            bits[code / 64] |= 1 << (code % 64);
        }
        code += 1;
    }
    bits
};

const fn in_calm_range(c: char) -> bool {
    if c.is_ascii() {
        return is_plain(c as u8);
    }
    matches!(c,
        // Cyrillic, letters and marks of Latin script, Greek.
        '\u{400}'..='\u{481}' | '\u{48a}'..='\u{52f}'
        | '\u{a1}'..='\u{a7}' | '\u{a9}' | '\u{ab}' | '\u{b0}' | '\u{b1}' | '\u{b6}' | '\u{b7}' | '\u{bb}'
        | '\u{bf}'..='\u{131}' | '\u{134}'..='\u{13e}' | '\u{141}'..='\u{148}' | '\u{14a}'..='\u{17e}'
        | '\u{386}' | '\u{388}'..='\u{38a}' | '\u{38e}'..='\u{3a1}' | '\u{3a3}'..='\u{3ce}'
        | '\u{1ea0}'..='\u{1ef9}'
        // Dashes, quotation marks, bullets, the euro, arrows, lines and boxes.
        | '\u{2012}'..='\u{2016}' | '\u{2018}'..='\u{2023}' | '\u{20ac}' | '\u{2190}'..='\u{21ff}'
        | '\u{2500}'..='\u{25ff}'
        // Hebrew, Arabic, Han, Kana, Hangul.
        | '\u{5d0}'..='\u{5ea}' | '\u{621}'..='\u{64a}'
        | '\u{3001}' | '\u{3002}' | '\u{3008}'..='\u{3011}' | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fc}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// Longest expansion by NFKC, in characters for each byte of text.
pub(super) const EXPANSION: usize = 2;

/// NFKC. Runs of combining marks are cut first: sorting them is what makes normalising slow, and no word has so many.
fn compatible(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(short).scan(0_u32, cut_runs).flatten().nfkc().take(text.len().saturating_mul(EXPANSION))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sanitise::Visible;
    use proptest::prelude::*;
    use unicode_normalization::char::{canonical_combining_class, is_combining_mark};

    /// The whole at once.
    fn naive(text: &str) -> (String, String, Removed) {
        let seen = visible(text).unwrap_or_else(|| Visible { text: text.into(), ..Visible::default() });
        (compatible(&seen.text).collect(), seen.hidden, seen.removed)
    }

    fn parts(text: &str) -> (String, String, Removed) {
        let Cleaned { text, hidden, removed } = cleaned(text);
        (text.into_owned(), hidden, removed)
    }

    #[test]
    fn what_is_calm_hides_nothing_and_is_its_own_form_beside_anything() {
        for c in ('\0'..=char::MAX).filter(|c| is_calm(*c)) {
            assert!(visible(c.encode_utf8(&mut [0; 4])).is_none(), "{c:?}");
            assert!(is_nfkc_quick([c].into_iter()) == IsNormalized::Yes, "{c:?}");
            assert!(canonical_combining_class(c) == 0 && !is_combining_mark(c) && c != '\u{1f3f4}', "{c:?}");
        }
    }

    #[test]
    fn calm_text_is_borrowed() {
        for text in ["", "plain\n", "Das „Boot“ – naïve", "Привет, мир 😀", "文字、かな。"]
        {
            assert!(matches!(cleaned(text).text, Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn cleaning_stretches_is_cleaning_the_whole(
            text in prop::collection::vec(
                prop_oneof![
                    "[a-z ]{0,40}", "[а-яА-Я ]{0,30}", "[é–’文가😀]{1,3}", "[\u{0}-\u{1f}\u{7f}\u{85}\u{a0}\u{ad}]{1,3}",
                    "[\u{300}-\u{345}\u{5b0}\u{64b}\u{3099}]{1,40}", "[ﷺﷻ㌖…½ｱﾞﬁ①ﬁ가각각]{1,4}", "[eaoкゕがか]",
                    "[\u{200b}-\u{200f}\u{2028}\u{202a}-\u{202e}\u{2060}\u{feff}\u{fe0f}\u{fe00}]{1,3}",
                    "[🏴#1👩❤क्]{1,2}", "[\u{e0020}-\u{e007f}\u{e0100}-\u{e0110}]{1,8}", "\\PC{1,4}",
                ],
                0..12,
            ),
        ) {
            let text = text.concat();
            prop_assert_eq!(parts(&text), naive(&text));
        }
    }
}
