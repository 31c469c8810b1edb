//! The threat table: one row a rule, with texts it must hit and honest texts it must miss. Patterns are linear-time
//! (crate `regex`) and see the scored copy: lower case, single blanks. A rule never blocks by itself (weight below
//! `block`); rules of different families add up as independent evidence.
//!
//! To add one: a row here, with hits and misses; a test fails for a row without both.

mod english;
mod languages;
mod markup;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

/// What an attack is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Setting instructions aside.
    Override,
    /// Getting at the instructions or at what they protect.
    Extraction,
    /// Talking the model into being somebody without rules.
    Role,
    /// Tokens of chat templates and made-up turns, which no person types.
    Template,
    /// Sending data to somebody else.
    Exfiltration,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 5] =
        [Self::Override, Self::Extraction, Self::Role, Self::Template, Self::Exfiltration];
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Stable name, for reasons in log and audit.
    pub id: &'static str,
    /// What it is about.
    pub family: Family,
    /// Languages it is written for.
    pub languages: &'static str,
    /// Pieces of text, one of which every match holds: where none stands, the pattern is not run. The longer and the
    /// rarer in honest text, the better; a test proves that they suffice.
    pub signs: &'static [&'static str],
    /// Over the scored copy.
    pub pattern: &'static str,
    /// 0 to 1.
    pub weight: f32,
    /// Whether it weighs less in a text that speaks about attacks or quotes one.
    pub damped: bool,
    /// Texts it must hit.
    pub hits: &'static [&'static str],
    /// Honest texts it must miss.
    pub misses: &'static [&'static str],
}

/// Every rule.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    english::RULES
        .iter()
        .chain(markup::RULES)
        .chain(languages::RULES)
        .chain(languages::above::RULES)
        .chain(languages::addressed::RULES)
        .chain(languages::extraction::RULES)
        .chain(languages::roles::RULES)
        .chain(languages::sending::RULES)
}

/// Compiles a pattern of the table. Word borders are those of ASCII and `\w` is any character of a token: the
/// Unicode forms of both would keep the engine from its fast paths and triple its tables.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&written(pattern)).size_limit(4 << 20).dfa_size_limit(1 << 20).build()
}

fn written(pattern: &str) -> String {
    pattern.replace(r"\b", r"(?-u:\b)").replace(r"\w", "[^ ]")
}

/// The structure of a pattern of the table.
pub(crate) fn parse(pattern: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    regex_syntax::parse(&written(pattern)).map_err(Box::new)
}

/// Most blanks that a match can hold; none when there is no bound. So far from a sign a match can reach.
pub(crate) fn most_blanks(pattern: &Hir) -> Option<usize> {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(0),
        HirKind::Literal(literal) => Some(literal.0.iter().filter(|byte| **byte == b' ').count()),
        HirKind::Class(Class::Unicode(class)) => {
            Some(usize::from(class.iter().any(|range| (range.start()..=range.end()).contains(&' '))))
        }
        HirKind::Class(Class::Bytes(class)) => {
            Some(usize::from(class.iter().any(|range| (range.start()..=range.end()).contains(&b' '))))
        }
        HirKind::Repetition(repetition) => match (most_blanks(&repetition.sub)?, repetition.max) {
            (0, _) => Some(0),
            (each, Some(most)) => each.checked_mul(usize::try_from(most).ok()?),
            (_, None) => None,
        },
        HirKind::Capture(capture) => most_blanks(&capture.sub),
        HirKind::Concat(parts) => {
            parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(most_blanks(part)?))
        }
        HirKind::Alternation(parts) => {
            parts.iter().try_fold(0, |most: usize, part| Some(most.max(most_blanks(part)?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scored::scored;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_hits_its_hits_and_misses_its_misses() {
        let mut wrong = Vec::new();
        for rule in rules() {
            let pattern = compile(rule.pattern).unwrap();
            assert!(!rule.hits.is_empty() && !rule.misses.is_empty(), "{} lacks vectors", rule.id);
            for text in rule.hits {
                let copy = scored(text).text;
                if !pattern.is_match(&copy) {
                    wrong.push(format!("{} misses {text}", rule.id));
                }
            }
            for text in rule.misses {
                if pattern.is_match(&scored(text).text) {
                    wrong.push(format!("{} hits {text}", rule.id));
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
    }

    // req: S2-1.6
    #[test]
    fn the_common_kinds_of_attack_have_rows_with_vectors_in_fifteen_languages() {
        let tongues = |rule: &Rule| rule.languages.split(", ").map(str::to_owned).collect::<BTreeSet<_>>();
        for rule in rules() {
            let languages = tongues(rule).len();
            assert!(rule.hits.len() >= languages && rule.misses.len() >= languages, "{}", rule.id);
        }
        for family in [Family::Override, Family::Extraction, Family::Role, Family::Exfiltration] {
            let known: BTreeSet<_> = rules().filter(|rule| rule.family == family).flat_map(tongues).collect();
            for language in
                ["ru", "de", "fr", "es", "pt", "it", "nl", "tr", "zh", "ja", "ko", "hi", "ar", "vi", "id"]
            {
                assert!(known.contains(language), "{family:?} has no row for {language}");
            }
        }
    }

    #[test]
    fn rows_have_names_of_their_own_weights_below_blocking_and_signs_in_lower_case() {
        let ids: BTreeSet<_> = rules().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), rules().count());
        for rule in rules() {
            assert!(rule.weight > 0.0 && rule.weight < 0.9, "{}", rule.id);
            assert!(
                rule.signs.iter().all(|sign| sign.to_lowercase() == *sign && !sign.contains("  ")),
                "{}",
                rule.id
            );
        }
    }
}
