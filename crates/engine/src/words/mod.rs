//! What people are told at chat doors, in every language we speak, with plural forms: [`Catalogue`] for whoever has
//! texts, one file of data for each language, and [`Words`], those of the doors themselves. Invariants: every word is in
//! every language (a test holds it); no text names a provider, a path or a rule of inspection; each says what to do next
//! where there is something to do.
//!
//! Source: news.md section 13, ask.md section 10. Plural rules: CLDR.

use portcullis_domain::Failure;
use serde::Deserialize;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// A language of the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tongue {
    /// English, and whatever we do not speak.
    #[default]
    En,
    /// Russian.
    Ru,
    /// Dutch.
    Nl,
}

impl Tongue {
    /// Every language.
    pub const ALL: [Self; 3] = [Self::En, Self::Ru, Self::Nl];

    /// Two letters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ru => "ru",
            Self::Nl => "nl",
        }
    }

    /// The language of that code, where we speak it.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tongue| tongue.as_str() == code)
    }

    /// Which of its forms a noun has after that number.
    const fn form(self, n: u64) -> Form {
        match self {
            Self::En | Self::Nl => {
                if n == 1 {
                    Form::One
                } else {
                    Form::Other
                }
            }
            Self::Ru => match (n % 10, n % 100) {
                (1, rest) if rest != 11 => Form::One,
                (2..=4, rest) if rest < 12 || rest > 14 => Form::Few,
                _ => Form::Other,
            },
        }
    }
}

enum Form {
    One,
    Few,
    Other,
}

/// Names the words of a catalogue: an enum with `ALL`, and `as_str` for a word's name in the files.
#[macro_export]
macro_rules! words {
    ($(#[$outer:meta])* $vis:vis enum $word:ident { $($(#[$meta:meta])* $name:ident = $key:literal;)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $word { $($(#[$meta])* $name),* }

        impl $word {
            /// Every word.
            $vis const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in the files.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $key),* }
            }
        }
    };
}

words! {
    /// A word that doors say.
    pub enum Word {
        /// A limit refused; so many seconds.
        WaitSeconds = "wait_seconds";
        /// A limit refused; so many minutes.
        WaitMinutes = "wait_minutes";
        /// A limit refused; so many hours.
        WaitHours = "wait_hours";
        /// A budget is used up.
        Budget = "budget";
        /// No room; so many seconds.
        Busy = "busy";
        /// Too many messages of one conversation wait.
        LineFull = "line_full";
        /// Nothing that could answer is healthy; so many seconds.
        Unavailable = "unavailable";
        /// The deadline passed.
        TooSlow = "too_slow";
        /// The message is wrong, and how.
        Invalid = "invalid";
        /// Inspection refused.
        Blocked = "blocked";
        /// Inspection asks whether a message is meant; the word to say, and within how many minutes.
        Unconfirmed = "unconfirmed";
        /// What says that a message is meant, typed as a word.
        Confirm = "confirm";
        /// The same on a button.
        ConfirmButton = "confirm_button";
        /// Nothing of this person waits to be confirmed.
        NothingToConfirm = "nothing_to_confirm";
        /// Not allowed.
        Forbidden = "forbidden";
        /// Not there.
        NotFound = "not_found";
        /// Our mistake, and its incident.
        Internal = "internal";
        /// A session begins.
        Welcome = "welcome";
        /// A session ended by itself.
        SessionEnded = "session_ended";
        /// A session was ended.
        Deactivated = "deactivated";
        /// What ends a session, typed as a word.
        Deactivate = "deactivate";
        /// A group is answered from now on.
        GroupActivated = "group_activated";
        /// A group is answered no more.
        GroupDeactivated = "group_deactivated";
        /// So many messages were too old to be answered.
        Backlog = "backlog";
        /// A file came.
        Attachment = "attachment";
        /// Messages are too old to be answered.
        SendAgain = "send_again";
        /// A file is larger than that many KiB.
        FileTooLarge = "file_too_large";
        /// A file could not be fetched.
        FileAway = "file_away";
        /// Somebody else opened the menu.
        NotYourMenu = "not_your_menu";
        /// A command for a talk came without words.
        HowToChat = "how_to_chat";
        /// An answer was cut off.
        CutOff = "cut_off";
        /// A model said nothing.
        NothingSaid = "nothing_said";
        /// So many sessions.
        Sessions = "sessions";
        /// An administrator ended a session.
        Revoked = "revoked";
        /// There is no such session.
        NoSession = "no_session";
        /// A changed safety number is trusted.
        Trusted = "trusted";
        /// A changed safety number could not be trusted, and why.
        NotTrusted = "not_trusted";
        /// What administrators can do at a door.
        AdminCommands = "admin_commands";
    }
}

/// A text: one form, or one for each plural that the language has.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    One(String),
    Forms(Forms),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forms {
    one: Option<String>,
    few: Option<String>,
    other: String,
}

impl Text {
    fn form(&self, form: &Form) -> &str {
        let forms = match self {
            Self::One(text) => return text,
            Self::Forms(forms) => forms,
        };
        let found = match form {
            Form::One => forms.one.as_ref(),
            Form::Few => forms.few.as_ref(),
            Form::Other => None,
        };
        found.unwrap_or(&forms.other)
    }

    /// Every form, with whether it has one for few.
    fn forms(&self) -> (Vec<&str>, bool) {
        match self {
            Self::One(text) => (vec![text], false),
            Self::Forms(forms) => {
                let all = [Some(&forms.other), forms.one.as_ref(), forms.few.as_ref()];
                (all.into_iter().flatten().map(String::as_str).collect(), forms.few.is_some())
            }
        }
    }
}

/// Texts in every language, by name: `name = "text"`, or `name = { one = "…", other = "…" }` where a number `{n}` is put
/// in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalogue(Arc<[HashMap<String, Text>; 3]>);

impl Catalogue {
    /// Reads files in the order of [`Tongue::ALL`]. One that is no such file has no texts, which
    /// [`Catalogue::problems`] tells.
    #[must_use]
    pub fn new(files: [&str; 3]) -> Self {
        Self(Arc::new(files.map(|file| toml::from_str(file).unwrap_or_default())))
    }

    /// A text with a number as `{n}` and values put in for the other places, such as `{name}`; what is put in is not
    /// looked at for places. Empty where there is no such text.
    #[must_use]
    pub fn say(&self, tongue: Tongue, name: &str, n: u64, values: &[(&str, &str)]) -> String {
        let Some(found) = self.0[tongue as usize].get(name) else { return String::new() };
        let mut rest = found.form(&tongue.form(n));
        let mut out = String::with_capacity(rest.len() + 32);
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (place, tail) = after.split_once('}').unwrap_or((after, ""));
            match values.iter().find(|(known, _)| *known == place) {
                Some((_, value)) => out.push_str(value),
                None if place == "n" => out.push_str(&n.to_string()),
                None => {}
            }
            rest = tail;
        }
        out.push_str(rest);
        out
    }

    /// What is wrong with the files, for the test of whoever has them: names that are not in each, places that differ,
    /// plurals that are missing.
    #[must_use]
    pub fn problems(&self, names: &[&str]) -> Vec<String> {
        let mut out = Vec::new();
        for tongue in Tongue::ALL {
            let (code, file) = (tongue.as_str(), &self.0[tongue as usize]);
            let extra = file.keys().filter(|name| !names.contains(&name.as_str()));
            out.extend(extra.map(|name| format!("{code}: {name} is in no list")));
            for name in names {
                let (Some(text), Some(english)) = (file.get(*name), self.0[0].get(*name)) else {
                    out.push(format!("{code}: {name} is missing"));
                    continue;
                };
                let ((forms, few), expected) = (text.forms(), places(english.forms().0[0]));
                if forms.iter().any(|form| form.is_empty() || places(form) != expected) {
                    out.push(format!("{code}: {name} is empty or has other places than in English"));
                }
                let plural = matches!(english, Text::Forms(forms) if forms.one.is_some());
                if few != (plural && tongue == Tongue::Ru) {
                    out.push(format!("{code}: {name} has a plural too few or too many"));
                }
            }
        }
        out.sort_unstable();
        out
    }
}

/// The places of a text, sorted.
fn places(text: &str) -> Vec<&str> {
    let mut found: Vec<_> = text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What doors say. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Words(Catalogue);

impl Default for Words {
    fn default() -> Self {
        Self::new()
    }
}

impl Words {
    /// In all languages.
    #[must_use]
    pub fn new() -> Self {
        Self(Catalogue::new([include_str!("en.toml"), include_str!("ru.toml"), include_str!("nl.toml")]))
    }

    /// A word as it is.
    #[must_use]
    pub fn plain(&self, tongue: Tongue, word: Word) -> String {
        self.say(tongue, word, 0, "")
    }

    /// A word with a number or a text put in.
    #[must_use]
    pub fn say(&self, tongue: Tongue, word: Word, n: u64, text: &str) -> String {
        self.0.say(tongue, word.as_str(), n, &[("text", text)])
    }

    /// A wait in words: seconds up to a minute, minutes up to an hour, hours beyond, always rounded up.
    #[must_use]
    pub fn wait(&self, tongue: Tongue, wait: Duration) -> String {
        let secs = seconds(wait);
        let (word, n) = match secs {
            0..60 => (Word::WaitSeconds, secs),
            60..3600 => (Word::WaitMinutes, secs.div_ceil(60)),
            _ => (Word::WaitHours, secs.div_ceil(3600)),
        };
        self.say(tongue, word, n, "")
    }

    /// Whether somebody typed that word, in any language.
    #[must_use]
    pub fn is_said(&self, word: Word, text: &str) -> bool {
        let text = text.trim().to_lowercase();
        Tongue::ALL.into_iter().any(|tongue| self.plain(tongue, word) == text)
    }

    /// What a person is told of a failure.
    #[must_use]
    pub fn failure(&self, tongue: Tongue, failure: &Failure) -> String {
        let plain = |word| self.plain(tongue, word);
        match failure {
            Failure::InvalidInput { message, .. } => self.say(tongue, Word::Invalid, 0, message),
            Failure::Unauthenticated(_) | Failure::Forbidden(_) | Failure::ModelNotAllowed(_) => {
                plain(Word::Forbidden)
            }
            Failure::NotFound(_) | Failure::Conflict(_) => plain(Word::NotFound),
            Failure::RateLimited { retry_after, .. } => self.wait(tongue, *retry_after),
            Failure::BudgetExceeded { .. } => plain(Word::Budget),
            Failure::Blocked { .. } => plain(Word::Blocked),
            Failure::Unconfirmed { expires_in, .. } => {
                let minutes = seconds(*expires_in).div_ceil(60);
                self.say(tongue, Word::Unconfirmed, minutes, &plain(Word::Confirm))
            }
            Failure::Overloaded { retry_after } => self.say(tongue, Word::Busy, seconds(*retry_after), ""),
            Failure::Unavailable { retry_after, .. } => {
                self.say(tongue, Word::Unavailable, seconds(*retry_after), "")
            }
            Failure::DeadlineExceeded | Failure::UpstreamInterrupted => plain(Word::TooSlow),
            Failure::Internal { incident } => self.say(tongue, Word::Internal, 0, incident.as_str()),
        }
    }
}

/// Whole seconds, rounded up, at least one.
fn seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_in_every_language_with_every_plural_and_the_same_places() {
        let names: Vec<_> = Word::ALL.iter().map(|word| word.as_str()).collect();
        assert_eq!(Words::new().0.problems(&names), Vec::<String>::new());
    }

    #[test]
    fn a_catalogue_that_lacks_something_is_told_what() {
        let files = [
            "a = \"{x}\"\nb = { one = \"{n} b\", other = \"{n} bs\" }",
            "a = \"{y}\"\nb = { one = \"{n} b\", other = \"{n} bs\" }",
            "a = \"{x}\"\nc = \"?\"",
        ];
        assert_eq!(
            Catalogue::new(files).problems(&["a", "b"]),
            [
                "nl: b is missing",
                "nl: c is in no list",
                "ru: a is empty or has other places than in English",
                "ru: b has a plural too few or too many",
            ]
        );
    }

    // req: S0-10
    #[test]
    fn a_wait_is_told_in_the_largest_unit_that_fits_with_its_plural() {
        let words = Words::new();
        let wait = |tongue, secs: f64| words.wait(tongue, Duration::from_secs_f64(secs));
        assert_eq!(wait(Tongue::En, 23.8), "Too many messages. Please try again in 24 seconds.");
        assert_eq!(wait(Tongue::En, 0.2), "Too many messages. Please try again in 1 second.");
        assert_eq!(wait(Tongue::En, 61.0), "Too many messages. Please try again in 2 minutes.");
        assert_eq!(wait(Tongue::Nl, 3601.0), "Te veel berichten. Probeer het over 2 uur opnieuw.");
        for (secs, end) in
            [(21.0, "21 секунду."), (2.0, "2 секунды."), (5.0, "5 секунд."), (11.0, "11 секунд.")]
        {
            assert!(wait(Tongue::Ru, secs).ends_with(end), "{end}");
        }
    }

    #[test]
    fn what_is_put_in_is_not_looked_at_for_places() {
        let said = Words::new().say(Tongue::En, Word::Invalid, 7, "{n} {text}");
        assert_eq!(said, "I cannot take this message: {n} {text}");
    }

    #[test]
    fn a_failure_says_nothing_of_what_is_inside() {
        let words = Words::new();
        let told = words.failure(Tongue::En, &Failure::Forbidden("a secret of the house".into()));
        assert_eq!(told, "You may not do this here.");
        let incident = portcullis_domain::Incident::from_parts(1, 2);
        assert!(words.failure(Tongue::Ru, &Failure::Internal { incident }).contains(incident.as_str()));
        assert_eq!(
            words.failure(Tongue::En, &Failure::Blocked { incident }),
            "I cannot process this message."
        );
        let proof = "a proof that only the door uses".into();
        let asked = Failure::Unconfirmed { incident, proof, expires_in: Duration::from_secs(600) };
        let told = words.failure(Tongue::Nl, &asked);
        assert!(
            told.contains("bevestig") && told.contains("10 minuten") && !told.contains("proof"),
            "{told}"
        );
        for (said, known) in
            [(" Confirm", true), ("ПОДТВЕРЖДАЮ", true), ("bevestig", true), ("confirm it", false)]
        {
            assert_eq!(words.is_said(Word::Confirm, said), known, "{said}");
        }
    }
}
