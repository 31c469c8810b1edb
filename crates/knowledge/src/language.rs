//! Which language a text is written in, by its letters and their order. Pure; 70 languages in a small table.

use crate::model::Language;
use whatlang::Lang;

/// Characters that are looked at: more tell no more.
const ENOUGH: usize = 4000;
/// Letters under which a text says nothing about its language.
const FEW: usize = 4;

/// The language, when the text leaves little doubt.
#[must_use]
pub fn sure(text: &str) -> Option<Language> {
    let info = whatlang::detect(beginning(text))?;
    info.is_reliable().then(|| language(info.lang()))
}

/// The likeliest language, unknown for a text without words.
#[must_use]
pub fn guess(text: &str) -> Language {
    let text = beginning(text);
    if text.chars().filter(|c| c.is_alphabetic()).take(FEW).count() < FEW {
        return Language::UNKNOWN;
    }
    whatlang::detect_lang(text).map_or(Language::UNKNOWN, language)
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(ENOUGH).map_or(text, |(at, _)| text.get(..at).unwrap_or(text))
}

/// ISO 639-3, which the table speaks, to ISO 639-1; languages without two letters stay unknown.
pub(crate) fn language(lang: Lang) -> Language {
    const CODES: [(&str, &str); 70] = [
        ("epo", "eo"),
        ("eng", "en"),
        ("rus", "ru"),
        ("cmn", "zh"),
        ("spa", "es"),
        ("por", "pt"),
        ("ita", "it"),
        ("ben", "bn"),
        ("fra", "fr"),
        ("deu", "de"),
        ("ukr", "uk"),
        ("kat", "ka"),
        ("ara", "ar"),
        ("hin", "hi"),
        ("jpn", "ja"),
        ("heb", "he"),
        ("yid", "yi"),
        ("pol", "pl"),
        ("amh", "am"),
        ("jav", "jv"),
        ("kor", "ko"),
        ("nob", "nb"),
        ("dan", "da"),
        ("swe", "sv"),
        ("fin", "fi"),
        ("tur", "tr"),
        ("nld", "nl"),
        ("hun", "hu"),
        ("ces", "cs"),
        ("ell", "el"),
        ("bul", "bg"),
        ("bel", "be"),
        ("mar", "mr"),
        ("kan", "kn"),
        ("ron", "ro"),
        ("slv", "sl"),
        ("hrv", "hr"),
        ("srp", "sr"),
        ("mkd", "mk"),
        ("lit", "lt"),
        ("lav", "lv"),
        ("est", "et"),
        ("tam", "ta"),
        ("vie", "vi"),
        ("urd", "ur"),
        ("tha", "th"),
        ("guj", "gu"),
        ("uzb", "uz"),
        ("pan", "pa"),
        ("aze", "az"),
        ("ind", "id"),
        ("tel", "te"),
        ("pes", "fa"),
        ("mal", "ml"),
        ("ori", "or"),
        ("mya", "my"),
        ("nep", "ne"),
        ("sin", "si"),
        ("khm", "km"),
        ("tuk", "tk"),
        ("aka", "ak"),
        ("zul", "zu"),
        ("sna", "sn"),
        ("afr", "af"),
        ("lat", "la"),
        ("slk", "sk"),
        ("cat", "ca"),
        ("tgl", "tl"),
        ("hye", "hy"),
        ("cym", "cy"),
    ];
    let code = lang.code();
    CODES
        .iter()
        .find(|(three, _)| *three == code)
        .map_or(Language::UNKNOWN, |(_, two)| Language::from_code(two))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_and_every_language_of_the_table_has_a_code() {
        assert_eq!(
            sure("The notice period is two months, and it begins at the end of a month."),
            Some(Language::EN)
        );
        assert_eq!(guess("Die Kündigungsfrist beträgt zwei Monate zum Ende eines Monats."), Language::DE);
        assert_eq!(guess("Срок уведомления составляет два месяца."), Language::RU);
        assert_eq!((guess("12.5 %"), sure("")), (Language::UNKNOWN, None));
        for lang in Lang::all() {
            assert_ne!(language(*lang), Language::UNKNOWN, "{lang}");
        }
    }
}
