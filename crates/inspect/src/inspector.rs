//! From text to verdict. One scan finds where rules can hit at all; there, and only there, their patterns run on the
//! cleaned copy. The heaviest rule of each family counts, families add up as independent evidence; speaking about
//! attacks, or quoting one, damps them. Linear in the length of the text: a payload at its end counts like one at its
//! start.
//!
//! Source: inspect.md section 2; the trained model and the decoders join here in a later plan.

use crate::{
    InspectConfig,
    rules::{Family, Rule, compile, most_blanks, parse, rules},
    sanitise::Removed,
    scored::{Folded, scored},
    signs::Signs,
};
use regex::Regex;
use std::{
    array,
    ops::{ControlFlow, Range},
    sync::OnceLock,
};

/// Who is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A person.
    User,
    /// A document, post, diff or tool result.
    Document,
}

/// What to do about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerdictKind {
    /// Goes on.
    Allow,
    /// Goes on, recorded.
    Flag,
    /// Refused.
    Block,
}

impl VerdictKind {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Flag => "flag",
            Self::Block => "block",
        }
    }
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The rule.
    pub id: &'static str,
}

/// What inspection says of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// 0 to 1.
    pub score: f32,
    /// What to do.
    pub verdict: VerdictKind,
    /// Who spoke.
    pub channel: Channel,
    /// Rules that hit; for the operator, never for the sender.
    pub reasons: Vec<Reason>,
    /// What was hidden in the text and is not in the copy that was scored.
    pub removed: Removed,
    /// Which table or model judged.
    pub model: &'static str,
}

/// Name of the judge; a later one has another name, so that records can be told apart.
const MODEL: &str = "rules-1";

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

/// Most rows that the bits of `Signs` tell apart.
const MOST_ROWS: usize = 64;
/// How often its pattern may see a whole text, in small parts that overlap, before it is run on the whole once.
const MOST_PASSES: usize = 2;

/// Bytes of a plain text that are folded and looked at together: they stay in the nearest cache.
const PIECE: usize = 4096;

/// The rules, ready to use. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Inspector {
    rows: Vec<Row>,
    signs: Signs,
    damping: OnceLock<Option<Regex>>,
    flag: f32,
    block: f32,
}

/// Words of somebody who speaks about attacks rather than makes one, and opening quotation marks before one.
const DAMPING: &str = r#"\b(?:prompt injections?|jailbreak(?:s|ing)?|attack(?:s|ers?)?|examples? of|such as|phrases? like|sentences? like|what does|meaning of|translate|how (?:do|can|should|could|would) (?:i|we|you|one) (?:prevent|detect|block|defend|protect|stop|mitigate)|malicious|adversarial|security (?:review|test|audit|research\w*)|classif(?:y|ier)|red team\w*)\b|["“«'`„「『][^"”»'`]{0,40}(?:ignor|disregard|reveal|forget|bypass|overrid)"#;

/// What is left of a weight when the text speaks about attacks.
const DAMPED: f32 = 0.6;

impl Inspector {
    /// Prepares the table: below a millisecond, patterns are compiled when they are first needed.
    #[must_use]
    pub fn new(config: &InspectConfig) -> Self {
        let rows: Vec<Row> = rules().map(|rule| Row { rule, pattern: OnceLock::new() }).collect();
        let signs = Signs::new(rules().map(|rule| rule.signs));
        let (flag, block) = (config.flag, config.block);
        Self { rows, signs, damping: OnceLock::new(), flag, block }
    }

    /// Looks at one text.
    #[must_use]
    pub fn inspect(&self, text: &str, channel: Channel) -> Verdict {
        let mut verdict = Verdict {
            score: 0.0,
            verdict: VerdictKind::Allow,
            channel,
            reasons: Vec::new(),
            removed: Removed::default(),
            model: MODEL,
        };
        // Plain text without any sign goes on at once; nothing can hide in it.
        if self.is_quiet(text) {
            return verdict;
        }
        let copy = scored(text);
        verdict.removed = copy.removed;
        let hit = self.hits(&copy.text);
        let rows = self.rows.iter().enumerate().filter(|(index, _)| hit & 1 << index != 0);
        let hits: Vec<&Rule> = rows.map(|(_, row)| row.rule).collect();
        if hits.is_empty() {
            return verdict;
        }
        verdict.score = self.score(&hits, &copy.text);
        verdict.verdict = match verdict.score {
            score if score >= self.block => VerdictKind::Block,
            score if score >= self.flag => VerdictKind::Flag,
            _ => VerdictKind::Allow,
        };
        verdict.reasons = hits.iter().map(|rule| Reason { id: rule.id }).collect();
        verdict
    }

    /// Whether a text is plain and holds no sign of any rule.
    fn is_quiet(&self, text: &str) -> bool {
        let mut folded = Folded::with_capacity(text.len().min(PIECE) + self.signs.longest());
        text.as_bytes().chunks(PIECE).all(|piece| {
            // A sign on the border of two pieces is seen with the second.
            folded.keep(self.signs.longest());
            folded.push(piece) && !self.signs.any(&folded.bytes)
        })
    }

    /// The rows that hit, as bits. A match holds a sign and no more blanks than its pattern has room for: each pattern
    /// is run on that much of the copy around each of its signs.
    fn hits(&self, copy: &str) -> u64 {
        let mut progress: [Progress; MOST_ROWS] = array::from_fn(|_| Progress::default());
        let (mut hit, mut done) = (0_u64, 0_u64);
        let _all = self.signs.find(copy.as_bytes(), |at, rows| {
            let mut left = rows & !done;
            while left != 0 {
                let index = left.trailing_zeros() as usize;
                left &= left - 1;
                let Some(pattern) = self.rows[index].pattern() else { continue };
                let progress = &mut progress[index];
                let near = match pattern.blanks {
                    Some(blanks) if progress.spent < copy.len() * MOST_PASSES => around(copy, at, blanks),
                    Some(_) | None => 0..copy.len(),
                };
                if progress.last.start <= near.start && near.end <= progress.last.end {
                    continue;
                }
                let hits = pattern.regex.is_match_at(&copy[..near.end], near.start);
                hit |= u64::from(hits) << index;
                done |= u64::from(hits || near.len() == copy.len()) << index;
                *progress = Progress { spent: progress.spent + near.len(), last: near };
            }
            ControlFlow::Continue(())
        });
        hit
    }

    fn score(&self, hits: &[&Rule], copy: &str) -> f32 {
        let damping = self.damping.get_or_init(|| compile(DAMPING).ok());
        let spoken_about = damping.as_ref().is_some_and(|pattern| pattern.is_match(copy));
        let weight = |rule: &Rule| rule.weight * if spoken_about && rule.damped { DAMPED } else { 1.0 };
        let doubt: f32 = Family::ALL
            .iter()
            .map(|family| {
                let heaviest = hits.iter().filter(|rule| rule.family == *family).map(|rule| weight(rule));
                1.0 - heaviest.fold(0.0, f32::max)
            })
            .product();
        1.0 - doubt
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
