//! Where rules hit. One scan finds the places where a rule can hit at all; there, and only there, its pattern runs on
//! the copy. Speaking about attacks, or quoting one, damps what the rules of a text come to.
//! Invariant: linear in the length of the copy; a hit at its end is found like one at its start.

use crate::{
    rules::{Family, Rule, compile, most_blanks, parse, rules},
    signs::Signs,
};
use regex::Regex;
use std::{
    array,
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

/// Most rows that the bits of `Signs` tell apart.
const MOST_ROWS: usize = 64;
/// How often its pattern may see a whole text, in small parts that overlap, before it is run on the whole once.
const MOST_PASSES: usize = 2;

/// Words of somebody who speaks about attacks rather than makes one, and opening quotation marks before one.
const DAMPING: &str = r#"\b(?:prompt injections?|jailbreak(?:s|ing)?|attack(?:s|ers?)?|examples? of|such as|phrases? like|sentences? like|what does|meaning of|translate|how (?:do|can|should|could|would) (?:i|we|you|one) (?:prevent|detect|block|defend|protect|stop|mitigate)|malicious|adversarial|security (?:review|test|audit|research\w*)|classif(?:y|ier)|red team\w*)\b|["“«'`„「『][^"”»'`]{0,40}(?:ignor|disregard|reveal|forget|bypass|overrid)"#;

/// What is left of a weight when the text speaks about attacks, asks whether somebody may do what the rule is about, takes
/// back its writer's own words, or names the device whose mode it is about.
const DAMPED: f32 = 0.4;

/// How a question begins whose subject is not its reader: whoever asks "Should we ignore the previous notice?" gives no
/// order.
const ASKING: &[&str] = &[
    "can a ",
    "can an ",
    "can i ",
    "can my ",
    "can our ",
    "can the ",
    "can we ",
    "could i ",
    "could the ",
    "could we ",
    "did ",
    "do i ",
    "do we ",
    "does ",
    "how can i ",
    "how can we ",
    "how do i ",
    "how do we ",
    "how does ",
    "how would a ",
    "how would the ",
    "is it ",
    "is there ",
    "may a ",
    "may i ",
    "may my ",
    "may our ",
    "may the ",
    "may we ",
    "must i ",
    "must we ",
    "must the ",
    "should a ",
    "should i ",
    "should my ",
    "should the ",
    "should we ",
    "when ",
    "where ",
    "which ",
    "who ",
    "why ",
    "will the ",
    "would it ",
    "would the ",
    "darf ich ",
    "darf man ",
    "kann ich ",
    "kann man ",
    "muss ich ",
    "soll ich ",
    "warum ",
    "wann ",
    "wer ",
    "ai-je ",
    "dois-je ",
    "doit-on ",
    "faut-il ",
    "peut-on ",
    "pourquoi ",
    "puis-je ",
    "quand ",
    "qui ",
    "¿cuándo ",
    "¿debo ",
    "¿hay que ",
    "¿por qué ",
    "¿puedo ",
    "¿quién ",
    "¿se debe ",
    "¿se puede ",
    "devo ",
    "posso ",
    "por que ",
    "quando ",
    "quem ",
    "chi ",
    "perché ",
    "si deve ",
    "si può ",
    "kan ik ",
    "mag ik ",
    "moet ik ",
    "waarom ",
    "wanneer ",
    "зачем ",
    "когда ",
    "кто ",
    "можно ли ",
    "могу ли ",
    "нужно ли ",
    "почему ",
    "стоит ли ",
    "czy mogę ",
    "czy można ",
    "dlaczego ",
    "apakah saya ",
    "bolehkah ",
    "mengapa ",
    "có nên ",
    "có được ",
    "tại sao ",
];

/// Words that speak to the reader: a question about what is theirs is no question about third things.
const ADDRESSED: &[&str] = &[
    "you",
    " dein",
    " ihre",
    " tes ",
    " ton ",
    " vos ",
    " votre",
    " tus ",
    " seus ",
    " suas ",
    " tuoi ",
    " tue ",
    " jouw",
    " uw ",
    " тво",
    " ваш",
    "twoj",
    " anda",
    " của bạn",
];

/// How far the sentence around a hit is looked at, in bytes to each side.
const SENTENCE: usize = 200;

impl Matcher {
    /// Prepares the table: below a millisecond, patterns are compiled when they are first needed.
    pub(crate) fn new() -> Self {
        let rows: Vec<Row> = rules().map(|rule| Row { rule, pattern: OnceLock::new() }).collect();
        Self { rows, signs: Signs::new(rules().map(|rule| rule.signs)), damping: OnceLock::new() }
    }

    /// Every rule that hits a copy, once each. A match holds a sign and no more blanks than its pattern has room for:
    /// each pattern is run on that much of the copy around each of its signs. `plain`: the copy is known to be ASCII.
    pub(crate) fn hits(&self, copy: &str, plain: bool) -> Vec<Hit> {
        let mut progress: [Progress; MOST_ROWS] = array::from_fn(|_| Progress::default());
        let (mut hits, mut done) = (Vec::new(), 0_u64);
        let _all = self.signs.find(copy.as_bytes(), plain, |at, rows| {
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
        let harmless = |hit: &Hit| asked(copy, hit) || taken_back(copy, hit) || mode_of_a_thing(copy, hit);
        let damped = |hit: &Hit| hit.rule.damped && (spoken_about || harmless(hit));
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

/// Whether a hit is about setting something aside, in a question whose subject is not its reader. What follows a comma may
/// be an order again, and "why not" is one.
fn asked(copy: &str, hit: &Hit) -> bool {
    let Range { start, end } = hit.span;
    if hit.rule.family != Family::Override {
        return false;
    }
    let before = &copy[copy.floor_char_boundary(start.saturating_sub(SENTENCE))..start];
    let after = &copy[end..copy.ceil_char_boundary(copy.len().min(end + SENTENCE))];
    let ends = ['.', '!', '?', ';', ':'];
    let from = before.rfind(ends).map_or(0, |at| at + 1);
    let begin = before[from..].trim_start();
    let Some(to) = after.find(ends) else { return false };
    after[to..].starts_with('?')
        && !begin.contains(',')
        && !["why not ", "why do"].iter().any(|opening| begin.starts_with(opening))
        && ASKING.iter().any(|opening| begin.starts_with(opening))
        && ![begin, &copy[start..end], &after[..to]]
            .iter()
            .any(|part| ADDRESSED.iter().any(|word| part.contains(word)))
}

/// What a writer takes back of their own, at the end of what is set aside.
const OWN_WORDS: &[&str] =
    &[" my previous ", " my earlier ", " my prior ", " my past ", " my former ", " my original "];
/// What it is: never instructions, rules or prompts.
const SAID: &[&str] = &["message", "messages", "text", "conversation"];
/// Why: words that leave the order no other purpose.
const MISTAKES: &[&str] = &[
    "by mistake",
    "meant for",
    "mistyped",
    "my mistake",
    "oops",
    "sorry",
    "typo",
    "wrong channel",
    "wrong chat",
    "wrong file",
    "wrong group",
    "wrong person",
    "wrong thread",
    "wrong window",
];

/// Whether a hit sets aside only what its writer said themselves, in a short text that calls it a mistake. The assistant's
/// instructions are nobody's own message, and they are no mistake.
fn taken_back(copy: &str, hit: &Hit) -> bool {
    let Range { start, end } = hit.span;
    let said = &copy[start..end];
    let own = OWN_WORDS.iter().find_map(|own| said.split_once(own));
    hit.rule.family == Family::Override
        && own.is_some_and(|(_, what)| SAID.contains(&what))
        && [&copy[..start], &copy[end..]].iter().all(|part| part.len() <= SENTENCE)
        && MISTAKES.iter().any(|mistake| copy[..start].contains(mistake) || copy[end..].contains(mistake))
}

/// Modes that devices and programs have.
const MODES: &[&str] = &["admin", "administrator", "debug", "developer", "diagnostic", "maintenance", "test"];
/// Words of a sentence that turns a mode on in its reader.
const READERS: &[&str] = &[
    "agent",
    "ai",
    "all",
    "and",
    "answer",
    "any",
    "assistant",
    "bard",
    "bing",
    "bot",
    "chat",
    "chatbot",
    "chatgpt",
    "claude",
    "conversation",
    "copilot",
    "gemini",
    "gpt",
    "grok",
    "here",
    "llama",
    "llm",
    "me",
    "mistral",
    "mode",
    "model",
    "now",
    "openai",
    "order",
    "output",
    "response",
    "session",
    "siri",
    "that",
    "this",
    "to",
    "you",
    "your",
    "yourself",
];
/// Most words of the name of a device.
const NAME: usize = 4;

/// Whether a hit is a mode of a named device or program, with which its sentence and the text end: "enable developer
/// mode on a tablet".
fn mode_of_a_thing(copy: &str, hit: &Hit) -> bool {
    let after = copy[hit.span.end..].trim_end_matches(['.', '!', '?', ' ']);
    let Some(name) = [" on ", " in ", " of "].iter().find_map(|of| after.strip_prefix(of)) else {
        return false;
    };
    let said = &copy[hit.span.clone()];
    hit.rule.id == "role-mode"
        && !said.contains("you")
        && MODES.iter().any(|mode| said.trim_end_matches(" mode").ends_with(mode))
        && name.split(' ').count() <= NAME
        && name.chars().all(|c| c.is_alphanumeric() || c == ' ')
        && !name.split(' ').any(|word| READERS.contains(&word.trim_end_matches(char::is_numeric)))
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
