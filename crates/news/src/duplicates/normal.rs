//! Texts as they are compared. Invariant: what differs between two tellings of one text without changing its words
//! (width, case, accents in parts, addresses, mentions, pictures) is gone.

use crate::text::{clean, is_address, is_emoji};
use unicode_normalization::UnicodeNormalization as _;

/// NFKC, lower case, on one line, without addresses, mentions and emoji.
#[must_use]
pub fn normal(text: &str) -> String {
    let folded: String = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        clean(text).nfkc().flat_map(char::to_lowercase).collect()
    };
    let mut out = String::with_capacity(folded.len());
    for word in folded.split_whitespace() {
        let bare = word.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '@');
        let mention = bare.len() > 1 && bare.starts_with('@');
        if is_address(bare) || mention || bare.starts_with("t.me/") {
            continue;
        }
        let before = out.len();
        out.extend(
            word.chars().filter(|c| !is_emoji(*c) && !matches!(c, '\u{fe0f}' | '\u{200d}' | '\u{20e3}')),
        );
        if out.len() > before {
            out.push(' ');
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// The words of a normal text; in scripts that part no words each letter is one.
pub(super) fn words(normal: &str) -> impl Iterator<Item = &str> {
    normal.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).flat_map(|word| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let first = rest.chars().next()?;
            let length =
                if unparted(first) { first.len_utf8() } else { rest.find(unparted).unwrap_or(rest.len()) };
            let (word, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(word)
        })
    })
}

/// Letters of scripts without spaces between words: Thai and its neighbours, Han, kana.
fn unparted(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}
