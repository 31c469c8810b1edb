//! The catalogue: what chat doors say themselves, in every language we speak, with plural forms. One file of data for
//! each language. Invariants: every word is in every language (a test holds it); no text names a provider, a path or a
//! rule of inspection; each says what to do next where there is something to do.
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

    const fn file(self) -> &'static str {
        match self {
            Self::En => include_str!("en.toml"),
            Self::Ru => include_str!("ru.toml"),
            Self::Nl => include_str!("nl.toml"),
        }
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

macro_rules! catalogue {
    ($($(#[doc = $doc:literal])+ $name:ident = $key:literal;)*) => {
        /// A word of the catalogue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Word { $($(#[doc = $doc])+ $name),* }

        impl Word {
            /// Every word.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in the files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $key),* }
            }
        }
    };
}

catalogue! {
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    one: Option<String>,
    few: Option<String>,
    other: String,
}

/// The catalogue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Words(Arc<[HashMap<String, Text>; 3]>);

impl Default for Words {
    fn default() -> Self {
        Self::new()
    }
}

impl Words {
    /// The catalogue of all languages.
    #[must_use]
    pub fn new() -> Self {
        // The files are part of the program; a test reads them.
        Self(Arc::new(Tongue::ALL.map(|tongue| toml::from_str(tongue.file()).unwrap_or_default())))
    }

    /// A word as it is.
    #[must_use]
    pub fn plain(&self, tongue: Tongue, word: Word) -> String {
        self.say(tongue, word, 0, "")
    }

    /// A word with a number or a text put in.
    #[must_use]
    pub fn say(&self, tongue: Tongue, word: Word, n: u64, text: &str) -> String {
        let Some(found) = self.0[tongue as usize].get(word.as_str()) else { return String::new() };
        let form = match tongue.form(n) {
            Form::One => found.one.as_ref(),
            Form::Few => found.few.as_ref(),
            Form::Other => None,
        };
        // The text last: what is put in is not looked at for places.
        form.unwrap_or(&found.other).replace("{n}", &n.to_string()).replacen("{text}", text, 1)
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

    fn places(text: &str) -> [bool; 2] {
        ["{n}", "{text}"].map(|place| text.contains(place))
    }

    #[test]
    fn every_word_is_in_every_language_with_every_plural_and_the_same_places() {
        let words = Words::new();
        for tongue in Tongue::ALL {
            let file: HashMap<String, Text> = toml::from_str(tongue.file()).unwrap();
            let mut extra: Vec<_> =
                file.keys().filter(|key| !Word::ALL.iter().any(|word| word.as_str() == *key)).collect();
            extra.sort_unstable();
            assert!(extra.is_empty(), "{tongue:?}: {extra:?}");
            for word in Word::ALL {
                let text = file.get(word.as_str()).unwrap_or_else(|| panic!("{tongue:?} lacks {word:?}"));
                let english = &words.0[0][word.as_str()];
                let forms = [Some(&text.other), text.one.as_ref(), text.few.as_ref()];
                for form in forms.into_iter().flatten() {
                    assert_eq!(places(form), places(&english.other), "{tongue:?} {word:?}");
                }
                let counts = places(&text.other)[0];
                assert_eq!(text.few.is_some(), counts && tongue == Tongue::Ru, "{tongue:?} {word:?}");
            }
        }
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
    }
}
