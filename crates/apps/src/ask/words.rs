//! What this app says itself, in English, Russian and Dutch. Invariant: every sentence exists in every language (the
//! table does not compile otherwise); none names a provider, a path or a rule of inspection; each says what to do next
//! where there is something to do. Source: ask.md sections 3 and 8, news.md section 13.

use portcullis_knowledge::Language;

/// A language this app speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    En,
    Ru,
    Nl,
}

impl Tongue {
    /// Codes of the languages that texts exist in.
    pub(crate) const CODES: [&str; 3] = ["en", "ru", "nl"];

    /// The nearest to a language: English where there are no texts in it.
    pub(crate) fn of(language: Language) -> Self {
        match language.code() {
            "ru" => Self::Ru,
            "nl" => Self::Nl,
            _ => Self::En,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

macro_rules! sentences {
    ($($name:ident: $en:literal, $ru:literal, $nl:literal;)*) => {
        /// A sentence; `{…}` stands for what is put in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Say { $($name),* }

        impl Say {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name),*];

            const fn row(self) -> [&'static str; 3] {
                match self { $(Self::$name => [$en, $ru, $nl]),* }
            }
        }
    };
}

sentences! {
    NothingFound: "I found nothing about that in the documents.",
        "Об этом в документах ничего не нашлось.",
        "Daarover heb ik niets gevonden in de documenten.";
    Nearest: "Nearest to it: {titles}.", "Ближе всего к этому: {titles}.", "Het dichtst daarbij: {titles}.";
    NoDocuments: "There are no documents here yet.", "Документов здесь пока нет.", "Er zijn hier nog geen documenten.";
    AiAway: "The AI is not available; these passages fit best.",
        "ИИ сейчас недоступен; лучше всего подходят эти отрывки.",
        "De AI is niet beschikbaar; deze passages passen het best.";
    Unsupported: "The AI's answer was not supported by the documents; these passages fit best.",
        "Ответ ИИ не подтвердился документами; лучше всего подходят эти отрывки.",
        "Het antwoord van de AI werd niet door de documenten gesteund; deze passages passen het best.";
    Passages: "These passages fit best.", "Лучше всего подходят эти отрывки.", "Deze passages passen het best.";
    WithoutDocuments: "The documents are not available at the moment; this was answered without them.",
        "Документы сейчас недоступны; ответ дан без них.",
        "De documenten zijn op dit moment niet beschikbaar; dit is zonder hen beantwoord.";
    DocumentsAway: "The documents are not available at the moment. Please try again in a few minutes.",
        "Документы сейчас недоступны. Попробуйте ещё раз через несколько минут.",
        "De documenten zijn op dit moment niet beschikbaar. Probeer het over enkele minuten opnieuw.";
    Neither: "Neither the documents nor the AI are available at the moment. Your question is kept for {minutes} minutes: send /retry.",
        "Сейчас недоступны ни документы, ни ИИ. Вопрос сохранён на {minutes} мин.: отправьте /retry.",
        "Documenten en AI zijn op dit moment niet beschikbaar. Uw vraag blijft {minutes} minuten bewaard: stuur /retry.";
    FromIndexOf: "From the index of {date}.", "По индексу от {date}.", "Uit de index van {date}.";
    General: "The documents do not say this; the AI answered from general knowledge.",
        "В документах этого нет; ИИ ответил на основе общих знаний.",
        "De documenten zeggen dit niet; de AI antwoordde uit algemene kennis.";
    Sources: "Sources", "Источники", "Bronnen";
    Page: "p. {n}", "с. {n}", "p. {n}";
    NoSources: "There is no answer yet whose sources could be shown.",
        "Пока нет ответа, источники которого можно показать.",
        "Er is nog geen antwoord waarvan bronnen te tonen zijn.";
    Long: "Answers will be longer now; /short makes them short again.",
        "Теперь ответы будут длиннее; /short вернёт короткие.",
        "Antwoorden worden nu langer; /short maakt ze weer kort.";
    Short: "Answers will be short now; /long makes them longer.",
        "Теперь ответы будут короткими; /long сделает их длиннее.",
        "Antwoorden worden nu kort; /long maakt ze langer.";
    LanguageNow: "I will use English.", "Буду отвечать по-русски.", "Ik gebruik Nederlands.";
    LanguageWhich: "Which language? /lang en, /lang ru or /lang nl.",
        "Какой язык? /lang en, /lang ru или /lang nl.",
        "Welke taal? /lang en, /lang ru of /lang nl.";
    NothingToRetry: "There is no kept question. Please send it again.",
        "Сохранённого вопроса нет. Отправьте его ещё раз.",
        "Er is geen bewaarde vraag. Stuur hem opnieuw.";
    Unknown: "I do not know {command}. /help lists what there is.",
        "Команды {command} нет. /help покажет, какие есть.",
        "{command} ken ik niet. /help toont wat er is.";
    AdminsOnly: "This is for administrators.", "Это только для администраторов.", "Dit is alleen voor beheerders.";
    IngestHow: "Send /ingest and an address, such as /ingest https://example.org/handbook.",
        "Отправьте /ingest и адрес, например /ingest https://example.org/handbook.",
        "Stuur /ingest en een adres, zoals /ingest https://example.org/handbook.";
    Begun: "Begun: {job}.", "Начато: {job}.", "Begonnen: {job}.";
    Sound: "The index is sound.", "Индекс исправен.", "De index is in orde.";
    Damaged: "The index is damaged: {what}.", "Индекс повреждён: {what}.", "De index is beschadigd: {what}.";
    Info: "Collection {collection}: {documents} documents, {passages} passages. Languages: {languages}. Index of {date}. Mode: {mode}.",
        "Коллекция {collection}: документов {documents}, отрывков {passages}. Языки: {languages}. Индекс от {date}. Режим: {mode}.",
        "Collectie {collection}: {documents} documenten, {passages} passages. Talen: {languages}. Index van {date}. Modus: {mode}.";
    ModeFull: "full", "полный", "volledig";
    ModeExtractive: "passages only, no AI is configured", "только отрывки, ИИ не настроен", "alleen passages, er is geen AI ingesteld";
    ModeOlder: "an older index answers", "отвечает прежний индекс", "een oudere index antwoordt";
    ModeWords: "search by words only", "поиск только по словам", "zoeken alleen op woorden";
    Help: "Ask a question about the documents. Commands: /info what there is, /sources the passages behind the last answer, /long and /short the length of answers, /lang the language, /reset forget this conversation, /retry the question that could not be answered, /deactivate the end of this session.",
        "Задайте вопрос по документам. Команды: /info что есть, /sources отрывки к последнему ответу, /long и /short длина ответов, /lang язык, /reset забыть этот разговор, /retry вопрос, на который не удалось ответить, /deactivate завершить сеанс.",
        "Stel een vraag over de documenten. Opdrachten: /info wat er is, /sources de passages achter het laatste antwoord, /long en /short de lengte van antwoorden, /lang de taal, /reset dit gesprek vergeten, /retry de vraag die niet beantwoord kon worden, /deactivate het einde van deze sessie.";
    HelpAdmin: "For administrators: /ingest ADDRESS, /verify, /stats, /sessions, /revoke ID, /trust ID.",
        "Для администраторов: /ingest АДРЕС, /verify, /stats, /sessions, /revoke ID, /trust ID.",
        "Voor beheerders: /ingest ADRES, /verify, /stats, /sessions, /revoke ID, /trust ID.";
}

impl Say {
    /// The sentence, with nothing to put in.
    pub(crate) const fn of(self, tongue: Tongue) -> &'static str {
        self.row()[tongue.index()]
    }

    /// The sentence with these put in.
    pub(crate) fn with(self, tongue: Tongue, values: &[(&str, &str)]) -> String {
        let mut rest = self.of(tongue);
        let mut out = String::with_capacity(rest.len() + 32);
        // One pass: what is put in is never looked at for more places.
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (name, tail) = after.split_once('}').unwrap_or((after, ""));
            let value = values.iter().find(|(known, _)| *known == name);
            out.push_str(value.map_or("", |(_, value)| value));
            rest = tail;
        }
        out.push_str(rest);
        out
    }
}

/// "I forgot 3 messages", with the plural of each language.
pub(crate) fn forgot(count: usize, tongue: Tongue) -> String {
    match tongue {
        Tongue::En if count == 1 => "Forgotten: 1 message.".to_owned(),
        Tongue::En => format!("Forgotten: {count} messages."),
        Tongue::Nl if count == 1 => "Vergeten: 1 bericht.".to_owned(),
        Tongue::Nl => format!("Vergeten: {count} berichten."),
        Tongue::Ru => {
            let noun = match (count % 10, count % 100) {
                (1, last) if last != 11 => "сообщение",
                (2..=4, last) if !(12..=14).contains(&last) => "сообщения",
                _ => "сообщений",
            };
            format!("Забыто: {count} {noun}.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn places(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
    }

    #[test]
    fn every_sentence_has_the_same_places_in_every_language() {
        for say in Say::ALL {
            let [en, ru, nl] = say.row().map(places);
            assert!(en == ru && en == nl, "{say:?}");
            assert!(say.row().iter().all(|text| !text.is_empty()));
        }
    }

    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        let said = Say::Unknown.with(Tongue::En, &[("command", "/{command}")]);
        assert_eq!(said, "I do not know /{command}. /help lists what there is.");
    }

    #[test]
    fn numbers_take_the_plural_of_their_language() {
        let ru = |count| forgot(count, Tongue::Ru);
        assert_eq!(ru(1), "Забыто: 1 сообщение.");
        assert_eq!(ru(3), "Забыто: 3 сообщения.");
        assert_eq!([5, 11, 12, 111].map(|n| ru(n).ends_with("сообщений.")), [true; 4]);
        assert_eq!(ru(21), "Забыто: 21 сообщение.");
        assert_eq!(
            (forgot(1, Tongue::En), forgot(0, Tongue::Nl)),
            ("Forgotten: 1 message.".into(), "Vergeten: 0 berichten.".into())
        );
    }

    #[test]
    fn an_unknown_language_is_answered_in_english() {
        for (code, tongue) in
            [("ru", Tongue::Ru), ("nl", Tongue::Nl), ("en", Tongue::En), ("fr", Tongue::En), ("", Tongue::En)]
        {
            assert_eq!(Tongue::of(Language::from_code(code)), tongue);
        }
    }
}
