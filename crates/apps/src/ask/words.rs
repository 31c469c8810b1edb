//! What answers from documents say of themselves, in English, Russian and Dutch. Invariants: every sentence is in every
//! language, with the plurals of each and the same places (a test holds it); none names a provider, a path or a rule of
//! inspection; each says what to do next where there is something to do. Source: ask.md sections 3 and 8, news.md
//! section 13.

use portcullis_engine::words::Catalogue;
pub(crate) use portcullis_engine::words::Tongue;
use portcullis_knowledge::Language;
use std::sync::LazyLock;

portcullis_engine::words! {
    pub(crate) enum Say {
        NothingFound = "nothing_found";
        Nearest = "nearest";
        NoDocuments = "no_documents";
        AiAway = "ai_away";
        Unsupported = "unsupported";
        Passages = "passages";
        WithoutDocuments = "without_documents";
        DocumentsAway = "documents_away";
        Neither = "neither";
        FromIndexOf = "from_index_of";
        General = "general";
        Sources = "sources";
        Page = "page";
        NoSources = "no_sources";
        Long = "long";
        Short = "short";
        LanguageNow = "language_now";
        LanguageWhich = "language_which";
        NothingToRetry = "nothing_to_retry";
        Unknown = "unknown";
        AdminsOnly = "admins_only";
        IngestHow = "ingest_how";
        Begun = "begun";
        Sound = "sound";
        Damaged = "damaged";
        Info = "info";
        ModeFull = "mode_full";
        ModeExtractive = "mode_extractive";
        ModeOlder = "mode_older";
        ModeWords = "mode_words";
        Help = "help";
        HelpAdmin = "help_admin";
        Forgot = "forgot";
    }
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    Catalogue::new([
        include_str!("words/en.toml"),
        include_str!("words/ru.toml"),
        include_str!("words/nl.toml"),
    ])
});

/// The nearest to a language that we speak: English where there is none.
pub(crate) fn tongue(language: Language) -> Tongue {
    Tongue::from_code(language.code()).unwrap_or_default()
}

impl Say {
    /// The sentence, with nothing to put in.
    pub(crate) fn of(self, tongue: Tongue) -> String {
        self.with(tongue, &[])
    }

    /// The sentence with these put in.
    pub(crate) fn with(self, tongue: Tongue, values: &[(&str, &str)]) -> String {
        CATALOGUE.say(tongue, self.as_str(), 0, values)
    }

    /// The sentence with a number.
    pub(crate) fn count(self, tongue: Tongue, n: usize) -> String {
        CATALOGUE.say(tongue, self.as_str(), n as u64, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S0-10
    #[test]
    fn every_sentence_is_in_every_language_with_its_plurals_and_places() {
        let names: Vec<_> = Say::ALL.iter().map(|say| say.as_str()).collect();
        assert_eq!(CATALOGUE.problems(&names), Vec::<String>::new());
    }

    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        let said = Say::Unknown.with(Tongue::En, &[("command", "/{command}")]);
        assert_eq!(said, "I do not know /{command}. /help lists what there is.");
    }

    #[test]
    fn numbers_take_the_plural_of_their_language() {
        let ru = |count| Say::Forgot.count(Tongue::Ru, count);
        assert_eq!([ru(1), ru(3)], ["Забыто: 1 сообщение.", "Забыто: 3 сообщения."]);
        assert_eq!([5, 11, 12, 111].map(|n| ru(n).ends_with("сообщений.")), [true; 4]);
        let (en, nl) = (Say::Forgot.count(Tongue::En, 1), Say::Forgot.count(Tongue::Nl, 0));
        assert_eq!([en, nl], ["Forgotten: 1 message.", "Vergeten: 0 berichten."]);
    }

    #[test]
    fn an_unknown_language_is_answered_in_english() {
        for (code, known) in
            [("ru", Tongue::Ru), ("nl", Tongue::Nl), ("en", Tongue::En), ("fr", Tongue::En), ("", Tongue::En)]
        {
            assert_eq!(tongue(Language::from_code(code)), known);
        }
    }
}
