//! Proof that the signs of a pattern suffice: every text that the pattern matches holds one of them. Each part of a
//! pattern is known by what it begins with, what it ends with and, where they are few, by all its texts; where two
//! parts meet, an end of one and a beginning of the other stand side by side. What holds a sign already is left out.
//! Invariant: it may fail to prove what is true, never prove what is false.
//!
//! Source: Russ Cox, "Regular expression matching with a trigram index", 2012.

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};
use std::collections::BTreeSet;

type Texts = BTreeSet<Vec<u8>>;

/// Most texts that are kept apart for one part of a pattern.
const MOST_TEXTS: usize = 4096;
/// Most characters of a class that are told apart.
const MOST_CHARS: usize = 8;
/// How many parts that can match nothing are looked at both ways.
const FORKS: usize = 4;
/// How much of a beginning or an end is kept, at first.
const REACH: usize = 24;

/// What is known of the matches of one part of a pattern that do not hold a sign by themselves.
#[derive(Clone, Debug)]
struct Part {
    /// All texts it can match, where they are few.
    exact: Option<Texts>,
    /// What every match but the empty one begins with.
    begins: Texts,
    /// What every match but the empty one ends with.
    ends: Texts,
    /// Whether it can match nothing.
    empty: bool,
    /// Whether there is none.
    proven: bool,
}

/// Whether every match of the pattern holds one of the signs.
pub(super) fn suffice(signs: &[&str], pattern: &Hir) -> bool {
    Proof { signs }.part(pattern).proven
}

struct Proof<'a> {
    signs: &'a [&'a str],
}

impl Proof<'_> {
    fn holds(&self, text: &[u8]) -> bool {
        self.signs.iter().any(|sign| memchr::memmem::find(text, sign.as_bytes()).is_some())
    }

    fn left(&self, mut texts: Texts) -> Texts {
        texts.retain(|text| !self.holds(text));
        texts
    }

    /// Without the texts that hold a sign.
    fn open(&self, part: Part) -> Part {
        let exact = part.exact.map(|texts| self.left(texts));
        let part = Part { exact, begins: self.left(part.begins), ends: self.left(part.ends), ..part };
        let none = part.exact.as_ref().is_some_and(Texts::is_empty)
            || (!part.empty && (part.begins.is_empty() || part.ends.is_empty()));
        Part { proven: part.proven || none, ..part }
    }

    fn part(&self, hir: &Hir) -> Part {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => self.texts([Vec::new()].into()),
            HirKind::Literal(literal) => self.texts([literal.0.to_vec()].into()),
            HirKind::Class(class) => class_texts(class).map_or_else(unknown, |texts| self.texts(texts)),
            HirKind::Repetition(repetition) => self.repeated(repetition),
            HirKind::Capture(capture) => self.part(&capture.sub),
            HirKind::Concat(parts) => {
                self.all(&parts.iter().map(|part| self.part(part)).collect::<Vec<_>>(), FORKS)
            }
            HirKind::Alternation(parts) => {
                parts.iter().map(|part| self.part(part)).reduce(either).unwrap_or_else(unknown)
            }
        }
    }

    /// One part after the other: one that can match nothing is once there and once not.
    fn all(&self, parts: &[Part], forks: usize) -> Part {
        match parts.iter().position(|part| part.empty && part.exact.is_none()).filter(|_| forks > 0) {
            Some(at) => {
                let without = [&parts[..at], &parts[at + 1..]].concat();
                let mut with = parts.to_vec();
                with[at].empty = false;
                either(self.all(&without, forks - 1), self.all(&with, forks - 1))
            }
            None => parts.iter().cloned().reduce(|a, b| self.joined(&a, &b)).unwrap_or_else(unknown),
        }
    }

    fn texts(&self, exact: Texts) -> Part {
        let some: Texts = exact.iter().filter(|text| !text.is_empty()).cloned().collect();
        self.open(Part {
            begins: few(&some, head),
            ends: few(&some, tail),
            empty: exact.len() > some.len(),
            proven: false,
            exact: Some(exact),
        })
    }

    fn repeated(&self, repetition: &Repetition) -> Part {
        let once = self.part(&repetition.sub);
        let first = (0..repetition.min.min(4)).map(|_| once.clone()).reduce(|a, b| self.joined(&a, &b));
        let more = match repetition.max {
            Some(most) if most == repetition.min && most <= 4 => {
                return first.unwrap_or_else(|| self.texts([Vec::new()].into()));
            }
            Some(1) => either(self.texts([Vec::new()].into()), once),
            Some(_) | None => Part { exact: None, empty: true, proven: false, ..once },
        };
        match first {
            Some(first) => self.joined(&first, &more),
            None => more,
        }
    }

    fn joined(&self, a: &Part, b: &Part) -> Part {
        let exact = match (&a.exact, &b.exact) {
            (Some(a), Some(b)) => product(a, b),
            _ => None,
        };
        let proven = a.proven || b.proven || (!a.empty && !b.empty && self.meet(a, b));
        let begins = match &a.exact {
            Some(texts) => match product(texts, &b.begins) {
                Some(both) => {
                    &few(&self.left(both), head) | &(if b.empty { a.begins.clone() } else { Texts::new() })
                }
                None => few(texts, head),
            },
            None if a.empty => &a.begins | &b.begins,
            None => a.begins.clone(),
        };
        let ends = match &b.exact {
            Some(texts) => match product(&a.ends, texts) {
                Some(both) => {
                    &few(&self.left(both), tail) | &(if a.empty { b.ends.clone() } else { Texts::new() })
                }
                None => few(texts, tail),
            },
            None if b.empty => &a.ends | &b.ends,
            None => b.ends.clone(),
        };
        let (begins, ends) = (few(&begins, head), few(&ends, tail));
        self.open(Part { exact, begins, ends, empty: a.empty && b.empty, proven })
    }

    /// Whether a sign stands where two parts meet, looked at from nearer and nearer while there is too much to see.
    fn meet(&self, a: &Part, b: &Part) -> bool {
        [REACH, 12, 6, 3, 1].into_iter().any(|reach| {
            let ends: Texts = a.ends.iter().map(|text| tail(text, reach)).collect();
            product(&ends, &b.begins).is_some_and(|texts| texts.iter().all(|text| self.holds(text)))
        })
    }
}

/// One character, nobody knows which.
fn unknown() -> Part {
    let nothing = Texts::from([Vec::new()]);
    Part { exact: None, begins: nothing.clone(), ends: nothing, empty: false, proven: false }
}

fn class_texts(class: &Class) -> Option<Texts> {
    let Class::Unicode(class) = class else { return None };
    let chars = class.iter().flat_map(|range| range.start()..=range.end()).take(MOST_CHARS + 1);
    let chars: Texts = chars.map(|c| c.to_string().into_bytes()).collect();
    (chars.len() <= MOST_CHARS).then_some(chars)
}

fn either(a: Part, b: Part) -> Part {
    match (a.proven, b.proven) {
        (true, _) => return b,
        (false, true) => return a,
        (false, false) => {}
    }
    let exact = match (a.exact, b.exact) {
        (Some(a), Some(b)) => Some(&a | &b).filter(|texts| texts.len() <= MOST_TEXTS),
        _ => None,
    };
    Part {
        exact,
        begins: few(&(&a.begins | &b.begins), head),
        ends: few(&(&a.ends | &b.ends), tail),
        empty: a.empty || b.empty,
        proven: false,
    }
}

fn head(text: &[u8], reach: usize) -> Vec<u8> {
    text[..text.len().min(reach)].to_vec()
}

fn tail(text: &[u8], reach: usize) -> Vec<u8> {
    text[text.len().saturating_sub(reach)..].to_vec()
}

/// Beginnings or ends, the shorter the more there are.
fn few(texts: &Texts, cut: fn(&[u8], usize) -> Vec<u8>) -> Texts {
    let cuts = [REACH, 12, 6, 3, 1, 0].into_iter();
    let mut cuts = cuts.map(|reach| texts.iter().map(|text| cut(text, reach)).collect::<Texts>());
    cuts.find(|texts| texts.len() <= MOST_TEXTS / 8).unwrap_or_else(|| [Vec::new()].into())
}

fn product(a: &Texts, b: &Texts) -> Option<Texts> {
    (a.len().saturating_mul(b.len()) <= MOST_TEXTS)
        .then(|| a.iter().flat_map(|a| b.iter().map(move |b| [a.as_slice(), b].concat())).collect())
}
