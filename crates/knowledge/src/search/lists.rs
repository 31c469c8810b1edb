//! The three lists. Invariant: a list is ordered by score, then by number of passage, and has at most `depth` entries.

use crate::{
    Index, Language,
    index::postings::Postings,
    text::{grams, words::Stems},
};
use std::collections::BTreeMap;

/// Best passages with their scores, best first.
pub(crate) type List = Vec<(u32, f32)>;

/// Most different words of a question that are looked up, rarest first.
const MAX_WORDS: usize = 128;
/// Most different pieces of words of a question that are looked up, rarest first: the common ones cost most and tell
/// least.
const MAX_GRAMS: usize = 96;
/// Languages of a collection whose stems a question is also looked up by.
const MAX_LANGUAGES: usize = 4;

/// The words of a question that say something, each as its stems.
pub(crate) struct Terms(Vec<Vec<String>>);

/// The terms of a question. In a collection of several languages a word is looked up by the stems of each.
pub(crate) fn terms(index: &Index, text: &str, language: Language) -> Terms {
    let mut languages = vec![language];
    languages.extend(index.languages().iter().take(MAX_LANGUAGES).filter(|other| **other != language));
    let stems: Vec<Stems> = languages.into_iter().map(Stems::of).collect();
    let mut words = Vec::new();
    crate::text::words::each_word(&crate::text::lower(text), |word| {
        if stems.first().is_some_and(|first| first.is_stop(word)) {
            return;
        }
        let mut terms: Vec<String> = stems.iter().map(|stems| stems.stem(word)).collect();
        terms.sort_unstable();
        terms.dedup();
        words.push(terms);
    });
    Terms(words)
}

impl Terms {
    /// How many different words.
    pub(crate) fn asked(&self) -> usize {
        self.0.iter().collect::<std::collections::BTreeSet<_>>().len()
    }

    /// How many different words that passage has.
    pub(crate) fn shared(&self, index: &Index, passage: u32) -> usize {
        let words: std::collections::BTreeSet<_> = self.0.iter().take(MAX_WORDS).collect();
        let has = |term: &String| index.words().find(term).is_some_and(|list| list.has(passage));
        words.into_iter().filter(|terms| terms.iter().any(has)).count()
    }
}

/// By BM25 over words.
pub(crate) fn by_words(index: &Index, terms: &Terms, depth: usize, allows: &impl Fn(u32) -> bool) -> List {
    bm25(index.words(), terms.0.iter().flatten().map(String::as_str), MAX_WORDS, depth, allows)
}

/// By BM25 over pieces of words; none where the generation has no such list.
pub(crate) fn by_grams(
    index: &Index,
    text: &str,
    depth: usize,
    allows: &impl Fn(u32) -> bool,
) -> Option<List> {
    let line = grams::line(text);
    index.grams().map(|list| bm25(list, grams::of(&line).into_iter(), MAX_GRAMS, depth, allows))
}

fn bm25<'a>(
    postings: &Postings,
    terms: impl Iterator<Item = &'a str>,
    most: usize,
    depth: usize,
    allows: &impl Fn(u32) -> bool,
) -> List {
    let mut counts = BTreeMap::<&str, f32>::new();
    terms.for_each(|term| *counts.entry(term).or_default() += 1.0);
    let found = counts.into_iter().filter_map(|(term, times)| Some((postings.find(term)?, times)));
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(list, _)| list.holders);
    found.truncate(most);
    let mut scores = vec![0.0; postings.len()];
    for (list, times) in found {
        postings.score(list, times, &mut scores);
    }
    let mut best = Best::new(depth);
    for (n, score) in (0..).zip(scores) {
        if score > best.floor && allows(n) {
            best.push(n, score);
        }
    }
    best.list()
}

/// By cosine; none without vectors or with a vector of another length.
pub(crate) fn by_meaning(
    index: &Index,
    question: &[f32],
    depth: usize,
    allows: &impl Fn(u32) -> bool,
) -> Option<List> {
    let vectors =
        index.vectors().filter(|_| index.space().is_some_and(|space| space.dimensions == question.len()))?;
    let mut best = Best::new(depth);
    best.floor = f32::NEG_INFINITY;
    vectors.scan(question, allows, |n, cosine| {
        if cosine > best.floor {
            best.push(n, cosine);
        }
    });
    Some(best.list())
}

/// The best of a stream that comes in rising numbers: keeps twice as many as wanted and cuts when full.
struct Best {
    depth: usize,
    kept: List,
    /// Only more than this can still matter.
    floor: f32,
}

impl Best {
    fn new(depth: usize) -> Self {
        Self { depth: depth.max(1), kept: Vec::with_capacity(depth.max(1) * 2), floor: 0.0 }
    }

    fn push(&mut self, n: u32, score: f32) {
        self.kept.push((n, score));
        if self.kept.len() >= self.depth * 2 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.kept.len() > self.depth {
            let last = self.depth - 1;
            self.kept.select_nth_unstable_by(last, order);
            self.kept.truncate(self.depth);
            // Later ones have higher numbers: with an equal score they come after.
            self.floor = self.kept[last].1;
        }
    }

    fn list(mut self) -> List {
        self.cut();
        self.kept.sort_unstable_by(order);
        self.kept
    }
}

fn order(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}
