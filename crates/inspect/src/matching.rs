//! Where rules hit. One scan finds the places where a rule can hit at all; there, and only there, its pattern runs on
//! the copy. Speaking about attacks, or quoting one, damps what the rules of a text come to.
//! Invariant: linear in the length of the copy; a hit at its end is found like one at its start.

mod harmless;

use crate::{
    language::Language,
    rules::{Family, Rule, compile, most_blanks, parse, rules},
    signs::Signs,
};
use regex::Regex;
use std::{
    ops::{ControlFlow, Range},
    sync::OnceLock,
};

/// The rules, ready to use.
#[derive(Debug)]
pub(crate) struct Matcher {
    rows: Vec<Row>,
    signs: Signs,
    damping: OnceLock<Option<Regex>>,
}

/// A rule that hit, and where in the copy.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) rule: &'static Rule,
    pub(crate) span: Range<usize>,
}

/// A rule with its pattern, compiled when it is first needed: most patterns never are.
#[derive(Debug)]
struct Row {
    rule: &'static Rule,
    pattern: OnceLock<Option<Pattern>>,
}

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    /// Most blanks of a match, where there is a bound.
    blanks: Option<usize>,
}

impl Row {
    fn pattern(&self) -> Option<&Pattern> {
        // A test compiles every pattern of the table.
        let compiled = || {
            let blanks = most_blanks(&parse(self.rule.pattern).ok()?);
            Some(Pattern { regex: compile(self.rule.pattern).ok()?, blanks })
        };
        self.pattern.get_or_init(compiled).as_ref()
    }
}

/// How far one row has been looked for in a copy.
#[derive(Debug, Default)]
struct Progress {
    /// Here its pattern was run last.
    last: Range<usize>,
    /// Bytes that its pattern has seen.
    spent: usize,
}

/// How often its pattern may see a whole text, in small parts that overlap, before it is run on the whole once.
const MOST_PASSES: usize = 2;

/// Words of somebody who speaks about attacks rather than makes one, and opening quotation marks before one.
const DAMPING: &str = r#"\b(?:prompt injections?|jailbreak(?:s|ing)?|attack(?:s|ers?)?|examples? of|such as|phrases? like|sentences? like|what does|meaning of|translate|how (?:do|can|should|could|would) (?:i|we|you|one) (?:prevent|detect|block|defend|protect|stop|mitigate)|malicious|adversarial|security (?:review|test|audit|research\w*)|classif(?:y|ier)|red team\w*)\b|["“«'`„「『][^"”»'`]{0,40}(?:ignor|disregard|reveal|forget|bypass|overrid)"#;

/// What is left of a weight when the text speaks about attacks, asks whether somebody may do what the rule is about, takes
/// back its writer's own words, or names the device whose mode it is about.
const DAMPED: f32 = 0.4;

impl Matcher {
    /// Prepares the table: below a millisecond, patterns are compiled when they are first needed. Which pieces of text are
    /// rare is the `language`'s.
    pub(crate) fn new(language: Language<'_>) -> Self {
        let rows: Vec<Row> = rules().map(|rule| Row { rule, pattern: OnceLock::new() }).collect();
        Self { rows, signs: Signs::new(rules().map(|rule| rule.signs), language), damping: OnceLock::new() }
    }

    /// Every rule that hits a copy, once each. A match holds a sign and no more blanks than its pattern has room for:
    /// each pattern is run on that much of the copy around each of its signs. `plain`: the copy is known to be ASCII.
    pub(crate) fn hits(&self, copy: &str, plain: bool) -> Vec<Hit> {
        // Few rows have a sign in a text.
        let mut looked_for: Vec<(usize, Progress)> = Vec::new();
        let (mut hits, mut done) = (Vec::new(), 0_u64);
        let _all = self.signs.find(copy.as_bytes(), plain, |at, rows| {
            let mut left = rows & !done;
            while left != 0 {
                let index = left.trailing_zeros() as usize;
                left &= left - 1;
                let Some(pattern) = self.rows[index].pattern() else { continue };
                let known = looked_for.iter().position(|(row, _)| *row == index).unwrap_or_else(|| {
                    looked_for.push((index, Progress::default()));
                    looked_for.len() - 1
                });
                let (_, progress) = &mut looked_for[known];
                let near = match pattern.blanks {
                    Some(blanks) if progress.spent < copy.len() * MOST_PASSES => around(copy, at, blanks),
                    Some(_) | None => 0..copy.len(),
                };
                if progress.last.start <= near.start && near.end <= progress.last.end {
                    continue;
                }
                let hit = pattern.regex.find_at(&copy[..near.end], near.start);
                done |= u64::from(hit.is_some() || near.len() == copy.len()) << index;
                *progress = Progress { spent: progress.spent + near.len(), last: near };
                hits.extend(hit.map(|hit| Hit { rule: self.rows[index].rule, span: hit.range() }));
            }
            ControlFlow::Continue(())
        });
        hits
    }

    /// What the hits come to, from 0 to 1, and whether the text speaks about attacks: the heaviest of each family
    /// counts, families add up as independent evidence.
    pub(crate) fn score(&self, hits: &[Hit], copy: &str) -> (f32, bool) {
        if hits.is_empty() {
            return (0.0, false);
        }
        let damping = self.damping.get_or_init(|| compile(DAMPING).ok());
        let spoken_about = damping.as_ref().is_some_and(|pattern| pattern.is_match(copy));
        let damped = |hit: &Hit| hit.rule.damped && (spoken_about || harmless::harmless(copy, hit));
        let weight = |hit: &Hit| hit.rule.weight * if damped(hit) { DAMPED } else { 1.0 };
        let doubt: f32 = Family::ALL
            .iter()
            .map(|family| {
                let heaviest = hits.iter().filter(|hit| hit.rule.family == *family).map(weight);
                1.0 - heaviest.fold(0.0, f32::max)
            })
            .product();
        (1.0 - doubt, spoken_about)
    }
}

/// The part of a copy that a match with the sign at `at` lies in, when it holds so many blanks at most.
fn around(copy: &str, at: usize, blanks: usize) -> Range<usize> {
    let bytes = copy.as_bytes();
    let start = memchr::memrchr_iter(b' ', &bytes[..at]).nth(blanks).map_or(0, |blank| blank + 1);
    let end = memchr::memchr_iter(b' ', &bytes[at..]).nth(blanks).map_or(copy.len(), |blank| at + blank);
    start..end
}

#[cfg(test)]
mod tests;
