//! Which posts of a folder are let through, and which are looked for. Pure. Invariants: a post passes when no exclude is in
//! it and, where there are includes, at least one is; watch words let everything pass and only raise; no expression takes
//! longer than its text is long. Source: news.md section 10.

use portcullis_knowledge::{Language, text};
use regex::{Regex, RegexBuilder};
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;

/// Terms of one folder.
const TERMS: usize = 20;
/// Characters of one term.
const CHARS: usize = 200;
/// Bytes of a compiled expression.
const COMPILED: usize = 65_536;

/// The filters of a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters {
    terms: Vec<Term>,
    languages: Vec<Language>,
}

#[derive(Clone, Debug)]
struct Term {
    role: Role,
    written: String,
    means: Means,
}

/// What a term is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Include,
    Exclude,
    Watch,
}

#[derive(Clone, Debug)]
enum Means {
    /// A word or several, between borders of words.
    Words(String),
    Expression(Regex),
}

/// What is wrong with a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FilterError {
    /// It is none.
    Form(String),
    /// It is too long.
    Long(String),
    /// Its expression does not stand, or is too large.
    Expression(String),
    /// It is no language.
    Language(String),
    /// There are too many.
    Many,
}

/// What became of a post, and by which term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It passes; by that include, where there are includes.
    Passes(Option<String>),
    /// That exclude is in it.
    Excluded(String),
    /// None of the includes is.
    NotIncluded,
    /// It is in another language.
    Language(String),
}

impl Filters {
    /// Reads terms as they are written: `+word`, `-word`, `!word` to watch for it, `+"two words"`, `/expression/`,
    /// `lang:en,ru`.
    pub(super) fn read(written: &str) -> Result<Self, FilterError> {
        let mut out = Self::default();
        for term in split(written) {
            if let Some(codes) = term.strip_prefix("lang:") {
                for code in codes.split(',') {
                    let language = Language::from_code(code);
                    if language == Language::UNKNOWN {
                        return Err(FilterError::Language(code.to_owned()));
                    }
                    out.languages.push(language);
                }
                continue;
            }
            if out.terms.len() == TERMS {
                return Err(FilterError::Many);
            }
            out.terms.push(Term::read(term)?);
        }
        Ok(out)
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.languages.is_empty()
    }

    /// What becomes of a post.
    pub(super) fn decide(&self, post: &str) -> Decision {
        if !self.languages.is_empty() {
            let language = text::of_text(post);
            if language != Language::UNKNOWN && !self.languages.contains(&language) {
                return Decision::Language(language.code().to_owned());
            }
        }
        let folded = fold(post);
        let of = |role| self.terms.iter().filter(move |term| term.role == role);
        if let Some(term) = of(Role::Exclude).find(|term| term.is_in(post, &folded)) {
            return Decision::Excluded(term.written.clone());
        }
        if of(Role::Include).next().is_none() {
            return Decision::Passes(None);
        }
        of(Role::Include)
            .find(|term| term.is_in(post, &folded))
            .map_or(Decision::NotIncluded, |term| Decision::Passes(Some(term.written.clone())))
    }

    /// Whether a post passes.
    pub(super) fn keeps(&self, post: &str) -> bool {
        matches!(self.decide(post), Decision::Passes(_))
    }

    /// Whether anything may be held back.
    pub(super) fn holds_back(&self) -> bool {
        !self.languages.is_empty() || self.terms.iter().any(|term| term.role != Role::Watch)
    }

    /// Whether anything is watched for.
    pub(super) fn watches(&self) -> bool {
        self.terms.iter().any(|term| term.role == Role::Watch)
    }

    /// How many of the terms that are watched for are in a post.
    pub(super) fn hits(&self, post: &str) -> usize {
        let folded = fold(post);
        self.terms.iter().filter(|term| term.role == Role::Watch && term.is_in(post, &folded)).count()
    }
}

impl fmt::Display for Filters {
    /// As they are kept; `read` takes it back.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<String> = self.terms.iter().map(|term| term.written.clone()).collect();
        if !self.languages.is_empty() {
            let codes: Vec<&str> = self.languages.iter().map(Language::code).collect();
            all.push(format!("lang:{}", codes.join(",")));
        }
        to.write_str(&all.join(" "))
    }
}

impl Term {
    fn read(written: &str) -> Result<Self, FilterError> {
        let shown = || written.chars().take(60).collect::<String>();
        if written.chars().count() > CHARS {
            return Err(FilterError::Long(shown()));
        }
        let (role, rest) = match written.chars().next() {
            Some('+') => (Role::Include, &written[1..]),
            Some('-') => (Role::Exclude, &written[1..]),
            Some('!') => (Role::Watch, &written[1..]),
            Some('/') => (Role::Include, written),
            Some(_) | None => return Err(FilterError::Form(shown())),
        };
        let means = if let Some(pattern) = rest.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            let built = RegexBuilder::new(pattern).case_insensitive(true).size_limit(COMPILED).build();
            Means::Expression(built.map_err(|_| FilterError::Expression(shown()))?)
        } else {
            let words = fold(rest.trim_matches('"').trim());
            if !words.chars().any(char::is_alphanumeric) {
                return Err(FilterError::Form(shown()));
            }
            Means::Words(words)
        };
        let written = if written.starts_with('/') { format!("+{written}") } else { written.to_owned() };
        Ok(Self { role, written, means })
    }

    fn is_in(&self, post: &str, folded: &str) -> bool {
        match &self.means {
            Means::Expression(regex) => regex.is_match(post),
            Means::Words(words) => has(folded, words),
        }
    }
}

/// Terms as they stand in a text: apart by spaces, but for what is between quotes or slashes.
fn split(written: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = written.trim_start();
    while !rest.is_empty() {
        let sign = usize::from(rest.starts_with(['+', '-', '!']));
        let body = &rest[sign..];
        let fence = body.chars().next().filter(|c| ['"', '/'].contains(c));
        let closed = fence.and_then(|fence| {
            let inner = &body[1..];
            let end = inner.match_indices(fence).find(|(at, _)| {
                // The fence closes where a term ends: `/a/b/` is one expression.
                inner[at + 1..].chars().next().is_none_or(char::is_whitespace)
            })?;
            Some(sign + 1 + end.0 + 1)
        });
        let end = closed.unwrap_or_else(|| rest.find(char::is_whitespace).unwrap_or(rest.len()));
        out.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    out
}

fn fold(text: &str) -> String {
    text.nfkc().collect::<String>().to_lowercase()
}

/// Whether the words are in the text, between borders of words; scripts without spaces have no borders.
fn has(text: &str, words: &str) -> bool {
    let inner = |c: char| (c.is_alphanumeric() || c == '_') && !without_spaces(c);
    let edge = |a: Option<char>, b: Option<char>| !(a.is_some_and(inner) && b.is_some_and(inner));
    let (first, last) = (words.chars().next(), words.chars().next_back());
    text.match_indices(words).any(|(at, _)| {
        edge(text[..at].chars().next_back(), first) && edge(last, text[at + words.len()..].chars().next())
    })
}

/// Letters of scripts that put no spaces between words.
fn without_spaces(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filters(written: &str) -> Filters {
        Filters::read(written).unwrap()
    }

    #[test]
    fn words_stand_between_borders_whatever_their_case_and_script() {
        let rows = [
            ("+rain", "It RAINS again", false),
            ("+rain", "Rain, again", true),
            ("+\"heavy rain\"", "After heavy rain.", true),
            ("+\"heavy rain\"", "heavy, rain", false),
            ("+дождь", "ДОЖДЬ кончился", true),
            ("+дожд", "дождь", false),
            ("+#news", "see #news", true),
            ("+#news", "see #newsroom", false),
            ("-rain", "no sun", true),
            ("-rain", "some rain", false),
            ("+sun -rain", "sun and rain", false),
            ("+sun -rain", "sun", true),
            ("+東京", "今日東京で", true),
            ("/colou?r/", "the COLOUR", true),
            ("-/a.*z/", "a to z", false),
            ("+/a/b/", "a/b", true),
            ("!rain", "anything", true),
            ("lang:ru", "Сегодня в городе идёт сильный дождь", true),
            ("lang:ru", "The quick brown fox jumps over the lazy dog today", false),
            ("", "anything", true),
        ];
        for (written, post, kept) in rows {
            assert_eq!(filters(written).keeps(post), kept, "{written}: {post}");
        }
    }

    #[test]
    fn the_term_that_decided_is_named() {
        let all = filters("+sun +\"blue sky\" -rain !storm lang:en");
        assert_eq!(all.decide("a blue sky"), Decision::Passes(Some("+\"blue sky\"".into())));
        assert_eq!(all.decide("sun, then rain"), Decision::Excluded("-rain".into()));
        assert_eq!(all.decide("fog"), Decision::NotIncluded);
        assert_eq!(all.hits("a storm"), 1);
        assert_eq!(all.to_string(), "+sun +\"blue sky\" -rain !storm lang:en");
        assert_eq!(filters(&filters("/a b/ -x").to_string()).to_string(), "+/a b/ -x");
    }

    #[test]
    fn a_term_that_is_none_is_named() {
        let error = |written: &str| Filters::read(written).unwrap_err();
        assert_eq!(error("+sun rain"), FilterError::Form("rain".into()));
        assert_eq!(error("+\"\""), FilterError::Form("+\"\"".into()));
        assert_eq!(error("/(/"), FilterError::Expression("/(/".into()));
        assert_eq!(error("/(a{999}){999}/"), FilterError::Expression("/(a{999}){999}/".into()));
        assert_eq!(error("lang:english"), FilterError::Language("english".into()));
        assert_eq!(error(&"+a ".repeat(21)), FilterError::Many);
        assert!(matches!(error(&format!("+{}", "a".repeat(201))), FilterError::Long(_)));
    }

    #[test]
    fn usual_expressions_fit_into_what_a_compiled_one_may_be() {
        for written in
            ["/\\bcats?\\b/", "/[a-z]+@[a-z.]+/", "/(tesla|spacex|musk)/", "/\\d{1,3}%/", "/кот(ы|ов)?/"]
        {
            assert!(Filters::read(written).is_ok(), "{written}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader_and_what_was_read_is_read_again(written in ".{0,120}", post in ".{0,80}") {
            if let Ok(read) = Filters::read(&written) {
                let again = Filters::read(&read.to_string()).unwrap();
                prop_assert_eq!(read.decide(&post), again.decide(&post));
            }
        }
    }
}
