//! Text as search sees it: words without endings, pieces of words, and which language it is. Pure. Invariant: passages
//! and questions go through the same functions, and a change of what these give raises the format of index files.

pub(crate) mod grams;
pub(crate) mod language;
pub(crate) mod stop;
pub(crate) mod words;

pub use language::{of_question, of_text};

use ahash::AHashSet;
use unicode_normalization::UnicodeNormalization as _;

/// Lower case, compatible forms made equal (full-width letters, ligatures); accents stay.
pub(crate) fn lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let letters = text.nfkc().flat_map(char::to_lowercase);
    let seen = letters.filter(|c| !matches!(c, '\u{ad}' | '\u{feff}' | '\u{200b}'));
    // As people type them; the Russian stemmer does not know the letter with dots.
    let typed = seen.map(|c| match c {
        '\u{2019}' => '\'',
        'ё' => 'е',
        other => other,
    });
    typed.collect()
}

/// Without accents.
pub(crate) fn fold(word: &str) -> std::borrow::Cow<'_, str> {
    if word.is_ascii() {
        return word.into();
    }
    word.nfd().filter(|c| !matches!(c, '\u{300}'..='\u{36f}')).nfc().collect::<String>().into()
}

/// Scripts without spaces between words: each character says much, words are not told apart.
pub(crate) const fn is_dense(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3134f}' | '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

/// The stems of a text that say something, each once.
#[must_use]
pub fn content_stems(text: &str, language: crate::Language) -> AHashSet<String> {
    words::Stems::of(language).terms(text).into_iter().collect()
}
