//! A question that only makes sense after the one before.

use crate::{
    Language,
    text::{
        lower,
        words::{Stems, each_word},
    },
};
use std::borrow::Cow;

/// Words under which a question leans on the one before.
const FEW: usize = 4;

/// Words that stand for something said before.
const PRONOUNS: &[&str] = &[
    "daar", "das", "dat", "die", "dies", "dieser", "dit", "een", "ella", "er", "es", "eso", "esto", "he",
    "her", "hij", "him", "it", "its", "ihn", "ihm", "la", "lo", "she", "sie", "that", "their", "them",
    "there", "these", "they", "this", "those", "ze", "zij", "его", "ее", "её", "им", "их", "него", "нее",
    "она", "они", "оно", "он", "там", "то", "тот", "это", "этот",
];

/// The question with the content words of the one before, where it leans on that: fewer than four words of its own that
/// say something, or a pronoun.
#[must_use]
pub fn follow_up<'a>(question: &'a str, before: Option<&str>, language: Language) -> Cow<'a, str> {
    let Some(before) = before else { return question.into() };
    let stems = Stems::of(language);
    let (mut own, mut leans) = (0, false);
    each_word(&lower(question), |word| {
        own += usize::from(!stems.is_stop(word));
        leans |= PRONOUNS.contains(&word);
    });
    if own >= FEW && !leans {
        return question.into();
    }
    let mut out = question.to_owned();
    each_word(&lower(before), |word| {
        if !stems.is_stop(word) {
            out.push(' ');
            out.push_str(word);
        }
    });
    out.into()
}
