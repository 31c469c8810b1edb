//! Redaction: what looks like a secret becomes its kind and, when at least 20 characters long, its last four:
//! `[openai_key …a1B2]`. One engine for logs, audit and errors. `redact` is for text that stays in the house;
//! `redact_outside` also removes what tells strangers about it: paths, addresses, SQL, stack lines.
//!
//! Invariants: redacting twice changes nothing; text without a suspicious piece is not copied (log fields pass here
//! one by one). Source: inspect.md section 5, review.md section 11.

mod shapes;

use crate::{rules::compile, words::Words};
use regex::{Captures, Regex};
use shapes::{SHAPES, Shape};
use std::{
    borrow::Cow,
    sync::{LazyLock, OnceLock},
};

struct Engine {
    words: Words,
    /// Compiled when first needed: most shapes never are.
    patterns: Vec<OnceLock<Option<Regex>>>,
    /// Shapes that apply outside only, as bits.
    outside: u64,
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine {
    words: Words::new(SHAPES.iter().map(|shape| [shape.hints, &[][..]])),
    patterns: SHAPES.iter().map(|_| OnceLock::new()).collect(),
    outside: SHAPES.iter().enumerate().map(|(row, shape)| u64::from(shape.outside) << row).sum(),
});

/// The text without what looks like a secret or a person's address: for logs and audit.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    ENGINE.run(text, !ENGINE.outside)
}

/// The text without that, and without what tells strangers about the house: for errors on their way out, as the
/// second net behind fixed sentences.
#[must_use]
pub fn redact_outside(text: &str) -> Cow<'_, str> {
    ENGINE.run(text, u64::MAX)
}

/// Whether a value, such as one of a configuration file, has the shape of a key.
#[must_use]
pub fn looks_like_secret(value: &str) -> bool {
    let wanted = ENGINE.words.wanted(value);
    let by_prefix = SHAPES.iter().enumerate().take_while(|(_, shape)| shape.kind != "password");
    let mut keys = by_prefix.filter(|(row, _)| wanted >> row & 1 == 1);
    keys.any(|(row, shape)| {
        ENGINE.pattern(row).is_some_and(|pattern| {
            pattern.captures(value).is_some_and(|found| (shape.check)(secret(&found).as_str()))
        })
    })
}

/// What [`find`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: &'static str,
    /// Bytes of the text that are to be hidden.
    pub(crate) range: std::ops::Range<usize>,
}

/// The kind of personal data among the shapes.
pub(crate) const PERSONAL: &str = "email";

/// Secrets and, if wanted, personal data in a text, in the order of the table.
pub(crate) fn find(text: &str, secrets: bool, personal: bool) -> Vec<Found> {
    let wanted = ENGINE.words.wanted(text) & !ENGINE.outside;
    let mut all = Vec::new();
    for (row, shape) in SHAPES.iter().enumerate().filter(|(row, _)| wanted >> row & 1 == 1) {
        let asked = if shape.kind == PERSONAL { personal } else { secrets };
        let Some(pattern) = ENGINE.pattern(row).filter(|_| asked) else { continue };
        for found in pattern.captures_iter(text) {
            let secret = secret(&found);
            if (shape.check)(secret.as_str()) {
                all.push(Found { kind: shape.kind, range: secret.range() });
            }
        }
    }
    all
}

/// Rounds of replacement; ordinary text needs one, crafted text two or three.
const MAX_ROUNDS: usize = 8;

impl Engine {
    fn pattern(&self, row: usize) -> Option<&Regex> {
        // A test compiles every pattern of the table.
        self.patterns.get(row)?.get_or_init(|| compile(SHAPES.get(row)?.pattern).ok()).as_ref()
    }

    fn run<'a>(&self, text: &'a str, applies: u64) -> Cow<'a, str> {
        let mut out = Cow::Borrowed(text);
        // What one replacement leaves behind may look like another shape: again, until nothing changes.
        for _ in 0..MAX_ROUNDS {
            let wanted = self.words.wanted(&out) & applies;
            let mut changed = false;
            for (row, shape) in SHAPES.iter().enumerate().filter(|(row, _)| wanted >> row & 1 == 1) {
                let Some(pattern) = self.pattern(row) else { continue };
                if let Cow::Owned(next) =
                    pattern.replace_all(&out, |found: &Captures<'_>| replace(shape, found))
                    && next != *out
                {
                    changed = true;
                    out = Cow::Owned(next);
                }
            }
            if !changed {
                break;
            }
        }
        out
    }
}

/// What of a match is the secret: its first group that took part, else all of it.
fn secret<'a>(found: &Captures<'a>) -> regex::Match<'a> {
    found.iter().skip(1).flatten().next().unwrap_or_else(|| found.get_match())
}

fn replace(shape: &Shape, found: &Captures<'_>) -> String {
    let (whole, secret) = (found.get_match(), secret(found));
    if !(shape.check)(secret.as_str()) {
        return whole.as_str().to_owned();
    }
    let start = secret.start() - whole.start();
    let (before, after) = (&whole.as_str()[..start], &whole.as_str()[start + secret.len()..]);
    let kind = shape.kind;
    let from = secret.as_str().char_indices().rev().nth(3).map_or(0, |(at, _)| at);
    match shape.tail && secret.len() >= 20 {
        true => format!("{before}[{kind} …{}]{after}", &secret.as_str()[from..]),
        false => format!("{before}[{kind}]{after}"),
    }
}

#[cfg(test)]
mod tests;
