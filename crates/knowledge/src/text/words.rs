//! Words: cut by Unicode's rules (UAX 29), without stop words, stemmed by Snowball, without accents. Text in scripts
//! without spaces gives pairs of characters instead.

use super::{fold, is_dense, lower, stop};
use crate::Language;
use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation as _;

/// Longest word that is looked at, in bytes: longer ones are data, cut to this.
const LONGEST: usize = 64;

/// Languages with a stemmer.
const STEMMERS: &[(&str, Algorithm)] = &[
    ("ar", Algorithm::Arabic),
    ("da", Algorithm::Danish),
    ("de", Algorithm::German),
    ("el", Algorithm::Greek),
    ("en", Algorithm::English),
    ("es", Algorithm::Spanish),
    ("fi", Algorithm::Finnish),
    ("fr", Algorithm::French),
    ("hu", Algorithm::Hungarian),
    ("it", Algorithm::Italian),
    ("nl", Algorithm::Dutch),
    ("nb", Algorithm::Norwegian),
    ("pt", Algorithm::Portuguese),
    ("ro", Algorithm::Romanian),
    ("ru", Algorithm::Russian),
    ("sv", Algorithm::Swedish),
    ("ta", Algorithm::Tamil),
    ("tr", Algorithm::Turkish),
];

/// How words of one language become terms.
pub(crate) struct Stems {
    stemmer: Option<Stemmer>,
    stop: &'static [&'static str],
}

impl Stems {
    /// For a language; of an unknown one words stay as they are.
    pub(crate) fn of(language: Language) -> Self {
        let stemmer = STEMMERS.iter().find(|(code, _)| *code == language.code());
        Self { stemmer: stemmer.map(|(_, algorithm)| Stemmer::create(*algorithm)), stop: stop::of(language) }
    }

    /// Whether a word in lower case says nothing by itself.
    pub(crate) fn is_stop(&self, word: &str) -> bool {
        self.stop.binary_search(&word).is_ok()
    }

    /// A word in lower case as it is indexed.
    pub(crate) fn stem(&self, word: &str) -> String {
        match &self.stemmer {
            Some(stemmer) => fold(&stemmer.stem(word)).into_owned(),
            None => fold(word).into_owned(),
        }
    }

    /// The terms of a text, in order.
    pub(crate) fn terms(&self, text: &str) -> Vec<String> {
        let mut terms = Vec::new();
        each_word(&lower(text), |word| {
            if !self.is_stop(word) {
                terms.push(self.stem(word));
            }
        });
        terms
    }
}

/// Calls with each word of a text in lower case.
pub(crate) fn each_word(text: &str, mut call: impl FnMut(&str)) {
    let mut dense = String::new();
    for part in text.split_word_bounds() {
        let Some(first) = part.chars().next() else { continue };
        if is_dense(first) {
            dense.push_str(part);
            continue;
        }
        pairs(&mut dense, &mut call);
        if part.chars().any(char::is_alphanumeric) {
            call(&part[..part.floor_char_boundary(LONGEST)]);
        }
    }
    pairs(&mut dense, &mut call);
}

/// Each two neighbours of a run of dense characters; a single one stands alone.
fn pairs(run: &mut String, call: &mut impl FnMut(&str)) {
    let starts: Vec<usize> = run.char_indices().map(|(at, _)| at).chain([run.len()]).collect();
    if starts.len() == 2 {
        call(run);
    }
    for pair in starts.windows(3) {
        call(&run[pair[0]..pair[2]]);
    }
    run.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(language: &str, text: &str) -> String {
        Stems::of(Language::from_code(language)).terms(text).join(" ")
    }

    #[test]
    fn words_of_each_language_lose_case_stop_words_endings_and_accents() {
        assert_eq!(terms("en", "The Restoring of BACKUPS isn't hard"), "restor backup hard");
        assert_eq!(terms("de", "Die Häuser und das Haus"), "haus haus");
        assert_eq!(terms("ru", "ёлки и ёлка"), "елк елк");
        assert_eq!(terms("es", "¿Cuántas poblaciones?"), terms("es", "cuántas población"));
        assert_eq!(terms("", "The ﬁle Ｆｕｌｌ"), "the file full");
        assert_eq!(terms("zh", "人工智能 AI 很"), "人工 工智 智能 ai 很");
    }
}
