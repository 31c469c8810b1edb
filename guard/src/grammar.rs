//! Texts of our own writing, grown from templates: `families/*.txt`. `@name: a | b` names alternatives, `# label channel
//! language family samples` begins a family, every other line is a template in which `<name>` and `{a|b}` stand for one
//! of their alternatives, also inside each other. Invariant: the same files and the same start give the same texts in
//! the same order on every machine.

use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// The templates, in order.
pub(crate) const FILES: [(&str, &str); 16] = [
    ("attacks", include_str!("../families/attacks.txt")),
    ("attacks_world", include_str!("../families/attacks_world.txt")),
    ("attacks_more", include_str!("../families/attacks_more.txt")),
    ("documents", include_str!("../families/documents.txt")),
    ("honest", include_str!("../families/honest.txt")),
    ("honest_more", include_str!("../families/honest_more.txt")),
    ("honest_world", include_str!("../families/honest_world.txt")),
    ("honest_technical", include_str!("../families/honest_technical.txt")),
    ("honest_house", include_str!("../families/honest_house.txt")),
    ("honest_people", include_str!("../families/honest_people.txt")),
    ("honest_tongues", include_str!("../families/honest_tongues.txt")),
    ("attacks_kinds", include_str!("../families/attacks_kinds.txt")),
    ("attacks_tongues", include_str!("../families/attacks_tongues.txt")),
    ("honest_questions", include_str!("../families/honest_questions.txt")),
    ("honest_senses", include_str!("../families/honest_senses.txt")),
    ("honest_senses_world", include_str!("../families/honest_senses_world.txt")),
];

/// One text that grew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grown {
    pub(crate) text: String,
    pub(crate) attack: bool,
    pub(crate) document: bool,
    pub(crate) language: String,
    pub(crate) family: String,
    /// Number of its template, from 0 over all files: texts of one template belong together.
    pub(crate) template: u32,
}

/// A generator of numbers: xorshift64*.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(start: u64) -> Self {
        Self(start.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (((self.next() >> 32) * end.max(1) as u64) >> 32) as usize
    }
}

type Names<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// Everything that the files grow.
pub(crate) fn grow(start: u64) -> Result<Vec<Grown>> {
    let mut dice = Dice::new(start);
    let mut all = Vec::new();
    let mut template = 0;
    for (file, text) in FILES {
        let names = names(text);
        let mut family: Option<Vec<&str>> = None;
        for (index, line) in text.lines().enumerate() {
            let place = || format!("families/{file}.txt, line {}", index + 1);
            let line = line.trim();
            if line.is_empty() || line.starts_with(';') || line.starts_with('@') {
                continue;
            }
            if let Some(head) = line.strip_prefix("# ").filter(|head| head.split(' ').count() == 5) {
                family = Some(head.split(' ').collect());
                continue;
            }
            let head = family.as_ref().with_context(place)?;
            let [label, channel, language, family, samples] = head[..] else { bail!("{}", place()) };
            let samples: usize = samples.parse().with_context(place)?;
            let mut seen = BTreeSet::new();
            for _ in 0..samples {
                let mut text = String::new();
                expand(line, &names, &mut dice, &mut text, 0).with_context(place)?;
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                if seen.insert(text.clone()) {
                    let (attack, document) = (label == "attack", channel == "document");
                    let (language, family) = (language.to_owned(), family.to_owned());
                    all.push(Grown { text, attack, document, language, family, template });
                }
            }
            template += 1;
        }
    }
    Ok(all)
}

fn names(text: &str) -> Names<'_> {
    let lines = text.lines().filter_map(|line| line.strip_prefix('@')?.split_once(':'));
    lines.map(|(name, list)| (name.trim(), list.split(" |").map(str::trim).collect())).collect()
}

/// Deepest nesting of alternatives.
const DEEPEST: usize = 12;

fn expand(template: &str, names: &Names<'_>, dice: &mut Dice, out: &mut String, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        bail!("alternatives are nested too deeply");
    }
    let mut rest = template;
    while let Some(at) = rest.find(['{', '<']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((name, after)) = rest[1..].split_once('>').filter(|_| rest.starts_with('<'))
            && let Some(choices) = names.get(name)
        {
            expand(choices[dice.below(choices.len())], names, dice, out, depth + 1)?;
            rest = after;
        } else if let Some((choices, after)) = braces(rest).filter(|(choices, _)| choices.len() > 1) {
            expand(choices[dice.below(choices.len())], names, dice, out, depth + 1)?;
            rest = after;
        } else {
            out.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(())
}

/// The alternatives of a text that begins with a brace, and what follows them.
fn braces(text: &str) -> Option<(Vec<&str>, &str)> {
    let inside = text.strip_prefix('{')?;
    let (mut depth, mut from, mut choices) = (0_usize, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                choices.push(&inside[from..at]);
                return Some((choices, &inside[at + 1..]));
            }
            '}' => depth -= 1,
            '|' if depth == 0 => {
                choices.push(&inside[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_grows_and_leaves_no_mark_of_the_grammar() {
        let all = grow(1).unwrap();
        assert!(all.iter().filter(|grown| grown.attack).count() > 2000);
        assert!(all.iter().filter(|grown| !grown.attack).count() > 2000);
        for mark in ["<ignore>", "<deed>", "<reader>", "<thing>", "<topic>", "<name>", "<url>", "<loot>"] {
            assert!(!all.iter().any(|grown| grown.text.contains(mark)), "{mark}");
        }
        assert_eq!(all, grow(1).unwrap());
    }

    #[test]
    fn alternatives_stand_in_each_other() {
        let (choices, rest) = braces("{a|{b|c}|}d").unwrap();
        assert_eq!((choices, rest), (vec!["a", "{b|c}", ""], "d"));
    }
}
