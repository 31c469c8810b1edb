//! From text to verdict. One scan finds which rules can hit at all; their patterns run on the cleaned copy. The
//! heaviest rule of each family counts, families add up as independent evidence; speaking about attacks, or quoting
//! one, damps them. Linear in the length of the text: a payload at its end counts like one at its start.
//!
//! Source: inspect.md section 2; the trained model and the decoders join here in a later plan.

use crate::{
    InspectConfig,
    rules::{Family, Rule, compile, rules},
    sanitise::Removed,
    scored::{is_plain, scored},
    words::Words,
};
use regex::Regex;
use std::sync::OnceLock;

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
    pattern: OnceLock<Option<Regex>>,
}

impl Row {
    fn hits(&self, copy: &str) -> bool {
        // A test compiles every pattern of the table.
        let pattern = self.pattern.get_or_init(|| compile(self.rule.pattern).ok());
        pattern.as_ref().is_some_and(|pattern| pattern.is_match(copy))
    }
}

/// The rules, ready to use. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Inspector {
    rows: Vec<Row>,
    words: Words,
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
        let words = Words::new(rules().map(|rule| [rule.needs, rule.also]));
        let (flag, block) = (config.flag, config.block);
        Self { rows, words, damping: OnceLock::new(), flag, block }
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
        // Plain text without any needed word goes on at once; nothing can hide in it.
        if is_plain(text) && self.words.wanted(text) == 0 {
            return verdict;
        }
        let copy = scored(text);
        verdict.removed = copy.removed;
        let wanted = self.words.wanted(&copy.text);
        let hits: Vec<&Rule> = self
            .rows
            .iter()
            .enumerate()
            .filter(|(index, row)| wanted & 1 << index != 0 && row.hits(&copy.text))
            .map(|(_, row)| row.rule)
            .collect();
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

#[cfg(test)]
mod tests;
