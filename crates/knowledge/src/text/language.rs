//! Which language a text is in. Invariant: what cannot be told is unknown, never a guess: a wrong language would compare
//! a question with vectors that do not understand it.

use super::{lower, stop, words::each_word};
use crate::{Language, language::language};
use whatlang::{Detector, Script};

/// Most of a text that is looked at, in bytes.
const LOOKED_AT: usize = 2000;
/// Share of a text's words that are stop words of a language, from which they alone tell it.
const TELLING: f32 = 0.2;

/// The language of a passage or document.
#[must_use]
pub fn of_text(text: &str) -> Language {
    let text = &text[..text.floor_char_boundary(LOOKED_AT)];
    told(text).unwrap_or(Language::UNKNOWN)
}

/// The language of a question to a collection in these languages, commonest first. Few words tell little: where neither
/// stop words nor letters are sure, it is taken for the collection's commonest language, unless its script is another.
#[must_use]
pub fn of_question(text: &str, present: &[Language]) -> Language {
    let text = &text[..text.floor_char_boundary(LOOKED_AT)];
    if let Some(told) = told(text) {
        return told;
    }
    let latin = |language: &Language| !NOT_LATIN.contains(&language.code());
    let script = Detector::new().detect_script(text);
    match (present.first(), script) {
        (Some(first), Some(Script::Latin) | None) if latin(first) => *first,
        (Some(first), Some(_)) if !latin(first) => *first,
        _ => Language::UNKNOWN,
    }
}

/// Languages above that are not written in Latin letters.
const NOT_LATIN: &[&str] = &[
    "ar", "be", "bg", "bn", "el", "fa", "he", "hi", "hy", "ja", "ka", "ko", "mk", "mr", "ru", "sr", "ta",
    "te", "th", "uk", "ur", "zh",
];

/// The language, where stop words are sure, or letters are, or both say the same.
fn told(text: &str) -> Option<Language> {
    let (small, sure) = by_stop_words(text).unzip();
    let letters = Detector::new().detect(text);
    let by_letters = letters.as_ref().map(|info| language(info.lang()));
    let is_told = sure == Some(true) || (small.is_some() && small == by_letters);
    let letters_sure = letters.is_some_and(|info| info.is_reliable());
    if is_told { small } else { by_letters.filter(|_| letters_sure) }
}

/// The language with most stop words in the text, and whether they alone tell it.
fn by_stop_words(text: &str) -> Option<(Language, bool)> {
    let lists = stop::LISTS;
    let (mut counts, mut all) = (vec![0_usize; lists.len()], 0_usize);
    each_word(&lower(text), |word| {
        all += 1;
        for (count, (_, list)) in counts.iter_mut().zip(lists) {
            *count += usize::from(list.binary_search(&word).is_ok());
        }
    });
    let (best, most) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    let others = counts.iter().enumerate().filter(|(at, _)| *at != best).map(|(_, count)| *count).max()?;
    let sure = *most >= 2 && *most as f32 >= TELLING * all as f32;
    (*most > others).then(|| (Language::from_code(lists[best].0), sure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_questions_are_told_by_their_small_words_and_else_taken_for_the_collections_language() {
        let cases = [
            ("How many points did the Panthers defense surrender?", "en"),
            ("Wie viele Punkte gab die Verteidigung der Panthers ab?", "de"),
            ("¿Cuántos puntos dejaron escapar en defensa los Panthers?", "es"),
            ("Сколько очков уступила защита Пэнтерс?", "ru"),
            ("Wat is de opzegtermijn van het contract?", "nl"),
            ("notice period", "en"),
            ("срок", ""),
        ];
        for (text, code) in cases {
            assert_eq!(of_question(text, &[Language::EN]).code(), code, "{text}");
        }
        assert_eq!(of_question("срок", &[Language::RU, Language::EN]), Language::RU);
        assert_eq!(of_text("12345 67890"), Language::UNKNOWN);
    }
}
